#include "notifications/templates.h"

#include <assert.h>
#include <string.h>

enum { DEPTH_MAX = 4, NAME_CHARS_MAX = 40 };

/* "{{#lines}}": where it stands, with the line that it takes. */
struct tag {
    char kind; /* '#', '/', '{' (as it is), or 0 */
    char name[NAME_CHARS_MAX + 1];
    const char *begin, *end;
};

struct filling {
    struct text *out;
    const char *template;
    bool html;
    const char *why;
    int depth;
};

static bool fill(struct filling *f, const char *from, const char *to,
                 const struct template_data *data, const struct template_data *outer);
static bool fill_section(struct filling *f, const struct tag *open, const struct tag *close,
                         const struct template_data *data, const struct template_data *outer);
static bool next_tag(struct filling *f, const char *from, const char *to, struct tag *ret);
static bool find_close(struct filling *f, const struct tag *open, const char *to, struct tag *ret);
static void take_line(const struct filling *f, struct tag *tag);
static const char *value_of(const struct template_data *data, const struct template_data *outer,
                            const char *name);
static void add_value(const struct filling *f, const char *value, bool as_it_is);

void
template_set(struct template_data *data, const char *name, const char *value)
{
    assert(data->n < TEMPLATE_VALUES_MAX);
    data->values[data->n++] = (struct template_value){name, value ? value : ""};
}

bool
template_fill(struct text *out, const char *template, bool html, const struct template_data *data,
              const char **why)
{
    struct filling f = {.out = out, .template = template, .html = html};
    if (fill(&f, template, template + strlen(template), data, NULL))
        return true;
    *why = f.why;
    return false;
}

static bool
fill(struct filling *f, const char *from, const char *to, const struct template_data *data,
     const struct template_data *outer)
{
    struct tag tag, close;
    while (next_tag(f, from, to, &tag)) {
        text_add_n(f->out, from, (size_t)(tag.begin - from));
        from = tag.end;
        if (tag.kind == '/') {
            f->why = arena_printf(f->out->arena, "{{/%s}} closes nothing", tag.name);
            return false;
        }
        const char *value = value_of(data, outer, tag.name);
        if (!value && strcmp(tag.name, "lines") != 0) {
            f->why = arena_printf(f->out->arena, "there is no {{%s}}", tag.name);
            return false;
        }
        if (tag.kind != '#') {
            add_value(f, value, tag.kind == '{');
            continue;
        }
        if (!find_close(f, &tag, to, &close) || !fill_section(f, &tag, &close, data, outer))
            return false;
        from = close.end;
    }
    if (f->why)
        return false;
    text_add_n(f->out, from, (size_t)(to - from));
    return true;
}

static bool
fill_section(struct filling *f, const struct tag *open, const struct tag *close,
             const struct template_data *data, const struct template_data *outer)
{
    if (++f->depth > DEPTH_MAX) {
        f->why = arena_printf(f->out->arena, "{{#%s}} stands too deep", open->name);
        return false;
    }
    bool ok = true;
    if (strcmp(open->name, "lines") == 0) {
        for (size_t i = 0; i < data->n_lines && ok; i++)
            ok = fill(f, open->end, close->begin, &data->lines[i], data);
    } else if (*value_of(data, outer, open->name)) {
        ok = fill(f, open->end, close->begin, data, outer);
    }
    f->depth--;
    return ok;
}

/* The next tag within from and to; false if there is none, with f->why set if there is a bad one.
 */
static bool
next_tag(struct filling *f, const char *from, const char *to, struct tag *ret)
{
    const char *begin = memmem(from, (size_t)(to - from), "{{", 2);
    if (!begin)
        return false;
    const char *name = begin + 2;
    char kind = *name == '#' || *name == '/' || *name == '{' ? *name++ : 0;
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz_");
    const char *closing = kind == '{' ? "}}}" : "}}";
    if (n == 0 || n > NAME_CHARS_MAX || strncmp(name + n, closing, strlen(closing)) != 0) {
        f->why = arena_printf(f->out->arena, "\"%.30s\" is no tag", begin);
        return false;
    }
    *ret = (struct tag){.kind = kind, .begin = begin, .end = name + n + strlen(closing)};
    memcpy(ret->name, name, n);
    if (kind == '#' || kind == '/')
        take_line(f, ret);
    return true;
}

static bool
find_close(struct filling *f, const struct tag *open, const char *to, struct tag *ret)
{
    int inner = 0;
    for (const char *from = open->end; next_tag(f, from, to, ret); from = ret->end) {
        if (strcmp(ret->name, open->name) != 0 || (ret->kind != '#' && ret->kind != '/'))
            continue;
        if (ret->kind == '/' && inner == 0)
            return true;
        inner += ret->kind == '#' ? 1 : -1;
    }
    if (!f->why)
        f->why = arena_printf(f->out->arena, "{{#%s}} is not closed", open->name);
    return false;
}

static void
take_line(const struct filling *f, struct tag *tag)
{
    bool begins = tag->begin == f->template || tag->begin[-1] == '\n';
    if (begins && *tag->end == '\n')
        tag->end++;
}

static const char *
value_of(const struct template_data *data, const struct template_data *outer, const char *name)
{
    for (size_t i = 0; i < data->n; i++)
        if (strcmp(data->values[i].name, name) == 0)
            return data->values[i].value;
    return outer ? value_of(outer, NULL, name) : NULL;
}

static void
add_value(const struct filling *f, const char *value, bool as_it_is)
{
    if (as_it_is) {
        text_add(f->out, value);
        return;
    }
    for (const char *p = value; *p; p++) {
        unsigned char c = (unsigned char)*p;
        const char *name = !f->html    ? NULL
                           : c == '&'  ? "&amp;"
                           : c == '<'  ? "&lt;"
                           : c == '>'  ? "&gt;"
                           : c == '"'  ? "&quot;"
                           : c == '\'' ? "&#39;"
                                       : NULL;
        if (name)
            text_add(f->out, name);
        else
            text_add_char(f->out, c < ' ' || c == 0x7f ? ' ' : *p);
    }
}
