/* A realloc that fails leaves the block as it was: here it is asked for far too much. */
#include "truth.h"

DECLARE_SITE(survivor)

SITE struct block survivor(size_t n) { return born(&truth_survivor, malloc(n), n); }
SITE void ask_too_much(struct block *block) {
    volatile size_t too_much = SIZE_MAX / 2 - 4096;
    if (realloc(block->address, too_much) || errno != ENOMEM)
        fail("realloc gave more than there is");
    volatile size_t overflowing = SIZE_MAX / 16;
    if (reallocarray(block->address, overflowing, 64) || errno != ENOMEM)
        fail("reallocarray did not see the overflow");
    /* No overflow, but more than the address space (and than a record's 47 bits). */
    if (realloc(block->address, (size_t)1 << 50) || errno != ENOMEM)
        fail("realloc gave a pebibyte");
}

int main(void) {
    wait_for_go();
    for (size_t i = 1; i <= 100; i++) {
        struct block block = survivor(i * 16);
        ask_too_much(&block);
        ask_too_much(&block);
        if (i % 4)
            give_back(&block);
    }
    tell_truth();
    return 0;
}
