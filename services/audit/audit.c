/*
 * Audit: every domain event, in the journal's order, each chained to the one before.
 *
 * It keeps events of its own, in the store of those who only listen, so that the journal and the
 * chain are two witnesses.
 */
#include "audit.impl.h"

#include "audit/chain.h"
#include "audit/erase.h"
#include "audit/personal.h"
#include "base/env.h"
#include "bus/cloudevents.h"
#include "kit/node.h"

enum { VERIFY_ROWS_MAX = 500 };

/* The newest of the chain; an event that follows another in a transaction need not ask for it. */
struct chain_end {
    uint8_t digest[SHA256_BYTES];
};

static enum status read_end(struct tx *tx, struct chain_end *ret);
static enum status read_rows(struct request *rq, const ListEventsRequest *in, int64_t limit,
                             AuditRow ***ret, size_t *ret_n);
static void add_event(struct request *rq, struct text *out, const AuditRow *row);
static const PersonalFields *set_apart(struct arena *a, const struct event *event,
                                       ProtobufCBinaryData *ret_payload);
static bool erases(const struct event *event);
static enum status verify_page(struct request *rq, struct arena *page, uint8_t digest[SHA256_BYTES],
                               VerifyChainResponse *out, bool *more);
static DeadLetter *letter_of(struct arena *a, const struct dead_letter *letter);
static int64_t limit_of(int64_t asked);

enum status
audit_list_events(struct request *rq, const ListEventsRequest *in, ListEventsResponse *out)
{
    size_t limit = (size_t)limit_of(in->limit), n;
    AuditRow **rows;
    enum status st = read_rows(rq, in, (int64_t)limit + 1, &rows, &n);
    if (st)
        return fail_store(rq, st);

    struct text body = text_in(rq->arena);
    text_add(&body, "{\"data\":[");
    for (size_t i = 0; i < n && i < limit; i++) {
        text_add(&body, i > 0 ? "," : "");
        add_event(rq, &body, rows[i]);
    }
    text_printf(&body, "],\"has_more\":%s}", n > limit ? "true" : "false");
    out->body.len = body.n;
    out->body.data = (uint8_t *)body.bytes;
    return OK;
}

enum status
audit_list_dead_letters(struct request *rq, const ListDeadLettersRequest *in,
                        ListDeadLettersResponse *out)
{
    size_t limit = (size_t)limit_of(in->limit), n;
    struct dead_letter *letters;
    enum status st = node_dead_letters(rq, in->starting_after, limit + 1, &letters, &n);
    if (st)
        return fail_store(rq, st);
    out->has_more = n > limit;
    out->data = arena_alloc(rq->arena, limit * sizeof *out->data);
    for (size_t i = 0; i < n && i < limit; i++)
        out->data[out->n_data++] = letter_of(rq->arena, &letters[i]);
    return OK;
}

enum status
audit_get_dead_letter(struct request *rq, const GetDeadLetterRequest *in, DeadLetter *out)
{
    struct dead_letter letter;
    enum status st = node_dead_letter(rq, in->id, &letter);
    if (st == NOT_FOUND)
        return fail(rq, &AUDIT_NO_SUCH_DEAD_LETTER, "there is no dead letter %s", in->id);
    if (st)
        return fail_store(rq, st);
    *out = *letter_of(rq->arena, &letter);
    return OK;
}

/* The answer is the letter as it was: redelivered, it is none any more. */
enum status
audit_redrive_dead_letter(struct request *rq, const RedriveDeadLetterRequest *in, DeadLetter *out)
{
    enum status st = audit_get_dead_letter(rq, &(const GetDeadLetterRequest){.id = in->id}, out);
    if (st)
        return st;
    st = node_redrive(rq, in->id);
    if (st == NOT_FOUND)
        return fail(rq, &AUDIT_NO_SUCH_DEAD_LETTER, "there is no dead letter %s", in->id);
    if (st)
        return fail_store(rq, st);
    out->state = "retrying";
    out->attempts = 0;
    return OK;
}

enum status
audit_verify_chain(struct request *rq, const VerifyChainRequest *in, VerifyChainResponse *out)
{
    (void)in;
    uint8_t digest[SHA256_BYTES] = {0};
    out->intact = true;
    enum status st = OK;
    struct arena *page = arena_new(); /* a page at a time: the chain may be larger than memory */
    for (bool more = true; more && st == OK && out->intact;) {
        st = verify_page(rq, page, digest, out, &more);
        arena_reset(page);
    }
    arena_free(page);
    if (st)
        return fail_store(rq, st);
    out->head = hex_encode(rq->arena, digest, sizeof digest);
    return OK;
}

enum status
audit_get_head(struct request *rq, const GetHeadRequest *in, GetHeadResponse *out)
{
    (void)in;
    struct tx *tx = tx_begin_read(rq);
    AuditRow *newest;
    enum status st = find_newest(tx, &newest);
    tx_end(tx);
    if (st == OK)
        out->position = newest->position;
    return st == NOT_FOUND ? OK : fail_store(rq, st);
}

static void
add_replayed(void *out, const char *service, const struct replayed *replayed)
{
    ReplayProjectionsResponse *told = out;
    ReplayedService *one = told->services[told->n_services++];
    one->service = service;
    one->events = replayed->events;
    one->bytes = (int64_t)replayed->bytes;
    one->equal = replayed->equal;
}

enum status
audit_replay_projections(struct request *rq, const ReplayProjectionsRequest *in,
                         ReplayProjectionsResponse *out)
{
    (void)in;
    const struct service *const *services = node_services(rq->node);
    size_t n = 0;
    while (services[n])
        n++;
    out->services = arena_alloc(rq->arena, n * sizeof *out->services);
    for (size_t i = 0; i < n; i++)
        out->services[i] = new_replayed_service(rq->arena);
    return node_replay_all(rq, add_replayed, out);
}

static enum status
hear(struct request *rq, struct tx *tx, const struct event *event)
{
    struct chain_end *end = service_state(rq, sizeof *end);
    if (!event->follows) {
        enum status st = read_end(tx, end);
        if (st)
            return st;
    }
    uint8_t *digest = end->digest;
    AuditRow row = *new_audit_row(rq->arena);
    const PersonalFields *personal = set_apart(rq->arena, event, &row.payload);
    row.position = event->position;
    row.event_id = event->id;
    row.topic = event->topic;
    row.publisher = event->publisher;
    row.subject = event->subject ? event->subject : "";
    row.type = event->type;
    row.sequence = event->sequence;
    row.time_us = event->time_us;
    row.correlation_id = event->correlation_id ? event->correlation_id : "";
    row.causation_id = event->causation_id ? event->causation_id : "";
    row.traceparent = event->traceparent ? event->traceparent : "";
    chain_digest(digest, &row, personal, digest);
    insert_event(tx, .position = row.position, .event_id = row.event_id, .topic = row.topic,
                 .publisher = row.publisher, .subject = row.subject, .type = row.type,
                 .sequence = row.sequence, .time_us = row.time_us,
                 .correlation_id = row.correlation_id, .causation_id = row.causation_id,
                 .traceparent = row.traceparent, .payload = row.payload,
                 .personal = message_write(rq->arena, &personal->base),
                 .digest = (ProtobufCBinaryData){sizeof end->digest, digest});
    if (erases(event))
        insert_erasing(tx, .position = event->position, .noted_us = env.now_us());
    return tx_status(tx);
}

static enum status
read_end(struct tx *tx, struct chain_end *ret)
{
    AuditRow *newest;
    enum status st = find_newest(tx, &newest);
    *ret = (struct chain_end){.digest = {0}};
    if (st == NOT_FOUND)
        return OK;
    if (st == OK && newest->digest.len != sizeof ret->digest)
        return DATA_LOSS;
    if (st == OK)
        memcpy(ret->digest, newest->digest.data, sizeof ret->digest);
    return st;
}

/* The personal fields, and the payload without them.  What is of no type that we know stays whole.
 */
static const PersonalFields *
set_apart(struct arena *a, const struct event *event, ProtobufCBinaryData *ret_payload)
{
    const struct topic *topic = topic_find(event->topic);
    ProtobufCMessage *message = topic ? message_read(a, topic->type, event->data) : NULL;
    if (!message) {
        *ret_payload = event->data;
        return new_personal_fields(a);
    }
    const PersonalFields *personal = personal_take(a, message);
    *ret_payload = message_write(a, message);
    return personal;
}

static bool
erases(const struct event *event)
{
    const struct topic *topic = topic_find(event->topic);
    return topic && topic->erases;
}

static enum status
read_rows(struct request *rq, const ListEventsRequest *in, int64_t limit, AuditRow ***ret,
          size_t *ret_n)
{
    struct tx *tx = tx_begin_read(rq);
    enum status st;
    if (!text_empty(in->subject))
        st = list_events_of_subject(tx, ret, ret_n, .subject = in->subject, .topic = in->topic,
                                    .after = in->after, .rows = limit);
    else if (!text_empty(in->topic))
        st = list_events_of_topic(tx, ret, ret_n, .topic = in->topic, .after = in->after,
                                  .rows = limit);
    else
        st = list_events(tx, ret, ret_n, .after = in->after, .rows = limit);
    tx_end(tx);
    return st;
}

static void
add_event(struct request *rq, struct text *out, const AuditRow *row)
{
    const struct topic *topic = topic_find(row->topic);
    const ProtobufCMessageDescriptor *type = topic ? topic->type : NULL;
    const struct event event = {
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
        .data = personal_whole(rq->arena, row, type),
    };
    cloudevent_json(out, &event, type);
}

/* Reads and checks what stands behind out->last_position; its rows live in page. */
static enum status
verify_page(struct request *rq, struct arena *page, uint8_t digest[SHA256_BYTES],
            VerifyChainResponse *out, bool *more)
{
    struct arena *arena = rq->scope.arena;
    rq->scope.arena = page;
    struct tx *tx = tx_begin_read(rq);
    AuditRow **rows;
    size_t n;
    enum status st =
        list_events(tx, &rows, &n, .after = out->last_position, .rows = VERIFY_ROWS_MAX);
    tx_end(tx);
    rq->scope.arena = arena;
    if (st)
        return st;

    for (size_t i = 0; i < n; i++) {
        if (!chain_fits(page, digest, rows[i], digest)) {
            out->intact = false;
            out->broken_at = rows[i]->position;
            return OK;
        }
        out->events++;
        out->last_position = rows[i]->position;
    }
    *more = n == VERIFY_ROWS_MAX;
    return OK;
}

static DeadLetter *
letter_of(struct arena *a, const struct dead_letter *letter)
{
    DeadLetter *told = new_dead_letter(a);
    told->id = letter->id;
    told->subscriber = letter->subscriber;
    told->event_id = letter->event.id;
    told->topic = letter->event.topic;
    told->subject = letter->event.subject;
    told->attempts = letter->attempts;
    told->error = letter->error;
    told->state = letter->dead ? "dead" : "retrying";
    told->waiting = letter->waiting;
    told->parked_at_us = letter->parked_at_us;
    return told;
}

static int64_t
limit_of(int64_t asked)
{
    if (asked <= 0)
        return PAGE_ITEMS_DEFAULT;
    return asked < PAGE_ITEMS_MAX ? asked : PAGE_ITEMS_MAX;
}

const struct service audit_service = {
    .name = "audit",
    .serves = &audit_server,
    .listens = true,
    .hears_all = hear,
    .jobs = {{"erase", erase_some, 5 * SECOND_US}},
};
