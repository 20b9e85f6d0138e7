#include "kit/topology.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

enum { FILE_BYTES_MAX = 64 << 10, WORDS_MAX = 5 };

/* What is being read. */
struct reading {
    struct arena *a;
    struct topology *t;
    const char *name;
    const char *const *services;
    int line;
    const char *why; /* NULL while all is well */
};

static void read_line(struct reading *r, char *line);
static void read_process(struct reading *r, char *const *words, size_t n);
static void add_service(struct reading *r, struct process *p, const char *service);
static void check(struct reading *r);
static const char *expand(struct reading *r, const char *word);
static void complain(struct reading *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

enum status
topology_read(const char *path, const char *const *services, struct arena *a, struct topology **ret,
              const char **why)
{
    FILE *file = fopen(path, "re");
    if (!file) {
        *why = arena_printf(a, "%s: %s", path, strerror(errno));
        return INVALID_ARGUMENT;
    }
    char *text = arena_alloc(a, FILE_BYTES_MAX + 1);
    size_t n = fread(text, 1, FILE_BYTES_MAX, file);
    fclose(file);
    if (n == FILE_BYTES_MAX) {
        *why = arena_printf(a, "%s has more than %d bytes", path, FILE_BYTES_MAX);
        return INVALID_ARGUMENT;
    }
    return topology_parse(text, path, services, a, ret, why);
}

enum status
topology_parse(const char *text, const char *name, const char *const *services, struct arena *a,
               struct topology **ret, const char **why)
{
    struct topology *t = arena_alloc(a, sizeof *t);
    *t = (struct topology){.store = "sqlite", .broker = "journal"};
    t->processes = arena_alloc(a, PROCESSES_MAX * sizeof *t->processes);
    struct reading r = {.a = a, .t = t, .name = name, .services = services};
    char *left = arena_strdup(a, text);
    for (char *line; !r.why && (line = strsep(&left, "\n"));) {
        r.line++;
        read_line(&r, line);
    }
    if (!r.why)
        check(&r);
    if (r.why) {
        *why = r.why;
        return INVALID_ARGUMENT;
    }
    *ret = t;
    return OK;
}

const struct process *
topology_process(const struct topology *t, const char *name)
{
    for (size_t i = 0; i < t->n_processes; i++)
        if (strcmp(t->processes[i].name, name) == 0)
            return &t->processes[i];
    return NULL;
}

const struct process *
topology_home(const struct topology *t, const char *service)
{
    for (size_t i = 0; i < t->n_processes; i++)
        for (size_t j = 0; t->processes[i].services[j]; j++)
            if (strcmp(t->processes[i].services[j], service) == 0)
                return &t->processes[i];
    return NULL;
}

const char *
topology_folder(struct arena *a, const char *dir, const struct process *p, int instance)
{
    return instance > 1 ? arena_printf(a, "%s/%s.%d", dir, p->name, instance)
                        : arena_printf(a, "%s/%s", dir, p->name);
}

bool
topology_spread(const struct topology *t)
{
    return t->n_processes > 1 || strcmp(t->store, "sqlite") != 0;
}

static void
read_line(struct reading *r, char *line)
{
    char *words[WORDS_MAX];
    size_t n = 0;
    for (char *word; (word = strsep(&line, " \t\r"));) {
        if (!*word)
            continue;
        if (*word == '#') /* within a word it is part of it: a URL may have one */
            break;
        if (n == WORDS_MAX) {
            complain(r, "\"%s\" is one word too many", word);
            return;
        }
        words[n++] = word;
    }
    if (n == 0)
        return;
    struct {
        const char *name, **value;
    } const settings[] = {{"store", &r->t->store},
                          {"broker", &r->t->broker},
                          {"tls", &r->t->tls},
                          {"identity", &r->t->identity}};
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        if (strcmp(words[0], settings[i].name) != 0)
            continue;
        if (n != 2) {
            complain(r, "%s takes one value", words[0]);
            return;
        }
        const char *value = expand(r, words[1]);
        *settings[i].value = value && strcmp(value, "-") == 0 ? NULL : value;
        return;
    }
    if (strcmp(words[0], "process") == 0)
        read_process(r, words, n);
    else
        complain(r, "\"%s\" is none of store, broker, tls, identity and process", words[0]);
}

static void
read_process(struct reading *r, char *const *words, size_t n)
{
    if (n < 4) {
        complain(r, "a process has a name, services and an address");
        return;
    }
    if (r->t->n_processes == PROCESSES_MAX) {
        complain(r, "there are more than %d processes", PROCESSES_MAX);
        return;
    }
    if (topology_process(r->t, words[1])) {
        complain(r, "there are two processes %s", words[1]);
        return;
    }
    if (strchr(words[1], '/') || words[1][0] == '.') {
        complain(r, "\"%s\" is no name: a process has a folder of it", words[1]);
        return;
    }
    struct process *p = &r->t->processes[r->t->n_processes++];
    p->name = words[1];
    p->address = expand(r, words[3]);
    p->listen = n > 4 ? expand(r, words[4]) : p->address;
    char *services = words[2];
    for (char *one; !r->why && (one = strsep(&services, ","));) {
        if (strcmp(one, "*") != 0) {
            add_service(r, p, one);
            continue;
        }
        for (size_t i = 0; r->services[i]; i++)
            add_service(r, p, r->services[i]);
    }
}

static void
add_service(struct reading *r, struct process *p, const char *service)
{
    size_t n = 0;
    while (p->services[n])
        n++;
    size_t i = 0;
    while (r->services[i] && strcmp(r->services[i], service) != 0)
        i++;
    if (!r->services[i])
        complain(r, "there is no service \"%s\"", service);
    else if (topology_home(r->t, service))
        complain(r, "%s runs in %s already", service, topology_home(r->t, service)->name);
    else if (n == PROCESS_SERVICES_MAX)
        complain(r, "%s has more than %d services", p->name, PROCESS_SERVICES_MAX);
    else
        p->services[n] = r->services[i];
}

/* What only the whole file tells. */
static void
check(struct reading *r)
{
    const struct topology *t = r->t;
    r->line = 0;
    for (size_t i = 0; r->services[i] && !r->why; i++)
        if (!topology_home(t, r->services[i]))
            complain(r, "%s runs in no process", r->services[i]);
    if (!r->why && (!t->store || !t->broker))
        complain(r, "%s needs a value", t->store ? "broker" : "store");
    for (size_t i = 0; t->n_processes > 1 && i < t->n_processes && !r->why; i++)
        if (strcmp(t->processes[i].address, "-") == 0)
            complain(r, "%s needs an address: others call it", t->processes[i].name);
    bool journal = !r->why && strcmp(t->broker, "journal") == 0;
    if (!r->why && journal && topology_spread(t))
        complain(r, "several processes, or a store for each service, need broker outbox or a"
                    " broker's URL");
    if (!r->why && !journal && !topology_spread(t))
        complain(r, "one process on SQLite needs no broker but its journal");
}

/* ${NAME} and ${NAME:-otherwise}. */
static const char *
expand(struct reading *r, const char *word)
{
    struct text out = text_in(r->a);
    text_add(&out, "");
    while (*word) {
        size_t plain = strcspn(word, "$");
        text_add_n(&out, word, plain);
        word += plain;
        if (!*word)
            break;
        const char *end = word[1] == '{' ? strchr(word, '}') : NULL;
        if (!end) {
            complain(r, "\"%s\" is no ${NAME}", word);
            return NULL;
        }
        const char *otherwise = strstr(word, ":-");
        if (otherwise > end)
            otherwise = NULL;
        size_t n = (size_t)((otherwise ? otherwise : end) - (word + 2));
        const char *name = arena_strndup(r->a, word + 2, n), *value = getenv(name);
        if (!text_empty(value))
            text_add(&out, value);
        else if (otherwise)
            text_add_n(&out, otherwise + 2, (size_t)(end - otherwise - 2));
        else
            complain(r, "%s is not set", name);
        word = end + 1;
    }
    return out.bytes;
}

static void
complain(struct reading *r, const char *fmt, ...)
{
    if (r->why)
        return;
    va_list args;
    va_start(args, fmt);
    const char *said = arena_vprintf(r->a, fmt, args);
    va_end(args);
    r->why = r->line ? arena_printf(r->a, "%s, line %d: %s", r->name, r->line, said)
                     : arena_printf(r->a, "%s: %s", r->name, said);
}
