/* Logins, sessions and tokens in a whole world. */
#include <sqlite3.h>
#include <stdlib.h>
#include <unistd.h>

#include "auth.api.h"
#include "auth/keyring.h"
#include "auth/sessions.h"
#include "auth/throttle.h"
#include "base/env.h"
#include "test/world.h"

static const char password[] = "correct horse battery"; /* world_staff's */
enum { STATEMENTS = 15 };                               /* about as many as a login runs */

static const char ada[] = "ada@example.org";

/* Logs in: the reason's code, or "". */
static const char *login(struct world *w, const char *email, const char *with, LoginResponse **ret);
static const char *refresh(struct world *w, const char *token, int64_t later_us,
                           RefreshResponse **ret);
static const char *verify(struct world *w, const char *token, int64_t later_us,
                          VerifiedToken **ret);
static const char *set_credentials(struct world *w, const char *user_id, const char *email,
                                   const char *new_password);
static const char *logout(struct world *w, const VerifiedToken *who);
static const char *reset_asked(struct world *w, const char *user_id, const char *email,
                               int64_t later_us, int64_t n);
static const char *reset_password(struct world *w, const char *token, const char *with,
                                  int64_t later_us);
static void tend_keys_much_later(void *world);
static void clean_much_later(void *world);
static int64_t count_rows(struct world *w, const char *table);

TEST(a_login_answers_with_tokens_that_say_who_it_is)
{
    struct world *w = world_new();
    const char *user_id = world_staff(w, ada, "admin");
    LoginResponse *in;
    VerifiedToken *who;
    check_text(login(w, ada, password, &in), "");
    check_text(in->user->id, user_id);
    check_text(in->user->email, ada);
    check_int((long long)in->user->n_roles, 1);
    check_text(in->user->roles[0], "admin");
    check_int(in->expires_in, 900);

    check_text(verify(w, in->access_token, 0, &who), "");
    check_text(who->user_id, user_id);
    check_text(who->order_id, "");
    check(id_valid("ses", who->session_id));
    check_text(verify(w, in->access_token, 0, &who), ""); /* from memory */
    check_text(who->user_id, user_id);

    check_int(world_events(w, "auth.user_authenticated", user_id), 1);
    check_int(world_events(w, "auth.user_logged_in", user_id), 1);
    world_free(w);
}

TEST(an_e_mails_case_does_not_matter)
{
    struct world *w = world_new();
    world_staff(w, ada, "admin");
    LoginResponse *in;
    check_text(login(w, "Ada@EXAMPLE.org", password, &in), "");
    world_free(w);
}

TEST(an_unknown_e_mail_and_a_wrong_password_are_told_alike)
{
    struct world *w = world_new();
    world_staff(w, ada, "admin");
    LoginResponse *in;
    check_text(login(w, ada, "wrong password", &in), "bad_credentials");
    check_text(login(w, "nobody@example.org", "wrong password", &in), "bad_credentials");
    check_text(login(w, ada, "", &in), "bad_credentials");
    check_int(world_events(w, "auth.failed_login_attempt", NULL), 3);
    check_int(world_events(w, "auth.user_logged_in", NULL), 0);
    world_free(w);
}

TEST(after_ten_failures_the_right_password_waits_too)
{
    struct world *w = world_new();
    world_staff(w, ada, "admin");
    world_staff(w, "bob@example.org", "admin");
    LoginResponse *in;
    for (int i = 0; i < LOGIN_FAILURES_MAX; i++)
        check_text(login(w, i % 2 ? ada : "ADA@example.org", "wrong password", &in),
                   "bad_credentials");
    check_text(login(w, ada, password, &in), "too_many_logins");
    check_text(login(w, ada, "wrong password", &in), "too_many_logins");
    check_text(login(w, "bob@example.org", password, &in), "");
    check_int(world_events(w, "auth.failed_login_attempt", NULL), LOGIN_FAILURES_MAX + 2);

    struct request rq = world_request(w, "");
    rq.now_us += THROTTLE_WINDOW_US + SECOND_US;
    LoginRequest *again = new_login_request(rq.arena);
    again->email = ada;
    again->password = password;
    check_int(world_serve(w, &rq, "auth", "Login", &again->base, &in), OK);
    world_free(w);
}

TEST(a_good_login_forgets_the_failures_before_it)
{
    struct world *w = world_new();
    world_staff(w, ada, "admin");
    LoginResponse *in;
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < LOGIN_FAILURES_MAX - 1; i++)
            check_text(login(w, ada, "wrong password", &in), "bad_credentials");
        check_text(login(w, ada, password, &in), "");
    }
    world_free(w);
}

TEST(a_refresh_token_is_good_once)
{
    struct world *w = world_new();
    const char *user_id = world_staff(w, ada, "admin");
    LoginResponse *in;
    RefreshResponse *next;
    VerifiedToken *who;
    check_text(login(w, ada, password, &in), "");
    check_text(refresh(w, in->refresh_token, 0, &next), "");
    check(strcmp(next->refresh_token, in->refresh_token) != 0);
    check_text(verify(w, next->access_token, 0, &who), "");
    check_text(who->user_id, user_id);
    check_text(refresh(w, next->refresh_token, 0, &next), "");
    check_text(refresh(w, "nonsense", 0, &next), "bad_token");
    check_text(refresh(w, "", 0, &next), "bad_token");
    check_int(world_events(w, "auth.session_revoked", NULL), 0);
    world_free(w);
}

TEST(a_spent_refresh_token_that_comes_back_ends_its_session)
{
    struct world *w = world_new();
    const char *user_id = world_staff(w, ada, "admin");
    LoginResponse *stolen, *other;
    RefreshResponse *next, *again;
    VerifiedToken *who;
    check_text(login(w, ada, password, &stolen), "");
    check_text(login(w, ada, password, &other), "");
    check_text(refresh(w, stolen->refresh_token, 0, &next), "");
    check_text(verify(w, next->access_token, 0, &who), "");

    check_text(refresh(w, stolen->refresh_token, 0, &again), "bad_token");
    check_text(verify(w, stolen->access_token, 0, &who), "bad_token");
    check_text(verify(w, next->access_token, 0, &who), "bad_token");
    check_text(refresh(w, next->refresh_token, 0, &again), "bad_token");
    check_int(world_events(w, "auth.session_revoked", user_id), 1);

    check_text(verify(w, other->access_token, 0, &who), ""); /* another login is none of it */
    check_text(refresh(w, other->refresh_token, 0, &again), "");
    world_free(w);
}

TEST(a_session_that_nobody_refreshes_expires_and_is_cleaned_up)
{
    struct world *w = world_new();
    world_staff(w, ada, "admin");
    LoginResponse *in;
    RefreshResponse *next;
    VerifiedToken *who;
    check_text(login(w, ada, "wrong password", &in), "bad_credentials");
    check_text(login(w, "nobody@example.org", "wrong password", &in), "bad_credentials");
    check_text(login(w, ada, password, &in), "");
    check_text(verify(w, in->access_token, ACCESS_TOKEN_LIFE_US - MINUTE_US, &who), "");
    check_text(verify(w, in->access_token, ACCESS_TOKEN_LIFE_US + SECOND_US, &who), "bad_token");
    check_text(refresh(w, in->refresh_token, SESSION_LIFE_US - MINUTE_US, &next), "");
    check_text(refresh(w, next->refresh_token, 2 * SESSION_LIFE_US, &next), "bad_token");
    check_int(count_rows(w, "auth_refresh_token"), 2);
    check_int(count_rows(w, "auth_failed_login"), 1);

    world_run(w, "auth", clean_much_later, w);
    check_int(count_rows(w, "auth_refresh_token"), 0);
    check_int(count_rows(w, "auth_session"), 0);
    check_int(count_rows(w, "auth_failed_login"), 0);
    world_free(w);
}

TEST(a_logout_ends_the_session_at_once)
{
    struct world *w = world_new();
    const char *user_id = world_staff(w, ada, "admin");
    LoginResponse *in;
    RefreshResponse *next;
    VerifiedToken *who;
    check_text(login(w, ada, password, &in), "");
    check_text(verify(w, in->access_token, 0, &who), "");
    check_text(logout(w, who), "");
    check_text(logout(w, who), "");
    check_text(verify(w, in->access_token, 0, &who), "bad_token");
    check_text(refresh(w, in->refresh_token, 0, &next), "bad_token");
    check_int(world_events(w, "auth.session_revoked", user_id), 1);
    world_free(w);
}

TEST(a_new_password_ends_all_sessions_of_its_user)
{
    struct world *w = world_new();
    const char *user_id = world_staff(w, ada, "admin");
    LoginResponse *in, *again;
    VerifiedToken *who;
    check_text(login(w, ada, password, &in), "");
    check_text(verify(w, in->access_token, 0, &who), "");
    check_text(set_credentials(w, user_id, ada, "another long one"), "");
    check_text(verify(w, in->access_token, 0, &who), "bad_token");
    check_text(login(w, ada, password, &again), "bad_credentials");
    check_text(login(w, ada, "another long one", &again), "");
    check_int(world_events(w, "auth.session_revoked", user_id), 1);
    world_free(w);
}

TEST(credentials_are_refused_if_weak_or_if_the_e_mail_is_anothers)
{
    struct world *w = world_new();
    const char *user_id = world_staff(w, ada, "admin");
    world_staff(w, "bob@example.org", "admin");
    LoginResponse *in;
    check_text(set_credentials(w, user_id, ada, "1234567"), "weak_password");
    check_text(set_credentials(w, user_id, ada, "\xc3\xa4\xc3\xb6\xc3\xbc\xc3\x9f"),
               "weak_password");
    check_text(set_credentials(w, user_id, "BOB@example.org", "long enough"), "email_taken");
    check_text(login(w, ada, password, &in), "");
    world_free(w);
}

TEST(a_guests_token_is_good_for_its_order_alone)
{
    struct world *w = world_new();
    IssueGuestTokenRequest *ask = new_issue_guest_token_request(world_arena(w));
    IssueGuestTokenResponse *guest;
    VerifiedToken *who;
    ask->order_id = "ord_01j00000000000000000000000";
    check_text(world_ask(w, "operator", "auth", "IssueGuestToken", &ask->base, &guest), "");
    check_text(verify(w, guest->token, 89 * DAY_US, &who), "");
    check_text(who->order_id, ask->order_id);
    check_text(who->user_id, "");
    check_text(who->session_id, "");
    check_text(verify(w, guest->token, 90 * DAY_US + SECOND_US, &who), "bad_token");
    world_free(w);
}

TEST(tokens_outlive_a_restart)
{
    struct world *w = world_new();
    world_staff(w, ada, "admin");
    LoginResponse *in;
    VerifiedToken *who;
    RefreshResponse *next;
    check_text(login(w, ada, password, &in), "");
    world_restart(w);
    check_text(verify(w, in->access_token, 0, &who), "");
    check_text(refresh(w, in->refresh_token, 0, &next), "");
    world_free(w);
}

TEST(another_souks_token_is_refused)
{
    struct world *w = world_new(), *other = world_new();
    world_staff(other, ada, "superadmin");
    LoginResponse *in;
    VerifiedToken *who;
    check_text(login(other, ada, password, &in), "");
    check_text(verify(w, in->access_token, 0, &who), "bad_token");
    world_free(other);
    world_free(w);
}

TEST(a_reset_is_good_once_and_for_an_hour)
{
    struct world *w = world_new();
    const char *user_id = world_staff(w, ada, "admin");
    LoginResponse *in;
    const char *late = reset_asked(w, user_id, ada, 0, 1);
    const char *token = reset_asked(w, user_id, "ADA@example.org", SECOND_US, 2);
    check(strcmp(late, token) != 0);
    check_text(reset_password(w, late, "another long one", HOUR_US + SECOND_US), "bad_link");
    check_text(reset_password(w, token, "short", 0), "weak_password");
    check_text(reset_password(w, "", "another long one", 0), "bad_link");
    check_text(reset_password(w, token, "another long one", HOUR_US), "");
    check_text(reset_password(w, token, "a third long one", HOUR_US), "bad_link");
    check_text(login(w, ada, password, &in), "bad_credentials");
    check_text(login(w, ada, "another long one", &in), "");
    world_free(w);
}

TEST(a_reset_spends_the_others_of_its_user_and_the_bound_is_told_to_nobody)
{
    struct world *w = world_new();
    const char *user_id = world_staff(w, ada, "admin");
    const char *first = reset_asked(w, user_id, ada, 0, 1);
    const char *second = reset_asked(w, user_id, ada, 0, 2);
    check_text(reset_password(w, second, "another long one", 0), "");
    check_text(reset_password(w, first, "a third long one", 0), "bad_link");
    RequestPasswordResetRequest *ask = new_request_password_reset_request(world_arena(w));
    const char *const emails[] = {ada, "nobody@example.org"};
    for (int i = 0; i < 20; i++) {
        ask->email = emails[i % 2];
        check_text(world_ask(w, "", "auth", "RequestPasswordReset", &ask->base, NULL), "");
    }
    check_int(world_events(w, "auth.password_reset_requested", NULL), 5);
    check_int(count_rows(w, "auth_password_reset"), 10);
    world_free(w);
}

TEST(a_shut_account_lets_nobody_in_until_it_is_opened)
{
    struct world *w = world_new();
    const char *user_id = world_staff(w, ada, "admin");
    LoginResponse *in;
    RefreshResponse *next;
    VerifiedToken *who;
    check_text(login(w, ada, password, &in), "");
    check_text(verify(w, in->access_token, 0, &who), "");
    const char *token = reset_asked(w, user_id, ada, 0, 1);
    ShutAccountRequest *ask = new_shut_account_request(world_arena(w));
    ask->user_id = user_id;
    check_text(world_ask(w, "operator", "auth", "ShutAccount", &ask->base, NULL), "");
    check_text(world_ask(w, "operator", "auth", "ShutAccount", &ask->base, NULL), "");
    check_text(verify(w, in->access_token, 0, &who), "bad_token");
    check_text(refresh(w, in->refresh_token, 0, &next), "bad_token");
    check_text(login(w, ada, password, &in), "bad_credentials");
    check_text(reset_password(w, token, "another long one", 0), "bad_link");
    check_text(set_credentials(w, user_id, ada, "another long one"), "");
    check_text(login(w, ada, "another long one", &in), "");
    world_free(w);
}

TEST(tokens_outlive_a_change_of_keys)
{
    struct world *w = world_new();
    world_staff(w, ada, "admin");
    LoginResponse *in, *again;
    VerifiedToken *who;
    check_text(login(w, ada, password, &in), "");
    world_run(w, "auth", tend_keys_much_later, w);
    check_text(login(w, ada, password, &again), "");
    check(strncmp(in->access_token, again->access_token, 60) !=
          0); /* their headers, with the key */
    check_text(verify(w, in->access_token, 0, &who), "");
    check_text(verify(w, again->access_token, 0, &who), "");
    world_free(w);
}

/* Two processes of auth on one store, each with a ring of its own. */
static void
share_keys(void *arg)
{
    struct world *w = arg;
    struct request rq = world_request(w, "operator");
    for (const struct service *const *s = node_services(world_node(w)); *s; s++)
        if (strcmp((*s)->name, "auth") == 0)
            rq.service = *s;
    const struct vault vault = vault_of(&rq);
    struct keyring one = {.n = 0}, other = {.n = 0};
    struct token_key first, mine, theirs;
    const char *why = "";
    int64_t now_us = env.now_us(), later_us = now_us + KEY_AGE_MAX_US + MINUTE_US;
    check_int(keyring_tend(&one, rq.arena, &vault, now_us, DAY_US, &why), OK);
    check_int(keyring_tend(&other, rq.arena, &vault, now_us, DAY_US, &why), OK);
    check_int((long long)other.n, 1);
    keyring_signer(&one, &first);
    keyring_signer(&other, &theirs);
    check_text(theirs.id, first.id);

    /* A new key signs nothing before the other has read it. */
    check_int(keyring_tend(&one, rq.arena, &vault, later_us, DAY_US, &why), OK);
    keyring_signer(&one, &mine);
    check_text(mine.id, first.id);
    check_int(keyring_tend(&other, rq.arena, &vault, later_us + KEY_TEND_US, DAY_US, &why), OK);
    check_int((long long)other.n, 2);
    check_int(
        keyring_tend(&one, rq.arena, &vault, later_us + KEY_RIPENS_US + SECOND_US, DAY_US, &why),
        OK);
    keyring_signer(&one, &mine);
    check(strcmp(mine.id, first.id) != 0);
    check(keyring_find(&other, mine.id, &theirs));

    /* The first stays as long as what it signed until then. */
    int64_t spent_us = later_us + KEY_RIPENS_US + DAY_US;
    check_int(keyring_tend(&one, rq.arena, &vault, spent_us - MINUTE_US, DAY_US, &why), OK);
    check(keyring_find(&one, first.id, &theirs));
    check_int(keyring_tend(&one, rq.arena, &vault, spent_us + MINUTE_US, DAY_US, &why), OK);
    check(!keyring_find(&one, first.id, &theirs));
}

TEST(processes_that_share_a_store_share_their_keys)
{
    static const char *const settings[] = {"auth_keys", "store", NULL};
    struct world *w = world_with(settings);
    world_staff(w, ada, "admin");
    LoginResponse *in;
    VerifiedToken *who;
    check_text(login(w, ada, password, &in), "");
    check_int(count_rows(w, "auth_secret"), 2); /* one signs, one is for digests */
    check(access(arena_printf(world_arena(w), "%s/keys", world_dir(w)), F_OK) != 0);
    world_restart(w);
    check_text(verify(w, in->access_token, 0, &who), "");
    world_run(w, "auth", share_keys, w);
    world_free(w);
}

TEST(no_secret_is_in_any_event)
{
    struct world *w = world_new();
    world_staff(w, ada, "admin");
    LoginResponse *in;
    check_text(login(w, ada, password, &in), "");
    check_text(login(w, ada, "a wrong password", &in), "bad_credentials");
    check_text(login(w, ada, password, &in), "");

    const char *reset = reset_asked(w, in->user->id, ada, 0, 1);
    const char *const secrets[] = {password, "a wrong password", in->access_token,
                                   in->refresh_token, reset};
    struct tx_scope scope = {.arena = world_arena(w)};
    struct event *events;
    size_t n;
    check_int(bus_read(node_bus(world_node(w)), &scope, 0, NULL, NULL, 100, &events, &n), OK);
    check(n > 5);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < sizeof secrets / sizeof secrets[0]; j++)
            check(!memmem(events[i].data.data, events[i].data.len, secrets[j], strlen(secrets[j])));
    world_free(w);
}

/* Whichever statement fails, a session and its events are there together or not at all. */
TEST(a_failing_store_never_parts_a_login_from_its_events)
{
    struct world *w = world_new();
    const char *user_id = world_staff(w, ada, "admin");
    world_settle(w);
    LoginResponse *in;
    int good = 0;
    for (int k = 1; k <= STATEMENTS; k++) {
        store_fail_at(node_store(world_node(w), "auth"), k);
        good += !*login(w, ada, password, &in);
        store_fail_at(node_store(world_node(w), "auth"), 0);
        world_settle(w);
        check_int(count_rows(w, "auth_session"), world_events(w, "auth.user_logged_in", user_id));
        check_int(count_rows(w, "auth_session"), good);
    }
    check(good < STATEMENTS); /* followers and jobs get some of the failures */
    world_free(w);
}

static const char *
login(struct world *w, const char *email, const char *with, LoginResponse **ret)
{
    LoginRequest *in = new_login_request(world_arena(w));
    in->email = email;
    in->password = with;
    return world_ask(w, "", "auth", "Login", &in->base, ret);
}

static const char *
ask_later(struct world *w, int64_t later_us, const char *rpc, const ProtobufCMessage *in, void *ret)
{
    struct request rq = world_request(w, "");
    rq.now_us += later_us;
    rq.caller.kind = CALLER_SERVICE;
    enum status st = world_serve(w, &rq, "auth", rpc, in, ret);
    return st == OK ? "" : rq.reason ? rq.reason->code : status_name(st);
}

static const char *
refresh(struct world *w, const char *token, int64_t later_us, RefreshResponse **ret)
{
    RefreshRequest *in = new_refresh_request(world_arena(w));
    in->refresh_token = token;
    return ask_later(w, later_us, "Refresh", &in->base, ret);
}

static const char *
verify(struct world *w, const char *token, int64_t later_us, VerifiedToken **ret)
{
    VerifyTokenRequest *in = new_verify_token_request(world_arena(w));
    in->token = token;
    return ask_later(w, later_us, "VerifyToken", &in->base, ret);
}

static const char *
set_credentials(struct world *w, const char *user_id, const char *email, const char *new_password)
{
    SetCredentialsRequest *in = new_set_credentials_request(world_arena(w));
    in->user_id = user_id;
    in->email = email;
    in->password = new_password;
    return world_ask(w, "operator", "auth", "SetCredentials", &in->base, NULL);
}

static const char *
logout(struct world *w, const VerifiedToken *who)
{
    struct request rq = world_request(w, who->user_id);
    rq.caller.session_id = who->session_id;
    LogoutRequest *in = new_logout_request(world_arena(w));
    enum status st = world_serve(w, &rq, "auth", "Logout", &in->base, NULL);
    return st == OK ? "" : rq.reason ? rq.reason->code : status_name(st);
}

/* Asks for a reset and gives its link's secret: the n-th of this user's. */
static const char *
reset_asked(struct world *w, const char *user_id, const char *email, int64_t later_us, int64_t n)
{
    RequestPasswordResetRequest *in = new_request_password_reset_request(world_arena(w));
    in->email = email;
    check_text(ask_later(w, later_us, "RequestPasswordReset", &in->base, NULL), "");
    struct tx_scope scope = {.arena = world_arena(w)};
    struct event *events;
    size_t found;
    check_int(bus_read(node_bus(world_node(w)), &scope, 0, "auth.password_reset_requested", user_id,
                       100, &events, &found),
              OK);
    check_int((long long)found, n);
    const PasswordResetRequested *asked =
        (const void *)message_unpack(world_arena(w), DESCRIPTOR_OF_PasswordResetRequested,
                                     events[found - 1].data.data, events[found - 1].data.len);
    GetResetLinkRequest *ask = new_get_reset_link_request(world_arena(w));
    ResetLink *link;
    ask->reset_id = asked->reset_id;
    check_text(ask_later(w, 0, "GetResetLink", &ask->base, &link), "");
    check_text(link->email, ada);
    return link->token;
}

static const char *
reset_password(struct world *w, const char *token, const char *with, int64_t later_us)
{
    ResetPasswordRequest *in = new_reset_password_request(world_arena(w));
    in->token = token;
    in->password = with;
    return ask_later(w, later_us, "ResetPassword", &in->base, NULL);
}

static void
tend_keys_much_later(void *world)
{
    struct request rq = world_request(world, "operator");
    extern const struct service auth_service;
    rq.service = &auth_service;
    rq.now_us += 91 * DAY_US;
    for (size_t i = 0; i < JOBS_MAX && auth_service.jobs[i].name; i++)
        if (text_equal(auth_service.jobs[i].name, "tend_keys"))
            check_int(auth_service.jobs[i].run(&rq), OK);
}

static void
clean_much_later(void *world)
{
    struct request rq = world_request(world, "operator");
    extern const struct service auth_service;
    rq.service = &auth_service;
    rq.now_us += 3 * SESSION_LIFE_US;
    check_int(sessions_clean(&rq), OK);
    check_int(request_settle(&rq), OK);
}

static int64_t
count_rows(struct world *w, const char *table)
{
    sqlite3 *db;
    sqlite3_stmt *st;
    int64_t n = -1;
    const char *path = arena_printf(world_arena(w), "%s/souk.db", world_dir(w));
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(db, arena_printf(world_arena(w), "SELECT COUNT(*) FROM %s", table), -1,
                           &st, NULL) == SQLITE_OK) {
        if (sqlite3_step(st) == SQLITE_ROW)
            n = sqlite3_column_int64(st, 0);
        sqlite3_finalize(st);
    }
    sqlite3_close(db);
    return n;
}
