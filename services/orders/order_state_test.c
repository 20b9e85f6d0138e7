/* Every state of an order against everything that may happen to it. */
#include "orders/order_state.h"
#include "test/test.h"

static const OrderStatus awaiting = ORDER_STATUS_AWAITING_PAYMENT, paid = ORDER_STATUS_PAID,
                         completed = ORDER_STATUS_COMPLETED, shipped = ORDER_STATUS_SHIPPED,
                         cancelled = ORDER_STATUS_CANCELLED, refunded = ORDER_STATUS_REFUNDED;

struct row {
    OrderStatus from;
    const char *because; /* its cancel_reason before */
    enum order_cause cause;
    OrderStatus to;
    const char *reason; /* its cancel_reason afterwards */
    enum order_news news;
};

/* What is not in the table changes nothing. */
static const struct row moves[] = {
    {ORDER_STATUS_AWAITING_PAYMENT, "", ORDER_PAYMENT_COMPLETED, ORDER_STATUS_PAID, "",
     ORDER_NEWS_PAID},
    {ORDER_STATUS_AWAITING_PAYMENT, "", ORDER_PAYMENT_RETURNED, ORDER_STATUS_REFUNDED, "refunded",
     ORDER_NEWS_CANCELLED},
    {ORDER_STATUS_AWAITING_PAYMENT, "", ORDER_ALL_RETURNED, ORDER_STATUS_REFUNDED, "returned",
     ORDER_NEWS_CANCELLED},
    {ORDER_STATUS_AWAITING_PAYMENT, "", ORDER_LAPSED, ORDER_STATUS_CANCELLED, "lapsed",
     ORDER_NEWS_CANCELLED},
    {ORDER_STATUS_AWAITING_PAYMENT, "", ORDER_CANCELLED_BY_BUYER, ORDER_STATUS_CANCELLED, "buyer",
     ORDER_NEWS_CANCELLED},
    {ORDER_STATUS_AWAITING_PAYMENT, "", ORDER_CANCELLED_BY_STAFF, ORDER_STATUS_CANCELLED, "staff",
     ORDER_NEWS_CANCELLED},
    {ORDER_STATUS_PAID, "", ORDER_STOCK_COMMITTED, ORDER_STATUS_COMPLETED, "",
     ORDER_NEWS_COMPLETED},
    {ORDER_STATUS_PAID, "", ORDER_STOCK_SHORT, ORDER_STATUS_CANCELLED, "stock_short",
     ORDER_NEWS_CANCELLED},
    {ORDER_STATUS_PAID, "", ORDER_PAYMENT_RETURNED, ORDER_STATUS_REFUNDED, "refunded",
     ORDER_NEWS_CANCELLED},
    {ORDER_STATUS_PAID, "", ORDER_ALL_RETURNED, ORDER_STATUS_REFUNDED, "returned",
     ORDER_NEWS_CANCELLED},
    {ORDER_STATUS_PAID, "", ORDER_CANCELLED_BY_BUYER, ORDER_STATUS_CANCELLED, "buyer",
     ORDER_NEWS_CANCELLED},
    {ORDER_STATUS_PAID, "", ORDER_CANCELLED_BY_STAFF, ORDER_STATUS_CANCELLED, "staff",
     ORDER_NEWS_CANCELLED},
    {ORDER_STATUS_COMPLETED, "", ORDER_PAYMENT_RETURNED, ORDER_STATUS_REFUNDED, "refunded",
     ORDER_NEWS_CANCELLED},
    {ORDER_STATUS_COMPLETED, "", ORDER_ALL_RETURNED, ORDER_STATUS_REFUNDED, "returned",
     ORDER_NEWS_CANCELLED},
    {ORDER_STATUS_COMPLETED, "", ORDER_CANCELLED_BY_BUYER, ORDER_STATUS_CANCELLED, "buyer",
     ORDER_NEWS_CANCELLED},
    {ORDER_STATUS_COMPLETED, "", ORDER_CANCELLED_BY_STAFF, ORDER_STATUS_CANCELLED, "staff",
     ORDER_NEWS_CANCELLED},
    {ORDER_STATUS_PAID, "", ORDER_DISPATCHED, ORDER_STATUS_SHIPPED, "", ORDER_NEWS_COMPLETED},
    {ORDER_STATUS_COMPLETED, "", ORDER_DISPATCHED, ORDER_STATUS_SHIPPED, "", ORDER_NEWS_NONE},
    {ORDER_STATUS_SHIPPED, "", ORDER_PAYMENT_RETURNED, ORDER_STATUS_REFUNDED, "", ORDER_NEWS_NONE},
    {ORDER_STATUS_SHIPPED, "", ORDER_ALL_RETURNED, ORDER_STATUS_REFUNDED, "", ORDER_NEWS_NONE},
    {ORDER_STATUS_CANCELLED, "lapsed", ORDER_PAYMENT_COMPLETED, ORDER_STATUS_PAID, "",
     ORDER_NEWS_PAID},
    {ORDER_STATUS_CANCELLED, "lapsed", ORDER_PAYMENT_RETURNED, ORDER_STATUS_REFUNDED, "lapsed",
     ORDER_NEWS_NONE},
    {ORDER_STATUS_CANCELLED, "lapsed", ORDER_ALL_RETURNED, ORDER_STATUS_REFUNDED, "lapsed",
     ORDER_NEWS_NONE},
    {ORDER_STATUS_CANCELLED, "buyer", ORDER_PAYMENT_RETURNED, ORDER_STATUS_REFUNDED, "buyer",
     ORDER_NEWS_NONE},
    {ORDER_STATUS_CANCELLED, "buyer", ORDER_ALL_RETURNED, ORDER_STATUS_REFUNDED, "buyer",
     ORDER_NEWS_NONE},
    {ORDER_STATUS_CANCELLED, "stock_short", ORDER_PAYMENT_RETURNED, ORDER_STATUS_REFUNDED,
     "stock_short", ORDER_NEWS_NONE},
    {ORDER_STATUS_CANCELLED, "stock_short", ORDER_ALL_RETURNED, ORDER_STATUS_REFUNDED,
     "stock_short", ORDER_NEWS_NONE},
};

TEST(an_order_moves_as_the_table_says_and_in_no_other_way)
{
    const struct {
        OrderStatus status;
        const char *because;
    } states[] = {{awaiting, ""},
                  {paid, ""},
                  {completed, ""},
                  {shipped, ""},
                  {cancelled, "lapsed"},
                  {cancelled, "buyer"},
                  {cancelled, "stock_short"},
                  {refunded, "refunded"},
                  {refunded, "buyer"}};
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        for (enum order_cause cause = 0; cause < ORDER_CAUSES; cause++) {
            struct row want = {states[i].status, states[i].because, cause,
                               states[i].status, states[i].because, ORDER_NEWS_NONE};
            for (size_t j = 0; j < sizeof moves / sizeof moves[0]; j++)
                if (moves[j].from == want.from && moves[j].cause == cause &&
                    text_equal(moves[j].because, want.because))
                    want = moves[j];
            struct order_move got = order_next(want.from, want.because, cause);
            if (got.status != want.to || got.news != want.news ||
                !text_equal(got.cancel_reason, want.reason))
                printf("  from %s (%s), cause %d: %s (%s), news %d\n", order_status_name(want.from),
                       want.because, (int)cause, order_status_name(got.status), got.cancel_reason,
                       (int)got.news);
            check_int(got.status, want.to);
            check_text(got.cancel_reason, want.reason);
            check_int(got.news, want.news);
        }
}

TEST(a_cause_that_comes_twice_is_heard_once)
{
    for (enum order_cause cause = 0; cause < ORDER_CAUSES; cause++)
        for (OrderStatus from = awaiting; from <= refunded; from++) {
            struct order_move once = order_next(from, from == cancelled ? "lapsed" : "", cause);
            struct order_move twice = order_next(once.status, once.cancel_reason, cause);
            check_int(twice.news, ORDER_NEWS_NONE);
            check_int(twice.status, once.status);
        }
}

static OrderPayment
payment(const char *id, const char *status, const char *reason)
{
    OrderPayment p = SOUK__ORDERS__V1__ORDER_PAYMENT__INIT;
    p.id = id;
    p.status = status;
    p.reason = reason;
    return p;
}

static const char first[] = "pay_01000000000000000000000000";
static const char second[] = "pay_02000000000000000000000000";

TEST(the_paid_attempt_is_shown_else_the_newest)
{
    static const struct {
        const char *shown, *shown_status, *shown_reason;
        enum order_cause cause;
        const char *told, *told_status;
        bool shows;
    } cases[] = {
        {first, "pending", "", ORDER_PAYMENT_COMPLETED, first, "completed", true},
        {first, "failed", "", ORDER_PAYMENT_COMPLETED, second, "completed", true},
        {second, "failed", "", ORDER_PAYMENT_COMPLETED, first, "completed", true},
        {first, "completed", "", ORDER_PAYMENT_COMPLETED, first, "completed", false},
        {first, "refunded", "", ORDER_PAYMENT_COMPLETED, first, "completed", false},
        {first, "completed", "", ORDER_PAYMENT_FAILED, second, "failed", false},
        {first, "pending", "", ORDER_PAYMENT_FAILED, first, "failed", true},
        {second, "pending", "", ORDER_PAYMENT_FAILED, first, "failed", false},
        {first, "failed", "", ORDER_PAYMENT_BEGUN, second, "pending", true},
        {first, "failed", "declined", ORDER_PAYMENT_BEGUN, first, "pending", false},
        {first, "failed", "interrupted", ORDER_PAYMENT_BEGUN, first, "pending", true},
        {first, "completed", "", ORDER_PAYMENT_BEGUN, second, "pending", false},
        {first, "completed", "", ORDER_PAYMENT_REFUNDED, first, "partly_refunded", true},
        {first, "refunded", "", ORDER_PAYMENT_REFUNDED, first, "partly_refunded", false},
        {first, "completed", "", ORDER_PAYMENT_REFUNDED, second, "partly_refunded", false},
        {first, "partly_refunded", "", ORDER_PAYMENT_RETURNED, first, "refunded", true},
        {first, "completed", "", ORDER_ALL_RETURNED, first, "refunded", true},
        {"", "", "", ORDER_PAYMENT_FAILED, first, "failed", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        OrderPayment shown = payment(cases[i].shown, cases[i].shown_status, cases[i].shown_reason);
        OrderPayment told = payment(cases[i].told, cases[i].told_status, "");
        if (order_shows_payment(&shown, &told, cases[i].cause) != cases[i].shows)
            printf("  case %zu\n", i);
        check(order_shows_payment(&shown, &told, cases[i].cause) == cases[i].shows);
    }
    OrderPayment told = payment(first, "failed", "");
    check(order_shows_payment(NULL, &told, ORDER_PAYMENT_FAILED));
    check(!order_shows_payment(&told, NULL, ORDER_LAPSED));
}

TEST(money_taken_outweighs_a_pending_attempt_and_that_the_failed_ones)
{
    static const struct {
        const char *statuses[3]; /* newest first */
        enum order_cause cause;
        int counts; /* -1: none */
    } cases[] = {
        {{NULL}, ORDER_PAYMENT_FAILED, -1},
        {{"failed", "failed"}, ORDER_PAYMENT_FAILED, 0},
        {{"failed", "pending"}, ORDER_PAYMENT_BEGUN, 1},
        {{"pending", "completed"}, ORDER_PAYMENT_COMPLETED, 1},
        {{"failed", "pending", "completed"}, ORDER_PAYMENT_COMPLETED, 2},
        {{"refunded", "failed"}, ORDER_PAYMENT_COMPLETED, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Payment payments[3], *list[3];
        size_t n = 0;
        for (; n < 3 && cases[i].statuses[n]; n++) {
            souk__payments__v1__payment__init(&payments[n]);
            payments[n].status = cases[i].statuses[n];
            list[n] = &payments[n];
        }
        const Payment *counts;
        check_int(order_attempts_say(list, n, &counts), cases[i].cause);
        check(counts == (cases[i].counts < 0 ? NULL : &payments[cases[i].counts]));
    }
}

TEST(a_checkout_is_done_when_paid_and_failed_where_it_can_be_paid_again)
{
    static const struct {
        OrderStatus status;
        const char *payment;
        CheckoutStatus want;
    } cases[] = {
        {ORDER_STATUS_AWAITING_PAYMENT, "pending", CHECKOUT_STATUS_PENDING},
        {ORDER_STATUS_AWAITING_PAYMENT, "failed", CHECKOUT_STATUS_FAILED},
        {ORDER_STATUS_PAID, "completed", CHECKOUT_STATUS_DONE},
        {ORDER_STATUS_COMPLETED, "completed", CHECKOUT_STATUS_DONE},
        {ORDER_STATUS_SHIPPED, "completed", CHECKOUT_STATUS_DONE},
        {ORDER_STATUS_REFUNDED, "refunded", CHECKOUT_STATUS_DONE},
        {ORDER_STATUS_CANCELLED, "failed", CHECKOUT_STATUS_FAILED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        OrderPayment shown = payment("pay_1", cases[i].payment, "");
        Order order = SOUK__ORDERS__V1__ORDER__INIT;
        order.status = cases[i].status;
        order.payment = &shown;
        check_int(order_checkout_status(&order), cases[i].want);
    }
}
