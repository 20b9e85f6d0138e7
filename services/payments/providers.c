/* Which providers there are, and how they are asked without holding up anybody else. */
#include "base/env.h"
#include "payments/attempts.h"

/* What is left to write the outcome and to answer. */
static const int64_t answer_us = 300 * MILLISECOND_US;

struct question {
    const struct provider *provider;
    void *state;
    struct arena *arena;
    const struct provider_charge *charge; /* one of three */
    const struct provider_refund *refund;
    const char *key;
    int64_t timeout_us;
    struct provider_answer *ret;
};

static void ask(struct question *q);
static void ask_now(void *arg);

struct payments_state *
payments_state(struct request *rq)
{
    return service_state(rq, sizeof(struct payments_state));
}

const struct provider *
provider_named(struct request *rq, const char *name, void **ret_state)
{
    struct sandbox *sandbox = payments_state(rq)->sandbox;
    if (!sandbox || !text_equal(name, sandbox_provider.name))
        return NULL;
    *ret_state = sandbox;
    return &sandbox_provider;
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

void
provider_charge(struct request *rq, const struct provider *p, void *state,
                const struct provider_charge *in, struct provider_answer *ret)
{
    ask(&(struct question){
        .provider = p, .state = state, .arena = rq->arena, .charge = in, .ret = ret});
}

void
provider_refund(struct request *rq, const struct provider *p, void *state,
                const struct provider_refund *in, struct provider_answer *ret)
{
    ask(&(struct question){
        .provider = p, .state = state, .arena = rq->arena, .refund = in, .ret = ret});
}

void
provider_resolve(struct request *rq, const struct provider *p, void *state, const char *key,
                 struct provider_answer *ret)
{
    ask(&(struct question){.provider = p,
                           .state = state,
                           .arena = rq->arena,
                           .key = key,
                           .timeout_us = provider_timeout_us(rq),
                           .ret = ret});
}

static void
ask(struct question *q)
{
    if (q->provider->blocks)
        fiber_offload(ask_now, q);
    else
        ask_now(q);
}

static void
ask_now(void *arg)
{
    struct question *q = arg;
    if (q->charge)
        q->provider->charge(q->state, q->arena, q->charge, q->ret);
    else if (q->refund)
        q->provider->refund(q->state, q->arena, q->refund, q->ret);
    else
        q->provider->resolve(q->state, q->arena, q->key, q->timeout_us, q->ret);
}
