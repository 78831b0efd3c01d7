/* stack_signals TURNS: allocates in signal handlers on an alternate stack, below everything that a
 * signal may interrupt: a system call, a faulting instruction in the middle of a function, another
 * handler, and, by a timer, any instruction of functions that come and go: first ones, last ones,
 * the linkage table's, the C library's, the vdso's. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define KEPT __attribute__((noinline, noclone, noipa))

static volatile long sink;
static volatile sig_atomic_t ticks;
static char *forbidden;
static char alternate[256 * 1024];

KEPT static void allocate(size_t size) {
    char *block = malloc(size);
    if (!block)
        abort();
    block[0] = 1;
    sink += block[0];
    free(block);
}

KEPT static long some_depth(long depth, size_t size) {
    if (depth == 0) {
        allocate(size);
        return 0;
    }
    volatile char local[100];
    local[depth] = 1;
    return some_depth(depth - 1, size + 8) + local[depth];
}

static void on_tick(int number) {
    (void)number;
    ticks++;
    some_depth(2, 30);
}

static void on_inner(int number) {
    (void)number;
    some_depth(3, 40);
}

static void on_outer(int number) {
    (void)number;
    some_depth(1, 20);
    raise(SIGUSR2);
    some_depth(1, 25);
}

/* Makes the page readable, so that the instruction succeeds when it is tried again. */
static void on_fault(int number, siginfo_t *information, void *context) {
    (void)number;
    (void)context;
    if (information->si_addr < (void *)forbidden || information->si_addr >= (void *)(forbidden + 4096))
        _exit(3);
    some_depth(2, 50);
    if (mprotect(forbidden, 4096, PROT_READ))
        _exit(4);
}

KEPT static long touch(const char *where, long a, long b) {
    long kept = a * b;
    return where[kept % 4096] + kept;
}

KEPT static long fault_below(long depth, long seed) {
    if (depth == 0)
        return touch(forbidden, seed, seed + 3);
    long kept[4] = {seed, depth, seed ^ depth, 1};
    long below = fault_below(depth - 1, seed + 1);
    return below + kept[depth % 4];
}

KEPT static long raise_below(long depth, long seed) {
    if (depth == 0)
        return raise(SIGUSR1);
    volatile char local[64];
    local[depth] = (char)seed;
    return raise_below(depth - 1, seed) + local[depth];
}

/* Short functions, so that most interrupts are near their ends. */
KEPT static long leaf(long a) { return a * 3 + 1; }
KEPT static long saving(long a, long b, long c) {
    long d = leaf(a + b), e = leaf(b + c), f = leaf(a + c);
    return leaf(d) + leaf(e) * f + a + b + c + d;
}
KEPT static long libraries(long a) {
    char from[48] = {0}, to[48];
    struct timespec now;
    from[a % 40] = 1;
    memcpy(to, from, (size_t)(a % 40) + 8);
    clock_gettime(CLOCK_MONOTONIC, &now);
    return memcmp(from, to, (size_t)(a % 40)) + now.tv_nsec % 2;
}
KEPT static long spin(long depth, long seed) {
    if (depth > 0)
        return spin(depth - 1, seed + 1) + seed;
    return saving(seed, seed + 1, seed + 2) + libraries(seed & 0xffff);
}

static void handle(int number, void (*handler)(int), void (*with_facts)(int, siginfo_t *, void *)) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_flags = SA_ONSTACK | (with_facts ? SA_SIGINFO : 0);
    if (with_facts)
        action.sa_sigaction = with_facts;
    else
        action.sa_handler = handler;
    if (sigaction(number, &action, NULL))
        abort();
}

int main(int count, char **arguments) {
    long turns = count == 2 ? strtol(arguments[1], NULL, 10) : 0;
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    forbidden = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (forbidden == MAP_FAILED || sigaltstack(&stack, NULL))
        abort();
    handle(SIGALRM, on_tick, NULL);
    handle(SIGUSR1, on_outer, NULL);
    handle(SIGUSR2, on_inner, NULL);
    handle(SIGSEGV, NULL, on_fault);
    for (long i = 0; i < turns; i++) {
        sink += raise_below(i % 6, i);
        if (mprotect(forbidden, 4096, PROT_NONE))
            abort();
        sink += fault_below(i % 7, i);
    }
    struct itimerval often = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &often, NULL);
    for (long i = 0; ticks < turns; i++)
        sink += spin(i % 5, i);
    setitimer(ITIMER_REAL, &never, NULL);
    return turns > 0 ? 0 : 2;
}
