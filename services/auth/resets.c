/*
 * A forgotten password: a link by mail, good once and for an hour.
 *
 * Asking is answered alike, and costs the same, whether or not there is such an account.  What is
 * stored is a digest of the link's secret; the secret follows from the reset's id and a key.
 */
#include "auth/credentials.h"
#include "auth/sessions.h"

enum { RESETS_PER_HOUR_MAX = 5 };
#define RESET_LIFE_US HOUR_US

static const char purpose[] = "password-reset";

static enum status change_password(struct request *rq, const ResetLink *link,
                                   const char *token_hash, const char *password_hash);

/* Beyond the bound nothing is written, and nothing else is said. */
enum status
auth_request_password_reset(struct request *rq, const RequestPasswordResetRequest *in, Empty *out)
{
    (void)out;
    const char *email = text_lower(rq->arena, in->email);
    const char *identifier = identifier_hash(rq, email);
    const char *reset_id = id_make(rq->arena, "rst", rq->now_us);
    const char *token = link_token(rq, purpose, reset_id);
    struct tx *tx = tx_begin(rq);
    int64_t asked = 0;
    enum status st = count_resets(tx, &asked, .identifier_hash = identifier,
                                  .after_us = rq->now_us - RESET_LIFE_US);
    if (st || asked >= RESETS_PER_HOUR_MAX) {
        tx_end(tx);
        return fail_store(rq, st);
    }
    Credential *account = NULL;
    st = find_credential(tx, &account, .email = email);
    bool known = st == OK;
    insert_reset(tx, .reset_id = reset_id, .identifier_hash = identifier,
                 .user_id = known ? account->user_id : "", .token_hash = link_digest(rq, token),
                 .created_at_us = rq->now_us, .expires_at_us = rq->now_us + RESET_LIFE_US);
    if (known)
        publish_password_reset_requested(rq, tx, .user_id = account->user_id, .reset_id = reset_id,
                                         .email = account->email, .name = account->name);
    return fail_store(rq, tx_commit(tx));
}

/* The link is looked at before anything is hashed: without one, nobody buys a hash. */
enum status
auth_reset_password(struct request *rq, const ResetPasswordRequest *in, Empty *out)
{
    (void)out;
    const char *token_hash = link_digest(rq, in->token), *hash = NULL;
    ResetLink *link;
    struct tx *tx = tx_begin_read(rq);
    enum status st = find_reset_by_token(tx, &link, .token_hash = token_hash, .now_us = rq->now_us);
    tx_end(tx);
    if (st == NOT_FOUND)
        return fail(rq, &AUTH_BAD_LINK, "the link is unknown, used or too old");
    if (st)
        return fail_store(rq, st);
    note(rq, "user_id", link->user_id);
    st = password_fits(rq, in->password);
    if (st == OK)
        st = password_hash_in_turn(rq, in->password, &hash);
    return st ? st : change_password(rq, link, token_hash, hash);
}

enum status
auth_get_reset_link(struct request *rq, const GetResetLinkRequest *in, ResetLink *out)
{
    ResetLink *link;
    struct tx *tx = tx_begin_read(rq);
    enum status st = find_reset(tx, &link, .reset_id = in->reset_id, .now_us = rq->now_us);
    tx_end(tx);
    if (st == NOT_FOUND)
        return fail(rq, &AUTH_BAD_LINK, "the link is used or too old");
    if (st)
        return fail_store(rq, st);
    *out = *link;
    out->token = link_token(rq, purpose, in->reset_id);
    return OK;
}

static enum status
change_password(struct request *rq, const ResetLink *link, const char *token_hash,
                const char *password_hash)
{
    struct tx *tx = tx_begin(rq);
    if (!spend_reset(tx, .token_hash = token_hash, .now_us = rq->now_us) ||
        !set_password(tx, .user_id = link->user_id, .password_hash = password_hash,
                      .now_us = rq->now_us)) {
        enum status st = tx_status(tx);
        tx_end(tx);
        return st ? fail_store(rq, st)
                  : fail(rq, &AUTH_BAD_LINK, "the link was used by somebody else just now");
    }
    spend_resets_of(tx, .user_id = link->user_id, .now_us = rq->now_us);
    forget_failed_logins(tx, .identifier_hash = identifier_hash(rq, link->email));
    session_revoke(rq, tx, link->user_id, "", "the password was reset");
    enum status st = tx_commit(tx);
    return st ? fail_store(rq, st) : session_forget(rq, link->user_id, "");
}
