/* For the tests of hostile peers: raw HTTP/2 frames. */
#pragma once
#include <nghttp2/nghttp2.h>

#include "net/net_test.h"

enum { FRAME_HEAD = 9 };

static inline void
add_frame(struct text *t, int type, int flags, uint32_t stream, const void *payload, size_t n)
{
    const unsigned char head[FRAME_HEAD] = {
        (unsigned char)(n >> 16),      (unsigned char)(n >> 8),      (unsigned char)n,
        (unsigned char)type,           (unsigned char)flags,         (unsigned char)(stream >> 24),
        (unsigned char)(stream >> 16), (unsigned char)(stream >> 8), (unsigned char)stream};
    text_add_n(t, head, sizeof head);
    text_add_n(t, payload, n);
}

static inline struct text
hostile_begin(struct world *w)
{
    struct text t = text_in(w->arena);
    text_add(&t, NGHTTP2_CLIENT_MAGIC);
    add_frame(&t, NGHTTP2_SETTINGS, 0, 0, "", 0);
    return t;
}

/* The error of the last frame of this type (GOAWAY, RST_STREAM) and stream in what the server sent,
 * or -1. */
static inline int
error_of(const struct text *heard, int type, unsigned stream)
{
    int error = -1;
    const unsigned char *b = (const unsigned char *)heard->bytes;
    for (size_t at = 0; at + FRAME_HEAD <= heard->n;) {
        size_t n = (size_t)b[at] << 16 | (size_t)b[at + 1] << 8 | b[at + 2];
        unsigned of = (unsigned)b[at + 7] << 8 | b[at + 8];
        if (b[at + 3] == type && of == stream && at + FRAME_HEAD + n <= heard->n)
            error = b[at + FRAME_HEAD + (type == NGHTTP2_GOAWAY ? 7 : 3)];
        at += FRAME_HEAD + n;
    }
    return error;
}

static inline int
goaway_error(const struct text *heard)
{
    return error_of(heard, NGHTTP2_GOAWAY, 0);
}

/* Says it, and hears until that stream is reset. */
static inline int
reset_error(struct world *w, const struct text *said, unsigned stream)
{
    int fd = dial(w), error;
    say_n(fd, said->bytes, said->n);
    struct text heard = text_in(w->arena);
    char some[4096];
    while ((error = error_of(&heard, NGHTTP2_RST_STREAM, stream)) < 0) {
        ssize_t n = recv(fd, some, sizeof some, 0);
        if (n <= 0)
            break;
        text_add_n(&heard, some, (size_t)n);
    }
    close(fd);
    return error;
}

static inline void
check_hostile(struct world *w, const struct text *said, int wanted)
{
    struct text heard = converse(w, said->bytes, said->n);
    check_int(goaway_error(&heard), wanted);
}
