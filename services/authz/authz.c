/*
 * Authz: who may do what.
 *
 * Roles are rows; what a role permits is computed from the protos.  Each decision about staff and
 * each denial of somebody known is recorded with its answer; grants to customers and visitors are
 * kept by the asker and reported as counts; denials of visitors are recorded up to a bound and
 * counted beyond, so that nobody can buy disk writes with them.
 */
#include "authz.impl.h"

#include "auth.api.h"
#include "authz/denials.h"
#include "authz/rights.h"
#include "base/hash.h"
#include "users.api.h"

static enum status load_roles(struct request *rq, const char *user_id, UserRoles *out);
static enum status read_roles(struct request *rq, struct tx *tx, const char *user_id,
                              UserRoles *out);
static const char *granting_role(const UserRoles *who, const char *permission);
static bool is_staff(const UserRoles *who);
static bool has_role(const UserRoles *who, const char *role);
static enum status record(struct request *rq, const AccessQuestion *in, const UserRoles *who,
                          const char *granted_by);
static enum status record_visitors_denial(struct request *rq, const AccessQuestion *in);
static void give_role(struct request *rq, struct tx *tx, const char *user_id, const char *role);
static void tell_if_changed(struct request *rq, struct tx *tx, const char *user_id);

enum status
authz_check(struct request *rq, const AccessQuestion *in, AccessAnswer *out)
{
    UserRoles who = {0};
    enum status st = load_roles(rq, in->subject, &who);
    if (st)
        return st;

    const char *granted_by = granting_role(&who, in->permission);
    out->allowed = granted_by != NULL;
    if (granted_by && !is_staff(&who)) {
        out->keep = true; /* the asker counts it from now on, this time included */
        return OK;
    }
    if (!granted_by && text_empty(in->subject))
        return record_visitors_denial(rq, in);
    return record(rq, in, &who, granted_by);
}

enum status
authz_report(struct request *rq, const AccessReport *in, Empty *out)
{
    (void)out;
    struct tx *tx = tx_begin(rq);
    for (size_t i = 0; i < in->n_granted; i++)
        publish_access_granted(rq, tx, .subject = in->granted[i]->subject,
                               .permission = in->granted[i]->permission,
                               .resource = in->granted[i]->resource, .reason = "remembered",
                               .count = in->granted[i]->count);
    for (size_t i = 0; i < in->n_denied; i++)
        publish_access_denied(rq, tx, .subject = in->denied[i]->subject,
                              .permission = in->denied[i]->permission,
                              .resource = in->denied[i]->resource, .reason = "remembered",
                              .count = in->denied[i]->count);
    return fail_store(rq, tx_commit(tx));
}

enum status
authz_assign_role(struct request *rq, const AssignRoleRequest *in, UserRoles *out)
{
    if (!role_known(in->role))
        return fail(rq, &AUTHZ_NO_SUCH_ROLE, "there is no role \"%s\"", in->role);

    struct tx *tx = tx_begin(rq);
    give_role(rq, tx, in->user_id, in->role);
    enum status st = read_roles(rq, tx, in->user_id, out);
    enum status committed = tx_commit(tx);
    return fail_store(rq, committed ? committed : st);
}

enum status
authz_get_user_roles(struct request *rq, const GetUserRolesRequest *in, UserRoles *out)
{
    return load_roles(rq, in->user_id, out);
}

enum status
authz_list_user_roles(struct request *rq, const ListUserRolesRequest *in,
                      ListUserRolesResponse *out)
{
    struct tx *tx = tx_begin_read(rq);
    out->data = arena_alloc(rq->arena, in->n_user_ids * sizeof *out->data);
    enum status st = OK;
    for (size_t i = 0; st == OK && i < in->n_user_ids; i++) {
        UserRoles *who = new_user_roles(rq->arena);
        st = read_roles(rq, tx, in->user_ids[i], who);
        out->data[out->n_data++] = who;
    }
    tx_end(tx);
    return fail_store(rq, st);
}

/* Looked at and changed in one transaction: two superadmins cannot remove one another. */
enum status
authz_set_roles(struct request *rq, const SetRolesRequest *in, UserRoles *out)
{
    bool super = false;
    for (size_t i = 0; i < in->n_roles; i++) {
        if (!role_known(in->roles[i]))
            return fail(rq, &AUTHZ_NO_SUCH_ROLE, "there is no role \"%s\"", in->roles[i]);
        super |= text_equal(in->roles[i], "superadmin");
    }
    struct tx *tx = tx_begin(rq);
    UserRoles had = {0};
    int64_t others = 0;
    enum status st = read_roles(rq, tx, in->user_id, &had);
    if (st == OK)
        st = count_other_superadmins(tx, &others, .user_id = in->user_id);
    if (st || (!super && others == 0 && has_role(&had, "superadmin"))) {
        tx_end(tx);
        return st ? fail_store(rq, st)
                  : fail(rq, &AUTHZ_LAST_SUPERADMIN, "this is the last superadmin");
    }
    ensure_subject(tx, .user_id = in->user_id);
    delete_roles(tx, .user_id = in->user_id);
    for (size_t i = 0; i < in->n_roles; i++)
        insert_role(tx, .user_id = in->user_id, .role = in->roles[i]);
    tell_if_changed(rq, tx, in->user_id);
    st = read_roles(rq, tx, in->user_id, out);
    enum status committed = tx_commit(tx);
    return fail_store(rq, committed ? committed : st);
}

enum status
authz_list_roles(struct request *rq, const ListRolesRequest *in, ListRolesResponse *out)
{
    (void)in;
    static const char *const roles[] = {"anonymous", "customer", "admin", "superadmin"};
    enum { ROLES = sizeof roles / sizeof roles[0] };
    out->data = arena_alloc(rq->arena, ROLES * sizeof *out->data);
    for (size_t i = 0; i < ROLES; i++) {
        Role *role = new_role(rq->arena);
        const char **permissions;
        role->role = roles[i];
        role->n_permissions = permissions_of(rq->arena, &roles[i], 1, &permissions);
        role->permissions = permissions;
        out->data[out->n_data++] = role;
    }
    return OK;
}

/* Whoever signed up is a customer from the start; staff's roles come by AssignRole. */
static enum status
on_user_created(struct request *rq, struct tx *tx, const UserCreated *event)
{
    ensure_subject(tx, .user_id = event->user_id);
    if (text_equal(event->origin, "signup") || text_equal(event->origin, "import"))
        give_role(rq, tx, event->user_id, "customer");
    return OK;
}

/* A newer Souk may permit a role more or less than when it was given: a login is when we tell. */
static enum status
on_user_authenticated(struct request *rq, struct tx *tx, const UserAuthenticated *event)
{
    if (!text_empty(event->user_id))
        tell_if_changed(rq, tx, event->user_id);
    return OK;
}

/* The job that tells of visitors' denials beyond the bound. */
static enum status
report_denials(struct request *rq)
{
    struct denials *denials = service_state(rq, denials_size());
    const char **permissions;
    size_t n = all_permissions(rq->arena, &permissions);
    int64_t *counts = arena_alloc(rq->arena, (n + 1) * sizeof *counts);
    if (!denials_take(denials, counts, n + 1))
        return OK;

    struct tx *tx = tx_begin(rq);
    for (size_t i = 0; i <= n; i++)
        if (counts[i] > 0)
            publish_access_denied(rq, tx, .permission = i < n ? permissions[i] : "",
                                  .reason = "visitors, beyond what is told one by one",
                                  .count = counts[i]);
    enum status st = tx_commit(tx);
    if (st)
        denials_give_back(denials, counts, n + 1);
    return fail_store(rq, st);
}

static enum status
load_roles(struct request *rq, const char *user_id, UserRoles *out)
{
    if (text_empty(user_id))
        return OK;
    struct tx *tx = tx_begin_read(rq);
    enum status st = read_roles(rq, tx, user_id, out);
    tx_end(tx);
    return fail_store(rq, st);
}

/* Somebody known without a role is a customer; somebody unknown has none. */
static enum status
read_roles(struct request *rq, struct tx *tx, const char *user_id, UserRoles *out)
{
    out->user_id = arena_strdup(rq->arena, user_id);
    Subject *subject;
    enum status st = find_subject(tx, &subject, .user_id = user_id);
    if (st)
        return st == NOT_FOUND ? OK : st;
    Role **rows;
    size_t n;
    st = list_roles(tx, &rows, &n, .user_id = user_id);
    if (st)
        return st;

    out->version = subject->version;
    out->roles = arena_alloc(rq->arena, (n + 1) * sizeof *out->roles);
    for (size_t i = 0; i < n; i++)
        out->roles[out->n_roles++] = rows[i]->role;
    if (n == 0)
        out->roles[out->n_roles++] = "customer";
    return OK;
}

/* The role that permits it, or NULL.  Everybody may do what a visitor may. */
static const char *
granting_role(const UserRoles *who, const char *permission)
{
    for (size_t i = 0; i < who->n_roles; i++)
        if (role_permits(who->roles[i], permission))
            return who->roles[i];
    return role_permits("anonymous", permission) ? "anonymous" : NULL;
}

static bool
is_staff(const UserRoles *who)
{
    for (size_t i = 0; i < who->n_roles; i++)
        if (role_is_staff(who->roles[i]))
            return true;
    return false;
}

static bool
has_role(const UserRoles *who, const char *role)
{
    for (size_t i = 0; i < who->n_roles; i++)
        if (text_equal(who->roles[i], role))
            return true;
    return false;
}

static enum status
record(struct request *rq, const AccessQuestion *in, const UserRoles *who, const char *granted_by)
{
    struct text roles = text_in(rq->arena);
    for (size_t i = 0; i < who->n_roles; i++)
        text_printf(&roles, "%s%s", i > 0 ? ", " : "", who->roles[i]);

    struct tx *tx = tx_begin(rq);
    if (granted_by)
        publish_access_granted(rq, tx, .subject = in->subject, .permission = in->permission,
                               .resource = in->resource, .count = 1,
                               .reason = arena_printf(rq->arena, "granted to %s", granted_by));
    else
        publish_access_denied(rq, tx, .subject = in->subject, .permission = in->permission,
                              .resource = in->resource, .count = 1,
                              .reason = arena_printf(rq->arena, "not granted to %s",
                                                     roles.n > 0 ? roles.bytes : "visitors"));
    return fail_store(rq, tx_commit(tx));
}

static enum status
record_visitors_denial(struct request *rq, const AccessQuestion *in)
{
    const char **permissions;
    size_t n = all_permissions(rq->arena, &permissions), number = 0;
    while (number < n && !text_equal(permissions[number], in->permission))
        number++; /* n is whatever no proto names */

    if (!denials_tell(service_state(rq, denials_size()), number, rq->now_us))
        return OK;
    return record(rq, in, &(const UserRoles){0}, NULL);
}

static void
give_role(struct request *rq, struct tx *tx, const char *user_id, const char *role)
{
    ensure_subject(tx, .user_id = user_id);
    insert_role(tx, .user_id = user_id, .role = role);
    tell_if_changed(rq, tx, user_id);
}

/* Publishes what the user's roles permit if it is not what was told last. */
static void
tell_if_changed(struct request *rq, struct tx *tx, const char *user_id)
{
    Subject *subject;
    UserRoles who = {0};
    if (find_subject(tx, &subject, .user_id = user_id) || read_roles(rq, tx, user_id, &who))
        return; /* never heard of, or tx has failed and says so */

    const char **permissions;
    size_t n = permissions_of(rq->arena, who.roles, who.n_roles, &permissions);
    struct text told = text_in(rq->arena);
    for (size_t i = 0; i < who.n_roles; i++)
        text_printf(&told, "%s ", who.roles[i]);
    for (size_t i = 0; i < n; i++)
        text_printf(&told, "%s ", permissions[i]);
    uint8_t digest[SHA256_BYTES];
    sha256(told.bytes, told.n, digest);
    const char *hex = hex_encode(rq->arena, digest, sizeof digest);
    if (text_equal(hex, subject->permissions_digest))
        return;

    set_permissions(tx, .user_id = user_id, .permissions_digest = hex);
    publish_user_roles_updated(rq, tx, .user_id = user_id, .roles = who.roles,
                               .n_roles = who.n_roles, .permissions = permissions,
                               .n_permissions = n, .version = subject->version + 1);
}

static const char *const everywhere[] = {"report_denials", NULL};

const struct service authz_service = {
    .name = "authz",
    .serves = &authz_server,
    .publishes = {&user_roles_updated, &access_granted, &access_denied},
    .subscribes = {{subscribe(user_created, on_user_created)},
                   {subscribe(user_authenticated, on_user_authenticated)}},
    .jobs = {{"report_denials", report_denials, MINUTE_US}},
    .everywhere = everywhere,
};
