/* Attempts to charge, and what stands between them and their provider: private to payments. */
#pragma once
#include "payments.impl.h"
#include "payments/provider.h"
#include "payments/sandbox.h"

#include "fiber/fiber.h"
#include "orders.api.h"

/* Requests that wait for a provider at once, far fewer than half of those that may be in work. */
enum { CALLS_MAX_AT_ONCE = 256 };

struct payments_state {
    struct sandbox *sandbox; /* NULL while it is switched off */
    int64_t started_us;      /* what was pending before then has lost whoever was asking for it */
    struct spin lock;        /* over what follows */
    size_t n_calls;
    char calls[CALLS_MAX_AT_ONCE][ID_CHARS_MAX + 1]; /* attempts whose provider is being asked */
};

struct payments_state *payments_state(struct request *rq);

/* True if this shop has a provider of this name. */
bool provider_known(struct request *rq, const char *name);

/* How long a provider may take, so that this request still answers in time. */
int64_t provider_timeout_us(struct request *rq);

/* Asks the provider of this name, off the scheduler's thread where it holds that.  What it answers,
 * and be it nothing, is in *ret; NO_SUCH_PROVIDER if it could not be asked. */
enum status provider_charge(struct request *rq, const char *name, const struct provider_charge *in,
                            struct provider_answer *ret);
enum status provider_refund(struct request *rq, const char *name, const struct provider_refund *in,
                            struct provider_answer *ret);
enum status provider_resolve(struct request *rq, const char *name, const char *key,
                             struct provider_answer *ret);

/* The attempt as others see it, or NO_SUCH_PAYMENT. */
enum status payment_load(struct request *rq, const char *id, Payment *out);

/* Jobs. */
enum status attempts_resolve(struct request *rq); /* learns what became of unresolved attempts */
enum status refunds_drive(struct request *rq);    /* gives back what is to be given back */

order_cancelled_handler refunds_on_order_cancelled;
