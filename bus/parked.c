/*
 * Parked events: those that failed, and those of the same publisher and subject behind them.
 *
 * The first of a subject's is retrying, or dead once its attempts are used up; the others wait.
 * When the first is handled, the others follow in order.  Only the follower's fiber moves rows; a
 * redrive changes the state of one.
 */
#include <string.h>

#include "base/text.h"
#include "bus/bus_private.h"

enum {
    HEADS_MAX = 16,     /* tried before fresh events get their turn */
    QUEUE_MAX = 64,     /* of one subject, in one transaction */
    KEPT_EMBEDDED = 10, /* of insert's values */
    LOOK_US = 1000000,  /* where other replicas park and redrive, too */
};

static struct statement count_parked = {
    .service = "bus",
    .name = "count_parked",
    .sql = "SELECT count(*) FROM bus_parked WHERE subscriber = ?1",
};
static struct statement find_next_try = {
    .service = "bus",
    .name = "find_next_try",
    .sql = "SELECT next_try_us FROM bus_parked WHERE subscriber = ?1 AND state = 'retrying' "
           "ORDER BY next_try_us LIMIT 1",
};
static struct statement find_in_the_way = {
    .service = "bus",
    .name = "find_in_the_way",
    .sql = "SELECT 1 FROM bus_parked WHERE subscriber = ?1 AND publisher = ?2 AND subject = ?3 "
           "LIMIT 1",
};
static struct statement insert_parked = {
    .service = "bus",
    .name = "insert_parked",
    .sql = "INSERT INTO bus_parked (subscriber, event_id, position, publisher, subject, state, "
           "attempts, next_try_us, error, parked_at_us) "
           "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    .writes = true,
};
static struct statement insert_whole = {
    .service = "bus",
    .name = "insert_parked_whole",
    .sql = "INSERT INTO bus_parked (subscriber, event_id, position, publisher, subject, state, "
           "attempts, next_try_us, error, parked_at_us, topic, type, sequence, time_us, "
           "correlation_id, causation_id, traceparent, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, "
           "?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
    .writes = true,
};
static struct statement list_due = {
    .service = "bus",
    .name = "list_due",
    .sql = "SELECT * FROM bus_parked WHERE subscriber = ?1 AND state = 'retrying' "
           "AND next_try_us <= ?2 ORDER BY next_try_us, position LIMIT ?3",
};
static struct statement list_queue = {
    .service = "bus",
    .name = "list_queue",
    .sql = "SELECT * FROM bus_parked WHERE subscriber = ?1 AND publisher = ?2 AND subject = ?3 "
           "ORDER BY position LIMIT ?4",
};
static struct statement delete_parked = {
    .service = "bus",
    .name = "delete_parked",
    .sql = "DELETE FROM bus_parked WHERE subscriber = ?1 AND event_id = ?2",
    .writes = true,
};
static struct statement note_failure = {
    .service = "bus",
    .name = "note_failure",
    .sql = "UPDATE bus_parked SET state = ?3, attempts = ?4, next_try_us = ?5, error = ?6 "
           "WHERE subscriber = ?1 AND event_id = ?2",
    .writes = true,
};
static struct statement step_back = {
    .service = "bus",
    .name = "step_back",
    .sql = "UPDATE bus_parked SET state = 'waiting', next_try_us = 0 WHERE subscriber = ?1 "
           "AND publisher = ?2 AND subject = ?3 AND event_id <> ?4 AND state <> 'waiting'",
    .writes = true,
};
static struct statement promote = {
    .service = "bus",
    .name = "promote",
    .sql = "UPDATE bus_parked SET state = 'retrying', attempts = 0, next_try_us = 0 "
           "WHERE subscriber = ?1 AND publisher = ?2 AND subject = ?3 AND position = "
           "(SELECT min(position) FROM bus_parked "
           "WHERE subscriber = ?1 AND publisher = ?2 AND subject = ?3)",
    .writes = true,
};

struct failure {
    const char *state;
    int64_t attempts, next_try_us;
};

static enum status retry_subject(struct follower *f, const ParkedRow *head);
static enum status handle_queue(struct follower *f, struct tx *tx, ParkedRow *const *rows,
                                const struct event *events, size_t n);
static struct failure failure_after(const struct follower *f, int64_t attempts);
static void insert(struct follower *f, struct tx *tx, const struct event *e,
                   const struct failure *how, const char *why);
static enum status load_soon(struct follower *f);

enum status
parked_load(struct follower *f, struct tx *tx)
{
    struct value in[] = {value_text(f->subscriber.service)};
    int64_t n = 0, next_try_us = INT64_MAX;
    enum status st = sql_int(tx, &count_parked, in, 1, &n);
    if (st)
        return st;
    st = sql_int(tx, &find_next_try, in, 1, &next_try_us);
    if (st && st != NOT_FOUND)
        return st;
    f->parked = n;
    f->next_try_us = next_try_us;
    return OK;
}

bool
parked_blocks(struct follower *f, struct tx *tx, const struct event *e)
{
    struct value in[] = {value_text(f->subscriber.service), value_text(e->publisher),
                         value_text(e->subject)};
    int64_t one;
    return sql_int(tx, &find_in_the_way, in, 3, &one) == OK;
}

void
parked_wait(struct follower *f, struct tx *tx, const struct event *e)
{
    insert(f, tx, e, &(struct failure){.state = "waiting"}, "");
}

void
parked_add(struct follower *f, struct tx *tx, const struct event *e, const char *why)
{
    struct failure how = failure_after(f, 1);
    insert(f, tx, e, &how, why);
    if (how.next_try_us < f->next_try_us && strcmp(how.state, "retrying") == 0)
        f->next_try_us = how.next_try_us;
}

bool
parked_retry(struct follower *f)
{
    if (atomic_exchange(&f->redriven, false))
        f->next_try_us = 0;
    if (f->bus->options.leads && env.mono_us() >= f->look_us) {
        f->look_us = env.mono_us() + LOOK_US;
        f->loaded = load_soon(f) == OK;
        if (!f->loaded)
            return false;
    }
    int64_t now_us = env.now_us();
    if (f->next_try_us > now_us)
        return false;

    struct value in[] = {value_text(f->subscriber.service), value_int(now_us),
                         value_int(HEADS_MAX)};
    struct arena *a = arena_new(); /* the scope's is reset for each transaction */
    struct tx_scope scope = {.arena = a};
    ParkedRow **heads;
    size_t n = 0;
    struct tx *tx = tx_begin_read_in(f->subscriber.store, "bus", &scope);
    enum status st = sql_many(tx, &list_due, in, 3, &souk__bus__parked_row__descriptor, &heads, &n);
    tx_end(tx);
    for (size_t i = 0; i < n && st == OK; i++)
        st = retry_subject(f, heads[i]);
    if (st == OK)
        st = load_soon(f);
    arena_free(a);
    f->loaded = st == OK;
    return n > 0;
}

enum status
parked_event(struct bus *bus, struct tx_scope *scope, const ParkedRow *row, struct event *ret)
{
    if (text_empty(row->topic))
        return journal_event(bus, scope, row->position, ret);
    *ret = (struct event){
        .position = row->position,
        .id = row->event_id,
        .topic = row->topic,
        .publisher = row->publisher,
        .subject = row->subject,
        .type = row->type,
        .sequence = row->sequence,
        .time_us = row->time_us,
        .correlation_id = row->correlation_id,
        .causation_id = row->causation_id,
        .traceparent = row->traceparent,
        .data = row->data,
    };
    return OK;
}

/* Tries the first parked event of a subject, and those behind it as long as all goes well. */
static enum status
retry_subject(struct follower *f, const ParkedRow *head)
{
    struct arena *a = arena_new();
    struct tx_scope scope = {.arena = a};
    struct value in[] = {value_text(head->subscriber), value_text(head->publisher),
                         value_text(head->subject), value_int(QUEUE_MAX)};
    ParkedRow **rows;
    size_t n = 0;
    struct tx *tx = tx_begin_read_in(f->subscriber.store, "bus", &scope);
    enum status st =
        sql_many(tx, &list_queue, in, 4, &souk__bus__parked_row__descriptor, &rows, &n);
    tx_end(tx);
    struct event *events = arena_alloc(a, n * sizeof *events);
    for (size_t i = 0; i < n && st == OK; i++)
        st = parked_event(f->bus, &scope, rows[i], &events[i]);

    if (st == OK) {
        tx = tx_begin_in(f->subscriber.store, f->subscriber.service, follower_scope(f));
        st = handle_queue(f, tx, rows, events, n);
        if (st)
            tx_end(tx);
        else if (!follower_commit(f, tx))
            st = UNAVAILABLE;
    }
    arena_free(a);
    return st;
}

/* OK unless the store is in trouble; then tx is to be undone. */
static enum status
handle_queue(struct follower *f, struct tx *tx, ParkedRow *const *rows, const struct event *events,
             size_t n)
{
    for (size_t i = 0; i < n && tx_status(tx) == OK; i++) {
        struct value key[] = {value_text(rows[i]->subscriber), value_text(rows[i]->event_id)};
        const char *why;
        enum status st = follower_handle(f, tx, &events[i], &why);
        if (st == OK) {
            /* Gone already: another replica was faster, and this one must not have been. */
            if (sql_count(tx, &delete_parked, key, 2) == 0 && tx_status(tx) == OK)
                tx_fail(tx, ABORTED);
            continue;
        }
        if (tx_status(tx))
            break;
        struct failure how = failure_after(f, rows[i]->attempts + 1);
        struct value in[] = {key[0],
                             key[1],
                             value_text(how.state),
                             value_int(how.attempts),
                             value_int(how.next_try_us),
                             value_text_or_null(why)};
        sql_exec(tx, &note_failure, in, 6);
        /* An event that came late, to the front, fails in place of the one it stands before. */
        struct value others[] = {key[0], value_text(rows[i]->publisher),
                                 value_text(rows[i]->subject), key[1]};
        if (f->bus->spread)
            sql_exec(tx, &step_back, others, 4);
        return tx_status(tx);
    }
    if (n > 0) {
        struct value subject[] = {value_text(rows[0]->subscriber), value_text(rows[0]->publisher),
                                  value_text(rows[0]->subject)};
        sql_exec(tx, &promote, subject, 3);
    }
    return tx_status(tx);
}

static struct failure
failure_after(const struct follower *f, int64_t attempts)
{
    const struct bus_options *o = &f->bus->options;
    if (attempts >= o->attempts_max)
        return (struct failure){.state = "dead", .attempts = attempts};
    int64_t delay_us = o->retry_first_us;
    for (int64_t i = 1; i < attempts && delay_us < o->retry_most_us; i++)
        delay_us *= 2;
    if (delay_us > o->retry_most_us)
        delay_us = o->retry_most_us;
    return (struct failure){"retrying", attempts, env.now_us() + delay_us};
}

static void
insert(struct follower *f, struct tx *tx, const struct event *e, const struct failure *how,
       const char *why)
{
    struct value in[] = {
        value_text(f->subscriber.service),
        value_text(e->id),
        value_int(e->position),
        value_text(e->publisher),
        value_text(e->subject),
        value_text(how->state),
        value_int(how->attempts),
        value_int(how->next_try_us),
        value_text_or_null(why),
        value_int(env.now_us()),
        /* Embedded, the journal has the rest. */
        value_text(e->topic),
        value_text(e->type),
        value_int(e->sequence),
        value_int(e->time_us),
        value_text_or_null(e->correlation_id),
        value_text_or_null(e->causation_id),
        value_text_or_null(e->traceparent),
        value_blob(e->data),
    };
    if (f->bus->spread)
        sql_exec(tx, &insert_whole, in, sizeof in / sizeof in[0]);
    else
        sql_exec(tx, &insert_parked, in, KEPT_EMBEDDED);
    f->parked++;
}

/* What is parked now, as the tables say. */
static enum status
load_soon(struct follower *f)
{
    struct tx *tx = tx_begin_in(f->subscriber.store, f->subscriber.service, follower_scope(f));
    enum status st = parked_load(f, tx);
    tx_end(tx);
    return st ? st : store_wait(&f->scope);
}
