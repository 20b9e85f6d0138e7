/*
 * Which services run in which process, where each is called, and by what means they meet: a readable
 * table (deploy/many.conf shows its form).
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/status.h"

enum { PROCESSES_MAX = 64, PROCESS_SERVICES_MAX = 40 };

struct process {
    const char *name;
    const char *services[PROCESS_SERVICES_MAX + 1]; /* NULL-terminated */
    const char *address; /* where the others call it: "orders:7407", "unix:/path" */
    const char *listen;  /* where it listens: the address, unless another was given */
};

struct topology {
    const char *store;    /* "sqlite", or a postgresql:// URL */
    const char *broker;   /* "journal" (one process on SQLite), "outbox", or the URL of a broker */
    const char *tls;      /* folder of certificates, or NULL */
    const char *identity; /* folder of the gateway's signing key and its public half, or NULL */
    struct process *processes;
    size_t n_processes;
};

/*
 * Reads path.  services (NULL-terminated) are all that there are: each must run in exactly one
 * process; "*" stands for all.  INVALID_ARGUMENT with the line in *why.
 */
enum status topology_read(const char *path, const char *const *services, struct arena *a,
                          struct topology **ret, const char **why);
/* The same from a text; name is what *why calls it. */
enum status topology_parse(const char *text, const char *name, const char *const *services,
                           struct arena *a, struct topology **ret, const char **why);
/* NULL if there is none of this name; which runs the service. */
const struct process *topology_process(const struct topology *t, const char *name);
const struct process *topology_home(const struct topology *t, const char *service);
/* The data folder of a process below dir: "dir/orders", and "dir/orders.2" of its second instance.
 */
const char *topology_folder(struct arena *a, const char *dir, const struct process *p,
                            int instance);
/* Several processes, or one in which each service has a store of its own: there is no one journal. */
bool topology_spread(const struct topology *t);
