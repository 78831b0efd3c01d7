/* A child made with vfork lives in its parent's memory: what it allocates and frees there is the
 * parent's. Then posix_spawn, which does the same in order to exec something else. */
#include "truth.h"

#include <spawn.h>
#include <sys/wait.h>

DECLARE_SITE(vfork_parent)
DECLARE_SITE(vfork_child)

SITE struct block vfork_parent(size_t n) { return born(&truth_vfork_parent, malloc(n), n); }
SITE struct block vfork_child(size_t n) { return born(&truth_vfork_child, malloc(n), n); }

static struct block from_parent[10], from_child[10];
extern char **environ;

static void must_end_well(pid_t pid) {
    int status;
    if (waitpid(pid, &status, 0) != pid || status)
        fail("a child failed");
}

SITE void borrow_memory(void) {
    pid_t pid = vfork();
    if (pid < 0)
        fail("no child");
    if (pid == 0) {
        for (size_t i = 0; i < 10; i++)
            from_child[i] = vfork_child(40 + i);
        for (size_t i = 0; i < 3; i++)
            give_back(&from_parent[i]);
        _exit(0);
    }
    must_end_well(pid);
}

int main(void) {
    static char *arguments[] = {(char *)"true", NULL};
    pid_t pid;
    wait_for_go();
    for (size_t i = 0; i < 10; i++)
        from_parent[i] = vfork_parent(1000 + i);
    borrow_memory();
    for (size_t i = 0; i < 4; i++)
        give_back(&from_child[i]);
    if (posix_spawn(&pid, "/bin/true", NULL, NULL, arguments, environ))
        fail("no spawned child");
    must_end_well(pid);
    /* The spawned child's exec must not have emptied the memory that it borrowed. */
    give_back(&from_child[5]);
    give_back(&from_parent[5]);
    tell_truth();
    return 0;
}
