/* How a workload is driven: it prints "ready PID", does as many units of work as each line of its
 * input says, and prints "done NANOSECONDS" after each, the time on the wall by its own clock. Its CPU
 * time is read from outside, between the two. */
#ifndef WORKLOAD_H
#define WORKLOAD_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static unsigned long long nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ull + now.tv_nsec;
}

static void serve_input(void (*work)(unsigned long units)) {
    char line[32];
    printf("ready %d\n", (int)getpid());
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        unsigned long long start = nanoseconds();
        work(strtoul(line, NULL, 10));
        printf("done %llu\n", nanoseconds() - start);
        fflush(stdout);
    }
}

#endif
