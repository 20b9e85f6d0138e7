/* Fibers, their waits, and what they wait for; each test starts and ends its own schedulers. */
#include "fiber/fiber.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/env.h"
#include "fiber/wait.h"
#include "test/test.h"

enum { MANY = 200, ROUNDS = 50 };

static int count;

static void
add_one(void *unused)
{
    (void)unused;
    __atomic_fetch_add(&count, 1, __ATOMIC_RELAXED);
}

TEST(every_fiber_runs_once)
{
    count = 0;
    struct sched *s = sched_new("test", MANY);
    for (int i = 0; i < MANY; i++)
        while (!sched_spawn(s, add_one, NULL))
            fiber_yield();
    sched_free(s);
    check_int(count, MANY);
}

/* ---- parking ---- */

struct pair {
    struct fiber *one;
    int said, heard;
    bool ready;
};

static void
hear(void *arg)
{
    struct pair *p = arg;
    p->one = fiber_self();
    __atomic_store_n(&p->ready, true, __ATOMIC_RELEASE);
    while (p->heard < ROUNDS) {
        fiber_park();
        p->heard = __atomic_load_n(&p->said, __ATOMIC_ACQUIRE);
    }
}

static void
say(struct pair *p)
{
    while (!__atomic_load_n(&p->ready, __ATOMIC_ACQUIRE))
        fiber_yield();
    for (int i = 0; i < ROUNDS; i++) {
        __atomic_fetch_add(&p->said, 1, __ATOMIC_ACQ_REL);
        fiber_wake(p->one);
        if (i % 7 == 0)
            fiber_yield();
    }
}

static void
say_from_fiber(void *arg)
{
    say(arg);
}

TEST(no_wake_is_lost_from_a_thread_a_neighbour_or_another_scheduler)
{
    struct sched *a = sched_new("a", MANY), *b = sched_new("b", MANY);
    struct pair p[3] = {{.said = 0}};
    for (int i = 0; i < 3; i++)
        check(sched_spawn(a, hear, &p[i]));
    check(sched_spawn(a, say_from_fiber, &p[0]));
    check(sched_spawn(b, say_from_fiber, &p[1]));
    say(&p[2]);
    sched_free(b);
    sched_free(a);
    for (int i = 0; i < 3; i++)
        check_int(p[i].heard, ROUNDS);
}

static void
wake_the_thread(void *thread)
{
    fiber_wake(thread);
}

TEST(a_plain_thread_parks_too)
{
    struct sched *s = sched_new("test", MANY);
    check(!fiber_is_fiber());
    check(sched_self() == NULL);
    for (int i = 0; i < ROUNDS; i++) {
        check(sched_spawn(s, wake_the_thread, fiber_self()));
        if (i % 2)
            fiber_sleep_us(300); /* long enough for the wake to be there before us */
        fiber_park();
    }
    sched_free(s);
}

static void
remembered_once(void *unused)
{
    (void)unused;
    fiber_wake(fiber_self());
    fiber_wake(fiber_self());
    fiber_park();
    check(!fiber_park_until(env.mono_us() + 500));
    check(!fiber_park_until(env.mono_us() - 1));
    fiber_wake(fiber_self());
    check(fiber_park_until(env.mono_us() - 1));
}

TEST(a_wake_that_came_before_is_remembered_once)
{
    remembered_once(NULL);
    struct sched *s = sched_new("test", 1);
    check(sched_spawn(s, remembered_once, NULL));
    sched_free(s);
}

/* Between asking for a wake and parking for it, one may sleep, wait for a lock, and send errands.
 */
static void
a_wake_and_other_waits(void *unused)
{
    (void)unused;
    struct fiber_lock lock = {0};
    fiber_wake(fiber_self());
    fiber_sleep_us(200);
    fiber_offload(add_one, NULL);
    fiber_lock(&lock);
    fiber_unlock(&lock);
    check(fiber_park_until(env.mono_us()));
}

TEST(a_wake_is_not_taken_by_another_wait)
{
    a_wake_and_other_waits(NULL);
    struct sched *s = sched_new("test", 1);
    check(sched_spawn(s, a_wake_and_other_waits, NULL));
    sched_free(s);
}

/* ---- time ---- */

static int order[8], n_order;

static void
sleep_then_note(void *arg)
{
    int64_t ms = (int64_t)(intptr_t)arg;
    int64_t until_us = env.mono_us() + 2000 * ms;
    fiber_sleep_us(2000 * ms);
    check(env.mono_us() >= until_us);
    order[n_order++] = (int)ms;
}

TEST(sleepers_wake_in_the_order_of_time)
{
    static const int naps[] = {9, 3, 7, 1, 5};
    n_order = 0;
    struct sched *s = sched_new("test", MANY);
    for (int i = 0; i < 5; i++)
        check(sched_spawn(s, sleep_then_note, (void *)(intptr_t)naps[i]));
    sched_free(s);
    check_int(n_order, 5);
    for (int i = 0; i < n_order; i++)
        check_int(order[i], 2 * i + 1);
}

static void
many_naps(void *arg)
{
    unsigned seed = (unsigned)(intptr_t)arg;
    for (int i = 0; i < 10; i++)
        fiber_sleep_us(rand_r(&seed) % 700);
    add_one(NULL);
}

TEST(a_thousand_timers_all_ring)
{
    count = 0;
    struct sched *s = sched_new("test", 1000);
    for (int i = 0; i < 1000; i++)
        check(sched_spawn(s, many_naps, (void *)(intptr_t)i));
    sched_free(s);
    check_int(count, 1000);
}

static void
note_if_woken(struct pair *p, int64_t until_us)
{
    if (fiber_park_until(until_us))
        __atomic_fetch_add(&p->heard, 1, __ATOMIC_RELEASE);
}

static void
park_with_limit(void *arg)
{
    struct pair *p = arg;
    p->one = fiber_self();
    __atomic_store_n(&p->ready, true, __ATOMIC_RELEASE);
    for (int i = 0; i < ROUNDS; i++)
        note_if_woken(p, env.mono_us() + 100);
    while (p->heard < ROUNDS)
        note_if_woken(p, env.mono_us() + 1000000);
}

TEST(a_wake_that_races_with_the_time_limit_is_not_lost)
{
    struct sched *s = sched_new("test", 1);
    struct pair p = {.said = 0};
    check(sched_spawn(s, park_with_limit, &p));
    while (!__atomic_load_n(&p.ready, __ATOMIC_ACQUIRE))
        fiber_yield();
    int before;
    for (int i = 0; i < ROUNDS; i++) {
        before = __atomic_load_n(&p.heard, __ATOMIC_ACQUIRE);
        fiber_wake(p.one);
        while (__atomic_load_n(&p.heard, __ATOMIC_ACQUIRE) == before)
            fiber_yield();
        fiber_sleep_us(95);
    }
    sched_free(s);
    check_int(p.heard, ROUNDS);
}

/* ---- bounds ---- */

static void
park_once(void *arg)
{
    struct fiber **self = arg;
    __atomic_store_n(self, fiber_self(), __ATOMIC_RELEASE);
    fiber_park();
}

TEST(past_fibers_max_none_is_started)
{
    struct sched *s = sched_new("test", 2);
    struct fiber *f[2] = {NULL, NULL};
    check(sched_spawn(s, park_once, &f[0]));
    check(sched_spawn(s, park_once, &f[1]));
    check(!sched_spawn(s, add_one, NULL));
    check_int((int)sched_fibers(s), 2);
    for (int i = 0; i < 2; i++) {
        while (!__atomic_load_n(&f[i], __ATOMIC_ACQUIRE))
            fiber_yield();
        fiber_wake(f[i]);
    }
    while (sched_fibers(s) > 0)
        fiber_yield();
    check(sched_spawn(s, add_one, NULL));
    sched_free(s);
}

static int
deep(int n, char *above)
{
    char here[1024];
    memset(here, n, sizeof here);
    int sum = n > 0 ? deep(n - 1, here) : 0;
    return sum + here[n % (int)sizeof here] + (above ? above[0] : 0);
}

static void
use_much_stack(void *unused)
{
    (void)unused;
    check(deep(100, NULL) != 1);
    fiber_yield();
    check(deep(100, NULL) != 1);
    char text[64];
    snprintf(text, sizeof text, "%.3f %s", 1.0 / 3, "ninety");
    check_text(text, "0.333 ninety");
}

TEST(a_fiber_has_room_for_deep_calls)
{
    struct sched *s = sched_new("test", 300);
    for (int i = 0; i < 300; i++)
        check(sched_spawn(s, use_much_stack, NULL));
    sched_free(s);
}

/* ---- locks ---- */

struct guarded {
    struct fiber_lock lock;
    struct spin spin;
    int in, most, sum, spun;
};

static void
enter_often(void *arg)
{
    struct guarded *g = arg;
    for (int i = 0; i < ROUNDS; i++) {
        fiber_lock(&g->lock);
        g->in++;
        g->most = g->in > g->most ? g->in : g->most;
        if (i % 3 == 0)
            fiber_yield();
        if (i % 17 == 0)
            fiber_sleep_us(10);
        g->sum++;
        g->in--;
        fiber_unlock(&g->lock);
        spin_lock(&g->spin);
        g->spun++;
        spin_unlock(&g->spin);
    }
}

static void *
enter_from_thread(void *g)
{
    enter_often(g);
    return NULL;
}

TEST(a_lock_lets_one_in_at_a_time_across_schedulers_and_threads)
{
    struct guarded g = {.in = 0};
    struct sched *a = sched_new("a", MANY), *b = sched_new("b", MANY);
    for (int i = 0; i < 20; i++) {
        check(sched_spawn(a, enter_often, &g));
        check(sched_spawn(b, enter_often, &g));
    }
    pthread_t t = thread_start("plain", enter_from_thread, &g);
    enter_often(&g);
    pthread_join(t, NULL);
    sched_free(a);
    sched_free(b);
    check_int(g.most, 1);
    check_int(g.sum, 42 * ROUNDS);
    check_int(g.spun, 42 * ROUNDS);
}

static struct fiber_lock fair;

static void
queue_up(void *arg)
{
    fiber_lock(&fair);
    order[n_order++] = (int)(intptr_t)arg;
    fiber_unlock(&fair);
}

TEST(a_lock_is_first_come_first_served)
{
    n_order = 0;
    struct sched *s = sched_new("test", MANY);
    fiber_lock(&fair);
    for (int i = 0; i < 6; i++) {
        check(sched_spawn(s, queue_up, (void *)(intptr_t)i));
        while (fiber_lock_waiters(&fair) < (size_t)i + 1)
            fiber_yield();
    }
    fiber_unlock(&fair);
    sched_free(s);
    for (int i = 0; i < 6; i++)
        check_int(order[i], i);
}

/* ---- errands ---- */

static void
block_a_while(void *arg)
{
    struct timespec t = {.tv_nsec = 200000};
    nanosleep(&t, NULL);
    check(!fiber_is_fiber());
    __atomic_fetch_add((int *)arg, 1, __ATOMIC_RELAXED);
}

static void
send_errands(void *arg)
{
    for (int i = 0; i < 3; i++) {
        int before = __atomic_load_n((int *)arg, __ATOMIC_RELAXED);
        fiber_offload(block_a_while, arg);
        check(__atomic_load_n((int *)arg, __ATOMIC_RELAXED) > before);
        check(fiber_is_fiber());
    }
}

TEST(errands_beyond_the_pool_wait_their_turn_and_all_are_done)
{
    int done = 0;
    struct sched *s = sched_new("test", MANY);
    for (int i = 0; i < 2 * OFFLOAD_THREADS_MAX; i++)
        check(sched_spawn(s, send_errands, &done));
    sched_free(s);
    fiber_offload(block_a_while, &done);
    check_int(done, 2 * OFFLOAD_THREADS_MAX * 3 + 1);
}

/* ---- without threads ---- */

static int64_t virtual_us;

static int64_t
virtual_clock(void)
{
    return virtual_us;
}

static void
nap_and_note(void *arg)
{
    fiber_sleep_us((int64_t)(intptr_t)arg);
    order[n_order++] = (int)virtual_us;
    fiber_offload(add_one, NULL);
}

TEST(without_threads_the_caller_runs_the_fibers_on_a_clock_of_his_own)
{
    env.single_thread = true;
    env.mono_us = virtual_clock;
    n_order = count = 0;
    virtual_us = 1000;
    struct sched *s = sched_new("test", MANY);
    check(!sched_run_ready(s));
    check(sched_next_wake_us(s) == INT64_MAX);
    check(sched_spawn(s, nap_and_note, (void *)300));
    check(sched_spawn(s, nap_and_note, (void *)100));
    while (sched_fibers(s) > 0)
        if (!sched_run_ready(s))
            virtual_us = sched_next_wake_us(s);
    check_int(n_order, 2);
    check_int(order[0], 1100);
    check_int(order[1], 1300);
    check_int(count, 2);

    check(sched_spawn(s, wake_the_thread, fiber_self()));
    fiber_park(); /* runs the one who wakes us */
    sched_free(s);
    env.single_thread = false;
    env.mono_us = env_real.mono_us;
}

/* ---- descriptors ---- */

enum { LINES = 40, PINGS = 100, SPOKEN = 1500 };

struct line {
    int in, out;
    int heard;
};

/* Sends the count on, one more, until it is at its end; the other end does the same. */
static void
ping(void *arg)
{
    struct line *l = arg;
    for (int n = 0; n + 2 <= 2 * PINGS; l->heard++) {
        while (read(l->in, &n, sizeof n) != sizeof n)
            check(fiber_wait_fd(l->in, false, INT64_MAX));
        n++;
        check(write(l->out, &n, sizeof n) == sizeof n);
    }
}

static void *
ping_on_thread(void *arg)
{
    ping(arg);
    return NULL;
}

TEST(a_descriptor_wakes_the_fiber_or_thread_that_waits_for_it)
{
    struct sched *a = sched_new("a", LINES), *b = sched_new("b", LINES);
    struct line lines[LINES][2];
    pthread_t threads[LINES];
    for (int i = 0; i < LINES; i++) {
        int fd[2], zero = 0;
        check_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
        lines[i][0] = (struct line){fd[0], fd[0], 0};
        lines[i][1] = (struct line){fd[1], fd[1], 0};
        check(sched_spawn(a, ping, &lines[i][0]));
        if (i % 4)
            check(sched_spawn(b, ping, &lines[i][1]));
        else
            threads[i] = thread_start("ping", ping_on_thread, &lines[i][1]);
        check(write(fd[0], &zero, sizeof zero) == sizeof zero);
    }
    for (int i = 0; i < LINES; i += 4)
        pthread_join(threads[i], NULL);
    sched_free(a);
    sched_free(b);
    for (int i = 0; i < LINES; i++) {
        check_int(lines[i][0].heard + lines[i][1].heard, 2 * PINGS);
        close(lines[i][0].in);
        close(lines[i][1].in);
    }
}

/* The other end speaks at about the time at which the wait ends: whichever came first, the next
 * wait is a whole one. */
static void
wait_shortly(void *arg)
{
    struct line *l = arg;
    for (int i = 0; l->heard < SPOKEN; i++) {
        bool told = fiber_wait_fd(l->in, false, env.mono_us() + i % 7 * 10);
        char c;
        if (read(l->in, &c, 1) == 1)
            l->heard++;
        else
            check(!told);
        if (i % 5 == 0)
            fiber_yield();
    }
    int64_t before_us = env.mono_us();
    check(!fiber_wait_fd(l->in, false, before_us + 3000));
    check(env.mono_us() - before_us >= 3000);
}

static void
speak(void *arg)
{
    struct line *l = arg;
    for (int i = 0; i < SPOKEN; i++) {
        while (write(l->out, "x", 1) != 1)
            check(fiber_wait_fd(l->out, true, INT64_MAX));
        if (i % 3)
            fiber_sleep_us(i % 11 * 5);
    }
}

TEST(a_wait_for_a_descriptor_ends_in_time_and_leaves_nothing_behind)
{
    int fd[2];
    check_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
    struct line l = {fd[0], fd[1], 0};
    struct sched *a = sched_new("a", 1), *b = sched_new("b", 1);
    check(sched_spawn(b, speak, &l));
    check(sched_spawn(a, wait_shortly, &l));
    sched_free(b);
    sched_free(a);
    check_int(l.heard, SPOKEN);
    check(!fiber_wait_fd(fd[0], false, env.mono_us() + 1000)); /* on a plain thread */
    close(fd[0]);
    close(fd[1]);
}

static void
look_both_ways(void *arg)
{
    const int *fd = arg;
    check(fiber_wait_fd(fd[0], true, INT64_MAX)); /* it can be written */
    check(!fiber_wait_fd(fd[0], false, env.mono_us() + 1000));
    while (write(fd[0], order, sizeof order) > 0)
        ;
    check(!fiber_wait_fd(fd[0], true, env.mono_us() + 1000)); /* no longer */
    check(write(fd[1], "x", 1) == 1);
    check(fiber_wait_fd(fd[0], true, INT64_MAX)); /* but read */
    char c;
    check(read(fd[0], &c, 1) == 1);
    close(fd[1]);
    check(fiber_wait_fd(fd[0], false, INT64_MAX)); /* the other end is gone */
    close(fd[0]);
}

TEST(who_waits_to_write_hears_of_what_there_is_to_read_too)
{
    for (int alone = 0; alone < 2; alone++) {
        env.single_thread = alone;
        int fd[2];
        check_int(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
        struct sched *s = sched_new("test", 1);
        check(sched_spawn(s, look_both_ways, fd));
        sched_free(s);
    }
    env.single_thread = false;
}

/* ---- at rest ---- */

static int64_t
cpu_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

TEST(an_idle_scheduler_takes_no_cpu)
{
    struct sched *s = sched_new("test", MANY);
    check(sched_spawn(s, add_one, NULL));
    fiber_sleep_us(2000);
    int64_t before_us = cpu_us();
    fiber_sleep_us(300000);
    check(cpu_us() - before_us < 30000);
    sched_free(s);
}
