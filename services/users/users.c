/*
 * Users: who somebody is to us.
 *
 * An account is made once for each e-mail, whatever its case.  Its password is auth's and its roles
 * are authz's: both are told before an answer says that the account is there.
 */
#include "users.impl.h"

#include "auth.api.h"
#include "authz.api.h"

enum { PASSWORD_CHARS_MIN = 8 };

static enum status check_create_staff(struct request *rq, const CreateStaffRequest *in);
static enum status find_or_make(struct request *rq, const char *email, const char *name,
                                const char *origin, User **ret);
static enum status set_password(struct request *rq, const User *user, const char *password);
static enum status load_user(struct request *rq, const char *user_id, User *out);
static enum status add_roles(struct request *rq, User *user);

enum status
users_get_me(struct request *rq, const GetMeRequest *in, User *out)
{
    (void)in;
    return load_user(rq, rq->caller.id, out);
}

enum status
users_get_user(struct request *rq, const GetUserRequest *in, User *out)
{
    return load_user(rq, in->user_id, out);
}

/* Each step may be repeated, so a call that broke off half-way is mended by the next one. */
enum status
users_create_staff(struct request *rq, const CreateStaffRequest *in, User *out)
{
    enum status st = check_create_staff(rq, in);
    if (st)
        return st;

    User *user = NULL;
    st = find_or_make(rq, text_lower(rq->arena, in->email), in->name, "command", &user);
    if (st)
        return st;
    note(rq, "user_id", user->id);

    UserRoles *assigned;
    st = call_authz_assign_role(rq, &assigned, .user_id = user->id, .role = in->role);
    if (st)
        return st;
    st = set_password(rq, user, in->password);
    if (st)
        return st;

    *out = *user;
    out->roles = assigned->roles;
    out->n_roles = assigned->n_roles;
    return OK;
}

/* A command comes without the gateway's checks of fields. */
static enum status
check_create_staff(struct request *rq, const CreateStaffRequest *in)
{
    const char *at = strchr(in->email, '@');
    if (!at || at == in->email || !at[1] || strpbrk(in->email, " \t\r\n"))
        return fail_status(rq, INVALID_ARGUMENT, "\"%s\" is no e-mail address", in->email);
    if (!text_equal(in->role, "admin") && !text_equal(in->role, "superadmin"))
        return fail_status(rq, INVALID_ARGUMENT, "staff are admin or superadmin, not \"%s\"",
                           in->role);
    if (utf8_length(in->password) < PASSWORD_CHARS_MIN)
        return fail(rq, &USERS_WEAK_PASSWORD, "a password takes at least %d characters",
                    PASSWORD_CHARS_MIN);
    return OK;
}

/* The account with this e-mail.  A new one's id follows from the request's, so that a retry that
 * comes before the first try is on disk makes no second one. */
static enum status
find_or_make(struct request *rq, const char *email, const char *name, const char *origin,
             User **ret)
{
    const char *user_id = id_derive(rq->arena, "usr", rq->id, email);
    struct tx *tx = tx_begin(rq);
    int64_t made = insert_user(tx, .user_id = user_id, .email = email, .name = name,
                               .created_at_us = rq->now_us);
    if (made)
        publish_user_created(rq, tx, .user_id = user_id, .email = email, .origin = origin);
    User *user;
    enum status st = find_user_by_email(tx, &user, .email = email);
    enum status committed = tx_commit(tx);
    if (committed || st)
        return fail_store(rq, committed ? committed : st);
    *ret = user;
    return OK;
}

static enum status
set_password(struct request *rq, const User *user, const char *password)
{
    Empty *done;
    enum status st = call_auth_set_credentials(rq, &done, .user_id = user->id, .email = user->email,
                                               .name = user->name, .password = password);
    if (failed_with(rq, &AUTH_WEAK_PASSWORD))
        return fail(rq, &USERS_WEAK_PASSWORD, "%s", rq->message);
    if (failed_with(rq, &AUTH_EMAIL_TAKEN))
        return fail(rq, &USERS_EMAIL_TAKEN, "%s", rq->message);
    return st;
}

static enum status
load_user(struct request *rq, const char *user_id, User *out)
{
    struct tx *tx = tx_begin_read(rq);
    User *user;
    enum status st = find_user(tx, &user, .user_id = user_id);
    tx_end(tx);
    if (st == NOT_FOUND)
        return fail(rq, &USERS_NO_SUCH_USER, "there is no user %s", user_id);
    if (st)
        return fail_store(rq, st);
    st = add_roles(rq, user);
    if (st == OK)
        *out = *user;
    return st;
}

static enum status
add_roles(struct request *rq, User *user)
{
    UserRoles *has;
    enum status st = call_authz_get_user_roles(rq, &has, .user_id = user->id);
    if (st)
        return st;
    user->roles = has->roles;
    user->n_roles = has->n_roles;
    return OK;
}

const struct service users_service = {
    .name = "users",
    .serves = &users_server,
    .calls = {&auth_rpcs, &authz_rpcs},
    .publishes = {&user_created},
};
