/*
 * Messages as JSON, straight from their descriptors.
 *
 * Names are the proto's (snake_case), integers are numbers, enums are their value's name in lower
 * case, bytes are base64.  An int64 field "…_us" is a time: RFC 3339, under its name without
 * "_us".  What has no value at all is left out: a message that is not there, a time of 0.
 */
#pragma once
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

#include "base/text.h"

void message_json(struct text *out, const ProtobufCMessage *m);

/* Is the field (its place in type->fields) left out while it is empty?  Where it is not, a message
 * that is not there and a time of 0 are null. */
typedef bool left_out_fn(const ProtobufCMessageDescriptor *type, unsigned field);
void message_json_sparse(struct text *out, const ProtobufCMessage *m, left_out_fn *left_out);

/* RFC 4648, section 4, with padding, as a JSON string. */
void base64_json(struct text *out, const void *bytes, size_t n);
