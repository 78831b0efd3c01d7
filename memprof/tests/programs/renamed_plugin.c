/* A library that is there in several versions, with other names at the same places. */
#include <stdlib.h>

__attribute__((noinline, noclone, noipa)) static void *ALLOCATE(size_t n) {
    void *block = malloc(n);
    __asm__ volatile("" : : : "memory");
    return block;
}

void *plugin_entry(size_t n);
void *plugin_entry(size_t n) {
    void *block = ALLOCATE(n);
    __asm__ volatile("" : : : "memory");
    return block;
}
