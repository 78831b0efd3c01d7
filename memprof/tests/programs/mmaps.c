/* Memory past malloc, in every way, with its books by call site: mapped and unmapped whole and in
 * parts, replaced, moved, shrunk and grown, in vain; the heap by brk; with "quit" it ends without
 * giving the rest back. Bytes are whole pages, but for the heap's. */
#include "truth.h"

enum { PAGE = 4096 };

DECLARE_SITE(map_whole)
DECLARE_SITE(map_head)
DECLARE_SITE(map_tail)
DECLARE_SITE(map_middle)
DECLARE_SITE(map_under)
DECLARE_SITE(map_over)
DECLARE_SITE(map_to_grow)
DECLARE_SITE(grow)
DECLARE_SITE(map_to_move)
DECLARE_SITE(move)
DECLARE_SITE(map_to_shrink)
DECLARE_SITE(map_to_fail)
DECLARE_SITE(map_shared)
DECLARE_SITE(map_to_leave)
DECLARE_SITE(leave_behind)
DECLARE_SITE(map_nothing)
DECLARE_SITE(heap_first)
DECLARE_SITE(heap_second)

static void *mapped(struct site *site, void *address, size_t bytes) {
    if (address == MAP_FAILED)
        fail("a mapping failed that must not");
    add(&site->allocated_bytes, bytes);
    add(&site->allocated_count, 1);
    return address;
}

static void unmapped(struct site *site, size_t bytes, int whole) {
    add(&site->freed_bytes, bytes);
    add(&site->freed_count, (unsigned long long)whole);
}

/* A macro, so that the call is the site's own. */
#define map(at, bytes, flags)                                                                      \
    mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | (flags), -1, 0)

static void must_unmap(void *at, size_t bytes) {
    if (munmap(at, bytes))
        fail("an unmapping failed that must not");
}

SITE char *map_whole(size_t n) { return mapped(&truth_map_whole, map(0, n, MAP_PRIVATE), n); }
SITE char *map_head(size_t n) { return mapped(&truth_map_head, map(0, n, MAP_PRIVATE), n); }
SITE char *map_tail(size_t n) { return mapped(&truth_map_tail, map(0, n, MAP_PRIVATE), n); }
SITE char *map_middle(size_t n) { return mapped(&truth_map_middle, map(0, n, MAP_PRIVATE), n); }
SITE char *map_under(size_t n) { return mapped(&truth_map_under, map(0, n, MAP_PRIVATE), n); }
SITE char *map_over(void *at, size_t n) {
    return mapped(&truth_map_over, map(at, n, MAP_PRIVATE | MAP_FIXED), n);
}
SITE char *map_to_grow(size_t n) { return mapped(&truth_map_to_grow, map(0, n, MAP_PRIVATE), n); }
SITE char *map_to_move(size_t n) { return mapped(&truth_map_to_move, map(0, n, MAP_PRIVATE), n); }
SITE char *map_to_shrink(size_t n) {
    return mapped(&truth_map_to_shrink, map(0, n, MAP_PRIVATE), n);
}
SITE char *map_to_fail(size_t n) { return mapped(&truth_map_to_fail, map(0, n, MAP_PRIVATE), n); }
SITE char *map_shared(size_t n) { return mapped(&truth_map_shared, map(0, n, MAP_SHARED), n); }
SITE char *map_to_leave(size_t n) {
    return mapped(&truth_map_to_leave, map(0, n, MAP_PRIVATE), n);
}
SITE char *grow(void *old, size_t n, size_t to) {
    return mapped(&truth_grow, mremap(old, n, to, MREMAP_MAYMOVE), to);
}
SITE char *move(void *old, size_t n, void *to) {
    return mapped(&truth_move, mremap(old, n, n, MREMAP_MAYMOVE | MREMAP_FIXED, to), n);
}
SITE char *leave_behind(void *old, size_t n) {
    return mapped(&truth_leave_behind, mremap(old, n, n, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0), n);
}
SITE void map_nothing(void) {
    if (map(0, 0, MAP_PRIVATE) != MAP_FAILED || map(0, 1ul << 60, MAP_PRIVATE) != MAP_FAILED)
        fail("what can't be mapped was");
}
SITE void heap_first(intptr_t n) { mapped(&truth_heap_first, sbrk(n), (size_t)n); }
SITE void heap_second(intptr_t n) { mapped(&truth_heap_second, sbrk(n), (size_t)n); }

static void parts(void) {
    for (size_t i = 1; i <= 20; i++) {
        char *one = map_whole(i * PAGE - 100);
        /* In whole pages. */
        truth_map_whole.allocated_bytes += 100;
        one[0] = 1;
        if (i % 4) {
            must_unmap(one, i * PAGE - 1);
            unmapped(&truth_map_whole, i * PAGE, 1);
        }
    }
    char *one = map_head(10 * PAGE);
    must_unmap(one, 3 * PAGE);
    unmapped(&truth_map_head, 3 * PAGE, 0);
    one = map_tail(10 * PAGE);
    must_unmap(one + 6 * PAGE, 4 * PAGE);
    unmapped(&truth_map_tail, 4 * PAGE, 0);
    one = map_middle(10 * PAGE);
    must_unmap(one + 4 * PAGE, PAGE);
    unmapped(&truth_map_middle, PAGE, 0);
    /* In the end in one call, with the hole. */
    char *other = map_middle(8 * PAGE);
    must_unmap(other + 4 * PAGE, PAGE);
    must_unmap(other, 8 * PAGE);
    unmapped(&truth_map_middle, 8 * PAGE, 1);
}

static void replaced(void) {
    char *one = map_under(16 * PAGE);
    map_over(one + 4 * PAGE, 2 * PAGE);
    unmapped(&truth_map_under, 2 * PAGE, 0);
    char *other = map_under(4 * PAGE);
    map_over(other, 4 * PAGE);
    unmapped(&truth_map_under, 4 * PAGE, 1);
}

static void remapped(void) {
    char *one = map_to_grow(4 * PAGE);
    one = grow(one, 4 * PAGE, 300 * PAGE);
    unmapped(&truth_map_to_grow, 4 * PAGE, 1);
    one = grow(one, 300 * PAGE, 400 * PAGE);
    unmapped(&truth_grow, 300 * PAGE, 1);
    one[400 * PAGE - 1] = 1;

    one = map_to_move(5 * PAGE);
    char *to = map_under(5 * PAGE);
    move(one, 5 * PAGE, to);
    unmapped(&truth_map_to_move, 5 * PAGE, 1);
    unmapped(&truth_map_under, 5 * PAGE, 1);

    one = map_to_shrink(9 * PAGE);
    if (mremap(one, 9 * PAGE, 2 * PAGE, 0) != one)
        fail("a mapping does not shrink in place");
    unmapped(&truth_map_to_shrink, 7 * PAGE, 0);

    one = map_to_leave(3 * PAGE);
    leave_behind(one, 3 * PAGE);
}

static void failed(void) {
    char *one = map_to_fail(6 * PAGE);
    /* Not on a page, of no length, into the next mapping without leave to move. */
    if (!munmap(one + 1, PAGE) || !munmap(one, 0))
        fail("an unmapping worked that must not");
    map_over(one + 4 * PAGE, 2 * PAGE);
    unmapped(&truth_map_to_fail, 2 * PAGE, 0);
    if (mremap(one, 4 * PAGE, 8 * PAGE, 0) != MAP_FAILED)
        fail("a mapping grew into another one");
    map_nothing();
    if (brk((void *)((1ul << 47) - PAGE)) == 0)
        fail("the heap ended where it must not");
}

static void heap(void) {
    heap_first(10 * PAGE);
    heap_second(3 * PAGE);
    heap_first(100);
    /* Last in, first out: all of the last, and some of the one before. */
    if (sbrk(-(intptr_t)(100 + PAGE)) == (void *)-1)
        fail("the heap can't shrink");
    unmapped(&truth_heap_first, 100, 1);
    unmapped(&truth_heap_second, PAGE, 0);
    if (sbrk(0) == (void *)-1)
        fail("the heap has no end");
}

int main(void) {
    wait_for_go();
    parts();
    replaced();
    remapped();
    failed();
    map_shared(11 * PAGE);
    heap();
    tell_truth();
    return 0;
}
