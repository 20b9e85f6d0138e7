/* gRPC's published interoperability service (grpc.testing.TestService), as far as its cases need
 * it. */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/text.h"
#include "base/time.h"
#include "net/grpc.h"
#include "net/proto_wire.h"

enum {
    RESPONSE_SIZE = 2, /* SimpleRequest */
    PAYLOAD = 3,       /* of SimpleRequest and StreamingOutputCallRequest */
    RESPONSE_STATUS = 7,
    RESPONSE_PARAMETERS = 2, /* StreamingOutputCallRequest */
    ANSWER_PAYLOAD = 1,      /* of every response, and of StreamingInputCallRequest */
    PARAMETERS_MAX = 16,
};

/* The requests' fields, whichever message it is. */
struct interop_in {
    size_t payload_n;
    size_t response_size;
    bool has_status;
    int code;
    const char *why;
    struct {
        size_t size;
        int64_t interval_us;
    } parameters[PARAMETERS_MAX];
    size_t n_parameters;
};

static inline void
interop_add_payload(struct text *t, struct arena *a, unsigned number, size_t n)
{
    struct text payload = text_in(a);
    proto_add_bytes(&payload, 2, arena_alloc(a, n), n);
    proto_add_bytes(t, number, payload.bytes, payload.n);
}

static inline size_t
interop_payload_n(const uint8_t *bytes, size_t n)
{
    struct proto_in in = proto_in(bytes, n);
    struct proto_field f;
    size_t found = 0;
    while (proto_next(&in, &f))
        if (f.number == 2)
            found = f.n;
    return found;
}
