// A pool in C++ that throws bad_alloc when it is asked for too much, and whose chunks come from
// operator new. Its callers catch, and try again with less from the same place.
#include "truth.h"

#include <new>

enum { CHUNK = 4096, MOST = 1024 };

static char *chunk;
static size_t left;

SITE void *arena_get(size_t size) {
    size = (size + 15) / 16 * 16;
    if (size > MOST)
        throw std::bad_alloc();
    if (left < size) {
        chunk = static_cast<char *>(::operator new(CHUNK));
        left = CHUNK;
    }
    left -= size;
    return chunk + left;
}

static unsigned long long put;
SITE void arena_put(void *address) { put += address != nullptr; }

DECLARE_SITE(gets_at_once)
DECLARE_SITE(gets_less_in_the_end)
DECLARE_SITE(from_operator_new)

SITE block gets_at_once(size_t n) { return born(&truth_gets_at_once, arena_get(n), n); }
SITE block gets_less_in_the_end(size_t n, unsigned long long *caught) {
    for (;; n -= 400) {
        try {
            return born(&truth_gets_less_in_the_end, arena_get(n), n);
        } catch (const std::bad_alloc &) {
            ++*caught;
        }
    }
}
SITE block from_operator_new(size_t n) {
    return born(&truth_from_operator_new, ::operator new(n), n);
}

int main() {
    unsigned long long caught = 0;
    wait_for_go();
    for (size_t i = 1; i <= 400; i++) {
        block blocks[] = {gets_at_once(i % 500 + 1), gets_less_in_the_end(i * 3 + 1100, &caught),
                          from_operator_new(i)};
        if (i % 3) {
            arena_put(dying(&blocks[0]));
            arena_put(dying(&blocks[1]));
            ::operator delete(dying(&blocks[2]));
        }
    }
    truth_other_allocations = -1; // exceptions
    truth_fact("caught", caught);
    tell_truth();
    return put == 0;
}
