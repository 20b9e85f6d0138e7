/* What is counted, and on which day, in a whole Souk. */
#include "analytics.api.h"
#include "audit.api.h"
#include "auth.api.h"
#include "cart.api.h"
#include "catalog.api.h"
#include "orders.api.h"
#include "payments.api.h"
#include "test/world.h"

static struct world *world;
static int64_t told_at_us;

static const char cup[] = "prd_01000000000000000000000000";
static const char pot[] = "prd_02000000000000000000000000";
static const char concert[] = "evt_01000000000000000000000000";

struct told {
    const struct topic *topic;
    const ProtobufCMessage *message;
};

static void
tell_on_fiber(void *arg)
{
    const struct told *told = arg;
    struct request rq = world_request(world, "");
    rq.now_us = told_at_us;
    for (const struct service *const *s = node_services(world_node(world)); *s; s++)
        if (strcmp((*s)->name, told->topic->publisher) == 0)
            rq.service = *s;
    struct tx *tx = tx_begin(&rq);
    publish(&rq, tx, told->topic, told->message);
    check_int(tx_commit(tx), OK);
    check_int(request_settle(&rq), OK);
}

/* What happened at a time. */
static void
tell(const char *at, const struct topic *topic, const ProtobufCMessage *message)
{
    check(time_parse(at, &told_at_us));
    struct told told = {topic, message};
    world_run(world, topic->publisher, tell_on_fiber, &told);
}

static struct arena *
arena(void)
{
    return world_arena(world);
}

static Money *
money(int64_t amount, const char *currency)
{
    Money *ret = new_money(arena());
    ret->amount = amount;
    ret->currency = currency;
    return ret;
}

static void
say_paid(const char *at, const char *order_id, const char *product_id, const char *event_id,
         int64_t quantity, Money *total)
{
    PricedLine *line = new_priced_line(arena());
    line->sku = *product_id ? "sku" : "";
    line->product_id = product_id;
    line->ticket_type_id = *event_id ? "ttp_01000000000000000000000000" : "";
    line->event_id = event_id;
    line->quantity = quantity;
    line->total = total;
    OrderPaid *event = new_order_paid(arena());
    event->order_id = order_id;
    event->lines = &line;
    event->n_lines = 1;
    event->total = total;
    tell(at, &order_paid, &event->base);
}

static void
say_viewed(const char *at, const char *product_id, int64_t count)
{
    ProductViewed *event = new_product_viewed(arena());
    event->product_id = product_id;
    event->count = count;
    tell(at, &product_viewed, &event->base);
}

static void
say_titled(const char *at, const char *product_id, const char *title, int64_t version)
{
    ProductUpdated *event = new_product_updated(arena());
    event->product_id = product_id;
    event->version = version;
    event->product = new_product(arena());
    event->product->id = product_id;
    event->product->title = title;
    event->product->version = version;
    tell(at, &product_updated, &event->base);
}

static void
say_refunded(const char *at, const char *order_id, Money *amount)
{
    PaymentRefunded *event = new_payment_refunded(arena());
    event->order_id = order_id;
    event->payment_id = "pay_01000000000000000000000000";
    event->amount = amount;
    tell(at, &payment_refunded, &event->base);
}

static void
say_cancelled(const char *at, const char *order_id)
{
    OrderCancelled *event = new_order_cancelled(arena());
    event->order_id = order_id;
    event->reason = "buyer";
    tell(at, &order_cancelled, &event->base);
}

static void
say_logins(const char *at)
{
    UserLoggedIn *in = new_user_logged_in(arena());
    in->user_id = "usr_01000000000000000000000000";
    tell(at, &user_logged_in, &in->base);
    FailedLoginAttempt *failed = new_failed_login_attempt(arena());
    failed->identifier_hash = "x";
    tell(at, &failed_login_attempt, &failed->base);
    tell(at, &failed_login_attempt, &failed->base);
}

static void
say_carts_and_checkouts(const char *at)
{
    CartUpdated *updated = new_cart_updated(arena());
    updated->cart_id = "crt_1";
    tell(at, &cart_updated, &updated->base);
    tell(at, &cart_updated, &updated->base);
    CartAbandoned *abandoned = new_cart_abandoned(arena());
    abandoned->cart_id = "crt_1";
    tell(at, &cart_abandoned, &abandoned->base);
    CheckoutFailed *failed = new_checkout_failed(arena());
    failed->checkout_id = "chk_1";
    tell(at, &checkout_failed, &failed->base);
    AuthCheckoutFailed *refused = new_auth_checkout_failed(arena());
    refused->checkout_id = "chk_1";
    tell(at, &auth_checkout_failed, &refused->base);
    refused->checkout_id = "chk_2";
    tell(at, &auth_checkout_failed, &refused->base);
}

static const char *
ask(const char *from, const char *to, const char *event_id, Insights **ret)
{
    world_settle(world);
    GetInsightsRequest *in = new_get_insights_request(arena());
    in->from = from;
    in->to = to;
    in->event_id = event_id;
    *ret = new_insights(arena());
    return world_ask(world, "operator", "analytics", "GetInsights", &in->base, ret);
}

/* "8598 EUR, 900 JPY" */
static const char *
sums(Money *const *list, size_t n)
{
    struct text out = text_in(arena());
    text_add(&out, "");
    for (size_t i = 0; i < n; i++)
        text_printf(&out, "%s%lld %s", i ? ", " : "", (long long)list[i]->amount,
                    list[i]->currency);
    return out.bytes;
}

static void
check_replays(void)
{
    ReplayProjectionsRequest *in = new_replay_projections_request(arena());
    ReplayProjectionsResponse *out = new_replay_projections_response(arena());
    check_text(world_ask(world, "operator", "audit", "ReplayProjections", &in->base, &out), "");
    bool seen = false;
    for (size_t i = 0; i < out->n_services; i++)
        if (text_equal(out->services[i]->service, "analytics")) {
            seen = true;
            check(out->services[i]->equal);
            check(out->services[i]->bytes > 0);
        }
    check(seen);
}

/* Two days of a shop. */
static void
tell_two_days(void)
{
    say_titled("2026-03-01T08:00:00Z", cup, "Cup", 1);
    say_viewed("2026-03-01T23:59:59Z", cup, 30);
    say_viewed("2026-03-02T00:00:00Z", cup, 5);
    say_viewed("2026-03-02T09:00:00Z", pot, 5);
    say_paid("2026-03-01T12:00:00Z", "ord_1", cup, "", 2, money(2000, "EUR"));
    say_paid("2026-03-02T12:00:00Z", "ord_2", pot, "", 1, money(500, "EUR"));
    say_paid("2026-03-02T13:00:00Z", "ord_3", cup, "", 1, money(900, "JPY"));
    say_paid("2026-03-02T14:00:00Z", "ord_4", "", concert, 3, money(6000, "EUR"));
    say_cancelled("2026-03-02T15:00:00Z", "ord_2");
    say_refunded("2026-03-02T15:00:01Z", "ord_2", money(300, "EUR"));
    say_refunded("2026-03-02T15:00:02Z", "ord_2", money(200, "EUR"));
    say_logins("2026-03-02T16:00:00Z");
    say_carts_and_checkouts("2026-03-02T17:00:00Z");
}

TEST(what_happens_is_summed_by_day)
{
    world = world_new();
    tell_two_days();
    Insights *out;
    check_text(ask("2026-02-28", "2026-03-02", "", &out), "");
    check_int(out->sales, 4);
    check_text(sums(out->revenue, out->n_revenue), "8500 EUR, 900 JPY");
    check_int(out->views, 40);
    check_text(out->conversion, "0.1000");
    check_int(out->logins, 1);
    check_int(out->failed_logins, 2);
    check_int(out->refunds, 2);
    check_text(sums(out->refunded, out->n_refunded), "500 EUR");
    check_int(out->cancelled, 1);
    check_int(out->carts_updated, 2);
    check_int(out->carts_abandoned, 1);
    check_int(out->checkouts_failed, 2);
    check_int(out->tickets_sold, 3);

    check_int((long long)out->n_days, 3);
    check_text(out->days[0]->date, "2026-02-28");
    check_int(out->days[0]->sales, 0);
    check_int((long long)out->days[0]->n_revenue, 0);
    check_int(out->days[1]->sales, 1);
    check_int(out->days[1]->views, 30);
    check_text(sums(out->days[1]->revenue, out->days[1]->n_revenue), "2000 EUR");
    check_int(out->days[2]->sales, 3);
    check_int(out->days[2]->views, 10);
    check_text(sums(out->days[2]->revenue, out->days[2]->n_revenue), "6500 EUR, 900 JPY");

    check_int((long long)out->n_top_products, 2);
    check_text(out->top_products[0]->product_id, cup);
    check_text(out->top_products[0]->title, "Cup");
    check_int(out->top_products[0]->quantity, 3);
    check_int(out->top_products[0]->views, 35);
    check_text(sums(out->top_products[0]->revenue, out->top_products[0]->n_revenue),
               "2000 EUR, 900 JPY");
    check_text(out->top_products[1]->title, "");

    check_text(ask("2026-03-01", "2026-03-01", "", &out), "");
    check_int(out->sales, 1);
    check_int(out->refunds, 0);
    check_int(out->top_products[0]->views, 30);
    check_replays();
    world_free(world);
}

TEST(of_a_ticketed_event_only_its_own_is_told)
{
    world = world_new();
    tell_two_days();
    Insights *out;
    check_text(ask("2026-03-01", "2026-03-02", concert, &out), "");
    check_int(out->sales, 1);
    check_text(sums(out->revenue, out->n_revenue), "6000 EUR");
    check_int(out->tickets_sold, 3);
    check_int(out->views, 0);
    check_text(out->conversion, "");
    check_int(out->days[1]->sales, 1);
    check_text(sums(out->days[1]->revenue, out->days[1]->n_revenue), "6000 EUR");
    check_text(ask("2026-03-01", "2026-03-02", "evt_02000000000000000000000000", &out), "");
    check_int(out->sales, 0);
    check_int((long long)out->n_revenue, 0);
    world_free(world);
}

TEST(what_is_told_twice_or_late_is_counted_once)
{
    world = world_new();
    say_titled("2026-03-03T00:00:00Z", cup, "Large cup", 2);
    say_titled("2026-03-03T00:00:00Z", cup, "Cup", 1);
    say_cancelled("2026-03-02T00:00:00Z", "ord_1");
    for (int i = 0; i < 3; i++)
        say_paid("2026-03-01T00:00:00Z", "ord_1", cup, "", 2, money(2000, "EUR"));
    say_cancelled("2026-03-02T00:00:00Z", "ord_1");
    Insights *out;
    check_text(ask("2026-03-01", "2026-03-03", "", &out), "");
    check_int(out->sales, 1);
    check_int(out->cancelled, 1);
    check_text(sums(out->revenue, out->n_revenue), "2000 EUR");
    check_text(out->top_products[0]->title, "Large cup");
    check_replays();
    world_free(world);
}

TEST(a_disk_that_fails_at_any_statement_loses_and_doubles_nothing)
{
    enum { STATEMENTS = 25 };
    world = world_new();
    struct store *store = node_store(world_node(world), "analytics");
    for (int k = 1; k <= STATEMENTS; k++) {
        store_fail_at(store, k);
        say_viewed("2026-03-01T00:00:00Z", cup, 2);
        say_paid("2026-03-01T00:00:00Z", arena_printf(arena(), "ord_%d", k), cup, concert, 1,
                 money(100, "EUR"));
        say_refunded("2026-03-01T00:00:00Z", "ord_1", money(10, "EUR"));
        world_settle(world);
        store_fail_at(store, 0);
    }
    Insights *out;
    check_text(ask("2026-03-01", "2026-03-01", "", &out), "");
    check_int(out->sales, STATEMENTS);
    check_int(out->views, 2 * STATEMENTS);
    check_text(sums(out->revenue, out->n_revenue), "2500 EUR");
    check_text(sums(out->refunded, out->n_refunded), "250 EUR");
    check_text(ask("2026-03-01", "2026-03-01", concert, &out), "");
    check_int(out->sales, STATEMENTS);
    check_replays();
    world_free(world);
}

TEST(insights_are_for_staff_and_of_days_that_there_are)
{
    world = world_new();
    const char *admin = world_staff(world, "eve@example.org", "admin");
    GetInsightsRequest *in = new_get_insights_request(arena());
    Insights *out = new_insights(arena());
    check_text(world_ask(world, admin, "analytics", "GetInsights", &in->base, &out), "");
    check_int((long long)out->n_days, 30);
    check(world_ask(world, "", "analytics", "GetInsights", &in->base, NULL)[0]);
    check_text(ask("2026-02-30", "", "", &out), "bad_range");
    check_text(ask("2026-03-02", "2026-03-01", "", &out), "bad_range");
    check_int(world_http(world, "GET", "/v1/insights", NULL, NULL).status, 401);
    world_free(world);
}
