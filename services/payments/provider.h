/*
 * What payments needs of a payment provider.  Two stand behind it: the sandbox in process
 * (sandbox.c), and the sandbox as a server of its own, reached over HTTP as a real gateway is
 * (remote.c).
 *
 * charge and refund are asked once per key; a provider must answer a repeated key with the first
 * outcome and move no money again.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"

enum outcome {
    OUTCOME_CAPTURED,
    OUTCOME_DECLINED,
    OUTCOME_REFUNDED,
    OUTCOME_UNKNOWN, /* no answer: it may have happened; ask resolve() later */
    OUTCOME_ABSENT,  /* resolve(): it has not happened, and will not any more */
};

struct provider_answer {
    enum outcome outcome;
    const char *ref;    /* the provider's reference, "" if none */
    const char *reason; /* of a decline: "declined", "insufficient_funds" */
};

struct provider_charge {
    const char *key, *order_id, *token;
    int64_t amount_minor;
    const char *currency;
    int64_t timeout_us; /* after it the answer is OUTCOME_UNKNOWN */
};

struct provider_refund {
    const char *key, *charge_key;
    int64_t amount_minor;
    const char *currency;
    int64_t timeout_us;
};

/* A line of the provider's own books. */
struct provider_movement {
    int64_t time_us;
    const char *kind; /* "charge", "refund", or "void": a key that will never be a charge */
    const char *key, *of;
    int64_t amount_minor;
    const char *currency, *outcome; /* "captured", "refunded", "declined" */
};

struct provider_list {
    int64_t from_us, to_us; /* the second is the first moment behind */
    size_t max;
    int64_t timeout_us;
};

struct provider {
    const char *name;
    bool blocks; /* each of its calls holds a thread of the offload pool while it waits */
    void (*charge)(void *state, struct arena *a, const struct provider_charge *in,
                   struct provider_answer *ret);
    void (*refund)(void *state, struct arena *a, const struct provider_refund *in,
                   struct provider_answer *ret);
    /*
     * What became of a charge.  A key that the provider never heard of is void from then on, so
     * that a charge still under way with it is declined: then the answer is OUTCOME_ABSENT.
     */
    void (*resolve)(void *state, struct arena *a, const char *key, int64_t timeout_us,
                    struct provider_answer *ret);
    /* Its movements of a time, oldest first.  UNAVAILABLE if it did not say, RESOURCE_EXHAUSTED if
     * they are more than max. */
    enum status (*list)(void *state, struct arena *a, const struct provider_list *in,
                        struct provider_movement **ret, size_t *ret_n);
};
