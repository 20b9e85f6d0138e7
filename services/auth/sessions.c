#include "auth/sessions.h"

#include "auth/state.h"
#include "auth/throttle.h"
#include "base/env.h"
#include "base/hash.h"

enum {
    SECRET_BYTES = 32,
    CLEAN_ROWS_MAX = 500,
    CLEAN_ROUNDS_MAX = 100,
    SESSIONS_MAX = 100, /* told of one user: the newest */
    AGENT_BYTES_MAX = 300,
};

static const char *digest_of(struct arena *a, const char *refresh_token);
static const char *new_refresh_token(struct request *rq, struct tx *tx, const char *session_id);
static const char *shortened(struct arena *a, const char *user_agent);

enum status
auth_list_sessions(struct request *rq, const ListSessionsRequest *in, ListSessionsResponse *out)
{
    (void)in;
    struct tx *tx = tx_begin_read(rq);
    Session **found = NULL;
    size_t n = 0;
    enum status st = list_sessions(tx, &found, &n, .user_id = rq->caller.id, .now_us = rq->now_us,
                                   .limit = SESSIONS_MAX);
    tx_end(tx);
    if (st)
        return fail_store(rq, st);
    for (size_t i = 0; i < n; i++)
        found[i]->current = text_equal(found[i]->id, rq->caller.session_id);
    out->data = found;
    out->n_data = n;
    return OK;
}

/* Another's is as if it were not there. */
enum status
auth_end_session(struct request *rq, const EndSessionRequest *in, Empty *out)
{
    (void)out;
    struct tx *tx = tx_begin(rq);
    int64_t open = 0;
    enum status st = session_is_open(tx, &open, .session_id = in->id, .user_id = rq->caller.id,
                                     .now_us = rq->now_us);
    if (st || open == 0) {
        tx_end(tx);
        return st ? fail_store(rq, st)
                  : fail(rq, &AUTH_NO_SUCH_SESSION, "there is no open session %s", in->id);
    }
    session_revoke(rq, tx, rq->caller.id, in->id, "ended by its user");
    st = tx_commit(tx);
    return st ? fail_store(rq, st) : session_forget(rq, rq->caller.id, in->id);
}

void
session_open(struct request *rq, struct tx *tx, const char *user_id, struct session *ret)
{
    const char *session_id = id_make(rq->arena, "ses", rq->now_us);
    insert_session(tx, .session_id = session_id, .user_id = user_id, .ip = rq->caller.ip,
                   .user_agent = shortened(rq->arena, rq->caller.user_agent),
                   .created_at_us = rq->now_us, .expires_at_us = rq->now_us + SESSION_LIFE_US);
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
    struct token_key key;
    keyring_signer(&auth_state_of(rq)->keys, &key);
    return token_sign(rq->arena, &key,
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
                                            .rows = CLEAN_ROWS_MAX) +
                       delete_resets(tx, .now_us = rq->now_us, .rows = CLEAN_ROWS_MAX);
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

/* Cut between characters. */
static const char *
shortened(struct arena *a, const char *user_agent)
{
    size_t n = strlen(user_agent);
    if (n <= AGENT_BYTES_MAX)
        return user_agent;
    n = AGENT_BYTES_MAX;
    while (n > 0 && ((unsigned char)user_agent[n] & 0xc0) == 0x80)
        n--;
    return arena_strndup(a, user_agent, n);
}
