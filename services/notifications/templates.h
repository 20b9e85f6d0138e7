/*
 * Templates with holes:
 *
 *     {{name}}              the value; in HTML escaped, in text with control characters as blanks
 *     {{{name}}}            the value as it is
 *     {{#name}}…{{/name}}   what is between, if the value is not empty; for "lines" once for each
 * of them
 *
 * A tag that stands alone in its line takes the line with it.  Pure functions.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/text.h"

enum { TEMPLATE_VALUES_MAX = 24 };

struct template_value {
    const char *name, *value;
};

struct template_data {
    struct template_value values[TEMPLATE_VALUES_MAX];
    size_t n;
    const struct template_data *lines; /* what {{#lines}} repeats: their values, then these */
    size_t n_lines;
};

void template_set(struct template_data *data, const char *name, const char *value);

/* Adds the filled template; false, with *why in out's arena, for a template that is not well formed
 * or names what data does not have. */
bool template_fill(struct text *out, const char *template, bool html,
                   const struct template_data *data, const char **why);

/* The templates that come with Souk, by their files' names; NULL-terminated. */
struct embedded_file {
    const char *name, *text;
};
extern const struct embedded_file notifications_templates[];
