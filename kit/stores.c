/*
 * The stores of a node.
 *
 * Embedded there are two files: souk.db holds all that a sale writes, listeners.db what only
 * listens.  On PostgreSQL each service has a schema, and so a store of its own.  Several processes on
 * SQLite have a file each, and one more for who keeps the journal.
 */
#include <assert.h>

#include "kit/node_impl.h"

static enum status open_embedded(struct node *node, bool listeners, struct arena *a,
                                 const char **why);
static enum status open_file(struct node *node, struct arena *a, const char **why);
static enum status open_schemas(struct node *node, struct arena *a, const char **why);
static enum status open_own(struct node *node, struct unit *unit, struct arena *a,
                            const char **why);
static enum status open_store(struct node *node, struct store_options *options, const char *name,
                              struct arena *a, struct store **ret, const char **why);
static void on_durable(void *arg, uint64_t batch);

enum status
stores_open(struct node *node, struct arena *a, const char **why)
{
    if (node->topology && strcmp(node->topology->store, "sqlite") != 0)
        return open_schemas(node, a, why);
    if (node->topology)
        return open_file(node, a, why);
    enum status st = open_embedded(node, false, a, why);
    return st ? st : open_embedded(node, true, a, why);
}

void
stores_close(struct node *node)
{
    while (node->n_stores > 0)
        store_close(node->stores[--node->n_stores].store);
}

struct migration *
migrations_of(bool (*wanted)(const void *arg, const char *service), const void *arg,
              struct arena *a, size_t *ret_n)
{
    size_t n_bus, n = 0;
    const struct migration *of_bus = bus_migrations(&n_bus);
    struct migration *all = arena_alloc(a, (n_bus + souk_n_migrations) * sizeof *all);
    for (size_t i = 0; i < n_bus; i++)
        all[n++] = of_bus[i];
    for (size_t i = 0; i < souk_n_migrations; i++)
        if (wanted(arg, souk_migrations[i].service))
            all[n++] = souk_migrations[i];
    *ret_n = n;
    return all;
}

static bool
is_service(const void *name, const char *service)
{
    return strcmp(name, service) == 0;
}

static bool
keeps_no_journal(const void *node, const char *service)
{
    const struct unit *unit = unit_named(node, service);
    return unit && !unit->service->hears_all;
}

static bool
is_core(const void *node, const char *service)
{
    const struct unit *unit = unit_named(node, service);
    return unit && !unit->service->listens;
}

static bool
is_listener(const void *node, const char *service)
{
    const struct unit *unit = unit_named(node, service);
    return unit && unit->service->listens;
}

static enum status
open_embedded(struct node *node, bool listeners, struct arena *a, const char **why)
{
    struct store *store;
    struct store_options options = {
        .path = arena_printf(node->arena, "%s/%s", node->data_dir,
                             listeners ? "listeners.db" : "souk.db"),
    };
    options.migrations =
        migrations_of(listeners ? is_listener : is_core, node, a, &options.n_migrations);
    enum status st = open_store(node, &options, listeners ? "listeners" : "core", a, &store, why);
    if (st)
        return st;
    *(listeners ? &node->listeners : &node->core) = store;
    for (size_t i = 0; i < node->n_units; i++)
        if (node->units[i].service->listens == listeners)
            node->units[i].store = store;
    return OK;
}

static enum status
open_file(struct node *node, struct arena *a, const char **why)
{
    struct store *store;
    struct store_options options = {.path = arena_printf(node->arena, "%s/souk.db", node->data_dir)};
    options.migrations = migrations_of(keeps_no_journal, node, a, &options.n_migrations);
    enum status st = open_store(node, &options, "core", a, &store, why);
    for (size_t i = 0; st == OK && i < node->n_units; i++) {
        struct unit *unit = &node->units[i];
        unit->store = store;
        if (unit->service->hears_all)
            st = open_own(node, unit, a, why);
    }
    return st;
}

static enum status
open_schemas(struct node *node, struct arena *a, const char **why)
{
    enum status st = OK;
    for (size_t i = 0; i < node->n_units && st == OK; i++) {
        struct unit *unit = &node->units[i];
        const char *name = unit->service->name;
        struct store_options options = {.path = node->topology->store, .schema = name};
        if (unit->service->full_text) {
            st = open_own(node, unit, a, why);
            continue;
        }
        options.migrations = migrations_of(is_service, name, a, &options.n_migrations);
        st = open_store(node, &options, name, a, &unit->store, why);
    }
    return st;
}

/* A file of its own. */
static enum status
open_own(struct node *node, struct unit *unit, struct arena *a, const char **why)
{
    const char *name = unit->service->name;
    struct store_options options = {
        .path = arena_printf(node->arena, "%s/%s.db", node->data_dir, name)};
    options.migrations = migrations_of(is_service, name, a, &options.n_migrations);
    return open_store(node, &options, name, a, &unit->store, why);
}

static enum status
open_store(struct node *node, struct store_options *options, const char *name, struct arena *a,
           struct store **ret, const char **why)
{
    assert(node->n_stores < STORES_MAX);
    options->number = (int)node->n_stores;
    options->on_durable = on_durable;
    options->on_durable_arg = node;
    enum status st = store_open(options, a, ret, why);
    if (st == OK)
        node->stores[node->n_stores++] = (struct named_store){name, *ret};
    return st;
}

static void
on_durable(void *arg, uint64_t batch)
{
    struct node *node = arg;
    if (node->bus)
        bus_kick(node->bus, batch);
}
