/* grpc.reflection.v1 (and v1alpha, whose messages are the same): what the descriptors say. */
#include <string.h>

#include "net/grpc_server.h"
#include "net/proto_wire.h"

enum {
    DEPTH_MAX = 32, /* of messages in messages */
    NAME_BYTES_MAX = 512,
    /* ServerReflectionRequest */
    BY_FILENAME = 3,
    BY_SYMBOL = 4,
    BY_EXTENSION = 5,
    EXTENSION_NUMBERS = 6,
    LIST_SERVICES = 7,
    /* ServerReflectionResponse */
    VALID_HOST = 1,
    ORIGINAL_REQUEST = 2,
    FILE_RESPONSE = 4,
    NUMBERS_RESPONSE = 5,
    LIST_RESPONSE = 6,
    ERROR_RESPONSE = 7,
};

struct file {
    struct file *next;
    const char *name;
    const uint8_t *bytes;
    size_t n;
};

struct symbol {
    struct symbol *next;
    const char *name;
    const struct file *file;
    uint64_t number; /* of an extension of the message that name says, else 0 */
};

struct grpc_symbols {
    struct arena *arena;
    struct file *files;
    struct symbol *symbols, *extensions;
};

static void on_message(struct grpc_call *call, const uint8_t *bytes, size_t n);
static void on_end(struct grpc_call *call);

static const struct grpc_own rpcs[] = {
    {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", on_message, on_end, NULL},
    {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", on_message, on_end, NULL},
};

const struct grpc_own *
grpc_reflection_find(const char *path)
{
    for (size_t i = 0; i < sizeof rpcs / sizeof rpcs[0]; i++)
        if (strcmp(rpcs[i].path, path) == 0)
            return &rpcs[i];
    return NULL;
}

/* ---- reading the descriptors ----------------------------------------------------------------- */

/* The numbers of the fields in descriptor.proto that lead to names. */
struct shape {
    unsigned of_name; /* of this thing's own name */
    struct {
        unsigned field;
        const struct shape *shape;
    } parts[4];
    unsigned extensions; /* the field with extensions, or 0 */
};

static const struct shape leaf = {.of_name = 1};
static const struct shape enumeration = {.of_name = 1}; /* nobody asks for its values */
static const struct shape message = {
    .of_name = 1, .parts = {{3, &message}, {4, &enumeration}, {2, &leaf}}, .extensions = 6};
static const struct shape service = {.of_name = 1, .parts = {{2, &leaf}}};
static const struct shape whole_file = {
    .of_name = 2, .parts = {{4, &message}, {5, &enumeration}, {6, &service}}, .extensions = 7};

static const char *
text_field(struct arena *a, const uint8_t *bytes, size_t n, unsigned number, bool *broken)
{
    struct proto_in in = proto_in(bytes, n);
    struct proto_field f;
    const char *found = "";
    while (proto_next(&in, &f))
        if (f.number == number && f.bytes)
            found = arena_strndup(a, (const char *)f.bytes, f.n);
    *broken = *broken || in.broken;
    return found;
}

static uint64_t
int_field(const uint8_t *bytes, size_t n, unsigned number)
{
    struct proto_in in = proto_in(bytes, n);
    struct proto_field f;
    uint64_t found = 0;
    while (proto_next(&in, &f))
        if (f.number == number && !f.bytes)
            found = f.value;
    return found;
}

static void
add_symbol(struct arena *a, struct symbol **list, const char *name, uint64_t number,
           const struct file *file)
{
    struct symbol *symbol = arena_alloc(a, sizeof *symbol);
    *symbol = (struct symbol){*list, name, file, number};
    *list = symbol;
}

static const char *
join(struct arena *a, const char *scope, const char *name)
{
    return scope[0] ? arena_printf(a, "%s.%s", scope, name) : name;
}

/* Collects the names of bytes, which are of this shape, and of all in it. */
static bool
collect(struct grpc_symbols *s, const struct file *file, const struct shape *shape,
        const char *scope, const uint8_t *bytes, size_t n, int depth)
{
    bool broken = depth > DEPTH_MAX;
    const char *own = broken ? "" : text_field(s->arena, bytes, n, shape->of_name, &broken);
    bool is_file = shape == &whole_file;
    const char *name = is_file ? own : join(s->arena, scope, own);
    if (!is_file)
        add_symbol(s->arena, &s->symbols, name, 0, file);
    struct proto_in in = proto_in(bytes, n);
    struct proto_field f;
    while (!broken && proto_next(&in, &f)) {
        for (size_t i = 0; f.bytes && i < sizeof shape->parts / sizeof shape->parts[0]; i++)
            if (shape->parts[i].shape && shape->parts[i].field == f.number)
                broken = broken ||
                         !collect(s, file, shape->parts[i].shape, name, f.bytes, f.n, depth + 1);
        if (!f.bytes || shape->extensions == 0 || f.number != shape->extensions)
            continue;
        const char *extends = text_field(s->arena, f.bytes, f.n, 2, &broken);
        add_symbol(s->arena, &s->extensions, extends + (extends[0] == '.'),
                   int_field(f.bytes, f.n, 3), file);
        add_symbol(s->arena, &s->symbols,
                   join(s->arena, name, text_field(s->arena, f.bytes, f.n, 1, &broken)), 0, file);
    }
    return !broken && !in.broken;
}

struct grpc_symbols *
grpc_symbols_read(struct arena *a, const uint8_t *bytes, size_t n, const char **why)
{
    struct grpc_symbols *s = arena_alloc(a, sizeof *s);
    s->arena = a;
    struct proto_in in = proto_in(arena_copy(a, bytes, n), n);
    struct proto_field f;
    bool broken = false;
    while (!broken && proto_next(&in, &f)) {
        if (f.number != 1 || !f.bytes)
            continue;
        struct file *file = arena_alloc(a, sizeof *file);
        *file = (struct file){s->files, text_field(a, f.bytes, f.n, 1, &broken), f.bytes, f.n};
        s->files = file;
        broken = broken || !collect(s, file, &whole_file, "", f.bytes, f.n, 0);
    }
    if (!broken && !in.broken)
        return s;
    *why = "the descriptors are no FileDescriptorSet";
    return NULL;
}

/* ---- answering ------------------------------------------------------------------------------- */

static const struct file *
find_file(const struct grpc_symbols *s, const char *name)
{
    for (const struct file *file = s->files; file; file = file->next)
        if (strcmp(file->name, name) == 0)
            return file;
    return NULL;
}

static const struct file *
find_symbol(const struct symbol *list, const char *name, uint64_t number)
{
    for (const struct symbol *symbol = list; symbol; symbol = symbol->next)
        if (symbol->number == number && strcmp(symbol->name, name) == 0)
            return symbol->file;
    return NULL;
}

static void
add_error(struct text *t, struct arena *a, enum status st, const char *why)
{
    struct text error = text_in(a);
    proto_add_int(&error, 1, st);
    proto_add_bytes(&error, 2, why, strlen(why));
    proto_add_bytes(t, ERROR_RESPONSE, error.bytes, error.n);
}

static void
add_file(struct text *t, struct arena *a, const struct file *file)
{
    if (!file) {
        add_error(t, a, NOT_FOUND, "there is no such file or symbol");
        return;
    }
    struct text files = text_in(a);
    proto_add_bytes(&files, 1, file->bytes, file->n);
    proto_add_bytes(t, FILE_RESPONSE, files.bytes, files.n);
}

static void
add_services(struct text *t, struct arena *a, const char *const *services)
{
    struct text list = text_in(a);
    text_add(&list, "");
    for (size_t i = 0; services[i]; i++) {
        struct text one = text_in(a);
        proto_add_bytes(&one, 1, services[i], strlen(services[i]));
        proto_add_bytes(&list, 1, one.bytes, one.n);
    }
    proto_add_bytes(t, LIST_RESPONSE, list.bytes, list.n);
}

static void
add_numbers(struct text *t, struct arena *a, const struct grpc_symbols *s, const char *type)
{
    struct text list = text_in(a);
    proto_add_bytes(&list, 1, type, strlen(type));
    for (const struct symbol *e = s->extensions; e; e = e->next)
        if (strcmp(e->name, type) == 0)
            proto_add_int(&list, 2, e->number);
    if (find_symbol(s->symbols, type, 0))
        proto_add_bytes(t, NUMBERS_RESPONSE, list.bytes, list.n);
    else
        add_error(t, a, NOT_FOUND, "there is no such type");
}

static void
answer(struct text *t, struct arena *a, const struct grpc_server *server,
       const struct proto_field *ask)
{
    const struct grpc_symbols *s = server->symbols;
    const char *name = arena_strndup(a, (const char *)ask->bytes, ask->n);
    bool broken = false;
    switch (ask->number) {
    case BY_FILENAME:
        add_file(t, a, find_file(s, name));
        break;
    case BY_SYMBOL:
        add_file(t, a, find_symbol(s->symbols, name, 0));
        break;
    case BY_EXTENSION:
        name = text_field(a, ask->bytes, ask->n, 1, &broken);
        add_file(t, a, find_symbol(s->extensions, name, int_field(ask->bytes, ask->n, 2)));
        break;
    case EXTENSION_NUMBERS:
        add_numbers(t, a, s, name);
        break;
    case LIST_SERVICES:
        add_services(t, a, server->services);
        break;
    default:
        add_error(t, a, UNIMPLEMENTED, "this is not asked here");
    }
}

/* Its arena is its own: a stream of questions may be long. */
static void
on_message(struct grpc_call *call, const uint8_t *bytes, size_t n)
{
    if (call->done)
        return;
    struct arena *a = arena_new();
    struct proto_in in = proto_in(bytes, n);
    struct proto_field f, ask = {0};
    struct text t = text_in(a);
    while (proto_next(&in, &f)) {
        if (f.number == 1 && f.bytes)
            proto_add_bytes(&t, VALID_HOST, f.bytes, f.n);
        else if (f.number >= BY_FILENAME && f.number <= LIST_SERVICES && f.bytes)
            ask = f;
    }
    proto_add_bytes(&t, ORIGINAL_REQUEST, bytes, n);
    if (in.broken || n > NAME_BYTES_MAX)
        grpc_end(call, INVALID_ARGUMENT, "the request is malformed", NULL, 0);
    else {
        answer(&t, a, call->server, &ask);
        grpc_send(call, (const uint8_t *)t.bytes, t.n);
    }
    arena_free(a);
}

static void
on_end(struct grpc_call *call)
{
    grpc_end(call, OK, NULL, NULL, 0);
}
