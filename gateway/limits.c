#include "gateway/limits.h"

#include <arpa/inet.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/time.h"
#include "fiber/fiber.h"

enum { SETS = 8192, WAYS = 4 };

/* A bucket as one time: when it will be full again (the generic cell rate algorithm). */
struct bucket {
    uint64_t key; /* a keyed hash; 0 is a free slot */
    int64_t full_us;
};

struct limits {
    struct spin lock;
    int64_t each_us, whole_us; /* what one request takes, and what a full bucket holds */
    int64_t burst;
    unsigned char secret[crypto_shorthash_KEYBYTES];
    struct bucket buckets[SETS][WAYS];
};

struct limits *
limits_new(int64_t per_s, int64_t burst)
{
    struct limits *l = calloc(1, sizeof *l);
    if (!l)
        abort();
    l->each_us = SECOND_US / per_s > 0 ? SECOND_US / per_s : 1;
    l->burst = burst;
    l->whole_us = l->each_us * burst;
    env.random(l->secret, sizeof l->secret);
    return l;
}

void
limits_free(struct limits *l)
{
    free(l);
}

static uint64_t
keyed_hash(const struct limits *l, const char *key)
{
    uint64_t hash;
    _Static_assert(sizeof hash == crypto_shorthash_BYTES, "one word");
    crypto_shorthash((unsigned char *)&hash, (const unsigned char *)key, strlen(key), l->secret);
    return hash ? hash : 1;
}

static struct bucket *
bucket_of(struct limits *l, uint64_t key)
{
    struct bucket *set = l->buckets[key % SETS], *idlest = &set[0];
    for (int i = 0; i < WAYS; i++) {
        if (set[i].key == key)
            return &set[i];
        if (set[i].full_us < idlest->full_us)
            idlest = &set[i];
    }
    *idlest = (struct bucket){.key = key};
    return idlest;
}

bool
limits_take(struct limits *l, const char *key, int64_t now_us, struct allowance *ret)
{
    uint64_t hash = keyed_hash(l, key);
    spin_lock(&l->lock);
    struct bucket *b = bucket_of(l, hash);
    int64_t owed_us = b->full_us > now_us ? b->full_us - now_us : 0;
    bool taken = owed_us + l->each_us <= l->whole_us;
    if (taken) {
        owed_us += l->each_us;
        b->full_us = now_us + owed_us;
    }
    spin_unlock(&l->lock);
    int64_t wait_us = taken ? owed_us : owed_us + l->each_us - l->whole_us;
    *ret = (struct allowance){
        .counted = true,
        .limit = l->burst,
        .remaining = (l->whole_us - owed_us) / l->each_us,
        .reset_s = (wait_us + SECOND_US - 1) / SECOND_US,
    };
    return taken;
}

void
limits_address_key(const char *address, char ret[ADDRESS_KEY_CHARS])
{
    unsigned char bytes[16];
    if (strchr(address, ':') && inet_pton(AF_INET6, address, bytes) == 1) {
        static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff}; /* ::ffff:192.0.2.1 */
        uint64_t network;
        memcpy(&network, memcmp(bytes, mapped, sizeof mapped) == 0 ? bytes + 8 : bytes,
               sizeof network);
        snprintf(ret, ADDRESS_KEY_CHARS, "ip6:%016llx", (unsigned long long)network);
        return;
    }
    snprintf(ret, ADDRESS_KEY_CHARS, "ip:%.40s", address);
}
