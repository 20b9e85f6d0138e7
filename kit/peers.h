/*
 * The other processes: what this one asks of them by gRPC, and what it serves to them.
 *
 * A request takes along what it carries (its id, its trace, for whom it is made), so that a handler
 * does not know whether its caller stands in the same process.
 */
#pragma once
#include "kit/node.h"
#include "kit/topology.h"
#include "net/grpc.h"

struct peers;

struct peers_options {
    const struct topology *topology;
    const struct process *self;
    int instance;         /* which of our addresses we listen at, from 1 */
    const char *data_dir; /* of all processes of this machine: where identity is kept if nothing else is said */
};

enum status peers_open(struct node *node, const struct peers_options *options, struct arena *a,
                       struct peers **ret, const char **why);
/* Listens, and is healthy from here on. */
enum status peers_serve(struct peers *p, struct arena *a, const char **why);
/* Says to whoever asks for its health that it goes. */
void peers_leave(struct peers *p);
/* No more calls from others: those that run may end within grace_us. */
void peers_drain(struct peers *p, int64_t grace_us);
/* Nothing is asked of others any more; what is under way ends with UNAVAILABLE. */
void peers_hang_up(struct peers *p);
void peers_free(struct peers *p);

/* Where service runs; NULL in a node without other processes. */
const struct process *peers_home(const struct peers *p, const char *service);

/*
 * Asks the process `to`: settles what rq has written first, waits (parks), and takes over a failure's
 * reason.  As an rpc of ours it is repeated where it is safe, within rq's deadline.
 */
enum status peer_call(struct request *rq, const struct process *to, const struct rpc *rpc,
                      const ProtobufCMessage *in, ProtobufCMessage **ret);

/* Figures, as lines of Prometheus. */
void peers_metrics(const struct peers *p, struct text *out);

/* ---- what the kit itself serves to other processes ---- */

extern const struct server peer_server;
enum { PEER_READ_OUTBOX, PEER_LIST_DEAD_LETTERS, PEER_REDRIVE_DEAD_LETTER, PEER_REPLAY_PROJECTIONS, PEER_RPCS };
