/*
 * Erasing: what is personal goes from the journal, or an outbox, once everybody has heard it.
 *
 * A row has an erasing event, which says what to look for, and how far bus_event has been gone
 * through for it.  What breaks off is done again from there, and doing it twice changes nothing.
 */
#include "bus/bus_private.h"

typedef Souk__Bus__ErasureRow ErasureRow;

enum {
    ERASE_ROWS_MAX = 128,  /* in one transaction */
    ERASE_PAGES_MAX = 500, /* of one call */
    ERASE_STORES_MAX = 2,
};
static const int64_t look_again_us = MINUTE_US;

static struct statement note = {
    .service = "bus",
    .name = "note_erasure",
    .sql =
        "INSERT INTO bus_erasure (event_id, topic, subject, data, noted_us, upto, done_to, due_us, "
        "left_out) VALUES (?1, ?2, ?3, ?4, ?5, (SELECT coalesce(max(position), 0) FROM bus_event), "
        "0, ?6, 0) "
        "ON CONFLICT (event_id) DO NOTHING",
    .writes = true,
};
static struct statement find_due = {
    .service = "bus",
    .name = "find_erasure",
    .sql = "SELECT event_id, topic, subject, data, noted_us, upto, done_to, left_out "
           "FROM bus_erasure WHERE due_us <= ?1 ORDER BY upto, event_id LIMIT 1",
};
static struct statement move = {
    .service = "bus",
    .name = "move_erasure",
    .sql = "UPDATE bus_erasure SET done_to = ?2, left_out = ?3, due_us = ?4, upto = ?5 "
           "WHERE event_id = ?1",
    .writes = true,
};
static struct statement end = {
    .service = "bus",
    .name = "end_erasure",
    .sql = "DELETE FROM bus_erasure WHERE event_id = ?1",
    .writes = true,
};
static struct statement rewrite = {
    .service = "bus",
    .name = "rewrite_event",
    .sql = "UPDATE bus_event SET data = ?2 WHERE position = ?1",
    .writes = true,
};
static struct statement count_parked_at = {
    .service = "bus",
    .name = "count_parked_at",
    .sql = "SELECT count(*) FROM bus_parked WHERE position = ?1",
};

/* Going through a store's bus_event for one erasing event. */
struct pass {
    struct bus *bus;
    struct store *store;
    bus_erase_fn *fn;
    struct event erasing;
    int64_t noted_us, upto, done_to;
    bool left_out;
    int pages;
};

static enum status find_pass(struct pass *p, struct arena *a);
static bool heard_by_all(struct bus *bus, const struct store *store, int64_t position);
static bool is_behind(struct bus *bus, const struct source *s, const struct store *store,
                      int64_t position);
static enum status go_through(struct pass *p);
static enum status reach_for_head(struct pass *p, struct arena *a);
static enum status erase_page(struct pass *p, struct arena *a);
static enum status say_how_far(const struct pass *p, struct arena *a);
static enum status commit(struct tx *tx, struct tx_scope *scope);
static void write_data(struct tx *tx, const struct event *e);
static enum status is_parked(const struct bus *bus, struct arena *a, int64_t position, bool *ret);

void
bus_erase_note(struct tx *tx, const struct event *erasing, int64_t due_us)
{
    struct value in[] = {value_text(erasing->id),      value_text(erasing->topic),
                         value_text(erasing->subject), value_blob(erasing->data),
                         value_int(env.now_us()),      value_int(due_us)};
    sql_exec(tx, &note, in, sizeof in / sizeof in[0]);
}

enum status
bus_erase(struct bus *bus, struct store *store, bus_erase_fn *fn)
{
    enum status st = OK;
    bool found = true;
    for (int pages = 0; pages < ERASE_PAGES_MAX && found && st == OK;) {
        struct arena *a = arena_new();
        struct pass p = {.bus = bus, .store = store, .fn = fn, .pages = pages};
        st = find_pass(&p, a);
        found = st == OK && heard_by_all(bus, store, p.upto);
        if (found)
            st = go_through(&p);
        arena_free(a);
        pages = p.pages + 1;
    }
    return st == NOT_FOUND ? OK : st;
}

static enum status
find_pass(struct pass *p, struct arena *a)
{
    struct tx_scope scope = {.arena = a};
    struct value in[] = {value_int(env.now_us())};
    ErasureRow *row;
    struct tx *tx = tx_begin_read_in(p->store, "bus", &scope);
    enum status st = sql_one(tx, &find_due, in, 1, &souk__bus__erasure_row__descriptor, &row);
    tx_end(tx);
    if (st)
        return st;
    p->erasing = (struct event){
        .id = row->event_id, .topic = row->topic, .subject = row->subject, .data = row->data};
    p->noted_us = row->noted_us;
    p->upto = row->upto;
    p->done_to = row->done_to;
    p->left_out = row->left_out;
    return OK;
}

/* All who follow this store's bus_event here; of several replicas, the one that leads knows. */
static bool
heard_by_all(struct bus *bus, const struct store *store, int64_t position)
{
    if (!bus->started)
        return false;
    for (size_t i = 0; i < bus->n_followers; i++) {
        const struct follower *f = bus->followers[i];
        for (size_t j = 0; j < f->n_sources && (!bus->spread || f->lead.leads); j++)
            if (is_behind(bus, f->sources[j], store, position))
                return false;
    }
    for (size_t i = 0; i < bus->n_heard; i++)
        if (is_behind(bus, bus->heard[i], store, position))
            return false;
    for (size_t i = 0; i < bus->n_tails && bus->options.broker; i++) {
        const struct forward *relay = &bus->forwards[i];
        if (relay->tail->store == store && relay->lead.leads && relay->cursor < position)
            return false;
    }
    return true;
}

static bool
is_behind(struct bus *bus, const struct source *s, const struct store *store, int64_t position)
{
    const struct tail *tail = s->tail;
    if (!tail && s->publisher)
        tail = tail_of_publisher(bus, s->publisher);
    return tail && tail->store == store && s->cursor < position;
}

/* As far as the call may go; then says where it is. */
static enum status
go_through(struct pass *p)
{
    struct arena *a = arena_new();
    enum status st = p->bus->spread && p->done_to == 0 ? reach_for_head(p, a) : OK;
    while (st == OK && p->done_to < p->upto && p->pages < ERASE_PAGES_MAX && !p->bus->stopping) {
        st = erase_page(p, a);
        arena_reset(a);
        p->pages++;
        fiber_yield();
    }
    if (st == OK)
        st = say_how_far(p, a);
    arena_free(a);
    return st;
}

static enum status
reach_for_head(struct pass *p, struct arena *a)
{
    struct tx_scope scope = {.arena = a};
    struct tx *tx = tx_begin_read_in(p->store, "bus", &scope);
    enum status st = journal_head(tx, &p->upto);
    tx_end(tx);
    return st;
}

static enum status
erase_page(struct pass *p, struct arena *a)
{
    struct tx_scope scope = {.arena = a};
    EventRow **rows;
    size_t n, n_found = 0;
    struct tx *tx = tx_begin_read_in(p->store, "bus", &scope);
    enum status st = journal_rows(tx, p->done_to, ERASE_ROWS_MAX, &rows, &n);
    tx_end(tx);
    struct event *found = st ? NULL : arena_alloc(a, (n + 1) * sizeof *found);
    for (size_t i = 0; st == OK && i < n && rows[i]->position <= p->upto; i++) {
        struct event *e = &found[n_found];
        event_from_row(e, rows[i]);
        if ((p->bus->spread && e->time_us > p->noted_us) || !p->fn(a, &p->erasing, e, &e->data))
            continue;
        bool parked = false;
        if (!p->bus->spread)
            st = is_parked(p->bus, a, e->position, &parked);
        p->left_out = p->left_out || parked;
        n_found += !parked;
    }
    if (st)
        return st;
    p->done_to = n == ERASE_ROWS_MAX ? rows[n - 1]->position : p->upto;
    if (n_found == 0)
        return OK;
    tx = tx_begin_in(p->store, "bus", &scope);
    for (size_t i = 0; i < n_found; i++)
        write_data(tx, &found[i]);
    return commit(tx, &scope);
}

/* What was left out is come back to, from the beginning. */
static enum status
say_how_far(const struct pass *p, struct arena *a)
{
    struct tx_scope scope = {.arena = a};
    bool done = p->done_to >= p->upto;
    struct value in[] = {value_text(p->erasing.id), value_int(done ? 0 : p->done_to),
                         value_int(!done && p->left_out),
                         value_int(done ? env.now_us() + look_again_us : 0), value_int(p->upto)};
    struct tx *tx = tx_begin_in(p->store, "bus", &scope);
    if (done && !p->left_out)
        sql_exec(tx, &end, in, 1);
    else
        sql_exec(tx, &move, in, 5);
    return commit(tx, &scope);
}

static enum status
commit(struct tx *tx, struct tx_scope *scope)
{
    enum status st = tx_commit(tx);
    return st ? st : store_wait(scope);
}

static void
write_data(struct tx *tx, const struct event *e)
{
    struct value in[] = {value_int(e->position), value_blob(e->data)};
    sql_exec(tx, &rewrite, in, 2);
}

/* By anybody, in whichever store.  Only what has been heard is asked for: nothing is parked anew.
 */
static enum status
is_parked(const struct bus *bus, struct arena *a, int64_t position, bool *ret)
{
    struct store *stores[ERASE_STORES_MAX] = {bus->options.core, bus->options.listeners};
    struct value in[] = {value_int(position)};
    enum status st = OK;
    int64_t n = 0;
    for (size_t i = 0; i < ERASE_STORES_MAX && stores[i] && st == OK && n == 0; i++) {
        struct tx_scope scope = {.arena = a};
        struct tx *tx = tx_begin_read_in(stores[i], "bus", &scope);
        st = sql_int(tx, &count_parked_at, in, 1, &n);
        tx_end(tx);
    }
    *ret = n > 0;
    return st;
}
