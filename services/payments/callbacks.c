/*
 * What a provider says by itself.  It may come late, twice, before the answer of the charge itself,
 * or from somebody else: it counts if its signature is good, and once, as any other way to learn an
 * outcome.
 */
#include "kit/json.h"
#include "payments/attempts.h"
#include "payments/signature.h"

static enum status read_news(struct request *rq, const TakeCallbackRequest *in,
                             SandboxCallback **ret);
static struct provider_answer answer_of(const SandboxCallback *news);
static enum status take_charge(struct request *rq, const SandboxCallback *news, Payment **ret);
static enum status take_refund(struct request *rq, const SandboxCallback *news, Payment **ret);
static enum status check_amount(struct request *rq, const SandboxCallback *news,
                                int64_t amount_minor, const char *currency);

enum status
payments_take_callback(struct request *rq, const TakeCallbackRequest *in, TakeCallbackResponse *out)
{
    if (!provider_known(rq, in->provider))
        return fail_status(rq, NOT_FOUND, "there is no provider of this name");
    if (!signature_good(rq->arena, payments_state(rq)->secret, rq->now_us, in->signature,
                        (const char *)in->body.data, in->body.len))
        return fail(rq, &PAYMENTS_BAD_SIGNATURE, "the callback is not signed as it must be");
    SandboxCallback *news;
    enum status st = read_news(rq, in, &news);
    return st ? st : callback_take(rq, news, out);
}

static enum status
read_news(struct request *rq, const TakeCallbackRequest *in, SandboxCallback **ret)
{
    struct faults f = faults_in(rq->arena);
    *ret = new_sandbox_callback(rq->arena);
    if (json_read(&f, (const char *)in->body.data, in->body.len, NULL, &(*ret)->base) && !f.n)
        return OK;
    return fail(rq, &PAYMENTS_BAD_CALLBACK, "%s: %s", f.items[0].pointer, f.items[0].detail);
}

enum status
callback_take(struct request *rq, const SandboxCallback *news, TakeCallbackResponse *out)
{
    Payment *payment = NULL;
    enum status st = text_equal(news->kind, "refund") ? take_refund(rq, news, &payment)
                                                      : take_charge(rq, news, &payment);
    if (st)
        return st;
    note(rq, "payment_id", payment->id);
    out->id = payment->id;
    out->status = payment->status;
    return OK;
}

static enum status
take_charge(struct request *rq, const SandboxCallback *news, Payment **ret)
{
    struct tx *tx = tx_begin_read(rq);
    AttemptRow *attempt;
    enum status st = find_attempt(tx, &attempt, .id = news->key);
    tx_end(tx);
    if (st == NOT_FOUND)
        return fail(rq, &PAYMENTS_NO_SUCH_PAYMENT, "there is no payment %s", news->key);
    if (st)
        return fail_store(rq, st);
    const struct provider_answer answer = answer_of(news);
    if (answer.outcome == OUTCOME_REFUNDED)
        return fail(rq, &PAYMENTS_BAD_CALLBACK, "a charge is captured or declined");
    st = check_amount(rq, news, attempt->amount_minor, attempt->currency);
    if (st)
        return st;
    *ret = new_payment(rq->arena);
    if (!text_equal(attempt->status, "pending"))
        return payment_load(rq, attempt->id, *ret);
    return attempt_record(rq, attempt, &answer, *ret);
}

static enum status
take_refund(struct request *rq, const SandboxCallback *news, Payment **ret)
{
    struct tx *tx = tx_begin_read(rq);
    RefundRow *refund;
    enum status st = find_refund(tx, &refund, .id = news->key);
    tx_end(tx);
    if (st == NOT_FOUND)
        return fail(rq, &PAYMENTS_NO_SUCH_PAYMENT, "there is no refund %s", news->key);
    if (st)
        return fail_store(rq, st);
    const struct provider_answer answer = answer_of(news);
    if (answer.outcome == OUTCOME_CAPTURED)
        return fail(rq, &PAYMENTS_BAD_CALLBACK, "a refund is refunded or declined");
    st = check_amount(rq, news, refund->amount_minor, refund->currency);
    if (st)
        return st;
    if (text_equal(refund->status, "pending"))
        st = refund_record(rq, refund, &answer);
    if (failed_with(
            rq, &PAYMENTS_NOT_REFUNDABLE)) { /* recorded: the provider's no is no fault of his */
        fail_clear(rq);
        st = OK;
    }
    *ret = new_payment(rq->arena);
    return st ? st : payment_load(rq, refund->attempt_id, *ret);
}

static enum status
check_amount(struct request *rq, const SandboxCallback *news, int64_t amount_minor,
             const char *currency)
{
    if (news->amount == amount_minor && text_equal(news->currency, currency))
        return OK;
    return fail(rq, &PAYMENTS_BAD_CALLBACK, "it is of %lld %s, not of %lld %s",
                (long long)amount_minor, currency, (long long)news->amount, news->currency);
}

static struct provider_answer
answer_of(const SandboxCallback *news)
{
    enum outcome outcome = text_equal(news->outcome, "captured")   ? OUTCOME_CAPTURED
                           : text_equal(news->outcome, "refunded") ? OUTCOME_REFUNDED
                                                                   : OUTCOME_DECLINED;
    return (struct provider_answer){outcome, news->ref, news->reason};
}

/* The same way as one that comes over HTTP, from its signature on. */
void
callbacks_deliver(struct request *rq, const char *key)
{
    struct sandbox *sandbox = payments_state(rq)->sandbox;
    struct provider_news news;
    while (sandbox && sandbox_next_callback(sandbox, rq->arena, rq->now_us, key, &news)) {
        TakeCallbackRequest *in = new_take_callback_request(rq->arena);
        const char *body = sandbox_callback_body(rq->arena, &news);
        in->provider = sandbox_provider.name;
        in->body = (ProtobufCBinaryData){strlen(body), arena_copy(rq->arena, body, strlen(body))};
        in->signature =
            signature_make(rq->arena, payments_state(rq)->secret, rq->now_us, body, in->body.len);
        if (payments_take_callback(rq, in, new_take_callback_response(rq->arena))) {
            note(rq, "callback", rq->message ? rq->message : "failed");
            fail_clear(rq);
        }
    }
}
