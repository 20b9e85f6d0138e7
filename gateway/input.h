/* A request's path, query, headers and body as the message of its rpc. */
#pragma once
#include "gateway/routes.h"
#include "net/net.h"

/* *ret is in rq's arena.  What is wrong is in rq, as for any failure. */
enum status input_read(struct request *rq, const struct route_match *match,
                       const struct http_request *in, ProtobufCMessage **ret);

/* Sets the fields that a query string names; present gets a bit for each. */
struct faults;
void input_query(struct faults *f, const struct route *route, const char *query,
                 ProtobufCMessage *out, uint64_t *present);

/* The version that an If-Match header asks for: "\"7\"" → 7, "*" → 0 (none in particular), and -1
 * for what is no tag of ours, which therefore no version matches. */
int64_t input_if_match(const char *header);

/* True if a Content-Type header names this media type, with no parameter but charset=utf-8. */
bool input_media_type(const char *header, const char *type);
