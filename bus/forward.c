/*
 * From an outbox to the broker, in windows.
 *
 * In a window there is at most one event of a publisher and subject that the broker has not
 * confirmed, so that what it brings of a subject is in order; those behind it are held back while
 * others flow.  The cursor moves over what is confirmed without a gap.  After a failure or a crash
 * some events are published again: the inboxes know them.
 */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "bus/bus_private.h"

enum {
    PENDING_MAX = 2 * BROKER_WINDOW_MAX,
    KEYS_MAX = 4 * PENDING_MAX, /* slots of the set of subjects; a power of two */
    CONFIRM_US_MAX = 5000000,
    PAUSE_US = 200000, /* after trouble; and between writing cursors */
    LOOK_US = 500000,
};

static const char cursor_name[] = "relay";

/* An event that was read, and is not behind the cursor yet. */
struct pending {
    const struct event *event;
    struct page *page; /* has it */
    uint64_t key;      /* of its publisher and subject */
    bool confirmed;
};
struct window {
    struct forward *forward;
    struct source source;
    struct topic_set topics;
    struct pending pending[PENDING_MAX];
    size_t n;
    uint64_t keys[KEYS_MAX];
    int64_t written, write_us; /* the cursor in the table, and when to write it again */
};

static bool load(struct window *w);
static void go_on(struct window *w);
static void read_on(struct window *w);
static bool is_at_home(const struct forward *f, const char *publisher);
static bool publish(struct window *w);
static size_t choose(struct window *w, size_t *ret);
static bool add_key(struct window *w, uint64_t key);
static void move_up(struct window *w);
static void write_cursor(struct window *w);
static void drop_all(struct window *w);

void
forward_run(void *arg)
{
    static const char *const all[] = {"*", NULL};
    struct forward *f = arg;
    struct bus *bus = f->tail->bus;
    struct window *w = calloc(1, sizeof *w);
    if (!w)
        abort();
    w->forward = f;
    topic_set_fill(&w->topics, all);
    w->source = (struct source){.bus = bus, .topics = &w->topics, .tail = f->tail};
    tail_enter(f->tail, &f->asker);
    while (worker_goes_on(&f->asker.worker)) {
        if (!lead_look(&f->lead, bus, f->tail->store, "relay")) {
            drop_all(w);
            worker_wait(&f->asker.worker, env.mono_us() + LOOK_US);
        } else if (!f->loaded && !load(w)) {
            worker_rest(&f->asker.worker, PAUSE_US);
        } else {
            go_on(w);
        }
    }
    if (f->loaded)
        write_cursor(w);
    drop_all(w);
    tail_leave(f->tail, &f->asker);
    worker_end(&f->asker.worker);
    free(w);
}

/* In the writer, so that nothing ordered is missed. */
static bool
load(struct window *w)
{
    struct forward *f = w->forward;
    struct arena *a = arena_new();
    struct tx_scope scope = {.arena = a};
    int64_t position = 0;
    struct tx *tx = tx_begin_in(f->tail->store, "bus", &scope);
    enum status st = cursor_load(tx, cursor_name, &position);
    tx_end(tx);
    if (st == OK)
        st = store_wait(&scope);
    arena_free(a);
    if (st)
        return false;
    source_rewind(&w->source, position);
    f->cursor = w->written = position;
    f->loaded = true;
    return true;
}

/* A window, or a rest. */
static void
go_on(struct window *w)
{
    struct forward *f = w->forward;
    read_on(w);
    if (w->n > 0 && !publish(w))
        worker_rest(&f->asker.worker, PAUSE_US);
    move_up(w);
    int64_t now_us = env.mono_us();
    if (f->cursor > w->written && now_us >= w->write_us)
        write_cursor(w);
    if (w->n > 0 || w->source.position < f->tail->head) {
        fiber_yield();
        return;
    }
    int64_t until_us = f->cursor > w->written ? w->write_us : INT64_MAX;
    if (f->tail->bus->options.leads && until_us > now_us + LOOK_US)
        until_us = now_us + LOOK_US;
    if (f->loaded)
        worker_wait(&f->asker.worker, until_us);
}

static void
read_on(struct window *w)
{
    while (w->n < PENDING_MAX) {
        const struct event *e = source_next(&w->source, false);
        if (!e)
            return;
        if (!is_at_home(w->forward, e->publisher)) /* a journal's copy */
            continue;
        struct page *page = w->source.page;
        page->refs++;
        uint64_t key = hash64(e->publisher, strlen(e->publisher)) * 31 +
                       hash64(e->subject, strlen(e->subject));
        w->pending[w->n++] = (struct pending){e, page, key | 1, false};
    }
}

static bool
is_at_home(const struct forward *f, const char *publisher)
{
    return tail_of_publisher(f->tail->bus, publisher) == f->tail;
}

/* False if the broker did not confirm them all. */
static bool
publish(struct window *w)
{
    const struct bus_options *o = &w->forward->tail->bus->options;
    size_t chosen[BROKER_WINDOW_MAX], n = choose(w, chosen);
    struct event *events = calloc(n, sizeof *events);
    bool confirmed[BROKER_WINDOW_MAX] = {false};
    if (!events)
        abort();
    for (size_t i = 0; i < n; i++)
        events[i] = *w->pending[chosen[i]].event;
    enum status st =
        o->broker_ops->publish(o->broker, events, n, env.mono_us() + CONFIRM_US_MAX, confirmed);
    for (size_t i = 0; i < n; i++)
        w->pending[chosen[i]].confirmed = confirmed[i];
    free(events);
    return st == OK;
}

/* Those without an unconfirmed one of their subject before them. */
static size_t
choose(struct window *w, size_t *ret)
{
    size_t n = 0;
    memset(w->keys, 0, sizeof w->keys);
    for (size_t i = 0; i < w->n && n < BROKER_WINDOW_MAX; i++)
        if (!w->pending[i].confirmed && add_key(w, w->pending[i].key))
            ret[n++] = i;
    return n;
}

/* False if it is there. */
static bool
add_key(struct window *w, uint64_t key)
{
    size_t i = key % KEYS_MAX;
    for (; w->keys[i] != 0; i = (i + 1) % KEYS_MAX)
        if (w->keys[i] == key)
            return false;
    w->keys[i] = key;
    return true;
}

/* The cursor, over what is confirmed. */
static void
move_up(struct window *w)
{
    size_t n = 0;
    for (; n < w->n && w->pending[n].confirmed; n++) {
        w->forward->cursor = w->pending[n].event->position;
        page_release(w->pending[n].page);
    }
    memmove(w->pending, w->pending + n, (w->n - n) * sizeof *w->pending);
    w->n -= n;
    if (w->n == 0)
        w->forward->cursor = w->source.position;
}

static void
write_cursor(struct window *w)
{
    struct forward *f = w->forward;
    int64_t position = f->cursor;
    if (position == w->written)
        return;
    struct arena *a = arena_new();
    struct tx_scope scope = {.arena = a};
    struct tx *tx = tx_begin_in(f->tail->store, "bus", &scope);
    cursor_move(tx, cursor_name, w->written, position);
    enum status st = tx_commit(tx);
    if (st == OK)
        st = store_wait(&scope);
    arena_free(a);
    w->write_us = env.mono_us() + PAUSE_US;
    if (st)
        drop_all(w); /* and begin again from what the table says */
    else
        w->written = position;
}

static void
drop_all(struct window *w)
{
    for (size_t i = 0; i < w->n; i++)
        page_release(w->pending[i].page);
    w->n = 0;
    source_rest(&w->source);
    w->forward->loaded = false;
}
