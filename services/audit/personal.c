#include "audit/personal.h"

#include "base/env.h"
#include "base/hash.h"
#include "kit/rules.h"

enum { SALT_BYTES = 16 };

/* A visit of every place in a message where personal data may stand. */
struct walk {
    struct arena *arena;
    void (*visit)(struct walk *w, const char *path, ProtobufCType type, void *place);
    PersonalFields *fields;
    size_t room; /* for fields, while they are taken */
};

static void *allocate(void *arena, size_t size);
static void leave(void *arena, void *thing);
static void walk_message(struct walk *w, const char *path, ProtobufCMessage *m, bool all);
static void walk_field(struct walk *w, const char *path, ProtobufCMessage *m,
                       const ProtobufCFieldDescriptor *f, bool personal);
static void take(struct walk *w, const char *path, ProtobufCType type, void *place);
static void put_back(struct walk *w, const char *path, ProtobufCType type, void *place);
static size_t size_of(ProtobufCType type);
static ProtobufCBinaryData value_of(ProtobufCType type, void *place);
static void digest_of(const PersonalField *field, uint8_t ret[SHA256_BYTES]);

void *
message_read(struct arena *a, const ProtobufCMessageDescriptor *type, ProtobufCBinaryData bytes)
{
    ProtobufCAllocator in_arena = {allocate, leave, a};
    return protobuf_c_message_unpack(type, &in_arena, bytes.len, bytes.data);
}

ProtobufCBinaryData
message_write(struct arena *a, const ProtobufCMessage *m)
{
    size_t n = protobuf_c_message_get_packed_size(m);
    uint8_t *bytes = arena_alloc(a, n);
    protobuf_c_message_pack(m, bytes);
    return (ProtobufCBinaryData){n, bytes};
}

PersonalFields *
personal_take(struct arena *a, ProtobufCMessage *m)
{
    struct walk w = {.arena = a, .visit = take, .fields = new_personal_fields(a)};
    walk_message(&w, "", m, false);
    return w.fields;
}

void
personal_put_back(struct arena *a, ProtobufCMessage *m, const PersonalFields *fields)
{
    PersonalFields kept = *fields;
    struct walk w = {.arena = a, .visit = put_back, .fields = &kept};
    if (fields->n_fields > 0)
        walk_message(&w, "", m, false);
}

void
personal_erase(PersonalFields *fields)
{
    for (size_t i = 0; i < fields->n_fields; i++) {
        fields->fields[i]->salt = (ProtobufCBinaryData){0, NULL};
        fields->fields[i]->value = (ProtobufCBinaryData){0, NULL};
    }
}

bool
personal_is_true(const PersonalFields *fields)
{
    for (size_t i = 0; i < fields->n_fields; i++) {
        const PersonalField *field = fields->fields[i];
        if (field->digest.len != SHA256_BYTES)
            return false;
        if (field->salt.len == 0 && field->value.len == 0)
            continue; /* erased */
        uint8_t digest[SHA256_BYTES];
        digest_of(field, digest);
        if (field->salt.len != SALT_BYTES || memcmp(digest, field->digest.data, SHA256_BYTES) != 0)
            return false;
    }
    return true;
}

static void *
allocate(void *arena, size_t size)
{
    return arena_alloc(arena, size);
}

static void
leave(void *arena, void *thing)
{
    (void)arena, (void)thing;
}

static void
walk_message(struct walk *w, const char *path, ProtobufCMessage *m, bool all)
{
    const struct message_rules *rules = rules_of(m->descriptor);
    for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        bool personal = all || (rules && rules->fields && rules->fields[i].personal);
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
            w->visit(w, here, f->type, place);
        else if (*(void **)(void *)place)
            walk_message(w, here, *(void **)(void *)place, personal);
    }
}

/* What is empty stays where it is: there is nothing to erase. */
static void
take(struct walk *w, const char *path, ProtobufCType type, void *place)
{
    static const char zero[sizeof(uint64_t)];
    ProtobufCBinaryData value = value_of(type, place);
    bool scalar = type != PROTOBUF_C_TYPE_STRING && type != PROTOBUF_C_TYPE_BYTES;
    if (value.len == 0 || (scalar && memcmp(value.data, zero, value.len) == 0))
        return;

    PersonalField *field = new_personal_field(w->arena);
    uint8_t *salt = arena_alloc(w->arena, SALT_BYTES);
    env.random(salt, SALT_BYTES);
    field->path = path;
    field->salt = (ProtobufCBinaryData){SALT_BYTES, salt};
    field->value = (ProtobufCBinaryData){value.len, arena_copy(w->arena, value.data, value.len)};
    field->digest = (ProtobufCBinaryData){SHA256_BYTES, arena_alloc(w->arena, SHA256_BYTES)};
    digest_of(field, field->digest.data);

    PersonalFields *fields = w->fields;
    if (fields->n_fields == w->room) {
        size_t room = w->room > 0 ? 2 * w->room : 8;
        fields->fields = arena_grow(w->arena, fields->fields, w->room * sizeof *fields->fields,
                                    room * sizeof *fields->fields);
        w->room = room;
    }
    fields->fields[fields->n_fields++] = field;

    memset(place, 0, size_of(type));
    if (type == PROTOBUF_C_TYPE_STRING)
        *(const char **)place = protobuf_c_empty_string;
}

static void
put_back(struct walk *w, const char *path, ProtobufCType type, void *place)
{
    const PersonalField *field = NULL;
    for (size_t i = 0; i < w->fields->n_fields && !field; i++)
        if (strcmp(w->fields->fields[i]->path, path) == 0)
            field = w->fields->fields[i];
    if (!field || field->value.len == 0)
        return;

    if (type == PROTOBUF_C_TYPE_STRING)
        *(const char **)place =
            arena_strndup(w->arena, (const char *)field->value.data, field->value.len);
    else if (type == PROTOBUF_C_TYPE_BYTES)
        *(ProtobufCBinaryData *)place = field->value;
    else if (field->value.len == size_of(type))
        memcpy(place, field->value.data, field->value.len);
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

/* Text without its NUL, bytes, or a number as it lies in memory. */
static ProtobufCBinaryData
value_of(ProtobufCType type, void *place)
{
    if (type == PROTOBUF_C_TYPE_BYTES)
        return *(ProtobufCBinaryData *)place;
    if (type != PROTOBUF_C_TYPE_STRING)
        return (ProtobufCBinaryData){size_of(type), place};
    void *text = *(void **)place;
    return (ProtobufCBinaryData){text ? strlen(text) : 0, text};
}

static void
digest_of(const PersonalField *field, uint8_t ret[SHA256_BYTES])
{
    struct arena *a = arena_new();
    struct text both = text_in(a);
    text_add_n(&both, field->salt.data, field->salt.len);
    text_add_n(&both, field->value.data, field->value.len);
    sha256(both.bytes, both.n, ret);
    arena_free(a);
}
