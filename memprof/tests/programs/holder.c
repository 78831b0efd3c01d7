/* A program that does as it is told, a line at a time on standard input: `hold N` holds N more blocks of
 * 1,000 bytes; `fork` has a child that holds 3 and ends when this program does; `exec PATH` becomes
 * another program; `open PATH` loads a library whose malloc makes the blocks from then on; `end` tells the truth and ends. Each line done is answered by `done`. Its allocations
 * are its own alone. */
#include "truth.h"

#include <dlfcn.h>
#include <sys/wait.h>

DECLARE_SITE(hold_block)
DECLARE_SITE(hold_in_child)

static void *(*allocate)(size_t) = malloc;

SITE struct block hold_block(void) { return born(&truth_hold_block, allocate(1000), 1000); }
SITE struct block hold_in_child(void) { return born(&truth_hold_in_child, malloc(500), 500); }

static void say_done(void) {
    if (write(1, "done\n", 5) != 5)
        fail("can't say that it is done");
}

static int read_line(char *line, size_t room) {
    size_t at = 0;
    while (at + 1 < room) {
        ssize_t got = read(0, line + at, 1);
        if (got <= 0)
            return 0;
        if (line[at] == '\n')
            break;
        at++;
    }
    line[at] = 0;
    return 1;
}

static void open_library(const char *path) {
    void *library = dlopen(path, RTLD_NOW);
    void *found = library ? dlsym(library, "malloc") : NULL;
    if (!found)
        fail("no malloc in that library");
    memcpy(&allocate, &found, sizeof allocate);
}

static void beget(void) {
    int ended[2], held[2];
    char byte;
    if (pipe(ended) || pipe(held))
        fail("no pipe");
    pid_t pid = fork();
    if (pid < 0)
        fail("no child");
    if (pid == 0) {
        close(ended[1]);
        for (int i = 0; i < 3; i++)
            hold_in_child();
        if (write(held[1], "x", 1) != 1)
            fail("can't say that it holds");
        /* Ends with its parent. */
        (void)!read(ended[0], &byte, 1);
        tell_truth();
        _exit(0);
    }
    close(ended[0]);
    if (read(held[0], &byte, 1) != 1)
        fail("the child does not hold");
    /* The parent keeps the other end open for as long as it lives. */
}

int main(void) {
    char line[4096];
    int length = snprintf(line, sizeof line, "ready %d\n", (int)getpid());
    if (write(1, line, (size_t)length) != length)
        fail("can't say that it is ready");
    while (read_line(line, sizeof line)) {
        if (!strncmp(line, "hold ", 5)) {
            for (int n = atoi(line + 5); n > 0; n--)
                hold_block();
        } else if (!strcmp(line, "fork")) {
            beget();
        } else if (!strncmp(line, "open ", 5)) {
            open_library(line + 5);
        } else if (!strncmp(line, "exec ", 5)) {
            execl(line + 5, line + 5, (char *)NULL);
            fail("can't become another program");
        } else {
            break;
        }
        say_done();
    }
    tell_truth();
    return 0;
}
