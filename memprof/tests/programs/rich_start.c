/* Holds 50 MB from its start, half in small blocks, half in large ones; ready, it waits for a line, then
 * holds 10 MB more and frees one half of what was small. Is ready again, and waits again. */
#include "truth.h"

#define SMALL 1000
#define LARGE 1000000

DECLARE_SITE(hold_later)

SITE char *hold_later(void) { return born(&truth_hold_later, malloc(SMALL), SMALL).address; }

int main(void) {
    static char *small[25000];
    for (int i = 0; i < 25000; i++) {
        small[i] = malloc(SMALL);
        memset(small[i], 1, SMALL);
    }
    for (int i = 0; i < 25; i++)
        memset(malloc(LARGE), 1, LARGE);
    wait_for_go();
    for (int i = 0; i < 10000; i++)
        memset(hold_later(), 1, SMALL);
    for (int i = 0; i < 25000; i += 2)
        free(small[i]);
    tell_truth();
    wait_for_go();
    return 0;
}
