#include "payments/remote.h"

#include "base/env.h"
#include "base/text.h"
#include "base/time.h"
#include "fiber/fiber.h"
#include "kit/json.h"
#include "net/net.h"
#include "payments.api.h"

enum { TRIES_MAX = 3, HEADERS_OUT = 3, PAGES_MAX = 100 };

/* A repeated key moves no money again, so what broke is asked again while there is time. */
static const int64_t pause_us = 100 * MILLISECOND_US;

struct call {
    const struct remote *to;
    struct arena *arena;
    const char *method, *path, *key; /* key is NULL where there is none */
    const ProtobufCMessage *body;    /* or NULL */
    int64_t ends_us;                 /* on env.mono_us's clock */
};

static bool fetch(const struct call *c, struct http_answer *ret);
static bool fetch_once(const struct call *c, struct http_answer *ret, bool *ret_again);
static void ask(const struct call *c, struct provider_answer *ret);
static bool understand(struct arena *a, const struct http_answer *answer,
                       struct provider_answer *ret);
static enum status list_page(const struct call *c, size_t max, struct provider_movement *found,
                             size_t *n, int64_t *next);

static void
remote_charge(void *state, struct arena *a, const struct provider_charge *in,
              struct provider_answer *ret)
{
    SandboxCharge *body = new_sandbox_charge(a);
    body->order_id = in->order_id;
    body->token = in->token;
    body->amount = in->amount_minor;
    body->currency = in->currency;
    ask(&(struct call){state, a, "POST", "/charges", in->key, &body->base,
                       env.mono_us() + in->timeout_us},
        ret);
}

static void
remote_refund(void *state, struct arena *a, const struct provider_refund *in,
              struct provider_answer *ret)
{
    SandboxRefund *body = new_sandbox_refund(a);
    body->charge = in->charge_key;
    body->amount = in->amount_minor;
    body->currency = in->currency;
    ask(&(struct call){state, a, "POST", "/refunds", in->key, &body->base,
                       env.mono_us() + in->timeout_us},
        ret);
}

static void
remote_resolve(void *state, struct arena *a, const char *key, int64_t timeout_us,
               struct provider_answer *ret)
{
    ask(&(struct call){state, a, "POST", arena_printf(a, "/charges/%s/resolve", key), key, NULL,
                       env.mono_us() + timeout_us},
        ret);
}

/* What is not plainly said has perhaps happened. */
static void
ask(const struct call *c, struct provider_answer *ret)
{
    struct http_answer answer;
    *ret = (struct provider_answer){OUTCOME_UNKNOWN, "", ""};
    if (!fetch(c, &answer))
        return;
    if (answer.status == 400)
        *ret = (struct provider_answer){OUTCOME_DECLINED, "", "bad_request"};
    else if (answer.status == 200 && !understand(c->arena, &answer, ret))
        *ret = (struct provider_answer){OUTCOME_UNKNOWN, "", ""};
}

static bool
understand(struct arena *a, const struct http_answer *answer, struct provider_answer *ret)
{
    static const struct {
        const char *word;
        enum outcome outcome;
    } words[] = {{"captured", OUTCOME_CAPTURED},
                 {"declined", OUTCOME_DECLINED},
                 {"refunded", OUTCOME_REFUNDED},
                 {"absent", OUTCOME_ABSENT},
                 {"pending", OUTCOME_UNKNOWN}};
    struct faults f = faults_in(a);
    SandboxAnswer *said = new_sandbox_answer(a);
    if (!json_read(&f, answer->body, answer->body_n, NULL, &said->base) || f.n)
        return false;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (text_equal(said->outcome, words[i].word))
            ret->outcome = words[i].outcome;
    ret->ref = said->ref;
    ret->reason = said->reason;
    return true;
}

static enum status
remote_list(void *state, struct arena *a, const struct provider_list *in,
            struct provider_movement **ret, size_t *ret_n)
{
    struct provider_movement *found = arena_alloc(a, in->max * sizeof *found);
    size_t n = 0;
    int64_t next = 0;
    for (int i = 0; i < PAGES_MAX && next >= 0; i++) {
        const struct call c = {
            .to = state,
            .arena = a,
            .method = "GET",
            .path =
                arena_printf(a, "/movements?from=%s&to=%s&after=%lld", time_format(a, in->from_us),
                             time_format(a, in->to_us), (long long)next),
            .ends_us = env.mono_us() + in->timeout_us,
        };
        enum status st = list_page(&c, in->max, found, &n, &next);
        if (st)
            return st;
    }
    if (next >= 0)
        return RESOURCE_EXHAUSTED;
    *ret = found;
    *ret_n = n;
    return OK;
}

static enum status
list_page(const struct call *c, size_t max, struct provider_movement *found, size_t *n,
          int64_t *next)
{
    struct http_answer answer;
    struct faults f = faults_in(c->arena);
    SandboxMovements *page = new_sandbox_movements(c->arena);
    if (!fetch(c, &answer) || answer.status != 200 ||
        !json_read(&f, answer.body, answer.body_n, NULL, &page->base) || f.n ||
        (page->next >= 0 && page->next <= *next))
        return UNAVAILABLE;
    if (page->n_data > max - *n)
        return RESOURCE_EXHAUSTED;
    for (size_t i = 0; i < page->n_data; i++) {
        const SandboxMovement *m = page->data[i];
        found[(*n)++] = (struct provider_movement){m->time_us, m->kind,     m->key,    m->of,
                                                   m->amount,  m->currency, m->outcome};
    }
    *next = page->next;
    return OK;
}

static bool
fetch(const struct call *c, struct http_answer *ret)
{
    bool again = true;
    for (int i = 0; i < TRIES_MAX && again && env.mono_us() < c->ends_us; i++) {
        if (i > 0)
            fiber_sleep_us(pause_us);
        if (fetch_once(c, ret, &again))
            return true;
    }
    return false;
}

static bool
fetch_once(const struct call *c, struct http_answer *ret, bool *ret_again)
{
    const struct http_header headers[HEADERS_OUT] = {
        {"authorization", arena_printf(c->arena, "Bearer %s", c->to->secret)},
        {"content-type", "application/json"},
        {"idempotency-key", c->key},
    };
    struct text body = text_in(c->arena);
    if (c->body)
        json_write(&body, c->body);
    const struct http_fetch in = {
        .method = c->method,
        .url = arena_printf(c->arena, "%s%s", c->to->url, c->path),
        .headers = headers,
        .n_headers = c->key ? HEADERS_OUT : HEADERS_OUT - 1,
        .body = body.bytes,
        .body_n = body.n,
        .timeout_us = c->ends_us - env.mono_us(),
    };
    if (in.timeout_us <= 0)
        return false;
    const char *why;
    enum status st = http_fetch(c->arena, &in, ret, &why);
    *ret_again = st == UNAVAILABLE || st == UNKNOWN || (st == OK && ret->status >= 500);
    return st == OK && !*ret_again;
}

const struct provider remote_provider = {
    .name = "sandbox",
    .blocks = true,
    .charge = remote_charge,
    .refund = remote_refund,
    .resolve = remote_resolve,
    .list = remote_list,
};
