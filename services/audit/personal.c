#include "audit/personal.h"

#include "base/env.h"
#include "base/hash.h"
#include "kit/node.h"
#include "kit/personal.h"

enum { SALT_BYTES = 16 };

/* What is taken out of a message, or put back. */
struct taking {
    struct arena *arena;
    PersonalFields *fields;
    size_t room; /* for fields, while they are taken */
};

static personal_fn take, put_back;
static void digest_of(const PersonalField *field, uint8_t ret[SHA256_BYTES]);

void *
message_read(struct arena *a, const ProtobufCMessageDescriptor *type, ProtobufCBinaryData bytes)
{
    return message_unpack(a, type, bytes.data, bytes.len);
}

ProtobufCBinaryData
message_write(struct arena *a, const ProtobufCMessage *m)
{
    size_t n;
    uint8_t *bytes = message_pack(a, m, &n);
    return (ProtobufCBinaryData){n, bytes};
}

PersonalFields *
personal_take(struct arena *a, ProtobufCMessage *m)
{
    struct taking t = {.arena = a, .fields = new_personal_fields(a)};
    personal_visit(a, m, take, &t);
    return t.fields;
}

void
personal_put_back(struct arena *a, ProtobufCMessage *m, const PersonalFields *fields)
{
    PersonalFields kept = *fields;
    struct taking t = {.arena = a, .fields = &kept};
    if (fields->n_fields > 0)
        personal_visit(a, m, put_back, &t);
}

ProtobufCBinaryData
personal_whole(struct arena *a, const AuditRow *row, const ProtobufCMessageDescriptor *type)
{
    ProtobufCMessage *message = type ? message_read(a, type, row->payload) : NULL;
    const PersonalFields *personal = message_read(a, DESCRIPTOR_OF_PersonalFields, row->personal);
    if (!message || !personal)
        return row->payload;
    personal_put_back(a, message, personal);
    return message_write(a, message);
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

/* What is empty stays where it is: there is nothing to erase. */
static void
take(void *taking, const char *path, ProtobufCType type, void *place)
{
    struct taking *t = taking;
    ProtobufCBinaryData value = personal_value(type, place);
    if (value.len == 0)
        return;

    PersonalField *field = new_personal_field(t->arena);
    uint8_t *salt = arena_alloc(t->arena, SALT_BYTES);
    env.random(salt, SALT_BYTES);
    field->path = path;
    field->salt = (ProtobufCBinaryData){SALT_BYTES, salt};
    field->value = (ProtobufCBinaryData){value.len, arena_copy(t->arena, value.data, value.len)};
    field->digest = (ProtobufCBinaryData){SHA256_BYTES, arena_alloc(t->arena, SHA256_BYTES)};
    digest_of(field, field->digest.data);

    PersonalFields *fields = t->fields;
    if (fields->n_fields == t->room) {
        size_t room = t->room > 0 ? 2 * t->room : 8;
        fields->fields = arena_grow(t->arena, fields->fields, t->room * sizeof *fields->fields,
                                    room * sizeof *fields->fields);
        t->room = room;
    }
    fields->fields[fields->n_fields++] = field;
    personal_clear(type, place);
}

static void
put_back(void *taking, const char *path, ProtobufCType type, void *place)
{
    struct taking *t = taking;
    const PersonalField *field = NULL;
    for (size_t i = 0; i < t->fields->n_fields && !field; i++)
        if (strcmp(t->fields->fields[i]->path, path) == 0)
            field = t->fields->fields[i];
    if (field && field->value.len > 0)
        personal_set(t->arena, type, place, field->value);
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
