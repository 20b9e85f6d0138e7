/* Live streams, and sessions that end behind a checkout, in a whole Souk. */
#include "gateway/streams.h"

#include <stdlib.h>

#include "base/env.h"
#include "fiber/fiber.h"
#include "gateway.impl.h"
#include "gateway/gateway.h"
#include "test/world.h"

/* Checks a guest out of one sku, without waiting: the checkout's id, or "" where it was refused. */
static const char *
press(struct world *w, const char *sku, const char *token)
{
    static const char *const headers[] = {"prefer: respond-async", NULL};
    const char *body = arena_printf(
        world_arena(w),
        "{\"lines\":[{\"sku\":\"%s\",\"quantity\":1}],\"customer\":{\"email\":\"ada@example.org\"},"
        "\"payment\":{\"provider\":\"sandbox\",\"token\":\"%s\"}}",
        sku, token);
    struct http_answer told = world_http(w, "POST", "/v1/orders", headers, body);
    check_int(told.status, 202);
    const char *id = strstr(told.body, "chk_");
    return id ? arena_strndup(world_arena(w), id, 30) : "";
}

/* The whole of a stream, which the server ends. */
static struct http_answer
follow(struct world *w, const char *checkout_id)
{
    return world_http(
        w, "GET", arena_printf(world_arena(w), "/v1/checkouts/%s/stream", checkout_id), NULL, NULL);
}

/* How many events it has, each later than the one before. */
static int
events_of(const char *text)
{
    int n = 0;
    long version = 0;
    for (const char *p = text; (p = strstr(p, "id: ")); p++, n++) {
        long next = strtol(p + 4, NULL, 10);
        check(next > version);
        version = next;
    }
    return n;
}

TEST(a_checkout_is_followed_to_its_end)
{
    static const struct {
        const char *sku, *token, *says;
    } cases[] = {
        {"lamp", "approve", "\"status\":\"done\""},
        {"lamp", "decline", "\"code\":\"payment_failed\""},
        {"nothing", "approve", "\"code\":\"no_such_sku\""},
    };
    struct world *w = world_new();
    const char *lamp = world_product(w, "lamp", 100, 10);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *id =
            press(w, strcmp(cases[i].sku, "lamp") == 0 ? lamp : "nothing", cases[i].token);
        struct http_answer told = follow(w, id);
        check_int(told.status, 200);
        check(events_of(told.body) >= 1);
        check(strstr(told.body, "event: checkout\ndata: {\"id\":\"chk_") != NULL);
        check(strstr(told.body, cases[i].says) != NULL);
        check(strcmp(told.body + told.body_n - 2, "\n\n") == 0);
        check_int(events_of(follow(w, id).body), 1); /* it has ended: that is all there is to say */
    }
    world_free(w);
}

TEST(what_is_not_there_is_a_problem_and_no_stream)
{
    struct world *w = world_new();
    check_int(follow(w, "chk_00000000000000000000000000").status, 404);
    check_int(
        world_http(w, "GET", "/v1/orders/ord_00000000000000000000000000/stream", NULL, NULL).status,
        404);
    world_free(w);
}

/* ---- whose session ended -------------------------------------------------------------------- */

struct pressing {
    struct world *w;
    const char *checkout_id, *user_id, *session_id;
};

static void
publish_pressed(void *arg)
{
    const struct pressing *p = arg;
    struct request rq = world_request(p->w, "operator");
    rq.service = &gateway_service;
    struct tx *tx = tx_begin(&rq);
    publish_user_checkout(&rq, tx, .checkout_id = p->checkout_id, .user_id = p->user_id,
                          .session_id = p->session_id);
    check_int(tx_commit(tx), OK);
    check_int(request_settle(&rq), OK);
}

TEST(a_session_that_has_ended_ends_its_checkout)
{
    struct world *w = world_new();
    world_port(w);
    const char *sku = world_product(w, "lamp", 100, 10);
    struct pressing p = {w, id_make(world_arena(w), "chk", env.now_us()),
                         world_staff(w, "ada@example.org", "admin"), "ses_ended"};
    Line *line = new_line(world_arena(w));
    line->sku = sku;
    line->quantity = 1;
    PlaceOrderRequest *in = new_place_order_request(world_arena(w));
    in->checkout_id = p.checkout_id;
    in->lines = &line;
    in->n_lines = 1;
    in->customer = new_contact(world_arena(w));
    in->customer->email = "ada@example.org";
    in->payment_method_id = "pmm_none";
    in->user_id = p.user_id;
    check_text(world_ask(w, "operator", "orders", "OpenCheckout", &in->base, NULL), "");
    world_run(w, "gateway", publish_pressed, &p);
    struct http_answer told = follow(w, p.checkout_id);
    check(strstr(told.body, "\"status\":\"failed\"") != NULL);
    check(strstr(told.body, "\"code\":\"bad_token\"") != NULL);
    world_settle(w);
    check_int(world_events(w, "auth.checkout_failed", p.checkout_id), 1);
    check_int(world_events(w, "auth.user_authenticated", p.user_id), 0);
    check_int(world_events(w, "orders.order_created", NULL), 0);
    world_free(w);
}

/* ---- bounds ---------------------------------------------------------------------------------- */

static void
join_too_many(void *arg)
{
    struct world *w = arg;
    static struct stream streams[STREAMS_MAX + 1];
    static const struct rpc rpc = {.out = &souk__orders__v1__order__descriptor};
    const struct route route = {
        .rpc = &rpc, .params = {&souk__orders__v1__get_order_request__descriptor.fields[0]}};
    GetOrderRequest *in = new_get_order_request(world_arena(w));
    in->id = "ord_a";
    struct request rq = world_request(w, "");
    for (int i = 0; i <= STREAMS_MAX; i++) {
        streams[i] = (struct stream){.node = world_node(w), .route = &route, .in = &in->base};
        check_int(stream_join(&streams[i], &rq), i < STREAMS_MAX ? OK : UNAVAILABLE);
    }
    check(failed_with(&rq, &GATEWAY_OVERLOADED));
    stream_leave(&streams[7]);
    check_int(stream_join(&streams[STREAMS_MAX], &rq), OK);
    for (int i = 0; i <= STREAMS_MAX; i++)
        if (i != 7)
            stream_leave(&streams[i]);
}

TEST(streams_are_bounded_and_one_that_leaves_makes_room)
{
    struct world *w = world_new();
    world_run(w, "gateway", join_too_many, w);
    world_free(w);
}
