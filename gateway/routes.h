/* Which rpc a method and a path stand for: a tree of path segments, made from the rpc tables. */
#pragma once
#include "kit/kit.h"

enum { ROUTE_PARAMS_MAX = 4, ROUTE_HEADERS_MAX = 2 };

enum page { PAGE_NONE, PAGE_HOME, PAGE_LIVEZ, PAGE_READYZ, PAGE_METRICS, PAGE_OPENAPI };

struct route {
    const char *name;      /* "POST /v1/orders/{id}/cancel" */
    const struct rpc *rpc; /* NULL for a page */
    enum page page;
    bool reads;        /* GET: no body, parameters in the query */
    bool bodiless;     /* GET or DELETE */
    bool for_visitors; /* granted to callers without an account */
    const ProtobufCFieldDescriptor *params[ROUTE_PARAMS_MAX]; /* in the order of the path */
    const ProtobufCFieldDescriptor *headers[ROUTE_HEADERS_MAX]; /* what a header fills */
    const char *header_names[ROUTE_HEADERS_MAX];
    /* What body and query may not name: they, and a version that belongs in If-Match;
     * NULL-terminated. */
    const char *closed[ROUTE_PARAMS_MAX + ROUTE_HEADERS_MAX + 2];
    size_t n_params, n_headers;
    /* Fields with a meaning in HTTP, or NULL. */
    const ProtobufCFieldDescriptor *expected_version, *raw_in; /* of rpc->in */
    const ProtobufCFieldDescriptor *version, *id, *raw_out;    /* of rpc->out */
};

/* Part of a request's path. */
struct slice {
    const char *bytes;
    size_t n;
};

struct route_match {
    const struct route *route; /* NULL: none; then allow tells why */
    const struct route *respond_async; /* instead, where the client prefers not to wait; or NULL */
    const char *allow;         /* what the path takes, "GET, HEAD, OPTIONS"; NULL: no such path */
    struct slice params[ROUTE_PARAMS_MAX];
};

struct routes;

/* lists is NULL-terminated, as souk_rpc_lists.  Lives in the arena. */
const struct routes *routes_new(struct arena *a, const struct rpc_list *const *lists);

/* HEAD finds what GET does.  A literal segment goes before a parameter. */
struct route_match routes_find(const struct routes *routes, const char *method, const char *path);

/* Decodes %xx, and '+' as a space where plus is set.  NULL for a malformed escape, for NUL, and for
 * what is not UTF-8. */
const char *percent_decode(struct arena *a, struct slice s, bool plus);
