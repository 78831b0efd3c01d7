/* One call site for every function of the family, each with something freed and something left. */
#include "truth.h"

#include <malloc.h>

DECLARE_SITE(site_malloc)
DECLARE_SITE(site_malloc_zero)
DECLARE_SITE(site_calloc)
DECLARE_SITE(site_realloc_first)
DECLARE_SITE(site_realloc_grow)
DECLARE_SITE(site_reallocarray)
DECLARE_SITE(site_posix_memalign)
DECLARE_SITE(site_aligned_alloc)
DECLARE_SITE(site_aligned_alloc_small)
DECLARE_SITE(site_memalign)
DECLARE_SITE(site_valloc)
DECLARE_SITE(site_pvalloc)
DECLARE_SITE(site_large_mapped)
DECLARE_SITE(site_all_freed)

SITE struct block site_malloc(size_t n) { return born(&truth_site_malloc, malloc(n), n); }
SITE struct block site_malloc_zero(void) {
    return born(&truth_site_malloc_zero, malloc(0), 0);
}
SITE struct block site_calloc(size_t n) {
    return born(&truth_site_calloc, calloc(n, 24), n * 24);
}
SITE struct block site_realloc_first(size_t n) {
    return born(&truth_site_realloc_first, realloc(NULL, n), n);
}
SITE struct block site_realloc_grow(struct block old, size_t n) {
    void *address = dying(&old);
    return born(&truth_site_realloc_grow, realloc(address, n), n);
}
SITE struct block site_reallocarray(struct block old, size_t n) {
    void *address = old.address ? dying(&old) : NULL;
    return born(&truth_site_reallocarray, reallocarray(address, n, 40), n * 40);
}
SITE struct block site_posix_memalign(size_t n) {
    void *address = NULL;
    if (posix_memalign(&address, 256, n))
        fail("posix_memalign failed");
    return born(&truth_site_posix_memalign, address, n);
}
SITE struct block site_aligned_alloc(size_t n) {
    return born(&truth_site_aligned_alloc, aligned_alloc(4096, n), n);
}
SITE struct block site_aligned_alloc_small(size_t n) {
    return born(&truth_site_aligned_alloc_small, aligned_alloc(8, n), n);
}
SITE struct block site_memalign(size_t n) {
    return born(&truth_site_memalign, memalign(64, n), n);
}
SITE struct block site_valloc(size_t n) { return born(&truth_site_valloc, valloc(n), n); }
SITE struct block site_pvalloc(size_t n) { return born(&truth_site_pvalloc, pvalloc(n), n); }
SITE struct block site_large_mapped(size_t n) {
    return born(&truth_site_large_mapped, malloc(n), n);
}
SITE struct block site_all_freed(size_t n) { return born(&truth_site_all_freed, malloc(n), n); }

int main(void) {
    wait_for_go();
    for (size_t i = 1; i <= 60; i++) {
        struct block made[] = {
            site_malloc(i * 10),
            site_malloc_zero(),
            site_calloc(i),
            site_realloc_first(i * 3),
            site_realloc_grow(site_realloc_first(i), i * 1000),
            site_reallocarray((struct block){NULL, 0, NULL}, i),
            site_reallocarray(site_malloc(i), i * 2),
            site_posix_memalign(i * 7),
            site_aligned_alloc(i * 4096),
            site_aligned_alloc_small(i * 8),
            site_memalign(i * 5),
            site_valloc(i * 11),
            site_pvalloc(i * 13),
            site_large_mapped(i * 300000),
            site_all_freed(i),
        };
        size_t count = sizeof made / sizeof *made;
        for (size_t j = 0; j < count; j++)
            if ((i + j) % 3 || j == count - 1)
                give_back(&made[j]);
        free(NULL);
    }
    tell_truth();
    return 7;
}
