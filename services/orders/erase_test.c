/* Forgetting who ordered: from which orders, when, and over many of them. */
#include <sqlite3.h>

#include "orders/advance.h"
#include "test/stage.h"
#include "users.api.h"

static struct stage *stage;
static const char ada[] = "ada@example.org";

static void
begin(void)
{
    stage = stage_new();
    stage_stock(stage, "tea", 10);
}

static int64_t
sql(const char *text)
{
    sqlite3 *db;
    sqlite3_stmt *st;
    int64_t got = -1;
    check_int(sqlite3_open(arena_printf(stage->arena, "%s/souk.db", stage->dir), &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    check_int(sqlite3_prepare_v2(db, text, -1, &st, NULL), SQLITE_OK);
    if (sqlite3_step(st) == SQLITE_ROW)
        got = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return got;
}

/* Orders hears that this person is erased. */
static void
erased(const char *user_id, const char *email)
{
    PersonErased *message = new_person_erased(stage->arena);
    message->user_id = user_id;
    message->email = email;
    size_t n;
    uint8_t *bytes = message_pack(stage->arena, &message->base, &n);
    const char *id = id_make(stage->arena, "evn", stage_now);
    struct event event = {
        .id = id, .topic = person_erased.name, .time_us = stage_now, .data = {n, bytes}};
    check_int(stage_hear(stage, &orders_service, &event), OK);
}

static void
job_after(int64_t us)
{
    stage_now += us;
    check_text(stage_job(stage, &orders_service, "erase"), "");
}

/* Copies of the one order that is there, each state with and without an address: who is ada's. */
static void
orders_in(const char *status, bool address, const char *id, const char *user_id, const char *email)
{
    sql(arena_printf(
        stage->arena,
        "INSERT INTO orders_order (id, checkout_id, user_id, status, cancel_reason, cancel_note, "
        "total_minor, "
        "currency, email, phone_number, contact_name, ship_name, ship_city, payment_id, "
        "payment_status, "
        "created_at_us, pay_by_us, due_us, version) VALUES ('%s', 'chk_1', '%s', '%s', 'staff', "
        "'she asked', 500, 'EUR', '%s', '1', 'Ada', %s, 'London', 'pay_1', 'completed', 1, 1, "
        "9223372036854775807, 1)",
        id, user_id, status, email, address ? "'Ada'" : "NULL"));
}

TEST(an_order_is_forgotten_once_nothing_is_to_be_sent_any_more)
{
    static const struct {
        const char *status;
        bool address, forgotten;
    } cases[] = {
        {"AWAITING_PAYMENT", true, false},
        {"AWAITING_PAYMENT", false, false},
        {"PAID", true, false},
        {"PAID", false, false},
        {"COMPLETED", true, false},
        {"COMPLETED", false, true},
        {"SHIPPED", true, true},
        {"CANCELLED", true, true},
        {"REFUNDED", true, true},
    };
    begin();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        orders_in(cases[i].status, cases[i].address, arena_printf(stage->arena, "ord_%zu", i),
                  i % 2 ? "usr_ada" : "", i % 2 ? "other@example.org" : "Ada@Example.org");
    orders_in("SHIPPED", true, "ord_x", "usr_b", "b@example.org");
    erased("usr_ada", ada);
    job_after(14 * SECOND_US);
    check_int(sql("SELECT count(*) FROM orders_order WHERE email = ''"),
              0); /* others still write */
    job_after(2 * SECOND_US);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *id = arena_printf(stage->arena, "ord_%zu", i);
        check_int(sql(arena_printf(stage->arena,
                                   "SELECT email = '' AND phone_number IS NULL AND contact_name IS "
                                   "NULL AND ship_name IS NULL AND ship_city IS NULL AND "
                                   "cancel_note IS NULL AND total_minor = 500 "
                                   "FROM orders_order WHERE id = '%s'",
                                   id)),
                  cases[i].forgotten);
        check_int(stage_events(stage, "orders.order_erased", id), cases[i].forgotten);
    }
    check_int(sql("SELECT count(*) FROM orders_order WHERE email = 'b@example.org'"), 1);
    check_int(sql("SELECT count(*) FROM orders_erasure"), 0);

    sql("UPDATE orders_order SET status = 'SHIPPED'");
    job_after(0);
    erased("usr_ada", ada);
    job_after(20 * SECOND_US);
    check_int(sql("SELECT count(*) FROM orders_order WHERE email = '' AND erase = 0"), 9);
    check_int(stage_events(stage, "orders.order_erased", NULL), 9); /* each once */
    stage_free(stage);
}

TEST(a_persons_orders_are_found_among_many_whatever_fails_meanwhile)
{
    enum { ORDERS = 1700, FAILURES = 12 };
    begin();
    orders_in("SHIPPED", true, "ord_0000", "usr_ada", "first@example.org");
    sql("WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 1700) "
        "INSERT INTO orders_order SELECT format('ord_%04d', i), checkout_id, "
        "iif(i % 17 = 0, 'usr_ada', 'usr_b'), status, cancel_reason, cancel_note, total_minor, "
        "currency, iif(i % 25 = 0, 'ADA@example.org', 'b@example.org'), phone_number, "
        "contact_name, "
        "ship_name, ship_line1, ship_line2, ship_city, ship_region, ship_postal_code, "
        "ship_country, "
        "payment_id, payment_status, payment_provider, payment_ref, payment_reason, created_at_us, "
        "pay_by_us, due_us, version, cart_id, erase FROM orders_order, n WHERE id = 'ord_0000'");
    erased("usr_ada", ada);
    erased("", "nobody@example.org");
    stage_now += 20 * SECOND_US;
    for (int k = 1; k <= FAILURES; k++) {
        store_fail_at(node_store(stage->node, "orders"), k);
        stage_job(stage, &orders_service, "erase");
        store_fail_at(node_store(stage->node, "orders"), 0);
    }
    job_after(0);
    int64_t hers = 1 + ORDERS / 17 + ORDERS / 25 - ORDERS / (17 * 25);
    check_int(sql("SELECT count(*) FROM orders_order WHERE email = ''"), hers);
    check_int(stage_events(stage, "orders.order_erased", NULL), hers);
    check_int(sql("SELECT count(*) FROM orders_order WHERE user_id = 'usr_ada' AND email <> ''"),
              0);
    check_int(sql("SELECT count(*) FROM orders_erasure"), 0);
    stage_free(stage);
}

TEST(a_checkout_that_has_no_order_yet_ends_with_its_buyer)
{
    static const char *const whose[] = {"usr_ada", "", "usr_b"};
    begin();
    const char *ids[3];
    for (size_t i = 0; i < 3; i++) {
        struct request rq = stage_request(stage, whose[i]);
        Line *line = new_line(stage->arena);
        line->sku = "tea";
        line->quantity = 1;
        PlaceOrderRequest *in = new_place_order_request(stage->arena);
        in->checkout_id = ids[i] = id_derive(stage->arena, "chk", rq.id, NULL);
        in->lines = arena_copy(stage->arena, &line, sizeof line);
        in->n_lines = 1;
        in->customer = new_contact(stage->arena);
        in->customer->email = i < 2 ? "Ada@example.org" : "b@example.org";
        in->user_id = whose[i];
        check_text(stage_method(stage, &rq, "approve", &in->payment_method_id), "");
        Checkout *opened = NULL;
        check_text(stage_ask(stage, "operator", "orders", "OpenCheckout", &in->base, &opened), "");
    }
    erased("usr_ada", ada);
    for (size_t i = 0; i < 3; i++) {
        GetCheckoutRequest *in = new_get_checkout_request(stage->arena);
        in->id = ids[i];
        Checkout *now = NULL;
        check_text(stage_ask(stage, "operator", "orders", "GetCheckout", &in->base, &now), "");
        check_int(now->status, i < 2 ? CHECKOUT_STATUS_FAILED : CHECKOUT_STATUS_PENDING);
        check_text(now->code, i < 2 ? "person_erased" : "");
        check_int(stage_events(stage, "orders.checkout_failed", ids[i]), i < 2);
    }
    check_int(sql("SELECT count(*) FROM orders_checkout WHERE email IS NOT NULL"), 1);
    stage_free(stage);
}
