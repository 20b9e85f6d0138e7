#include "auth/verified.h"

#include <string.h>

#include "base/text.h"

enum { WAYS = 4 };

static struct verified_token *set_of(struct verified *v, const uint8_t digest[SHA256_BYTES]);
static bool fits(const char *id);

bool
verified_find(struct verified *v, struct arena *a, const char *token, int64_t now_us,
              struct token_claims *ret, uint64_t *ret_generation)
{
    uint8_t digest[SHA256_BYTES];
    sha256(token, strlen(token), digest);
    struct verified_token found = {0};

    spin_lock(&v->lock);
    *ret_generation = v->generation;
    const struct verified_token *set = set_of(v, digest);
    for (int i = 0; i < WAYS; i++)
        if (set[i].expires_at_us > now_us && memcmp(set[i].digest, digest, sizeof digest) == 0)
            found = set[i];
    spin_unlock(&v->lock);

    if (found.expires_at_us == 0)
        return false;
    *ret = (struct token_claims){
        .user_id = arena_strdup(a, found.user_id),
        .session_id = arena_strdup(a, found.session_id),
        .order_id = arena_strdup(a, found.order_id),
        .expires_at_us = found.expires_at_us,
    };
    return true;
}

void
verified_add(struct verified *v, const char *token, const struct token_claims *claims,
             uint64_t generation)
{
    if (!fits(claims->user_id) || !fits(claims->session_id) || !fits(claims->order_id))
        return;
    struct verified_token new = {.expires_at_us = claims->expires_at_us};
    sha256(token, strlen(token), new.digest);
    strcpy(new.user_id, claims->user_id);
    strcpy(new.session_id, claims->session_id);
    strcpy(new.order_id, claims->order_id);

    spin_lock(&v->lock);
    if (generation == v->generation) {
        struct verified_token *set = set_of(v, new.digest), *place = set;
        for (int i = 0; i < WAYS; i++) {
            if (set[i].expires_at_us < place->expires_at_us)
                place = &set[i];
            if (memcmp(set[i].digest, new.digest, sizeof new.digest) == 0) {
                place = &set[i];
                break;
            }
        }
        *place = new;
    }
    spin_unlock(&v->lock);
}

void
verified_drop(struct verified *v, const char *user_id, const char *session_id)
{
    spin_lock(&v->lock);
    v->generation++;
    for (int i = 0; i < VERIFIED_MAX; i++) {
        struct verified_token *t = &v->tokens[i];
        if (t->expires_at_us && t->user_id[0] && strcmp(t->user_id, user_id) == 0 &&
            (text_empty(session_id) || strcmp(t->session_id, session_id) == 0))
            t->expires_at_us = 0;
    }
    spin_unlock(&v->lock);
}

static struct verified_token *
set_of(struct verified *v, const uint8_t digest[SHA256_BYTES])
{
    uint32_t start;
    memcpy(&start, digest, sizeof start);
    return &v->tokens[start % (VERIFIED_MAX / WAYS) * WAYS];
}

static bool
fits(const char *id)
{
    return strlen(id) <= ID_CHARS_MAX;
}
