/*
 * `souk sandbox`: the sandbox as a server of its own, reached over HTTP as a real gateway is.
 * It stands here, and not in payments, because a command of app/ runs it.
 *
 * - POST /charges, with idempotency-key pay_…: {order_id, token, amount, currency}
 * - POST /charges/{key}/resolve: what became of it; an unknown key is void from then on
 * - POST /refunds, with idempotency-key rfd_…: {charge, amount, currency}
 *
 * answer 200 {outcome: captured | declined | refunded | pending | absent, ref, reason};
 *
 * - GET /movements?from=&to=&after= answers 200 {data[{time, kind, key, of, amount, currency,
 *   outcome}], next}
 *
 * all with "authorization: Bearer SECRET".  Outcomes are told to callback_url too, signed with the
 * secret (services/payments/signature.h), a few times until they are taken.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"

/* In percent of the requests that move money or ask about it; the first five exclude each other. */
struct sandbox_faults {
    int drop_before, drop_after;   /* the connection is closed, before or behind the deed */
    int error_before, error_after; /* 500 */
    int delay;                     /* the deed is done, the answer comes after delay_ms */
    int callback_lost, callback_twice, callback_late, callback_first;
    int delay_ms; /* 15,000 unless it is set */
    int seed;     /* of the dice; 1 unless it is set */
};

/* Reads "drop_before=5,delay=2,delay_ms=3000".  False, and *why, for anything else. */
bool sandbox_faults_read(struct sandbox_faults *f, const char *text, struct arena *a,
                         const char **why);

struct sandbox_server_options {
    const char *listen, *ledger, *secret;
    const char *callback_url; /* or NULL: none are sent */
    int64_t latency_us, slow_us;
    struct sandbox_faults faults;
};

struct sandbox_server;

/* Strings in options live as long as it does.  FAILED_PRECONDITION and *why if it cannot serve. */
enum status sandbox_server_start(const struct sandbox_server_options *options, struct arena *a,
                                 struct sandbox_server **ret, const char **why);
int sandbox_server_port(const struct sandbox_server *s);
/* Lets running requests end; callbacks that still wait are dropped. */
void sandbox_server_stop(struct sandbox_server *s);
