/* Makes a function at run time that calls malloc, and lists it in a perf map, or does not. The
 * argument says how: "fine", "memfd" (the code is in a file without a name), "none", "fifo",
 * "link", "stranger" (the file is another user's), "deleted" (it is gone before the end). */
#include "truth.h"

#include <sys/stat.h>

typedef void *(*function)(size_t);

static function make(const char *how) {
    int file = -1, flags = MAP_PRIVATE | MAP_ANONYMOUS;
    if (!strcmp(how, "memfd")) {
        flags = MAP_SHARED;
        file = memfd_create("doublemapper", 0);
        if (file < 0 || ftruncate(file, 4096))
            fail("no file for code");
    }
    unsigned char *code =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, flags, file, 0);
    /* push %rbp; mov %rsp,%rbp; movabs $malloc,%rax; call *%rax; pop %rbp; ret */
    static const unsigned char text[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0xb8, 0,    0,    0,
                                         0,    0,    0,    0,    0,    0xff, 0xd0, 0x5d, 0xc3};
    if (code == MAP_FAILED)
        fail("no memory for code");
    memcpy(code, text, sizeof text);
    void *(*target)(size_t) = malloc;
    memcpy(code + 6, &target, sizeof target);
    return (function)(uintptr_t)code;
}

static void list(function made, const char *how, const char *map) {
    char target[64];
    snprintf(target, sizeof target, "/tmp/memprof-jit-%d", (int)getpid());
    if (!strcmp(how, "none"))
        return;
    if (!strcmp(how, "fifo")) {
        if (mkfifo(map, 0666))
            fail("no pipe can be made");
        return;
    }
    const char *file = strcmp(how, "link") ? map : target;
    FILE *out = fopen(file, "w");
    if (!out)
        fail("no file can be made");
    unsigned long start = (unsigned long)(uintptr_t)made;
    fprintf(out, "what is no line\n%lx 12 an older function\n", start);
    fprintf(out, "%lx 12 jit:make_order /srv/orders.js:7:13\n", start);
    fclose(out);
    if (!strcmp(how, "link") && symlink(target, map))
        fail("no link can be made");
    if (!strcmp(how, "stranger") && chown(map, 12345, 12345))
        fail("the file can't be given away");
}

int main(int count, char **arguments) {
    char map[64], target[64];
    if (count != 2)
        fail("an argument is missing");
    const char *how = arguments[1];
    snprintf(map, sizeof map, "/tmp/perf-%d.map", (int)getpid());
    snprintf(target, sizeof target, "/tmp/memprof-jit-%d", (int)getpid());
    wait_for_go();
    function made = make(how);
    list(made, how, map);
    /* The first stacks through new code may be cut short: they are not what is tested here. */
    usleep(100000);
    for (size_t i = 0; i < 50; i++)
        if (!made(1000))
            fail("an allocation failed that must not");
    /* Long enough for an observer to see what is mapped, and to read what is listed. */
    usleep(!strcmp(how, "deleted") ? 1000000 : 500000);
    if (!strcmp(how, "deleted"))
        unlink(map);
    return 0;
}
