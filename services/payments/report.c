/* The report: every movement of some days as CSV (RFC 4180). */
#include "base/money.h"
#include "fiber/fiber.h"
#include "payments/movements.h"

enum { ROWS_MAX = 100000, PAGE_ROWS = 500, DAYS_DEFAULT = 31 };

static enum status read_days(struct request *rq, const ReportRequest *in, int64_t *ret_from_us,
                             int64_t *ret_to_us);
static void write_row(struct request *rq, struct text *t, const MovementRow *row);
static void write_cell(struct text *t, const char *value);

enum status
payments_report(struct request *rq, const ReportRequest *in, ReportResponse *out)
{
    int64_t from_us, to_us;
    enum status st = read_days(rq, in, &from_us, &to_us);
    if (st)
        return st;
    struct text t = text_in(rq->arena);
    text_add(&t, "settled_at,kind,id,payment_id,order_id,status,amount,currency,provider,"
                 "provider_ref,reason\r\n");
    struct movements m = movements_between(from_us, to_us);
    MovementRow *row;
    for (int n = 0; (st = movements_next(rq, &m, &row)) == OK && row; n++) {
        if (n == ROWS_MAX)
            return fail(rq, &PAYMENTS_TOO_MANY_MOVEMENTS,
                        "more than %d movements: ask for fewer days at once", ROWS_MAX);
        write_row(rq, &t, row);
    }
    if (st)
        return st;
    out->body = (ProtobufCBinaryData){t.n, (uint8_t *)t.bytes};
    return OK;
}

static enum status
read_days(struct request *rq, const ReportRequest *in, int64_t *ret_from_us, int64_t *ret_to_us)
{
    int64_t last_us = rq->now_us - rq->now_us % DAY_US;
    if (!text_empty(in->to) && !date_parse(in->to, &last_us))
        return fail(rq, &PAYMENTS_NO_SUCH_DAY, "to: \"%s\" is no day like 2026-11-22", in->to);
    int64_t first_us = last_us - (DAYS_DEFAULT - 1) * DAY_US;
    if (!text_empty(in->from) && !date_parse(in->from, &first_us))
        return fail(rq, &PAYMENTS_NO_SUCH_DAY, "from: \"%s\" is no day like 2026-11-22", in->from);
    if (first_us > last_us)
        return fail(rq, &PAYMENTS_NO_SUCH_DAY, "from is behind to");
    *ret_from_us = first_us;
    *ret_to_us = last_us + DAY_US;
    return OK;
}

static void
write_row(struct request *rq, struct text *t, const MovementRow *row)
{
    const char *const cells[] = {
        time_format(rq->arena, row->settled_at_us),
        row->kind,
        row->id,
        row->payment_id,
        row->order_id,
        row->status,
        money_format(rq->arena, row->amount_minor, row->currency),
        row->currency,
        row->provider,
        row->ref,
        row->reason,
    };
    for (size_t i = 0; i < sizeof cells / sizeof cells[0]; i++) {
        if (i)
            text_add_char(t, ',');
        write_cell(t, cells[i]);
    }
    text_add(t, "\r\n");
}

/* A cell that begins like a formula would be run as one by whoever opens the file in a spreadsheet
 * (OWASP, "CSV Injection"): an apostrophe before it makes it text. */
static void
write_cell(struct text *t, const char *value)
{
    if (text_empty(value))
        return;
    text_add_char(t, '"');
    if (strchr("=+-@\t\r\n", value[0]))
        text_add_char(t, '\'');
    for (; *value; value++) {
        if (*value == '"')
            text_add_char(t, '"');
        text_add_char(t, *value);
    }
    text_add_char(t, '"');
}

struct movements
movements_between(int64_t from_us, int64_t to_us)
{
    return (struct movements){.after_us = from_us, .before_us = to_us, .after_id = ""};
}

enum status
movements_next(struct request *rq, struct movements *m, MovementRow **ret)
{
    if (m->at == m->n && !m->last) {
        fiber_yield();
        struct tx *tx = tx_begin_read(rq);
        enum status st =
            list_movements(tx, &m->page, &m->n, .after_us = m->after_us, .after_id = m->after_id,
                           .before_us = m->before_us, .limit = PAGE_ROWS);
        tx_end(tx);
        if (st)
            return fail_store(rq, st);
        m->at = 0;
        m->last = m->n < PAGE_ROWS;
        if (m->n) {
            m->after_us = m->page[m->n - 1]->settled_at_us;
            m->after_id = m->page[m->n - 1]->id;
        }
    }
    *ret = m->at < m->n ? m->page[m->at++] : NULL;
    return OK;
}
