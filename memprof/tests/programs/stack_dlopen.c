/* stack_dlopen TURNS PLUGIN [OTHER]: loads a plugin, and has it allocate as soon as it is there.
 * With one, it stays. With two, each is unloaded again for the other one to take its place. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

typedef long (*run_function)(long depth);

static void *open_plugin(const char *path, run_function *run) {
    void *plugin = dlopen(path, RTLD_NOW);
    *run = plugin ? (run_function)dlsym(plugin, "plugin_run") : NULL;
    if (!*run) {
        fprintf(stderr, "%s\n", dlerror());
        exit(3);
    }
    return plugin;
}

int main(int count, char **arguments) {
    run_function run = NULL;
    if (count < 3)
        return 2;
    long turns = strtol(arguments[1], NULL, 10), sum = 0;
    void *plugin = open_plugin(arguments[2], &run);
    for (long i = 0; i < turns; i++) {
        sum += run(i % 10);
        if (count > 3) {
            if (dlclose(plugin))
                return 3;
            plugin = open_plugin(arguments[2 + (i + 1) % 2], &run);
        }
    }
    return sum > 0 ? 0 : 2;
}
