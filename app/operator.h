/*
 * The operator's way in: whoever may read the data folder may send any rpc.
 *
 * While Souk runs, a command sends the rpc over DIR/souk.sock; else it opens the folder itself.
 */
#pragma once
#include "app/app.h"
#include "net/net.h"

struct operator_link;

/* Connects to the Souk that holds the folder, or opens a node of our own; NULL after a complaint. */
struct operator_link *operator_open(const struct options *options);
/* Waits until what was done has reached every subscriber, if the node is ours. */
void operator_close(struct operator_link *link);

/* Calls service.name; *ret lives in a.  After a failure *why says what to tell the user. */
enum status operator_call(struct operator_link *link, struct arena *a, const char *service,
                          const char *name, const ProtobufCMessage *in, ProtobufCMessage **ret,
                          const char **why);

/* The other end: serves DIR/souk.sock for node. */
enum status operator_serve(struct loop *loop, struct node *node, struct arena *a,
                           struct http_server **ret, const char **why);
