/*
 * gRPC on the loop's HTTP/2: a server and a client.
 *
 * Source: "gRPC over HTTP2" (PROTOCOL-HTTP2.md), the health checking protocol (grpc.health.v1), the
 * server reflection protocol (grpc.reflection.v1 and v1alpha), connection backoff
 * (connection-backoff.md), HTTP-to-status mapping (http-grpc-status-mapping.md).
 */
#pragma once
#include "base/status.h"
#include "net/net.h"

enum {
    GRPC_MESSAGE_BYTES_MAX = 4 << 20, /* of one message, unless options say otherwise */
    GRPC_METADATA_MAX = 32,           /* pairs on one call, each way */
    GRPC_METADATA_BYTES_MAX = 8 << 10,
};

/* Names are lower case.  A name that ends in "-bin" has any bytes as its value (base64 on the
 * wire); another has printable ASCII. */
struct grpc_pair {
    const char *name;
    const char *value;
    size_t value_n;
};

/* Mutual TLS: who may sign, and who we are.  PEM files. */
struct grpc_tls {
    const char *authorities, *certificate, *key;
};

/* ---- server ---------------------------------------------------------------------------------- */

struct grpc_server;
struct grpc_call; /* one that is being served */

struct grpc_request {
    struct arena *arena;    /* the call's: lives until it is answered */
    const char *path;       /* "/souk.orders.v1.Orders/PlaceOrder" */
    const uint8_t *message; /* the first; a unary call has no other */
    size_t n;
    const struct grpc_pair *metadata; /* decoded; without what is HTTP/2's and gRPC's own */
    size_t n_metadata;
    int64_t deadline_us;  /* on env.mono_us's clock; INT64_MAX without one */
    const char *peer;     /* "127.0.0.1", or "unix" */
    const char *identity; /* of the peer's certificate: its first DNS name; "" without TLS */
};

struct grpc_server_options {
    const char *listen;          /* "127.0.0.1:7400", "[::1]:0", "unix:/path" */
    const struct grpc_tls *tls;  /* NULL: none; with it a peer must show a certificate */
    size_t message_max;          /* 0 is GRPC_MESSAGE_BYTES_MAX */
    const char *const *services; /* full names, for health and reflection; NULL-terminated */
    const uint8_t *descriptors;  /* a packed google.protobuf.FileDescriptorSet, for reflection */
    size_t descriptors_n;

    /* True for an rpc whose client sends many messages: then on_call comes with the first (message
     * is NULL if its client ends without one), and the rest by grpc_next.  NULL: all are unary. */
    bool (*streams)(void *arg, const char *path);
    /* A unary request is whole (a stream's first message is).  On the loop's thread; must not wait.
     * The call is ended exactly once, by grpc_end. */
    void (*on_call)(void *arg, struct grpc_call *call, const struct grpc_request *in);
    void *arg;
};

enum status grpc_serve(struct loop *loop, const struct grpc_server_options *options,
                       struct arena *a, struct grpc_server **ret, const char **why);
int grpc_server_port(const struct grpc_server *s);
/* As http_server_drain; health says NOT_SERVING from here on, and who watches it is sent away. */
void grpc_server_drain(struct grpc_server *s, int64_t grace_us);
/* What grpc.health.v1 answers for all services; SERVING from the start on.  Any thread. */
void grpc_server_healthy(struct grpc_server *s, bool healthy);

/* From any thread, one at a time.  Bytes are copied. */
void grpc_header(struct grpc_call *call,
                 const struct grpc_pair *pair); /* before the first message */
/* False: the peer is gone.  Waits while much has not left yet; on the loop's thread, which cannot,
 * a call of which too much waits is reset. */
bool grpc_send(struct grpc_call *call, const uint8_t *message, size_t n);
/* Of a streaming client: the next message, waited for (parks).  False when there is no more. */
bool grpc_next(struct grpc_call *call, const uint8_t **ret, size_t *ret_n);
/* Ends it with a status and trailers; message may be NULL.  Without a message sent before, and
 * unless st is OK, that is trailers-only.  Neither call nor request may be touched afterwards. */
void grpc_end(struct grpc_call *call, enum status st, const char *message,
              const struct grpc_pair *trailers, size_t n);
/* A unary answer: grpc_send and grpc_end(OK). */
void grpc_answer(struct grpc_call *call, const uint8_t *message, size_t n,
                 const struct grpc_pair *trailers, size_t n_trailers);
/* True once the peer has cancelled, gone, or its deadline has passed. */
bool grpc_cancelled(const struct grpc_call *call);

/* ---- client ---------------------------------------------------------------------------------- */

struct grpc_channel;

struct grpc_channel_options {
    const char *target; /* "host:port" (all its addresses, by DNS), "a:1,b:2", "unix:/path" */
    const struct grpc_tls *tls; /* NULL: none */
    const char *server_name;    /* what the certificate must say; NULL: the target's host */
    const char *user_agent;     /* or NULL */
    size_t message_max;         /* 0 is GRPC_MESSAGE_BYTES_MAX */
    int64_t keepalive_us; /* a PING after so long without a frame while calls run; 0 is 10 s */
    int64_t keepalive_timeout_us; /* and the connection is dead without its answer; 0 is 5 s */
    size_t calls_max; /* under way at once; beyond, RESOURCE_EXHAUSTED at once; 0 is 4,096 */
};

struct grpc_ask {
    const char *path;
    const uint8_t *message;
    size_t n;
    const struct grpc_pair *metadata;
    size_t n_metadata;
    int64_t deadline_us; /* on env.mono_us's clock; sent as grpc-timeout */
    bool repeatable;     /* safe to send again although the peer may have acted on the first */
};

struct grpc_reply {
    const uint8_t *message;
    size_t n;
    const char *why; /* of a failure; "" if nobody said */
    const struct grpc_pair *metadata, *trailers;
    size_t n_metadata, n_trailers;
};

/* Connects at its first call.  Never fails by itself. */
struct grpc_channel *grpc_channel_new(struct loop *loop,
                                      const struct grpc_channel_options *options);
/* Its calls end with UNAVAILABLE, those under way and those to come. */
void grpc_channel_hang_up(struct grpc_channel *c);
void grpc_channel_free(struct grpc_channel *c); /* no call is under way */

/*
 * A unary call: waits (parks the fiber) for its end.  The reply lives in a.
 *
 * The status is the peer's, or: UNAVAILABLE if nothing was sent (also when time ran out over
 * connecting), or it broke behind that;
 * DEADLINE_EXCEEDED; RESOURCE_EXHAUSTED past a limit of ours; INTERNAL for what is no gRPC.
 * A call is sent again, to another address if there is one, while its deadline lasts: when the peer
 * did certainly not act (no connection, REFUSED_STREAM, behind GOAWAY's last stream), and after
 * UNAVAILABLE only if it is repeatable and the channel's budget of retries lasts.  Without any
 * connection it waits for two seconds at most.
 */
enum status grpc_unary(struct grpc_channel *c, struct arena *a, const struct grpc_ask *in,
                       struct grpc_reply *ret);

/*
 * A call with many messages, either way: one fiber sends and takes.  What in points to is copied;
 * its message may be NULL, for none yet.  It is sent again only while certainly nothing of it was
 * seen.
 */
struct grpc_stream;
struct grpc_stream *grpc_open(struct grpc_channel *c, const struct grpc_ask *in);
bool grpc_stream_send(struct grpc_stream *s, const uint8_t *message, size_t n); /* false: ended */
void grpc_stream_sent(struct grpc_stream *s); /* there is no more to send */
/* Waits; the message stays until the next call.  False when there is no more. */
bool grpc_stream_next(struct grpc_stream *s, const uint8_t **ret, size_t *ret_n);
void grpc_stream_cancel(struct grpc_stream *s); /* from any thread */
/* Waits for its end and frees it; messages that were not taken are dropped. */
enum status grpc_stream_end(struct grpc_stream *s, struct arena *a, struct grpc_reply *ret);

/* Figures of a channel, for /metrics.  A failure is a call that did not get through or broke there
 * (by HTTP, 500 and above), and not one that was told no. */
struct grpc_figures {
    uint64_t calls, retries, failures, connections;
    int64_t under_way;
};
struct grpc_figures grpc_channel_figures(const struct grpc_channel *c);
