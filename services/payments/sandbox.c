#include "payments/sandbox.h"

#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/text.h"
#include "base/time.h"
#include "fiber/fiber.h"
#include "kit/json.h"
#include "payments.api.h"
#include "payments/sandbox_ledger.h"

enum { CALLBACKS_MAX = 256 };

static const int64_t soon_us = 200 * MILLISECOND_US; /* a callback that is not late */

struct sandbox {
    struct ledger *ledger;
    int64_t slow_us;
    struct {
        int64_t due_us;
        char key[LEDGER_KEY_CHARS_MAX + 1];
    } callbacks[CALLBACKS_MAX];
    size_t n_callbacks;
};

/* What somebody asks for. */
struct wish {
    enum kind kind;
    const char *key, *of;
    int64_t amount_minor;
    const char *currency;
    const char *declined; /* why it is not granted, or NULL */
};

static const char *decline_of(const char *token);
static void answer(struct arena *a, const struct movement *m, struct provider_answer *ret);
static void record(struct sandbox *s, struct arena *a, const struct wish *wish,
                   struct provider_answer *ret);
static void call_back(struct sandbox *s, const char *key, int64_t due_us);

struct sandbox *
sandbox_open(const char *path, int64_t slow_us, struct arena *a, const char **why)
{
    struct ledger *ledger = ledger_open(path, a, why);
    if (!ledger)
        return NULL;
    struct sandbox *s = calloc(1, sizeof *s);
    if (!s)
        abort();
    s->ledger = ledger;
    s->slow_us = slow_us;
    return s;
}

void
sandbox_close(struct sandbox *s)
{
    if (s)
        ledger_close(s->ledger);
    free(s);
}

static const struct {
    const char *token, *declined;
    enum manner manner;
} tokens[] = {
    {"approve", NULL, MANNER_PROMPT},
    {"decline", "declined", MANNER_PROMPT},
    {"insufficient_funds", "insufficient_funds", MANNER_PROMPT},
    {"timeout", NULL, MANNER_TIMEOUT},
    {"slow", NULL, MANNER_SLOW},
    {"webhook_late", NULL, MANNER_CALLBACK_LATE},
    {"webhook_twice", NULL, MANNER_CALLBACK_TWICE},
    {"webhook_first", NULL, MANNER_CALLBACK_FIRST},
};
enum { TOKENS = sizeof tokens / sizeof tokens[0] };

enum manner
sandbox_manner(const char *token)
{
    for (size_t i = 0; i < TOKENS; i++)
        if (text_equal(token, tokens[i].token))
            return tokens[i].manner;
    return MANNER_PROMPT;
}

/* Why the token declines, or NULL. */
static const char *
decline_of(const char *token)
{
    for (size_t i = 0; i < TOKENS; i++)
        if (text_equal(token, tokens[i].token))
            return tokens[i].declined;
    return "invalid_token";
}

void
sandbox_capture(struct sandbox *s, struct arena *a, const struct provider_charge *in,
                struct provider_answer *ret)
{
    record(s, a,
           &(struct wish){KIND_CHARGE, in->key, in->order_id, in->amount_minor, in->currency,
                          decline_of(in->token)},
           ret);
}

static void
sandbox_charge(void *state, struct arena *a, const struct provider_charge *in,
               struct provider_answer *ret)
{
    struct sandbox *s = state;
    const struct movement *known = ledger_ready(s->ledger) ? ledger_find(s->ledger, in->key) : NULL;
    if (known) {
        answer(a, known, ret);
        return;
    }
    enum manner manner = sandbox_manner(in->token);
    bool slow = manner == MANNER_SLOW && s->slow_us < in->timeout_us;
    if (slow)
        fiber_sleep_us(s->slow_us);
    sandbox_capture(s, a, in, ret);
    if (ret->outcome != OUTCOME_CAPTURED)
        return;
    int64_t now_us = env.now_us();
    switch (manner) {
    case MANNER_SLOW:
    case MANNER_TIMEOUT:
        if (slow)
            return;
        fiber_sleep_us(in->timeout_us);
        break;
    case MANNER_CALLBACK_FIRST:
        call_back(s, in->key, 0);
        return;
    case MANNER_CALLBACK_TWICE:
        call_back(s, in->key, now_us + soon_us);
        call_back(s, in->key, now_us + soon_us);
        break;
    case MANNER_CALLBACK_LATE:
        call_back(s, in->key, now_us + s->slow_us);
        break;
    case MANNER_PROMPT:
        return;
    }
    ret->outcome = OUTCOME_UNKNOWN;
}

static void
sandbox_refund(void *state, struct arena *a, const struct provider_refund *in,
               struct provider_answer *ret)
{
    struct sandbox *s = state;
    const struct movement *charge =
        ledger_ready(s->ledger) ? ledger_find(s->ledger, in->charge_key) : NULL;
    const char *declined = NULL;
    if (!charge || charge->kind != KIND_CHARGE || charge->outcome != OUTCOME_CAPTURED)
        declined = "no_such_charge";
    else if (strcmp(charge->currency, in->currency) != 0 ||
             in->amount_minor > charge->amount_minor - charge->refunded_minor)
        declined = "more_than_captured";
    record(s, a,
           &(struct wish){KIND_REFUND, in->key, in->charge_key, in->amount_minor, in->currency,
                          declined},
           ret);
}

static void
sandbox_resolve(void *state, struct arena *a, const char *key, int64_t timeout_us,
                struct provider_answer *ret)
{
    (void)timeout_us;
    record(state, a, &(struct wish){KIND_VOID, key, "-", 0, "XXX", "voided"}, ret);
}

/* Moves the money of key, or tells the movement that it was used for before. */
static void
record(struct sandbox *s, struct arena *a, const struct wish *wish, struct provider_answer *ret)
{
    *ret = (struct provider_answer){OUTCOME_UNKNOWN, "", ""};
    if (!ledger_ready(s->ledger))
        return;
    const struct movement *known = ledger_find(s->ledger, wish->key);
    if (known) {
        answer(a, known, ret);
        if (wish->kind == KIND_VOID && known->kind == KIND_VOID)
            ret->outcome = OUTCOME_ABSENT;
        return;
    }
    if (!ledger_takes(wish->key, wish->of, wish->currency)) {
        *ret = (struct provider_answer){OUTCOME_DECLINED, "", "bad_request"};
        return;
    }
    struct movement m = {.kind = (uint8_t)wish->kind, .amount_minor = wish->amount_minor};
    m.outcome = wish->declined              ? OUTCOME_DECLINED
                : wish->kind == KIND_REFUND ? OUTCOME_REFUNDED
                                            : OUTCOME_CAPTURED;
    m.reason = ledger_reason(wish->declined ? wish->declined : "");
    memcpy(m.key, wish->key, strlen(wish->key) + 1);
    memcpy(m.currency, wish->currency, strlen(wish->currency) + 1);
    if (!ledger_append(s->ledger, &m, wish->of))
        return;
    answer(a, &m, ret);
    if (wish->kind == KIND_VOID)
        ret->outcome = OUTCOME_ABSENT;
}

static void
answer(struct arena *a, const struct movement *m, struct provider_answer *ret)
{
    const char *body = strchr(m->key, '_');
    ret->outcome = m->outcome;
    ret->ref = arena_printf(a, "sbx_%s", body ? body + 1 : m->key);
    ret->reason = m->outcome == OUTCOME_DECLINED ? ledger_reason_word(m) : "";
}

/* ---- its books ------------------------------------------------------------------------------- */

struct page {
    struct sandbox *s;
    struct arena *a;
    const struct provider_list *in;
    int64_t *offset;
    struct provider_movement *found;
    size_t n;
    enum status st;
};

static void
read_page(void *arg)
{
    struct page *p = arg;
    p->st = ledger_list(p->s->ledger, p->a, p->in, p->offset, &p->found, &p->n);
}

/* The file may be large: nobody else waits for its reading. */
enum status
sandbox_page(struct sandbox *s, struct arena *a, const struct provider_list *in, int64_t *offset,
             struct provider_movement **ret, size_t *ret_n)
{
    struct page p = {.s = s, .a = a, .in = in, .offset = offset};
    fiber_offload(read_page, &p);
    if (p.st)
        return p.st;
    *ret = p.found;
    *ret_n = p.n;
    return OK;
}

static enum status
sandbox_list(void *state, struct arena *a, const struct provider_list *in,
             struct provider_movement **ret, size_t *ret_n)
{
    int64_t offset = 0;
    enum status st = sandbox_page(state, a, in, &offset, ret, ret_n);
    return st ? st : offset < 0 ? OK : RESOURCE_EXHAUSTED;
}

/* ---- what it says by itself ------------------------------------------------------------------ */

bool
sandbox_news(struct sandbox *s, struct arena *a, const char *key, struct provider_news *ret)
{
    const struct movement *m = ledger_find(s->ledger, key);
    if (!m || m->kind == KIND_VOID)
        return false;
    ret->kind = m->kind == KIND_CHARGE ? "charge" : "refund";
    ret->key = arena_strdup(a, key);
    ret->amount_minor = m->amount_minor;
    ret->currency = arena_strdup(a, m->currency);
    answer(a, m, &ret->answer);
    return true;
}

const char *
sandbox_callback_body(struct arena *a, const struct provider_news *news)
{
    SandboxCallback *said = new_sandbox_callback(a);
    said->kind = news->kind;
    said->key = news->key;
    said->outcome = sandbox_outcome_word(news->answer.outcome);
    said->ref = news->answer.ref;
    said->reason = news->answer.reason;
    said->amount = news->amount_minor;
    said->currency = news->currency;
    struct text body = text_in(a);
    json_write(&body, &said->base);
    return body.bytes;
}

const char *
sandbox_outcome_word(enum outcome outcome)
{
    static const char *const words[] = {[OUTCOME_CAPTURED] = "captured",
                                        [OUTCOME_DECLINED] = "declined",
                                        [OUTCOME_REFUNDED] = "refunded",
                                        [OUTCOME_UNKNOWN] = "pending",
                                        [OUTCOME_ABSENT] = "absent"};
    return words[outcome];
}

static void
call_back(struct sandbox *s, const char *key, int64_t due_us)
{
    if (s->n_callbacks == CALLBACKS_MAX)
        return;
    s->callbacks[s->n_callbacks].due_us = due_us;
    memcpy(s->callbacks[s->n_callbacks++].key, key, strlen(key) + 1);
}

bool
sandbox_next_callback(struct sandbox *s, struct arena *a, int64_t now_us, const char *key,
                      struct provider_news *ret)
{
    for (size_t i = 0; i < s->n_callbacks; i++) {
        if (s->callbacks[i].due_us > now_us || (key && strcmp(s->callbacks[i].key, key) != 0))
            continue;
        bool known = sandbox_news(s, a, s->callbacks[i].key, ret);
        s->callbacks[i] = s->callbacks[--s->n_callbacks];
        if (known)
            return true;
        i--;
    }
    return false;
}

const struct provider sandbox_provider = {
    .name = "sandbox",
    .charge = sandbox_charge,
    .refund = sandbox_refund,
    .resolve = sandbox_resolve,
    .list = sandbox_list,
};
