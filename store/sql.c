/* What generated statement functions call. */
#include <string.h>

#include "store/inside.h"

static bool may_run(struct tx *tx, const struct statement *s);
static bool start(struct tx *tx, struct statement *s, const struct value *in, size_t n,
                  struct cursor *ret);
static void check_owner(const struct tx *tx, const struct statement *s);
static ProtobufCMessage *message_of(struct cursor *c, const ProtobufCMessageDescriptor *type);

void
sql_exec(struct tx *tx, struct statement *s, const struct value *in, size_t n)
{
    if (may_run(tx, s))
        tx->store->database->exec(tx, s, in, n);
}

int64_t
sql_count(struct tx *tx, struct statement *s, const struct value *in, size_t n)
{
    return may_run(tx, s) ? tx->store->database->count(tx, s, in, n) : 0;
}

enum status
sql_one(struct tx *tx, struct statement *s, const struct value *in, size_t n,
        const ProtobufCMessageDescriptor *type, void *ret_message)
{
    struct cursor c;
    if (!start(tx, s, in, n, &c))
        return tx->st;
    const struct database *db = tx->store->database;
    ProtobufCMessage *message = db->next(&c) ? message_of(&c, type) : NULL;
    if (!db->finish(&c) || tx->st)
        return tx->st;
    if (!message)
        return NOT_FOUND;
    *(ProtobufCMessage **)ret_message = message;
    return OK;
}

enum status
sql_many(struct tx *tx, struct statement *s, const struct value *in, size_t n,
         const ProtobufCMessageDescriptor *type, void *ret_messages, size_t *ret_n)
{
    struct cursor c;
    if (!start(tx, s, in, n, &c))
        return tx->st;
    const struct database *db = tx->store->database;
    size_t got = 0, room = 16;
    struct arena *a = tx->scope->arena;
    ProtobufCMessage **rows = arena_alloc(a, room * sizeof(ProtobufCMessage *));
    while (db->next(&c)) {
        if (got == room) {
            ProtobufCMessage **more = arena_alloc(a, 2 * room * sizeof(ProtobufCMessage *));
            memcpy(more, rows, room * sizeof(ProtobufCMessage *));
            rows = more;
            room *= 2;
        }
        rows[got] = message_of(&c, type);
        if (!rows[got++])
            break;
    }
    if (!db->finish(&c) || tx->st)
        return tx->st;
    *(ProtobufCMessage ***)ret_messages = rows;
    *ret_n = got;
    return OK;
}

enum status
sql_int(struct tx *tx, struct statement *s, const struct value *in, size_t n, int64_t *ret)
{
    struct cursor c;
    struct cell cell = {.kind = CELL_NULL};
    if (!start(tx, s, in, n, &c))
        return tx->st;
    bool found = tx->store->database->next(&c);
    if (found)
        tx->store->database->cell(&c, 0, &cell);
    if (!tx->store->database->finish(&c))
        return tx->st;
    if (found)
        *ret = cell.kind == CELL_REAL ? (int64_t)cell.real : cell.kind == CELL_INT ? cell.num : 0;
    return found ? OK : NOT_FOUND;
}

enum status
sql_text(struct tx *tx, struct statement *s, const struct value *in, size_t n, const char **ret)
{
    struct cursor c;
    struct cell cell = {.kind = CELL_NULL};
    if (!start(tx, s, in, n, &c))
        return tx->st;
    bool found = tx->store->database->next(&c);
    if (found)
        tx->store->database->cell(&c, 0, &cell);
    const char *text = cell.kind == CELL_TEXT ? cell.bytes : "";
    size_t bytes = cell.kind == CELL_TEXT ? cell.n : 0;
    if (found)
        text = arena_strndup(tx->scope->arena, text, bytes);
    if (!tx->store->database->finish(&c))
        return tx->st;
    if (found)
        *ret = text;
    return found ? OK : NOT_FOUND;
}

static bool
may_run(struct tx *tx, const struct statement *s)
{
    if (tx->st)
        return false;
    check_owner(tx, s);
    if (!store_fails_now(tx->store))
        return tx_prepare_to_run(tx, s);
    /* As a full disk does it: the whole open batch is rolled back. */
    tx_failed(tx, s, UNAVAILABLE, "database or disk is full");
    if (tx->in_writer)
        tx_lose(tx);
    return false;
}

static bool
start(struct tx *tx, struct statement *s, const struct value *in, size_t n, struct cursor *ret)
{
    if (!may_run(tx, s))
        return false;
    *ret = (struct cursor){.tx = tx, .statement = s};
    return tx->store->database->query(tx, s, in, n, ret);
}

static void
check_owner(const struct tx *tx, const struct statement *s)
{
    if (s->service != tx->service && strcmp(s->service, tx->service) != 0 &&
        strcmp(s->service, "bus") != 0)
        store_die("statement %s.%s is run in a transaction of %s", s->service, s->name,
                  tx->service);
    if (s->writes && tx->for_reading)
        store_die("statement %s.%s writes, in a transaction for reading", s->service, s->name);
}

static ProtobufCMessage *
message_of(struct cursor *c, const ProtobufCMessageDescriptor *type)
{
    const char *why;
    ProtobufCMessage *message = row_message(c, type, c->tx->scope->arena, &why);
    if (!message) {
        tx_fail(c->tx, INTERNAL);
        c->tx->message = why;
    }
    return message;
}
