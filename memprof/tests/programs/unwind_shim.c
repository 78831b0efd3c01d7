/* The truth about stacks: takes the call stack of every allocation with libgcc's unwinder, which
 * has nothing in common with memprof's, and counts the allocations of each.
 *
 * Two ways into a program. Preloaded, it stands before the C library's functions. Linked into a
 * program that has its C library in itself (WITNESS_WRAPS, and the linker's --wrap), it stands
 * before them as `__wrap_malloc` and so on.
 *
 * The truth is taken where no return address is hijacked. A function with a return probe has the
 * kernel's trampoline in its return slot, and no unwinder of the program's own gets past that. So
 * the functions here must not be probed themselves, and are not: memprof takes a file that gives
 * memory but takes none back for no allocator, and there is no `free` here. The C library's
 * functions are, and are called when the stack has been taken. memprof then sees
 *
 *     malloc (the C library's), this file's malloc, the program's caller, ... , the outermost
 *
 * of which all from the program's caller on are on record here, return addresses and, behind a
 * signal, interrupted instructions, as `backtrace()` would give them. The C library's functions
 * are called by their other names: nothing has to be looked up, and nothing that they call comes
 * by here again.
 *
 * The records of a process that runs $UNWIND_SHIM_PROGRAM lie in a shared file mapping,
 * $UNWIND_SHIM_OUT.PID, complete up to its last instruction. A forked child records nothing.
 * Nothing in here takes a lock, so signal handlers may come by; what the unwinder of a static
 * program allocates for itself is only counted.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <unwind.h>

#define MOST_STACKS (1u << 17)
#define MOST_WORDS (1u << 23)
/* More than memprof's limit, so that a stack that passes it is not taken for one that ends. */
#define MOST_FRAMES 256
/* This file's own function. */
#define OWN_FRAMES 1

/* The harness reads the file as native-endian words in this order. */
struct stack {
    uint64_t hash; /* 0: empty */
    uint64_t allocations;
    uint64_t first_word;
    uint64_t frames; /* and UNFINISHED */
};

/* The unwinder stopped where there is no unwind information that it could find, not at what is
 * marked as the outermost frame: there may be more. */
#define UNFINISHED (1ull << 63)

struct records {
    uint64_t untaken; /* allocations before the unwinder worked, or by the unwinder */
    uint64_t dropped; /* allocations for whose stack there was no room */
    uint64_t words_used;
    struct stack stacks[MOST_STACKS];
    uint64_t words[MOST_WORDS];
};

struct frames {
    size_t count;
    int finished;
    uint64_t pcs[MOST_FRAMES];
};

static struct records *records; /* NULL: not asked for, or a forked child */
static int opened;
static uint64_t untaken_before;
static __thread int taking __attribute__((tls_model("initial-exec")));

static void die(const char *why) {
    ssize_t ignored = write(2, why, strlen(why));
    (void)ignored;
    _exit(127);
}

/* Whether this process runs the program that is asked for, and not the one that will start it. */
static int is_the_program(void) {
    char path[4096];
    const char *wanted = getenv("UNWIND_SHIM_PROGRAM");
    ssize_t length = readlink("/proc/self/exe", path, sizeof path);
    return wanted && length == (ssize_t)strlen(wanted) && !memcmp(wanted, path, (size_t)length);
}

/* At the first allocation, which may come before this library's constructor: nothing is used here
 * that needs one to have run. In a static program the unwinder does: there it is the constructor
 * that calls this. */
static void open_records(void) {
    char path[4096], digits[16];
    const char *out = getenv("UNWIND_SHIM_OUT");
    opened = 1;
    if (!out || strlen(out) > sizeof path - sizeof digits || !is_the_program())
        return;
    char *end = stpcpy(path, out);
    *end++ = '.';
    size_t count = 0;
    for (unsigned pid = (unsigned)getpid(); pid; pid /= 10)
        digits[count++] = (char)('0' + pid % 10);
    while (count)
        *end++ = digits[--count];
    *end = '\0';
    int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file < 0 || ftruncate(file, sizeof *records))
        die("unwind_shim: no file for the records\n");
    records = mmap(NULL, sizeof *records, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (records == MAP_FAILED)
        die("unwind_shim: the file for the records can't be mapped\n");
    close(file);
    records->untaken = untaken_before;
}

static void stop_recording(void) { records = NULL; }

__attribute__((constructor)) static void start(void) {
    pthread_atfork(NULL, NULL, stop_recording);
    if (!opened)
        open_records();
}

static _Unwind_Reason_Code note(struct _Unwind_Context *context, void *argument) {
    struct frames *frames = argument;
    uint64_t pc = _Unwind_GetIP(context);
    /* The outermost frame has one more behind it, at 0. */
    if (!pc)
        frames->finished = 1;
    if (!pc || frames->count == MOST_FRAMES)
        return _URC_END_OF_STACK;
    frames->pcs[frames->count++] = pc;
    return _URC_NO_REASON;
}

/* Takes the stack of the function that it is inlined into. */
__attribute__((always_inline)) static inline void take(struct frames *frames) {
#ifndef WITNESS_WRAPS
    if (!opened)
        open_records();
#endif
    frames->count = 0;
    frames->finished = 0;
    if (!records || taking)
        return;
    taking = 1;
    _Unwind_Backtrace(note, frames);
    taking = 0;
}

/* Counts an allocation from that stack; slots are claimed by hash, without a lock. */
static void commit(const struct frames *frames) {
    if (!records) {
        untaken_before += !opened;
        return;
    }
    if (frames->count <= OWN_FRAMES) {
        __atomic_fetch_add(&records->untaken, 1, __ATOMIC_RELAXED);
        return;
    }
    const uint64_t *pcs = frames->pcs + OWN_FRAMES;
    size_t count = frames->count - OWN_FRAMES;
    uint64_t hash = 0xcbf29ce484222325;
    for (size_t i = 0; i < count; i++) {
        hash = (hash ^ pcs[i]) * 0x9e3779b97f4a7c15;
        hash ^= hash >> 32;
    }
    hash |= 1;
    for (size_t probe = 0; probe < MOST_STACKS / 2; probe++) {
        struct stack *stack = &records->stacks[(hash / 2 + probe) % MOST_STACKS];
        uint64_t expected = 0;
        if (__atomic_compare_exchange_n(&stack->hash, &expected, hash, 0, __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED)) {
            uint64_t first = __atomic_fetch_add(&records->words_used, count, __ATOMIC_RELAXED);
            if (first + count > MOST_WORDS)
                break;
            memcpy(records->words + first, pcs, count * sizeof *pcs);
            stack->first_word = first;
            stack->frames = count | (frames->finished ? 0 : UNFINISHED);
            expected = hash;
        }
        if (expected == hash) {
            __atomic_fetch_add(&stack->allocations, 1, __ATOMIC_RELAXED);
            return;
        }
    }
    __atomic_fetch_add(&records->dropped, 1, __ATOMIC_RELAXED);
}

/* The block that `call` gives, on record if it gave one. What comes behind the call also keeps it
 * from being a jump, which would take this file's frame off the stack. */
#define WITNESSED(call)                                                                            \
    struct frames frames;                                                                          \
    take(&frames);                                                                                 \
    void *block = (call);                                                                          \
    int saved = errno;                                                                             \
    if (block)                                                                                     \
        commit(&frames);                                                                           \
    errno = saved;                                                                                 \
    return block

#ifdef WITNESS_WRAPS
#define WITNESS(function) __wrap_##function
#define REAL(function) __real_##function
#else
#define WITNESS(function) function
#define REAL(function) __libc_##function
#endif

extern void *REAL(malloc)(size_t size);
extern void *REAL(calloc)(size_t count, size_t size);
extern void *REAL(realloc)(void *old, size_t size);

void *WITNESS(malloc)(size_t size) { WITNESSED(REAL(malloc)(size)); }

void *WITNESS(calloc)(size_t count, size_t size) { WITNESSED(REAL(calloc)(count, size)); }

void *WITNESS(realloc)(void *old, size_t size) { WITNESSED(REAL(realloc)(old, size)); }

#ifndef WITNESS_WRAPS
extern void *__libc_memalign(size_t alignment, size_t size);
extern void *__libc_valloc(size_t size);
extern void *__libc_pvalloc(size_t size);

void *memalign(size_t alignment, size_t size) { WITNESSED(__libc_memalign(alignment, size)); }

void *aligned_alloc(size_t alignment, size_t size) { WITNESSED(__libc_memalign(alignment, size)); }

void *valloc(size_t size) { WITNESSED(__libc_valloc(size)); }

void *pvalloc(size_t size) { WITNESSED(__libc_pvalloc(size)); }

/* The C library's own would come by here again, from inside a probed function. */
void *reallocarray(void *old, size_t count, size_t size) {
    size_t product;
    if (__builtin_mul_overflow(count, size, &product)) {
        errno = ENOMEM;
        return NULL;
    }
    WITNESSED(__libc_realloc(old, product));
}

int posix_memalign(void **result, size_t alignment, size_t size) {
    if (alignment % sizeof(void *) || !alignment || alignment & (alignment - 1))
        return EINVAL;
    struct frames frames;
    take(&frames);
    int saved = errno;
    void *block = __libc_memalign(alignment, size);
    errno = saved;
    if (!block)
        return ENOMEM;
    commit(&frames);
    *result = block;
    return 0;
}
#endif
