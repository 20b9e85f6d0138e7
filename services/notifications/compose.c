#include "notifications/compose.h"

#include <fcntl.h>

#include "auth.api.h"
#include "base/env.h"
#include "base/money.h"
#include "kit/node.h"
#include "notifications/mime.h"
#include "notifications/templates.h"
#include "users.api.h"

enum { TEMPLATE_BYTES_MAX = 64 << 10 };

static const char hidden[] = "…";

/* A link, and whether it is a secret. */
struct link {
    const char *url;
    bool secret;
};

static enum status make_link(struct request *rq, const MailRow *row, const MailFacts *facts,
                             struct link *ret);
static const MailFacts *facts_of(struct request *rq, const MailRow *row);
static enum status token_link(struct request *rq, const char *path, const char *token,
                              struct link *ret);
static enum status order_link(struct request *rq, const MailRow *row, struct link *ret);
static struct template_data *data_of(struct request *rq, const MailRow *row, const char *shop,
                                     const char *link);
static const char *public_url(struct request *rq);
static const char *fill(struct request *rq, const char *name, struct template_data *data);
static const char *with_layout(struct request *rq, const char *layout, struct template_data *data,
                               const char *subject, const char *content);
static const char *own_template(struct request *rq, const char *name);
static const char *built_in(const char *name);
static const char *split_subject(struct request *rq, const char *text, const char **ret_rest);

enum status
compose(struct request *rq, const MailRow *row, struct composed *ret)
{
    if (!mime_from(rq->arena, setting(rq->node, "mail_from"), &ret->from_name, &ret->from))
        return fail(rq, &NOTIFICATIONS_BAD_SETTING, "setting mail_from has no address");
    struct link link;
    enum status st = make_link(rq, row, facts_of(rq, row), &link);
    if (st)
        return st;
    const char *shop = text_empty(ret->from_name) ? ret->from : ret->from_name;
    struct template_data *data = data_of(rq, row, shop, link.url);
    const char *rest, *text = fill(rq, arena_printf(rq->arena, "%s.txt", row->template_), data),
                      *html = fill(rq, arena_printf(rq->arena, "%s.html", row->template_), data);
    ret->subject = split_subject(rq, text, &rest);
    ret->text = with_layout(rq, "layout.txt", data, ret->subject, rest);
    ret->html = with_layout(rq, "layout.html", data, ret->subject, html);
    ret->content = ret->text;
    return link.secret ? compose_content(rq, row, &ret->content) : OK;
}

enum status
compose_content(struct request *rq, const MailRow *row, const char **ret)
{
    const char *name, *address, *rest;
    if (!mime_from(rq->arena, setting(rq->node, "mail_from"), &name, &address))
        name = address = "";
    struct template_data *data = data_of(rq, row, text_empty(name) ? address : name, hidden);
    const char *text = fill(rq, arena_printf(rq->arena, "%s.txt", row->template_), data);
    const char *subject = split_subject(rq, text, &rest);
    *ret = with_layout(rq, "layout.txt", data, subject, rest);
    return OK;
}

/* What stands behind {{link}}: the thing that the mail is about. */
static enum status
make_link(struct request *rq, const MailRow *row, const MailFacts *facts, struct link *ret)
{
    if (!text_empty(row->order_id))
        return order_link(rq, row, ret);
    if (text_equal(row->template_, "invitation")) {
        InvitationLink *link;
        enum status st = call_users_get_invitation_link(rq, &link, .invitation_id = facts->link_id);
        return st ? st : token_link(rq, "invitations", link->token, ret);
    }
    if (text_equal(row->template_, "password_reset")) {
        ResetLink *link;
        enum status st = call_auth_get_reset_link(rq, &link, .reset_id = facts->link_id);
        return st ? st : token_link(rq, "password-resets", link->token, ret);
    }
    bool cart = text_equal(row->template_, "cart_abandoned");
    *ret =
        (struct link){arena_printf(rq->arena, "%s%s", public_url(rq), cart ? "/cart" : ""), false};
    return OK;
}

/* Behind '#', a secret is in no server's log. */
static enum status
token_link(struct request *rq, const char *path, const char *token, struct link *ret)
{
    *ret = (struct link){arena_printf(rq->arena, "%s/%s#%s", public_url(rq), path, token), true};
    return OK;
}

/* A guest sees his order by its token. */
static enum status
order_link(struct request *rq, const MailRow *row, struct link *ret)
{
    const char *url = arena_printf(rq->arena, "%s/orders/%s", public_url(rq), row->order_id);
    *ret = (struct link){url, false};
    if (!text_empty(row->user_id))
        return OK;
    IssueGuestTokenResponse *issued;
    enum status st = call_auth_issue_guest_token(rq, &issued, .order_id = row->order_id);
    if (st)
        return st;
    *ret = (struct link){arena_printf(rq->arena, "%s#access_token=%s", url, issued->token), true};
    return OK;
}

static const char *
public_url(struct request *rq)
{
    const char *url = setting(rq->node, "public_url");
    size_t n = strlen(url);
    while (n && url[n - 1] == '/')
        n--;
    return arena_strndup(rq->arena, url, n);
}

static const MailFacts *
facts_of(struct request *rq, const MailRow *row)
{
    const MailFacts *facts = (const MailFacts *)message_unpack(rq->arena, DESCRIPTOR_OF_MailFacts,
                                                               row->facts.data, row->facts.len);
    return facts ? facts : new_mail_facts(rq->arena);
}

static const char *
joined(struct request *rq, const char *const *parts, size_t n)
{
    struct text t = text_in(rq->arena);
    text_add(&t, "");
    for (size_t i = 0; i < n; i++)
        if (!text_empty(parts[i]))
            text_printf(&t, "%s%s", t.n ? ", " : "", parts[i]);
    return t.bytes ? t.bytes : "";
}

static const char *
address_line(struct request *rq, const Address *to)
{
    if (!to)
        return "";
    const char *city = arena_printf(rq->arena, "%s %s", to->postal_code, to->city);
    const char *const parts[] = {to->name, to->line1, to->line2, city, to->region, to->country};
    return joined(rq, parts, sizeof parts / sizeof parts[0]);
}

/* 2026-11-22 12:00 UTC */
static const char *
minute(struct request *rq, int64_t time_us)
{
    const char *full = time_format(rq->arena, time_us);
    return arena_printf(rq->arena, "%.10s %.5s UTC", full, full + 11);
}

static struct template_data *
lines_of(struct request *rq, const MailFacts *facts)
{
    struct template_data *lines = arena_alloc(rq->arena, facts->n_lines * sizeof *lines);
    for (size_t i = 0; i < facts->n_lines; i++) {
        const PricedLine *line = facts->lines[i];
        const Money *total = line->total;
        template_set(&lines[i], "title", line->title);
        template_set(&lines[i], "quantity",
                     arena_printf(rq->arena, "%lld", (long long)line->quantity));
        template_set(&lines[i], "line_total",
                     total ? money_format(rq->arena, total->amount, total->currency) : "");
        template_set(&lines[i], "currency", total ? total->currency : "");
    }
    return lines;
}

static struct template_data *
data_of(struct request *rq, const MailRow *row, const char *shop, const char *link)
{
    const MailFacts *facts = facts_of(rq, row);
    const Money *total = facts->total;
    struct template_data *data = arena_alloc(rq->arena, sizeof *data);
    data->lines = lines_of(rq, facts);
    data->n_lines = facts->n_lines;
    template_set(data, "shop", shop);
    template_set(data, "url", public_url(rq));
    template_set(data, "link", link);
    template_set(data, "time", minute(rq, row->created_at_us));
    template_set(data, "name", facts->name);
    template_set(data, "email", row->recipient);
    template_set(data, "order_id", row->order_id);
    template_set(data, "total",
                 total ? money_format(rq->arena, total->amount, total->currency) : "");
    template_set(data, "currency", total ? total->currency : "");
    template_set(data, "ship_to", address_line(rq, facts->shipping_address));
    template_set(data, "carrier", facts->carrier);
    template_set(data, "tracking", facts->tracking);
    template_set(data, "reason", facts->reason);
    template_set(data, "role", facts->role);
    template_set(data, "paid", facts->paid ? "yes" : "");
    template_set(data, "fields", joined(rq, facts->fields, facts->n_fields));
    return data;
}

static const char *
with_layout(struct request *rq, const char *layout, struct template_data *data, const char *subject,
            const char *content)
{
    struct template_data *whole = arena_copy(rq->arena, data, sizeof *data);
    template_set(whole, "subject", subject);
    template_set(whole, "content", content);
    return fill(rq, layout, whole);
}

/* The shop's own template if there is one that can be filled, else the one that comes with Souk. */
static const char *
fill(struct request *rq, const char *name, struct template_data *data)
{
    bool html = strstr(name, ".html") != NULL;
    const char *own = own_template(rq, name), *why = "";
    struct text t = text_in(rq->arena);
    text_add(&t, "");
    if (own && template_fill(&t, own, html, data, &why))
        return t.bytes;
    if (own) {
        note(rq, "bad_template", arena_printf(rq->arena, "%s: %s", name, why));
        metric_add("souk_mail_bad_templates_total", "", 1);
    }
    t = text_in(rq->arena);
    text_add(&t, "");
    if (!template_fill(&t, built_in(name), html, data, &why))
        fail_status(rq, INTERNAL, "template %s: %s", name, why);
    return t.bytes;
}

/* DIR/templates/name, or NULL. */
static const char *
own_template(struct request *rq, const char *name)
{
    const char *path = arena_printf(rq->arena, "%s/templates/%s", node_data_dir(rq->node), name);
    int fd = env.file_open(path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return NULL;
    char *bytes = arena_alloc(rq->arena, TEMPLATE_BYTES_MAX + 1);
    size_t n = 0;
    ssize_t got;
    while (n < TEMPLATE_BYTES_MAX &&
           (got = env.file_read(fd, bytes + n, TEMPLATE_BYTES_MAX - n)) > 0)
        n += (size_t)got;
    env.file_close(fd);
    return n && utf8_valid(bytes, n) ? bytes : NULL;
}

static const char *
built_in(const char *name)
{
    for (size_t i = 0; notifications_templates[i].name; i++)
        if (strcmp(notifications_templates[i].name, name) == 0)
            return notifications_templates[i].text;
    return "";
}

/* The line "Subject: …", and what stands behind it and an empty line. */
static const char *
split_subject(struct request *rq, const char *text, const char **ret_rest)
{
    if (!text_starts(text, "Subject: ")) {
        *ret_rest = text;
        return "";
    }
    const char *begin = text + strlen("Subject: ");
    size_t n = strcspn(begin, "\n");
    *ret_rest = begin + n + strspn(begin + n, "\n");
    return arena_strndup(rq->arena, begin, n);
}
