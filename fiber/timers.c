#include <stdlib.h>

#include "fiber/inside.h"

static void place(struct timers *t, size_t at, struct fiber *f);
static void sift_up(struct timers *t, size_t at, struct fiber *f);
static void sift_down(struct timers *t, size_t at, struct fiber *f);

void
timers_add(struct timers *t, struct fiber *f, int64_t wake_us)
{
    if (t->n + 1 >= t->room) {
        t->room = t->room ? 2 * t->room : 64;
        t->heap = realloc(t->heap, t->room * sizeof(struct fiber *));
        if (!t->heap)
            abort();
    }
    f->wake_us = wake_us;
    sift_up(t, ++t->n, f);
}

void
timers_remove(struct timers *t, struct fiber *f)
{
    size_t at = f->timer;
    if (!at)
        return;
    f->timer = 0;
    struct fiber *last = t->heap[t->n--];
    if (last == f)
        return;
    if (at > 1 && last->wake_us < t->heap[at / 2]->wake_us)
        sift_up(t, at, last);
    else
        sift_down(t, at, last);
}

int64_t
timers_next_us(const struct timers *t)
{
    return t->n ? t->heap[1]->wake_us : FOREVER;
}

void
timers_free(struct timers *t)
{
    free(t->heap);
    *t = (struct timers){.n = 0};
}

static void
place(struct timers *t, size_t at, struct fiber *f)
{
    t->heap[at] = f;
    f->timer = at;
}

static void
sift_up(struct timers *t, size_t at, struct fiber *f)
{
    for (; at > 1 && f->wake_us < t->heap[at / 2]->wake_us; at /= 2)
        place(t, at, t->heap[at / 2]);
    place(t, at, f);
}

static void
sift_down(struct timers *t, size_t at, struct fiber *f)
{
    for (;;) {
        size_t child = 2 * at;
        if (child > t->n)
            break;
        if (child < t->n && t->heap[child + 1]->wake_us < t->heap[child]->wake_us)
            child++;
        if (f->wake_us <= t->heap[child]->wake_us)
            break;
        place(t, at, t->heap[child]);
        at = child;
    }
    place(t, at, f);
}
