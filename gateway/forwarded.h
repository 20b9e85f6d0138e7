/*
 * Whose request a proxy brings: X-Forwarded-For is believed of the proxies that the operator named,
 * and of nobody else, since anybody may write it.
 */
#pragma once
#include "net/net.h"

enum { PROXIES_MAX = 64 };

/* An address is a network of one; IPv4 stands as ::ffff:192.0.2.1. */
struct network {
    unsigned char bytes[16];
    int bits;
};

struct proxies {
    struct network networks[PROXIES_MAX];
    size_t n;
};

/* Reads "10.0.0.0/8, 192.0.2.1, fd00::/8"; "" is none.  INVALID_ARGUMENT with *why. */
enum status proxies_read(const char *list, struct arena *a, struct proxies *ret, const char **why);

/*
 * The address that a request comes from: its peer's, or, where that is a trusted proxy, the
 * right-most in X-Forwarded-For that is none.  What stands left of that anybody may have written.
 * If there is none, or one on the way there is no address, it is the peer's.
 */
const char *forwarded_client(const struct proxies *p, const struct http_request *in);
