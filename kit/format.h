/* The patterns and formats that fields declare, checked on whole strings. */
#pragma once
#include <stdbool.h>

/* A POSIX extended expression against all of s.  pattern must be a literal: it is compiled once and
 * kept by its address.  Any thread. */
bool pattern_matches(const char *pattern, const char *s);

/* "email", "currency", "url" or "phone"; anything else is our mistake. */
bool format_matches(const char *format, const char *s);
const char *format_noun(const char *format); /* "e-mail address" */
