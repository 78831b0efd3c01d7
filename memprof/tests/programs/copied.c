/* copied CASE THUNK [THREADS]: allocates below hand-written assembly whose unwind information takes more
 * than rsp and rbp, or that has none. The stacks on record are return addresses that each function
 * took down itself; they go to $STACKS_FILE, a line each: how often, then the addresses from the
 * function that called `leaf` outwards, up to `main`'s.
 */
#include "truth.h"

#include <pthread.h>
#include <time.h>

typedef void (*function)(void *);

/* Calls `inner` with `argument`, and notes its own return address. Each of them sets rbp to what
 * is no frame, so that nobody gets past by frame pointer. */
typedef void thunk(function inner, void *argument, void **return_address);

/* The CFA is in rbx. */
thunk cfa_in_rbx;
/* The CFA is an expression that reads the stack and calculates. */
thunk cfa_by_expression;
/* The return address is in r13 and no longer in its slot. */
thunk return_address_in_r13;
/* The caller's rbp is in r14. */
thunk rbp_in_r14;
/* There is no unwind information at all. */
thunk unknown;

__asm__(".text\n"
        ".p2align 6\n"
        "cfa_in_rbx: .cfi_startproc\n"
        "  push %rbp\n  .cfi_def_cfa_offset 16\n  .cfi_offset %rbp, -16\n"
        "  push %rbx\n  .cfi_def_cfa_offset 24\n  .cfi_offset %rbx, -24\n"
        "  mov 16(%rsp), %rax\n  mov %rax, (%rdx)\n"
        "  mov %rsp, %rbx\n  .cfi_def_cfa %rbx, 24\n"
        "  mov $1, %ebp\n"
        "  sub $200, %rsp\n"
        "  mov %rdi, %rax\n  mov %rsi, %rdi\n  call *%rax\n"
        "  mov %rbx, %rsp\n  .cfi_def_cfa %rsp, 24\n"
        "  pop %rbx\n  .cfi_def_cfa_offset 16\n  .cfi_restore %rbx\n"
        "  pop %rbp\n  .cfi_def_cfa_offset 8\n  .cfi_restore %rbp\n"
        "  ret\n"
        ".cfi_endproc\n"
        ".p2align 6\n"
        "cfa_by_expression: .cfi_startproc\n"
        "  push %rbp\n  .cfi_def_cfa_offset 16\n  .cfi_offset %rbp, -16\n"
        "  push %rbx\n  .cfi_def_cfa_offset 24\n  .cfi_offset %rbx, -24\n"
        "  mov 16(%rsp), %rax\n  mov %rax, (%rdx)\n"
        "  mov %rsp, %rbx\n"
        "  lea 8(%rsp), %rax\n"
        "  mov $1, %ebp\n"
        "  sub $200, %rsp\n"
        "  mov %rax, 8(%rsp)\n"
        /* *(rsp + 8) + (8 + 8) */
        "  .cfi_escape 0x0f, 7, 0x77, 8, 0x06, 0x38, 0x38, 0x22, 0x22\n"
        "  mov %rdi, %rax\n  mov %rsi, %rdi\n  call *%rax\n"
        "  mov %rbx, %rsp\n  .cfi_def_cfa %rsp, 24\n"
        "  pop %rbx\n  .cfi_def_cfa_offset 16\n  .cfi_restore %rbx\n"
        "  pop %rbp\n  .cfi_def_cfa_offset 8\n  .cfi_restore %rbp\n"
        "  ret\n"
        ".cfi_endproc\n"
        ".p2align 6\n"
        "return_address_in_r13: .cfi_startproc\n"
        "  push %rbp\n  .cfi_def_cfa_offset 16\n  .cfi_offset %rbp, -16\n"
        "  push %r13\n  .cfi_def_cfa_offset 24\n  .cfi_offset %r13, -24\n"
        "  sub $8, %rsp\n  .cfi_def_cfa_offset 32\n"
        "  mov 24(%rsp), %r13\n  mov %r13, (%rdx)\n  .cfi_register %rip, %r13\n"
        "  movq $0, 24(%rsp)\n"
        "  mov $1, %ebp\n"
        "  mov %rdi, %rax\n  mov %rsi, %rdi\n  call *%rax\n"
        "  mov %r13, 24(%rsp)\n  .cfi_restore %rip\n"
        "  add $8, %rsp\n  .cfi_def_cfa_offset 24\n"
        "  pop %r13\n  .cfi_def_cfa_offset 16\n  .cfi_restore %r13\n"
        "  pop %rbp\n  .cfi_def_cfa_offset 8\n  .cfi_restore %rbp\n"
        "  ret\n"
        ".cfi_endproc\n"
        ".p2align 6\n"
        "rbp_in_r14: .cfi_startproc\n"
        "  push %r14\n  .cfi_def_cfa_offset 16\n  .cfi_offset %r14, -16\n"
        "  mov 8(%rsp), %rax\n  mov %rax, (%rdx)\n"
        "  mov %rbp, %r14\n  .cfi_register %rbp, %r14\n"
        "  mov $1, %ebp\n"
        "  mov %rdi, %rax\n  mov %rsi, %rdi\n  call *%rax\n"
        "  mov %r14, %rbp\n  .cfi_same_value %rbp\n"
        "  pop %r14\n  .cfi_def_cfa_offset 8\n  .cfi_restore %r14\n"
        "  ret\n"
        ".cfi_endproc\n"
        ".p2align 6\n"
        "unknown:\n"
        "  push %rbp\n"
        "  mov 8(%rsp), %rax\n  mov %rax, (%rdx)\n"
        "  mov $1, %ebp\n"
        "  mov %rdi, %rax\n  mov %rsi, %rdi\n  call *%rax\n"
        "  pop %rbp\n"
        "  ret\n"
        ".p2align 6\n");

DECLARE_SITE(leaf)

/* A stack on record: return addresses, outermost first, as they are found. */
enum { MOST_FRAMES = 64, MOST_STACKS = 64 };
struct stack {
    void *frames[MOST_FRAMES];
    size_t depth;
    unsigned long long count;
};

struct call {
    thunk *through;
    struct stack here;
};

static struct stack stacks[MOST_STACKS];
static size_t stack_count;
static pthread_mutex_t stacks_lock = PTHREAD_MUTEX_INITIALIZER;

static void note(struct call *call, void *return_address) {
    if (call->here.depth == MOST_FRAMES)
        fail("too deep to be noted");
    call->here.frames[call->here.depth++] = return_address;
}
#define NOTE(call) note(call, __builtin_return_address(0))

static void note_stack(const struct call *call) {
    const struct stack *here = &call->here;
    pthread_mutex_lock(&stacks_lock);
    struct stack *known = stacks;
    while (known < stacks + stack_count &&
           (known->depth != here->depth ||
            memcmp(known->frames, here->frames, here->depth * sizeof *here->frames)))
        known++;
    if (known == stacks + MOST_STACKS)
        fail("too many stacks");
    if (known == stacks + stack_count) {
        *known = *here;
        stack_count++;
    }
    known->count++;
    pthread_mutex_unlock(&stacks_lock);
}

SITE void leaf(struct call *call) {
    NOTE(call);
    born(&truth_leaf, malloc(40), 40);
    note_stack(call);
    call->here.depth--;
}

SITE void inner(void *argument) {
    struct call *call = argument;
    NOTE(call);
    leaf(call);
    call->here.depth--;
}

/* Where the outer functions go on; the thunk's return address is noted before the inner's. */
#define THROUGH(call)                                                                              \
    do {                                                                                           \
        (call)->here.depth++;                                                                      \
        (call)->through(inner, call, &(call)->here.frames[(call)->here.depth - 1]);                \
        (call)->here.depth--;                                                                      \
    } while (0)

/* Frames of one size: at the thunk they are told apart by their return addresses alone. */
SITE void one_way(struct call *call) {
    NOTE(call);
    THROUGH(call);
    call->here.depth--;
}

SITE void another_way(struct call *call) {
    NOTE(call);
    THROUGH(call);
    __asm__ volatile("" ::: "memory");
    call->here.depth--;
}

/* A larger frame. */
SITE void a_deeper_way(struct call *call) {
    volatile char room[256];
    room[0] = 1;
    NOTE(call);
    THROUGH(call);
    call->here.depth--;
    room[1] = room[0];
}

SITE void recurse(struct call *call, int depth) {
    NOTE(call);
    if (depth == 0)
        a_deeper_way(call);
    else
        recurse(call, depth - 1);
    call->here.depth--;
}

/* More room between the allocation and the thunk than a copy has. */
SITE void far_inside(void *argument) {
    struct call *call = argument;
    volatile char room[65536];
    room[0] = 1;
    NOTE(call);
    leaf(call);
    call->here.depth--;
    room[65535] = room[0];
}

SITE void far_away(struct call *call) {
    NOTE(call);
    call->here.depth++;
    call->through(far_inside, call, &call->here.frames[call->here.depth - 1]);
    call->here.depth -= 2;
}

SITE void *ways(void *through) {
    struct call call = {(thunk *)through, {{0}, 0, 0}};
    NOTE(&call);
    for (int i = 0; i < 600; i++) {
        one_way(&call);
        a_deeper_way(&call);
        recurse(&call, i % 8);
    }
    return NULL;
}

SITE void *fork_in_the_road(void *through) {
    struct call call = {(thunk *)through, {{0}, 0, 0}};
    NOTE(&call);
    for (int i = 0; i < 600; i++) {
        one_way(&call);
        another_way(&call);
    }
    return NULL;
}

/* More room between the thunk and what tells two ways apart than is looked through for it. */
SITE void broad(struct call *call) {
    volatile char room[2048];
    for (size_t i = 0; i < sizeof room; i++)
        room[i] = 0;
    NOTE(call);
    THROUGH(call);
    call->here.depth--;
}

SITE void one_broad_way(struct call *call) {
    NOTE(call);
    broad(call);
    call->here.depth--;
}

SITE void another_broad_way(struct call *call) {
    NOTE(call);
    broad(call);
    __asm__ volatile("" ::: "memory");
    call->here.depth--;
}

SITE void *fork_far_up(void *through) {
    struct call call = {(thunk *)through, {{0}, 0, 0}};
    NOTE(&call);
    for (int i = 0; i < 600; i++) {
        one_broad_way(&call);
        another_broad_way(&call);
    }
    return NULL;
}

SITE void *far(void *through) {
    struct call call = {(thunk *)through, {{0}, 0, 0}};
    NOTE(&call);
    for (int i = 0; i < 1000; i++)
        far_away(&call);
    return NULL;
}

/* Calls inside of the thunk, so that walks break down behind ever other frames. */
SITE void *deep_inside(int depth) {
    if (depth > 0) {
        void *block = deep_inside(depth - 1);
        __asm__ volatile("" : : "r"(block) : "memory");
        return block;
    }
    return malloc(40);
}

SITE void inside(void *argument) {
    free(deep_inside(*(int *)argument));
}

/* Reaches the thunk at a depth of `room` more bytes. */
SITE void outside(thunk *through, size_t room, int depth) {
    volatile char *space = __builtin_alloca(room + 16);
    void *ignored;
    space[0] = 1;
    through(inside, &depth, &ignored);
    space[room] = space[0];
}

static unsigned long long cpu_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (unsigned long long)now.tv_sec * 1000000000 + (unsigned long long)now.tv_nsec;
}

/* Two halves of as many calls: all on few stacks, and each on a stack of its own. */
SITE void *flood(void *through) {
    enum { CALLS = 40000, INSIDE = 32, ROOMS = CALLS / INSIDE };
    /* The stack's pages are there before the time counts. */
    outside((thunk *)through, 16 * ROOMS, 0);
    unsigned long long begin = cpu_ns();
    for (int i = 0; i < CALLS; i++)
        outside((thunk *)through, 0, i % INSIDE);
    unsigned long long middle = cpu_ns();
    for (int i = 0; i < CALLS; i++)
        outside((thunk *)through, 16 * (size_t)(i / INSIDE), i % INSIDE);
    unsigned long long end = cpu_ns();
    truth_fact("few_ns", middle - begin);
    truth_fact("many_ns", end - middle);
    truth_fact("calls", 2 * CALLS + 1);
    return NULL;
}

static void tell_stacks(void) {
    const char *path = getenv("STACKS_FILE");
    FILE *file = path ? fopen(path, "w") : stdout;
    if (!file)
        fail("the stacks can't be written");
    for (struct stack *stack = stacks; stack < stacks + stack_count; stack++) {
        fprintf(file, "%llu", stack->count);
        for (size_t i = stack->depth; i > 0; i--)
            fprintf(file, " %p", stack->frames[i - 1]);
        fprintf(file, "\n");
    }
    if (path)
        fclose(file);
}

int main(int count, char **arguments) {
    static const struct {
        const char *name;
        thunk *through;
    } thunks[] = {
        {"cfa_in_rbx", cfa_in_rbx},
        {"cfa_by_expression", cfa_by_expression},
        {"return_address_in_r13", return_address_in_r13},
        {"rbp_in_r14", rbp_in_r14},
        {"unknown", unknown},
    };
    if (count < 3)
        fail("copied ways|fork|far_fork|far|flood THUNK [THREADS]");
    thunk *through = NULL;
    for (size_t i = 0; i < sizeof thunks / sizeof *thunks; i++)
        if (!strcmp(arguments[2], thunks[i].name))
            through = thunks[i].through;
    if (!through)
        fail("no such thunk");
    static const struct {
        const char *name;
        void *(*act)(void *);
    } acts[] = {
        {"ways", ways},   {"fork", fork_in_the_road}, {"far_fork", fork_far_up},
        {"flood", flood}, {"far", far},
    };
    void *(*act)(void *) = NULL;
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
        if (!strcmp(arguments[1], acts[i].name))
            act = acts[i].act;
    if (!act)
        fail("no such act");
    truth_other_allocations = -1;
    if (count > 3) {
        pthread_t threads[64];
        int n = atoi(arguments[3]);
        for (int i = 0; i < n; i++)
            if (pthread_create(&threads[i], NULL, act, (void *)through))
                fail("no thread");
        for (int i = 0; i < n; i++)
            pthread_join(threads[i], NULL);
    } else {
        act((void *)through);
    }
    tell_stacks();
    tell_truth();
    return 0;
}
