/*
 * The head of an HTTP message as bytes: read strictly, written plainly.  Pure functions.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "net/net.h"

/* Why a request is refused: the status, and a detail for the problem document. */
struct refusal {
    int status;
    const char *detail;
};

/* ---- head.c: reading ------------------------------------------------------------------------- */

/* Where the scanner stands; zero at the start of a head. */
struct head_scan {
    int state;
    size_t at;    /* bytes seen */
    size_t since; /* where the current part began */
    size_t headers_at;
    int minor;
    int blank_lines, n_headers;
};

enum head_progress { HEAD_MORE, HEAD_DONE, HEAD_BAD };

/*
 * Looks at bytes[scan->at…n), where bytes is the head's first byte and nothing has moved.
 * HEAD_DONE: scan->at bytes are a whole, well-formed head.  HEAD_BAD as soon as a byte cannot be
 * right.
 */
enum head_progress head_scan(struct head_scan *scan, const char *bytes, size_t n,
                             struct refusal *ret);

/* What a head says. */
struct head {
    const char *method, *path, *query, *authority;
    struct http_header *headers; /* room for HEADERS_MAX */
    size_t n_headers;
    int minor;
    bool chunked, has_length, expects;
    size_t length;
};

/*
 * Splits a scanned head in place (text[n] must be writable) and checks what it means: targets,
 * Host, Content-Length, Transfer-Encoding, Expect.  False: refused.
 */
bool head_split(char *text, size_t n, struct head *ret, struct refusal *ret_why);

/* Cuts target, which is in origin form, at '?'.  False if it is not an origin form. */
bool target_split(char *target, const char **ret_path, const char **ret_query);
bool authority_valid(const char *s);

/* ---- answer.c: writing ----------------------------------------------------------------------- */

const char *reason_phrase(int status);
bool status_has_body(int status);
const char *date_line(size_t *ret_n); /* "date: …\r\n" for now */

enum { DATE_AT = 6, DATE_CHARS = 29 }; /* of the date itself in date_line */

/* How the end of an answer's body is known. */
enum body_end { END_BY_LENGTH, END_BY_CHUNKS, END_BY_CLOSE };

/* A head that answer_head will not outgrow. */
size_t answer_head_room(const struct http_response *out);
/* Writes an HTTP/1.1 head to at; gives its length. */
size_t answer_head(char *at, const struct http_response *out, enum body_end end, bool close);
/* A problem document (RFC 9457) for a refusal; gives its length. */
size_t problem_body(char *ret, size_t room, const struct refusal *why);
