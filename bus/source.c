/* Where a follower's events come from, one at a time. */
#include <string.h>

#include "bus/bus_private.h"

enum { STEP_EVENTS_MAX = 2000 }; /* passed over before others get their turn */

static struct page *next_page(struct source *s, bool memory_only);
static bool wants(const struct source *s, const struct event *e, uint64_t hash);
static void let_go(struct source *s);

const struct event *
source_next(struct source *s, bool memory_only)
{
    int64_t end = s->publisher ? s->position + STEP_EVENTS_MAX : INT64_MAX;
    while (s->position < end) {
        while (s->page && s->next < s->page->n) {
            size_t i = s->next++;
            const struct event *e = &s->page->events[i];
            if (s->tail && e->position <= s->position)
                continue;
            s->position = e->position;
            if (wants(s, e, s->page->topics[i])) {
                s->owes = true;
                return e;
            }
        }
        struct page *page = next_page(s, memory_only);
        if (!page)
            return NULL;
        s->page = page;
        s->next = 0;
    }
    return NULL;
}

bool
source_has(struct source *s)
{
    if (!s->page) {
        s->page = next_page(s, true);
        s->next = 0;
    }
    return s->page != NULL;
}

void
source_done(struct source *s)
{
    if (s->queue && s->page && s->next > 0) {
        queue_ack(s->queue, s->page->tags[s->next - 1]);
        s->page->done = s->next;
    }
    s->cursor = s->position;
}

void
source_rewind(struct source *s, int64_t position)
{
    s->position = s->written = s->cursor = position;
    s->owes = false;
    if (s->queue) { /* what it took and did not acknowledge, it has still */
        s->next = s->page ? s->page->done : 0;
        queue_open(s->queue);
        return;
    }
    let_go(s);
    if (s->fetch)
        fetch_rewind(s->fetch, position);
}

void
source_rest(struct source *s)
{
    let_go(s);
    s->owes = false;
    if (s->fetch)
        fetch_rest(s->fetch);
    if (s->queue)
        queue_close(s->queue);
}

/* A page that was read to its end is given back here, and not before: a queue's may have to be read
 * again until it is acknowledged. */
static struct page *
next_page(struct source *s, bool memory_only)
{
    if (s->queue && s->page && s->page->done < s->page->n)
        return NULL;
    if (s->page && s->page->last > s->position)
        s->position = s->page->last;
    if (s->page && s->page->settles)
        s->owes = true;
    let_go(s);
    if (s->queue)
        return queue_take(s->queue);
    if (s->fetch)
        return fetch_take(s->fetch);
    return memory_only ? page_in_memory(s->tail, s->position) : page_behind(s->tail, s->position);
}

static bool
wants(const struct source *s, const struct event *e, uint64_t hash)
{
    return topic_set_has(s->topics, e->topic, hash) &&
           (!s->publisher || strcmp(s->publisher, e->publisher) == 0);
}

static void
let_go(struct source *s)
{
    page_release(s->page);
    s->page = NULL;
    s->next = 0;
}
