/* What auth keeps in memory. */
#pragma once
#include "auth/password.h"
#include "auth/token.h"
#include "auth/verified.h"
#include "kit/kit.h"

struct auth_state {
    struct token_key key;
    uint8_t identifier_key[SHA256_BYTES]; /* of the digests that stand for e-mails in events */
    struct hashers hashers;
    struct verified verified;
};

static inline struct auth_state *
auth_state_of(struct request *rq)
{
    return service_state(rq, sizeof(struct auth_state));
}
