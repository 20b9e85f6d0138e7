/*
 * How often somebody may ask: a token bucket for each address and each account.
 *
 * The table is bounded: where it is full, whoever is least in debt is forgotten.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct limits;

struct allowance {
    bool counted; /* false: no limit applies */
    int64_t limit, remaining;
    int64_t reset_s; /* until the bucket is full again; where refused, until one more is allowed */
};

/* burst at once, per_s in the long run. */
struct limits *limits_new(int64_t per_s, int64_t burst);
void limits_free(struct limits *l);

/* Takes one for key; false if there is none left.  now_us is a monotonic clock's.  Any thread. */
bool limits_take(struct limits *l, const char *key, int64_t now_us, struct allowance *ret);

/* The key of an address: an IPv6 network of 64 bits is one, for its owner has all of it. */
enum { ADDRESS_KEY_CHARS = 48 };
void limits_address_key(const char *address, char ret[ADDRESS_KEY_CHARS]);
