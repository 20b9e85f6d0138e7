/*
 * Sending: a batch at a time, each mail tried until it is taken, refused, or a week has passed.
 *
 * A row stays queued until its outcome is recorded, so that a crash loses no mail; one that was cut
 * off is sent again and is the same mail, by its Message-ID.
 */
#include "notifications/sending.h"

#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/env.h"
#include "fiber/fiber.h"
#include "kit/trace.h"
#include "net/smtp.h"
#include "notifications/compose.h"
#include "notifications/mime.h"

enum {
    BATCH_MAX = 32,
    TRIES_MAX = 170, /* about a week, since one waits an hour at most */
    DOWN_DOUBLINGS_MAX = 6,
    KEY_BYTES = 32,
};

static const int64_t retry_first_us = SECOND_US, retry_most_us = HOUR_US;

/* When the server is asked again after it took no mail. */
struct sending_state {
    struct spin lock;
    int64_t ask_us;
    int failures;
};

/* A due mail and what becomes of it. */
struct parcel {
    MailRow *row;
    struct composed composed;
    struct smtp_mail mail;
    const char *failure; /* why it can never be sent, or NULL */
    struct span *span;
    const char *traceparent; /* the span's */
};

static enum status forget(struct request *rq);
static enum status read_due(struct request *rq, MailRow ***ret, size_t *ret_n);
static void pack(struct request *rq, struct parcel *p);
static void begin_spans(struct request *rq, struct parcel *parcels, size_t n);
static void end_spans(struct request *rq, struct parcel *parcels, size_t n);
static enum status deliver(struct request *rq, struct parcel *parcels, size_t n);
static void offer(struct request *rq, struct parcel *parcels, size_t n);
static void keep_all(void *arg);
static bool keep(const char *dir, const struct parcel *p);
static enum status record(struct request *rq, const struct parcel *parcels, size_t n);
static void record_one(struct request *rq, struct tx *tx, const struct parcel *p);
static void tell_sent(struct request *rq, struct tx *tx, const struct parcel *p,
                      const char *status);
static void give_up(struct request *rq, struct tx *tx, const struct parcel *p, const char *reason,
                    const char *detail);
static enum status learn(struct request *rq, const struct parcel *parcels, size_t n);
static bool must_have_tls(struct request *rq);
static const char *digest(struct request *rq, struct tx *tx, const char *address);

static struct sending_state *
state_of(struct request *rq)
{
    return service_state(rq, sizeof(struct sending_state));
}

enum status
send_due(struct request *rq)
{
    struct sending_state *state = state_of(rq);
    spin_lock(&state->lock);
    bool wait = rq->now_us < state->ask_us;
    spin_unlock(&state->lock);
    enum status st = forget(rq);
    if (st || wait)
        return st;
    MailRow **due;
    size_t n;
    st = read_due(rq, &due, &n);
    if (st || n == 0)
        return st;
    struct parcel *parcels = arena_alloc(rq->arena, n * sizeof *parcels);
    for (size_t i = 0; i < n; i++) {
        struct trace_visit visit = trace_enter(rq, due[i]->traceparent);
        parcels[i].row = due[i];
        pack(rq, &parcels[i]);
        trace_leave(rq, visit);
    }
    st = request_settle(rq);
    if (st == OK) {
        begin_spans(rq, parcels, n);
        st = deliver(rq, parcels, n);
        end_spans(rq, parcels, n);
    }
    if (st == OK)
        st = record(rq, parcels, n);
    return st ? st : learn(rq, parcels, n);
}

enum status
sending_start(struct request *rq)
{
    const char *name, *address, *url = setting(rq->node, "smtp_url");
    if (!mime_from(rq->arena, setting(rq->node, "mail_from"), &name, &address))
        return fail(rq, &NOTIFICATIONS_BAD_SETTING,
                    "setting mail_from is neither \"Name <address>\" nor an address");
    if (*url && !text_starts(url, "smtp://") && !text_starts(url, "smtps://"))
        return fail(rq, &NOTIFICATIONS_BAD_SETTING,
                    "setting smtp_url is no smtp:// or smtps:// URL");
    if (strchr(url, '@'))
        return fail(rq, &NOTIFICATIONS_BAD_SETTING,
                    "setting smtp_url names a user: that is smtp_user and smtp_password");
    uint8_t bytes[KEY_BYTES];
    env.random(bytes, sizeof bytes);
    struct tx *tx = tx_begin(rq);
    add_key(tx, .bytes = (ProtobufCBinaryData){sizeof bytes, bytes});
    return fail_store(rq, tx_commit(tx));
}

/* Removes the files of mails that were erased. */
static enum status
forget(struct request *rq)
{
    MailRow **rows;
    size_t n;
    struct tx *tx = tx_begin_read(rq);
    enum status st = list_erasing(tx, &rows, &n, .rows = BATCH_MAX);
    tx_end(tx);
    if (st || n == 0)
        return fail_store(rq, st);
    for (size_t i = 0; i < n; i++)
        unlink(arena_printf(rq->arena, "%s/mail/%s.eml", node_data_dir(rq->node), rows[i]->id));
    tx = tx_begin(rq);
    for (size_t i = 0; i < n; i++)
        mark_erased(tx, .id = rows[i]->id);
    return fail_store(rq, tx_commit(tx));
}

static enum status
read_due(struct request *rq, MailRow ***ret, size_t *ret_n)
{
    struct tx *tx = tx_begin_read(rq);
    enum status st = list_due(tx, ret, ret_n, .now_us = rq->now_us, .rows = BATCH_MAX);
    tx_end(tx);
    return fail_store(rq, st);
}

/* Makes the mail; where that cannot be done now, its outcome is SMTP_LATER already. */
static void
pack(struct request *rq, struct parcel *p)
{
    const MailRow *row = p->row;
    p->mail.outcome = SMTP_UNTRIED;
    if (!mime_address(row->recipient)) {
        p->failure = "bad_address";
        return;
    }
    enum status st = compose(rq, row, &p->composed);
    if (st) {
        if (st == NOT_FOUND || st == FAILED_PRECONDITION)
            p->failure = "link_gone";
        p->mail.outcome = SMTP_LATER;
        p->mail.why = arena_strdup(rq->arena, rq->message ? rq->message : status_name(st));
        fail_clear(rq);
        return;
    }
    const struct mime_mail mime = {
        .from_name = p->composed.from_name,
        .from = p->composed.from,
        .to = row->recipient,
        .subject = p->composed.subject,
        .id = row->message_id,
        .date_us = row->created_at_us,
        .text = p->composed.text,
        .html = p->composed.html,
    };
    p->mail.from = p->composed.from;
    p->mail.to = row->recipient;
    p->mail.bytes = mime_write(rq->arena, &mime, &p->mail.n);
}

/* Each in the trace of what its mail tells of. */
static void
begin_spans(struct request *rq, struct parcel *parcels, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct parcel *p = &parcels[i];
        struct trace_visit visit = trace_enter(rq, p->row->traceparent);
        if (p->mail.n)
            p->span = span_begin(rq, SPAN_CLIENT, "send mail");
        span_text(p->span, "souk.template", p->row->template_);
        p->traceparent = trace_kept(rq);
        trace_leave(rq, visit);
    }
}

static void
end_spans(struct request *rq, struct parcel *parcels, size_t n)
{
    static const enum status meaning[] = {
        [SMTP_UNTRIED] = CANCELLED, [SMTP_SENT] = OK,          [SMTP_REFUSED] = FAILED_PRECONDITION,
        [SMTP_LATER] = UNAVAILABLE, [SMTP_DOWN] = UNAVAILABLE,
    };
    for (size_t i = 0; i < n; i++)
        span_end(parcels[i].span, rq, meaning[parcels[i].mail.outcome]);
}

struct keeping {
    const char *dir;
    struct parcel *parcels;
    size_t n;
};

static enum status
deliver(struct request *rq, struct parcel *parcels, size_t n)
{
    if (*setting(rq->node, "smtp_url")) {
        offer(rq, parcels, n);
        return OK;
    }
    struct keeping keeping = {arena_printf(rq->arena, "%s/mail", node_data_dir(rq->node)), parcels,
                              n};
    fiber_offload(keep_all, &keeping);
    return OK;
}

static void
offer(struct request *rq, struct parcel *parcels, size_t n)
{
    struct smtp_mail *mails = arena_alloc(rq->arena, n * sizeof *mails);
    size_t n_mails = 0;
    for (size_t i = 0; i < n; i++)
        if (parcels[i].mail.n)
            mails[n_mails++] = parcels[i].mail;
    const struct smtp_server server = {
        .url = setting(rq->node, "smtp_url"),
        .user = setting(rq->node, "smtp_user"),
        .password = setting(rq->node, "smtp_password"),
        .authorities = setting(rq->node, "smtp_authorities"),
        .tls = must_have_tls(rq),
    };
    if (n_mails)
        smtp_send(rq->arena, &server, mails, n_mails);
    n_mails = 0;
    for (size_t i = 0; i < n; i++)
        if (parcels[i].mail.n)
            parcels[i].mail = mails[n_mails++];
}

/* A password is not sent in the clear, save to this machine. */
static bool
must_have_tls(struct request *rq)
{
    if (strcmp(setting(rq->node, "smtp_tls"), "on") == 0)
        return true;
    const char *host = strstr(setting(rq->node, "smtp_url"), "://") + 3;
    static const char *const here[] = {"127.0.0.1", "localhost", "[::1]"};
    bool local = false;
    for (size_t i = 0; i < sizeof here / sizeof here[0]; i++)
        local |= text_starts(host, here[i]) && strchr(":/", host[strlen(here[i])]);
    return *setting(rq->node, "smtp_user") && !local;
}

static void
keep_all(void *arg)
{
    const struct keeping *keeping = arg;
    mkdir(keeping->dir, 0700);
    for (size_t i = 0; i < keeping->n; i++) {
        struct parcel *p = &keeping->parcels[i];
        if (!p->mail.n)
            continue;
        p->mail.outcome = keep(keeping->dir, p) ? SMTP_SENT : SMTP_LATER;
        p->mail.why = "its file cannot be written";
    }
}

/* Written anew where a crash left a piece of it. */
static bool
keep(const char *dir, const struct parcel *p)
{
    char path[4096];
    int n = snprintf(path, sizeof path, "%s/%s.eml", dir, p->row->id);
    if (n < 0 || (size_t)n >= sizeof path)
        return false;
    int fd = env.file_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    size_t written = 0;
    ssize_t got = 0;
    while (written < p->mail.n &&
           (got = env.file_write(fd, p->mail.bytes + written, p->mail.n - written)) > 0)
        written += (size_t)got;
    bool ok = written == p->mail.n && env.file_sync(fd) == 0;
    return env.file_close(fd) == 0 && ok;
}

static enum status
record(struct request *rq, const struct parcel *parcels, size_t n)
{
    struct tx *tx = tx_begin(rq);
    for (size_t i = 0; i < n; i++) {
        struct trace_visit visit = trace_enter(rq, parcels[i].traceparent);
        record_one(rq, tx, &parcels[i]);
        trace_leave(rq, visit);
    }
    return fail_store(rq, tx_commit(tx));
}

static void
record_one(struct request *rq, struct tx *tx, const struct parcel *p)
{
    if (p->failure) {
        give_up(rq, tx, p, p->failure, p->failure);
        return;
    }
    switch (p->mail.outcome) {
    case SMTP_UNTRIED:
    case SMTP_DOWN:
        return;
    case SMTP_SENT:
        tell_sent(rq, tx, p, *setting(rq->node, "smtp_url") ? "sent" : "kept");
        return;
    case SMTP_REFUSED:
        give_up(rq, tx, p, "refused", p->mail.why);
        return;
    case SMTP_LATER:
        break;
    }
    if (p->row->attempts + 1 >= TRIES_MAX) {
        give_up(rq, tx, p, "expired", p->mail.why);
        return;
    }
    int64_t wait_us = retry_first_us << (p->row->attempts < 12 ? p->row->attempts : 12);
    mark_later(tx, .id = p->row->id, .reason = p->mail.why,
               .due_us = rq->now_us + (wait_us < retry_most_us ? wait_us : retry_most_us));
    metric_add("souk_mails_total", "outcome=\"later\"", 1);
}

static void
tell_sent(struct request *rq, struct tx *tx, const struct parcel *p, const char *status)
{
    const MailRow *row = p->row;
    if (mark_sent(tx, .id = row->id, .status = status, .content = p->composed.content,
                  .now_us = rq->now_us) == 0)
        return; /* erased meanwhile */
    publish_notification_sent(rq, tx, .notification_id = row->id, .order_id = row->order_id,
                              .channel = "email", .template_ = row->template_,
                              .recipient_hash = digest(rq, tx, row->recipient),
                              .kept = text_equal(status, "kept"));
    metric_add("souk_mails_total", "outcome=\"sent\"", 1);
}

static void
give_up(struct request *rq, struct tx *tx, const struct parcel *p, const char *reason,
        const char *detail)
{
    const MailRow *row = p->row;
    const char *content = p->composed.content ? p->composed.content : "";
    if (mark_failed(tx, .id = row->id, .content = content, .reason = detail) == 0)
        return;
    publish_notification_failed(rq, tx, .notification_id = row->id, .order_id = row->order_id,
                                .channel = "email", .template_ = row->template_,
                                .recipient_hash = digest(rq, tx, row->recipient), .reason = reason);
    metric_add("souk_mails_total", "outcome=\"failed\"", 1);
}

/* Keyed, so that nobody who reads events can try addresses. */
static const char *
digest(struct request *rq, struct tx *tx, const char *address)
{
    KeyRow *key;
    if (find_key(tx, &key))
        return "";
    uint8_t hash[KEY_BYTES];
    const char *lower = text_lower(rq->arena, address);
    crypto_generichash(hash, sizeof hash, (const uint8_t *)lower, strlen(lower), key->bytes.data,
                       key->bytes.len);
    return hex_encode(rq->arena, hash, sizeof hash);
}

/* A server that takes no mail is left alone for a while: a second, two, four, … a minute. */
static enum status
learn(struct request *rq, const struct parcel *parcels, size_t n)
{
    const char *down = NULL;
    for (size_t i = 0; i < n; i++)
        if (parcels[i].mail.outcome == SMTP_DOWN)
            down = parcels[i].mail.why;
    struct sending_state *state = state_of(rq);
    spin_lock(&state->lock);
    if (!down) {
        state->failures = 0;
    } else {
        int64_t wait_us = SECOND_US << state->failures;
        state->ask_us = rq->now_us + (wait_us < MINUTE_US ? wait_us : MINUTE_US);
        if (state->failures < DOWN_DOUBLINGS_MAX)
            state->failures++;
    }
    spin_unlock(&state->lock);
    return down ? fail_status(rq, UNAVAILABLE, "the mail server takes no mail: %s", down) : OK;
}
