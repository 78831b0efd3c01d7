/* A plugin for stack_dlopen, in two makes (PLUGIN, 1 or 2) whose code differs at every address:
 * what is known of the one says nothing of the other that takes its place. Allocates in its
 * constructor, when it is called, in its thread's own variables, and in its destructor. */
#include <alloca.h>
#include <stdlib.h>
#include <string.h>

#define KEPT __attribute__((noinline, noclone, noipa))

/* Too large for the space that is set aside for libraries that come late: allocated at the first
 * use of each thread. */
static __thread volatile char own[4000];
static volatile long sink;

KEPT static void allocate(size_t size) {
    char *block = malloc(size);
    if (!block)
        abort();
    block[0] = 1;
    sink += block[0];
    free(block);
}

KEPT static long small(long depth);

#if PLUGIN == 1
KEPT static long large(long depth) {
    volatile char local[700];
    local[depth] = 1;
    allocate(100);
    return (depth > 0 ? small(depth - 1) : 0) + local[depth];
}
KEPT static long small(long depth) {
    allocate(50);
    return (depth > 0 ? large(depth - 1) : 0) + 1;
}
#else
KEPT static long changing(long depth) {
    char *local = alloca((size_t)depth * 24 + 8);
    memset(local, 1, (size_t)depth * 24 + 8);
    allocate(70);
    return (depth > 0 ? small(depth - 1) : 0) + local[depth];
}
KEPT static long saving(long a, long b, long c, long depth) {
    long d = a * b, e = b * c, f = a * c, g = a ^ b ^ c;
    allocate(90);
    return (depth > 0 ? changing(depth - 1) : 0) + d + (e ^ f) + g;
}
KEPT static long small(long depth) {
    volatile char local[300];
    local[depth] = 1;
    allocate(60);
    return (depth > 0 ? saving(depth, 2, local[depth], depth - 1) : 0) + local[depth];
}
#endif

__attribute__((constructor)) static void begin(void) { small(2); }
__attribute__((destructor)) static void end(void) { small(1); }

long plugin_run(long depth) {
    own[depth] = 1;
    allocate((size_t)own[depth] + 10);
    return small(depth);
}
