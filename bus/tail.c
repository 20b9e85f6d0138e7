/* The newest durable events in memory, read from the journal once for all who follow it. */
#include <assert.h>
#include <string.h>

#include "base/hash.h"
#include "bus/bus_private.h"

enum { LOOK_AGAIN_US = 1000000 }; /* should a kick be lost */

static struct page *read_page(struct bus *bus, int64_t after);
static void keep(struct bus *bus, struct page *page);
static struct page *take_oldest(struct bus *bus);
static void wake_followers(struct bus *bus);

void
tail_run(void *arg)
{
    struct bus *bus = arg;
    while (worker_goes_on(&bus->tail)) {
        struct page *page = read_page(bus, bus->head);
        if (!page) {
            worker_wait(&bus->tail, env.mono_us() + LOOK_AGAIN_US);
            continue;
        }
        keep(bus, page);
        wake_followers(bus);
        fiber_yield();
    }
    worker_end(&bus->tail);
}

struct page *
page_in_memory(struct bus *bus, int64_t after)
{
    struct page *found = NULL;
    spin_lock(&bus->ring_lock);
    for (size_t i = bus->ring_n; i-- > 0 && !found;) {
        struct page *page = bus->ring[(bus->ring_first + i) % RING_PAGES_MAX];
        if (page->last <= after)
            break;
        if (page->after <= after)
            found = page;
    }
    if (found)
        found->refs++;
    spin_unlock(&bus->ring_lock);
    return found;
}

struct page *
page_behind(struct bus *bus, int64_t after)
{
    if (after >= bus->head)
        return NULL;
    struct page *page = page_in_memory(bus, after);
    return page ? page : read_page(bus, after);
}

void
page_release(struct page *page)
{
    if (page && atomic_fetch_sub(&page->refs, 1) == 1)
        arena_free(page->arena);
}

void
tail_forget(struct bus *bus)
{
    while (bus->ring_n > 0)
        page_release(take_oldest(bus));
}

const struct event *
walk_next(struct walk *w, bool memory_only)
{
    for (;;) {
        for (; w->page && w->next < w->page->n; w->next++) {
            const struct event *e = &w->page->events[w->next];
            if (e->position <= w->position)
                continue;
            w->position = e->position;
            if (topic_set_has(w->topics, e->topic, w->page->topics[w->next])) {
                w->next++;
                return e;
            }
        }
        walk_end(w);
        w->page =
            memory_only ? page_in_memory(w->bus, w->position) : page_behind(w->bus, w->position);
        if (!w->page)
            return NULL;
    }
}

void
walk_end(struct walk *w)
{
    page_release(w->page);
    w->page = NULL;
    w->next = 0;
}

void
topic_set_fill(struct topic_set *set, const char *const *names)
{
    *set = (struct topic_set){0};
    for (; *names; names++) {
        assert(set->n < TOPICS_MAX);
        if (strcmp(*names, "*") == 0)
            set->all = true;
        set->names[set->n] = *names;
        set->hashes[set->n++] = topic_hash(*names);
    }
}

uint64_t
topic_hash(const char *name)
{
    return hash64(name, strlen(name));
}

bool
topic_set_has(const struct topic_set *set, const char *name, uint64_t hash)
{
    if (set->all)
        return true;
    for (size_t i = 0; i < set->n; i++)
        if (set->hashes[i] == hash && strcmp(set->names[i], name) == 0)
            return true;
    return false;
}

/* NULL if nothing is behind after, or the store is in trouble. */
static struct page *
read_page(struct bus *bus, int64_t after)
{
    struct arena *a = arena_new();
    struct tx_scope scope = {.arena = a};
    EventRow **rows = NULL;
    size_t n = 0;
    struct tx *tx = tx_begin_read_in(bus->options.core, "bus", &scope);
    enum status st = journal_rows(tx, after, PAGE_EVENTS_MAX, &rows, &n);
    tx_end(tx);
    if (st || n == 0) {
        arena_free(a);
        return NULL;
    }
    struct page *page = arena_alloc(a, sizeof *page);
    *page = (struct page){
        .refs = 1,
        .arena = a,
        .after = after,
        .last = rows[n - 1]->position,
        .n = n,
        .events = arena_alloc(a, n * sizeof *page->events),
        .topics = arena_alloc(a, n * sizeof *page->topics),
    };
    for (size_t i = 0; i < n; i++) {
        event_from_row(&page->events[i], rows[i]);
        page->topics[i] = topic_hash(rows[i]->topic);
    }
    return page;
}

/* Hands the page to the ring, which drops what no longer fits; whoever reads it keeps it alive. */
static void
keep(struct bus *bus, struct page *page)
{
    struct page *dropped[RING_PAGES_MAX]; /* freed once the lock is open again */
    size_t n_dropped = 0, bytes = arena_used(page->arena);
    spin_lock(&bus->ring_lock);
    while (bus->ring_n > 0 &&
           (bus->ring_n == RING_PAGES_MAX || bus->ring_bytes + bytes > RING_BYTES_MAX))
        dropped[n_dropped++] = take_oldest(bus);
    bus->ring[(bus->ring_first + bus->ring_n++) % RING_PAGES_MAX] = page;
    bus->ring_bytes += bytes;
    int64_t last = page->last;
    spin_unlock(&bus->ring_lock);
    bus->head = last;
    for (size_t i = 0; i < n_dropped; i++)
        page_release(dropped[i]);
}

static struct page *
take_oldest(struct bus *bus)
{
    struct page *page = bus->ring[bus->ring_first];
    bus->ring_first = (bus->ring_first + 1) % RING_PAGES_MAX;
    bus->ring_n--;
    bus->ring_bytes -= arena_used(page->arena);
    return page;
}

static void
wake_followers(struct bus *bus)
{
    for (size_t i = 0; i < bus->n_followers; i++)
        worker_wake(&bus->followers[i]->worker);
    worker_wake(&bus->broadcaster);
}
