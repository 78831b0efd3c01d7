/* An allocator of the program's own, under names that nobody else has: size classes cut out of
 * chunks from malloc. Its functions take the pool first. The chunks are its own business: what
 * counts is what the pool gives; malloc beside it counts by itself. */
#include "truth.h"

enum { CLASSES = 8, SMALLEST = 32, CHUNK = 16384 };

struct pool {
    void *unused[CLASSES];
    unsigned long long chunks;
};

static int class_of(size_t size) {
    int class = 0;
    while (class < CLASSES && ((size_t)SMALLEST << class) < size + sizeof(size_t))
        class++;
    return class;
}

/* Before each block: its size. */
SITE void *pool_get(struct pool *pool, size_t size) {
    int class = class_of(size);
    if (class == CLASSES)
        return NULL;
    if (!pool->unused[class]) {
        char *chunk = malloc(CHUNK);
        size_t step = (size_t)SMALLEST << class;
        pool->chunks++;
        for (size_t at = 0; at + step <= CHUNK; at += step) {
            *(void **)(void *)(chunk + at) = pool->unused[class];
            pool->unused[class] = chunk + at;
        }
    }
    size_t *block = pool->unused[class];
    pool->unused[class] = *(void **)(void *)block;
    *block = size;
    return block + 1;
}

SITE void pool_put(struct pool *pool, void *address) {
    if (!address)
        return;
    size_t *block = (size_t *)address - 1;
    int class = class_of(*block);
    *(void **)(void *)block = pool->unused[class];
    pool->unused[class] = block;
}

/* The same pool by the C library's names, behind a prefix. */
static struct pool common;
SITE void *my_malloc(size_t size) { return pool_get(&common, size); }
SITE void *my_calloc(size_t count, size_t size) {
    void *block = pool_get(&common, count * size);
    if (block)
        memset(block, 0, count * size);
    return block;
}
SITE void my_free(void *address) { pool_put(&common, address); }
SITE void *my_realloc(void *old, size_t size) {
    void *new = pool_get(&common, size);
    if (new && old) {
        size_t kept = ((size_t *)old)[-1];
        memcpy(new, old, kept < size ? kept : size);
        pool_put(&common, old);
    }
    return new;
}

DECLARE_SITE(from_pool)
DECLARE_SITE(from_malloc)
DECLARE_SITE(by_my_malloc)
DECLARE_SITE(by_my_calloc)
DECLARE_SITE(by_my_realloc)

static struct pool pool;
SITE struct block from_pool(size_t n) { return born(&truth_from_pool, pool_get(&pool, n), n); }
SITE struct block from_malloc(size_t n) { return born(&truth_from_malloc, malloc(n), n); }
SITE struct block by_my_malloc(size_t n) { return born(&truth_by_my_malloc, my_malloc(n), n); }
SITE struct block by_my_calloc(size_t n) {
    return born(&truth_by_my_calloc, my_calloc(n, 3), n * 3);
}
SITE struct block by_my_realloc(struct block old, size_t n) {
    void *address = old.address ? dying(&old) : NULL;
    return born(&truth_by_my_realloc, my_realloc(address, n), n);
}

int main(int count, char **arguments) {
    int with_prefix = count > 1 && !strcmp(arguments[1], "my_");
    wait_for_go();
    for (size_t i = 1; i <= 3000; i++) {
        size_t n = i % 700 + 1;
        struct block beside = from_malloc(n);
        if (i % 2)
            give_back(&beside);
        if (with_prefix) {
            struct block one = by_my_malloc(n), two = by_my_calloc(n % 200 + 1);
            struct block three = by_my_realloc(by_my_malloc(n % 90 + 1), n);
            if (i % 3)
                my_free(dying(&one));
            if (i % 5)
                my_free(dying(&two));
            if (i % 7)
                my_free(dying(&three));
            if (my_malloc(1 << 20))
                fail("the pool gave what it has not");
        } else {
            struct block one = from_pool(n);
            if (i % 4)
                pool_put(&pool, dying(&one));
            if (pool_get(&pool, 1 << 20))
                fail("the pool gave what it has not");
        }
    }
    truth_fact("chunks", pool.chunks + common.chunks);
    tell_truth();
    return 0;
}
