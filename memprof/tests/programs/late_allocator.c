/* An allocator in a library that programs load at run time: it hands out a fixed store from its start to
 * its end. */
#include <stddef.h>

static _Alignas(16) unsigned char store[1 << 20];
static size_t used;

void *malloc(size_t size) {
    size_t rounded = (size + 15) & ~(size_t)15;
    if (rounded < size || rounded > sizeof store - used)
        return NULL;
    void *block = store + used;
    used += rounded;
    return block;
}

void free(void *block) { (void)block; }
