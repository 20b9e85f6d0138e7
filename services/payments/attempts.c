/*
 * Attempts to charge an order.
 *
 * An attempt's row is durable before its provider is asked, so that no money moves that we do not
 * know of.  Its outcome is recorded once, on condition that it has none, whoever brings it first:
 * the provider's answer, or the reconciliation that asks for it.
 */
#include "payments/attempts.h"

enum { LOOK_MAX = 100 }; /* attempts in one run of the reconciliation */

/* A request has ended by then, so that the reconciliation finds only what nobody works at. */
static const int64_t look_first_us = 15 * SECOND_US;
static const int64_t look_unknown_us = 2 * SECOND_US;
static const int64_t look_most_us = MINUTE_US;
static const int64_t job_timeout_us = 3 * SECOND_US;
static const int64_t look_for_slot_us = 20 * MILLISECOND_US;
/* Between the provider's deadline and the end of the stock's reservation. */
static const int64_t hold_margin_us = 2 * SECOND_US;

enum slot { SLOT_TAKEN, SLOT_NONE_LEFT, SLOT_BUSY };

static enum status check_charge(struct request *rq, const ChargeRequest *in);
static enum status begin(struct request *rq, const ChargeRequest *in, bool asked, MethodRow **ret);
static enum status tell_again(struct request *rq, const ChargeRequest *in, enum slot slot,
                              Payment *out);
static enum status tell_standing(struct request *rq, const ChargeRequest *in,
                                 const struct reason *otherwise, const char *words, Payment *out);
static enum status refuse(struct request *rq, const ChargeRequest *in,
                          const struct reason *otherwise, const char *words);
static AttemptRow *row_of(struct request *rq, const ChargeRequest *in, const char *provider);
static enum status settle_and_ask(struct request *rq, const AttemptRow *attempt, const char *token,
                                  int64_t timeout_us, Payment *out);
static void postpone(struct request *rq, const AttemptRow *attempt);
static void publish_outcome(struct request *rq, struct tx *tx, const Payment *payment);
static void fill(struct request *rq, const AttemptRow *attempt, Payment *out);
static bool too_late(struct request *rq, int64_t hold_until_us);
static enum slot take_slot(struct request *rq, const char *attempt_id);
static void leave_slot(struct request *rq, const char *attempt_id);
static enum status resolve_one(struct request *rq, const AttemptRow *attempt, Payment *out);
static task_fn look_at;
static enum status look_up(struct request *rq, const AttemptRow *attempt, Payment *out);
static enum status begin_late(struct request *rq, const AttemptRow *attempt, Payment *out);

enum status
payments_charge(struct request *rq, const ChargeRequest *in, Payment *out)
{
    enum status st = check_charge(rq, in);
    if (st)
        return st;
    if (too_late(rq, in->hold_until_us))
        return tell_standing(rq, in, &PAYMENTS_TOO_LATE,
                             "the order's stock is not reserved for long enough", out);

    MethodRow *method;
    enum slot slot = take_slot(rq, in->attempt_id);
    if (slot == SLOT_BUSY)
        return tell_standing(rq, in, &PAYMENTS_UNRESOLVED, "the attempt is being made", out);
    st = begin(rq, in, slot == SLOT_TAKEN, &method);
    if (st == ALREADY_EXISTS || st == NOT_FOUND)
        st = tell_again(rq, in, slot, out);
    else if (st == OK && slot == SLOT_TAKEN)
        st = settle_and_ask(rq, row_of(rq, in, method->provider), method->token,
                            provider_timeout_us(rq), out);
    else if (st == OK) /* too many wait for their provider: the job asks it when it can */
        fill(rq, row_of(rq, in, method->provider), out);
    if (slot == SLOT_TAKEN)
        leave_slot(rq, in->attempt_id);
    return st;
}

static enum status
check_charge(struct request *rq, const ChargeRequest *in)
{
    note(rq, "payment_id", in->attempt_id);
    if (!id_valid("pay", in->attempt_id) || text_empty(in->order_id))
        return fail_status(rq, INVALID_ARGUMENT, "\"%s\" is no payment's id", in->attempt_id);
    if (!in->amount || in->amount->amount < 1)
        return fail_status(rq, INVALID_ARGUMENT, "a charge is of 1 or more");
    return OK;
}

/* Writes the attempt down.  NOT_FOUND if its method is not there, ALREADY_EXISTS if it or another
 * of the order's is, or the order is closed. */
static enum status
begin(struct request *rq, const ChargeRequest *in, bool asked, MethodRow **ret)
{
    struct tx *tx = tx_begin(rq);
    MethodRow *method;
    enum status st = asked ? take_method(tx, &method, .id = in->payment_method_id)
                           : find_method(tx, &method, .id = in->payment_method_id);
    if (st == OK && !provider_known(rq, method->provider))
        st = fail(rq, &PAYMENTS_NO_SUCH_PROVIDER, "there is no provider \"%s\"", method->provider);
    if (st == OK &&
        add_attempt(tx, .id = in->attempt_id, .order_id = in->order_id,
                    .payment_method_id = in->payment_method_id, .provider = method->provider,
                    .amount_minor = in->amount->amount, .currency = in->amount->currency,
                    .asked = asked, .hold_until_us = in->hold_until_us,
                    .look_us = asked ? rq->now_us + look_first_us : rq->now_us,
                    .now_us = rq->now_us) == 0)
        st = tx_status(tx) ? tx_status(tx) : ALREADY_EXISTS;
    if (st) {
        bool broken = tx_status(tx) != OK;
        tx_end(tx);
        return broken ? fail_store(rq, st) : st;
    }
    st = tx_commit(tx);
    if (st)
        return fail_store(rq, st);
    *ret = method;
    return OK;
}

/* A repeated charge.  One that a crash cut off is resolved at once: its buyer waits. */
static enum status
tell_again(struct request *rq, const ChargeRequest *in, enum slot slot, Payment *out)
{
    enum status st =
        tell_standing(rq, in, &PAYMENTS_NO_SUCH_METHOD, "the payment method is spent", out);
    if (st || slot != SLOT_TAKEN || !text_equal(out->status, "pending") ||
        out->created_at_us >= payments_state(rq)->started_us)
        return st;
    struct tx *tx = tx_begin_read(rq);
    AttemptRow *attempt;
    st = find_attempt(tx, &attempt, .id = in->attempt_id);
    tx_end(tx);
    return st ? fail_store(rq, st) : resolve_one(rq, attempt, out);
}

/* A charge that was not begun: the attempt is there, or it has no place. */
static enum status
tell_standing(struct request *rq, const ChargeRequest *in, const struct reason *otherwise,
              const char *words, Payment *out)
{
    enum status st = payment_load(rq, in->attempt_id, out);
    if (st == OK && !text_equal(out->order_id, in->order_id))
        return fail_status(rq, INVALID_ARGUMENT, "attempt %s is of another order", in->attempt_id);
    if (!failed_with(rq, &PAYMENTS_NO_SUCH_PAYMENT))
        return st;
    fail_clear(rq);
    return refuse(rq, in, otherwise, words);
}

static enum status
refuse(struct request *rq, const ChargeRequest *in, const struct reason *otherwise,
       const char *words)
{
    struct tx *tx = tx_begin_read(rq);
    ClosedRow *closed;
    AttemptRow *live = NULL;
    enum status st = find_closed(tx, &closed, .order_id = in->order_id);
    bool is_closed = st == OK;
    if (st == NOT_FOUND)
        st = find_live_attempt(tx, &live, .order_id = in->order_id);
    tx_end(tx);
    if (st && st != NOT_FOUND)
        return fail_store(rq, st);
    if (is_closed)
        return fail(rq, &PAYMENTS_ORDER_CLOSED, "the order is cancelled");
    if (live && text_equal(live->status, "pending"))
        return fail(rq, &PAYMENTS_UNRESOLVED, "another payment of the order has no outcome yet");
    if (live)
        return fail(rq, &PAYMENTS_ALREADY_PAID, "the order is paid");
    return fail(rq, otherwise, "%s", words);
}

static enum status
settle_and_ask(struct request *rq, const AttemptRow *attempt, const char *token, int64_t timeout_us,
               Payment *out)
{
    enum status st = request_settle(rq);
    if (st)
        return st;
    const struct provider_charge in = {
        .key = attempt->id,
        .order_id = attempt->order_id,
        .token = token,
        .amount_minor = attempt->amount_minor,
        .currency = attempt->currency,
        .timeout_us = timeout_us,
    };
    struct provider_answer answer;
    st = provider_charge(rq, attempt->provider, &in, &answer);
    return st ? st : attempt_record(rq, attempt, &answer, out);
}

enum status
attempt_record(struct request *rq, const AttemptRow *attempt, const struct provider_answer *answer,
               Payment *out)
{
    if (answer->outcome == OUTCOME_UNKNOWN) {
        postpone(rq, attempt);
        return payment_load(rq, attempt->id, out); /* a callback may have told it meanwhile */
    }
    fill(rq, attempt, out);
    bool captured = answer->outcome == OUTCOME_CAPTURED;
    out->status = captured ? "completed" : "failed";
    out->reason = captured                            ? ""
                  : answer->outcome == OUTCOME_ABSENT ? "never_received"
                                                      : answer->reason;
    out->ref = answer->ref;
    out->settled_at_us = rq->now_us;

    struct tx *tx = tx_begin(rq);
    bool first = settle_attempt(tx, .id = attempt->id, .status = out->status, .ref = out->ref,
                                .reason = out->reason, .now_us = rq->now_us) == 1;
    if (first)
        publish_outcome(rq, tx, out);
    enum status st = tx_commit(tx);
    if (st)
        return fail_store(rq, st);
    return first ? OK : payment_load(rq, attempt->id, out);
}

/* Looked at again soon after its first try, and ever less often. */
static void
postpone(struct request *rq, const AttemptRow *attempt)
{
    int64_t wait_us = look_unknown_us + (rq->now_us - attempt->created_at_us) / 2;
    struct tx *tx = tx_begin(rq);
    postpone_attempt(tx, .id = attempt->id,
                     .look_us = rq->now_us + (wait_us < look_most_us ? wait_us : look_most_us));
    tx_commit(tx); /* failing, it is looked at when it would have been */
}

static void
publish_outcome(struct request *rq, struct tx *tx, const Payment *payment)
{
    publish_payment_processed(rq, tx, .order_id = payment->order_id, .payment_id = payment->id,
                              .status = payment->status, .amount = payment->amount,
                              .reason = payment->reason, .provider = payment->provider,
                              .provider_ref = payment->ref);
    if (text_equal(payment->status, "completed"))
        publish_payment_completed(rq, tx, .payment_id = payment->id, .order_id = payment->order_id,
                                  .amount = payment->amount, .provider = payment->provider,
                                  .provider_ref = payment->ref);
    else
        publish_payment_failed(rq, tx, .payment_id = payment->id, .order_id = payment->order_id,
                               .amount = payment->amount, .provider = payment->provider,
                               .provider_ref = payment->ref, .reason = payment->reason);
}

static AttemptRow *
row_of(struct request *rq, const ChargeRequest *in, const char *provider)
{
    AttemptRow *row = new_attempt_row(rq->arena);
    row->id = in->attempt_id;
    row->order_id = in->order_id;
    row->status = "pending";
    row->amount_minor = in->amount->amount;
    row->currency = in->amount->currency;
    row->provider = provider;
    row->created_at_us = rq->now_us;
    return row;
}

/* A pending attempt as others see it. */
static void
fill(struct request *rq, const AttemptRow *attempt, Payment *out)
{
    out->id = attempt->id;
    out->order_id = attempt->order_id;
    out->status = "pending";
    out->amount = new_money(rq->arena);
    out->amount->amount = attempt->amount_minor;
    out->amount->currency = attempt->currency;
    out->refunded = new_money(rq->arena);
    out->refunded->currency = attempt->currency;
    out->provider = attempt->provider;
    out->created_at_us = attempt->created_at_us;
}

static bool
too_late(struct request *rq, int64_t hold_until_us)
{
    int64_t deadline_us =
        rq->now_us + setting_int(rq->node, "sandbox_timeout_ms") * MILLISECOND_US + hold_margin_us;
    return hold_until_us && hold_until_us < deadline_us;
}

static enum slot
take_slot(struct request *rq, const char *attempt_id)
{
    struct payments_state *state = payments_state(rq);
    enum slot slot = SLOT_TAKEN;
    spin_lock(&state->lock);
    if (state->n_calls >= state->calls_max)
        slot = SLOT_NONE_LEFT;
    for (size_t i = 0; i < state->n_calls; i++)
        if (strcmp(state->calls[i], attempt_id) == 0)
            slot = SLOT_BUSY;
    if (slot == SLOT_TAKEN)
        memcpy(state->calls[state->n_calls++], attempt_id, strlen(attempt_id) + 1);
    spin_unlock(&state->lock);
    return slot;
}

static void
leave_slot(struct request *rq, const char *attempt_id)
{
    struct payments_state *state = payments_state(rq);
    spin_lock(&state->lock);
    for (size_t i = 0; i < state->n_calls; i++)
        if (strcmp(state->calls[i], attempt_id) == 0) {
            memcpy(state->calls[i], state->calls[--state->n_calls], sizeof state->calls[i]);
            break;
        }
    spin_unlock(&state->lock);
}

/*
 * Asks the provider what became of each attempt that is due, and begins those that found too many
 * waiting.  One that cannot be helped now does not keep the others waiting.
 */
enum status
attempts_resolve(struct request *rq)
{
    callbacks_deliver(rq, NULL);
    struct tx *tx = tx_begin_read(rq);
    AttemptRow **due = NULL;
    size_t n = 0;
    enum status st = list_pending_attempts(tx, &due, &n, .now_us = rq->now_us, .limit = LOOK_MAX);
    tx_end(tx);
    if (st)
        return fail_store(rq, st);
    int64_t failed = 0;
    const struct provider *provider = payments_state(rq)->provider;
    bool side_by_side = provider && provider->blocks;
    for (size_t i = 0; i < n && provider_timeout_us(rq) > 0; i++) {
        if (side_by_side && soon(rq, look_at, due[i]->id))
            continue; /* a slow provider is asked for many at once */
        enum slot slot = take_slot(rq, due[i]->id);
        if (slot == SLOT_NONE_LEFT)
            break;
        if (slot == SLOT_BUSY)
            continue;
        if (resolve_one(rq, due[i], new_payment(rq->arena))) {
            note(rq, "payment_id", due[i]->id);
            fail_clear(rq);
            postpone(rq, due[i]);
            failed++;
        }
        leave_slot(rq, due[i]->id);
    }
    if (failed)
        return fail_status(rq, UNAVAILABLE, "%lld of %zu payments could not be resolved",
                           (long long)failed, n);
    return OK;
}

/* A task: what the job does for one.  Where no place is free, the job comes again. */
static enum status
look_at(struct request *rq, const char *id)
{
    note(rq, "payment_id", id);
    if (take_slot(rq, id) != SLOT_TAKEN)
        return OK;
    struct tx *tx = tx_begin_read(rq);
    AttemptRow *attempt;
    enum status st = find_attempt(tx, &attempt, .id = id);
    tx_end(tx);
    if (st)
        st = fail_store(rq, st);
    else if (text_equal(attempt->status, "pending") &&
             (st = resolve_one(rq, attempt, new_payment(rq->arena))))
        postpone(rq, attempt);
    leave_slot(rq, id);
    return st;
}

enum status
attempt_begin_late(struct request *rq, const char *id)
{
    note(rq, "payment_id", id);
    enum slot slot;
    while ((slot = take_slot(rq, id)) == SLOT_NONE_LEFT && provider_timeout_us(rq) > 0)
        fiber_sleep_us(look_for_slot_us);
    if (slot != SLOT_TAKEN)
        return OK; /* the job has it, or will */
    struct tx *tx = tx_begin(rq);
    AttemptRow *attempt;
    enum status st = find_attempt(tx, &attempt, .id = id);
    tx_end(tx);
    if (st == OK && !attempt->asked && text_equal(attempt->status, "pending"))
        st = begin_late(rq, attempt, new_payment(rq->arena));
    else if (st && st != NOT_FOUND)
        st = fail_store(rq, st);
    leave_slot(rq, id);
    return st == NOT_FOUND ? OK : st;
}

static enum status
resolve_one(struct request *rq, const AttemptRow *attempt, Payment *out)
{
    return attempt->asked ? look_up(rq, attempt, out) : begin_late(rq, attempt, out);
}

static enum status
look_up(struct request *rq, const AttemptRow *attempt, Payment *out)
{
    enum status st = request_settle(rq);
    if (st)
        return st;
    struct provider_answer answer;
    st = provider_resolve(rq, attempt->provider, attempt->id, &answer);
    return st ? st : attempt_record(rq, attempt, &answer, out);
}

/* The provider has not been asked for this one, so that it may still be dropped. */
static enum status
begin_late(struct request *rq, const AttemptRow *attempt, Payment *out)
{
    struct tx *tx = tx_begin(rq);
    MethodRow *method = NULL;
    ClosedRow *closed;
    const char *dropped = NULL;
    enum status st = take_method(tx, &method, .id = attempt->payment_method_id);
    if (st == NOT_FOUND)
        dropped = "method_expired";
    else if (st == OK && !provider_known(rq, method->provider))
        dropped = "no_such_provider";
    else if (too_late(rq, attempt->hold_until_us))
        dropped = "too_late";
    else if (find_closed(tx, &closed, .order_id = attempt->order_id) == OK)
        dropped = "order_cancelled";
    int64_t begun = begin_attempt(tx, .id = attempt->id, .look_us = rq->now_us + look_first_us);
    st = tx_commit(tx);
    if (st)
        return fail_store(rq, st);
    if (begun == 0)
        return payment_load(rq, attempt->id, out); /* another process has it */
    if (dropped)
        return attempt_record(rq, attempt, &(struct provider_answer){OUTCOME_DECLINED, "", dropped},
                              out);
    return settle_and_ask(rq, attempt, method->token, job_timeout_us, out);
}
