/* Processes that have one id, one after the other: each holds one block more than the one before. */
#include "truth.h"

#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

DECLARE_SITE(held_by_one_of_them)
DECLARE_SITE(held_by_parent)

SITE struct block held_by_one_of_them(size_t n) {
    return born(&truth_held_by_one_of_them, malloc(n), n);
}
SITE struct block held_by_parent(size_t n) { return born(&truth_held_by_parent, malloc(n), n); }

static pid_t fork_as(pid_t wanted) {
    struct clone_args arguments = {0};
    arguments.exit_signal = SIGCHLD;
    if (wanted) {
        arguments.set_tid = (uintptr_t)&wanted;
        arguments.set_tid_size = 1;
    }
    return (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
}

int main(void) {
    pid_t id = 0;
    wait_for_go();
    held_by_parent(64);
    for (int life = 1; life <= 3; life++) {
        pid_t pid = fork_as(id);
        if (pid < 0)
            fail("no child of this id");
        if (pid == 0) {
            for (int n = 0; n < life; n++)
                held_by_one_of_them(100);
            tell_truth();
            _exit(0);
        }
        id = pid;
        int status;
        if (waitpid(pid, &status, 0) != pid || status)
            fail("a child failed");
    }
    tell_truth();
    return 0;
}
