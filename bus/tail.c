/* The newest durable events of a store in memory, read once for all who follow it. */
#include "bus/bus_private.h"

enum { PAUSE_US = 5000 }; /* where a look is a round trip: each brings what several commits left */

static struct page *read_page(struct tail *tail, int64_t after);
static void keep(struct tail *tail, struct page *page);
static struct page *take_oldest(struct tail *tail);
static void wake_readers(struct tail *tail);

void
tail_run(void *arg)
{
    struct tail *tail = arg;
    while (worker_goes_on(&tail->worker)) {
        struct page *page = read_page(tail, tail->head);
        bool full = page && page->n == PAGE_EVENTS_MAX;
        if (page) {
            keep(tail, page);
            wake_readers(tail);
        }
        if (page && !full && tail->bus->spread)
            fiber_sleep_us(PAUSE_US);
        if (full)
            fiber_yield();
        else /* it is looked at again should a kick be lost, or somebody else write to it */
            worker_wait(&tail->worker, env.mono_us() + tail->bus->options.look_us);
    }
    worker_end(&tail->worker);
}

struct page *
page_in_memory(struct tail *tail, int64_t after)
{
    struct page *found = NULL;
    spin_lock(&tail->lock);
    for (size_t i = tail->ring_n; i-- > 0 && !found;) {
        struct page *page = tail->ring[(tail->ring_first + i) % RING_PAGES_MAX];
        if (page->last <= after)
            break;
        if (page->after <= after)
            found = page;
    }
    if (found)
        found->refs++;
    spin_unlock(&tail->lock);
    return found;
}

struct page *
page_behind(struct tail *tail, int64_t after)
{
    if (after >= tail->head)
        return NULL;
    struct page *page = page_in_memory(tail, after);
    return page ? page : read_page(tail, after);
}

void
page_release(struct page *page)
{
    if (page && atomic_fetch_sub(&page->refs, 1) == 1)
        arena_free(page->arena);
}

void
tail_forget(struct tail *tail)
{
    while (tail->ring_n > 0)
        page_release(take_oldest(tail));
}

void
tail_enter(struct tail *tail, struct asker *asker)
{
    spin_lock(&tail->lock);
    asker->next = tail->askers;
    tail->askers = asker;
    spin_unlock(&tail->lock);
}

void
tail_leave(struct tail *tail, struct asker *asker)
{
    spin_lock(&tail->lock);
    struct asker **link = &tail->askers;
    while (*link != asker)
        link = &(*link)->next;
    *link = asker->next;
    spin_unlock(&tail->lock);
}

void
tail_wake_askers(struct tail *tail)
{
    spin_lock(&tail->lock);
    for (struct asker *asker = tail->askers; asker; asker = asker->next)
        worker_wake(&asker->worker);
    spin_unlock(&tail->lock);
}

struct page *
page_new(struct arena *a, int64_t after, int64_t last, struct event *events, size_t n)
{
    struct page *page = arena_alloc(a, sizeof *page);
    *page = (struct page){
        .refs = 1,
        .arena = a,
        .after = after,
        .last = last,
        .n = n,
        .events = events,
        .topics = arena_alloc(a, n * sizeof *page->topics),
    };
    for (size_t i = 0; i < n; i++)
        page->topics[i] = topic_hash(events[i].topic);
    return page;
}

/* NULL if nothing is behind after, or the store is in trouble. */
static struct page *
read_page(struct tail *tail, int64_t after)
{
    struct arena *a = arena_new();
    struct tx_scope scope = {.arena = a};
    EventRow **rows = NULL;
    size_t n = 0;
    struct tx *tx = tx_begin_read_in(tail->store, "bus", &scope);
    enum status st = journal_rows(tx, after, PAGE_EVENTS_MAX, &rows, &n);
    tx_end(tx);
    if (st || n == 0) {
        arena_free(a);
        return NULL;
    }
    struct event *events = arena_alloc(a, n * sizeof *events);
    for (size_t i = 0; i < n; i++)
        event_from_row(&events[i], rows[i]);
    return page_new(a, after, rows[n - 1]->position, events, n);
}

/* Hands the page to the ring, which drops what no longer fits; whoever reads it keeps it alive. */
static void
keep(struct tail *tail, struct page *page)
{
    struct page *dropped[RING_PAGES_MAX]; /* freed once the lock is open again */
    size_t n_dropped = 0, bytes = arena_used(page->arena);
    spin_lock(&tail->lock);
    while (tail->ring_n > 0 &&
           (tail->ring_n == RING_PAGES_MAX || tail->ring_bytes + bytes > RING_BYTES_MAX))
        dropped[n_dropped++] = take_oldest(tail);
    tail->ring[(tail->ring_first + tail->ring_n++) % RING_PAGES_MAX] = page;
    tail->ring_bytes += bytes;
    int64_t last = page->last;
    spin_unlock(&tail->lock);
    tail->head = last;
    for (size_t i = 0; i < n_dropped; i++)
        page_release(dropped[i]);
}

static struct page *
take_oldest(struct tail *tail)
{
    struct page *page = tail->ring[tail->ring_first];
    tail->ring_first = (tail->ring_first + 1) % RING_PAGES_MAX;
    tail->ring_n--;
    tail->ring_bytes -= arena_used(page->arena);
    return page;
}

static void
wake_readers(struct tail *tail)
{
    struct bus *bus = tail->bus;
    for (size_t i = 0; i < bus->n_followers; i++)
        worker_wake(&bus->followers[i]->worker);
    worker_wake(&bus->broadcaster);
    tail_wake_askers(tail);
}
