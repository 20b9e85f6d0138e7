#include "auth/vault.h"

#include <dirent.h>
#include <errno.h>
#include <unistd.h>

#include "kit/key_file.h"

static enum status open_row(const struct vault *v, struct arena *a, const char *name,
                            const char *(*make)(struct arena *a), const char **ret,
                            const char **why);
static enum status list_rows(const struct vault *v, struct arena *a, const char ***ret,
                             size_t *ret_n, const char **why);
static enum status list_files(const struct vault *v, struct arena *a, const char ***ret,
                              size_t *ret_n, const char **why);
static enum status no_store(enum status st, const char **why);

struct vault
vault_of(struct request *rq)
{
    bool rows = text_equal(setting(rq->node, "auth_keys"), "store");
    return (struct vault){.dir = rows ? NULL : node_data_dir(rq->node), .rq = rq};
}

enum status
vault_open(const struct vault *v, struct arena *a, const char *name,
           const char *(*make)(struct arena *a), const char **ret, const char **why)
{
    return v->dir ? key_file_open(a, arena_printf(a, "%s/keys", v->dir), name, make, ret, why)
                  : open_row(v, a, name, make, ret, why);
}

enum status
vault_list(const struct vault *v, struct arena *a, const char ***ret, size_t *ret_n,
           const char **why)
{
    *ret = arena_alloc(a, SECRETS_MAX * sizeof **ret);
    *ret_n = 0;
    return v->dir ? list_files(v, a, ret, ret_n, why) : list_rows(v, a, ret, ret_n, why);
}

void
vault_drop(const struct vault *v, struct arena *a, const char *name)
{
    if (v->dir) {
        unlink(arena_printf(a, "%s/keys/%s", v->dir, name));
        return;
    }
    struct tx *tx = tx_begin(v->rq);
    delete_secret(tx, .name = name);
    tx_commit(tx);
}

/* Writers take turns, so that of two processes that find nothing one makes it. */
static enum status
open_row(const struct vault *v, struct arena *a, const char *name,
         const char *(*make)(struct arena *a), const char **ret, const char **why)
{
    const char *text = NULL;
    struct tx *tx = tx_begin(v->rq);
    enum status found = find_secret(tx, &text, .name = name);
    if (found == NOT_FOUND) {
        text = make(a);
        insert_secret(tx, .name = name, .content = text, .now_us = v->rq->now_us);
    }
    enum status st = tx_commit(tx);
    if (st == OK && found == NOT_FOUND)
        st = request_settle(v->rq);
    if (st)
        return no_store(st, why);
    *ret = arena_strdup(a, text);
    return OK;
}

static enum status
list_rows(const struct vault *v, struct arena *a, const char ***ret, size_t *ret_n,
          const char **why)
{
    SecretName **names;
    size_t n;
    struct tx *tx = tx_begin_read(v->rq);
    enum status st = list_secrets(tx, &names, &n, .rows = SECRETS_MAX);
    tx_end(tx);
    if (st)
        return no_store(st, why);
    for (size_t i = 0; i < n; i++)
        (*ret)[(*ret_n)++] = arena_strdup(a, names[i]->name);
    return OK;
}

static enum status
list_files(const struct vault *v, struct arena *a, const char ***ret, size_t *ret_n,
           const char **why)
{
    const char *folder = arena_printf(a, "%s/keys", v->dir);
    DIR *listing = opendir(folder);
    if (!listing && errno == ENOENT)
        return OK;
    if (!listing) {
        *why = arena_printf(a, "%s: cannot be read: %s", folder, strerror(errno));
        return FAILED_PRECONDITION;
    }
    for (const struct dirent *entry; *ret_n < SECRETS_MAX && (entry = readdir(listing));)
        (*ret)[(*ret_n)++] = arena_strdup(a, entry->d_name);
    closedir(listing);
    return OK;
}

static enum status
no_store(enum status st, const char **why)
{
    *why = "auth's store does not give or take its keys now";
    return st;
}
