/* Leaves an allocator function in the middle, again and again: posix_memalign stores its result
 * into memory that can't be written, and the signal handler jumps out. That call never returns;
 * the thread's next ones must count all the same, from higher up the stack and from deeper down.
 */
#include "truth.h"

#include <setjmp.h>
#include <signal.h>

DECLARE_SITE(from_above)
DECLARE_SITE(from_below)

static sigjmp_buf back;
static void *forbidden;

static void jump_out(int signal) {
    (void)signal;
    siglongjmp(back, 1);
}

SITE struct block from_above(size_t n) { return born(&truth_from_above, malloc(n), n); }
SITE struct block from_below(size_t n) { return born(&truth_from_below, malloc(n), n); }

SITE void returned(int error) { fail(error ? "posix_memalign failed" : "it returned"); }

/* The block that posix_memalign made is lost inside the C library: no call returned it. */
SITE void never_returns(int depth) {
    volatile char frame[64];
    frame[0] = (char)depth;
    if (depth > 0)
        never_returns(depth - 1);
    else
        returned(posix_memalign(forbidden, 64, 48));
    frame[1] = frame[0];
}

SITE void allocate_from_below(size_t n) {
    /* Writes over the stack where the call that never returned had its frame. */
    volatile char frame[16384];
    for (size_t i = 0; i < sizeof frame; i++)
        frame[i] = 0;
    for (size_t i = 0; i < 4; i++) {
        struct block block = from_below(n + i);
        if (i % 2)
            give_back(&block);
    }
}

int main(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = jump_out;
    sigaction(SIGSEGV, &action, NULL);
    forbidden = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    volatile unsigned jumps = 0;
    wait_for_go();
    for (volatile int i = 0; i < 50; i++) {
        if (sigsetjmp(back, 1) == 0)
            never_returns(i % 5);
        jumps++;
        if (i % 2) {
            struct block block = from_above((size_t)i + 1);
            if (i % 4 == 1)
                give_back(&block);
        } else {
            allocate_from_below((size_t)i + 1);
        }
    }
    truth_fact("jumps", jumps);
    tell_truth();
    return 0;
}
