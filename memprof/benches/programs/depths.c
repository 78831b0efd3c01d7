/* depths CALLS BYTES: allocates and frees CALLS times under 10, 20 and 40 frames in turn, and
 * writes over BYTES of memory before each call, so that the caches hold nothing else. Before each
 * depth it prints a line and waits for one. */
#include <stdio.h>
#include <stdlib.h>

static long calls, bytes;
static volatile char *memory;

#define OWN __attribute__((noinline, noipa)) static int

OWN frame_0(int depth) {
    volatile int kept = depth;
    for (long i = 0; i < calls; i++) {
        for (long at = 0; at < bytes; at += 64)
            memory[at]++;
        void *volatile block = malloc(100);
        free(block);
    }
    return kept;
}

/* Local arrays of different sizes, so that frames differ as real ones do: some 100 bytes each. */
#define FRAME(number, inner)                                                                       \
    OWN frame_##number(int depth) {                                                                \
        volatile char local[16 + 24 * (number % 7)];                                               \
        local[0] = (char)depth;                                                                    \
        return frame_##inner(depth + 1) + local[0];                                                \
    }

FRAME(1, 0) FRAME(2, 1) FRAME(3, 2) FRAME(4, 3) FRAME(5, 4) FRAME(6, 5) FRAME(7, 6) FRAME(8, 7)
FRAME(9, 8) FRAME(10, 9) FRAME(11, 10) FRAME(12, 11) FRAME(13, 12) FRAME(14, 13) FRAME(15, 14)
FRAME(16, 15) FRAME(17, 16) FRAME(18, 17) FRAME(19, 18) FRAME(20, 19) FRAME(21, 20) FRAME(22, 21)
FRAME(23, 22) FRAME(24, 23) FRAME(25, 24) FRAME(26, 25) FRAME(27, 26) FRAME(28, 27) FRAME(29, 28)
FRAME(30, 29) FRAME(31, 30) FRAME(32, 31) FRAME(33, 32) FRAME(34, 33) FRAME(35, 34) FRAME(36, 35)
FRAME(37, 36) FRAME(38, 37) FRAME(39, 38) FRAME(40, 39)

int main(int count, char **arguments) {
    /* Frames of a stack beside those of `frame_N`: malloc, frame_0, main, and two of the C library. */
    int (*const entries[])(int) = {frame_5, frame_15, frame_35};
    char line[16];
    if (count != 3)
        return 2;
    calls = strtol(arguments[1], NULL, 10);
    bytes = strtol(arguments[2], NULL, 10);
    memory = calloc(1, bytes + 1);
    for (unsigned i = 0; i < sizeof entries / sizeof *entries; i++) {
        puts("ready");
        fflush(stdout);
        if (!fgets(line, sizeof line, stdin))
            return 1;
        entries[i](0);
    }
    puts("ready");
    fflush(stdout);
    return fgets(line, sizeof line, stdin) ? 0 : 1;
}
