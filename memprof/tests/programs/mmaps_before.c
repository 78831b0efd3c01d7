/* Mappings from before the go: unmapped after it, in whole and in part, one moved, one replaced, and
 * one whose end fails. */
#include "truth.h"

enum { PAGE = 4096 };

DECLARE_SITE(move_old)
DECLARE_SITE(map_over_old)

#define map(at, bytes, flags)                                                                      \
    mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE | (flags), -1, 0)

static char *mapped(struct site *site, void *address, size_t bytes) {
    if (address == MAP_FAILED)
        fail("a mapping failed that must not");
    add(&site->allocated_bytes, bytes);
    add(&site->allocated_count, 1);
    return address;
}

SITE char *move_old(char *old, size_t n, size_t to) {
    return mapped(&truth_move_old, mremap(old, n, to, MREMAP_MAYMOVE), to);
}
SITE char *map_over_old(char *old, size_t n) {
    return mapped(&truth_map_over_old, map(old, n, MAP_FIXED), n);
}

int main(void) {
    char *all[5];
    for (int i = 0; i < 5; i++)
        if ((all[i] = map(NULL, 10 * PAGE, 0)) == MAP_FAILED)
            fail("no mapping");
    wait_for_go();
    if (munmap(all[0], 10 * PAGE) || munmap(all[1], PAGE))
        fail("an unmapping failed that must not");
    move_old(all[2], 10 * PAGE, 500 * PAGE);
    map_over_old(all[3], 10 * PAGE);
    /* One replaced another: into it, it can't grow. */
    if (mremap(all[4], 10 * PAGE, 1ul << 40, 0) != MAP_FAILED)
        fail("a mapping grew that must not");
    if (munmap(all[4] + 1, PAGE) == 0)
        fail("an unmapping worked that must not");
    truth_fact("unknown_unmaps", 3);
    tell_truth();
    return 0;
}
