/*
 * The network: one event loop that serves HTTP/1.1 and HTTP/2, with and without TLS, and the
 * client.  gRPC on the same loop is in grpc.h.
 *
 * The loop (libuv) runs on a thread of its own.  A request is handed over whole, on the loop's
 * thread; it is answered from any thread.  HTTP/1.1 is read strictly: whatever is ambiguous (CL
 * with TE, two Content-Lengths, two Hosts, obs-fold, bare LF, NUL, …) is answered 400 and the
 * connection closed.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"

struct loop;
struct http_server;
struct http_exchange;

struct loop *loop_new(void); /* with its thread, named "net" */
/* Stops servers, waits until every request has been answered, and for the thread. */
void loop_free(struct loop *loop);

/* Runs fn(arg) on the loop's thread, soon; from any thread; many posts are one wake-up. */
void loop_post(struct loop *loop, void (*fn)(void *arg), void *arg);
bool loop_is_mine(const struct loop *loop); /* called on its thread? */

struct http_header {
    const char *name; /* lower case */
    const char *value;
};

/* A whole request.  All of it lives in arena, until the answer is written. */
struct http_request {
    struct arena *arena;
    const char *method;
    const char *path;      /* as it came, percent-encoding kept, without query; starts with '/' */
    const char *query;     /* behind '?', "" if there is none */
    const char *authority; /* Host or :authority */
    const struct http_header *headers;
    size_t n_headers;
    const char *body; /* body_n bytes and a NUL */
    size_t body_n;
    const char *peer; /* "127.0.0.1", "::1", or "unix" */
    bool loopback;    /* the peer is on this machine */
    bool tls;
    int version;        /* 11 or 20 */
    int64_t arrived_us; /* env.mono_us when its last byte was read */
};

/* The value of the first header of this (lower case) name, or NULL. */
const char *http_header(const struct http_request *in, const char *name);

struct http_response {
    int status;
    const struct http_header *headers; /* content-length, date and server are added */
    size_t n_headers;
    const char *body;
    size_t body_n;
    bool close; /* end the connection afterwards */
};

struct http_server_options {
    const char *listen; /* "127.0.0.1:8080", "[::1]:8080", "unix:/path" (made with mode 0600) */
    const char *tls_certificate, *tls_key; /* PEM files, or NULL; with ALPN h2 and http/1.1 */
    size_t connections_max;                /* beyond, new ones wait in the kernel; 0 is 10,000 */
    int64_t idle_timeout_us;               /* a connection without a request; 0 is 75 s */
    int64_t request_timeout_us;            /* from a request's first byte to its last; 0 is 30 s */

    /* A request is complete.  On the loop's thread; must not wait.  x is answered exactly once. */
    void (*on_request)(void *arg, struct http_exchange *x, const struct http_request *in);
    /* How large the body may be, asked when the headers are in; beyond it the answer is 413. */
    size_t (*body_max)(void *arg, const char *method, const char *path);
    void *arg;
};

/* Starts to listen; *why on failure.  Several servers may share a loop. */
enum status http_serve(struct loop *loop, const struct http_server_options *options,
                       struct arena *a, struct http_server **ret, const char **why);
int http_server_port(const struct http_server *s);

/* Asks peers to come by another way (Connection: close, a first GOAWAY), and still serves whoever
 * comes: for the time until whatever sends them here has heard.  Then drain.  Any thread. */
void http_server_leave(struct http_server *s);

/*
 * Drains: closes the listening socket, tells peers to go (Connection: close, GOAWAY), lets running
 * requests end, and returns when all connections are closed or grace_us has passed.  Any thread.
 */
void http_server_drain(struct http_server *s, int64_t grace_us);

/* Answers; from any thread.  out is copied or lives in the request's arena.  Afterwards neither x
 * nor the request may be touched. */
void http_respond(struct http_exchange *x, const struct http_response *out);

/* Gives no answer: the connection is closed, as by a server that died.  For tests of whoever asks;
 * from any thread. */
void http_drop(struct http_exchange *x);

/*
 * A live answer (server-sent events): head now, bytes as they come.  http_stream_write gives false
 * when the peer has gone or does not read (more than HTTP_STREAM_QUEUE_MAX bytes wait): then only
 * http_stream_end is left to call.  From any thread, one at a time.
 */
enum { HTTP_STREAM_QUEUE_MAX = 256 << 10 };
void http_stream_begin(struct http_exchange *x, const struct http_response *head);
bool http_stream_write(struct http_exchange *x, const char *bytes, size_t n);
void http_stream_end(struct http_exchange *x);

/* True once the peer has gone: the answer would reach nobody. */
bool http_gone(const struct http_exchange *x);

/* ---- client ---------------------------------------------------------------------------------- */

struct http_fetch {
    const char *method; /* NULL is GET */
    const char *url;
    const char *unix_socket; /* instead of the URL's host, or NULL */
    const struct http_header *headers;
    size_t n_headers;
    const char *body;
    size_t body_n;
    int64_t timeout_us;
    size_t answer_max; /* bytes; 0 is 8 MiB */
};

struct http_answer {
    int status;
    const struct http_header *headers;
    size_t n_headers;
    char *body; /* NUL behind it */
    size_t body_n;
};

/*
 * Fetches and waits (parks the fiber).  OK whatever the HTTP status; UNAVAILABLE if no connection
 * was made (nothing was sent, also if time ran out over it), DEADLINE_EXCEEDED if time ran out
 * behind that, UNKNOWN if it broke in between or the answer is too large (the peer may have acted),
 * INVALID_ARGUMENT for what is no http(s) URL.  *why says more.
 */
enum status http_fetch(struct arena *a, const struct http_fetch *in, struct http_answer *ret,
                       const char **why);

/* Figures for /metrics. */
struct net_figures {
    uint64_t connections, requests, refused;
    int64_t open_connections;
};
struct net_figures net_figures(void);
