#include "gateway/pages.h"

extern const char souk_openapi[]; /* generated */
extern const size_t souk_openapi_bytes;

static const char home[] =
    "<!doctype html>\n"
    "<html lang=\"en\">\n"
    "<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<title>Souk</title>\n"
    "<style>body{font:1.1rem/1.6 system-ui,sans-serif;max-width:38rem;margin:4rem auto;"
    "padding:0 1rem;color:#222}code{background:#f2efe9;padding:.1em .3em;border-radius:.2em}"
    "a{color:#8a3b12}</style>\n"
    "<h1>Souk</h1>\n"
    "<p>A shop's backend is running here: catalog, stock, orders and payments behind one JSON "
    "API.\n"
    "<ul>\n"
    "<li><a href=\"/v1/products\">/v1/products</a>: what is for sale\n"
    "<li><a href=\"/openapi.json\">/openapi.json</a>: the whole API, as OpenAPI 3.1\n"
    "<li><a href=\"/readyz\">/readyz</a>, <a href=\"/livez\">/livez</a>,\n"
    "    <a href=\"/metrics\">/metrics</a>: how it is doing\n"
    "</ul>\n"
    "<p>To buy something, <code>POST /v1/orders</code> with lines, a customer and a payment; the\n"
    "sandbox provider takes the token <code>approve</code>.\n";

static void
set(struct answer *out, const char *content_type, const char *body, size_t n)
{
    out->content_type = content_type;
    out->body = body;
    out->body_n = n;
}

void
page_answer(struct answer *out, struct node *node, enum page page, struct arena *a)
{
    *out = (struct answer){.status = 200};
    switch (page) {
    case PAGE_HOME:
        out->page = true;
        set(out, "text/html; charset=utf-8", home, sizeof home - 1);
        return;
    case PAGE_LIVEZ:
        set(out, "text/plain; charset=utf-8", "ok\n", 3);
        return;
    case PAGE_READYZ:
        if (node_ready(node)) {
            set(out, "text/plain; charset=utf-8", "ready\n", 6);
        } else {
            set(out, "text/plain; charset=utf-8", "not ready\n", 10);
            out->status = 503;
        }
        return;
    case PAGE_METRICS: {
        const char *text = metrics_text(node, a);
        set(out, "text/plain; version=0.0.4; charset=utf-8", text, strlen(text));
        return;
    }
    case PAGE_OPENAPI:
        set(out, "application/json", souk_openapi, souk_openapi_bytes);
        return;
    case PAGE_NONE:
        break;
    }
}
