/*
 * Who may do what: asked of authz, and remembered where authz allows it.
 *
 * authz lets us keep grants to visitors and customers.  What was decided from memory is counted and
 * reported to it each minute.  An entry is dropped when the subject's roles change; the generation
 * keeps an answer that was under way then from being remembered.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/hash.h"
#include "kit/node_impl.h"
#include "kit/peers.h"
#include "types.api.h"

enum { GRANTS_MAX = 16384, SLOTS = 2 * GRANTS_MAX, REPORT_MAX = 1000 };

struct grant {
    char subject[ID_CHARS_MAX + 1]; /* "" is any visitor */
    const char *permission, *resource; /* from the rpc tables, or literals; NULL is a free slot */
    int64_t count;                     /* since the last report */
};

struct grants {
    struct node *node;
    struct spin lock;
    size_t n;
    uint64_t generation;
    struct grant *slots;
    const struct rpc *check, *report;
};

static broadcast_fn forget_grants;

struct grants *
grants_new(struct node *node)
{
    struct grants *g = calloc(1, sizeof *g);
    if (!g || !(g->slots = calloc(SLOTS, sizeof *g->slots)))
        abort();
    g->node = node;
    g->check = node_rpc(node, "authz", "Check");
    g->report = node_rpc(node, "authz", "Report");
    static const char *const topics[] = {"authz.user_roles_updated", NULL};
    bus_listen(node->bus, topics, forget_grants, g);
    return g;
}

void
grants_free(struct grants *g)
{
    if (g)
        free(g->slots);
    free(g);
}

/* An order's holder and whoever has not logged in are visitors to authz. */
static const char *
subject_of(const struct request *rq)
{
    return rq->caller.kind == CALLER_USER ? rq->caller.id : "";
}

static struct grant *
find(struct grants *g, const char *subject, const char *permission, const char *resource)
{
    uint64_t hash = hash64(subject, strlen(subject)) ^ hash64(permission, strlen(permission));
    size_t at = (hash + hash64(resource, strlen(resource))) % SLOTS;
    while (g->slots[at].permission) {
        const struct grant *s = &g->slots[at];
        if (strcmp(s->subject, subject) == 0 && strcmp(s->permission, permission) == 0 &&
            strcmp(s->resource, resource) == 0)
            break;
        at = (at + 1) % SLOTS;
    }
    return &g->slots[at];
}

static void
clear(struct grants *g)
{
    memset(g->slots, 0, SLOTS * sizeof *g->slots);
    g->n = 0;
}

/* Counts happen where a grant is used; those that a roles' change drops are few and are lost. */
static void
forget_grants(void *arg, const struct event *event)
{
    struct grants *g = arg;
    spin_lock(&g->lock);
    g->generation++;
    for (size_t i = 0; i < SLOTS; i++)
        if (g->slots[i].permission && strcmp(g->slots[i].subject, event->subject) == 0) {
            clear(g);
            break;
        }
    spin_unlock(&g->lock);
}

bool
is_kit_rpc(const struct node *node, const struct rpc *rpc)
{
    const struct grants *g = node->grants;
    return rpc == g->check || rpc == g->report || rpc->service == peer_server.list->service;
}

bool
grant_known(struct request *rq, const char *permission, const char *resource)
{
    struct grants *g = rq->node->grants;
    spin_lock(&g->lock);
    bool known = find(g, subject_of(rq), permission, resource)->permission != NULL;
    spin_unlock(&g->lock);
    return known;
}

/* True if it was decided from memory; else *ret is the generation to remember an answer with. */
static bool
use_grant(struct grants *g, const char *subject, const char *permission, const char *resource,
          uint64_t *ret)
{
    spin_lock(&g->lock);
    struct grant *grant = find(g, subject, permission, resource);
    bool known = grant->permission != NULL;
    if (known)
        grant->count++;
    *ret = g->generation;
    spin_unlock(&g->lock);
    return known;
}

static void
keep_grant(struct grants *g, const char *subject, const char *permission, const char *resource,
           uint64_t generation)
{
    if (strlen(subject) > ID_CHARS_MAX)
        return;
    spin_lock(&g->lock);
    if (g->n == GRANTS_MAX)
        clear(g);
    struct grant *grant = find(g, subject, permission, resource);
    if (generation == g->generation && !grant->permission) {
        strcpy(grant->subject, subject);
        grant->permission = permission;
        grant->resource = resource;
        grant->count = 1;
        g->n++;
    }
    spin_unlock(&g->lock);
}

enum status
permission_check(struct request *rq, const char *permission, const char *resource)
{
    if (rq->caller.kind == CALLER_OPERATOR || rq->caller.kind == CALLER_SERVICE)
        return OK;
    struct grants *g = rq->node->grants;
    const char *subject = subject_of(rq);
    uint64_t generation;
    if (use_grant(g, subject, permission, resource, &generation))
        return OK;
    assert(!rq->quick); /* node_serves_quickly was asked */
    AccessQuestion question = {
        .base = PROTOBUF_C_MESSAGE_INIT(&souk__v1__access_question__descriptor),
        .subject = subject, .permission = permission, .resource = resource};
    AccessAnswer *answer;
    const struct caller asker = rq->caller;
    rq->caller.kind = CALLER_SERVICE; /* it is the kit that asks */
    enum status st = rpc_run(rq, g->check, &question.base, (ProtobufCMessage **)&answer);
    rq->caller = asker;
    if (st)
        return st;
    if (answer->allowed) {
        if (answer->keep)
            keep_grant(g, subject, permission, resource, generation);
        return OK;
    }
    if (rq->caller.kind == CALLER_USER)
        return fail_status(rq, PERMISSION_DENIED, "this takes the permission %s", permission);
    return fail_status(rq, UNAUTHENTICATED, "this takes a login with the permission %s",
                       permission);
}

bool
may(struct request *rq, const char *permission)
{
    enum status st = permission_check(rq, permission, permission);
    if (st)
        fail_clear(rq);
    return st == OK;
}

enum status
grants_report(struct request *rq)
{
    struct grants *g = rq->node->grants;
    AccessReport report = {.base = PROTOBUF_C_MESSAGE_INIT(&souk__v1__access_report__descriptor)};
    report.granted = arena_alloc(rq->arena, REPORT_MAX * sizeof *report.granted);
    spin_lock(&g->lock);
    for (size_t i = 0; i < SLOTS && report.n_granted < REPORT_MAX; i++) {
        struct grant *grant = &g->slots[i];
        if (!grant->count)
            continue;
        AccessCount *count = new_access_count(rq->arena);
        count->subject = arena_strdup(rq->arena, grant->subject);
        count->permission = grant->permission;
        count->resource = grant->resource;
        count->count = grant->count;
        grant->count = 0;
        report.granted[report.n_granted++] = count;
    }
    spin_unlock(&g->lock);
    if (!report.n_granted)
        return OK;
    ProtobufCMessage *answer;
    return rpc_run(rq, g->report, &report.base, &answer);
}
