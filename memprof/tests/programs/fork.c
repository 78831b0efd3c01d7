/* Children start with a copy of what their parent holds: they free some of it, add their own and
 * end; their parent's blocks do not notice. Each process tells what it left, site by site. */
#include "truth.h"

#include <sys/wait.h>

DECLARE_SITE(parent_site)
DECLARE_SITE(child_site)
DECLARE_SITE(grandchild_site)

SITE struct block parent_site(size_t n) { return born(&truth_parent_site, malloc(n), n); }
SITE struct block child_site(size_t n) { return born(&truth_child_site, malloc(n), n); }
SITE struct block grandchild_site(size_t n) {
    return born(&truth_grandchild_site, malloc(n), n);
}

static struct block held[20];

static void grandchild(void) {
    give_back(&held[10]);
    for (size_t i = 1; i <= 3; i++)
        grandchild_site(i * 1000);
    tell_truth();
    _exit(0);
}

static void child(int number) {
    struct block own;
    for (int i = 0; i < 3 + number; i++)
        give_back(&held[i]);
    for (size_t i = 1; i <= 5; i++) {
        own = child_site(i * 64);
        if (i % 2)
            give_back(&own);
    }
    if (number == 1) {
        pid_t pid = fork();
        if (pid < 0)
            fail("no grandchild");
        if (pid == 0)
            grandchild();
        int status;
        if (waitpid(pid, &status, 0) != pid || status)
            fail("the grandchild failed");
    }
    tell_truth();
    _exit(0);
}

int main(void) {
    wait_for_go();
    for (size_t i = 0; i < 20; i++)
        held[i] = parent_site(100 + i);
    for (int number = 0; number < 3; number++) {
        pid_t pid = fork();
        if (pid < 0)
            fail("no child");
        if (pid == 0)
            child(number);
        /* At the same addresses as the child, at the same time. */
        for (int i = 0; i < 10; i++) {
            struct block passing = parent_site(64);
            give_back(&passing);
        }
        int status;
        if (waitpid(pid, &status, 0) != pid || status)
            fail("a child failed");
    }
    give_back(&held[19]);
    tell_truth();
    return 0;
}
