/*
 * Tokens that were found good lately, so that a signature is checked once and not at every request.
 * In memory, bounded, for any thread.  An entry lives until its token expires, its session is
 * revoked, or a newer one needs its place.
 */
#pragma once
#include "auth/token.h"
#include "base/hash.h"
#include "base/ids.h"
#include "fiber/fiber.h"

enum { VERIFIED_MAX = 4096 };

struct verified_token {
    uint8_t digest[SHA256_BYTES]; /* of the token */
    char user_id[ID_CHARS_MAX + 1], session_id[ID_CHARS_MAX + 1], order_id[ID_CHARS_MAX + 1];
    int64_t expires_at_us; /* 0 is a free place */
};

struct verified {
    struct spin lock;
    uint64_t generation; /* counts revocations: see verified_add */
    struct verified_token tokens[VERIFIED_MAX];
};

/* Copies into the arena if it is there and has not expired.  *ret_generation is for verified_add.
 */
bool verified_find(struct verified *v, struct arena *a, const char *token, int64_t now_us,
                   struct token_claims *ret, uint64_t *ret_generation);
/* Adds, unless something was revoked since generation: what was looked up then may be stale. */
void verified_add(struct verified *v, const char *token, const struct token_claims *claims,
                  uint64_t generation);
/* Drops a session's tokens; all of the user's if session_id is empty. */
void verified_drop(struct verified *v, const char *user_id, const char *session_id);
