/* pairs COUNT [KEEP]: allocates and frees COUNT times on one call path, but for every KEEPth block,
 * which it keeps; and tells how much processor time that took. */
#include "truth.h"

#include <time.h>

DECLARE_SITE(pair)

static unsigned long long cpu_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (unsigned long long)now.tv_sec * 1000000000 + (unsigned long long)now.tv_nsec;
}

SITE void pair(int keep) {
    struct block block = born(&truth_pair, malloc(100), 100);
    if (!keep)
        give_back(&block);
}

int main(int count, char **arguments) {
    if (count < 2)
        fail("pairs COUNT [KEEP]");
    long keep = count > 2 ? atol(arguments[2]) : 0;
    wait_for_go();
    unsigned long long begin = cpu_ns();
    for (long left = atol(arguments[1]); left > 0; left--)
        pair(keep && left % keep == 0);
    truth_fact("cpu_ns", cpu_ns() - begin);
    tell_truth();
    return 0;
}
