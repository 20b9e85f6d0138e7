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
#include "bus/broker_ops.h"
#include "kit/node_impl.h"
#include "kit/peers.h"
#include "kit/rules.h"
#include "kit/tracer.h"

static enum status lock_folder(struct node *node, const char *parent, struct arena *a,
                               const char **why);
static void add_units(struct node *node);
static bool keeps_files(const struct node *node, const struct service *service);
static enum status open_broker(struct node *node, struct arena *a, const char **why);
static void open_bus(struct node *node);
static enum status open_peers(struct node *node, const struct node_options *options,
                              struct arena *a, const char **why);
static enum status start_services(struct node *node, struct arena *a, const char **why);
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
    node->instance = options->instance ? options->instance : 1;
    node->data_dir = options->process ? topology_folder(arena, options->data_dir, options->process,
                                                        node->instance)
                                      : arena_strdup(arena, options->data_dir);
    node->lock_fd = -1;
    node->topology = options->topology;
    node->process = options->process;

    node->core_sched = sched_new("core", CORE_FIBERS_MAX);
    node->listener_sched = sched_new("listeners", LISTENER_FIBERS_MAX);
    sched_spawn(node->listener_sched, give_way, NULL);
    add_units(node);
    enum status st = lock_folder(node, options->data_dir, a, why);
    if (st == OK)
        st = stores_open(node, a, why);
    if (st == OK)
        st = open_peers(node, options, a, why);
    if (st == OK)
        st = open_broker(node, a, why);
    if (st) {
        node_free(node);
        return st;
    }
    open_bus(node);
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
    node->tracer = tracer_new(node);
    if (node->tracer)
        tracer_start(node->tracer, node->listener_sched);
    bus_start(node->bus);
    jobs_start(node);
    __atomic_store_n(&node->started, true, __ATOMIC_RELEASE);
}

bool
node_level(const struct node *node)
{
    for (size_t i = 0; i < node->n_units; i++)
        if (keeps_files(node, node->units[i].service) &&
            !bus_level(node->bus, node->units[i].store))
            return false;
    return true;
}

enum status
node_listen(struct node *node, struct arena *a, const char **why)
{
    enum status st = node->peers ? peers_serve(node->peers, a, why) : OK;
    __atomic_store_n(&node->listens, st == OK, __ATOMIC_RELEASE);
    return st;
}

void
node_leave(struct node *node)
{
    __atomic_store_n(&node->leaves, true, __ATOMIC_RELEASE);
    peers_leave(node->peers);
}

bool
node_ready(const struct node *node)
{
    return node_started(node) && !__atomic_load_n(&node->leaves, __ATOMIC_ACQUIRE) &&
           (!node->peers || __atomic_load_n(&node->listens, __ATOMIC_ACQUIRE));
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
    rq.sampled = false; /* who would hear of it in time? */
    grants_report(&rq);
    request_settle(&rq);
    arena_free(arena);
}

void
node_stop(struct node *node)
{
    if (!node_started(node))
        return;
    __atomic_store_n(&node->started, false, __ATOMIC_RELEASE);
    jobs_stop(node);
    tasks_stop(node);
    if (node_rpc(node, "authz", "Report"))
        node_run(node, node->units[0].service->name, last_report, node);
    peers_hang_up(node->peers); /* who waits for an outbox, or for a process that is gone */
    bus_stop(node->bus);
    tracer_stop(node->tracer);
}

void
node_drain(struct node *node, int64_t grace_us)
{
    peers_drain(node->peers, grace_us);
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
    peers_free(node->peers);
    stores_close(node);
    if (node->bus) /* the last batches kick it */
        bus_free(node->bus);
    if (node->broker)
        broker_free(node->broker);
    grants_free(node->grants);
    tracer_free(node->tracer);
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

/* Of its own, beside the store that all share. */
static bool
keeps_files(const struct node *node, const struct service *service)
{
    return service->full_text && node->topology && strcmp(node->topology->store, "sqlite") != 0;
}

/* A folder that holds a store is one process's alone; on PostgreSQL several may share it. */
static enum status
lock_folder(struct node *node, const char *parent, struct arena *a, const char **why)
{
    const char *const folders[] = {node->process ? parent : NULL, node->data_dir};
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        if (folders[i] && mkdir(folders[i], 0700) && errno != EEXIST) {
            *why = arena_printf(a, "%s: %s", folders[i], strerror(errno));
            return FAILED_PRECONDITION;
        }
    const char *path = arena_printf(a, "%s/lock", node->data_dir);
    node->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (node->lock_fd < 0) {
        *why = arena_printf(a, "%s: %s", path, strerror(errno));
        return PERMISSION_DENIED;
    }
    bool files = !node->topology || strcmp(node->topology->store, "sqlite") == 0;
    for (size_t i = 0; i < node->n_units; i++)
        files |= keeps_files(node, node->units[i].service);
    if (flock(node->lock_fd, (files ? LOCK_EX : LOCK_SH) | LOCK_NB)) {
        *why = arena_printf(a, "%s is in use by another souk", node->data_dir);
        return FAILED_PRECONDITION;
    }
    return OK;
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
        if (node->topology && topology_home(node->topology, service->name) != node->process)
            continue;
        assert(node->n_units < SERVICES_MAX);
        node->units[node->n_units++] = (struct unit){
            .service = service,
            .node = node,
            .sched = service->listens ? node->listener_sched : node->core_sched,
        };
    }
}

static enum status
open_peers(struct node *node, const struct node_options *options, struct arena *a, const char **why)
{
    if (!node->topology || node->topology->n_processes == 1)
        return OK;
    return peers_open(node,
                      &(struct peers_options){.topology = node->topology,
                                              .self = node->process,
                                              .instance = node->instance,
                                              .data_dir = options->data_dir},
                      a, &node->peers, why);
}

static const struct broker_ops broker_ops = {broker_publish, broker_subscribe, broker_take, broker_ack,
                                             broker_unsubscribe};

/* NULL where subscribers follow the outboxes. */
static enum status
open_broker(struct node *node, struct arena *a, const char **why)
{
    if (!node->topology || strcmp(node->topology->broker, "outbox") == 0)
        return OK;
    const char *name = arena_printf(node->arena, "souk %s", node->process->name);
    return broker_open(node->topology->broker, name, a, &node->broker, why);
}

/* Embedded, the core store has the journal.  Else each publisher has an outbox in its store, and who
 * hears everything keeps the journal in its own. */
static void
open_bus(struct node *node)
{
    struct bus_options options = {
        .core = node->core,
        .core_sched = node->core_sched,
        .listener_sched = node->listener_sched,
        .listeners = node->listeners,
    };
    if (node->topology) {
        size_t n = 0;
        for (size_t i = 0; node->services[i]; i++)
            node->publishers[n++] = node->services[i]->name;
        for (size_t i = 0; i < node->n_units; i++) {
            const struct unit *unit = &node->units[i];
            node->homes[i] = (struct bus_home){unit->service->name, unit->store};
            if (unit->service->hears_all)
                node->core = options.core = unit->store;
        }
        options.publishers = node->publishers;
        options.homes = node->homes;
        options.n_homes = node->n_units;
        options.read_outbox = peer_read_outbox;
        options.read_outbox_arg = node;
        options.leads = store_leads;
        options.attempts_max = ATTEMPTS_SPREAD_MAX;
        options.broker = node->broker;
        options.broker_ops = &broker_ops;
        options.instance = arena_printf(node->arena, "%s-%d", node->process->name, getpid());
    }
    node->bus = bus_new(&options);
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

bool
node_runs(const struct node *node, const char *service)
{
    return unit_named(node, service) != NULL;
}

const struct rpc *
node_rpc(const struct node *node, const char *service, const char *name)
{
    for (size_t i = 0; node->services[i]; i++) {
        const struct server *serves = node->services[i]->serves;
        if (strcmp(node->services[i]->name, service) != 0 || !serves)
            continue;
        for (size_t j = 0; j < serves->list->n; j++)
            if (strcmp(serves->list->rpcs[j].name, name) == 0)
                return &serves->list->rpcs[j];
    }
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
    const struct unit *unit = unit_named(node, service);
    return unit ? unit->sched : node->core_sched;
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
