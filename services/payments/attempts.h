/* Attempts to charge, and what stands between them and their provider: private to payments. */
#pragma once
#include "payments.impl.h"
#include "payments/provider.h"
#include "payments/remote.h"
#include "payments/sandbox.h"

#include <assert.h>

#include "fiber/fiber.h"
#include "orders.api.h"

/* Requests that wait for a provider at once, far fewer than half of those that may be in work.
 * Where each holds a thread of the offload pool, all of them together hold fewer than half. */
enum {
    CALLS_MAX_AT_ONCE = 256,
    BLOCKING_CALLS_MAX = 16,
    BLOCKING_OTHERS_MAX = 6, /* refunds, lists */
};
static_assert(2 * (BLOCKING_CALLS_MAX + BLOCKING_OTHERS_MAX) < OFFLOAD_THREADS_MAX,
              "others need the pool too");

enum { SECRET_CHARS = 64 };

struct payments_state {
    const struct provider *provider; /* the sandbox, here or far; NULL while it is switched off */
    void *provider_state;
    struct sandbox *sandbox; /* in process, or NULL */
    struct remote remote;
    const char *secret; /* that callbacks are signed with: the setting, or the next */
    char own_secret[SECRET_CHARS + 1];
    int64_t started_us; /* what was pending before then has lost whoever asked for it; 0: that is
                           not known */
    size_t calls_max;   /* of n_calls */
    struct spin lock;   /* over what follows */
    size_t n_others;    /* refunds and lists that a blocking provider is being asked for */
    size_t n_calls;
    char calls[CALLS_MAX_AT_ONCE][ID_CHARS_MAX + 1]; /* attempts whose provider is being asked */
};

struct payments_state *payments_state(struct request *rq);

/* Opens what the settings say. */
enum status providers_start(struct request *rq);

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

/* UNAVAILABLE if the provider did not say, RESOURCE_EXHAUSTED if there are more than in->max. */
enum status provider_list(struct request *rq, const struct provider_list *in,
                          struct provider_movement **ret, size_t *ret_n);

/* What a callback says, checked already: recorded unless it is known. */
enum status callback_take(struct request *rq, const SandboxCallback *news,
                          TakeCallbackResponse *out);
/* The callbacks of the sandbox in process that are due, of one attempt unless key is NULL. */
void callbacks_deliver(struct request *rq, const char *key);

/* Writes an outcome down, unless another was faster: then his is told. */
enum status attempt_record(struct request *rq, const AttemptRow *attempt,
                           const struct provider_answer *answer, Payment *out);
/* The same for a refund; NOT_REFUNDABLE if the provider declined it. */
enum status refund_record(struct request *rq, const RefundRow *refund,
                          const struct provider_answer *answer);

/* The attempt as others see it, or NO_SUCH_PAYMENT. */
enum status payment_load(struct request *rq, const char *id, Payment *out);

/* Jobs. */
enum status attempts_resolve(struct request *rq); /* learns what became of unresolved attempts */
enum status refunds_drive(struct request *rq);    /* gives back what is to be given back */

enum status reconcile_yesterday(struct request *rq);

/* A task: makes a charge that was written down and not asked for, when it finds a place. */
task_fn attempt_begin_late;

order_cancelled_handler refunds_on_order_cancelled;
order_created_handler charges_on_order_created;
