/*
 * What payments needs of a payment provider.  Two real ones stand behind it: the sandbox in
 * process, and providers over HTTP.
 *
 * charge and refund are asked once per key; a provider must answer a repeated key with the first
 * outcome and move no money again.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"

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

struct provider {
    const char *name;
    bool blocks; /* its functions hold their thread while they wait: payments offloads them */
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
};
