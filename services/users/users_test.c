/* Accounts in a whole world. */
#include "auth.api.h"
#include "authz.api.h"
#include "test/world.h"
#include "users.api.h"

enum { STATEMENTS = 30 }; /* about as many as SignUp runs */

static const char ada[] = "ada@example.org";

static const char *create(struct world *w, const char *email, const char *password,
                          const char *role, User **ret);
static const char *sign_up(struct world *w, const char *email, int64_t later_us,
                           LoginResponse **ret);
static const char *login(struct world *w, const char *email, const char *password);
static const char *get(struct world *w, const char *user_id, User **ret);

TEST(staff_can_log_in_when_create_staff_has_answered)
{
    struct world *w = world_new();
    User *user;
    check_text(create(w, "Ada@Example.org", "long enough", "superadmin", &user), "");
    check(id_valid("usr", user->id));
    check_text(user->email, ada);
    check_text(user->name, "Ada");
    check_int((long long)user->n_roles, 1);
    check_text(user->roles[0], "superadmin");
    check(user->created_at_us > 0);
    check_text(login(w, ada, "long enough"), "");
    world_free(w);
}

TEST(create_staff_may_be_repeated)
{
    struct world *w = world_new();
    User *first, *again;
    check_text(create(w, ada, "long enough", "admin", &first), "");
    check_text(create(w, "ADA@example.org", "another one", "superadmin", &again), "");
    check_text(again->id, first->id);
    check_int((long long)again->n_roles, 2);
    check_text(login(w, ada, "long enough"), "bad_credentials");
    check_text(login(w, ada, "another one"), "");
    check_int(world_events(w, "users.user_created", NULL), 1);
    check_int(world_events(w, "authz.user_roles_updated", first->id), 2);
    world_free(w);
}

TEST(what_makes_no_account_is_refused_before_anything_is_written)
{
    static const struct {
        const char *email, *password, *role, *code;
    } cases[] = {
        {"ada@example.org", "1234567", "admin", "weak_password"},
        {"ada@example.org", "", "admin", "weak_password"},
        {"ada@example.org", "long enough", "customer", "INVALID_ARGUMENT"},
        {"ada@example.org", "long enough", "", "INVALID_ARGUMENT"},
        {"ada", "long enough", "admin", "INVALID_ARGUMENT"},
        {"@example.org", "long enough", "admin", "INVALID_ARGUMENT"},
        {"ada@", "long enough", "admin", "INVALID_ARGUMENT"},
        {"ada @example.org", "long enough", "admin", "INVALID_ARGUMENT"},
        {"", "long enough", "admin", "INVALID_ARGUMENT"},
    };
    struct world *w = world_new();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        User *user;
        check_text(create(w, cases[i].email, cases[i].password, cases[i].role, &user),
                   cases[i].code);
    }
    check_int(world_events(w, "users.user_created", NULL), 0);
    world_free(w);
}

TEST(everybody_reads_himself_and_nobody_reads_what_is_not_there)
{
    struct world *w = world_new();
    const char *user_id = world_staff(w, ada, "admin");
    GetMeRequest *in = new_get_me_request(world_arena(w));
    User *me;
    check_text(world_ask(w, user_id, "users", "GetMe", &in->base, &me), "");
    check_text(me->id, user_id);
    check_text(me->roles[0], "admin");
    check_text(world_ask(w, "", "users", "GetMe", &in->base, &me), "UNAUTHENTICATED");
    check_text(get(w, user_id, &me), "");
    check_text(me->email, ada);
    check_text(get(w, "usr_01j00000000000000000000000", &me), "no_such_user");
    world_free(w);
}

/* Whichever statement fails, a repetition mends it, and there is one account and one UserCreated.
 */
TEST(a_failing_store_leaves_nothing_that_a_repetition_does_not_mend)
{
    int refused = 0;
    for (int k = 1; k <= STATEMENTS; k++) {
        struct world *w = world_new();
        world_settle(w);
        User *user;
        store_fail_at(node_store(world_node(w), "users"), k);
        refused += *create(w, ada, "long enough", "admin", &user) != 0;
        store_fail_at(node_store(world_node(w), "users"), 0);
        check_text(create(w, ada, "long enough", "admin", &user), "");
        check_text(login(w, ada, "long enough"), "");
        world_settle(w);
        check_int(world_events(w, "users.user_created", NULL), 1);
        check_int(world_events(w, "authz.user_roles_updated", user->id), 1);
        world_free(w);
    }
    check(refused > 0); /* followers and jobs get some of the failures */
}

/* Whichever statement fails, whoever tries again gets in, and there is one account and one of each
 * event. */
TEST(a_sign_up_that_breaks_off_can_be_repeated)
{
    int refused = 0;
    for (int k = 1; k <= STATEMENTS; k++) {
        struct world *w = world_new();
        world_settle(w);
        LoginResponse *told;
        store_fail_at(node_store(world_node(w), "users"), k);
        bool failed = *sign_up(w, ada, 0, &told) != 0;
        store_fail_at(node_store(world_node(w), "users"), 0);
        if (failed &&
            *login(w, ada, "long enough")) /* where only the answer was lost, it is there */
            check_text(sign_up(w, ada, MINUTE_US, &told), "");
        refused += failed;
        check_text(login(w, ada, "long enough"), "");
        check_text(sign_up(w, ada, 2 * MINUTE_US, &told), "email_taken");
        world_settle(w);
        check_int(world_events(w, "users.user_created", NULL), 1);
        check_int(world_events(w, "users.user_registered", NULL), 1);
        world_free(w);
    }
    check(refused > 0);
}

TEST(two_who_sign_up_with_one_e_mail_do_not_get_each_others_account)
{
    struct world *w = world_new();
    LoginResponse *told;
    check_text(sign_up(w, ada, 0, &told), "");
    check_text(sign_up(w, "ADA@example.org", 0, &told), "email_taken");
    check_text(sign_up(w, "bob@example.org", 0, &told), "");
    check_text(told->user->email, "bob@example.org");
    check_text(told->user->roles[0], "customer");
    world_free(w);
}

static const char *
sign_up(struct world *w, const char *email, int64_t later_us, LoginResponse **ret)
{
    SignUpRequest *in = new_sign_up_request(world_arena(w));
    in->email = email;
    in->password = "long enough";
    struct request rq = world_request(w, "");
    rq.now_us += later_us;
    enum status st = world_serve(w, &rq, "users", "SignUp", &in->base, ret);
    return st == OK ? "" : rq.reason ? rq.reason->code : status_name(st);
}

static const char *
create(struct world *w, const char *email, const char *password, const char *role, User **ret)
{
    CreateStaffRequest *in = new_create_staff_request(world_arena(w));
    in->email = email;
    in->name = "Ada";
    in->password = password;
    in->role = role;
    return world_ask(w, "operator", "users", "CreateStaff", &in->base, ret);
}

static const char *
login(struct world *w, const char *email, const char *password)
{
    LoginRequest *in = new_login_request(world_arena(w));
    LoginResponse *out;
    in->email = email;
    in->password = password;
    return world_ask(w, "", "auth", "Login", &in->base, &out);
}

static const char *
get(struct world *w, const char *user_id, User **ret)
{
    GetUserRequest *in = new_get_user_request(world_arena(w));
    in->user_id = user_id;
    return world_ask(w, "operator", "users", "GetUser", &in->base, ret);
}
