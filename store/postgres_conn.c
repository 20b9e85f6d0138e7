/*
 * A connection in libpq's pipeline mode: what is sent is noted, and answers are taken in that
 * order. Waiting for the server is waiting for its socket, so that other fibers run meanwhile.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/env.h"
#include "base/hash.h"
#include "store/postgres.h"

static bool may_connect(struct postgres *pg);
static void note_connect(struct postgres *pg, bool good, const char *words);
static void connect_blocking(void *conn);
static bool set_up(struct pg_conn *c);
static void ignore_notice(void *unused, const char *words);
static bool is_open(struct pg_conn *c);
static void sync_ops(struct pg_conn *c);
static bool wait_for_answer(struct pg_conn *c);
static PGresult *take_one(struct pg_conn *c, const struct pg_op *op, struct pg_failure *failure);
static void note_done(struct pg_conn *c, const struct pg_op *op, PGresult *answer);
static void note_failure(struct pg_failure *failure, const struct pg_op *op, PGresult *answer);
static void note_lost(struct pg_conn *c, struct pg_failure *failure);

static const char *const word_sql[PG_WORDS] = {
    [PG_BEGIN] = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
    [PG_BEGIN_READ] = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    [PG_SAVE] = "SAVEPOINT s",
    [PG_RELEASE] = "RELEASE SAVEPOINT s",
    [PG_UNDO] = "ROLLBACK TO SAVEPOINT s",
    [PG_COMMIT] = "COMMIT",
    [PG_ROLLBACK] = "ROLLBACK",
};

bool
pg_ready(struct pg_conn *c)
{
    if (is_open(c))
        return true;
    if (!may_connect(c->pg))
        return false;
    if (fiber_is_fiber())
        fiber_offload(connect_blocking, c);
    else
        connect_blocking(c);
    return c->link != NULL;
}

void
pg_break(struct pg_conn *c)
{
    PQfinish(c->link);
    c->link = NULL;
    for (int i = 0; i < c->room; i++) {
        if (!c->prepared[i])
            continue;
        mapping_free(&c->prepared[i]->mapping);
        free(c->prepared[i]->types);
        free(c->prepared[i]);
    }
    free(c->prepared);
    free(c->ops);
    *c = (struct pg_conn){.pg = c->pg, .next = c->next, .session = c->session};
}

void
pg_send_word(struct pg_conn *c, enum pg_word word)
{
    struct pg_prepared *p = &c->words[word];
    const char *sql = word == PG_LOCK ? c->pg->lock_sql : word_sql[word];
    bool good = c->link && (p->sent || pg_prepare(c, p, sql, NULL));
    if (good && PQsendQueryPrepared(c->link, p->name, 0, NULL, NULL, NULL, 0))
        pg_note(c, (struct pg_op){.kind = PG_OP_WORD, .word = word});
    else
        pg_break(c);
}

bool
pg_prepare(struct pg_conn *c, struct pg_prepared *p, const char *sql, const struct statement *s)
{
    snprintf(p->name, sizeof p->name, "s%d", ++c->names);
    if (!PQsendPrepare(c->link, p->name, sql, p->n_params, p->types))
        return false;
    pg_note(c, (struct pg_op){.kind = PG_OP_PREPARE, .statement = s, .prepared = p});
    p->sent = true;
    return true;
}

void
pg_push(struct pg_conn *c)
{
    sync_ops(c);
    if (c->link && PQflush(c->link) < 0)
        pg_break(c);
}

void
pg_forget(struct pg_conn *c)
{
    for (int i = c->first_op; i < c->n_ops; i++)
        c->ops[i].forgotten = true;
    c->unknown = c->n_held = 0;
}

void
pg_note(struct pg_conn *c, struct pg_op op)
{
    if (c->n_ops == c->ops_room) {
        c->ops_room = c->ops_room ? 2 * c->ops_room : 64;
        c->ops = realloc(c->ops, (size_t)c->ops_room * sizeof *c->ops);
        if (!c->ops)
            abort();
    }
    c->ops[c->n_ops++] = op;
    c->unsynced++;
}

bool
pg_take_answers(struct pg_conn *c, struct pg_failure *ret_failure, PGresult **ret_last)
{
    *ret_failure = (struct pg_failure){.happened = false};
    PGresult *last = NULL;
    sync_ops(c);
    if (c->link)
        __atomic_fetch_add(&c->pg->store.round_trips, 1, __ATOMIC_RELAXED);
    for (; c->link && c->first_op < c->n_ops; c->first_op++) {
        struct pg_op op = c->ops[c->first_op]; /* a lost connection forgets them */
        PGresult *answer = take_one(c, &op, ret_failure);
        if (op.kind == PG_OP_RUN) {
            PQclear(last);
            last = answer;
        } else {
            PQclear(answer);
        }
        /* Words fail only where something is wrong with the server or with us. */
        bool word = ret_failure->happened && ret_failure->op.kind == PG_OP_WORD;
        if (c->link && (word || PQstatus(c->link) == CONNECTION_BAD)) {
            note_lost(c, ret_failure);
            break;
        }
    }
    bool good = c->link != NULL;
    if (!good && !ret_failure->happened)
        note_lost(c, ret_failure);
    c->first_op = c->n_ops = c->unsynced = c->unknown = 0;
    if (!good || !ret_last || ret_failure->happened) {
        PQclear(last);
        last = NULL;
    }
    if (ret_last)
        *ret_last = last;
    return good;
}

PGresult *
pg_run_plain(struct pg_conn *c, const char *sql, struct arena *a, const char **why)
{
    PGresult *last = NULL;
    bool sent = c->link && PQsendQuery(c->link, sql);
    while (sent && wait_for_answer(c)) {
        PGresult *answer = PQgetResult(c->link);
        if (!answer)
            break;
        ExecStatusType status = PQresultStatus(last);
        if (!last || status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) {
            PQclear(last);
            last = answer;
        } else {
            PQclear(answer);
        }
    }
    ExecStatusType status = PQresultStatus(last);
    if (c->link && last && (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK))
        return last;
    const char *words = PQresultErrorField(last, PG_DIAG_MESSAGE_PRIMARY);
    *why = arena_strdup(a, words ? words : "the connection to the server is lost");
    PQclear(last);
    return NULL;
}

bool
pg_pipeline(struct pg_conn *c, bool on)
{
    return c->link && (on ? PQenterPipelineMode(c->link) : PQexitPipelineMode(c->link));
}

int64_t
pg_lock_key(const char *what, const char *schema, const char *which)
{
    char text[256];
    int n = snprintf(text, sizeof text, "souk %s %s %s", what, schema, which);
    return (int64_t)hash64(text, (size_t)n);
}

/* ---- connecting ---- */

static bool
may_connect(struct postgres *pg)
{
    spin_lock(&pg->away_lock);
    bool may = !pg->backoff_us || (!pg->connecting && env.mono_us() >= pg->away_until_us);
    if (may)
        pg->connecting = true;
    spin_unlock(&pg->away_lock);
    return may;
}

static void
note_connect(struct postgres *pg, bool good, const char *words)
{
    spin_lock(&pg->away_lock);
    pg->connecting = false;
    if (good) {
        pg->backoff_us = 0;
    } else {
        int64_t longer_us = pg->backoff_us ? 2 * pg->backoff_us : PG_BACKOFF_FIRST_US;
        pg->backoff_us = longer_us < PG_BACKOFF_MOST_US ? longer_us : PG_BACKOFF_MOST_US;
        pg->away_until_us = env.mono_us() + pg->backoff_us;
        snprintf(pg->away_words, sizeof pg->away_words, "%s", words);
        pg->away_words[strcspn(pg->away_words, "\n")] = '\0';
    }
    spin_unlock(&pg->away_lock);
}

/* On a thread that may block: finding an address does. */
static void
connect_blocking(void *conn)
{
    struct pg_conn *c = conn;
    pg_break(c);
    char seconds[12], name[64];
    snprintf(seconds, sizeof seconds, "%d", PG_CONNECT_S);
    snprintf(name, sizeof name, "souk %s", c->pg->schema);
    /* What stands before the URL are defaults that it may change. */
    const char *const keys[] = {"connect_timeout",
                                "application_name",
                                "keepalives_idle",
                                "keepalives_interval",
                                "keepalives_count",
                                "tcp_user_timeout",
                                "dbname",
                                "client_encoding",
                                NULL};
    const char *const values[] = {seconds,           name,   "5", "2", "3", "5000",
                                  c->pg->store.path, "UTF8", NULL};
    c->link = PQconnectdbParams(keys, values, 1);
    if (!c->link)
        abort();
    c->patience_us = PG_ANSWER_US;
    c->session++;
    bool good = PQstatus(c->link) == CONNECTION_OK && set_up(c);
    note_connect(c->pg, good, PQerrorMessage(c->link));
    if (!good)
        pg_break(c);
}

/*
 * Nothing waits for ever, on either side: a statement ends in time, and so does the session of a
 * client that is gone with a batch open.  A COMMIT is on disk when it is answered.
 */
static bool
set_up(struct pg_conn *c)
{
    char sql[1024];
    snprintf(
        sql, sizeof sql,
        "SET search_path = %s; SET statement_timeout = %d;"
        "SET idle_in_transaction_session_timeout = '10s';"
        "SET client_connection_check_interval = '1s';"
        "SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2;"
        "SET tcp_keepalives_count = 3; SET tcp_user_timeout = 5000;"
        "SET client_min_messages = error; SET standard_conforming_strings = on;"
        "SET bytea_output = hex; SET jit = off;"
        "SELECT set_config(name, 'lz4', false) FROM pg_settings" /* where it was built with it */
        " WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals);"
        "SELECT set_config('synchronous_commit', 'on', false)"
        " WHERE current_setting('synchronous_commit') = 'off'",
        c->pg->schema, PG_STATEMENT_MS);
    PQsetNoticeProcessor(c->link, ignore_notice, NULL);
    PGresult *answer = PQexec(c->link, sql);
    bool good = PQresultStatus(answer) == PGRES_TUPLES_OK;
    PQclear(answer);
    return good && PQsetnonblocking(c->link, 1) == 0 && PQenterPipelineMode(c->link);
}

static void
ignore_notice(void *unused, const char *words)
{
    (void)unused, (void)words;
}

/* A server that has ended has said so, before the end of its words. */
static bool
is_open(struct pg_conn *c)
{
    if (!c->link)
        return false;
    if (PQconsumeInput(c->link) && PQconsumeInput(c->link) && PQstatus(c->link) == CONNECTION_OK)
        return true;
    pg_break(c);
    return false;
}

/* ---- answers ---- */

static void
sync_ops(struct pg_conn *c)
{
    if (!c->link || c->unsynced == 0)
        return;
    if (PQpipelineSync(c->link)) {
        pg_note(c, (struct pg_op){.kind = PG_OP_SYNC});
        c->unsynced = 0;
    } else {
        pg_break(c);
    }
}

/* False: there is none, and the connection is closed. */
static bool
wait_for_answer(struct pg_conn *c)
{
    for (;;) {
        int unsent = PQflush(c->link);
        if (unsent < 0)
            break;
        if (unsent == 0 && !PQisBusy(c->link))
            return true;
        if (!fiber_wait_fd(PQsocket(c->link), unsent > 0, env.mono_us() + c->patience_us) ||
            !PQconsumeInput(c->link))
            break;
    }
    pg_break(c);
    return false;
}

/* The answer to op, if it is a good one. */
static PGresult *
take_one(struct pg_conn *c, const struct pg_op *op, struct pg_failure *failure)
{
    if (!wait_for_answer(c))
        return NULL;
    PGresult *answer = PQgetResult(c->link);
    ExecStatusType status = PQresultStatus(answer);
    if (!answer || status == PGRES_FATAL_ERROR) {
        if (!op->forgotten || op->kind == PG_OP_WORD)
            note_failure(failure, op, answer);
    } else if (status != PGRES_PIPELINE_ABORTED) {
        note_done(c, op, answer);
    }
    bool good = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
    if (op->kind == PG_OP_PREPARE && !good)
        op->prepared->sent = false;
    if (!good) {
        PQclear(answer);
        answer = NULL;
    }
    /* All but a sync end with a NULL. */
    if (op->kind != PG_OP_SYNC && status != PGRES_PIPELINE_SYNC && wait_for_answer(c)) {
        PGresult *more = PQgetResult(c->link);
        assert(!more || PQstatus(c->link) == CONNECTION_BAD);
        PQclear(more);
    }
    return answer;
}

static void
note_done(struct pg_conn *c, const struct pg_op *op, PGresult *answer)
{
    if (op->kind != PG_OP_WORD)
        return;
    if (op->word == PG_SAVE)
        c->depth++;
    else if (op->word == PG_RELEASE)
        c->depth--;
    else if (op->word == PG_COMMIT || op->word == PG_ROLLBACK)
        c->depth = 0;
    if (op->word == PG_COMMIT) /* of a transaction that has failed it is a ROLLBACK */
        c->committed = strcmp(PQcmdStatus(answer), "COMMIT") == 0;
}

static void
note_failure(struct pg_failure *failure, const struct pg_op *op, PGresult *answer)
{
    if (failure->happened)
        return;
    const char *state = PQresultErrorField(answer, PG_DIAG_SQLSTATE);
    const char *words = PQresultErrorField(answer, PG_DIAG_MESSAGE_PRIMARY);
    failure->happened = true;
    failure->op = *op;
    snprintf(failure->state, sizeof failure->state, "%s", state ? state : "");
    snprintf(failure->words, sizeof failure->words, "%s",
             words ? words : "the connection to the server is lost");
}

static void
note_lost(struct pg_conn *c, struct pg_failure *failure)
{
    static const struct pg_op none = {.kind = PG_OP_SYNC};
    note_failure(failure, &none, NULL);
    failure->state[0] = '\0';
    pg_break(c);
}
