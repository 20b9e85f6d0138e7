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

static void map_columns(struct cursor *c, const ProtobufCMessageDescriptor *type);
static struct column find_column(const struct statement *s, const char *path,
                                 const ProtobufCMessageDescriptor *type);
static const ProtobufCFieldDescriptor *find_field(const struct statement *s, const char *path,
                                                  const char *name,
                                                  const ProtobufCMessageDescriptor *type);
static ProtobufCMessage *new_message(struct arena *a, const ProtobufCMessageDescriptor *type);
static char *place_of(const struct column *c, ProtobufCMessage *message, struct arena *a);
static bool set_field(const ProtobufCFieldDescriptor *f, char *in, const struct cell *cell,
                      struct arena *a);
static bool set_integer(const ProtobufCFieldDescriptor *f, void *at, int64_t n);
static bool set_enum(const ProtobufCFieldDescriptor *f, void *at, const struct cell *cell);
static const char *kind_name(int kind);

ProtobufCMessage *
row_message(struct cursor *c, const ProtobufCMessageDescriptor *type, struct arena *a,
            const char **why)
{
    const struct mapping *m = c->mapping;
    if (m->type != type)
        map_columns(c, type);
    const struct database *db = c->tx->store->database;
    ProtobufCMessage *message = new_message(a, type);
    for (int i = 0; i < m->n_columns; i++) {
        const struct column *column = &m->columns[i];
        struct cell cell;
        db->cell(c, i, &cell);
        if (cell.kind == CELL_NULL ||
            set_field(column->field, place_of(column, message, a), &cell, a))
            continue;
        *why = arena_printf(a, "%s.%s: column %s has %s that field %s.%s does not take",
                            c->statement->service, c->statement->name, db->column_name(c, i),
                            kind_name(cell.kind), type->name, column->field->name);
        return NULL;
    }
    return message;
}

void
mapping_free(struct mapping *m)
{
    free(m->columns);
    *m = (struct mapping){.n_columns = 0};
}

static void
map_columns(struct cursor *c, const ProtobufCMessageDescriptor *type)
{
    struct mapping *m = c->mapping;
    mapping_free(m);
    m->n_columns = c->n_columns;
    m->columns = calloc((size_t)m->n_columns + 1, sizeof *m->columns);
    if (!m->columns)
        abort();
    for (int i = 0; i < m->n_columns; i++)
        m->columns[i] = find_column(c->statement, c->tx->store->database->column_name(c, i), type);
    m->type = type;
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
set_field(const ProtobufCFieldDescriptor *f, char *in, const struct cell *cell, struct arena *a)
{
    void *at = in + f->offset;
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        *(uint32_t *)(void *)(in + f->quantifier_offset) = f->id;
    else if (f->label == PROTOBUF_C_LABEL_OPTIONAL && f->quantifier_offset)
        *(protobuf_c_boolean *)(void *)(in + f->quantifier_offset) = true;

    bool number = cell->kind == CELL_REAL || cell->kind == CELL_INT;
    double real = cell->kind == CELL_INT ? (double)cell->num : cell->real;
    switch (f->type) {
    case PROTOBUF_C_TYPE_STRING:
        if (cell->kind != CELL_TEXT)
            return false;
        *(char **)at = arena_strndup(a, cell->bytes, cell->n);
        return true;
    case PROTOBUF_C_TYPE_BYTES:
        if (cell->kind != CELL_BLOB)
            return false;
        *(ProtobufCBinaryData *)at =
            (ProtobufCBinaryData){.len = cell->n, .data = arena_copy(a, cell->bytes, cell->n)};
        return true;
    case PROTOBUF_C_TYPE_ENUM:
        return set_enum(f, at, cell);
    case PROTOBUF_C_TYPE_DOUBLE:
        *(double *)at = number ? real : 0;
        return number;
    case PROTOBUF_C_TYPE_FLOAT:
        *(float *)at = number ? (float)real : 0;
        return number;
    default:
        return cell->kind == CELL_INT && set_integer(f, at, cell->num);
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
set_enum(const ProtobufCFieldDescriptor *f, void *at, const struct cell *cell)
{
    const ProtobufCEnumDescriptor *type = f->descriptor;
    const ProtobufCEnumValue *value = NULL;
    if (cell->kind == CELL_TEXT)
        value = protobuf_c_enum_descriptor_get_value_by_name(type, cell->bytes);
    else if (cell->kind == CELL_INT && cell->num == (int)cell->num)
        value = protobuf_c_enum_descriptor_get_value(type, (int)cell->num);
    if (!value)
        return false;
    *(int *)at = value->value;
    return true;
}

static const char *
kind_name(int kind)
{
    static const char *const names[] = {
        [CELL_NULL] = "null", [CELL_INT] = "an integer", [CELL_REAL] = "a float",
        [CELL_TEXT] = "text", [CELL_BLOB] = "a blob",
    };
    return names[kind];
}
