/*
 * The same .sql on both databases: every migration of every service is applied to both, and every
 * statement is run on both with the same values, many times over; how each ends, how many rows it
 * changes, what it gives, and what then stands in the tables is alike.  (search keeps SQLite.)
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/text.h"
#include "bus/bus.h"
#include "kit/kit.h"
#include "statements.h"
#include "test/test.h"

enum { ROUNDS = 40, WORDS_MAX = 200, WORD_CHARS_MAX = 32, PARAMS_MAX = 32, LIMIT = 1000 };
enum { N_STATEMENTS = sizeof souk_statements / sizeof souk_statements[0] };

/* What statements are given: a few ids, so that rows meet, and the words that the schema speaks of.
 */
struct words {
    char word[WORDS_MAX][WORD_CHARS_MAX];
    int n;
};

struct outcome {
    enum status st;
    int64_t count;
    char *rows; /* sorted, one a line */
};

struct both {
    struct arena *arena;
    const char *service;
    struct words words;
    struct store *store[2]; /* SQLite, PostgreSQL */
    struct tx_scope scope[2];
    unsigned seed;
    int64_t clock;
    int good;
};

static void
add_word(struct words *w, const char *s, size_t n)
{
    if (n == 0 || n >= WORD_CHARS_MAX || w->n == WORDS_MAX)
        return;
    snprintf(w->word[w->n++], WORD_CHARS_MAX, "%.*s", (int)n, s);
}

static void
find_words(struct words *w, const char *sql)
{
    for (const char *end, *at = sql; (at = strchr(at, '\'')) && (end = strchr(at + 1, '\''));
         at = end + 1)
        add_word(w, at + 1, (size_t)(end - at - 1));
}

static struct store *
open_one(struct both *p, const char *path, const char *schema, int number)
{
    size_t n = 0, n_bus;
    const struct migration *of_bus = bus_migrations(&n_bus);
    struct migration *wanted = arena_alloc(p->arena, (n_bus + souk_n_migrations) * sizeof *wanted);
    for (size_t i = 0; i < n_bus; i++)
        wanted[n++] = of_bus[i];
    for (size_t i = 0; i < souk_n_migrations; i++)
        if (strcmp(souk_migrations[i].service, p->service) == 0) {
            wanted[n++] = souk_migrations[i];
            if (number == 0)
                find_words(&p->words, souk_migrations[i].sql);
        }
    struct store_options o = {
        .path = path, .schema = schema, .number = number, .migrations = wanted, .n_migrations = n};
    struct store *store = NULL;
    const char *why = "";
    check_int(store_open(&o, p->arena, &store, &why), OK);
    check_text(why, "");
    return store;
}

static struct value
value_of(struct both *p, char kind)
{
    static const char *const ids[] = {"a", "b", "C", "\xc3\xa9", "\xc3\x89", "EUR", "%a%"};
    static uint8_t bytes[] = {0, 0xff};
    static const int64_t numbers[] = {0, 1, 1, 2, 3, 5, 1000};
    int r = rand_r(&p->seed) % 64;
    if (kind == 'i')
        return value_int(numbers[r % 7]);
    if (kind == 'u') /* hardly two alike, so that what is ordered by them has one order */
        return value_int(r < 60 ? p->clock += r : p->clock / 2);
    if (kind == 'l')
        return value_int(LIMIT);
    if (kind == 'b')
        return value_blob((ProtobufCBinaryData){(size_t)r % 3, bytes});
    if (kind == 'n' && r < 16)
        return value_text_or_null("");
    return value_text(r < 40 ? ids[r % 7] : p->words.word[rand_r(&p->seed) % p->words.n]);
}

static int
compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *
lines_of(struct arena *a, ProtobufCMessage **rows, size_t n)
{
    char **lines = arena_alloc(a, (n + 1) * sizeof *lines);
    for (size_t i = 0; i < n; i++) {
        size_t bytes = protobuf_c_message_get_packed_size(rows[i]);
        uint8_t *packed = arena_alloc(a, bytes + 1);
        protobuf_c_message_pack(rows[i], packed);
        lines[i] = hex_encode(a, packed, bytes);
    }
    qsort(lines, n, sizeof *lines, compare_lines);
    struct text t = text_in(a);
    text_add(&t, "");
    for (size_t i = 0; i < n; i++)
        text_printf(&t, "%s\n", lines[i]);
    return t.bytes;
}

static struct outcome
run(struct both *p, int which, int i, const struct value *in, size_t n)
{
    struct statement *s = &souk_statements[i].statement;
    struct outcome out = {.rows = NULL};
    struct tx *tx = tx_begin_in(p->store[which], p->service, &p->scope[which]);
    if (souk_statements[i].type) {
        ProtobufCMessage **rows = NULL;
        size_t n_rows = 0;
        out.st = sql_many(tx, s, in, n, souk_statements[i].type, &rows, &n_rows);
        out.rows = lines_of(p->arena, rows, out.st ? 0 : n_rows);
    } else if (s->writes) {
        out.count = sql_count(tx, s, in, n);
    } else {
        const char *text = "";
        out.st = sql_text(tx, s, in, n, &text); /* a number too, as text */
        out.rows = arena_strdup(p->arena, text);
    }
    enum status st = tx_commit(tx);
    out.st = st ? st : out.st;
    return out;
}

static void
run_both(struct both *p, int i)
{
    struct value in[PARAMS_MAX];
    size_t n = strlen(souk_statements[i].kinds);
    for (size_t k = 0; k < n; k++)
        in[k] = value_of(p, souk_statements[i].kinds[k]);
    struct outcome a = run(p, 0, i, in, n), b = run(p, 1, i, in, n);
    const char *name = souk_statements[i].statement.name;
    if (a.st != b.st || a.count != b.count || !text_equal(a.rows, b.rows)) {
        printf("%s.%s: %s, %lld, \"%s\" on SQLite; %s, %lld, \"%s\" on PostgreSQL\n", p->service,
               name, status_name(a.st), (long long)a.count, a.rows ? a.rows : "", status_name(b.st),
               (long long)b.count, b.rows ? b.rows : "");
        check(false);
    }
    check(a.st == OK || a.st == NOT_FOUND || a.st == ALREADY_EXISTS || a.st == FAILED_PRECONDITION);
    p->good += a.st == OK && (a.count > 0 || !text_empty(a.rows));
}

static bool
is_of(const char *table, void *service)
{
    return text_starts(table, service) && table[strlen(service)] == '_';
}

static void
compare_dumps(struct both *p)
{
    char *dump[2] = {NULL, NULL};
    char *service = arena_strdup(p->arena, p->service);
    for (int i = 0; i < 2; i++)
        check_int(store_dump(p->store[i], is_of, service, p->arena, &dump[i]), OK);
    check_text(dump[0], dump[1]);
    check(strlen(dump[0]) > 100);
}

static void
test_service(const char *service, const char *url)
{
    struct both p = {.arena = arena_new(), .service = service, .seed = 7, .clock = 1000000};
    p.store[0] = open_one(&p, arena_printf(p.arena, "%s/one.db", test_dir()), NULL, 0);
    p.store[1] = open_one(&p, url, arena_printf(p.arena, "s%d_%s", (int)getpid(), service), 1);
    add_word(&p.words, "a", 1);
    p.scope[0].arena = p.scope[1].arena = p.arena;
    for (int round = 0; round < ROUNDS && !test_failed; round++)
        for (int i = 0; i < N_STATEMENTS; i++)
            if (strcmp(souk_statements[i].statement.service, service) == 0)
                run_both(&p, i);
    check_int(store_wait(&p.scope[0]), OK);
    check_int(store_wait(&p.scope[1]), OK);
    compare_dumps(&p);
    for (int i = 0; i < 2; i++)
        store_close(p.store[i]);
    printf("%s: %d statements came to something\n", service, p.good);
    arena_free(p.arena);
}

TEST(every_statement_does_the_same_on_both_databases)
{
    const char *url = getenv("SOUK_TEST_POSTGRES");
    if (!url) {
        printf("SOUK_TEST_POSTGRES is not set: not tried\n");
        return;
    }
    const char *last = "";
    for (int i = 0; i < N_STATEMENTS; i++) {
        const char *service = souk_statements[i].statement.service;
        if (strcmp(service, last) != 0 && strcmp(service, "search") != 0)
            test_service(service, url);
        last = service;
    }
}
