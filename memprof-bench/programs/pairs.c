/* pairs THREADS: each unit is one malloc and its free, nothing else, divided among the threads. */
#include "workload.h"

#include <pthread.h>

#define MOST_THREADS 16

static unsigned long thread_count, units_each;

static void *allocate_and_free(void *unused) {
    for (unsigned long i = 0; i < units_each; i++) {
        void *volatile block = malloc(100);
        free(block);
    }
    return unused;
}

static void work(unsigned long units) {
    pthread_t threads[MOST_THREADS];
    units_each = units / thread_count;
    for (unsigned long i = 1; i < thread_count; i++)
        if (pthread_create(&threads[i], NULL, allocate_and_free, NULL))
            abort();
    allocate_and_free(NULL);
    for (unsigned long i = 1; i < thread_count; i++)
        pthread_join(threads[i], NULL);
}

int main(int count, char **arguments) {
    if (count != 2)
        return 2;
    thread_count = strtoul(arguments[1], NULL, 10);
    if (thread_count < 1 || thread_count > MOST_THREADS)
        return 2;
    serve_input(work);
    return 0;
}
