/* The client's channel: its addresses, its connections to them, and which one takes a call. */
#include "net/grpc_channel.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/text.h"
#include "base/time.h"
#include "fiber/fiber.h"

enum { CALLS_MAX_DEFAULT = 4096, TOKENS_FIRST = 100 };

static const int64_t keepalive_default_us = 10 * SECOND_US;
static const int64_t keepalive_timeout_default_us = 5 * SECOND_US;
static const int64_t connect_timeout_us = 3 * SECOND_US; /* TCP's own tries are at 0, 1, 3, 7 s */
static const int64_t backoff_first_us = 50 * MILLISECOND_US;
static const int64_t backoff_max_us = 5 * SECOND_US;
static const int64_t hurry_us = 100 * MILLISECOND_US; /* between tries while a call waits */
static const int64_t stable_us = SECOND_US; /* a connection that lasted so long was a good one */
static const int64_t resolve_again_us = SECOND_US;

static const char *parse_target(struct grpc_channel *c);
static void on_closed(struct conn *c);
static void on_retry(void *arg);
static void on_resolve(void *arg);
static void on_line_alarm(void *arg);
static void resolve(struct grpc_channel *c);
static void link_connect(struct grpc_link *link);
static void link_hurry(struct grpc_link *link);

struct grpc_channel *
grpc_channel_new(struct loop *loop, const struct grpc_channel_options *options)
{
    struct grpc_channel *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    struct arena *a = c->arena = arena_new();
    c->loop = loop;
    c->home =
        (struct conn_home){.loop = loop, .http2 = &http2_asks, .closed = on_closed, .client = true};
    c->home.idle_timeout_us = c->home.request_timeout_us = INT64_MAX / 2;
    struct grpc_channel_options *o = &c->options;
    *o = *options;
    o->target = arena_strdup(a, options->target);
    o->user_agent =
        arena_strdup(a, options->user_agent ? options->user_agent : "souk/" SOUK_VERSION);
    o->message_max = o->message_max ? o->message_max : GRPC_MESSAGE_BYTES_MAX;
    o->keepalive_us = o->keepalive_us ? o->keepalive_us : keepalive_default_us;
    o->keepalive_timeout_us =
        o->keepalive_timeout_us ? o->keepalive_timeout_us : keepalive_timeout_default_us;
    o->calls_max = o->calls_max ? o->calls_max : CALLS_MAX_DEFAULT;
    c->tokens = TOKENS_FIRST;
    c->resolve = (struct alarm){.ring = on_resolve, .arg = c};
    c->why = parse_target(c);
    c->authority =
        c->unix_path ? "localhost" : arena_strndup(a, o->target, strcspn(o->target, ","));
    if (!c->why && o->tls)
        c->home.tls = tls_context_mutual(true, o->tls->authorities, o->tls->certificate,
                                         o->tls->key, a, &c->why);
    c->hopeless = c->why != NULL;
    o->server_name = options->server_name ? arena_strdup(a, options->server_name) : NULL;
    return c;
}

/* ---- its target ------------------------------------------------------------------------------ */

static bool
parse_one(struct grpc_channel *c, char *text)
{
    char *colon = strrchr(text, ':');
    int64_t port;
    if (!colon || !int_parse(colon + 1, &port) || port < 1 || port > 65535 || colon == text ||
        c->n_targets == TARGETS_MAX)
        return false;
    *colon = '\0';
    if (text[0] == '[' && colon[-1] == ']') {
        colon[-1] = '\0';
        text++;
    }
    c->targets[c->n_targets++] = (struct target){text, (int)port};
    return true;
}

/* NULL if it can be used. */
static const char *
parse_target(struct grpc_channel *c)
{
    const char *target = c->options.target;
    struct sockaddr_un at;
    if (text_starts(target, "unix:")) {
        c->unix_path = target + 5;
        c->home.is_unix = true;
        size_t n = strlen(c->unix_path);
        return n > 0 && n < sizeof at.sun_path
                   ? NULL
                   : arena_printf(c->arena, "%s is too long for a socket, or empty", target);
    }
    char *rest = arena_strdup(c->arena, target), *one;
    while ((one = strsep(&rest, ",")))
        if (!parse_one(c, one))
            return arena_printf(c->arena, "%s is no target; 127.0.0.1:7400 is one", target);
    return NULL;
}

static bool
same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static void
add_link(struct grpc_channel *c, const struct sockaddr_storage *address)
{
    for (size_t i = 0; i < c->n_links; i++)
        if (same_address(&c->links[i]->address, address)) {
            c->links[i]->listed = true;
            return;
        }
    if (c->n_links == LINKS_MAX)
        return;
    struct grpc_link *link = calloc(1, sizeof *link);
    if (!link)
        abort();
    link->address = *address;
    link->channel = c;
    link->listed = true;
    link->retry = (struct alarm){.ring = on_retry, .arg = link};
    c->links[c->n_links++] = link;
}

static void
free_link(struct grpc_link *link)
{
    alarm_clear(link->channel->loop, &link->retry);
    struct grpc_line *line = link->line;
    if (line)
        line->link = NULL;
    free(link);
    if (line && line->ready)
        grpc_line_leave(line);
    else if (line)
        conn_close(line->conn);
}

/* What is not resolved any more is left, once its calls have ended. */
static void
resolved(struct grpc_channel *c)
{
    size_t n = 0;
    struct grpc_link *old[LINKS_MAX];
    size_t n_old = 0;
    for (size_t i = 0; i < c->n_links; i++)
        if (c->links[i]->listed)
            c->links[n++] = c->links[i];
        else
            old[n_old++] = c->links[i];
    if (n > 0) {
        c->n_links = n;
        while (n_old > 0)
            free_link(old[--n_old]);
    }
    c->resolved_us = env.mono_us();
    if (c->n_links == 0)
        alarm_set(c->loop, &c->resolve, c->resolved_us + resolve_again_us);
    grpc_channel_begin(c);
    grpc_streams_go(c);
}

static void
on_address(uv_getaddrinfo_t *lookup, int bad, struct addrinfo *found)
{
    struct grpc_channel *c = lookup->data;
    const struct target *target = &c->targets[c->resolving];
    c->looking_up = false;
    if (bad)
        c->why = uv_strerror(bad);
    for (const struct addrinfo *one = found; one && !c->closing; one = one->ai_next) {
        struct sockaddr_storage at = {0};
        memcpy(&at, one->ai_addr, one->ai_addrlen);
        if (one->ai_family == AF_INET6)
            ((struct sockaddr_in6 *)&at)->sin6_port = htons((uint16_t)target->port);
        else
            ((struct sockaddr_in *)&at)->sin_port = htons((uint16_t)target->port);
        add_link(c, &at);
    }
    uv_freeaddrinfo(found);
    c->resolving++;
    if (!c->closing)
        resolve(c);
    else if (!c->lines)
        waiter_wake(c->loop, c->closer);
}

/* One name after another, from c->resolving on. */
static void
resolve(struct grpc_channel *c)
{
    for (; c->resolving < c->n_targets; c->resolving++) {
        const struct target *target = &c->targets[c->resolving];
        struct sockaddr_storage at = {0};
        if (uv_ip4_addr(target->host, target->port, (struct sockaddr_in *)&at) == 0 ||
            uv_ip6_addr(target->host, target->port, (struct sockaddr_in6 *)&at) == 0) {
            add_link(c, &at);
            continue;
        }
        const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
        c->lookup.data = c;
        int bad = uv_getaddrinfo(&c->loop->uv, &c->lookup, on_address, target->host, NULL, &hints);
        if (bad) {
            c->why = uv_strerror(bad);
            continue;
        }
        c->looking_up = true;
        return;
    }
    resolved(c);
}

static void
resolve_all(struct grpc_channel *c)
{
    if (c->looking_up)
        return;
    for (size_t i = 0; i < c->n_links; i++)
        c->links[i]->listed = false;
    c->resolving = 0;
    resolve(c);
}

static void
on_resolve(void *arg)
{
    resolve_all(arg);
}

void
grpc_channel_begin(struct grpc_channel *c)
{
    if (c->closing || c->hopeless)
        return;
    if (!c->begun) {
        c->begun = true;
        if (c->unix_path)
            add_link(c, &(struct sockaddr_storage){.ss_family = AF_UNIX});
        else
            resolve_all(c);
    }
    for (size_t i = 0; i < c->n_links; i++)
        if (!c->links[i]->line && c->links[i]->retry.slot == 0)
            link_connect(c->links[i]);
        else if (!c->links[i]->line)
            link_hurry(c->links[i]);
}

/* ---- its connections ------------------------------------------------------------------------- */

/* A call waits and there is no connection: an address that was away may be back, long before its
 * next try is due.  Where another is connected, calls have somewhere to go. */
static void
link_hurry(struct grpc_link *link)
{
    struct grpc_channel *c = link->channel;
    int64_t due_us = link->tried_us + hurry_us;
    if (c->waiting && link->retry.at_us > due_us && !grpc_channel_connected(c))
        alarm_set(c->loop, &link->retry, due_us);
}

/* Grows by 1.6, ±20 %. */
static void
link_later(struct grpc_link *link)
{
    struct grpc_channel *c = link->channel;
    if (c->closing)
        return;
    unsigned char dice;
    env.random(&dice, 1);
    if (link->backoff_us < backoff_first_us)
        link->backoff_us = backoff_first_us;
    int64_t wait_us = link->backoff_us * (80 + dice * 40 / 255) / 100;
    alarm_set(c->loop, &link->retry, env.mono_us() + wait_us);
    link_hurry(link);
    link->backoff_us = link->backoff_us * 8 / 5;
    if (link->backoff_us > backoff_max_us)
        link->backoff_us = backoff_max_us;
    if (!c->unix_path && !c->looking_up && c->resolve.slot == 0)
        alarm_set(c->loop, &c->resolve, env.mono_us() + resolve_again_us);
}

static void
on_retry(void *arg)
{
    link_connect(arg);
}

static void
on_connected(uv_connect_t *connecting, int bad)
{
    struct grpc_line *line = connecting->data;
    if (bad == UV_ECANCELED)
        return; /* it is being closed */
    if (bad) {
        conn_close_why(line->conn, uv_strerror(bad));
        return;
    }
    const struct grpc_channel *c = line->channel;
    const char *name = c->options.server_name;
    if (!name)
        name = c->n_targets > 0 ? c->targets[0].host : "localhost";
    conn_start_client(line->conn, name);
}

static void
link_connect(struct grpc_link *link)
{
    struct grpc_channel *c = link->channel;
    struct grpc_line *line = calloc(1, sizeof *line);
    if (!line)
        abort();
    struct conn *conn = conn_new(&c->home);
    *line = (struct grpc_line){.conn = conn, .channel = c, .link = link, .next = c->lines};
    c->lines = line;
    link->line = line;
    link->tried_us = env.mono_us();
    conn->line = line;
    line->connecting.data = line;
    line->alarm = (struct alarm){.ring = on_line_alarm, .arg = line};
    alarm_set(c->loop, &line->alarm, env.mono_us() + connect_timeout_us);
    int bad = 0;
    if (c->unix_path) {
        uv_pipe_connect(&line->connecting, &conn->uv.pipe, c->unix_path, on_connected);
    } else {
        bad = uv_tcp_connect(&line->connecting, &conn->uv.tcp,
                             (const struct sockaddr *)&link->address, on_connected);
        uv_tcp_nodelay(&conn->uv.tcp, 1);
    }
    if (bad)
        conn_close_why(conn, uv_strerror(bad));
}

void
grpc_line_ready(struct grpc_line *line)
{
    line->ready = true;
    line->ready_us = line->heard_us = env.mono_us();
    alarm_clear(line->channel->loop, &line->alarm);
    atomic_fetch_add(&line->channel->connections, 1);
    grpc_streams_go(line->channel);
}

void
grpc_line_leave(struct grpc_line *line)
{
    struct grpc_link *link = line->link;
    line->leaving = true;
    line->link = NULL;
    if (link) {
        link->line = NULL;
        bool stable = env.mono_us() - line->ready_us >= stable_us;
        if (stable)
            link->backoff_us = 0;
        if (stable && !link->channel->closing)
            link_connect(link);
        else
            link_later(link);
    }
    if (line->n_streams == 0)
        http2_goaway(line->conn, NGHTTP2_NO_ERROR);
}

static void
on_closed(struct conn *conn)
{
    struct grpc_line *line = conn->line;
    struct grpc_channel *c = line->channel;
    struct grpc_link *link = line->link;
    const char *why = conn->why ? conn->why : "the connection was closed";
    alarm_clear(c->loop, &line->alarm);
    for (struct grpc_line **at = &c->lines; *at; at = &(*at)->next)
        if (*at == line) {
            *at = line->next;
            break;
        }
    if (link) {
        link->line = NULL;
        if (line->ready && env.mono_us() - line->ready_us >= stable_us)
            link->backoff_us = 0;
        c->why = why;
        link_later(link);
    }
    grpc_streams_lost(line, why);
    free(line);
    if (c->closing && !c->lines && !c->looking_up)
        waiter_wake(c->loop, c->closer);
}

bool
grpc_channel_connected(const struct grpc_channel *c)
{
    for (size_t i = 0; i < c->n_links; i++)
        if (c->links[i]->line && c->links[i]->line->ready)
            return true;
    return false;
}

static bool
has_room(const struct grpc_line *line)
{
    return line && line->ready && !line->leaving && line->conn->phase < CONN_LINGER &&
           line->n_streams <
               nghttp2_session_get_remote_settings(line->conn->http2->session,
                                                   NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

/* In turns over those that are connected. */
struct grpc_line *
grpc_channel_pick(struct grpc_channel *c)
{
    for (size_t i = 0; i < c->n_links; i++) {
        c->turn = (c->turn + 1) % c->n_links;
        if (has_room(c->links[c->turn]->line))
            return c->links[c->turn]->line;
    }
    return NULL;
}

/* ---- keepalive ------------------------------------------------------------------------------- */

void
grpc_line_heard(struct grpc_line *line)
{
    line->heard_us = env.mono_us();
    line->pinged = false;
}

void
grpc_line_busy(struct grpc_line *line)
{
    if (line->alarm.slot != 0)
        return;
    line->heard_us = env.mono_us();
    alarm_set(line->channel->loop, &line->alarm,
              line->heard_us + line->channel->options.keepalive_us);
}

/* While it connects: time is up.  Then it looks whether the peer still speaks. */
static void
on_line_alarm(void *arg)
{
    struct grpc_line *line = arg;
    struct grpc_channel *c = line->channel;
    int64_t now_us = env.mono_us();
    if (!line->ready) {
        conn_close_why(line->conn, "no connection was made in time");
        return;
    }
    if (line->n_streams == 0) {
        line->pinged = false;
        return;
    }
    if (line->pinged) {
        conn_close_why(line->conn, "the peer does not answer any more");
        return;
    }
    int64_t due_us = line->heard_us + c->options.keepalive_us;
    if (now_us >= due_us) {
        line->pinged = true;
        nghttp2_submit_ping(line->conn->http2->session, NGHTTP2_FLAG_NONE, NULL);
        http2_touch(line->conn);
        due_us = now_us + c->options.keepalive_timeout_us;
    }
    alarm_set(c->loop, &line->alarm, due_us);
}

/* ---- its end --------------------------------------------------------------------------------- */

static void
close_all(void *arg)
{
    struct grpc_channel *c = arg;
    c->closing = true;
    alarm_clear(c->loop, &c->resolve);
    while (c->n_links > 0) {
        struct grpc_link *link = c->links[--c->n_links];
        if (link->line)
            link->line->link = NULL;
        alarm_clear(c->loop, &link->retry);
        free(link);
    }
    if (c->looking_up)
        uv_cancel((uv_req_t *)&c->lookup);
    for (struct grpc_line *line = c->lines; line; line = line->next)
        conn_close(line->conn);
    if (!c->lines && !c->looking_up)
        waiter_wake(c->loop, c->closer);
}

void
grpc_channel_free(struct grpc_channel *c)
{
    if (!c)
        return;
    struct waiter waiter = {.fiber = fiber_self()};
    c->closer = &waiter;
    loop_post(c->loop, close_all, c);
    waiter_wait(c->loop, &waiter);
    SSL_CTX_free(c->home.tls);
    arena_free(c->arena);
    free(c);
}

struct grpc_figures
grpc_channel_figures(const struct grpc_channel *c)
{
    return (struct grpc_figures){
        .calls = atomic_load(&c->calls),
        .retries = atomic_load(&c->retries),
        .failures = atomic_load(&c->failures),
        .connections = atomic_load(&c->connections),
        .under_way = atomic_load(&c->under_way),
    };
}
