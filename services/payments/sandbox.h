/*
 * The sandbox: a payment provider for tests and demonstrations.  It moves no money and behaves as
 * its token says: approve, decline, insufficient_funds, timeout (captures, then never answers),
 * slow (captures after a while), webhook_late, webhook_twice and webhook_first (capture, and leave
 * it to others to say so).
 *
 * Its ledger is a file of its own, one line of JSON for each movement, written before it answers:
 *
 *     {"time_us":1,"kind":"charge","key":"pay_…","of":"ord_…","amount":4299,"currency":"EUR",
 *      "outcome":"captured","reason":""}
 *
 * kind is charge (of an order), refund (of a charge's key) or void; outcome captured, declined or
 * refunded.  The ledger is not synced: it stands for another company's machine, which does not lose
 * its power together with ours.
 */
#pragma once
#include "payments/provider.h"

struct sandbox;

extern const struct provider sandbox_provider; /* its state is a struct sandbox */

/* Opens or makes the ledger.  NULL, and *why (in a), if it cannot be read and written.  All calls
 * on one sandbox come from one scheduler. */
struct sandbox *sandbox_open(const char *path, int64_t slow_us, struct arena *a, const char **why);
void sandbox_close(struct sandbox *s); /* NULL is allowed */
