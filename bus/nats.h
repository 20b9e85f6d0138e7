/* What the files of the NATS broker share: a connection, its link's alone, but for the mailbox. */
#pragma once
#include <nats/nats.h>

#include "bus/broker_inside.h"

#define NATS_STREAM      "souk"
#define NATS_DEAD_STREAM "souk_dead"
#define NATS_DEAD_PREFIX "souk.dead."

enum { NATS_SUBJECT_MAX = 256, NATS_PUBLISHERS_MAX = 256 };

/* What the library's threads bring is put here for the link.  It lives as long as any of them may
 * come. */
struct letter {
    struct letter *next;
    natsMsg *message;
    uint32_t ear;
};

struct mailbox {
    struct spin lock; /* guards what follows */
    size_t holders;   /* the link, and each ear */
    int kick_fd;      /* the link's; -1 once it has gone */
    struct letter *first, **end;
};

struct nats_queue;

struct nats {
    natsConnection *connection;
    jsCtx *js;
    struct mailbox *mailbox;
    uint32_t ears;
    struct arena *arena, *scratch;
    char acks[NATS_SUBJECT_MAX]; /* where the stream's answers to us go, without their number */
    natsSubscription *ack_subscription;
    char *covered[NATS_PUBLISHERS_MAX]; /* subjects that the stream is known to have */
    size_t covered_n;
    struct nats_queue *queues[QUEUES_MAX]; /* those of the link's queues that are open */
    size_t queues_n;
};

/* False with link_fail's reason if it is not NATS_OK. */
bool nats_ok(struct link *l, natsStatus status, const char *what);

/* Makes the stream, if it must be, and sees that it takes all topics of topic's publisher. */
bool nats_cover(struct link *l, const char *topic);
bool nats_declare_dead(struct link *l);

/* Hears a subject, as one of a group where group is not NULL; letters come with *ret_ear. */
bool nats_hear(struct link *l, const char *subject, const char *group, natsSubscription **ret,
               uint32_t *ret_ear);

/* Into the scratch arena; the data stays where it is. */
bool nats_event_of(struct nats *n, natsMsg *message, struct event *ret);

bool nats_queues_turn(struct link *l);
bool nats_queue_letter(struct link *l, const struct letter *letter);
void nats_queues_drop(struct link *l);
