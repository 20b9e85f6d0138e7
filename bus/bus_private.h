/*
 * What the bus's files share.
 *
 * tables.c    what the bus keeps in each store
 * journal.c   publishing, reading
 * topics.c    sets of topics
 * tail.c      pages of durable events in memory, shared by all who follow
 * source.c    where a follower's events come from: a tail, a fetch or a queue
 * follower.c  a fiber for each subscriber
 * cursor.c    how far it is
 * parked.c    events that failed: retry, dead letters
 * relay.c     from the listeners' store into the journal
 * erase.c     what is personal goes from the journal, or an outbox
 * broadcast.c who hears events outside any transaction
 * bus.c       starting, stopping
 * drain.c     waiting
 *
 * Between processes only:
 *
 * outbox.c    asking an outbox, and answering who asks
 * plan.c      who hears whom by what
 * fetch.c     a fiber that asks an outbox ahead of its follower, or compares it with the inbox
 * queue.c     what a broker brings
 * inbox.c     which events have been taken
 * forward.c   from an outbox to the broker
 */
#pragma once
#include <stdatomic.h>

#include "base/env.h"
#include "base/time.h"
#include "bus/broker_ops.h"
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
    BATCH_EVENTS_MAX = 64,   /* handled in one transaction */
    GATHER_EVENTS_MAX = 256, /* by one whose writer nobody waits for */
    HAND_EVENTS_MAX = 16,    /* asked about in one statement */
    TAILS_MAX = 32,          /* stores that are somebody's home */
    SOURCES_MAX = PUBLISHERS_MAX + 1,
    HEARD_MAX = 1024, /* broadcasts that are known again */
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
void worker_rest(struct worker *w, int64_t us); /* whoever wakes it, unless the bus stops */
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

/* What stands before the first dot. */
bool topic_is_of(const char *topic, const char *publisher);
/* Does it have a topic of the publisher? */
bool topic_set_hears(const struct topic_set *set, const char *publisher);

/* ---- pages of durable events ----------------------------------------------------------------- */

/* The events behind position `after` up to `last`; what is missing between them concerns nobody who
 * reads this page. */
struct page {
    atomic_int refs;
    struct arena *arena; /* has the page itself, too */
    int64_t after, last;
    size_t n;
    struct event *events;
    uint64_t *topics; /* topic_hash of each event's */
    uint64_t *tags;   /* a queue's, and how many are acknowledged */
    size_t done;
    bool settles; /* the cursor is to be written once it is read: the inbox shrinks */
};

/* A page in arena, which becomes its own. */
struct page *page_new(struct arena *arena, int64_t after, int64_t last, struct event *events,
                      size_t n);
void page_release(struct page *page);

/* The newest of a store's bus_event, read once for all who follow it. */
struct tail {
    struct bus *bus;
    struct store *store;
    struct worker worker;
    _Atomic int64_t head;              /* the newest position known to be durable */
    _Atomic int64_t published_us;      /* when somebody here last wrote to it, by env.mono_us */
    struct spin lock;                  /* guards what follows */
    struct page *ring[RING_PAGES_MAX]; /* oldest at ring_first, without gaps between them */
    size_t ring_first, ring_n, ring_bytes;
    struct asker *askers;
};

/* The page in which the event behind `after` is, from memory; NULL if it is not there. */
struct page *page_in_memory(struct tail *tail, int64_t after);
/* The same, read from the store if it must be; NULL while there is none.  Not within a tx. */
struct page *page_behind(struct tail *tail, int64_t after);

void tail_run(void *tail);
void tail_forget(struct tail *tail);

/* Whoever waits for news of a tail besides followers and broadcasts. */
struct asker {
    struct worker worker;
    struct asker *next;
};
void tail_enter(struct tail *tail, struct asker *asker);
void tail_leave(struct tail *tail, struct asker *asker);
void tail_wake_askers(struct tail *tail);

/* ---- sources --------------------------------------------------------------------------------- */

/* Where somebody is in a stream of events; has one of tail, fetch and queue. */
struct source {
    struct bus *bus;
    const struct topic_set *topics;
    const char *publisher; /* whose events; NULL: everyone's */
    const char *key;       /* its cursor's name; NULL: it has none */
    struct tail *tail;
    struct fetch *fetch;
    struct queue *queue;
    int64_t position;        /* the last that was given or passed over */
    int64_t written;         /* the cursor in the table */
    _Atomic int64_t cursor;  /* how far all is done */
    _Atomic int64_t brought; /* the newest that a queue has brought of the publisher */
    bool owes;               /* the cursor is to be written: an event was given since */
    struct page *page;
    size_t next; /* in page */
};

/* Has a queue's page in hand? */
bool source_has(struct source *s);
/* The next event of the topics; NULL if there is none, or much was passed over: then its
 * position has moved.  In memory only where a transaction is open.  The event is valid until the
 * next call or source_rewind. */
const struct event *source_next(struct source *s, bool memory_only);
/* What was given or passed over is done for good. */
void source_done(struct source *s);
/* Begins again behind position; what is not done is given again. */
void source_rewind(struct source *s, int64_t position);
/* Gives nothing, and holds nothing, until source_rewind. */
void source_rest(struct source *s);

/* ---- asking outboxes ------------------------------------------------------------------------- */

struct tail *tail_of_store(struct bus *bus, const struct store *store); /* or NULL */
struct tail *tail_of_publisher(struct bus *bus, const char *publisher); /* or NULL: elsewhere */
/* Here or elsewhere. */
enum status outbox_ask(struct bus *bus, const char *publisher, const struct outbox_ask *ask,
                       struct arena *a, struct outbox_page *ret);

/* A fiber that has the next page ready. */
struct fetch {
    struct bus *bus;
    const char *publisher;
    const char *const *topics;
    const struct subscriber *compares; /* whose inbox it compares; NULL: it gives everything */
    const struct queue *queue;         /* that fills the inbox */
    struct worker *reader;             /* woken when a page is ready */
    struct worker worker;
    bool far;              /* all of the last page was missing */
    _Atomic int64_t head;  /* the newest position that it heard of */
    _Atomic int64_t goal;  /* where the head was when fetch_hurry was answered; before, negative */
    _Atomic int64_t first; /* the first of those, and 1; 0: it has heard of none yet */
    struct spin lock;      /* guards what follows */
    bool on;
    bool hurries;        /* to the goal: it asks for events of any age */
    uint64_t generation; /* what was asked before a rewind is not wanted */
    int64_t after;
    struct page *ready;
};

void fetch_run(void *fetch);
struct page *fetch_take(struct fetch *x);
void fetch_rewind(struct fetch *x, int64_t after); /* negative: behind the newest */
void fetch_rest(struct fetch *x);
/* Compares with all that is there now; whoever cannot be asked has nothing to say (a goal of 0). */
void fetch_hurry(struct fetch *x);

/* ---- a broker's queue, and the inbox ----------------------------------------------------------
 */

struct queue {
    struct bus *bus;
    const char *name;
    const char *const *topics;
    enum broker_kind kind;
    struct worker *reader;
    struct broker_queue *of_broker; /* NULL while it is not consumed */
    _Atomic int64_t brought_us;     /* when it last gave something, by env.mono_us */
};

void queue_open(struct queue *q);
void queue_close(struct queue *q);
struct page *queue_take(struct queue *q);
void queue_ack(struct queue *q, uint64_t tag);
/* Has it given something lately? */
bool queue_is_at_work(const struct queue *q);

/* Events that are taken together, and which of them: not what the subscriber had already. */
struct hand {
    size_t n;
    const struct event *events[HAND_EVENTS_MAX];
    bool takes[HAND_EVENTS_MAX];
};

/* Notes in tx that the subscriber takes them, and says which. */
enum status inbox_take(struct tx *tx, const char *subscriber, struct hand *hand);
/* Forgets what is not behind the cursor any more. */
void inbox_clear(struct tx *tx, const char *subscriber, const char *publisher, int64_t position);
enum status inbox_used(struct tx *tx, const char *subscriber, bool *ret);
/* The positions behind `after` up to `upto` that were taken, in order. */
enum status inbox_positions(const struct subscriber *s, const char *publisher, int64_t after,
                            int64_t upto, struct arena *a, int64_t **ret, size_t *ret_n);

/* ---- journal --------------------------------------------------------------------------------- */

/* Of bus_event and bus_outbox, besides the position. */
#define EVENT_COLUMNS                                                                              \
    "id, topic, publisher, subject, type, sequence, time_us, correlation_id, causation_id, "       \
    "traceparent, data"

void event_from_row(struct event *ret, const EventRow *row);
/* Copies an event of the outbox into the journal; one that is there already is left alone. */
void journal_take(struct tx *tx, const EventRow *row);
/* Copies it from elsewhere, unless it was before; gives its position here.  In a failed tx 0. */
int64_t journal_copy(struct tx *tx, const struct event *e);
/* The same to a position behind the head; tx fails if it was copied before. */
void journal_copy_to(struct tx *tx, const struct event *e, int64_t position);
/* Events behind `after`, all topics. */
enum status journal_rows(struct tx *tx, int64_t after, size_t n, EventRow ***ret, size_t *ret_n);
enum status journal_head(struct tx *tx, int64_t *ret);
/* NOT_FOUND if there is none. */
enum status journal_event(struct bus *bus, struct tx_scope *scope, int64_t position,
                          struct event *ret);

/* ---- followers and what they parked ---------------------------------------------------------- */

/* Whether this replica is the one that does the work; asked anew from time to time. */
struct lead {
    int64_t look_us; /* when to ask again, by env.mono_us */
    atomic_bool leads;
};
bool lead_look(struct lead *lead, const struct bus *bus, struct store *store, const char *what);

struct follower {
    struct bus *bus;
    struct subscriber subscriber;
    struct topic_set topics;
    struct source *sources[SOURCES_MAX];
    size_t n_sources;
    size_t turn; /* whose it is */
    struct worker worker;
    struct lead lead;
    struct tx_scope scope; /* its arena lives for one batch */
    bool full;             /* its last batch was: more is waiting */
    bool careful;          /* the last batch has failed: each event is handled by itself */
    bool loaded;           /* what follows agrees with the tables */
    bool keeps_inbox;
    bool asked, caught_up;  /* the outboxes, before the first that a queue brings */
    int64_t next_try_us;    /* of the parked, on env.now_us's clock; INT64_MAX: nothing to retry */
    int64_t look_us;        /* when to load them anew, by env.mono_us */
    int64_t backoff_us;     /* while the store is in trouble; 0 is none */
    _Atomic int64_t parked; /* rows of bus_parked */
    atomic_bool redriven;
};

/* Gives it its sources. */
void follower_plan(struct follower *f);

void follower_run(void *follower);
/* A scope and an arena as good as new. */
struct tx_scope *follower_scope(struct follower *f);
/* Runs the handler; OK, or what failed with *why in the scope's arena, the tx undone to before. */
enum status follower_handle(struct follower *f, struct tx *tx, const struct event *e,
                            const char **why);
/* Commits and waits for the disk; on failure what is in memory is to be loaded again. */
bool follower_commit(struct follower *f, struct tx *tx);

/* A cursor's name between processes: "orders<inventory". */
char *cursor_key(struct arena *a, const char *subscriber, const char *publisher);
enum status cursor_load(struct tx *tx, const char *key, int64_t *ret); /* 0 if there is none */
/* Fails tx (ABORTED) if it is not at `from`: somebody else follows. */
void cursor_move(struct tx *tx, const char *key, int64_t from, int64_t to);
/* Reads what is written of each source. */
enum status cursors_load(struct follower *f, struct tx *tx);
/* The cursors that are owed, or have passed over `least` positions that concern nobody. */
bool cursors_owed(const struct follower *f, int64_t least);
void cursors_write(struct follower *f, struct tx *tx, int64_t least);

/* Reads parked and next_try_us. */
enum status parked_load(struct follower *f, struct tx *tx);
/* Does an earlier event of e's publisher and subject stand in its way? */
bool parked_blocks(struct follower *f, struct tx *tx, const struct event *e);
void parked_wait(struct follower *f, struct tx *tx, const struct event *e);
void parked_add(struct follower *f, struct tx *tx, const struct event *e, const char *why);
/* The event itself: from the row, or from the journal where that is the core store's. */
enum status parked_event(struct bus *bus, struct tx_scope *scope, const ParkedRow *row,
                         struct event *ret);
/* Tries what is due; false if nothing was. */
bool parked_retry(struct follower *f);

/* ---- the bus --------------------------------------------------------------------------------- */

struct listener {
    struct topic_set topics;
    broadcast_fn *fn;
    void *arg;
    int64_t from; /* hears what comes behind */
};

/* From a tail to the broker. */
struct forward {
    struct tail *tail;
    struct asker asker;
    struct lead lead;
    _Atomic int64_t cursor; /* all up to here is at the broker */
    bool loaded;
};
void forward_run(void *forward);

struct bus {
    struct bus_options options;
    bool spread;
    struct arena *arena; /* what lives as long as it does */
    struct follower *followers[FOLLOWERS_MAX];
    size_t n_followers;

    struct tail tails[TAILS_MAX]; /* embedded: the journal's */
    size_t n_tails;
    struct forward forwards[TAILS_MAX]; /* of each tail, if there is a broker */

    struct worker relay;
    _Atomic int64_t outbox_used_us; /* when somebody last wrote to the outbox, by env.mono_us */

    struct worker broadcaster;
    struct listener *listeners[LISTENERS_MAX];
    _Atomic size_t n_listeners;
    struct topic_set heard_topics;        /* of all listeners */
    struct source *heard[PUBLISHERS_MAX]; /* where they are */
    size_t n_heard, heard_turn;
    uint64_t heard_ids[HEARD_MAX]; /* of the last events, hashed */
    size_t heard_at;

    atomic_bool started, stopping;
    struct spin lock; /* guards what follows */
    size_t running;   /* workers */
    struct fiber *stopper;
};

void relay_run(void *bus);
/* Waits until what the outbox holds now is in the journal; false after until_mono_us. */
bool relay_drained(struct bus *bus, int64_t until_mono_us);
void broadcast_plan(struct bus *bus);
void broadcast_run(void *bus);
