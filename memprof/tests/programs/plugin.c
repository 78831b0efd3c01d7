/* A library to be loaded at run time. It allocates ten calls deep, keeps no frame pointers, and
 * leaves a number in their register that points nowhere: only its unwind tables tell its callers. */
#include <stdlib.h>

#define LEVEL(number, below)                                                                       \
    __attribute__((noinline, noclone, noipa)) void *level_##number(size_t size) {                  \
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
/* What is called right after the library was loaded, and what is called later. */
LEVEL(at_once, level_0)
LEVEL(later, level_0)
LEVEL(much_later, level_0)
