#include "services/sandbox_server.h"

#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/text.h"
#include "base/time.h"
#include "fiber/fiber.h"
#include "kit/json.h"
#include "net/net.h"
#include "payments.api.h"
#include "payments/sandbox.h"
#include "payments/signature.h"

enum {
    FIBERS_MAX = 4096,
    BODY_MAX = 64 << 10,
    PAGE_MOVEMENTS = 5000,
    CALLBACK_TRIES = 5,
    DELAY_MS = 15000,
};

static const int64_t nap_us = 20 * MILLISECOND_US; /* how soon a sleeper sees that we stop */
static const int64_t callback_timeout_us = 5 * SECOND_US;
static const int64_t callback_again_us = SECOND_US;

struct sandbox_server {
    struct sandbox_server_options options;
    struct sandbox *sandbox;
    struct sched *sched;
    struct loop *loop;
    struct http_server *http;
    uint64_t dice; /* of the scheduler's thread */
    bool stopping; /* atomic */
};

/* One request, in the arena of its exchange. */
struct visit {
    struct sandbox_server *s;
    struct http_exchange *x;
    const struct http_request *in;
};

/* One callback on its way, in an arena of its own. */
struct delivery {
    struct sandbox_server *s;
    struct arena *arena;
    const char *body;
    int64_t after_us;
};

enum fault { FAULT_NONE, DROP_BEFORE, DROP_AFTER, ERROR_BEFORE, ERROR_AFTER, DELAY };

static void on_request(void *arg, struct http_exchange *x, const struct http_request *in);
static void run(void *arg);
static bool may_ask(const struct visit *v);
static void move(struct visit *v);
static bool act(struct visit *v, struct provider_answer *ret);
static bool charge(struct visit *v, struct provider_answer *ret);
static bool refund(struct visit *v, struct provider_answer *ret);
static void show_movements(struct visit *v);
static void answer(struct visit *v, int status, const ProtobufCMessage *message);
static void refuse(struct visit *v, int status);
static void announce(struct visit *v, const char *key, enum manner manner);
static void deliver_later(struct sandbox_server *s, const char *body, int64_t after_us);
static void deliver(void *arg);
static bool deliver_once(struct sandbox_server *s, struct arena *a, const char *body);
static enum fault roll_fault(struct sandbox_server *s);
static bool roll(struct sandbox_server *s, int percent);
static uint64_t next_roll(struct sandbox_server *s);
static void doze(const struct sandbox_server *s, int64_t us);

static size_t
body_max(void *arg, const char *method, const char *path)
{
    (void)arg, (void)method, (void)path;
    return BODY_MAX;
}

enum status
sandbox_server_start(const struct sandbox_server_options *options, struct arena *a,
                     struct sandbox_server **ret, const char **why)
{
    struct sandbox *sandbox = sandbox_open(options->ledger, options->slow_us, a, why);
    if (!sandbox)
        return FAILED_PRECONDITION;
    struct sandbox_server *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    s->options = *options;
    s->sandbox = sandbox;
    s->dice = 0x9E3779B97F4A7C15U * (uint64_t)(options->faults.seed ? options->faults.seed : 1);
    if (!s->options.faults.delay_ms)
        s->options.faults.delay_ms = DELAY_MS;
    s->sched = sched_new("sandbox", FIBERS_MAX);
    s->loop = loop_new();
    const struct http_server_options http = {
        .listen = options->listen, .on_request = on_request, .body_max = body_max, .arg = s};
    enum status st = http_serve(s->loop, &http, a, &s->http, why);
    if (st) {
        sandbox_server_stop(s);
        return st;
    }
    *ret = s;
    return OK;
}

int
sandbox_server_port(const struct sandbox_server *s)
{
    return http_server_port(s->http);
}

void
sandbox_server_stop(struct sandbox_server *s)
{
    __atomic_store_n(&s->stopping, true, __ATOMIC_RELEASE);
    if (s->http)
        http_server_drain(s->http, SECOND_US);
    loop_free(s->loop);
    sched_free(s->sched);
    sandbox_close(s->sandbox);
    free(s);
}

static void
on_request(void *arg, struct http_exchange *x, const struct http_request *in)
{
    struct visit *v = arena_alloc(in->arena, sizeof *v);
    *v = (struct visit){arg, x, in};
    if (!sched_spawn(v->s->sched, run, v))
        refuse(v, 503);
}

static void
run(void *arg)
{
    struct visit *v = arg;
    doze(v->s, v->s->options.latency_us);
    bool posts = strcmp(v->in->method, "POST") == 0;
    if (!may_ask(v))
        refuse(v, 401);
    else if (posts &&
             (strcmp(v->in->path, "/refunds") == 0 || text_starts(v->in->path, "/charges")))
        move(v);
    else if (strcmp(v->in->method, "GET") == 0 && strcmp(v->in->path, "/movements") == 0)
        show_movements(v);
    else
        refuse(v, 404);
}

static bool
may_ask(const struct visit *v)
{
    const char *wanted = arena_printf(v->in->arena, "Bearer %s", v->s->options.secret);
    const char *given = http_header(v->in, "authorization");
    return given && strlen(given) == strlen(wanted) && secret_equal(given, wanted, strlen(wanted));
}

/* ---- what moves money, and asks about it ----------------------------------------------------- */

static void
move(struct visit *v)
{
    struct provider_answer done;
    enum fault fault = roll_fault(v->s);
    if (fault == DROP_BEFORE) {
        http_drop(v->x);
        return;
    }
    if (fault == ERROR_BEFORE) {
        refuse(v, 500);
        return;
    }
    if (!act(v, &done))
        return;
    if (fault == DELAY)
        doze(v->s, v->s->options.faults.delay_ms * MILLISECOND_US);
    if (fault == DROP_AFTER) {
        http_drop(v->x);
    } else if (fault == ERROR_AFTER) {
        refuse(v, 500);
    } else {
        SandboxAnswer *said = new_sandbox_answer(v->in->arena);
        said->outcome = sandbox_outcome_word(done.outcome);
        said->ref = done.ref;
        said->reason = done.reason;
        answer(v, 200, &said->base);
    }
}

/* False if it has answered already. */
static bool
act(struct visit *v, struct provider_answer *ret)
{
    static const char before[] = "/charges/", behind[] = "/resolve";
    const char *path = v->in->path;
    if (strcmp(path, "/charges") == 0)
        return charge(v, ret);
    if (strcmp(path, "/refunds") == 0)
        return refund(v, ret);
    size_t n = strlen(path), around = sizeof before + sizeof behind - 2;
    if (!text_starts(path, before) || n <= around || strcmp(path + n - sizeof behind + 1, behind)) {
        refuse(v, 404);
        return false;
    }
    const char *key = arena_strndup(v->in->arena, path + sizeof before - 1, n - around);
    sandbox_provider.resolve(v->s->sandbox, v->in->arena, key, 0, ret);
    return true;
}

/* The body as what it must be, and its key; refused otherwise. */
static const char *
read_order(struct visit *v, ProtobufCMessage *out)
{
    struct faults f = faults_in(v->in->arena);
    const char *key = http_header(v->in, "idempotency-key");
    if (key && json_read(&f, v->in->body, v->in->body_n, NULL, out) && !f.n)
        return key;
    refuse(v, 400);
    return NULL;
}

static bool
charge(struct visit *v, struct provider_answer *ret)
{
    struct sandbox_server *s = v->s;
    struct arena *a = v->in->arena;
    SandboxCharge *in = new_sandbox_charge(a);
    const char *key = read_order(v, &in->base);
    if (!key)
        return false;
    struct provider_news known;
    bool again = sandbox_news(s->sandbox, a, key, &known);
    enum manner manner = again ? MANNER_PROMPT : sandbox_manner(in->token);
    if (manner == MANNER_SLOW)
        doze(s, s->options.slow_us);
    sandbox_capture(s->sandbox, a,
                    &(struct provider_charge){.key = key,
                                              .order_id = in->order_id,
                                              .token = in->token,
                                              .amount_minor = in->amount,
                                              .currency = in->currency},
                    ret);
    if (!again && manner != MANNER_TIMEOUT)
        announce(v, key, manner);
    if (manner == MANNER_TIMEOUT) {
        doze(s, s->options.faults.delay_ms * MILLISECOND_US);
        http_drop(v->x);
        return false;
    }
    if (manner == MANNER_CALLBACK_LATE || manner == MANNER_CALLBACK_TWICE)
        ret->outcome = OUTCOME_UNKNOWN;
    return true;
}

static bool
refund(struct visit *v, struct provider_answer *ret)
{
    struct arena *a = v->in->arena;
    SandboxRefund *in = new_sandbox_refund(a);
    const char *key = read_order(v, &in->base);
    if (!key)
        return false;
    struct provider_news known;
    bool again = sandbox_news(v->s->sandbox, a, key, &known);
    sandbox_provider.refund(v->s->sandbox, a,
                            &(struct provider_refund){.key = key,
                                                      .charge_key = in->charge,
                                                      .amount_minor = in->amount,
                                                      .currency = in->currency},
                            ret);
    if (!again)
        announce(v, key, MANNER_PROMPT);
    return true;
}

/* ---- its books ------------------------------------------------------------------------------- */

/* A parameter as it came: times and numbers need no escapes. */
static const char *
parameter(const struct visit *v, const char *name)
{
    for (const char *at = v->in->query; *at;) {
        size_t n = strcspn(at, "&");
        if (text_starts(at, name))
            return arena_strndup(v->in->arena, at + strlen(name), n - strlen(name));
        at += n + (at[n] == '&');
    }
    return "";
}

static void
show_movements(struct visit *v)
{
    struct arena *a = v->in->arena;
    struct provider_list in = {.max = PAGE_MOVEMENTS};
    int64_t offset;
    struct provider_movement *found;
    size_t n;
    if (!time_parse(parameter(v, "from="), &in.from_us) ||
        !time_parse(parameter(v, "to="), &in.to_us) ||
        !int_parse(parameter(v, "after="), &offset)) {
        refuse(v, 400);
        return;
    }
    if (sandbox_page(v->s->sandbox, a, &in, &offset, &found, &n)) {
        refuse(v, 500);
        return;
    }
    SandboxMovements *page = new_sandbox_movements(a);
    page->data = arena_alloc(a, n * sizeof *page->data + 1);
    page->n_data = n;
    page->next = offset;
    for (size_t i = 0; i < n; i++) {
        SandboxMovement *m = page->data[i] = new_sandbox_movement(a);
        m->time_us = found[i].time_us;
        m->kind = found[i].kind;
        m->key = found[i].key;
        m->of = found[i].of;
        m->amount = found[i].amount_minor;
        m->currency = found[i].currency;
        m->outcome = found[i].outcome;
    }
    answer(v, 200, &page->base);
}

/* ---- answers --------------------------------------------------------------------------------- */

static void
answer(struct visit *v, int status, const ProtobufCMessage *message)
{
    static const struct http_header json[] = {{"content-type", "application/json"}};
    struct text body = text_in(v->in->arena);
    json_write(&body, message);
    http_respond(v->x, &(struct http_response){.status = status,
                                               .headers = json,
                                               .n_headers = 1,
                                               .body = body.bytes,
                                               .body_n = body.n});
}

static void
refuse(struct visit *v, int status)
{
    http_respond(v->x, &(struct http_response){.status = status});
}

/* ---- callbacks ------------------------------------------------------------------------------- */

/* Its time goes by the token, and where that says nothing by the faults. */
static void
announce(struct visit *v, const char *key, enum manner manner)
{
    struct sandbox_server *s = v->s;
    const struct sandbox_faults *f = &s->options.faults;
    struct provider_news news;
    if (!s->options.callback_url || !sandbox_news(s->sandbox, v->in->arena, key, &news))
        return;
    const char *body = sandbox_callback_body(v->in->arena, &news);
    bool by_token = manner >= MANNER_CALLBACK_LATE;
    if (!by_token && roll(s, f->callback_lost))
        return;
    if (manner == MANNER_CALLBACK_FIRST || (!by_token && roll(s, f->callback_first))) {
        deliver_once(s, v->in->arena, body);
        return;
    }
    bool late = manner == MANNER_CALLBACK_LATE || (!by_token && roll(s, f->callback_late));
    bool twice = manner == MANNER_CALLBACK_TWICE || (!by_token && roll(s, f->callback_twice));
    for (int i = 0; i < 1 + twice; i++)
        deliver_later(s, body, late ? s->options.slow_us : 0);
}

static void
deliver_later(struct sandbox_server *s, const char *body, int64_t after_us)
{
    struct arena *a = arena_new();
    struct delivery *d = arena_alloc(a, sizeof *d);
    *d = (struct delivery){s, a, arena_strdup(a, body), after_us};
    if (!sched_spawn(s->sched, deliver, d))
        arena_free(a); /* one that got lost */
}

static void
deliver(void *arg)
{
    struct delivery *d = arg;
    struct sandbox_server *s = d->s;
    doze(s, d->after_us);
    for (int i = 0; i < CALLBACK_TRIES && !__atomic_load_n(&s->stopping, __ATOMIC_ACQUIRE); i++) {
        if (deliver_once(s, d->arena, d->body))
            break;
        doze(s, callback_again_us << i);
    }
    arena_free(d->arena);
}

static bool
deliver_once(struct sandbox_server *s, struct arena *a, const char *body)
{
    size_t n = strlen(body);
    const struct http_header headers[] = {
        {"content-type", "application/json"},
        {"sandbox-signature", signature_make(a, s->options.secret, env.now_us(), body, n)},
    };
    const struct http_fetch in = {.method = "POST",
                                  .url = s->options.callback_url,
                                  .headers = headers,
                                  .n_headers = sizeof headers / sizeof headers[0],
                                  .body = body,
                                  .body_n = n,
                                  .timeout_us = callback_timeout_us};
    struct http_answer taken;
    const char *why;
    return http_fetch(a, &in, &taken, &why) == OK && taken.status >= 200 && taken.status <= 299;
}

/* ---- faults ---------------------------------------------------------------------------------- */

static enum fault
roll_fault(struct sandbox_server *s)
{
    const struct sandbox_faults *f = &s->options.faults;
    const int shares[] = {f->drop_before, f->drop_after, f->error_before, f->error_after, f->delay};
    int at = (int)(next_roll(s) % 100);
    for (int i = 0; i < 5; i++) {
        if (at < shares[i])
            return (enum fault)(DROP_BEFORE + i);
        at -= shares[i];
    }
    return FAULT_NONE;
}

static bool
roll(struct sandbox_server *s, int percent)
{
    return (int)(next_roll(s) % 100) < percent;
}

/* xorshift64 (Marsaglia, 2003), the upper bits. */
static uint64_t
next_roll(struct sandbox_server *s)
{
    s->dice ^= s->dice << 13;
    s->dice ^= s->dice >> 7;
    s->dice ^= s->dice << 17;
    return s->dice >> 20;
}

static void
doze(const struct sandbox_server *s, int64_t us)
{
    int64_t until_us = env.mono_us() + us, left_us;
    while ((left_us = until_us - env.mono_us()) > 0 &&
           !__atomic_load_n(&s->stopping, __ATOMIC_ACQUIRE))
        fiber_sleep_us(left_us < nap_us ? left_us : nap_us);
}
