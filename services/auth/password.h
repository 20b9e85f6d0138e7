/*
 * Passwords: Argon2id (RFC 9106), 19 MiB and two passes, a few at once.
 *
 * Each hash takes a core for about 18 ms, so they run beside the fibers, at most HASHERS_MAX at a
 * time; whoever comes then waits in turn, and past HASH_WAITERS_MAX or the deadline is sent away.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "fiber/fiber.h"

enum { HASHERS_MAX = 2, HASH_WAITERS_MAX = 200 };

/* The places at the hashers; zero is all free. */
struct hashers {
    struct spin lock;
    int busy, waiting;
    struct hash_waiter *first, *last;
};

/* Takes a place, waiting until deadline_us (env.mono_us's clock).  RESOURCE_EXHAUSTED without one.
 */
enum status hashers_enter(struct hashers *h, int64_t deadline_us);
void hashers_leave(struct hashers *h);

/* A hash that is nobody's, as costly to compare with as any. */
extern const char password_nobodys_hash[];

/* Both hash on a thread of the offload pool; call them with a place taken.  NULL: no memory for it.
 */
const char *password_hash(struct arena *a, const char *password);
/* hash NULL takes as long as a real one, and is false. */
bool password_matches(const char *hash, const char *password);
