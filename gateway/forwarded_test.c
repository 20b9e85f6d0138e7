/* Whom X-Forwarded-For names, and of whom it is believed. */
#include "base/text.h"
#include "gateway/forwarded.h"
#include "test/test.h"

static struct arena *a;

static bool
takes(const char *list)
{
    struct proxies p;
    const char *why = NULL;
    enum status st = proxies_read(list, a, &p, &why);
    check((st == OK) == (why == NULL));
    return st == OK;
}

TEST(proxies_are_addresses_and_networks)
{
    a = arena_new();
    static const struct {
        const char *list;
        bool good;
    } cases[] = {
        {"", true},
        {"127.0.0.1", true},
        {" 10.0.0.0/8 ,\t192.0.2.1,fd00::/8,::1", true},
        {"0.0.0.0/0", true},
        {"2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff/128", true},
        {"10.0.0.0/33", false},
        {"10.0.0.0/-1", false},
        {"10.0.0.0/", false},
        {"10.0.0.0/8/8", false},
        {"fd00::/129", false},
        {"10.0.0", false},
        {"10.0.0.0/8,", false},
        {",", false},
        {" ", false},
        {"proxy.example.org", false},
        {"127.0.0.1:80", false},
        {"10.0.0.0/8 192.0.2.1", false},
        {"0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (takes(cases[i].list) != cases[i].good)
            test_complain(__FILE__, __LINE__, cases[i].list);
    struct text many = text_in(a);
    for (int i = 0; i < PROXIES_MAX; i++)
        text_printf(&many, "%s192.0.2.%d", i ? "," : "", i);
    check(takes(many.bytes));
    text_add(&many, ",192.0.2.200");
    check(!takes(many.bytes));
    arena_free(a);
}

enum { HEADERS_MAX = 4 };

struct visit {
    const char *proxies, *peer;
    const char *headers[HEADERS_MAX]; /* X-Forwarded-For, in their order */
    const char *client;
};

static const struct visit visits[] = {
    /* Nobody is trusted, or not this peer. */
    {"", "192.0.2.1", {"203.0.113.9"}, "192.0.2.1"},
    {"10.0.0.0/8", "192.0.2.1", {"203.0.113.9"}, "192.0.2.1"},
    {"10.0.0.0/8", "11.0.0.1", {"203.0.113.9"}, "11.0.0.1"},
    {"10.0.0.0/8", "unix", {"203.0.113.9"}, "unix"},
    {"fd00::/8", "10.0.0.1", {"203.0.113.9"}, "10.0.0.1"},
    {"10.0.0.0/8", "fd00::1", {"203.0.113.9"}, "fd00::1"},
    /* A proxy that says nothing comes for itself. */
    {"10.0.0.0/8", "10.0.0.1", {NULL}, "10.0.0.1"},
    /* One that says whom it brings. */
    {"10.0.0.0/8", "10.0.0.1", {"203.0.113.9"}, "203.0.113.9"},
    {"10.0.0.1", "10.0.0.1", {" 203.0.113.9\t"}, "203.0.113.9"},
    {"10.0.0.1", "10.0.0.2", {"203.0.113.9"}, "10.0.0.2"},
    {"10.0.0.0/31", "10.0.0.1", {"203.0.113.9"}, "203.0.113.9"},
    {"10.0.0.0/31", "10.0.0.2", {"203.0.113.9"}, "10.0.0.2"},
    {"10.128.0.0/9", "10.127.0.1", {"203.0.113.9"}, "10.127.0.1"},
    {"10.128.0.0/9", "10.255.0.1", {"203.0.113.9"}, "203.0.113.9"},
    {"0.0.0.0/0", "10.0.0.1", {"2001:DB8:0:0::1"}, "2001:db8::1"},
    {"fd00::/8,::1", "::1", {"2001:db8::1, fd12::1"}, "2001:db8::1"},
    {"10.0.0.0/8", "10.0.0.1", {"::ffff:203.0.113.9"}, "203.0.113.9"},
    /* What the client wrote itself stands left, in the same line or in one before. */
    {"10.0.0.0/8", "10.0.0.1", {"198.51.100.7, 203.0.113.9"}, "203.0.113.9"},
    {"10.0.0.0/8", "10.0.0.1", {"10.9.9.9,203.0.113.9,10.0.0.2"}, "203.0.113.9"},
    {"10.0.0.0/8", "10.0.0.1", {"198.51.100.7", "203.0.113.9"}, "203.0.113.9"},
    {"10.0.0.0/8", "10.0.0.1", {"203.0.113.9", "10.0.0.2", "10.0.0.3"}, "203.0.113.9"},
    {"10.0.0.0/8", "10.0.0.1", {"nonsense, 203.0.113.9"}, "203.0.113.9"},
    /* Proxies all the way, and what is no address. */
    {"10.0.0.0/8", "10.0.0.1", {"10.0.0.3, 10.0.0.2"}, "10.0.0.1"},
    {"10.0.0.0/8", "10.0.0.1", {"203.0.113.9, unknown"}, "10.0.0.1"},
    {"10.0.0.0/8", "10.0.0.1", {"203.0.113.9", ""}, "10.0.0.1"},
    {"10.0.0.0/8", "10.0.0.1", {"203.0.113.9,"}, "10.0.0.1"},
    {"10.0.0.0/8", "10.0.0.1", {",10.0.0.2"}, "10.0.0.1"},
    {"10.0.0.0/8", "10.0.0.1", {"203.0.113.9:4711"}, "10.0.0.1"},
    {"10.0.0.0/8", "10.0.0.1", {"203.0.113.9 203.0.113.8"}, "10.0.0.1"},
    {"10.0.0.0/8", "10.0.0.1", {"203.0.113.256"}, "10.0.0.1"},
    {"10.0.0.0/8", "10.0.0.1", {"[2001:db8::1]"}, "10.0.0.1"},
    {"10.0.0.0/8",
     "10.0.0.1",
     {"2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff:aaaa:bbbb:cccc:dddd"},
     "10.0.0.1"},
};

TEST(the_client_is_who_the_last_trusted_proxy_saw)
{
    a = arena_new();
    for (size_t i = 0; i < sizeof visits / sizeof visits[0]; i++) {
        const struct visit *v = &visits[i];
        struct http_header headers[HEADERS_MAX + 2] = {{"host", "shop.example.org"}};
        size_t n = 1;
        for (size_t j = 0; j < HEADERS_MAX && v->headers[j]; j++)
            headers[n++] = (struct http_header){"x-forwarded-for", v->headers[j]};
        headers[n++] = (struct http_header){"forwarded", "for=198.51.100.8"};
        struct proxies p;
        const char *why = "";
        check_int(proxies_read(v->proxies, a, &p, &why), OK);
        const struct http_request in = {
            .arena = a, .peer = v->peer, .headers = headers, .n_headers = n};
        const char *client = forwarded_client(&p, &in);
        test_check_text(__FILE__, __LINE__, v->headers[0] ? v->headers[0] : "nothing", client,
                        v->client);
        check((client == v->peer) == (strcmp(v->client, v->peer) == 0));
    }
    arena_free(a);
}
