/*
 * Tokens: JWTs signed with ES256 (RFC 7515, 7518, 7519), read as RFC 8725 says: one algorithm, a
 * known key, a type, no header that we did not write.  Pure but for the key's text; any thread may
 * use it.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"

enum { TOKEN_BYTES_MAX = 2048, KEY_BYTES_MAX = 512, KEY_ID_CHARS = 43 };

/* A key pair as JWKs, and the public one's name: its thumbprint (RFC 7638). */
struct token_key {
    char private_jwk[KEY_BYTES_MAX], public_jwk[KEY_BYTES_MAX];
    char id[KEY_ID_CHARS + 1];
};

/* Whom a token speaks for: a user in a session, or the holder of one order. */
struct token_claims {
    const char *user_id, *session_id;    /* both, or "" */
    const char *order_id;                /* a guest's, or "" */
    int64_t issued_at_us, expires_at_us; /* whole seconds */
};

/* A new key pair as JSON, to be kept. */
const char *token_key_make(struct arena *a);
/* From what was kept; false if it is no P-256 key pair. */
bool token_key_read(const char *json, struct token_key *ret);
/* The public keys as a JWK Set (RFC 7517). */
const char *token_key_set(struct arena *a, const struct token_key *keys, size_t n);

const char *token_sign(struct arena *a, const struct token_key *key,
                       const struct token_claims *claims);
/* Which key it claims to be signed with: a name to look up among our own, and no more; "" if none.
 */
const char *token_key_id(struct arena *a, const char *token);
/* False for anything that token_sign with this key would not have made, and past its expiry. */
bool token_verify(struct arena *a, const struct token_key *key, const char *token, int64_t now_us,
                  struct token_claims *ret);
