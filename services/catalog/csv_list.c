#include "catalog/csv_list.h"

#include "catalog/product_file.h"

size_t
csv_list_split(struct arena *a, const char *cell, bool keep_empty, const char ***ret)
{
    size_t most = 1, n = 0;
    for (const char *p = cell; *p; p++)
        most += *p == ',';
    const char **items = arena_alloc(a, most * sizeof *items);
    const char *p = cell;
    while (*p) {
        struct text item = text_in(a);
        text_add(&item, "");
        for (; *p && *p != ','; p++) {
            if (text_starts(p, "\\,"))
                p++;
            text_add_char(&item, *p);
        }
        const char *plain = file_plain(a, item.bytes);
        if (plain[0] || keep_empty)
            items[n++] = plain;
        p += *p == ',';
    }
    *ret = items;
    return n;
}

/* A backslash before the comma would make it one of the item's: a space parts the two, and goes
 * with the others around an item. */
void
csv_list_add(struct text *list, size_t count, const char *item)
{
    if (count)
        text_add(list, list->n && list->bytes[list->n - 1] == '\\' ? " , " : ", ");
    for (; *item; item++) {
        if (*item == ',')
            text_add_char(list, '\\');
        text_add_char(list, *item);
    }
}
