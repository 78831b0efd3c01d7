/* execs COUNT: replaces itself by itself COUNT times; each life allocates ten calls deep, at once
 * and a millisecond later. It keeps no frame pointers. Its number is in the sizes. */
#include "truth.h"

#define LEVEL(number, below)                                                                       \
    SITE void *level_##number(size_t size) {                                                       \
        __asm__ volatile("movl $1, %%ebp" ::: "rbp");                                              \
        void *block = below(size);                                                                 \
        __asm__ volatile("" ::: "memory");                                                         \
        return block;                                                                              \
    }

LEVEL(9, malloc)
LEVEL(8, level_9)
LEVEL(7, level_8)
LEVEL(6, level_7)
LEVEL(5, level_6)
LEVEL(4, level_5)
LEVEL(3, level_4)
LEVEL(2, level_3)
LEVEL(1, level_2)
LEVEL(0, level_1)
LEVEL(at_once, level_0)
LEVEL(later, level_0)

int main(int count, char **arguments) {
    char left[16];
    if (count != 2)
        fail("execs COUNT");
    int lives = atoi(arguments[1]);
    level_at_once(65536);
    usleep(1000);
    level_later(65536);
    if (lives > 0) {
        snprintf(left, sizeof left, "%d", lives - 1);
        execl("/proc/self/exe", arguments[0], left, (char *)NULL);
        fail("exec failed");
    }
    tell_truth();
    return 0;
}
