/* Answers: a message as JSON, or a problem document (RFC 9457). */
#pragma once
#include "gateway/limits.h"
#include "gateway/routes.h"
#include "net/net.h"

/* What is sent; what an Idempotency-Key keeps is the part up to body_n. */
struct answer {
    int status;
    const char *content_type, *location, *etag; /* or NULL */
    const char *body;
    size_t body_n;

    int64_t retry_after_s; /* 0: none */
    const char *allow;     /* of a 405 or an OPTIONS, or NULL */
    bool page;             /* for people: HTML that a browser shows */
    bool respond_async;    /* as the client preferred */
};

/* The answer to an rpc that went well.  Its tag is the version, for If-Match; If-None-Match is not
 * asked for, since stock, roles and refused lines change without one. */
void answer_message(struct answer *out, struct request *rq, const struct route *route,
                    const ProtobufCMessage *message);

/* The answer to a failure: st, and what rq says of it. */
void answer_problem(struct answer *out, struct request *rq, enum status st);

/* The HTTP status of a failure. */
int problem_http(const struct request *rq, enum status st);

/* Sends it, with the request's trace; allowance may be NULL. */
void answer_send(const struct answer *out, const struct request *rq,
                 const struct allowance *allowance, struct http_exchange *x,
                 const struct http_request *in);

