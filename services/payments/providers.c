/* Which providers there are, and how they are asked without holding up anybody else. */
#include <stdio.h>

#include "base/env.h"
#include "kit/trace.h"
#include "payments/attempts.h"

/* What is left to write the outcome and to answer. */
static const int64_t answer_us = 300 * MILLISECOND_US;
/* Others wait behind whoever is asked about. */
static const int64_t resolve_most_us = 3 * SECOND_US;

struct question {
    const struct provider_charge *charge; /* one of three */
    const struct provider_refund *refund;
    const char *key;
    int64_t timeout_us;
    struct provider_answer *ret;
};

/* A place among those that a blocking provider is asked for beside the charges. */
static bool take_place(struct request *rq);
static void leave_place(struct request *rq);

static const struct provider *find(struct request *rq, const char *name, void **ret_state);
static enum status ask(struct request *rq, const char *name, struct question *q);
static const char *outcome_word(enum outcome outcome);
static void make_secret(struct payments_state *state);

struct payments_state *
payments_state(struct request *rq)
{
    return service_state(rq, sizeof(struct payments_state));
}

/* One of a name: "sandbox" is in process, or where sandbox_url says. */
enum status
providers_start(struct request *rq)
{
    struct payments_state *state = payments_state(rq);
    const char *url = setting(rq->node, "sandbox_url");
    state->secret = setting(rq->node, "sandbox_secret");
    state->calls_max = CALLS_MAX_AT_ONCE;
    if (!text_equal(setting(rq->node, "sandbox"), "on"))
        return OK;
    if (*url) {
        if (!*state->secret)
            return fail_status(rq, FAILED_PRECONDITION, "sandbox_url needs a sandbox_secret");
        state->remote = (struct remote){url, state->secret};
        state->provider = &remote_provider;
        state->provider_state = &state->remote;
    } else {
        const char *why = "";
        const char *path = arena_printf(rq->arena, "%s/sandbox.ledger", node_data_dir(rq->node));
        int64_t slow_us = setting_int(rq->node, "sandbox_slow_ms") * MILLISECOND_US;
        state->sandbox = sandbox_open(path, slow_us, rq->arena, &why);
        if (!state->sandbox)
            return fail_status(rq, FAILED_PRECONDITION, "%s", why);
        state->provider = &sandbox_provider;
        state->provider_state = state->sandbox;
    }
    if (state->provider->blocks)
        state->calls_max = BLOCKING_CALLS_MAX;
    if (!*state->secret)
        make_secret(state);
    return OK;
}

/* Nobody else knows it: callbacks come from this process alone. */
static void
make_secret(struct payments_state *state)
{
    uint8_t bytes[SECRET_CHARS / 2];
    env.random(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++)
        snprintf(state->own_secret + 2 * i, 3, "%02x", bytes[i]);
    state->secret = state->own_secret;
}

bool
provider_known(struct request *rq, const char *name)
{
    void *state;
    return find(rq, name, &state);
}

int64_t
provider_timeout_us(struct request *rq)
{
    int64_t timeout_us = setting_int(rq->node, "sandbox_timeout_ms") * MILLISECOND_US;
    int64_t left_us = rq->deadline_us - env.mono_us() - answer_us;
    if (timeout_us > left_us)
        timeout_us = left_us;
    return timeout_us < 0 ? 0 : timeout_us;
}

enum status
provider_charge(struct request *rq, const char *name, const struct provider_charge *in,
                struct provider_answer *ret)
{
    enum status st = ask(rq, name, &(struct question){.charge = in, .ret = ret});
    if (st == OK)
        callbacks_deliver(rq, in->key); /* one that comes before the answer */
    return st;
}

enum status
provider_refund(struct request *rq, const char *name, const struct provider_refund *in,
                struct provider_answer *ret)
{
    *ret = (struct provider_answer){OUTCOME_UNKNOWN, "", ""};
    if (!take_place(rq))
        return OK; /* it is asked for later */
    enum status st = ask(rq, name, &(struct question){.refund = in, .ret = ret});
    leave_place(rq);
    return st;
}

enum status
provider_resolve(struct request *rq, const char *name, const char *key, struct provider_answer *ret)
{
    int64_t timeout_us = provider_timeout_us(rq);
    if (timeout_us > resolve_most_us)
        timeout_us = resolve_most_us;
    return ask(rq, name, &(struct question){.key = key, .timeout_us = timeout_us, .ret = ret});
}

enum status
provider_list(struct request *rq, const struct provider_list *in, struct provider_movement **ret,
              size_t *ret_n)
{
    const struct payments_state *state = payments_state(rq);
    if (!state->provider)
        return fail(rq, &PAYMENTS_NO_SUCH_PROVIDER, "this shop has no provider");
    if (!take_place(rq))
        return UNAVAILABLE;
    enum status st = state->provider->list(state->provider_state, rq->arena, in, ret, ret_n);
    leave_place(rq);
    return st;
}

static const struct provider *
find(struct request *rq, const char *name, void **ret_state)
{
    const struct payments_state *state = payments_state(rq);
    *ret_state = state->provider_state;
    return state->provider && text_equal(name, state->provider->name) ? state->provider : NULL;
}

static enum status
ask(struct request *rq, const char *name, struct question *q)
{
    void *state;
    const struct provider *provider = find(rq, name, &state);
    if (!provider)
        return fail(rq, &PAYMENTS_NO_SUCH_PROVIDER, "there is no provider \"%s\"", name);
    struct span *span = span_begin(rq, SPAN_CLIENT,
                                   q->charge   ? "provider charge"
                                   : q->refund ? "provider refund"
                                               : "provider resolve");
    span_text(span, "souk.provider", provider->name);
    if (q->charge)
        provider->charge(state, rq->arena, q->charge, q->ret);
    else if (q->refund)
        provider->refund(state, rq->arena, q->refund, q->ret);
    else
        provider->resolve(state, rq->arena, q->key, q->timeout_us, q->ret);
    span_text(span, "souk.outcome", outcome_word(q->ret->outcome));
    span_end(span, rq, q->ret->outcome == OUTCOME_UNKNOWN ? DEADLINE_EXCEEDED : OK);
    return OK;
}

static const char *
outcome_word(enum outcome outcome)
{
    static const char *const words[] = {
        [OUTCOME_CAPTURED] = "captured", [OUTCOME_DECLINED] = "declined",
        [OUTCOME_REFUNDED] = "refunded", [OUTCOME_UNKNOWN] = "unknown",
        [OUTCOME_ABSENT] = "absent",
    };
    return words[outcome];
}

static bool
take_place(struct request *rq)
{
    struct payments_state *state = payments_state(rq);
    spin_lock(&state->lock);
    bool free =
        !state->provider || !state->provider->blocks || state->n_others < BLOCKING_OTHERS_MAX;
    state->n_others += free;
    spin_unlock(&state->lock);
    return free;
}

static void
leave_place(struct request *rq)
{
    struct payments_state *state = payments_state(rq);
    spin_lock(&state->lock);
    state->n_others--;
    spin_unlock(&state->lock);
}
