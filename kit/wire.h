/* What processes say to each other, as the kit names it: kit/wire.proto. */
#pragma once
#include "kit/node.h"
#include "net/grpc.h"
#include "wire.pb-c.h"

/* Puts why rq failed with st into trailers (at most FAILURE_TRAILERS_MAX); gives how many. */
enum { FAILURE_TRAILERS_MAX = 1 };
size_t failure_write(const struct request *rq, enum status st, struct grpc_pair *ret);
/* Takes it from a reply into rq; st is the reply's status. */
void failure_read(struct request *rq, enum status st, const struct grpc_reply *reply);

/* The value of the first pair of this name, or NULL. */
const struct grpc_pair *pair_find(const struct grpc_pair *pairs, size_t n, const char *name);
/* The same as text; "" if it is not there. */
const char *pair_text(struct arena *a, const struct grpc_pair *pairs, size_t n, const char *name);

/* A message as a pair's value. */
struct grpc_pair pair_message(struct arena *a, const char *name, const ProtobufCMessage *message);
