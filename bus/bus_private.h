/*
 * What the bus's files share.
 *
 * tables.c    what the bus keeps in each store
 * journal.c   publishing, reading
 * tail.c      pages of durable events in memory, shared by all who follow
 * follower.c  a fiber for each subscriber
 * parked.c    events that failed: retry, dead letters
 * relay.c     from the listeners' store into the journal
 * erase.c     what is personal goes from the journal
 * broadcast.c who hears events outside any transaction
 * bus.c       starting, stopping, waiting
 */
#pragma once
#include <stdatomic.h>

#include "base/env.h"
#include "base/time.h"
#include "bus/bus.h"
#include "bus_rows.pb-c.h"
#include "fiber/fiber.h"

typedef Souk__Bus__EventRow EventRow;
typedef Souk__Bus__ParkedRow ParkedRow;

enum {
    FOLLOWERS_MAX = 64,
    LISTENERS_MAX = 64,
    TOPICS_MAX = 64, /* that one subscriber or listener names */
    PAGE_EVENTS_MAX = 128,
    RING_PAGES_MAX = 64,
    RING_BYTES_MAX = 16 << 20,
    BATCH_EVENTS_MAX = 64, /* handled in one transaction */
};

/* ---- workers: the bus's own fibers ----------------------------------------------------------- */

/* A fiber that sleeps until it is woken or a time comes.  May be woken at any time, from any
 * thread, before it runs and after it ended. */
struct worker {
    struct bus *bus;
    struct fiber *fiber;
    struct spin lock; /* guards what follows */
    bool waiting, woken;
};

void worker_start(struct worker *w, struct bus *bus, struct sched *sched, void (*run)(void *),
                  void *arg);
/* False once the bus stops: the fiber then calls worker_end and returns. */
bool worker_goes_on(const struct worker *w);
void worker_wait(struct worker *w, int64_t until_mono_us); /* INT64_MAX: until it is woken */
void worker_wake(struct worker *w);
void worker_end(struct worker *w);

/* ---- topics ---------------------------------------------------------------------------------- */

struct topic_set {
    bool all;
    size_t n;
    const char *names[TOPICS_MAX];
    uint64_t hashes[TOPICS_MAX];
};

void topic_set_fill(struct topic_set *set, const char *const *names);
uint64_t topic_hash(const char *name);
bool topic_set_has(const struct topic_set *set, const char *name, uint64_t hash);

/* ---- pages of durable events ----------------------------------------------------------------- */

/* The events behind position `after` up to `last`, without a gap. */
struct page {
    atomic_int refs;
    struct arena *arena; /* has the page itself, too */
    int64_t after, last;
    size_t n;
    struct event *events;
    uint64_t *topics; /* topic_hash of each event's */
};

/* The page in which the event behind `after` is, from memory; NULL if it is not there. */
struct page *page_in_memory(struct bus *bus, int64_t after);
/* The same, read from the journal if it must be; NULL while there is none.  Not within a tx. */
struct page *page_behind(struct bus *bus, int64_t after);
void page_release(struct page *page);

void tail_run(void *bus);
void tail_forget(struct bus *bus);

/* Where somebody is in the stream of durable events. */
struct walk {
    struct bus *bus;
    const struct topic_set *topics;
    int64_t position; /* the last that was given or passed over */
    struct page *page;
    size_t next; /* in page */
};

/* The next event of the topics, or NULL.  In memory only where a transaction is open.  The event is
 * valid until the next call or walk_end. */
const struct event *walk_next(struct walk *w, bool memory_only);
void walk_end(struct walk *w);

/* ---- journal --------------------------------------------------------------------------------- */

/* Of bus_event and bus_outbox, besides the position. */
#define EVENT_COLUMNS                                                                              \
    "id, topic, publisher, subject, type, sequence, time_us, correlation_id, causation_id, "       \
    "traceparent, data"

void event_from_row(struct event *ret, const EventRow *row);
/* Copies an event of the outbox into the journal; one that is there already is left alone. */
void journal_take(struct tx *tx, const EventRow *row);
/* Events behind `after`, all topics. */
enum status journal_rows(struct tx *tx, int64_t after, size_t n, EventRow ***ret, size_t *ret_n);
enum status journal_head(struct tx *tx, int64_t *ret);
/* NOT_FOUND if there is none. */
enum status journal_event(struct bus *bus, struct tx_scope *scope, int64_t position,
                          struct event *ret);

/* ---- followers and what they parked ---------------------------------------------------------- */

struct follower {
    struct bus *bus;
    struct subscriber subscriber;
    struct topic_set topics;
    struct worker worker;
    struct tx_scope scope; /* its arena lives for one batch */
    bool full;             /* its last batch was: more is waiting */
    bool loaded;           /* what follows agrees with the tables */
    int64_t written;       /* the cursor in the table */
    int64_t next_try_us;   /* of the parked, on env.now_us's clock; INT64_MAX: nothing to retry */
    int64_t backoff_us;    /* while the store is in trouble; 0 is none */
    _Atomic int64_t cursor;
    _Atomic int64_t parked; /* rows of bus_parked */
    atomic_bool redriven;
};

void follower_run(void *follower);
/* A scope and an arena as good as new. */
struct tx_scope *follower_scope(struct follower *f);
/* Runs the handler; OK, or what failed with *why in the scope's arena, the tx undone to before. */
enum status follower_handle(struct follower *f, struct tx *tx, const struct event *e,
                            const char **why);
/* Commits and waits for the disk; on failure what is in memory is to be loaded again. */
bool follower_commit(struct follower *f, struct tx *tx);

/* Reads parked and next_try_us. */
enum status parked_load(struct follower *f, struct tx *tx);
/* Does an earlier event of e's publisher and subject stand in its way? */
bool parked_blocks(struct follower *f, struct tx *tx, const struct event *e);
void parked_wait(struct follower *f, struct tx *tx, const struct event *e);
void parked_add(struct follower *f, struct tx *tx, const struct event *e, const char *why);
/* Tries what is due; false if nothing was. */
bool parked_retry(struct follower *f);

/* ---- the bus --------------------------------------------------------------------------------- */

struct listener {
    struct topic_set topics;
    broadcast_fn *fn;
    void *arg;
    int64_t from; /* hears what comes behind */
};

struct bus {
    struct bus_options options;
    struct follower *followers[FOLLOWERS_MAX];
    size_t n_followers;

    struct spin ring_lock;
    struct page *ring[RING_PAGES_MAX]; /* oldest at ring_first, without gaps between them */
    size_t ring_first, ring_n, ring_bytes;
    _Atomic int64_t head; /* the newest position known to be durable */
    struct worker tail;

    struct worker relay;
    _Atomic int64_t outbox_used_us; /* when somebody last wrote to the outbox, by env.mono_us */

    struct worker broadcaster;
    struct listener *listeners[LISTENERS_MAX];
    _Atomic size_t n_listeners;
    _Atomic int64_t heard; /* by all listeners */

    atomic_bool started, stopping;
    struct spin lock; /* guards what follows */
    size_t running;   /* workers */
    struct fiber *stopper;
};

void relay_run(void *bus);
/* Waits until what the outbox holds now is in the journal; false after until_mono_us. */
bool relay_drained(struct bus *bus, int64_t until_mono_us);
void broadcast_run(void *bus);
