/* Periodic work: each job is a fiber of its service's scheduler that sleeps between its turns. */
#include <assert.h>
#include <stdio.h>

#include "base/env.h"
#include "kit/node_impl.h"
#include "kit/trace.h"

static const struct job report_grants = {"report_grants", grants_report, MINUTE_US};
static const struct job erase_journal = {"erase_journal", journal_erase, 5 * SECOND_US};

static void job_main(void *arg);
static bool job_turn(struct job_run *run);
static void job_once(struct job_run *run);
static void add_job(struct node *node, struct unit *unit, const struct job *job);

void
jobs_start(struct node *node)
{
    for (size_t i = 0; i < node->n_units; i++)
        for (size_t j = 0; j < JOBS_MAX && node->units[i].service->jobs[j].name; j++)
            add_job(node, &node->units[i], &node->units[i].service->jobs[j]);
    if (node_rpc(node, "authz", "Report"))
        add_job(node, &node->units[0], &report_grants);
    for (size_t i = 0; i < node->n_units; i++)
        if (erases_events(&node->units[i]))
            add_job(node, &node->units[i], &erase_journal);
    node->jobs_running = node->n_jobs;
    for (size_t i = 0; i < node->n_jobs; i++) {
        bool spawned = sched_spawn(node->jobs[i].unit->sched, job_main, &node->jobs[i]);
        assert(spawned); /* jobs come first */
        (void)spawned;
    }
}

void
jobs_stop(struct node *node)
{
    spin_lock(&node->jobs_lock);
    node->jobs_stop = true;
    node->jobs_waiter = fiber_self();
    for (size_t i = 0; i < node->n_jobs; i++)
        if (node->jobs[i].fiber)
            fiber_wake(node->jobs[i].fiber);
    bool running = node->jobs_running > 0;
    spin_unlock(&node->jobs_lock);
    while (running) {
        fiber_park();
        spin_lock(&node->jobs_lock);
        running = node->jobs_running > 0;
        spin_unlock(&node->jobs_lock);
    }
}

static void
add_job(struct node *node, struct unit *unit, const struct job *job)
{
    node->jobs[node->n_jobs++] = (struct job_run){.unit = unit, .job = job};
}

static void
job_main(void *arg)
{
    struct job_run *run = arg;
    struct node *node = run->unit->node;
    spin_lock(&node->jobs_lock);
    run->fiber = fiber_self();
    spin_unlock(&node->jobs_lock);

    while (job_turn(run))
        job_once(run);

    spin_lock(&node->jobs_lock);
    run->fiber = NULL;
    if (--node->jobs_running == 0 && node->jobs_waiter)
        fiber_wake(node->jobs_waiter);
    spin_unlock(&node->jobs_lock);
}

/* Sleeps until the next turn, the first one at once; false when the node stops. */
static bool
job_turn(struct job_run *run)
{
    struct node *node = run->unit->node;
    int64_t due = env.mono_us() + (run->runs ? run->job->every_us : 0);
    bool stop;
    do {
        spin_lock(&node->jobs_lock);
        stop = node->jobs_stop;
        spin_unlock(&node->jobs_lock);
    } while (!stop && env.mono_us() < due && (fiber_park_until(due), true));
    return !stop;
}

static bool
leads(const struct unit *unit)
{
    return store_leads(unit->store, "jobs");
}

bool
service_leads(struct request *rq)
{
    return leads(unit_of(rq->node, rq->service));
}

static bool
runs_everywhere(const struct job_run *run)
{
    const char *const *names = run->unit->service->everywhere;
    for (; names && *names; names++)
        if (strcmp(*names, run->job->name) == 0)
            return true;
    return false;
}

/* Of several processes with this service one does its jobs, but for those about its own memory. */
static void
job_once(struct job_run *run)
{
    if (run->job != &report_grants && !runs_everywhere(run) && !leads(run->unit))
        return;
    struct arena *arena = arena_new();
    struct request rq;
    request_init(&rq, run->unit->node, arena);
    rq.service = run->unit->service;
    rq.caller.kind = CALLER_SERVICE;
    rq.deadline_us = env.mono_us() + MINUTE_US;
    const char *name =
        arena_printf(arena, "job %s.%s", run->unit->service->name, run->job->name);
    struct span *span = span_begin(&rq, SPAN_INTERNAL, name);
    enum status st = run->job->run(&rq);
    assert(!rq.scope.open);
    if (request_settle(&rq) && st == OK)
        st = UNAVAILABLE;
    span_end_job(span, &rq, st);
    run->runs++;
    count_job(run->unit->service->name, run->job->name, st != OK);
    if (st)
        request_log(&rq, name, st, 0, 0);
    arena_free(arena);
}
