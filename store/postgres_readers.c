/* Connections that read: opened when needed, up to a bound; who finds none waits in line. */
#include <stdlib.h>

#include "base/env.h"
#include "store/postgres.h"

enum { WAIT_US_MAX = 5000000, IDLE_US_MAX = 60000000 };

static struct pg_conn *take_idle_or_place(struct postgres *pg, struct pg_waiter *me,
                                          bool *ret_wait);
static bool wait_in_line(struct postgres *pg, struct pg_waiter *me);
static struct pg_conn *open_one(struct postgres *pg);
static void give_place(struct postgres *pg, struct pg_conn *conn);
static struct pg_conn *take_oldest(struct postgres *pg);
static void close_one(struct pg_conn *c);

bool
pg_take_reader(struct tx *tx)
{
    tx->conn = pg_reader(postgres_of(tx->store));
    if (!tx->conn)
        tx->message = tx->store->database->trouble(tx->store, tx->scope->arena);
    return tx->conn != NULL;
}

void
pg_leave_reader(struct tx *tx)
{
    struct pg_conn *c = tx->conn;
    if (tx->began && c->link) {
        pg_send_word(c, PG_COMMIT);
        pg_push(c); /* nobody waits for it */
    }
    pg_give_back_reader(c);
}

struct pg_conn *
pg_reader(struct postgres *pg)
{
    struct pg_waiter me = {.fiber = fiber_self()};
    bool wait;
    struct pg_conn *c = take_idle_or_place(pg, &me, &wait);
    if (wait) {
        if (!wait_in_line(pg, &me))
            return NULL;
        c = me.conn;
    }
    if (!c)
        c = open_one(pg);
    else if (!pg_ready(c)) {
        close_one(c);
        give_place(pg, NULL);
        c = NULL;
    }
    return c;
}

void
pg_give_back_reader(struct pg_conn *c)
{
    struct postgres *pg = c->pg;
    c->idle_us = env.mono_us();
    if (!c->link) {
        close_one(c);
        c = NULL;
    }
    give_place(pg, c);
    struct pg_conn *old = take_oldest(pg);
    if (old)
        close_one(old);
}

void
pg_close_readers(struct postgres *pg)
{
    for (struct pg_conn *next, *c = pg->idle_readers; c; c = next) {
        next = c->next;
        close_one(c);
    }
    pg->idle_readers = NULL;
}

/* NULL without a wait: one more may be opened. */
static struct pg_conn *
take_idle_or_place(struct postgres *pg, struct pg_waiter *me, bool *ret_wait)
{
    spin_lock(&pg->readers_lock);
    struct pg_conn *c = pg->idle_readers;
    *ret_wait = false;
    if (c) {
        pg->idle_readers = c->next;
    } else if (pg->n_readers < pg->readers_max) {
        pg->n_readers++;
    } else {
        *ret_wait = true;
        if (pg->last_waiter)
            pg->last_waiter->next = me;
        else
            pg->first_waiter = me;
        pg->last_waiter = me;
    }
    spin_unlock(&pg->readers_lock);
    return c;
}

/* False if the time came first. */
static bool
wait_in_line(struct postgres *pg, struct pg_waiter *me)
{
    if (fiber_wait_inside_until(env.mono_us() + WAIT_US_MAX))
        return true;
    spin_lock(&pg->readers_lock);
    bool woken = me->woken;
    struct pg_waiter **at = &pg->first_waiter, *last = NULL;
    for (; !woken && *at != me; at = &(*at)->next)
        last = *at;
    if (!woken) {
        *at = me->next;
        if (pg->last_waiter == me)
            pg->last_waiter = last;
    }
    spin_unlock(&pg->readers_lock);
    if (woken)
        fiber_wait_inside();
    return woken;
}

static struct pg_conn *
open_one(struct postgres *pg)
{
    struct pg_conn *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    c->pg = pg;
    if (pg_ready(c))
        return c;
    close_one(c);
    give_place(pg, NULL);
    return NULL;
}

/* conn, or without one the place for one, goes to who waits first. */
static void
give_place(struct postgres *pg, struct pg_conn *conn)
{
    spin_lock(&pg->readers_lock);
    struct pg_waiter *w = pg->first_waiter;
    if (w) {
        pg->first_waiter = w->next;
        if (!pg->first_waiter)
            pg->last_waiter = NULL;
        w->conn = conn;
        w->woken = true;
    } else if (conn) {
        conn->next = pg->idle_readers;
        pg->idle_readers = conn;
    } else {
        pg->n_readers--;
    }
    struct fiber *fiber = w ? w->fiber : NULL; /* w may be gone when the lock is */
    spin_unlock(&pg->readers_lock);
    if (fiber)
        fiber_wake_inside(fiber);
}

/* The one that has been idle for longest, if that is too long. */
static struct pg_conn *
take_oldest(struct postgres *pg)
{
    int64_t before_us = env.mono_us() - IDLE_US_MAX;
    spin_lock(&pg->readers_lock);
    struct pg_conn **at = &pg->idle_readers;
    while (*at && (*at)->next)
        at = &(*at)->next;
    struct pg_conn *c = *at && (*at)->idle_us < before_us ? *at : NULL;
    if (c) {
        *at = NULL;
        pg->n_readers--;
    }
    spin_unlock(&pg->readers_lock);
    return c;
}

static void
close_one(struct pg_conn *c)
{
    pg_break(c);
    free(c);
}
