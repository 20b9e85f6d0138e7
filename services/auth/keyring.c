#include "auth/keyring.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "auth/key_file.h"
#include "base/env.h"
#include "base/text.h"
#include "base/time.h"

static const char prefix[] = "auth-es256-", suffix[] = ".json";

static void take_over(struct keyring *ring, const struct keyring *fresh);
static enum status read_ring(struct keyring *out, struct arena *a, const char *dir,
                             const char **why);
static enum status add_key(struct keyring *out, struct arena *a, const char *dir,
                           int64_t made_at_us, const char **why);
static const char *file_name(struct arena *a, int64_t made_at_us);
static int64_t made_at(const char *name);
static int newest_first(const void *a, const void *b);
static void drop_spent(struct keyring *ring, struct arena *a, const char *dir, int64_t now_us,
                       int64_t token_life_us);

enum status
keyring_tend(struct keyring *ring, struct arena *a, const char *dir, int64_t now_us,
             int64_t token_life_us, const char **why)
{
    struct keyring *fresh = arena_alloc(a, sizeof *fresh);
    enum status st = read_ring(fresh, a, dir, why);
    if (st)
        return st;
    drop_spent(fresh, a, dir, now_us, token_life_us);
    bool aged = fresh->n == 0 || now_us - fresh->keys[0].made_at_us > KEY_AGE_MAX_US;
    if (aged && fresh->n < KEYRING_MAX) {
        st = add_key(fresh, a, dir, now_us - now_us % SECOND_US, why);
        if (st)
            return st;
        qsort(fresh->keys, fresh->n, sizeof fresh->keys[0], newest_first);
    }
    take_over(ring, fresh);
    return OK;
}

bool
keyring_reread(struct keyring *ring, struct arena *a, const char *dir)
{
    int64_t now_us = env.mono_us();
    spin_lock(&ring->lock);
    bool due = ring->read_us == 0 || now_us - ring->read_us >= SECOND_US;
    if (due)
        ring->read_us = now_us;
    spin_unlock(&ring->lock);
    const char *why;
    struct keyring *fresh = arena_alloc(a, sizeof *fresh);
    if (!due || read_ring(fresh, a, dir, &why) || fresh->n == 0)
        return false;
    take_over(ring, fresh);
    return true;
}

static void
take_over(struct keyring *ring, const struct keyring *fresh)
{
    spin_lock(&ring->lock);
    ring->n = fresh->n;
    memcpy(ring->keys, fresh->keys, sizeof ring->keys);
    spin_unlock(&ring->lock);
}

void
keyring_newest(struct keyring *ring, struct token_key *ret)
{
    spin_lock(&ring->lock);
    *ret = ring->keys[0].key;
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
read_ring(struct keyring *out, struct arena *a, const char *dir, const char **why)
{
    const char *folder = arena_printf(a, "%s/keys", dir);
    DIR *listing = opendir(folder);
    if (!listing && errno == ENOENT)
        return OK;
    if (!listing) {
        *why = arena_printf(a, "%s: cannot be read: %s", folder, strerror(errno));
        return FAILED_PRECONDITION;
    }
    enum status st = OK;
    for (const struct dirent *entry; st == OK && (entry = readdir(listing));) {
        int64_t made_at_us = made_at(entry->d_name);
        if (made_at_us >= 0)
            st = add_key(out, a, dir, made_at_us, why);
    }
    closedir(listing);
    if (st == OK)
        qsort(out->keys, out->n, sizeof out->keys[0], newest_first);
    return st;
}

/* Reads the file, or makes it. */
static enum status
add_key(struct keyring *out, struct arena *a, const char *dir, int64_t made_at_us, const char **why)
{
    const char *name = file_name(a, made_at_us), *jwk;
    if (out->n == KEYRING_MAX) {
        *why = arena_printf(a, "%s/keys: more than %d keys", dir, KEYRING_MAX);
        return FAILED_PRECONDITION;
    }
    enum status st = key_file_open(a, dir, name, token_key_make, &jwk, why);
    if (st)
        return st;
    struct ring_key *place = &out->keys[out->n];
    if (!token_key_read(jwk, &place->key)) {
        *why = arena_printf(a, "%s/keys/%s is no P-256 key", dir, name);
        return FAILED_PRECONDITION;
    }
    place->made_at_us = made_at_us;
    out->n++;
    return OK;
}

static const char *
file_name(struct arena *a, int64_t made_at_us)
{
    return arena_printf(a, "%s%lld%s", prefix, (long long)(made_at_us / SECOND_US), suffix);
}

/* When the key in a file of this name was made, or -1 if it is none. */
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

/* A key stops signing when its successor is made.  A file that cannot be deleted is tried again. */
static void
drop_spent(struct keyring *ring, struct arena *a, const char *dir, int64_t now_us,
           int64_t token_life_us)
{
    for (size_t i = 1; i < ring->n; i++) {
        if (now_us - ring->keys[i - 1].made_at_us <= token_life_us)
            continue;
        for (size_t j = i; j < ring->n; j++)
            unlink(arena_printf(a, "%s/keys/%s", dir, file_name(a, ring->keys[j].made_at_us)));
        ring->n = i;
    }
}
