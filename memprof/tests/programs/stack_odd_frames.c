/* stack_odd_frames TURNS: allocates below frames whose size or alignment is known only at run
 * time: alloca, arrays of variable length, locals aligned to more than the stack is, both at
 * once, with saved registers and with arguments on the stack. */
#include <alloca.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 12
#define KEPT __attribute__((noinline, noclone, noipa))

typedef long (*level)(long depth, long seed);
static volatile long sink;

KEPT static void allocate(long depth) {
    char *block = malloc((size_t)(16 + depth));
    if (!block)
        abort();
    block[0] = (char)depth;
    sink += block[0];
    free(block);
}

static long descend(long depth, long seed);

KEPT static void check(const volatile void *local, uintptr_t alignment) {
    if ((uintptr_t)local % alignment)
        abort();
}

KEPT static long with_alloca(long depth, long seed) {
    char *local = alloca((size_t)(seed * 24 + 1));
    memset(local, 1, (size_t)(seed * 24 + 1));
    long below = descend(depth, seed);
    return below + local[seed];
}

KEPT static long with_array(long depth, long seed) {
    long sum = 0;
    for (long i = 1; i < 3; i++) {
        volatile long locals[seed * i + 1];
        memset((long *)locals, 1, sizeof locals);
        sum += locals[seed] + (i == 2 ? descend(depth, seed) : 0);
    }
    return sum;
}

KEPT static long aligned_64(long depth, long seed) {
    _Alignas(64) volatile char local[128];
    local[seed] = 1;
    check(local, 64);
    return descend(depth, seed) + local[seed];
}

KEPT static long aligned_4096(long depth, long seed) {
    _Alignas(4096) volatile char local[64];
    long a = seed * 3, b = seed ^ 5, c = seed + 7, d = seed | 9, e = seed * seed;
    local[seed] = 1;
    check(local, 4096);
    long below = descend(depth, seed);
    return (below + local[seed]) ^ a ^ b ^ c ^ d ^ e;
}

KEPT static long aligned_and_alloca(long depth, long seed) {
    _Alignas(128) volatile char local[64];
    char *more = alloca((size_t)(seed * 40 + 8));
    memset(more, 2, (size_t)(seed * 40 + 8));
    local[seed] = 1;
    check(local, 128);
    return descend(depth, seed) + local[seed] + more[seed];
}

KEPT static long nine(long a, long b, long c, long d, long e, long f, long depth, long seed,
                      long i) {
    _Alignas(32) volatile long local[8];
    local[seed % 8] = a;
    check(local, 32);
    return descend(depth, seed) + local[seed % 8] + b + c + d + e + f + i;
}
KEPT static long aligned_with_stack_arguments(long depth, long seed) {
    return nine(1, 2, 3, 4, 5, 6, depth, seed, 9) + seed;
}

/* As a function does that is called by code which keeps the stack at 8 bytes only. */
__attribute__((force_align_arg_pointer)) KEPT static long realigned(long depth, long seed) {
    volatile double local[2] __attribute__((aligned(16))) = {1.0, 2.0};
    check(local, 16);
    return descend(depth, seed) + (long)local[seed % 2];
}

static const level levels[] = {
    with_alloca,        with_array, aligned_64, aligned_4096,
    aligned_and_alloca, realigned,  aligned_with_stack_arguments,
};
#define LEVELS (long)(sizeof levels / sizeof *levels)

__attribute__((always_inline)) static inline long descend(long depth, long seed) {
    if (depth <= 0)
        return seed;
    allocate(depth);
    return levels[(depth * 3 + seed) % LEVELS](depth - 1, seed % 40 + 1);
}

int main(int count, char **arguments) {
    long turns = count == 2 ? strtol(arguments[1], NULL, 10) : 0;
    for (long i = 0; i < turns; i++)
        sink += levels[i % LEVELS](DEPTH - 1, i % 50);
    return turns > 0 ? 0 : 2;
}
