#include "kit/json.h"

#include <assert.h>
#include <jansson.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>

#include "bus/message_json.h"
#include "kit/format.h"
#include "kit/rules.h"

enum { FIELDS_MAX = 64, STRING_CHARS_MAX = 1000, ITEMS_MAX = 100, NAME_CHARS_MAX = 64 };

/* Where we are in the document, from the leaf up; becomes a JSON Pointer when something is wrong.
 */
struct place {
    const struct place *up;
    const char *key; /* NULL: an item of a list */
    size_t index;
};

static const struct field_rule no_rule;

static bool well_formed(struct faults *f, const char *bytes, size_t n);
static json_t *parse(struct faults *f, const char *bytes, size_t n);
static void read_object(struct faults *f, const struct place *up, json_t *object,
                        const char *const *closed, ProtobufCMessage *out);
static void read_field(struct faults *f, const struct place *at, json_t *value,
                       const ProtobufCFieldDescriptor *field, ProtobufCMessage *out);
static void read_list(struct faults *f, const struct place *at, json_t *list,
                      const ProtobufCFieldDescriptor *field, const struct field_rule *rule,
                      ProtobufCMessage *out);
static void read_value(struct faults *f, const struct place *at, json_t *value,
                       const ProtobufCFieldDescriptor *field, const struct field_rule *rule,
                       void *member);
static void read_string(struct faults *f, const struct place *at, const char *s,
                        const ProtobufCFieldDescriptor *field, const struct field_rule *rule,
                        void *member);
static void store_int(struct faults *f, const struct place *at, int64_t n,
                      const ProtobufCFieldDescriptor *field, const struct field_rule *rule,
                      void *member);
static void complain(struct faults *f, const struct place *at, const char *code, const char *fmt,
                     ...) __attribute__((format(printf, 4, 5)));
static const struct field_rule *rule_of(const ProtobufCMessageDescriptor *type,
                                        const ProtobufCFieldDescriptor *field);
static void require(struct faults *f, const struct place *up, uint64_t present,
                    const ProtobufCMessageDescriptor *type, const char *const *closed);
static void fill_mask(struct arena *a, uint64_t present, ProtobufCMessage *out);
static bool named(const char *const *names, const char *name);
static bool is_time(const ProtobufCFieldDescriptor *field);

struct faults
faults_in(struct arena *a)
{
    return (struct faults){.arena = a};
}

void
fault_add(struct faults *f, const char *pointer, const char *code, const char *fmt, ...)
{
    if (f->n == ERRORS_MAX)
        return;
    if (!f->items)
        f->items = arena_alloc(f->arena, ERRORS_MAX * sizeof *f->items);
    va_list args;
    va_start(args, fmt);
    f->items[f->n++] = (struct violation){
        .pointer = pointer,
        .detail = arena_vprintf(f->arena, fmt, args),
        .code = code,
        .remaining = -1,
    };
    va_end(args);
}

bool
json_read(struct faults *f, const char *bytes, size_t n, const char *const *closed,
          ProtobufCMessage *out)
{
    if (!well_formed(f, bytes, n))
        return false;
    json_t *root = parse(f, bytes, n);
    if (!root)
        return false;
    if (json_is_object(root))
        read_object(f, NULL, root, closed, out);
    else
        fault_add(f, "", "wrong_type", "the body must be an object");
    json_decref(root);
    return true;
}

const ProtobufCFieldDescriptor *
json_field(const ProtobufCMessageDescriptor *type, const char *name)
{
    const ProtobufCFieldDescriptor *field =
        protobuf_c_message_descriptor_get_field_by_name(type, name);
    if (field)
        return is_time(field) || strcmp(name, "update_mask") == 0 ? NULL : field;
    char timed[NAME_CHARS_MAX + 4];
    if (strlen(name) > NAME_CHARS_MAX)
        return NULL;
    snprintf(timed, sizeof timed, "%s_us", name);
    field = protobuf_c_message_descriptor_get_field_by_name(type, timed);
    return field && is_time(field) ? field : NULL;
}

void
json_read_text(struct faults *f, const char *pointer, const ProtobufCFieldDescriptor *field,
               const char *value, ProtobufCMessage *out)
{
    assert(field->label != PROTOBUF_C_LABEL_REPEATED && field->type != PROTOBUF_C_TYPE_MESSAGE);
    const struct place at = {.key = pointer + (*pointer == '/')};
    const struct field_rule *rule = rule_of(out->descriptor, field);
    void *member = (char *)out + field->offset;
    int64_t n;
    if (field->type == PROTOBUF_C_TYPE_BOOL) {
        bool yes = strcmp(value, "true") == 0;
        if (!yes && strcmp(value, "false") != 0)
            complain(f, &at, "wrong_type", "must be true or false");
        *(protobuf_c_boolean *)member = yes;
    } else if (field->type == PROTOBUF_C_TYPE_STRING || field->type == PROTOBUF_C_TYPE_ENUM ||
               is_time(field)) {
        read_string(f, &at, value, field, rule, member);
    } else if (int_parse(value, &n)) {
        store_int(f, &at, n, field, rule, member);
    } else {
        complain(f, &at, "wrong_type", "must be a whole number");
    }
}

void
json_require(struct faults *f, uint64_t present, const ProtobufCMessageDescriptor *type,
             const char *const *closed)
{
    require(f, NULL, present, type, closed);
}

static bool
leaves_out(const ProtobufCMessageDescriptor *type, unsigned field)
{
    const struct message_rules *rules = rules_of(type);
    return rules && rules->fields[field].optional;
}

void
json_write(struct text *t, const ProtobufCMessage *message)
{
    message_json_sparse(t, message, leaves_out);
}

/* jansson recurses, and fibers' stacks are small: depth is bounded before it starts. */
static bool
well_formed(struct faults *f, const char *bytes, size_t n)
{
    if (!utf8_valid(bytes, n)) {
        fault_add(f, "", "not_utf8", "the body is not UTF-8 text without NUL");
        return false;
    }
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < n; i++) {
        char c = bytes[i];
        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && (c == '{' || c == '['))
            depth++;
        else if (!quoted && (c == '}' || c == ']'))
            depth--;
        if (depth > JSON_DEPTH_MAX) {
            fault_add(f, "", "too_deep", "nested deeper than %d", JSON_DEPTH_MAX);
            return false;
        }
    }
    return true;
}

static json_t *
parse(struct faults *f, const char *bytes, size_t n)
{
    json_error_t error;
    json_t *root = json_loadb(bytes, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (root)
        return root;
    const char *code = "malformed_json";
    if (json_error_code(&error) == json_error_duplicate_key)
        code = "duplicate_key";
    if (json_error_code(&error) == json_error_numeric_overflow)
        code = "too_large";
    fault_add(f, "", code, "line %d, column %d: %s", error.line, error.column, error.text);
    return NULL;
}

static void
read_object(struct faults *f, const struct place *up, json_t *object, const char *const *closed,
            ProtobufCMessage *out)
{
    const ProtobufCMessageDescriptor *type = out->descriptor;
    assert(type->n_fields <= FIELDS_MAX);
    uint64_t present = 0;
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        struct place at = {.up = up, .key = key};
        const ProtobufCFieldDescriptor *field = json_field(type, key);
        if (!field || named(closed, field->name)) {
            complain(f, &at, "unknown_field", "there is no such field");
            if (f->n == ERRORS_MAX)
                return;
            continue;
        }
        present |= UINT64_C(1) << (field - type->fields);
        read_field(f, &at, value, field, out);
    }
    require(f, up, present, type, closed);
    fill_mask(f->arena, present, out);
}

static void
read_field(struct faults *f, const struct place *at, json_t *value,
           const ProtobufCFieldDescriptor *field, ProtobufCMessage *out)
{
    const struct field_rule *rule = rule_of(out->descriptor, field);
    if (json_is_null(value)) {
        if (rule->required)
            complain(f, at, "required", "must not be null");
        return;
    }
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        read_list(f, at, value, field, rule, out);
    else
        read_value(f, at, value, field, rule, (char *)out + field->offset);
}

static size_t
item_bytes(const ProtobufCFieldDescriptor *field)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_INT64:
        return sizeof(int64_t);
    default:
        return sizeof(int32_t);
    }
}

static void
read_list(struct faults *f, const struct place *at, json_t *list,
          const ProtobufCFieldDescriptor *field, const struct field_rule *rule,
          ProtobufCMessage *out)
{
    if (!json_is_array(list)) {
        complain(f, at, "wrong_type", "must be a list");
        return;
    }
    size_t n = json_array_size(list);
    size_t most = rule->max_items ? (size_t)rule->max_items : ITEMS_MAX;
    if (n > most) {
        complain(f, at, "too_many", "has %zu items; %zu are allowed", n, most);
        return;
    }
    if (n == 0 && rule->required)
        complain(f, at, "required", "must have at least one item");
    char *items = arena_alloc(f->arena, n * item_bytes(field));
    for (size_t i = 0; i < n; i++) {
        struct place item = {.up = at, .index = i};
        read_value(f, &item, json_array_get(list, i), field, rule, items + i * item_bytes(field));
    }
    /* A faulty message is never used, but let it be whole: no item is NULL. */
    if (f->n == 0) {
        *(void **)((char *)out + field->offset) = items;
        *(size_t *)((char *)out + field->quantifier_offset) = n;
    }
}

static void
read_value(struct faults *f, const struct place *at, json_t *value,
           const ProtobufCFieldDescriptor *field, const struct field_rule *rule, void *member)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_MESSAGE: {
        if (!json_is_object(value)) {
            complain(f, at, "wrong_type", "must be an object");
            return;
        }
        const ProtobufCMessageDescriptor *type = field->descriptor;
        ProtobufCMessage *message = arena_alloc(f->arena, type->sizeof_message);
        protobuf_c_message_init(type, message);
        read_object(f, at, value, NULL, message);
        *(ProtobufCMessage **)member = message;
        return;
    }
    case PROTOBUF_C_TYPE_BOOL:
        if (json_is_boolean(value))
            *(protobuf_c_boolean *)member = json_is_true(value);
        else
            complain(f, at, "wrong_type", "must be true or false");
        return;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_BYTES:
        break;
    default:
        if (is_time(field))
            break;
        if (json_is_integer(value))
            store_int(f, at, json_integer_value(value), field, rule, member);
        else
            complain(f, at, "wrong_type", "must be a whole number");
        return;
    }
    if (json_is_string(value))
        read_string(f, at, json_string_value(value), field, rule, member);
    else
        complain(f, at, "wrong_type", "must be a string");
}

/* The number of the enum's value of this lower-case name; 0 (unspecified) is nobody's to give. */
static int
enum_number(const ProtobufCEnumDescriptor *type, const char *s)
{
    for (unsigned i = 0; i < type->n_values; i++)
        if (type->values[i].value != 0 && strcasecmp(type->values[i].name, s) == 0 &&
            strpbrk(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == NULL)
            return type->values[i].value;
    return 0;
}

static bool
within_rule(struct faults *f, const struct place *at, const char *s, const struct field_rule *rule)
{
    size_t most = rule->max_length ? (size_t)rule->max_length : STRING_CHARS_MAX;
    size_t length = utf8_length(s);
    if (length > most)
        complain(f, at, "too_long", "has %zu characters; %zu are allowed", length, most);
    else if (*s == '\0' && rule->required)
        complain(f, at, "required", "must not be empty");
    else if (*s && rule->pattern && !pattern_matches(rule->pattern, s))
        complain(f, at, "bad_pattern", "must match %s", rule->pattern);
    else if (*s && rule->format && !format_matches(rule->format, s))
        complain(f, at, "bad_format", "is no %s", format_noun(rule->format));
    else
        return true;
    return false;
}

static void
read_string(struct faults *f, const struct place *at, const char *s,
            const ProtobufCFieldDescriptor *field, const struct field_rule *rule, void *member)
{
    if (is_time(field)) {
        if (!time_parse(s, member))
            complain(f, at, "bad_format", "is no time as in RFC 3339");
        return;
    }
    if (field->type == PROTOBUF_C_TYPE_ENUM) {
        int number = enum_number(field->descriptor, s);
        if (number == 0)
            complain(f, at, "not_one_of", "is none of the values that this field takes");
        *(int *)member = number;
        return;
    }
    if (!within_rule(f, at, s, rule))
        return;
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        *(char **)member = arena_strdup(f->arena, s);
        return;
    }
    ProtobufCBinaryData *bytes = member;
    bytes->data = base64url_decode(f->arena, s, strlen(s), &bytes->len);
    if (!bytes->data)
        complain(f, at, "bad_format", "is no base64url text");
}

static void
store_int(struct faults *f, const struct place *at, int64_t n,
          const ProtobufCFieldDescriptor *field, const struct field_rule *rule, void *member)
{
    bool small = field->type != PROTOBUF_C_TYPE_INT64;
    int64_t least = rule->has_min ? rule->min : small ? INT32_MIN : INT64_MIN;
    int64_t most = rule->has_max ? rule->max : small ? INT32_MAX : INT64_MAX;
    if (n < least)
        complain(f, at, "too_small", "is %lld; at least %lld is allowed", (long long)n,
                 (long long)least);
    else if (n > most)
        complain(f, at, "too_large", "is %lld; at most %lld is allowed", (long long)n,
                 (long long)most);
    else if (small)
        *(int32_t *)member = (int32_t)n;
    else
        *(int64_t *)member = n;
}

/* ~ and / are escaped as RFC 6901 says; a key is a stranger's, so its length is bounded. */
static void
add_pointer(struct text *t, const struct place *at)
{
    if (!at)
        return;
    add_pointer(t, at->up);
    text_add_char(t, '/');
    if (!at->key) {
        text_add_int(t, (int64_t)at->index);
        return;
    }
    size_t n = strlen(at->key);
    if (n > NAME_CHARS_MAX)
        for (n = NAME_CHARS_MAX; (at->key[n] & 0xc0) == 0x80; n--)
            ;
    for (size_t i = 0; i < n; i++) {
        char c = at->key[i];
        if (c == '~' || c == '/')
            text_add(t, c == '~' ? "~0" : "~1");
        else
            text_add_char(t, c);
    }
}

const char *
json_pointer(struct arena *a, const char *name)
{
    struct text pointer = text_in(a);
    add_pointer(&pointer, &(struct place){.key = name});
    return pointer.bytes;
}

static void
complain(struct faults *f, const struct place *at, const char *code, const char *fmt, ...)
{
    if (f->n == ERRORS_MAX)
        return;
    struct text pointer = text_in(f->arena);
    add_pointer(&pointer, at);
    va_list args;
    va_start(args, fmt);
    fault_add(f, pointer.bytes, code, "%s", arena_vprintf(f->arena, fmt, args));
    va_end(args);
}

static const struct field_rule *
rule_of(const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *field)
{
    const struct message_rules *rules = rules_of(type);
    return rules ? &rules->fields[field - type->fields] : &no_rule;
}

static void
require(struct faults *f, const struct place *up, uint64_t present,
        const ProtobufCMessageDescriptor *type, const char *const *closed)
{
    const struct message_rules *rules = rules_of(type);
    for (unsigned i = 0; rules && i < type->n_fields; i++) {
        if (!rules->fields[i].required || (present >> i & 1) || named(closed, type->fields[i].name))
            continue;
        char name[NAME_CHARS_MAX];
        snprintf(name, sizeof name, "%s", type->fields[i].name);
        if (is_time(&type->fields[i]))
            name[strlen(name) - strlen("_us")] = '\0';
        struct place at = {.up = up, .key = name};
        complain(f, &at, "required", "must be there");
    }
}

static void
fill_mask(struct arena *a, uint64_t present, ProtobufCMessage *out)
{
    const ProtobufCFieldDescriptor *mask =
        protobuf_c_message_descriptor_get_field_by_name(out->descriptor, "update_mask");
    if (!mask || mask->label != PROTOBUF_C_LABEL_REPEATED || mask->type != PROTOBUF_C_TYPE_STRING)
        return;
    const char **names = arena_alloc(a, out->descriptor->n_fields * sizeof *names);
    size_t n = 0;
    for (unsigned i = 0; i < out->descriptor->n_fields; i++)
        if (present >> i & 1)
            names[n++] = out->descriptor->fields[i].name;
    *(const char ***)((char *)out + mask->offset) = names;
    *(size_t *)((char *)out + mask->quantifier_offset) = n;
}

static bool
named(const char *const *names, const char *name)
{
    for (; names && *names; names++)
        if (strcmp(*names, name) == 0)
            return true;
    return false;
}

static bool
is_time(const ProtobufCFieldDescriptor *field)
{
    size_t n = strlen(field->name);
    return field->type == PROTOBUF_C_TYPE_INT64 && n > 3 && strcmp(field->name + n - 3, "_us") == 0;
}
