/* Four threads call every function of the family in every way that takes another path through it,
 * and free what another thread made. For the C library's allocator and for those that replace it:
 * nothing in here is any library's own. */
#include "truth.h"

#include <pthread.h>

enum { THREADS = 4, ROUNDS = 3000, SHELF = 512 };

DECLARE_SITE(make_small)
DECLARE_SITE(make_any)
DECLARE_SITE(make_large)
DECLARE_SITE(make_zeroed)
DECLARE_SITE(make_from_nothing)
DECLARE_SITE(make_larger)
DECLARE_SITE(make_smaller)
DECLARE_SITE(make_aligned)
DECLARE_SITE(make_page)

SITE struct block make_small(size_t n) { return born(&truth_make_small, malloc(n), n); }
SITE struct block make_any(size_t n) { return born(&truth_make_any, malloc(n), n); }
SITE struct block make_large(size_t n) { return born(&truth_make_large, malloc(n), n); }
SITE struct block make_zeroed(size_t n) { return born(&truth_make_zeroed, calloc(n, 12), n * 12); }
SITE struct block make_from_nothing(size_t n) {
    return born(&truth_make_from_nothing, realloc(NULL, n), n);
}
SITE struct block make_larger(struct block old, size_t n) {
    void *address = dying(&old);
    return born(&truth_make_larger, realloc(address, n), n);
}
SITE struct block make_smaller(struct block old, size_t n) {
    void *address = dying(&old);
    return born(&truth_make_smaller, realloc(address, n), n);
}
SITE struct block make_aligned(size_t n) {
    void *address = NULL;
    if (posix_memalign(&address, 128, n))
        fail("posix_memalign failed");
    return born(&truth_make_aligned, address, n);
}
SITE struct block make_page(size_t n) {
    return born(&truth_make_page, aligned_alloc(4096, n * 4096), n * 4096);
}

/* Where a block waits for any thread to free it. */
static struct shelf {
    pthread_mutex_t lock;
    struct block block;
} shelves[SHELF];

/* Puts a block on a shelf; what was there before. */
static struct block exchange(unsigned place, struct block block) {
    struct shelf *shelf = &shelves[place % SHELF];
    pthread_mutex_lock(&shelf->lock);
    struct block before = shelf->block;
    shelf->block = block;
    pthread_mutex_unlock(&shelf->lock);
    return before;
}

static struct block make(unsigned random, unsigned round) {
    size_t size = random >> 16;
    switch (round % 8) {
    case 0:
        return make_any(size % 5000);
    case 1:
        return make_large(size * 40 + 200000);
    case 2:
        return make_zeroed(size % 700 + 1);
    case 3:
        return make_from_nothing(size % 3000 + 1);
    case 4:
        return make_larger(make_small(size % 100 + 1), size % 9000 + 101);
    case 5:
        return make_smaller(make_any(size % 9000 + 200), size % 200 + 1);
    case 6:
        return make_aligned(size % 2000 + 1);
    default:
        return round % 64 == 7 ? make_page(size % 3 + 1) : make_small(size % 130);
    }
}

static void *work(void *argument) {
    unsigned random = 98765 + (unsigned)(size_t)argument;
    for (unsigned round = 0; round < ROUNDS; round++) {
        random = random * 1664525 + 1013904223;
        struct block old = exchange(random >> 8, make(random, round));
        if (old.address)
            give_back(&old);
        free(NULL);
    }
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];
    wait_for_go();
    for (size_t i = 0; i < SHELF; i++)
        pthread_mutex_init(&shelves[i].lock, NULL);
    for (size_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)i))
            fail("no thread");
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    truth_other_allocations = -1; /* what a library allocates for a thread */
    truth_fact("ended_threads", THREADS);
    tell_truth();
    return 0;
}
