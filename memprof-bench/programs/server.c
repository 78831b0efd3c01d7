/* server STEPS: each unit is a request. It comes down one of 20 call paths, 20 frames from malloc to
 * the program's entry, allocates a block of mixed size, works on for STEPS steps of arithmetic (a
 * nanosecond or two each), and frees the block of an earlier request. One request in 100 loses its
 * block instead. */
#include "workload.h"

#include <stdint.h>

#define LIVE_BLOCKS 1024 /* a power of two */
#define LOST_ONE_IN 100

static unsigned long steps;
static void *live[LIVE_BLOCKS];
static uint64_t request_number, state = 88172645463325252ull;

/* Marsaglia's xorshift64. */
static inline uint64_t next_random(void) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

#define OWN __attribute__((noinline, noipa)) static void *

/* Mostly small, sometimes large, as servers ask for. */
static size_t mixed_size(void) {
    uint64_t random = next_random();
    switch (random % 16) {
    case 0:
        return 1024 + random / 16 % 7168;
    case 1:
    case 2:
    case 3:
        return 128 + random / 16 % 896;
    default:
        return 16 + random / 16 % 112;
    }
}

/* The frames of one path, 1 the innermost, with local data of different sizes. */
#define INNERMOST(path)                                                                            \
    OWN path_##path##_1(size_t size) {                                                             \
        void *volatile block = malloc(size);                                                       \
        return block;                                                                              \
    }
#define FRAME(path, number, inner)                                                                 \
    OWN path_##path##_##number(size_t size) {                                                      \
        volatile char local[8 + 16 * ((path + number) % 5)];                                       \
        local[0] = (char)size;                                                                     \
        void *block = path_##path##_##inner(size);                                                 \
        local[0]++;                                                                                \
        return block;                                                                              \
    }
/* With malloc, the request, three around it and three of the C library: 20. */
#define PATH(path)                                                                                 \
    INNERMOST(path)                                                                                \
    FRAME(path, 2, 1)                                                                              \
    FRAME(path, 3, 2)                                                                              \
    FRAME(path, 4, 3)                                                                              \
    FRAME(path, 5, 4)                                                                              \
    FRAME(path, 6, 5)                                                                              \
    FRAME(path, 7, 6)                                                                              \
    FRAME(path, 8, 7)                                                                              \
    FRAME(path, 9, 8)                                                                              \
    FRAME(path, 10, 9)                                                                             \
    FRAME(path, 11, 10)                                                                            \
    FRAME(path, 12, 11)

PATH(0) PATH(1) PATH(2) PATH(3) PATH(4) PATH(5) PATH(6) PATH(7) PATH(8) PATH(9)
PATH(10) PATH(11) PATH(12) PATH(13) PATH(14) PATH(15) PATH(16) PATH(17) PATH(18) PATH(19)

static void *(*const paths[])(size_t) = {
    path_0_12,  path_1_12,  path_2_12,  path_3_12,  path_4_12,  path_5_12,  path_6_12,
    path_7_12,  path_8_12,  path_9_12,  path_10_12, path_11_12, path_12_12, path_13_12,
    path_14_12, path_15_12, path_16_12, path_17_12, path_18_12, path_19_12,
};

__attribute__((noinline, noipa)) static void handle_request(void) {
    char *block = paths[next_random() % (sizeof paths / sizeof *paths)](mixed_size());
    if (!block)
        abort();
    uint64_t sum = 0;
    for (unsigned long step = 0; step < steps; step++)
        sum += next_random();
    *block = (char)sum;
    if (++request_number % LOST_ONE_IN == 0)
        return;
    void **slot = &live[request_number % LIVE_BLOCKS];
    free(*slot);
    *slot = block;
}

__attribute__((noinline, noipa)) static void work(unsigned long units) {
    for (unsigned long i = 0; i < units; i++)
        handle_request();
}

int main(int count, char **arguments) {
    if (count != 2)
        return 2;
    steps = strtoul(arguments[1], NULL, 10);
    serve_input(work);
    return 0;
}
