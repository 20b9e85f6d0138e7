#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/sqlite.h"

enum { CACHE_WRITER_KIB = 8192, CACHE_READER_KIB = 1024, BUSY_MS = 2000, MODE_CHARS_MAX = 16 };

static int configure(struct conn *c, enum conn_kind kind);
static int note_mode(void *mode, int n, char **values, char **names);
static struct prepared *prepare(struct conn *c, struct statement *s, int *ret_code);
static int authorize(void *conn, int action, const char *a, const char *b, const char *database,
                     const char *trigger);

static const char *const word_sql[WORDS] = {
    [WORD_BEGIN] = "BEGIN IMMEDIATE", [WORD_BEGIN_READ] = "BEGIN", [WORD_COMMIT] = "COMMIT",
    [WORD_ROLLBACK] = "ROLLBACK",     [WORD_SAVE] = "SAVEPOINT s", [WORD_RELEASE] = "RELEASE s",
    [WORD_UNDO] = "ROLLBACK TO s",
};

int
conn_open(struct conn *c, struct sqlite *q, enum conn_kind kind)
{
    *c = (struct conn){.sqlite = q};
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE;
    if (kind == CONN_WRITER)
        flags |= SQLITE_OPEN_CREATE;
    int code = sqlite3_open_v2(q->store.path, &c->db, flags, NULL);
    if (code == SQLITE_OK)
        code = configure(c, kind);
    return code;
}

void
conn_shut(struct conn *c)
{
    for (int i = 0; i < c->room; i++) {
        if (!c->prepared[i])
            continue;
        sqlite3_finalize(c->prepared[i]->stmt);
        mapping_free(&c->prepared[i]->mapping);
        free(c->prepared[i]);
    }
    free(c->prepared);
    for (int i = 0; i < WORDS; i++)
        sqlite3_finalize(c->words[i]);
    int code = sqlite3_close(c->db);
    assert(code == SQLITE_OK);
    *c = (struct conn){.db = NULL};
}

struct prepared *
conn_prepare(struct conn *c, struct statement *s, int *ret_code)
{
    int number = statement_number(s);
    if (number < c->room && c->prepared[number])
        return c->prepared[number];
    return prepare(c, s, ret_code);
}

int
conn_word(struct conn *c, enum word word)
{
    int code = sqlite3_step(c->words[word]);
    sqlite3_reset(c->words[word]);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

struct conn *
reader_take(struct sqlite *q)
{
    spin_lock(&q->readers_lock);
    struct conn *c = q->idle_readers;
    if (c)
        q->idle_readers = c->next;
    else if (q->n_readers < READERS_MAX)
        q->n_readers++;
    else
        abort(); /* far more threads than there are schedulers, or a reading one that parked */
    spin_unlock(&q->readers_lock);
    if (c)
        return c;

    c = calloc(1, sizeof *c);
    if (!c)
        abort();
    if (conn_open(c, q, CONN_READER) == SQLITE_OK)
        return c;
    conn_shut(c);
    free(c);
    spin_lock(&q->readers_lock);
    q->n_readers--;
    spin_unlock(&q->readers_lock);
    return NULL;
}

void
reader_give_back(struct conn *c)
{
    struct sqlite *q = c->sqlite;
    spin_lock(&q->readers_lock);
    c->next = q->idle_readers;
    q->idle_readers = c;
    spin_unlock(&q->readers_lock);
}

void
readers_close(struct sqlite *q)
{
    for (struct conn *next, *c = q->idle_readers; c; c = next) {
        next = c->next;
        conn_shut(c);
        free(c);
        q->n_readers--;
    }
    q->idle_readers = NULL;
    assert(q->n_readers == 0); /* else a transaction is still open */
}

static int
configure(struct conn *c, enum conn_kind kind)
{
    /* FAST overwrites what is deleted wherever the page is written anyway. */
    char pragmas[512];
    snprintf(pragmas, sizeof pragmas,
             "PRAGMA page_size=%d; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
             "PRAGMA wal_autocheckpoint=0; PRAGMA journal_size_limit=%lld;"
             "PRAGMA foreign_keys=ON; PRAGMA secure_delete=FAST; PRAGMA temp_store=MEMORY;"
             "PRAGMA trusted_schema=OFF; PRAGMA cache_size=-%d; %s",
             PAGE_BYTES, (long long)RESTART_PAGES * PAGE_BYTES * 2,
             kind == CONN_WRITER ? CACHE_WRITER_KIB : CACHE_READER_KIB,
             kind == CONN_READER ? "PRAGMA query_only=ON;" : "");
    sqlite3_busy_timeout(c->db, BUSY_MS);
    char mode[MODE_CHARS_MAX] = "";
    int code = sqlite3_exec(c->db, pragmas, note_mode, mode, NULL);
    if (code == SQLITE_OK && strcmp(mode, "wal") != 0)
        code = SQLITE_CANTOPEN; /* a file system without shared memory */
    for (int i = 0; i < WORDS && code == SQLITE_OK; i++)
        code = sqlite3_prepare_v3(c->db, word_sql[i], -1, SQLITE_PREPARE_PERSISTENT, &c->words[i],
                                  NULL);
    if (code == SQLITE_OK)
        code = sqlite3_set_authorizer(c->db, authorize, c);
    return code;
}

/* The rows that the pragmas give: the one that names a column so says the mode that came of it. */
static int
note_mode(void *mode, int n, char **values, char **names)
{
    if (n == 1 && values[0] && strcmp(names[0], "journal_mode") == 0)
        snprintf(mode, MODE_CHARS_MAX, "%s", values[0]);
    return 0;
}

static struct prepared *
prepare(struct conn *c, struct statement *s, int *ret_code)
{
    sqlite3_stmt *stmt = NULL;
    c->owner = s->service;
    c->strange[0] = '\0';
    *ret_code = sqlite3_prepare_v3(c->db, s->sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt, NULL);
    c->owner = NULL;
    if (c->strange[0])
        store_die("statement %s.%s touches %s, which is not %s's own", s->service, s->name,
                  c->strange, s->service);
    if ((*ret_code & 0xff) == SQLITE_ERROR || *ret_code == SQLITE_AUTH)
        store_die("statement %s.%s: %s", s->service, s->name, sqlite3_errmsg(c->db));
    if (*ret_code != SQLITE_OK)
        return NULL;
    if (!s->writes && !sqlite3_stmt_readonly(stmt))
        store_die("statement %s.%s writes, and is said not to", s->service, s->name);

    if (s->number >= c->room) {
        int room = s->number < 64 ? 128 : 2 * s->number;
        c->prepared = realloc(c->prepared, (size_t)room * sizeof(struct prepared *));
        if (!c->prepared)
            abort();
        memset(c->prepared + c->room, 0, (size_t)(room - c->room) * sizeof(struct prepared *));
        c->room = room;
    }
    struct prepared *p = calloc(1, sizeof *p);
    if (!p)
        abort();
    p->stmt = stmt;
    p->n_params = sqlite3_bind_parameter_count(stmt);
    c->prepared[s->number] = p;
    return p;
}

/* Called by SQLite while it prepares.  With no owner (its own pragmas, a preparing again after the
 * schema changed, the inner statements of a virtual table) all is allowed. */
static int
authorize(void *conn, int action, const char *a, const char *b, const char *database,
          const char *trigger)
{
    (void)database, (void)trigger;
    struct conn *c = conn;
    const char *table = NULL;
    switch (action) {
    case SQLITE_CREATE_INDEX:
    case SQLITE_CREATE_TRIGGER:
    case SQLITE_DROP_INDEX:
    case SQLITE_DROP_TRIGGER:
        if (c->owner && !owns_table(c->owner, a))
            table = a;
        else
            table = b;
        break;
    case SQLITE_ALTER_TABLE:
        table = b;
        break;
    case SQLITE_READ:
    case SQLITE_INSERT:
    case SQLITE_UPDATE:
    case SQLITE_DELETE:
    case SQLITE_CREATE_TABLE:
    case SQLITE_CREATE_VIEW:
    case SQLITE_CREATE_VTABLE:
    case SQLITE_DROP_TABLE:
    case SQLITE_DROP_VIEW:
    case SQLITE_DROP_VTABLE:
        table = a;
        break;
    case SQLITE_PRAGMA: /* full text search asks for this one when it opens its table */
        return !c->owner || strcmp(a, "data_version") == 0 ? SQLITE_OK : SQLITE_DENY;
    case SQLITE_ATTACH:
    case SQLITE_DETACH:
        return c->owner ? SQLITE_DENY : SQLITE_OK;
    default:
        break;
    }
    if (!c->owner || !table || owns_table(c->owner, table))
        return SQLITE_OK;
    if (!c->strange[0])
        snprintf(c->strange, sizeof c->strange, "%s", table);
    return SQLITE_DENY;
}
