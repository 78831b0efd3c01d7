/* Allocations that fail, of every function, among ones that succeed: they count nowhere. */
#include "truth.h"

#include <malloc.h>

DECLARE_SITE(succeeds)

SITE struct block succeeds(size_t n, size_t m) {
    return born(&truth_succeeds, calloc(n, m), n * m);
}

#define MUST_FAIL(call)                                                                            \
    if (call)                                                                                      \
    fail(#call " did not fail")

SITE void fails(void) {
    volatile size_t huge = SIZE_MAX / 2 - 4096, half = SIZE_MAX / 2 + 2;
    void *result = NULL;
    MUST_FAIL(calloc(half, 2));   /* the product wraps to 2 */
    MUST_FAIL(calloc(huge, huge));
    MUST_FAIL(calloc(1, huge));
    MUST_FAIL(malloc(huge));
    MUST_FAIL(malloc((size_t)1 << 50));
    MUST_FAIL(realloc(NULL, huge));
    MUST_FAIL(reallocarray(NULL, half, 2));
    MUST_FAIL(aligned_alloc(64, huge));
    MUST_FAIL(memalign(64, huge));
    MUST_FAIL(valloc(huge));
    MUST_FAIL(pvalloc(huge));
    MUST_FAIL(posix_memalign(&result, 64, huge) == 0);
    MUST_FAIL(posix_memalign(&result, 3, 64) == 0); /* no power of two */
}

int main(void) {
    wait_for_go();
    for (size_t i = 1; i <= 50; i++) {
        fails();
        struct block block = succeeds(i, 12);
        fails();
        if (i % 2)
            give_back(&block);
    }
    tell_truth();
    return 0;
}
