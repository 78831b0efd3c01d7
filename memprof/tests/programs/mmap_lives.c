/* Mappings and what becomes of their processes: a child that unmaps what its parent keeps, threads
 * with stacks of their own, and with "exec" a second life that starts with none of the first one's. */
#include "truth.h"

#include <pthread.h>
#include <sys/wait.h>

enum { PAGE = 4096, THREADS = 3, STACK_PAGES = 64 };

DECLARE_SITE(map_in_parent)
DECLARE_SITE(map_in_child)
DECLARE_SITE(map_after_exec)
DECLARE_SITE(start_threads)

static char *mapped(struct site *site, void *address, size_t bytes) {
    if (address == MAP_FAILED)
        fail("a mapping failed that must not");
    add(&site->allocated_bytes, bytes);
    add(&site->allocated_count, 1);
    return address;
}

#define map(bytes)                                                                                 \
    mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_PRIVATE, -1, 0)

SITE char *map_in_parent(size_t n) { return mapped(&truth_map_in_parent, map(n), n); }
SITE char *map_in_child(size_t n) { return mapped(&truth_map_in_child, map(n), n); }
SITE char *map_after_exec(size_t n) { return mapped(&truth_map_after_exec, map(n), n); }

static void unmap(struct site *site, char *at, size_t bytes, int whole) {
    if (munmap(at, bytes))
        fail("an unmapping failed that must not");
    add(&site->freed_bytes, bytes);
    add(&site->freed_count, (unsigned long long)whole);
}

static pthread_barrier_t all_started;

static void *run(void *nothing) {
    pthread_barrier_wait(&all_started);
    return nothing;
}

/* Their stacks stay mapped when they are over, for threads to come. */
SITE void start_threads(void) {
    pthread_t threads[THREADS];
    pthread_attr_t attributes;
    pthread_barrier_init(&all_started, NULL, THREADS + 1);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_PAGES * PAGE);
    for (int i = 0; i < THREADS; i++) {
        if (pthread_create(&threads[i], &attributes, run, NULL))
            fail("no thread");
        /* With its guard. */
        add(&truth_start_threads.allocated_bytes, (STACK_PAGES + 1) * PAGE);
        add(&truth_start_threads.allocated_count, 1);
    }
    pthread_barrier_wait(&all_started);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

int main(int count, char **arguments) {
    const char *how = count > 1 ? arguments[1] : "";
    wait_for_go();
    if (!strcmp(how, "second")) {
        map_after_exec(7 * PAGE);
        tell_truth();
        /* Long enough for an observer to see where the code of the second life is. */
        usleep(200000);
        return 0;
    }
    if (!strcmp(how, "threads")) {
        start_threads();
        tell_truth();
        return 0;
    }
    char *one = map_in_parent(20 * PAGE), *other = map_in_parent(10 * PAGE);
    if (!strcmp(how, "exec")) {
        unsetenv("WAIT_FOR_GO");
        execl("/proc/self/exe", arguments[0], "second", (char *)NULL);
        fail("no second life");
    }
    pid_t pid = fork();
    if (pid < 0)
        fail("no child");
    if (pid == 0) {
        unmap(&truth_map_in_parent, one, 20 * PAGE, 1);
        unmap(&truth_map_in_parent, other + PAGE, PAGE, 0);
        map_in_child(3 * PAGE);
        tell_truth();
        _exit(0);
    }
    int status;
    if (waitpid(pid, &status, 0) != pid || status)
        fail("the child failed");
    unmap(&truth_map_in_parent, other, 10 * PAGE, 1);
    tell_truth();
    return 0;
}
