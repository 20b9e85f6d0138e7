/*
 * Forgetting who ordered.
 *
 * A checkout that has no order yet is refused.  Orders are looked for when no request that was
 * under way can still record one; they are marked, and emptied once they are sent, cancelled or
 * refunded. What was ordered, for how much, and how it was paid, stays.
 */
#include "orders/erase.h"

#include "orders/checkouts.h"

enum {
    FIND_ROWS_MAX = 500, /* orders looked at in one transaction */
    FIND_PAGES_MAX = 200,
    ERASE_MAX = 100, /* orders in one transaction */
    ERASE_ROUNDS_MAX = 20,
    CHECKOUTS_MAX = 100, /* of one person, under way */
};

/* Requests have ended by then. */
static const int64_t request_grace_us = 15 * SECOND_US;
/* Behind every order's id. */
static const char last_order_id[] = "ord_zzzzzzzzzzzzzzzzzzzzzzzzzz";

static enum status find_some(struct request *rq, bool *ret_more);
static void mark_page(struct tx *tx, const ErasureRow *person, const char *end);
static enum status erase_marked(struct request *rq, size_t *ret_n);

enum status
erase_on_person_erased(struct request *rq, struct tx *tx, const PersonErased *event)
{
    const char *email = text_lower(rq->arena, event->email);
    CheckoutRow **open = NULL;
    size_t n = 0;
    list_checkouts_of(tx, &open, &n, .user_id = event->user_id, .email = email,
                      .limit = CHECKOUTS_MAX);
    for (size_t i = 0; i < n; i++)
        checkout_end(rq, tx, open[i]->id, ORDERS_PERSON_ERASED.code, "its buyer was forgotten");
    add_erasure(tx, .id = rq->id, .user_id = event->user_id, .email = email,
                .due_us = rq->now_us + request_grace_us);
    return tx_status(tx);
}

enum status
orders_erase(struct request *rq)
{
    bool more = true;
    enum status st = OK;
    for (int i = 0; i < FIND_PAGES_MAX && more && st == OK; i++)
        st = find_some(rq, &more);
    size_t n = ERASE_MAX;
    for (int i = 0; i < ERASE_ROUNDS_MAX && n == ERASE_MAX && st == OK; i++)
        st = erase_marked(rq, &n);
    return st;
}

/* Mostly there is nobody, which a read finds out. */
static enum status
find_some(struct request *rq, bool *ret_more)
{
    ErasureRow *person;
    const char *end = last_order_id;
    struct tx *tx = tx_begin_read(rq);
    enum status st = find_erasure(tx, &person, .now_us = rq->now_us);
    bool found = st == OK;
    if (found)
        st = find_page_end(tx, &end, .after = person->done_to, .rows = FIND_ROWS_MAX - 1);
    tx_end(tx);
    *ret_more = found;
    if (!found || (st && st != NOT_FOUND))
        return st == NOT_FOUND ? OK : fail_store(rq, st);
    tx = tx_begin(rq);
    mark_page(tx, person, end);
    return fail_store(rq, tx_commit(tx));
}

static void
mark_page(struct tx *tx, const ErasureRow *person, const char *end)
{
    mark_orders(tx, .after = person->done_to, .upto = end, .user_id = person->user_id,
                .email = person->email);
    if (text_equal(end, last_order_id))
        end_erasure(tx, .id = person->id);
    else
        move_erasure(tx, .id = person->id, .done_to = end);
}

static enum status
erase_marked(struct request *rq, size_t *ret_n)
{
    Order **orders = NULL;
    *ret_n = 0;
    struct tx *tx = tx_begin_read(rq);
    enum status st = list_erasable(tx, &orders, ret_n, .limit = ERASE_MAX);
    tx_end(tx);
    if (st || *ret_n == 0)
        return fail_store(rq, st);
    tx = tx_begin(rq);
    for (size_t i = 0; i < *ret_n; i++)
        if (erase_order(tx, .id = orders[i]->id) == 1)
            publish_order_erased(rq, tx, .order_id = orders[i]->id,
                                 .checkout_id = orders[i]->checkout_id);
    return fail_store(rq, tx_commit(tx));
}
