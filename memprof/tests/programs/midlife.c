/* Holds blocks from before it is attached to, and frees some of them after: frees of blocks that
 * nobody saw made. A realloc of such a block is one too, and a new block. */
#include "truth.h"

DECLARE_SITE(before_attach)
DECLARE_SITE(after_attach)
DECLARE_SITE(regrown)

/* Where old blocks are noted: nowhere that is told, if the program is attached to after them. */
static struct site before_the_go, *old_site = &truth_before_attach;

SITE struct block before_attach(size_t n) { return born(old_site, malloc(n), n); }
SITE struct block after_attach(size_t n) { return born(&truth_after_attach, malloc(n), n); }
SITE struct block regrown(struct block old, size_t n) {
    return born(&truth_regrown, realloc(dying(&old), n), n);
}

static struct block old[100];

int main(void) {
    if (getenv("WAIT_FOR_GO"))
        old_site = &before_the_go;
    for (size_t i = 0; i < 100; i++)
        old[i] = before_attach(100 + i * 16);
    wait_for_go();
    for (size_t i = 0; i < 40; i++)
        give_back(&old[i]);
    for (size_t i = 40; i < 45; i++) {
        old[i] = regrown(old[i], 9000 + i);
    }
    give_back(&old[44]); /* known by now */
    for (size_t i = 0; i < 50; i++) {
        struct block block = after_attach(i + 1);
        if (i % 5 < 2)
            give_back(&block);
    }
    truth_unknown_frees = before_the_go.freed_count;
    tell_truth();
    return 0;
}
