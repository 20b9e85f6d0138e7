/* Writing the head of an HTTP/1.1 answer, and the body of a refusal. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/env.h"
#include "base/time.h"
#include "net/head.h"

static const struct {
    short status;
    bool ours; /* we refuse with it, under this code */
    const char *phrase, *code;
} phrases[] = {
    {200, false, "OK", NULL},
    {201, false, "Created", NULL},
    {202, false, "Accepted", NULL},
    {204, false, "No Content", NULL},
    {206, false, "Partial Content", NULL},
    {301, false, "Moved Permanently", NULL},
    {302, false, "Found", NULL},
    {303, false, "See Other", NULL},
    {304, false, "Not Modified", NULL},
    {307, false, "Temporary Redirect", NULL},
    {308, false, "Permanent Redirect", NULL},
    {400, true, "Bad Request", "malformed_request"},
    {401, false, "Unauthorized", NULL},
    {402, false, "Payment Required", NULL},
    {403, false, "Forbidden", NULL},
    {404, false, "Not Found", NULL},
    {405, false, "Method Not Allowed", NULL},
    {406, false, "Not Acceptable", NULL},
    {408, true, "Request Timeout", "request_timeout"},
    {409, false, "Conflict", NULL},
    {410, false, "Gone", NULL},
    {411, false, "Length Required", NULL},
    {412, false, "Precondition Failed", NULL},
    {413, true, "Content Too Large", "body_too_large"},
    {414, true, "URI Too Long", "target_too_long"},
    {415, false, "Unsupported Media Type", NULL},
    {416, false, "Range Not Satisfiable", NULL},
    {417, true, "Expectation Failed", "expectation_failed"},
    {421, false, "Misdirected Request", NULL},
    {422, false, "Unprocessable Content", NULL},
    {425, false, "Too Early", NULL},
    {428, false, "Precondition Required", NULL},
    {429, false, "Too Many Requests", NULL},
    {431, true, "Request Header Fields Too Large", "headers_too_large"},
    {499, false, "Client Closed Request", NULL},
    {500, false, "Internal Server Error", NULL},
    {501, true, "Not Implemented", "unknown_method"},
    {502, false, "Bad Gateway", NULL},
    {503, false, "Service Unavailable", NULL},
    {504, false, "Gateway Timeout", NULL},
    {505, true, "HTTP Version Not Supported", "unknown_version"},
};

enum { N_PHRASES = sizeof phrases / sizeof phrases[0] };

const char *
reason_phrase(int status)
{
    for (size_t i = 0; i < N_PHRASES; i++)
        if (phrases[i].status == status)
            return phrases[i].phrase;
    return "Unknown";
}

bool
status_has_body(int status)
{
    return status >= 200 && status != 204 && status != 304;
}

/* Made once a second on each thread. */
const char *
date_line(size_t *ret_n)
{
    static _Thread_local char line[64];
    static _Thread_local int64_t second;
    static _Thread_local size_t n;

    int64_t now = env.now_us() / SECOND_US;
    if (now != second || n == 0) {
        time_t t = (time_t)now;
        struct tm tm;
        gmtime_r(&t, &tm);
        n = strftime(line, sizeof line, "date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
        second = now;
    }
    *ret_n = n;
    return line;
}

static char *
put(char *at, const char *s)
{
    return stpcpy(at, s);
}

static char *
put_number(char *at, size_t n)
{
    char digits[24];
    size_t i = sizeof digits;
    do
        digits[--i] = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    memcpy(at, digits + i, sizeof digits - i);
    return at + (sizeof digits - i);
}

/* A control character in a value (from data, by a handler's slip) must not become a header. */
static char *
put_value(char *at, const char *value)
{
    for (; *value; value++)
        *at++ = (char)((unsigned char)*value < ' ' ? ' ' : *value);
    return at;
}

size_t
answer_head_room(const struct http_response *out)
{
    size_t n = 256;
    for (size_t i = 0; i < out->n_headers; i++)
        n += strlen(out->headers[i].name) + strlen(out->headers[i].value) + 4;
    return n;
}

size_t
answer_head(char *at, const struct http_response *out, enum body_end end, bool close)
{
    char *start = at;
    if (out->status == 200) {
        at = put(at, "HTTP/1.1 200 OK\r\nserver: souk\r\n");
    } else {
        at = put(at, "HTTP/1.1 ");
        at = put_number(at, (size_t)out->status);
        *at++ = ' ';
        at = put(at, reason_phrase(out->status));
        at = put(at, "\r\nserver: souk\r\n");
    }
    size_t date_n;
    const char *date = date_line(&date_n);
    memcpy(at, date, date_n);
    at += date_n;
    for (size_t i = 0; i < out->n_headers; i++) {
        at = put(at, out->headers[i].name);
        at = put(at, ": ");
        at = put_value(at, out->headers[i].value);
        at = put(at, "\r\n");
    }
    if (close)
        at = put(at, "connection: close\r\n");
    if (end == END_BY_CHUNKS) {
        at = put(at, "transfer-encoding: chunked\r\n");
    } else if (end == END_BY_LENGTH && status_has_body(out->status)) {
        at = put(at, "content-length: ");
        at = put_number(at, out->body_n);
        at = put(at, "\r\n");
    }
    at = put(at, "\r\n");
    return (size_t)(at - start);
}

size_t
problem_body(char *ret, size_t room, const struct refusal *why)
{
    const char *code = "malformed_request";
    for (size_t i = 0; i < N_PHRASES; i++)
        if (phrases[i].status == why->status && phrases[i].ours)
            code = phrases[i].code;
    int n = snprintf(ret, room,
                     "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"code\":\"%s\","
                     "\"detail\":\"%s\"}",
                     reason_phrase(why->status), why->status, code, why->detail);
    return n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
}
