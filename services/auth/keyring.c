#include "auth/keyring.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/time.h"

static const char prefix[] = "auth-es256-", suffix[] = ".json";

static enum status read_ring(struct keyring *out, struct arena *a, const struct vault *vault,
                             const char **why);
static enum status add_key(struct keyring *out, struct arena *a, const struct vault *vault,
                           int64_t made_at_us, const char **why);
static int64_t ripens_us(const struct vault *vault);
static size_t signer_of(const struct keyring *ring, const struct vault *vault, int64_t now_us);
static const char *secret_name(struct arena *a, int64_t made_at_us);
static int64_t made_at(const char *name);
static int newest_first(const void *a, const void *b);
static void drop_spent(struct keyring *ring, struct arena *a, const struct vault *vault,
                       int64_t now_us, int64_t token_life_us);

enum status
keyring_tend(struct keyring *ring, struct arena *a, const struct vault *vault, int64_t now_us,
             int64_t token_life_us, const char **why)
{
    struct keyring *fresh = arena_alloc(a, sizeof *fresh);
    enum status st = read_ring(fresh, a, vault, why);
    if (st)
        return st;
    drop_spent(fresh, a, vault, now_us, token_life_us);
    bool aged = fresh->n == 0 || now_us - fresh->keys[0].made_at_us > KEY_AGE_MAX_US;
    if (aged && fresh->n < KEYRING_MAX) {
        st = add_key(fresh, a, vault, now_us - now_us % SECOND_US, why);
        if (st == OK)
            st = read_ring(fresh, a, vault, why); /* another process may have made one too */
        if (st)
            return st;
    }
    spin_lock(&ring->lock);
    ring->n = fresh->n;
    ring->signer = signer_of(fresh, vault, now_us);
    memcpy(ring->keys, fresh->keys, sizeof ring->keys);
    spin_unlock(&ring->lock);
    return OK;
}

void
keyring_signer(struct keyring *ring, struct token_key *ret)
{
    spin_lock(&ring->lock);
    *ret = ring->keys[ring->signer].key;
    spin_unlock(&ring->lock);
}

bool
keyring_find(struct keyring *ring, const char *id, struct token_key *ret)
{
    bool found = false;
    spin_lock(&ring->lock);
    for (size_t i = 0; i < ring->n && !found; i++)
        if (strcmp(ring->keys[i].key.id, id) == 0) {
            *ret = ring->keys[i].key;
            found = true;
        }
    spin_unlock(&ring->lock);
    return found;
}

const char *
keyring_set(struct keyring *ring, struct arena *a)
{
    struct token_key *keys = arena_alloc(a, KEYRING_MAX * sizeof *keys);
    spin_lock(&ring->lock);
    size_t n = ring->n;
    for (size_t i = 0; i < n; i++)
        keys[i] = ring->keys[i].key;
    spin_unlock(&ring->lock);
    return token_key_set(a, keys, n);
}

static enum status
read_ring(struct keyring *out, struct arena *a, const struct vault *vault, const char **why)
{
    const char **names;
    size_t n;
    enum status st = vault_list(vault, a, &names, &n, why);
    out->n = 0;
    for (size_t i = 0; st == OK && i < n; i++) {
        int64_t made_at_us = made_at(names[i]);
        if (made_at_us >= 0)
            st = add_key(out, a, vault, made_at_us, why);
    }
    if (st == OK)
        qsort(out->keys, out->n, sizeof out->keys[0], newest_first);
    return st;
}

/* Reads the key, or makes it. */
static enum status
add_key(struct keyring *out, struct arena *a, const struct vault *vault, int64_t made_at_us,
        const char **why)
{
    const char *name = secret_name(a, made_at_us), *jwk;
    if (out->n == KEYRING_MAX) {
        *why = arena_printf(a, "more than %d keys %s...%s", KEYRING_MAX, prefix, suffix);
        return FAILED_PRECONDITION;
    }
    enum status st = vault_open(vault, a, name, token_key_make, &jwk, why);
    if (st)
        return st;
    struct ring_key *place = &out->keys[out->n];
    if (!token_key_read(jwk, &place->key)) {
        *why = arena_printf(a, "%s is no P-256 key", name);
        return FAILED_PRECONDITION;
    }
    place->made_at_us = made_at_us;
    out->n++;
    return OK;
}

/* A file is this process's alone. */
static int64_t
ripens_us(const struct vault *vault)
{
    return vault->dir ? 0 : KEY_RIPENS_US;
}

/* The newest that every process has read by now; where all are newer than that, the oldest, for
 * whoever has any has that. */
static size_t
signer_of(const struct keyring *ring, const struct vault *vault, int64_t now_us)
{
    size_t i = 0;
    while (i + 1 < ring->n && now_us - ring->keys[i].made_at_us < ripens_us(vault))
        i++;
    return i;
}

static const char *
secret_name(struct arena *a, int64_t made_at_us)
{
    return arena_printf(a, "%s%lld%s", prefix, (long long)(made_at_us / SECOND_US), suffix);
}

/* When the key of this name was made, or -1 if it is none. */
static int64_t
made_at(const char *name)
{
    size_t n = strlen(name), around = strlen(prefix) + strlen(suffix);
    char digits[24];
    int64_t seconds;
    if (n <= around || n - around >= sizeof digits || !text_starts(name, prefix) ||
        strcmp(name + n - strlen(suffix), suffix) != 0)
        return -1;
    memcpy(digits, name + strlen(prefix), n - around);
    digits[n - around] = '\0';
    if (!int_parse(digits, &seconds) || seconds < 0 || seconds > INT64_MAX / SECOND_US)
        return -1;
    return seconds * SECOND_US;
}

static int
newest_first(const void *a, const void *b)
{
    const struct ring_key *first = a, *second = b;
    return (first->made_at_us < second->made_at_us) - (first->made_at_us > second->made_at_us);
}

/* A key stops signing when its successor signs.  One that cannot be dropped is tried again. */
static void
drop_spent(struct keyring *ring, struct arena *a, const struct vault *vault, int64_t now_us,
           int64_t token_life_us)
{
    for (size_t i = 1; i < ring->n; i++) {
        if (now_us - ring->keys[i - 1].made_at_us <= token_life_us + ripens_us(vault))
            continue;
        for (size_t j = i; j < ring->n; j++)
            vault_drop(vault, a, secret_name(a, ring->keys[j].made_at_us));
        ring->n = i;
    }
}
