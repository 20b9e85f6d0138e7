/* Roles and decisions in a whole world. */
#include "auth.api.h"
#include "authz.api.h"
#include "authz/denials.h"
#include "authz/rights.h"
#include "test/world.h"
#include "users.api.h"

enum { STATEMENTS = 5 }; /* about as many as a decision runs */

static const char ada[] = "ada@example.org";
static const char somebody[] = "usr_01j00000000000000000000000";

static AccessAnswer *ask(struct world *w, const char *subject, const char *permission);
static const char *assign(struct world *w, const char *user_id, const char *role, UserRoles **ret);
static const char *set_roles(struct world *w, const char *user_id, const char *one,
                             const char *two);
static UserRoles *roles_of(struct world *w, const char *user_id);
static void publish_user_created_as(struct world *w, const char *user_id, const char *origin);
static void run_report_denials(struct world *w);

TEST(a_role_permits_what_the_protos_grant_it)
{
    static const struct {
        const char *role, *permission;
        bool permits;
    } cases[] = {
        {"anonymous", "auth.login", true},
        {"anonymous", "users.self", false},
        {"customer", "users.self", true},
        {"customer", "catalog.write", false},
        {"customer", "audit.read", false},
        {"admin", "catalog.write", true},
        {"admin", "audit.read", false},
        {"superadmin", "audit.read", true},
        {"superadmin", "what.no.proto.names", true},
        {"admin", "what.no.proto.names", false},
        {"", "auth.login", false},
        {"nonsense", "auth.login", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (role_permits(cases[i].role, cases[i].permission) != cases[i].permits)
            test_complain(__FILE__, (int)(__LINE__ + i), cases[i].permission);

    struct arena *a = arena_new();
    const char **all, **some;
    size_t n = all_permissions(a, &all);
    size_t few = permissions_of(a, (const char *const[]){"anonymous", "customer"}, 2, &some);
    check(few > 0 && few < n);
    for (size_t i = 1; i < n; i++)
        check(strcmp(all[i - 1], all[i]) < 0);
    arena_free(a);
}

TEST(denials_of_visitors_are_told_up_to_a_bound_each_minute_and_counted_beyond)
{
    struct arena *a = arena_new();
    struct denials *d = arena_alloc(a, denials_size());
    int64_t counts[3] = {0};
    for (int minute = 1; minute <= 2; minute++) {
        int told = 0;
        for (int i = 0; i < 25; i++)
            told += denials_tell(d, 1, minute * MINUTE_US + i);
        check_int(told, DENIALS_PER_MINUTE_MAX);
        check(denials_tell(d, 2, minute * MINUTE_US)); /* each permission has its own */
    }
    check(denials_take(d, counts, 3));
    check_int(counts[1], 30);
    check_int(counts[2], 0);
    check(!denials_take(d, counts, 3));
    counts[1] = 7;
    denials_give_back(d, counts, 3);
    check(denials_take(d, counts, 3) && counts[1] == 7);
    arena_free(a);
}

TEST(a_role_is_given_once_and_told_with_all_it_permits)
{
    struct world *w = world_new();
    UserRoles *has;
    check_text(assign(w, somebody, "admin", &has), "");
    check_text(assign(w, somebody, "admin", &has), "");
    check_int((long long)has->n_roles, 1);
    check_text(has->roles[0], "admin");
    check_int(has->version, 1);
    check_int(world_events(w, "authz.user_roles_updated", somebody), 1);
    check_text(assign(w, somebody, "customer", &has), "");
    check_int((long long)has->n_roles, 2);
    check_int(world_events(w, "authz.user_roles_updated", somebody), 2);
    check_text(assign(w, somebody, "emperor", &has), "no_such_role");
    check_text(assign(w, somebody, "anonymous", &has), "no_such_role");
    world_free(w);
}

TEST(roles_are_set_as_a_whole_and_the_last_superadmin_stays)
{
    struct world *w = world_new();
    const char *root = world_staff(w, ada, "superadmin");
    check_text(set_roles(w, root, "admin", NULL), "last_superadmin");
    check_text(set_roles(w, root, NULL, NULL), "last_superadmin");
    check_text(roles_of(w, root)->roles[0], "superadmin");
    check_text(set_roles(w, root, "admin", "superadmin"), "");
    check_text(set_roles(w, somebody, "superadmin", NULL), "");
    check_text(set_roles(w, root, "customer", NULL), "");
    check_int((long long)roles_of(w, root)->n_roles, 1);
    check(!ask(w, root, "audit.read")->allowed);
    check_text(set_roles(w, somebody, "admin", NULL), "last_superadmin");
    check_text(set_roles(w, somebody, "superadmin", "emperor"), "no_such_role");
    check_int(world_events(w, "authz.user_roles_updated", root), 3);
    check_text(set_roles(w, root, "customer", NULL), "");
    check_int(world_events(w, "authz.user_roles_updated", root), 3);
    world_free(w);
}

TEST(each_decision_about_staff_is_recorded)
{
    struct world *w = world_new();
    const char *admin = world_staff(w, ada, "admin");
    for (int i = 0; i < 3; i++) {
        AccessAnswer *answer = ask(w, admin, "catalog.write");
        check(answer->allowed && !answer->keep);
        answer = ask(w, admin, "audit.read");
        check(!answer->allowed && !answer->keep);
    }
    check_int(world_events(w, "authz.access_granted", admin), 3);
    check_int(world_events(w, "authz.access_denied", admin), 3);
    world_free(w);
}

TEST(grants_to_visitors_and_customers_are_kept_and_their_denials_recorded)
{
    struct world *w = world_new();
    UserRoles *has;
    AccessAnswer *answer = ask(w, "", "auth.login");
    check(answer->allowed && answer->keep);

    check_text(assign(w, somebody, "customer", &has), "");
    answer = ask(w, somebody, "users.self");
    check(answer->allowed && answer->keep);
    answer = ask(w, somebody, "catalog.write");
    check(!answer->allowed);
    answer = ask(w, somebody, "catalog.write");
    check(!answer->allowed);
    check_int(world_events(w, "authz.access_granted", NULL), 0);
    check_int(world_events(w, "authz.access_denied", somebody), 2);
    world_free(w);
}

TEST(nobody_can_buy_disk_writes_with_denials)
{
    struct world *w = world_new();
    for (int i = 0; i < 3 * DENIALS_PER_MINUTE_MAX; i++)
        check(!ask(w, "", "catalog.write")->allowed);
    int64_t told = world_events(w, "authz.access_denied", NULL);
    check(told >= DENIALS_PER_MINUTE_MAX &&
          told <= 2 * DENIALS_PER_MINUTE_MAX); /* a minute may turn */
    run_report_denials(w);
    run_report_denials(w);
    check_int(world_events(w, "authz.access_denied", NULL), told + 1);
    world_free(w);
}

TEST(what_the_kit_decided_from_memory_arrives_as_counts)
{
    struct world *w = world_new();
    AccessCount count = *new_access_count(world_arena(w));
    AccessCount *counts[] = {&count, &count};
    AccessReport *in = new_access_report(world_arena(w));
    count.subject = somebody;
    count.permission = "users.self";
    count.resource = "users.GetMe";
    count.count = 42;
    in->granted = counts;
    in->n_granted = 2;
    check_text(world_ask(w, "operator", "authz", "Report", &in->base, NULL), "");
    check_int(world_events(w, "authz.access_granted", somebody), 2);
    world_free(w);
}

TEST(whoever_signs_up_is_a_customer_and_whoever_is_unknown_is_nobody)
{
    struct world *w = world_new();
    check_int((long long)roles_of(w, somebody)->n_roles, 0);
    check(!ask(w, somebody, "users.self")->allowed);
    check(ask(w, somebody, "auth.login")->allowed);

    publish_user_created_as(w, somebody, "signup");
    world_settle(w);
    check_int((long long)roles_of(w, somebody)->n_roles, 1);
    check_text(roles_of(w, somebody)->roles[0], "customer");
    check(ask(w, somebody, "users.self")->allowed);
    check_int(world_events(w, "authz.user_roles_updated", somebody), 1);
    world_free(w);
}

TEST(a_login_tells_the_roles_anew_only_if_they_permit_something_else)
{
    struct world *w = world_new();
    const char *admin = world_staff(w, ada, "admin");
    LoginRequest *in = new_login_request(world_arena(w));
    LoginResponse *out;
    in->email = ada;
    in->password = "correct horse battery";
    check_text(world_ask(w, "", "auth", "Login", &in->base, &out), "");
    world_settle(w);
    check_int(world_events(w, "authz.user_roles_updated", admin), 1);
    world_free(w);
}

TEST(a_decision_that_cannot_be_recorded_is_not_given)
{
    struct world *w = world_new();
    const char *admin = world_staff(w, ada, "admin");
    world_settle(w);
    AccessQuestion *in = new_access_question(world_arena(w));
    AccessAnswer *out;
    in->subject = admin;
    in->permission = "catalog.write";
    int64_t given = 0;
    for (int k = 1; k <= 2 * STATEMENTS; k++) {
        store_fail_at(node_store(world_node(w), "authz"), 1 + k % STATEMENTS);
        given += !*world_ask(w, "operator", "authz", "Check", &in->base, &out);
        store_fail_at(node_store(world_node(w), "authz"), 0);
        check_int(world_events(w, "authz.access_granted", admin), given);
    }
    check(given < 2 * STATEMENTS);
    world_free(w);
}

static AccessAnswer *
ask(struct world *w, const char *subject, const char *permission)
{
    AccessQuestion *in = new_access_question(world_arena(w));
    AccessAnswer *out = new_access_answer(world_arena(w));
    in->subject = subject;
    in->permission = permission;
    in->resource = "a test";
    check_text(world_ask(w, "operator", "authz", "Check", &in->base, &out), "");
    return out;
}

static const char *
assign(struct world *w, const char *user_id, const char *role, UserRoles **ret)
{
    AssignRoleRequest *in = new_assign_role_request(world_arena(w));
    in->user_id = user_id;
    in->role = role;
    return world_ask(w, "operator", "authz", "AssignRole", &in->base, ret);
}

static const char *
set_roles(struct world *w, const char *user_id, const char *one, const char *two)
{
    const char *roles[] = {one, two};
    SetRolesRequest *in = new_set_roles_request(world_arena(w));
    in->user_id = user_id;
    in->roles = roles;
    in->n_roles = !one ? 0 : two ? 2 : 1;
    return world_ask(w, "operator", "authz", "SetRoles", &in->base, NULL);
}

static UserRoles *
roles_of(struct world *w, const char *user_id)
{
    GetUserRolesRequest *in = new_get_user_roles_request(world_arena(w));
    UserRoles *out = new_user_roles(world_arena(w));
    in->user_id = user_id;
    check_text(world_ask(w, "operator", "authz", "GetUserRoles", &in->base, &out), "");
    return out;
}

struct created {
    struct world *w;
    const char *user_id, *origin;
};

static void
publish_it(void *arg)
{
    const struct created *c = arg;
    struct request rq = world_request(c->w, "operator");
    extern const struct service users_service;
    rq.service = &users_service;
    struct tx *tx = tx_begin(&rq);
    UserCreated *event = new_user_created(rq.arena);
    event->user_id = c->user_id;
    event->origin = c->origin;
    publish(&rq, tx, &user_created, &event->base);
    check_int(tx_commit(tx), OK);
    check_int(request_settle(&rq), OK);
}

static void
publish_user_created_as(struct world *w, const char *user_id, const char *origin)
{
    struct created c = {w, user_id, origin};
    world_run(w, "users", publish_it, &c);
}

static void
run_it(void *arg)
{
    struct request rq = world_request(arg, "operator");
    extern const struct service authz_service;
    rq.service = &authz_service;
    check_int(authz_service.jobs[0].run(&rq), OK);
    check_int(request_settle(&rq), OK);
}

static void
run_report_denials(struct world *w)
{
    world_run(w, "authz", run_it, w);
}
