#include "payments/sandbox.h"

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
#include "base/time.h"
#include "fiber/fiber.h"

enum {
    KEY_CHARS_MAX = 39,
    CURRENCY_CHARS = 3,
    REASON_CHARS_MAX = 23,
    LINE_CHARS_MAX = 255,
    READ_BYTES = 64 << 10,
    SLOTS_MIN = 1024, /* a power of two */
};

enum kind { KIND_NONE, KIND_CHARGE, KIND_REFUND, KIND_VOID };
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

/* What is kept in memory of a line of the ledger: 64 bytes. */
struct movement {
    char key[KEY_CHARS_MAX + 1];
    char currency[CURRENCY_CHARS + 1];
    uint8_t kind, outcome, reason;
    int64_t amount_minor;
    int64_t refunded_minor; /* of a charge */
};

/* What somebody asks for. */
struct wish {
    enum kind kind;
    const char *key, *of;
    int64_t amount_minor;
    const char *currency;
    const char *declined; /* why it is not granted, or NULL */
};

/* The rest of the line. */
struct circumstance {
    int64_t time_us;
    char of[KEY_CHARS_MAX + 1];
};

struct sandbox {
    char *path;
    int fd; /* -1: must be loaded anew, after a write that failed half-way */
    int64_t slow_us;
    struct movement *slots; /* open addressing; KIND_NONE is free */
    size_t n, n_slots;
};

static bool load(struct sandbox *s);
static bool load_lines(struct sandbox *s, int fd);
static void take_line(struct sandbox *s, const char *line);
static bool load_bytes(struct sandbox *s, int fd, char *bytes, off_t *ret_good);
static bool ready(struct sandbox *s);
static bool append(struct sandbox *s, const struct movement *m, const struct circumstance *how);
static void keep(struct sandbox *s, const struct movement *m, const char *of);
static size_t free_slot(const struct sandbox *s, const char *key);
static void grow(struct sandbox *s);
static struct movement *find(const struct sandbox *s, const char *key);
static int format(const struct movement *m, const struct circumstance *how,
                  char line[LINE_CHARS_MAX + 1]);
static bool parse(const char *line, struct movement *ret, struct circumstance *ret_how);
static int index_of(const char *word, const char *const *words, int n);
static bool plain(const char *word, size_t chars_max);
static void answer(struct arena *a, const struct movement *m, struct provider_answer *ret);
static void record(struct sandbox *s, struct arena *a, const struct wish *wish,
                   struct provider_answer *ret);

struct sandbox *
sandbox_open(const char *path, int64_t slow_us, struct arena *a, const char **why)
{
    struct sandbox *s = calloc(1, sizeof *s);
    if (!s || !(s->path = strdup(path)))
        abort();
    s->fd = -1;
    s->slow_us = slow_us;
    if (load(s))
        return s;
    *why = arena_printf(a, "%s: %s", path, strerror(errno));
    sandbox_close(s);
    return NULL;
}

void
sandbox_close(struct sandbox *s)
{
    if (!s)
        return;
    if (s->fd >= 0)
        env.file_close(s->fd);
    free(s->slots);
    free(s->path);
    free(s);
}

/* Why the token declines, or NULL. */
static const char *
decline_of(const char *token)
{
    static const char *const captured[] = {"approve",      "timeout",       "slow",
                                           "webhook_late", "webhook_twice", "webhook_first"};
    for (size_t i = 0; i < sizeof captured / sizeof captured[0]; i++)
        if (text_equal(token, captured[i]))
            return NULL;
    if (text_equal(token, "decline"))
        return "declined";
    return text_equal(token, "insufficient_funds") ? "insufficient_funds" : "invalid_token";
}

static void
sandbox_charge(void *state, struct arena *a, const struct provider_charge *in,
               struct provider_answer *ret)
{
    struct sandbox *s = state;
    const struct movement *known = ready(s) ? find(s, in->key) : NULL;
    if (known) {
        answer(a, known, ret);
        return;
    }
    bool slow = text_equal(in->token, "slow") && s->slow_us < in->timeout_us;
    if (slow)
        fiber_sleep_us(s->slow_us);
    record(s, a,
           &(struct wish){KIND_CHARGE, in->key, in->order_id, in->amount_minor, in->currency,
                          decline_of(in->token)},
           ret);
    if (text_equal(in->token, "timeout") || (text_equal(in->token, "slow") && !slow)) {
        fiber_sleep_us(in->timeout_us);
        ret->outcome = OUTCOME_UNKNOWN;
    }
    if (text_starts(in->token, "webhook_") && ret->outcome == OUTCOME_CAPTURED)
        ret->outcome = OUTCOME_UNKNOWN;
}

static void
sandbox_refund(void *state, struct arena *a, const struct provider_refund *in,
               struct provider_answer *ret)
{
    struct sandbox *s = state;
    const struct movement *charge = ready(s) ? find(s, in->charge_key) : NULL;
    const char *declined = NULL;
    if (!charge || charge->kind != KIND_CHARGE || charge->outcome != OUTCOME_CAPTURED)
        declined = "no_such_charge";
    else if (strcmp(charge->currency, in->currency) != 0 ||
             in->amount_minor > charge->amount_minor - charge->refunded_minor)
        declined = "more_than_captured";
    record(s, a,
           &(struct wish){KIND_REFUND, in->key, in->charge_key, in->amount_minor, in->currency,
                          declined},
           ret);
}

static void
sandbox_resolve(void *state, struct arena *a, const char *key, int64_t timeout_us,
                struct provider_answer *ret)
{
    (void)timeout_us;
    record(state, a, &(struct wish){KIND_VOID, key, "-", 0, "XXX", "voided"}, ret);
}

/* Moves the money of key, or tells the movement that it was used for before. */
static void
record(struct sandbox *s, struct arena *a, const struct wish *wish, struct provider_answer *ret)
{
    *ret = (struct provider_answer){OUTCOME_UNKNOWN, "", ""};
    if (!ready(s))
        return;
    const struct movement *known = find(s, wish->key);
    if (known) {
        answer(a, known, ret);
        if (wish->kind == KIND_VOID && known->kind == KIND_VOID)
            ret->outcome = OUTCOME_ABSENT;
        return;
    }
    if (!plain(wish->key, KEY_CHARS_MAX) || !plain(wish->of, KEY_CHARS_MAX) ||
        !plain(wish->currency, CURRENCY_CHARS)) {
        *ret = (struct provider_answer){OUTCOME_DECLINED, "", "bad_request"};
        return;
    }
    struct movement m = {.kind = (uint8_t)wish->kind, .amount_minor = wish->amount_minor};
    m.outcome = wish->declined              ? OUTCOME_DECLINED
                : wish->kind == KIND_REFUND ? OUTCOME_REFUNDED
                                            : OUTCOME_CAPTURED;
    m.reason = (uint8_t)(wish->declined ? index_of(wish->declined, reasons, REASONS) : 0);
    memcpy(m.key, wish->key, strlen(wish->key) + 1);
    memcpy(m.currency, wish->currency, strlen(wish->currency) + 1);
    struct circumstance how = {.time_us = env.now_us()};
    memcpy(how.of, wish->of, strlen(wish->of) + 1);
    if (!append(s, &m, &how))
        return;
    answer(a, &m, ret);
    if (wish->kind == KIND_VOID)
        ret->outcome = OUTCOME_ABSENT;
}

static void
answer(struct arena *a, const struct movement *m, struct provider_answer *ret)
{
    const char *body = strchr(m->key, '_');
    ret->outcome = m->outcome;
    ret->ref = arena_printf(a, "sbx_%s", body ? body + 1 : m->key);
    ret->reason = m->outcome == OUTCOME_DECLINED ? reasons[m->reason] : "";
}

/* Reads the whole ledger into memory. */
static bool
load(struct sandbox *s)
{
    free(s->slots);
    s->slots = NULL;
    s->n = s->n_slots = 0;
    int fd = env.file_open(s->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    s->fd = fd;
    if (load_lines(s, fd))
        return true;
    int failure = errno;
    env.file_close(fd);
    s->fd = -1;
    errno = failure;
    return false;
}

/* What a crash left of the last line was never answered for: it goes. */
static bool
load_lines(struct sandbox *s, int fd)
{
    char *bytes = malloc(READ_BYTES);
    if (!bytes)
        abort();
    off_t good = 0;
    bool loaded = load_bytes(s, fd, bytes, &good) && env.file_truncate(fd, good) == 0;
    free(bytes);
    return loaded;
}

/* *ret_good is where the last whole line ends. */
static bool
load_bytes(struct sandbox *s, int fd, char *bytes, off_t *ret_good)
{
    char line[LINE_CHARS_MAX + 1];
    size_t length = 0; /* of the line so far; more than it holds where it is none of ours */
    off_t at = 0;
    ssize_t n;
    while ((n = env.file_read(fd, bytes, READ_BYTES)) > 0)
        for (ssize_t i = 0; i < n; i++) {
            at++;
            if (bytes[i] != '\n') {
                if (length < LINE_CHARS_MAX)
                    line[length] = bytes[i];
                length++;
                continue;
            }
            line[length < LINE_CHARS_MAX ? length : 0] = '\0';
            take_line(s, line);
            length = 0;
            *ret_good = at;
        }
    return n == 0;
}

/* A line that is not exactly as we write them says nothing. */
static void
take_line(struct sandbox *s, const char *line)
{
    struct movement m;
    struct circumstance how;
    char again[LINE_CHARS_MAX + 1];
    size_t n = strlen(line);
    if (parse(line, &m, &how) && format(&m, &how, again) == (int)n + 1 &&
        memcmp(again, line, n) == 0)
        keep(s, &m, how.of);
}

static bool
ready(struct sandbox *s)
{
    return s->fd >= 0 || load(s);
}

static bool
append(struct sandbox *s, const struct movement *m, const struct circumstance *how)
{
    char line[LINE_CHARS_MAX + 1];
    int n = format(m, how, line);
    assert(n > 0);
    if (env.file_write(s->fd, line, (size_t)n) != n) {
        env.file_close(s->fd);
        s->fd = -1;
        return false;
    }
    keep(s, m, how->of);
    return true;
}

static void
keep(struct sandbox *s, const struct movement *m, const char *of)
{
    if (4 * (s->n + 1) > 3 * s->n_slots)
        grow(s);
    struct movement *charge = m->outcome == OUTCOME_REFUNDED ? find(s, of) : NULL;
    if (charge)
        charge->refunded_minor += m->amount_minor;
    s->slots[free_slot(s, m->key)] = *m;
    s->n++;
}

static void
grow(struct sandbox *s)
{
    struct sandbox larger = {.n_slots = s->n_slots ? 2 * s->n_slots : SLOTS_MIN};
    larger.slots = calloc(larger.n_slots, sizeof *larger.slots);
    if (!larger.slots)
        abort();
    for (size_t i = 0; i < s->n_slots; i++)
        if (s->slots[i].kind != KIND_NONE)
            larger.slots[free_slot(&larger, s->slots[i].key)] = s->slots[i];
    free(s->slots);
    s->slots = larger.slots;
    s->n_slots = larger.n_slots;
}

static size_t
free_slot(const struct sandbox *s, const char *key)
{
    size_t at = hash64(key, strlen(key)) & (s->n_slots - 1);
    while (s->slots[at].kind != KIND_NONE)
        at = (at + 1) & (s->n_slots - 1);
    return at;
}

static struct movement *
find(const struct sandbox *s, const char *key)
{
    if (!s->n_slots)
        return NULL;
    size_t at = hash64(key, strlen(key)) & (s->n_slots - 1);
    while (s->slots[at].kind != KIND_NONE) {
        if (strcmp(s->slots[at].key, key) == 0)
            return &s->slots[at];
        at = (at + 1) & (s->n_slots - 1);
    }
    return NULL;
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

const struct provider sandbox_provider = {
    .name = "sandbox",
    .charge = sandbox_charge,
    .refund = sandbox_refund,
    .resolve = sandbox_resolve,
};
