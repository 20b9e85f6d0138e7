/* What auth keeps in memory. */
#pragma once
#include "auth/keyring.h"
#include "auth/password.h"
#include "auth/verified.h"
#include "kit/kit.h"

struct auth_state {
    struct keyring keys;
    uint8_t identifier_key[SHA256_BYTES]; /* of digests that stand for e-mails, and of links */
    struct hashers hashers;
    struct verified verified;
};

static inline struct auth_state *
auth_state_of(struct request *rq)
{
    return service_state(rq, sizeof(struct auth_state));
}
