/*
 * What the bus calls of a broker (bus/broker.h says what each does), so that it can be tested with
 * one that loses, repeats and delays.  The real one is {broker_publish, broker_subscribe,
 * broker_take, broker_ack, broker_unsubscribe}
 */
#pragma once
#include "bus/broker.h"

struct broker_ops {
    enum status (*publish)(struct broker *b, const struct event *events, size_t n,
                           int64_t until_mono_us, bool *ret_confirmed);
    struct broker_queue *(*subscribe)(struct broker *b, const char *name, const char *const *topics,
                                      enum broker_kind kind, void (*wake)(void *arg), void *arg);
    size_t (*take)(struct broker_queue *q, struct arena *a, size_t n, struct event *ret_events,
                   uint64_t *ret_tags);
    void (*ack)(struct broker_queue *q, uint64_t tag);
    void (*unsubscribe)(struct broker_queue *q);
};
