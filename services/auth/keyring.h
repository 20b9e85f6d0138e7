/*
 * The keys that tokens are signed with, each a file DIR/keys/auth-es256-<when it was made>.json.
 *
 * The newest signs; the others verify what they signed until the last of it has expired.  All are
 * in the JWK Set.  For any thread.
 */
#pragma once
#include "auth/token.h"
#include "base/status.h"
#include "fiber/fiber.h"

enum { KEYRING_MAX = 16 };
#define KEY_AGE_MAX_US (90 * DAY_US) /* an older one gets a successor */

struct ring_key {
    struct token_key key;
    int64_t made_at_us; /* whole seconds */
};

struct keyring {
    struct spin lock;
    int64_t read_us; /* when keyring_reread read last, on env.mono_us's clock */
    size_t n;
    struct ring_key keys[KEYRING_MAX]; /* newest first */
};

/*
 * Reads the keys in dir; makes one if there is none or the newest is too old, and deletes those
 * whose successor is older than token_life_us.  At start, and from time to time.
 * FAILED_PRECONDITION with *why; the ring is then as it was.
 */
enum status keyring_tend(struct keyring *ring, struct arena *a, const char *dir, int64_t now_us,
                         int64_t token_life_us, const char **why);

/* The one that signs. */
void keyring_newest(struct keyring *ring, struct token_key *ret);
/* False if there is no key of this id. */
bool keyring_find(struct keyring *ring, const char *id, struct token_key *ret);
/* Another process that shares dir may have made a key since: reads the keys anew, at most once a
 * second.  True if it did; a folder that cannot be read leaves the ring as it was. */
bool keyring_reread(struct keyring *ring, struct arena *a, const char *dir);
/* The public keys as a JWK Set (RFC 7517). */
const char *keyring_set(struct keyring *ring, struct arena *a);
