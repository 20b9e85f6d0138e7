#include "gateway/routes.h"

#include "kit/rules.h"
#include "test/test.h"

static struct arena *a;

static const char *
params_text(const struct route_match *match)
{
    struct text t = text_in(a);
    for (size_t i = 0; i < match->route->n_params; i++) {
        text_printf(&t, "%s%s=", i ? " " : "", match->route->params[i]->name);
        text_add_n(&t, match->params[i].bytes, match->params[i].n);
    }
    return t.bytes;
}

TEST(a_path_and_a_method_find_their_rpc)
{
    static const struct {
        const char *method, *path, *name, *params, *allow;
    } cases[] = {
        {"GET", "/", "GET /", "", "GET, HEAD, OPTIONS"},
        {"GET", "/livez", "GET /livez", "", "GET, HEAD, OPTIONS"},
        {"POST", "/livez", NULL, "", "GET, HEAD, OPTIONS"},
        {"GET", "/v1/products", "GET /v1/products", "", "GET, HEAD, POST, OPTIONS"},
        {"HEAD", "/v1/products", "GET /v1/products", "", "GET, HEAD, POST, OPTIONS"},
        {"PUT", "/v1/products", NULL, "", "GET, HEAD, POST, OPTIONS"},
        {"OPTIONS", "/v1/products", NULL, "", "GET, HEAD, POST, OPTIONS"},
        {"get", "/v1/products", NULL, "", "GET, HEAD, POST, OPTIONS"},
        {"BREW", "/v1/products", NULL, "", "GET, HEAD, POST, OPTIONS"},
        {"GET", "/v1/products/prd_1", "GET /v1/products/{id}", "id=prd_1",
         "GET, HEAD, PATCH, DELETE, OPTIONS"},
        {"POST", "/v1/products/prd_1/images", "POST /v1/products/{id}/images", "id=prd_1",
         "POST, OPTIONS"},
        {"POST", "/v1/orders/ord_1/payments", "POST /v1/orders/{id}/payments", "id=ord_1",
         "GET, HEAD, POST, OPTIONS"},
        {"GET", "/v1/products/a%2Fb", "GET /v1/products/{id}", "id=a%2Fb",
         "GET, HEAD, PATCH, DELETE, OPTIONS"},
        {"GET", "/v1/users/me", "GET /v1/users/me", "", "GET, HEAD, PATCH, OPTIONS"},
        {"GET", "/.well-known/jwks.json", "GET /.well-known/jwks.json", "", "GET, HEAD, OPTIONS"},
        {"GET", "/v1/products/", NULL, "", NULL},
        {"GET", "/v1//products", NULL, "", NULL},
        {"GET", "//v1/products", NULL, "", NULL},
        {"GET", "/v1/products/prd_1/", NULL, "", NULL},
        {"GET", "/v1/products/prd_1/nothing", NULL, "", NULL},
        {"GET", "/v1/product", NULL, "", NULL},
        {"GET", "/v1/productss", NULL, "", NULL},
        {"GET", "/v1", NULL, "", NULL},
        {"GET", "/V1/products", NULL, "", NULL},
        {"OPTIONS", "*", NULL, "", NULL},
    };
    a = arena_new();
    const struct routes *routes = routes_new(a, souk_rpc_lists);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct route_match match = routes_find(routes, cases[i].method, cases[i].path);
        check_text(match.route ? match.route->name : NULL, cases[i].name);
        check_text(match.allow, cases[i].allow);
        if (match.route)
            check_text(params_text(&match), cases[i].params);
    }
    arena_free(a);
}

TEST(every_route_of_the_protos_is_found_under_its_own_path)
{
    a = arena_new();
    const struct routes *routes = routes_new(a, souk_rpc_lists);
    for (const struct rpc_list *const *list = souk_rpc_lists; *list; list++)
        for (size_t i = 0; i < (*list)->n; i++) {
            const struct rpc *rpc = &(*list)->rpcs[i];
            if (!rpc->path)
                continue;
            struct route_match match = routes_find(routes, rpc->method, rpc->path);
            bool async = rpc->flags & RPC_ASYNC;
            const struct route *route = async ? match.respond_async : match.route;
            check(route && route->rpc == rpc);
            check(match.route &&
                  match.route->rpc != NULL); /* who does not ask for that is served */
        }
    arena_free(a);
}

TEST(a_route_knows_its_fields_with_a_meaning_in_http)
{
    a = arena_new();
    const struct routes *routes = routes_new(a, souk_rpc_lists);
    const struct route *patch = routes_find(routes, "PATCH", "/v1/products/x").route;
    check(patch->expected_version && patch->version && patch->id && !patch->raw_in);
    check(!patch->bodiless && !patch->for_visitors);
    check_text(patch->closed[0], "id");
    check_text(patch->closed[1], "expected_version");
    const struct route *put = routes_find(routes, "PUT", "/v1/inventory/x").route;
    check(put->expected_version && !put->closed[1]);
    const struct route *import = routes_find(routes, "POST", "/v1/imports/shopify").route;
    check(import->raw_in && !import->raw_out);
    const struct route *place = routes_find(routes, "POST", "/v1/orders").route;
    check(place->for_visitors && !place->reads && place->version);
    arena_free(a);
}

TEST(escapes_are_decoded_or_refused)
{
    static const struct {
        const char *from, *to;
        bool plus;
    } cases[] = {
        {"abc", "abc", false},      {"a%2Fb", "a/b", false}, {"a%2fb", "a/b", false},
        {"a+b", "a+b", false},      {"a+b", "a b", true},    {"%C3%A9", "\xc3\xa9", false},
        {"%C3", NULL, false},       {"%00", NULL, false},    {"%", NULL, false},
        {"%4", NULL, false},        {"%4g", NULL, false},    {"a%", NULL, false},
        {"%41", "A", false},        {"", "", false},         {"%25%32%35", "%25", false},
        {"%ed%a0%80", NULL, false},
    };
    a = arena_new();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        check_text(
            percent_decode(a, (struct slice){cases[i].from, strlen(cases[i].from)}, cases[i].plus),
            cases[i].to);
    arena_free(a);
}

TEST(every_list_says_whether_more_follows)
{
    int lists = 0;
    for (const struct rpc_list *const *list = souk_rpc_lists; *list; list++)
        for (size_t i = 0; i < (*list)->n; i++) {
            const struct rpc *rpc = &(*list)->rpcs[i];
            const ProtobufCFieldDescriptor *data =
                protobuf_c_message_descriptor_get_field_by_name(rpc->out, "data");
            if (!rpc->path || !data || data->label != PROTOBUF_C_LABEL_REPEATED)
                continue;
            lists++;
            if (!protobuf_c_message_descriptor_get_field_by_name(rpc->out, "has_more"))
                check_text(rpc->full, "with has_more");
        }
    check(lists > 10);
}
