// Four threads call every form of operator new and delete, each at a site of its own that frees two
// blocks of three. For allocators that have these operators themselves: nothing in here is any
// library's own.
#include "truth.h"

#include <new>
#include <pthread.h>

enum { THREADS = 4, ROUNDS = 1500 };

DECLARE_SITE(new_plain)
DECLARE_SITE(new_array)
DECLARE_SITE(new_nothrow)
DECLARE_SITE(new_array_nothrow)
DECLARE_SITE(new_aligned)
DECLARE_SITE(new_array_aligned)
DECLARE_SITE(new_aligned_nothrow)
DECLARE_SITE(new_large)
DECLARE_SITE(beside_malloc)

static const std::align_val_t lines = std::align_val_t(128);

SITE block new_plain(size_t n) { return born(&truth_new_plain, ::operator new(n), n); }
SITE block new_array(size_t n) { return born(&truth_new_array, ::operator new[](n), n); }
SITE block new_nothrow(size_t n) {
    return born(&truth_new_nothrow, ::operator new(n, std::nothrow), n);
}
SITE block new_array_nothrow(size_t n) {
    return born(&truth_new_array_nothrow, ::operator new[](n, std::nothrow), n);
}
SITE block new_aligned(size_t n) { return born(&truth_new_aligned, ::operator new(n, lines), n); }
SITE block new_array_aligned(size_t n) {
    return born(&truth_new_array_aligned, ::operator new[](n, lines), n);
}
SITE block new_aligned_nothrow(size_t n) {
    return born(&truth_new_aligned_nothrow, ::operator new(n, lines, std::nothrow), n);
}
SITE block new_large(size_t n) { return born(&truth_new_large, ::operator new(n), n); }
SITE block beside_malloc(size_t n) { return born(&truth_beside_malloc, malloc(n), n); }

// The delete that goes with a block's new, in each of its forms in turn.
static void give_back_to(unsigned kind, unsigned round, block *gone) {
    size_t size = gone->size;
    void *address = dying(gone);
    bool sized = round % 2;
    switch (kind) {
    case 0:
    case 7:
        sized ? ::operator delete(address, size) : ::operator delete(address);
        break;
    case 1:
        sized ? ::operator delete[](address, size) : ::operator delete[](address);
        break;
    case 2:
        ::operator delete(address, std::nothrow);
        break;
    case 3:
        ::operator delete[](address, std::nothrow);
        break;
    case 4:
        sized ? ::operator delete(address, size, lines) : ::operator delete(address, lines);
        break;
    case 5:
        sized ? ::operator delete[](address, size, lines) : ::operator delete[](address, lines);
        break;
    case 6:
        ::operator delete(address, lines, std::nothrow);
        break;
    default:
        free(address);
    }
}

static void *work(void *argument) {
    unsigned random = 4711 + (unsigned)(size_t)argument;
    for (unsigned round = 0; round < ROUNDS; round++) {
        random = random * 1664525 + 1013904223;
        size_t size = (random >> 16) % 3000 + 1;
        block made[] = {
            new_plain(size),         new_array(size % 900 + 1),         new_nothrow(size % 70 + 1),
            new_array_nothrow(size), new_aligned(size),                 new_array_aligned(size),
            new_aligned_nothrow(64), new_large(size * 50 + 100000),     beside_malloc(size % 50 + 1),
        };
        for (unsigned kind = 0; kind < sizeof made / sizeof *made; kind++)
            if ((kind + round) % 3)
                give_back_to(kind, round, &made[kind]);
        ::operator delete(nullptr);
    }
    return nullptr;
}

int main() {
    pthread_t threads[THREADS];
    wait_for_go();
    for (size_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], nullptr, work, (void *)i))
            fail("no thread");
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], nullptr);
    truth_other_allocations = -1; // what a library allocates for a thread
    truth_fact("ended_threads", THREADS);
    tell_truth();
    return 0;
}
