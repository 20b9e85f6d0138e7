/* Payments: every movement of money is written down before it is asked for, and happens once. */
#include <unistd.h>

#include "payments/attempts.h"
#include "test/stage.h"

static struct stage *stage;

static void
begin(void)
{
    stage = stage_new();
}

static void
end(void)
{
    stage_free(stage);
}

static const char *
lodge(const char *id, const char *provider, const char *token)
{
    LodgeMethodRequest *in = new_lodge_method_request(stage->arena);
    in->payment_method_id = id;
    in->provider = provider;
    in->token = token;
    return stage_ask(stage, "operator", "payments", "LodgeMethod", &in->base, NULL);
}

static Money *
euros(int64_t minor)
{
    Money *ret = new_money(stage->arena);
    ret->amount = minor;
    ret->currency = "EUR";
    return ret;
}

static const char *
new_id(void)
{
    return id_make(stage->arena, "pay", stage_now);
}

static const char *
charge_with(const char *id, const char *order_id, const char *method_id, int64_t hold_until_us,
            Payment **ret)
{
    ChargeRequest *in = new_charge_request(stage->arena);
    in->attempt_id = id;
    in->order_id = order_id;
    in->amount = euros(500);
    in->payment_method_id = method_id;
    in->hold_until_us = hold_until_us;
    return stage_ask(stage, "operator", "payments", "Charge", &in->base, ret);
}

static const char *
charge(const char *id, const char *order_id, const char *token, Payment **ret)
{
    const char *word = lodge("pmm_1", "sandbox", token);
    return *word ? word : charge_with(id, order_id, "pmm_1", 0, ret);
}

static const char *
refund(struct request *rq, const char *id, Money *amount, Payment **ret)
{
    RefundRequest *in = new_refund_request(stage->arena);
    in->id = id;
    in->amount = amount;
    return stage_serve(stage, rq, "payments", "Refund", &in->base, ret);
}

static Payment *
payment_of(const char *id)
{
    GetPaymentRequest *in = new_get_payment_request(stage->arena);
    in->id = id;
    Payment *ret = new_payment(stage->arena);
    check_text(stage_ask(stage, "operator", "payments", "GetPayment", &in->base, &ret), "");
    return ret;
}

static void
check_ledger(const char *order_id, int charges, int64_t refunded)
{
    int got_charges;
    int64_t charged, got_refunded;
    stage_ledger(stage, order_id, &got_charges, &charged, &got_refunded);
    check_int(got_charges, charges);
    check_int(got_refunded, refunded);
}

/* Orders tells that an order is cancelled. */
static void
cancel(const char *order_id, const char *reason)
{
    OrderCancelled event = SOUK__ORDERS__V1__ORDER_CANCELLED__INIT;
    event.order_id = order_id;
    event.reason = reason;
    struct event envelope = {.id = "evn_1", .topic = order_cancelled.name, .time_us = stage_now};
    envelope.data.len = protobuf_c_message_get_packed_size(&event.base);
    envelope.data.data = arena_alloc(stage->arena, envelope.data.len);
    protobuf_c_message_pack(&event.base, envelope.data.data);
    check_int(stage_hear(stage, &payments_service, &envelope), OK);
}

static void
pass(int64_t us)
{
    stage_now += us;
    stage_job(stage, &payments_service, "resolve");
    stage_job(stage, &payments_service, "refund");
}

static ssize_t
no_write(int fd, const void *bytes, size_t n)
{
    (void)fd, (void)bytes, (void)n;
    return -1;
}

TEST(a_charge_tells_what_came_of_it_and_publishes_it_once)
{
    static const struct {
        const char *token, *status, *reason, *topic;
    } cases[] = {
        {"approve", "completed", "", "payments.payment_completed"},
        {"slow", "completed", "", "payments.payment_completed"},
        {"decline", "failed", "declined", "payments.payment_failed"},
        {"timeout", "pending", "", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        begin();
        const char *id = new_id();
        Payment *first = NULL, *again = NULL;
        check_text(charge(id, "ord_1", cases[i].token, &first), "");
        check_text(first->status, cases[i].status);
        check_text(first->reason, cases[i].reason);
        check_int(first->amount->amount, 500);
        check_text(charge(id, "ord_1", "approve", &again), "");
        check_text(again->status, cases[i].status);
        check_text(again->ref, first->ref);
        check_text(charge(id, "ord_2", "approve", &again), "INVALID_ARGUMENT");
        check_int(stage_events(stage, "payments.payment_processed", "ord_1"),
                  cases[i].topic != NULL);
        if (cases[i].topic)
            check_int(stage_events(stage, cases[i].topic, id), 1);
        end();
    }
}

TEST(an_order_has_one_attempt_that_may_have_its_money)
{
    begin();
    Payment *payment;
    check_text(charge(new_id(), "ord_1", "decline", &payment), "");
    check_text(charge(new_id(), "ord_1", "timeout", &payment), "");
    check_text(charge(new_id(), "ord_1", "approve", &payment), "unresolved");
    pass(MINUTE_US);
    check_text(charge(new_id(), "ord_1", "approve", &payment), "already_paid");
    check_text(charge(new_id(), "ord_2", "approve", &payment), "");
    check_ledger("ord_1", 1, 0);
    end();
}

TEST(a_charge_that_may_not_be_made_is_refused_before_anything_moves)
{
    begin();
    const char *id = new_id();
    Payment *payment;
    check_text(charge_with(id, "ord_1", "pmm_none", 0, &payment), "no_such_method");
    check_text(charge_with("pay_1", "ord_1", "pmm_none", 0, &payment), "INVALID_ARGUMENT");
    lodge("pmm_1", "sandbox", "approve");
    check_text(charge_with(id, "ord_1", "pmm_1", stage_now + SECOND_US, &payment), "too_late");
    cancel("ord_2", "buyer");
    check_text(charge(id, "ord_2", "approve", &payment), "order_closed");
    cancel("ord_3", "lapsed");
    check_text(charge(new_id(), "ord_3", "approve", &payment), "");
    check_text(lodge("pmm_2", "elsewhere", "approve"), "no_such_provider");
    check_int(stage_events(stage, "payments.payment_processed", "ord_1"), 0);
    end();
}

TEST(a_shop_may_switch_the_sandbox_off)
{
    begin();
    const char *why;
    conf_set(stage->conf, "sandbox", "off", stage->arena, &why);
    stage_restart(stage);
    check_text(lodge("pmm_1", "sandbox", "approve"), "no_such_provider");
    end();
}

static bool
of_payments(const char *table, void *arg)
{
    (void)arg;
    return text_starts(table, "payments_") || text_starts(table, "bus_");
}

static bool
stands_somewhere(const char *secret)
{
    char *dump = NULL;
    check_int(
        store_dump(node_store(stage->node, "payments"), of_payments, NULL, stage->arena, &dump),
        OK);
    return dump && strstr(dump, secret);
}

TEST(a_token_is_kept_no_longer_than_it_is_needed)
{
    begin();
    Payment *payment;
    check_text(lodge("pmm_1", "sandbox", "tok-4242-secret"), "");
    check(stands_somewhere("tok-4242-secret"));
    check_text(charge_with(new_id(), "ord_1", "pmm_1", 0, &payment), "");
    check_text(payment->reason, "invalid_token");
    check(!stands_somewhere("tok-4242-secret"));

    check_text(lodge("pmm_2", "sandbox", "tok-4242-secret"), "");
    stage_now += DAY_US - MINUTE_US;
    stage_job(stage, &payments_service, "purge");
    check(stands_somewhere("tok-4242-secret"));
    stage_now += 2 * MINUTE_US;
    stage_job(stage, &payments_service, "purge");
    check(!stands_somewhere("tok-4242-secret"));
    end();
}

TEST(staff_gives_back_what_is_left_and_no_more)
{
    begin();
    const char *id = new_id(), *declined = new_id();
    Payment *payment = NULL;
    check_text(charge(id, "ord_1", "approve", &payment), "");
    check_text(charge(declined, "ord_2", "decline", &payment), "");
    Money *dollars = euros(1);
    dollars->currency = "USD";
    const struct {
        const char *id;
        Money *amount;
        const char *word, *status;
    } cases[] = {
        {id, euros(501), "refund_too_large", "completed"},
        {id, euros(0), "INVALID_ARGUMENT", "completed"},
        {id, dollars, "INVALID_ARGUMENT", "completed"},
        {id, euros(200), "", "partly_refunded"},
        {id, euros(301), "refund_too_large", "partly_refunded"},
        {id, NULL, "", "refunded"},
        {id, NULL, "not_refundable", "refunded"},
        {declined, NULL, "not_refundable", "failed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct request rq = stage_request(stage, "usr_staff");
        check_text(refund(&rq, cases[i].id, cases[i].amount, &payment), cases[i].word);
        check_text(payment_of(cases[i].id)->status, cases[i].status);
    }
    struct request rq = stage_request(stage, "usr_staff"), buyer = stage_request(stage, "usr_ada");
    check_text(refund(&rq, "pay_none", NULL, &payment), "no_such_payment");
    check_text(refund(&buyer, id, NULL, &payment), "PERMISSION_DENIED");
    check_ledger("ord_1", 1, 500);
    check_int(stage_events(stage, "payments.payment_refunded", "ord_1"), 2);
    end();
}

TEST(a_repeated_refund_gives_back_once_wherever_the_store_failed)
{
    const char *word;
    int k = 0;
    do {
        begin();
        const char *id = new_id();
        Payment *payment = NULL;
        check_text(charge(id, "ord_1", "approve", &payment), "");
        struct request rq = stage_request(stage, "usr_staff");
        store_fail_at(node_store(stage->node, "payments"), ++k);
        word = refund(&rq, id, euros(200), &payment);
        store_fail_at(node_store(stage->node, "payments"), 0);
        struct request again = stage_again(stage, &rq), third = stage_again(stage, &rq);
        if (k % 2)
            pass(MINUTE_US);
        check_text(refund(&again, id, euros(200), &payment), "");
        check_text(refund(&third, id, euros(200), &payment), "");
        pass(MINUTE_US);
        check_int(payment_of(id)->refunded->amount, 200);
        check_ledger("ord_1", 1, 200);
        check_int(stage_events(stage, "payments.payment_refunded", "ord_1"), 1);
        end();
    } while (*word);
    check(k > 5);
}

TEST(a_refund_that_the_provider_did_not_answer_is_asked_for_again)
{
    begin();
    const char *id = new_id();
    Payment *payment = NULL;
    check_text(charge(id, "ord_1", "approve", &payment), "");
    env.file_write = no_write;
    struct request rq = stage_request(stage, "usr_staff");
    check_text(refund(&rq, id, NULL, &payment), "");
    check_text(payment->status, "completed");
    pass(MINUTE_US);
    env.file_write = env_real.file_write;
    struct request other = stage_request(stage, "usr_staff");
    check_text(refund(&other, id, NULL, &payment), "not_refundable"); /* it is claimed */
    pass(MINUTE_US);
    check_text(payment_of(id)->status, "refunded");
    check_ledger("ord_1", 1, 500);
    end();
}

/* The order's cancelling, the capture and a part that staff gave back, in any order. */
TEST(a_closed_order_gets_back_what_is_left_once)
{
    static const char *const orders_of_events[] = {"cx", "xc",  "crx", "cxr", "tx",
                                                   "xt", "tpx", "txp", "trpx"};
    for (size_t i = 0; i < sizeof orders_of_events / sizeof orders_of_events[0]; i++) {
        begin();
        const char *id = new_id();
        bool captured = false;
        for (const char *what = orders_of_events[i]; *what; what++) {
            struct request rq = stage_request(stage, "usr_staff");
            Payment *payment = NULL;
            const char *word = "";
            switch (*what) {
            case 'c': /* it is charged, and 't': without an answer */
            case 't':
                word = charge(id, "ord_1", *what == 'c' ? "approve" : "timeout", &payment);
                captured |= *word == '\0';
                break;
            case 'x':
                cancel("ord_1", "buyer");
                break;
            case 'r':
                refund(&rq, id, euros(200), &payment);
                break;
            case 'p':
                pass(MINUTE_US);
            }
        }
        for (int j = 0; j < 4; j++)
            pass(MINUTE_US);
        cancel("ord_1", "buyer"); /* heard twice */
        for (int j = 0; j < 4; j++)
            pass(MINUTE_US);
        check_ledger("ord_1", captured, captured ? 500 : 0);
        if (captured)
            check_text(payment_of(id)->status, "refunded");
        end();
    }
}

TEST(the_job_gives_back_once_wherever_the_store_failed)
{
    const char *word;
    int k = 0;
    do {
        begin();
        const char *id = new_id();
        Payment *payment = NULL;
        check_text(charge(id, "ord_1", "approve", &payment), "");
        cancel("ord_1", "buyer");
        store_fail_at(node_store(stage->node, "payments"), ++k);
        word = stage_job(stage, &payments_service, "refund");
        store_fail_at(node_store(stage->node, "payments"), 0);
        if (k % 2)
            stage_restart(stage);
        pass(MINUTE_US);
        check_text(payment_of(id)->status, "refunded");
        check_ledger("ord_1", 1, 500);
        check_int(stage_events(stage, "payments.payment_refunded", "ord_1"), 1);
        end();
    } while (*word);
    check(k > 5);
}

/* As if so many others waited for their provider. */
static void
fill_slots(size_t n)
{
    struct request rq = stage_request(stage, "");
    rq.service = &payments_service;
    payments_state(&rq)->n_calls = n;
}

TEST(past_the_bound_an_attempt_waits_for_the_job)
{
    static const struct {
        const char *token;
        int64_t hold_us, wait_us;
        bool purged, cancelled;
        const char *status, *reason;
    } cases[] = {
        {"approve", 0, 0, false, false, "completed", ""},
        {"decline", 0, 0, false, false, "failed", "declined"},
        {"approve", MINUTE_US, MINUTE_US, false, false, "failed", "too_late"},
        {"approve", 0, 2 * DAY_US, true, false, "failed", "method_expired"},
        {"approve", 0, 0, false, true, "failed", "order_cancelled"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        begin();
        const char *id = new_id();
        Payment *payment = NULL;
        fill_slots(CALLS_MAX_AT_ONCE);
        lodge("pmm_1", "sandbox", cases[i].token);
        int64_t hold_until_us = cases[i].hold_us ? stage_now + cases[i].hold_us : 0;
        check_text(charge_with(id, "ord_1", "pmm_1", hold_until_us, &payment), "");
        check_text(payment->status, "pending");
        check_ledger("ord_1", 0, 0);
        pass(0);
        check_text(payment_of(id)->status, "pending");
        fill_slots(0);
        stage_now += cases[i].wait_us;
        if (cases[i].purged)
            stage_job(stage, &payments_service, "purge");
        if (cases[i].cancelled)
            cancel("ord_1", "buyer");
        pass(0);
        check_text(payment_of(id)->status, cases[i].status);
        check_text(payment_of(id)->reason, cases[i].reason);
        check_int(stage_events(stage, "payments.payment_processed", "ord_1"), 1);
        check(!stands_somewhere(arena_printf(stage->arena, "'%s'", cases[i].token)));
        end();
    }
}

TEST(an_attempt_that_waited_is_charged_once_wherever_the_store_failed)
{
    const char *word;
    int k = 0;
    do {
        begin();
        const char *id = new_id();
        Payment *payment = NULL;
        fill_slots(CALLS_MAX_AT_ONCE);
        check_text(charge(id, "ord_1", "approve", &payment), "");
        fill_slots(0);
        store_fail_at(node_store(stage->node, "payments"), ++k);
        word = stage_job(stage, &payments_service, "resolve");
        store_fail_at(node_store(stage->node, "payments"), 0);
        if (k % 2)
            stage_restart(stage);
        pass(MINUTE_US);
        check_text(payment_of(id)->status, "completed");
        check_ledger("ord_1", 1, 0);
        check_int(stage_events(stage, "payments.payment_processed", "ord_1"), 1);
        end();
    } while (*word);
    check(k > 5);
}

/* The attempt is on disk, and nobody knows whether the provider heard of it. */
TEST(a_charge_that_a_crash_cut_off_is_resolved_when_it_is_repeated)
{
    static const struct {
        bool captured;
        const char *status, *reason;
    } cases[] = {{true, "completed", ""}, {false, "failed", "never_received"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        begin();
        const char *id = new_id();
        Payment *payment = NULL;
        if (!cases[i].captured)
            env.file_write = no_write;
        check_text(charge(id, "ord_1", "webhook_late", &payment), "");
        check_text(payment->status, "pending");
        env.file_write = env_real.file_write;
        check_text(charge(id, "ord_1", "approve", &payment), "");
        check_text(payment->status, "pending"); /* it is looked at by the job */
        stage_restart(stage);
        check_text(charge(id, "ord_1", "approve", &payment), "");
        check_text(payment->status, cases[i].status);
        check_text(payment->reason, cases[i].reason);
        check_ledger("ord_1", cases[i].captured, 0);
        check_int(stage_events(stage, "payments.payment_processed", "ord_1"), 1);
        end();
    }
}

static struct {
    const char *id, *token;
    Payment *payment;
    bool done;
} beside;

static void
charge_beside(void *arg)
{
    (void)arg;
    check_text(charge(beside.id, "ord_1", beside.token, &beside.payment), "");
    beside.done = true;
}

/* On the same scheduler as the charge, which waits for its provider meanwhile. */
static void
resolve_meanwhile(void *arg)
{
    (void)arg;
    GetPaymentRequest *in = new_get_payment_request(stage->arena);
    in->id = beside.id;
    sched_spawn(sched_self(), charge_beside, NULL);
    while (*stage_ask(stage, "operator", "payments", "GetPayment", &in->base, NULL))
        fiber_sleep_us(1000);
    fill_slots(0); /* as in another process, which knows nothing of the call */
    stage_now += MINUTE_US;
    stage_job(stage, &payments_service, "resolve");
    check(!text_equal(payment_of(beside.id)->status, "pending"));
    while (!beside.done)
        fiber_sleep_us(1000);
}

/* Another process asks what became of a charge while this one still waits for the answer. */
TEST(whoever_brings_an_outcome_first_it_is_recorded_once)
{
    static const struct {
        const char *token, *slow_ms, *told, *status, *reason;
        int charges;
    } cases[] = {
        {"timeout", "1", "completed", "completed", "", 1},
        {"slow", "1500", "failed", "failed", "never_received", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        begin();
        const char *why;
        conf_set(stage->conf, "sandbox_timeout_ms", "2000", stage->arena, &why);
        conf_set(stage->conf, "sandbox_slow_ms", cases[i].slow_ms, stage->arena, &why);
        stage_restart(stage);
        beside.id = new_id();
        beside.token = cases[i].token;
        beside.done = false;
        node_run(stage->node, "payments", resolve_meanwhile, NULL);
        check_text(beside.payment->status, cases[i].told);
        check_text(payment_of(beside.id)->status, cases[i].status);
        check_text(payment_of(beside.id)->reason, cases[i].reason);
        check_int(stage_events(stage, "payments.payment_processed", "ord_1"), 1);
        check_ledger("ord_1", cases[i].charges, 0);
        end();
    }
}

TEST(what_was_pending_at_a_crash_is_resolved_at_the_first_look)
{
    begin();
    const char *id = new_id();
    Payment *payment = NULL;
    check_text(charge(id, "ord_1", "timeout", &payment), "");
    stage_restart(stage);
    pass(0);
    check_text(payment_of(id)->status, "completed");
    end();
}

TEST(payments_are_listed_newest_first)
{
    begin();
    Payment *payment;
    charge(new_id(), "ord_1", "decline", &payment);
    charge(new_id(), "ord_1", "insufficient_funds", &payment);
    charge(new_id(), "ord_1", "approve", &payment);
    ListPaymentsRequest *in = new_list_payments_request(stage->arena);
    in->order_id = "ord_1";
    ListPaymentsResponse *made = NULL;
    check_text(stage_ask(stage, "operator", "payments", "ListPayments", &in->base, &made), "");
    check_int((long long)made->n_payments, 3);
    check_text(made->payments[0]->status, "completed");
    check_text(made->payments[1]->reason, "insufficient_funds");
    check_text(made->payments[2]->reason, "declined");
    end();
}
