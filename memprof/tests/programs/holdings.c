/* Holds memory of every kind, of known sizes, and open files, to be looked at: `holdings FILE`, which it
 * makes and maps. Ready, it waits for a line, maps 8 MiB more and opens a file more, and is ready again.
 * With a second argument its name is what no name should be. Tells what it holds as its truth. */
#include "truth.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#define KIB 1024ul
#define MIB (1024 * KIB)
#define THREADS 3
#define STACK (256 * KIB)
#define TOUCHED_STACK (100 * KIB)
#define BLOCKS 2000
#define BLOCK 1024

static void touch(volatile char *from, size_t size) {
    for (size_t at = 0; at < size; at += 4096)
        from[at] = 1;
}

static void *must(void *address) {
    if (address == MAP_FAILED)
        fail("a mapping failed");
    return address;
}

/* A mapping that no other can be merged with: between two without access, too large for guards. */
static char *alone(size_t size) {
    char *all = must(mmap(NULL, size + 4 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    char *inner = all + 2 * MIB;
    if (mprotect(inner, size, PROT_READ | PROT_WRITE))
        fail("a mapping can't be opened");
    madvise(inner, size, MADV_NOHUGEPAGE);
    return inner;
}

static pthread_barrier_t all_there;

static void *hold_stack(void *unused) {
    (void)unused;
    volatile char room[TOUCHED_STACK];
    touch(room, sizeof room);
    /* From an arena of its own. */
    volatile char *block = malloc(100);
    block[0] = 1;
    pthread_barrier_wait(&all_there);
    for (;;)
        pause();
    return NULL;
}

int main(int count, char **arguments) {
    if (count < 2)
        fail("usage: holdings FILE [HOSTILE]");
    /* What test runners leave open. */
    for (int file = 3; file < 1024; file++)
        close(file);
    if (count > 2)
        prctl(PR_SET_NAME, "\xff\x1b[2J:\n)x");

    /* Private, a part of it never touched. */
    char *private = alone(24 * MIB);
    touch(private, 16 * MIB);
    truth_fact("private_address", (unsigned long long)private);

    /* Shared. */
    touch(must(mmap(NULL, 6 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)),
          6 * MIB);
    int pool = memfd_create("holdings_pool", 0);
    if (pool < 0 || ftruncate(pool, 3 * MIB))
        fail("no memfd");
    touch(must(mmap(NULL, 3 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, pool, 0)), 2 * MIB);

    /* A file, read. */
    static char content[MIB];
    int file = open(arguments[1], O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (file < 0 || write(file, content, sizeof content) != (ssize_t)sizeof content)
        fail("the file can't be made");
    volatile char *mapped = must(mmap(NULL, MIB, PROT_READ, MAP_PRIVATE, file, 0));
    char sum = 0;
    for (size_t at = 0; at < MIB; at += 4096)
        sum += mapped[at];

    /* The heap. */
    for (int i = 0; i < BLOCKS; i++)
        memset(malloc(BLOCK), 1, BLOCK);
    truth_fact("heap_bytes", BLOCKS * BLOCK);

    /* Threads, below something that their stacks can't be merged with. */
    must(mmap(NULL, 2 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    pthread_barrier_init(&all_there, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread;
        if (pthread_create(&thread, &attributes, hold_stack, NULL))
            fail("no thread");
    }
    pthread_barrier_wait(&all_there);

    /* Open files, beside those and the three from the start. */
    int pair[2], ends[2];
    if (open("/dev/null", O_RDONLY) < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) ||
        pipe(ends) || eventfd(0, 0) < 0)
        fail("no open files");

    tell_truth();
    wait_for_go();
    touch(alone(8 * MIB), 8 * MIB);
    if (open("/dev/null", O_RDONLY) < 0)
        fail("no open file more");
    wait_for_go();
    return sum;
}
