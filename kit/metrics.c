/* Figures of this process, in Prometheus' text format 0.0.4; and tallies. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "bus/broker.h"
#include "kit/node_impl.h"
#include "kit/peers.h"
#include "kit/tracer.h"
#include "net/net.h"

enum { ROUTES_MAX = 256, CODES_MAX = 16, BUCKETS = 9, COUNTERS_MAX = 512, LAGS_MAX = 512 };

static const int64_t bucket_us[BUCKETS] = {500, 1000, 5000, 10000, 50000, 100000, 500000, 1000000,
                                           10000000};

struct route_figures {
    char route[80];
    struct {
        int http_status;
        uint64_t n;
    } codes[CODES_MAX];
    uint64_t n, buckets[BUCKETS];
    int64_t took_us;
};

struct counter {
    char name[64], labels[128];
    int64_t n;
};

static struct spin lock;
static struct route_figures *routes; /* open addressing; the last slot takes what finds no room */
static struct counter counters[COUNTERS_MAX];
static size_t n_counters;

static struct route_figures *
route_slot(const char *route)
{
    if (!routes && !(routes = calloc(ROUTES_MAX, sizeof *routes)))
        abort();
    size_t at = hash64(route, strlen(route)) % (ROUTES_MAX - 1);
    for (size_t tries = 0; tries < 16; tries++, at = (at + 1) % (ROUTES_MAX - 1)) {
        struct route_figures *r = &routes[at];
        if (!r->route[0])
            snprintf(r->route, sizeof r->route, "%s", route);
        if (strncmp(r->route, route, sizeof r->route - 1) == 0)
            return r;
    }
    strcpy(routes[ROUTES_MAX - 1].route, "other");
    return &routes[ROUTES_MAX - 1];
}

void
count_request(const char *route, int http_status, int64_t took_us)
{
    spin_lock(&lock);
    struct route_figures *r = route_slot(route);
    size_t c = 0;
    while (c < CODES_MAX - 1 && r->codes[c].n && r->codes[c].http_status != http_status)
        c++;
    r->codes[c].http_status = http_status;
    r->codes[c].n++;
    r->n++;
    r->took_us += took_us;
    for (size_t b = 0; b < BUCKETS; b++)
        if (took_us <= bucket_us[b]) {
            r->buckets[b]++;
            break;
        }
    spin_unlock(&lock);
}

void
metric_add(const char *name, const char *labels, int64_t n)
{
    spin_lock(&lock);
    size_t i = 0;
    while (i < n_counters &&
           (strcmp(counters[i].name, name) != 0 || strcmp(counters[i].labels, labels) != 0))
        i++;
    if (i == n_counters && n_counters < COUNTERS_MAX) {
        snprintf(counters[i].name, sizeof counters[i].name, "%s", name);
        snprintf(counters[i].labels, sizeof counters[i].labels, "%s", labels);
        n_counters++;
    }
    if (i < n_counters)
        counters[i].n += n;
    spin_unlock(&lock);
}

void
count_job(const char *service, const char *job, bool failed)
{
    char labels[128];
    snprintf(labels, sizeof labels, "service=\"%s\",job=\"%s\",ok=\"%s\"", service, job,
             failed ? "false" : "true");
    metric_add("souk_job_runs_total", labels, 1);
}

static int
by_route(const void *a, const void *b)
{
    return strcmp(((const struct route_figures *)a)->route, ((const struct route_figures *)b)->route);
}

static void
add_route(struct text *t, const struct route_figures *r)
{
    for (size_t c = 0; c < CODES_MAX && r->codes[c].n; c++)
        text_printf(t, "souk_requests_total{route=\"%s\",status=\"%d\"} %llu\n", r->route,
                    r->codes[c].http_status, (unsigned long long)r->codes[c].n);
}

static void
add_route_times(struct text *t, const struct route_figures *r)
{
    uint64_t below = 0;
    for (size_t b = 0; b < BUCKETS; b++)
        text_printf(t, "souk_request_seconds_bucket{route=\"%s\",le=\"%g\"} %llu\n", r->route,
                    (double)bucket_us[b] / 1e6, (unsigned long long)(below += r->buckets[b]));
    text_printf(t, "souk_request_seconds_bucket{route=\"%s\",le=\"+Inf\"} %llu\n", r->route,
                (unsigned long long)r->n);
    text_printf(t, "souk_request_seconds_sum{route=\"%s\"} %.6f\n", r->route,
                (double)r->took_us / 1e6);
    text_printf(t, "souk_request_seconds_count{route=\"%s\"} %llu\n", r->route,
                (unsigned long long)r->n);
}

static void
add_routes(struct text *t, struct arena *a)
{
    spin_lock(&lock);
    struct route_figures *copy = arena_alloc(a, ROUTES_MAX * sizeof *copy);
    if (routes)
        memcpy(copy, routes, ROUTES_MAX * sizeof *copy);
    spin_unlock(&lock);
    qsort(copy, ROUTES_MAX, sizeof *copy, by_route);
    text_add(t, "# TYPE souk_requests_total counter\n");
    for (size_t i = 0; i < ROUTES_MAX; i++)
        add_route(t, &copy[i]);
    text_add(t, "# TYPE souk_request_seconds histogram\n");
    for (size_t i = 0; i < ROUTES_MAX; i++)
        if (copy[i].n)
            add_route_times(t, &copy[i]);
}

static int
by_counter(const void *a, const void *b)
{
    const struct counter *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : strcmp(x->labels, y->labels);
}

static void
add_counters(struct text *t, struct arena *a)
{
    spin_lock(&lock);
    size_t n = n_counters;
    struct counter *copy = arena_copy(a, counters, n * sizeof *copy);
    spin_unlock(&lock);
    qsort(copy, n, sizeof *copy, by_counter);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || strcmp(copy[i].name, copy[i - 1].name) != 0)
            text_printf(t, "# TYPE %s counter\n", copy[i].name);
        text_printf(t, "%s{%s} %lld\n", copy[i].name, copy[i].labels, (long long)copy[i].n);
    }
}

/* A figure's lines stand together, as the format wants it. */
static void
add_stores(struct text *t, const struct node *node)
{
    static const char *const names[] = {"batches", "transactions", "failed_batches", "round_trips"};
    for (size_t f = 0; f < sizeof names / sizeof names[0]; f++) {
        text_printf(t, "# TYPE souk_store_%s_total counter\n", names[f]);
        for (size_t i = 0; i < node->n_stores; i++) {
            if (!node->stores[i].store)
                continue;
            struct store_figures s = store_figures(node->stores[i].store);
            const uint64_t values[] = {s.batches, s.transactions, s.failed_batches, s.round_trips};
            text_printf(t, "souk_store_%s_total{store=\"%s\"} %llu\n", names[f],
                        node->stores[i].name, (unsigned long long)values[f]);
        }
    }
    text_add(t, "# TYPE souk_store_sync_seconds_total counter\n");
    for (size_t i = 0; i < node->n_stores; i++)
        if (node->stores[i].store)
            text_printf(t, "souk_store_sync_seconds_total{store=\"%s\"} %.6f\n",
                        node->stores[i].name,
                        (double)store_figures(node->stores[i].store).sync_us / 1e6);
}

static void
add_broker(struct text *t, struct broker *broker)
{
    if (!broker)
        return;
    struct broker_figures f = broker_figures(broker);
    const struct {
        const char *name;
        uint64_t value;
    } counters_of[] = {{"connections", f.connections},
                       {"published", f.published},
                       {"confirmed", f.confirmed},
                       {"delivered", f.delivered},
                       {"refused", f.refused}};
    text_printf(t, "# TYPE souk_broker_connected gauge\nsouk_broker_connected %d\n", f.connected);
    for (size_t i = 0; i < sizeof counters_of / sizeof counters_of[0]; i++)
        text_printf(t, "# TYPE souk_broker_%s_total counter\nsouk_broker_%s_total %llu\n",
                    counters_of[i].name, counters_of[i].name,
                    (unsigned long long)counters_of[i].value);
}

static void
add_bus(struct text *t, const struct node *node)
{
    struct bus_lag lags[LAGS_MAX];
    size_t n = bus_lags(node->bus, lags, LAGS_MAX);
    text_add(t, "# TYPE souk_bus_behind gauge\n");
    for (size_t i = 0; i < n; i++)
        text_printf(t, "souk_bus_behind{subscriber=\"%s\",publisher=\"%s\"} %lld\n",
                    lags[i].subscriber, lags[i].publisher, (long long)lags[i].behind);
    text_add(t, "# TYPE souk_bus_parked gauge\n");
    for (size_t i = 0; i < n; i++)
        if (i == 0 || strcmp(lags[i].subscriber, lags[i - 1].subscriber) != 0)
            text_printf(t, "souk_bus_parked{subscriber=\"%s\"} %lld\n", lags[i].subscriber,
                        (long long)lags[i].parked);
}

static int64_t
resident_bytes(void)
{
    long pages = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f) {
        if (fscanf(f, "%ld %ld", &pages, &resident) != 2)
            resident = 0;
        fclose(f);
    }
    return (int64_t)resident * sysconf(_SC_PAGESIZE);
}

char *
metrics_text(struct node *node, struct arena *a)
{
    struct text t = text_in(a);
    add_routes(&t, a);
    add_counters(&t, a);
    tracer_metrics(node->tracer, &t);
    add_stores(&t, node);
    peers_metrics(node->peers, &t);
    add_broker(&t, node->broker);
    add_bus(&t, node);
    struct net_figures net = net_figures();
    text_printf(&t, "# TYPE souk_connections_total counter\nsouk_connections_total %llu\n",
                (unsigned long long)net.connections);
    text_printf(&t, "# TYPE souk_connections_open gauge\nsouk_connections_open %lld\n",
                (long long)net.open_connections);
    text_printf(&t,
                "# TYPE souk_requests_refused_total counter\nsouk_requests_refused_total %llu\n",
                (unsigned long long)net.refused);
    text_printf(&t, "# TYPE souk_fibers gauge\nsouk_fibers{sched=\"core\"} %zu\n",
                sched_fibers(node->core_sched));
    text_printf(&t, "souk_fibers{sched=\"listeners\"} %zu\n", sched_fibers(node->listener_sched));
    text_printf(&t,
                "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes %lld\n",
                (long long)resident_bytes());
    return t.bytes;
}
