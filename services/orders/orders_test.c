/* Orders, as buyers, staff, crashes and late money have them. */
#include "fiber/fiber.h"
#include "test/stage.h"

static struct stage *stage;

/* A stage with 10 of "tea" and of "free" on the shelf. */
static void
begin(void)
{
    stage = stage_new();
    stage_stock(stage, "tea", 10);
    stage_stock(stage, "free", 10);
}

static void
end(void)
{
    stage_free(stage);
}

static const char *
place(const char *who, const char *token, Order **ret)
{
    struct request rq = stage_request(stage, who);
    const char *word = stage_place(stage, &rq, "tea", 1, token, ret);
    if (*word)
        *ret = stage_order(stage, stage_order_id(stage, &rq));
    return word;
}

static const char *
pay(const char *order_id, const char *token, Order **ret)
{
    struct request rq = stage_request(stage, "operator");
    return stage_pay(stage, &rq, order_id, token, ret);
}

static const char *
status_of(const char *order_id)
{
    return protobuf_c_enum_descriptor_get_value(DESCRIPTOR_OF_OrderStatus,
                                                (int)stage_order(stage, order_id)->status)
        ->name;
}

static void
check_money(const char *order_id, int charges, int64_t charged, int64_t refunded)
{
    int got_charges;
    int64_t got_charged, got_refunded;
    stage_ledger(stage, order_id, &got_charges, &got_charged, &got_refunded);
    check_int(got_charges, charges);
    check_int(got_charged, charged);
    check_int(got_refunded, refunded);
}

/* Time goes on, and everybody does what is due. */
static void
pass(int64_t us)
{
    stage_now += us;
    for (int i = 0; i < 3; i++) {
        stage_job(stage, &payments_service, "resolve");
        stage_settle(stage);
        stage_job(stage, &orders_service, "sweep");
        stage_settle(stage);
        stage_job(stage, &payments_service, "refund");
        stage_settle(stage);
    }
}

static Checkout *
checkout_of(const Order *order)
{
    GetCheckoutRequest *in = new_get_checkout_request(stage->arena);
    in->id = order->checkout_id;
    Checkout *ret = new_checkout(stage->arena);
    check_text(stage_ask(stage, "", "orders", "GetCheckout", &in->base, &ret), "");
    return ret;
}

TEST(an_approved_sale_is_paid_in_one_call_and_completed_behind_it)
{
    begin();
    Order *order = NULL;
    check_text(place("", "approve", &order), "");
    check_int(order->status, ORDER_STATUS_PAID);
    check_int(order->total->amount, STAGE_PRICE);
    check_int((long long)order->n_lines, 1);
    check_text(order->payment->status, "completed");
    check_text(order->payment->provider, "sandbox");
    check(text_starts(order->payment->ref, "sbx_"));
    check_int(stage_events(stage, "orders.order_created", order->id), 1);
    check_int(stage_events(stage, "orders.order_paid", order->id), 1);
    check_int(stage_events(stage, "payments.payment_processed", order->id), 1);
    check_int(stage_events(stage, "payments.payment_completed", order->payment->id), 1);
    check_int(checkout_of(order)->status, CHECKOUT_STATUS_DONE);

    stage_settle(stage);
    check_text(status_of(order->id), "COMPLETED");
    check_int(stage_order(stage, order->id)->version, 3); /* its events changed nothing else */
    check_int(stage_events(stage, "orders.order_completed", order->id), 1);
    check_int(stage_stock_of(stage, "tea")->sold, 1);
    check_money(order->id, 1, STAGE_PRICE, 0);
    end();
}

TEST(a_retry_is_answered_with_the_first_order_and_charges_nothing)
{
    begin();
    struct request rq = stage_request(stage, "");
    Order *first = NULL, *second = NULL;
    check_text(stage_place(stage, &rq, "tea", 1, "approve", &first), "");
    struct request again = stage_again(stage, &rq);
    check_text(stage_place(stage, &again, "tea", 1, "approve", &second), "");
    check_text(second->id, first->id);
    check_text(second->payment->id, first->payment->id);
    check_int(stage_events(stage, "orders.order_created", NULL), 1);
    check_int(stage_events(stage, "orders.order_paid", NULL), 1);
    check_money(first->id, 1, STAGE_PRICE, 0);
    end();
}

static struct {
    struct request rq;
    struct arena *arena;
    const char *word, *token;
    Order *order;
    bool done;
} twins[8];

static void
place_twin(void *arg)
{
    size_t i = (size_t)arg;
    twins[i].word = stage_place(stage, &twins[i].rq, "tea", 1, twins[i].token, &twins[i].order);
    __atomic_store_n(&twins[i].done, true, __ATOMIC_RELEASE);
}

static void
run_twins(const char *token)
{
    struct request rq = stage_request(stage, "");
    for (size_t i = 0; i < 8; i++) {
        twins[i].rq = rq;
        twins[i].token = token;
        twins[i].done = false;
        sched_spawn(node_sched(stage->node, "orders"), place_twin, (void *)i);
    }
    for (size_t i = 0; i < 8; i++)
        while (!__atomic_load_n(&twins[i].done, __ATOMIC_ACQUIRE))
            fiber_sleep_us(1000);
}

TEST(twins_make_one_order_and_one_charge)
{
    static const char *const tokens[] = {"approve", "slow", "timeout"};
    for (size_t t = 0; t < sizeof tokens / sizeof tokens[0]; t++) {
        begin();
        run_twins(tokens[t]);
        for (size_t i = 0; i < 8; i++) {
            check_text(twins[i].word, "");
            check_text(twins[i].order->id, twins[0].order->id);
        }
        pass(MINUTE_US);
        check_text(status_of(twins[0].order->id), "COMPLETED");
        check_int(stage_events(stage, "orders.order_created", NULL), 1);
        check_int(stage_events(stage, "orders.order_paid", NULL), 1);
        check_money(twins[0].order->id, 1, STAGE_PRICE, 0);
        check_int(stage_stock_of(stage, "tea")->sold, 1);
        end();
    }
}

TEST(a_declined_order_is_kept_and_can_be_paid_again)
{
    begin();
    struct request rq = stage_request(stage, "");
    Order *order = NULL;
    check_text(stage_place(stage, &rq, "tea", 1, "insufficient_funds", &order), "payment_failed");
    const char *id = stage_order_id(stage, &rq);
    check_text(rq.message, "the payment failed: insufficient_funds");
    check_int((long long)rq.n_extras, 1);
    check_text(rq.extras[0].name, "order_id");
    check_text(rq.extras[0].value, id);
    check_int(rq.reason->http, 402);
    check_text(status_of(id), "AWAITING_PAYMENT");
    Checkout *checkout = checkout_of(stage_order(stage, id));
    check_int(checkout->status, CHECKOUT_STATUS_FAILED);
    check_text(checkout->code, "payment_failed");
    check_text(checkout->order_id, id);

    struct request retry = stage_again(stage, &rq);
    check_text(stage_place(stage, &retry, "tea", 1, "approve", &order), "payment_failed");
    check_text(pay(id, "decline", &order), "payment_failed");
    struct request paid = stage_request(stage, "operator");
    check_text(stage_pay(stage, &paid, id, "approve", &order), "");
    check_int(order->status, ORDER_STATUS_PAID);
    struct request repeated = stage_again(stage, &paid);
    check_text(stage_pay(stage, &repeated, id, "approve", &order), "");
    check_text(pay(id, "approve", &order), "not_payable");
    check_money(id, 1, STAGE_PRICE, 0);

    ListOrderPaymentsRequest *in = new_list_order_payments_request(stage->arena);
    in->id = id;
    ListOrderPaymentsResponse *made = NULL;
    check_text(stage_ask(stage, "operator", "orders", "ListOrderPayments", &in->base, &made), "");
    check_int((long long)made->n_data, 3);
    check_text(made->data[0]->status, "completed");
    check_text(made->data[1]->reason, "declined");
    check_text(made->data[2]->reason, "insufficient_funds");

    struct request late = stage_again(stage, &rq); /* when the order is paid */
    check_text(stage_place(stage, &late, "tea", 1, "approve", &order), "");
    check_text(order->id, id);
    end();
}

TEST(a_charge_without_an_answer_is_pending_and_then_reconciled_once)
{
    static const char *const tokens[] = {"timeout", "webhook_late", "webhook_twice"};
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++) {
        begin();
        Order *order = NULL;
        check_text(place("", tokens[i], &order), "");
        check_int(order->status, ORDER_STATUS_AWAITING_PAYMENT);
        check_text(order->payment->status, "pending");
        check_int(checkout_of(order)->status, CHECKOUT_STATUS_PENDING);
        Order *other;
        check_text(pay(order->id, "approve", &other), "busy");
        pass(5 * SECOND_US);
        check_text(status_of(order->id), "COMPLETED");
        check_money(order->id, 1, STAGE_PRICE, 0);
        check_int(stage_events(stage, "orders.order_paid", order->id), 1);
        check_int(stage_events(stage, "payments.payment_processed", order->id), 1);
        end();
    }
}

TEST(the_sweep_learns_an_outcome_whose_event_nobody_has_heard_yet)
{
    begin();
    Order *order = NULL;
    check_text(place("", "timeout", &order), "");
    stage_now += MINUTE_US;
    stage_job(stage, &payments_service, "resolve");
    stage_job(stage, &orders_service, "sweep");
    check_text(status_of(order->id), "PAID");
    stage_settle(stage);
    check_int(stage_events(stage, "orders.order_paid", order->id), 1);
    end();
}

TEST(what_cannot_be_sold_leaves_nothing_behind)
{
    static const struct {
        const char *sku;
        int64_t quantity;
        const char *word;
    } refused[] = {
        {"tea", 11, "out_of_stock"}, {"tea", 0, "bad_line"},        {"tea", 1001, "bad_line"},
        {"", 1, "bad_line"},         {"unknown", 1, "no_such_sku"}, {"coal", 1, "no_such_sku"},
    };
    begin();
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        struct request rq = stage_request(stage, "");
        Order *order;
        check_text(stage_place(stage, &rq, refused[i].sku, refused[i].quantity, "approve", &order),
                   refused[i].word);
        if (text_equal(refused[i].word, "out_of_stock")) {
            check_int((long long)rq.n_violations, 1);
            check_text(rq.violations[0].pointer, "/lines/0");
            check_int(rq.violations[0].remaining, 10);
            check_int(rq.reason->http, 409);
        }
    }
    check_int(stage_events(stage, "orders.order_created", NULL), 0);
    check_int(stage_stock_of(stage, "tea")->reserved, 0);
    end();
}

/* A crash behind the reservation; then the cart is let go, changed, and ordered by the same
 * request. */
TEST(a_retry_with_other_lines_sells_no_more_than_was_reserved)
{
    begin();
    struct request rq = stage_request(stage, "");
    Line *line = new_line(stage->arena);
    line->sku = "tea";
    line->quantity = 1;
    ReserveRequest *in = new_reserve_request(stage->arena);
    in->order_id = stage_order_id(stage, &rq);
    in->reservation_id = id_derive(stage->arena, "rsv", in->order_id, NULL);
    in->lines = &line;
    in->n_lines = 1;
    check_text(stage_ask(stage, "operator", "inventory", "Reserve", &in->base, NULL), "");

    struct request again = stage_again(stage, &rq);
    Order *order = NULL;
    check_text(stage_place(stage, &again, "tea", 5, "approve", &order), "cart_changed");
    check_int(stage_events(stage, "orders.order_created", NULL), 0);
    check_int(stage_stock_of(stage, "tea")->reserved, 1);

    again = stage_again(stage, &rq);
    check_text(stage_place(stage, &again, "tea", 1, "approve", &order), "");
    stage_settle(stage);
    check_int(stage_stock_of(stage, "tea")->sold, 1);
    end();
}

TEST(an_order_of_nothing_asks_no_provider)
{
    begin();
    struct request rq = stage_request(stage, "");
    Order *order = NULL;
    check_text(stage_place(stage, &rq, "free", 1, "decline", &order), "");
    check_int(order->status, ORDER_STATUS_PAID);
    stage_settle(stage);
    check_text(status_of(order->id), "COMPLETED");
    check_money(order->id, 0, 0, 0);
    end();
}

TEST(an_unpaid_order_lapses_and_gives_its_stock_back)
{
    begin();
    Order *order = NULL;
    check_text(place("", "decline", &order), "payment_failed");
    stage_settle(stage);
    pass(MINUTE_US);
    check_text(status_of(order->id), "AWAITING_PAYMENT");
    check_int(stage_stock_of(stage, "tea")->reserved, 1);
    pass(order->pay_by_us - stage_now);
    check_text(status_of(order->id), "CANCELLED");
    check_text(stage_order(stage, order->id)->cancel_reason, "lapsed");
    check_int(stage_events(stage, "orders.order_cancelled", order->id), 1);
    check_int(stage_stock_of(stage, "tea")->available, 10);
    check_text(checkout_of(order)->code, "order_cancelled");
    check_text(pay(order->id, "approve", &order), "not_payable");
    check_money(order->id, 0, 0, 0);
    end();
}

TEST(a_charge_that_was_never_begun_is_told_as_failed_and_can_still_be_made)
{
    begin();
    struct request rq = stage_request(stage, "");
    PlaceOrderRequest *in = new_place_order_request(stage->arena);
    Line *line = new_line(stage->arena);
    line->sku = "tea";
    line->quantity = 1;
    in->checkout_id = id_derive(stage->arena, "chk", rq.id, NULL);
    in->lines = &line;
    in->n_lines = 1;
    in->customer = new_contact(stage->arena);
    in->customer->email = "ada@example.org";
    in->payment_method_id = "pmm_none";
    check_text(stage_serve(stage, &rq, "orders", "PlaceOrder", &in->base, NULL),
               "no_such_payment_method");
    Order *order = stage_order(stage, stage_order_id(stage, &rq));
    check_int(checkout_of(order)->status, CHECKOUT_STATUS_PENDING);
    pass(MINUTE_US);
    check_text(status_of(order->id), "AWAITING_PAYMENT");
    check_text(stage_order(stage, order->id)->payment->reason, "interrupted");
    check_int(checkout_of(order)->status, CHECKOUT_STATUS_FAILED);
    check_text(checkout_of(order)->order_id, order->id);

    struct request again = stage_again(stage, &rq);
    check_text(stage_place(stage, &again, "tea", 1, "approve", &order), "");
    check_int(order->status, ORDER_STATUS_PAID);
    check_money(order->id, 1, STAGE_PRICE, 0);
    end();
}

TEST(an_order_whose_charge_is_unresolved_does_not_lapse)
{
    begin();
    Order *order = NULL;
    check_text(place("", "timeout", &order), "");
    stage_now = order->pay_by_us + MINUTE_US;
    stage_job(stage, &orders_service, "sweep");
    check_text(status_of(order->id), "AWAITING_PAYMENT");
    pass(MINUTE_US);
    check_text(status_of(order->id), "COMPLETED");
    end();
}

static int64_t
due_of(const char *order_id)
{
    static struct statement find_due = {.service = "orders",
                                        .name = "find_due",
                                        .sql = "SELECT due_us FROM orders_order WHERE id = ?1"};
    struct request rq = stage_request(stage, "");
    struct value in[] = {value_text(order_id)};
    int64_t due_us = 0;
    rq.service = &orders_service;
    struct tx *tx = tx_begin_read(&rq);
    check_int(sql_int(tx, &find_due, in, 1, &due_us), OK);
    tx_end(tx);
    return due_us;
}

TEST(who_waits_for_a_provider_that_is_away_asks_ever_less_often)
{
    begin();
    Order *order = NULL;
    check_text(place("", "timeout", &order), "");
    int looks = 0;
    for (int64_t ends = stage_now + 5 * MINUTE_US, due_us = due_of(order->id); stage_now < ends;) {
        stage_now += SECOND_US;
        stage_job(stage, &orders_service, "sweep");
        looks += due_of(order->id) != due_us;
        due_us = due_of(order->id);
    }
    check(looks >= 5 && looks <= 10);
    check_text(status_of(order->id), "AWAITING_PAYMENT");
    end();
}

TEST(no_charge_begins_that_could_outlast_the_reservation)
{
    begin();
    Order *order = NULL, *paid;
    check_text(place("", "decline", &order), "payment_failed");
    stage_now = order->pay_by_us - SECOND_US;
    check_text(pay(order->id, "approve", &paid), "not_payable");
    stage_now = order->pay_by_us - 5 * SECOND_US;
    check_text(pay(order->id, "approve", &paid), "");
    check_int(paid->status, ORDER_STATUS_PAID);
    end();
}

/* payments tells of a capture that it had taken for failed: what no provider of ours does. */
static void
late_money(const Order *order)
{
    PaymentProcessed *event = new_payment_processed(stage->arena);
    event->order_id = order->id;
    event->payment_id = order->payment->id;
    event->status = "completed";
    event->provider = "sandbox";
    event->amount = order->total;
    struct event envelope = {.id = "evn_late",
                             .topic = payment_processed.name,
                             .subject = order->id,
                             .time_us = stage_now};
    envelope.data.len = protobuf_c_message_get_packed_size(&event->base);
    envelope.data.data = arena_alloc(stage->arena, envelope.data.len);
    protobuf_c_message_pack(&event->base, envelope.data.data);
    check_int(stage_hear(stage, &orders_service, &envelope), OK);
}

TEST(money_that_comes_after_the_lapse_gets_stock_if_there_is_any)
{
    for (int left = 0; left < 2; left++) {
        begin();
        Order *order = NULL, *other;
        check_text(place("", "decline", &order), "payment_failed");
        stage_settle(stage);
        pass(order->pay_by_us - stage_now);
        check_text(status_of(order->id), "CANCELLED");
        struct request rq = stage_request(stage, "");
        check_text(stage_place(stage, &rq, "tea", 10 - left, "approve", &other), "");
        late_money(order);
        late_money(order);
        check_text(status_of(order->id), "PAID");
        stage_settle(stage);
        check_text(status_of(order->id), left ? "COMPLETED" : "CANCELLED");
        check_text(stage_order(stage, order->id)->cancel_reason, left ? "" : "stock_short");
        check_int(stage_stock_of(stage, "tea")->sold, 10);
        end();
    }
}

TEST(a_buyer_cancels_and_the_money_comes_back_once)
{
    static const struct {
        const char *token;
        bool settled; /* everybody has heard of the payment before it is cancelled */
        int64_t refunded;
        const char *status;
    } cases[] = {
        {"approve", false, STAGE_PRICE, "REFUNDED"}, {"approve", true, STAGE_PRICE, "REFUNDED"},
        {"timeout", false, STAGE_PRICE, "REFUNDED"}, {"timeout", true, STAGE_PRICE, "REFUNDED"},
        {"decline", true, 0, "CANCELLED"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        begin();
        Order *order = NULL, *cancelled = NULL;
        place("usr_ada", cases[i].token, &order);
        if (cases[i].settled)
            stage_settle(stage);
        check_text(stage_cancel(stage, "usr_ada", order->id, &cancelled), "");
        check_int(cancelled->status, ORDER_STATUS_CANCELLED);
        check_text(cancelled->cancel_reason, "buyer");
        check_text(cancelled->cancel_note, "changed my mind");
        check_text(stage_cancel(stage, "usr_ada", order->id, &cancelled), "");
        check_text(pay(order->id, "approve", &order), "not_payable");
        for (int j = 0; j < 5; j++)
            pass(MINUTE_US);
        check_text(status_of(cancelled->id), cases[i].status);
        check_money(cancelled->id, cases[i].refunded > 0, cases[i].refunded, cases[i].refunded);
        check_int(stage_events(stage, "orders.order_cancelled", cancelled->id), 1);
        check_int(stage_events(stage, "payments.payment_refunded", cancelled->id),
                  cases[i].refunded > 0);
        check_int(stage_stock_of(stage, "tea")->available, 10);
        check_text(stage_cancel(stage, "usr_ada", cancelled->id, &cancelled), "");
        end();
    }
}

TEST(a_whole_refund_by_staff_ends_the_order)
{
    for (int restock = 0; restock < 2; restock++) {
        begin();
        Order *order = NULL;
        check_text(place("", "approve", &order), "");
        stage_settle(stage);
        RefundRequest *in = new_refund_request(stage->arena);
        in->id = order->payment->id;
        in->amount = new_money(stage->arena);
        in->amount->amount = 200;
        in->amount->currency = "EUR";
        in->restock = restock;
        Payment *payment = NULL;
        check_text(stage_ask(stage, "usr_staff", "payments", "Refund", &in->base, &payment), "");
        check_text(payment->status, "partly_refunded");
        stage_settle(stage);
        check_text(status_of(order->id), "COMPLETED");
        check_text(stage_order(stage, order->id)->payment->status, "partly_refunded");
        in->amount = NULL;
        check_text(stage_ask(stage, "usr_staff", "payments", "Refund", &in->base, &payment), "");
        check_text(payment->status, "refunded");
        stage_settle(stage);
        check_text(status_of(order->id), "REFUNDED");
        check_int(stage_events(stage, "orders.order_cancelled", order->id), 1);
        check_int(stage_stock_of(stage, "tea")->available, restock ? 10 : 9);
        pass(MINUTE_US);
        check_money(order->id, 1, STAGE_PRICE, STAGE_PRICE);
        end();
    }
}

TEST(an_order_is_seen_by_its_buyer_and_by_staff_alone)
{
    begin();
    Order *guests = NULL, *adas = NULL, *seen;
    check_text(place("", "approve", &guests), "");
    check_text(place("usr_ada", "approve", &adas), "");
    const struct {
        const char *who;
        const Order *order;
        const char *word;
    } cases[] = {
        {"", guests, "no_such_order"},
        {"", adas, "no_such_order"},
        {arena_printf(stage->arena, "guest:%s", guests->id), guests, ""},
        {arena_printf(stage->arena, "guest:%s", guests->id), adas, "no_such_order"},
        {"usr_ada", adas, ""},
        {"usr_ada", guests, "no_such_order"},
        {"usr_bob", adas, "no_such_order"},
        {"usr_staff", adas, ""},
        {"usr_staff", guests, ""},
        {"operator", guests, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        GetOrderRequest *get = new_get_order_request(stage->arena);
        ListOrderPaymentsRequest *payments = new_list_order_payments_request(stage->arena);
        payments->id = get->id = cases[i].order->id;
        check_text(stage_ask(stage, cases[i].who, "orders", "GetOrder", &get->base, NULL),
                   cases[i].word);
        check_text(
            stage_ask(stage, cases[i].who, "orders", "ListOrderPayments", &payments->base, NULL),
            cases[i].word);
        struct request rq = stage_request(stage, cases[i].who);
        check_text(stage_pay(stage, &rq, cases[i].order->id, "approve", &seen),
                   *cases[i].word ? cases[i].word : "not_payable");
        if (*cases[i].word)
            check_text(stage_cancel(stage, cases[i].who, cases[i].order->id, &seen), cases[i].word);
    }
    check_text(stage_cancel(stage, "usr_staff", guests->id, &seen), "");
    check_text(seen->cancel_reason, "staff");
    end();
}

static ListOrdersResponse *
list(const char *who, int64_t limit, const char *after, const char *status)
{
    ListOrdersRequest *in = new_list_orders_request(stage->arena);
    in->limit = limit;
    in->starting_after = after;
    in->status = status;
    ListOrdersResponse *ret = NULL;
    check_text(stage_ask(stage, who, "orders", "ListOrders", &in->base, &ret), "");
    return ret;
}

TEST(orders_are_listed_newest_first_page_by_page_and_only_to_whom_they_belong)
{
    begin();
    const char *ids[5];
    for (int i = 0; i < 5; i++) {
        Order *order = NULL;
        place(i == 2 ? "usr_bob" : "usr_ada", i == 4 ? "decline" : "approve", &order);
        ids[i] = order->id;
        stage_now += SECOND_US;
    }
    ListOrdersResponse *page = list("usr_ada", 3, "", "");
    check_int((long long)page->n_data, 3);
    check(page->has_more);
    check_text(page->data[0]->id, ids[4]);
    check_text(page->data[1]->id, ids[3]);
    check_text(page->data[2]->id, ids[1]);
    check_int((long long)page->data[0]->n_lines, 1);
    page = list("usr_ada", 3, ids[1], "");
    check_int((long long)page->n_data, 1);
    check(!page->has_more);
    check_text(page->data[0]->id, ids[0]);
    check_int((long long)list("usr_ada", 0, "", "awaiting_payment")->n_data, 1);
    check_int((long long)list("usr_ada", 0, "", "shipped")->n_data, 0);
    check_int((long long)list("usr_staff", 0, "", "")->n_data, 5);
    check_int((long long)list("usr_staff", 0, "", "paid")->n_data, 4);
    check_int((long long)list("usr_carl", 0, "", "")->n_data, 0);
    check_int((long long)list("", 0, "", "")->n_data, 0);
    end();
}

/* Wherever the store fails, a retry of the same request ends with one order, paid by one charge. */
TEST(a_failing_store_never_parts_an_order_from_its_money)
{
    static const char *const tokens[] = {"approve", "timeout"};
    for (size_t t = 0; t < 2; t++) {
        const char *word;
        int k = 0;
        do {
            begin();
            struct request rq = stage_request(stage, "");
            Order *order = NULL;
            store_fail_at(node_store(stage->node, "orders"), ++k);
            word = stage_place(stage, &rq, "tea", 2, tokens[t], &order);
            store_fail_at(node_store(stage->node, "orders"), 0);
            check(text_equal(word, "") || text_equal(word, "UNAVAILABLE"));
            if (k % 2)
                stage_restart(stage);
            struct request retry = stage_again(stage, &rq);
            check_text(stage_place(stage, &retry, "tea", 2, tokens[t], &order), "");
            pass(MINUTE_US);
            check_text(status_of(order->id), "COMPLETED");
            check_money(order->id, 1, 2 * STAGE_PRICE, 0);
            check_int(stage_events(stage, "orders.order_created", NULL), 1);
            check_int(stage_events(stage, "orders.order_paid", NULL), 1);
            check_int(stage_stock_of(stage, "tea")->sold, 2);
            end();
        } while (*word);
        check(k > 10);
    }
}

/* Nobody retries: the sweep ends what was begun, and no money is taken without its order. */
TEST(what_a_failure_cut_off_is_paid_or_lapses)
{
    const char *word;
    int k = 0;
    do {
        begin();
        struct request rq = stage_request(stage, "");
        Order *order = NULL;
        store_fail_at(node_store(stage->node, "orders"), ++k);
        word = stage_place(stage, &rq, "tea", 1, "approve", &order);
        store_fail_at(node_store(stage->node, "orders"), 0);
        if (k % 2)
            stage_restart(stage);
        pass(MINUTE_US);
        pass(HOUR_US);
        stage_job(stage, &inventory_service, "lapse");
        const char *id = stage_order_id(stage, &rq);
        bool made = stage_events(stage, "orders.order_created", id) > 0;
        bool paid = made && text_equal(status_of(id), "COMPLETED");
        if (made && !paid)
            check_text(status_of(id), "CANCELLED");
        check_money(id, paid, paid ? STAGE_PRICE : 0, 0);
        check_int(stage_stock_of(stage, "tea")->available, paid ? 9 : 10);
        check_int(stage_stock_of(stage, "tea")->reserved, 0);
        end();
    } while (*word);
    check(k > 20);
}

TEST(a_cancel_and_a_payment_that_the_store_cut_off_can_be_repeated)
{
    for (int cancels = 0; cancels < 2; cancels++) {
        const char *word;
        int k = 0;
        do {
            begin();
            Order *order = NULL;
            place("", "decline", &order);
            struct request rq = stage_request(stage, "operator");
            store_fail_at(node_store(stage->node, "orders"), ++k);
            word = cancels ? stage_cancel(stage, "operator", order->id, &order)
                           : stage_pay(stage, &rq, order->id, "approve", &order);
            store_fail_at(node_store(stage->node, "orders"), 0);
            struct request retry = stage_again(stage, &rq);
            check_text(cancels ? stage_cancel(stage, "operator", order->id, &order)
                               : stage_pay(stage, &retry, order->id, "approve", &order),
                       "");
            pass(MINUTE_US);
            check_text(status_of(order->id), cancels ? "CANCELLED" : "COMPLETED");
            check_int(stage_events(stage, "orders.order_cancelled", NULL), cancels);
            check_money(order->id, !cancels, cancels ? 0 : STAGE_PRICE, 0);
            end();
        } while (*word);
        check(k > 3);
    }
}
