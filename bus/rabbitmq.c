/*
 * RabbitMQ by AMQP 0-9-1: the connections, and publishing.
 *
 * The library is blocking and belongs to one thread, the link's.  A turn reads what has come
 * without waiting, writes what is to be written, and then waits in poll for the socket or a kick.
 * Writing blocks while the broker takes nothing; who waits for a confirmation has a deadline of his
 * own.
 */
#include "bus/rabbitmq.h"

#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/time.h"

enum { FRAME_BYTES_MAX = 131072, PUBLISHING = 1 };

static bool connect_link(struct link *l);
static amqp_socket_t *new_socket(struct link *l, struct rabbitmq *r);
static bool log_in(struct link *l);
static bool ready_to_publish(struct link *l);
static bool ready_to_consume(struct link *l);
static bool serve(struct link *l);
static bool read_frames(struct link *l);
static bool take_frame(struct link *l, const amqp_frame_t *frame);
static bool publish_windows(struct link *l);
static int publish(struct link *l, const struct event *e);
static void wait_for_more(struct link *l);
static void drop(struct link *l);

const struct wire rabbitmq_wire = {.connect = connect_link, .serve = serve, .drop = drop};

static const struct timeval at_once = {0};

static bool
connect_link(struct link *l)
{
    const struct broker_url *url = &l->broker->url;
    struct rabbitmq *r = calloc(1, sizeof *r);
    if (!r || !(r->state = amqp_new_connection()))
        abort();
    l->wire = r;
    r->scratch = arena_new();
    amqp_socket_t *socket = new_socket(l, r);
    if (!socket)
        return false;
    const struct timeval connect_most = {.tv_sec = CONNECT_MOST_MS / 1000};
    const struct timeval reply_most = {.tv_sec = REPLY_MOST_MS / 1000};
    amqp_set_handshake_timeout(r->state, &reply_most);
    amqp_set_rpc_timeout(r->state, &reply_most);
    int status = amqp_socket_open_noblock(socket, url->host, url->port, &connect_most);
    if (!rabbitmq_ok(l, status, "connecting"))
        return false;
    link_set_socket(l, amqp_get_sockfd(r->state));
    return log_in(l) && (l->publishes ? ready_to_publish(l) : ready_to_consume(l));
}

/* Certificates are checked, always: against the given authorities, or the machine's. */
static amqp_socket_t *
new_socket(struct link *l, struct rabbitmq *r)
{
    const struct broker_url *url = &l->broker->url;
    amqp_socket_t *socket =
        url->tls ? amqp_ssl_socket_new(r->state) : amqp_tcp_socket_new(r->state);
    if (!socket)
        abort();
    if (!url->tls)
        return socket;
    amqp_ssl_socket_set_verify_peer(socket, 1);
    amqp_ssl_socket_set_verify_hostname(socket, 1);
    amqp_ssl_socket_set_ssl_versions(socket, AMQP_TLSv1_2, AMQP_TLSvLATEST);
    if (url->cacertfile) {
        int status = amqp_ssl_socket_set_cacert(socket, url->cacertfile);
        if (!rabbitmq_ok(l, status, "reading cacertfile"))
            return NULL;
    } else {
        SSL_CTX_set_default_verify_paths(amqp_ssl_socket_get_context(socket));
    }
    if (url->certfile) {
        int status = amqp_ssl_socket_set_key(socket, url->certfile, url->keyfile);
        if (!rabbitmq_ok(l, status, "reading certfile and keyfile"))
            return NULL;
    }
    return socket;
}

static bool
log_in(struct link *l)
{
    const struct broker_url *url = &l->broker->url;
    struct rabbitmq *r = l->wire;
    const char *user = url->user ? url->user : "guest";
    const char *password = url->password ? url->password : "guest";
    const char *vhost = text_empty(url->path) ? "/" : url->path;
    const char *name = arena_printf(r->scratch, "%s %s", l->broker->client_name,
                                    l->publishes ? "publishes" : "consumes");
    amqp_table_entry_t abilities[] = {
        {amqp_cstring_bytes("connection.blocked"), {AMQP_FIELD_KIND_BOOLEAN, {.boolean = 1}}},
        {amqp_cstring_bytes("consumer_cancel_notify"), {AMQP_FIELD_KIND_BOOLEAN, {.boolean = 1}}},
        {amqp_cstring_bytes("basic.nack"), {AMQP_FIELD_KIND_BOOLEAN, {.boolean = 1}}},
        {amqp_cstring_bytes("publisher_confirms"), {AMQP_FIELD_KIND_BOOLEAN, {.boolean = 1}}},
    };
    amqp_table_entry_t properties[] = {
        {amqp_cstring_bytes("connection_name"),
         {AMQP_FIELD_KIND_UTF8, {.bytes = amqp_cstring_bytes(name)}}},
        {amqp_cstring_bytes("capabilities"),
         {AMQP_FIELD_KIND_TABLE, {.table = {sizeof abilities / sizeof abilities[0], abilities}}}},
    };
    amqp_table_t table = {sizeof properties / sizeof properties[0], properties};
    amqp_rpc_reply_t reply =
        amqp_login_with_properties(r->state, vhost, RABBITMQ_CHANNELS_MAX, FRAME_BYTES_MAX,
                                   HEARTBEAT_S, &table, AMQP_SASL_METHOD_PLAIN, user, password);
    if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION)
        return rabbitmq_ok(l, reply.library_error, "logging in");
    return reply.reply_type == AMQP_RESPONSE_NORMAL || rabbitmq_said_ok(l, "logging in") ||
           link_fail(l, "logging in: refused");
}

static bool
ready_to_publish(struct link *l)
{
    struct rabbitmq *r = l->wire;
    if (!rabbitmq_open_channel(l, PUBLISHING) ||
        !rabbitmq_declare_exchange(l, PUBLISHING, RABBITMQ_EXCHANGE, "topic"))
        return false;
    amqp_confirm_select(r->state, PUBLISHING);
    return rabbitmq_said_ok(l, "asking for confirms");
}

/* On the first channel, which has no other use. */
static bool
ready_to_consume(struct link *l)
{
    struct rabbitmq *r = l->wire;
    r->channels = 1;
    return rabbitmq_open_channel(l, 1) &&
           rabbitmq_declare_exchange(l, 1, RABBITMQ_EXCHANGE, "topic") &&
           rabbitmq_declare_exchange(l, 1, RABBITMQ_DEAD_EXCHANGE, "direct");
}

bool
rabbitmq_open_channel(struct link *l, amqp_channel_t channel)
{
    struct rabbitmq *r = l->wire;
    amqp_channel_open(r->state, channel);
    return rabbitmq_said_ok(l, "opening a channel");
}

bool
rabbitmq_declare_exchange(struct link *l, amqp_channel_t channel, const char *name,
                          const char *type)
{
    struct rabbitmq *r = l->wire;
    amqp_exchange_declare(r->state, channel, amqp_cstring_bytes(name), amqp_cstring_bytes(type), 0,
                          1, 0, 0, amqp_empty_table);
    return rabbitmq_said_ok(l, name);
}

bool
rabbitmq_ok(struct link *l, int status, const char *what)
{
    return status >= AMQP_STATUS_OK || link_fail(l, "%s: %s", what, amqp_error_string2(status));
}

bool
rabbitmq_said_ok(struct link *l, const char *what)
{
    struct rabbitmq *r = l->wire;
    amqp_rpc_reply_t reply = amqp_get_rpc_reply(r->state);
    if (reply.reply_type == AMQP_RESPONSE_NORMAL)
        return true;
    if (reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION)
        return rabbitmq_ok(l, reply.library_error, what);
    amqp_bytes_t text = amqp_empty_bytes;
    if (reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD)
        text = ((const amqp_channel_close_t *)reply.reply.decoded)->reply_text;
    else if (reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD)
        text = ((const amqp_connection_close_t *)reply.reply.decoded)->reply_text;
    return link_fail(l, "%s: %.*s", what, (int)text.len, (const char *)text.bytes);
}

static bool
serve(struct link *l)
{
    struct rabbitmq *r = l->wire;
    if (!read_frames(l))
        return false;
    if (l->publishes ? !publish_windows(l) : !rabbitmq_queues_turn(l))
        return false;
    bool more = amqp_frames_enqueued(r->state) || amqp_data_in_buffer(r->state);
    broker_wake(l); /* before it sleeps */
    if (!more)
        wait_for_more(l);
    return true;
}

/* Also sends our heartbeats, and finds theirs missing. */
static bool
read_frames(struct link *l)
{
    struct rabbitmq *r = l->wire;
    for (;;) {
        amqp_frame_t frame;
        amqp_maybe_release_buffers(r->state);
        int status = amqp_simple_wait_frame_noblock(r->state, &frame, &at_once);
        if (status == AMQP_STATUS_TIMEOUT)
            return true;
        if (!rabbitmq_ok(l, status, "reading") || !take_frame(l, &frame))
            return false;
    }
}

static bool
take_frame(struct link *l, const amqp_frame_t *frame)
{
    struct rabbitmq *r = l->wire;
    if (frame->frame_type != AMQP_FRAME_METHOD)
        return true; /* of a channel that was closed meanwhile */
    const void *decoded = frame->payload.method.decoded;
    switch (frame->payload.method.id) {
    case AMQP_BASIC_ACK_METHOD: {
        const amqp_basic_ack_t *ack = decoded;
        window_settle(l, ack->delivery_tag, ack->multiple, FATE_CONFIRMED);
        return true;
    }
    case AMQP_BASIC_NACK_METHOD: {
        const amqp_basic_nack_t *nack = decoded;
        window_settle(l, nack->delivery_tag, nack->multiple, FATE_REFUSED);
        return true;
    }
    case AMQP_BASIC_DELIVER_METHOD:
        return rabbitmq_delivered(l, frame->channel, decoded);
    case AMQP_CONNECTION_BLOCKED_METHOD:
        return r->blocked = true;
    case AMQP_CONNECTION_UNBLOCKED_METHOD:
        r->blocked = false;
        return true;
    case AMQP_BASIC_CANCEL_METHOD:
        return link_fail(l, "the broker has taken a queue away");
    case AMQP_CHANNEL_CLOSE_METHOD: {
        const amqp_bytes_t *text = &((const amqp_channel_close_t *)decoded)->reply_text;
        return link_fail(l, "a channel was closed: %.*s", (int)text->len,
                         (const char *)text->bytes);
    }
    case AMQP_CONNECTION_CLOSE_METHOD: {
        const amqp_bytes_t *text = &((const amqp_connection_close_t *)decoded)->reply_text;
        return link_fail(l, "closed: %.*s", (int)text->len, (const char *)text->bytes);
    }
    }
    return true;
}

static bool
publish_windows(struct link *l)
{
    struct rabbitmq *r = l->wire;
    struct window *w;
    while (!r->blocked && (w = window_next(l))) {
        int status = AMQP_STATUS_OK;
        for (size_t i = 0; i < w->n && status == AMQP_STATUS_OK; i++)
            status = publish(l, &w->parcels[i]->event);
        window_sent(l, w);
        if (!rabbitmq_ok(l, status, "publishing") || !read_frames(l))
            return false;
    }
    return true;
}

static int
publish(struct link *l, const struct event *e)
{
    struct rabbitmq *r = l->wire;
    arena_reset(r->scratch);
    struct attribute attributes[ATTRIBUTES_MAX];
    amqp_table_entry_t headers[ATTRIBUTES_MAX];
    size_t n = event_attributes(r->scratch, e, attributes);
    for (size_t i = 0; i < n; i++) {
        const char *name = arena_printf(r->scratch, RABBITMQ_PREFIX "%s", attributes[i].name);
        headers[i] = (amqp_table_entry_t){
            amqp_cstring_bytes(name),
            {AMQP_FIELD_KIND_UTF8, {.bytes = amqp_cstring_bytes(attributes[i].value)}}};
    }
    amqp_basic_properties_t properties = {
        ._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_HEADERS_FLAG |
                  AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG |
                  AMQP_BASIC_TIMESTAMP_FLAG | AMQP_BASIC_TYPE_FLAG | AMQP_BASIC_APP_ID_FLAG,
        .content_type = amqp_cstring_bytes(EVENT_CONTENT_TYPE),
        .headers = {(int)n, headers},
        .delivery_mode = AMQP_DELIVERY_PERSISTENT,
        .message_id = amqp_cstring_bytes(e->id),
        .timestamp = (uint64_t)(e->time_us / SECOND_US),
        .type = amqp_cstring_bytes(e->topic),
        .app_id = amqp_cstring_bytes("souk"),
    };
    amqp_bytes_t body = {e->data.len, e->data.data};
    return amqp_basic_publish(r->state, PUBLISHING, amqp_cstring_bytes(RABBITMQ_EXCHANGE),
                              amqp_cstring_bytes(e->topic), 0, 0, &properties, body);
}

static void
wait_for_more(struct link *l)
{
    struct rabbitmq *r = l->wire;
    struct pollfd fds[] = {{.fd = amqp_get_sockfd(r->state), .events = POLLIN},
                           {.fd = l->kick_fd, .events = POLLIN}};
    poll(fds, 2, TURN_MOST_MS);
    if (fds[1].revents)
        link_kicked(l);
}

/* A farewell is said only where there is nothing to wait for: a lost connection is just closed. */
static void
drop(struct link *l)
{
    struct rabbitmq *r = l->wire;
    if (l->broker->stopping)
        amqp_connection_close(r->state, AMQP_REPLY_SUCCESS);
    amqp_destroy_connection(r->state);
    arena_free(r->scratch);
    free(r);
    l->wire = NULL;
}
