/* What http2.c and http2_stream.c share. */
#pragma once
#include "net/internal.h"

/* How many more of something a peer may send; in millionths. */
struct bucket {
    int64_t left, seen_us;
};

/* What becomes of a session's streams: two sides of gRPC, or exchanges. */
struct http2_kind {
    bool client;
    uint32_t streams_max, stream_window_bytes, connection_window_bytes, header_bytes_max;
    int64_t resets_burst, resets_per_second; /* of streams; 0: as many as it likes */
    void (*fill)(nghttp2_session_callbacks *cb);
    void (*sweep)(struct conn *c, int64_t now_us); /* or NULL */
    bool credits_itself;                           /* by nghttp2_session_consume */
};

struct http2 {
    nghttp2_session *session;
    struct bucket resets; /* streams reset by the peer, or by us for its mistakes */
    struct bucket frames; /* that carry nothing */
    size_t bodies_bytes;  /* of requests that are not yet whole */
    size_t out_bytes;     /* of gRPC's answers that the peer has not taken */
    size_t n_streams;
    bool calmed; /* it asks too much: we have said so and leave */
    bool gone_away;
};

/* Counts what a peer may only do so often; past the bound the session must calm down. */
void http2_count_received(struct conn *c, const nghttp2_frame *frame);
/* Of a server, for on_frame_send: counts, and tells a peer that is still sending its request, when
 * all is said, to stop (RFC 9113, 8.1). */
int http2_on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg);
/* A request's stream is there, and it is closed. */
void http2_stream_begun(struct conn *c);
void http2_stream_ended(struct conn *c);
nghttp2_nv http2_field(const char *name, const char *value, size_t value_n);
