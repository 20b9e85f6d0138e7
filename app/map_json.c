/* souk map --json: the map for tools, such as the one that writes deploy/. */
#include <jansson.h>
#include <stdlib.h>

#include "app/app.h"

/* Takes value over. */
static void
put(json_t *object, const char *name, json_t *value)
{
    if (json_object_set_new(object, name, value))
        abort();
}

static json_t *
text_or_null(const char *s)
{
    return s ? json_string(s) : json_null();
}

static json_t *
serves(const struct service *service)
{
    json_t *all = json_array();
    const struct rpc_list *list = service->serves ? service->serves->list : NULL;
    for (size_t i = 0; list && i < list->n; i++) {
        const struct rpc *rpc = &list->rpcs[i];
        json_t *granted = json_array();
        for (size_t j = 0; rpc->granted_to && rpc->granted_to[j]; j++)
            json_array_append_new(granted, json_string(rpc->granted_to[j]));
        json_t *one = json_object();
        put(one, "rpc", json_string(rpc->resource));
        put(one, "full", json_string(rpc->full));
        put(one, "method", text_or_null(rpc->method));
        put(one, "path", text_or_null(rpc->path));
        put(one, "permission", text_or_null(rpc->permission));
        put(one, "granted_to", granted);
        json_array_append_new(all, one);
    }
    return all;
}

static json_t *
calls(const struct service *service)
{
    json_t *all = json_array();
    for (size_t i = 0; i < CALLS_MAX && service->calls[i]; i++)
        json_array_append_new(all, json_string(service->calls[i]->service));
    return all;
}

static json_t *
publishes(const struct service *service)
{
    json_t *all = json_array();
    for (size_t i = 0; i < PUBLISHES_MAX && service->publishes[i]; i++)
        json_array_append_new(all, json_string(service->publishes[i]->name));
    return all;
}

static json_t *
subscribes(const struct service *service)
{
    json_t *all = json_array();
    for (size_t i = 0; i < SUBSCRIBES_MAX && service->subscribes[i].topic; i++) {
        const struct subscription *s = &service->subscribes[i];
        json_t *one = json_object();
        put(one, "topic", json_string(s->topic->name));
        put(one, "projection", json_boolean(s->projection));
        put(one, "broadcast", json_boolean(s->broadcast));
        json_array_append_new(all, one);
    }
    return all;
}

static json_t *
jobs(const struct service *service)
{
    json_t *all = json_array();
    for (size_t i = 0; i < JOBS_MAX && service->jobs[i].name; i++) {
        json_t *one = json_object();
        put(one, "name", json_string(service->jobs[i].name));
        put(one, "every_us", json_integer(service->jobs[i].every_us));
        json_array_append_new(all, one);
    }
    return all;
}

char *
map_json(struct arena *a)
{
    json_t *services = json_array();
    const struct service *const *all = souk_all();
    for (size_t i = 0; all[i]; i++) {
        json_t *one = json_object();
        put(one, "name", json_string(all[i]->name));
        put(one, "listens", json_boolean(all[i]->listens));
        put(one, "hears_all", json_boolean(all[i]->hears_all != NULL));
        put(one, "full_text", json_boolean(all[i]->full_text)); /* keeps SQLite in every shape */
        put(one, "serves", serves(all[i]));
        put(one, "calls", calls(all[i]));
        put(one, "publishes", publishes(all[i]));
        put(one, "subscribes", subscribes(all[i]));
        put(one, "jobs", jobs(all[i]));
        json_array_append_new(services, one);
    }
    json_t *map = json_object();
    put(map, "services", services);
    put(map, "permissions_asked_of", json_string("authz")); /* kit/permissions.c */
    char *text = json_dumps(map, JSON_INDENT(2));
    json_decref(map);
    if (!text)
        abort();
    char *ret = arena_printf(a, "%s\n", text);
    free(text);
    return ret;
}
