#include "audit/erase.h"

#include "audit.impl.h"
#include "audit/personal.h"
#include "kit/node.h"
#include "kit/personal.h"

enum { ERASE_ROWS_MAX = 200, ERASE_PAGES_MAX = 500 };

static enum status erase_page(struct request *rq, struct arena *page, bool *more);
static enum status read_erasing(struct tx *tx, struct arena *page, int64_t position,
                                struct event *event, struct erased *ret);
static enum status erase_rows(struct tx *tx, const Erasing *at, struct arena *page);
static bool is_about(struct arena *a, const AuditRow *row, const PersonalFields *personal,
                     const struct erased *who);
static void erase_row(struct tx *tx, struct arena *page, const AuditRow *row,
                      PersonalFields *personal);

enum status
erase_some(struct request *rq)
{
    struct arena *page = arena_new();
    enum status st = OK;
    bool more = true;
    for (int i = 0; i < ERASE_PAGES_MAX && more && st == OK; i++) {
        st = erase_page(rq, page, &more);
        arena_reset(page);
    }
    arena_free(page);
    return st;
}

static enum status
erase_page(struct request *rq, struct arena *page, bool *more)
{
    struct tx *tx = tx_begin(rq);
    Erasing *at;
    enum status st = find_erasing(tx, &at);
    if (st) {
        tx_end(tx);
        *more = false;
        return st == NOT_FOUND ? OK : fail_store(rq, st);
    }
    st = erase_rows(tx, at, page);
    enum status committed = tx_commit(tx);
    return fail_store(rq, committed ? committed : st);
}

/* The erasing event itself, which says whom to look for, loses that with the last page. */
static enum status
erase_rows(struct tx *tx, const Erasing *at, struct arena *page)
{
    struct event event;
    struct erased who;
    AuditRow **rows;
    size_t n;
    enum status st = read_erasing(tx, page, at->position, &event, &who);
    if (st == NOT_FOUND) {
        end_erasing(tx, .position = at->position);
        return tx_status(tx);
    }
    if (st == OK)
        st = list_personal(tx, &rows, &n, .after = at->done_to, .upto = at->position,
                           .rows = ERASE_ROWS_MAX);
    if (st)
        return st;
    for (size_t i = 0; i < n; i++) {
        PersonalFields *personal =
            message_read(page, DESCRIPTOR_OF_PersonalFields, rows[i]->personal);
        if (personal && is_about(page, rows[i], personal, &who))
            erase_row(tx, page, rows[i], personal);
    }
    if (n < ERASE_ROWS_MAX || rows[n - 1]->position == at->position)
        end_erasing(tx, .position = at->position);
    else
        move_erasing(tx, .position = at->position, .done_to = rows[n - 1]->position);
    return tx_status(tx);
}

/* NOT_FOUND where the event cannot be read: then it erases nothing. */
static enum status
read_erasing(struct tx *tx, struct arena *page, int64_t position, struct event *event,
             struct erased *ret)
{
    AuditRow *row;
    enum status st = find_event(tx, &row, .position = position);
    if (st)
        return st;
    const struct topic *topic = topic_find(row->topic);
    *event = (struct event){.topic = row->topic, .subject = row->subject, .data = row->payload};
    if (topic)
        event->data = personal_whole(page, row, topic->type);
    return erased_by(page, event, ret) ? OK : NOT_FOUND;
}

static void
erase_row(struct tx *tx, struct arena *page, const AuditRow *row, PersonalFields *personal)
{
    personal_erase(personal);
    set_personal(tx, .position = row->position, .personal = message_write(page, &personal->base));
}

static bool
is_about(struct arena *a, const AuditRow *row, const PersonalFields *personal,
         const struct erased *who)
{
    for (size_t i = 0; i < personal->n_fields; i++)
        if (erased_has_email(a, who, personal->fields[i]->value))
            return true;
    const struct topic *topic = topic_find(row->topic);
    ProtobufCMessage *message = topic ? message_read(a, topic->type, row->payload) : NULL;
    return message && erased_has_id(who, row->subject, message);
}
