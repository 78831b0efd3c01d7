/* arena SECONDS: blocks from malloc, small and large, some kept; and a pool of its own on mmap, which
 * takes a page more forty times a second and gives back none. */
#include "truth.h"

#include <time.h>

enum { PAGE = 4096, STEPS_PER_SECOND = 200, LARGE = 1 << 20, SMALL_KEPT = 3000 };

DECLARE_SITE(keep_small)
DECLARE_SITE(keep_large)
DECLARE_SITE(pool_page)

SITE void *keep_small(size_t n) { return born(&truth_keep_small, malloc(n), n).address; }
/* glibc maps these one by one. */
SITE struct block keep_large(size_t n) { return born(&truth_keep_large, malloc(n), n); }
SITE void pool_page(void) {
    char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    if (page == MAP_FAILED)
        fail("no page");
    *page = 1;
    add(&truth_pool_page.allocated_bytes, PAGE);
    add(&truth_pool_page.allocated_count, 1);
}

int main(int count, char **arguments) {
    if (count != 2)
        fail("arena SECONDS");
    wait_for_go();
    unsigned long steps = strtoul(arguments[1], NULL, 10) * STEPS_PER_SECOND;
    struct timespec pause = {0, 1000000000L / STEPS_PER_SECOND};
    for (size_t i = 0; i < SMALL_KEPT; i++)
        keep_small(100 + i);
    for (size_t i = 0; i < 20; i++) {
        struct block block = keep_large(LARGE + i * PAGE);
        if (i % 2)
            give_back(&block);
    }
    pool_page();
    for (unsigned long step = 1; step < steps; step++) {
        if (step % 5 == 0)
            pool_page();
        free(malloc(64));
        nanosleep(&pause, NULL);
    }
    tell_truth();
    return 0;
}
