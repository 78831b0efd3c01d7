/* pages whole|byte: each unit is a page that is touched for the first time, all of it or one byte of
 * it. A region is mapped, touched from its start to its end, and unmapped, again and again. Pages are
 * small ones: a huge one would be one fault for 512. */
#include "workload.h"

#include <string.h>
#include <sys/mman.h>

#define PAGE_BYTES 4096ul
#define REGION_PAGES 4096ul /* 16 MiB */

static size_t touched_bytes;

__attribute__((noinline, noipa)) static void touch(char *page) {
    if (touched_bytes == PAGE_BYTES)
        memset(page, 1, PAGE_BYTES);
    else
        *page = 1;
}

__attribute__((noinline, noipa)) static void touch_region(unsigned long pages) {
    size_t length = pages * PAGE_BYTES;
    char *region =
        mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    /* A kernel without huge pages does not know the advice, and needs none. */
    if (region == MAP_FAILED)
        abort();
    madvise(region, length, MADV_NOHUGEPAGE);
    for (unsigned long page = 0; page < pages; page++)
        touch(region + page * PAGE_BYTES);
    if (munmap(region, length))
        abort();
}

static void work(unsigned long units) {
    while (units > 0) {
        unsigned long pages = units < REGION_PAGES ? units : REGION_PAGES;
        touch_region(pages);
        units -= pages;
    }
}

int main(int count, char **arguments) {
    if (count != 2)
        return 2;
    if (!strcmp(arguments[1], "whole"))
        touched_bytes = PAGE_BYTES;
    else if (!strcmp(arguments[1], "byte"))
        touched_bytes = 1;
    else
        return 2;
    serve_input(work);
    return 0;
}
