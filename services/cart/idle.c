/* The clean-up: tells of carts that were left alone, and ends those that nobody came back to. */
#include "cart/carts.h"

enum {
    BATCH_MAX = 50,  /* carts in one transaction, so that no sale waits long for it */
    ROUNDS_MAX = 20, /* of one run of the job */
    COMMANDS_MAX = 500,
};

/* Longer than any event is tried again, and than an Idempotency-Key is kept. */
static const int64_t commands_kept_us = 7 * 24 * HOUR_US;

typedef enum status find_fn(struct tx *tx, int64_t before_us, CartRow ***ret, size_t *ret_n);
typedef void end_fn(struct request *rq, struct tx *tx, CartRow *row);

static enum status each_idle(struct request *rq, int64_t before_us, find_fn *find, end_fn *end);
static find_fn find_abandoned, find_expired;
static end_fn tell_abandoned;
static enum status forget(struct request *rq);

enum status
carts_clean_up(struct request *rq)
{
    int64_t abandoned_us = setting_int(rq->node, "cart_abandoned_s") * SECOND_US;
    int64_t expired_us = setting_int(rq->node, "cart_expired_s") * SECOND_US;
    enum status st = each_idle(rq, rq->now_us - abandoned_us, find_abandoned, tell_abandoned);
    if (st == OK)
        st = each_idle(rq, rq->now_us - expired_us, find_expired, cart_end);
    return st ? st : forget(rq);
}

/* Mostly there is nothing, which a read finds out; what is written is found again where nobody else
 * writes. */
static enum status
each_idle(struct request *rq, int64_t before_us, find_fn *find, end_fn *end)
{
    CartRow **rows;
    size_t n = BATCH_MAX;
    for (int round = 0; round < ROUNDS_MAX && n == BATCH_MAX; round++) {
        struct tx *tx = tx_begin_read(rq);
        enum status st = find(tx, before_us, &rows, &n);
        tx_end(tx);
        if (st)
            return fail_store(rq, st);
        if (n == 0)
            break;
        tx = tx_begin(rq);
        find(tx, before_us, &rows, &n);
        for (size_t i = 0; i < n && tx_status(tx) == OK; i++)
            end(rq, tx, rows[i]);
        st = tx_commit(tx);
        if (st)
            return fail_store(rq, st);
    }
    return OK;
}

static enum status
find_abandoned(struct tx *tx, int64_t before_us, CartRow ***ret, size_t *ret_n)
{
    *ret_n = 0;
    return list_abandoned(tx, ret, ret_n, .before_us = before_us, .limit = BATCH_MAX);
}

static enum status
find_expired(struct tx *tx, int64_t before_us, CartRow ***ret, size_t *ret_n)
{
    *ret_n = 0;
    return list_expired(tx, ret, ret_n, .before_us = before_us, .limit = BATCH_MAX);
}

static void
tell_abandoned(struct request *rq, struct tx *tx, CartRow *row)
{
    struct cart cart;
    mark_abandoned(tx, .id = row->cart->id);
    if (cart_find(rq, tx, row->cart->id, SEES_ALL, &cart) == OK)
        publish_cart_abandoned(rq, tx, .cart_id = row->cart->id, .last_seen_us = row->last_seen_us,
                               .user_id = row->user_id, .lines = cart.lines, .n_lines = cart.n,
                               .total = cart.total);
}

/* One that was ordered or merged did not expire: it is only forgotten. */
void
cart_end(struct request *rq, struct tx *tx, CartRow *row)
{
    const char *id = row->cart->id;
    remove_commands(tx, .cart_id = id);
    remove_lines(tx, .cart_id = id);
    remove_cart(tx, .id = id);
    if (row->cart->status == CART_STATUS_OPEN)
        publish_cart_expired(rq, tx, .cart_id = id, .last_seen_us = row->last_seen_us,
                             .user_id = row->user_id);
}

static enum status
forget(struct request *rq)
{
    struct tx *tx = tx_begin_read(rq);
    int64_t oldest_us;
    enum status st = oldest_command(tx, &oldest_us);
    tx_end(tx);
    int64_t before_us = rq->now_us - commands_kept_us;
    if (st == NOT_FOUND || (st == OK && oldest_us >= before_us))
        return OK;
    tx = tx_begin(rq);
    forget_commands(tx, .before_us = before_us, .limit = COMMANDS_MAX);
    return fail_store(rq, tx_commit(tx));
}
