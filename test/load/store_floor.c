/*
 * The floor under a sale: a bare loop that writes the same rows into SQLite, with nothing around it.
 *
 *     store_floor DB SALES BATCH TABLE:ROWS… [+TABLE:UPDATES…]
 *
 * DB is a copy of a Souk's souk.db that has just made one sale; TABLE:ROWS says how many rows a sale
 * adds to a table, and the newest of them are the patterns.  Every id in them gets a new end for each
 * sale.  +TABLE:UPDATES repeats an update of the newest row of a table.  A commit, synced, after every
 * BATCH sales.  Prints one line of JSON.
 */
#include <ctype.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TABLES_MAX = 40, ROWS_MAX = 20, COLUMNS_MAX = 40, ID_CHARS = 30, NEW_CHARS = 8 };

struct cell {
    int type;
    int64_t num;
    char *bytes;
    int n;
    char *ids[4]; /* where the ends of ids stand in bytes */
    int n_ids;
    bool key;      /* an INTEGER PRIMARY KEY: the next number */
    bool sequence; /* counts on with every sale, for what has no id that changes */
};

struct table {
    sqlite3_stmt *insert, *update;
    int rows, columns, updates;
    int64_t next;
    struct cell cells[ROWS_MAX][COLUMNS_MAX];
};

static struct table tables[TABLES_MAX];
static int n_tables;
static sqlite3 *db;

static void
must(int rc, int wanted)
{
    if (rc != wanted) {
        fprintf(stderr, "store_floor: %s\n", sqlite3_errmsg(db));
        exit(1);
    }
}

static sqlite3_stmt *
prepare(const char *sql)
{
    sqlite3_stmt *s;
    must(sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s, NULL), SQLITE_OK);
    return s;
}

/* "ord_" and 26 characters: its last NEW_CHARS are to change. */
static void
find_ids(struct cell *c)
{
    for (int i = 3; i + 27 <= c->n && c->n_ids < 4; i++) {
        if (c->bytes[i] != '_' || !islower(c->bytes[i - 1]))
            continue;
        int n = 1;
        while (n < 27 && isalnum((unsigned char)c->bytes[i + n]))
            n++;
        if (n == 27)
            c->ids[c->n_ids++] = c->bytes + i + 27 - NEW_CHARS;
    }
}

static void
read_patterns(struct table *t, const char *name)
{
    char sql[200];
    snprintf(sql, sizeof sql, "SELECT * FROM %s ORDER BY rowid DESC LIMIT %d", name, t->rows);
    sqlite3_stmt *s = prepare(sql);
    t->columns = sqlite3_column_count(s);
    for (int row = 0; row < t->rows; row++) {
        must(sqlite3_step(s), SQLITE_ROW);
        for (int i = 0; i < t->columns; i++) {
            struct cell *c = &t->cells[row][i];
            c->type = sqlite3_column_type(s, i);
            c->num = sqlite3_column_int64(s, i);
            c->n = sqlite3_column_bytes(s, i);
            c->bytes = malloc((size_t)c->n + 1);
            memcpy(c->bytes, c->type == SQLITE_NULL ? "" : sqlite3_column_blob(s, i), (size_t)c->n);
            c->key = strcmp(sqlite3_column_name(s, i), "position") == 0 && i == 0;
            c->sequence = strcmp(sqlite3_column_name(s, i), "sequence") == 0;
            if (c->key && row == 0)
                t->next = c->num;
            if (c->type == SQLITE_TEXT)
                find_ids(c);
        }
    }
    sqlite3_finalize(s);
}

static void
add_table(char *word)
{
    struct table *t = &tables[n_tables++];
    char *colon = strchr(word, ':'), sql[400];
    *colon = '\0';
    if (*word == '+') {
        t->updates = atoi(colon + 1);
        snprintf(sql, sizeof sql,
                 "UPDATE %s SET version = version + 1 WHERE rowid = (SELECT max(rowid) FROM %s)",
                 word + 1, word + 1);
        t->update = prepare(sql);
        return;
    }
    t->rows = atoi(colon + 1);
    read_patterns(t, word);
    int n = snprintf(sql, sizeof sql, "INSERT INTO %s VALUES (?", word);
    for (int i = 1; i < t->columns; i++)
        n += snprintf(sql + n, sizeof sql - (size_t)n, ", ?");
    snprintf(sql + n, sizeof sql - (size_t)n, ")");
    t->insert = prepare(sql);
}

static void
bind(sqlite3_stmt *s, int i, struct table *t, struct cell *c, const char *end, int64_t sale)
{
    for (int j = 0; j < c->n_ids; j++)
        memcpy(c->ids[j], end, NEW_CHARS);
    if (c->key)
        sqlite3_bind_int64(s, i, ++t->next);
    else if (c->sequence)
        sqlite3_bind_int64(s, i, c->num + sale * ROWS_MAX);
    else if (c->type == SQLITE_INTEGER)
        sqlite3_bind_int64(s, i, c->num);
    else if (c->type == SQLITE_TEXT)
        sqlite3_bind_text(s, i, c->bytes, c->n, SQLITE_STATIC);
    else if (c->type == SQLITE_BLOB)
        sqlite3_bind_blob(s, i, c->bytes, c->n, SQLITE_STATIC);
    else
        sqlite3_bind_null(s, i);
}

static void
sell(int64_t sale)
{
    static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
    char end[NEW_CHARS];
    for (int i = 0; i < NEW_CHARS; i++)
        end[i] = digits[(sale >> (5 * (NEW_CHARS - 1 - i))) & 31];
    for (struct table *t = tables; t < tables + n_tables; t++) {
        for (int row = t->rows - 1; row >= 0; row--) {
            for (int i = 0; i < t->columns; i++)
                bind(t->insert, i + 1, t, &t->cells[row][i], end, sale);
            must(sqlite3_step(t->insert), SQLITE_DONE);
            sqlite3_reset(t->insert);
        }
        for (int i = 0; i < t->updates; i++) {
            must(sqlite3_step(t->update), SQLITE_DONE);
            sqlite3_reset(t->update);
        }
    }
}

static double
seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int
main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: store_floor DB SALES BATCH TABLE:ROWS...\n");
        return 2;
    }
    int64_t sales = atoll(argv[2]), batch = atoll(argv[3]);
    must(sqlite3_open(argv[1], &db), SQLITE_OK);
    must(sqlite3_exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = OFF",
                      NULL, NULL, NULL), SQLITE_OK);
    for (int i = 4; i < argc && n_tables < TABLES_MAX; i++)
        add_table(argv[i]);
    sqlite3_stmt *begin = prepare("BEGIN IMMEDIATE"), *commit = prepare("COMMIT");
    double began = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (int64_t i = 0; i < sales; i++) {
        if (i % batch == 0) {
            must(sqlite3_step(begin), SQLITE_DONE);
            sqlite3_reset(begin);
        }
        sell(i + 1);
        if (i % batch == batch - 1 || i == sales - 1) {
            must(sqlite3_step(commit), SQLITE_DONE);
            sqlite3_reset(commit);
        }
    }
    double took = seconds(CLOCK_MONOTONIC) - began;
    printf("{\"sales\": %lld, \"batch\": %lld, \"per_second\": %.0f, \"cpu_us\": %.1f}\n",
           (long long)sales, (long long)batch, (double)sales / took,
           (seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu) * 1e6 / (double)sales);
    return 0;
}
