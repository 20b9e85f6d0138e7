/*
 * Reading the head of an HTTP/1.1 request (RFC 9112) so strictly that no two readers can differ.
 *
 * The scanner sees each byte once and accepts only what the grammar's plain form allows: CRLF line
 * ends, one space between the parts of the request line, token characters up to the colon.  What is
 * left are well-formed lines, which head_split cuts apart.
 */
#include "net/head.h"

#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "base/limits.h"

enum {
    METHOD_CHARS_MAX = 32,
    VERSION_CHARS = 8, /* HTTP/1.1 */
    LENGTH_DIGITS_MAX = 15,
};

enum { IS_TOKEN = 1, IS_TARGET = 2, IS_VALUE = 4, IS_HOST = 8 };

static const uint8_t kinds[256] = {
    ['\t'] = IS_VALUE,
    [' '] = IS_VALUE,
    ['!'] = IS_TOKEN | IS_TARGET | IS_VALUE | IS_HOST,
    ['"'] = IS_TARGET | IS_VALUE,
    ['#'] = IS_TOKEN | IS_VALUE, /* a fragment is never sent */
    ['$' ... '\''] = IS_TOKEN | IS_TARGET | IS_VALUE | IS_HOST,
    ['(' ... ')'] = IS_TARGET | IS_VALUE | IS_HOST,
    ['*' ... '+'] = IS_TOKEN | IS_TARGET | IS_VALUE | IS_HOST,
    [','] = IS_TARGET | IS_VALUE,
    ['-' ... '.'] = IS_TOKEN | IS_TARGET | IS_VALUE | IS_HOST,
    ['/'] = IS_TARGET | IS_VALUE,
    ['0' ... '9'] = IS_TOKEN | IS_TARGET | IS_VALUE | IS_HOST,
    [':' ... ';'] = IS_TARGET | IS_VALUE | IS_HOST,
    ['<'] = IS_TARGET | IS_VALUE,
    ['='] = IS_TARGET | IS_VALUE | IS_HOST,
    ['>' ... '@'] = IS_TARGET | IS_VALUE,
    ['A' ... 'Z'] = IS_TOKEN | IS_TARGET | IS_VALUE | IS_HOST,
    ['['] = IS_TARGET | IS_VALUE | IS_HOST,
    ['\\'] = IS_TARGET | IS_VALUE,
    [']'] = IS_TARGET | IS_VALUE | IS_HOST,
    ['^'] = IS_TOKEN | IS_TARGET | IS_VALUE,
    ['_'] = IS_TOKEN | IS_TARGET | IS_VALUE | IS_HOST,
    ['`'] = IS_TOKEN | IS_TARGET | IS_VALUE,
    ['a' ... 'z'] = IS_TOKEN | IS_TARGET | IS_VALUE | IS_HOST,
    ['{'] = IS_TARGET | IS_VALUE,
    ['|'] = IS_TOKEN | IS_TARGET | IS_VALUE,
    ['}'] = IS_TARGET | IS_VALUE,
    ['~'] = IS_TOKEN | IS_TARGET | IS_VALUE | IS_HOST,
    [0x80 ... 0xff] = IS_VALUE,
};

enum {
    AT_START,
    AT_BLANK_LF,
    IN_METHOD,
    IN_TARGET,
    IN_VERSION,
    AT_LINE_LF,
    AT_NAME,
    IN_NAME,
    IN_VALUE,
    AT_FIELD_LF,
    AT_END_LF,
};

static bool
is(char c, int kind)
{
    return kinds[(uint8_t)c] & kind;
}

static enum head_progress scan_request_line(struct head_scan *s, const char *bytes, size_t n,
                                            struct refusal *ret);
static enum head_progress scan_fields(struct head_scan *s, const char *bytes, size_t n,
                                      struct refusal *ret);
static bool check_fields(struct head *h, struct refusal *ret);
static bool check_target(char *target, struct head *h, struct refusal *ret);

static enum head_progress
bad(struct refusal *ret, int status, const char *detail)
{
    *ret = (struct refusal){status, detail};
    return HEAD_BAD;
}

enum head_progress
head_scan(struct head_scan *s, const char *bytes, size_t n, struct refusal *ret)
{
    if (s->state < AT_NAME) {
        enum head_progress p = scan_request_line(s, bytes, n, ret);
        if (p != HEAD_DONE)
            return p;
    }
    return scan_fields(s, bytes, n, ret);
}

/* One byte of "HTTP/1.1". */
static bool
version_byte(struct head_scan *s, char c)
{
    size_t i = s->at - s->since;
    if (i == 5 || i == 7) {
        if (c < '0' || c > '9')
            return false;
        if (i == 5 && c != '1')
            s->minor = 9; /* well-formed, but none that we speak */
        else if (i == 7)
            s->minor = s->minor == 9 || c > '1' ? 9 : c - '0';
        return true;
    }
    return i < VERSION_CHARS && c == "HTTP/x.x"[i];
}

/* The bytes of method and target, which have bounds of their own. */
static enum head_progress
request_line_byte(struct head_scan *s, char c, struct refusal *ret)
{
    size_t i = s->at - s->since;
    if (s->state == IN_METHOD) {
        if (c == ' ' && i > 0)
            s->state = IN_TARGET, s->since = s->at + 1;
        else if (!is(c, IS_TOKEN) || i >= METHOD_CHARS_MAX)
            return bad(ret, 400, "the request line has no valid method");
    } else if (c == ' ' && i > 0) {
        s->state = IN_VERSION, s->since = s->at + 1;
    } else if (!is(c, IS_TARGET)) {
        return bad(ret, 400, "the request line has no valid target");
    } else if (i >= TARGET_BYTES_MAX) {
        return bad(ret, 414, "the request target is too long");
    }
    return HEAD_MORE;
}

static enum head_progress
scan_request_line(struct head_scan *s, const char *bytes, size_t n, struct refusal *ret)
{
    for (; s->at < n; s->at++) {
        char c = bytes[s->at];
        switch (s->state) {
        case AT_START:
            if (c == '\r' && s->blank_lines == 0) {
                s->state = AT_BLANK_LF; /* one empty line is ignored (RFC 9112, 2.2) */
                break;
            }
            s->state = IN_METHOD, s->since = s->at;
            /* fall through */
        case IN_METHOD:
        case IN_TARGET:
            if (request_line_byte(s, c, ret))
                return HEAD_BAD;
            break;
        case AT_BLANK_LF:
            if (c != '\n')
                return bad(ret, 400, "a carriage return stands alone");
            s->state = AT_START, s->blank_lines++;
            break;
        case IN_VERSION:
            if (c == '\r' && s->at - s->since == VERSION_CHARS)
                s->state = AT_LINE_LF;
            else if (!version_byte(s, c))
                return bad(ret, 400, "the request line has no valid version");
            break;
        case AT_LINE_LF:
            if (c != '\n')
                return bad(ret, 400, "a carriage return stands alone");
            if (s->minor == 9)
                return bad(ret, 505, "HTTP/1.0, HTTP/1.1 and HTTP/2 are spoken here");
            s->state = AT_NAME, s->headers_at = ++s->at;
            return HEAD_DONE;
        default:
            return bad(ret, 400, "the request line is malformed");
        }
    }
    return HEAD_MORE;
}

static enum head_progress
scan_fields(struct head_scan *s, const char *bytes, size_t n, struct refusal *ret)
{
    size_t i = s->at;
    size_t limit = s->headers_at + HEADER_BYTES_MAX;
    int state = s->state;
    for (; i < n; i++) {
        char c = bytes[i];
        if (i >= limit)
            return bad(ret, 431, "the header fields are too large");
        switch (state) {
        case AT_NAME:
            if (c == '\r') {
                state = AT_END_LF;
                break;
            }
            if (!is(c, IS_TOKEN))
                return bad(ret, 400,
                           c == ' ' || c == '\t' ? "a header field is folded"
                                                 : "a header field has no valid name");
            if (++s->n_headers > HEADERS_MAX)
                return bad(ret, 431, "there are too many header fields");
            state = IN_NAME;
            break;
        case IN_NAME:
            if (c == ':')
                state = IN_VALUE;
            else if (!is(c, IS_TOKEN))
                return bad(ret, 400, "a header field has no valid name");
            break;
        case IN_VALUE:
            while (i < n && i < limit && is(bytes[i], IS_VALUE))
                i++;
            if (i >= n || i >= limit)
                i--; /* the outer loop looks at the bounds again */
            else if (bytes[i] == '\r')
                state = AT_FIELD_LF;
            else
                return bad(ret, 400, "a header field has a control character");
            break;
        default: /* AT_FIELD_LF, AT_END_LF */
            if (c != '\n')
                return bad(ret, 400, "a carriage return stands alone");
            if (state == AT_END_LF) {
                s->at = i + 1;
                return HEAD_DONE;
            }
            state = AT_NAME;
        }
    }
    s->at = i, s->state = state;
    return HEAD_MORE;
}

/* Ends the text at the next c and gives what is behind it.  The scanner has seen that it is there.
 */
static char *
cut(char *at, char c)
{
    char *end = strchr(at, c);
    *end = '\0';
    return end + 1;
}

static char *
split_field(char *at, struct http_header *ret)
{
    ret->name = at;
    for (; *at != ':'; at++)
        if (*at >= 'A' && *at <= 'Z')
            *at = (char)(*at + ('a' - 'A'));
    *at++ = '\0';
    at += strspn(at, " \t");
    ret->value = at;
    char *next = strchr(at, '\r');
    char *end = next;
    while (end > at && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *end = '\0';
    return next + 2;
}

bool
head_split(char *text, size_t n, struct head *ret, struct refusal *ret_why)
{
    text[n] = '\0';
    char *at = text[0] == '\r' ? text + 2 : text;
    ret->method = at;
    char *target = at = cut(at, ' ');
    at = cut(at, ' ');
    ret->minor = at[VERSION_CHARS - 1] - '0';
    at = strchr(at, '\n') + 1;
    ret->n_headers = 0;
    while (*at != '\r')
        at = split_field(at, &ret->headers[ret->n_headers++]);
    ret->chunked = ret->has_length = ret->expects = false;
    ret->length = 0;
    ret->authority = NULL;
    return check_fields(ret, ret_why) && check_target(target, ret, ret_why);
}

static bool
no(struct refusal *ret, int status, const char *detail)
{
    *ret = (struct refusal){status, detail};
    return false;
}

bool
authority_valid(const char *s)
{
    if (*s == '\0')
        return false;
    while (is(*s, IS_HOST))
        s++;
    return *s == '\0';
}

static bool
check_length(struct head *h, const char *value, struct refusal *ret)
{
    if (h->has_length)
        return no(ret, 400, "there are two Content-Length fields");
    size_t n = strspn(value, "0123456789");
    if (n == 0 || value[n] != '\0')
        return no(ret, 400, "Content-Length is not a number");
    if (n > LENGTH_DIGITS_MAX)
        return no(ret, 413, "the body is too large");
    h->has_length = true;
    for (size_t i = 0; i < n; i++)
        h->length = h->length * 10 + (size_t)(value[i] - '0');
    return true;
}

static bool
check_fields(struct head *h, struct refusal *ret)
{
    for (size_t i = 0; i < h->n_headers; i++) {
        const char *name = h->headers[i].name, *value = h->headers[i].value;
        if (strcmp(name, "host") == 0) {
            if (h->authority)
                return no(ret, 400, "there are two Host fields");
            h->authority = value;
        } else if (strcmp(name, "content-length") == 0) {
            if (!check_length(h, value, ret))
                return false;
        } else if (strcmp(name, "transfer-encoding") == 0) {
            if (h->chunked || strcasecmp(value, "chunked") != 0)
                return no(ret, 400, "Transfer-Encoding is not exactly chunked");
            h->chunked = true;
        } else if (strcmp(name, "expect") == 0) {
            if (strcasecmp(value, "100-continue") != 0)
                return no(ret, 417, "only 100-continue can be expected");
            h->expects = h->minor >= 1;
        }
    }
    if (h->chunked && h->has_length)
        return no(ret, 400, "there are both Content-Length and Transfer-Encoding");
    if (h->chunked && h->minor == 0)
        return no(ret, 400, "HTTP/1.0 has no Transfer-Encoding");
    if (!h->authority && h->minor >= 1)
        return no(ret, 400, "there is no Host field");
    if (h->authority && !authority_valid(h->authority))
        return no(ret, 400, "Host is not an authority");
    if (!h->authority)
        h->authority = "";
    return true;
}

bool
target_split(char *target, const char **ret_path, const char **ret_query)
{
    if (target[0] != '/')
        return false;
    size_t n = 0;
    while (is(target[n], IS_TARGET) && target[n] != '?')
        n++;
    *ret_path = target;
    *ret_query = "";
    if (target[n] == '\0')
        return true;
    if (target[n] != '?')
        return false;
    target[n++] = '\0';
    *ret_query = target + n;
    while (is(target[n], IS_TARGET))
        n++;
    return target[n] == '\0';
}

/* An absolute form names the authority once more: it must be the one in Host. */
static bool
check_absolute(char *target, struct head *h, struct refusal *ret)
{
    bool http = strncasecmp(target, "http://", 7) == 0;
    if (!http && strncasecmp(target, "https://", 8) != 0)
        return no(ret, 400, "the request target is not a path");
    char *authority = target + (http ? 7 : 8);
    size_t n = strcspn(authority, "/?");
    size_t host_n = strlen(h->authority);
    if (n == 0 || n != host_n || strncasecmp(authority, h->authority, n) != 0)
        return no(ret, 400, "the request target names another host than Host");
    if (authority[n] == '/')
        return target_split(authority + n, &h->path, &h->query) ||
               no(ret, 400, "the request target is not a path");
    h->path = "/";
    h->query = authority[n] == '?' ? authority + n + 1 : "";
    return true;
}

static bool
check_target(char *target, struct head *h, struct refusal *ret)
{
    if (strcmp(h->method, "CONNECT") == 0)
        return no(ret, 400, "CONNECT is not served");
    if (target[0] == '/')
        return target_split(target, &h->path, &h->query) ||
               no(ret, 400, "the request target is not a path");
    return check_absolute(target, h, ret);
}
