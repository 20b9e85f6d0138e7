/*
 * A broker in memory for tests, that does by command what real ones do by accident: loses what it
 * confirmed, repeats, reorders between subjects, is away, delivers again after a reconnection.
 */
#pragma once
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "bus/broker_ops.h"
#include "fiber/fiber.h"

enum { FAKE_QUEUES_MAX = 16, FAKE_CONSUMERS_MAX = 32, FAKE_MESSAGES_MAX = 1 << 16 };

struct fake_message {
    struct arena *arena;
    struct event event;
    struct broker_queue *taken_by;
    uint64_t tag;
};

struct fake_queue {
    char name[100];
    enum broker_kind kind;
    const char *topics[64];
    struct fake_message *messages[FAKE_MESSAGES_MAX];
    size_t n;
};

/* One who consumes a queue. */
struct broker_queue {
    struct broker *broker;
    struct fake_queue *queue; /* NULL: free */
    void (*wake)(void *arg);
    void *arg;
    uint64_t valid_from; /* tags before a reconnection do nothing */
};

struct broker {
    struct spin lock; /* guards all */
    struct fake_queue queues[FAKE_QUEUES_MAX];
    size_t n_queues;
    struct broker_queue consumers[FAKE_CONSUMERS_MAX];
    uint64_t next_tag;
    unsigned dice;
    atomic_int loses, repeats, reorders, refuses; /* percent of messages */
    bool away;
    atomic_size_t published, lost;
    atomic_size_t
        out_of_turn; /* a subject's event published while an earlier one was unconfirmed */
};

static bool
fake_throws(struct broker *b, int percent)
{
    return rand_r(&b->dice) % 100 < percent;
}

static bool
fake_same_subject(const struct event *a, const struct event *b)
{
    return strcmp(a->publisher, b->publisher) == 0 && strcmp(a->subject, b->subject) == 0;
}

static bool
fake_wants(const struct fake_queue *q, const char *topic)
{
    for (size_t i = 0; q->topics[i]; i++)
        if (strcmp(q->topics[i], "*") == 0 || strcmp(q->topics[i], topic) == 0)
            return true;
    return false;
}

static void
fake_copy(struct event *ret, const struct event *e, struct arena *a)
{
    *ret = (struct event){
        .position = e->position,
        .id = arena_strdup(a, e->id),
        .topic = arena_strdup(a, e->topic),
        .publisher = arena_strdup(a, e->publisher),
        .subject = arena_strdup(a, e->subject),
        .type = arena_strdup(a, e->type),
        .sequence = e->sequence,
        .time_us = e->time_us,
        .correlation_id = arena_strdup(a, e->correlation_id),
        .causation_id = arena_strdup(a, e->causation_id),
        .traceparent = arena_strdup(a, e->traceparent),
        .data = {e->data.len, arena_copy(a, e->data.data, e->data.len)},
    };
}

/* Behind all, or before some that are of other subjects. */
static void
fake_put(struct broker *b, struct fake_queue *q, const struct event *e)
{
    struct fake_message *m = calloc(1, sizeof *m);
    m->arena = arena_new();
    fake_copy(&m->event, e, m->arena);
    size_t at = q->n++;
    for (; at > 0 && fake_throws(b, b->reorders) && !q->messages[at - 1]->taken_by &&
           !fake_same_subject(&q->messages[at - 1]->event, e);
         at--)
        q->messages[at] = q->messages[at - 1];
    q->messages[at] = m;
}

static enum status
fake_publish(struct broker *b, const struct event *events, size_t n, int64_t until_mono_us,
             bool *ret_confirmed)
{
    (void)until_mono_us;
    enum status st = OK;
    spin_lock(&b->lock);
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < i; j++)
            b->out_of_turn += fake_same_subject(&events[j], &events[i]);
        ret_confirmed[i] = !b->away && !fake_throws(b, b->refuses);
        if (!ret_confirmed[i])
            st = UNAVAILABLE;
        bool taken = ret_confirmed[i] ? !fake_throws(b, b->loses) : !b->away && fake_throws(b, 50);
        b->published++;
        b->lost += ret_confirmed[i] && !taken;
        for (size_t j = 0; j < b->n_queues && taken; j++)
            if (fake_wants(&b->queues[j], events[i].topic)) {
                fake_put(b, &b->queues[j], &events[i]);
                if (fake_throws(b, b->repeats))
                    fake_put(b, &b->queues[j], &events[i]);
            }
    }
    for (size_t i = 0; i < FAKE_CONSUMERS_MAX; i++)
        if (b->consumers[i].queue)
            b->consumers[i].wake(b->consumers[i].arg);
    spin_unlock(&b->lock);
    return st;
}

static struct broker_queue *
fake_subscribe(struct broker *b, const char *name, const char *const *topics, enum broker_kind kind,
               void (*wake)(void *arg), void *arg)
{
    spin_lock(&b->lock);
    size_t i = 0, j = 0;
    while (i < b->n_queues && strcmp(b->queues[i].name, name) != 0)
        i++;
    struct fake_queue *q = &b->queues[i];
    if (i == b->n_queues) {
        b->n_queues++;
        snprintf(q->name, sizeof q->name, "%s", name);
        q->kind = kind;
        for (size_t k = 0; topics[k]; k++)
            q->topics[k] = strdup(topics[k]);
    }
    while (b->consumers[j].queue)
        j++;
    struct broker_queue *consumer = &b->consumers[j];
    *consumer = (struct broker_queue){b, q, wake, arg, 0};
    spin_unlock(&b->lock);
    return consumer;
}

/* Of an ordered queue only the first consumer is served. */
static bool
fake_serves(const struct broker *b, const struct broker_queue *consumer)
{
    if (consumer->queue->kind != BROKER_ORDERED)
        return true;
    for (const struct broker_queue *c = b->consumers; c < consumer; c++)
        if (c->queue == consumer->queue)
            return false;
    return true;
}

static size_t
fake_take(struct broker_queue *c, struct arena *a, size_t n, struct event *ret_events,
          uint64_t *ret_tags)
{
    struct broker *b = c->broker;
    size_t found = 0;
    spin_lock(&b->lock);
    for (size_t i = 0; i < c->queue->n && found < n && !b->away && fake_serves(b, c); i++) {
        struct fake_message *m = c->queue->messages[i];
        if (m->taken_by)
            continue;
        m->taken_by = c;
        m->tag = ++b->next_tag;
        fake_copy(&ret_events[found], &m->event, a);
        ret_tags[found++] = m->tag;
    }
    spin_unlock(&b->lock);
    return found;
}

/* Takes those out for which it is true. */
static void
fake_drop(struct fake_queue *q, const struct broker_queue *c, uint64_t tag)
{
    size_t kept = 0;
    for (size_t i = 0; i < q->n; i++) {
        struct fake_message *m = q->messages[i];
        if (m->taken_by == c && m->tag <= tag) {
            arena_free(m->arena);
            free(m);
        } else {
            q->messages[kept++] = m;
        }
    }
    q->n = kept;
}

static void
fake_ack(struct broker_queue *c, uint64_t tag)
{
    spin_lock(&c->broker->lock);
    if (tag >= c->valid_from)
        fake_drop(c->queue, c, tag);
    spin_unlock(&c->broker->lock);
}

static void
fake_give_back(struct broker *b, struct broker_queue *c)
{
    for (size_t i = 0; i < c->queue->n; i++)
        if (c->queue->messages[i]->taken_by == c)
            c->queue->messages[i]->taken_by = NULL;
    c->valid_from = b->next_tag + 1;
}

static void
fake_unsubscribe(struct broker_queue *c)
{
    struct broker *b = c->broker;
    spin_lock(&b->lock);
    fake_give_back(b, c);
    if (c->queue->kind == BROKER_BROADCAST) {
        for (size_t i = 0; i < c->queue->n; i++)
            c->queue->messages[i]->taken_by = c;
        fake_drop(c->queue, c, UINT64_MAX);
        for (size_t i = 0; c->queue->topics[i]; i++) /* it is gone with its process */
            free((char *)(uintptr_t)c->queue->topics[i]), c->queue->topics[i] = NULL;
        c->queue->name[0] = '\0';
    }
    c->queue = NULL;
    for (size_t i = 0; i < FAKE_CONSUMERS_MAX; i++)
        if (b->consumers[i].queue)
            b->consumers[i].wake(b->consumers[i].arg);
    spin_unlock(&b->lock);
}

/* All connections break, and come again. */
static void
fake_reconnect(struct broker *b, bool away)
{
    spin_lock(&b->lock);
    b->away = away;
    for (size_t i = 0; i < FAKE_CONSUMERS_MAX; i++)
        if (b->consumers[i].queue) {
            fake_give_back(b, &b->consumers[i]);
            b->consumers[i].wake(b->consumers[i].arg);
        }
    spin_unlock(&b->lock);
}

static const struct broker_ops fake_broker_ops = {
    fake_publish, fake_subscribe, fake_take, fake_ack, fake_unsubscribe,
};

static struct broker *
fake_broker_new(void)
{
    struct broker *b = calloc(1, sizeof *b);
    b->dice = 7;
    return b;
}

static void
fake_broker_free(struct broker *b)
{
    for (size_t i = 0; i < b->n_queues; i++) {
        struct fake_queue *q = &b->queues[i];
        for (size_t j = 0; j < q->n; j++)
            q->messages[j]->taken_by = NULL;
        fake_drop(q, NULL, UINT64_MAX);
        for (size_t j = 0; q->topics[j]; j++)
            free((char *)(uintptr_t)q->topics[j]);
    }
    free(b);
}
