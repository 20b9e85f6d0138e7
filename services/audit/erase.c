#include "audit/erase.h"

#include "audit.impl.h"
#include "audit/personal.h"
#include "users.api.h"

enum { ERASE_ROWS_MAX = 200, ERASE_PAGES_MAX = 500 };

static enum status erase_page(struct request *rq, struct arena *page, bool *more);
static enum status erase_rows(struct request *rq, struct tx *tx, const Erasure *person,
                              struct arena *page);
static bool is_about(struct arena *a, const AuditRow *row, const PersonalFields *personal,
                     const Erasure *person);

void
erase_begin(struct request *rq, struct tx *tx, const struct event *event)
{
    const PersonErased *message = message_read(rq->arena, DESCRIPTOR_OF_PersonErased, event->data);
    if (message)
        insert_erasure(tx, .user_id = message->user_id,
                       .email = text_lower(rq->arena, message->email), .upto = event->position);
}

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
    Erasure *person;
    enum status st = find_erasure(tx, &person);
    if (st) {
        tx_end(tx);
        *more = false;
        return st == NOT_FOUND ? OK : fail_store(rq, st);
    }
    st = erase_rows(rq, tx, person, page);
    enum status committed = tx_commit(tx);
    return fail_store(rq, committed ? committed : st);
}

/* The row of the erasure itself, which has the e-mail too, goes with the last page. */
static enum status
erase_rows(struct request *rq, struct tx *tx, const Erasure *person, struct arena *page)
{
    (void)rq;
    AuditRow **rows;
    size_t n;
    enum status st = list_personal(tx, &rows, &n, .after = person->done_to, .upto = person->upto,
                                   .rows = ERASE_ROWS_MAX);
    if (st)
        return st;
    for (size_t i = 0; i < n; i++) {
        PersonalFields *personal =
            message_read(page, DESCRIPTOR_OF_PersonalFields, rows[i]->personal);
        if (!personal || !is_about(page, rows[i], personal, person))
            continue;
        personal_erase(personal);
        set_personal(tx, .position = rows[i]->position,
                     .personal = message_write(page, &personal->base));
    }
    if (n < ERASE_ROWS_MAX)
        delete_erasure(tx, .user_id = person->user_id);
    else
        move_erasure(tx, .user_id = person->user_id, .done_to = rows[n - 1]->position);
    return tx_status(tx);
}

static bool
is_about(struct arena *a, const AuditRow *row, const PersonalFields *personal,
         const Erasure *person)
{
    if (text_equal(row->subject, person->user_id))
        return true;
    for (size_t i = 0; i < personal->n_fields && !text_empty(person->email); i++) {
        const ProtobufCBinaryData *value = &personal->fields[i]->value;
        const char *text = arena_strndup(a, (const char *)value->data, value->len);
        if (value->len == strlen(person->email) && text_equal(text_lower(a, text), person->email))
            return true;
    }
    return false;
}
