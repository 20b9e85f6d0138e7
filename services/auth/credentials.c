#include "auth/credentials.h"

#include "auth/sessions.h"
#include "auth/state.h"
#include "base/hash.h"

enum { PASSWORD_CHARS_MIN = 8 };
#define ANSWER_TIME_US (SECOND_US / 2) /* what must be left of a deadline when a hash begins */

static bool shut(struct request *rq, struct tx *tx, const char *user_id);
static void forget(struct request *rq, struct tx *tx, const char *user_id);

enum status
auth_set_credentials(struct request *rq, const SetCredentialsRequest *in, Empty *out)
{
    (void)out;
    const char *hash = NULL;
    enum status st = password_fits(rq, in->password);
    if (st == OK)
        st = password_hash_in_turn(rq, in->password, &hash);
    if (st)
        return st;

    struct tx *tx = tx_begin(rq);
    set_credential(tx, .user_id = in->user_id, .email = text_lower(rq->arena, in->email),
                   .name = in->name, .password_hash = hash, .now_us = rq->now_us);
    spend_resets_of(tx, .user_id = in->user_id, .now_us = rq->now_us);
    bool revoked = session_revoke(rq, tx, in->user_id, "", "the password was set");
    st = tx_commit(tx);
    if (st == ALREADY_EXISTS)
        return fail(rq, &AUTH_EMAIL_TAKEN, "another account has this e-mail");
    if (st)
        return fail_store(rq, st);
    return revoked ? session_forget(rq, in->user_id, "") : OK;
}

enum status
auth_shut_account(struct request *rq, const ShutAccountRequest *in, Empty *out)
{
    (void)out;
    struct tx *tx = tx_begin(rq);
    if (in->forget)
        forget(rq, tx, in->user_id);
    else
        shut(rq, tx, in->user_id);
    session_revoke(rq, tx, in->user_id, "", "the account was shut");
    enum status st = tx_commit(tx);
    return st ? fail_store(rq, st) : session_forget(rq, in->user_id, "");
}

enum status
auth_derive_link_token(struct request *rq, const DeriveLinkTokenRequest *in,
                       DeriveLinkTokenResponse *out)
{
    if (text_empty(in->purpose) || text_empty(in->id))
        return fail_status(rq, INVALID_ARGUMENT, "a link is for something");
    out->token = link_token(rq, in->purpose, in->id);
    return OK;
}

enum status
credentials_on_profile_updated(struct request *rq, struct tx *tx, const ProfileUpdated *event)
{
    (void)rq;
    rename_credential(tx, .user_id = event->user_id, .name = event->name);
    return OK;
}

/* Whoever disabled the account has asked for this already, unless he broke off. */
enum status
credentials_on_user_disabled(struct request *rq, struct tx *tx, const UserDisabled *event)
{
    if (shut(rq, tx, event->user_id))
        session_revoke(rq, tx, event->user_id, "", "the account was shut");
    return OK;
}

enum status
credentials_on_person_erased(struct request *rq, struct tx *tx, const PersonErased *event)
{
    if (!text_empty(event->user_id)) /* a guest has no account */
        forget(rq, tx, event->user_id);
    return OK;
}

enum status
password_fits(struct request *rq, const char *password)
{
    if (utf8_length(password) >= PASSWORD_CHARS_MIN)
        return OK;
    fail_at(rq, "/password", AUTH_WEAK_PASSWORD.code, -1, "has less than %d characters",
            PASSWORD_CHARS_MIN);
    return fail(rq, &AUTH_WEAK_PASSWORD, "a password takes at least %d characters",
                PASSWORD_CHARS_MIN);
}

enum status
password_hash_in_turn(struct request *rq, const char *password, const char **ret)
{
    struct hashers *hashers = &auth_state_of(rq)->hashers;
    if (hashers_enter(hashers, rq->deadline_us - ANSWER_TIME_US))
        return fail_status(rq, RESOURCE_EXHAUSTED, "too many passwords are hashed; try again");
    const char *hash = password_hash(rq->arena, password);
    hashers_leave(hashers);
    if (!hash)
        return fail_status(rq, RESOURCE_EXHAUSTED, "there is no memory to hash a password");
    *ret = hash;
    return OK;
}

const char *
identifier_hash(struct request *rq, const char *email)
{
    const struct auth_state *state = auth_state_of(rq);
    uint8_t digest[SHA256_BYTES];
    hmac_sha256(state->identifier_key, sizeof state->identifier_key, email, strlen(email), digest);
    return hex_encode(rq->arena, digest, sizeof digest / 2);
}

/* The line break keeps it apart from every e-mail. */
const char *
link_token(struct request *rq, const char *purpose, const char *id)
{
    const struct auth_state *state = auth_state_of(rq);
    const char *what = arena_printf(rq->arena, "link\n%s\n%s", purpose, id);
    uint8_t secret[SHA256_BYTES];
    hmac_sha256(state->identifier_key, sizeof state->identifier_key, what, strlen(what), secret);
    return base64url_encode(rq->arena, secret, sizeof secret);
}

const char *
link_digest(struct request *rq, const char *token)
{
    uint8_t digest[SHA256_BYTES];
    sha256(token, strlen(token), digest);
    return hex_encode(rq->arena, digest, sizeof digest);
}

/* False: it was shut before, was opened since, or is not there. */
static bool
shut(struct request *rq, struct tx *tx, const char *user_id)
{
    return shut_credential(tx, .user_id = user_id, .now_us = rq->now_us) > 0;
}

static void
forget(struct request *rq, struct tx *tx, const char *user_id)
{
    session_revoke(rq, tx, user_id, "", "the account was erased");
    delete_credential(tx, .user_id = user_id);
    forget_origins(tx, .user_id = user_id);
}
