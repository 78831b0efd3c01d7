/* What a test program knows about itself: for each call site (a function of a telling name that
 * nothing inlines) what was allocated there and what became of it; written as one line of JSON to
 * $TRUTH_FILE (appended), else to standard output.
 *
 * Nothing in here allocates, so a program's totals are the sums over its sites, but for what its
 * libraries allocate by themselves ("other_allocations": how many those are, null if unknown).
 */
#ifndef TRUTH_H
#define TRUTH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef __cplusplus
#define C_LINKAGE extern "C"
#else
#define C_LINKAGE
#endif

/* A call site keeps its own frame and its own name. */
#define SITE C_LINKAGE __attribute__((noinline, noclone, noipa, used))

struct site {
    const char *name;
    unsigned long long allocated_bytes, allocated_count, freed_bytes, freed_count;
    struct site *next;
};

struct block {
    void *address;
    size_t size;
    struct site *site;
};

static struct site *truth_sites;
static unsigned long long truth_unknown_frees;
static long long truth_other_allocations; /* below 0: unknown */
static struct {
    const char *name;
    unsigned long long value;
} truth_facts[16];
static int truth_fact_count;

/* Declares `truth_NAME`, the truth about the call site NAME. */
#define DECLARE_SITE(site_name)                                                                    \
    static struct site truth_##site_name = {#site_name, 0, 0, 0, 0, NULL};                         \
    __attribute__((constructor)) static void declare_##site_name(void) {                           \
        truth_##site_name.next = truth_sites;                                                      \
        truth_sites = &truth_##site_name;                                                          \
    }

static inline void add(unsigned long long *to, unsigned long long what) {
    __atomic_fetch_add(to, what, __ATOMIC_RELAXED);
}

__attribute__((unused, noreturn)) static void fail(const char *why) {
    ssize_t ignored = write(2, why, strlen(why));
    ignored = write(2, "\n", 1);
    (void)ignored;
    _exit(99);
}

/* Notes an allocation of `site`, which must have succeeded, and writes over the block. */
__attribute__((unused)) static struct block born(struct site *site, void *address, size_t size) {
    if (!address)
        fail("an allocation failed that must not");
    struct block block = {address, size, site};
    memset(address, 0xa5, size < 64 ? size : 64);
    add(&site->allocated_bytes, size);
    add(&site->allocated_count, 1);
    return block;
}

/* Notes that a block is about to be freed. */
__attribute__((unused)) static void *dying(struct block *block) {
    void *address = block->address;
    for (size_t i = 0; i < (block->size < 64 ? block->size : 64); i++)
        if (((unsigned char *)address)[i] != 0xa5)
            fail("a block does not hold what was written to it");
    add(&block->site->freed_bytes, block->size);
    add(&block->site->freed_count, 1);
    block->address = NULL;
    return address;
}

/* Frees a block, and notes it. */
__attribute__((unused)) static void give_back(struct block *block) { free(dying(block)); }

__attribute__((unused)) static void truth_fact(const char *name, unsigned long long value) {
    truth_facts[truth_fact_count].name = name;
    truth_facts[truth_fact_count++].value = value;
}

/* Writes the line. */
__attribute__((unused)) static void tell_truth(void) {
    static char line[16384];
    size_t at = 0;
#define TELL(...) at += (size_t)snprintf(line + at, sizeof line - at, __VA_ARGS__)
    TELL("{\"program\":\"%s\",\"pid\":%d,\"sites\":{", program_invocation_short_name,
         (int)getpid());
    for (struct site *site = truth_sites; site; site = site->next)
        TELL("%s\"%s\":{\"allocated_bytes\":%llu,\"allocated_count\":%llu,\"freed_bytes\":%llu,"
             "\"freed_count\":%llu}",
             site == truth_sites ? "" : ",", site->name, site->allocated_bytes,
             site->allocated_count, site->freed_bytes, site->freed_count);
    TELL("},\"unknown_frees\":%llu,\"other_allocations\":", truth_unknown_frees);
    if (truth_other_allocations < 0)
        TELL("null");
    else
        TELL("%lld", truth_other_allocations);
    for (int i = 0; i < truth_fact_count; i++)
        TELL(",\"%s\":%llu", truth_facts[i].name, truth_facts[i].value);
    TELL("}\n");
#undef TELL
    const char *path = getenv("TRUTH_FILE");
    int file = path ? open(path, O_WRONLY | O_APPEND | O_CREAT, 0666) : 1;
    if (file < 0 || write(file, line, at) != (ssize_t)at)
        fail("the truth can't be written");
    if (path)
        close(file);
}

/* With WAIT_FOR_GO in the environment: says that the program is ready, and its pid, and waits for
 * a line (or the end) of standard input. Without, goes on at once. */
__attribute__((unused)) static void wait_for_go(void) {
    char byte = 0, line[32];
    if (!getenv("WAIT_FOR_GO"))
        return;
    int length = snprintf(line, sizeof line, "ready %d\n", (int)getpid());
    if (write(1, line, (size_t)length) != length)
        fail("can't say that it is ready");
    while (byte != '\n') {
        ssize_t got = read(0, &byte, 1);
        if (got == 0)
            return;
        if (got < 0 && errno != EINTR)
            fail("can't wait for the go");
    }
}

#endif
