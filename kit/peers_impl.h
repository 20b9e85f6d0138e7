/* What peers.c (asking), peer_server.c (being asked) and peer_rpcs.c share. */
#pragma once
#include "fiber/fiber.h"
#include "kit/identity.h"
#include "kit/node_impl.h"
#include "kit/peers.h"
#include "kit/wire.h"

enum {
    PEER_MESSAGE_BYTES_MAX = 40 << 20, /* an import is one message */
    PEER_PAIRS_MAX = 10,
    PATH_SLOTS = 1024,
};

struct peers {
    struct arena *arena; /* lives as long as it */
    struct node *node;
    const struct topology *topology;
    const struct process *self;
    int instance;
    struct grpc_tls tls; /* authorities is NULL without */
    struct loop *loop;
    struct identity *identity;
    struct grpc_server *server;
    const struct rpc *paths[PATH_SLOTS]; /* what is served here, by path; open addressing */

    struct fiber_lock channels_lock;
    struct grpc_channel *channels[PROCESSES_MAX]; /* by process; atomic */
};

struct metadata {
    struct grpc_pair pairs[PEER_PAIRS_MAX];
    size_t n;
};
