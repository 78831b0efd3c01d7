/* Maps 64 MiB by itself and writes to all of it, beside a large block of malloc's. Is ready, and waits
 * for a line. */
#include "truth.h"

#define MIB (1024ul * 1024)

DECLARE_SITE(hold_large)

SITE char *hold_large(void) { return born(&truth_hold_large, malloc(MIB), MIB).address; }

int main(void) {
    char *own = mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (own == MAP_FAILED)
        fail("a mapping failed");
    madvise(own, 64 * MIB, MADV_NOHUGEPAGE);
    memset(own, 1, 64 * MIB);
    memset(hold_large(), 1, MIB);
    tell_truth();
    wait_for_go();
    return 0;
}
