/* What the files of the RabbitMQ broker share: a connection, its link's alone. */
#pragma once
#include <amqp.h>

#include "bus/broker_inside.h"

#define RABBITMQ_EXCHANGE      "souk"
#define RABBITMQ_DEAD_EXCHANGE "souk.dead"
#define RABBITMQ_PREFIX        "cloudEvents:" /* of headers with attributes */

enum { RABBITMQ_CHANNELS_MAX = 2047 };

struct rabbitmq {
    amqp_connection_state_t state;
    amqp_channel_t channels; /* opened: none is used twice, for what may still come on it */
    bool blocked;            /* by the broker's memory or disk: it reads nothing of ours */
    struct arena *scratch;
    struct broker_queue *queues[RABBITMQ_CHANNELS_MAX + 1]; /* by channel, or NULL */
};

/* False with link_fail's reason if the last call to the broker failed. */
bool rabbitmq_said_ok(struct link *l, const char *what);
/* The same for a status of the library. */
bool rabbitmq_ok(struct link *l, int status, const char *what);
bool rabbitmq_open_channel(struct link *l, amqp_channel_t channel);
bool rabbitmq_declare_exchange(struct link *l, amqp_channel_t channel, const char *name,
                               const char *type);

/* Opens, acknowledges and closes queues as is wished. */
bool rabbitmq_queues_turn(struct link *l);
/* What a frame of basic.deliver announces. */
bool rabbitmq_delivered(struct link *l, amqp_channel_t channel,
                        const amqp_basic_deliver_t *deliver);
