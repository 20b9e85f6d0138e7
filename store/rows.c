/* Rows as messages: which column goes to which field is found out once for each statement. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "store/inside.h"

enum { NESTED_MAX = 3, PATH_CHARS_MAX = 128 };

/* "total.amount" is the field amount of the message in the field total. */
struct column {
    const ProtobufCFieldDescriptor *outer[NESTED_MAX];
    int n_outer;
    const ProtobufCFieldDescriptor *field;
};

static void map_columns(struct prepared *p, const struct statement *s,
                        const ProtobufCMessageDescriptor *type);
static struct column find_column(const struct statement *s, const char *path,
                                 const ProtobufCMessageDescriptor *type);
static const ProtobufCFieldDescriptor *find_field(const struct statement *s, const char *path,
                                                  const char *name,
                                                  const ProtobufCMessageDescriptor *type);
static ProtobufCMessage *new_message(struct arena *a, const ProtobufCMessageDescriptor *type);
static char *place_of(const struct column *c, ProtobufCMessage *message, struct arena *a);
static bool set_field(const ProtobufCFieldDescriptor *f, char *in, sqlite3_stmt *stmt, int i,
                      struct arena *a);
static bool set_integer(const ProtobufCFieldDescriptor *f, void *at, int64_t n);
static bool set_enum(const ProtobufCFieldDescriptor *f, void *at, sqlite3_stmt *stmt, int i);
static const char *type_name(int type);

ProtobufCMessage *
row_message(struct prepared *p, const struct statement *s, const ProtobufCMessageDescriptor *type,
            struct arena *a, const char **why)
{
    if (p->type != type)
        map_columns(p, s, type);
    ProtobufCMessage *message = new_message(a, type);
    for (int i = 0; i < p->n_columns; i++) {
        const struct column *c = &p->columns[i];
        int kind = sqlite3_column_type(p->stmt, i);
        if (kind == SQLITE_NULL || set_field(c->field, place_of(c, message, a), p->stmt, i, a))
            continue;
        *why = arena_printf(a, "%s.%s: column %s has %s that field %s.%s does not take", s->service,
                            s->name, sqlite3_column_name(p->stmt, i), type_name(kind), type->name,
                            c->field->name);
        return NULL;
    }
    return message;
}

void
columns_free(struct prepared *p)
{
    free(p->columns);
    p->columns = NULL;
    p->type = NULL;
}

static void
map_columns(struct prepared *p, const struct statement *s, const ProtobufCMessageDescriptor *type)
{
    columns_free(p);
    p->n_columns = sqlite3_column_count(p->stmt);
    p->columns = calloc((size_t)p->n_columns + 1, sizeof *p->columns);
    if (!p->columns)
        abort();
    for (int i = 0; i < p->n_columns; i++)
        p->columns[i] = find_column(s, sqlite3_column_name(p->stmt, i), type);
    p->type = type;
}

static struct column
find_column(const struct statement *s, const char *path, const ProtobufCMessageDescriptor *type)
{
    struct column c = {.n_outer = 0};
    char name[PATH_CHARS_MAX];
    const char *rest = path;
    for (const char *dot; (dot = strchr(rest, '.')); rest = dot + 1) {
        if (c.n_outer == NESTED_MAX || dot - rest >= PATH_CHARS_MAX)
            store_die("statement %s.%s: column %s is nested too deep", s->service, s->name, path);
        memcpy(name, rest, (size_t)(dot - rest));
        name[dot - rest] = '\0';
        const ProtobufCFieldDescriptor *f = find_field(s, path, name, type);
        if (f->type != PROTOBUF_C_TYPE_MESSAGE)
            store_die("statement %s.%s: column %s: field %s is no message", s->service, s->name,
                      path, name);
        c.outer[c.n_outer++] = f;
        type = f->descriptor;
    }
    c.field = find_field(s, path, rest, type);
    if (c.field->type == PROTOBUF_C_TYPE_MESSAGE)
        store_die("statement %s.%s: column %s: field %s is a message", s->service, s->name, path,
                  rest);
    return c;
}

static const ProtobufCFieldDescriptor *
find_field(const struct statement *s, const char *path, const char *name,
           const ProtobufCMessageDescriptor *type)
{
    const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field_by_name(type, name);
    if (!f || f->label == PROTOBUF_C_LABEL_REPEATED)
        store_die("statement %s.%s: column %s: %s has no such single field", s->service, s->name,
                  path, type->name);
    return f;
}

static ProtobufCMessage *
new_message(struct arena *a, const ProtobufCMessageDescriptor *type)
{
    ProtobufCMessage *message = arena_alloc(a, type->sizeof_message);
    protobuf_c_message_init(type, message);
    return message;
}

/* The message that has the column's field, made on the way where it is not there yet. */
static char *
place_of(const struct column *c, ProtobufCMessage *message, struct arena *a)
{
    for (int i = 0; i < c->n_outer; i++) {
        const ProtobufCFieldDescriptor *f = c->outer[i];
        ProtobufCMessage **inner = (void *)((char *)message + f->offset);
        if (!*inner)
            *inner = new_message(a, f->descriptor);
        message = *inner;
    }
    return (char *)message;
}

static bool
set_field(const ProtobufCFieldDescriptor *f, char *in, sqlite3_stmt *stmt, int i, struct arena *a)
{
    void *at = in + f->offset;
    int kind = sqlite3_column_type(stmt, i);
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        *(uint32_t *)(void *)(in + f->quantifier_offset) = f->id;
    else if (f->label == PROTOBUF_C_LABEL_OPTIONAL && f->quantifier_offset)
        *(protobuf_c_boolean *)(void *)(in + f->quantifier_offset) = true;

    size_t n =
        kind == SQLITE_TEXT || kind == SQLITE_BLOB ? (size_t)sqlite3_column_bytes(stmt, i) : 0;
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
        if (kind != SQLITE_TEXT)
            return false;
        *(char **)at = arena_strndup(a, (const char *)sqlite3_column_text(stmt, i), n);
        return true;
    case PROTOBUF_C_TYPE_BYTES:
        if (kind != SQLITE_BLOB)
            return false;
        *(ProtobufCBinaryData *)at =
            (ProtobufCBinaryData){.len = n, .data = arena_copy(a, sqlite3_column_blob(stmt, i), n)};
        return true;
    case PROTOBUF_C_TYPE_ENUM:
        return set_enum(f, at, stmt, i);
    case PROTOBUF_C_TYPE_DOUBLE:
        *(double *)at = sqlite3_column_double(stmt, i);
        return kind == SQLITE_FLOAT || kind == SQLITE_INTEGER;
    case PROTOBUF_C_TYPE_FLOAT:
        *(float *)at = (float)sqlite3_column_double(stmt, i);
        return kind == SQLITE_FLOAT || kind == SQLITE_INTEGER;
    default:
        return kind == SQLITE_INTEGER && set_integer(f, at, sqlite3_column_int64(stmt, i));
    }
}

static bool
set_integer(const ProtobufCFieldDescriptor *f, void *at, int64_t n)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_BOOL:
        *(protobuf_c_boolean *)at = n != 0;
        return true;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        *(int32_t *)at = (int32_t)n;
        return n >= INT32_MIN && n <= INT32_MAX;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        *(uint32_t *)at = (uint32_t)n;
        return n >= 0 && n <= UINT32_MAX;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        *(int64_t *)at = n;
        return true;
    default:
        return false;
    }
}

static bool
set_enum(const ProtobufCFieldDescriptor *f, void *at, sqlite3_stmt *stmt, int i)
{
    const ProtobufCEnumDescriptor *type = f->descriptor;
    const ProtobufCEnumValue *value = NULL;
    int kind = sqlite3_column_type(stmt, i);
    if (kind == SQLITE_TEXT)
        value = protobuf_c_enum_descriptor_get_value_by_name(
            type, (const char *)sqlite3_column_text(stmt, i));
    else if (kind == SQLITE_INTEGER)
        value = protobuf_c_enum_descriptor_get_value(type, sqlite3_column_int(stmt, i));
    if (!value)
        return false;
    *(int *)at = value->value;
    return true;
}

static const char *
type_name(int type)
{
    static const char *const names[] = {"", "an integer", "a float", "text", "a blob", "null"};
    return type >= SQLITE_INTEGER && type <= SQLITE_NULL ? names[type] : "";
}
