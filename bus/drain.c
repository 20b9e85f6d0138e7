/* Waiting until all is heard, and how much is not. */
#include "bus/bus_private.h"

#define DRAIN_LOOK_US MILLISECOND_US

enum { GOALS_MAX = FOLLOWERS_MAX * SOURCES_MAX + PUBLISHERS_MAX + TAILS_MAX };

/* Where a cursor must come. */
struct goal {
    const _Atomic int64_t *cursor;
    int64_t position;
};
struct goals {
    struct bus *bus;
    struct arena *arena;
    int64_t heads[TAILS_MAX];
    size_t n;
    struct goal *goals;
};

static enum status set_goals(struct goals *g);
static enum status flush_head(const struct tail *tail, struct arena *a, int64_t *ret);
static enum status add_goal(struct goals *g, const struct source *s);
static bool all_there(const struct goals *g);
static bool works_here(const struct bus *bus, const struct lead *lead);

bool
bus_drained(struct bus *bus, int64_t timeout_us)
{
    int64_t until_us = env.mono_us() + timeout_us;
    if (bus->options.listeners && !relay_drained(bus, until_us))
        return false;
    struct goals g = {.bus = bus, .arena = arena_new()};
    bool set = false, there = false;
    while (!there) {
        set = set || set_goals(&g) == OK;
        there = set && all_there(&g);
        if (!there && env.mono_us() >= until_us)
            break;
        if (!there)
            fiber_sleep_us(DRAIN_LOOK_US);
    }
    arena_free(g.arena);
    return there;
}

bool
bus_level(const struct bus *bus, const struct store *store)
{
    for (size_t i = 0; i < bus->n_followers; i++) {
        const struct follower *f = bus->followers[i];
        for (size_t j = 0; f->subscriber.store == store && j < f->n_sources; j++) {
            const struct source *s = f->sources[j];
            if (s->fetch && (s->fetch->first == 0 || s->cursor < s->fetch->first - 1))
                return false;
        }
    }
    return true;
}

size_t
bus_lags(struct bus *bus, struct bus_lag *out, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < bus->n_followers; i++) {
        const struct follower *f = bus->followers[i];
        bool first = true;
        for (size_t j = 0; j < f->n_sources && n < max; j++) {
            const struct source *s = f->sources[j];
            if (!s->key)
                continue;
            int64_t cursor = s->cursor, there = s->brought > cursor ? s->brought : cursor,
                    behind = (s->tail ? s->tail->head : s->fetch->head) - there;
            out[n++] = (struct bus_lag){
                .subscriber = f->subscriber.service,
                .publisher = s->publisher ? s->publisher : "",
                .cursor = cursor,
                .behind = behind > 0 ? behind : 0,
                .parked = first ? f->parked : 0,
            };
            first = false;
        }
    }
    return n;
}

static enum status
set_goals(struct goals *g)
{
    struct bus *bus = g->bus;
    arena_reset(g->arena);
    g->goals = arena_alloc(g->arena, GOALS_MAX * sizeof *g->goals);
    g->n = 0;
    enum status st = OK;
    for (size_t i = 0; i < bus->n_tails && st == OK; i++) {
        st = flush_head(&bus->tails[i], g->arena, &g->heads[i]);
        const struct forward *forward = &bus->forwards[i];
        if (bus->options.broker && works_here(bus, &forward->lead))
            g->goals[g->n++] = (struct goal){&forward->cursor, g->heads[i]};
    }
    for (size_t i = 0; i < bus->n_followers; i++) {
        const struct follower *f = bus->followers[i];
        for (size_t j = 0; j < f->n_sources && st == OK && works_here(bus, &f->lead); j++)
            st = add_goal(g, f->sources[j]);
    }
    for (size_t i = 0; i < bus->n_heard && st == OK; i++)
        if (bus->heard[i]->tail)
            st = add_goal(g, bus->heard[i]);
    return st;
}

/* The newest position of all, ordered or durable, once it is durable. */
static enum status
flush_head(const struct tail *tail, struct arena *a, int64_t *ret)
{
    struct tx_scope scope = {.arena = a};
    /* Begun for writing, so that it sees what is ordered and not yet on disk. */
    struct tx *tx = tx_begin_in(tail->store, "bus", &scope);
    enum status st = journal_head(tx, ret);
    tx_end(tx);
    return st ? st : store_wait(&scope);
}

/* None for what a broker brings: it cannot be seen, and what is compared with it is younger. */
static enum status
add_goal(struct goals *g, const struct source *s)
{
    if (s->queue || (s->fetch && s->fetch->compares))
        return OK;
    struct goal *goal = &g->goals[g->n++];
    goal->cursor = &s->cursor;
    if (s->tail) {
        goal->position = g->heads[s->tail - g->bus->tails];
        return OK;
    }
    static const char *const none[] = {NULL};
    struct outbox_ask ask = {.topics = none};
    struct outbox_page page;
    if (outbox_ask(g->bus, s->publisher, &ask, g->arena, &page) == OK)
        goal->position = page.head; /* else it cannot be seen */
    return OK;
}

static bool
all_there(const struct goals *g)
{
    for (size_t i = 0; i < g->n; i++)
        if (*g->goals[i].cursor < g->goals[i].position)
            return false;
    return true;
}

static bool
works_here(const struct bus *bus, const struct lead *lead)
{
    return !bus->options.leads || lead->leads;
}
