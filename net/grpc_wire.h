/* gRPC's own words in HTTP/2: messages, timeouts, metadata.  Pure functions. */
#pragma once
#include "net/grpc.h"

enum {
    GRPC_PREFIX_BYTES = 5,        /* before each message: compressed or not, and its length */
    GRPC_TIMEOUT_CHARS = 16,      /* room for grpc-timeout with its NUL */
    GRPC_WHY_BYTES_MAX = 1 << 10, /* of a grpc-message that we send */
};

void grpc_prefix(uint8_t *ret, size_t n);

/* Puts messages together from DATA frames.  Zero at first. */
struct grpc_reader {
    uint8_t prefix[GRPC_PREFIX_BYTES];
    size_t prefix_n;
    size_t length; /* as announced */
    struct chunk *message;
    size_t room;
};

enum grpc_progress { GRPC_MORE, GRPC_WHOLE, GRPC_TOO_LARGE, GRPC_COMPRESSED };

/* Looks at up to n bytes and moves *bytes and *n past what it used.  GRPC_WHOLE: *ret is a message,
 * whose n bytes are the caller's to free; what follows it is for the next call. */
enum grpc_progress grpc_read(struct grpc_reader *r, const uint8_t **bytes, size_t *n, size_t max,
                             struct chunk **ret);
void grpc_reader_free(struct grpc_reader *r);
bool grpc_reader_between(const struct grpc_reader *r); /* no message has begun */

/* "100m" and so on; false for what is no timeout. */
bool grpc_timeout_parse(const char *text, size_t n, int64_t *ret_us);
void grpc_timeout_format(int64_t us, char ret[GRPC_TIMEOUT_CHARS]);

/* grpc-message: percent-encoded UTF-8. */
char *grpc_why_encode(struct arena *a, const char *why);
char *grpc_why_decode(struct arena *a, const char *text, size_t n);

/* A name that metadata may have, and one that only has text. */
bool grpc_name_valid(const char *name);
bool grpc_name_reserved(const char *name, size_t n); /* HTTP/2's and gRPC's own */
bool grpc_name_binary(const char *name, size_t n);

/* Metadata that comes: decoded pairs, within bounds. */
struct grpc_pairs {
    struct grpc_pair *list;
    size_t n, bytes;
    const char *wrong; /* what is too much, or malformed; NULL if nothing is */
};
void grpc_pairs_add(struct grpc_pairs *p, struct arena *a, const uint8_t *name, size_t name_n,
                    const uint8_t *value, size_t value_n);

/* The value as it goes on the wire: itself, or base64 in the arena.  False if it cannot go. */
bool grpc_pair_encode(struct arena *a, const struct grpc_pair *pair, const char **ret,
                      size_t *ret_n);

char *grpc_base64_encode(struct arena *a, const void *bytes, size_t n, size_t *ret_n);
/* With or without padding; NULL for what is no base64. */
uint8_t *grpc_base64_decode(struct arena *a, const char *text, size_t n, size_t *ret_n);

/* What an answer that is no gRPC, and a stream's reset, stand for. */
enum status grpc_status_of_http(int http);
enum status grpc_status_of_reset(uint32_t error);
