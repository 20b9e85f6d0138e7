/*
 * A follower: the fiber that brings one subscriber its events.
 *
 * It handles many events in a transaction, and moves the cursor in the same one.  When one fails,
 * the transaction is undone and run again with care: a mark before each event lets the bad one be
 * undone without its neighbours.  It waits for the disk after each transaction, so that what it
 * holds in memory is never ahead of what a crash would leave.
 */
#include <string.h>

#include "base/text.h"
#include "bus/bus_private.h"

enum {
    IDLE_WRITES_EVENTS = 1000,  /* passed over before the cursor is written for them alone */
    BATCH_US_MAX = 500,         /* then others get the writer */
    BATCH_SPREAD_US_MAX = 5000, /* a store may be a round trip away */
    GATHER_US_MAX = 20000,
    GATHER_PAUSE_US =
        10000, /* between its transactions, so that it syncs less often than sales do */
    GATHER_PAUSE_SPREAD_US = 50000, /* where each costs the server, whom all share, a COMMIT */
    CLOCK_LOOK_US = 1000000, /* while something is to be retried: the wall clock may be set */
    LEAD_LOOK_US = 500000,
    BACKOFF_FIRST_US = 10000,
    BACKOFF_MOST_US = 1000000,
};

/* A batch, and what is known of it so far where it is run without care. */
struct trusted {
    struct tx *tx;
    int64_t journal_head; /* of the copies */
    bool handled;         /* any */
};

static bool follows(struct follower *f);
static bool load(struct follower *f);
static bool take_batch(struct follower *f);
static bool pass_over(struct follower *f);
static const struct event *next_event(struct follower *f, bool memory_only);
static bool is_held_back(struct follower *f, struct source *s);
static enum status handle_batch(struct follower *f, struct tx *tx, const struct event *e);
static enum status fill_hand(struct follower *f, struct tx *tx, const struct event *e,
                             struct hand *ret);
static void note_brought(struct follower *f, const struct event *e);
static enum status trust(const struct follower *f, struct trusted *t);
static enum status take_event(struct follower *f, struct trusted *t, const struct event *e);
static enum status handle_trusted(struct follower *f, struct trusted *t, const struct event *e);
static void write_cursors(struct follower *f, int64_t least);
static bool keeps_copies(const struct follower *f);
static void back_off(struct follower *f);
static int64_t next_look_us(const struct follower *f);

void
follower_run(void *arg)
{
    struct follower *f = arg;
    f->scope.arena = arena_new();
    while (worker_goes_on(&f->worker)) {
        if (!follows(f)) {
            worker_wait(&f->worker, env.mono_us() + LEAD_LOOK_US);
            continue;
        }
        if (!f->loaded && !load(f)) {
            back_off(f);
            continue;
        }
        bool moved = take_batch(f);
        bool retried = f->loaded && f->lead.leads && parked_retry(f);
        if (!f->loaded)
            back_off(f);
        else if (moved && !f->full && f->subscriber.gathers)
            fiber_sleep_us(f->bus->spread ? GATHER_PAUSE_SPREAD_US : GATHER_PAUSE_US);
        else if (moved || retried)
            fiber_yield();
        else
            worker_wait(&f->worker, next_look_us(f));
    }
    if (f->loaded && cursors_owed(f, 1))
        write_cursors(f, 1);
    for (size_t i = 0; i < f->n_sources; i++)
        source_rest(f->sources[i]);
    arena_free(f->scope.arena);
    worker_end(&f->worker);
}

bool
lead_look(struct lead *lead, const struct bus *bus, struct store *store, const char *what)
{
    if (!bus->options.leads) {
        lead->leads = true;
        return true;
    }
    if (env.mono_us() >= lead->look_us) {
        lead->leads = bus->options.leads(store, what);
        lead->look_us = env.mono_us() + LEAD_LOOK_US;
    }
    return lead->leads;
}

struct tx_scope *
follower_scope(struct follower *f)
{
    struct arena *a = f->scope.arena;
    arena_reset(a);
    f->scope = (struct tx_scope){.arena = a};
    return &f->scope;
}

enum status
follower_handle(struct follower *f, struct tx *tx, const struct event *e, const char **why)
{
    struct event own = *e;
    if (keeps_copies(f)) /* it stays there if the handler fails */
        own.position = journal_copy(tx, e);
    if (tx_status(tx))
        return tx_status(tx);
    int mark = tx_mark(tx);
    enum status st = f->subscriber.handle(f->subscriber.arg, tx, &own);
    enum status of_tx = tx_status(tx);
    if (of_tx == UNAVAILABLE)
        return of_tx;
    if (st == OK)
        st = of_tx;
    if (st == OK)
        return OK;
    const char *words = tx_message(tx);
    *why = arena_printf(f->scope.arena, "%s%s%s", status_name(st), words[0] ? ": " : "", words);
    tx_undo_to(tx, mark);
    return st;
}

bool
follower_commit(struct follower *f, struct tx *tx)
{
    enum status st = tx_commit(tx);
    if (st == OK)
        st = store_wait(&f->scope);
    f->loaded = st == OK;
    if (f->loaded)
        f->backoff_us = 0;
    return f->loaded;
}

/* False while another replica does; what changes is loaded anew. */
static bool
follows(struct follower *f)
{
    bool led = f->lead.leads;
    bool leads = lead_look(&f->lead, f->bus, f->subscriber.store, f->subscriber.service);
    if (leads != led)
        f->loaded = false;
    if (leads || f->subscriber.shared)
        return true;
    for (size_t i = 0; led && i < f->n_sources; i++)
        source_rest(f->sources[i]);
    return false;
}

/* Reads what is kept in memory; in the writer, so that nothing ordered is missed. */
static bool
load(struct follower *f)
{
    struct tx *tx = tx_begin_in(f->subscriber.store, f->subscriber.service, follower_scope(f));
    enum status st = cursors_load(f, tx);
    if (st == OK)
        st = parked_load(f, tx);
    f->keeps_inbox = f->bus->options.broker != NULL;
    if (st == OK && f->bus->spread && !f->keeps_inbox) /* it may have had a broker before */
        st = inbox_used(tx, f->subscriber.service, &f->keeps_inbox);
    tx_end(tx);
    if (st == OK)
        st = store_wait(&f->scope);
    if (st)
        return false;
    for (size_t i = 0; i < f->n_sources; i++) {
        struct source *s = f->sources[i];
        if (f->lead.leads || (s->queue && f->subscriber.shared))
            source_rewind(s, s->written);
        else
            source_rest(s);
    }
    f->loaded = true;
    f->asked = f->caught_up = false;
    return true;
}

/* True if a cursor moved. */
static bool
take_batch(struct follower *f)
{
    const struct event *e = next_event(f, false);
    if (!e)
        return pass_over(f);
    struct tx *tx = tx_begin_in(f->subscriber.store, f->subscriber.service, follower_scope(f));
    int64_t parked = f->parked;
    f->loaded = handle_batch(f, tx, e) == OK;
    if (f->loaded) {
        cursors_write(f, tx, IDLE_WRITES_EVENTS);
        follower_commit(f, tx);
    } else {
        f->parked = parked;
        tx_end(tx);
    }
    f->careful = !f->loaded;
    for (size_t i = 0; f->loaded && i < f->n_sources; i++)
        source_done(f->sources[i]);
    return f->loaded;
}

/* Nothing is in hand that is not done: what was passed over concerns nobody here.  Its cursor is
 * written now and then; saves reading it again after a restart. */
static bool
pass_over(struct follower *f)
{
    bool moved = false;
    for (size_t i = 0; i < f->n_sources; i++) {
        struct source *s = f->sources[i];
        moved |= s->position > s->cursor;
        source_done(s);
    }
    if (cursors_owed(f, IDLE_WRITES_EVENTS))
        write_cursors(f, IDLE_WRITES_EVENTS);
    return moved;
}

/* The sources take turns by batches; within one, what each has in memory goes first. */
static const struct event *
next_event(struct follower *f, bool memory_only)
{
    for (size_t i = 0; i < f->n_sources; i++) {
        struct source *s = f->sources[f->turn];
        const struct event *e = is_held_back(f, s) ? NULL : source_next(s, memory_only);
        if (e)
            return e;
        f->turn = (f->turn + 1) % f->n_sources;
    }
    return NULL;
}

/*
 * What was published before a queue was there, it does not bring; and what it brings is behind
 * that. So its first page waits until the outboxes have been asked once more.
 */
static bool
is_held_back(struct follower *f, struct source *s)
{
    if (!s->queue || f->caught_up || !f->lead.leads)
        return false;
    if (!source_has(s))
        return true;
    bool behind = false;
    for (size_t i = 0; i < f->n_sources; i++) {
        const struct source *other = f->sources[i];
        if (other->fetch && !f->asked)
            fetch_hurry(other->fetch);
        behind |= other->fetch && (other->fetch->goal < 0 || other->position < other->fetch->goal);
    }
    f->asked = true;
    f->caught_up = !behind;
    return behind;
}

/* Handles e and what follows it, until the batch is full. */
static enum status
handle_batch(struct follower *f, struct tx *tx, const struct event *e)
{
    bool gathers = f->subscriber.gathers;
    int events_max = gathers ? GATHER_EVENTS_MAX : BATCH_EVENTS_MAX;
    int64_t batch_us = f->bus->spread ? BATCH_SPREAD_US_MAX : BATCH_US_MAX;
    int64_t until_us = env.mono_us() + (gathers ? GATHER_US_MAX : batch_us);
    struct trusted t = {.tx = tx};
    if (f->subscriber.shared && parked_load(f, tx) != OK) /* others park, too */
        return UNAVAILABLE;
    if (!f->careful && trust(f, &t) != OK)
        return UNAVAILABLE;
    for (int n = 0; e;) {
        struct hand hand;
        enum status st = fill_hand(f, tx, e, &hand);
        for (size_t i = 0; i < hand.n && st == OK; i++)
            if (hand.takes[i])
                st = take_event(f, &t, hand.events[i]);
        if (st)
            return st;
        n += (int)hand.n;
        f->full = n >= events_max || env.mono_us() >= until_us;
        e = f->full ? NULL : next_event(f, true);
    }
    f->turn = (f->turn + 1) % f->n_sources;
    return OK;
}

/* e, and what the same queue has given behind it, if the inbox is to be asked about them. */
static enum status
fill_hand(struct follower *f, struct tx *tx, const struct event *e, struct hand *ret)
{
    struct source *s = f->sources[f->turn];
    *ret = (struct hand){.n = 1, .events = {e}, .takes = {true}};
    if (!f->keeps_inbox)
        return OK;
    while (s->queue && ret->n < HAND_EVENTS_MAX && (e = source_next(s, true)))
        ret->events[ret->n++] = e;
    for (size_t i = 0; i < ret->n; i++)
        note_brought(f, ret->events[i]);
    return inbox_take(tx, f->subscriber.service, ret);
}

static void
note_brought(struct follower *f, const struct event *e)
{
    for (size_t i = 0; i < f->n_sources; i++) {
        struct source *s = f->sources[i];
        if (s->publisher && e->position > s->brought && strcmp(s->publisher, e->publisher) == 0)
            s->brought = e->position;
    }
}

/* Begins t: from here on nobody waits for the store, unless a handler reads. */
static enum status
trust(const struct follower *f, struct trusted *t)
{
    tx_trust(t->tx);
    return keeps_copies(f) ? journal_head(t->tx, &t->journal_head) : OK;
}

/* OK if the event's turn is over, well or parked, as far as is known: what a trusted one fails by
 * later fails the commit. */
static enum status
take_event(struct follower *f, struct trusted *t, const struct event *e)
{
    struct tx *tx = t->tx;
    if (tx_status(tx))
        return tx_status(tx);
    if (f->parked > 0 && parked_blocks(f, tx, e)) {
        int64_t at = keeps_copies(f) ? journal_copy(tx, e) : 0;
        if (at > t->journal_head)
            t->journal_head = at;
        parked_wait(f, tx, e);
        return tx_status(tx);
    }
    if (!f->careful)
        return handle_trusted(f, t, e);
    const char *why;
    if (follower_handle(f, tx, e, &why) != OK && tx_status(tx) == OK)
        parked_add(f, tx, e, why);
    return tx_status(tx);
}

static enum status
handle_trusted(struct follower *f, struct trusted *t, const struct event *e)
{
    struct event own = *e;
    if (keeps_copies(f)) {
        own.position = ++t->journal_head;
        journal_copy_to(t->tx, e, own.position);
    }
    own.follows = t->handled;
    t->handled = true;
    return f->subscriber.handle(f->subscriber.arg, t->tx, &own);
}

static void
write_cursors(struct follower *f, int64_t least)
{
    struct tx *tx = tx_begin_in(f->subscriber.store, f->subscriber.service, follower_scope(f));
    cursors_write(f, tx, least);
    follower_commit(f, tx);
}

/* Spread, the journal is with one subscriber. */
static bool
keeps_copies(const struct follower *f)
{
    return f->subscriber.keeps_journal && f->bus->spread;
}

/* The store is in trouble: waits, each time longer, to begin again from what the tables say. */
static void
back_off(struct follower *f)
{
    f->backoff_us = f->backoff_us == 0 ? BACKOFF_FIRST_US : 2 * f->backoff_us;
    if (f->backoff_us > BACKOFF_MOST_US)
        f->backoff_us = BACKOFF_MOST_US;
    fiber_sleep_us(f->backoff_us);
}

static int64_t
next_look_us(const struct follower *f)
{
    int64_t look_us = f->bus->options.leads ? env.mono_us() + LEAD_LOOK_US : INT64_MAX;
    if (f->next_try_us == INT64_MAX || !f->lead.leads)
        return look_us; /* a source wakes us */
    int64_t wait_us = f->next_try_us - env.now_us();
    if (wait_us > CLOCK_LOOK_US)
        wait_us = CLOCK_LOOK_US;
    if (f->bus->options.leads && wait_us > LEAD_LOOK_US)
        wait_us = LEAD_LOOK_US;
    return env.mono_us() + (wait_us > 0 ? wait_us : 0);
}
