#include <assert.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/env.h"
#include "base/time.h"
#include "bus/broker_inside.h"
#include "fiber/wait.h"

/* How long it waits before it connects again: doubling, and each time something between a half and
 * the whole of it, so that those who lost a broker together do not come back together. */
static const int64_t delay_first_us = 100 * MILLISECOND_US, delay_most_us = 5 * SECOND_US;
/* A connection that held this long was a good one: the next delay is the first again. */
static const int64_t steady_us = 5 * SECOND_US;
/* At the end a link has this long to say farewell. */
static const int64_t farewell_us = 3 * SECOND_US;

static void *run(void *link);
static void connection(struct link *l);
static int64_t between_half_and_whole(int64_t us);
static void pause_link(struct link *l, int64_t us);

bool
link_start(struct link *l, struct broker *b, bool publishes)
{
    *l = (struct link){.broker = b, .publishes = publishes, .socket = -1};
    snprintf(l->error, sizeof l->error, "it has not connected yet");
    l->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->kick_fd < 0)
        return false;
    if (thread_start_detached(publishes ? "broker-out" : "broker-in", run, l))
        return true;
    close(l->kick_fd);
    return false;
}

/* broker.stopping is set. */
void
link_stop(struct link *l)
{
    struct broker *b = l->broker;
    int64_t until = env.mono_us() + farewell_us;
    link_kick(l);
    spin_lock(&b->lock);
    b->stopper = fiber_self();
    while (!l->ended) {
        spin_unlock(&b->lock);
        bool woken = fiber_park_until(until);
        spin_lock(&b->lock);
        if (woken || l->ended)
            continue;
        until = INT64_MAX; /* it hangs: what it waits for ends */
        if (l->socket >= 0)
            shutdown(l->socket, SHUT_RDWR);
    }
    b->stopper = NULL;
    spin_unlock(&b->lock);
    close(l->kick_fd);
}

void
link_kick(struct link *l)
{
    const uint64_t one = 1;
    ssize_t n = write(l->kick_fd, &one, sizeof one);
    (void)n; /* full means kicked */
}

void
link_kicked(struct link *l)
{
    uint64_t kicks;
    ssize_t n = read(l->kick_fd, &kicks, sizeof kicks);
    (void)n;
}

bool
link_fail(struct link *l, const char *fmt, ...)
{
    char error[ERROR_CHARS_MAX];
    va_list args;
    va_start(args, fmt);
    vsnprintf(error, sizeof error, fmt, args);
    va_end(args);
    spin_lock(&l->broker->lock);
    snprintf(l->error, sizeof l->error, "%s", error);
    spin_unlock(&l->broker->lock);
    return false;
}

void
link_set_socket(struct link *l, int socket)
{
    spin_lock(&l->broker->lock);
    l->socket = socket;
    spin_unlock(&l->broker->lock);
}

static void *
run(void *link)
{
    struct link *l = link;
    struct broker *b = l->broker;
    int64_t delay = delay_first_us;
    while (!b->stopping) {
        int64_t began = env.mono_us();
        connection(l);
        if (env.mono_us() - began >= steady_us)
            delay = delay_first_us;
        pause_link(l, between_half_and_whole(delay));
        delay = delay * 2 < delay_most_us ? delay * 2 : delay_most_us;
    }
    spin_lock(&b->lock);
    l->ended = true;
    if (b->stopper)
        fiber_wake(b->stopper);
    spin_unlock(&b->lock);
    return NULL;
}

/* One connection, from its beginning to its end. */
static void
connection(struct link *l)
{
    const struct wire *wire = l->broker->url.wire;
    if (wire->connect(l)) {
        broker_begin(l);
        while (!l->broker->stopping && wire->serve(l))
            broker_wake(l);
        broker_end(l);
    }
    link_set_socket(l, -1);
    wire->drop(l);
}

static int64_t
between_half_and_whole(int64_t us)
{
    uint32_t random;
    env.random(&random, sizeof random);
    return us / 2 + (us / 2 * (random & 0xffff) >> 16);
}

/* Kicks do not shorten it, the end does. */
static void
pause_link(struct link *l, int64_t us)
{
    int64_t until = env.mono_us() + us;
    for (int64_t left = us; left > 0 && !l->broker->stopping; left = until - env.mono_us()) {
        struct pollfd kick = {.fd = l->kick_fd, .events = POLLIN};
        poll(&kick, 1, (int)(left / MILLISECOND_US) + 1);
        link_kicked(l);
    }
}
