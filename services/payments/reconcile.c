/*
 * Reconciliation: our books of a UTC day beside the provider's.
 *
 * Ours belong to the day on which they were settled, the provider's to the day of his clock; around
 * midnight these differ.  So what is of the day on one side is looked for on the other one at any
 * time that it could have: an outcome of ours came between the attempt's beginning and its
 * settling, and what we do not find among ours of the day is looked up by its key.
 */
#include <stdio.h>
#include <stdlib.h>

#include "kit/json.h"
#include "payments/attempts.h"
#include "payments/movements.h"

enum { DIFFERENCES_MAX = 1000, THEIRS_MAX = 200000, LIST_DEFAULT = 20 };

static const char after_every_day[] = "z";
static const int64_t clocks_differ_us = 5 * MINUTE_US;
static const int64_t list_timeout_us = 8 * SECOND_US;
/* Behind midnight: what was under way then has ended. */
static const int64_t day_settles_us = 30 * MINUTE_US;

struct books {
    struct request *rq;
    int64_t from_us, to_us;           /* the day */
    struct provider_movement *theirs; /* sorted by key */
    bool *seen;                       /* of theirs: compared */
    size_t n_theirs;
    Reconciliation *out;
    Difference **differences;
};

static enum status reconcile(struct request *rq, int64_t from_us, Reconciliation *out);
static enum status first_moment(struct books *b, int64_t *ret_us);
static enum status compare_ours(struct books *b);
static enum status compare_theirs(struct books *b);
static void compare(struct books *b, const MovementRow *ours,
                    const struct provider_movement *theirs);
static struct provider_movement *find_theirs(const struct books *b, const char *key);
static void differ(struct books *b, const char *kind, const MovementRow *ours,
                   const struct provider_movement *theirs);
static const char *status_of(const MovementRow *ours);
static const char *status_there(const struct provider_movement *theirs);
static int by_key(const void *a, const void *b);

enum status
payments_reconcile(struct request *rq, const ReconcileRequest *in, Reconciliation *out)
{
    int64_t from_us = rq->now_us - rq->now_us % DAY_US;
    if (!text_empty(in->date) && !date_parse(in->date, &from_us))
        return fail(rq, &PAYMENTS_NO_SUCH_DAY, "\"%s\" is no day like 2026-11-22", in->date);
    return reconcile(rq, from_us, out);
}

static enum status
reconcile(struct request *rq, int64_t from_us, Reconciliation *out)
{
    struct books b = {.rq = rq, .from_us = from_us, .to_us = from_us + DAY_US, .out = out};
    b.differences = arena_alloc(rq->arena, DIFFERENCES_MAX * sizeof *b.differences);
    out->date = date_format(rq->arena, from_us);
    out->provider = "sandbox";
    out->differences = b.differences;
    out->made_at_us = rq->now_us;
    struct provider_list in = {
        .to_us = b.to_us + clocks_differ_us, .max = THEIRS_MAX, .timeout_us = list_timeout_us};
    enum status st = first_moment(&b, &in.from_us);
    if (st)
        return st;
    st = provider_list(rq, &in, &b.theirs, &b.n_theirs);
    if (st == RESOURCE_EXHAUSTED)
        return fail(rq, &PAYMENTS_TOO_MANY_MOVEMENTS,
                    "the provider's day has more than %d movements", THEIRS_MAX);
    if (st == UNAVAILABLE)
        return fail(rq, &PAYMENTS_PROVIDER_SILENT, "the provider does not show its books now");
    if (st)
        return st;
    qsort(b.theirs, b.n_theirs, sizeof *b.theirs, by_key);
    b.seen = arena_alloc(rq->arena, b.n_theirs * sizeof *b.seen + 1);
    st = compare_ours(&b);
    return st ? st : compare_theirs(&b);
}

/* When the earliest that was settled on the day may have happened. */
static enum status
first_moment(struct books *b, int64_t *ret_us)
{
    int64_t first_us = b->from_us;
    struct movements m = movements_between(b->from_us, b->to_us);
    MovementRow *row;
    enum status st;
    while ((st = movements_next(b->rq, &m, &row)) == OK && row)
        if (row->created_at_us < first_us)
            first_us = row->created_at_us;
    *ret_us = first_us - clocks_differ_us;
    return st;
}

static enum status
compare_ours(struct books *b)
{
    struct movements m = movements_between(b->from_us, b->to_us);
    MovementRow *row;
    enum status st;
    while ((st = movements_next(b->rq, &m, &row)) == OK && row) {
        struct provider_movement *theirs = find_theirs(b, row->id);
        if (theirs)
            b->seen[theirs - b->theirs] = true;
        compare(b, row, theirs);
    }
    return st;
}

static enum status
compare_theirs(struct books *b)
{
    for (size_t i = 0; i < b->n_theirs; i++) {
        const struct provider_movement *theirs = &b->theirs[i];
        if (b->seen[i] || theirs->time_us < b->from_us || theirs->time_us >= b->to_us)
            continue;
        struct tx *tx = tx_begin_read(b->rq);
        MovementRow *ours = NULL;
        enum status st = find_movement(tx, &ours, .id = theirs->key);
        tx_end(tx);
        if (st && st != NOT_FOUND)
            return fail_store(b->rq, st);
        compare(b, st == OK ? ours : NULL, theirs);
    }
    return OK;
}

/* One side may be NULL.  No money moved in what failed with us and never came there. */
static void
compare(struct books *b, const MovementRow *ours, const struct provider_movement *theirs)
{
    if (!theirs) {
        if (!text_equal(status_of(ours), "declined"))
            differ(b, "missing_there", ours, NULL);
    } else if (!ours || !text_equal(ours->kind,
                                    text_equal(theirs->kind, "void") ? "charge" : theirs->kind)) {
        differ(b, "missing_here", NULL, theirs);
    } else if (!text_equal(status_of(ours), status_there(theirs))) {
        differ(b, "status_differs", ours, theirs);
    } else if (!text_equal(theirs->kind, "void") &&
               (ours->amount_minor != theirs->amount_minor ||
                !text_equal(ours->currency, theirs->currency))) {
        differ(b, "amount_differs", ours, theirs);
    } else {
        b->out->matched++;
    }
}

static const char *
status_of(const MovementRow *ours)
{
    if (text_equal(ours->status, "completed"))
        return "captured";
    if (text_equal(ours->status, "done"))
        return "refunded";
    return text_equal(ours->status, "failed") ? "declined" : "pending";
}

static const char *
status_there(const struct provider_movement *theirs)
{
    return text_equal(theirs->kind, "void") ? "declined" : theirs->outcome;
}

static void
differ(struct books *b, const char *kind, const MovementRow *ours,
       const struct provider_movement *theirs)
{
    struct arena *a = b->rq->arena;
    if (b->out->n_differences == DIFFERENCES_MAX) {
        b->out->more = true;
        return;
    }
    Difference *d = new_difference(a);
    d->kind = kind;
    d->key = theirs ? theirs->key : arena_strdup(a, ours->id);
    if (ours)
        d->ours = arena_printf(a, "%s %lld %s", status_of(ours), (long long)ours->amount_minor,
                               ours->currency);
    if (theirs)
        d->theirs = arena_printf(a, "%s %lld %s", status_there(theirs),
                                 (long long)theirs->amount_minor, theirs->currency);
    b->differences[b->out->n_differences++] = d;
}

static int
by_key(const void *a, const void *b)
{
    return strcmp(((const struct provider_movement *)a)->key,
                  ((const struct provider_movement *)b)->key);
}

static struct provider_movement *
find_theirs(const struct books *b, const char *key)
{
    const struct provider_movement wanted = {.key = key};
    return b->n_theirs ? bsearch(&wanted, b->theirs, b->n_theirs, sizeof *b->theirs, by_key) : NULL;
}

/* ---- day by day ------------------------------------------------------------------------------ */

/* Once for a day; a day on which the provider is silent is tried again. */
enum status
reconcile_yesterday(struct request *rq)
{
    int64_t today_us = rq->now_us - rq->now_us % DAY_US;
    const char *date = date_format(rq->arena, today_us - DAY_US);
    struct tx *tx = tx_begin_read(rq);
    ReconciliationRow *row;
    enum status st = find_reconciliation(tx, &row, .date = date);
    tx_end(tx);
    if (st != NOT_FOUND || !payments_state(rq)->provider || rq->now_us < today_us + day_settles_us)
        return st == NOT_FOUND ? OK : fail_store(rq, st);
    Reconciliation *made = new_reconciliation(rq->arena);
    st = reconcile(rq, today_us - DAY_US, made);
    if (st)
        return st;
    metric_add("souk_reconciliation_differences_total", "", (int64_t)made->n_differences);
    struct text result = text_in(rq->arena);
    json_write(&result, &made->base);
    tx = tx_begin(rq);
    keep_reconciliation(tx, .date = date, .provider = made->provider, .result = result.bytes,
                        .differences = (int64_t)made->n_differences, .now_us = rq->now_us);
    return fail_store(rq, tx_commit(tx));
}

enum status
payments_list_reconciliations(struct request *rq, const ListReconciliationsRequest *in,
                              ListReconciliationsResponse *out)
{
    struct tx *tx = tx_begin_read(rq);
    ReconciliationRow **rows = NULL;
    size_t n = 0;
    size_t limit = in->limit ? (size_t)in->limit : LIST_DEFAULT;
    const char *before = text_empty(in->starting_after) ? after_every_day : in->starting_after;
    enum status st =
        list_reconciliations(tx, &rows, &n, .before = before, .limit = (int64_t)limit + 1);
    tx_end(tx);
    if (st)
        return fail_store(rq, st);
    out->has_more = n > limit;
    out->data = arena_alloc(rq->arena, n * sizeof *out->data + 1);
    for (size_t i = 0; i < n && i < limit; i++) {
        struct faults f = faults_in(rq->arena);
        Reconciliation *made = new_reconciliation(rq->arena);
        if (json_read(&f, rows[i]->result, strlen(rows[i]->result), NULL, &made->base))
            out->data[out->n_data++] = made;
    }
    return OK;
}
