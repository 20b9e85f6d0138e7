/* What the files of gRPC's server share. */
#pragma once
#include "net/grpc_wire.h"
#include "net/http2.h"

struct grpc_symbols;

/* An rpc of ours (health, reflection): all of it on the loop's thread. */
struct grpc_own {
    const char *path;
    void (*message)(struct grpc_call *call, const uint8_t *bytes, size_t n);
    void (*ended)(struct grpc_call *call); /* the client has sent its last */
    void (*gone)(struct grpc_call *call);  /* before the call is freed; or NULL */
};

struct grpc_server {
    struct http_server http; /* first: the loop frees it as that */
    struct grpc_server_options options;
    const char *const *services;
    struct grpc_symbols *symbols; /* NULL without descriptors */
    struct grpc_call *watchers;   /* of health */
    bool unhealthy, leaves;
};

enum { GRPC_QUEUE_BYTES_MAX = 1 << 20 }; /* of messages that wait, beyond the one that passes it */

/* How a call ends; names and values as on the wire. */
struct grpc_ending {
    enum status st;
    const char *why; /* percent-encoded, or NULL */
    const struct grpc_pair *trailers;
    size_t n;
};

struct grpc_call {
    struct teller teller;
    struct arena *arena; /* the handler's, once it has the call */
    struct grpc_server *server;
    struct loop *loop;
    struct conn *conn;             /* NULL once the stream is closed */
    struct grpc_call *next, *prev; /* in conn->calls */
    int32_t stream_id;

    struct grpc_request in;
    struct grpc_pairs pairs;
    const char *method, *type, *encoding;
    size_t header_bytes;
    int64_t timeout_us; /* INT64_MAX without one */
    struct alarm deadline;
    int64_t begun_us;
    struct grpc_reader partial;
    size_t counted;      /* in the session's sum of unfinished messages */
    struct chunk *first; /* the message that in points to */
    const struct grpc_own *own;
    bool streams;    /* its client sends many messages */
    bool given;      /* the handler has it */
    bool done;       /* and has ended it */
    bool begun;      /* its headers are submitted */
    bool finished;   /* so is its end */
    int64_t sent_us; /* since when bytes wait for the peer, or 0 */
    size_t weighed;  /* in the session's sum of what the peer has not taken */
    size_t withheld; /* of the peer's credit, while too much of what it sent waits */
    struct grpc_ending end;

    _Atomic bool gone; /* any thread */

    struct chunks out, came; /* from here on under loop->lock */
    bool came_all, wants_credit;
    struct waiter *next_waits, *send_waits;

    struct grpc_pair *headers; /* from here on the handler's words; the loop reads them when told */
    size_t n_headers;
    struct grpc_ending said;
    bool spoke;              /* a message was sent */
    struct chunk *given_out; /* what grpc_next gave last */

    struct grpc_call *next_watcher; /* grpc_health.c's */
    const char *watched;
};

/* grpc_call.c */
void grpc_call_free(struct grpc_call *call);
void
grpc_call_gone(struct grpc_call *call); /* it reaches nobody any more: who waits on it is told */

/* grpc_answer.c: the server itself ends it; why is text that stays. */
void grpc_call_finish(struct grpc_call *call, enum status st, const char *why);
void grpc_call_listen(struct teller *t, unsigned told);
/* Keeps the session's sum of what waits; true if it is too much. */
bool grpc_call_weigh(struct grpc_call *call, size_t waits);
void grpc_calls_sweep(struct conn *c, int64_t now_us);

enum { GRPC_TOLD_OUT = 1, GRPC_TOLD_END = 2, GRPC_TOLD_TAKEN = 4, GRPC_TOLD_FLOOD = 8 };

/* grpc_health.c, grpc_reflection.c */
const struct grpc_own *grpc_health_find(const char *path);
void grpc_health_changed(struct grpc_server *s);
const struct grpc_own *grpc_reflection_find(const char *path);
/* Reads the descriptors; NULL if there are none, *why if they are malformed. */
struct grpc_symbols *grpc_symbols_read(struct arena *a, const uint8_t *bytes, size_t n,
                                       const char **why);
