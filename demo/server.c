// A small order server, for `cargo xtask demo`: it handles made-up requests in a loop, and nearly
// all of its memory is bounded and given back. One line is wrong: see order_book_add.
//
// It runs until it is told to stop (SIGTERM, SIGINT), until whoever started it is gone, for five
// minutes, or until 1 GiB is lost, whichever comes first; then it prints what it really lost.

#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

// Keeps the call paths of the source in the binary, so that they can be found in the report.
#define NOINLINE __attribute__((noinline, noclone))

enum {
    SESSIONS = 512,
    CACHE_SLOTS = 256,
    PRICE_LEVELS = 64,
    ORDERS_PER_LEVEL = 16,
    REQUESTS_PER_MILLISECOND = 4,
    RUN_SECONDS = 300,
};
static const uint64_t LEAK_LIMIT_BYTES = 1ULL << 30;

struct session {
    uint64_t user;
    char *token;
    uint64_t requests;
};

struct quote {
    uint32_t instrument;
    char *body;
};

struct order {
    uint64_t id;
    uint64_t user;
    uint32_t price;
    uint32_t quantity;
    char note[96];
};

struct price_level {
    struct order *orders[ORDERS_PER_LEVEL];
    uint32_t next;
};

struct server {
    struct session *sessions[SESSIONS];
    struct quote *quotes[CACHE_SLOTS];
    struct price_level book[PRICE_LEVELS];
    uint64_t random;
    uint64_t requests;
    uint64_t lost_orders;
};

struct request {
    uint64_t user;
    uint32_t instrument;
    uint32_t price;
    char *path;
    char *body;
};

static volatile sig_atomic_t stopped;

static void on_stop(int signal_number) {
    (void)signal_number;
    stopped = 1;
}

static void *allocate(void *block) {
    if (block == NULL) {
        perror("demo server");
        exit(1);
    }
    return block;
}

static uint64_t next_random(struct server *server) { // xorshift64
    server->random ^= server->random << 13;
    server->random ^= server->random >> 7;
    server->random ^= server->random << 17;
    return server->random;
}

NOINLINE static struct request *request_parse(struct server *server) {
    struct request *request = allocate(malloc(sizeof *request));
    uint64_t random = next_random(server);
    request->user = random % 2000;
    request->instrument = (uint32_t)(random >> 16) % 1000;
    request->price = (uint32_t)(random >> 32) % PRICE_LEVELS;
    request->body = allocate(malloc(200 + random % 800));
    memset(request->body, 'x', 200);
    if (asprintf(&request->path, "/orders/%u?user=%llu", request->instrument,
                 (unsigned long long)request->user) < 0) {
        request->path = allocate(NULL);
    }
    return request;
}

NOINLINE static void request_free(struct request *request) {
    free(request->path);
    free(request->body);
    free(request);
}

// The session store: a fixed number of places, the older session makes room.
NOINLINE static uint64_t session_touch(struct server *server, uint64_t user) {
    struct session **place = &server->sessions[user % SESSIONS];
    if (*place == NULL || (*place)->user != user) {
        if (*place != NULL) {
            free((*place)->token);
            free(*place);
        }
        *place = allocate(calloc(1, sizeof **place));
        (*place)->user = user;
        (*place)->token = allocate(malloc(48));
        memset((*place)->token, 't', 48);
    }
    (*place)->requests += 1;
    return (*place)->requests;
}

// The quote cache: bounded too.
NOINLINE static const char *quote_lookup(struct server *server, uint32_t instrument) {
    struct quote **slot = &server->quotes[instrument % CACHE_SLOTS];
    if (*slot == NULL) {
        *slot = allocate(calloc(1, sizeof **slot));
    } else if ((*slot)->instrument == instrument) {
        return (*slot)->body;
    }
    (*slot)->instrument = instrument;
    (*slot)->body = allocate(realloc((*slot)->body, 256 + instrument));
    memset((*slot)->body, 'q', 256);
    return (*slot)->body;
}

NOINLINE static uint64_t order_book_add(struct server *server, const struct request *request) {
    struct order *order = allocate(malloc(sizeof *order));
    order->id = server->requests;
    order->user = request->user;
    order->price = request->price;
    order->quantity = 100;
    snprintf(order->note, sizeof order->note, "%s", request->path);

    struct price_level *level = &server->book[request->price];
    uint32_t place = level->next++ % ORDERS_PER_LEVEL;
    if (level->orders[place] != NULL) {
        server->lost_orders += 1;
    }
    // The bug: the order that was in this place is forgotten, not freed.
    level->orders[place] = order;
    return order->id;
}

NOINLINE static uint64_t order_book_match(struct server *server, const struct request *request) {
    struct price_level *level = &server->book[request->price];
    uint64_t matched = 0;
    for (uint32_t place = 0; place < ORDERS_PER_LEVEL && matched == 0; place++) {
        if (level->orders[place] != NULL) {
            matched = level->orders[place]->quantity;
            free(level->orders[place]);
            level->orders[place] = NULL;
        }
    }
    return matched;
}

NOINLINE static uint64_t order_submit(struct server *server, const struct request *request) {
    uint64_t result = order_book_add(server, request);
    if (next_random(server) % 4 == 0) {
        result += order_book_match(server, request);
    }
    return result;
}

NOINLINE static uint64_t handle_request(struct server *server) {
    struct request *request = request_parse(server);
    uint64_t result = session_touch(server, request->user);
    result += (uint64_t)quote_lookup(server, request->instrument)[0];
    if (next_random(server) % 2 == 0) {
        result += order_submit(server, request);
    }
    request_free(request);
    server->requests += 1;
    return result;
}

NOINLINE static uint64_t serve(struct server *server) {
    const struct timespec pause = {.tv_nsec = 1000000};
    const time_t end = time(NULL) + RUN_SECONDS;
    uint64_t checksum = 0;
    while (!stopped && time(NULL) < end &&
           server->lost_orders * sizeof(struct order) < LEAK_LIMIT_BYTES) {
        for (int i = 0; i < REQUESTS_PER_MILLISECOND; i++) {
            checksum += handle_request(server);
        }
        nanosleep(&pause, NULL);
    }
    return checksum;
}

int main(void) {
    struct server *server = allocate(calloc(1, sizeof *server));
    server->random = 88172645463325252ULL;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    signal(SIGTERM, on_stop);
    signal(SIGINT, on_stop);

    uint64_t checksum = serve(server);
    fprintf(stderr, "demo server: %llu requests, %llu orders lost: %llu bytes (checksum %llx)\n",
            (unsigned long long)server->requests, (unsigned long long)server->lost_orders,
            (unsigned long long)(server->lost_orders * sizeof(struct order)),
            (unsigned long long)checksum);
    return 0;
}
