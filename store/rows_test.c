/* Statements: how rows fill messages, what is refused, and whose tables one may touch. */
#include "store/store_test.h"

/* What protoc-c would make of
 *     enum Kind { NONE = 0; HOT = 1; COLD = 5; }
 *     message Sum { int64 amount = 1; string currency = 2; }
 *     message Row { string id = 1; int64 n = 2; int32 small = 3; bool flag = 4; Kind kind = 5;
 *                   bytes body = 6; Sum total = 7; repeated int64 list = 8; double weight = 9;
 *                   oneof choice { string left = 10; uint32 right = 11; } } */
typedef struct {
    ProtobufCMessage base;
    int64_t amount;
    const char *currency;
} Sum;
typedef struct {
    ProtobufCMessage base;
    const char *id;
    int64_t n;
    int32_t small;
    protobuf_c_boolean flag;
    int kind;
    ProtobufCBinaryData body;
    Sum *total;
    size_t n_list;
    int64_t *list;
    double weight;
    uint32_t choice;
    union {
        const char *left;
        uint32_t right;
    };
} Row;

static const ProtobufCEnumValue kinds[] = {
    {"NONE", "NONE", 0}, {"HOT", "HOT", 1}, {"COLD", "COLD", 5}};
static const ProtobufCEnumValueIndex kinds_by_name[] = {{"COLD", 2}, {"HOT", 1}, {"NONE", 0}};
static const ProtobufCIntRange kind_ranges[] = {{0, 0}, {5, 2}, {0, 3}};
static const ProtobufCEnumDescriptor kind_type = {.magic = PROTOBUF_C__ENUM_DESCRIPTOR_MAGIC,
                                                  .name = "Kind",
                                                  .n_values = 3,
                                                  .values = kinds,
                                                  .n_value_names = 3,
                                                  .values_by_name = kinds_by_name,
                                                  .n_value_ranges = 2,
                                                  .value_ranges = kind_ranges};

#define FIELD(number, field, field_type, message, ...)                                             \
    {                                                                                              \
        .name = #field, .id = number, .label = PROTOBUF_C_LABEL_NONE,                              \
        .type = PROTOBUF_C_TYPE_##field_type, .offset = offsetof(message, field), __VA_ARGS__      \
    }

static void init_sum(void *message);
static void init_row(void *message);
static const ProtobufCFieldDescriptor sum_fields[] = {FIELD(1, amount, INT64, Sum, ),
                                                      FIELD(2, currency, STRING, Sum, )};
static const unsigned sum_by_name[] = {0, 1};
static const ProtobufCIntRange sum_ranges[] = {{1, 0}, {0, 2}};
static const ProtobufCMessageDescriptor sum_type = {.magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC,
                                                    .name = "Sum",
                                                    .sizeof_message = sizeof(Sum),
                                                    .n_fields = 2,
                                                    .fields = sum_fields,
                                                    .fields_sorted_by_name = sum_by_name,
                                                    .n_field_ranges = 1,
                                                    .field_ranges = sum_ranges,
                                                    .message_init = (ProtobufCMessageInit)init_sum};
static const ProtobufCFieldDescriptor row_fields[] = {
    FIELD(1, id, STRING, Row, ),
    FIELD(2, n, INT64, Row, ),
    FIELD(3, small, INT32, Row, ),
    FIELD(4, flag, BOOL, Row, ),
    FIELD(5, kind, ENUM, Row, .descriptor = &kind_type),
    FIELD(6, body, BYTES, Row, ),
    FIELD(7, total, MESSAGE, Row, .descriptor = &sum_type),
    {.name = "list",
     .id = 8,
     .label = PROTOBUF_C_LABEL_REPEATED,
     .type = PROTOBUF_C_TYPE_INT64,
     .offset = offsetof(Row, list),
     .quantifier_offset = offsetof(Row, n_list)},
    FIELD(9, weight, DOUBLE, Row, ),
    FIELD(10, left, STRING, Row, .flags = PROTOBUF_C_FIELD_FLAG_ONEOF,
          .quantifier_offset = offsetof(Row, choice)),
    FIELD(11, right, UINT32, Row, .flags = PROTOBUF_C_FIELD_FLAG_ONEOF,
          .quantifier_offset = offsetof(Row, choice))};
static const unsigned row_by_name[] = {5, 3, 0, 4, 9, 7, 1, 10, 2, 6, 8};
static const ProtobufCIntRange row_ranges[] = {{1, 0}, {0, 11}};
static const ProtobufCMessageDescriptor row_type = {.magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC,
                                                    .name = "Row",
                                                    .sizeof_message = sizeof(Row),
                                                    .n_fields = 11,
                                                    .fields = row_fields,
                                                    .fields_sorted_by_name = row_by_name,
                                                    .n_field_ranges = 1,
                                                    .field_ranges = row_ranges,
                                                    .message_init = (ProtobufCMessageInit)init_row};

static void
init_sum(void *message)
{
    *(Sum *)message = (Sum){.base = {&sum_type, 0, NULL}, .currency = ""};
}

static void
init_row(void *message)
{
    *(Row *)message = (Row){.base = {&row_type, 0, NULL}, .id = ""};
}

/* X'…', as SQLite writes bytes, in the words of the database that the test runs on. */
static const char *
blobs(struct arena *a, const char *sql)
{
    const char *at = on_postgres() ? strstr(sql, "X'") : NULL;
    if (!at)
        return sql;
    const char *end = strchr(at + 2, '\'');
    return arena_printf(a, "%.*sCAST('\\x%.*s' AS BYTEA)%s", (int)(at - sql), sql,
                        (int)(end - at - 2), at + 2, end + 1);
}

/* The rows of sql, as messages. */
static enum status
rows(struct shop *s, const char *sql, Row ***ret, size_t *ret_n)
{
    struct statement *statement = arena_alloc(s->arena, sizeof *statement);
    *statement = (struct statement){"shop", "rows", blobs(s->arena, sql), false, 0};
    struct tx *tx = tx_begin_read_in(s->store, "shop", &s->scope);
    enum status st = sql_many(tx, statement, NULL, 0, &row_type, ret, ret_n);
    check_int(tx_commit(tx), st);
    return st;
}

TEST(columns_fill_the_fields_of_their_names)
{
    struct shop s = shop_open();
    Row **row;
    size_t n;
    check_int(
        rows(&s,
             "SELECT 'tea' AS id, 9007199254740993 AS n, -7 AS small, 1 AS flag, 'COLD' AS kind,"
             " X'00ff' AS body, 42 AS \"total.amount\", 'EUR' AS \"total.currency\","
             " 0.5 AS weight, 3 AS \"right\"",
             &row, &n),
        OK);
    check_int((int)n, 1);
    check_text(row[0]->id, "tea");
    check_int(row[0]->n, 9007199254740993);
    check_int(row[0]->small, -7);
    check_int(row[0]->flag, 1);
    check_int(row[0]->kind, 5);
    check(row[0]->body.len == 2 && row[0]->body.data[1] == 0xff);
    check_int(row[0]->total->amount, 42);
    check_text(row[0]->total->currency, "EUR");
    check(row[0]->weight == 0.5);
    check_int(row[0]->choice, 11);
    check_int(row[0]->right, 3);
    shop_close(&s);
}

TEST(null_leaves_a_field_as_it_is_and_makes_no_message)
{
    struct shop s = shop_open();
    Row **row;
    size_t n;
    check_int(
        rows(&s, "SELECT NULL AS id, NULL AS n, NULL AS kind, NULL AS \"total.amount\", 1 AS kind",
             &row, &n),
        OK);
    check_text(row[0]->id, "");
    check_int(row[0]->kind, 1);
    check(row[0]->total == NULL);
    shop_close(&s);
}

TEST(many_rows_come_in_order_and_none_is_an_empty_list)
{
    struct shop s = shop_open();
    Row **row;
    size_t n;
    check_int(rows(&s,
                   "WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n < 99)"
                   " SELECT n, 'row ' || n AS id FROM c",
                   &row, &n),
              OK);
    check_int((int)n, 100);
    for (int i = 0; i < (int)n; i++)
        check_int(row[i]->n, i);
    check_text(row[99]->id, "row 99");
    check_int(rows(&s, "SELECT id, n FROM shop_item", &row, &n), OK);
    check_int((int)n, 0);
    shop_close(&s);
}

TEST(what_a_field_does_not_take_is_an_internal_error)
{
    static const char *const cases[] = {
        "SELECT 1 AS id",
        "SELECT 'x' AS n",
        "SELECT 3000000000 AS small",
        "SELECT 'WARM' AS kind",
        "SELECT 2 AS kind",
        "SELECT 'x' AS body",
        "SELECT 'x' AS weight",
        "SELECT 0.5 AS n",
        "SELECT -1 AS \"right\"",
        "SELECT X'00' AS \"total.currency\"",
    };
    struct shop s = shop_open();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        Row **row = NULL;
        size_t n = 0;
        check_int(rows(&s, cases[i], &row, &n), INTERNAL);
        check(row == NULL);
    }
    shop_close(&s);
}

TEST(one_row_one_number_one_text_or_not_found)
{
    static struct statement find = {"shop", "find", "SELECT id, n FROM shop_item WHERE id = ?1",
                                    false, 0};
    static struct statement note = {"shop", "note", "SELECT note FROM shop_item WHERE id = ?1",
                                    false, 0};
    static struct statement grow = {"shop", "grow",
                                    "UPDATE shop_item SET n = n + 1 RETURNING id, n", true, 0};
    struct shop s = shop_open();
    check_int(put(s.store, &s.scope, "tea", 5), OK);
    check_int(put(s.store, &s.scope, "cup", 5), OK);
    struct tx *tx = tx_begin_in(s.store, "shop", &s.scope);
    struct value tea[] = {value_text("tea")}, none[] = {value_text("none")};
    Row *row = NULL;
    const char *text = NULL;
    int64_t n = 0;
    check_int(sql_one(tx, &find, tea, 1, &row_type, &row), OK);
    check_int(row->n, 5);
    check_int(sql_text(tx, &note, tea, 1, &text), OK);
    check_text(text, "");
    check_int(sql_one(tx, &find, none, 1, &row_type, &row), NOT_FOUND);
    check_int(sql_text(tx, &note, none, 1, &text), NOT_FOUND);
    check_int(sql_int(tx, &find_n, none, 1, &n), NOT_FOUND);
    check_int(tx_status(tx), OK);
    check_int(sql_one(tx, &grow, NULL, 0, &row_type, &row), OK); /* and the others grow too */
    check_int(row->n, 6);
    check_int(sql_int(tx, &sum_items, NULL, 0, &n), OK);
    check_int(n, 12);
    check_int(tx_commit(tx), OK);
    shop_close(&s);
}

/* ---- our own mistakes end the program, with a word why ---- */

struct mistake {
    struct shop *shop;
    const char *service;
    struct statement statement;
    bool for_reading;
    const char *words;
};

/* In a child, which may not use its parent's connections, nor start threads. */
static void
make_mistake(void *arg)
{
    struct mistake *m = arg;
    env.single_thread = true;
    struct store *store = open_at(&m->shop->place, m->shop->arena);
    struct tx *tx =
        (m->for_reading ? tx_begin_read_in : tx_begin_in)(store, m->service, &m->shop->scope);
    Row **row;
    size_t n;
    sql_many(tx, &m->statement, NULL, 0, &row_type, &row, &n);
}

TEST(a_statement_touches_its_own_tables_alone)
{
    struct mistake cases[] = {
        {NULL,
         "orders",
         {"orders", "steal", "SELECT id FROM shop_item", false, 0},
         true,
         "statement orders.steal touches shop_item, which is not orders's own"},
        {NULL,
         "sho",
         {"sho", "near", "DELETE FROM shop_item", true, 0},
         false,
         "touches shop_item"},
        {NULL,
         "shop",
         {"shop", "drop", "DROP TABLE bus_event", true, 0},
         false,
         "touches bus_event"},
        {NULL,
         "shop",
         {"shop", "join", "SELECT i.id FROM shop_item i, bus_event", false, 0},
         true,
         "touches bus_event"},
        {NULL,
         "bus",
         {"bus", "into", "INSERT INTO shop_item SELECT 'x', 1, NULL, NULL", true, 0},
         false,
         "touches shop_item"},
        {NULL,
         "shop",
         {"bus", "inner", "SELECT (SELECT n FROM shop_item) AS n", false, 0},
         true,
         "touches shop_item"},
        {NULL,
         "orders",
         {"shop", "foreign", "SELECT id FROM shop_item", false, 0},
         true,
         "statement shop.foreign is run in a transaction of orders"},
        {NULL,
         "shop",
         {"shop", "sly", "DELETE FROM shop_item", true, 0},
         true,
         "writes, in a transaction for reading"},
        {NULL,
         "shop",
         {"shop", "liar", "DELETE FROM shop_item", false, 0},
         true,
         "shop.liar writes, and is said not to"},
        {NULL, "shop", {"shop", "typo", "SELEKT 1", false, 0}, true, "syntax error"},
        {NULL,
         "shop",
         {"shop", "params", "SELECT ?2 AS n", false, 0},
         true,
         "has 2 parameters, not 0"},
        {NULL, "shop", {"shop", "column", "SELECT 1 AS m", false, 0}, true, "no such single field"},
        {NULL,
         "shop",
         {"shop", "list", "SELECT 1 AS list", false, 0},
         true,
         "no such single field"},
        {NULL, "shop", {"shop", "whole", "SELECT 1 AS total", false, 0}, true, "is a message"},
        {NULL, "shop", {"shop", "leaf", "SELECT 1 AS \"id.x\"", false, 0}, true, "is no message"},
        {NULL,
         "shop",
         {"shop", "pragma", "PRAGMA synchronous = OFF", true, 0},
         false,
         on_postgres() ? "syntax error" : "not auth"},
    };
    struct shop s = shop_open();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cases[i].shop = &s;
        int status;
        char *words = words_of_dying(make_mistake, &cases[i], s.arena, &status);
        if (!WIFSIGNALED(status) || !strstr(words, cases[i].words)) {
            printf("%s: \"%s\"\n", cases[i].statement.name, words);
            check(false);
        }
    }
    struct mistake fine = {
        &s, "shop", {"shop", "fine", "SELECT id FROM shop_item", false, 0}, true, ""};
    int status;
    words_of_dying(make_mistake, &fine, s.arena, &status);
    check_int(status, 0);
    shop_close(&s);
}
