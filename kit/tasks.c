/* Tasks: what a service wants done soon, on fibers of its scheduler, so many at once for each
 * service. */
#include <stdlib.h>

#include "base/env.h"
#include "kit/node_impl.h"
#include "kit/trace.h"

enum { TASKS_AT_ONCE_MAX = 200, TASKS_WAITING_MAX = 10000 };

struct task {
    struct task *next;
    struct unit *unit;
    task_fn *fn;
    char subject[ID_CHARS_MAX + 1];
    char correlation_id[ID_CHARS_MAX + 1], causation_id[ID_CHARS_MAX + 1];
    char traceparent[TRACEPARENT_CHARS + 1];
};

static void run_tasks(void *arg);
static void run_one(const struct task *task);
static struct task *next_task(struct tasks *tasks);
static struct task *take_first(struct tasks *tasks);

bool
soon(struct request *rq, task_fn *fn, const char *subject)
{
    struct node *node = rq->node;
    if (!node_started(node) || strlen(subject) > ID_CHARS_MAX)
        return false;
    struct unit *unit = unit_of(node, rq->service);
    struct tasks *tasks = &unit->tasks;
    struct task *task = calloc(1, sizeof *task);
    if (!task)
        abort();
    task->unit = unit;
    task->fn = fn;
    strcpy(task->subject, subject);
    if (rq->correlation_id && strlen(rq->correlation_id) <= ID_CHARS_MAX)
        strcpy(task->correlation_id, rq->correlation_id);
    if (rq->causation_id && strlen(rq->causation_id) <= ID_CHARS_MAX)
        strcpy(task->causation_id, rq->causation_id);
    strncpy(task->traceparent, trace_parent(rq), TRACEPARENT_CHARS);
    rq->acted = true;

    spin_lock(&tasks->lock);
    bool taken = !tasks->stop && tasks->n_waiting < TASKS_WAITING_MAX;
    bool begins = taken && tasks->n_running < TASKS_AT_ONCE_MAX;
    if (begins) {
        tasks->n_running++;
    } else if (taken) {
        *(tasks->last ? &tasks->last->next : &tasks->first) = task;
        tasks->last = task;
        tasks->n_waiting++;
    }
    spin_unlock(&tasks->lock);
    if (begins && !sched_spawn(unit->sched, run_tasks, task)) {
        spin_lock(&tasks->lock);
        tasks->n_running--;
        spin_unlock(&tasks->lock);
        taken = false;
    }
    if (!taken)
        free(task);
    return taken;
}

void
tasks_stop(struct node *node)
{
    for (size_t i = 0; i < node->n_units; i++) {
        struct tasks *tasks = &node->units[i].tasks;
        spin_lock(&tasks->lock);
        tasks->stop = true;
        tasks->waiter = fiber_self();
        bool running = tasks->n_running > 0;
        spin_unlock(&tasks->lock);
        while (running) {
            fiber_park();
            spin_lock(&tasks->lock);
            running = tasks->n_running > 0;
            spin_unlock(&tasks->lock);
        }
        for (struct task *task; (task = take_first(tasks));) /* nobody else is left */
            free(task);
    }
}

/* One after the other, as long as some wait. */
static void
run_tasks(void *arg)
{
    struct task *task = arg;
    struct tasks *tasks = &task->unit->tasks;
    for (; task; task = next_task(tasks)) {
        run_one(task);
        free(task);
    }
}

/* NULL: the fiber that asks is no longer among those that run. */
static struct task *
next_task(struct tasks *tasks)
{
    spin_lock(&tasks->lock);
    struct task *task = tasks->stop ? NULL : take_first(tasks);
    if (!task && --tasks->n_running == 0 && tasks->waiter)
        fiber_wake(tasks->waiter);
    spin_unlock(&tasks->lock);
    return task;
}

static struct task *
take_first(struct tasks *tasks)
{
    struct task *task = tasks->first;
    if (task) {
        tasks->first = task->next;
        tasks->last = tasks->first ? tasks->last : NULL;
        tasks->n_waiting--;
    }
    return task;
}

static void
run_one(const struct task *task)
{
    struct arena *arena = arena_new();
    struct request rq;
    request_init(&rq, task->unit->node, arena);
    rq.service = task->unit->service;
    rq.caller.kind = CALLER_SERVICE;
    rq.deadline_us = env.mono_us() + MINUTE_US;
    rq.correlation_id = task->correlation_id;
    rq.causation_id = task->causation_id;
    trace_join(&rq, task->traceparent);
    struct span *span =
        span_begin(&rq, SPAN_INTERNAL, arena_printf(arena, "task of %s", rq.service->name));
    enum status st = task->fn(&rq, task->subject);
    if (request_settle(&rq) && st == OK)
        st = UNAVAILABLE;
    span_end(span, &rq, st);
    if (st)
        request_log(&rq, arena_printf(arena, "task of %s for %s", rq.service->name, task->subject),
                    st, 0, 0);
    arena_free(arena);
}
