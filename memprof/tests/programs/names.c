/* A call path, one function of it inlined, that a report must name whatever becomes of the
 * program's file. What becomes of it here: with the argument "unlink" the program removes it,
 * with "exec" it does so and becomes another program. */
#include "truth.h"

#define HIDDEN __attribute__((noinline, noclone, noipa)) static

HIDDEN void *keep_block(size_t n) {
    return born(&(struct site){0}, malloc(n), n).address; /* line of keep_block */
}

__attribute__((always_inline)) static inline void *inlined_call(size_t n) {
    void *block = keep_block(n); /* line of inlined_call */
    __asm__ volatile("" : : : "memory");
    return block;
}

HIDDEN void *handle_request(size_t n) {
    void *block = inlined_call(n); /* line of handle_request */
    __asm__ volatile("" : : : "memory");
    return block;
}

int main(int count, char **arguments) {
    wait_for_go();
    for (size_t i = 0; i < 50; i++)
        handle_request(1000); /* line of main */
    /* Long enough for an observer to see what is mapped. */
    usleep(100000);
    if (count > 1 && unlink(arguments[0]))
        fail("the program can't be removed");
    if (count > 1 && !strcmp(arguments[1], "exec"))
        execl("/bin/true", "true", (char *)NULL);
    return 0;
}
