/* A mail as bytes: RFC 5322 with MIME, in ASCII lines of at most 78 characters.  Pure functions. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"

struct mime_mail {
    const char *from_name; /* or "" */
    const char *from, *to; /* addresses that mime_address accepts */
    const char *subject;
    const char *id; /* "ntf_…@shop.example": Message-ID without its brackets */
    int64_t date_us;
    const char *text, *html; /* UTF-8, lines end with \n */
};

/*
 * The mail with its header, text and HTML as alternatives in quoted-printable (RFC 2045), each line
 * ended by CRLF.  Nothing in a field can end a header line: control characters become blanks, and
 * what is not plain goes into encoded words (RFC 2047).
 */
const char *mime_write(struct arena *a, const struct mime_mail *mail, size_t *ret_n);

/* May a mail be sent to it?  One '@' between printable ASCII without blanks, quotes, commas and
 * brackets; at most 254 characters. */
bool mime_address(const char *s);

/* "Souk <souk@example.org>" or "souk@example.org" into its parts; false if there is no address. */
bool mime_from(struct arena *a, const char *s, const char **ret_name, const char **ret_address);
