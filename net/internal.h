/*
 * What the files of net/ share; nobody else includes this.
 *
 * Everything here belongs to the loop's thread, except where it says "any thread".  A connection is
 * one conn; it speaks HTTP/1.1 (http1.c) or HTTP/2 (http2.c), with or without TLS (tls.c), and
 * carries exchanges (exchange.c).  An exchange outlives its connection until its handler has
 * answered.
 */
#pragma once
#include <arpa/inet.h>
#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/un.h>
#include <uv.h>

#include "net/head.h"
#include "net/net.h"

enum {
    READ_BYTES = 64 << 10,  /* read from a socket at once */
    WRITE_BYTES = 64 << 10, /* put together for one write */
    ARENAS_IDLE_MAX = 256,  /* kept for the next request */
    PROBLEM_BYTES_MAX = 512,
};

/* ---- loop.c ---------------------------------------------------------------------------------- */

struct post {
    void (*fn)(void *arg);
    void *arg;
};

struct posts {
    struct post *list;
    size_t n, room;
};

/* Something that other threads have words for: part of what it is about, as its first member.  The
 * loop is told of it once for all that is said until it listens. */
struct teller {
    struct teller *next;
    unsigned told; /* under loop->lock */
    void (*listen)(struct teller *t, unsigned told);
};

/* Rings once, on the loop's thread. */
struct alarm {
    int64_t at_us; /* on env.mono_us's clock */
    size_t slot;   /* in the heap, from 1 on; 0 if it is not set */
    void (*ring)(void *arg);
    void *arg;
};

struct alarms {
    uv_timer_t timer;
    int64_t armed_us; /* when the timer fires, or INT64_MAX */
    struct alarm **heap;
    size_t n, room;
};

struct loop {
    uv_loop_t uv;
    uv_async_t wake;
    uv_prepare_t before_poll;
    pthread_t thread;

    pthread_mutex_t lock; /* any thread: over the next lines, and what says that it is under it */
    struct posts posts;
    struct teller *told_first, *told_last;

    struct posts running; /* the posts that are being run */
    struct http_server *servers;
    struct conn *dirty; /* HTTP/2 connections that may have frames to send */
    struct alarms alarms;
    struct arena *arenas[ARENAS_IDLE_MAX];
    size_t n_arenas;
    size_t n_exchanges; /* that live */
    bool stopping, stopped;
    char in[READ_BYTES];    /* what a socket gave */
    char plain[READ_BYTES]; /* the same without TLS */
    char out[WRITE_BYTES];  /* an answer being put together */
};

/* Runs fn(arg) on the loop's thread and waits for it (parks the fiber). */
void loop_call(struct loop *loop, void (*fn)(void *arg), void *arg);

/* Somebody who waits for the loop.  woken is under loop->lock. */
struct waiter {
    struct fiber *fiber;
    bool woken;
    struct waiter *next;
};
void waiter_wake(struct loop *loop, struct waiter *w);
void waiter_wait(struct loop *loop, struct waiter *w);
/* The same with loop->lock held; NULL is allowed. */
void waiter_wake_held(struct waiter *w);

/* After it, what was told of may be freed by the loop. */
void loop_tell(struct loop *loop, struct teller *t, unsigned what);
/* The same with loop->lock held; true: uv_async_send(&loop->wake) is to follow. */
bool loop_note(struct loop *loop, struct teller *t, unsigned what);

struct arena *loop_arena(struct loop *loop);
void loop_arena_back(struct loop *loop, struct arena *a);

/* ---- alarm.c --------------------------------------------------------------------------------- */

void alarms_open(struct loop *loop);
void alarms_close(struct loop *loop);
void alarms_free(struct loop *loop);
void alarm_set(struct loop *loop, struct alarm *alarm, int64_t at_us); /* anew, if it was set */
void alarm_clear(struct loop *loop, struct alarm *alarm);

/* ---- chunks.c -------------------------------------------------------------------------------- */

struct chunk {
    struct chunk *next;
    size_t n, used;
    char bytes[];
};

/* Bytes that wait to be sent or taken, in order. */
struct chunks {
    struct chunk *first, *last;
    size_t bytes;
};

struct chunk *chunk_new(size_t n);
void chunks_add(struct chunks *q, struct chunk *chunk);
struct chunk *chunks_first(struct chunks *q); /* taken out of it, or NULL */
size_t chunks_take(struct chunks *q, char *ret, size_t room);
void chunks_free(struct chunks *q);

/* ---- server.c -------------------------------------------------------------------------------- */

union any_stream {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
};

struct http2_kind;

/* Whose a connection is: a server's, or a channel's. */
struct conn_home {
    struct loop *loop;
    SSL_CTX *tls;                   /* NULL: none */
    const struct http2_kind *http2; /* what becomes of HTTP/2's streams */
    void (*closed)(struct conn *c);
    int64_t idle_timeout_us, request_timeout_us;
    unsigned keepalive_s; /* TCP's, for peers that vanish; 0: none */
    bool client;          /* we connect */
    bool is_unix;
    bool leaving; /* whoever is answered is asked to come by another way next time */
    bool draining;
};

struct http_server {
    struct conn_home home;
    struct http_server *next;
    struct http_server_options options;
    struct arena *arena; /* what lives as long, or NULL */

    union any_stream listener;
    uv_timer_t sweep;
    int handles;       /* of the two above, that are open */
    bool accept_waits; /* connections_max is reached, and one more is there */
    char unix_path[sizeof((struct sockaddr_un *)NULL)->sun_path];
    dev_t unix_device;
    ino_t unix_inode;
    int port;

    struct conn *conns;
    size_t n_conns;
    bool drained;
    int64_t drain_until_us;
    struct waiter *waiters;
};

/* Starts to listen, with its TLS context and what its loop frees: s is calloc'd and the first
 * member of whatever it is. */
enum status server_open(struct http_server *s, struct loop *loop,
                        const struct http_server_options *options, struct arena *a,
                        const char **why);
void server_stop(struct http_server *s); /* at once */

/* listen.c: opens and binds the listener.  The text says why not, or is NULL. */
const char *listener_open(struct http_server *s, struct arena *a);
void listener_remove_file(const struct http_server *s);

/* Figures, any thread. */
struct counters {
    _Atomic uint64_t connections, requests, refused;
    _Atomic int64_t open_connections;
};
extern struct counters net_counters;

/* ---- conn.c ---------------------------------------------------------------------------------- */

enum conn_phase {
    CONN_IDLE,    /* between requests; the idle timeout runs */
    CONN_READING, /* a request has begun; the request timeout runs from its first byte */
    CONN_BUSY,    /* requests are being answered */
    CONN_LINGER,  /* all is said; what still comes in is thrown away */
    CONN_CLOSED,
};

enum protocol { PROTOCOL_UNKNOWN, PROTOCOL_HTTP1, PROTOCOL_HTTP2 };

struct http1;
struct http2;

struct conn {
    union any_stream uv;
    uv_shutdown_t shutdown;
    struct loop *loop;
    struct conn_home *home;
    struct http_server *server; /* NULL if we are the client */
    struct conn *next, *prev;   /* in server->conns */
    struct conn *next_dirty;
    bool is_dirty;

    enum conn_phase phase;
    enum protocol protocol;
    struct http1 *http1;
    struct http2 *http2;
    SSL *ssl;
    bool tls_ready; /* the handshake is done */
    struct http_exchange *exchanges;
    struct grpc_call *calls; /* of its peer */
    struct grpc_line *line;  /* if we are the client */
    char *identity;          /* of the peer's certificate, or NULL */
    const char *why;         /* it was closed, or NULL */

    char *kept; /* read, but not yet used: part of a head, or a pipelined request */
    size_t kept_n, kept_room;
    bool read_stopped;
    bool eof; /* the peer has ended its side */

    int64_t deadline_us; /* of the phase */
    int64_t sent_us;     /* when the peer last took some of what waits for it */
    size_t waiting_seen; /* how much waited when we last looked */

    char peer[INET6_ADDRSTRLEN];
    bool loopback;
};

struct conn *conn_new(struct conn_home *home);
void conn_start(struct conn *c);
void conn_start_client(struct conn *c,
                       const char *name); /* it has connected; name as in tls_connect */
void conn_write(struct conn *c, const uv_buf_t *bufs, unsigned n);     /* through TLS, if any */
void conn_write_raw(struct conn *c, const uv_buf_t *bufs, unsigned n); /* past TLS */
size_t conn_waiting(const struct conn *c);                   /* bytes that the peer has not taken */
void conn_take(struct conn *c, const char *bytes, size_t n); /* what the peer said, decrypted */
void conn_keep(struct conn *c, const char *bytes, size_t n);
void conn_kept_drop(struct conn *c, size_t n); /* the first n are used */
void conn_read_stop(struct conn *c);
void conn_read_start(struct conn *c);
void conn_phase(struct conn *c, enum conn_phase phase);
void conn_finish(struct conn *c); /* what waits is sent, then it is closed in good order */
void conn_close(struct conn *c);  /* at once; freed later */
/* The same, for a reason that whoever connected may tell: text that stays. */
void conn_close_why(struct conn *c, const char *why);
void conn_sweep(struct conn *c, int64_t now_us);
void conn_drain(struct conn *c);

/* ---- tls.c ----------------------------------------------------------------------------------- */

SSL_CTX *tls_context(const char *certificate, const char *key, struct arena *a, const char **why);
/* Both sides show certificates that one of the authorities has signed; h2 only. */
SSL_CTX *tls_context_mutual(bool client, const char *authorities, const char *certificate,
                            const char *key, struct arena *a, const char **why);
bool tls_start(struct conn *c);
/* As the client: begins the handshake; name is what the peer's certificate must be for. */
bool tls_connect(struct conn *c, const char *name);
void tls_read(struct conn *c, const char *bytes, size_t n);
void tls_write(struct conn *c, const uv_buf_t *bufs, unsigned n);
void tls_finish(struct conn *c); /* says goodbye */

/* ---- exchange.c ------------------------------------------------------------------------------ */

/* What a handler has said and the loop has not yet heard. */
enum { TOLD_ANSWER = 1, TOLD_BEGIN = 2, TOLD_BYTES = 4, TOLD_END = 8, TOLD_DROP = 16 };

struct http_exchange {
    struct teller teller;
    struct arena *arena;
    struct loop *loop;
    struct conn *conn;                 /* NULL once the peer has gone */
    struct http_exchange *next, *prev; /* in conn->exchanges */
    struct http_request in;
    char peer[INET6_ADDRSTRLEN];
    int64_t begun_us; /* its first byte */
    size_t body_room, body_max;
    char *body;
    bool given; /* the handler has it */
    bool done;  /* the handler has answered, or is not asked any more */
    bool head_only;

    /* HTTP/1 */
    bool keep_alive, expects, has_body;
    size_t length; /* as declared */
    bool chunked_in, chunked_out;

    /* HTTP/2 */
    int32_t stream_id;
    struct http_header *headers;
    const char *host;
    size_t header_bytes;
    struct refusal refused; /* its status is 0 if it is not */
    size_t body_counted;    /* in the session's sum of unfinished bodies */
    int64_t sent_us;        /* since when its answer waits for the peer, or 0 */

    struct http_response answer; /* lives in arena */
    size_t answer_sent;          /* of its body */
    bool streaming;

    _Atomic bool gone; /* any thread */

    struct chunks queued; /* from here on under loop->lock */
    bool overrun;
};

struct http_exchange *exchange_new(struct conn *c);
void exchange_free(struct http_exchange *x);
void exchange_lose(struct http_exchange *x); /* its peer has gone */
/* False: past body_max. */
bool exchange_body_add(struct http_exchange *x, const char *bytes, size_t n);
void exchange_ask_body_max(struct http_exchange *x);
void exchange_give(struct http_exchange *x); /* to the handler */
/* Up to room bytes of a stream; *ret_ended when no more will come. */
size_t exchange_take(struct http_exchange *x, char *ret, size_t room, bool *ret_ended);
bool exchange_overrun(struct http_exchange *x);
size_t exchange_queued(struct http_exchange *x);
void response_copy(struct arena *a, const struct http_response *in, struct http_response *ret);

/* ---- http1.c, http2.c ------------------------------------------------------------------------ */

void http1_start(struct conn *c);
void http1_free(struct conn *c);
void http1_read(struct conn *c, const char *bytes, size_t n);
void http1_continue(struct conn *c); /* something was answered or written: goes on */
void http1_timeout(struct conn *c);
void http1_answer(struct http_exchange *x, const struct http_response *out);
void http1_stream_begin(struct http_exchange *x);
void http1_stream_pump(struct http_exchange *x);

bool http2_start(struct conn *c);
void http2_free(struct conn *c);
void http2_read(struct conn *c, const char *bytes, size_t n);
void http2_flush(struct conn *c); /* sends what waits */
void http2_touch(struct conn *c); /* http2_flush, at the end of this turn of the loop */
void http2_goaway(struct conn *c, uint32_t error);
void http2_leave(struct conn *c); /* a first GOAWAY: whatever is begun meanwhile is served */

extern const struct http2_kind http2_exchanges; /* a stream is an exchange */
extern const struct http2_kind http2_calls;     /* a stream is a call of grpc_server.c's */
extern const struct http2_kind http2_asks;      /* and of grpc_client.c's */
void grpc_call_lose(struct grpc_call *call);
void http2_answer(struct http_exchange *x);
void http2_stream_pump(struct http_exchange *x);
