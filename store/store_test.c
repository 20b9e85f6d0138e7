/* Transactions: sticky, undone, read again, and what their failures are called. */
#include "store/store_test.h"

TEST(a_transaction_is_all_there_after_its_commit)
{
    struct shop s = shop_open();
    struct tx *tx = tx_begin_in(s.store, "shop", &s.scope);
    check(tx_scope_of(tx) == &s.scope && tx_store(tx) == s.store);
    item(tx, "tea", 3);
    struct value event[] = {value_text("tea is there")};
    sql_exec(tx, &publish, event, 1);
    struct value more[] = {value_text("tea"), value_int(2)};
    check_int(sql_count(tx, &add_to_item, more, 2), 1);
    more[0] = value_text("cup");
    check_int(sql_count(tx, &add_to_item, more, 2), 0);
    check_int(tx_commit(tx), OK);
    check_int(store_wait(&s.scope), OK);
    check(store_settled(&s.scope));
    check_int(ask_afresh(&s, &find_n, "tea"), 5);
    check_int(ask_afresh(&s, &find_n, "cup"), -1);
    check_int(ask_afresh(&s, &count_events, NULL), 1);
    shop_close(&s);
}

TEST(after_the_first_failure_the_rest_are_no_ops)
{
    struct shop s = shop_open();
    check_int(put(s.store, &s.scope, "tea", 1), OK);
    struct tx *tx = tx_begin_in(s.store, "shop", &s.scope);
    item(tx, "cup", 1);
    item(tx, "tea", 1);
    check_int(tx_status(tx), ALREADY_EXISTS);
    check(strstr(tx_message(tx),
                 on_postgres() ? "shop.insert_item: duplicate key value violates unique constraint"
                               : "shop.insert_item: UNIQUE constraint failed: shop_item.id"));
    item(tx, "pot", -1);
    struct value in[] = {value_text("tea"), value_int(1)};
    int64_t n = 77;
    check_int(sql_count(tx, &add_to_item, in, 2), 0);
    check_int(sql_int(tx, &find_n, in, 1, &n), ALREADY_EXISTS);
    check_int(n, 77);
    check_int(tx_fail(tx, ABORTED), ABORTED);
    check_int(tx_commit(tx), ALREADY_EXISTS);
    check_int(ask(s.store, &s.scope, &count_items, NULL), 1);
    check_int(ask(s.store, &s.scope, &find_n, "tea"), 1);
    check_int(store_wait(&s.scope), OK);
    check_int(ask_afresh(&s, &count_items, NULL), 1);
    shop_close(&s);
}

TEST(a_failure_has_the_status_that_says_what_it_is)
{
    static const struct {
        struct statement statement;
        enum status want;
    } cases[] = {
        {{"shop", "a", "INSERT INTO shop_item VALUES ('tea', 1, NULL, NULL)", true, 0},
         ALREADY_EXISTS},
        {{"shop", "b", "INSERT INTO shop_item VALUES ('new', 1, 'hot', NULL)", true, 0},
         ALREADY_EXISTS},
        {{"shop", "c", "INSERT INTO shop_part VALUES (1, 'tea')", true, 0}, ALREADY_EXISTS},
        {{"shop", "d", "INSERT INTO shop_item VALUES ('new', -1, NULL, NULL)", true, 0},
         FAILED_PRECONDITION},
        {{"shop", "e", "INSERT INTO shop_item VALUES ('new', NULL, NULL, NULL)", true, 0},
         FAILED_PRECONDITION},
        {{"shop", "f", "INSERT INTO shop_part VALUES (2, 'nothing')", true, 0},
         FAILED_PRECONDITION},
        {{"shop", "g", "DELETE FROM shop_item", true, 0}, FAILED_PRECONDITION},
        {{"shop", "h", "SELECT abs(-9223372036854775807 - 1) FROM shop_item", false, 0}, INTERNAL},
    };
    static struct statement tea = {"shop", "tea",
                                   "INSERT INTO shop_item VALUES ('tea', 1, 'hot', NULL)", true, 0};
    static struct statement part = {"shop", "part", "INSERT INTO shop_part VALUES (1, 'tea')", true,
                                    0};
    struct shop s = shop_open();
    struct tx *tx = tx_begin_in(s.store, "shop", &s.scope);
    sql_exec(tx, &tea, NULL, 0);
    sql_exec(tx, &part, NULL, 0);
    check_int(tx_commit(tx), OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct statement *statement = malloc(sizeof *statement);
        *statement = cases[i].statement;
        tx = tx_begin_in(s.store, "shop", &s.scope);
        item(tx, "first", 1);
        sql_exec(tx, statement, NULL, 0);
        check_int(tx_commit(tx), cases[i].want);
        check_int(ask(s.store, &s.scope, &count_items, NULL), 1);
        free(statement);
    }
    check_int(store_wait(&s.scope), OK);
    shop_close(&s);
}

TEST(what_is_not_committed_is_undone_and_its_neighbours_stay)
{
    struct shop s = shop_open();
    check_int(put(s.store, &s.scope, "before", 1), OK);
    struct tx *tx = tx_begin_in(s.store, "shop", &s.scope);
    item(tx, "never", 1);
    tx_end(tx);
    tx = tx_begin_in(s.store, "shop", &s.scope);
    item(tx, "neither", 1);
    check_int(tx_fail(tx, ABORTED), ABORTED);
    check_int(tx_commit(tx), ABORTED);
    check_int(put(s.store, &s.scope, "after", 1), OK);
    check_int(store_wait(&s.scope), OK);
    check_int(ask_afresh(&s, &count_items, NULL), 2);
    check_int(ask_afresh(&s, &find_n, "before"), 1);
    check_int(ask_afresh(&s, &find_n, "after"), 1);
    shop_close(&s);
}

TEST(only_he_who_wrote_reads_what_is_not_on_disk_yet)
{
    struct shop s = shop_open();
    struct tx *tx = tx_begin_in(s.store, "shop", &s.scope);
    item(tx, "tea", 1);
    int64_t n = 0;
    struct value in[] = {value_text("tea")};
    check_int(sql_int(tx, &find_n, in, 1, &n), OK);
    check_int(n, 1);
    check_int(ask_afresh(&s, &count_items, NULL), 0); /* beside an open transaction */
    check_int(tx_commit(tx), OK);
    check_int(ask(s.store, &s.scope, &count_items, NULL), 1);
    check_int(store_wait(&s.scope), OK);
    check_int(ask_afresh(&s, &count_items, NULL), 1);
    shop_close(&s);
}

TEST(a_transaction_for_reading_sees_one_moment)
{
    struct shop s = shop_open();
    struct tx_scope reader = {.arena = s.arena};
    struct tx *read = tx_begin_read_in(s.store, "shop", &reader);
    int64_t n = 0;
    check_int(sql_int(read, &count_items, NULL, 0, &n), OK);
    check_int(put(s.store, &s.scope, "tea", 1), OK);
    check_int(store_wait(&s.scope), OK);
    check_int(sql_int(read, &count_items, NULL, 0, &n), OK);
    check_int(n, 0);
    check_int(tx_commit(read), OK);
    check(store_settled(&reader));
    check_int(ask(s.store, &reader, &count_items, NULL), 1);
    shop_close(&s);
}

/* ---- marks ---- */

TEST(a_part_is_undone_and_its_failure_forgotten)
{
    struct shop s = shop_open();
    struct tx *tx = tx_begin_in(s.store, "shop", &s.scope);
    item(tx, "first", 1);
    for (int i = 0; i < 100; i++) {
        int mark = tx_mark(tx);
        item(tx, arena_printf(s.arena, "part-%d", i), 1);
        if (i % 2) {
            item(tx, "first", 1);
            check_int(tx_status(tx), ALREADY_EXISTS);
            tx_undo_to(tx, mark);
            check_int(tx_status(tx), OK);
            check_text(tx_message(tx), "");
        }
    }
    item(tx, "last", 1);
    check_int(tx_commit(tx), OK);
    check_int(store_wait(&s.scope), OK);
    check_int(ask_afresh(&s, &count_items, NULL), 52);
    check_int(ask_afresh(&s, &find_n, "part-1"), -1);
    check_int(ask_afresh(&s, &find_n, "part-98"), 1);
    shop_close(&s);
}

TEST(marks_nest_and_an_earlier_failure_stays)
{
    struct shop s = shop_open();
    struct tx *tx = tx_begin_in(s.store, "shop", &s.scope);
    int outer = tx_mark(tx);
    item(tx, "a", 1);
    int inner = tx_mark(tx);
    item(tx, "b", 1);
    tx_undo_to(tx, inner);
    item(tx, "c", 1);
    tx_undo_to(tx, inner); /* a second time */
    check_int(tx_status(tx), OK);
    int64_t n = 0;
    check_int(sql_int(tx, &count_items, NULL, 0, &n), OK);
    check_int(n, 1);
    tx_undo_to(tx, outer);
    check_int(sql_int(tx, &count_items, NULL, 0, &n), OK);
    check_int(n, 0);
    item(tx, "d", 1);
    tx_fail(tx, ABORTED);
    int late = tx_mark(tx);
    tx_undo_to(tx, late);
    check_int(tx_status(tx), ABORTED);
    check_int(tx_commit(tx), ABORTED);
    check_int(store_wait(&s.scope), OK);
    check_int(ask_afresh(&s, &count_items, NULL), 0);
    shop_close(&s);
}

TEST(what_fails_unasked_fails_the_commit_unless_it_was_undone)
{
    struct shop s = shop_open();
    for (int undone = 0; undone < 2; undone++) {
        struct tx *tx = tx_begin_in(s.store, "shop", &s.scope);
        tx_trust(tx);
        item(tx, arena_printf(s.arena, "before-%d", undone), 1);
        int mark = tx_mark(tx);
        item(tx, arena_printf(s.arena, "before-%d", undone), 2);
        if (undone)
            tx_undo_to(tx, mark);
        item(tx, arena_printf(s.arena, "after-%d", undone), 3);
        check_int(tx_commit(tx), undone ? OK : ALREADY_EXISTS);
        check_int(store_wait(&s.scope), OK);
    }
    check_int(ask_afresh(&s, &count_items, NULL), 2);
    check_int(ask_afresh(&s, &find_n, "before-1"), 1);
    check_int(ask_afresh(&s, &find_n, "after-1"), 3);
    shop_close(&s);
}

TEST(no_undoing_brings_a_lost_batch_back)
{
    struct shop s = shop_open();
    struct tx *tx = tx_begin_in(s.store, "shop", &s.scope);
    int mark = tx_mark(tx);
    item(tx, "tea", 1);
    store_fail_at(s.store, 1);
    item(tx, "cup", 1);
    tx_undo_to(tx, mark);
    check_int(tx_status(tx), UNAVAILABLE);
    check_int(tx_commit(tx), UNAVAILABLE);
    check_int(store_wait(&s.scope), UNAVAILABLE);
    shop_close(&s);
}

/* ---- the disk fails ---- */

/* A read and two transactions, with a mark and an event. */
static enum status
work(struct store *store, struct tx_scope *scope)
{
    int64_t n;
    struct value tea[] = {value_text("tea")};
    struct tx *tx = tx_begin_read_in(store, "shop", scope);
    enum status st = sql_int(tx, &find_n, tea, 1, &n);
    tx_end(tx);
    if (st == NOT_FOUND)
        st = put(store, scope, "tea", 1);
    if (st)
        return st;
    tx = tx_begin_in(store, "shop", scope);
    item(tx, "cup", 1);
    int mark = tx_mark(tx);
    item(tx, "cup", 1);
    if (tx_status(tx) == ALREADY_EXISTS)
        tx_undo_to(tx, mark);
    struct value part[] = {value_int(1), value_text("tea")};
    sql_exec(tx, &insert_part, part, 2);
    struct value event[] = {value_text("sold")};
    sql_exec(tx, &publish, event, 1);
    st = tx_commit(tx);
    enum status settled = store_wait(scope);
    return st ? st : settled;
}

TEST(wherever_the_disk_fails_it_is_all_or_nothing_and_a_retry_mends_it)
{
    enum status st;
    int k = 0;
    do {
        struct shop s = shop_open();
        store_fail_at(s.store, ++k);
        st = work(s.store, &s.scope);
        check(st == OK || st == UNAVAILABLE);
        store_fail_at(s.store, 0);
        check_int(ask_afresh(&s, &count_events, NULL), st == OK);
        check_int(ask_afresh(&s, &find_n, "cup"), st == OK ? 1 : -1);
        if (st) {
            struct tx_scope again = {.arena = s.arena};
            check_int(work(s.store, &again), OK);
        }
        check_int(ask_afresh(&s, &count_events, NULL), 1);
        check_int(ask_afresh(&s, &count_items, NULL), 2);
        shop_close(&s);
    } while (st);
    check(k > 7);
}

TEST(a_lost_batch_takes_all_its_members_and_none_of_its_successors)
{
    struct shop s = shop_open();
    struct tx_scope a = {.arena = s.arena}, b = a, only_read = a, reader = a, later = a;
    check_int(put(s.store, &a, "a", 1), OK);
    struct tx *tx = tx_begin_in(s.store, "shop", &reader);
    int64_t n = 0;
    struct value in[] = {value_text("a")};
    check_int(sql_int(tx, &find_n, in, 1, &n), OK);
    tx_end(tx);
    tx = tx_begin_in(s.store, "shop", &b); /* which holds the batch open */
    item(tx, "b", 1);
    uint64_t batch = a.batch[1];
    bool together = !store_settled(&a);
    store_fail_at(s.store, 1);
    item(tx, "c", 1);
    check_int(tx_commit(tx), UNAVAILABLE);
    check_int(store_wait(&b), UNAVAILABLE);
    if (together) { /* unless a's batch grew so old that it was committed before b came */
        check(b.batch[1] == batch);
        check_int(store_wait(&a), UNAVAILABLE);
        check_int(store_wait(&reader), UNAVAILABLE);      /* what it has read never happened */
        check_int(put(s.store, &a, "d", 1), UNAVAILABLE); /* what it knows never happened */
        check_int(ask(s.store, &a, &count_items, NULL), -1);
        check_int(ask_afresh(&s, &count_items, NULL), 0);
    }
    check_int(ask(s.store, &only_read, &find_n, "b"), -1);
    check_int(store_wait(&only_read), OK);
    check_int(put(s.store, &later, "e", 1), OK);
    check_int(store_wait(&later), OK);
    check_int(store_wait(&b), UNAVAILABLE); /* for ever */
    check_int(ask_afresh(&s, &find_n, "e"), 1);
    check_int((int)store_figures(s.store).failed_batches, 1);
    shop_close(&s);
}

TEST(of_many_failed_batches_each_scope_hears_of_its_own)
{
    enum { FAILURES = 3000, KEPT = 200 };
    struct shop s = shop_open();
    static struct tx_scope good[FAILURES], bad[FAILURES];
    struct arena *a = arena_new();
    for (int i = 0; i < FAILURES; i++) {
        good[i] = bad[i] = (struct tx_scope){.arena = a};
        struct tx *tx = tx_begin_in(s.store, "shop", &bad[i]);
        item(tx, "never", 1);
        store_fail_at(s.store, 1);
        item(tx, "neither", 1);
        check_int(tx_commit(tx), UNAVAILABLE);
        if (i % 3) /* some runs are longer than one */
            continue;
        check_int(put(s.store, &good[i], arena_printf(a, "%d", i), 1), OK);
        check_int(store_wait(&good[i]), OK);
    }
    for (int i = 0; i < FAILURES; i++)
        check_int(store_wait(&bad[i]), UNAVAILABLE);
    for (int i = FAILURES - KEPT; i < FAILURES; i++)
        check_int(store_wait(&good[i]), OK);
    arena_free(a);
    shop_close(&s);
}

/* ---- the dump ---- */

static bool
of_the_shop(const char *table, void *arg)
{
    (void)arg;
    return strncmp(table, "shop_", 5) == 0;
}

TEST(equal_content_gives_equal_dumps)
{
    static struct statement with_body = {"shop", "with_body",
                                         "INSERT INTO shop_item VALUES (?1, 7, ?2, ?3)", true, 0};
    struct shop s[2] = {shop_open(), shop_open()};
    char *dump[2];
    for (int i = 0; i < 2; i++) {
        struct tx *tx = tx_begin_in(s[i].store, "shop", &s[i].scope);
        item(tx, i ? "b" : "a", i ? 2 : 1);
        item(tx, i ? "a" : "b", i ? 1 : 2);
        struct value odd[] = {value_text("it's"), value_text("two\nlines"),
                              value_blob((ProtobufCBinaryData){2, (uint8_t[]){1, 0xfe}})};
        sql_exec(tx, &with_body, odd, 3);
        check_int(tx_commit(tx), OK);
        check_int(store_dump(s[i].store, of_the_shop, NULL, s[i].arena, &dump[i]), OK);
    }
    check_text(dump[0], dump[1]);
    check_text(dump[0], "\"shop_item\" (\"id\", \"n\", \"note\", \"body\")\n"
                        "('a', 1, NULL, NULL)\n"
                        "('b', 2, NULL, NULL)\n"
                        "('it''s', 7, CAST(X'74776f0a6c696e6573' AS TEXT), X'01fe')\n"
                        "\"shop_part\" (\"id\", \"item_id\")\n");
    for (int i = 0; i < 2; i++)
        shop_close(&s[i]);
}
