#include "catalog/views.h"

#include <stdio.h>

#include "authz.api.h"
#include "base/hash.h"
#include "catalog.impl.h"
#include "fiber/fiber.h"

enum {
    PLACES = 1024,
    VIEWS_MAX = 768, /* pairs of product and viewer in a second; further ones are not told */
};

struct view {
    char product_id[ID_CHARS_MAX + 1]; /* "" where the place is free */
    char viewer[ID_CHARS_MAX + 1];     /* "" for visitors without an account */
    int64_t count;
};

/* The service's state: a hash table with open addressing, emptied each second. */
struct views {
    struct spin lock;
    size_t n;
    struct view places[PLACES];
};

static struct view *find_place(struct views *views, const char *product_id, const char *viewer);
static size_t take_views(struct request *rq, struct view **ret);
static bool is_staff(struct request *rq, const char *viewer);

void
views_count(struct request *rq, const char *product_id)
{
    if (rq->caller.kind == CALLER_OPERATOR || rq->caller.kind == CALLER_SERVICE)
        return;
    const char *viewer = rq->caller.kind == CALLER_USER ? rq->caller.id : "";
    if (strlen(product_id) > ID_CHARS_MAX || strlen(viewer) > ID_CHARS_MAX)
        return;
    struct views *views = service_state(rq, sizeof *views);
    spin_lock(&views->lock);
    struct view *view = find_place(views, product_id, viewer);
    bool is_new = view->product_id[0] == '\0', counted = !is_new || views->n < VIEWS_MAX;
    if (is_new && counted) {
        snprintf(view->product_id, sizeof view->product_id, "%s", product_id);
        snprintf(view->viewer, sizeof view->viewer, "%s", viewer);
        views->n++;
    }
    if (counted)
        view->count++;
    spin_unlock(&views->lock);
    if (!counted)
        metric_add("souk_views_uncounted_total", "", 1);
}

enum status
views_tell(struct request *rq)
{
    struct view *views;
    size_t n = take_views(rq, &views), shoppers = 0;
    for (size_t i = 0; i < n; i++)
        if (!is_staff(rq, views[i].viewer))
            views[shoppers++] = views[i];
    if (shoppers == 0)
        return OK;
    struct tx *tx = tx_begin(rq);
    for (size_t i = 0; i < shoppers; i++) {
        const char *title;
        if (product_title(tx, &title, .id = views[i].product_id) == OK)
            publish_product_viewed(rq, tx, .product_id = views[i].product_id, .name = title,
                                   .viewer = views[i].viewer, .count = views[i].count);
    }
    return fail_store(rq, tx_commit(tx));
}

/* Where this pair is counted, or the free place where it will be: there is always one. */
static struct view *
find_place(struct views *views, const char *product_id, const char *viewer)
{
    uint64_t at = hash64(product_id, strlen(product_id)) ^ hash64(viewer, strlen(viewer)) * 31;
    for (;; at++) {
        struct view *view = &views->places[at % PLACES];
        if (view->product_id[0] == '\0' ||
            (strcmp(view->product_id, product_id) == 0 && strcmp(view->viewer, viewer) == 0))
            return view;
    }
}

static size_t
take_views(struct request *rq, struct view **ret)
{
    struct views *views = service_state(rq, sizeof *views);
    *ret = arena_alloc(rq->arena, VIEWS_MAX * sizeof **ret);
    size_t n = 0;
    spin_lock(&views->lock);
    for (size_t i = 0; i < PLACES && views->n; i++)
        if (views->places[i].product_id[0])
            (*ret)[n++] = views->places[i];
    if (n)
        memset(views->places, 0, sizeof views->places);
    views->n = 0;
    spin_unlock(&views->lock);
    return n;
}

/* Whoever has any role but a customer's works here. */
static bool
is_staff(struct request *rq, const char *viewer)
{
    UserRoles *roles;
    if (viewer[0] == '\0')
        return false;
    if (call_authz_get_user_roles(rq, &roles, .user_id = viewer)) {
        fail_clear(rq);
        return false;
    }
    for (size_t i = 0; i < roles->n_roles; i++)
        if (strcmp(roles->roles[i], "customer") != 0)
            return true;
    return false;
}
