#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include "app/app.h"
#include "gateway/forwarded.h"
#include "gateway/gateway.h"
#include "kit/topology.h"
#include "services/services.h"

enum { SERVICES_NAMES_MAX = 40 };

int
complain(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fputs("souk: ", stderr);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    return 1;
}

bool
load_conf(const struct options *options, struct conf *conf)
{
    const char *path = arena_printf(options->arena, "%s/souk.conf", options->data_dir);
    const char *why = NULL;
    enum status st = conf_load(conf, path, options->arena, &why);
    if (st == OK && options->listen)
        st = conf_set(conf, "listen", options->listen, options->arena, &why);
    struct proxies proxies;
    const char *proxy_fault;
    if (st == OK && (st = proxies_read(conf_get(conf, "trusted_proxies"), options->arena, &proxies,
                                       &proxy_fault)))
        why = arena_printf(options->arena, "trusted_proxies: %s", proxy_fault);
    if (st)
        complain("%s", why);
    return st == OK;
}

const struct service *const *
souk_all(void)
{
    enum { ALL_MAX = 32 };
    static const struct service *all[ALL_MAX + 1];
    size_t n = 0;
    for (; souk_services[n]; n++)
        all[n] = souk_services[n];
    all[n] = &gateway_service;
    return all;
}

struct gateway *
make_gateway(struct node *node)
{
    return gateway_new(node, (struct gateway_options){
                                 .requests_max = (size_t)setting_int(node, "requests_max"),
                                 .rate_limit_per_s = setting_int(node, "rate_limit_per_s"),
                                 .limit_loopback =
                                     strcmp(setting(node, "rate_limit_loopback"), "on") == 0,
                                 .trusted_proxies = setting(node, "trusted_proxies"),
                             });
}

bool
load_topology(const struct options *options, struct topology **ret)
{
    *ret = NULL;
    if (!options->topology)
        return true;
    const char *names[SERVICES_NAMES_MAX + 1] = {NULL}, *why = NULL;
    const struct service *const *all = souk_all();
    for (size_t i = 0; all[i]; i++)
        names[i] = all[i]->name;
    if (topology_read(options->topology, names, options->arena, ret, &why))
        return complain("%s", why), false;
    return true;
}

void
hold_signals(void)
{
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    signal(SIGPIPE, SIG_IGN);
}

void
wait_for_end(void)
{
    while (!end_comes(MINUTE_US))
        ;
}

bool
end_comes(int64_t within_us)
{
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    const struct timespec within = {within_us / SECOND_US, within_us % SECOND_US * 1000};
    if (sigtimedwait(&ends, NULL, &within) < 0)
        return false;
    sigprocmask(SIG_UNBLOCK, &ends, NULL);
    return true;
}
