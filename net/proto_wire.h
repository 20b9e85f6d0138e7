/* Protocol buffers as bytes, for the few messages that net/ itself speaks.  Pure functions. */
#pragma once
#include "base/text.h"

/* What is left of a message.  After the last field, broken says whether it was malformed. */
struct proto_in {
    const uint8_t *at, *end;
    bool broken;
};

struct proto_field {
    unsigned number;
    uint64_t value;       /* of a varint */
    const uint8_t *bytes; /* of what has a length, else NULL */
    size_t n;
};

struct proto_in proto_in(const void *bytes, size_t n);
bool proto_next(struct proto_in *in, struct proto_field *ret);

void proto_add_int(struct text *t, unsigned number, uint64_t value);
void proto_add_bytes(struct text *t, unsigned number, const void *bytes, size_t n);
