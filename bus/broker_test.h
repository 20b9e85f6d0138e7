/* What the suite of the brokers needs of each: how to reach one, and what only a client of its own
 * sees. */
#pragma once
#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <fcntl.h>
#include <nats/nats.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/env.h"
#include "base/time.h"
#include "bus/broker_inside.h"
#include "test/test.h"

/* A kind of broker. */
struct carrier {
    const char *variable; /* of the environment: the URL of one that tests share */
    const char *script;   /* starts one that a test has for itself */
    /* Publishes what is no event of ours. */
    void (*put_garbage)(const char *url, const char *topic);
    /* How many dead letters the queue of this name has, once it has some. */
    int (*dead_letters)(const char *url, const char *name);
};

/* ---- a broker of a test's own, driven by lines -------------------------------------------------
 */

struct private_broker {
    pid_t pid;
    FILE *in, *out;
    char url[300];
};

static bool
private_hears(struct private_broker *p, char *line, int n)
{
    if (!fgets(line, n, p->out))
        return false;
    line[strcspn(line, "\n")] = '\0';
    return true;
}

/* flag: "--tls", or NULL. */
static bool
private_start(struct private_broker *p, const char *script, const char *flag)
{
    int in[2], out[2];
    const char *root = getenv("SOUK_ROOT");
    char path[500];
    snprintf(path, sizeof path, "%s/%s", root ? root : ".", script);
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0 || (p->pid = fork()) < 0)
        abort();
    if (p->pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        execl("/usr/bin/python3", "python3", path, flag, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    p->in = fdopen(in[1], "w");
    p->out = fdopen(out[0], "r");
    return private_hears(p, p->url, sizeof p->url);
}

static bool
private_do(struct private_broker *p, const char *line)
{
    char said[200];
    fprintf(p->in, "%s\n", line);
    fflush(p->in);
    return private_hears(p, said, sizeof said);
}

/* It ends with its input. */
static void
private_end(struct private_broker *p)
{
    fclose(p->in);
    waitpid(p->pid, NULL, 0);
    fclose(p->out);
}

/* ---- RabbitMQ ---------------------------------------------------------------------------------
 */

static amqp_connection_state_t
amqp_client(const char *url)
{
    struct arena *a = arena_new();
    struct broker_url parsed;
    const char *why;
    check(broker_url_parse(a, url, &parsed, &why));
    amqp_connection_state_t state = amqp_new_connection();
    check_int(amqp_socket_open(amqp_tcp_socket_new(state), parsed.host, parsed.port), 0);
    amqp_login(state, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, parsed.user, parsed.password);
    amqp_channel_open(state, 1);
    check_int(amqp_get_rpc_reply(state).reply_type, AMQP_RESPONSE_NORMAL);
    arena_free(a);
    return state;
}

static void
amqp_end(amqp_connection_state_t state)
{
    amqp_connection_close(state, AMQP_REPLY_SUCCESS);
    amqp_destroy_connection(state);
}

static void
rabbitmq_put_garbage(const char *url, const char *topic)
{
    amqp_connection_state_t state = amqp_client(url);
    amqp_basic_publish(state, 1, amqp_cstring_bytes("souk"), amqp_cstring_bytes(topic), 0, 0, NULL,
                       amqp_cstring_bytes("garbage"));
    amqp_end(state);
}

static int
rabbitmq_dead_letters(const char *url, const char *name)
{
    char dead[200];
    snprintf(dead, sizeof dead, "%s.dead", name);
    amqp_connection_state_t state = amqp_client(url);
    int n = 0;
    for (int64_t until = env.mono_us() + 60 * SECOND_US; n == 0 && env.mono_us() < until;) {
        const amqp_queue_declare_ok_t *declared =
            amqp_queue_declare(state, 1, amqp_cstring_bytes(dead), 1, 1, 0, 0, amqp_empty_table);
        check(declared);
        n = declared ? (int)declared->message_count : -1;
        fiber_sleep_us(20000);
    }
    amqp_end(state);
    return n;
}

static const struct carrier rabbitmq_carrier = {
    .variable = "SOUK_TEST_RABBITMQ",
    .script = "test/rabbitmq_server.py",
    .put_garbage = rabbitmq_put_garbage,
    .dead_letters = rabbitmq_dead_letters,
};

/* ---- NATS -------------------------------------------------------------------------------------
 */

static void
nats_put_garbage(const char *url, const char *topic)
{
    natsConnection *connection = NULL;
    check_int(natsConnection_ConnectTo(&connection, url), NATS_OK);
    check_int(natsConnection_PublishString(connection, topic, "garbage"), NATS_OK);
    check_int(natsConnection_Flush(connection), NATS_OK);
    natsConnection_Destroy(connection);
}

static int
nats_dead_letters(const char *url, const char *name)
{
    natsConnection *connection = NULL;
    jsCtx *js = NULL;
    char subject[200];
    snprintf(subject, sizeof subject, "souk.dead.%s", name);
    check_int(natsConnection_ConnectTo(&connection, url), NATS_OK);
    check_int(natsConnection_JetStream(&js, connection, NULL), NATS_OK);
    natsSubscription *subscription = NULL;
    check_int(js_SubscribeSync(&subscription, js, subject, NULL, NULL, NULL), NATS_OK);
    int n = 0;
    natsMsg *message;
    while (natsSubscription_NextMsg(&message, subscription, n ? 500 : 60000) == NATS_OK) {
        natsMsg_Destroy(message);
        n++;
    }
    natsSubscription_Destroy(subscription);
    jsCtx_Destroy(js);
    natsConnection_Destroy(connection);
    return n;
}

static const struct carrier nats_carrier = {
    .variable = "SOUK_TEST_NATS",
    .script = "test/nats_server.py",
    .put_garbage = nats_put_garbage,
    .dead_letters = nats_dead_letters,
};
