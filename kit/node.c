/* A node: opens the data folder, brings its services up, takes them down. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/env.h"
#include "kit/node_impl.h"
#include "kit/rules.h"

static enum status lock_folder(struct node *node, struct arena *a, const char **why);
static enum status open_store(struct node *node, bool listeners, struct arena *a, const char **why);
static void add_units(struct node *node);
static enum status start_services(struct node *node, struct arena *a, const char **why);
static void on_durable(void *arg, uint64_t batch);
static void give_way(void *arg);

enum status
node_open(const struct node_options *options, struct arena *a, struct node **ret, const char **why)
{
    struct arena *arena = arena_new();
    struct node *node = arena_alloc(arena, sizeof *node);
    node->arena = arena;
    node->services = options->services;
    node->conf = options->conf;
    node->quiet = options->quiet;
    node->data_dir = arena_strdup(arena, options->data_dir);
    node->lock_fd = -1;

    enum status st = lock_folder(node, a, why);
    if (st == OK)
        st = open_store(node, false, a, why);
    if (st == OK)
        st = open_store(node, true, a, why);
    if (st) {
        node_free(node);
        return st;
    }
    node->core_sched = sched_new("core", CORE_FIBERS_MAX);
    node->listener_sched = sched_new("listeners", LISTENER_FIBERS_MAX);
    sched_spawn(node->listener_sched, give_way, NULL);
    add_units(node);
    node->bus = bus_new(&(struct bus_options){
        .core = node->core,
        .core_sched = node->core_sched,
        .listener_sched = node->listener_sched,
        .listeners = node->listeners,
    });
    subscribe_units(node);
    subscribe_erasures(node);
    node->grants = grants_new(node);
    st = start_services(node, a, why);
    if (st)
        node_free(node);
    else
        *ret = node;
    return st;
}

void
node_start(struct node *node)
{
    bus_start(node->bus);
    jobs_start(node);
    __atomic_store_n(&node->started, true, __ATOMIC_RELEASE);
}

bool
node_ready(const struct node *node)
{
    return __atomic_load_n(&node->started, __ATOMIC_ACQUIRE);
}

/* The last counts of grants reach authz before its followers rest. */
static void
last_report(void *arg)
{
    struct node *node = arg;
    struct arena *arena = arena_new();
    struct request rq;
    request_init(&rq, node, arena);
    rq.caller.kind = CALLER_SERVICE;
    grants_report(&rq);
    request_settle(&rq);
    arena_free(arena);
}

void
node_stop(struct node *node)
{
    if (!node_ready(node))
        return;
    __atomic_store_n(&node->started, false, __ATOMIC_RELEASE);
    jobs_stop(node);
    tasks_stop(node);
    if (unit_named(node, "authz"))
        node_run(node, "authz", last_report, node);
    bus_stop(node->bus);
}

void
node_free(struct node *node)
{
    if (!node)
        return;
    if (node->core_sched)
        sched_free(node->core_sched);
    if (node->listener_sched)
        sched_free(node->listener_sched);
    if (node->listeners)
        store_close(node->listeners);
    if (node->core)
        store_close(node->core);
    if (node->bus) /* the last batches kick it */
        bus_free(node->bus);
    grants_free(node->grants);
    for (size_t i = 0; i < node->n_units; i++) {
        struct unit *unit = &node->units[i];
        if (unit->state && unit->service->state_free)
            unit->service->state_free(unit->state);
        free(unit->state);
    }
    log_flush();
    if (node->lock_fd >= 0)
        close(node->lock_fd);
    arena_free(node->arena);
}

static enum status
lock_folder(struct node *node, struct arena *a, const char **why)
{
    if (mkdir(node->data_dir, 0700) && errno != EEXIST) {
        *why = arena_printf(a, "%s: %s", node->data_dir, strerror(errno));
        return FAILED_PRECONDITION;
    }
    const char *path = arena_printf(a, "%s/lock", node->data_dir);
    node->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (node->lock_fd < 0) {
        *why = arena_printf(a, "%s: %s", path, strerror(errno));
        return PERMISSION_DENIED;
    }
    if (flock(node->lock_fd, LOCK_EX | LOCK_NB)) {
        *why = arena_printf(a, "%s is in use by another souk", node->data_dir);
        return FAILED_PRECONDITION;
    }
    return OK;
}

/* Bus tables stand in both files; a service's in the one that its table says. */
struct migration *
migrations_for(const struct node *node, bool listeners, const char *service, struct arena *a,
               size_t *ret_n)
{
    size_t n_bus, n = 0;
    const struct migration *of_bus = bus_migrations(&n_bus);
    struct migration *wanted = arena_alloc(a, (n_bus + souk_n_migrations) * sizeof *wanted);
    for (size_t i = 0; i < n_bus; i++)
        wanted[n++] = of_bus[i];
    for (size_t i = 0; i < souk_n_migrations; i++)
        for (size_t j = 0; node->services[j]; j++)
            if (strcmp(node->services[j]->name, souk_migrations[i].service) == 0 &&
                node->services[j]->listens == listeners &&
                (!service || strcmp(service, souk_migrations[i].service) == 0))
                wanted[n++] = souk_migrations[i];
    *ret_n = n;
    return wanted;
}

static enum status
open_store(struct node *node, bool listeners, struct arena *a, const char **why)
{
    size_t n;
    const struct migration *wanted = migrations_for(node, listeners, NULL, a, &n);
    const struct store_options options = {
        .path = arena_printf(node->arena, "%s/%s", node->data_dir,
                             listeners ? "listeners.db" : "souk.db"),
        .number = listeners ? 1 : 0,
        .migrations = wanted,
        .n_migrations = n,
        .on_durable = on_durable,
        .on_durable_arg = node,
    };
    return store_open(&options, a, listeners ? &node->listeners : &node->core, why);
}

static void
on_durable(void *arg, uint64_t batch)
{
    struct node *node = arg;
    if (node->bus)
        bus_kick(node->bus, batch);
}

/* Where the processors are short, sales come before those who listen; they catch up afterwards. */
static void
give_way(void *arg)
{
    (void)arg;
    if (!env.single_thread)
        setpriority(PRIO_PROCESS, (id_t)gettid(), LISTENERS_NICE);
}

static void
add_units(struct node *node)
{
    for (size_t i = 0; node->services[i]; i++) {
        const struct service *service = node->services[i];
        assert(node->n_units < SERVICES_MAX);
        node->units[node->n_units++] = (struct unit){
            .service = service,
            .node = node,
            .store = service->listens ? node->listeners : node->core,
            .sched = service->listens ? node->listener_sched : node->core_sched,
        };
    }
}

static enum status
start_services(struct node *node, struct arena *a, const char **why)
{
    for (size_t i = 0; i < node->n_units; i++) {
        const struct service *service = node->units[i].service;
        if (!service->start)
            continue;
        struct arena *arena = arena_new();
        struct request rq;
        request_init(&rq, node, arena);
        rq.caller.kind = CALLER_SERVICE;
        rq.service = service;
        enum status st = service->start(&rq);
        if (st == OK)
            st = request_settle(&rq);
        if (st)
            *why = arena_printf(a, "%s does not start: %s", service->name,
                                rq.message ? rq.message : status_name(st));
        arena_free(arena);
        if (st)
            return st;
    }
    return OK;
}

const struct service *const *
node_services(const struct node *node)
{
    return node->services;
}

const struct rpc *
node_rpc(const struct node *node, const char *service, const char *name)
{
    const struct unit *unit = unit_named(node, service);
    const struct rpc_list *list = unit && unit->service->serves ? unit->service->serves->list : NULL;
    for (size_t i = 0; list && i < list->n; i++)
        if (strcmp(list->rpcs[i].name, name) == 0)
            return &list->rpcs[i];
    return NULL;
}

struct bus *
node_bus(const struct node *node)
{
    return node->bus;
}

struct store *
node_store(const struct node *node, const char *service)
{
    return unit_named(node, service)->store;
}

struct sched *
node_sched(const struct node *node, const char *service)
{
    return unit_named(node, service)->sched;
}

struct unit *
unit_of(const struct node *node, const struct service *service)
{
    for (size_t i = 0; i < node->n_units; i++)
        if (node->units[i].service == service)
            return &((struct node *)(uintptr_t)node)->units[i];
    fprintf(stderr, "souk: %s does not run here\n", service ? service->name : "no service");
    abort();
}

struct unit *
unit_named(const struct node *node, const char *service)
{
    for (size_t i = 0; i < node->n_units; i++)
        if (strcmp(node->units[i].service->name, service) == 0)
            return unit_of(node, node->units[i].service);
    return NULL;
}
