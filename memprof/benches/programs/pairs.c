/* pairs COUNT: at each line of its input, COUNT pairs of malloc and free, then of calloc and free;
 * prints the nanoseconds of CPU time that a pair of each kind took. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

int main(int count, char **arguments) {
    char line[16];
    if (count != 2)
        return 2;
    long pairs = strtol(arguments[1], NULL, 10);
    while (puts("ready"), fflush(stdout), fgets(line, sizeof line, stdin)) {
        double start = now();
        for (long i = 0; i < pairs; i++) {
            void *volatile block = malloc(100);
            free(block);
        }
        double middle = now();
        for (long i = 0; i < pairs; i++) {
            void *volatile block = calloc(1, 100);
            free(block);
        }
        printf("%f %f\n", (middle - start) / pairs, (now() - middle) / pairs);
    }
    return 0;
}
