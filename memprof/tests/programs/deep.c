/* deep DEPTH: allocates at the bottom of DEPTH calls of `descend`, all with frame pointers. */
#include "truth.h"

DECLARE_SITE(at_the_bottom)

SITE struct block at_the_bottom(size_t n) { return born(&truth_at_the_bottom, malloc(n), n); }

SITE size_t descend(unsigned long depth) {
    volatile size_t here = depth;
    if (depth <= 1)
        at_the_bottom(77);
    else
        here += descend(depth - 1);
    return here;
}

int main(int count, char **arguments) {
    if (count != 2)
        fail("deep DEPTH");
    wait_for_go();
    for (int i = 0; i < 10; i++)
        descend(strtoul(arguments[1], NULL, 10));
    tell_truth();
    return 0;
}
