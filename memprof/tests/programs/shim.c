/* A second opinion: preloaded into a program, counts what it allocates and frees, by the rules
 * that memprof promises, with nothing in common with memprof's way of seeing it.
 *
 * The totals live in a shared file mapping, $SHIM_OUT.PID.N, so they are right up to the
 * process's last instruction, however it ends; N counts the programs that the process has been
 * (exec starts a new one). A forked child counts into a file of its own, from a copy of what its
 * parent held.
 *
 * Rules: only the outermost of nested calls counts; a call that returns NULL counts nowhere; a
 * realloc that succeeds is one free and one allocation, one that fails is nothing, realloc(p, 0)
 * that frees is a free; sizes are those asked for. A free of a block that was never seen is
 * "unknown" and no free.
 *
 * The shim never allocates by itself: its table of live blocks is mmap'ed.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* The file's content: the harness reads it as nine native-endian words and a name. */
struct totals {
    uint64_t ready; /* 1 once the rest means something */
    uint64_t allocated_bytes, allocated_count;
    uint64_t freed_bytes, freed_count;
    uint64_t outstanding_bytes, outstanding_count;
    uint64_t peak_outstanding_bytes;
    uint64_t unknown_frees;
    char program[256];
};

struct entry {
    uintptr_t address; /* 0: empty */
    size_t size;
};

static struct totals before_the_file; /* for calls before this library's constructor */
static struct totals *totals = &before_the_file;
static struct entry *table;
static size_t capacity, used;
static volatile int lock_word;
static char out_path[4096];

/* The mark on the stack of the outermost call that this thread is in, or NULL. */
static __thread volatile uintptr_t *outermost __attribute__((tls_model("initial-exec")));

/* A spin lock, because a mutex of the C library would tie the shim to its initialisation. */
static void lock(void) {
    while (__atomic_exchange_n(&lock_word, 1, __ATOMIC_ACQUIRE)) {
        int saved = errno;
        usleep(0);
        errno = saved;
    }
}

static void unlock(void) { __atomic_store_n(&lock_word, 0, __ATOMIC_RELEASE); }

static void die(const char *why) {
    ssize_t ignored = write(2, why, strlen(why));
    (void)ignored;
    _exit(127);
}

static size_t slot_of(uintptr_t address) {
    return (size_t)((address >> 4) * 0x9e3779b97f4a7c15ull >> 20) & (capacity - 1);
}

static void place(uintptr_t address, size_t size) {
    size_t i = slot_of(address);
    while (table[i].address)
        i = (i + 1) & (capacity - 1);
    table[i].address = address;
    table[i].size = size;
}

static void grow(void) {
    struct entry *old = table;
    size_t old_capacity = capacity;
    capacity = old_capacity ? old_capacity * 2 : 1 << 16;
    table = mmap(NULL, capacity * sizeof *table, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (table == MAP_FAILED)
        die("shim: no memory for the table\n");
    for (size_t i = 0; i < old_capacity; i++)
        if (old[i].address)
            place(old[i].address, old[i].size);
    if (old)
        munmap(old, old_capacity * sizeof *old);
}

/* Takes a block out of the table; 0 if it was not there. */
static int take(uintptr_t address, size_t *size) {
    if (!capacity)
        return 0;
    size_t i = slot_of(address);
    while (table[i].address != address) {
        if (!table[i].address)
            return 0;
        i = (i + 1) & (capacity - 1);
    }
    *size = table[i].size;
    used--;
    /* Backward shift (Knuth, TAOCP 3, 6.4, algorithm R): no tombstones. */
    for (size_t hole = i, j = i;;) {
        j = (j + 1) & (capacity - 1);
        if (!table[j].address) {
            table[hole].address = 0;
            return 1;
        }
        size_t home = slot_of(table[j].address);
        if (((j - home) & (capacity - 1)) >= ((j - hole) & (capacity - 1))) {
            table[hole] = table[j];
            hole = j;
        }
    }
}

static void count_allocation(void *block, size_t size) {
    lock();
    if (used + 1 > capacity / 2)
        grow();
    place((uintptr_t)block, size);
    used++;
    totals->allocated_bytes += size;
    totals->allocated_count++;
    totals->outstanding_bytes += size;
    totals->outstanding_count++;
    if (totals->outstanding_bytes > totals->peak_outstanding_bytes)
        totals->peak_outstanding_bytes = totals->outstanding_bytes;
    unlock();
}

/* What a free took away, to be able to put it back if a realloc fails. */
struct taken {
    int known;
    size_t size;
};

static struct taken count_free(void *block) {
    struct taken taken = {0, 0};
    lock();
    taken.known = take((uintptr_t)block, &taken.size);
    if (taken.known) {
        totals->freed_bytes += taken.size;
        totals->freed_count++;
        totals->outstanding_bytes -= taken.size;
        totals->outstanding_count--;
    } else {
        totals->unknown_frees++;
    }
    unlock();
    return taken;
}

static void uncount_free(void *block, struct taken taken) {
    lock();
    if (taken.known) {
        place((uintptr_t)block, taken.size);
        used++;
        totals->freed_bytes -= taken.size;
        totals->freed_count--;
        totals->outstanding_bytes += taken.size;
        totals->outstanding_count++;
    } else {
        totals->unknown_frees--;
    }
    unlock();
}

/* The allocator behind the shim: libc, or jemalloc where the program is linked to that. */

static struct {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void *(*reallocarray)(void *, size_t, size_t);
    void (*free)(void *);
    int (*posix_memalign)(void **, size_t, size_t);
    void *(*aligned_alloc)(size_t, size_t);
    void *(*memalign)(size_t, size_t);
    void *(*valloc)(size_t);
    void *(*pvalloc)(size_t);
} real;

/* Blocks for the calls that dlsym itself makes while it looks for the real ones: never given
 * back, counted like any other, because the program's C library did ask for them. */
static char early[1 << 16] __attribute__((aligned(16)));
static size_t early_used;
static int resolving;

static int is_early(const void *block) {
    return (const char *)block >= early && (const char *)block < early + sizeof early;
}

static void *early_block(size_t size) {
    size_t start = early_used;
    if (size > sizeof early - start)
        return NULL;
    early_used += (size + 15) & ~(size_t)15;
    return early + start;
}

static void resolve(void) {
    resolving = 1;
    real.calloc = dlsym(RTLD_NEXT, "calloc");
    real.realloc = dlsym(RTLD_NEXT, "realloc");
    real.reallocarray = dlsym(RTLD_NEXT, "reallocarray");
    real.free = dlsym(RTLD_NEXT, "free");
    real.posix_memalign = dlsym(RTLD_NEXT, "posix_memalign");
    real.aligned_alloc = dlsym(RTLD_NEXT, "aligned_alloc");
    real.memalign = dlsym(RTLD_NEXT, "memalign");
    real.valloc = dlsym(RTLD_NEXT, "valloc");
    real.pvalloc = dlsym(RTLD_NEXT, "pvalloc");
    real.malloc = dlsym(RTLD_NEXT, "malloc");
    resolving = 0;
    if (!real.malloc || !real.calloc || !real.realloc || !real.reallocarray || !real.free ||
        !real.posix_memalign || !real.aligned_alloc || !real.memalign || !real.valloc ||
        !real.pvalloc)
        die("shim: the allocator behind it is incomplete\n");
}

/* Whether this is the outermost call of its thread. One that was left by longjmp or an exception
 * is recognised by the stack: unwound past its mark, or the mark written over. */
static int enter(volatile uintptr_t *mark) {
    if (!real.malloc && !resolving)
        resolve();
    if (outermost && mark < outermost && *outermost == ~(uintptr_t)outermost)
        return 0;
    *mark = ~(uintptr_t)mark;
    outermost = mark;
    return 1;
}

static void leave(int outer) {
    if (outer)
        outermost = NULL;
}

#define ENTER()                                                                                    \
    volatile uintptr_t mark = 0;                                                                   \
    int outer = enter(&mark)

static void *allocated(int outer, void *block, size_t size) {
    int saved = errno;
    if (outer && block)
        count_allocation(block, size);
    leave(outer);
    errno = saved;
    return block;
}

void *malloc(size_t size) {
    ENTER();
    return allocated(outer, resolving ? early_block(size) : real.malloc(size), size);
}

void *calloc(size_t count, size_t size) {
    ENTER();
    void *block;
    if (resolving)
        /* Fresh from the zeroed array, and never handed out twice. */
        block = size && count > sizeof early / size ? NULL : early_block(count * size);
    else
        block = real.calloc(count, size);
    return allocated(outer, block, count * size);
}

void free(void *block) {
    if (!block)
        return;
    ENTER();
    if (outer)
        count_free(block);
    if (!is_early(block))
        real.free(block);
    leave(outer);
}

static void *resized(int outer, void *old, struct taken taken, void *block, size_t size) {
    int saved = errno;
    if (outer && block)
        count_allocation(block, size);
    else if (outer && old && size != 0)
        uncount_free(old, taken); /* failed: the old block is as it was */
    leave(outer);
    errno = saved;
    return block;
}

/* A block of the early array can't be handed to the real realloc. */
static void *leave_early(void *old, size_t size) {
    void *block = real.malloc(size);
    size_t rest = (size_t)(early + sizeof early - (char *)old);
    if (block)
        memcpy(block, old, size < rest ? size : rest);
    return block;
}

void *realloc(void *old, size_t size) {
    ENTER();
    struct taken taken = {0, 0};
    if (outer && old)
        taken = count_free(old);
    void *block;
    if (is_early(old))
        block = leave_early(old, size);
    else
        block = resolving ? early_block(size) : real.realloc(old, size);
    return resized(outer, old, taken, block, size);
}

void *reallocarray(void *old, size_t count, size_t size) {
    ENTER();
    size_t product;
    int overflow = __builtin_mul_overflow(count, size, &product);
    struct taken taken = {0, 0};
    if (outer && old)
        taken = count_free(old);
    void *block;
    if (is_early(old) && !overflow)
        block = leave_early(old, product);
    else
        block = real.reallocarray(old, count, size);
    return resized(outer, old, taken, block, overflow ? SIZE_MAX : product);
}

int posix_memalign(void **result, size_t alignment, size_t size) {
    ENTER();
    int error = real.posix_memalign(result, alignment, size);
    if (outer && !error && *result)
        count_allocation(*result, size);
    leave(outer);
    return error;
}

void *aligned_alloc(size_t alignment, size_t size) {
    ENTER();
    return allocated(outer, real.aligned_alloc(alignment, size), size);
}

void *memalign(size_t alignment, size_t size) {
    ENTER();
    return allocated(outer, real.memalign(alignment, size), size);
}

void *valloc(size_t size) {
    ENTER();
    return allocated(outer, real.valloc(size), size);
}

void *pvalloc(size_t size) {
    ENTER();
    return allocated(outer, real.pvalloc(size), size);
}

/* Moves the totals, as they stand in `from`, into a new file of this process; call with the lock
 * held. */
static void move_into_file(const struct totals *from) {
    char path[sizeof out_path + 64];
    int file = -1;
    for (int life = 0; file < 0 && life < 1000; life++) {
        snprintf(path, sizeof path, "%s.%d.%d", out_path, (int)getpid(), life);
        file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (file < 0 && errno != EEXIST)
            return;
    }
    if (file < 0 || ftruncate(file, sizeof *totals))
        die("shim: no file for the totals\n");
    struct totals *shared =
        mmap(NULL, sizeof *totals, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (shared == MAP_FAILED)
        die("shim: the file for the totals can't be mapped\n");
    close(file);
    *shared = *from;
    strncpy(shared->program, program_invocation_short_name, sizeof shared->program - 1);
    shared->ready = 1;
    totals = shared;
}

static struct totals at_fork; /* private memory: the parent goes on counting in the shared one */

static void before_fork(void) {
    lock();
    at_fork = *totals;
}
static void after_fork_in_parent(void) { unlock(); }
static void after_fork_in_child(void) {
    move_into_file(&at_fork);
    unlock();
}

__attribute__((constructor)) static void start(void) {
    const char *out = getenv("SHIM_OUT");
    if (!out || strlen(out) >= sizeof out_path)
        return;
    strcpy(out_path, out);
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    lock();
    move_into_file(totals);
    unlock();
}
