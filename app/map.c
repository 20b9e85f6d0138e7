/* souk map: the wiring, from the same tables that the program runs by. */
#include <stdio.h>

#include "app/app.h"
#include "base/text.h"

static void
add_serves(struct text *t, const struct service *service)
{
    const struct rpc_list *list = service->serves ? service->serves->list : NULL;
    if (!list)
        return;
    text_add(t, "\nServes:\n\n| rpc | route | permission | granted to |\n| --- | --- | --- | --- |\n");
    for (size_t i = 0; i < list->n; i++) {
        const struct rpc *rpc = &list->rpcs[i];
        text_printf(t, "| %s.%s | ", rpc->service, rpc->name);
        if (rpc->path)
            text_printf(t, "%s %s", rpc->method, rpc->path);
        if (rpc->flags & (RPC_ASYNC | RPC_STREAM))
            text_add(t, rpc->flags & RPC_ASYNC ? ", not waited for" : ", followed live");
        text_printf(t, " | %s |", rpc->permission ? rpc->permission : "");
        for (size_t j = 0; rpc->granted_to && rpc->granted_to[j]; j++)
            text_printf(t, "%s %s", j ? "," : "", rpc->granted_to[j]);
        text_add(t, rpc->permission ? (rpc->granted_to && rpc->granted_to[0] ? ", superadmin |\n"
                                                                            : " superadmin |\n")
                                    : " services |\n");
    }
}

static void
add_service(struct text *t, const struct service *service)
{
    text_printf(t, "\n## %s\n", service->name);
    add_serves(t, service);
    if (service->calls[0])
        text_add(t, "\nCalls:");
    for (size_t i = 0; i < CALLS_MAX && service->calls[i]; i++)
        text_printf(t, "%s %s", i ? "," : "", service->calls[i]->service);
    text_add(t, service->calls[0] ? "\n" : "");
    if (service->publishes[0])
        text_add(t, "\nPublishes:\n\n");
    for (size_t i = 0; i < PUBLISHES_MAX && service->publishes[i]; i++)
        text_printf(t, "- %s\n", service->publishes[i]->name);
    if (service->subscribes[0].topic || service->hears_all)
        text_add(t, "\nSubscribes to:\n\n");
    for (size_t i = 0; i < SUBSCRIBES_MAX && service->subscribes[i].topic; i++)
        text_printf(t, "- %s%s%s\n", service->subscribes[i].topic->name,
                    service->subscribes[i].projection ? " (projection)" : "",
                    service->subscribes[i].broadcast ? " (broadcast)" : "");
    if (service->hears_all)
        text_add(t, "- every event\n");
    if (service->jobs[0].name)
        text_add(t, "\nJobs:\n\n");
    for (size_t i = 0; i < JOBS_MAX && service->jobs[i].name; i++)
        text_printf(t, "- %s, every %g s\n", service->jobs[i].name,
                    (double)service->jobs[i].every_us / 1e6);
}

static void
add_hearers(struct text *t, const struct topic *topic)
{
    size_t n = 0;
    const struct service *const *all = souk_all();
    for (size_t i = 0; all[i]; i++)
        for (size_t j = 0; j < SUBSCRIBES_MAX && all[i]->subscribes[j].topic; j++)
            if (all[i]->subscribes[j].topic == topic)
                text_printf(t, "%s%s", n++ ? ", " : "", all[i]->name);
    for (size_t i = 0; all[i]; i++)
        if (all[i]->hears_all)
            text_printf(t, "%s%s", n++ ? ", " : "", all[i]->name);
}

char *
map_text(struct arena *a)
{
    struct text t = text_in(a);
    text_add(&t, "# The map\n\nWho serves, calls, publishes and subscribes to what.  This is what "
                 "`souk map` prints;\n`make map` writes it anew.\n");
    const struct service *const *all = souk_all();
    for (size_t i = 0; all[i]; i++)
        add_service(&t, all[i]);
    text_add(&t, "\n## Topics\n\n| topic | heard by |\n| --- | --- |\n");
    for (size_t i = 0; all[i]; i++)
        for (size_t j = 0; j < PUBLISHES_MAX && all[i]->publishes[j]; j++) {
            text_printf(&t, "| %s | ", all[i]->publishes[j]->name);
            add_hearers(&t, all[i]->publishes[j]);
            text_add(&t, " |\n");
        }
    return t.bytes;
}

int
command_map(const struct options *options)
{
    fputs(options->json ? map_json(options->arena) : map_text(options->arena), stdout);
    return 0;
}
