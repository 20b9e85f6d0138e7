/*
 * Money on its way back.
 *
 * A refund claims its part of the attempt before its provider is asked, so that never more goes
 * back than was captured.  An order that is cancelled for good is closed: what was or will be
 * captured for it goes back by itself, once, under an id that follows from the attempt.
 */
#include "payments/attempts.h"

enum {
    CLOSED_MAX = 100, /* orders in one run of the job */
    DRIVE_MAX = 100,  /* refunds in one run */
};

static const int64_t look_first_us = 15 * SECOND_US; /* the request that asks has ended by then */
static const int64_t look_again_us = 5 * SECOND_US;
/* So long a charge may have been under way unseen by a process that closed its order. */
static const int64_t closing_us = MINUTE_US;

static enum status claim(struct request *rq, const RefundRequest *in, const char *id,
                         RefundRow **ret);
static enum status check_refund(struct request *rq, const AttemptRow *attempt,
                                const RefundRequest *in, int64_t *ret_minor);
static enum status drive(struct request *rq, const RefundRow *refund);
static void postpone(struct request *rq, const char *id);
static enum status settle_closed(struct request *rq, const ClosedRow *closed);
static void claim_rest(struct request *rq, struct tx *tx, const AttemptRow *attempt,
                       const char *reason);

/* Safe to retry: the refund's id follows from the request's. */
enum status
payments_refund(struct request *rq, const RefundRequest *in, Payment *out)
{
    note(rq, "payment_id", in->id);
    const char *id = id_derive(rq->arena, "rfd", rq->id, in->id);
    RefundRow *refund;
    enum status st = claim(rq, in, id, &refund);
    if (st == OK && text_equal(refund->status, "failed"))
        st = fail(rq, &PAYMENTS_NOT_REFUNDABLE, "the provider gave nothing back");
    if (st == OK && text_equal(refund->status, "pending"))
        st = drive(rq, refund);
    return st ? st : payment_load(rq, in->id, out);
}

/* The refund of this id: new, or as an earlier try of the request left it. */
static enum status
claim(struct request *rq, const RefundRequest *in, const char *id, RefundRow **ret)
{
    struct tx *tx = tx_begin(rq);
    AttemptRow *attempt;
    int64_t minor = 0;
    enum status st = find_refund(tx, ret, .id = id);
    bool is_new = st == NOT_FOUND;
    if (is_new)
        st = find_attempt(tx, &attempt, .id = in->id);
    if (is_new && st == NOT_FOUND)
        st = fail(rq, &PAYMENTS_NO_SUCH_PAYMENT, "there is no payment %s", in->id);
    else if (is_new && st == OK)
        st = check_refund(rq, attempt, in, &minor);
    if (!is_new || st) {
        enum status broken = tx_status(tx);
        tx_end(tx);
        return broken ? fail_store(rq, broken) : st;
    }
    int64_t claimed = claim_refund(tx, .id = in->id, .amount_minor = minor);
    add_refund(tx, .id = id, .attempt_id = in->id, .order_id = attempt->order_id,
               .provider = attempt->provider, .amount_minor = minor, .currency = attempt->currency,
               .restock = in->restock, .reason = "staff", .look_us = rq->now_us + look_first_us,
               .now_us = rq->now_us);
    find_refund(tx, ret, .id = id);
    if (claimed == 0)
        tx_fail(tx, ABORTED);
    return fail_store(rq, tx_commit(tx));
}

static enum status
check_refund(struct request *rq, const AttemptRow *attempt, const RefundRequest *in,
             int64_t *ret_minor)
{
    int64_t left = attempt->amount_minor - attempt->claimed_minor;
    if (!text_equal(attempt->status, "completed"))
        return fail(rq, &PAYMENTS_NOT_REFUNDABLE, "the payment is %s", attempt->status);
    if (left == 0)
        return fail(rq, &PAYMENTS_NOT_REFUNDABLE, "all of the payment is given back");
    if (in->amount && !text_equal(in->amount->currency, attempt->currency))
        return fail_status(rq, INVALID_ARGUMENT, "the payment is in %s", attempt->currency);
    if (in->amount && in->amount->amount < 1)
        return fail_status(rq, INVALID_ARGUMENT, "a refund is of 1 or more");
    if (in->amount && in->amount->amount > left)
        return fail(rq, &PAYMENTS_REFUND_TOO_LARGE, "%lld of the payment are left, not %lld",
                    (long long)left, (long long)in->amount->amount);
    *ret_minor = in->amount ? in->amount->amount : left;
    return OK;
}

static enum status
drive(struct request *rq, const RefundRow *refund)
{
    enum status st = request_settle(rq);
    if (st)
        return st;
    const struct provider_refund in = {
        .key = refund->id,
        .charge_key = refund->attempt_id,
        .amount_minor = refund->amount_minor,
        .currency = refund->currency,
        .timeout_us = provider_timeout_us(rq),
    };
    struct provider_answer answer;
    st = provider_refund(rq, refund->provider, &in, &answer);
    if (st)
        return st;
    if (answer.outcome == OUTCOME_UNKNOWN) {
        postpone(rq, refund->id);
        return OK;
    }
    return refund_record(rq, refund, &answer);
}

/* Written once, on condition that it has no outcome yet. */
enum status
refund_record(struct request *rq, const RefundRow *refund, const struct provider_answer *answer)
{
    bool done = answer->outcome == OUTCOME_REFUNDED;
    struct tx *tx = tx_begin(rq);
    bool first = settle_refund(tx, .id = refund->id, .status = done ? "done" : "failed",
                               .now_us = rq->now_us) == 1;
    Payment *payment;
    if (first && !done)
        unclaim_refund(tx, .id = refund->attempt_id, .amount_minor = refund->amount_minor);
    if (first && done &&
        count_refunded(tx, &payment, .id = refund->attempt_id,
                       .amount_minor = refund->amount_minor) == OK) {
        Money *amount = new_money(rq->arena);
        amount->amount = refund->amount_minor;
        amount->currency = refund->currency;
        publish_payment_refunded(rq, tx, .payment_id = payment->id, .order_id = payment->order_id,
                                 .amount = amount, .restock = refund->restock,
                                 .whole = payment->refunded->amount == payment->amount->amount,
                                 .reason = refund->reason, .provider = payment->provider,
                                 .provider_ref = payment->ref);
    }
    enum status st = tx_commit(tx);
    if (st)
        return fail_store(rq, st);
    return done ? OK
                : fail(rq, &PAYMENTS_NOT_REFUNDABLE, "the provider gives nothing back: %s",
                       answer->reason);
}

static void
postpone(struct request *rq, const char *id)
{
    struct tx *tx = tx_begin(rq);
    postpone_refund(tx, .id = id, .look_us = rq->now_us + look_again_us);
    tx_commit(tx); /* failing, it is asked again with the same key at once */
}

/* A lapse is not for good: orders takes money that comes after it, or says why not. */
enum status
refunds_on_order_cancelled(struct request *rq, struct tx *tx, const OrderCancelled *event)
{
    note(rq, "order_id", event->order_id);
    if (!text_equal(event->reason, "lapsed"))
        close_order(tx, .order_id = event->order_id, .reason = event->reason, .now_us = rq->now_us);
    return OK;
}

/* Claims what closed orders have paid, and asks the providers for all that is claimed. */
enum status
refunds_drive(struct request *rq)
{
    struct tx *tx = tx_begin_read(rq);
    ClosedRow **closed = NULL;
    size_t n_closed = 0, n = 0;
    enum status st =
        list_open_closed(tx, &closed, &n_closed, .now_us = rq->now_us, .limit = CLOSED_MAX);
    tx_end(tx);
    if (st)
        return fail_store(rq, st);
    int64_t failed = 0;
    for (size_t i = 0; i < n_closed; i++)
        if (settle_closed(rq, closed[i])) {
            note(rq, "order_id", closed[i]->order_id);
            fail_clear(rq);
            failed++;
        }

    RefundRow **due = NULL;
    tx = tx_begin_read(rq);
    st = list_pending_refunds(tx, &due, &n, .now_us = rq->now_us, .limit = DRIVE_MAX);
    tx_end(tx);
    if (st)
        return fail_store(rq, st);
    for (size_t i = 0; i < n && provider_timeout_us(rq) > 0; i++)
        if (drive(rq, due[i])) {
            note(rq, "payment_id", due[i]->attempt_id);
            fail_clear(rq);
            postpone(rq, due[i]->id);
            failed++;
        }
    if (failed)
        return fail_status(rq, UNAVAILABLE, "%lld refunds could not be made", (long long)failed);
    return OK;
}

/* Looked at for as long as money may still come for the order. */
static enum status
settle_closed(struct request *rq, const ClosedRow *closed)
{
    struct tx *tx = tx_begin(rq);
    AttemptRow *live = NULL;
    enum status st = find_live_attempt(tx, &live, .order_id = closed->order_id);
    bool pending = st == OK && text_equal(live->status, "pending");
    if (st == OK && !pending)
        claim_rest(rq, tx, live, closed->reason);
    bool open = pending || rq->now_us < closed->closed_at_us + closing_us;
    look_at_closed(tx, .order_id = closed->order_id, .open = open,
                   .look_us =
                       pending ? rq->now_us + look_again_us : closed->closed_at_us + closing_us);
    return fail_store(rq, tx_commit(tx));
}

/* The goods go back with the order's cancelling, not with this. */
static void
claim_rest(struct request *rq, struct tx *tx, const AttemptRow *attempt, const char *reason)
{
    int64_t left = attempt->amount_minor - attempt->claimed_minor;
    if (left > 0 &&
        add_refund(tx, .id = id_derive(rq->arena, "rfd", attempt->id, "closed"),
                   .attempt_id = attempt->id, .order_id = attempt->order_id,
                   .provider = attempt->provider, .amount_minor = left,
                   .currency = attempt->currency, .restock = 0, .reason = reason,
                   .look_us = rq->now_us, .now_us = rq->now_us) == 1 &&
        claim_refund(tx, .id = attempt->id, .amount_minor = left) == 0)
        tx_fail(tx, ABORTED);
}
