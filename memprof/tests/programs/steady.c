/* A small server: allocates and frees at a modest pace and checks every block that it gives back,
 * until SIGTERM, but no longer than a minute. A status of 0 says that nothing disturbed it. */
#include "truth.h"

#include <signal.h>
#include <time.h>

DECLARE_SITE(steady_leak)
DECLARE_SITE(steady_work)

SITE struct block steady_leak(size_t n) { return born(&truth_steady_leak, malloc(n), n); }
SITE struct block steady_work(size_t n) { return born(&truth_steady_work, malloc(n), n); }

static volatile sig_atomic_t stopping;

static void stop(int signal) {
    (void)signal;
    stopping = 1;
}

int main(void) {
    static struct block live[100];
    struct timespec pause = {0, 5000000};
    signal(SIGTERM, stop);
    wait_for_go();
    for (time_t end = time(NULL) + 60; !stopping && time(NULL) < end;) {
        for (int i = 0; i < 100; i++) {
            if (live[i].address)
                give_back(&live[i]);
            live[i] = steady_work((size_t)(10 + i));
        }
        steady_leak(1000);
        nanosleep(&pause, NULL);
    }
    tell_truth();
    return 0;
}
