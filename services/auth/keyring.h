/*
 * The keys that tokens are signed with, each auth-es256-<when it was made>.json in the vault.
 *
 * The newest signs, where processes share it as soon as all have read it; the others verify what they
 * signed until the last of it has expired.  All are in the JWK Set.  For any thread.
 */
#pragma once
#include "auth/token.h"
#include "auth/vault.h"
#include "base/status.h"
#include "fiber/fiber.h"

enum { KEYRING_MAX = 16 };
#define KEY_AGE_MAX_US (90 * DAY_US)   /* an older one gets a successor */
#define KEY_TEND_US    MINUTE_US       /* the ring is read so often */
#define KEY_RIPENS_US  (3 * KEY_TEND_US) /* by then each process has read it */

struct ring_key {
    struct token_key key;
    int64_t made_at_us; /* whole seconds */
};

struct keyring {
    struct spin lock;
    size_t n, signer;
    struct ring_key keys[KEYRING_MAX]; /* newest first */
};

/*
 * Reads the keys in the vault; makes one if there is none or the newest is too old, and deletes those
 * whose successor is older than token_life_us.  At start, and from time to time.
 * Otherwise *why says what is wrong; the ring is then as it was.
 */
enum status keyring_tend(struct keyring *ring, struct arena *a, const struct vault *vault,
                         int64_t now_us, int64_t token_life_us, const char **why);

/* The one that signs. */
void keyring_signer(struct keyring *ring, struct token_key *ret);
/* False if there is no key of this id. */
bool keyring_find(struct keyring *ring, const char *id, struct token_key *ret);
/* The public keys as a JWK Set (RFC 7517). */
const char *keyring_set(struct keyring *ring, struct arena *a);
