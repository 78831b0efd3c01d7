/* pairs COUNT: allocates and frees COUNT times on one call path, and tells how much processor time
 * that took. */
#include "truth.h"

#include <time.h>

DECLARE_SITE(pair)

static unsigned long long cpu_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (unsigned long long)now.tv_sec * 1000000000 + (unsigned long long)now.tv_nsec;
}

SITE void pair(void) {
    struct block block = born(&truth_pair, malloc(100), 100);
    give_back(&block);
}

int main(int count, char **arguments) {
    if (count != 2)
        fail("pairs COUNT");
    unsigned long long begin = cpu_ns();
    for (long left = atol(arguments[1]); left > 0; left--)
        pair();
    truth_fact("cpu_ns", cpu_ns() - begin);
    tell_truth();
    return 0;
}
