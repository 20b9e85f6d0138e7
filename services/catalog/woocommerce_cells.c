#include "catalog/woocommerce_cells.h"

#include <stdbool.h>
#include <string.h>

/* Where apostrophes, if any, end before what a spreadsheet takes for a formula. */
static bool
looks_like_formula(const char *text)
{
    text += strspn(text, "'");
    return *text && strchr("=+-@\t\r", *text);
}

const char *
woo_unescape(struct arena *a, const char *cell)
{
    return cell[0] == '\'' && looks_like_formula(cell) ? arena_strdup(a, cell + 1) : cell;
}

const char *
woo_escape(struct arena *a, const char *text)
{
    return looks_like_formula(text) ? arena_printf(a, "'%s", text) : text;
}

const char *
woo_text_decode(struct arena *a, const char *cell)
{
    if (!strstr(cell, "\\n"))
        return cell;
    struct text t = text_in(a);
    text_add(&t, "");
    while (*cell) {
        if (text_starts(cell, "\\\\n")) {
            text_add(&t, "\\n");
            cell += 3;
        } else if (text_starts(cell, "\\n")) {
            text_add_char(&t, '\n');
            cell += 2;
        } else {
            text_add_char(&t, *cell++);
        }
    }
    return t.bytes;
}

const char *
woo_text_encode(struct arena *a, const char *text)
{
    if (!strstr(text, "\\n"))
        return text;
    struct text t = text_in(a);
    for (; *text; text++) {
        if (text_starts(text, "\\n"))
            text_add_char(&t, '\\');
        text_add_char(&t, *text);
    }
    return t.bytes;
}
