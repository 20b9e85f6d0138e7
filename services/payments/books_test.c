/* What a provider says by itself, what its books say, and what ours show of it. */
#include <fcntl.h>
#include <unistd.h>

#include "payments/attempts.h"
#include "payments/signature.h"
#include "test/stage.h"

static struct stage *stage;

static void
begin(void)
{
    stage = stage_new();
    const char *why;
    conf_set(stage->conf, "sandbox_secret", "s3cret", stage->arena, &why);
    stage_restart(stage);
}

static void
end(void)
{
    stage_free(stage);
}

/* An attempt of 5.00 EUR; its id. */
static const char *
charge(const char *order_id, const char *token, Payment **ret)
{
    const char *id = id_make(stage->arena, "pay", stage_now);
    LodgeMethodRequest *method = new_lodge_method_request(stage->arena);
    method->payment_method_id = id_derive(stage->arena, "pmm", id, NULL);
    method->provider = "sandbox";
    method->token = token;
    check_text(stage_ask(stage, "operator", "payments", "LodgeMethod", &method->base, NULL), "");
    ChargeRequest *in = new_charge_request(stage->arena);
    in->attempt_id = id;
    in->order_id = order_id;
    in->amount = new_money(stage->arena);
    in->amount->amount = 500;
    in->amount->currency = "EUR";
    in->payment_method_id = method->payment_method_id;
    check_text(stage_ask(stage, "operator", "payments", "Charge", &in->base, ret), "");
    return id;
}

static const char *
refund(const char *id, int64_t minor)
{
    RefundRequest *in = new_refund_request(stage->arena);
    in->id = id;
    in->amount = new_money(stage->arena);
    in->amount->amount = minor;
    in->amount->currency = "EUR";
    struct request rq = stage_request(stage, "usr_staff");
    check_text(stage_serve(stage, &rq, "payments", "Refund", &in->base, NULL), "");
    return id_derive(stage->arena, "rfd", rq.id, id);
}

static const char *
status_of(const char *id)
{
    GetPaymentRequest *in = new_get_payment_request(stage->arena);
    in->id = id;
    Payment *payment = new_payment(stage->arena);
    check_text(stage_ask(stage, "operator", "payments", "GetPayment", &in->base, &payment), "");
    return payment->status;
}

static const char *
call_back(const char *body, const char *secret, int64_t at_us)
{
    TakeCallbackRequest *in = new_take_callback_request(stage->arena);
    in->provider = "sandbox";
    in->body = (ProtobufCBinaryData){strlen(body), arena_copy(stage->arena, body, strlen(body))};
    in->signature = signature_make(stage->arena, secret, at_us, body, strlen(body));
    return stage_ask(stage, "", "payments", "TakeCallback", &in->base, NULL);
}

static const char *
news(const char *kind, const char *key, const char *outcome, int amount)
{
    return arena_printf(stage->arena,
                        "{\"kind\":\"%s\",\"key\":\"%s\",\"outcome\":\"%s\",\"ref\":\"sbx_1\","
                        "\"amount\":%d,\"currency\":\"EUR\"}",
                        kind, key, outcome, amount);
}

static void
pass(int64_t us)
{
    stage_now += us;
    stage_job(stage, &payments_service, "resolve");
}

TEST(callbacks_come_late_twice_or_before_the_answer_and_count_once)
{
    static const struct {
        const char *token, *told;
    } cases[] = {
        {"webhook_late", "pending"}, {"webhook_twice", "pending"}, {"webhook_first", "completed"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        begin();
        Payment *payment = NULL;
        const char *id = charge("ord_1", cases[i].token, &payment);
        check_text(payment->status, cases[i].told);
        pass(SECOND_US); /* nobody looks at an attempt so early: the callback brings it */
        check_text(status_of(id), "completed");
        pass(MINUTE_US);
        check_int(stage_events(stage, "payments.payment_processed", "ord_1"), 1);
        check_int(stage_events(stage, "payments.payment_completed", id), 1);
        end();
    }
}

TEST(a_callback_is_taken_by_its_signature_and_changes_nothing_that_is_known)
{
    begin();
    Payment *payment = NULL;
    const char *id = charge("ord_1", "timeout", &payment);
    check_text(call_back(news("charge", id, "captured", 500), "guessed", stage_now),
               "bad_signature");
    check_text(call_back(news("charge", id, "captured", 500), "s3cret", stage_now - 6 * MINUTE_US),
               "bad_signature");
    check_text(call_back(news("charge", id, "captured", 499), "s3cret", stage_now), "bad_callback");
    check_text(call_back(news("charge", id, "refunded", 500), "s3cret", stage_now), "bad_callback");
    check_text(call_back(news("void", id, "captured", 500), "s3cret", stage_now), "bad_callback");
    check_text(call_back(news("charge", "pay_none", "captured", 500), "s3cret", stage_now),
               "no_such_payment");
    check_text(status_of(id), "pending");
    check_text(call_back(news("charge", id, "captured", 500), "s3cret", stage_now), "");
    check_text(status_of(id), "completed");
    check_text(call_back(news("charge", id, "captured", 500), "s3cret", stage_now), "");
    check_text(call_back(news("charge", id, "declined", 500), "s3cret", stage_now), "");
    check_text(status_of(id), "completed");
    check_int(stage_events(stage, "payments.payment_processed", "ord_1"), 1);
    end();
}

static ssize_t
no_write(int fd, const void *bytes, size_t n)
{
    (void)fd, (void)bytes, (void)n;
    return -1;
}

TEST(a_callback_may_bring_the_outcome_of_a_refund)
{
    static const struct {
        const char *outcome, *status;
        int events;
    } cases[] = {{"refunded", "partly_refunded", 1}, {"declined", "completed", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        begin();
        Payment *payment = NULL;
        const char *id = charge("ord_1", "approve", &payment);
        env.file_write = no_write;
        const char *refund_id = refund(id, 200);
        env.file_write = env_real.file_write;
        check_text(status_of(id), "completed");
        for (int twice = 0; twice < 2; twice++)
            check_text(
                call_back(news("refund", refund_id, cases[i].outcome, 200), "s3cret", stage_now),
                "");
        check_text(status_of(id), cases[i].status);
        check_int(stage_events(stage, "payments.payment_refunded", "ord_1"), cases[i].events);
        end();
    }
}

/* ---- reconciliation -------------------------------------------------------------------------- */

static Reconciliation *
reconcile(int64_t day_us)
{
    ReconcileRequest *in = new_reconcile_request(stage->arena);
    in->date = date_format(stage->arena, day_us);
    Reconciliation *ret = new_reconciliation(stage->arena);
    check_text(stage_ask(stage, "usr_staff", "payments", "Reconcile", &in->base, &ret), "");
    return ret;
}

/* The ledger, with what stands in the line of key replaced; whole lines go when to is NULL. */
static void
plant(const char *key, const char *from, const char *to)
{
    const char *path = arena_printf(stage->arena, "%s/sandbox.ledger", stage->dir);
    char *bytes = arena_alloc(stage->arena, 1 << 16);
    int fd = open(path, O_RDONLY);
    check(read(fd, bytes, (1 << 16) - 1) > 0);
    close(fd);
    struct text out = text_in(stage->arena);
    for (char *line = strtok(bytes, "\n"); line; line = strtok(NULL, "\n")) {
        const char *at = strstr(line, arena_printf(stage->arena, "\"key\":\"%s\"", key));
        const char *place = at ? strstr(line, from) : NULL;
        if (at && !to)
            continue;
        if (place)
            text_printf(&out, "%.*s%s%s\n", (int)(place - line), line, to, place + strlen(from));
        else
            text_printf(&out, "%s\n", line);
    }
    fd = open(path, O_WRONLY | O_TRUNC);
    check(write(fd, out.bytes, out.n) == (ssize_t)out.n);
    close(fd);
    stage_restart(stage);
}

TEST(reconciliation_names_each_difference)
{
    static const struct {
        const char *from, *to; /* in the ledger's line */
        const char *kind, *ours, *theirs;
    } cases[] = {
        {"", "", NULL, NULL, NULL},
        {"", NULL, "missing_there", "captured 500 EUR", ""},
        {":500,", ":501,", "amount_differs", "captured 500 EUR", "captured 501 EUR"},
        {"EUR", "USD", "amount_differs", "captured 500 EUR", "captured 500 USD"},
        {"captured", "declined", "status_differs", "captured 500 EUR", "declined 500 EUR"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        begin();
        Payment *payment;
        const char *id = charge("ord_1", "approve", &payment);
        charge("ord_2", "decline", &payment);
        refund(id, 100);
        plant(id, cases[i].from, cases[i].to);
        Reconciliation *found = reconcile(stage_now);
        check_int((long long)found->n_differences, cases[i].kind != NULL);
        check_int(found->matched, cases[i].kind ? 2 : 3);
        if (found->n_differences == 1) {
            check_text(found->differences[0]->kind, cases[i].kind);
            check_text(found->differences[0]->key, id);
            check_text(found->differences[0]->ours, cases[i].ours);
            check_text(found->differences[0]->theirs, cases[i].theirs);
        }
        end();
    }
}

TEST(a_charge_that_we_know_nothing_of_is_named)
{
    begin();
    Payment *payment;
    const char *id = charge("ord_1", "approve", &payment);
    plant(id, id, "pay_77777777777777777777777777");
    Reconciliation *found = reconcile(stage_now);
    check_int((long long)found->n_differences, 2);
    check_text(found->differences[0]->kind, "missing_there");
    check_text(found->differences[1]->kind, "missing_here");
    check_text(found->differences[1]->theirs, "captured 500 EUR");
    end();
}

/* The provider captured before midnight what we learn after it: no side misses anything. */
TEST(midnight_makes_no_difference)
{
    begin();
    stage_now += DAY_US - stage_now % DAY_US - 10 * MINUTE_US; /* further than clocks may differ */
    int64_t day_us = stage_now;
    Payment *payment;
    const char *id = charge("ord_1", "timeout", &payment);
    check_int((long long)reconcile(day_us)->n_differences, 1); /* as long as it is pending */
    check_text(reconcile(day_us)->differences[0]->kind, "status_differs");
    pass(HOUR_US);
    check_text(status_of(id), "completed");
    check_int((long long)reconcile(day_us)->n_differences, 0);
    check_int((long long)reconcile(stage_now)->n_differences, 0);
    end();
}

TEST(each_day_is_compared_once_the_day_after)
{
    begin();
    stage_now += DAY_US - stage_now % DAY_US - HOUR_US;
    Payment *payment;
    const char *id = charge("ord_1", "approve", &payment);
    plant(id, ":500,", ":400,");
    const char *day = date_format(stage->arena, stage_now);
    stage_now += 2 * HOUR_US;
    for (int i = 0; i < 2; i++)
        check_text(stage_job(stage, &payments_service, "reconcile"), "");
    ListReconciliationsRequest *in = new_list_reconciliations_request(stage->arena);
    ListReconciliationsResponse *made = NULL;
    check_text(stage_ask(stage, "usr_staff", "payments", "ListReconciliations", &in->base, &made),
               "");
    check_int((long long)made->n_data, 1);
    check_text(made->data[0]->date, day);
    check_int((long long)made->data[0]->n_differences, 1);
    check_text(made->data[0]->differences[0]->theirs, "captured 400 EUR");

    stage_now += DAY_US;
    check_text(stage_job(stage, &payments_service, "reconcile"), "");
    in->limit = 1;
    check_text(stage_ask(stage, "usr_staff", "payments", "ListReconciliations", &in->base, &made),
               "");
    check(made->has_more && made->n_data == 1);
    in->starting_after = made->data[0]->date;
    check_text(stage_ask(stage, "usr_staff", "payments", "ListReconciliations", &in->base, &made),
               "");
    check(!made->has_more && made->n_data == 1);
    check_text(made->data[0]->date, day);
    end();
}

/* ---- the report ------------------------------------------------------------------------------ */

static const char *
report(const char *from, const char *to, const char **ret_word)
{
    ReportRequest *in = new_report_request(stage->arena);
    in->from = from;
    in->to = to;
    ReportResponse *ret = NULL;
    *ret_word = stage_ask(stage, "usr_staff", "payments", "Report", &in->base, &ret);
    return ret ? arena_strndup(stage->arena, (const char *)ret->body.data, ret->body.len) : "";
}

static int
count(const char *text, const char *part)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, part)); at++)
        n++;
    return n;
}

TEST(the_report_has_a_row_for_each_movement_of_its_days)
{
    begin();
    Payment *payment;
    const char *word;
    for (int i = 0; i < 600; i++) /* more than are read at once */
        charge(arena_printf(stage->arena, "ord_%d", i), "approve", &payment);
    refund(payment->id, 150);
    const char *text = report(NULL, NULL, &word);
    check_text(word, "");
    check_int(count(text, "\r\n"), 602);
    check_int(count(text, "\"charge\""), 600);
    check_int(count(text, "\"refund\""), 1);
    check_int(count(text, "\"1.50\",\"EUR\""), 1);
    check_int(count(report("2020-01-01", "2020-01-31", &word), "\r\n"), 1);
    report("2020-01-32", NULL, &word);
    check_text(word, "no_such_day");
    report("2020-02-01", "2020-01-31", &word);
    check_text(word, "no_such_day");
    end();
}

TEST(no_cell_of_the_report_begins_a_formula)
{
    begin();
    Payment *payment;
    const char *word;
    const char *id = charge("ord_1", "timeout", &payment);
    check_text(
        call_back(arena_printf(stage->arena,
                               "{\"kind\":\"charge\",\"key\":\"%s\",\"outcome\":\"declined\","
                               "\"ref\":\"=cmd|' /C calc'!A0\",\"reason\":\"+\\\"1,2\\\"\","
                               "\"amount\":500,\"currency\":\"EUR\"}",
                               id),
                  "s3cret", stage_now),
        "");
    const char *text = report(NULL, NULL, &word);
    check(strstr(text, ",\"'=cmd|' /C calc'!A0\",\"'+\"\"1,2\"\"\"\r\n"));
    end();
}

TEST(fewer_than_half_of_the_offload_threads_wait_for_a_provider)
{
    begin();
    const char *why;
    struct request rq = stage_request(stage, "operator");
    rq.service = &payments_service;
    check_int((long long)payments_state(&rq)->calls_max, CALLS_MAX_AT_ONCE);
    conf_set(stage->conf, "sandbox_url", "http://127.0.0.1:1", stage->arena, &why);
    stage_restart(stage);
    rq = stage_request(stage, "operator");
    rq.service = &payments_service;
    struct payments_state *state = payments_state(&rq);
    check_int((long long)state->calls_max, BLOCKING_CALLS_MAX);
    for (int i = 0; i < BLOCKING_CALLS_MAX; i++)
        snprintf(state->calls[state->n_calls++], ID_CHARS_MAX + 1, "busy_%d", i);
    state->n_others = BLOCKING_OTHERS_MAX;
    Payment *payment = NULL;
    charge("ord_1", "approve", &payment); /* would wait: it is left to the job */
    check_text(payment->status, "pending");
    ReconcileRequest *in = new_reconcile_request(stage->arena);
    check_text(stage_ask(stage, "usr_staff", "payments", "Reconcile", &in->base, NULL),
               "provider_silent");
    end();
}
