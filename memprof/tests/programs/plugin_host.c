/* Loads a library and allocates through it; then another version of it takes its name, as when a
 * package is upgraded. Arguments: the library, the other version. */
#include "truth.h"

#include <dlfcn.h>

int main(int count, char **arguments) {
    if (count != 3)
        fail("arguments are missing");
    wait_for_go();
    void *library = dlopen(arguments[1], RTLD_NOW);
    void *(*entry)(size_t) = NULL;
    if (library)
        *(void **)&entry = dlsym(library, "plugin_entry");
    if (!entry)
        fail("no such library");
    /* One for an observer to see that there is new code, and time to learn its unwind tables. */
    if (!entry(1))
        fail("an allocation failed that must not");
    usleep(100000);
    for (size_t i = 0; i < 50; i++)
        if (!entry(1000))
            fail("an allocation failed that must not");
    /* Long enough for an observer to see what is mapped. */
    usleep(100000);
    if (rename(arguments[2], arguments[1]))
        fail("the library can't be replaced");
    return 0;
}
