/* Reads the clock, which is the vdso's work, and allocates in a signal handler that interrupts
 * it. Nothing else allocates, so the handler may. */
#include "truth.h"

#include <signal.h>
#include <sys/time.h>
#include <time.h>

static volatile sig_atomic_t interruptions;

__attribute__((noinline)) static void on_alarm(int signal) {
    (void)signal;
    if (!malloc(1000))
        fail("an allocation failed that must not");
    interruptions++;
}

__attribute__((noinline, noclone)) static void read_clock(void) {
    struct timespec now;
    while (interruptions < 200)
        clock_gettime(CLOCK_MONOTONIC, &now); /* line of read_clock */
}

int main(void) {
    wait_for_go();
    signal(SIGALRM, on_alarm);
    struct itimerval every = {{0, 1000}, {0, 1000}};
    setitimer(ITIMER_REAL, &every, NULL);
    read_clock();
    every = (struct itimerval){{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &every, NULL);
    return 0;
}
