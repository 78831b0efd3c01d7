/* A process that touches memory, and its child, which writes to some of it and touches its own. Each tells
 * of the pages that it was the first to touch, or to write to after the fork. */
#include "truth.h"

#include <sys/wait.h>

#define PAGE ((size_t)4096)

DECLARE_SITE(touch_before)
DECLARE_SITE(write_in_child)
DECLARE_SITE(touch_in_child)
DECLARE_SITE(touch_after)

static char *map(size_t pages) {
    char *range = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (range == MAP_FAILED || madvise(range, pages * PAGE, MADV_NOHUGEPAGE))
        fail("memory can't be mapped");
    return range;
}

/* In the function's own frame and name. */
#define TOUCH(site, range, pages)                                                                  \
    for (size_t page = 0; page < (pages); page++) {                                                \
        *(volatile char *)((range) + page * PAGE) = 1;                                             \
        (site)->allocated_bytes += PAGE;                                                           \
        (site)->allocated_count++;                                                                 \
    }

static char *shared;

SITE void touch_before(void) {
    shared = map(400);
    TOUCH(&truth_touch_before, shared, 400)
}

SITE void write_in_child(void) { TOUCH(&truth_write_in_child, shared + 50 * PAGE, 150) }

SITE void touch_in_child(void) {
    char *range = map(100);
    TOUCH(&truth_touch_in_child, range, 100)
}

SITE void touch_after(void) {
    char *range = map(70);
    TOUCH(&truth_touch_after, range, 70)
}

int main(void) {
    touch_before();
    pid_t child = fork();
    if (child < 0)
        fail("it can't fork");
    if (child == 0) {
        memset(&truth_touch_before.allocated_bytes, 0, 2 * sizeof(unsigned long long));
        write_in_child();
        touch_in_child();
        tell_truth();
        _exit(0);
    }
    int status;
    if (waitpid(child, &status, 0) != child || status)
        fail("the child failed");
    touch_after();
    tell_truth();
    return 0;
}
