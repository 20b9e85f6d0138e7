/*
 * Users: who somebody is to us.
 *
 * An account is made once for each e-mail, whatever its case.  Its password is auth's and its roles
 * are authz's: both are told before an answer says that the account is there.
 */
#include "users.impl.h"

#include "auth.api.h"
#include "authz.api.h"
#include "users/accounts.h"
#include "users/activity.h"

enum { PASSWORD_CHARS_MIN = 8 };
#define SIGNUP_LEASE_US (30 * SECOND_US) /* longer than a request lives */

static enum status begin_sign_up(struct request *rq, const char *email, const char *name,
                                 User **ret);
static enum status finish_sign_up(struct request *rq, const User *user);
static enum status check_create_staff(struct request *rq, const CreateStaffRequest *in);
static enum status give_role(struct request *rq, const User *user, const char *role,
                             UserRoles **ret);

/*
 * An account is nobody's to see until password and role are set.  If that fails it can be signed up
 * for again at once; if the process dies meanwhile, after a while.
 */
enum status
users_sign_up(struct request *rq, const SignUpRequest *in, LoginResponse *out)
{
    if (text_equal(setting(rq->node, "signup"), "off"))
        return fail(rq, &USERS_SIGNUP_CLOSED, "this shop takes no sign-ups");
    User *user;
    enum status st = account_password_fits(rq, in->password);
    if (st == OK)
        st = begin_sign_up(rq, text_lower(rq->arena, in->email), in->name, &user);
    if (st)
        return st;
    note(rq, "user_id", user->id);
    UserRoles *assigned;
    st = account_set_password(rq, user, in->password);
    if (st == OK)
        st = give_role(rq, user, "customer", &assigned);
    if (st) {
        struct tx *tx = tx_begin(rq);
        give_up_user(tx, .user_id = user->id);
        tx_commit(tx); /* st has said why already; without this it is a matter of the lease */
        return st;
    }
    st = finish_sign_up(rq, user);
    if (st)
        return st;
    LoginResponse *in_session;
    st = call_auth_open_session(rq, &in_session, .user_id = user->id, .method = "signup");
    if (st == OK)
        *out = *in_session;
    return st;
}

/* Each step may be repeated, so a call that broke off half-way is mended by the next one. */
enum status
users_create_staff(struct request *rq, const CreateStaffRequest *in, User *out)
{
    enum status st = check_create_staff(rq, in);
    if (st)
        return st;

    User *user = NULL;
    st = account_make(rq, text_lower(rq->arena, in->email), in->name, "command", &user);
    if (st)
        return st;
    note(rq, "user_id", user->id);
    UserRoles *assigned;
    st = give_role(rq, user, in->role, &assigned);
    if (st == OK)
        st = account_set_password(rq, user, in->password);
    if (st)
        return st;

    *out = *user;
    out->roles = assigned->roles;
    out->n_roles = assigned->n_roles;
    return OK;
}

enum status
users_get_user(struct request *rq, const GetUserRequest *in, User *out)
{
    User *user;
    enum status st = account_load(rq, in->user_id, &user);
    if (st == OK)
        *out = *user;
    return st;
}

/* The id follows from the request's, so that a retry that comes before the first try is on disk
 * makes no second account. */
enum status
account_make(struct request *rq, const char *email, const char *name, const char *origin,
             User **ret)
{
    const char *user_id = id_derive(rq->arena, "usr", rq->id, email);
    struct tx *tx = tx_begin(rq);
    int64_t made =
        insert_user(tx, .user_id = user_id, .email = email, .name = name, .now_us = rq->now_us);
    User *user;
    enum status st = find_user_by_email(tx, &user, .email = email);
    if (st) {
        tx_end(tx);
        return fail_store(rq, st);
    }
    made += finish_user(tx, .user_id = user->id, .now_us = rq->now_us);
    enable_user(tx, .user_id = user->id);
    if (made)
        publish_user_created(rq, tx, .user_id = user->id, .email = email, .origin = origin,
                             .name = user->name);
    st = tx_commit(tx);
    if (st)
        return fail_store(rq, st);
    user->disabled = false;
    *ret = user;
    return OK;
}

enum status
account_set_password(struct request *rq, const User *user, const char *password)
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

enum status
account_password_fits(struct request *rq, const char *password)
{
    if (utf8_length(password) >= PASSWORD_CHARS_MIN)
        return OK;
    fail_at(rq, "/password", USERS_WEAK_PASSWORD.code, -1, "has less than %d characters",
            PASSWORD_CHARS_MIN);
    return fail(rq, &USERS_WEAK_PASSWORD, "a password takes at least %d characters",
                PASSWORD_CHARS_MIN);
}

enum status
account_load(struct request *rq, const char *user_id, User **ret)
{
    struct tx *tx = tx_begin_read(rq);
    User *user;
    enum status st = account_read(rq, tx, user_id, &user);
    tx_end(tx);
    if (st)
        return st;
    UserRoles *has;
    st = call_authz_get_user_roles(rq, &has, .user_id = user->id);
    if (st)
        return st;
    user->roles = has->roles;
    user->n_roles = has->n_roles;
    *ret = user;
    return OK;
}

enum status
account_read(struct request *rq, struct tx *tx, const char *user_id, User **ret)
{
    User *user;
    enum status st = find_user(tx, &user, .user_id = user_id);
    if (st == NOT_FOUND)
        return fail(rq, &USERS_NO_SUCH_USER, "there is no user %s", user_id);
    if (st == OK)
        st = list_addresses(tx, &user->addresses, &user->n_addresses, .user_id = user_id);
    if (st)
        return fail_store(rq, st);
    *ret = user;
    return OK;
}

enum status
account_set_roles(struct request *rq, const char *user_id, const char *const *roles, size_t n)
{
    UserRoles *has;
    enum status st = call_authz_set_roles(rq, &has, .user_id = user_id,
                                          .roles = (const char **)(uintptr_t)roles, .n_roles = n);
    if (failed_with(rq, &AUTHZ_LAST_SUPERADMIN))
        return fail(rq, &USERS_LAST_SUPERADMIN, "%s", rq->message);
    return st;
}

int64_t
page_limit(int64_t asked)
{
    if (asked < 1)
        return PAGE_ITEMS_DEFAULT;
    return asked < PAGE_ITEMS_MAX ? asked : PAGE_ITEMS_MAX;
}

static enum status
begin_sign_up(struct request *rq, const char *email, const char *name, User **ret)
{
    const char *user_id = id_make(rq->arena, "usr", rq->now_us);
    struct tx *tx = tx_begin(rq);
    int64_t mine =
        begin_user(tx, .user_id = user_id, .email = email, .name = name, .now_us = rq->now_us);
    if (!mine)
        mine = take_over_user(tx, .email = email, .name = name, .now_us = rq->now_us,
                              .before_us = rq->now_us - SIGNUP_LEASE_US);
    User *user;
    enum status st = find_user_by_email(tx, &user, .email = email);
    if (st || !mine) {
        tx_end(tx);
        return st ? fail_store(rq, st)
                  : fail(rq, &USERS_EMAIL_TAKEN, "there is an account with this e-mail");
    }
    st = tx_commit(tx);
    if (st)
        return fail_store(rq, st);
    *ret = user;
    return OK;
}

static enum status
finish_sign_up(struct request *rq, const User *user)
{
    struct tx *tx = tx_begin(rq);
    if (finish_user(tx, .user_id = user->id, .now_us = rq->now_us)) {
        publish_user_created(rq, tx, .user_id = user->id, .email = user->email, .origin = "signup",
                             .name = user->name);
        publish_user_registered(rq, tx, .user_id = user->id);
    }
    return fail_store(rq, tx_commit(tx));
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
    return account_password_fits(rq, in->password);
}

static enum status
give_role(struct request *rq, const User *user, const char *role, UserRoles **ret)
{
    return call_authz_assign_role(rq, ret, .user_id = user->id, .role = role);
}

static const char *const projections[] = {"users_proj_activity", "users_proj_erased", NULL};

const struct service users_service = {
    .name = "users",
    .serves = &users_server,
    .calls = {&auth_rpcs, &authz_rpcs},
    .publishes = {&user_created, &user_registered, &profile_updated, &staff_invited, &user_disabled,
                  &person_erased},
    .subscribes = {{subscribe(user_registered, activity_on_user_registered), .projection = true},
                   {subscribe(user_logged_in, activity_on_user_logged_in), .projection = true},
                   {subscribe(session_revoked, activity_on_session_revoked), .projection = true},
                   {subscribe(password_reset_requested, activity_on_password_reset_requested),
                    .projection = true},
                   {subscribe(user_roles_updated, activity_on_user_roles_updated),
                    .projection = true},
                   {subscribe(profile_updated, activity_on_profile_updated), .projection = true},
                   {subscribe(user_disabled, activity_on_user_disabled), .projection = true},
                   {subscribe(person_erased, activity_on_person_erased), .projection = true}},
    .projections = projections,
};
