/*
 * Who leads: a session of its own holds an advisory lock for each thing that is led.  The session
 * ends with the process, or some seconds after it was cut off, and another gets the lock.
 */
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/time.h"
#include "store/postgres.h"

enum { WHAT_CHARS_MAX = 64 };

struct pg_lead {
    char what[WHAT_CHARS_MAX];
    bool held;
    unsigned session; /* by which it is held */
    int64_t look_us;  /* when what is known is too old */
    struct pg_lead *next;
};

static struct pg_lead *find_lead(struct postgres *pg, const char *what);
static bool holds(struct postgres *pg, struct pg_lead *lead);
static bool ask(struct postgres *pg, const char *sql, bool *ret);

bool
pg_leads(struct store *store, const char *what)
{
    struct postgres *pg = postgres_of(store);
    fiber_lock(&pg->lead_lock);
    struct pg_lead *lead = find_lead(pg, what);
    if (env.mono_us() >= lead->look_us) {
        lead->held = holds(pg, lead);
        lead->session = pg->leader.session;
        lead->look_us = env.mono_us() + SECOND_US;
    }
    bool held = lead->held;
    fiber_unlock(&pg->lead_lock);
    return held;
}

void
pg_leads_drop(struct store *store, const char *what)
{
    struct postgres *pg = postgres_of(store);
    fiber_lock(&pg->lead_lock);
    struct pg_lead *lead = find_lead(pg, what);
    char sql[80];
    bool was;
    snprintf(sql, sizeof sql, "SELECT pg_advisory_unlock(%lld)",
             (long long)pg_lock_key("lead", pg->schema, what));
    if (lead->held && !ask(pg, sql, &was))
        pg_break(&pg->leader); /* it goes with the session */
    lead->held = false;
    lead->look_us = env.mono_us() + SECOND_US;
    fiber_unlock(&pg->lead_lock);
}

void
pg_leads_close(struct postgres *pg)
{
    pg_break(&pg->leader);
    for (struct pg_lead *next, *lead = pg->leads; lead; lead = next) {
        next = lead->next;
        free(lead);
    }
    pg->leads = NULL;
}

static struct pg_lead *
find_lead(struct postgres *pg, const char *what)
{
    for (struct pg_lead *lead = pg->leads; lead; lead = lead->next)
        if (strcmp(lead->what, what) == 0)
            return lead;
    struct pg_lead *lead = calloc(1, sizeof *lead);
    if (!lead || strlen(what) >= WHAT_CHARS_MAX)
        abort();
    snprintf(lead->what, sizeof lead->what, "%s", what);
    lead->look_us = INT64_MIN;
    lead->next = pg->leads;
    pg->leads = lead;
    return lead;
}

/* Asks the session: whether it is alive, if it has the lock, or else for the lock. */
static bool
holds(struct postgres *pg, struct pg_lead *lead)
{
    char sql[80];
    bool yes = false;
    if (!pg_ready(&pg->leader))
        return false;
    if (lead->held && lead->session == pg->leader.session)
        snprintf(sql, sizeof sql, "SELECT true");
    else
        snprintf(sql, sizeof sql, "SELECT pg_try_advisory_lock(%lld)",
                 (long long)pg_lock_key("lead", pg->schema, lead->what));
    return ask(pg, sql, &yes) && yes;
}

/* False: the session is lost. */
static bool
ask(struct postgres *pg, const char *sql, bool *ret)
{
    struct pg_conn *c = &pg->leader;
    struct pg_failure failure;
    PGresult *answer;
    if (!c->link || !PQsendQueryParams(c->link, sql, 0, NULL, NULL, NULL, NULL, 0))
        return false;
    pg_note(c, (struct pg_op){.kind = PG_OP_RUN});
    if (!pg_take_answers(c, &failure, &answer))
        return false;
    *ret = answer && PQgetvalue(answer, 0, 0)[0] == 't';
    PQclear(answer);
    return true;
}
