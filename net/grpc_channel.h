/* What the files of gRPC's client share; all of it is the loop's, save where it says otherwise. */
#pragma once
#include "net/grpc_wire.h"
#include "net/http2.h"

enum {
    LINKS_MAX = 16,  /* addresses of a channel */
    TARGETS_MAX = 8, /* names in its target */
    GRPC_ASK_QUEUE_BYTES_MAX = 1 << 20,
};

struct grpc_stream;

/* A connection.  It outlives its link's use of it, until its calls have ended. */
struct grpc_line {
    struct conn *conn;
    struct grpc_channel *channel;
    struct grpc_link *link; /* NULL once it is replaced */
    struct grpc_line *next; /* in channel->lines */
    struct grpc_stream *streams;
    size_t n_streams;
    uv_connect_t connecting;
    struct alarm alarm; /* the end of connecting, then keepalive */
    bool ready;         /* its peer's SETTINGS are there */
    bool leaving;       /* it takes no more calls */
    bool pinged;
    int64_t heard_us, ready_us;
};

/* An address. */
struct grpc_link {
    struct sockaddr_storage address;
    struct grpc_line *line; /* connecting or ready, or NULL */
    struct alarm retry;
    struct grpc_channel *channel;
    int64_t backoff_us; /* the next one, or 0 */
    int64_t tried_us;   /* when it last began to connect */
    bool listed;        /* it was resolved again */
};

struct target {
    char *host;
    int port;
};

struct grpc_channel {
    struct conn_home home; /* first: its connections' */
    struct loop *loop;
    struct grpc_channel_options options;
    struct arena *arena;
    const char *why; /* no connection can be made, or was */
    bool hopeless;   /* and none will */
    const char *unix_path, *authority;

    struct target targets[TARGETS_MAX];
    size_t n_targets, resolving; /* which */
    uv_getaddrinfo_t lookup;
    bool looking_up;
    struct alarm resolve; /* when it may be done again */
    int64_t resolved_us;

    struct grpc_link *links[LINKS_MAX];
    size_t n_links, turn;
    struct grpc_line *lines;
    struct grpc_stream *waiting, *waiting_last;
    int64_t tokens; /* of retries, in tenths */
    bool begun, hung_up, closing;
    struct waiter *closer;

    _Atomic uint64_t calls, retries, failures, connections; /* any thread */
    _Atomic int64_t under_way;
};

/* grpc_channel.c */
struct grpc_line *grpc_channel_pick(struct grpc_channel *c); /* NULL: none now */
bool grpc_channel_connected(const struct grpc_channel *c);
void grpc_channel_begin(struct grpc_channel *c); /* connects what is not connected */
void grpc_line_heard(struct grpc_line *line);
void grpc_line_ready(struct grpc_line *line);
void grpc_line_leave(struct grpc_line *line); /* takes no more calls, and is replaced */
void grpc_line_busy(struct grpc_line *line);  /* it has calls: keepalive runs */

/* A call of ours.  The loop's from when it is told until it says that it has ended.
 */
struct grpc_stream {
    struct teller teller;
    struct grpc_channel *channel;
    struct arena *arena;
    struct grpc_ask in;
    nghttp2_nv *head;
    size_t n_head, timeout_at; /* in head, or 0 */
    char timeout[GRPC_TIMEOUT_CHARS];
    uint8_t prefix[GRPC_PREFIX_BYTES];
    bool streaming;

    struct grpc_line *line;          /* while it has a stream there */
    struct grpc_stream *next, *prev; /* on the line, or of those that wait */
    int32_t id;
    enum grpc_stream_phase {
        STREAM_NEW,
        STREAM_WAITS,
        STREAM_RUNS,
        STREAM_PAUSES,
        STREAM_ENDED
    } phase;
    struct alarm alarm;
    int attempts;
    size_t sent;     /* of prefix and message */
    bool serialized; /* its HEADERS have left nghttp2 */
    bool spent;      /* messages beyond the first have left: it cannot be sent again */

    int http; /* its status, 0 until it is there */
    bool is_grpc, in_trailers;
    int said; /* grpc-status, or -1 */
    const char *encoding;
    struct grpc_pairs headers, trailers;
    struct grpc_reader partial;
    struct chunk *message; /* a unary answer's */
    enum status st;
    const char *why;
    size_t withheld;

    struct chunks out, came; /* from here on under loop->lock */
    bool out_all, wants_credit, ended;
    struct waiter *waits, *send_waits;

    struct chunk *given; /* the caller's: what grpc_stream_next gave last */
};

enum { GRPC_ASK_START = 1, GRPC_ASK_SEND = 2, GRPC_ASK_TAKEN = 4, GRPC_ASK_CANCEL = 8 };

/* grpc_stream.c: the nghttp2 side.  False: the line takes no more. */
bool grpc_stream_submit(struct grpc_stream *s, struct grpc_line *line);
void grpc_stream_leave(struct grpc_stream *s); /* forgets its line, which forgets it */

/* grpc_attempt.c */
void grpc_stream_told(struct teller *t, unsigned told);
void grpc_stream_alarm(void *arg);
void grpc_stream_over(struct grpc_stream *s, uint32_t error); /* its stream is closed */
void grpc_stream_fail(struct grpc_stream *s, enum status st, const char *why); /* and resets it */
void grpc_streams_go(struct grpc_channel *c); /* those that wait, while there is room */
void grpc_streams_lost(struct grpc_line *line, const char *why); /* the connection has broken */
