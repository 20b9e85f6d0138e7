/*
 * Waiting for a descriptor: each scheduler's thread sleeps in an epoll of its own while any of its
 * fibers waits for one, so that an answer wakes the thread that is to read it, and no other.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/env.h"
#include "fiber/inside.h"
#include "fiber/wait.h"

enum { EVENTS_MAX = 64 };

/* On the stack of who waits. */
struct fd_wait {
    struct fiber *fiber;
    bool over;
};

static bool poll_alone(int fd, bool for_write, int64_t until_mono_us);
static bool watch(struct poller *p, int fd, bool for_write, struct fd_wait *w);
static void open_poller(struct poller *p);
static int wait_for_events(struct poller *p, struct epoll_event *events, int64_t for_us);

bool
fiber_wait_fd(int fd, bool for_write, int64_t until_mono_us)
{
    if (!fiber_is_fiber() || env.single_thread)
        return poll_alone(fd, for_write, until_mono_us);
    struct poller *p = sched_poller(sched_self());
    if (!p->open)
        open_poller(p);
    struct fd_wait w = {.fiber = fiber_self()};
    if (!watch(p, fd, for_write, &w))
        return true; /* whatever is wrong with fd, its next use will say */
    p->n++;
    bool came = fiber_wait_inside_until(until_mono_us);
    p->n--;
    if (came)
        return true;
    if (w.over) {
        fiber_wait_inside(); /* it came between the end of our time and our turn */
        return true;
    }
    epoll_ctl(p->epoll, EPOLL_CTL_DEL, fd, NULL);
    return false;
}

void
poller_look(struct poller *p, int64_t for_us)
{
    struct epoll_event events[EVENTS_MAX];
    int n = wait_for_events(p, events, for_us);
    for (int i = 0; i < n; i++) {
        struct fd_wait *w = events[i].data.ptr;
        if (!w)
            continue; /* the bell: an edge, and nothing to read */
        w->over = true;
        fiber_wake_inside(w->fiber);
    }
}

void
poller_ring(struct poller *p)
{
    static const uint64_t one = 1;
    if (write(p->bell, &one, sizeof one) < 0)
        abort();
}

/* On a plain thread, and without threads: time goes on while we wait, whatever env's clock says. */
static bool
poll_alone(int fd, bool for_write, int64_t until_mono_us)
{
    struct pollfd p = {.fd = fd, .events = (short)(POLLIN | (for_write ? POLLOUT : 0))};
    int64_t left_us = until_mono_us == FOREVER ? FOREVER : until_mono_us - env.mono_us();
    struct timespec t = {.tv_sec = left_us / 1000000, .tv_nsec = left_us % 1000000 * 1000};
    if (left_us < 0)
        t = (struct timespec){0};
    int n;
    do
        n = ppoll(&p, 1, until_mono_us == FOREVER ? NULL : &t, NULL);
    while (n < 0 && errno == EINTR);
    return n != 0;
}

/* A descriptor stays known to epoll, quiet, until it is closed or a wait for it has timed out. */
static bool
watch(struct poller *p, int fd, bool for_write, struct fd_wait *w)
{
    struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP | EPOLLONESHOT |
                                      (for_write ? (uint32_t)EPOLLOUT : 0),
                            .data.ptr = w};
    return epoll_ctl(p->epoll, EPOLL_CTL_MOD, fd, &e) == 0 ||
           (errno == ENOENT && epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &e) == 0);
}

static void
open_poller(struct poller *p)
{
    struct epoll_event e = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    p->epoll = epoll_create1(EPOLL_CLOEXEC);
    p->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->epoll < 0 || p->bell < 0 || epoll_ctl(p->epoll, EPOLL_CTL_ADD, p->bell, &e))
        abort();
    p->open = true;
}

/* To the microsecond where the kernel can (5.11) and a container lets us, else to the next
 * millisecond. */
static int
wait_for_events(struct poller *p, struct epoll_event *events, int64_t for_us)
{
    struct timespec t = {.tv_sec = for_us / 1000000, .tv_nsec = for_us % 1000000 * 1000};
    int n = epoll_pwait2(p->epoll, events, EVENTS_MAX, for_us == FOREVER ? NULL : &t, NULL);
    if (n >= 0 || errno == EINTR)
        return n;
    int64_t for_ms = for_us / 1000 + (for_us % 1000 > 0);
    return epoll_wait(p->epoll, events, EVENTS_MAX,
                      for_us == FOREVER  ? -1
                      : for_ms < INT_MAX ? (int)for_ms
                                         : INT_MAX);
}
