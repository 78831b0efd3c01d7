/* hunted HOW: a process that a hunt watches. What happens before the go is history by then; after it,
 * until it is killed, a steady load of blocks that are freed soon, and beside it what HOW says:
 * "idle" nothing at all, "churn" the load alone, "early" grew by 20 MiB before the go and stopped,
 * "cache" filled 16 MiB before the go and replaces its entries, "sawtooth" fills 6 MiB and gives them
 * back every second, "leak" loses 1.5 MB a second, and "mapped" grows as fast by mappings of its own. */
#include "truth.h"

#include <time.h>

enum { TICKS_PER_SECOND = 50, ENTRY = 4096, ENTRIES = 4096 };

static void *entries[ENTRIES];

static void *written(void *block, size_t size) {
    if (!block)
        fail("an allocation failed that must not");
    return memset(block, 0x5a, size);
}

SITE void start_up(void) {
    for (int i = 0; i < 20; i++)
        written(malloc(1 << 20), 1 << 20);
}

SITE void forget_orders(void) {
    for (int i = 0; i < 30; i++)
        written(malloc(1000), 1000);
}

SITE void replace_entry(unsigned long tick) {
    void **entry = &entries[tick % ENTRIES];
    free(*entry);
    *entry = written(malloc(ENTRY), ENTRY);
}

SITE void fill_and_flush(unsigned long tick) {
    unsigned long phase = tick % TICKS_PER_SECOND;
    for (unsigned long i = 30 * phase; i < 30 * (phase + 1); i++)
        entries[i] = written(malloc(ENTRY), ENTRY);
    if (phase == TICKS_PER_SECOND - 1)
        for (unsigned long i = 0; i < 30 * TICKS_PER_SECOND; i++)
            free(entries[i]);
}

SITE void map_more(void) {
    size_t size = 32768;
    void *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED)
        fail("a mapping failed that must not");
    memset(pages, 1, size);
}

SITE void serve_requests(void) {
    void *blocks[20];
    for (int i = 0; i < 20; i++)
        blocks[i] = written(malloc(100 + 50 * (size_t)i), 100);
    for (int i = 0; i < 20; i++)
        free(blocks[i]);
}

int main(int count, char **arguments) {
    if (count != 2)
        fail("hunted idle|churn|early|cache|sawtooth|leak|mapped");
    const char *how = arguments[1];
    int caches = !strcmp(how, "cache");
    if (!strcmp(how, "early"))
        start_up();
    for (unsigned long i = 0; caches && i < ENTRIES; i++)
        replace_entry(i);
    wait_for_go();
    if (!strcmp(how, "idle"))
        for (;;)
            pause();
    struct timespec nap = {0, 1000000000L / TICKS_PER_SECOND};
    for (unsigned long tick = 0;; tick++) {
        serve_requests();
        if (!strcmp(how, "leak"))
            forget_orders();
        if (caches)
            replace_entry(tick);
        if (!strcmp(how, "sawtooth"))
            fill_and_flush(tick);
        if (!strcmp(how, "mapped"))
            map_more();
        nanosleep(&nap, NULL);
    }
}
