/* A pool over mmap that tells of its blocks by USDT probes alone, whose notes are written here as
 * <sys/sdt.h> would; probes of another provider behind semaphores, passed only while somebody looks;
 * and blocks of malloc's that probes tell of a second time. */
#include "truth.h"

#define NOTE(provider, name, semaphore, arguments)                                                 \
    "990: nop\n"                                                                                   \
    ".pushsection .note.stapsdt,\"\",\"note\"\n"                                                   \
    ".balign 4\n"                                                                                  \
    ".4byte 992f-991f, 994f-993f, 3\n"                                                             \
    "991: .asciz \"stapsdt\"\n"                                                                    \
    "992: .balign 4\n"                                                                             \
    "993: .8byte 990b\n"                                                                           \
    ".8byte _.stapsdt.base\n"                                                                      \
    ".8byte " semaphore "\n"                                                                       \
    ".asciz \"" provider "\"\n"                                                                    \
    ".asciz \"" name "\"\n"                                                                        \
    ".asciz \"" arguments "\"\n"                                                                   \
    "994: .balign 4\n"                                                                             \
    ".popsection\n"                                                                                \
    ".ifndef _.stapsdt.base\n"                                                                     \
    ".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"                        \
    ".weak _.stapsdt.base\n"                                                                       \
    ".hidden _.stapsdt.base\n"                                                                     \
    "_.stapsdt.base: .space 1\n"                                                                   \
    ".size _.stapsdt.base, 1\n"                                                                    \
    ".popsection\n"                                                                                \
    ".endif\n"

#define TELL_ALLOC(provider, semaphore, address, size)                                             \
    __asm__ volatile(NOTE(provider, "alloc", semaphore, "8@%0 8@%1") ::"nor"(address), "nor"(size))
#define TELL_INT(provider, semaphore, address, size)                                               \
    __asm__ volatile(NOTE(provider, "alloc", semaphore, "8@%0 -4@%1") ::"nor"(address),            \
                     "m"(size))
#define TELL_FREE(provider, semaphore, address)                                                    \
    __asm__ volatile(NOTE(provider, "free", semaphore, "8@%0") ::"nor"(address))

/* Who looks at the probes of the provider `watched`. */
__attribute__((used, section(".probes"))) volatile unsigned short watched_alloc_semaphore,
    watched_free_semaphore;

enum { STEP = 2048, CHUNK = 1 << 20 };
static void *unused;

static inline __attribute__((always_inline)) void *take(void) {
    if (!unused) {
        char *chunk = mmap(NULL, CHUNK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (chunk == MAP_FAILED)
            fail("no chunk");
        for (size_t at = 0; at < CHUNK; at += STEP) {
            *(void **)(void *)(chunk + at) = unused;
            unused = chunk + at;
        }
    }
    void *block = unused;
    unused = *(void **)block;
    return block;
}

static void put(void *block) {
    *(void **)block = unused;
    unused = block;
}

DECLARE_SITE(from_pool)
DECLARE_SITE(from_pool_constant)
DECLARE_SITE(from_pool_int)
DECLARE_SITE(from_watched)
DECLARE_SITE(from_malloc)

SITE struct block from_pool(size_t n) {
    void *block = take();
    TELL_ALLOC("otel_memory", "0", block, n);
    return born(&truth_from_pool, block, n);
}
SITE struct block from_pool_constant(void) {
    void *block = take();
    TELL_ALLOC("otel_memory", "0", block, 96);
    return born(&truth_from_pool_constant, block, 96);
}
SITE struct block from_pool_int(int n) {
    void *block = take();
    volatile int size[2] = {n, -1};
    TELL_INT("otel_memory", "0", block, size[0]);
    return born(&truth_from_pool_int, block, (size_t)n);
}
SITE void to_pool(struct block *block) {
    void *address = dying(block);
    TELL_FREE("otel_memory", "0", address);
    put(address);
}

static unsigned long long unwatched;
SITE struct block from_watched(size_t n) {
    void *block = take();
    if (watched_alloc_semaphore)
        TELL_ALLOC("watched", "watched_alloc_semaphore", block, n);
    else
        unwatched++;
    return born(&truth_from_watched, block, n);
}
SITE void to_watched(struct block *block) {
    void *address = dying(block);
    if (watched_free_semaphore)
        TELL_FREE("watched", "watched_free_semaphore", address);
    else
        unwatched++;
    put(address);
}

/* Told by malloc and by a probe; taken back by a probe before or behind free. */
SITE struct block from_malloc(size_t n) {
    void *block = malloc(n);
    TELL_ALLOC("otel_memory", "0", block, n);
    return born(&truth_from_malloc, block, n);
}
SITE void tell_free(uintptr_t address) { TELL_FREE("otel_memory", "0", address); }
SITE void to_malloc(struct block *block, int before) {
    void *address = dying(block);
    uintptr_t told = (uintptr_t)address;
    if (before)
        tell_free(told);
    free(address);
    if (!before)
        tell_free(told);
}

int main(void) {
    wait_for_go();
    for (size_t i = 1; i <= 3000; i++) {
        size_t n = i % 700 + 64;
        struct block one = from_pool(n), two = from_pool_constant(), three = from_pool_int((int)n);
        struct block four = from_watched(n), five = from_malloc(n);
        if (i % 2)
            to_pool(&one);
        if (i % 3)
            to_pool(&two);
        if (i % 4)
            to_pool(&three);
        if (i % 5)
            to_watched(&four);
        if (i % 6)
            to_malloc(&five, i % 2);
    }
    TELL_ALLOC("otel_memory", "0", NULL, 1);
    TELL_FREE("otel_memory", "0", NULL);
    truth_fact("unwatched", unwatched);
    tell_truth();
    return 0;
}
