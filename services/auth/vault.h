/*
 * Where auth's secrets stand: each a text under a name, made once and the same for whoever asks.
 *
 * In files of DIR/keys; or in rows of auth's store, where several processes share that: what one of
 * them signs, all must verify.
 */
#pragma once
#include "auth.impl.h"

enum { SECRETS_MAX = 64 };

struct vault {
    const char *dir;    /* the data folder; NULL: rows */
    struct request *rq; /* in whose name rows are read and written */
};

/* As the setting auth_keys says. */
struct vault vault_of(struct request *rq);

/* The text of this name; if there is none yet, what make gives, which is on disk when this returns.
 * FAILED_PRECONDITION with *why, or UNAVAILABLE. */
enum status vault_open(const struct vault *v, struct arena *a, const char *name,
                       const char *(*make)(struct arena *a), const char **ret, const char **why);
/* The names that there are, in no order. */
enum status vault_list(const struct vault *v, struct arena *a, const char ***ret, size_t *ret_n,
                       const char **why);
/* What cannot be dropped now stays. */
void vault_drop(const struct vault *v, struct arena *a, const char *name);
