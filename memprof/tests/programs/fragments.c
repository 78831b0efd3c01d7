/* Fills 6,000 pages of the heap with small blocks and frees them all but every Nth: `fragments N`. Tells
 * what that leaves, by the addresses of the blocks, is ready, and waits for a line. */
#include "truth.h"

#define BLOCKS 220000
#define SIZE 96
#define PAGE 4096ul

DECLARE_SITE(fill)

SITE struct block fill(void) { return born(&truth_fill, malloc(SIZE), SIZE); }

static uintptr_t page_of(uintptr_t address) { return address / PAGE; }

int main(int count, char **arguments) {
    static struct block blocks[BLOCKS];
    int step = count == 2 ? atoi(arguments[1]) : 0;
    if (step < 1)
        fail("usage: fragments N");
    for (int i = 0; i < BLOCKS; i++)
        blocks[i] = fill();
    /* One at the end, so that nothing is given back. */
    uintptr_t first = page_of((uintptr_t)blocks[0].address);
    uintptr_t last = page_of((uintptr_t)blocks[BLOCKS - 1].address + SIZE - 1);
    unsigned long held = 0, with_survivors = 0;
    uintptr_t seen = 0;
    for (int i = 0; i < BLOCKS; i++) {
        if (i % step && i != BLOCKS - 1) {
            give_back(&blocks[i]);
            continue;
        }
        held += SIZE;
        uintptr_t from = (uintptr_t)blocks[i].address;
        /* They come by rising addresses. */
        if (page_of(from) < seen)
            fail("the heap is not filled from its start");
        for (uintptr_t page = page_of(from); page <= page_of(from + SIZE - 1); page++)
            if (page != seen) {
                seen = page;
                with_survivors++;
            }
    }
    truth_fact("held", held);
    truth_fact("slack_with_survivors", with_survivors * PAGE - held);
    truth_fact("slack_free", (last - first + 1 - with_survivors) * PAGE);
    tell_truth();
    wait_for_go();
    return 0;
}
