#include "auth/password.h"

#include <sodium.h>
#include <string.h>

enum { PASSES = 2, MEMORY_BYTES = 19 << 20 };

/* What nobody's password gives: compared with where there is no account, so that an answer takes as
 * long for an unknown e-mail as for a wrong password. */
const char password_nobodys_hash[] = "$argon2id$v=19$m=19456,t=2,p=1$c291ayBub2JvZHkgc2FsdA"
                                     "$bm9ib2R5J3MgcGFzc3dvcmQgbWFrZXMgdGhlIGhhc2g";

struct hash_waiter {
    struct fiber *fiber;
    bool has_place;
    struct hash_waiter *next;
};

struct hashing {
    const char *password;
    char hash[crypto_pwhash_STRBYTES];
    bool done;
};

static void hash_now(void *arg);
static void compare_now(void *arg);
static void queue_up(struct hashers *h, struct hash_waiter *w);
static void drop_out(struct hashers *h, struct hash_waiter *w);

enum status
hashers_enter(struct hashers *h, int64_t deadline_us)
{
    struct hash_waiter me = {.fiber = fiber_self()};
    spin_lock(&h->lock);
    bool free_place = h->busy < HASHERS_MAX, full = h->waiting == HASH_WAITERS_MAX;
    if (free_place)
        h->busy++;
    else if (!full)
        queue_up(h, &me);
    spin_unlock(&h->lock);
    if (free_place)
        return OK;
    if (full)
        return RESOURCE_EXHAUSTED;

    bool woken = true, has_place = false;
    while (woken && !has_place) {
        woken = fiber_park_until(deadline_us);
        spin_lock(&h->lock);
        has_place = me.has_place;
        if (!woken && !has_place)
            drop_out(h, &me);
        spin_unlock(&h->lock);
    }
    if (has_place && !woken)
        fiber_park(); /* takes the wake that came with the place, just after the time */
    return has_place ? OK : RESOURCE_EXHAUSTED;
}

/* The place goes to whoever waits longest.  He is woken under the lock: he takes it before he may
 * end. */
void
hashers_leave(struct hashers *h)
{
    spin_lock(&h->lock);
    struct hash_waiter *w = h->first;
    if (w) {
        drop_out(h, w);
        w->has_place = true;
        fiber_wake(w->fiber);
    } else {
        h->busy--;
    }
    spin_unlock(&h->lock);
}

const char *
password_hash(struct arena *a, const char *password)
{
    struct hashing *work = arena_alloc(a, sizeof *work);
    work->password = password;
    fiber_offload(hash_now, work);
    return work->done ? work->hash : NULL;
}

bool
password_matches(const char *hash, const char *password)
{
    struct hashing work = {.password = password};
    strncpy(work.hash, hash ? hash : password_nobodys_hash, sizeof work.hash - 1);
    fiber_offload(compare_now, &work);
    return work.done && hash;
}

static void
hash_now(void *arg)
{
    struct hashing *work = arg;
    work->done = crypto_pwhash_str_alg(work->hash, work->password, strlen(work->password), PASSES,
                                       MEMORY_BYTES, crypto_pwhash_ALG_ARGON2ID13) == 0;
}

static void
compare_now(void *arg)
{
    struct hashing *work = arg;
    work->done = crypto_pwhash_str_verify(work->hash, work->password, strlen(work->password)) == 0;
}

static void
queue_up(struct hashers *h, struct hash_waiter *w)
{
    if (h->last)
        h->last->next = w;
    else
        h->first = w;
    h->last = w;
    h->waiting++;
}

static void
drop_out(struct hashers *h, struct hash_waiter *w)
{
    struct hash_waiter **at = &h->first, *before = NULL;
    while (*at != w) {
        before = *at;
        at = &(*at)->next;
    }
    *at = w->next;
    if (h->last == w)
        h->last = before;
    h->waiting--;
}
