/* stack_deep TURNS: allocates at every one of 40 levels of calls, through frames of different
 * make: registers saved or not, small and large locals, arguments on the stack, a function that
 * calls on from its middle, from a loop and from its end. */
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 40
#define KEPT __attribute__((noinline, noclone, noipa))

typedef long (*level)(long depth, long seed);
static const level levels[];
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

/* Nothing lives across the call: at -O2 the frame is as small as can be. */
KEPT static long plain(long depth, long seed) { return descend(depth, seed) + 1; }

/* More values live across the calls than there are registers for. */
KEPT static long busy(long depth, long seed) {
    long a = seed * 3, b = seed ^ 5, c = seed + 7, d = seed | 9, e = seed * seed, f = seed - 11;
    long below = descend(depth, a + b);
    sink += a;
    below += (depth > 1 ? a : b) + c * d - e + f;
    return below ^ a ^ b ^ c ^ d ^ e ^ f;
}

KEPT static long large(long depth, long seed) {
    volatile char locals[5000];
    memset((char *)locals, (int)seed, sizeof locals);
    long below = descend(depth, seed + locals[depth]);
    return below + locals[4999 - depth];
}

KEPT static long nine(long a, long b, long c, long d, long e, long f, long depth, long seed,
                      long i) {
    return descend(depth, seed) + a + b + c + d + e + f + i;
}
KEPT static long with_stack_arguments(long depth, long seed) {
    long below = nine(1, 2, 3, 4, 5, 6, depth, seed, 9);
    return below + nine(seed, 1, 2, 3, 4, 5, 0, below, 6);
}

KEPT static long vary(int count, ...) {
    va_list arguments;
    va_start(arguments, count);
    long depth = va_arg(arguments, long), seed = va_arg(arguments, long);
    double factor = va_arg(arguments, double);
    va_end(arguments);
    return descend(depth, seed) + (long)(factor * (double)count);
}
KEPT static long variadic(long depth, long seed) { return vary(3, depth, seed, 1.5) + seed; }

struct wide {
    long values[6];
};
KEPT static struct wide make(long depth, long seed) {
    struct wide wide = {{depth, seed, 1, 2, 3, descend(depth, seed)}};
    return wide;
}
KEPT static long by_value(long depth, long seed) {
    struct wide wide = make(depth, seed);
    return wide.values[5] + wide.values[0];
}

/* Calls on only on a way that the compiler moves out of line, and saves registers only there. */
KEPT static long seldom(long depth, long seed) {
    if (__builtin_expect(depth <= 0, 1))
        return seed;
    long kept = seed * 7;
    return descend(depth, kept) + kept;
}

KEPT static long looping(long depth, long seed) {
    long sum = 0;
    for (long i = 0; i < 3; i++)
        sum += i == 1 ? descend(depth, seed + i) : i;
    return sum;
}

static const level levels[] = {plain,    busy,     large,  with_stack_arguments,
                               variadic, by_value, seldom, looping};

__attribute__((always_inline)) static inline long descend(long depth, long seed) {
    if (depth <= 0)
        return seed;
    allocate(depth);
    return levels[(depth + seed % 3) % 8](depth - 1, seed % 1000 + 1);
}

int main(int count, char **arguments) {
    long turns = count == 2 ? strtol(arguments[1], NULL, 10) : 0;
    for (long i = 0; i < turns; i++)
        sink += levels[i % 4 * 2](DEPTH - 1, i % 4);
    return turns > 0 ? 0 : 2;
}
