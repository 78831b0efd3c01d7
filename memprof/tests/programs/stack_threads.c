/* stack_threads TURNS: 8 threads allocate at once, each through calls of its own order and depth;
 * threads also come and go meanwhile. */
#include <pthread.h>
#include <stdlib.h>

#define THREADS 8
#define KEPT __attribute__((noinline, noclone, noipa))

static _Thread_local volatile long sink;
static long turns;

KEPT static void allocate(size_t size) {
    char *block = malloc(size);
    if (!block)
        abort();
    block[0] = 1;
    sink += block[0];
    free(block);
}

static long descend(long depth, unsigned long path);

KEPT static long narrow(long depth, unsigned long path) { return descend(depth, path) + 1; }
KEPT static long wide(long depth, unsigned long path) {
    volatile long locals[200];
    locals[depth] = depth;
    return descend(depth, path) + locals[depth];
}
KEPT static long saving(long depth, unsigned long path) {
    unsigned long a = path * 3, b = path ^ 5, c = path + 7, d = path | 9, e = path << 2;
    long below = descend(depth, path);
    return below + (long)((a ^ b) + (c ^ d) + (a & d) + e * b);
}

/* Two bits of the path for each level. */
static long descend(long depth, unsigned long path) {
    allocate((size_t)depth + 8);
    if (depth == 0)
        return 0;
    switch (path & 3) {
    case 0:
        return narrow(depth - 1, path >> 2);
    case 1:
        return wide(depth - 1, path >> 2);
    default:
        return saving(depth - 1, path >> 2);
    }
}

static void *brief(void *number) {
    descend(3, (unsigned long)number);
    return NULL;
}

static void *work(void *argument) {
    unsigned long number = (unsigned long)argument;
    for (long i = 0; i < turns; i++) {
        sink += descend(2 + (long)((number + (unsigned long)i) % 12), number * 0x9e3779b9u + (unsigned long)i % 7);
        if (i % 16 == 0) {
            pthread_t other;
            if (pthread_create(&other, NULL, brief, argument) || pthread_join(other, NULL))
                abort();
        }
    }
    return NULL;
}

int main(int count, char **arguments) {
    pthread_t threads[THREADS];
    turns = count == 2 ? strtol(arguments[1], NULL, 10) : 0;
    for (unsigned long i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, (void *)i))
            abort();
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    return turns > 0 ? 0 : 2;
}
