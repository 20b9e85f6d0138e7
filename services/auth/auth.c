/*
 * Auth: proves who somebody is.
 *
 * A login takes one of a few places at the hashers before anything else is looked at, so that
 * failed attempts are counted before the next one is let in.  It costs the same whether or not the
 * e-mail is known, and every attempt leaves an event.
 */
#include "auth.impl.h"

#include "auth/checkout.h"
#include "auth/credentials.h"
#include "auth/sessions.h"
#include "auth/state.h"
#include "auth/throttle.h"
#include "authz.api.h"
#include "base/env.h"
#include "base/hash.h"

enum { DELAYED_FAILURES_MIN = 3 }; /* from here on a no takes longer each time */
#define GUEST_TOKEN_LIFE_US (90 * DAY_US)
#define ANSWER_TIME_US      (SECOND_US / 2) /* what must be left of a deadline when a hash begins */

static enum status prove(struct request *rq, const char *email, const char *password,
                         Credential **ret);
static enum status look_up(struct request *rq, const char *email, int64_t *ret_failures,
                           Credential **ret);
static enum status refuse(struct request *rq, const char *email, const struct reason *why,
                          const char *reason);
static void delay_refusal(int64_t failures);
static enum status let_in(struct request *rq, const Credential *account, const char *method,
                          LoginResponse *out);
static enum status open_session(struct request *rq, const Credential *account, const char *method,
                                struct session *ret);
static enum status session_checked(struct request *rq, const struct token_claims *claims);

enum status
auth_login(struct request *rq, const LoginRequest *in, LoginResponse *out)
{
    Credential *account = NULL;
    enum status st = prove(rq, text_lower(rq->arena, in->email), in->password, &account);
    if (st)
        return st;
    note(rq, "user_id", account->user_id);
    st = let_in(rq, account, "password", out);
    if (st == OK)
        metric_add("souk_logins_total", "result=\"ok\"", 1);
    return st;
}

enum status
auth_open_session(struct request *rq, const OpenSessionRequest *in, LoginResponse *out)
{
    Credential *account;
    struct tx *tx = tx_begin_read(rq);
    enum status st = find_credential_of(tx, &account, .user_id = in->user_id);
    tx_end(tx);
    if (st == NOT_FOUND)
        return fail(rq, &AUTH_NO_SUCH_ACCOUNT, "there is no open account %s", in->user_id);
    return st ? fail_store(rq, st) : let_in(rq, account, in->method, out);
}

enum status
auth_refresh(struct request *rq, const RefreshRequest *in, RefreshResponse *out)
{
    struct session session;
    bool reused;
    struct tx *tx = tx_begin(rq);
    enum status st = session_refresh(rq, tx, in->refresh_token, &session, &reused);
    enum status committed = tx_commit(tx);
    if (committed || (st && st != UNAUTHENTICATED))
        return fail_store(rq, committed ? committed : st);
    if (reused) {
        note(rq, "reused_session", session.session_id);
        st = session_forget(rq, session.user_id, session.session_id);
        if (st)
            return st;
    }
    if (st || reused)
        return fail(rq, &AUTH_BAD_TOKEN, "the refresh token is unknown, spent or expired");

    out->access_token = session_access_token(rq, &session);
    out->refresh_token = session.refresh_token;
    out->expires_in = ACCESS_TOKEN_LIFE_US / SECOND_US;
    return OK;
}

enum status
auth_logout(struct request *rq, const LogoutRequest *in, Empty *out)
{
    (void)in, (void)out;
    if (text_empty(rq->caller.session_id))
        return OK;
    struct tx *tx = tx_begin(rq);
    session_revoke(rq, tx, rq->caller.id, rq->caller.session_id, "logout");
    enum status st = tx_commit(tx);
    if (st)
        return fail_store(rq, st);
    return session_forget(rq, rq->caller.id, rq->caller.session_id);
}

enum status
auth_get_keys(struct request *rq, const GetKeysRequest *in, GetKeysResponse *out)
{
    (void)in;
    const char *keys = keyring_set(&auth_state_of(rq)->keys, rq->arena);
    out->body.len = strlen(keys);
    out->body.data = arena_copy(rq->arena, keys, out->body.len);
    return OK;
}

enum status
auth_verify_token(struct request *rq, const VerifyTokenRequest *in, VerifiedToken *out)
{
    struct auth_state *state = auth_state_of(rq);
    struct token_claims claims;
    uint64_t generation;
    if (!verified_find(&state->verified, rq->arena, in->token, rq->now_us, &claims, &generation)) {
        struct token_key key;
        if (!keyring_find(&state->keys, token_key_id(rq->arena, in->token), &key) ||
            !token_verify(rq->arena, &key, in->token, rq->now_us, &claims))
            return fail(rq, &AUTH_BAD_TOKEN, "the access token is not valid");
        enum status st = session_checked(rq, &claims);
        if (st)
            return st;
        verified_add(&state->verified, in->token, &claims, generation);
    }
    out->user_id = claims.user_id;
    out->session_id = claims.session_id;
    out->order_id = claims.order_id;
    return OK;
}

enum status
auth_issue_guest_token(struct request *rq, const IssueGuestTokenRequest *in,
                       IssueGuestTokenResponse *out)
{
    if (text_empty(in->order_id))
        return fail_status(rq, INVALID_ARGUMENT, "a guest's token is for an order");
    struct token_key key;
    keyring_signer(&auth_state_of(rq)->keys, &key);
    out->token = token_sign(rq->arena, &key,
                            &(struct token_claims){
                                .order_id = in->order_id,
                                .issued_at_us = rq->now_us,
                                .expires_at_us = rq->now_us + GUEST_TOKEN_LIFE_US,
                            });
    return OK;
}

/* Another process may have revoked it. */
static enum status
on_session_revoked(struct request *rq, struct tx *tx, const SessionRevoked *event)
{
    (void)tx;
    verified_drop(&auth_state_of(rq)->verified, event->user_id, event->session_id);
    return OK;
}

static const char *
make_identifier_key(struct arena *a)
{
    uint8_t key[SHA256_BYTES];
    env.random(key, sizeof key);
    return hex_encode(a, key, sizeof key);
}

/* The job that gives an old key a successor, and learns of those that another process made. */
static enum status
tend_keys(struct request *rq)
{
    const char *why;
    const struct vault vault = vault_of(rq);
    enum status st = keyring_tend(&auth_state_of(rq)->keys, rq->arena, &vault, rq->now_us,
                                  GUEST_TOKEN_LIFE_US, &why);
    return st ? fail_status(rq, st, "%s", why) : OK;
}

static enum status
start(struct request *rq)
{
    struct auth_state *state = auth_state_of(rq);
    const struct vault vault = vault_of(rq);
    const char *secret, *why;
    enum status st = tend_keys(rq);
    if (st)
        return st;
    st = vault_open(&vault, rq->arena, "auth-identifiers.key", make_identifier_key, &secret, &why);
    if (st)
        return fail_status(rq, st, "%s", why);
    sha256(secret, strlen(secret), state->identifier_key);
    return OK;
}

/* The account that the password proves, or the refusal, recorded. */
static enum status
prove(struct request *rq, const char *email, const char *password, Credential **ret)
{
    struct hashers *hashers = &auth_state_of(rq)->hashers;
    if (hashers_enter(hashers, rq->deadline_us - ANSWER_TIME_US))
        return fail_status(rq, RESOURCE_EXHAUSTED, "too many log in at once; try again");

    Credential *account = NULL;
    int64_t failures = 0;
    enum status st = look_up(rq, email, &failures, &account);
    if (st == OK && failures >= LOGIN_FAILURES_MAX)
        st = refuse(rq, email, &AUTH_TOO_MANY_LOGINS, "too many failures");
    else if (st == OK && !password_matches(account ? account->password_hash : NULL, password))
        st =
            refuse(rq, email, &AUTH_BAD_CREDENTIALS, account ? "wrong password" : "unknown e-mail");
    hashers_leave(hashers);
    if (st == OK)
        *ret = account;
    else if (failed_with(rq, &AUTH_BAD_CREDENTIALS))
        delay_refusal(failures);
    return st;
}

/* Read where it is written: an attempt whose failure is not yet on disk counts too. */
static enum status
look_up(struct request *rq, const char *email, int64_t *ret_failures, Credential **ret)
{
    struct tx *tx = tx_begin(rq);
    enum status st =
        count_failed_logins(tx, ret_failures, .identifier_hash = identifier_hash(rq, email),
                            .after_us = rq->now_us - THROTTLE_WINDOW_US);
    if (st == OK)
        st = find_credential(tx, ret, .email = email);
    tx_end(tx);
    return st == NOT_FOUND ? OK : fail_store(rq, st);
}

/* Attempts beyond the limit are told but not counted, so that it ends by itself. */
static enum status
refuse(struct request *rq, const char *email, const struct reason *why, const char *reason)
{
    bool throttled = why == &AUTH_TOO_MANY_LOGINS;
    const char *identifier = identifier_hash(rq, email);
    struct tx *tx = tx_begin(rq);
    if (!throttled)
        insert_failed_login(tx, .failure_id = id_make(rq->arena, "fal", rq->now_us),
                            .identifier_hash = identifier, .at_us = rq->now_us);
    publish_failed_login_attempt(rq, tx, .identifier_hash = identifier, .reason = reason,
                                 .ip = rq->caller.ip);
    int64_t oldest_us = rq->now_us;
    if (throttled)
        oldest_failed_login(tx, &oldest_us, .identifier_hash = identifier,
                            .after_us = rq->now_us - THROTTLE_WINDOW_US);
    enum status st = tx_commit(tx);
    if (st)
        return fail_store(rq, st);

    metric_add("souk_logins_total", throttled ? "result=\"throttled\"" : "result=\"failed\"", 1);
    if (throttled) {
        int64_t wait_us = oldest_us + THROTTLE_WINDOW_US - rq->now_us;
        fail_extra(rq, "retry_after_s",
                   arena_printf(rq->arena, "%lld", (long long)(wait_us / SECOND_US + 1)));
        return fail(rq, why, "%d logins failed within %d minutes; try again later",
                    LOGIN_FAILURES_MAX, (int)(THROTTLE_WINDOW_US / MINUTE_US));
    }
    return fail(rq, why, "e-mail or password is wrong");
}

/* Twice as long after each failure.  Told alike for e-mails known and unknown, and not while a
 * place at the hashers is taken. */
static void
delay_refusal(int64_t failures)
{
    if (failures >= DELAYED_FAILURES_MIN) {
        int64_t delay_us = (25 * MILLISECOND_US) << (failures - DELAYED_FAILURES_MIN);
        fiber_sleep_us(delay_us < SECOND_US ? delay_us : SECOND_US);
    }
}

/* A new session, and what its client is told. */
static enum status
let_in(struct request *rq, const Credential *account, const char *method, LoginResponse *out)
{
    UserRoles *has;
    enum status st = call_authz_get_user_roles(rq, &has, .user_id = account->user_id);
    if (st)
        return st;
    struct session session;
    st = open_session(rq, account, method, &session);
    if (st)
        return st;

    out->user = new_auth_user(rq->arena);
    out->user->id = account->user_id;
    out->user->email = account->email;
    out->user->name = account->name;
    out->user->roles = has->roles;
    out->user->n_roles = has->n_roles;
    out->access_token = session_access_token(rq, &session);
    out->refresh_token = session.refresh_token;
    out->expires_in = ACCESS_TOKEN_LIFE_US / SECOND_US;
    return OK;
}

/* The account may have been shut while its password was compared. */
static enum status
open_session(struct request *rq, const Credential *account, const char *method, struct session *ret)
{
    struct tx *tx = tx_begin(rq);
    Credential *still;
    enum status st = find_credential_of(tx, &still, .user_id = account->user_id);
    if (st || !text_equal(still->password_hash, account->password_hash)) {
        tx_end(tx);
        return st && st != NOT_FOUND ? fail_store(rq, st)
                                     : fail(rq, &AUTH_BAD_CREDENTIALS, "the account has changed");
    }
    session_open(rq, tx, account->user_id, ret);
    forget_failed_logins(tx, .identifier_hash = identifier_hash(rq, account->email));
    publish_user_authenticated(rq, tx, .user_id = account->user_id, .name = account->name,
                               .context = "login");
    publish_user_logged_in(rq, tx, .user_id = account->user_id, .method = method,
                           .ip = rq->caller.ip, .user_agent = rq->caller.user_agent);
    return fail_store(rq, tx_commit(tx));
}

/* A guest's token stands alone; a user's is worth what its session is. */
static enum status
session_checked(struct request *rq, const struct token_claims *claims)
{
    if (text_empty(claims->session_id))
        return OK;
    struct tx *tx = tx_begin_read(rq);
    int64_t open = 0;
    enum status st = session_is_open(tx, &open, .session_id = claims->session_id,
                                     .user_id = claims->user_id, .now_us = rq->now_us);
    tx_end(tx);
    if (st == OK && open == 0)
        return fail(rq, &AUTH_BAD_TOKEN, "the session has ended");
    return fail_store(rq, st);
}

static const char *const everywhere[] = {"tend_keys", NULL};

const struct service auth_service = {
    .name = "auth",
    .serves = &auth_server,
    .calls = {&authz_rpcs},
    .publishes = {&user_authenticated, &user_logged_in, &failed_login_attempt, &session_revoked,
                  &password_reset_requested, &auth_checkout_failed},
    .subscribes = {{subscribe(user_checkout, checkout_verify)},
                   {subscribe(profile_updated, credentials_on_profile_updated)},
                   {subscribe(user_disabled, credentials_on_user_disabled)},
                   {subscribe(person_erased, credentials_on_person_erased)},
                   {subscribe(session_revoked, on_session_revoked), .broadcast = true}},
    .jobs = {{"clean", sessions_clean, 10 * MINUTE_US}, {"tend_keys", tend_keys, KEY_TEND_US}},
    .everywhere = everywhere,
    .start = start,
};
