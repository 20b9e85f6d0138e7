/*
 * Walks at random through all that may happen to a few orders and their money: buyers, staff, time,
 * subscribers that hear late, a store and a provider's ledger that fail, restarts.  Wherever a walk
 * went, when all is heard and nothing is due any more, the money must be where the orders say.
 *
 * SOUK_SEED and SOUK_WALKS choose other walks than the usual ones.
 */
#include <unistd.h>

#include "test/stage.h"

enum { ORDERS_MAX = 6, STEPS = 80, WALKS = 30, STOCK = 8 };

static struct stage *stage;
static uint64_t dice;

static struct {
    const char *checkout_request; /* its request's id */
    const char *who, *token;
    int64_t quantity;
    bool told; /* its buyer was told that it is there */
} orders[ORDERS_MAX];
static size_t n_orders;

static uint64_t
roll(uint64_t sides)
{
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return dice % sides;
}

static struct request
order_request(size_t i)
{
    struct request rq = stage_request(stage, orders[i].who);
    rq.id = orders[i].checkout_request;
    return rq;
}

static const char *
order_id(size_t i)
{
    struct request rq = order_request(i);
    return stage_order_id(stage, &rq);
}

/* What may be said to a buyer, however bad the day is. */
static void
check_word(const char *word)
{
    static const char *const words[] = {
        "",
        "UNAVAILABLE",
        "payment_failed",
        "busy",
        "not_payable",
        "out_of_stock",
        "no_such_order",
        "not_refundable",
        "no_such_payment",
        "refund_too_large",
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(word, words[i]) == 0)
            return;
    printf("  unexpected: %s\n", word);
    check(!"a word that no buyer may hear");
}

static void
buy(size_t i)
{
    struct request rq = order_request(i);
    Order *order;
    const char *word = stage_place(stage, &rq, "tea", orders[i].quantity, orders[i].token, &order);
    check_word(word);
    orders[i].told |= text_equal(word, "") || text_equal(word, "payment_failed");
}

static const char *
some_token(void)
{
    static const char *const tokens[] = {"approve", "approve", "decline",
                                         "timeout", "slow",    "webhook_late"};
    return tokens[roll(sizeof tokens / sizeof tokens[0])];
}

static void
buy_new(void)
{
    if (n_orders == ORDERS_MAX)
        return;
    size_t i = n_orders++;
    orders[i].checkout_request = id_make(stage->arena, "req", stage_now);
    orders[i].who = roll(2) ? "usr_ada" : "";
    orders[i].token = some_token();
    orders[i].quantity = 1 + (int64_t)roll(2);
    orders[i].told = false;
    buy(i);
}

static void
pay_again(size_t i)
{
    struct request rq = stage_request(stage, "operator");
    Order *order;
    check_word(stage_pay(stage, &rq, order_id(i), some_token(), &order));
}

static void
give_back(size_t i)
{
    GetOrderRequest *get = new_get_order_request(stage->arena);
    get->id = order_id(i);
    Order *order = NULL;
    if (*stage_ask(stage, "operator", "orders", "GetOrder", &get->base, &order))
        return;
    RefundRequest *in = new_refund_request(stage->arena);
    in->id = order->payment->id;
    in->restock = true;
    if (roll(2)) {
        in->amount = new_money(stage->arena);
        in->amount->amount = 1 + (int64_t)roll(STAGE_PRICE);
        in->amount->currency = "EUR";
    }
    struct request rq = stage_request(stage, "operator");
    check_word(stage_serve(stage, &rq, "payments", "Refund", &in->base, NULL));
    struct request again = stage_again(stage, &rq);
    if (roll(2))
        check_word(stage_serve(stage, &again, "payments", "Refund", &in->base, NULL));
}

static void
some_job(void)
{
    static const struct {
        const struct service *service;
        const char *name;
    } jobs[] = {{&orders_service, "sweep"},
                {&payments_service, "resolve"},
                {&payments_service, "refund"},
                {&inventory_service, "lapse"}};
    size_t i = roll(sizeof jobs / sizeof jobs[0]);
    stage_job(stage, jobs[i].service, jobs[i].name);
}

static void
some_hearing(void)
{
    size_t who = roll(3);
    enum status st;
    for (uint64_t n = 1 + roll(6); n && stage_next(stage, who, &st); n--)
        ;
}

static int writes_that_work;

static ssize_t
failing_write(int fd, const void *bytes, size_t n)
{
    return writes_that_work-- > 0 ? write(fd, bytes, n) : write(fd, bytes, roll(n));
}

static void
step(void)
{
    size_t i = n_orders ? roll(n_orders) : 0;
    uint64_t what = roll(20);
    Order *order;
    if (what < 3 || !n_orders)
        buy_new();
    else if (what < 6)
        buy(i);
    else if (what < 7)
        pay_again(i);
    else if (what < 8)
        check_word(stage_cancel(stage, roll(2) ? orders[i].who : "operator", order_id(i), &order));
    else if (what < 9)
        give_back(i);
    else if (what < 11)
        stage_now += (int64_t)roll(20) * SECOND_US;
    else if (what < 12 && roll(3) == 0)
        stage_now += 16 * MINUTE_US;
    else if (what < 16)
        some_job();
    else if (what < 19)
        some_hearing();
    else if (roll(2))
        stage_restart(stage);
}

static void
failing_step(void)
{
    struct store *store = node_store(stage->node, "orders");
    bool ledger_fails = roll(20) == 0;
    if (ledger_fails) {
        writes_that_work = (int)roll(2);
        env.file_write = failing_write;
    }
    bool store_fails = roll(4) == 0;
    if (store_fails)
        store_fail_at(store, 1 + (int)roll(15));
    struct node *before = stage->node;
    step();
    if (store_fails && stage->node == before)
        store_fail_at(store, 0);
    env.file_write = env_real.file_write;
}

/* Everything is heard, and all that is due is done. */
static void
let_it_end(void)
{
    static const int64_t waits_us[] = {MINUTE_US, MINUTE_US, HOUR_US,
                                       MINUTE_US, MINUTE_US, 2 * MINUTE_US};
    for (size_t i = 0; i < sizeof waits_us / sizeof waits_us[0]; i++) {
        stage_now += waits_us[i];
        for (int j = 0; j < 2; j++) {
            check_text(stage_job(stage, &payments_service, "resolve"), "");
            stage_settle(stage);
            check_text(stage_job(stage, &orders_service, "sweep"), "");
            check_text(stage_job(stage, &payments_service, "refund"), "");
            check_text(stage_job(stage, &inventory_service, "lapse"), "");
            stage_settle(stage);
        }
    }
}

static void
reckon(void)
{
    int64_t sold = 0;
    for (size_t i = 0; i < n_orders; i++) {
        const char *id = order_id(i);
        bool made = stage_events(stage, "orders.order_created", id) == 1;
        check(made || !orders[i].told);
        int charges;
        int64_t charged, refunded;
        stage_ledger(stage, id, &charges, &charged, &refunded);
        check(charges <= made);
        if (!made)
            continue;
        const Order *order = stage_order(stage, id);
        check_int(charged, charges * order->total->amount);
        check(stage_events(stage, "orders.order_paid", id) <= charges);
        check(refunded <= charged);
        check(order->status != ORDER_STATUS_AWAITING_PAYMENT && order->status != ORDER_STATUS_PAID);
        if (order->status == ORDER_STATUS_COMPLETED)
            check(charges == 1 && refunded < charged);
        if (order->status == ORDER_STATUS_REFUNDED)
            check(charges == 1 && refunded == charged);
        if (order->status == ORDER_STATUS_CANCELLED)
            check_int(charges, 0);
        if (order->status == ORDER_STATUS_COMPLETED)
            sold += orders[i].quantity;
    }
    const Stock *stock = stage_stock_of(stage, "tea");
    check_int(stock->reserved, 0);
    check_int(stock->sold, sold);
    check_int(stock->on_hand + stock->sold, STOCK);
}

static void
walk(uint64_t seed)
{
    dice = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    n_orders = 0;
    stage = stage_new();
    stage_stock(stage, "tea", STOCK);
    for (int i = 0; i < STEPS; i++)
        failing_step();
    let_it_end();
    reckon();
    stage_free(stage);
}

static uint64_t
number_of(const char *name, uint64_t otherwise)
{
    const char *value = getenv(name);
    return value ? strtoull(value, NULL, 10) : otherwise;
}

TEST(wherever_a_walk_went_the_money_is_where_the_orders_say)
{
    uint64_t first = number_of("SOUK_SEED", 1), n = number_of("SOUK_WALKS", WALKS);
    for (uint64_t seed = first; seed < first + n; seed++) {
        bool failed_before = test_failed;
        walk(seed);
        if (test_failed && !failed_before)
            printf("  walk %llu is the first that went wrong\n", (unsigned long long)seed);
    }
}
