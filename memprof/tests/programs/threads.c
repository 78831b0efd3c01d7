/* Eight threads, each making blocks that the next one frees: no thread frees what it made. */
#include "truth.h"

#include <pthread.h>
#include <sched.h>

enum { THREADS = 8, ROUNDS = 6000, QUEUE = 256, KEEP_ONE_IN = 16 };

DECLARE_SITE(make_small)
DECLARE_SITE(make_large)
DECLARE_SITE(make_zeroed)

static struct queue {
    pthread_mutex_t lock;
    struct block blocks[QUEUE];
    unsigned head, tail;
} queues[THREADS];

SITE struct block make_small(size_t n) { return born(&truth_make_small, malloc(n), n); }
SITE struct block make_large(size_t n) { return born(&truth_make_large, malloc(n), n); }
SITE struct block make_zeroed(size_t n) { return born(&truth_make_zeroed, calloc(n, 8), n * 8); }

static int push(struct queue *queue, struct block block) {
    pthread_mutex_lock(&queue->lock);
    int fits = queue->head - queue->tail < QUEUE;
    if (fits)
        queue->blocks[queue->head++ % QUEUE] = block;
    pthread_mutex_unlock(&queue->lock);
    return fits;
}

static int pop(struct queue *queue, struct block *block) {
    pthread_mutex_lock(&queue->lock);
    int any = queue->head != queue->tail;
    if (any)
        *block = queue->blocks[queue->tail++ % QUEUE];
    pthread_mutex_unlock(&queue->lock);
    return any;
}

static void *work(void *argument) {
    size_t me = (size_t)argument;
    unsigned random = 12345 + (unsigned)me, taken = 0;
    struct block incoming;
    for (int made = 0; made < ROUNDS || taken < ROUNDS;) {
        int busy = 0;
        if (made < ROUNDS) {
            random = random * 1664525 + 1013904223;
            size_t size = random >> 20;
            struct block block = made % 3 == 0   ? make_small(size % 200 + 1)
                                 : made % 3 == 1 ? make_large(size * 4 + 1)
                                                 : make_zeroed(size % 100 + 1);
            made++;
            while (!push(&queues[(me + 1) % THREADS], block))
                if (pop(&queues[me], &incoming)) {
                    if (++taken % KEEP_ONE_IN)
                        give_back(&incoming);
                } else {
                    sched_yield();
                }
            busy = 1;
        }
        if (pop(&queues[me], &incoming)) {
            if (++taken % KEEP_ONE_IN)
                give_back(&incoming);
            busy = 1;
        }
        if (!busy)
            sched_yield();
    }
    return NULL;
}

int main(void) {
    pthread_t threads[THREADS];
    wait_for_go();
    for (size_t i = 0; i < THREADS; i++)
        pthread_mutex_init(&queues[i].lock, NULL);
    for (size_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)i))
            fail("no thread");
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    truth_other_allocations = THREADS; /* the C library's thread control blocks */
    truth_fact("ended_threads", THREADS);
    tell_truth();
    return 0;
}
