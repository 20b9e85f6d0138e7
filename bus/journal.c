/* The journal: one table, one order. */
#include <assert.h>
#include <string.h>

#include "base/ids.h"
#include "base/limits.h"
#include "bus/bus_private.h"

enum {
    EVENT_VALUES = 11,
    SCAN_ROWS_MAX = 4096, /* that a filtered read looks at before others get their turn */
};

/* Of EVENT_COLUMNS, as row_values gives them. */
#define ROW_VALUES "?1, ?2, ?3, ?4, ?5, ?11, ?6, ?7, ?8, ?9, ?10"

static struct statement append = {
    .service = "bus",
    .name = "append",
    .sql = "INSERT INTO bus_event (" EVENT_COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5, "
           "(SELECT coalesce(max(sequence), 0) + 1 FROM bus_event "
           "WHERE subject = ?4 AND publisher = ?3), ?6, ?7, ?8, ?9, ?10)",
    .writes = true,
};
static struct statement count_up = {
    .service = "bus",
    .name = "count_up",
    .sql = "INSERT INTO bus_sequence (publisher, subject, sequence) VALUES (?1, ?2, 1) "
           "ON CONFLICT (publisher, subject) DO UPDATE SET sequence = bus_sequence.sequence + 1 "
           "RETURNING sequence",
    .writes = true,
};
static struct statement append_to_outbox = {
    .service = "bus",
    .name = "append_to_outbox",
    .sql = "INSERT INTO bus_outbox (" EVENT_COLUMNS ") "
           "VALUES (" ROW_VALUES ")",
    .writes = true,
};
static struct statement take = {
    .service = "bus",
    .name = "take",
    .sql = "INSERT INTO bus_event (" EVENT_COLUMNS ") "
           "VALUES (" ROW_VALUES ") "
           "ON CONFLICT (subject, publisher, sequence) DO NOTHING",
    .writes = true,
};
static struct statement copy = {
    .service = "bus",
    .name = "copy",
    .sql = "INSERT INTO bus_event (" EVENT_COLUMNS ", position) "
           "VALUES (" ROW_VALUES ", "
           "(SELECT coalesce(max(position), 0) + 1 FROM bus_event)) "
           "ON CONFLICT (subject, publisher, sequence) DO UPDATE SET sequence = excluded.sequence "
           "RETURNING position",
    .writes = true,
};
static struct statement copy_to = {
    .service = "bus",
    .name = "copy_to",
    .sql = "INSERT INTO bus_event (" EVENT_COLUMNS ", position) "
           "VALUES (" ROW_VALUES ", ?12)",
    .writes = true,
};
static struct statement find_head = {
    .service = "bus",
    .name = "find_head",
    .sql = "SELECT coalesce(max(position), 0) FROM bus_event",
};
static struct statement list_events = {
    .service = "bus",
    .name = "list_events",
    .sql = "SELECT position, " EVENT_COLUMNS " FROM bus_event "
           "WHERE position > ?1 ORDER BY position LIMIT ?2",
};
static struct statement list_by_topic = {
    .service = "bus",
    .name = "list_by_topic",
    .sql = "SELECT position, " EVENT_COLUMNS " FROM bus_event "
           "WHERE position > ?1 AND position <= ?2 AND topic = ?3 ORDER BY position LIMIT ?4",
};
static struct statement list_by_subject = {
    .service = "bus",
    .name = "list_by_subject",
    .sql = "SELECT position, " EVENT_COLUMNS " FROM bus_event "
           "WHERE subject = ?1 AND position > ?2 AND (CAST(?3 AS TEXT) IS NULL OR topic = ?3) "
           "ORDER BY position LIMIT ?4",
};
static struct statement find_event = {
    .service = "bus",
    .name = "find_event",
    .sql = "SELECT position, " EVENT_COLUMNS " FROM bus_event WHERE position = ?1",
};

static void note_published(struct bus *bus, const struct store *store, const char *publisher);
static const char *subject_of(const struct topic *topic, const ProtobufCMessage *message);
static void event_values(const struct event *e, struct value ret[EVENT_VALUES]);
static void row_values(const EventRow *row, struct value ret[EVENT_VALUES]);
static enum status read_some(struct tx *tx, int64_t after, int64_t until, const char *topic,
                             const char *subject, size_t n, EventRow ***ret, size_t *ret_n);

void
bus_publish(struct bus *bus, struct tx *tx, const struct publish_context *context,
            const struct topic *topic, const ProtobufCMessage *message)
{
    assert(message->descriptor == topic->type);
    struct arena *a = tx_scope_of(tx)->arena;
    size_t n = protobuf_c_message_get_packed_size(message);
    if (n > EVENT_BYTES_MAX) {
        tx_fail(tx, RESOURCE_EXHAUSTED);
        return;
    }
    uint8_t *data = arena_alloc(a, n);
    protobuf_c_message_pack(message, data);
    EventRow row = {
        .id = id_make(a, "evn", context->now_us),
        .topic = topic->name,
        .publisher = topic->publisher,
        .subject = subject_of(topic, message),
        .type = topic->type->name,
        .time_us = context->now_us,
        .correlation_id = context->correlation_id,
        .causation_id = context->causation_id,
        .traceparent = context->traceparent,
        .data = {n, data},
    };
    struct value in[EVENT_VALUES];
    if (bus->spread || tx_store(tx) == bus->options.core) {
        row_values(&row, in);
        sql_exec(tx, &append, in, EVENT_VALUES - 1);
        if (bus->spread)
            note_published(bus, tx_store(tx), row.publisher);
        return;
    }
    struct value key[] = {value_text(row.publisher), value_text(row.subject)};
    sql_int(tx, &count_up, key, 2, &row.sequence);
    row_values(&row, in);
    sql_exec(tx, &append_to_outbox, in, EVENT_VALUES);
    bus->outbox_used_us = env.mono_us();
}

enum status
bus_read(struct bus *bus, struct tx_scope *scope, int64_t after, const char *topic,
         const char *subject, size_t n, struct event **ret, size_t *ret_n)
{
    if (!bus->options.core)
        return UNIMPLEMENTED;
    struct event *events = arena_alloc(scope->arena, n * sizeof *events);
    size_t found = 0;
    int64_t head = bus_head(bus, scope);
    bool scans = topic && !subject; /* looks at rows that it does not give: goes on in steps */
    while (after < head && found < n) {
        int64_t until = scans && head - after > SCAN_ROWS_MAX ? after + SCAN_ROWS_MAX : head;
        EventRow **rows;
        size_t n_rows;
        struct tx *tx = tx_begin_read_in(bus->options.core, "bus", scope);
        enum status st = read_some(tx, after, until, topic, subject, n - found, &rows, &n_rows);
        tx_end(tx);
        if (st)
            return st;
        for (size_t i = 0; i < n_rows; i++)
            event_from_row(&events[found++], rows[i]);
        after = until;
        if (after < head && found < n)
            fiber_yield();
    }
    *ret = events;
    *ret_n = found;
    return OK;
}

int64_t
bus_head(struct bus *bus, struct tx_scope *scope)
{
    if (!bus->options.core)
        return 0;
    struct tx *tx = tx_begin_read_in(bus->options.core, "bus", scope);
    int64_t head = 0;
    journal_head(tx, &head);
    tx_end(tx);
    return head;
}

enum status
journal_head(struct tx *tx, int64_t *ret)
{
    return sql_int(tx, &find_head, NULL, 0, ret);
}

void
event_from_row(struct event *ret, const EventRow *row)
{
    *ret = (struct event){
        .position = row->position,
        .id = row->id,
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
}

void
journal_take(struct tx *tx, const EventRow *row)
{
    struct value in[EVENT_VALUES];
    row_values(row, in);
    sql_exec(tx, &take, in, EVENT_VALUES);
}

int64_t
journal_copy(struct tx *tx, const struct event *e)
{
    struct value in[EVENT_VALUES];
    event_values(e, in);
    int64_t position = 0;
    sql_int(tx, &copy, in, EVENT_VALUES, &position);
    return position;
}

void
journal_copy_to(struct tx *tx, const struct event *e, int64_t position)
{
    struct value in[EVENT_VALUES + 1];
    event_values(e, in);
    in[EVENT_VALUES] = value_int(position);
    sql_exec(tx, &copy_to, in, EVENT_VALUES + 1);
}

enum status
journal_rows(struct tx *tx, int64_t after, size_t n, EventRow ***ret, size_t *ret_n)
{
    struct value in[] = {value_int(after), value_int((int64_t)n)};
    return sql_many(tx, &list_events, in, 2, &souk__bus__event_row__descriptor, ret, ret_n);
}

enum status
journal_event(struct bus *bus, struct tx_scope *scope, int64_t position, struct event *ret)
{
    if (!bus->options.core)
        return NOT_FOUND;
    struct value in[] = {value_int(position)};
    EventRow *row;
    struct tx *tx = tx_begin_read_in(bus->options.core, "bus", scope);
    enum status st = sql_one(tx, &find_event, in, 1, &souk__bus__event_row__descriptor, &row);
    tx_end(tx);
    if (st == OK)
        event_from_row(ret, row);
    return st;
}

/* So that a kick concerns those stores only that were written to. */
static void
note_published(struct bus *bus, const struct store *store, const char *publisher)
{
    struct tail *tail = tail_of_store(bus, store);
    assert(tail && tail == tail_of_publisher(bus, publisher));
    tail->published_us = env.mono_us();
}

/* The message's field with the aggregate's id; "" for a topic without one. */
static const char *
subject_of(const struct topic *topic, const ProtobufCMessage *message)
{
    if (!topic->subject)
        return "";
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(topic->type, topic->subject);
    assert(field && field->type == PROTOBUF_C_TYPE_STRING);
    const char *const *at = (const void *)((const char *)message + field->offset);
    return *at ? *at : "";
}

static void
event_values(const struct event *e, struct value ret[EVENT_VALUES])
{
    const EventRow row = {
        .id = e->id,
        .topic = e->topic,
        .publisher = e->publisher,
        .subject = e->subject,
        .type = e->type,
        .sequence = e->sequence,
        .time_us = e->time_us,
        .correlation_id = e->correlation_id,
        .causation_id = e->causation_id,
        .traceparent = e->traceparent,
        .data = e->data,
    };
    row_values(&row, ret);
}

static void
row_values(const EventRow *row, struct value ret[EVENT_VALUES])
{
    ret[0] = value_text(row->id);
    ret[1] = value_text(row->topic);
    ret[2] = value_text(row->publisher);
    ret[3] = value_text(row->subject);
    ret[4] = value_text(row->type);
    ret[5] = value_int(row->time_us);
    ret[6] = value_text_or_null(row->correlation_id);
    ret[7] = value_text_or_null(row->causation_id);
    ret[8] = value_text_or_null(row->traceparent);
    ret[9] = value_blob(row->data);
    ret[10] = value_int(row->sequence);
}

/* Up to n events behind after; by topic alone, it looks no further than until. */
static enum status
read_some(struct tx *tx, int64_t after, int64_t until, const char *topic, const char *subject,
          size_t n, EventRow ***ret, size_t *ret_n)
{
    const ProtobufCMessageDescriptor *type = &souk__bus__event_row__descriptor;
    if (subject) {
        struct value in[] = {value_text(subject), value_int(after), value_text_or_null(topic),
                             value_int((int64_t)n)};
        return sql_many(tx, &list_by_subject, in, 4, type, ret, ret_n);
    }
    if (topic) {
        struct value in[] = {value_int(after), value_int(until), value_text(topic),
                             value_int((int64_t)n)};
        return sql_many(tx, &list_by_topic, in, 4, type, ret, ret_n);
    }
    return journal_rows(tx, after, n, ret, ret_n);
}
