/*
 * The gateway: HTTP and JSON in, rpcs out.  Routes, fields and their rules come from the protos.
 *
 * A request for a quick rpc by a visitor is served on the network's loop; every other one gets a
 * fiber of the core scheduler, where it is authenticated, read, served, and kept if it has an
 * Idempotency-Key.  No byte of an answer leaves before what it says is on disk.
 */
#pragma once
#include "kit/node.h"
#include "net/net.h"

struct gateway;

struct gateway_options {
    size_t requests_max;         /* in work at once; beyond it, 503; 0 is 2,000 */
    int64_t rate_limit_per_s;    /* by address and by account; 0 is no limit */
    bool limit_loopback;         /* limit requests from this machine too */
    const char *trusted_proxies; /* that proxies_read takes; NULL is none */
};

/* node must have gateway_service among its services. */
struct gateway *gateway_new(struct node *node, struct gateway_options options);
/* Live streams end; to be called before the servers drain. */
void gateway_drain(struct gateway *g);
/* Every request must have been answered. */
void gateway_free(struct gateway *g);

/* For struct http_server_options; arg is the gateway. */
void gateway_handle(void *arg, struct http_exchange *x, const struct http_request *in);
size_t gateway_body_max(void *arg, const char *method, const char *path);

extern const struct service gateway_service;
