/* Protocol buffers as bytes (protobuf.dev/programming-guides/encoding). */
#include "net/proto_wire.h"

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5, VARINT_BYTES_MAX = 10 };

struct proto_in
proto_in(const void *bytes, size_t n)
{
    const uint8_t *at = bytes;
    return (struct proto_in){at, at ? at + n : at, false};
}

static bool
next_varint(struct proto_in *in, uint64_t *ret)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < VARINT_BYTES_MAX && in->at < in->end; i++) {
        uint8_t byte = *in->at++;
        value |= (uint64_t)(byte & 0x7f) << 7 * i;
        if (byte < 0x80) {
            *ret = value;
            return true;
        }
    }
    return false;
}

static bool
next_bytes(struct proto_in *in, size_t n, struct proto_field *ret)
{
    if (n > (size_t)(in->end - in->at))
        return false;
    ret->bytes = in->at;
    ret->n = n;
    in->at += n;
    return true;
}

bool
proto_next(struct proto_in *in, struct proto_field *ret)
{
    uint64_t tag, n;
    if (in->at == in->end || in->broken)
        return false;
    *ret = (struct proto_field){0};
    bool whole = next_varint(in, &tag);
    if (whole) {
        ret->number = (unsigned)(tag >> 3);
        switch (tag & 7) {
        case VARINT:
            whole = next_varint(in, &ret->value);
            break;
        case BYTES:
            whole = next_varint(in, &n) && next_bytes(in, n, ret);
            break;
        case FIXED64:
            whole = next_bytes(in, 8, ret);
            break;
        case FIXED32:
            whole = next_bytes(in, 4, ret);
            break;
        default:
            whole = false;
        }
    }
    in->broken = !whole;
    return whole;
}

static void
add_varint(struct text *t, uint64_t value)
{
    while (value >= 0x80) {
        text_add_char(t, (char)(value | 0x80));
        value >>= 7;
    }
    text_add_char(t, (char)value);
}

void
proto_add_int(struct text *t, unsigned number, uint64_t value)
{
    add_varint(t, (uint64_t)number << 3 | VARINT);
    add_varint(t, value);
}

void
proto_add_bytes(struct text *t, unsigned number, const void *bytes, size_t n)
{
    add_varint(t, (uint64_t)number << 3 | BYTES);
    add_varint(t, n);
    text_add_n(t, bytes, n);
}
