#include "payments/sandbox_ledger.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/hash.h"
#include "base/text.h"

enum {
    REASON_CHARS_MAX = 23,
    LINE_CHARS_MAX = 255,
    READ_BYTES = 64 << 10,
    SLOTS_MIN = 1024, /* a power of two */
};

static const char *const kind_names[] = {"", "charge", "refund", "void"};
static const char *const outcome_names[] = {"captured", "declined", "refunded"};

static const char *const reasons[] = {
    "",
    "declined",
    "insufficient_funds",
    "invalid_token",
    "no_such_charge",
    "more_than_captured",
    "voided",
};
enum { REASONS = sizeof reasons / sizeof reasons[0] };

/* The rest of the line. */
struct circumstance {
    int64_t time_us;
    char of[LEDGER_KEY_CHARS_MAX + 1];
};

struct ledger {
    char *path;
    int fd;                 /* -1: must be loaded anew, after a write that failed half-way */
    struct movement *slots; /* open addressing; KIND_NONE is free */
    size_t n, n_slots;
};

/* Reading line by line. */
struct lines {
    char line[LINE_CHARS_MAX + 1];
    size_t length; /* of the line so far; more than it holds where it is none of ours */
    int64_t at;    /* in the file */
};

static bool load(struct ledger *l);
static bool load_lines(struct ledger *l, int fd);
static bool load_bytes(struct ledger *l, int fd, char *bytes, off_t *ret_good);
static bool line_ends(struct lines *lines, char c);
static void keep(struct ledger *l, const struct movement *m, const char *of);
static void grow(struct ledger *l);
static size_t free_slot(const struct ledger *l, const char *key);
static enum status list_bytes(int fd, struct arena *a, const struct provider_list *in,
                              int64_t *offset, struct provider_movement *ret, size_t *ret_n);
static bool read_line(const char *line, struct movement *ret, struct circumstance *ret_how);
static int format(const struct movement *m, const struct circumstance *how,
                  char line[LINE_CHARS_MAX + 1]);
static bool parse(const char *line, struct movement *ret, struct circumstance *ret_how);
static int index_of(const char *word, const char *const *words, int n);
static bool plain(const char *word, size_t chars_max);

struct ledger *
ledger_open(const char *path, struct arena *a, const char **why)
{
    struct ledger *l = calloc(1, sizeof *l);
    if (!l || !(l->path = strdup(path)))
        abort();
    l->fd = -1;
    if (load(l))
        return l;
    *why = arena_printf(a, "%s: %s", path, strerror(errno));
    ledger_close(l);
    return NULL;
}

void
ledger_close(struct ledger *l)
{
    if (!l)
        return;
    if (l->fd >= 0)
        env.file_close(l->fd);
    free(l->slots);
    free(l->path);
    free(l);
}

bool
ledger_ready(struct ledger *l)
{
    return l->fd >= 0 || load(l);
}

struct movement *
ledger_find(const struct ledger *l, const char *key)
{
    if (!l->n_slots)
        return NULL;
    size_t at = hash64(key, strlen(key)) & (l->n_slots - 1);
    while (l->slots[at].kind != KIND_NONE) {
        if (strcmp(l->slots[at].key, key) == 0)
            return &l->slots[at];
        at = (at + 1) & (l->n_slots - 1);
    }
    return NULL;
}

bool
ledger_append(struct ledger *l, const struct movement *m, const char *of)
{
    struct circumstance how = {.time_us = env.now_us()};
    memcpy(how.of, of, strlen(of) + 1);
    char line[LINE_CHARS_MAX + 1];
    int n = format(m, &how, line);
    assert(n > 0);
    if (env.file_write(l->fd, line, (size_t)n) != n) {
        env.file_close(l->fd);
        l->fd = -1;
        return false;
    }
    keep(l, m, of);
    return true;
}

uint8_t
ledger_reason(const char *word)
{
    int i = index_of(word, reasons, REASONS);
    assert(i >= 0);
    return (uint8_t)i;
}

const char *
ledger_reason_word(const struct movement *m)
{
    return reasons[m->reason];
}

bool
ledger_takes(const char *key, const char *of, const char *currency)
{
    return plain(key, LEDGER_KEY_CHARS_MAX) && plain(of, LEDGER_KEY_CHARS_MAX) &&
           plain(currency, LEDGER_CURRENCY_CHARS);
}

enum status
ledger_list(const struct ledger *l, struct arena *a, const struct provider_list *in,
            int64_t *offset, struct provider_movement **ret, size_t *ret_n)
{
    int fd = env.file_open(l->path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return UNAVAILABLE;
    struct provider_movement *found = arena_alloc(a, in->max * sizeof *found);
    size_t n = 0;
    enum status st = list_bytes(fd, a, in, offset, found, &n);
    env.file_close(fd);
    if (st)
        return st;
    *ret = found;
    *ret_n = n;
    return OK;
}

/* What stands before *offset is read and thrown away: env's files have no places. */
static enum status
list_bytes(int fd, struct arena *a, const struct provider_list *in, int64_t *offset,
           struct provider_movement *ret, size_t *ret_n)
{
    char *bytes = arena_alloc(a, READ_BYTES);
    struct lines lines = {.length = 0};
    int64_t begin = *offset;
    ssize_t n;
    while ((n = env.file_read(fd, bytes, READ_BYTES)) > 0)
        for (ssize_t i = 0; i < n; i++) {
            struct movement m;
            struct circumstance how;
            if (!line_ends(&lines, bytes[i]) || lines.at <= begin ||
                !read_line(lines.line, &m, &how) || how.time_us < in->from_us ||
                how.time_us >= in->to_us)
                continue;
            if (*ret_n == in->max)
                return OK;
            *offset = lines.at;
            ret[(*ret_n)++] = (struct provider_movement){
                how.time_us,
                kind_names[m.kind],
                arena_strdup(a, m.key),
                arena_strdup(a, how.of),
                m.amount_minor,
                arena_strdup(a, m.currency),
                outcome_names[m.outcome],
            };
        }
    if (n < 0)
        return UNAVAILABLE;
    *offset = -1;
    return OK;
}

/* Reads the whole ledger into memory. */
static bool
load(struct ledger *l)
{
    free(l->slots);
    l->slots = NULL;
    l->n = l->n_slots = 0;
    int fd = env.file_open(l->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    l->fd = fd;
    if (load_lines(l, fd))
        return true;
    int failure = errno;
    env.file_close(fd);
    l->fd = -1;
    errno = failure;
    return false;
}

/* What a crash left of the last line was never answered for: it goes. */
static bool
load_lines(struct ledger *l, int fd)
{
    char *bytes = malloc(READ_BYTES);
    if (!bytes)
        abort();
    off_t good = 0;
    bool loaded = load_bytes(l, fd, bytes, &good) && env.file_truncate(fd, good) == 0;
    free(bytes);
    return loaded;
}

/* *ret_good is where the last whole line ends. */
static bool
load_bytes(struct ledger *l, int fd, char *bytes, off_t *ret_good)
{
    struct lines lines = {.length = 0};
    ssize_t n;
    while ((n = env.file_read(fd, bytes, READ_BYTES)) > 0)
        for (ssize_t i = 0; i < n; i++) {
            struct movement m;
            struct circumstance how;
            if (!line_ends(&lines, bytes[i]))
                continue;
            if (read_line(lines.line, &m, &how))
                keep(l, &m, how.of);
            *ret_good = lines.at;
        }
    return n == 0;
}

/* True behind a line; then line has it, or nothing if it is too long to be ours. */
static bool
line_ends(struct lines *lines, char c)
{
    lines->at++;
    if (c != '\n') {
        if (lines->length < LINE_CHARS_MAX)
            lines->line[lines->length] = c;
        lines->length++;
        return false;
    }
    lines->line[lines->length < LINE_CHARS_MAX ? lines->length : 0] = '\0';
    lines->length = 0;
    return true;
}

/* A line that is not exactly as we write them says nothing. */
static bool
read_line(const char *line, struct movement *ret, struct circumstance *ret_how)
{
    char again[LINE_CHARS_MAX + 1];
    size_t n = strlen(line);
    return parse(line, ret, ret_how) && format(ret, ret_how, again) == (int)n + 1 &&
           memcmp(again, line, n) == 0;
}

static void
keep(struct ledger *l, const struct movement *m, const char *of)
{
    if (4 * (l->n + 1) > 3 * l->n_slots)
        grow(l);
    struct movement *charge = m->outcome == OUTCOME_REFUNDED ? ledger_find(l, of) : NULL;
    if (charge)
        charge->refunded_minor += m->amount_minor;
    l->slots[free_slot(l, m->key)] = *m;
    l->n++;
}

static void
grow(struct ledger *l)
{
    struct ledger larger = {.n_slots = l->n_slots ? 2 * l->n_slots : SLOTS_MIN};
    larger.slots = calloc(larger.n_slots, sizeof *larger.slots);
    if (!larger.slots)
        abort();
    for (size_t i = 0; i < l->n_slots; i++)
        if (l->slots[i].kind != KIND_NONE)
            larger.slots[free_slot(&larger, l->slots[i].key)] = l->slots[i];
    free(l->slots);
    l->slots = larger.slots;
    l->n_slots = larger.n_slots;
}

static size_t
free_slot(const struct ledger *l, const char *key)
{
    size_t at = hash64(key, strlen(key)) & (l->n_slots - 1);
    while (l->slots[at].kind != KIND_NONE)
        at = (at + 1) & (l->n_slots - 1);
    return at;
}

/* The line with its newline; its length, or -1. */
static int
format(const struct movement *m, const struct circumstance *how, char line[LINE_CHARS_MAX + 1])
{
    int n = snprintf(line, LINE_CHARS_MAX + 1,
                     "{\"time_us\":%" PRId64 ",\"kind\":\"%s\",\"key\":\"%s\",\"of\":\"%s\","
                     "\"amount\":%" PRId64 ",\"currency\":\"%s\",\"outcome\":\"%s\","
                     "\"reason\":\"%s\"}\n",
                     how->time_us, kind_names[m->kind], m->key, how->of, m->amount_minor,
                     m->currency, outcome_names[m->outcome], reasons[m->reason]);
    return n > LINE_CHARS_MAX ? -1 : n;
}

static bool
parse(const char *line, struct movement *ret, struct circumstance *ret_how)
{
    struct movement m = {.kind = KIND_NONE};
    char kind[8], outcome[9], reason[REASON_CHARS_MAX + 1] = "";
    if (sscanf(line,
               "{\"time_us\":%" SCNd64 ",\"kind\":\"%7[a-z]\",\"key\":\"%39[^\"]\","
               "\"of\":\"%39[^\"]\",\"amount\":%" SCNd64 ",\"currency\":\"%3[A-Z]\","
               "\"outcome\":\"%8[a-z]\",\"reason\":\"%23[a-z_]",
               &ret_how->time_us, kind, m.key, ret_how->of, &m.amount_minor, m.currency, outcome,
               reason) < 7)
        return false;
    int k = index_of(kind, kind_names, KIND_VOID + 1);
    int o = index_of(outcome, outcome_names, OUTCOME_REFUNDED + 1);
    int why = index_of(reason, reasons, REASONS);
    if (k <= KIND_NONE || o < 0 || why < 0)
        return false;
    m.kind = (uint8_t)k;
    m.outcome = (uint8_t)o;
    m.reason = (uint8_t)why;
    *ret = m;
    return true;
}

static int
index_of(const char *word, const char *const *words, int n)
{
    for (int i = 0; i < n; i++)
        if (strcmp(word, words[i]) == 0)
            return i;
    return -1;
}

/* A word of the ledger. */
static bool
plain(const char *word, size_t chars_max)
{
    size_t n = strlen(word);
    return n > 0 && n <= chars_max &&
           strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == n;
}
