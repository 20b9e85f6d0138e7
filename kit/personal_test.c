/* Whose personal data an event has, and how the journal loses it. */
#include "kit/personal.h"

#include <sqlite3.h>

#include "kit/node_impl.h"
#include "orders.api.h"
#include "test/world.h"
#include "users.api.h"

static const char ada[] = "ada@example.org";

/* An event of this message, as the journal would hand it over. */
static struct event
event_of(struct arena *a, const struct topic *topic, const char *subject, ProtobufCMessage *m)
{
    size_t n;
    uint8_t *bytes = message_pack(a, m, &n);
    return (struct event){.topic = topic->name, .subject = subject, .data = {n, bytes}};
}

static struct event
created(struct arena *a, const char *user_id, const char *email)
{
    OrderCreated *order = new_order_created(a);
    order->order_id = "ord_1";
    order->user_id = user_id;
    order->customer = new_contact(a);
    order->customer->email = email;
    order->customer->name = "Grace";
    return event_of(a, &order_created, "ord_1", &order->base);
}

static struct event
invited(struct arena *a, const char *by, const char *email)
{
    StaffInvited *invitation = new_staff_invited(a);
    invitation->invitation_id = "inv_1";
    invitation->invited_by = by;
    invitation->email = email;
    return event_of(a, &staff_invited, "inv_1", &invitation->base);
}

static struct event
gone(struct arena *a, const char *user_id, const char *email)
{
    PersonErased *person = new_person_erased(a);
    person->user_id = user_id;
    person->email = email;
    return event_of(a, &person_erased, user_id, &person->base);
}

static struct event
order_gone(struct arena *a, const char *order_id)
{
    OrderErased *order = new_order_erased(a);
    order->order_id = order_id;
    return event_of(a, &order_erased, order_id, &order->base);
}

TEST(an_event_is_a_persons_by_its_id_or_its_email)
{
    struct arena *a = arena_new();
    OrderPaid *bare = new_order_paid(a);
    bare->user_id = "usr_1";
    const struct {
        struct event erasing, event;
        bool erased;
    } cases[] = {
        {gone(a, "usr_1", ada), created(a, "usr_1", "other@example.org"), true},
        {gone(a, "usr_1", ada), created(a, "usr_2", "other@example.org"), false},
        {gone(a, "usr_1", ada), created(a, "", "Ada@Example.org"), true},
        {gone(a, "", ada), created(a, "", ada), true},
        {gone(a, "", ada), created(a, "", "ada@example.or"), false},
        {gone(a, "", ada), created(a, "", ""), false},
        {gone(a, "usr_1", ""), created(a, "usr_2", ""), false},
        {gone(a, "usr_1", ada), invited(a, "usr_1", "other@example.org"), false},
        {gone(a, "usr_1", ada), invited(a, "usr_2", ada), true},
        {gone(a, "usr_1", ada), gone(a, "usr_1", ada), true},
        {gone(a, "usr_1", ada), event_of(a, &order_paid, "ord_1", &bare->base), false},
        {order_gone(a, "ord_1"), created(a, "usr_1", ada), true},
        {order_gone(a, "ord_2"), created(a, "usr_1", ada), false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct erased who;
        ProtobufCBinaryData left;
        check(erased_by(a, &cases[i].erasing, &who));
        bool erased = erased_payload(a, &who, &cases[i].event, &left);
        check_int(erased, cases[i].erased);
        if (erased)
            check(!memmem(left.data, left.len, "example", 7));
    }
    arena_free(a);
}

TEST(what_is_not_personal_stays)
{
    struct arena *a = arena_new();
    struct event erasing = gone(a, "usr_1", ada), event = created(a, "usr_1", ada);
    struct erased who;
    ProtobufCBinaryData left;
    check(erased_by(a, &erasing, &who) && erased_payload(a, &who, &event, &left));
    OrderCreated *order =
        (OrderCreated *)message_unpack(a, order_created.type, left.data, left.len);
    check_text(order->order_id, "ord_1");
    check_text(order->user_id, "usr_1");
    check_text(order->customer->name, "");
    check(!erased_by(a, &event, &who)); /* an order ends nobody */
    arena_free(a);
}

static int64_t
sql(struct world *w, const char *file, const char *text)
{
    sqlite3 *db;
    sqlite3_stmt *st;
    int64_t got = -1;
    const char *path = arena_printf(world_arena(w), "%s/%s", world_dir(w), file);
    check_int(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    check_int(sqlite3_prepare_v2(db, text, -1, &st, NULL), SQLITE_OK);
    if (sqlite3_step(st) == SQLITE_ROW)
        got = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return got;
}

/* Events of the journal that name her. */
static int64_t
in_journal(struct world *w)
{
    return sql(w, "souk.db",
               "SELECT count(*) FROM bus_event "
               "WHERE instr(data, CAST('ada@example.org' AS BLOB)) > 0");
}

static void
run_erase(void *world)
{
    struct request rq = world_request(world, "operator");
    check_int(journal_erase(&rq), OK);
}

/* Perhaps it fails; then the next one goes on. */
static void
try_erase(void *world)
{
    struct request rq = world_request(world, "operator");
    journal_erase(&rq);
}

TEST(what_somebody_has_parked_keeps_its_data_until_it_is_handled)
{
    struct world *w = world_new();
    world_staff(w, "boss@example.org", "superadmin");
    const char *user_id = world_staff(w, ada, "admin");
    world_settle(w);
    check_int(in_journal(w), 1);
    sql(w, "listeners.db",
        "INSERT INTO bus_parked (subscriber, event_id, position, publisher, subject, state, "
        "attempts, next_try_us, error, parked_at_us) "
        "VALUES ('shipping', 'evn_1', 1, 'users', 'usr_x', 'dead', 8, 0, '', 0)");
    sql(w, "listeners.db",
        arena_printf(world_arena(w), "UPDATE bus_parked SET position = %lld",
                     (long long)sql(w, "souk.db",
                                    "SELECT position FROM bus_event WHERE "
                                    "instr(data, CAST('ada@example.org' AS BLOB)) > 0")));
    EraseMeRequest *in = new_erase_me_request(world_arena(w));
    check_text(world_ask(w, user_id, "users", "EraseMe", &in->base, NULL), "");
    world_settle(w);
    world_run(w, "users", run_erase, w);
    check_int(in_journal(w), 1); /* and who is to be erased is still known */
    check_int(sql(w, "souk.db", "SELECT count(*) FROM bus_erasure WHERE due_us > 0"), 1);

    sql(w, "listeners.db", "DELETE FROM bus_parked");
    world_run(w, "users", run_erase, w);
    check_int(in_journal(w), 1); /* a minute later */
    sql(w, "souk.db", "UPDATE bus_erasure SET due_us = 0");
    world_run(w, "users", run_erase, w);
    check_int(in_journal(w), 0);
    check_int(sql(w, "souk.db", "SELECT count(*) FROM bus_erasure"), 0);
    world_free(w);
}

TEST(it_goes_on_where_it_broke_off)
{
    struct world *w = world_new();
    world_staff(w, "boss@example.org", "superadmin");
    const char *user_id = world_staff(w, ada, "admin");
    EraseMeRequest *in = new_erase_me_request(world_arena(w));
    check_text(world_ask(w, user_id, "users", "EraseMe", &in->base, NULL), "");
    world_settle(w);
    int64_t before = world_events(w, NULL, NULL);
    for (int k = 1; k < 30 && in_journal(w) > 0; k++) {
        store_fail_at(node_store(world_node(w), "users"), k);
        world_run(w, "users", try_erase, w);
        store_fail_at(node_store(world_node(w), "users"), 0);
    }
    world_run(w, "users", run_erase, w);
    check_int(in_journal(w), 0);
    check_int(world_events(w, NULL, NULL), before);
    world_free(w);
}
