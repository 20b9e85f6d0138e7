#include "gateway/trace.h"

#include <string.h>

enum {
    HEADER_CHARS = 55,
    TRACE_AT = 3,
    TRACE_CHARS = 32,
    SPAN_AT = 36,
    SPAN_CHARS = 16,
    FLAGS_AT = 53
};

static bool
is_hex(const char *s, size_t n)
{
    return strspn(s, "0123456789abcdef") >= n;
}

static bool
all_zero(const char *s, size_t n)
{
    return strspn(s, "0") >= n;
}

/* A later version may be longer, behind a further '-'. */
bool
trace_parse(const char *header, char ret_trace_id[33])
{
    size_t n = strlen(header);
    if (n < HEADER_CHARS || header[2] != '-' || header[SPAN_AT - 1] != '-' ||
        header[FLAGS_AT - 1] != '-')
        return false;
    bool first_version = strncmp(header, "00", 2) == 0;
    if (strncmp(header, "ff", 2) == 0 || (n > HEADER_CHARS && first_version) ||
        (n > HEADER_CHARS && header[HEADER_CHARS] != '-'))
        return false;
    if (!is_hex(header, 2) || !is_hex(header + TRACE_AT, TRACE_CHARS) ||
        !is_hex(header + SPAN_AT, SPAN_CHARS) || !is_hex(header + FLAGS_AT, 2) ||
        all_zero(header + TRACE_AT, TRACE_CHARS) || all_zero(header + SPAN_AT, SPAN_CHARS))
        return false;
    memcpy(ret_trace_id, header + TRACE_AT, TRACE_CHARS);
    ret_trace_id[TRACE_CHARS] = '\0';
    return true;
}
