/* The end of what is known of a person: an account's, or a guest's by his e-mail. */
#include "auth.api.h"
#include "users/accounts.h"

static enum status erase_account(struct request *rq, const char *user_id);
static enum status erase_guest(struct request *rq, const char *email);

enum status
users_erase_me(struct request *rq, const EraseMeRequest *in, Empty *out)
{
    (void)in, (void)out;
    return erase_account(rq, rq->caller.id);
}

/* A guest is told of each time: what he ordered since then goes, too. */
enum status
users_erase_person(struct request *rq, const ErasePersonRequest *in, Empty *out)
{
    (void)out;
    const char *email = text_lower(rq->arena, in->email);
    User *user;
    struct tx *tx = tx_begin_read(rq);
    enum status st = find_user_by_email(tx, &user, .email = email);
    tx_end(tx);
    if (st == NOT_FOUND)
        return erase_guest(rq, email);
    return st ? fail_store(rq, st) : erase_account(rq, user->id);
}

/* Roles go first: the last superadmin stays who he is.  A repetition mends what broke off. */
static enum status
erase_account(struct request *rq, const char *user_id)
{
    enum status st = account_set_roles(rq, user_id, NULL, 0);
    if (st)
        return st;
    User *user;
    struct tx *tx = tx_begin(rq);
    st = account_read(rq, tx, user_id, &user);
    if (st) {
        tx_end(tx);
        return st;
    }
    const char *nobody = arena_printf(rq->arena, "%s@erased.invalid", user_id);
    if (erase_user(tx, .user_id = user_id, .email = nobody, .now_us = rq->now_us)) {
        delete_addresses(tx, .user_id = user_id);
        void_invitations_by(tx, .invited_by = user_id, .now_us = rq->now_us);
        erase_invitations_of(tx, .email = user->email, .now_us = rq->now_us);
        publish_person_erased(rq, tx, .user_id = user_id, .email = user->email);
    }
    st = tx_commit(tx);
    if (st)
        return fail_store(rq, st);
    Empty *done;
    return call_auth_shut_account(rq, &done, .user_id = user_id, .forget = true);
}

static enum status
erase_guest(struct request *rq, const char *email)
{
    struct tx *tx = tx_begin(rq);
    erase_invitations_of(tx, .email = email, .now_us = rq->now_us);
    publish_person_erased(rq, tx, .email = email);
    return fail_store(rq, tx_commit(tx));
}
