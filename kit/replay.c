/* Proof that projections follow from the journal alone. */
#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/env.h"
#include "kit/node_impl.h"

enum {
    SCRATCH_STORE = STORES_MAX - 1,
    PAGE_EVENTS = 256,
    PATIENCE_US = 20000000, /* with one that is behind; what a broker loses comes sooner */
    PAUSE_FIRST_US = 200000,
    PAUSE_MOST_US = 2000000,
    LAGS_MAX = 256,
};

struct scratch {
    struct arena *arena;
    struct unit *unit;
    struct store *store;
    const char *folder, *path;
    int64_t position;                /* of the newest event applied, or passed over */
    int64_t positions[SERVICES_MAX]; /* without one journal: in each publisher's outbox */
    int64_t events;
};

/* A page of one publisher's outbox, while pages are put in the order of time. */
struct part {
    struct outbox_page page;
    size_t next;
    bool more; /* behind the page */
};

static bool is_projection(const char *table, void *service);
static enum status scratch_open(struct scratch *s);
static void scratch_close(struct scratch *s);
static enum status apply_up_to(struct scratch *s, struct node *node, int64_t position);
static enum status apply_outboxes(struct scratch *s, struct node *node);
static enum status compare(struct scratch *s, struct node *node, struct replayed *ret);

enum status
node_replay(struct request *rq, const struct service *service, struct replayed *ret)
{
    if (!service->projections)
        return NOT_FOUND;
    struct scratch scratch = {.arena = arena_new(), .unit = unit_of(rq->node, service)};
    enum status st = scratch_open(&scratch);
    int64_t until_us = env.mono_us() + PATIENCE_US, pause_us = PAUSE_FIRST_US;
    while (st == OK && (st = compare(&scratch, rq->node, ret)) == OK && !ret->equal &&
           env.mono_us() < until_us) {
        fiber_sleep_us(pause_us);
        pause_us = 2 * pause_us < PAUSE_MOST_US ? 2 * pause_us : PAUSE_MOST_US;
    }
    scratch_close(&scratch);
    return st ? fail_status(rq, st, "replay of %s: %s", service->name, status_name(st)) : OK;
}

static int64_t
cursor_of(struct node *node, const char *service)
{
    struct bus_lag lags[LAGS_MAX];
    size_t n = bus_lags(node->bus, lags, LAGS_MAX);
    for (size_t i = 0; i < n; i++)
        if (strcmp(lags[i].subscriber, service) == 0)
            return lags[i].cursor;
    return 0;
}

/* The live dump and the cursor that it belongs to: the same before and after. */
static enum status
compare(struct scratch *s, struct node *node, struct replayed *ret)
{
    const struct service *service = s->unit->service;
    struct arena *a = arena_new();
    char *live, *made;
    int64_t before = cursor_of(node, service->name);
    enum status st =
        store_dump(s->unit->store, is_projection, (void *)(uintptr_t)service, a, &live);
    bool moved = cursor_of(node, service->name) != before;
    if (st == OK && node->topology)
        st = apply_outboxes(s, node);
    else if (st == OK)
        st = apply_up_to(s, node, before);
    if (st == OK)
        st = store_dump(s->store, is_projection, (void *)(uintptr_t)service, a, &made);
    if (st == OK)
        *ret = (struct replayed){s->events, strlen(live), !moved && strcmp(live, made) == 0};
    arena_free(a);
    return st;
}

static bool
is_projection(const char *table, void *service)
{
    const char *const *names = ((const struct service *)service)->projections;
    for (; *names; names++)
        if (strcmp(*names, table) == 0)
            return true;
    return false;
}

static bool
is_service(const void *name, const char *service)
{
    return strcmp(name, service) == 0;
}

static enum status
scratch_open(struct scratch *s)
{
    char *folder = arena_printf(s->arena, "%s/replay-XXXXXX", s->unit->node->data_dir);
    if (!mkdtemp(folder))
        return UNAVAILABLE;
    s->folder = folder;
    s->path = arena_printf(s->arena, "%s/scratch.db", folder);
    size_t n;
    const struct migration *wanted =
        migrations_of(is_service, s->unit->service->name, s->arena, &n);
    const char *why;
    return store_open(
        &(struct store_options){
            .path = s->path, .number = SCRATCH_STORE, .migrations = wanted, .n_migrations = n},
        s->arena, &s->store, &why);
}

static void
scratch_close(struct scratch *s)
{
    if (s->store)
        store_close(s->store);
    for (int i = 0; s->folder && i < 3; i++) {
        static const char *const tails[] = {"", "-wal", "-shm"};
        unlink(arena_printf(s->arena, "%s%s", s->path, tails[i]));
    }
    if (s->folder)
        rmdir(s->folder);
    arena_free(s->arena);
}

/* One page of the journal in one transaction of the scratch store. */
static enum status
apply_page(struct scratch *s, struct node *node, int64_t position, struct arena *a)
{
    struct tx_scope reading = {.arena = a}, writing = {.arena = a};
    struct event *events;
    size_t n;
    enum status st =
        bus_read(node->bus, &reading, s->position, NULL, NULL, PAGE_EVENTS, &events, &n);
    if (st)
        return st;
    struct tx *tx = tx_begin_in(s->store, s->unit->service->name, &writing);
    for (size_t i = 0; i < n && events[i].position <= position && st == OK; i++) {
        st = apply_event(s->unit, tx, &events[i]);
        s->position = events[i].position;
        s->events++;
    }
    if (st) {
        tx_end(tx);
        return st;
    }
    st = tx_commit(tx);
    if (st == OK)
        st = store_wait(&writing);
    if (n == 0)
        s->position = position;
    return st;
}

static enum status
apply_up_to(struct scratch *s, struct node *node, int64_t position)
{
    enum status st = OK;
    while (s->position < position && st == OK) {
        struct arena *a = arena_new();
        st = apply_page(s, node, position, a);
        arena_free(a);
        fiber_yield();
    }
    return st;
}

/* ---- without one journal: from the outboxes, in the order of time ---- */

static enum status
read_outbox(struct node *node, const char *publisher, const char *const *topics, int64_t after,
            struct arena *a, struct part *ret)
{
    const struct outbox_ask ask = {.after = after, .topics = topics, .most = PAGE_EVENTS};
    enum status st = node_runs(node, publisher)
                         ? bus_serve_outbox(node->bus, publisher, &ask, a, &ret->page)
                         : peer_read_outbox(node, publisher, &ask, a, &ret->page);
    ret->more = st == OK && ret->page.n == PAGE_EVENTS;
    return st;
}

/* The publisher whose next event is the oldest; false where that cannot be told from these pages.
 */
static bool
oldest(const struct part *parts, size_t n, size_t *ret)
{
    bool found = false;
    for (size_t i = 0; i < n; i++) {
        if (parts[i].next == parts[i].page.n) {
            if (parts[i].more)
                return false;
            continue;
        }
        const struct event *event = &parts[i].page.events[parts[i].next];
        if (!found || event->time_us < parts[*ret].page.events[parts[*ret].next].time_us)
            *ret = i;
        found = true;
    }
    return found;
}

/* One page of each outbox in one transaction of the scratch store; *ret_n: how many were applied.
 */
static enum status
apply_parts(struct scratch *s, struct node *node, struct arena *a, size_t *ret_n)
{
    size_t n = 0, i = 0;
    struct part *parts = arena_alloc(a, SERVICES_MAX * sizeof *parts);
    for (; node->publishers[n]; n++) {
        enum status st =
            read_outbox(node, node->publishers[n], s->unit->topics, s->positions[n], a, &parts[n]);
        if (st)
            return st;
    }
    struct tx_scope writing = {.arena = a};
    struct tx *tx = tx_begin_in(s->store, s->unit->service->name, &writing);
    enum status st = OK;
    for (*ret_n = 0; st == OK && oldest(parts, n, &i); ++*ret_n) {
        const struct event *event = &parts[i].page.events[parts[i].next++];
        st = apply_event(s->unit, tx, event);
        s->positions[i] = event->position;
    }
    if (st) {
        tx_end(tx);
        return st;
    }
    s->events += (int64_t)*ret_n;
    st = tx_commit(tx);
    return st ? st : store_wait(&writing);
}

static enum status
apply_outboxes(struct scratch *s, struct node *node)
{
    enum status st;
    size_t n;
    do {
        struct arena *a = arena_new();
        st = apply_parts(s, node, a, &n);
        arena_free(a);
        fiber_yield();
    } while (st == OK && n > 0);
    return st;
}
