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

static const struct provider *find(struct request *rq, const char *name, void **ret_state);
static enum status ask(struct request *rq, const char *name, struct question *q);
static void ask_now(void *arg);

struct payments_state *
payments_state(struct request *rq)
{
    return service_state(rq, sizeof(struct payments_state));
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
    return ask(rq, name, &(struct question){.charge = in, .ret = ret});
}

enum status
provider_refund(struct request *rq, const char *name, const struct provider_refund *in,
                struct provider_answer *ret)
{
    return ask(rq, name, &(struct question){.refund = in, .ret = ret});
}

enum status
provider_resolve(struct request *rq, const char *name, const char *key, struct provider_answer *ret)
{
    return ask(rq, name,
               &(struct question){.key = key, .timeout_us = provider_timeout_us(rq), .ret = ret});
}

static const struct provider *
find(struct request *rq, const char *name, void **ret_state)
{
    *ret_state = payments_state(rq)->sandbox;
    return *ret_state && text_equal(name, sandbox_provider.name) ? &sandbox_provider : NULL;
}

static enum status
ask(struct request *rq, const char *name, struct question *q)
{
    q->arena = rq->arena;
    q->provider = find(rq, name, &q->state);
    if (!q->provider)
        return fail(rq, &PAYMENTS_NO_SUCH_PROVIDER, "there is no provider \"%s\"", name);
    if (q->provider->blocks)
        fiber_offload(ask_now, q);
    else
        ask_now(q);
    return OK;
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
