// Catches the bad_alloc of an operator new that is asked for far too much, again and again, and
// exceptions of its own that pass through frames which have just allocated. A return probe on a
// function that throws would abort it.
#include "truth.h"

#include <new>
#include <stdexcept>

DECLARE_SITE(new_site)
DECLARE_SITE(new_array_site)
DECLARE_SITE(new_nothrow_site)
DECLARE_SITE(new_aligned_site)

SITE block new_site(size_t n) { return born(&truth_new_site, ::operator new(n), n); }
SITE block new_array_site(size_t n) { return born(&truth_new_array_site, ::operator new[](n), n); }
SITE block new_nothrow_site(size_t n) {
    return born(&truth_new_nothrow_site, ::operator new(n, std::nothrow), n);
}
SITE block new_aligned_site(size_t n) {
    return born(&truth_new_aligned_site, ::operator new(n, std::align_val_t(256)), n);
}

static volatile size_t huge = SIZE_MAX / 2 - 4096;

SITE void ask_too_much(int kind) {
    void *got = kind == 0   ? ::operator new(huge)
                : kind == 1 ? ::operator new[](huge)
                            : ::operator new(huge, std::align_val_t(64));
    fail(got ? "operator new gave more than there is" : "operator new returned NULL");
}

SITE void throws_after_allocating(int depth) {
    block passing = new_site(24);
    if (depth == 0) {
        ::operator delete(dying(&passing));
        throw std::runtime_error("on purpose");
    }
    try {
        throws_after_allocating(depth - 1);
    } catch (...) {
        ::operator delete(dying(&passing));
        throw;
    }
}

int main() {
    unsigned long long caught = 0, passed = 0;
    wait_for_go();
    for (int i = 0; i < 300; i++) {
        try {
            ask_too_much(i % 3);
        } catch (const std::bad_alloc &) {
            caught++;
        }
        if (::operator new(huge, std::nothrow))
            fail("operator new gave more than there is");
        try {
            throws_after_allocating(5);
        } catch (const std::runtime_error &) {
            passed++;
        }
        block blocks[] = {new_site(100), new_array_site(200), new_nothrow_site(300),
                          new_aligned_site(512)};
        if (i % 2) {
            ::operator delete(dying(&blocks[0]));
            ::operator delete[](dying(&blocks[1]));
            ::operator delete(dying(&blocks[2]), std::nothrow);
            ::operator delete(dying(&blocks[3]), std::align_val_t(256));
        }
    }
    truth_other_allocations = -1; // exceptions, and the C++ library's emergency pool
    truth_fact("caught", caught);
    truth_fact("passed", passed);
    tell_truth();
    return 0;
}
