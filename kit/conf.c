#include "kit/conf.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/money.h"
#include "base/text.h"

enum { LINE_CHARS_MAX = 1000 };

enum kind {
    KIND_TEXT,
    KIND_INT,
    KIND_BOOL,
    KIND_CURRENCY,
    KIND_LOG,
    KIND_SECRET,
    KIND_URL,
    KIND_KEYS,
};

struct setting {
    const char *name, *initial;
    enum kind kind;
    int64_t min, max; /* of a KIND_INT */
    const char *help;
};

static const struct setting settings[] = {
    {"listen", "127.0.0.1:8080", KIND_TEXT, 0, 0, "address and port to serve on"},
    {"monitor", "", KIND_TEXT, 0, 0,
     "address and port of /livez, /readyz and /metrics in a process without the gateway"},
    {"tls_certificate", "", KIND_TEXT, 0, 0, "PEM file; with tls_key, serve HTTPS"},
    {"tls_key", "", KIND_TEXT, 0, 0, "PEM file of the certificate's key"},
    {"currency", "EUR", KIND_CURRENCY, 0, 0, "ISO 4217 code of the shop's prices"},
    {"log", "text", KIND_LOG, 0, 0, "one line a request on stderr: text, json or off"},
    {"auth_keys", "files", KIND_KEYS, 0, 0,
     "where keys stand: files of DIR/keys; or store, which several processes of auth share"},
    {"signup", "on", KIND_BOOL, 0, 0, "whether customers may make accounts: on or off"},
    {"shipping_methods", "Standard:0:3", KIND_TEXT, 0, 0,
     "how goods are sent: name:price:days, ..., as in Standard:0:3, Express:9.90:1"},
    {"cart_abandoned_s", "3600", KIND_INT, 1, 31536000, "a cart left alone so long is abandoned"},
    {"cart_expired_s", "2592000", KIND_INT, 1, 315360000, "and so long, it is gone"},
    {"reservation_hold_s", "900", KIND_INT, 30, 86400, "how long stock waits for its payment"},
    {"sandbox", "on", KIND_BOOL, 0, 0, "the sandbox payment provider: on or off"},
    {"sandbox_timeout_ms", "10000", KIND_INT, 1, 60000, "how long a provider may take to answer"},
    {"sandbox_slow_ms", "2000", KIND_INT, 0, 60000, "how long the sandbox's token slow takes"},
    {"sandbox_url", "", KIND_TEXT, 0, 0,
     "ask the sandbox that `souk sandbox` serves here instead; several processes of payments must"},
    {"sandbox_secret", "", KIND_SECRET, 0, 0, "what that sandbox and its callbacks are known by"},
    {"smtp_url", "", KIND_TEXT, 0, 0,
     "mail server, smtp://host:25 or smtps://host:465; without one, mails are kept in DIR/mail"},
    {"smtp_user", "", KIND_TEXT, 0, 0,
     "to log in there; it then must offer TLS unless it is local"},
    {"smtp_password", "", KIND_SECRET, 0, 0, "of smtp_user"},
    {"smtp_tls", "off", KIND_BOOL, 0, 0, "refuse a mail server that offers no TLS"},
    {"smtp_authorities", "", KIND_TEXT, 0, 0,
     "PEM file of who may sign its certificate; the system's when left out"},
    {"mail_from", "Souk <souk@localhost>", KIND_TEXT, 0, 0, "whom mails are from: Name <address>"},
    {"public_url", "http://127.0.0.1:8080", KIND_TEXT, 0, 0,
     "where buyers find the shop: links in mails begin with it"},
    {"requests_max", "2000", KIND_INT, 1, 100000, "requests in work at once; beyond it, 503"},
    {"rate_limit_per_s", "50", KIND_INT, 0, 1000000,
     "requests a second from one address or account, in bursts of ten times as many; 0 is no limit"},
    {"trusted_proxies", "", KIND_TEXT, 0, 0,
     "whose X-Forwarded-For is believed: addresses and networks, 127.0.0.1, 10.0.0.0/8"},
    {"rate_limit_loopback", "off", KIND_BOOL, 0, 0, "limit requests from this machine too"},
    {"otlp_endpoint", "", KIND_URL, 0, 0,
     "where traces are told by OTLP/HTTP, http://127.0.0.1:4318; nowhere when left out"},
    {"trace_sample", "1000", KIND_INT, 0, 1000,
     "of a thousand requests, so many are traced; a traceparent says it for its own"},
    {"erase_after_s", "86400", KIND_INT, 1, 31536000,
     "between processes, how long events keep who was erased: until all who are to hear them have"},
    {"notice_s", "0", KIND_INT, 0, 600,
     "how long it serves on after SIGTERM, while /readyz says 503 and balancers turn away"},
    {"drain_s", "10", KIND_INT, 0, 600, "how long running requests may take after SIGTERM"},
};
enum { SETTINGS = sizeof settings / sizeof settings[0] };

struct conf {
    char *values[SETTINGS]; /* NULL: the initial one */
};

static const struct setting *find(const char *name);
static const char *fault_of(const struct setting *s, const char *value, struct arena *a);
static enum status load_line(struct conf *c, const char *path, int number, char *line, struct arena *a,
                             const char **why);
static enum status load_environment(struct conf *c, struct arena *a, const char **why);
static enum status load_otel(struct conf *c, struct arena *a, const char **why);
static char *trim(char *s);

struct conf *
conf_new(void)
{
    struct conf *c = calloc(1, sizeof *c);
    if (!c)
        abort();
    return c;
}

void
conf_free(struct conf *c)
{
    if (!c)
        return;
    for (int i = 0; i < SETTINGS; i++)
        free(c->values[i]);
    free(c);
}

enum status
conf_load(struct conf *c, const char *path, struct arena *a, const char **why)
{
    FILE *file = fopen(path, "re");
    if (!file && errno != ENOENT) {
        *why = arena_printf(a, "%s: %s", path, strerror(errno));
        return FAILED_PRECONDITION;
    }
    enum status st = OK;
    char line[LINE_CHARS_MAX];
    for (int number = 1; file && st == OK && fgets(line, sizeof line, file); number++)
        st = load_line(c, path, number, line, a, why);
    if (file)
        fclose(file);
    return st ? st : load_environment(c, a, why);
}

enum status
conf_set(struct conf *c, const char *name, const char *value, struct arena *a, const char **why)
{
    const struct setting *s = find(name);
    if (!s) {
        *why = arena_printf(a, "there is no setting \"%s\"", name);
        return INVALID_ARGUMENT;
    }
    const char *fault = fault_of(s, value, a);
    if (fault) {
        *why = arena_printf(a, "%s: %s", name, fault);
        return INVALID_ARGUMENT;
    }
    char **place = &c->values[s - settings];
    free(*place);
    *place = strdup(value);
    return OK;
}

const char *
conf_get(const struct conf *c, const char *name)
{
    const struct setting *s = find(name);
    if (!s) {
        fprintf(stderr, "souk: code asks for a setting that does not exist: %s\n", name);
        abort();
    }
    const char *value = c ? c->values[s - settings] : NULL;
    return value ? value : s->initial;
}

char *
conf_text(const struct conf *c, struct arena *a)
{
    struct text t = text_in(a);
    for (int i = 0; i < SETTINGS; i++) {
        const char *value = conf_get(c, settings[i].name);
        bool hidden = settings[i].kind == KIND_SECRET && *value;
        const char *pair =
            arena_printf(a, "%s = %s", settings[i].name, hidden ? "(hidden)" : value);
        text_printf(&t, "%-36s # %s\n", pair, settings[i].help);
    }
    return t.bytes;
}

static const struct setting *
find(const char *name)
{
    for (int i = 0; i < SETTINGS; i++)
        if (strcmp(settings[i].name, name) == 0)
            return &settings[i];
    return NULL;
}

/* What is wrong with a value, or NULL. */
static const char *
fault_of(const struct setting *s, const char *value, struct arena *a)
{
    int64_t n;
    switch (s->kind) {
    case KIND_TEXT:
    case KIND_SECRET:
        return NULL;
    case KIND_INT:
        if (int_parse(value, &n) && n >= s->min && n <= s->max)
            return NULL;
        return arena_printf(a, "\"%s\" is not a whole number from %lld to %lld", value,
                            (long long)s->min, (long long)s->max);
    case KIND_BOOL:
        if (strcmp(value, "on") == 0 || strcmp(value, "off") == 0)
            return NULL;
        return arena_printf(a, "\"%s\" is neither on nor off", value);
    case KIND_URL:
        if (!*value || text_starts(value, "http://") || text_starts(value, "https://"))
            return NULL;
        return arena_printf(a, "\"%s\" is no http:// or https:// URL", value);
    case KIND_CURRENCY:
        if (currency_exponent(value) >= 0)
            return NULL;
        return arena_printf(a, "\"%s\" is no currency of ISO 4217", value);
    case KIND_LOG:
        if (strcmp(value, "text") == 0 || strcmp(value, "json") == 0 || strcmp(value, "off") == 0)
            return NULL;
        return arena_printf(a, "\"%s\" is none of text, json and off", value);
    case KIND_KEYS:
        if (strcmp(value, "files") == 0 || strcmp(value, "store") == 0)
            return NULL;
        return arena_printf(a, "\"%s\" is neither files nor store", value);
    }
    return NULL;
}

static enum status
load_line(struct conf *c, const char *path, int number, char *line, struct arena *a,
          const char **why)
{
    if (strlen(line) == LINE_CHARS_MAX - 1) {
        *why = arena_printf(a, "%s:%d: longer than %d characters", path, number, LINE_CHARS_MAX - 2);
        return INVALID_ARGUMENT;
    }
    line[strcspn(line, "#\r\n")] = '\0';
    char *name = trim(line);
    if (!*name)
        return OK;
    char *equals = strchr(name, '=');
    if (!equals) {
        *why = arena_printf(a, "%s:%d: \"%s\" is not name = value", path, number, name);
        return INVALID_ARGUMENT;
    }
    *equals = '\0';
    const char *fault;
    enum status st = conf_set(c, trim(name), trim(equals + 1), a, &fault);
    if (st)
        *why = arena_printf(a, "%s:%d: %s", path, number, fault);
    return st;
}

/* SOUK_CURRENCY=USD sets currency. */
static enum status
load_environment(struct conf *c, struct arena *a, const char **why)
{
    for (int i = 0; i < SETTINGS; i++) {
        char *name = arena_printf(a, "SOUK_%s", settings[i].name);
        for (char *p = name; *p; p++)
            *p = (char)toupper((unsigned char)*p);
        const char *value = getenv(name);
        const char *fault;
        if (value && conf_set(c, settings[i].name, value, a, &fault)) {
            *why = arena_printf(a, "environment %s: %s", name, fault);
            return INVALID_ARGUMENT;
        }
    }
    return load_otel(c, a, why);
}

/* OpenTelemetry's own name for it, where nobody has said otherwise. */
static enum status
load_otel(struct conf *c, struct arena *a, const char **why)
{
    static const char variable[] = "OTEL_EXPORTER_OTLP_ENDPOINT";
    const char *value = getenv(variable), *fault;
    bool free_to_set = !c->values[find("otlp_endpoint") - settings];
    if (value && free_to_set && conf_set(c, "otlp_endpoint", value, a, &fault)) {
        *why = arena_printf(a, "environment %s: %s", variable, fault);
        return INVALID_ARGUMENT;
    }
    return OK;
}

static char *
trim(char *s)
{
    while (isspace((unsigned char)*s))
        s++;
    size_t n = strlen(s);
    while (n && isspace((unsigned char)s[n - 1]))
        s[--n] = '\0';
    return s;
}
