/* stack_coroutines TURNS: coroutines by makecontext and swapcontext, each on a stack of its own:
 * they allocate at changing depths, give way in the middle of their calls, come back, and end;
 * new ones take the place and the stacks of those that ended. */
#include <stdint.h>
#include <stdlib.h>
#include <ucontext.h>

#define COROUTINES 6
#define STACK_BYTES (64 * 1024)
#define KEPT __attribute__((noinline, noclone, noipa))

static ucontext_t scheduler;
static struct {
    ucontext_t context;
    int running;
} coroutines[COROUTINES];
static _Alignas(64) char stacks[COROUTINES][STACK_BYTES];
static int current;
static volatile long sink;

KEPT static void allocate(size_t size) {
    char *block = malloc(size);
    if (!block)
        abort();
    block[0] = 1;
    sink += block[0];
    free(block);
}

KEPT static void give_way(void) {
    int me = current;
    if (swapcontext(&coroutines[me].context, &scheduler))
        abort();
}

KEPT static long descend(long depth, long seed) {
    volatile char local[40];
    local[depth % 40] = (char)seed;
    allocate((size_t)depth + 8);
    if (depth % 3 == 1) {
        give_way();
        allocate((size_t)depth + 16);
    }
    long below = depth > 0 ? descend(depth - 1, seed + 1) : 0;
    allocate((size_t)depth + 24);
    return below + local[depth % 40];
}

/* makecontext's arguments are ints. */
static void body(int number, int life, int a, int b, int c, int d, int e) {
    sink += descend(2 + (number * 3 + life) % 9, number) + a + b + c + d + e;
    coroutines[number].running = 0;
}

KEPT static void start(int number, int life) {
    ucontext_t *context = &coroutines[number].context;
    if (getcontext(context))
        abort();
    context->uc_stack.ss_sp = stacks[number];
    context->uc_stack.ss_size = STACK_BYTES;
    context->uc_link = &scheduler;
    /* Seven arguments: the last is on the stack. */
    makecontext(context, (void (*)(void))(uintptr_t)body, 7, number, life, 1, 2, 3, 4, 5);
    coroutines[number].running = 1;
}

KEPT static void run(int number) {
    current = number;
    if (swapcontext(&scheduler, &coroutines[number].context))
        abort();
    allocate(64);
}

int main(int count, char **arguments) {
    long turns = count == 2 ? strtol(arguments[1], NULL, 10) : 0;
    for (long i = 0; i < turns; i++) {
        int number = (int)(i * 5 % COROUTINES);
        if (!coroutines[number].running)
            start(number, (int)(i % 1000));
        run(number);
    }
    return turns > 0 ? 0 : 2;
}
