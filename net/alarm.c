/* Alarms: a heap under one timer, so that a deadline for each call costs next to nothing. */
#include <stdlib.h>

#include "base/env.h"
#include "base/time.h"
#include "net/internal.h"

static void on_timer(uv_timer_t *timer);
static void arm(struct loop *loop);

void
alarms_open(struct loop *loop)
{
    loop->alarms.armed_us = INT64_MAX;
    uv_timer_init(&loop->uv, &loop->alarms.timer); /* which cannot fail */
}

void
alarms_close(struct loop *loop)
{
    uv_close((uv_handle_t *)&loop->alarms.timer, NULL);
}

void
alarms_free(struct loop *loop)
{
    free(loop->alarms.heap);
}

static void
put(struct alarms *all, size_t slot, struct alarm *alarm)
{
    all->heap[slot] = alarm;
    alarm->slot = slot;
}

/* Moves it from this slot, which is free, to where it belongs. */
static void
settle(struct alarms *all, size_t slot, struct alarm *alarm)
{
    while (slot > 1 && all->heap[slot / 2]->at_us > alarm->at_us) {
        put(all, slot, all->heap[slot / 2]);
        slot /= 2;
    }
    for (size_t child; (child = 2 * slot) <= all->n; slot = child) {
        if (child < all->n && all->heap[child + 1]->at_us < all->heap[child]->at_us)
            child++;
        if (all->heap[child]->at_us >= alarm->at_us)
            break;
        put(all, slot, all->heap[child]);
    }
    put(all, slot, alarm);
}

void
alarm_set(struct loop *loop, struct alarm *alarm, int64_t at_us)
{
    struct alarms *all = &loop->alarms;
    alarm->at_us = at_us;
    if (alarm->slot == 0) {
        if (all->n + 2 > all->room) { /* slot 0 is not used */
            all->room = all->room ? 2 * all->room : 64;
            all->heap = realloc(all->heap, all->room * sizeof(struct alarm *));
            if (!all->heap)
                abort();
        }
        alarm->slot = ++all->n;
    }
    settle(all, alarm->slot, alarm);
    arm(loop);
}

void
alarm_clear(struct loop *loop, struct alarm *alarm)
{
    struct alarms *all = &loop->alarms;
    if (alarm->slot == 0)
        return;
    size_t slot = alarm->slot;
    struct alarm *last = all->heap[all->n--];
    alarm->slot = 0;
    if (last != alarm)
        settle(all, slot, last);
}

/* A timer that is set too early fires for nothing, once: cheaper than to set it for each call. */
static void
arm(struct loop *loop)
{
    struct alarms *all = &loop->alarms;
    if (all->n == 0 || all->heap[1]->at_us >= all->armed_us)
        return;
    all->armed_us = all->heap[1]->at_us;
    int64_t wait_us = all->armed_us - env.mono_us();
    uv_update_time(&loop->uv);
    uv_timer_start(&all->timer, on_timer,
                   wait_us > 0 ? (uint64_t)((wait_us + MILLISECOND_US - 1) / MILLISECOND_US) : 0,
                   0);
}

static void
on_timer(uv_timer_t *timer)
{
    struct loop *loop = (struct loop *)timer->loop;
    struct alarms *all = &loop->alarms;
    int64_t now_us = env.mono_us();
    while (all->n > 0 && all->heap[1]->at_us <= now_us) {
        struct alarm *alarm = all->heap[1];
        alarm_clear(loop, alarm);
        alarm->ring(alarm->arg);
    }
    all->armed_us = INT64_MAX;
    arm(loop);
}
