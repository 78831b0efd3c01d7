/* A static program without a C library, and so without an allocator that anyone knows: what a
 * static Go program looks like from outside. Sleeps. */
struct timespec_like {
    long seconds, nanoseconds;
};

/* Not on the stack, which nobody has aligned. */
static const struct timespec_like tick = {60, 0};

static long system_call(long number, long a, long b) {
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b) : "rcx", "r11", "memory");
    return result;
}

void _start(void) {
    system_call(35, (long)&tick, 0); /* nanosleep */
    system_call(60, 0, 0);           /* exit */
}
