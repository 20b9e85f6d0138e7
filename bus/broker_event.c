/* An event as CloudEvents 1.0's attributes: the values are those of bus/cloudevents.c. */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/text.h"
#include "base/time.h"
#include "bus/broker_inside.h"

#define SOURCE_PREFIX "/souk/"

enum attribute_kind { ATTRIBUTE_TEXT, ATTRIBUTE_SOURCE, ATTRIBUTE_INT, ATTRIBUTE_TIME };

/* All attributes but specversion.  Integers travel as text: CloudEvents' own have 32 bits. */
static const struct rule {
    const char *name;
    enum attribute_kind kind;
    bool needed;
    size_t at;
} rules[] = {
    {"id", ATTRIBUTE_TEXT, true, offsetof(struct event, id)},
    {"source", ATTRIBUTE_SOURCE, true, offsetof(struct event, publisher)},
    {"type", ATTRIBUTE_TEXT, true, offsetof(struct event, topic)},
    {"subject", ATTRIBUTE_TEXT, false, offsetof(struct event, subject)},
    {"time", ATTRIBUTE_TIME, true, offsetof(struct event, time_us)},
    {"dataschema", ATTRIBUTE_TEXT, true, offsetof(struct event, type)},
    {"sequence", ATTRIBUTE_INT, true, offsetof(struct event, sequence)},
    {"correlationid", ATTRIBUTE_TEXT, false, offsetof(struct event, correlation_id)},
    {"causationid", ATTRIBUTE_TEXT, false, offsetof(struct event, causation_id)},
    {"traceparent", ATTRIBUTE_TEXT, false, offsetof(struct event, traceparent)},
    {"position", ATTRIBUTE_INT, true, offsetof(struct event, position)},
};
enum { RULES = sizeof rules / sizeof rules[0] };

static const char *value_of(struct arena *a, const struct event *e, const struct rule *rule);
static const struct rule *rule_of(const char *name);
static bool set_value(struct event *e, const struct rule *rule, const char *value);
static const char *pack(char **at, const char *text);

size_t
event_attributes(struct arena *a, const struct event *e, struct attribute *ret)
{
    size_t n = 0;
    ret[n++] = (struct attribute){"specversion", "1.0"};
    for (size_t i = 0; i < RULES; i++) {
        const char *value = value_of(a, e, &rules[i]);
        if (!text_empty(value))
            ret[n++] = (struct attribute){rules[i].name, value};
    }
    return n;
}

bool
event_from_attributes(const struct attribute *attributes, size_t n, const void *data, size_t data_n,
                      struct event *ret)
{
    struct event e = {.subject = "", .correlation_id = "", .causation_id = "", .traceparent = ""};
    bool version = false, has[RULES] = {false};
    for (size_t i = 0; i < n; i++) {
        const struct rule *rule = rule_of(attributes[i].name);
        if (text_equal(attributes[i].name, "specversion"))
            version = text_equal(attributes[i].value, "1.0");
        else if (rule && !set_value(&e, rule, attributes[i].value))
            return false;
        else if (rule)
            has[rule - rules] = true;
    }
    for (size_t i = 0; i < RULES; i++)
        if (rules[i].needed && !has[i])
            return false;
    if (!version || data_n > EVENT_BYTES_MAX)
        return false;
    memcpy(&e.data.data, &data, sizeof data); /* the library's type is not const */
    e.data.len = data_n;
    *ret = e;
    return true;
}

struct parcel *
parcel_new(const struct event *e)
{
    size_t n = e->data.len;
    for (size_t i = 0; i < RULES; i++)
        if (rules[i].kind == ATTRIBUTE_TEXT || rules[i].kind == ATTRIBUTE_SOURCE) {
            const char *text = *(const char *const *)((const char *)e + rules[i].at);
            n += text ? strlen(text) + 1 : 1;
        }
    struct parcel *p = malloc(sizeof *p + n);
    if (!p)
        abort();
    *p = (struct parcel){.event = *e};
    char *at = p->bytes;
    for (size_t i = 0; i < RULES; i++)
        if (rules[i].kind == ATTRIBUTE_TEXT || rules[i].kind == ATTRIBUTE_SOURCE) {
            const char **text = (const char **)((char *)&p->event + rules[i].at);
            *text = pack(&at, *text);
        }
    p->event.data.data = (uint8_t *)at;
    if (e->data.len)
        memcpy(at, e->data.data, e->data.len);
    return p;
}

static const char *
pack(char **at, const char *text)
{
    char *to = *at;
    *at = stpcpy(to, text ? text : "") + 1;
    return to;
}

static const char *
value_of(struct arena *a, const struct event *e, const struct rule *rule)
{
    const void *field = (const char *)e + rule->at;
    switch (rule->kind) {
    case ATTRIBUTE_TEXT:
        return *(const char *const *)field;
    case ATTRIBUTE_SOURCE:
        return arena_printf(a, SOURCE_PREFIX "%s", *(const char *const *)field);
    case ATTRIBUTE_INT:
        return arena_printf(a, "%lld", (long long)*(const int64_t *)field);
    case ATTRIBUTE_TIME:
        return time_format(a, *(const int64_t *)field);
    }
    abort();
}

static const struct rule *
rule_of(const char *name)
{
    for (size_t i = 0; i < RULES; i++)
        if (strcmp(rules[i].name, name) == 0)
            return &rules[i];
    return NULL;
}

/* An attribute of CloudEvents is never empty. */
static bool
set_value(struct event *e, const struct rule *rule, const char *value)
{
    void *field = (char *)e + rule->at;
    if (text_empty(value) || !utf8_valid(value, strlen(value)))
        return false;
    switch (rule->kind) {
    case ATTRIBUTE_SOURCE:
        if (!text_starts(value, SOURCE_PREFIX))
            return false;
        value += strlen(SOURCE_PREFIX);
        /* fall through */
    case ATTRIBUTE_TEXT:
        *(const char **)field = value;
        return *value != '\0';
    case ATTRIBUTE_INT:
        return int_parse(value, field) && *(int64_t *)field >= 0;
    case ATTRIBUTE_TIME:
        return time_parse(value, field);
    }
    abort();
}
