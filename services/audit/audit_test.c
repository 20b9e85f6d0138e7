/* The chain of events, in pure functions and in a whole world. */
#include <jansson.h>
#include <sqlite3.h>

#include "audit.api.h"
#include "audit/chain.h"
#include "audit/personal.h"
#include "auth.api.h"
#include "fiber/fiber.h"
#include "orders.api.h"
#include "test/world.h"
#include "users.api.h"

static const char ada[] = "ada@example.org";

static OrderCreated *an_order(struct arena *a);
static VerifyChainResponse *verify(struct world *w);
static json_t *list(struct world *w, ListEventsRequest in);
static int64_t run_sql(struct world *w, const char *sql);
static void erase_all(struct world *w);
static void publish_what_nobody_can_read(void *world);
static bool text_in_rows(struct world *w, const char *text);
static void run_erase(void *world);

TEST(personal_fields_are_taken_out_and_put_back)
{
    struct arena *a = arena_new();
    OrderCreated *order = an_order(a);
    ProtobufCBinaryData before = message_write(a, &order->base);
    PersonalFields *personal = personal_take(a, &order->base);
    ProtobufCBinaryData without = message_write(a, &order->base);
    check(!memmem(without.data, without.len, "ada", 3));
    check(!memmem(without.data, without.len, "Lovelace", 8));
    check(memmem(without.data, without.len, "ord_1", 5) != NULL);
    check_int((long long)personal->n_fields, 5);
    check_text(personal->fields[0]->path, "customer.email");
    check_int((long long)personal->fields[0]->salt.len, 16);
    check(personal_is_true(personal));

    personal_put_back(a, &order->base, personal);
    ProtobufCBinaryData after = message_write(a, &order->base);
    check(after.len == before.len && memcmp(after.data, before.data, after.len) == 0);
    arena_free(a);
}

TEST(a_message_without_personal_data_is_left_as_it_is)
{
    struct arena *a = arena_new();
    UserCreated *user = new_user_created(a);
    user->user_id = "usr_1";
    check_int((long long)personal_take(a, &user->base)->n_fields, 0); /* its e-mail is empty */
    check_text(user->user_id, "usr_1");
    arena_free(a);
}

TEST(what_is_erased_is_gone_and_its_digest_stays)
{
    struct arena *a = arena_new();
    OrderCreated *order = an_order(a);
    PersonalFields *personal = personal_take(a, &order->base);
    uint8_t before[SHA256_BYTES], after[SHA256_BYTES];
    AuditRow row = *new_audit_row(a);
    const uint8_t zeros[SHA256_BYTES] = {0};
    row.payload = message_write(a, &order->base);
    chain_digest(zeros, &row, personal, before);
    personal_erase(personal);
    chain_digest(zeros, &row, personal, after);
    check(memcmp(before, after, sizeof before) == 0);
    check(personal_is_true(personal));

    ProtobufCBinaryData packed = message_write(a, &personal->base);
    check(!memmem(packed.data, packed.len, "ada", 3));
    personal_put_back(a, &order->base, personal);
    check_text(order->customer->email, "");
    arena_free(a);
}

TEST(equal_values_have_unequal_digests)
{
    struct arena *a = arena_new();
    PersonalFields *one = personal_take(a, &an_order(a)->base);
    PersonalFields *two = personal_take(a, &an_order(a)->base);
    check(memcmp(one->fields[0]->digest.data, two->fields[0]->digest.data, SHA256_BYTES) != 0);
    arena_free(a);
}

TEST(events_are_listed_as_cloudevents_with_their_position)
{
    struct world *w = world_new();
    const char *user_id = world_staff(w, ada, "superadmin");
    world_settle(w);
    json_t *page = list(w, (ListEventsRequest){.topic = "users.user_created"});
    check_int((long long)json_array_size(json_object_get(page, "data")), 1);
    check(json_is_false(json_object_get(page, "has_more")));
    json_t *event = json_array_get(json_object_get(page, "data"), 0);
    check_text(json_string_value(json_object_get(event, "specversion")), "1.0");
    check_text(json_string_value(json_object_get(event, "type")), "users.user_created");
    check_text(json_string_value(json_object_get(event, "subject")), user_id);
    check(json_integer_value(json_object_get(event, "position")) > 0);
    json_t *data = json_object_get(event, "data");
    check_text(json_string_value(json_object_get(data, "email")), ada);
    check_text(json_string_value(json_object_get(data, "origin")), "command");
    json_decref(page);
    world_free(w);
}

TEST(a_list_goes_on_behind_a_position_and_says_if_there_is_more)
{
    struct world *w = world_new();
    const char *user_id = world_staff(w, ada, "admin");
    world_staff(w, "bob@example.org", "admin");
    world_settle(w);
    int64_t after = 0, seen = 0, in_all = world_events(w, NULL, NULL);
    bool more = true;
    while (more && seen < 100) {
        json_t *page = list(w, (ListEventsRequest){.after = after, .limit = 1});
        json_t *event = json_array_get(json_object_get(page, "data"), 0);
        check(json_integer_value(json_object_get(event, "position")) > after);
        after = json_integer_value(json_object_get(event, "position"));
        more = json_is_true(json_object_get(page, "has_more"));
        seen++;
        json_decref(page);
    }
    check_int(seen, in_all);

    json_t *page = list(w, (ListEventsRequest){.subject = user_id});
    check_int((long long)json_array_size(json_object_get(page, "data")), 2);
    json_decref(page);
    page = list(w, (ListEventsRequest){.subject = user_id, .topic = "users.user_created"});
    check_int((long long)json_array_size(json_object_get(page, "data")), 1);
    json_decref(page);
    page = list(w, (ListEventsRequest){.after = after});
    check_int((long long)json_array_size(json_object_get(page, "data")), 0);
    json_decref(page);
    world_free(w);
}

TEST(the_chain_holds_over_a_restart)
{
    struct world *w = world_new();
    world_staff(w, ada, "admin");
    world_settle(w);
    VerifyChainResponse *before = verify(w);
    check(before->intact);
    check_int(before->events, world_events(w, NULL, NULL));
    check_int((long long)strlen(before->head), 64);
    world_restart(w);
    world_staff(w, "bob@example.org", "admin");
    world_settle(w);
    VerifyChainResponse *after = verify(w);
    check(after->intact);
    check_int(after->events, world_events(w, NULL, NULL));
    check(after->events > before->events && strcmp(after->head, before->head) != 0);
    world_free(w);
}

TEST(tampering_is_told_with_the_first_position_that_does_not_fit)
{
    static const struct {
        const char *sql;
        int64_t broken_at;
    } cases[] = {
        {"UPDATE audit_event SET payload = X'0a00' WHERE position = 2", 2},
        {"UPDATE audit_event SET subject = 'usr_x' WHERE position = 1", 1},
        {"UPDATE audit_event SET time_us = time_us - 1 WHERE position = 3", 3},
        {"UPDATE audit_event SET topic = 'users.user_deleted' WHERE position = 2", 2},
        {"UPDATE audit_event SET causation_id = 'x' WHERE position = 2", 2},
        {"UPDATE audit_event SET digest = zeroblob(32) WHERE position = 2", 2},
        {"UPDATE audit_event SET digest = X'' WHERE position = 2", 2},
        {"DELETE FROM audit_event WHERE position = 2", 3},
        {"DELETE FROM audit_event WHERE position = 1", 2},
        {"UPDATE audit_event SET personal = X'' WHERE topic = 'users.user_created'", 1},
        {"UPDATE audit_event SET personal = X'ff' WHERE position = 2", 2},
        {"UPDATE audit_event SET personal = CAST(REPLACE(CAST(personal AS TEXT), 'ada@', 'eve@') "
         "AS BLOB)"
         " WHERE topic = 'users.user_created'",
         1},
        {"UPDATE audit_event SET position = -1 WHERE position = 3;"
         "UPDATE audit_event SET position = 3 WHERE position = 2;"
         "UPDATE audit_event SET position = 2 WHERE position = -1",
         2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct world *w = world_new();
        world_staff(w, ada, "admin");
        world_staff(w, "bob@example.org", "admin");
        world_settle(w);
        check(verify(w)->intact);
        check(run_sql(w, cases[i].sql) > 0);
        VerifyChainResponse *told = verify(w);
        check(!told->intact);
        check_int(told->broken_at, cases[i].broken_at);
        world_free(w);
    }
}

TEST(erased_personal_data_is_nowhere_and_the_chain_still_holds)
{
    struct world *w = world_new();
    world_staff(w, ada, "admin");
    world_settle(w);
    const char *head = verify(w)->head;
    erase_all(w);
    VerifyChainResponse *after = verify(w);
    check(after->intact);
    check_text(after->head, head);
    json_t *page = list(w, (ListEventsRequest){0});
    char *text = json_dumps(page, 0);
    check(strstr(text, "user_created") && !strstr(text, "ada@"));
    free(text);
    json_decref(page);
    world_free(w);
}

TEST(whoever_is_erased_is_in_no_event_and_the_others_still_are)
{
    struct world *w = world_new();
    const char *gone = world_staff(w, "gone@example.org", "admin");
    world_staff(w, ada, "superadmin");
    EraseMeRequest *in = new_erase_me_request(world_arena(w));
    world_settle(w);
    check(text_in_rows(w, "gone@example.org"));
    check_text(world_ask(w, gone, "users", "EraseMe", &in->base, NULL), "");
    world_settle(w);
    world_run(w, "audit", run_erase, w);
    check(!text_in_rows(w, "gone@example.org"));
    check(text_in_rows(w, ada));
    check(verify(w)->intact);
    world_free(w);
}

TEST(a_dead_letter_is_listed_read_and_sent_again)
{
    struct world *w = world_new();
    GetDeadLetterRequest *get = new_get_dead_letter_request(world_arena(w));
    RedriveDeadLetterRequest *redrive = new_redrive_dead_letter_request(world_arena(w));
    ListDeadLettersRequest *in = new_list_dead_letters_request(world_arena(w));
    ListDeadLettersResponse *out = NULL;
    DeadLetter *letter;
    get->id = redrive->id = "authz:evn_01j00000000000000000000000";
    check_text(world_ask(w, "operator", "audit", "GetDeadLetter", &get->base, &letter),
               "no_such_dead_letter");
    check_text(world_ask(w, "operator", "audit", "RedriveDeadLetter", &redrive->base, &letter),
               "no_such_dead_letter");

    world_run(w, "users", publish_what_nobody_can_read, w);
    const DeadLetter *found = NULL; /* whoever else hears of new accounts has one too */
    for (int i = 0; i < 500 && !found; i++) {
        fiber_sleep_us(20000);
        check_text(world_ask(w, "operator", "audit", "ListDeadLetters", &in->base, &out), "");
        for (size_t j = 0; out && j < out->n_data; j++)
            if (text_equal(out->data[j]->subscriber, "authz"))
                found = out->data[j];
    }
    check(found != NULL);
    if (found) {
        check_text(found->topic, "users.user_created");
        check_text(found->subject, "usr_bad");
        get->id = redrive->id = found->id;
        check_text(world_ask(w, "operator", "audit", "GetDeadLetter", &get->base, &letter), "");
        check_text(letter->id, get->id);
        check_text(world_ask(w, "operator", "audit", "RedriveDeadLetter", &redrive->base, &letter),
                   "");
        check_text(letter->state, "retrying");
    }
    check(verify(w)->intact); /* audit kept it as it came */
    world_free(w);
}

TEST(only_a_superadmin_reads_the_audit)
{
    struct world *w = world_new();
    const char *admin = world_staff(w, ada, "admin");
    const char *chief = world_staff(w, "bob@example.org", "superadmin");
    ListEventsRequest *in = new_list_events_request(world_arena(w));
    ListEventsResponse *out;
    check_text(world_ask(w, "", "audit", "ListEvents", &in->base, &out), "UNAUTHENTICATED");
    check_text(world_ask(w, admin, "audit", "ListEvents", &in->base, &out), "PERMISSION_DENIED");
    check_text(world_ask(w, chief, "audit", "ListEvents", &in->base, &out), "");
    world_free(w);
}

static OrderCreated *
an_order(struct arena *a)
{
    OrderCreated *order = new_order_created(a);
    order->order_id = "ord_1";
    order->customer = new_contact(a);
    order->customer->email = "ada@example.org";
    order->shipping_address = new_address(a);
    order->shipping_address->name = "Ada Lovelace";
    order->shipping_address->line1 = "12 St James's Square";
    order->shipping_address->city = "London";
    order->shipping_address->country = "GB";
    return order;
}

static VerifyChainResponse *
verify(struct world *w)
{
    VerifyChainRequest *in = new_verify_chain_request(world_arena(w));
    VerifyChainResponse *out = new_verify_chain_response(world_arena(w));
    check_text(world_ask(w, "operator", "audit", "VerifyChain", &in->base, &out), "");
    return out;
}

static json_t *
list(struct world *w, ListEventsRequest in)
{
    ListEventsRequest *full = new_list_events_request(world_arena(w));
    full->topic = in.topic ? in.topic : "";
    full->subject = in.subject ? in.subject : "";
    full->after = in.after;
    full->limit = in.limit;
    ListEventsResponse *out;
    check_text(world_ask(w, "operator", "audit", "ListEvents", &full->base, &out), "");
    json_t *page = json_loadb((const char *)out->body.data, out->body.len, 0, NULL);
    check(page != NULL);
    return page;
}

/* What somebody with the file in hand could do.  The count of rows that the last statement changed.
 */
static int64_t
run_sql(struct world *w, const char *sql)
{
    sqlite3 *db;
    const char *path = arena_printf(world_arena(w), "%s/listeners.db", world_dir(w));
    check_int(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    check_int(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    int64_t changed = sqlite3_changes(db);
    sqlite3_close(db);
    return changed;
}

static void
erase_all(struct world *w)
{
    struct arena *a = world_arena(w);
    sqlite3 *db;
    sqlite3_stmt *st;
    check_int(sqlite3_open(arena_printf(a, "%s/listeners.db", world_dir(w)), &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    sqlite3_prepare_v2(db, "SELECT position, personal FROM audit_event WHERE LENGTH(personal) > 0",
                       -1, &st, NULL);
    struct text update = text_in(a);
    while (sqlite3_step(st) == SQLITE_ROW) {
        size_t n = (size_t)sqlite3_column_bytes(st, 1);
        uint8_t *bytes = arena_copy(a, sqlite3_column_blob(st, 1), n);
        PersonalFields *fields =
            message_read(a, DESCRIPTOR_OF_PersonalFields, (ProtobufCBinaryData){n, bytes});
        personal_erase(fields);
        ProtobufCBinaryData erased = message_write(a, &fields->base);
        text_printf(&update, "UPDATE audit_event SET personal = X'%s' WHERE position = %lld;",
                    hex_encode(a, erased.data, erased.len), sqlite3_column_int64(st, 0));
    }
    sqlite3_finalize(st);
    sqlite3_close(db);
    check(update.n > 0);
    check(run_sql(w, update.bytes) > 0);
}

static void
run_erase(void *world)
{
    struct request rq = world_request(world, "operator");
    extern const struct service audit_service;
    rq.service = &audit_service;
    check_int(audit_service.jobs[0].run(&rq), OK);
    check_int(request_settle(&rq), OK);
}

/* True if any event has it. */
static bool
text_in_rows(struct world *w, const char *text)
{
    static const char *const queries[] = {"SELECT personal FROM audit_event",
                                          "SELECT payload FROM audit_event"};
    sqlite3 *db;
    sqlite3_stmt *st;
    bool found = false;
    const char *path = arena_printf(world_arena(w), "%s/listeners.db", world_dir(w));
    check_int(sqlite3_open(path, &db), SQLITE_OK);
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++) {
        check_int(sqlite3_prepare_v2(db, queries[i], -1, &st, NULL), SQLITE_OK);
        while (sqlite3_step(st) == SQLITE_ROW) {
            const void *bytes = sqlite3_column_blob(st, 0);
            size_t n = (size_t)sqlite3_column_bytes(st, 0);
            found |= bytes && memmem(bytes, n, text, strlen(text));
        }
        sqlite3_finalize(st);
    }
    sqlite3_close(db);
    return found;
}

/* An event of users that is none of its type. */
static void
publish_what_nobody_can_read(void *world)
{
    struct request rq = world_request(world, "operator");
    extern const struct service users_service;
    rq.service = &users_service;
    const struct topic broken = {user_created.name, user_created.publisher, user_created.subject,
                                 DESCRIPTOR_OF_RefreshTokenRow, false};
    RefreshTokenRow *event = new_refresh_token_row(rq.arena);
    event->user_id = "usr_bad";
    event->spent = true; /* where a UserCreated has text */
    struct tx *tx = tx_begin(&rq);
    publish(&rq, tx, &broken, &event->base);
    check_int(tx_commit(tx), OK);
    check_int(request_settle(&rq), OK);
}
