/* grows HOW SECONDS: a few hundred requests a second, each with blocks that are freed soon; and beside
 * them what HOW says: "leak" keeps every twentieth block for good, "cache" keeps the newest 2,000,
 * "steady" keeps none, "spread" keeps like "leak" by 30 call paths in turn, "start" keeps all of the
 * first two seconds, "flush" gives all back every other second. */
#include "truth.h"

#include <time.h>

enum { SLOTS = 2000, REQUESTS_PER_SECOND = 500, PATHS = 30 };

static void *slots[SLOTS];

SITE void leak_one(void) { *(volatile char *)malloc(512) = 1; }

SITE void cache_one(unsigned long request) {
    void **slot = &slots[request % SLOTS];
    free(*slot);
    *slot = malloc(512);
    *(volatile char *)*slot = 1;
}

SITE void start_one(void) { *(volatile char *)malloc(512) = 1; }

SITE void flushed_one(unsigned long request) {
    unsigned long slot = request % (2 * REQUESTS_PER_SECOND);
    slots[slot] = malloc(512);
    *(volatile char *)slots[slot] = 1;
    if (slot == 2 * REQUESTS_PER_SECOND - 1)
        for (unsigned long i = 0; i <= slot; i++)
            free(slots[i]);
}

SITE void work(void) {
    void *blocks[8];
    for (int i = 0; i < 8; i++)
        blocks[i] = malloc(64 + 32 * (size_t)i);
    for (int i = 0; i < 8; i++)
        free(blocks[i]);
}

/* As many call paths as there are bits of `path`. */
SITE void by_path(int path);
SITE void left(int path) {
    by_path(path >> 1);
    __asm__ volatile("" ::: "memory");
}
SITE void right(int path) {
    by_path(path >> 1);
    __asm__ volatile("" ::: "memory");
}
SITE void by_path(int path) {
    if (path <= 1)
        leak_one();
    else if (path & 1)
        left(path);
    else
        right(path);
    __asm__ volatile("" ::: "memory");
}

int main(int count, char **arguments) {
    if (count != 3)
        fail("grows leak|cache|steady|spread|start|flush SECONDS");
    const char *how = arguments[1];
    unsigned long requests = strtoul(arguments[2], NULL, 10) * REQUESTS_PER_SECOND;
    struct timespec pause = {0, 1000000000L / REQUESTS_PER_SECOND};
    for (unsigned long request = 0; request < requests; request++) {
        work();
        if (!strcmp(how, "leak") && request % 20 == 0)
            leak_one();
        else if (!strcmp(how, "cache"))
            cache_one(request);
        else if (!strcmp(how, "spread") && request % 5 == 0)
            by_path(PATHS + (int)(request / 5 % PATHS));
        else if (!strcmp(how, "start") && request < 2 * REQUESTS_PER_SECOND)
            start_one();
        else if (!strcmp(how, "flush"))
            flushed_one(request);
        nanosleep(&pause, NULL);
    }
    return 0;
}
