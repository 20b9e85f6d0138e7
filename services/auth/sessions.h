/*
 * Sessions: what a login opens.  Each has one unspent refresh token; using it spends it and makes
 * the next one.  Only digests of refresh tokens are stored.
 */
#pragma once
#include "auth.impl.h"

#define ACCESS_TOKEN_LIFE_US (15 * MINUTE_US)
#define SESSION_LIFE_US      (30 * DAY_US) /* since its last refresh */

struct session {
    const char *session_id, *user_id, *refresh_token;
};

/* Writes a new session; *ret's refresh token is told to the client and kept nowhere. */
void session_open(struct request *rq, struct tx *tx, const char *user_id, struct session *ret);
/* Spends a refresh token and makes the next.  UNAUTHENTICATED for one that is not to be had;
 * *reused says that it was spent before: then the session is revoked in tx, which is to be
 * committed. */
enum status session_refresh(struct request *rq, struct tx *tx, const char *refresh_token,
                            struct session *ret, bool *reused);
/* Revokes and publishes, in tx; all of the user's if session_id is empty.  False: there was none.
 */
bool session_revoke(struct request *rq, struct tx *tx, const char *user_id, const char *session_id,
                    const char *reason);
/* Makes this process forget what it verified for them; to be called when the revocation is on disk.
 */
enum status session_forget(struct request *rq, const char *user_id, const char *session_id);

const char *session_access_token(struct request *rq, const struct session *session);

/* The job that deletes what has expired. */
enum status sessions_clean(struct request *rq);
