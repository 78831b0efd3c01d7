/* mmap_churn THREADS ROUNDS: threads map, and unmap what others have mapped, in whole or in two parts, so
 * that addresses come back to other threads at once; some of it is moved on the way. */
#include "truth.h"

#include <pthread.h>
#include <stdatomic.h>

enum { PAGE = 4096, SLOTS = 64, MOST_PAGES = 16 };

DECLARE_SITE(churn_map)
DECLARE_SITE(churn_grow)

/* An address, with the pages in its low bits, and whether it has grown in the lowest. */
static _Atomic(uintptr_t) slots[SLOTS];
static unsigned long rounds;

static char *mapped(struct site *site, void *address, size_t bytes) {
    if (address == MAP_FAILED)
        fail("a mapping failed that must not");
    add(&site->allocated_bytes, bytes);
    add(&site->allocated_count, 1);
    return address;
}

SITE char *churn_map(size_t n) {
    return mapped(&truth_churn_map,
                  mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0), n);
}
SITE char *churn_grow(char *old, size_t n, size_t to) {
    return mapped(&truth_churn_grow, mremap(old, n, to, MREMAP_MAYMOVE), to);
}

static void gone(struct site *site, size_t bytes) {
    add(&site->freed_bytes, bytes);
    add(&site->freed_count, 1);
}

static void drop(uintptr_t slot, int in_parts) {
    char *at = (char *)(slot & ~(uintptr_t)(PAGE - 1));
    size_t pages = (slot & (PAGE - 1)) >> 1;
    gone(slot & 1 ? &truth_churn_grow : &truth_churn_map, pages * PAGE);
    size_t first = in_parts ? pages / 2 : 0;
    if ((first && munmap(at, first * PAGE)) || munmap(at + first * PAGE, (pages - first) * PAGE))
        fail("an unmapping failed that must not");
}

static void *churn(void *seed) {
    unsigned long random = (unsigned long)(uintptr_t)seed;
    for (unsigned long round = 0; round < rounds; round++) {
        random = random * 6364136223846793005ul + 1442695040888963407ul;
        unsigned long choice = random >> 33;
        size_t pages = 1 + choice % MOST_PAGES, grown = 0;
        char *at = churn_map(pages * PAGE);
        if (choice / 64 % 4 == 0) {
            at = churn_grow(at, pages * PAGE, (pages + 3) * PAGE);
            gone(&truth_churn_map, pages * PAGE);
            pages += 3;
            grown = 1;
        }
        uintptr_t slot = (uintptr_t)at | pages << 1 | grown;
        uintptr_t old = atomic_exchange(&slots[choice / 256 % SLOTS], slot);
        if (old)
            drop(old, choice / 32 % 2);
    }
    return NULL;
}

int main(int count, char **arguments) {
    pthread_t threads[16];
    if (count != 3)
        fail("mmap_churn THREADS ROUNDS");
    int all = atoi(arguments[1]);
    rounds = strtoul(arguments[2], NULL, 10);
    wait_for_go();
    for (int i = 0; i < all; i++)
        if (pthread_create(&threads[i], NULL, churn, (void *)(uintptr_t)(i + 1)))
            fail("no thread");
    for (int i = 0; i < all; i++)
        pthread_join(threads[i], NULL);
    tell_truth();
    return 0;
}
