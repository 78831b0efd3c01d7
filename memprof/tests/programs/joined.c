/* Blocks whose memory is touched by their holder, by others before or after it, or never; and pages that
 * few survivors keep. The facts are what a page-wise look at it must come to. */
#include "truth.h"

#include <malloc.h>
#include <sys/prctl.h>

#define PAGE ((size_t)4096)
#define MIB ((size_t)1 << 20)
#define POOL_BLOCK ((size_t)100 << 10)
#define SMALL ((size_t)200)
#define SMALL_COUNT 65536
#define KEPT_OF 64

DECLARE_SITE(reserve)
DECLARE_SITE(hold_all)
DECLARE_SITE(few_survivors)
DECLARE_SITE(grown)
DECLARE_SITE(first_user)
DECLARE_SITE(second_user)

/* Notes a block, whose memory stays as it is. */
static char *noted(struct site *site, char *block, size_t size) {
    if (!block)
        fail("an allocation failed that must not");
    add(&site->allocated_bytes, size);
    add(&site->allocated_count, 1);
    return block;
}

static void let_go(struct site *site, char *block, size_t size) {
    free(block);
    add(&site->freed_bytes, size);
    add(&site->freed_count, 1);
}

static char *reserved, *whole, *small[SMALL_COUNT], *used;

SITE void reserve(void) { reserved = noted(&truth_reserve, malloc(64 * MIB), 64 * MIB); }

/* From the first whole page on. */
SITE void fill(void) {
    char *page = (char *)(((uintptr_t)reserved + PAGE - 1) & ~(PAGE - 1));
    for (size_t at = 0; at < 4 * MIB; at += PAGE)
        *(volatile char *)(page + at) = 1;
}

SITE void hold_all(void) {
    whole = noted(&truth_hold_all, malloc(8 * MIB), 8 * MIB);
    memset(whole, 1, 8 * MIB);
}

static char *growing;

SITE void begin(void) { growing = malloc(4 * MIB); }

SITE void fill_early(void) { memset(growing, 1, 2 * MIB); }

/* There is no room behind it, so it is moved, and its pages with it. */
SITE void grown(void) {
    growing = noted(&truth_grown, realloc(growing, 16 * MIB), 16 * MIB);
}

SITE void few_survivors(void) {
    for (size_t at = 0; at < SMALL_COUNT; at++) {
        small[at] = noted(&truth_few_survivors, malloc(SMALL), SMALL);
        memset(small[at], 1, SMALL);
    }
    for (size_t at = 0; at < SMALL_COUNT; at++)
        if (at % KEPT_OF)
            let_go(&truth_few_survivors, small[at], SMALL);
}

/* A block from the heap, touched all over, and given to whoever asks next. */
SITE void first_user(void) {
    char *block = noted(&truth_first_user, malloc(POOL_BLOCK), POOL_BLOCK);
    memset(block, 1, POOL_BLOCK);
    used = block;
    let_go(&truth_first_user, block, POOL_BLOCK);
}

SITE void second_user(void) {
    char *block = noted(&truth_second_user, malloc(POOL_BLOCK), POOL_BLOCK);
    if (block != used)
        fail("the allocator gives out other memory");
    memset(block, 2, POOL_BLOCK);
}

/* Pages that go without a word on where they are. */
SITE void truncate_shared(void) {
    int file = memfd_create("shared", 0);
    if (file < 0 || ftruncate(file, 100 * PAGE))
        fail("there is no memory to share");
    char *range = mmap(NULL, 100 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (range == MAP_FAILED)
        fail("memory can't be mapped");
    for (size_t at = 0; at < 100 * PAGE; at += PAGE)
        *(volatile char *)(range + at) = 1;
    if (ftruncate(file, 30 * PAGE))
        fail("a file can't be made shorter");
}

int main(int argc, char **argv) {
    (void)argv;
    if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
        fail("huge pages can't be refused");
    /* Large blocks are mapped alone, others are not; the heap is never given back. */
    mallopt(M_MMAP_THRESHOLD, (int)MIB);
    mallopt(M_TRIM_THRESHOLD, (int)(512 * MIB));
    char byte;
    int waits = argc > 1;
    if (waits && (write(1, "ready\n", 6) != 6 || read(0, &byte, 1) < 0))
        fail("no word to go on");
    first_user();
    second_user();
    reserve();
    fill();
    hold_all();
    begin();
    fill_early();
    grown();
    few_survivors();
    truncate_shared();
    /* Whole pages but for what a survivor takes of them, its header included: no page has two. */
    unsigned long long kept = 0;
    for (size_t at = 0; at < SMALL_COUNT; at += KEPT_OF) {
        uintptr_t start = (uintptr_t)small[at] - 8, end = start + SMALL + 8;
        kept += ((end - 1) / PAGE - start / PAGE + 1) * PAGE - (SMALL + 8);
    }
    truth_fact("kept_free_bytes", kept);
    tell_truth();
    if (waits && (write(1, "kept\n", 5) != 5 || read(0, &byte, 1) < 0))
        fail("no word to end");
    return 0;
}
