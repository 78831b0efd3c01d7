/* plugins DIRECTORY COUNT KEEP: loads DIRECTORY/plugin-0.so to plugin-(COUNT-1).so one after the
 * other and has each allocate at once and a millisecond later. Then it closes it, so that the next
 * one takes its place in memory, or, if KEEP is 1, has it allocate again after 20 milliseconds.
 * Which plugin it was is written into the stack: the calls of `zero` and `one` between `main` and
 * the plugin are the bits of its number. */
#include "truth.h"

#include <dlfcn.h>

enum { BITS = 10, BYTES = 65536 };

static const char *directory;
static int keep;

__attribute__((noinline)) static void call(void *plugin, const char *name) {
    void *(*function)(size_t) = (void *(*)(size_t))dlsym(plugin, name);
    if (!function)
        fail(dlerror());
    if (!function(BYTES))
        fail("no memory");
}

SITE void load_plugin(int number) {
    char path[4096];
    snprintf(path, sizeof path, "%s/plugin-%d.so", directory, number);
    void *plugin = dlopen(path, RTLD_NOW);
    if (!plugin)
        fail(dlerror());
    call(plugin, "level_at_once");
    usleep(1000);
    call(plugin, "level_later");
    if (!keep) {
        dlclose(plugin);
        return;
    }
    usleep(20000);
    call(plugin, "level_much_later");
}

SITE void zero(int number, int bit);
SITE void one(int number, int bit);

static inline __attribute__((always_inline)) void descend(int number, int bit) {
    if (bit == 0)
        load_plugin(number);
    else if (number >> (bit - 1) & 1)
        one(number, bit - 1);
    else
        zero(number, bit - 1);
    /* Both must return here. */
    __asm__ volatile("" ::: "memory");
}

SITE void zero(int number, int bit) { descend(number, bit); }
SITE void one(int number, int bit) { descend(number, bit); }

int main(int count, char **arguments) {
    if (count != 4)
        fail("plugins DIRECTORY COUNT KEEP");
    directory = arguments[1];
    int plugins = atoi(arguments[2]);
    keep = atoi(arguments[3]);
    for (int number = 0; number < plugins; number++)
        descend(number, BITS);
    truth_fact("plugins", (unsigned long long)plugins);
    tell_truth();
    return 0;
}
