/* Growth by realloc, in place and moving, shrinking, from NULL, to zero. */
#include "truth.h"

DECLARE_SITE(chain_start)
DECLARE_SITE(chain_grow)
DECLARE_SITE(chain_shrink)
DECLARE_SITE(chain_from_null)
DECLARE_SITE(chain_obstacle)

SITE struct block chain_start(size_t n) { return born(&truth_chain_start, malloc(n), n); }
SITE struct block chain_obstacle(size_t n) { return born(&truth_chain_obstacle, malloc(n), n); }
SITE struct block chain_from_null(size_t n) {
    return born(&truth_chain_from_null, realloc(NULL, n), n);
}
SITE struct block chain_grow(struct block old, size_t n) {
    return born(&truth_chain_grow, realloc(dying(&old), n), n);
}
SITE struct block chain_shrink(struct block old, size_t n) {
    return born(&truth_chain_shrink, realloc(dying(&old), n), n);
}
/* On glibc realloc(p, 0) frees and returns NULL. */
SITE void chain_to_zero(struct block old) {
    if (realloc(dying(&old), 0))
        fail("realloc(p, 0) gave a block");
}

int main(void) {
    wait_for_go();
    for (int round = 0; round < 40; round++) {
        struct block chain = round % 2 ? chain_start(8) : chain_from_null(8);
        for (size_t n = 16; n <= 1 << 20; n *= 2) {
            /* Now and then something in the way, so that the chain has to move. */
            struct block obstacle = chain_obstacle(n);
            chain = chain_grow(chain, n);
            if (n % 3 == 1)
                give_back(&obstacle);
        }
        for (size_t n = 1 << 19; n >= 64; n /= 4)
            chain = chain_shrink(chain, n + (size_t)round);
        if (round % 4 == 0)
            chain_to_zero(chain);
        else if (round % 4 == 1)
            give_back(&chain);
    }
    tell_truth();
    return 0;
}
