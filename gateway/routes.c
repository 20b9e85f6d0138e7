#include "gateway/routes.h"

#include <assert.h>

#include "kit/rules.h"

enum method { GET, POST, PUT, PATCH, DELETE, METHODS };
static const char *const method_names[METHODS] = {"GET", "POST", "PUT", "PATCH", "DELETE"};

/* A segment of a path, and what may follow it. */
struct segment {
    const char *literal; /* NULL for a parameter */
    size_t n;
    struct segment *next, *literals, *param;
    const struct route *routes[METHODS], *async[METHODS];
    const char *allow; /* NULL while no path ends here */
};

struct routes {
    struct segment root;
};

static void add_pages(struct routes *routes, struct arena *a);
static const struct route *new_route(struct arena *a, const struct rpc *rpc);
static void add(struct routes *routes, struct arena *a, const char *method, const char *path,
                const struct route *route);
static int method_of(const char *name);
static int hex_digit(char c);
static const struct segment *find(const struct segment *from, const char *path,
                                  struct slice *params, size_t n);

const struct routes *
routes_new(struct arena *a, const struct rpc_list *const *lists)
{
    struct routes *routes = arena_alloc(a, sizeof *routes);
    add_pages(routes, a);
    for (; *lists; lists++)
        for (size_t i = 0; i < (*lists)->n; i++) {
            const struct rpc *rpc = &(*lists)->rpcs[i];
            if (rpc->path)
                add(routes, a, rpc->method, rpc->path, new_route(a, rpc));
        }
    return routes;
}

struct route_match
routes_find(const struct routes *routes, const char *method, const char *path)
{
    struct route_match match = {0};
    if (*path != '/')
        return match;
    const struct segment *end = &routes->root;
    if (path[1])
        end = find(end, path + 1, match.params, 0);
    if (!end || !end->allow)
        return match;
    int m = method_of(strcmp(method, "HEAD") == 0 ? "GET" : method);
    match.allow = end->allow;
    match.route = m < 0 ? NULL : end->routes[m];
    match.respond_async = m < 0 ? NULL : end->async[m];
    return match;
}

const char *
percent_decode(struct arena *a, struct slice s, bool plus)
{
    char *text = arena_alloc(a, s.n + 1);
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.bytes[i];
        if (c == '%') {
            int high = s.n - i > 2 ? hex_digit(s.bytes[i + 1]) : -1;
            int low = s.n - i > 2 ? hex_digit(s.bytes[i + 2]) : -1;
            if (high < 0 || low < 0)
                return NULL;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (plus && c == '+') {
            c = ' ';
        }
        text[n++] = c;
    }
    return utf8_valid(text, n) ? text : NULL;
}

/* Segments compare as they came: no route has a character that needs an escape, and one that is
 * escaped without need names nothing. */
static const struct segment *
find(const struct segment *from, const char *path, struct slice *params, size_t n)
{
    size_t length = strcspn(path, "/");
    if (length == 0)
        return NULL;
    const char *rest = path[length] ? path + length + 1 : NULL;
    for (const struct segment *s = from->literals; s; s = s->next) {
        if (s->n != length || memcmp(s->literal, path, length) != 0)
            continue;
        const struct segment *end = rest ? find(s, rest, params, n) : s;
        if (end && end->allow)
            return end;
        break;
    }
    if (!from->param || n == ROUTE_PARAMS_MAX)
        return NULL;
    params[n] = (struct slice){path, length};
    return rest ? find(from->param, rest, params, n + 1) : from->param;
}

static void
add_pages(struct routes *routes, struct arena *a)
{
    static const struct route pages[] = {
        {.name = "GET /", .page = PAGE_HOME},
        {.name = "GET /livez", .page = PAGE_LIVEZ},
        {.name = "GET /readyz", .page = PAGE_READYZ},
        {.name = "GET /metrics", .page = PAGE_METRICS},
        {.name = "GET /openapi.json", .page = PAGE_OPENAPI},
    };
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++)
        add(routes, a, "GET", pages[i].name + strlen("GET "), &pages[i]);
}

static const ProtobufCFieldDescriptor *
field_of(const ProtobufCMessageDescriptor *type, const char *name, ProtobufCType kind)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(type, name);
    bool fits = field && field->type == kind && field->label != PROTOBUF_C_LABEL_REPEATED;
    return fits ? field : NULL;
}

static void
add_params(struct arena *a, struct route *route)
{
    for (const char *p = strchr(route->rpc->path, '{'); p; p = strchr(p, '{')) {
        size_t n = strcspn(++p, "}");
        assert(route->n_params < ROUTE_PARAMS_MAX);
        const char *name = arena_strndup(a, p, n);
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field_by_name(route->rpc->in, name);
        assert(field);
        route->params[route->n_params] = field;
        route->closed[route->n_params++] = name;
    }
}

static void
add_headers(struct route *route)
{
    const struct message_rules *rules = rules_of(route->rpc->in);
    for (unsigned i = 0; rules && i < route->rpc->in->n_fields; i++)
        if (rules->fields[i].header) {
            assert(route->n_headers < ROUTE_HEADERS_MAX);
            route->headers[route->n_headers] = &route->rpc->in->fields[i];
            route->header_names[route->n_headers++] = rules->fields[i].header;
        }
}

static const struct route *
new_route(struct arena *a, const struct rpc *rpc)
{
    struct route *route = arena_alloc(a, sizeof *route);
    route->name = arena_printf(a, "%s %s", rpc->method, rpc->path);
    route->rpc = rpc;
    route->reads = strcmp(rpc->method, "GET") == 0;
    route->bodiless = route->reads || strcmp(rpc->method, "DELETE") == 0;
    for (const char *const *role = rpc->granted_to; role && *role; role++)
        route->for_visitors |= strcmp(*role, "anonymous") == 0;
    add_params(a, route);
    add_headers(route);
    route->expected_version = field_of(rpc->in, "expected_version", PROTOBUF_C_TYPE_INT64);
    size_t n_closed = route->n_params;
    for (size_t i = 0; i < route->n_headers; i++)
        route->closed[n_closed++] = route->headers[i]->name;
    if (strcmp(rpc->method, "PUT") != 0)
        route->closed[n_closed] = "expected_version";
    route->version = field_of(rpc->out, "version", PROTOBUF_C_TYPE_INT64);
    route->id = field_of(rpc->out, "id", PROTOBUF_C_TYPE_STRING);
    if (rpc->consumes)
        route->raw_in = field_of(rpc->in, "body", PROTOBUF_C_TYPE_BYTES);
    if (rpc->produces)
        route->raw_out = field_of(rpc->out, "body", PROTOBUF_C_TYPE_BYTES);
    return route;
}

static struct segment *
child_of(struct segment *from, struct arena *a, const char *text, size_t n)
{
    if (text[0] == '{') {
        if (!from->param)
            from->param = arena_alloc(a, sizeof *from->param);
        return from->param;
    }
    for (struct segment *s = from->literals; s; s = s->next)
        if (s->n == n && memcmp(s->literal, text, n) == 0)
            return s;
    struct segment *s = arena_alloc(a, sizeof *s);
    *s = (struct segment){.literal = arena_strndup(a, text, n), .n = n, .next = from->literals};
    from->literals = s;
    return s;
}

static const char *
allow_text(struct arena *a, const struct segment *s)
{
    struct text t = text_in(a);
    for (int m = 0; m < METHODS; m++)
        if (s->routes[m]) {
            text_add(&t, method_names[m]);
            text_add(&t, m == GET ? ", HEAD, " : ", ");
        }
    text_add(&t, "OPTIONS");
    return t.bytes;
}

static void
add(struct routes *routes, struct arena *a, const char *method, const char *path,
    const struct route *route)
{
    struct segment *s = &routes->root;
    for (const char *p = path + 1; *p; p += *p == '/') {
        size_t n = strcspn(p, "/");
        s = child_of(s, a, p, n);
        p += n;
    }
    int m = method_of(method);
    assert(m >= 0);
    bool async = route->rpc && (route->rpc->flags & RPC_ASYNC);
    const struct route **place = async ? &s->async[m] : &s->routes[m];
    assert(!*place); /* the generator saw that no two rpcs share a route */
    *place = route;
    s->allow = allow_text(a, s);
}

static int
method_of(const char *name)
{
    for (int m = 0; m < METHODS; m++)
        if (strcmp(name, method_names[m]) == 0)
            return m;
    return -1;
}

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}
