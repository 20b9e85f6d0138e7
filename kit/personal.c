#include "kit/personal.h"

#include "kit/node.h"
#include "kit/rules.h"

/* A visit of a message and what is in it. */
struct walk {
    struct arena *arena;
    personal_fn *visit;
    void *arg;
};

/* What is looked for in one message. */
struct search {
    struct arena *arena;
    const struct erased *who;
    bool found, any; /* its e-mail; anything personal */
};

static void walk_message(struct walk *w, const char *path, ProtobufCMessage *m, bool all);
static void walk_field(struct walk *w, const char *path, ProtobufCMessage *m,
                       const ProtobufCFieldDescriptor *f, bool personal);
static size_t size_of(ProtobufCType type);
static ProtobufCMessage *payload_of(struct arena *a, const struct topic *topic,
                                    const struct event *event);
static const char *text_at(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f);
static bool is_personal(const ProtobufCMessageDescriptor *type, unsigned field);
static void find_email(void *who, const char *path, ProtobufCType type, void *place);
static void look(void *search, const char *path, ProtobufCType type, void *place);
static void clear(void *arg, const char *path, ProtobufCType type, void *place);

void
personal_visit(struct arena *a, ProtobufCMessage *m, personal_fn *visit, void *arg)
{
    walk_message(&(struct walk){a, visit, arg}, "", m, false);
}

ProtobufCBinaryData
personal_value(ProtobufCType type, const void *place)
{
    static const char zero[sizeof(uint64_t)];
    if (type == PROTOBUF_C_TYPE_BYTES)
        return *(const ProtobufCBinaryData *)place;
    if (type == PROTOBUF_C_TYPE_STRING) {
        char *text = *(char *const *)place;
        return (ProtobufCBinaryData){text ? strlen(text) : 0, (uint8_t *)text};
    }
    size_t n = memcmp(place, zero, size_of(type)) == 0 ? 0 : size_of(type);
    return (ProtobufCBinaryData){n, (uint8_t *)(uintptr_t)place};
}

void
personal_set(struct arena *a, ProtobufCType type, void *place, ProtobufCBinaryData value)
{
    if (type == PROTOBUF_C_TYPE_STRING)
        *(const char **)place = arena_strndup(a, (const char *)value.data, value.len);
    else if (type == PROTOBUF_C_TYPE_BYTES)
        *(ProtobufCBinaryData *)place =
            (ProtobufCBinaryData){value.len, arena_copy(a, value.data, value.len)};
    else if (value.len == size_of(type))
        memcpy(place, value.data, value.len);
}

void
personal_clear(ProtobufCType type, void *place)
{
    memset(place, 0, size_of(type));
    if (type == PROTOBUF_C_TYPE_STRING)
        *(const char **)place = protobuf_c_empty_string;
}

bool
erased_by(struct arena *a, const struct event *event, struct erased *ret)
{
    const struct topic *topic = topic_find(event->topic);
    ProtobufCMessage *m = topic && topic->erases ? payload_of(a, topic, event) : NULL;
    if (!m)
        return false;
    *ret = (struct erased){event, m, ""};
    personal_visit(a, m, find_email, ret);
    ret->email = text_lower(a, ret->email);
    return true;
}

bool
erased_has_id(const struct erased *who, const char *subject, const ProtobufCMessage *m)
{
    const ProtobufCMessageDescriptor *type = who->message->descriptor;
    for (unsigned i = 0; i < type->n_fields; i++) {
        const char *id = is_personal(type, i) ? "" : text_at(who->message, &type->fields[i]);
        if (text_empty(id))
            continue;
        const ProtobufCFieldDescriptor *same =
            protobuf_c_message_descriptor_get_field_by_name(m->descriptor, type->fields[i].name);
        if (text_equal(subject, id) || (same && text_equal(text_at(m, same), id)))
            return true;
    }
    return false;
}

bool
erased_has_email(struct arena *a, const struct erased *who, ProtobufCBinaryData value)
{
    if (text_empty(who->email) || value.len != strlen(who->email))
        return false;
    return text_equal(text_lower(a, arena_strndup(a, (const char *)value.data, value.len)),
                      who->email);
}

bool
erased_payload(struct arena *a, const struct erased *who, const struct event *event,
               ProtobufCBinaryData *ret)
{
    const struct topic *topic = topic_find(event->topic);
    ProtobufCMessage *m = topic ? payload_of(a, topic, event) : NULL;
    if (!m)
        return false;
    struct search s = {.arena = a, .who = who};
    personal_visit(a, m, look, &s);
    if (!s.any || (!s.found && !erased_has_id(who, event->subject, m)))
        return false;
    personal_visit(a, m, clear, NULL);
    size_t n;
    uint8_t *bytes = message_pack(a, m, &n);
    *ret = (ProtobufCBinaryData){n, bytes};
    return true;
}

static void
walk_message(struct walk *w, const char *path, ProtobufCMessage *m, bool all)
{
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        bool personal = all || is_personal(m->descriptor, i);
        if (!personal && f->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        const char *dot = *path ? "." : "";
        walk_field(w, arena_printf(w->arena, "%s%s%s", path, dot, f->name), m, f, personal);
    }
}

static void
walk_field(struct walk *w, const char *path, ProtobufCMessage *m, const ProtobufCFieldDescriptor *f,
           bool personal)
{
    char *place = (char *)m + f->offset;
    void *quantifier = (char *)m + f->quantifier_offset;
    bool repeated = f->label == PROTOBUF_C_LABEL_REPEATED;
    size_t n = repeated ? *(size_t *)quantifier : 1;
    if (repeated)
        place = *(void **)(void *)place;
    if ((f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) && *(uint32_t *)quantifier != f->id)
        n = 0;

    for (size_t i = 0; i < n; i++, place += size_of(f->type)) {
        const char *here = repeated ? arena_printf(w->arena, "%s[%zu]", path, i) : path;
        if (f->type != PROTOBUF_C_TYPE_MESSAGE)
            w->visit(w->arg, here, f->type, place);
        else if (*(void **)(void *)place)
            walk_message(w, here, *(void **)(void *)place, personal);
    }
}

/* Of one value in a message's struct. */
static size_t
size_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return sizeof(int64_t);
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return sizeof(int32_t);
    }
}

static ProtobufCMessage *
payload_of(struct arena *a, const struct topic *topic, const struct event *event)
{
    return message_unpack(a, topic->type, event->data.data, event->data.len);
}

/* "" where f is no single text. */
static const char *
text_at(const ProtobufCMessage *m, const ProtobufCFieldDescriptor *f)
{
    if (f->type != PROTOBUF_C_TYPE_STRING || f->label == PROTOBUF_C_LABEL_REPEATED)
        return "";
    const char *const *at = (const void *)((const char *)m + f->offset);
    return *at ? *at : "";
}

static bool
is_personal(const ProtobufCMessageDescriptor *type, unsigned field)
{
    const struct message_rules *rules = rules_of(type);
    return rules && rules->fields && rules->fields[field].personal;
}

static void
find_email(void *who, const char *path, ProtobufCType type, void *place)
{
    struct erased *erased = who;
    if (text_equal(path, "email") && type == PROTOBUF_C_TYPE_STRING)
        erased->email = *(const char **)place;
}

static void
look(void *search, const char *path, ProtobufCType type, void *place)
{
    (void)path;
    struct search *s = search;
    ProtobufCBinaryData value = personal_value(type, place);
    s->any = s->any || value.len > 0;
    s->found = s->found || erased_has_email(s->arena, s->who, value);
}

static void
clear(void *arg, const char *path, ProtobufCType type, void *place)
{
    (void)arg, (void)path;
    personal_clear(type, place);
}
