/* Tasks: soon, many at once, and none behind the end. */
#include "base/env.h"
#include "fiber/fiber.h"
#include "kit/conf.h"
#include "kit/node.h"
#include "test/test.h"

enum { TASKS = 500, AT_ONCE_MAX = 200 };

static const struct service busy = {.name = "busy"};

static struct arena *a;
static struct conf *conf;
static struct node *node;
static int running, most, done; /* atomic */
static int64_t takes_us;

static void
begin(void)
{
    static const struct service *const services[] = {&busy, NULL};
    a = arena_new();
    conf = conf_new();
    const char *why;
    conf_set(conf, "log", "off", a, &why);
    const struct node_options options = {
        .data_dir = test_dir(), .services = services, .conf = conf, .quiet = true};
    check_int(node_open(&options, a, &node, &why), OK);
    running = most = done = 0;
    takes_us = MILLISECOND_US;
}

static void
end(void)
{
    node_stop(node);
    node_free(node);
    conf_free(conf);
    arena_free(a);
}

static enum status
work(struct request *rq, const char *subject)
{
    check(text_starts(subject, "sub_"));
    check_text(rq->correlation_id, "req_first");
    check_int(rq->caller.kind, CALLER_SERVICE);
    int now = __atomic_add_fetch(&running, 1, __ATOMIC_ACQ_REL);
    if (now > most)
        most = now; /* all on one thread */
    fiber_sleep_us(takes_us);
    __atomic_sub_fetch(&running, 1, __ATOMIC_ACQ_REL);
    __atomic_add_fetch(&done, 1, __ATOMIC_ACQ_REL);
    return OK;
}

static int
ask_for(int n)
{
    struct request rq;
    request_init(&rq, node, a);
    rq.service = &busy;
    rq.correlation_id = "req_first";
    int taken = 0;
    for (int i = 0; i < n; i++)
        taken += soon(&rq, work, arena_printf(a, "sub_%d", i));
    return taken;
}

TEST(every_task_is_done_and_not_too_many_at_once)
{
    begin();
    check_int(ask_for(1), 0); /* it does not run yet: a job must find the work */
    node_start(node);
    check_int(ask_for(TASKS), TASKS);
    while (__atomic_load_n(&done, __ATOMIC_ACQUIRE) < TASKS)
        fiber_sleep_us(MILLISECOND_US);
    check(most > 1 && most <= AT_ONCE_MAX);
    end();
}

TEST(a_stop_waits_for_what_runs_and_drops_what_waits)
{
    begin();
    node_start(node);
    takes_us = 50 * MILLISECOND_US;
    check_int(ask_for(TASKS), TASKS);
    while (__atomic_load_n(&running, __ATOMIC_ACQUIRE) == 0)
        fiber_sleep_us(MILLISECOND_US);
    node_stop(node);
    check_int(running, 0);
    check(done > 0);
    check_int(ask_for(1), 0);
    end();
}
