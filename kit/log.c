/*
 * The log: one line a request on standard error, in text or JSON.
 *
 * Lines are gathered and written by a thread of their own, so that a slow terminal or pipe never
 * slows a sale; when LOG_BYTES_MAX wait, further lines are dropped and their count is told.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/env.h"
#include "kit/node_impl.h"

enum { LOG_BYTES_MAX = 1 << 20, GATHER_US = 20000 };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t some, none;
    char *waiting;
    size_t n;
    uint64_t dropped;
    bool writing, started;
} sink = {.lock = PTHREAD_MUTEX_INITIALIZER, .some = PTHREAD_COND_INITIALIZER,
          .none = PTHREAD_COND_INITIALIZER};

static void
write_all(const char *bytes, size_t n)
{
    while (n) {
        ssize_t wrote = write(STDERR_FILENO, bytes, n);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote <= 0)
            return; /* nobody reads it: there is nowhere to complain */
        bytes += wrote;
        n -= (size_t)wrote;
    }
}

static void *
sink_main(void *arg)
{
    (void)arg;
    char *bytes = malloc(LOG_BYTES_MAX + 100);
    if (!bytes)
        abort();
    for (;;) {
        pthread_mutex_lock(&sink.lock);
        while (!sink.n)
            pthread_cond_wait(&sink.some, &sink.lock);
        pthread_mutex_unlock(&sink.lock);
        usleep(GATHER_US);
        pthread_mutex_lock(&sink.lock);
        size_t n = sink.n;
        memcpy(bytes, sink.waiting, n);
        if (sink.dropped)
            n += (size_t)sprintf(bytes + n, "souk: %llu log lines were dropped\n",
                                 (unsigned long long)sink.dropped);
        sink.n = 0;
        sink.dropped = 0;
        sink.writing = true;
        pthread_mutex_unlock(&sink.lock);
        write_all(bytes, n);
        pthread_mutex_lock(&sink.lock);
        sink.writing = false;
        pthread_cond_broadcast(&sink.none);
        pthread_mutex_unlock(&sink.lock);
    }
    return NULL;
}

/* Under the lock. */
static void
start_sink(void)
{
    pthread_t thread;
    sink.waiting = malloc(LOG_BYTES_MAX);
    if (!sink.waiting || pthread_create(&thread, NULL, sink_main, NULL))
        abort();
    pthread_setname_np(thread, "log");
    pthread_detach(thread);
    sink.started = true;
}

void
log_line(const char *bytes, size_t n)
{
    if (env.single_thread) {
        write_all(bytes, n);
        return;
    }
    pthread_mutex_lock(&sink.lock);
    if (!sink.started)
        start_sink();
    if (sink.n + n > LOG_BYTES_MAX) {
        sink.dropped++;
    } else {
        memcpy(sink.waiting + sink.n, bytes, n);
        if (sink.n == 0)
            pthread_cond_signal(&sink.some);
        sink.n += n;
    }
    pthread_mutex_unlock(&sink.lock);
}

void
log_flush(void)
{
    pthread_mutex_lock(&sink.lock);
    while (sink.started && (sink.n || sink.writing))
        pthread_cond_wait(&sink.none, &sink.lock);
    pthread_mutex_unlock(&sink.lock);
}

static const char *
caller_name(const struct request *rq)
{
    static const char *const names[] = {"anonymous", "guest", "user", "operator", "service"};
    return rq->caller.kind == CALLER_USER ? rq->caller.id : names[rq->caller.kind];
}

static void
json_member(struct text *t, const char *name, const char *value)
{
    if (text_empty(value))
        return;
    text_add(t, ",\"");
    text_add(t, name);
    text_add(t, "\":");
    text_add_json(t, value);
}

static void
line_json(struct text *t, const struct request *rq, const char *route, enum status st,
          int http_status, int64_t took_us)
{
    text_add(t, "{\"time\":");
    text_add_json(t, time_format(rq->arena, env.now_us()));
    json_member(t, "route", route);
    json_member(t, "status", status_name(st));
    text_printf(t, ",\"http\":%d,\"took_us\":%lld", http_status, (long long)took_us);
    json_member(t, "caller", caller_name(rq));
    json_member(t, "ip", rq->caller.ip);
    json_member(t, "request_id", rq->id);
    json_member(t, "trace_id", rq->trace_id);
    json_member(t, "reason", st && rq->reason ? rq->reason->code : NULL);
    json_member(t, "message", st ? rq->message : NULL);
    for (size_t i = 0; i < rq->n_notes; i++)
        json_member(t, rq->notes[i].name, rq->notes[i].value);
    text_add(t, "}\n");
}

static void
line_text(struct text *t, const struct request *rq, const char *route, enum status st,
          int http_status, int64_t took_us)
{
    text_add(t, time_format(rq->arena, env.now_us()));
    text_printf(t, " %s %d %s %lldus %s", route, http_status, status_name(st), (long long)took_us,
                caller_name(rq));
    if (st && rq->reason)
        text_printf(t, " %s", rq->reason->code);
    if (st && !text_empty(rq->message)) {
        text_add_char(t, ' ');
        text_add_json(t, rq->message);
    }
    for (size_t i = 0; i < rq->n_notes; i++)
        text_printf(t, " %s=%s", rq->notes[i].name, rq->notes[i].value);
    text_printf(t, " trace=%s\n", rq->trace_id);
}

void
request_log(struct request *rq, const char *route, enum status st, int http_status,
            int64_t took_us)
{
    if (http_status)
        count_request(route, http_status, took_us);
    const char *form = setting(rq->node, "log");
    if (rq->node->quiet || strcmp(form, "off") == 0)
        return;
    struct text t = text_in(rq->arena);
    (strcmp(form, "json") == 0 ? line_json : line_text)(&t, rq, route, st, http_status, took_us);
    log_line(t.bytes, t.n);
}
