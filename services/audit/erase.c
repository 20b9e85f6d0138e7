#include "audit/erase.h"

#include "audit.impl.h"
#include "audit/personal.h"
#include "kit/node.h"
#include "kit/personal.h"

enum { ERASE_ROWS_MAX = 200, ERASE_PAGES_MAX = 500 };

static enum status erase_page(struct request *rq, struct arena *page, bool *more);
static enum status erase_rows(struct tx *tx, const Erasing *at, bool late, struct arena *page);
static enum status read_erasing(struct tx *tx, struct arena *page, int64_t position, AuditRow **row,
                                struct event *event, struct erased *ret);
static bool is_about(struct arena *a, const AuditRow *row, const PersonalFields *personal,
                     const struct erased *who);
static void erase_row(struct tx *tx, struct arena *page, const AuditRow *row,
                      PersonalFields *personal);
static PersonalFields *personal_of(struct arena *a, const AuditRow *row);

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
    int64_t after_us = erase_after_us(rq->node);
    struct tx *tx = tx_begin(rq);
    Erasing *at;
    enum status st =
        find_erasing(tx, &at, .noted_by_us = after_us ? rq->now_us - after_us : INT64_MAX);
    if (st) {
        tx_end(tx);
        *more = false;
        return st == NOT_FOUND ? OK : fail_store(rq, st);
    }
    st = erase_rows(tx, at, after_us > 0, page);
    enum status committed = tx_commit(tx);
    return fail_store(rq, committed ? committed : st);
}

/*
 * Where one is heard late, an older event may stand behind the erasing one: the time tells.  The
 * erasing event itself, which says whom to look for, loses that at the end.
 */
static enum status
erase_rows(struct tx *tx, const Erasing *at, bool late, struct arena *page)
{
    struct event event;
    struct erased who;
    AuditRow *erasing, **rows;
    size_t n;
    enum status st = read_erasing(tx, page, at->position, &erasing, &event, &who);
    if (st == NOT_FOUND) {
        end_erasing(tx, .position = at->position);
        return tx_status(tx);
    }
    if (st == OK)
        st = list_personal(tx, &rows, &n, .after = at->done_to,
                           .upto = late ? INT64_MAX : at->position,
                           .until_us = late ? at->noted_us : INT64_MAX, .rows = ERASE_ROWS_MAX);
    if (st)
        return st;
    for (size_t i = 0; i < n; i++) {
        PersonalFields *personal = personal_of(page, rows[i]);
        if (personal && is_about(page, rows[i], personal, &who))
            erase_row(tx, page, rows[i], personal);
    }
    if (n == ERASE_ROWS_MAX) {
        move_erasing(tx, .position = at->position, .done_to = rows[n - 1]->position);
        return tx_status(tx);
    }
    PersonalFields *personal = personal_of(page, erasing);
    if (personal)
        erase_row(tx, page, erasing, personal);
    end_erasing(tx, .position = at->position);
    return tx_status(tx);
}

/* NOT_FOUND where the event cannot be read: then it erases nothing. */
static enum status
read_erasing(struct tx *tx, struct arena *page, int64_t position, AuditRow **row,
             struct event *event, struct erased *ret)
{
    enum status st = find_event(tx, row, .position = position);
    if (st)
        return st;
    const struct topic *topic = topic_find((*row)->topic);
    *event =
        (struct event){.topic = (*row)->topic, .subject = (*row)->subject, .data = (*row)->payload};
    if (topic)
        event->data = personal_whole(page, *row, topic->type);
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

/* NULL if there are none. */
static PersonalFields *
personal_of(struct arena *a, const AuditRow *row)
{
    PersonalFields *personal = message_read(a, DESCRIPTOR_OF_PersonalFields, row->personal);
    return personal && personal->n_fields > 0 ? personal : NULL;
}
