/*
 * Payments: moves money through providers and keeps the record of every movement.
 *
 * attempts.c charges, refunds.c gives back; providers.c finds whom they ask, sandbox.c or remote.c;
 * callbacks.c hears what those say by themselves; reconcile.c and report.c look back.
 */
#include "payments/attempts.h"

enum { PAYMENTS_MAX = 100 }; /* of one order, in a list */

/* What is lodged and not used by then is forgotten. */
static const int64_t method_life_us = DAY_US;

enum status
payments_lodge_method(struct request *rq, const LodgeMethodRequest *in, LodgeMethodResponse *out)
{
    if (!provider_known(rq, in->provider))
        return fail(rq, &PAYMENTS_NO_SUCH_PROVIDER, "there is no provider \"%s\"", in->provider);
    if (text_empty(in->payment_method_id) || text_empty(in->token))
        return fail(rq, &PAYMENTS_NO_SUCH_METHOD, "a payment method has an id and a token");
    struct tx *tx = tx_begin(rq);
    lodge_method(tx, .id = in->payment_method_id, .provider = in->provider, .token = in->token,
                 .now_us = rq->now_us);
    enum status st = tx_commit(tx);
    if (st)
        return fail_store(rq, st);
    out->payment_method_id = in->payment_method_id;
    return OK;
}

enum status
payments_get_payment(struct request *rq, const GetPaymentRequest *in, Payment *out)
{
    return payment_load(rq, in->id, out);
}

enum status
payments_list_payments(struct request *rq, const ListPaymentsRequest *in, ListPaymentsResponse *out)
{
    struct tx *tx = tx_begin_read(rq);
    enum status st = list_order_payments(tx, &out->payments, &out->n_payments,
                                         .order_id = in->order_id, .limit = PAYMENTS_MAX);
    tx_end(tx);
    return fail_store(rq, st);
}

enum status
payment_load(struct request *rq, const char *id, Payment *out)
{
    struct tx *tx = tx_begin_read(rq);
    Payment *payment;
    enum status st = find_payment(tx, &payment, .id = id);
    tx_end(tx);
    if (st == NOT_FOUND)
        return fail(rq, &PAYMENTS_NO_SUCH_PAYMENT, "there is no payment %s", id);
    if (st)
        return fail_store(rq, st);
    *out = *payment;
    return OK;
}

/* A token lives no longer than it may be needed. */
static enum status
purge(struct request *rq)
{
    struct tx *tx = tx_begin(rq);
    purge_methods(tx, .before_us = rq->now_us - method_life_us);
    return fail_store(rq, tx_commit(tx));
}

/* Where no other process leads, nobody asks a provider now, so that every attempt without an
 * outcome can be looked at.  Else that other may be asking, and what is pending is looked at when
 * it is due. */
static enum status
start(struct request *rq)
{
    bool alone = service_leads(rq);
    payments_state(rq)->started_us = alone ? rq->now_us : 0;
    enum status st = providers_start(rq);
    if (st || !alone)
        return st;
    struct tx *tx = tx_begin(rq);
    look_at_attempts_now(tx);
    return fail_store(rq, tx_commit(tx));
}

static void
state_free(void *state)
{
    sandbox_close(((struct payments_state *)state)->sandbox);
}

const struct service payments_service = {
    .name = "payments",
    .serves = &payments_server,
    .publishes = {&payment_processed, &payment_completed, &payment_failed, &payment_refunded},
    .subscribes = {{subscribe(order_created, charges_on_order_created)},
                   {subscribe(order_cancelled, refunds_on_order_cancelled)}},
    .jobs = {{"resolve", attempts_resolve, SECOND_US},
             {"refund", refunds_drive, SECOND_US},
             {"purge", purge, HOUR_US},
             {"reconcile", reconcile_yesterday, 10 * MINUTE_US}},
    .start = start,
    .state_free = state_free,
};
