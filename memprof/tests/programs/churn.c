/* churn THREADS PAIRS: allocates and frees as fast as it can, to find out what gets lost. */
#include "truth.h"

#include <pthread.h>

DECLARE_SITE(churn_site)
DECLARE_SITE(churn_kept)

SITE struct block churn_site(size_t n) { return born(&truth_churn_site, malloc(n), n); }
SITE struct block churn_kept(size_t n) { return born(&truth_churn_kept, malloc(n), n); }

static unsigned long pairs;

static void *work(void *argument) {
    struct block live[64];
    (void)argument;
    memset(live, 0, sizeof live);
    for (unsigned long i = 0; i < pairs; i++) {
        struct block *block = &live[i % 64];
        if (block->address)
            give_back(block);
        *block = churn_site(16 + i % 48);
        if (i % 1024 == 0)
            churn_kept(100);
    }
    return NULL;
}

int main(int count, char **arguments) {
    pthread_t threads[64];
    if (count != 3)
        fail("churn THREADS PAIRS");
    unsigned long thread_count = strtoul(arguments[1], NULL, 10);
    pairs = strtoul(arguments[2], NULL, 10);
    wait_for_go();
    for (unsigned long i = 0; i < thread_count && i < 64; i++)
        if (pthread_create(&threads[i], NULL, work, NULL))
            fail("no thread");
    for (unsigned long i = 0; i < thread_count && i < 64; i++)
        pthread_join(threads[i], NULL);
    truth_other_allocations = (long long)thread_count; /* the C library's thread control blocks */
    truth_fact("ended_threads", thread_count);
    tell_truth();
    return 0;
}
