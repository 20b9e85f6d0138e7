/*
 * Charges that OrderCreated asks for.
 *
 * The event writes the attempt down, not yet asked for, as those are that found too many waiting;
 * its task makes the charge at once, and the job makes those whose task was lost.
 */
#include "payments/attempts.h"

/* The task comes first, then the job. */
static const int64_t look_first_us = 3 * SECOND_US;

/* No attempt is written for an order that is cancelled, or that another attempt may have paid. */
enum status
charges_on_order_created(struct request *rq, struct tx *tx, const OrderCreated *event)
{
    if (event->charged_by_rpc || !event->total || event->total->amount < 1)
        return OK;
    const char *id = id_derive(rq->arena, "pay", event->checkout_id, NULL);
    note(rq, "payment_id", id);
    MethodRow *method;
    enum status st = find_method(tx, &method, .id = event->payment_method_id);
    if (st && st != NOT_FOUND)
        return st;
    const char *provider = st == OK ? method->provider : "unknown"; /* it will be dropped */
    if (add_attempt(tx, .id = id, .order_id = event->order_id,
                    .payment_method_id = event->payment_method_id, .provider = provider,
                    .amount_minor = event->total->amount, .currency = event->total->currency,
                    .asked = false, .hold_until_us = event->pay_by_us,
                    .look_us = rq->now_us + look_first_us, .now_us = rq->now_us) == 1)
        soon(rq, attempt_begin_late, id);
    return tx_status(tx);
}
