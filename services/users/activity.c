#include "users/activity.h"

#include "users/accounts.h"

enum { ACTIVITIES_MAX = 500 }; /* kept of one account: the newest */

static enum status add(struct request *rq, struct tx *tx, const char *user_id, const char *kind,
                       const char *detail);
static const char *joined(struct arena *a, const char *const *words, size_t n);

enum status
users_list_activity(struct request *rq, const ListActivityRequest *in, ListActivityResponse *out)
{
    int64_t limit = page_limit(in->limit);
    size_t n = 0;
    enum status st = activity_page(rq, in->starting_after, limit + 1, &out->data, &n);
    out->has_more = (int64_t)n > limit;
    out->n_data = out->has_more ? (size_t)limit : n;
    return st;
}

enum status
activity_page(struct request *rq, const char *after_id, int64_t limit, Activity ***ret,
              size_t *ret_n)
{
    struct tx *tx = tx_begin_read(rq);
    enum status st = list_activity(tx, ret, ret_n, .user_id = rq->caller.id, .after_id = after_id,
                                   .limit = limit);
    tx_end(tx);
    return fail_store(rq, st);
}

enum status
activity_on_user_registered(struct request *rq, struct tx *tx, const UserRegistered *event)
{
    return add(rq, tx, event->user_id, "registered", "");
}

enum status
activity_on_user_logged_in(struct request *rq, struct tx *tx, const UserLoggedIn *event)
{
    return add(rq, tx, event->user_id, "logged_in", event->method);
}

enum status
activity_on_session_revoked(struct request *rq, struct tx *tx, const SessionRevoked *event)
{
    return add(rq, tx, event->user_id,
               text_empty(event->session_id) ? "sessions_ended" : "session_ended", event->reason);
}

enum status
activity_on_password_reset_requested(struct request *rq, struct tx *tx,
                                     const PasswordResetRequested *event)
{
    return add(rq, tx, event->user_id, "password_reset_requested", "");
}

enum status
activity_on_user_roles_updated(struct request *rq, struct tx *tx, const UserRolesUpdated *event)
{
    return add(rq, tx, event->user_id, "roles_updated",
               joined(rq->arena, (const char *const *)event->roles, event->n_roles));
}

enum status
activity_on_profile_updated(struct request *rq, struct tx *tx, const ProfileUpdated *event)
{
    return add(rq, tx, event->user_id, "profile_updated",
               joined(rq->arena, (const char *const *)event->fields, event->n_fields));
}

enum status
activity_on_user_disabled(struct request *rq, struct tx *tx, const UserDisabled *event)
{
    return add(rq, tx, event->user_id, "disabled", "");
}

enum status
activity_on_person_erased(struct request *rq, struct tx *tx, const PersonErased *event)
{
    (void)rq;
    if (text_empty(event->user_id))
        return OK; /* a guest has none */
    add_erased(tx, .user_id = event->user_id);
    delete_activity(tx, .user_id = event->user_id);
    return OK;
}

/* The entry's id is the event's: what caused this request. */
static enum status
add(struct request *rq, struct tx *tx, const char *user_id, const char *kind, const char *detail)
{
    insert_activity(tx, .activity_id = rq->causation_id, .user_id = user_id, .kind = kind,
                    .detail = detail, .at_us = rq->now_us);
    trim_activity(tx, .user_id = user_id, .keep = ACTIVITIES_MAX);
    return OK;
}

static const char *
joined(struct arena *a, const char *const *words, size_t n)
{
    struct text t = text_in(a);
    for (size_t i = 0; i < n; i++)
        text_printf(&t, "%s%s", i > 0 ? ", " : "", words[i]);
    return n > 0 ? t.bytes : "";
}
