/* `crowd LIVING PASSING`: so many children at one time that hold a block each until all do, and so many
 * after one another that hold two and end. The parent holds nothing. */
#include "truth.h"

#include <sys/wait.h>

DECLARE_SITE(held_by_living)
DECLARE_SITE(held_by_passing)

SITE struct block held_by_living(void) { return born(&truth_held_by_living, malloc(200), 200); }
SITE struct block held_by_passing(void) { return born(&truth_held_by_passing, malloc(300), 300); }

static void await_children(int count) {
    for (; count > 0; count--) {
        int status;
        if (wait(&status) < 0 || status)
            fail("a child failed");
    }
}

int main(int argc, char **argv) {
    int living = argc > 1 ? atoi(argv[1]) : 0, passing = argc > 2 ? atoi(argv[2]) : 0;
    int held[2], end[2];
    char byte;
    wait_for_go();
    if (pipe(held) || pipe(end))
        fail("no pipe");
    for (int n = 0; n < living; n++) {
        pid_t pid = fork();
        if (pid < 0)
            fail("no child");
        if (pid == 0) {
            close(end[1]);
            held_by_living();
            if (write(held[1], "x", 1) != 1)
                fail("can't say that it holds");
            (void)!read(end[0], &byte, 1);
            _exit(0);
        }
    }
    for (int n = 0; n < living; n++)
        if (read(held[0], &byte, 1) != 1)
            fail("a child does not hold");
    for (int n = 0; n < passing; n++) {
        pid_t pid = fork();
        if (pid < 0)
            fail("no child");
        if (pid == 0) {
            held_by_passing();
            held_by_passing();
            _exit(0);
        }
        /* Some at a time. */
        if (n % 8 == 7)
            await_children(8);
    }
    await_children(passing % 8);
    close(end[1]);
    await_children(living);
    return 0;
}
