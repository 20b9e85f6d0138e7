/*
 * Waiting for a descriptor: one thread sleeps in epoll for all fibers and wakes them.
 *
 * Who waits stands in a table by descriptor, with the number of that wait.  The poller is told
 * both, so that an event which comes late wakes nobody else.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/env.h"
#include "fiber/inside.h"
#include "fiber/wait.h"

enum { EVENTS_MAX = 64, FDS_MIN = 64 };

struct fd_wait {
    struct fiber *fiber; /* NULL: nobody waits */
    uint32_t number;     /* of the newest wait */
};

static struct spin lock;
static struct fd_wait *waits; /* by descriptor */
static int n_waits;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int poller = -1;

static bool poll_alone(int fd, bool for_write, int64_t until_mono_us);
static uint32_t begin_wait(int fd, struct fiber *f);
static bool end_wait(int fd, uint32_t number);
static bool watch(int fd, bool for_write, uint32_t number);
static void start_poller(void);
static void *poller_main(void *unused);

bool
fiber_wait_fd(int fd, bool for_write, int64_t until_mono_us)
{
    if (!fiber_is_fiber() || env.single_thread)
        return poll_alone(fd, for_write, until_mono_us);
    pthread_once(&once, start_poller);
    uint32_t number = begin_wait(fd, fiber_self());
    if (!watch(fd, for_write, number)) {
        end_wait(fd, number);
        return true; /* whatever is wrong with fd, its next use will say */
    }
    if (fiber_wait_inside_until(until_mono_us))
        return true;
    if (end_wait(fd, number)) {
        epoll_ctl(poller, EPOLL_CTL_DEL, fd, NULL);
        return false;
    }
    fiber_wait_inside(); /* the poller was about to wake us */
    return true;
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

static uint32_t
begin_wait(int fd, struct fiber *f)
{
    spin_lock(&lock);
    if (fd >= n_waits) {
        int room = n_waits ? n_waits : FDS_MIN;
        while (room <= fd)
            room *= 2;
        waits = realloc(waits, (size_t)room * sizeof *waits);
        if (!waits)
            abort();
        memset(waits + n_waits, 0, (size_t)(room - n_waits) * sizeof *waits);
        n_waits = room;
    }
    assert(!waits[fd].fiber);
    waits[fd].fiber = f;
    uint32_t number = ++waits[fd].number;
    spin_unlock(&lock);
    return number;
}

/* False if the poller has ended it, and wakes who waited. */
static bool
end_wait(int fd, uint32_t number)
{
    spin_lock(&lock);
    bool ours = waits[fd].number == number && waits[fd].fiber;
    if (ours)
        waits[fd].fiber = NULL;
    spin_unlock(&lock);
    return ours;
}

/* A descriptor stays known to epoll, quiet, until it is closed or a wait for it has timed out. */
static bool
watch(int fd, bool for_write, uint32_t number)
{
    struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP | EPOLLONESHOT |
                                      (for_write ? (uint32_t)EPOLLOUT : 0),
                            .data.u64 = (uint64_t)number << 32 | (uint32_t)fd};
    return epoll_ctl(poller, EPOLL_CTL_MOD, fd, &e) == 0 ||
           (errno == ENOENT && epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e) == 0);
}

static void
start_poller(void)
{
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0 || !thread_start_detached("poller", poller_main, NULL))
        abort();
}

static void *
poller_main(void *unused)
{
    (void)unused;
    struct epoll_event events[EVENTS_MAX];
    for (;;) {
        int n = epoll_wait(poller, events, EVENTS_MAX, -1);
        for (int i = 0; i < n; i++) {
            int fd = (int)(events[i].data.u64 & 0xffffffff);
            uint32_t number = (uint32_t)(events[i].data.u64 >> 32);
            spin_lock(&lock);
            struct fiber *f = waits[fd].number == number ? waits[fd].fiber : NULL;
            if (f)
                waits[fd].fiber = NULL;
            spin_unlock(&lock);
            if (f)
                fiber_wake_inside(f);
        }
    }
    return NULL;
}
