/* The server: opening it, and what a handler says of a call. */
#include "net/grpc_server.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/time.h"
#include "fiber/fiber.h"

enum { KEEPALIVE_S = 60 };

static const int64_t idle_timeout_us = HOUR_US; /* channels keep their connections */

static void on_request(void *arg, struct http_exchange *x, const struct http_request *in);
static const char *const *copy_names(struct arena *a, const char *const *names);

enum status
grpc_serve(struct loop *loop, const struct grpc_server_options *options, struct arena *a,
           struct grpc_server **ret, const char **why)
{
    struct grpc_server *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    struct http_server *http = &s->http;
    http->arena = arena_new();
    http->home.http2 = &http2_calls;
    http->home.keepalive_s = KEEPALIVE_S;
    s->options = *options;
    if (s->options.message_max == 0)
        s->options.message_max = GRPC_MESSAGE_BYTES_MAX;
    s->services = copy_names(http->arena, options->services);
    const struct grpc_tls *tls = options->tls;
    const char *wrong = NULL;
    if (tls)
        http->home.tls =
            tls_context_mutual(false, tls->authorities, tls->certificate, tls->key, a, &wrong);
    if (!wrong && options->descriptors_n > 0)
        s->symbols =
            grpc_symbols_read(http->arena, options->descriptors, options->descriptors_n, &wrong);
    if (wrong) {
        *why = wrong;
        SSL_CTX_free(http->home.tls);
        arena_free(http->arena);
        free(s);
        return INVALID_ARGUMENT;
    }
    const struct http_server_options o = {
        .listen = options->listen, .idle_timeout_us = idle_timeout_us, .on_request = on_request};
    enum status st = server_open(http, loop, &o, a, why);
    if (!st)
        *ret = s;
    return st;
}

static const char *const *
copy_names(struct arena *a, const char *const *names)
{
    size_t n = 0;
    while (names && names[n])
        n++;
    const char **copy = arena_alloc(a, (n + 1) * sizeof *copy);
    for (size_t i = 0; i < n; i++)
        copy[i] = arena_strdup(a, names[i]);
    return copy;
}

/* Who comes with HTTP/1.1 is told what is spoken here. */
static void
on_request(void *arg, struct http_exchange *x, const struct http_request *in)
{
    (void)arg;
    (void)in;
    static const struct http_header type = {"content-type", "text/plain"};
    static const char body[] = "gRPC is spoken here, over HTTP/2\n";
    http_respond(x, &(struct http_response){415, &type, 1, body, sizeof body - 1, true});
}

int
grpc_server_port(const struct grpc_server *s)
{
    return http_server_port(&s->http);
}

struct health_post {
    struct grpc_server *server;
    bool healthy, leaves;
};

/* A Watch would last as long as its peer likes. */
static void
end_own(struct grpc_server *s)
{
    for (struct conn *c = s->http.conns; c; c = c->next)
        for (struct grpc_call *call = c->calls, *next; call; call = next) {
            next = call->next;
            if (call->own && !call->done && !call->finished)
                grpc_end(call, UNAVAILABLE, "the server is going", NULL, 0);
        }
}

static void
set_health(void *arg)
{
    struct health_post *post = arg;
    struct grpc_server *s = post->server;
    s->leaves = s->leaves || post->leaves;
    bool unhealthy = !post->healthy || s->leaves;
    free(post);
    bool changed = s->unhealthy != unhealthy;
    s->unhealthy = unhealthy;
    if (changed)
        grpc_health_changed(s);
    if (s->leaves)
        end_own(s);
}

static void
post_health(struct grpc_server *s, bool healthy, bool leaves)
{
    struct health_post *post = malloc(sizeof *post);
    if (!post)
        abort();
    *post = (struct health_post){s, healthy, leaves};
    loop_post(s->http.home.loop, set_health, post);
}

void
grpc_server_healthy(struct grpc_server *s, bool healthy)
{
    post_health(s, healthy, false);
}

void
grpc_server_drain(struct grpc_server *s, int64_t grace_us)
{
    post_health(s, false, true);
    http_server_drain(&s->http, grace_us);
}

/* ---- for handlers ---------------------------------------------------------------------------- */

static void
tell(struct grpc_call *call, unsigned what)
{
    if (loop_is_mine(call->loop))
        grpc_call_listen(&call->teller, what);
    else
        loop_tell(call->loop, &call->teller, what);
}

bool
grpc_cancelled(const struct grpc_call *call)
{
    return atomic_load_explicit(&call->gone, memory_order_relaxed);
}

/* A pair that cannot go on the wire is our mistake, and left out. */
static size_t
encode(struct arena *a, const struct grpc_pair *pairs, size_t n, struct grpc_pair *ret)
{
    size_t m = 0;
    for (size_t i = 0; i < n && m < GRPC_METADATA_MAX; i++) {
        struct grpc_pair out = {.name = arena_strdup(a, pairs[i].name)};
        if (grpc_pair_encode(a, &pairs[i], &out.value, &out.value_n))
            ret[m++] = out;
    }
    return m;
}

void
grpc_header(struct grpc_call *call, const struct grpc_pair *pair)
{
    assert(!call->spoke);
    if (call->n_headers == GRPC_METADATA_MAX)
        return;
    if (!call->headers)
        call->headers = arena_alloc(call->arena, GRPC_METADATA_MAX * sizeof *call->headers);
    call->n_headers += encode(call->arena, pair, 1, call->headers + call->n_headers);
}

/* Waits, not on the loop, until the queue has room.  False if the call has gone. */
static bool
wait_for_room(struct grpc_call *call)
{
    struct loop *loop = call->loop;
    for (;;) {
        struct waiter w = {.fiber = fiber_self()};
        pthread_mutex_lock(&loop->lock);
        bool gone = grpc_cancelled(call);
        bool room = call->out.bytes <= GRPC_QUEUE_BYTES_MAX;
        if (!gone && !room)
            call->send_waits = &w;
        pthread_mutex_unlock(&loop->lock);
        if (gone || room)
            return !gone;
        waiter_wait(loop, &w);
    }
}

bool
grpc_send(struct grpc_call *call, const uint8_t *message, size_t n)
{
    if (loop_is_mine(call->loop)) {
        pthread_mutex_lock(&call->loop->lock);
        bool flood = call->out.bytes > GRPC_QUEUE_BYTES_MAX;
        pthread_mutex_unlock(&call->loop->lock);
        if (flood)
            tell(call, GRPC_TOLD_FLOOD);
        if (flood || grpc_cancelled(call))
            return false;
    } else if (!wait_for_room(call)) {
        return false;
    }
    struct chunk *chunk = chunk_new(GRPC_PREFIX_BYTES + n);
    grpc_prefix((uint8_t *)chunk->bytes, n);
    if (n > 0)
        memcpy(chunk->bytes + GRPC_PREFIX_BYTES, message, n);
    call->spoke = true;
    pthread_mutex_lock(&call->loop->lock);
    chunks_add(&call->out, chunk);
    pthread_mutex_unlock(&call->loop->lock);
    tell(call, GRPC_TOLD_OUT);
    return true;
}

bool
grpc_next(struct grpc_call *call, const uint8_t **ret, size_t *ret_n)
{
    struct loop *loop = call->loop;
    free(call->given_out);
    call->given_out = NULL;
    for (;;) {
        struct waiter w = {.fiber = fiber_self()};
        pthread_mutex_lock(&loop->lock);
        struct chunk *chunk = chunks_first(&call->came);
        bool over = call->came_all || grpc_cancelled(call);
        bool credit = call->wants_credit && call->came.bytes <= GRPC_QUEUE_BYTES_MAX / 2;
        if (credit)
            call->wants_credit = false;
        if (!chunk && !over)
            call->next_waits = &w;
        pthread_mutex_unlock(&loop->lock);
        if (credit)
            tell(call, GRPC_TOLD_TAKEN);
        if (chunk) {
            call->given_out = chunk;
            *ret = (const uint8_t *)chunk->bytes;
            *ret_n = chunk->n;
            return true;
        }
        if (over)
            return false;
        waiter_wait(loop, &w);
    }
}

static void
say_end(struct grpc_call *call, enum status st, const char *message,
        const struct grpc_pair *trailers, size_t n)
{
    struct grpc_pair *list = n > 0 ? arena_alloc(call->arena, n * sizeof *list) : NULL;
    call->said = (struct grpc_ending){
        .st = st >= OK && st <= UNAUTHENTICATED ? st : UNKNOWN,
        .why = message && message[0] ? grpc_why_encode(call->arena, message) : NULL,
        .trailers = list,
        .n = encode(call->arena, trailers, n, list),
    };
}

void
grpc_end(struct grpc_call *call, enum status st, const char *message,
         const struct grpc_pair *trailers, size_t n)
{
    say_end(call, st, message, trailers, n);
    tell(call, GRPC_TOLD_END);
}

/* One word to the loop for both. */
void
grpc_answer(struct grpc_call *call, const uint8_t *message, size_t n,
            const struct grpc_pair *trailers, size_t n_trailers)
{
    say_end(call, OK, NULL, trailers, n_trailers);
    struct chunk *chunk = chunk_new(GRPC_PREFIX_BYTES + n);
    grpc_prefix((uint8_t *)chunk->bytes, n);
    if (n > 0)
        memcpy(chunk->bytes + GRPC_PREFIX_BYTES, message, n);
    call->spoke = true;
    struct loop *loop = call->loop;
    bool mine = loop_is_mine(loop), first = false;
    pthread_mutex_lock(&loop->lock);
    chunks_add(&call->out, chunk);
    if (!mine)
        first = loop_note(loop, &call->teller, GRPC_TOLD_OUT | GRPC_TOLD_END);
    pthread_mutex_unlock(&loop->lock);
    if (mine)
        grpc_call_listen(&call->teller, GRPC_TOLD_OUT | GRPC_TOLD_END);
    else if (first)
        uv_async_send(&loop->wake);
}
