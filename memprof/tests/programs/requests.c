/* requests HOW: serves a request at each SIGUSR2, and says "done N" when it was. Each makes temporary
 * blocks, replaces the newest of a store of one, and the first two fill a table once and for all.
 * With "leak" each keeps one block of 512 bytes for good, with "none" nothing. */
#include "truth.h"

#include <signal.h>

enum { TABLE = 1000 };

static void *table[TABLE];
static void *newest;

SITE void leak_one(void) { *(volatile char *)malloc(512) = 1; }

SITE void replace_newest(void) {
    free(newest);
    newest = malloc(4000);
    *(volatile char *)newest = 1;
}

SITE void warm_up(int request) {
    for (int i = request * TABLE / 2; i < (request + 1) * TABLE / 2; i++)
        table[i] = malloc(64);
}

SITE void work(void) {
    void *blocks[8];
    for (int i = 0; i < 8; i++)
        blocks[i] = malloc(64 + 32 * (size_t)i);
    for (int i = 0; i < 8; i++)
        free(blocks[i]);
}

int main(int count, char **arguments) {
    if (count != 2)
        fail("requests leak|none");
    int leaks = !strcmp(arguments[1], "leak");
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGUSR2);
    sigprocmask(SIG_BLOCK, &wanted, NULL);
    dprintf(1, "ready %d\n", getpid());
    for (int request = 0;; request++) {
        int which;
        sigwait(&wanted, &which);
        work();
        replace_newest();
        if (request < 2)
            warm_up(request);
        if (leaks)
            leak_one();
        dprintf(1, "done %d\n", request + 1);
    }
}
