/* Replaces itself by itself: what the first life held is gone, the second starts with nothing.
 * Only the second life tells its truth. */
#include "truth.h"

DECLARE_SITE(before_exec)
DECLARE_SITE(after_exec)

SITE struct block before_exec(size_t n) { return born(&truth_before_exec, malloc(n), n); }
SITE struct block after_exec(size_t n) { return born(&truth_after_exec, malloc(n), n); }

int main(int count, char **arguments) {
    if (count < 2) {
        wait_for_go();
        for (size_t i = 0; i < 30; i++)
            before_exec(500);
        execl("/proc/self/exe", arguments[0], "second life", (char *)NULL);
        fail("exec failed");
    }
    for (size_t i = 1; i <= 20; i++) {
        struct block block = after_exec(i * 32);
        if (i % 4 == 0)
            give_back(&block);
    }
    tell_truth();
    /* Long enough for an observer to see where the code of the second life is. */
    usleep(200000);
    return 0;
}
