/* What the commands of the one binary share. */
#pragma once
#include "base/arena.h"
#include "base/status.h"
#include "kit/conf.h"
#include "kit/kit.h"

struct http_exchange;
struct http_request;
struct node;
struct topology;

/* A command line after "souk <command>", taken apart. */
struct options {
    struct arena *arena;
    const struct command *command;
    const char *data_dir; /* --data, else $SOUK_DATA, else "souk-data" */
    const char *listen;   /* --listen, or NULL */
    bool demo, follow, json;
    const char *topology, *process; /* files and names; NULL: everything in one process */
    int64_t instance;               /* of the process, from 1 */
    const char *callback, *secret, *faults; /* of the sandbox, or NULL */
    int64_t latency_ms;
    int64_t last; /* -n; 0 if it was not given */
    const char *words[4]; /* what is neither a flag nor a flag's value */
    size_t n_words;
};

struct command {
    const char *name;
    const char *usage;   /* what stands behind the name */
    const char *purpose; /* one line */
    const char *example;
    const char *flags; /* those it takes besides --data and --help: letters of d(emo) l(isten) f(ollow) j(son) n s(andbox) */
    size_t words_min, words_max;
    int (*run)(const struct options *options); /* gives the exit code: 0, 1 failed, 2 wrong usage */
};

int command_run(const struct options *options);
int command_sandbox(const struct options *options);
int command_admin(const struct options *options);
int command_import(const struct options *options);
int command_export(const struct options *options);
int command_journal(const struct options *options);
int command_deadletters(const struct options *options);
int command_map(const struct options *options);
int command_health(const struct options *options);
int command_check_config(const struct options *options);

/* Before any thread starts: SIGTERM and SIGINT are for wait_for_end alone, SIGPIPE for nobody. */
void hold_signals(void);
/* Until SIGTERM or SIGINT; a second one ends the process at once. */
void wait_for_end(void);
/* The same, for so long: true if it has come. */
bool end_comes(int64_t within_us);

/* Prints "souk: …" on standard error; gives 1. */
int complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* The settings of data_dir: souk.conf and environment.  False after it has complained. */
bool load_conf(const struct options *options, struct conf *conf);

/* Every service and the gateway, NULL-terminated. */
extern const struct service *const *souk_all(void);

/* What options->topology says; NULL without one.  False after it has complained. */
bool load_topology(const struct options *options, struct topology **ret);

/* For struct http_server_options; arg is the node. */
void monitor_handle(void *node, struct http_exchange *x, const struct http_request *in);

/* A gateway with the limits that the settings say. */
struct gateway *make_gateway(struct node *node);

/* The wiring as Markdown: docs/MAP.md; and the same as JSON, for tools. */
char *map_text(struct arena *a);
char *map_json(struct arena *a);
