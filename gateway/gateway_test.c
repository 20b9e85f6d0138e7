/*
 * The gateway over HTTP, with stand-ins for the services behind it: what they do is told by the sku
 * of the first line, so that every way a request can end happens when a test wants it.
 */
#include "gateway/gateway.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "audit.api.h"
#include "auth.api.h"
#include "authz.api.h"
#include "base/env.h"
#include "catalog.api.h"
#include "fiber/fiber.h"
#include "gateway/idempotency.h"
#include "kit/rules.h"
#include "orders.api.h"
#include "payments.api.h"
#include "test/test.h"

enum { RPCS_MAX = 32, HEADERS = 8 };

static struct arena *a;
static struct node *node;
static struct gateway *gateway;
static struct loop *loop;
static struct http_server *server;

/* What the stand-ins saw; each runs on the core scheduler. */
static int placed, broken;
static bool gate_open; /* atomic; what is "gated" waits for it */
static char checkout_ids[8][40];
static int crash_report = -1; /* where a dying process tells its checkout's id */

/* ---- stand-ins ---- */

static enum status
fake_verify(struct request *rq, const VerifyTokenRequest *in, VerifiedToken *out)
{
    check_int(rq->caller.kind, CALLER_SERVICE);
    if (text_starts(in->token, "user-"))
        out->user_id = arena_printf(rq->arena, "usr_%s", in->token + 5);
    else if (text_starts(in->token, "guest-"))
        out->order_id = in->token + 6;
    else
        return fail(rq, &AUTH_BAD_TOKEN, "no");
    return OK;
}

static enum status
fake_issue(struct request *rq, const IssueGuestTokenRequest *in, IssueGuestTokenResponse *out)
{
    out->token = arena_printf(rq->arena, "guest-%s", in->order_id);
    return OK;
}

static enum status
fake_check(struct request *rq, const AccessQuestion *in, AccessAnswer *out)
{
    (void)rq;
    bool staff = strcmp(in->permission, "catalog.write") == 0 ||
                 strcmp(in->permission, "audit.deadletters") == 0;
    out->allowed = staff ? strcmp(in->subject, "usr_admin") == 0
                         : *in->subject || strcmp(in->permission, "orders.list") != 0;
    out->keep = out->allowed;
    return OK;
}

static enum status
fake_report(struct request *rq, const AccessReport *in, Empty *out)
{
    (void)rq, (void)in, (void)out;
    return OK;
}

static enum status
fake_get_product(struct request *rq, const GetProductRequest *in, Product *out)
{
    if (strcmp(in->id, "prd_1") != 0)
        return fail(rq, &CATALOG_NO_SUCH_PRODUCT, "there is no product %s", in->id);
    out->id = "prd_1";
    out->title = rq->quick ? "quick" : "on a fiber";
    out->version = 7;
    return OK;
}

static enum status
fake_update_product(struct request *rq, const UpdateProductRequest *in, Product *out)
{
    if (in->expected_version && in->expected_version != 7)
        return fail(rq, &CATALOG_VERSION_MISMATCH, "it is at version 7");
    out->id = in->id;
    out->title = in->title;
    out->version = 8;
    out->n_tags = in->n_update_mask;
    out->tags = in->update_mask;
    return OK;
}

static enum status
fake_lodge(struct request *rq, const LodgeMethodRequest *in, LodgeMethodResponse *out)
{
    if (strcmp(in->provider, "sandbox") != 0)
        return fail(rq, &PAYMENTS_NO_SUCH_PROVIDER, "there is no provider %s", in->provider);
    out->payment_method_id = in->payment_method_id;
    return OK;
}

static enum status
fill_order(struct request *rq, const char *checkout_id, const char *sku, Order *out)
{
    out->id = id_derive(rq->arena, "ord", checkout_id, NULL);
    out->checkout_id = checkout_id;
    out->status = strcmp(sku, "pending") == 0 ? ORDER_STATUS_AWAITING_PAYMENT : ORDER_STATUS_PAID;
    out->version = 3;
    return OK;
}

static enum status
fake_place(struct request *rq, const PlaceOrderRequest *in, Order *out)
{
    const char *sku = in->lines[0]->sku;
    snprintf(checkout_ids[placed % 8], sizeof checkout_ids[0], "%s", in->checkout_id);
    __atomic_add_fetch(&placed, 1, __ATOMIC_ACQ_REL);
    if (strcmp(sku, "declined") == 0) {
        fail_extra(rq, "order_id", "ord_declined");
        return fail(rq, &ORDERS_PAYMENT_FAILED, "the card was declined");
    }
    if (strcmp(sku, "short") == 0) {
        fail_at(rq, "/lines/0", "out_of_stock", 2, "2 are left");
        return fail(rq, &ORDERS_OUT_OF_STOCK, "not enough is left");
    }
    if (strcmp(sku, "unknown") == 0)
        return fail(rq, &ORDERS_NO_SUCH_SKU, "there is no such thing");
    if (strcmp(sku, "broken") == 0 && broken-- > 0)
        return fail_status(rq, INTERNAL, "something broke");
    if (strcmp(sku, "slow") == 0)
        fiber_sleep_us(300 * MILLISECOND_US);
    while (strcmp(sku, "gated") == 0 && !__atomic_load_n(&gate_open, __ATOMIC_ACQUIRE))
        fiber_sleep_us(MILLISECOND_US);
    if (crash_report >= 0) {
        request_settle(rq);
        if (write(crash_report, in->checkout_id, strlen(in->checkout_id)) > 0)
            raise(SIGKILL);
    }
    return fill_order(rq, in->checkout_id, sku, out);
}

static enum status
fake_get_order(struct request *rq, const GetOrderRequest *in, Order *out)
{
    if (rq->caller.kind == CALLER_GUEST && strcmp(rq->caller.order_id, in->id) != 0)
        return fail(rq, &ORDERS_NO_SUCH_ORDER, "there is no order %s", in->id);
    out->id = in->id;
    return OK;
}

static enum status
fake_pay(struct request *rq, const PayOrderRequest *in, Order *out)
{
    fill_order(rq, in->attempt_id, "paid", out);
    out->id = in->order_id;
    return OK;
}

static enum status
fake_dead_letters(struct request *rq, const ListDeadLettersRequest *in,
                  ListDeadLettersResponse *out)
{
    (void)rq, (void)in;
    out->has_more = false;
    return OK;
}

static const struct {
    const struct rpc_list *list;
    const char *name;
    any_fn *fn;
} stand_ins[] = {
    {&auth_rpcs, "VerifyToken", (any_fn *)fake_verify},
    {&auth_rpcs, "IssueGuestToken", (any_fn *)fake_issue},
    {&authz_rpcs, "Check", (any_fn *)fake_check},
    {&authz_rpcs, "Report", (any_fn *)fake_report},
    {&catalog_rpcs, "GetProduct", (any_fn *)fake_get_product},
    {&catalog_rpcs, "UpdateProduct", (any_fn *)fake_update_product},
    {&payments_rpcs, "LodgeMethod", (any_fn *)fake_lodge},
    {&orders_rpcs, "PlaceOrder", (any_fn *)fake_place},
    {&orders_rpcs, "GetOrder", (any_fn *)fake_get_order},
    {&orders_rpcs, "PayOrder", (any_fn *)fake_pay},
    {&audit_rpcs, "ListDeadLetters", (any_fn *)fake_dead_letters},
};
enum { STAND_INS = sizeof stand_ins / sizeof stand_ins[0] };

static any_fn *auth_handlers[RPCS_MAX], *authz_handlers[RPCS_MAX], *catalog_handlers[RPCS_MAX],
    *payments_handlers[RPCS_MAX], *orders_handlers[RPCS_MAX], *audit_handlers[RPCS_MAX];

static const struct server fake_servers[] = {
    {&auth_rpcs, auth_handlers},       {&authz_rpcs, authz_handlers},
    {&catalog_rpcs, catalog_handlers}, {&payments_rpcs, payments_handlers},
    {&orders_rpcs, orders_handlers},   {&audit_rpcs, audit_handlers},
};
static any_fn **const tables[] = {auth_handlers,     authz_handlers,  catalog_handlers,
                                  payments_handlers, orders_handlers, audit_handlers};
enum { SERVERS = sizeof fake_servers / sizeof fake_servers[0] };

static const struct service fakes[SERVERS] = {
    {.name = "auth", .serves = &fake_servers[0]},
    {.name = "authz", .serves = &fake_servers[1]},
    {.name = "catalog", .serves = &fake_servers[2]},
    {.name = "payments", .serves = &fake_servers[3]},
    {.name = "orders", .serves = &fake_servers[4]},
    {.name = "audit", .serves = &fake_servers[5], .listens = true},
};
static const struct service *const services[] = {&fakes[0], &fakes[1], &fakes[2],        &fakes[3],
                                                 &fakes[4], &fakes[5], &gateway_service, NULL};

static void
install_stand_ins(void)
{
    for (size_t i = 0; i < STAND_INS; i++)
        for (size_t s = 0; s < SERVERS; s++)
            for (size_t r = 0; r < fake_servers[s].list->n; r++)
                if (fake_servers[s].list == stand_ins[i].list &&
                    strcmp(fake_servers[s].list->rpcs[r].name, stand_ins[i].name) == 0)
                    tables[s][r] = stand_ins[i].fn;
}

/* ---- a gateway that runs ---- */

static void
start_with(const char *dir, struct gateway_options options)
{
    const char *why = NULL;
    install_stand_ins();
    a = arena_new();
    const struct node_options node_options = {.data_dir = dir, .services = services, .quiet = true};
    if (node_open(&node_options, a, &node, &why)) {
        fprintf(stderr, "%s\n", why);
        abort();
    }
    node_start(node);
    gateway = gateway_new(node, options);
    loop = loop_new();
    const struct http_server_options web = {.listen = "127.0.0.1:0",
                                            .on_request = gateway_handle,
                                            .body_max = gateway_body_max,
                                            .arg = gateway};
    if (http_serve(loop, &web, a, &server, &why)) {
        fprintf(stderr, "%s\n", why);
        abort();
    }
    placed = 0;
}

static void
start(const char *dir)
{
    start_with(dir, (struct gateway_options){0});
}

static void
stop(void)
{
    http_server_drain(server, SECOND_US);
    loop_free(loop);
    node_stop(node);
    gateway_free(gateway);
    node_free(node);
    arena_free(a);
}

/* headers: "name: value" lines, divided by newlines. */
static struct http_answer
ask_in(struct arena *arena, const char *method, const char *path, const char *headers,
       const char *body)
{
    struct http_header split[HEADERS + 1];
    size_t n = 0;
    if (body && !strstr(headers, "content-type"))
        split[n++] = (struct http_header){"content-type", "application/json"};
    for (const char *p = headers; *p && n < HEADERS; p += strcspn(p, "\n"), p += *p == '\n') {
        size_t name_n = strcspn(p, ":"), value_n = strcspn(p + name_n + 2, "\n");
        split[n++] = (struct http_header){arena_strndup(arena, p, name_n),
                                          arena_strndup(arena, p + name_n + 2, value_n)};
    }
    const struct http_fetch fetch = {
        .method = method,
        .url = arena_printf(arena, "http://127.0.0.1:%d%s", http_server_port(server), path),
        .headers = split,
        .n_headers = n,
        .body = body ? body : "",
        .body_n = body ? strlen(body) : 0,
        .timeout_us = MINUTE_US,
    };
    struct http_answer answer = {.body = arena_strdup(arena, "")};
    const char *why = "";
    if (http_fetch(arena, &fetch, &answer, &why))
        fprintf(stderr, "%s %s: %s\n", method, path, why);
    return answer;
}

static struct http_answer
ask(const char *method, const char *path, const char *headers, const char *body)
{
    return ask_in(a, method, path, headers, body);
}

static const char *
header_of(struct http_answer answer, const char *name)
{
    for (size_t i = 0; i < answer.n_headers; i++)
        if (strcasecmp(answer.headers[i].name, name) == 0)
            return answer.headers[i].value;
    return NULL;
}

/* The string member of this name, found without parsing; "" if it is not there. */
static const char *
member(struct http_answer answer, const char *name)
{
    const char *label = arena_printf(a, "\"%s\":\"", name);
    const char *at = strstr(answer.body, label);
    if (!at)
        return "";
    at += strlen(label);
    return arena_strndup(a, at, strcspn(at, "\""));
}

static const char *
order_in(struct arena *arena, const char *sku)
{
    return arena_printf(arena,
                        "{\"lines\":[{\"sku\":\"%s\",\"quantity\":1}],"
                        "\"customer\":{\"email\":\"ada@example.org\"},"
                        "\"payment\":{\"provider\":\"sandbox\",\"token\":\"approve\"}}",
                        sku);
}

static const char *
order_of(const char *sku)
{
    return order_in(a, sku);
}

/* ---- tests ---- */

/* First: it forks, and a process must have no threads when it does. */
TEST(a_key_left_by_a_crash_is_taken_over_with_the_same_request_id)
{
    const char *dir = test_dir();
    int pipes[2];
    check(pipe(pipes) == 0);
    pid_t child = fork();
    if (child == 0) {
        crash_report = pipes[1];
        start(dir);
        ask("POST", "/v1/orders", "idempotency-key: k", order_of("lamp"));
        _exit(1);
    }
    close(pipes[1]);
    char died_with[40] = "";
    check(read(pipes[0], died_with, sizeof died_with - 1) > 0);
    close(pipes[0]);
    int how;
    check(waitpid(child, &how, 0) == child && WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
    start(dir);
    struct http_answer answer = ask("POST", "/v1/orders", "idempotency-key: k", order_of("lamp"));
    check_int(answer.status, 201);
    check_text(member(answer, "checkout_id"), died_with);
    check_int(placed, 1);
    stop();
}

TEST(a_guests_order_answers_with_its_place_and_a_token)
{
    start(test_dir());
    struct http_answer answer = ask("POST", "/v1/orders", "", order_of("lamp"));
    check_int(answer.status, 201);
    const char *id = member(answer, "id");
    check(id_valid("ord", id));
    check_text(header_of(answer, "location"), arena_printf(a, "/v1/orders/%s", id));
    check_text(header_of(answer, "etag"), "\"3\"");
    check_text(header_of(answer, "content-type"), "application/json");
    check_text(member(answer, "access_token"), arena_printf(a, "guest-%s", id));
    check_text(member(answer, "status"), "paid");
    answer = ask("POST", "/v1/orders", "authorization: Bearer user-1", order_of("lamp"));
    check_int(answer.status, 201);
    check_text(member(answer, "access_token"), "");
    answer = ask("POST", "/v1/orders", "", order_of("pending"));
    check_int(answer.status, 202);
    check(header_of(answer, "location") != NULL);
    check(*member(answer, "access_token") != '\0');
    stop();
}

TEST(a_checkout_that_fails_says_why_in_a_problem_document)
{
    start(test_dir());
    struct http_answer answer = ask("POST", "/v1/orders", "", order_of("declined"));
    check_int(answer.status, 402);
    check_text(header_of(answer, "content-type"), "application/problem+json");
    check_text(member(answer, "code"), "payment_failed");
    check_text(member(answer, "order_id"), "ord_declined");
    check_text(member(answer, "access_token"), "guest-ord_declined");
    check_text(member(answer, "detail"), "the card was declined");
    answer = ask("POST", "/v1/orders", "", order_of("short"));
    check_int(answer.status, 409);
    check(strstr(answer.body, "\"pointer\":\"/lines/0\"") &&
          strstr(answer.body, "\"remaining\":2"));
    answer = ask("POST", "/v1/orders", "",
                 "{\"lines\":[{\"sku\":\"a\",\"quantity\":1}],\"customer\":{\"email\":\"a@b.c\"},"
                 "\"payment\":{\"provider\":\"none\",\"token\":\"x\"}}");
    check_int(answer.status, 400);
    check_text(member(answer, "pointer"), "/payment/provider");
    broken = 1;
    answer = ask("POST", "/v1/orders", "", order_of("broken"));
    check_int(answer.status, 500);
    check(!strstr(answer.body, "something broke"));
    stop();
}

TEST(paying_again_asks_first_whose_order_it_is)
{
    static const char body[] = "{\"provider\":\"sandbox\",\"token\":\"approve\"}";
    start(test_dir());
    struct http_answer answer =
        ask("POST", "/v1/orders/ord_1/payments", "authorization: Bearer guest-ord_1", body);
    check_int(answer.status, 201);
    check_text(member(answer, "id"), "ord_1");
    answer = ask("POST", "/v1/orders/ord_1/payments", "authorization: Bearer guest-ord_2", body);
    check_int(answer.status, 404);
    check_text(member(answer, "code"), "no_such_order");
    stop();
}

static void
check_same(struct http_answer one, struct http_answer other)
{
    static const char *const names[] = {"content-type", "location", "etag"};
    check_int(one.status, other.status);
    check_text(one.body, other.body);
    for (size_t i = 0; i < 3; i++)
        check_text(header_of(one, names[i]), header_of(other, names[i]));
}

TEST(a_key_gives_the_same_answer_again_also_after_a_restart)
{
    const char *dir = test_dir();
    static const char *const skus[] = {"lamp", "pending", "declined", "short"};
    struct http_answer first[4];
    start(dir);
    struct arena *kept = arena_new();
    for (int i = 0; i < 4; i++) {
        const char *key = arena_printf(kept, "idempotency-key: %s", skus[i]);
        first[i] = ask_in(kept, "POST", "/v1/orders", key, order_of(skus[i]));
        check_same(ask("POST", "/v1/orders", key, order_of(skus[i])), first[i]);
    }
    check_int(placed, 4);
    stop();
    start(dir);
    for (int i = 0; i < 4; i++)
        check_same(ask("POST", "/v1/orders", arena_printf(a, "idempotency-key: %s", skus[i]),
                       order_of(skus[i])),
                   first[i]);
    check_int(placed, 0);
    arena_free(kept);
    stop();
}

TEST(a_key_is_its_callers_own_and_a_guests_is_the_key_and_the_body)
{
    start(test_dir());
    static const char user_1[] = "idempotency-key: k\nauthorization: Bearer user-1";
    static const char user_2[] = "idempotency-key: k\nauthorization: Bearer user-2";
    static const char guest[] = "idempotency-key: k";
    check_int(ask("POST", "/v1/orders", user_1, order_of("lamp")).status, 201);
    check_int(ask("POST", "/v1/orders", user_2, order_of("lamp")).status, 201);
    check_int(ask("POST", "/v1/orders", guest, order_of("lamp")).status, 201);
    check_int(ask("POST", "/v1/orders", guest, order_of("chair")).status, 201);
    check_int(placed, 4);
    struct http_answer answer = ask("POST", "/v1/orders", user_1, order_of("chair"));
    check_int(answer.status, 422);
    check_text(member(answer, "code"), "idempotency_key_reused");
    check_int(ask("POST", "/v1/orders", user_1, order_of("lamp")).status, 201);
    check_int(placed, 4);
    stop();
}

TEST(a_guests_token_is_part_of_a_key_where_an_order_is_named)
{
    static const char body[] = "{\"provider\":\"sandbox\",\"token\":\"approve\"}";
    start(test_dir());
    static const char path[] = "/v1/orders/ord_1/payments";
    check_int(
        ask("POST", path, "idempotency-key: k\nauthorization: Bearer guest-ord_1", body).status,
        201);
    check_int(
        ask("POST", path, "idempotency-key: k\nauthorization: Bearer guest-ord_2", body).status,
        404);
    stop();
}

TEST(after_a_5xx_a_retry_goes_on_under_the_same_request_id)
{
    start(test_dir());
    broken = 1;
    check_int(ask("POST", "/v1/orders", "idempotency-key: k", order_of("broken")).status, 500);
    check_int(ask("POST", "/v1/orders", "idempotency-key: k", order_of("broken")).status, 201);
    check_int(placed, 2);
    check_text(checkout_ids[1], checkout_ids[0]);
    stop();
}

TEST(an_answer_that_is_not_kept_frees_its_key)
{
    start(test_dir());
    static const char user[] = "idempotency-key: k\nauthorization: Bearer user-1";
    check_int(ask("POST", "/v1/orders", user, "{}").status, 400);
    check_int(ask("POST", "/v1/orders", user, order_of("unknown")).status, 422);
    check_int(ask("POST", "/v1/orders", user, order_of("unknown")).status, 422);
    check_int(placed, 2);
    check(strcmp(checkout_ids[0], checkout_ids[1]) != 0);
    check_int(ask("POST", "/v1/orders", user, order_of("lamp")).status, 201);
    check_int(ask("POST", "/v1/orders", "idempotency-key: a b", order_of("lamp")).status, 400);
    stop();
}

struct twin_call {
    pthread_t thread;
    struct arena *arena;
    const char *sku;
    struct http_answer answer;
};

static void *
run_twin(void *arg)
{
    struct twin_call *call = arg;
    call->answer = ask_in(call->arena, "POST", "/v1/orders", "idempotency-key: twins",
                          order_in(call->arena, call->sku));
    return NULL;
}

TEST(twins_at_once_do_the_work_once_and_get_one_answer)
{
    enum { TWINS = 12 };
    start(test_dir());
    struct twin_call calls[TWINS];
    for (int i = 0; i < TWINS; i++) {
        calls[i] = (struct twin_call){.arena = arena_new(), .sku = "slow"};
        check(pthread_create(&calls[i].thread, NULL, run_twin, &calls[i]) == 0);
    }
    for (int i = 0; i < TWINS; i++) {
        pthread_join(calls[i].thread, NULL);
        check_same(calls[i].answer, calls[0].answer);
    }
    check_int(calls[0].answer.status, 201);
    check_int(placed, 1);
    for (int i = 0; i < TWINS; i++)
        arena_free(calls[i].arena);
    stop();
}

struct forgetting {
    struct request rq;
    int64_t later_us;
};

static void
run_forgetting(void *arg)
{
    struct forgetting *f = arg;
    request_init(&f->rq, node, a);
    f->rq.service = &gateway_service;
    f->rq.now_us += f->later_us;
    check_int(keys_forget(&f->rq), OK);
}

TEST(old_keys_are_forgotten_and_young_ones_are_not)
{
    start(test_dir());
    ask("POST", "/v1/orders", "idempotency-key: k", order_of("lamp"));
    node_run(node, "gateway", run_forgetting, &(struct forgetting){.later_us = 24 * HOUR_US});
    ask("POST", "/v1/orders", "idempotency-key: k", order_of("lamp"));
    check_int(placed, 1);
    node_run(node, "gateway", run_forgetting, &(struct forgetting){.later_us = 26 * HOUR_US});
    ask("POST", "/v1/orders", "idempotency-key: k", order_of("lamp"));
    check_int(placed, 2);
    stop();
}

/* A POST of "{}" under the key "k", for the functions beneath. */
static const struct route *
key_request(struct http_request *ret)
{
    static const struct http_header key = {"idempotency-key", "k"};
    *ret = (struct http_request){.arena = a,
                                 .method = "POST",
                                 .path = "/v1/orders",
                                 .query = "",
                                 .headers = &key,
                                 .n_headers = 1,
                                 .body = "{}",
                                 .body_n = 2};
    return routes_find(routes_new(a, souk_rpc_lists), "POST", "/v1/orders").route;
}

static enum status
begin_key(struct keys *keys, struct key_hold *hold, struct request *rq, int64_t wait_us,
          struct answer *kept)
{
    struct http_request in;
    const struct route *route = key_request(&in);
    request_init(rq, node, a);
    rq->service = &gateway_service;
    rq->deadline_us = env.mono_us() + wait_us;
    return key_begin(keys, hold, rq, route, &in, kept);
}

static void
wait_in_vain(void *arg)
{
    (void)arg;
    struct keys *keys = keys_new(a, "mine");
    struct request first, second;
    struct key_hold hold, none;
    struct answer kept;
    check_int(begin_key(keys, &hold, &first, SECOND_US, &kept), OK);
    check_int(begin_key(keys, &none, &second, MILLISECOND_US, &kept), ABORTED);
    check_text(second.reason->code, "idempotency_key_in_use");
    check(!none.keys && !none.replayed);
    key_end(&hold);
}

TEST(a_twin_waits_no_longer_than_its_deadline)
{
    start(test_dir());
    node_run(node, "gateway", wait_in_vain, NULL);
    stop();
}

static void
die_in_work(void *arg)
{
    struct request rq;
    struct key_hold hold;
    struct answer kept;
    check_int(begin_key(keys_new(a, arg), &hold, &rq, SECOND_US, &kept), OK);
    check_int(request_settle(&rq), OK);
}

static void
come_again(void *arg)
{
    struct request rq;
    struct key_hold hold;
    struct answer kept;
    check_int(begin_key(keys_new(a, "sibling"), &hold, &rq, MILLISECOND_US, &kept), ABORTED);
    check_int(begin_key(keys_new(a, arg), &hold, &rq, MILLISECOND_US, &kept), OK);
    key_end(&hold);
}

TEST(a_start_takes_over_what_its_process_left_and_nothing_of_a_sibling)
{
    const char *dir = test_dir();
    start(dir);
    char mine[KEY_DIGEST_CHARS + 1];
    snprintf(mine, sizeof mine, "%s", keys_owner(a, dir));
    node_run(node, "gateway", die_in_work, mine);
    stop();
    start(dir);
    check_text(keys_owner(a, dir), mine);
    node_run(node, "gateway", come_again, mine);
    stop();
    check(strcmp(keys_owner(a = arena_new(), test_dir()), mine) != 0);
    arena_free(a);
}

struct sibling {
    struct fiber *waiter;
    struct answer kept;
    bool replayed, done;
};

static void
wait_for_sibling(void *arg)
{
    struct sibling *s = arg;
    struct request rq;
    struct key_hold hold;
    check_int(begin_key(keys_new(a, "mine"), &hold, &rq, MINUTE_US, &s->kept), OK);
    s->replayed = hold.replayed;
    s->done = true;
    fiber_wake(s->waiter);
}

static void
answer_for_two(void *arg)
{
    struct sibling *s = arg;
    struct request rq;
    struct key_hold hold;
    struct answer kept;
    s->waiter = fiber_self();
    check_int(begin_key(keys_new(a, "sibling"), &hold, &rq, SECOND_US, &kept), OK);
    check(sched_spawn(node_sched(node, "gateway"), wait_for_sibling, s));
    fiber_sleep_us(120 * MILLISECOND_US);
    check(!s->done);
    key_keep(&hold, &rq,
             &(struct answer){.status = 201, .content_type = "text/plain", .body = "x", .body_n = 1});
    check_int(request_settle(&rq), OK);
    key_end(&hold);
    while (!s->done)
        fiber_park();
}

TEST(a_twin_in_another_process_is_waited_for_and_its_answer_given)
{
    start(test_dir());
    struct sibling s = {0};
    node_run(node, "gateway", answer_for_two, &s);
    check(s.replayed);
    check_int(s.kept.status, 201);
    stop();
}

TEST(who_calls_is_told_by_the_token)
{
    static const struct {
        const char *headers;
        int status;
        const char *code, *challenge;
    } cases[] = {
        {"", 401, "unauthenticated", "Bearer realm=\"souk\""},
        {"authorization: Bearer nonsense", 401, "bad_token",
         "Bearer realm=\"souk\", error=\"invalid_token\""},
        {"authorization: Basic dXNlcjpwYXNz", 401, "bad_token",
         "Bearer realm=\"souk\", error=\"invalid_token\""},
        {"authorization: Bearer guest-ord_1", 401, "unauthenticated", "Bearer realm=\"souk\""},
        {"authorization: Bearer user-1", 403, "permission_denied", NULL},
        {"authorization: bearer user-admin", 200, "", NULL},
    };
    start(test_dir());
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http_answer answer =
            ask("PATCH", "/v1/products/prd_1", cases[i].headers, "{\"title\":\"t\"}");
        check_int(answer.status, cases[i].status);
        check_text(member(answer, "code"), cases[i].code);
        check_text(header_of(answer, "www-authenticate"), cases[i].challenge);
    }
    check_int(ask("GET", "/v1/products/prd_1", "authorization: Bearer nonsense", NULL).status, 401);
    stop();
}

TEST(versions_are_asked_for_and_told_in_headers)
{
    start(test_dir());
    static const char admin[] = "authorization: Bearer user-admin";
    struct http_answer answer = ask("GET", "/v1/products/prd_1", "", NULL);
    check_int(answer.status, 200);
    check_text(header_of(answer, "etag"), "\"7\"");
    /* Stock, roles and refused lines change without a version: the tag is for If-Match alone. */
    answer = ask("GET", "/v1/products/prd_1", "if-none-match: \"7\"", NULL);
    check_int(answer.status, 200);
    check_text(member(answer, "id"), "prd_1");
    static const struct {
        const char *if_match;
        int status;
    } cases[] = {{"\"7\"", 200}, {"\"6\"", 412}, {"*", 200}, {"\"x\"", 412}, {"7", 412}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        answer = ask("PATCH", "/v1/products/prd_1",
                     arena_printf(a, "%s\nif-match: %s", admin, cases[i].if_match),
                     "{\"title\":\"t\",\"vendor\":null}");
        check_int(answer.status, cases[i].status);
        if (answer.status == 412)
            check_text(member(answer, "code"), "version_mismatch");
        else
            check(strstr(answer.body, "\"tags\":[\"title\",\"vendor\"]") != NULL);
    }
    stop();
}

TEST(a_visitors_quick_read_is_served_on_the_loop_once_it_is_known_to_be_allowed)
{
    start(test_dir());
    check_text(member(ask("GET", "/v1/products/prd_1", "", NULL), "title"), "on a fiber");
    check_text(member(ask("GET", "/v1/products/prd_1", "", NULL), "title"), "quick");
    check_text(
        member(ask("GET", "/v1/products/prd_1", "authorization: Bearer user-1", NULL), "title"),
        "on a fiber");
    struct http_answer answer = ask("GET", "/v1/products/prd_2", "", NULL);
    check_int(answer.status, 404);
    check_text(member(answer, "code"), "no_such_product");
    stop();
}

TEST(a_service_with_a_scheduler_of_its_own_is_reached)
{
    start(test_dir());
    struct http_answer answer =
        ask("GET", "/v1/dead-letters", "authorization: Bearer user-admin", NULL);
    check_int(answer.status, 200);
    check_text(answer.body, "{\"data\":[],\"has_more\":false}");
    stop();
}

TEST(requests_that_are_not_the_apis_are_refused)
{
    static const struct {
        const char *method, *path, *headers, *body;
        int status;
        const char *code;
    } cases[] = {
        {"GET", "/nothing", "", NULL, 404, "not_found"},
        {"GET", "/v1/products/%00", "", NULL, 404, "not_found"},
        {"GET", "/v1/products/%zz", "", NULL, 404, "not_found"},
        {"DELETE", "/v1/orders", "", NULL, 405, "method_not_allowed"},
        {"POST", "/v1/orders", "content-type: text/plain", "{}", 415, "unsupported_media_type"},
        {"POST", "/v1/orders", "", "{", 400, "malformed_json"},
        {"POST", "/v1/orders", "", "{\"cart_id\":\"crt_1\"}", 400, "invalid_request"},
        {"POST", "/v1/orders?x=1", "", "{}", 400, "invalid_request"},
        {"GET", "/v1/orders?limit=0", "authorization: Bearer user-1", NULL, 400, "invalid_request"},
        {"GET", "/v1/orders", "authorization: Bearer user-1", "{}", 400, "invalid_request"},
        {"POST", "/v1/orders/ord_1/payments", "",
         "{\"id\":\"ord_2\",\"provider\":\"sandbox\",\"token\":\"x\"}", 400, "invalid_request"},
    };
    start(test_dir());
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http_answer answer =
            ask(cases[i].method, cases[i].path, cases[i].headers, cases[i].body);
        check_int(answer.status, cases[i].status);
        check_text(member(answer, "code"), cases[i].code);
        check_text(header_of(answer, "content-type"), "application/problem+json");
    }
    struct http_answer answer = ask("OPTIONS", "/v1/orders", "", NULL);
    check_int(answer.status, 204);
    check_text(header_of(answer, "allow"), "GET, HEAD, POST, OPTIONS");
    check_text(header_of(ask("DELETE", "/v1/orders", "", NULL), "allow"),
               "GET, HEAD, POST, OPTIONS");
    stop();
}

TEST(a_trace_that_comes_along_is_kept)
{
    start(test_dir());
    static const char id[] = "0af7651916cd43dd8448eb211c80319c";
    struct http_answer answer =
        ask("GET", "/nothing",
            "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", NULL);
    check(strstr(header_of(answer, "traceparent"), id) != NULL);
    check_text(member(answer, "trace_id"), id);
    answer = ask("GET", "/nothing", "traceparent: 00-nonsense", NULL);
    check_int((long long)strlen(member(answer, "trace_id")), 32);
    stop();
}

TEST(pages_about_the_process_are_there)
{
    static const struct {
        const char *path, *type, *part;
    } cases[] = {
        {"/", "text/html; charset=utf-8", "<h1>Souk</h1>"},
        {"/livez", "text/plain; charset=utf-8", "ok"},
        {"/readyz", "text/plain; charset=utf-8", "ready"},
        {"/metrics", "text/plain; version=0.0.4; charset=utf-8", "# TYPE"},
        {"/openapi.json", "application/json", "\"openapi\": \"3.1.0\""},
    };
    start(test_dir());
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http_answer answer = ask("GET", cases[i].path, "", NULL);
        check_int(answer.status, 200);
        check_text(header_of(answer, "content-type"), cases[i].type);
        check(strstr(answer.body, cases[i].part) != NULL);
    }
    check(header_of(ask("GET", "/", "", NULL), "content-security-policy") != NULL);
    struct http_answer head = ask("HEAD", "/livez", "", NULL);
    check_int(head.status, 200);
    check_text(header_of(head, "content-length"), "3");
    stop();
}

TEST(an_address_that_asks_too_often_is_told_when_to_come_back)
{
    start_with(test_dir(), (struct gateway_options){.rate_limit_per_s = 1, .limit_loopback = true});
    struct http_answer answer;
    int allowed = 0;
    for (int i = 0; i < 30; i++) {
        answer = ask("GET", "/v1/products/prd_1", "", NULL);
        allowed += answer.status == 200;
    }
    check_int(answer.status, 429);
    check(allowed >= 10);
    check_text(member(answer, "code"), "too_many_requests");
    check(atoi(header_of(answer, "retry-after")) >= 1);
    check_text(header_of(answer, "ratelimit-limit"), "10");
    check_text(header_of(answer, "ratelimit-remaining"), "0");
    check_int(ask("GET", "/livez", "", NULL).status, 200);
    stop();
    start_with(test_dir(), (struct gateway_options){.rate_limit_per_s = 1});
    for (int i = 0; i < 15; i++)
        check_int(ask("GET", "/v1/products/prd_1", "", NULL).status, 200);
    stop();
}

TEST(behind_a_trusted_proxy_each_visitor_has_a_limit_of_his_own)
{
    start_with(test_dir(),
               (struct gateway_options){.rate_limit_per_s = 1, .trusted_proxies = "127.0.0.1"});
    const char *one = "x-forwarded-for: 203.0.113.9", *other = "x-forwarded-for: 203.0.113.10";
    int status = 200;
    for (int i = 0; i < 30 && status == 200; i++)
        status = ask("GET", "/v1/products/prd_1", one, NULL).status;
    check_int(status, 429);
    check_int(ask("GET", "/v1/products/prd_1", other, NULL).status, 200);
    for (int i = 0; i < 15; i++) /* this machine itself */
        check_int(ask("GET", "/v1/products/prd_1", "", NULL).status, 200);
    stop();
}

TEST(past_the_requests_in_work_the_answer_is_503)
{
    start_with(test_dir(), (struct gateway_options){.requests_max = 1});
    struct twin_call first = {.arena = arena_new(), .sku = "gated"};
    check(pthread_create(&first.thread, NULL, run_twin, &first) == 0);
    while (!__atomic_load_n(&placed, __ATOMIC_ACQUIRE))
        usleep(1000);
    struct http_answer answer = ask("POST", "/v1/orders", "", order_of("lamp"));
    __atomic_store_n(&gate_open, true, __ATOMIC_RELEASE);
    check_int(answer.status, 503);
    check_text(member(answer, "code"), "overloaded");
    check_text(header_of(answer, "retry-after"), "1");
    pthread_join(first.thread, NULL);
    check_int(first.answer.status, 201);
    arena_free(first.arena);
    stop();
}
