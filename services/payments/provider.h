/*
 * What payments needs of a payment provider.  Two real ones stand behind it: the sandbox in process,
 * and providers over HTTP.
 *
 * charge and refund are asked once per key; a provider must answer a repeated key with the first
 * outcome and move no money again.  They may block: payments offloads them.
 */
#pragma once
#include <stdint.h>

#include "base/arena.h"

enum outcome {
    OUTCOME_CAPTURED,
    OUTCOME_DECLINED,
    OUTCOME_REFUNDED,
    OUTCOME_UNKNOWN, /* no answer: it may have happened; ask find() later */
    OUTCOME_ABSENT,  /* find(): the provider never heard of this key */
};

struct provider_answer {
    enum outcome outcome;
    const char *ref;    /* the provider's reference, "" if none */
    const char *reason; /* of a decline: "declined", "insufficient_funds" */
};

struct provider {
    const char *name;
    void (*charge)(void *state, struct arena *a, const char *key, const char *token,
                   int64_t amount_minor, const char *currency, struct provider_answer *ret);
    void (*refund)(void *state, struct arena *a, const char *key, const char *charge_key,
                   int64_t amount_minor, const char *currency, struct provider_answer *ret);
    void (*find)(void *state, struct arena *a, const char *key, struct provider_answer *ret);
};
