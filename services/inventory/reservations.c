/*
 * Reservations: stock promised to an order, all of its lines or none.
 *
 * Whoever promises, sells or gives back changes the reservation's state first, on condition of the
 * state it was in; only who wins that touches the items.  So nothing happens twice.
 */
#include "inventory/reservations.h"

#include <stdlib.h>

enum {
    LINES_MAX = 100, /* of one reservation */
    LINE_QUANTITY_MAX = 1000000000,
    LAPSE_BATCH_MAX = 100, /* in one transaction, so that no sale waits long for it */
    LAPSE_ROUNDS_MAX = 10, /* of one run of the job */
};

/* A line to promise; number is its place in the request. */
struct want {
    const char *sku;
    int64_t quantity;
    size_t number;
};

static enum status read_wants(struct request *rq, const ReserveRequest *in, struct want *ret,
                              size_t *ret_n);
static enum status hold_all(struct request *rq, struct tx *tx, const char *reservation_id,
                            const struct want *wants, size_t n);
static void refuse(struct request *rq, struct tx *tx, const struct want *want, bool *unknown);
static enum status tell_reservation(struct request *rq, struct tx *tx, const char *id,
                                    Reservation *out);
static size_t lines_of_order(struct request *rq, const OrderPaid *paid, ReservedLine ***ret);
static void add_line(struct request *rq, ReservedLine **lines, size_t *n, const char *sku,
                     int64_t quantity);
static bool sell_lines(struct request *rq, struct tx *tx, bool held, ReservedLine **lines, size_t n,
                       const ReservedLine **ret_short);
static void fall_short(struct request *rq, struct tx *tx, const OrderPaid *paid,
                       const ReservedLine *missing);
static void give_back(struct request *rq, struct tx *tx, const Reservation *ended,
                      const char *reason);
static enum status lapse_some(struct request *rq, size_t *ret_n);

enum status
inventory_reserve(struct request *rq, const ReserveRequest *in, Reservation *out)
{
    struct want *wants = arena_alloc(rq->arena, LINES_MAX * sizeof *wants);
    size_t n = 0;
    enum status st = read_wants(rq, in, wants, &n);
    if (st)
        return st;
    int64_t expires_at_us = rq->now_us + setting_int(rq->node, "reservation_hold_s") * SECOND_US;

    struct tx *tx = tx_begin(rq);
    if (insert_reservation(tx, .reservation_id = in->reservation_id, .order_id = in->order_id,
                           .state = "HELD", .expires_at_us = expires_at_us) == 0)
        return tell_reservation(rq, tx, in->reservation_id, out);
    st = hold_all(rq, tx, in->reservation_id, wants, n);
    if (st) {
        tx_end(tx);
        return st;
    }
    ReservedLine **lines = arena_alloc(rq->arena, n * sizeof *lines);
    size_t n_lines = 0;
    for (size_t i = 0; i < n; i++)
        add_line(rq, lines, &n_lines, wants[i].sku, wants[i].quantity);
    publish_stock_reserved(rq, tx, .reservation_id = in->reservation_id, .order_id = in->order_id,
                           .lines = lines, .n_lines = n_lines, .expires_at_us = expires_at_us);
    st = tx_commit(tx);
    if (st)
        return fail_store(rq, st);
    out->reservation_id = in->reservation_id;
    out->order_id = in->order_id;
    out->state = RESERVATION_STATE_HELD;
    out->expires_at_us = expires_at_us;
    out->lines = lines;
    out->n_lines = n_lines;
    return OK;
}

enum status
inventory_release(struct request *rq, const ReleaseRequest *in, Reservation *out)
{
    struct tx *tx = tx_begin(rq);
    reservation_release(rq, tx, in->reservation_id, in->reason);
    return tell_reservation(rq, tx, in->reservation_id, out);
}

void
tell_stock(struct request *rq, struct tx *tx, const Stock *stock)
{
    publish_stock_updated(rq, tx, .sku = stock->sku, .on_hand = stock->on_hand,
                          .reserved = stock->reserved, .available = stock->available,
                          .version = stock->version);
}

void
reservation_bind(struct tx *tx, const char *reservation_id)
{
    bind_reservation(tx, .reservation_id = reservation_id);
}

void
reservation_sell(struct request *rq, struct tx *tx, const OrderPaid *paid)
{
    const char *id = paid->reservation_id;
    int mark = tx_mark(tx);
    Reservation *reservation = NULL;
    bool held = sell_reservation(tx, &reservation, .reservation_id = id) == OK;
    ReservedLine **lines;
    size_t n;
    if (held) {
        if (list_reservation_lines(tx, &lines, &n, .reservation_id = id))
            return;
    } else {
        n = lines_of_order(rq, paid, &lines);
        if (insert_reservation(tx, .reservation_id = id, .order_id = paid->order_id,
                               .state = "SOLD", .expires_at_us = rq->now_us) == 0 &&
            resell_reservation(tx, .reservation_id = id) == 0)
            return; /* it is sold already */
    }

    const ReservedLine *missing = NULL;
    if (sell_lines(rq, tx, held, lines, n, &missing)) {
        for (size_t i = 0; !held && i < n; i++)
            insert_reservation_line(tx, .reservation_id = id, .sku = lines[i]->sku,
                                    .quantity = lines[i]->quantity);
        publish_stock_committed(rq, tx, .reservation_id = id, .order_id = paid->order_id,
                                .lines = lines, .n_lines = n);
    } else if (missing) {
        tx_undo_to(tx, mark);
        fall_short(rq, tx, paid, missing);
    }
}

void
reservation_release(struct request *rq, struct tx *tx, const char *reservation_id,
                    const char *reason)
{
    Reservation *ended;
    if (release_reservation(tx, &ended, .reservation_id = reservation_id) == OK)
        give_back(rq, tx, ended, reason);
}

void
reservation_unsell(struct request *rq, struct tx *tx, const char *reservation_id,
                   const char *reason)
{
    Reservation *ended;
    ReservedLine **lines;
    size_t n;
    if (unsell_reservation(tx, &ended, .reservation_id = reservation_id) ||
        list_reservation_lines(tx, &lines, &n, .reservation_id = reservation_id))
        return;
    for (size_t i = 0; i < n; i++) {
        Stock *now, *then;
        if (get_item(tx, &then, .sku = lines[i]->sku) == OK &&
            set_item(tx, &now, .sku = then->sku, .on_hand = then->on_hand + lines[i]->quantity,
                     .of_sold = lines[i]->quantity) == OK)
            tell_stock(rq, tx, now);
    }
    publish_stock_released(rq, tx, .reservation_id = reservation_id, .order_id = ended->order_id,
                           .lines = lines, .n_lines = n, .reason = reason);
}

enum status
reservations_lapse(struct request *rq)
{
    size_t n = LAPSE_BATCH_MAX;
    for (int round = 0; round < LAPSE_ROUNDS_MAX && n == LAPSE_BATCH_MAX; round++) {
        enum status st = lapse_some(rq, &n);
        if (st)
            return st;
    }
    return OK;
}

/* The request's lines, one for each thing, ordered by it: on PostgreSQL two requests for the same
 * things then wait for each other in one order. */
static enum status
read_wants(struct request *rq, const ReserveRequest *in, struct want *ret, size_t *ret_n)
{
    if (text_empty(in->reservation_id) || in->n_lines == 0 || in->n_lines > LINES_MAX)
        return fail_status(rq, INVALID_ARGUMENT,
                           "a reservation has an id and 1 to %d lines, not %zu", LINES_MAX,
                           in->n_lines);
    size_t n = 0;
    for (size_t i = 0; i < in->n_lines; i++) {
        const Line *line = in->lines[i];
        const char *sku = text_empty(line->sku) ? line->ticket_type_id : line->sku;
        if (text_empty(sku) || line->quantity < 1 || line->quantity > LINE_QUANTITY_MAX)
            return fail_status(rq, INVALID_ARGUMENT, "line %zu asks for %lld of \"%s\"", i,
                               (long long)line->quantity, sku);
        size_t at = 0;
        while (at < n && strcmp(ret[at].sku, sku) < 0)
            at++;
        if (at < n && strcmp(ret[at].sku, sku) == 0) {
            ret[at].quantity += line->quantity;
            continue;
        }
        memmove(ret + at + 1, ret + at, (n - at) * sizeof *ret);
        ret[at] = (struct want){sku, line->quantity, i};
        n++;
    }
    *ret_n = n;
    return OK;
}

/* Takes every line, or says of each that cannot be had what remains. */
static enum status
hold_all(struct request *rq, struct tx *tx, const char *reservation_id, const struct want *wants,
         size_t n)
{
    size_t refused = 0;
    bool unknown = false;
    for (size_t i = 0; i < n; i++) {
        Stock *stock;
        enum status st = hold_item(tx, &stock, .sku = wants[i].sku, .quantity = wants[i].quantity);
        if (st == NOT_FOUND) {
            refuse(rq, tx, &wants[i], &unknown);
            refused++;
        } else if (st) {
            return fail_store(rq, tx_status(tx));
        } else {
            insert_reservation_line(tx, .reservation_id = reservation_id, .sku = wants[i].sku,
                                    .quantity = wants[i].quantity);
            tell_stock(rq, tx, stock);
        }
    }
    if (tx_status(tx))
        return fail_store(rq, tx_status(tx));
    if (unknown)
        return fail(rq, &INVENTORY_NO_SUCH_ITEM, "%zu of %zu lines cannot be had", refused, n);
    if (refused)
        return fail(rq, &INVENTORY_OUT_OF_STOCK, "%zu of %zu lines cannot be had", refused, n);
    return OK;
}

static void
refuse(struct request *rq, struct tx *tx, const struct want *want, bool *unknown)
{
    const char *pointer = arena_printf(rq->arena, "/lines/%zu", want->number);
    Stock *stock;
    if (get_item(tx, &stock, .sku = want->sku) == OK) {
        fail_at(rq, pointer, "out_of_stock", stock->available,
                "%lld of %s remain, %lld were asked for", (long long)stock->available, want->sku,
                (long long)want->quantity);
    } else {
        *unknown = true;
        fail_at(rq, pointer, "no_such_item", -1, "there is no item %s", want->sku);
    }
}

/* Ends tx, and answers with the reservation as it then is. */
static enum status
tell_reservation(struct request *rq, struct tx *tx, const char *id, Reservation *out)
{
    Reservation *row;
    enum status found = get_reservation(tx, &row, .reservation_id = id);
    if (found == OK)
        found = list_reservation_lines(tx, &row->lines, &row->n_lines, .reservation_id = id);
    enum status st = tx_commit(tx);
    if (st)
        return fail_store(rq, st);
    if (found)
        return fail(rq, &INVENTORY_NO_SUCH_RESERVATION, "there is no reservation %s", id);
    *out = *row;
    return OK;
}

static size_t
lines_of_order(struct request *rq, const OrderPaid *paid, ReservedLine ***ret)
{
    size_t n = 0;
    *ret = arena_alloc(rq->arena, paid->n_lines * sizeof **ret);
    for (size_t i = 0; i < paid->n_lines; i++) {
        const PricedLine *line = paid->lines[i];
        const char *sku = text_empty(line->sku) ? line->ticket_type_id : line->sku;
        add_line(rq, *ret, &n, sku, line->quantity);
    }
    return n;
}

/* Adds to the line of this thing, or behind the last. */
static void
add_line(struct request *rq, ReservedLine **lines, size_t *n, const char *sku, int64_t quantity)
{
    for (size_t i = 0; i < *n; i++)
        if (strcmp(lines[i]->sku, sku) == 0) {
            lines[i]->quantity += quantity;
            return;
        }
    ReservedLine *line = new_reserved_line(rq->arena);
    line->sku = sku;
    line->quantity = quantity;
    lines[(*n)++] = line;
}

/* Sells every line and tells the new stocks; false at the first that there is not enough of (then
 * some may be sold: undo), or if tx failed. */
static bool
sell_lines(struct request *rq, struct tx *tx, bool held, ReservedLine **lines, size_t n,
           const ReservedLine **ret_short)
{
    Stock **stocks = arena_alloc(rq->arena, n * sizeof *stocks);
    for (size_t i = 0; i < n; i++) {
        const char *sku = lines[i]->sku;
        int64_t quantity = lines[i]->quantity;
        enum status st = held ? sell_held_item(tx, &stocks[i], .sku = sku, .quantity = quantity)
                              : sell_free_item(tx, &stocks[i], .sku = sku, .quantity = quantity);
        if (st == NOT_FOUND)
            *ret_short = lines[i];
        if (st)
            return false;
    }
    /* Told only now, so that nothing is undone that was told. */
    for (size_t i = 0; i < n; i++)
        tell_stock(rq, tx, stocks[i]);
    return true;
}

/* Nothing is sold; what is still held is given back. */
static void
fall_short(struct request *rq, struct tx *tx, const OrderPaid *paid, const ReservedLine *missing)
{
    reservation_release(rq, tx, paid->reservation_id, "stock_short");
    insert_reservation(tx, .reservation_id = paid->reservation_id, .order_id = paid->order_id,
                       .state = "RELEASED", .expires_at_us = rq->now_us);
    publish_stock_short(rq, tx, .order_id = paid->order_id, .sku = missing->sku,
                        .quantity = missing->quantity);
    note(rq, "short_of", missing->sku);
}

static void
give_back(struct request *rq, struct tx *tx, const Reservation *ended, const char *reason)
{
    ReservedLine **lines;
    size_t n;
    if (list_reservation_lines(tx, &lines, &n, .reservation_id = ended->reservation_id))
        return;
    for (size_t i = 0; i < n; i++) {
        Stock *stock;
        if (let_go_item(tx, &stock, .sku = lines[i]->sku, .quantity = lines[i]->quantity) == OK)
            tell_stock(rq, tx, stock);
    }
    publish_stock_released(rq, tx, .reservation_id = ended->reservation_id,
                           .order_id = ended->order_id, .lines = lines, .n_lines = n,
                           .reason = reason);
}

static enum status
lapse_some(struct request *rq, size_t *ret_n)
{
    Reservation **rows;
    struct tx *tx = tx_begin_read(rq);
    enum status st =
        list_lapsed(tx, &rows, ret_n, .now_us = rq->now_us, .rows_max = LAPSE_BATCH_MAX);
    tx_end(tx);
    if (st || *ret_n == 0)
        return st;

    tx = tx_begin(rq);
    for (size_t i = 0; i < *ret_n; i++) {
        Reservation *ended;
        if (lapse_reservation(tx, &ended, .reservation_id = rows[i]->reservation_id,
                              .now_us = rq->now_us) == OK)
            give_back(rq, tx, ended, "lapsed");
    }
    return fail_store(rq, tx_commit(tx));
}
