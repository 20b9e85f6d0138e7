/* What http2.c and http2_stream.c share. */
#pragma once
#include "net/internal.h"

/* How many more of something a peer may send; in millionths. */
struct bucket {
    int64_t left, seen_us;
};

struct http2 {
    nghttp2_session *session;
    struct bucket resets; /* streams reset by the peer, or by us for its mistakes */
    struct bucket frames; /* that carry nothing */
    size_t bodies_bytes;  /* of requests that are not yet whole */
    size_t n_streams;
    bool must_calm, calmed; /* it asks too much: we say so and leave */
    bool gone_away;
};

/* Counts one; past the bound the session must calm down. */
void http2_count(struct http2 *h, struct bucket *b, int64_t burst, int64_t per_second);
void http2_refuse(struct http_exchange *x, int status, const char *detail);

int http2_on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg);
int http2_on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                    size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags, void *arg);
int http2_on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
                            const uint8_t *name, size_t name_n, const uint8_t *value,
                            size_t value_n, uint8_t flags, void *arg);
int http2_on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg);
int http2_on_data(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data,
                  size_t n, void *arg);
int http2_on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error, void *arg);
int http2_on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg);
