/* Memory that becomes resident at known call sites, page by page, and what is given back of it: the books
 * are of pages that were touched and given back, in bytes. */
#include "truth.h"

#include <sys/resource.h>
#include <sys/syscall.h>

#define PAGE ((size_t)4096)
#define HUGE_PAGE ((size_t)2 << 20)

DECLARE_SITE(touch_plain)
DECLARE_SITE(touch_and_unmap_a_part)
DECLARE_SITE(touch_and_drop_a_part)
DECLARE_SITE(touch_again)
DECLARE_SITE(touch_and_free_lazily)
DECLARE_SITE(touch_huge)
DECLARE_SITE(read_into)
DECLARE_SITE(populate)
DECLARE_SITE(map_populated)
DECLARE_SITE(move_heap)
DECLARE_SITE(touch_shared)
DECLARE_SITE(read_file)
DECLARE_SITE(write_file_privately)

static void touched(struct site *site, size_t pages) {
    add(&site->allocated_bytes, pages * PAGE);
    add(&site->allocated_count, pages);
}

static void given_back(struct site *site, size_t pages) {
    add(&site->freed_bytes, pages * PAGE);
    add(&site->freed_count, pages);
}

/* Small pages, unless asked for otherwise. */
static char *map(size_t pages, int flags) {
    char *range = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
    if (range == MAP_FAILED)
        fail("memory can't be mapped");
    if (madvise(range, pages * PAGE, MADV_NOHUGEPAGE))
        fail("huge pages can't be refused");
    return range;
}

/* In the function's own frame and name. */
#define TOUCH(range, pages)                                                                        \
    for (size_t page = 0; page < (pages); page++)                                                  \
    *(volatile char *)((range) + page * PAGE) = 1

SITE void touch_plain(void) {
    char *range = map(1000, MAP_PRIVATE);
    TOUCH(range, 1000);
    touched(&truth_touch_plain, 1000);
}

SITE void touch_and_unmap_a_part(void) {
    char *range = map(600, MAP_PRIVATE);
    TOUCH(range, 600);
    touched(&truth_touch_and_unmap_a_part, 600);
    if (munmap(range + 100 * PAGE, 200 * PAGE))
        fail("a part can't be unmapped");
    given_back(&truth_touch_and_unmap_a_part, 200);
}

static char *dropped;

SITE void touch_and_drop_a_part(void) {
    dropped = map(500, MAP_PRIVATE);
    TOUCH(dropped, 500);
    touched(&truth_touch_and_drop_a_part, 500);
    if (madvise(dropped + 200 * PAGE, 300 * PAGE, MADV_DONTNEED))
        fail("a part can't be dropped");
    given_back(&truth_touch_and_drop_a_part, 300);
}

/* Where another site was first. */
SITE void touch_again(void) {
    TOUCH(dropped, 500);
    touched(&truth_touch_again, 300);
}

/* Which stays resident until somebody needs the memory. */
SITE void touch_and_free_lazily(void) {
    char *range = map(100, MAP_PRIVATE);
    TOUCH(range, 100);
    touched(&truth_touch_and_free_lazily, 100);
    if (madvise(range, 100 * PAGE, MADV_FREE))
        fail("memory can't be freed lazily");
}

/* Two huge pages, or as many small ones if the kernel has none at hand. */
SITE void touch_huge(void) {
    char *range = mmap(NULL, 3 * HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (range == MAP_FAILED)
        fail("memory can't be mapped");
    range = (char *)(((uintptr_t)range + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
    if (madvise(range, 2 * HUGE_PAGE, MADV_HUGEPAGE))
        fail("huge pages can't be asked for");
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    TOUCH(range, 2 * HUGE_PAGE / PAGE);
    getrusage(RUSAGE_SELF, &after);
    touched(&truth_touch_huge, 2 * HUGE_PAGE / PAGE);
    truth_fact("huge_faults", after.ru_minflt - before.ru_minflt);
}

/* The kernel touches these, for the program. */
SITE void read_into(void) {
    char *range = map(200, MAP_PRIVATE);
    int file = open("/dev/zero", O_RDONLY);
    if (file < 0 || read(file, range, 200 * PAGE) != (ssize_t)(200 * PAGE))
        fail("zeros can't be read");
    close(file);
    touched(&truth_read_into, 200);
}

SITE void populate(void) {
    char *range = map(128, MAP_PRIVATE);
    if (madvise(range, 128 * PAGE, MADV_POPULATE_WRITE))
        fail("memory can't be populated");
    touched(&truth_populate, 128);
}

/* With its pages, wherever that is. */
SITE void map_populated(void) {
    map(64, MAP_PRIVATE | MAP_POPULATE);
    touched(&truth_map_populated, 64);
}

SITE void move_heap(void) {
    uintptr_t end = (uintptr_t)sbrk(0);
    char *heap = (char *)((end + PAGE - 1) & ~(PAGE - 1));
    if (brk(heap + 64 * PAGE))
        fail("the heap can't grow");
    TOUCH(heap, 64);
    touched(&truth_move_heap, 64);
    if (brk(heap + 24 * PAGE))
        fail("the heap can't shrink");
    given_back(&truth_move_heap, 40);
}

SITE void touch_shared(void) {
    char *range = map(50, MAP_SHARED);
    TOUCH(range, 50);
    touched(&truth_touch_shared, 50);
}

/* Only read: there is no page but the one of zeros, which is nobody's. */
SITE void look_at_nothing(void) {
    char *range = map(100, MAP_PRIVATE);
    for (size_t page = 0; page < 100; page++)
        (void)*(volatile char *)(range + page * PAGE);
}

static char *file_pages;

/* A page here and there, around which the kernel maps others that it has at hand. */
SITE void read_file(void) {
    char name[] = "touchesXXXXXX";
    int file = mkstemp(name);
    char zeros[PAGE];
    memset(zeros, 1, sizeof zeros);
    for (int page = 0; page < 32; page++)
        if (file < 0 || write(file, zeros, PAGE) != (ssize_t)PAGE)
            fail("a file can't be written");
    unlink(name);
    file_pages = mmap(NULL, 32 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    if (file_pages == MAP_FAILED)
        fail("a file can't be mapped");
    for (size_t page = 0; page < 32; page++)
        (void)*(volatile char *)(file_pages + page * PAGE);
    touched(&truth_read_file, 32);
    close(file);
}

/* Copies of the file's pages take their places. */
SITE void write_file_privately(void) {
    TOUCH(file_pages, 8);
    given_back(&truth_read_file, 8);
    touched(&truth_write_file_privately, 8);
}

int main(void) {
    wait_for_go();
    touch_plain();
    touch_and_unmap_a_part();
    touch_and_drop_a_part();
    touch_again();
    touch_and_free_lazily();
    touch_huge();
    read_into();
    populate();
    map_populated();
    move_heap();
    touch_shared();
    look_at_nothing();
    read_file();
    write_file_privately();
    tell_truth();
    return 0;
}
