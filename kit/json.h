/*
 * JSON from outside into messages, checked against the rules that the protos declare.
 *
 * Names are the proto's; a field "…_us" is a time: its JSON name lacks the suffix, its value is RFC
 * 3339.  Enums are their values' names in lower case.  Numbers are whole numbers of 64 bits.  A
 * null is a field left out.  Whatever a message does not have is refused.
 */
#pragma once
#include "kit/kit.h"

/* What is wrong with an input; the first ERRORS_MAX are kept. */
struct faults {
    struct arena *arena;
    struct violation *items;
    size_t n;
};

enum { JSON_DEPTH_MAX = 16 };

struct faults faults_in(struct arena *a);
void fault_add(struct faults *f, const char *pointer, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/*
 * Fills out, an initialised message, from the JSON object in bytes; what is wrong goes to f.
 * closed names fields that the object may not have (path parameters); NULL-terminated, or NULL.
 * A message's field update_mask is filled with the names of the fields that are in its object.
 * False if bytes are no JSON at all; then f has one fault that says so.
 */
bool json_read(struct faults *f, const char *bytes, size_t n, const char *const *closed,
               ProtobufCMessage *out);

/* The field of this JSON name, or NULL; update_mask is nobody's to name. */
const ProtobufCFieldDescriptor *json_field(const ProtobufCMessageDescriptor *type,
                                           const char *name);

/* Sets one field that is not a list nor a message from text: a path or query parameter. */
void json_read_text(struct faults *f, const char *pointer, const ProtobufCFieldDescriptor *field,
                    const char *value, ProtobufCMessage *out);

/* "/name", escaped as RFC 6901 says and cut where a stranger's name is too long. */
const char *json_pointer(struct arena *a, const char *name);

/* Complains of required fields whose bit (by place in the descriptor) is not in present. */
void json_require(struct faults *f, uint64_t present, const ProtobufCMessageDescriptor *type,
                  const char *const *closed);

/* message as a JSON object behind what is in t; (souk.optional) fields are left out while empty. */
void json_write(struct text *t, const ProtobufCMessage *message);
