/* How a workload is driven: it prints "ready PID", does as many units of work as each line of its
 * input says, and prints "done" after each. Its CPU time is read from outside, between the two. */
#ifndef WORKLOAD_H
#define WORKLOAD_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static void serve_input(void (*work)(unsigned long units)) {
    char line[32];
    printf("ready %d\n", (int)getpid());
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        work(strtoul(line, NULL, 10));
        puts("done");
        fflush(stdout);
    }
}

#endif
