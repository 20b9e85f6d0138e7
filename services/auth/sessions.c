#include "auth/sessions.h"

#include "auth/state.h"
#include "auth/throttle.h"
#include "base/env.h"
#include "base/hash.h"

enum { SECRET_BYTES = 32, CLEAN_ROWS_MAX = 500, CLEAN_ROUNDS_MAX = 100 };

static const char *digest_of(struct arena *a, const char *refresh_token);
static const char *new_refresh_token(struct request *rq, struct tx *tx, const char *session_id);

void
session_open(struct request *rq, struct tx *tx, const char *user_id, struct session *ret)
{
    const char *session_id = id_make(rq->arena, "ses", rq->now_us);
    insert_session(tx, .session_id = session_id, .user_id = user_id, .created_at_us = rq->now_us,
                   .expires_at_us = rq->now_us + SESSION_LIFE_US);
    *ret = (struct session){session_id, user_id, new_refresh_token(rq, tx, session_id)};
}

enum status
session_refresh(struct request *rq, struct tx *tx, const char *refresh_token, struct session *ret,
                bool *reused)
{
    *reused = false;
    const char *digest = digest_of(rq->arena, refresh_token);
    RefreshTokenRow *row;
    enum status st = find_refresh_token(tx, &row, .token_hash = digest, .now_us = rq->now_us);
    if (st)
        return st == NOT_FOUND ? UNAUTHENTICATED : st;
    if (row->expired || row->revoked)
        return UNAUTHENTICATED;

    *ret = (struct session){.session_id = row->session_id, .user_id = row->user_id};
    if (row->spent || spend_refresh_token(tx, .token_hash = digest, .now_us = rq->now_us) == 0) {
        *reused = true;
        session_revoke(rq, tx, row->user_id, row->session_id, "a spent refresh token was used");
        return UNAUTHENTICATED;
    }
    extend_session(tx, .session_id = row->session_id,
                   .expires_at_us = rq->now_us + SESSION_LIFE_US);
    ret->refresh_token = new_refresh_token(rq, tx, row->session_id);
    return OK;
}

bool
session_revoke(struct request *rq, struct tx *tx, const char *user_id, const char *session_id,
               const char *reason)
{
    int64_t revoked = text_empty(session_id)
                          ? revoke_sessions_of(tx, .user_id = user_id, .now_us = rq->now_us)
                          : revoke_session(tx, .session_id = session_id, .now_us = rq->now_us);
    if (revoked > 0)
        publish_session_revoked(rq, tx, .user_id = user_id, .session_id = session_id,
                                .reason = reason);
    return revoked > 0;
}

/* Readers see what is on disk: before that, a lookup could find the session open once more. */
enum status
session_forget(struct request *rq, const char *user_id, const char *session_id)
{
    enum status st = request_settle(rq);
    if (st == OK)
        verified_drop(&auth_state_of(rq)->verified, user_id, session_id);
    return st;
}

const char *
session_access_token(struct request *rq, const struct session *session)
{
    return token_sign(rq->arena, &auth_state_of(rq)->key,
                      &(struct token_claims){
                          .user_id = session->user_id,
                          .session_id = session->session_id,
                          .issued_at_us = rq->now_us,
                          .expires_at_us = rq->now_us + ACCESS_TOKEN_LIFE_US,
                      });
}

enum status
sessions_clean(struct request *rq)
{
    for (int round = 0; round < CLEAN_ROUNDS_MAX; round++) {
        struct tx *tx = tx_begin(rq);
        int64_t gone = delete_refresh_tokens(tx, .now_us = rq->now_us, .rows = CLEAN_ROWS_MAX) +
                       delete_sessions(tx, .now_us = rq->now_us, .rows = CLEAN_ROWS_MAX) +
                       delete_failed_logins(tx, .before_us = rq->now_us - THROTTLE_WINDOW_US,
                                            .rows = CLEAN_ROWS_MAX);
        enum status st = tx_commit(tx);
        if (st || gone == 0)
            return fail_store(rq, st);
    }
    return OK;
}

static const char *
digest_of(struct arena *a, const char *refresh_token)
{
    uint8_t digest[SHA256_BYTES];
    sha256(refresh_token, strlen(refresh_token), digest);
    return hex_encode(a, digest, sizeof digest);
}

static const char *
new_refresh_token(struct request *rq, struct tx *tx, const char *session_id)
{
    uint8_t secret[SECRET_BYTES];
    env.random(secret, sizeof secret);
    const char *token = base64url_encode(rq->arena, secret, sizeof secret);
    insert_refresh_token(tx, .token_hash = digest_of(rq->arena, token), .session_id = session_id,
                         .expires_at_us = rq->now_us + SESSION_LIFE_US);
    return token;
}
