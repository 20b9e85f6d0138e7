/*
 * Analytics: sums by day, from events alone.
 *
 * Every table is made of sums and of newest versions, so that it comes out the same in whatever
 * order events come; what has an id is counted once, however often it is told.
 */
#include <stdio.h>

#include "analytics.impl.h"
#include "analytics/range.h"
#include "auth.api.h"
#include "cart.api.h"
#include "catalog.api.h"
#include "orders.api.h"
#include "payments.api.h"

enum { TOP_PRODUCTS = 10 };

static enum status read_shop(struct tx *tx, const struct range *range, Insights *out);
static enum status read_event(struct tx *tx, const struct range *range, Insights *out);
static enum status read_top(struct tx *tx, const struct range *range, Insights *out);
static void place_count(Insights *out, const char *kind, int64_t n);
static void place_day_count(const struct range *range, const CountRow *row, Insights *out);
static void place_day_money(const struct range *range, struct arena *a, MoneyRow *row,
                            Insights *out);
static void add_to(struct arena *a, const Money *sum, Money ***list, size_t *n);

enum status
analytics_get_insights(struct request *rq, const GetInsightsRequest *in, Insights *out)
{
    struct range range;
    const char *why;
    if (!range_read(rq->arena, in->from, in->to, rq->now_us, &range, &why))
        return fail(rq, &ANALYTICS_BAD_RANGE, "%s", why);
    out->from = range.first;
    out->to = range.last;
    out->event_id = in->event_id;
    out->n_days = (size_t)range.days;
    out->days = arena_alloc(rq->arena, out->n_days * sizeof *out->days);
    for (int64_t i = 0; i < range.days; i++) {
        out->days[i] = new_day_insights(rq->arena);
        out->days[i]->date = date_format(rq->arena, range.first_us + i * DAY_US);
    }

    struct tx *tx = tx_begin_read(rq);
    enum status st =
        text_empty(in->event_id) ? read_shop(tx, &range, out) : read_event(tx, &range, out);
    if (st == OK)
        st = count_tickets(tx, &out->tickets_sold, .event_id = in->event_id, .first = range.first,
                           .last = range.last);
    tx_end(tx);
    if (out->views > 0)
        out->conversion = arena_printf(rq->arena, "%.4f", (double)out->sales / (double)out->views);
    return fail_store(rq, st);
}

static enum status
read_shop(struct tx *tx, const struct range *range, Insights *out)
{
    struct arena *a = tx_scope_of(tx)->arena;
    CountRow **counts = NULL, **day_counts = NULL;
    MoneyRow **money = NULL, **day_money = NULL;
    size_t n_counts = 0, n_day_counts = 0, n_money = 0, n_day_money = 0;
    list_counts(tx, &counts, &n_counts, .first = range->first, .last = range->last);
    list_day_counts(tx, &day_counts, &n_day_counts, .first = range->first, .last = range->last);
    list_money(tx, &money, &n_money, .first = range->first, .last = range->last);
    list_day_money(tx, &day_money, &n_day_money, .first = range->first, .last = range->last);
    if (tx_status(tx))
        return tx_status(tx);
    for (size_t i = 0; i < n_counts; i++)
        place_count(out, counts[i]->kind, counts[i]->n);
    for (size_t i = 0; i < n_day_counts; i++)
        place_day_count(range, day_counts[i], out);
    for (size_t i = 0; i < n_money; i++)
        if (text_equal(money[i]->kind, "paid"))
            add_to(a, money[i]->sum, &out->revenue, &out->n_revenue);
        else
            add_to(a, money[i]->sum, &out->refunded, &out->n_refunded);
    for (size_t i = 0; i < n_day_money; i++)
        place_day_money(range, a, day_money[i], out);
    return read_top(tx, range, out);
}

static enum status
read_event(struct tx *tx, const struct range *range, Insights *out)
{
    struct arena *a = tx_scope_of(tx)->arena;
    CountRow **counts = NULL;
    MoneyRow **money = NULL;
    size_t n_counts = 0, n_money = 0;
    list_event_days(tx, &counts, &n_counts, .event_id = out->event_id, .first = range->first,
                    .last = range->last);
    list_event_money(tx, &money, &n_money, .event_id = out->event_id, .first = range->first,
                     .last = range->last);
    if (tx_status(tx))
        return tx_status(tx);
    for (size_t i = 0; i < n_counts; i++) {
        out->sales += counts[i]->n;
        place_day_count(range, counts[i], out);
    }
    for (size_t i = 0; i < n_money; i++) {
        add_to(a, money[i]->sum, &out->revenue, &out->n_revenue);
        place_day_money(range, a, money[i], out);
    }
    return OK;
}

static enum status
read_top(struct tx *tx, const struct range *range, Insights *out)
{
    enum status st = list_top(tx, &out->top_products, &out->n_top_products, .first = range->first,
                              .last = range->last, .limit = TOP_PRODUCTS);
    for (size_t i = 0; st == OK && i < out->n_top_products; i++) {
        TopProduct *top = out->top_products[i];
        st = list_product_money(tx, &top->revenue, &top->n_revenue, .product_id = top->product_id,
                                .first = range->first, .last = range->last);
        if (st == OK)
            st = count_product_views(tx, &top->views, .product_id = top->product_id,
                                     .first = range->first, .last = range->last);
    }
    return st;
}

static void
place_count(Insights *out, const char *kind, int64_t n)
{
    const struct {
        const char *kind;
        int64_t *at;
    } places[] = {{"sales", &out->sales},
                  {"views", &out->views},
                  {"logins", &out->logins},
                  {"failed_logins", &out->failed_logins},
                  {"refunds", &out->refunds},
                  {"cancelled", &out->cancelled},
                  {"checkouts_failed", &out->checkouts_failed},
                  {"carts_updated", &out->carts_updated},
                  {"carts_abandoned", &out->carts_abandoned},
                  {"tickets_checked_in", &out->tickets_checked_in}};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (text_equal(places[i].kind, kind))
            *places[i].at = n;
}

static void
place_day_count(const struct range *range, const CountRow *row, Insights *out)
{
    DayInsights *day = out->days[range_place(range, row->day)];
    if (text_equal(row->kind, "sales"))
        day->sales = row->n;
    else
        day->views = row->n;
}

static void
place_day_money(const struct range *range, struct arena *a, MoneyRow *row, Insights *out)
{
    DayInsights *day = out->days[range_place(range, row->day)];
    add_to(a, row->sum, &day->revenue, &day->n_revenue);
}

/* Sums by currency, of which there are few. */
static void
add_to(struct arena *a, const Money *sum, Money ***list, size_t *n)
{
    for (size_t i = 0; i < *n; i++)
        if (text_equal((*list)[i]->currency, sum->currency)) {
            (*list)[i]->amount += sum->amount;
            return;
        }
    Money **longer = arena_alloc(a, (*n + 1) * sizeof *longer);
    if (*n)
        memcpy(longer, *list, *n * sizeof *longer);
    longer[*n] = new_money(a);
    *longer[*n] = *sum;
    (*n)++;
    *list = longer;
}

/* ---- what happened ---- */

static enum status
happened(struct request *rq, struct tx *tx, const char *kind, int64_t n)
{
    add_count(tx, .day = date_format(rq->arena, rq->now_us), .kind = kind, .n = n);
    return tx_status(tx);
}

static bool
is_first(struct request *rq, struct tx *tx, const char *what, const char *id)
{
    return count_once(tx, .what = arena_printf(rq->arena, "%s %s", what, id)) == 1;
}

static enum status
on_new_product_added(struct request *rq, struct tx *tx, const NewProductAdded *event)
{
    (void)rq;
    if (event->product)
        put_title(tx, .product_id = event->product_id, .title = event->product->title,
                  .version = event->product->version);
    return tx_status(tx);
}

static enum status
on_product_updated(struct request *rq, struct tx *tx, const ProductUpdated *event)
{
    (void)rq;
    if (event->product)
        put_title(tx, .product_id = event->product_id, .title = event->product->title,
                  .version = event->version);
    return tx_status(tx);
}

static enum status
on_product_viewed(struct request *rq, struct tx *tx, const ProductViewed *event)
{
    int64_t n = event->count > 0 ? event->count : 1;
    add_viewed(tx, .day = date_format(rq->arena, rq->now_us), .product_id = event->product_id,
               .n = n);
    return happened(rq, tx, "views", n);
}

static enum status
on_user_logged_in(struct request *rq, struct tx *tx, const UserLoggedIn *event)
{
    (void)event;
    return happened(rq, tx, "logins", 1);
}

static enum status
on_failed_login_attempt(struct request *rq, struct tx *tx, const FailedLoginAttempt *event)
{
    (void)event;
    return happened(rq, tx, "failed_logins", 1);
}

/* An order with several kinds of tickets for one event is one sale of it. */
static void
add_lines(struct tx *tx, const char *day, const OrderPaid *event)
{
    for (size_t i = 0; i < event->n_lines; i++) {
        const PricedLine *line = event->lines[i];
        if (!line->total || line->quantity < 1)
            continue;
        add_sold(tx, .day = day, .product_id = line->product_id, .event_id = line->event_id,
                 .currency = line->total->currency, .quantity = line->quantity,
                 .minor = line->total->amount);
        bool again = text_empty(line->event_id);
        for (size_t j = 0; j < i; j++)
            again = again || text_equal(event->lines[j]->event_id, line->event_id);
        if (!again)
            add_event_sale(tx, .event_id = line->event_id, .day = day);
    }
}

static enum status
on_order_paid(struct request *rq, struct tx *tx, const OrderPaid *event)
{
    if (!is_first(rq, tx, "paid", event->order_id))
        return tx_status(tx);
    const char *day = date_format(rq->arena, rq->now_us);
    if (event->total)
        add_money(tx, .day = day, .kind = "paid", .currency = event->total->currency,
                  .minor = event->total->amount);
    add_lines(tx, day, event);
    return happened(rq, tx, "sales", 1);
}

static enum status
on_order_cancelled(struct request *rq, struct tx *tx, const OrderCancelled *event)
{
    return is_first(rq, tx, "cancelled", event->order_id) ? happened(rq, tx, "cancelled", 1)
                                                          : tx_status(tx);
}

static enum status
on_payment_refunded(struct request *rq, struct tx *tx, const PaymentRefunded *event)
{
    if (!is_first(rq, tx, "refunded", rq->causation_id))
        return tx_status(tx);
    if (event->amount)
        add_money(tx, .day = date_format(rq->arena, rq->now_us), .kind = "refunded",
                  .currency = event->amount->currency, .minor = event->amount->amount);
    return happened(rq, tx, "refunds", 1);
}

/* A checkout fails once, whoever tells it. */
static enum status
checkout_failed_once(struct request *rq, struct tx *tx, const char *checkout_id)
{
    return is_first(rq, tx, "failed", checkout_id) ? happened(rq, tx, "checkouts_failed", 1)
                                                   : tx_status(tx);
}

static enum status
on_checkout_failed(struct request *rq, struct tx *tx, const CheckoutFailed *event)
{
    return checkout_failed_once(rq, tx, event->checkout_id);
}

static enum status
on_auth_checkout_failed(struct request *rq, struct tx *tx, const AuthCheckoutFailed *event)
{
    return checkout_failed_once(rq, tx, event->checkout_id);
}

static enum status
on_cart_updated(struct request *rq, struct tx *tx, const CartUpdated *event)
{
    (void)event;
    return happened(rq, tx, "carts_updated", 1);
}

static enum status
on_cart_abandoned(struct request *rq, struct tx *tx, const CartAbandoned *event)
{
    (void)event;
    return happened(rq, tx, "carts_abandoned", 1);
}

static const char *const projections[] = {"analytics_proj_count",   "analytics_proj_counted",
                                          "analytics_proj_event",   "analytics_proj_money",
                                          "analytics_proj_product", "analytics_proj_sold",
                                          "analytics_proj_viewed",  NULL};

const struct service analytics_service = {
    .name = "analytics",
    .serves = &analytics_server,
    .listens = true,
    .subscribes = {{subscribe(new_product_added, on_new_product_added), .projection = true},
                   {subscribe(product_updated, on_product_updated), .projection = true},
                   {subscribe(product_viewed, on_product_viewed), .projection = true},
                   {subscribe(user_logged_in, on_user_logged_in), .projection = true},
                   {subscribe(failed_login_attempt, on_failed_login_attempt), .projection = true},
                   {subscribe(order_paid, on_order_paid), .projection = true},
                   {subscribe(order_cancelled, on_order_cancelled), .projection = true},
                   {subscribe(payment_refunded, on_payment_refunded), .projection = true},
                   {subscribe(checkout_failed, on_checkout_failed), .projection = true},
                   {subscribe(auth_checkout_failed, on_auth_checkout_failed), .projection = true},
                   {subscribe(cart_updated, on_cart_updated), .projection = true},
                   {subscribe(cart_abandoned, on_cart_abandoned), .projection = true}},
    .projections = projections,
};
