#include <stdlib.h>

#include "base/hash.h"
#include "fiber/fiber.h"
#include "kit/kit.h"

enum { SLOTS = 2 * TALLY_KEYS_MAX };

struct tally {
    struct spin lock;
    size_t n; /* keys, without the empty one */
    int64_t beyond; /* counts under the empty key */
    struct slot {
        char *key;
        int64_t count;
    } *slots;
};

struct tally *
tally_new(void)
{
    struct tally *t = calloc(1, sizeof *t);
    if (!t || !(t->slots = calloc(SLOTS, sizeof *t->slots)))
        abort();
    return t;
}

void
tally_add(struct tally *t, const char *key, int64_t n)
{
    size_t at = hash64(key, strlen(key)) % SLOTS;
    spin_lock(&t->lock);
    while (t->slots[at].key && strcmp(t->slots[at].key, key) != 0)
        at = (at + 1) % SLOTS;
    struct slot *slot = &t->slots[at];
    if (!slot->key && t->n < TALLY_KEYS_MAX) {
        slot->key = strdup(key);
        t->n++;
    }
    if (slot->key)
        slot->count += n;
    else
        t->beyond += n;
    spin_unlock(&t->lock);
}

size_t
tally_take(struct tally *t, struct arena *a, const char *const **ret_keys,
           const int64_t **ret_counts)
{
    spin_lock(&t->lock);
    size_t room = t->n + 1, n = 0;
    const char **keys = arena_alloc(a, room * sizeof *keys);
    int64_t *counts = arena_alloc(a, room * sizeof *counts);
    for (size_t i = 0; i < SLOTS && t->n; i++) {
        struct slot *slot = &t->slots[i];
        if (!slot->key)
            continue;
        keys[n] = arena_strdup(a, slot->key);
        counts[n++] = slot->count;
        free(slot->key);
        *slot = (struct slot){NULL, 0};
        t->n--;
    }
    if (t->beyond) {
        keys[n] = "";
        counts[n++] = t->beyond;
        t->beyond = 0;
    }
    spin_unlock(&t->lock);
    *ret_keys = keys;
    *ret_counts = counts;
    return n;
}

void
tally_free(struct tally *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < SLOTS; i++)
        free(t->slots[i].key);
    free(t->slots);
    free(t);
}
