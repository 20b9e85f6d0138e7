/*
 * NATS JetStream: the connections, and publishing.
 *
 * The library has threads of its own; what they bring goes to a mailbox, and the link takes it from
 * there.  It does not connect again by itself: the link does, so that it knows what is lost.
 */
#include "bus/nats.h"

#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/text.h"
#include "base/time.h"

enum { PENDING_MAX = 1 << 20, PINGS_OUT_MAX = 2, VALUE_CHARS_MAX = 4096 };

/* A subscription's closure: gone when the library is done with it. */
struct ear {
    struct mailbox *mailbox;
    uint32_t number;
};

static bool connect_link(struct link *l);
static natsStatus set_options(natsOptions *options, struct link *l);
static natsStatus set_tls(natsOptions *options, const struct broker_url *url);
static bool ready(struct link *l);
static bool serve(struct link *l);
static bool read_letters(struct link *l);
static void take_ack(struct link *l, natsMsg *message);
static bool publish_windows(struct link *l);
static bool publish(struct link *l, const struct event *e, uint64_t number);
static natsStatus set_header(struct nats *n, natsMsg *message, const struct attribute *attribute);
static void drop(struct link *l);

static struct mailbox *mailbox_new(int kick_fd);
static void mailbox_leave(struct mailbox *m, bool link);
static void on_message(natsConnection *connection, natsSubscription *subscription, natsMsg *message,
                       void *ear);
static void on_complete(void *ear);

const struct wire nats_wire = {.connect = connect_link, .serve = serve, .drop = drop};

static bool
connect_link(struct link *l)
{
    struct nats *n = calloc(1, sizeof *n);
    natsOptions *options = NULL;
    if (!n || natsOptions_Create(&options) != NATS_OK)
        abort();
    l->wire = n;
    n->arena = arena_new();
    n->scratch = arena_new();
    n->mailbox = mailbox_new(l->kick_fd);
    bool connected = nats_ok(l, set_options(options, l), "its options") &&
                     nats_ok(l, natsConnection_Connect(&n->connection, options), "connecting");
    natsOptions_Destroy(options);
    return connected && ready(l);
}

static natsStatus
set_options(natsOptions *options, struct link *l)
{
    const struct broker_url *url = &l->broker->url;
    struct nats *n = l->wire;
    const char *host =
        strchr(url->host, ':') ? arena_printf(n->scratch, "[%s]", url->host) : url->host;
    const char *address = arena_printf(n->scratch, "nats://%s:%d", host, url->port);
    const char *name = arena_printf(n->scratch, "%s %s", l->broker->client_name,
                                    l->publishes ? "publishes" : "consumes");
    natsStatus st = natsOptions_SetURL(options, address);
    if (st == NATS_OK)
        st = natsOptions_SetName(options, name);
    if (st == NATS_OK)
        st = natsOptions_SetTimeout(options, CONNECT_MOST_MS);
    if (st == NATS_OK)
        st = natsOptions_SetAllowReconnect(options, false);
    if (st == NATS_OK)
        st = natsOptions_SetPingInterval(options, HEARTBEAT_S * 1000);
    if (st == NATS_OK)
        st = natsOptions_SetMaxPingsOut(options, PINGS_OUT_MAX);
    if (st == NATS_OK)
        st = natsOptions_SetWriteDeadline(options, REPLY_MOST_MS);
    if (st == NATS_OK)
        st = natsOptions_SetMaxPendingMsgs(options, PENDING_MAX);
    if (st == NATS_OK && url->password)
        st = natsOptions_SetUserInfo(options, url->user, url->password);
    else if (st == NATS_OK && url->user)
        st = natsOptions_SetToken(options, url->user);
    return st == NATS_OK && url->tls ? set_tls(options, url) : st;
}

/* Certificates are checked, always: against the given authorities, or the machine's. */
static natsStatus
set_tls(natsOptions *options, const struct broker_url *url)
{
    natsStatus st = natsOptions_SetSecure(options, true);
    if (st == NATS_OK && url->cacertfile)
        st = natsOptions_LoadCATrustedCertificates(options, url->cacertfile);
    if (st == NATS_OK && url->certfile)
        st = natsOptions_LoadCertificatesChain(options, url->certfile, url->keyfile);
    return st == NATS_OK ? natsOptions_SetExpectedHostname(options, url->host) : st;
}

static bool
ready(struct link *l)
{
    struct nats *n = l->wire;
    jsOptions options;
    jsOptions_Init(&options);
    options.Wait = REPLY_MOST_MS;
    natsStatus st = natsConnection_JetStream(&n->js, n->connection, &options);
    if (!nats_ok(l, st, "JetStream"))
        return false;
    if (!l->publishes)
        return nats_declare_dead(l);
    natsInbox *inbox = NULL;
    if (!nats_ok(l, natsInbox_Create(&inbox), "an inbox"))
        return false;
    snprintf(n->acks, sizeof n->acks, "%s.", inbox);
    natsInbox_Destroy(inbox);
    uint32_t ear;
    return nats_hear(l, arena_printf(n->scratch, "%s*", n->acks), NULL, &n->ack_subscription, &ear);
}

bool
nats_ok(struct link *l, natsStatus status, const char *what)
{
    return status == NATS_OK || link_fail(l, "%s: %s", what, natsStatus_GetText(status));
}

bool
nats_hear(struct link *l, const char *subject, const char *group, natsSubscription **ret,
          uint32_t *ret_ear)
{
    struct nats *n = l->wire;
    struct ear *ear = malloc(sizeof *ear);
    if (!ear)
        abort();
    *ear = (struct ear){n->mailbox, n->ears++};
    uint32_t number = ear->number;
    spin_lock(&n->mailbox->lock);
    n->mailbox->holders++;
    spin_unlock(&n->mailbox->lock);
    natsStatus st =
        group ? natsConnection_QueueSubscribe(ret, n->connection, subject, group, on_message, ear)
              : natsConnection_Subscribe(ret, n->connection, subject, on_message, ear);
    if (st != NATS_OK) {
        on_complete(ear);
        return nats_ok(l, st, subject);
    }
    st = natsSubscription_SetOnCompleteCB(*ret, on_complete, ear);
    if (st == NATS_OK)
        st = natsConnection_FlushTimeout(n->connection, REPLY_MOST_MS);
    *ret_ear = number;
    return nats_ok(l, st, subject);
}

static bool
serve(struct link *l)
{
    struct nats *n = l->wire;
    if (natsConnection_IsClosed(n->connection))
        return link_fail(l, "the connection is lost");
    if (!read_letters(l))
        return false;
    if (l->publishes ? !publish_windows(l) : !nats_queues_turn(l))
        return false;
    broker_wake(l); /* before it sleeps */
    struct pollfd kick = {.fd = l->kick_fd, .events = POLLIN};
    if (poll(&kick, 1, TURN_MOST_MS) > 0)
        link_kicked(l);
    return true;
}

static bool
read_letters(struct link *l)
{
    struct nats *n = l->wire;
    spin_lock(&n->mailbox->lock);
    struct letter *letter = n->mailbox->first;
    n->mailbox->first = NULL;
    n->mailbox->end = &n->mailbox->first;
    spin_unlock(&n->mailbox->lock);
    bool well = true;
    while (letter) {
        struct letter *next = letter->next;
        if (l->publishes)
            take_ack(l, letter->message);
        else
            well = well && nats_queue_letter(l, letter);
        natsMsg_Destroy(letter->message);
        free(letter);
        letter = next;
    }
    return well;
}

/* {"stream":"souk","seq":7}, or {"error":…}, or a status without data where there is no stream. */
static void
take_ack(struct link *l, natsMsg *message)
{
    struct nats *n = l->wire;
    const char *subject = natsMsg_GetSubject(message);
    int64_t number;
    if (!text_starts(subject, n->acks) || !int_parse(subject + strlen(n->acks), &number))
        return;
    json_t *answer =
        json_loadb(natsMsg_GetData(message), (size_t)natsMsg_GetDataLength(message), 0, NULL);
    bool stored =
        json_is_integer(json_object_get(answer, "seq")) && !json_object_get(answer, "error");
    json_decref(answer);
    if (!stored)
        n->covered_n = 0; /* perhaps the stream does not have the subject any more */
    window_settle(l, (uint64_t)number, false, stored ? FATE_CONFIRMED : FATE_REFUSED);
}

static bool
publish_windows(struct link *l)
{
    struct window *w;
    bool well = true;
    while (well && (w = window_next(l))) {
        for (size_t i = 0; well && i < w->n; i++)
            well = nats_cover(l, w->parcels[i]->event.topic) &&
                   publish(l, &w->parcels[i]->event, w->first + i);
        window_sent(l, w);
        well = well && read_letters(l);
    }
    return well;
}

static bool
publish(struct link *l, const struct event *e, uint64_t number)
{
    struct nats *n = l->wire;
    arena_reset(n->scratch);
    struct attribute attributes[ATTRIBUTES_MAX];
    size_t attributes_n = event_attributes(n->scratch, e, attributes);
    natsMsg *message = NULL;
    const char *reply = arena_printf(n->scratch, "%s%llu", n->acks, (unsigned long long)number);
    natsStatus st =
        natsMsg_Create(&message, e->topic, reply, (const char *)e->data.data, (int)e->data.len);
    if (st == NATS_OK)
        st = natsMsgHeader_Set(message, "Nats-Msg-Id", e->id);
    if (st == NATS_OK)
        st = natsMsgHeader_Set(message, "content-type", EVENT_CONTENT_TYPE);
    for (size_t i = 0; st == NATS_OK && i < attributes_n; i++)
        st = set_header(n, message, &attributes[i]);
    if (st == NATS_OK)
        st = natsConnection_PublishMsg(n->connection, message);
    natsMsg_Destroy(message);
    return nats_ok(l, st, "publishing");
}

/* Percent-encoded as in CloudEvents' HTTP binding, 3.1.3.2. */
static natsStatus
set_header(struct nats *n, natsMsg *message, const struct attribute *attribute)
{
    struct text value = text_in(n->scratch);
    for (const unsigned char *at = (const unsigned char *)attribute->value; *at; at++)
        if (*at <= ' ' || *at == '"' || *at == '%' || *at > '~')
            text_printf(&value, "%%%02X", *at);
        else
            text_add_char(&value, (char)*at);
    const char *name = arena_printf(n->scratch, "ce-%s", attribute->name);
    return natsMsgHeader_Set(message, name, value.bytes);
}

static int
hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) % 16 : -1;
}

/* NULL for what is not well encoded. */
static const char *
decode(struct arena *a, const char *value)
{
    char *decoded = arena_strdup(a, value), *to = decoded;
    for (const char *at = decoded; *at; at++) {
        if (*at == '%') {
            int high = hex_digit(at[1]), low = high < 0 ? -1 : hex_digit(at[2]);
            if (low < 0 || (high == 0 && low == 0))
                return NULL;
            *to++ = (char)(high << 4 | low);
            at += 2;
        } else {
            *to++ = *at;
        }
    }
    *to = '\0';
    return decoded;
}

bool
nats_event_of(struct nats *n, natsMsg *message, struct event *ret)
{
    const char **names = NULL, *type = NULL;
    int names_n = 0;
    struct attribute attributes[ATTRIBUTES_MAX];
    size_t attributes_n = 0;
    if (natsMsgHeader_Get(message, "content-type", &type) != NATS_OK ||
        !text_equal(type, EVENT_CONTENT_TYPE) ||
        natsMsgHeader_Keys(message, &names, &names_n) != NATS_OK)
        return false;
    bool right = true;
    for (int i = 0; right && i < names_n; i++) {
        const char *value = NULL;
        if (!text_starts(names[i], "ce-"))
            continue;
        right = attributes_n < ATTRIBUTES_MAX &&
                natsMsgHeader_Get(message, names[i], &value) == NATS_OK &&
                strlen(value) <= VALUE_CHARS_MAX && (value = decode(n->scratch, value));
        if (right)
            attributes[attributes_n++] =
                (struct attribute){arena_strdup(n->scratch, names[i] + strlen("ce-")), value};
    }
    free(names);
    return right && event_from_attributes(attributes, attributes_n, natsMsg_GetData(message),
                                          (size_t)natsMsg_GetDataLength(message), ret);
}

static void
drop(struct link *l)
{
    struct nats *n = l->wire;
    if (!l->publishes)
        nats_queues_drop(l);
    if (l->broker->stopping && n->connection)
        natsConnection_FlushTimeout(n->connection, TURN_MOST_MS);
    natsSubscription_Destroy(n->ack_subscription);
    jsCtx_Destroy(n->js);
    natsConnection_Destroy(n->connection);
    mailbox_leave(n->mailbox, true);
    arena_free(n->scratch);
    arena_free(n->arena);
    free(n);
    l->wire = NULL;
}

/* ---- the mailbox ------------------------------------------------------------------------------
 */

static struct mailbox *
mailbox_new(int kick_fd)
{
    struct mailbox *m = calloc(1, sizeof *m);
    if (!m)
        abort();
    m->holders = 1;
    m->kick_fd = kick_fd;
    m->end = &m->first;
    return m;
}

/* The last to go frees it. */
static void
mailbox_leave(struct mailbox *m, bool link)
{
    spin_lock(&m->lock);
    if (link)
        m->kick_fd = -1;
    if (m->kick_fd >= 0)
        eventfd_write(m->kick_fd, 1); /* an ear has gone: the link looks whether all is well */
    bool last = --m->holders == 0;
    spin_unlock(&m->lock);
    if (!last)
        return;
    for (struct letter *letter = m->first, *next; letter; letter = next) {
        next = letter->next;
        natsMsg_Destroy(letter->message);
        free(letter);
    }
    free(m);
}

static void
on_message(natsConnection *connection, natsSubscription *subscription, natsMsg *message, void *arg)
{
    (void)connection;
    (void)subscription;
    const struct ear *ear = arg;
    struct mailbox *m = ear->mailbox;
    struct letter *letter = malloc(sizeof *letter);
    if (!letter)
        abort();
    *letter = (struct letter){.message = message, .ear = ear->number};
    spin_lock(&m->lock);
    bool first = !m->first;
    *m->end = letter;
    m->end = &letter->next;
    if (first && m->kick_fd >= 0)
        eventfd_write(m->kick_fd, 1);
    spin_unlock(&m->lock);
}

static void
on_complete(void *arg)
{
    struct ear *ear = arg;
    mailbox_leave(ear->mailbox, false);
    free(ear);
}
