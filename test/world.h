/*
 * The world of a test: a whole Souk in a fresh folder, in this process.
 *
 * A test asks it by rpc, as any caller it likes, or over HTTP on a port of its own.
 */
#pragma once
#include "kit/node.h"
#include "net/net.h"
#include "test/test.h"

struct world;

struct world *world_new(void);
/* With settings: name, value, …, NULL. */
struct world *world_with(const char *const *settings);
void world_free(struct world *w);

/* Stops it and starts it again on the same folder. */
void world_restart(struct world *w);

struct node *world_node(struct world *w);
struct arena *world_arena(struct world *w); /* lives as long as w */
const char *world_dir(struct world *w);

/* A new request in w's arena; who is a user's id, "" for nobody, "operator" or "guest:ord_…". */
struct request world_request(struct world *w, const char *who);

/* Serves service.name as the gateway would: permission, handler, disk.  ret is a Message **. */
enum status world_serve(struct world *w, struct request *rq, const char *service, const char *name,
                        const ProtobufCMessage *in, void *ret);
/* The same with a fresh request; its reason's code, or "" for OK. */
const char *world_ask(struct world *w, const char *who, const char *service, const char *name,
                      const ProtobufCMessage *in, void *ret);

/* Runs fn(arg) on a fiber of service's scheduler and waits. */
void world_run(struct world *w, const char *service, void (*fn)(void *arg), void *arg);

/* Waits until every subscriber has heard all that was said. */
void world_settle(struct world *w);

/* How many events of this topic (and subject, if it is not NULL) the journal has. */
int64_t world_events(struct world *w, const char *topic, const char *subject);

/* An account with a role, made on first use: its usr_ id. */
const char *world_staff(struct world *w, const char *email, const char *role);
/* A product of one variant, on sale; its sku. */
const char *world_product(struct world *w, const char *handle, int64_t price_minor, int64_t stock);

/* HTTP through the gateway, from 127.0.0.1.  headers: "name: value" lines, NULL-terminated, or NULL. */
int world_port(struct world *w);
struct http_answer world_http(struct world *w, const char *method, const char *path,
                              const char *const *headers, const char *body);
