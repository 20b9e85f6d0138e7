/* Rows that are sent together, on PostgreSQL: what becomes of them is what became of them alone. */
#include "store/store_test.h"

enum { ITEMS = 37, STATEMENTS_MAX = 10 }; /* of 16, 16, 4 and 1 rows, each of both */

static void
part(struct tx *tx, int64_t id, const char *item_id)
{
    struct value in[] = {value_int(id), value_text(item_id)};
    sql_exec(tx, &insert_part, in, 2);
}

/* All is on PostgreSQL here: SOUK_TEST_POSTGRES says where. */
__attribute__((constructor)) static void
choose_postgres(void)
{
    setenv("SOUK_TEST_STORE", "postgres", 1);
}

TEST(many_rows_are_a_few_statements_and_keep_their_order)
{
    struct shop s = shop_open();
    struct tx *tx = tx_begin_in(s.store, "shop", &s.scope);
    for (int i = 1; i <= ITEMS; i++) {
        char id[16]; /* gone before it is sent */
        snprintf(id, sizeof id, "%d", i);
        struct value in[] = {value_text(id)};
        item(tx, id, i);
        sql_exec(tx, &publish, in, 1);
    }
    check_int(tx_commit(tx), OK);
    check_int(store_wait(&s.scope), OK);
    check_int(query(&s.place, "SELECT sum(n) FROM shop_item WHERE id = n::text"),
              ITEMS * (ITEMS + 1) / 2);
    check_int(query(&s.place, "SELECT count(*) FROM bus_event WHERE data = position::text"), ITEMS);
    /* cmin: by which statement of its transaction a row came. */
    int64_t statements = query(&s.place, "SELECT count(*) FROM (SELECT cmin::text FROM shop_item "
                                         "UNION SELECT cmin::text FROM bus_event) AS s");
    check(statements > 0 && statements <= STATEMENTS_MAX);
    shop_close(&s);
}

TEST(a_row_stands_before_what_refers_to_it)
{
    struct shop s = shop_open();
    struct tx *tx = tx_begin_in(s.store, "shop", &s.scope);
    for (int i = 0; i < ITEMS; i++) {
        const char *id = arena_printf(s.arena, "%d", i);
        item(tx, id, i);
        part(tx, 2 * i, id);
        part(tx, 2 * i + 1, id);
    }
    check_int(tx_commit(tx), OK);
    check_int(store_wait(&s.scope), OK);
    check_int(query(&s.place, "SELECT count(*) FROM shop_part WHERE id / 2 = item_id::int"),
              2 * ITEMS);
    shop_close(&s);
}

TEST(what_is_asked_sees_the_rows_before_it)
{
    struct shop s = shop_open();
    struct tx *tx = tx_begin_in(s.store, "shop", &s.scope);
    for (int i = 0; i < ITEMS; i++) {
        int64_t n = 0;
        struct value in[] = {value_text("first"), value_int(1)};
        item(tx, i == 0 ? "first" : arena_printf(s.arena, "%d", i), 0);
        check_int(sql_count(tx, &add_to_item, in, 2), 1);
        item(tx, arena_printf(s.arena, "more %d", i), 0);
        sql_exec(tx, &add_to_item, in, 2);
        check_int(sql_int(tx, &count_items, NULL, 0, &n), OK);
        check_int(n, 2 * i + 2);
    }
    check_int(tx_commit(tx), OK);
    check_int(ask(s.store, &s.scope, &find_n, "first"), 2 * ITEMS);
    shop_close(&s);
}

TEST(one_row_that_fails_is_named_and_nothing_of_its_transaction_stays)
{
    struct shop s = shop_open();
    check_int(put(s.store, &s.scope, "3", 1), OK);
    struct tx *tx = tx_begin_in(s.store, "shop", &s.scope);
    for (int i = 1; i < 6; i++)
        item(tx, arena_printf(s.arena, "%d", i), 0);
    check_int(tx_status(tx), ALREADY_EXISTS);
    check(strstr(tx_message(tx), "shop.insert_item: ") == tx_message(tx));
    item(tx, "later", 0);
    check_int(tx_commit(tx), ALREADY_EXISTS);
    check_int(put(s.store, &s.scope, "after", 1), OK);
    check_int(store_wait(&s.scope), OK);
    check_int(ask_afresh(&s, &count_items, NULL), 2);
    shop_close(&s);
}

TEST(a_mark_stands_between_the_rows_before_it_and_behind_it)
{
    struct shop s = shop_open();
    struct tx *tx = tx_begin_in(s.store, "shop", &s.scope);
    item(tx, "a", 0);
    int mark = tx_mark(tx);
    item(tx, "b", 0);
    item(tx, "a", 0);
    tx_undo_to(tx, mark);
    check_int(tx_status(tx), OK);
    item(tx, "c", 0);
    check_int(tx_commit(tx), OK);
    check_int(store_wait(&s.scope), OK);
    check_int(ask_afresh(&s, &count_items, NULL), 2);
    check_int(ask_afresh(&s, &find_n, "b"), -1);

    tx = tx_begin_in(s.store, "shop", &s.scope);
    item(tx, "c", 0); /* fails, which nobody knows yet */
    mark = tx_mark(tx);
    item(tx, "d", 0);
    tx_undo_to(tx, mark);
    check_int(tx_commit(tx), ALREADY_EXISTS);
    shop_close(&s);
}
