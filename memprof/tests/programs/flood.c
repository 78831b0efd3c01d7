/* flood SECONDS: maps executable memory as fast as it can, while another thread allocates. First
 * pages that come and go at changing places, then files that come and go, each a new one, then
 * ten thousand pages that stay. */
#include "truth.h"

#include <pthread.h>
#include <time.h>

enum { PAGE = 4096, KEPT = 10000 };

DECLARE_SITE(steady)

static volatile int over;
static unsigned long long mapped;

SITE struct block steady(size_t n) { return born(&truth_steady, malloc(n), n); }

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void *allocate(void *unused) {
    while (!over) {
        struct block block = steady(100);
        if (truth_steady.allocated_count % 10 != 0)
            give_back(&block);
        usleep(200);
    }
    return unused;
}

static char *map(int file, size_t bytes, void *where) {
    int flags = (file < 0 ? MAP_ANONYMOUS : 0) | MAP_PRIVATE | (where ? MAP_FIXED : 0);
    char *memory = mmap(where, bytes, PROT_READ | PROT_EXEC, flags, file, 0);
    if (memory == MAP_FAILED)
        fail("mmap failed");
    mapped++;
    return memory;
}

int main(int count, char **arguments) {
    pthread_t thread;
    if (count != 2)
        fail("flood SECONDS");
    double seconds = atof(arguments[1]);
    if (pthread_create(&thread, NULL, allocate, NULL))
        fail("no thread");
    /* Room to move about in, so that no page lies where the one before it was. */
    char *room = mmap(NULL, (size_t)KEPT * 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED)
        fail("no room");
    double end = now() + seconds;
    for (size_t turn = 0; now() < end; turn++)
        munmap(map(-1, PAGE, room + (turn % KEPT) * 2 * PAGE), PAGE);
    end = now() + seconds;
    while (now() < end) {
        int file = memfd_create("code", 0);
        if (file < 0 || ftruncate(file, PAGE))
            fail("no file");
        munmap(map(file, PAGE, NULL), PAGE);
        close(file);
    }
    for (size_t page = 0; page < KEPT; page++)
        map(-1, PAGE, room + page * 2 * PAGE);
    usleep(200000);
    over = 1;
    pthread_join(thread, NULL);
    truth_fact("mapped", mapped);
    truth_other_allocations = -1;
    tell_truth();
    return 0;
}
