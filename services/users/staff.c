/* What superadmins do with accounts: roles, invitations, an end. */
#include "auth.api.h"
#include "authz.api.h"
#include "base/hash.h"
#include "users/accounts.h"

#define INVITATION_LIFE_US (7 * DAY_US)
static const char purpose[] = "invitation";
/* Behind every user's id. */
static const char last_user_id[] = "usr_zzzzzzzzzzzzzzzzzzzzzzzzzz";

static enum status add_roles(struct request *rq, User **users, size_t n);
static const char *like_pattern(struct arena *a, const char *q);
static const char *digest_of(struct arena *a, const char *token);
static enum status find_by_link(struct request *rq, const char *token, Invitation **ret);
static enum status claim(struct request *rq, const Invitation *invitation);
static void release(struct request *rq, const Invitation *invitation);
static enum status join(struct request *rq, const Invitation *invitation,
                        const AcceptInvitationRequest *in, const char **ret_user_id);

enum status
users_list_users(struct request *rq, const ListUsersRequest *in, ListUsersResponse *out)
{
    int64_t limit = page_limit(in->limit);
    const char *before = text_empty(in->starting_after) ? last_user_id : in->starting_after;
    struct tx *tx = tx_begin_read(rq);
    User **found = NULL;
    size_t n = 0;
    enum status st = list_users(tx, &found, &n, .pattern = like_pattern(rq->arena, in->q),
                                .before_id = before, .limit = limit + 1);
    out->has_more = (int64_t)n > limit;
    out->n_data = out->has_more ? (size_t)limit : n;
    for (size_t i = 0; st == OK && i < out->n_data; i++)
        st = list_addresses(tx, &found[i]->addresses, &found[i]->n_addresses,
                            .user_id = found[i]->id);
    tx_end(tx);
    out->data = found;
    return st ? fail_store(rq, st) : add_roles(rq, found, out->n_data);
}

enum status
users_put_user_roles(struct request *rq, const PutUserRolesRequest *in, User *out)
{
    User *user;
    enum status st = account_load(rq, in->id, &user);
    if (st == OK && user->disabled)
        st = fail(rq, &USERS_NO_SUCH_USER, "the account %s is disabled", in->id);
    if (st == OK)
        st = account_set_roles(rq, in->id, (const char *const *)in->roles, in->n_roles);
    if (st)
        return st;
    bool super = false;
    for (size_t i = 0; i < in->n_roles; i++)
        super |= text_equal(in->roles[i], "superadmin");
    if (!super) {
        struct tx *tx = tx_begin(rq);
        void_invitations_by(tx, .invited_by = in->id, .now_us = rq->now_us);
        st = tx_commit(tx);
        if (st)
            return fail_store(rq, st);
    }
    st = account_load(rq, in->id, &user);
    if (st == OK)
        *out = *user;
    return st;
}

/* Each step may be repeated.  Auth also hears of it: a call that breaks off behind the event is
 * made good by it. */
enum status
users_disable_user(struct request *rq, const DisableUserRequest *in, User *out)
{
    User *user;
    enum status st = account_load(rq, in->id, &user);
    if (st == OK)
        st = account_set_roles(rq, in->id, NULL, 0);
    if (st)
        return st;
    struct tx *tx = tx_begin(rq);
    if (disable_user(tx, .user_id = in->id, .now_us = rq->now_us)) {
        void_invitations_by(tx, .invited_by = in->id, .now_us = rq->now_us);
        publish_user_disabled(rq, tx, .user_id = in->id);
    }
    st = tx_commit(tx);
    if (st)
        return fail_store(rq, st);
    Empty *done;
    st = call_auth_shut_account(rq, &done, .user_id = in->id);
    if (st == OK)
        st = account_load(rq, in->id, &user);
    if (st == OK)
        *out = *user;
    return st;
}

/* A retry under the same key makes the same invitation. */
enum status
users_invite_staff(struct request *rq, const InviteStaffRequest *in, Invitation *out)
{
    const char *email = text_lower(rq->arena, in->email);
    const char *id = id_derive(rq->arena, "inv", rq->id, email);
    DeriveLinkTokenResponse *link;
    enum status st = call_auth_derive_link_token(rq, &link, .purpose = purpose, .id = id);
    if (st)
        return st;
    struct tx *tx = tx_begin(rq);
    if (insert_invitation(tx, .invitation_id = id, .email = email, .role = in->role,
                          .token_hash = digest_of(rq->arena, link->token),
                          .invited_by = rq->caller.id, .now_us = rq->now_us,
                          .expires_at_us = rq->now_us + INVITATION_LIFE_US)) {
        void_invitations_of(tx, .email = email, .except_id = id, .now_us = rq->now_us);
        publish_staff_invited(rq, tx, .invitation_id = id, .email = email, .role = in->role,
                              .invited_by = rq->caller.id);
    }
    Invitation *invitation;
    st = find_invitation(tx, &invitation, .invitation_id = id, .now_us = rq->now_us);
    if (st) {
        tx_end(tx);
        return fail_store(rq, st);
    }
    st = tx_commit(tx);
    if (st)
        return fail_store(rq, st);
    *out = *invitation;
    return OK;
}

/* The invitation is taken first, so that of two who hold its link one gets in; it is given back if
 * a later step fails. */
enum status
users_accept_invitation(struct request *rq, const AcceptInvitationRequest *in, LoginResponse *out)
{
    Invitation *invitation;
    const char *user_id = NULL;
    enum status st = find_by_link(rq, in->token, &invitation);
    if (st == OK)
        st = account_password_fits(rq, in->password);
    if (st == OK)
        st = claim(rq, invitation);
    if (st)
        return st;
    st = join(rq, invitation, in, &user_id);
    if (st) {
        release(rq, invitation);
        return st;
    }
    LoginResponse *in_session;
    st = call_auth_open_session(rq, &in_session, .user_id = user_id, .method = "invitation");
    if (st == OK)
        *out = *in_session;
    return st;
}

enum status
users_get_invitation_link(struct request *rq, const GetInvitationLinkRequest *in,
                          InvitationLink *out)
{
    struct tx *tx = tx_begin_read(rq);
    Invitation *invitation;
    enum status st =
        find_invitation(tx, &invitation, .invitation_id = in->invitation_id, .now_us = rq->now_us);
    tx_end(tx);
    if (st == NOT_FOUND)
        return fail(rq, &USERS_BAD_LINK, "the invitation is used, void or too old");
    if (st)
        return fail_store(rq, st);
    DeriveLinkTokenResponse *link;
    st = call_auth_derive_link_token(rq, &link, .purpose = purpose, .id = in->invitation_id);
    if (st)
        return st;
    out->email = invitation->email;
    out->role = invitation->role;
    out->token = link->token;
    out->expires_at_us = invitation->expires_at_us;
    return OK;
}

static enum status
add_roles(struct request *rq, User **users, size_t n)
{
    const char **ids = arena_alloc(rq->arena, (n + 1) * sizeof *ids);
    for (size_t i = 0; i < n; i++)
        ids[i] = users[i]->id;
    ListUserRolesResponse *roles;
    enum status st = call_authz_list_user_roles(rq, &roles, .user_ids = ids, .n_user_ids = n);
    for (size_t i = 0; st == OK && i < n; i++) {
        users[i]->roles = roles->data[i]->roles;
        users[i]->n_roles = roles->data[i]->n_roles;
    }
    return st;
}

static const char *
like_pattern(struct arena *a, const char *q)
{
    struct text t = text_in(a);
    text_add_char(&t, '%');
    for (const char *p = text_lower(a, q); *p; p++) {
        if (*p == '%' || *p == '_' || *p == '\\')
            text_add_char(&t, '\\');
        text_add_char(&t, *p);
    }
    text_add_char(&t, '%');
    return t.bytes;
}

static const char *
digest_of(struct arena *a, const char *token)
{
    uint8_t digest[SHA256_BYTES];
    sha256(token, strlen(token), digest);
    return hex_encode(a, digest, sizeof digest);
}

static enum status
find_by_link(struct request *rq, const char *token, Invitation **ret)
{
    struct tx *tx = tx_begin_read(rq);
    enum status st = find_invitation_by_token(tx, ret, .token_hash = digest_of(rq->arena, token),
                                              .now_us = rq->now_us);
    tx_end(tx);
    if (st == NOT_FOUND)
        return fail(rq, &USERS_BAD_LINK, "the invitation is unknown, used, void or too old");
    return fail_store(rq, st);
}

static enum status
claim(struct request *rq, const Invitation *invitation)
{
    struct tx *tx = tx_begin(rq);
    int64_t mine = accept_invitation(tx, .invitation_id = invitation->id, .now_us = rq->now_us);
    enum status st = tx_commit(tx);
    if (st == OK && !mine)
        return fail(rq, &USERS_BAD_LINK, "the invitation was used by somebody else just now");
    return fail_store(rq, st);
}

/* Why it failed has been said; if this fails too, the staff is invited again. */
static void
release(struct request *rq, const Invitation *invitation)
{
    struct tx *tx = tx_begin(rq);
    reopen_invitation(tx, .invitation_id = invitation->id);
    tx_commit(tx);
}

static enum status
join(struct request *rq, const Invitation *invitation, const AcceptInvitationRequest *in,
     const char **ret_user_id)
{
    User *user;
    enum status st = account_make(rq, invitation->email, in->name, "invitation", &user);
    if (st)
        return st;
    note(rq, "user_id", user->id);
    UserRoles *assigned;
    st = account_set_password(rq, user, in->password);
    if (st == OK)
        st = call_authz_assign_role(rq, &assigned, .user_id = user->id, .role = invitation->role);
    if (st == OK)
        *ret_user_id = user->id;
    return st;
}
