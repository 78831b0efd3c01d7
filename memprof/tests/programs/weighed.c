/* Holds memory of every kind that a report takes resident memory apart into, of known sizes:
 * `weighed FILE`, which it makes and maps. Tells what it holds as its truth, is ready, and waits for a
 * line. */
#include "truth.h"

#include <pthread.h>

#define KIB 1024ul
#define MIB (1024 * KIB)
#define SMALL 1000
#define SMALL_BLOCKS 8000
#define FREED_BLOCKS 10000
#define STACK (4 * MIB)
#define TOUCHED_STACK (2 * MIB)

DECLARE_SITE(hold_small)
DECLARE_SITE(hold_large)
DECLARE_SITE(hold_untouched)
DECLARE_SITE(pass_by)

SITE char *hold_small(void) { return born(&truth_hold_small, malloc(SMALL), SMALL).address; }
SITE char *hold_large(void) { return born(&truth_hold_large, malloc(6 * MIB), 6 * MIB).address; }
SITE struct block pass_by(void) { return born(&truth_pass_by, malloc(SMALL), SMALL); }

/* Only its first page is ever written to. */
SITE char *hold_untouched(void) {
    return born(&truth_hold_untouched, malloc(16 * MIB), 16 * MIB).address;
}

static void touch(volatile char *from, size_t size) {
    for (size_t at = 0; at < size; at += 4096)
        from[at] = 1;
}

static pthread_barrier_t is_deep;

static void *go_deep(void *unused) {
    (void)unused;
    volatile char room[TOUCHED_STACK];
    touch(room, sizeof room);
    pthread_barrier_wait(&is_deep);
    for (;;)
        pause();
    return NULL;
}

int main(int count, char **arguments) {
    if (count != 2)
        fail("usage: weighed FILE");
    static struct block freed[FREED_BLOCKS];

    for (int i = 0; i < SMALL_BLOCKS; i++)
        memset(hold_small(), 1, SMALL);
    memset(hold_large(), 1, 6 * MIB);
    hold_untouched();

    /* Free, and kept: something is above it in the heap. */
    for (int i = 0; i < FREED_BLOCKS; i++) {
        freed[i] = pass_by();
        memset((char *)freed[i].address + 64, 1, SMALL - 64);
    }
    hold_small();
    for (int i = 0; i < FREED_BLOCKS; i++)
        give_back(&freed[i]);

    static char content[3 * MIB];
    int file = open(arguments[1], O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (file < 0 || write(file, content, sizeof content) != (ssize_t)sizeof content)
        fail("the file can't be made");
    volatile char *mapped = mmap(NULL, sizeof content, PROT_READ, MAP_PRIVATE, file, 0);
    if (mapped == MAP_FAILED)
        fail("the file can't be mapped");
    char sum = 0;
    for (size_t at = 0; at < sizeof content; at += 4096)
        sum += mapped[at];
    volatile char *shared =
        mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        fail("no shared memory");
    touch(shared, MIB);

    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    pthread_barrier_init(&is_deep, NULL, 2);
    if (pthread_create(&thread, &attributes, go_deep, NULL))
        fail("no thread");
    pthread_barrier_wait(&is_deep);

    truth_fact("held", (SMALL_BLOCKS + 1) * SMALL + 6 * MIB + 4096);
    truth_fact("slack_free", FREED_BLOCKS * SMALL);
    truth_fact("stacks", TOUCHED_STACK);
    truth_fact("mapped_files", sizeof content);
    truth_fact("shared", MIB);
    tell_truth();
    wait_for_go();
    return sum;
}
