#include "bus/message_json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/time.h"

/* Writes at p; the text learns how far when all is done. */
struct writer {
    struct text *text;
    char *p, *end; /* end leaves room for the NUL */
    left_out_fn *left_out;
};

enum { FIRST_ROOM_BYTES = 1024, NUMBER_CHARS_MAX = 32, ESCAPED_CHARS_MAX = 6 };

static const char hex[] = "0123456789abcdef";

static struct writer writer_on(struct text *out, left_out_fn *left_out);
static void finish(struct writer *w);
static void grow(struct writer *w, size_t n);
static void put_message(struct writer *w, const ProtobufCMessage *m);
static bool has_value(const struct writer *w, const ProtobufCMessage *m, unsigned i);
static bool empty_value(const ProtobufCFieldDescriptor *field, const void *at);
static bool is_time(const ProtobufCFieldDescriptor *field);
static void put_field(struct writer *w, const ProtobufCFieldDescriptor *field, const void *at,
                      size_t n);
static size_t value_size(ProtobufCType type);
static void put_value(struct writer *w, const ProtobufCFieldDescriptor *field, const void *at);
static void put_text(struct writer *w, const char *s);
static void put_escaped(struct writer *w, const char *s, size_t n);
static void put_lower(struct writer *w, const char *s);
static void put_unsigned(struct writer *w, uint64_t n);
static void put_signed(struct writer *w, int64_t n);
static void put_double(struct writer *w, double d);
static void put_enum(struct writer *w, const ProtobufCEnumDescriptor *type, int value);
static void put_base64(struct writer *w, const uint8_t *bytes, size_t n);

static inline void
need(struct writer *w, size_t n)
{
    if ((size_t)(w->end - w->p) < n)
        grow(w, n);
}

static inline void
put(struct writer *w, char c)
{
    need(w, 1);
    *w->p++ = c;
}

void
message_json(struct text *out, const ProtobufCMessage *m)
{
    message_json_sparse(out, m, NULL);
}

void
message_json_sparse(struct text *out, const ProtobufCMessage *m, left_out_fn *left_out)
{
    struct writer w = writer_on(out, left_out);
    put_message(&w, m);
    finish(&w);
}

void
base64_json(struct text *out, const void *bytes, size_t n)
{
    struct writer w = writer_on(out, NULL);
    put_base64(&w, bytes, n);
    finish(&w);
}

static struct writer
writer_on(struct text *out, left_out_fn *left_out)
{
    struct writer w = {.text = out, .left_out = left_out};
    w.p = out->bytes + out->n;
    w.end = out->room > 0 ? out->bytes + out->room - 1 : w.p;
    if ((size_t)(w.end - w.p) < FIRST_ROOM_BYTES)
        grow(&w, FIRST_ROOM_BYTES);
    return w;
}

static void
finish(struct writer *w)
{
    *w->p = '\0';
    w->text->n = (size_t)(w->p - w->text->bytes);
}

static void
grow(struct writer *w, size_t n)
{
    struct text *t = w->text;
    size_t used = (size_t)(w->p - t->bytes), room = 2 * t->room;
    if (room < used + n + 1)
        room = used + n + 1;
    t->bytes = arena_grow(t->arena, t->room > 0 ? t->bytes : NULL, used, room);
    t->room = room;
    w->p = t->bytes + used;
    w->end = t->bytes + room - 1;
}

static void
put_message(struct writer *w, const ProtobufCMessage *m)
{
    const ProtobufCMessageDescriptor *type = m->descriptor;
    char before = '{';
    for (unsigned i = 0; i < type->n_fields; i++) {
        if (!has_value(w, m, i))
            continue;
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        size_t name_n = strlen(field->name) - (is_time(field) ? strlen("_us") : 0);
        need(w, name_n + 4);
        *w->p++ = before;
        *w->p++ = '"';
        memcpy(w->p, field->name, name_n);
        w->p += name_n;
        *w->p++ = '"';
        *w->p++ = ':';
        before = ',';

        const char *at = (const char *)m + field->offset;
        const size_t *count = (const void *)((const char *)m + field->quantifier_offset);
        put_field(w, field, at, field->label == PROTOBUF_C_LABEL_REPEATED ? *count : 1);
    }
    if (before == '{')
        put(w, '{');
    put(w, '}');
}

/* Does field i of m appear? */
static bool
has_value(const struct writer *w, const ProtobufCMessage *m, unsigned i)
{
    const ProtobufCFieldDescriptor *field = &m->descriptor->fields[i];
    const char *at = (const char *)m + field->offset;
    const void *quantifier = (const char *)m + field->quantifier_offset;
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return *(const size_t *)quantifier > 0 || !w->left_out || !w->left_out(m->descriptor, i);
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return *(const uint32_t *)quantifier == field->id;
    bool may_be_null = field->type == PROTOBUF_C_TYPE_MESSAGE || is_time(field);
    if (!w->left_out && !may_be_null)
        return true;
    return !empty_value(field, at) || (w->left_out && !w->left_out(m->descriptor, i));
}

static bool
empty_value(const ProtobufCFieldDescriptor *field, const void *at)
{
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        const char *s = *(const char *const *)at;
        return !s || !*s;
    }
    if (field->type == PROTOBUF_C_TYPE_BYTES)
        return ((const ProtobufCBinaryData *)at)->len == 0;
    static const char zeros[sizeof(int64_t)];
    return memcmp(at, zeros, value_size(field->type)) == 0;
}

static bool
is_time(const ProtobufCFieldDescriptor *field)
{
    if (field->type != PROTOBUF_C_TYPE_INT64 || field->label == PROTOBUF_C_LABEL_REPEATED)
        return false;
    size_t n = strlen(field->name);
    return n > 3 && memcmp(field->name + n - 3, "_us", 3) == 0;
}

/* One value, or a list of n. */
static void
put_field(struct writer *w, const ProtobufCFieldDescriptor *field, const void *at, size_t n)
{
    if (field->label != PROTOBUF_C_LABEL_REPEATED) {
        if ((is_time(field) || field->type == PROTOBUF_C_TYPE_MESSAGE) && empty_value(field, at))
            put_lower(w, "null");
        else if (is_time(field))
            put_text(w, time_format(w->text->arena, *(const int64_t *)at));
        else
            put_value(w, field, at);
        return;
    }
    const char *items = *(const char *const *)at;
    size_t step = value_size(field->type);
    put(w, '[');
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            put(w, ',');
        put_value(w, field, items + i * step);
    }
    put(w, ']');
}

static size_t
value_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_ENUM:
        return sizeof(int32_t);
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return sizeof(int64_t);
    }
}

static void
put_value(struct writer *w, const ProtobufCFieldDescriptor *field, const void *at)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        put_text(w, *(const char *const *)at);
        return;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        put_signed(w, *(const int64_t *)at);
        return;
    case PROTOBUF_C_TYPE_MESSAGE:
        put_message(w, *(const ProtobufCMessage *const *)at);
        return;
    case PROTOBUF_C_TYPE_ENUM:
        put_enum(w, field->descriptor, *(const int *)at);
        return;
    case PROTOBUF_C_TYPE_BOOL:
        put_lower(w, *(const protobuf_c_boolean *)at ? "true" : "false");
        return;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        put_signed(w, *(const int32_t *)at);
        return;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        put_unsigned(w, *(const uint32_t *)at);
        return;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        put_unsigned(w, *(const uint64_t *)at);
        return;
    case PROTOBUF_C_TYPE_FLOAT:
        put_double(w, (double)*(const float *)at);
        return;
    case PROTOBUF_C_TYPE_DOUBLE:
        put_double(w, *(const double *)at);
        return;
    case PROTOBUF_C_TYPE_BYTES: {
        const ProtobufCBinaryData *bytes = at;
        put_base64(w, bytes->data, bytes->len);
        return;
    }
    }
}

/* Eight bytes at once as long as none needs an escape. */
static void
put_text(struct writer *w, const char *s)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
    if (!s)
        s = "";
    size_t n = strlen(s), i = 0;
    need(w, n + 2);
    char *p = w->p;
    *p++ = '"';
    for (uint64_t word; i + sizeof word <= n; i += sizeof word, p += sizeof word) {
        memcpy(&word, s + i, sizeof word);
        uint64_t quote = word ^ ones * '"', slash = word ^ ones * '\\';
        uint64_t low = (word - ones * 0x20) & ~word;
        if ((low | ((quote - ones) & ~quote) | ((slash - ones) & ~slash)) & tops)
            break;
        memcpy(p, &word, sizeof word);
    }
    for (; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c < 0x20 || c == '"' || c == '\\')
            break;
        *p++ = s[i];
    }
    w->p = p;
    if (i < n)
        put_escaped(w, s + i, n - i);
    put(w, '"');
}

static void
put_escaped(struct writer *w, const char *s, size_t n)
{
    static const char letters[] = {
        ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n',  ['\f'] = 'f',
        ['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\',
    };
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        need(w, ESCAPED_CHARS_MAX);
        if (c >= 0x20 && c != '"' && c != '\\') {
            *w->p++ = s[i];
            continue;
        }
        *w->p++ = '\\';
        if (letters[c]) {
            *w->p++ = letters[c];
            continue;
        }
        memcpy(w->p, "u00", 3);
        w->p[3] = hex[c >> 4];
        w->p[4] = hex[c & 15];
        w->p += 5;
    }
}

/* ASCII as it is, capitals in lower case; without quotes. */
static void
put_lower(struct writer *w, const char *s)
{
    need(w, strlen(s));
    for (; *s; s++)
        *w->p++ = *s >= 'A' && *s <= 'Z' ? (char)(*s + 'a' - 'A') : *s;
}

static void
put_unsigned(struct writer *w, uint64_t n)
{
    char digits[NUMBER_CHARS_MAX], *end = digits + sizeof digits, *p = end;
    do {
        *--p = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    need(w, NUMBER_CHARS_MAX);
    memcpy(w->p, p, (size_t)(end - p));
    w->p += end - p;
}

static void
put_signed(struct writer *w, int64_t n)
{
    if (n < 0)
        put(w, '-');
    put_unsigned(w, n < 0 ? 0 - (uint64_t)n : (uint64_t)n);
}

/* JSON knows no infinity. */
static void
put_double(struct writer *w, double d)
{
    char digits[NUMBER_CHARS_MAX];
    if (isfinite(d))
        snprintf(digits, sizeof digits, "%.17g", d);
    put_lower(w, isfinite(d) ? digits : "null");
}

/* A number that no value of the enum has stays a number. */
static void
put_enum(struct writer *w, const ProtobufCEnumDescriptor *type, int value)
{
    const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(type, value);
    if (!v) {
        put_signed(w, value);
        return;
    }
    put(w, '"');
    put_lower(w, v->name);
    put(w, '"');
}

static void
put_base64(struct writer *w, const uint8_t *bytes, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    need(w, (n + 2) / 3 * 4 + 2);
    *w->p++ = '"';
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t group = (uint32_t)bytes[i] << 16;
        if (left > 1)
            group |= (uint32_t)bytes[i + 1] << 8;
        if (left > 2)
            group |= bytes[i + 2];
        *w->p++ = digits[group >> 18];
        *w->p++ = digits[group >> 12 & 63];
        *w->p++ = left > 1 ? digits[group >> 6 & 63] : '=';
        *w->p++ = left > 2 ? digits[group & 63] : '=';
    }
    *w->p++ = '"';
}
