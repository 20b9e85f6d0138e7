/* The sandbox provider: what its tokens do, and that its ledger outlives it. */
#include "payments/sandbox.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/env.h"
#include "base/text.h"
#include "base/time.h"
#include "test/test.h"

static struct arena *arena;
static const char *path;

static struct sandbox *
open_sandbox(void)
{
    const char *why = "";
    struct sandbox *s = sandbox_open(path, 1000, arena, &why);
    check_text(why, "");
    return s;
}

static struct sandbox *
new_sandbox(void)
{
    arena = arena_new();
    path = arena_printf(arena, "%s/sandbox.ledger", test_dir());
    return open_sandbox();
}

static void
end(struct sandbox *s)
{
    sandbox_close(s);
    arena_free(arena);
}

static struct provider_answer
charge(struct sandbox *s, const char *key, const char *token)
{
    struct provider_answer answer;
    sandbox_provider.charge(s, arena,
                            &(struct provider_charge){.key = key,
                                                      .order_id = "ord_1",
                                                      .token = token,
                                                      .amount_minor = 500,
                                                      .currency = "EUR",
                                                      .timeout_us = 2000},
                            &answer);
    return answer;
}

static struct provider_answer
refund(struct sandbox *s, const char *key, const char *of, int64_t amount_minor)
{
    struct provider_answer answer;
    sandbox_provider.refund(s, arena,
                            &(struct provider_refund){.key = key,
                                                      .charge_key = of,
                                                      .amount_minor = amount_minor,
                                                      .currency = "EUR",
                                                      .timeout_us = 2000},
                            &answer);
    return answer;
}

static struct provider_answer
resolve(struct sandbox *s, const char *key)
{
    struct provider_answer answer;
    sandbox_provider.resolve(s, arena, key, 2000, &answer);
    return answer;
}

/* The file's bytes. */
static const char *
ledger(void)
{
    char *bytes = arena_alloc(arena, 1 << 20);
    int fd = open(path, O_RDONLY);
    check(read(fd, bytes, (1 << 20) - 1) >= 0);
    close(fd);
    return bytes;
}

static int
lines(void)
{
    int n = 0;
    for (const char *p = ledger(); *p; p++)
        n += *p == '\n';
    return n;
}

static void
write_to_ledger(const char *bytes)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT, 0600);
    check(write(fd, bytes, strlen(bytes)) == (ssize_t)strlen(bytes));
    close(fd);
}

TEST(a_token_decides_what_is_answered_and_what_is_captured)
{
    static const struct {
        const char *token;
        enum outcome answered, found;
        const char *reason;
    } cases[] = {
        {"approve", OUTCOME_CAPTURED, OUTCOME_CAPTURED, ""},
        {"decline", OUTCOME_DECLINED, OUTCOME_DECLINED, "declined"},
        {"insufficient_funds", OUTCOME_DECLINED, OUTCOME_DECLINED, "insufficient_funds"},
        {"timeout", OUTCOME_UNKNOWN, OUTCOME_CAPTURED, ""},
        {"slow", OUTCOME_CAPTURED, OUTCOME_CAPTURED, ""},
        {"webhook_late", OUTCOME_UNKNOWN, OUTCOME_CAPTURED, ""},
        {"webhook_twice", OUTCOME_UNKNOWN, OUTCOME_CAPTURED, ""},
        {"webhook_first", OUTCOME_CAPTURED, OUTCOME_CAPTURED, ""},
        {"webhook_never", OUTCOME_DECLINED, OUTCOME_DECLINED, "invalid_token"},
        {"", OUTCOME_DECLINED, OUTCOME_DECLINED, "invalid_token"},
    };
    struct sandbox *s = new_sandbox();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *key = arena_printf(arena, "pay_%zu", i);
        struct provider_answer answer = charge(s, key, cases[i].token);
        check_int(answer.outcome, cases[i].answered);
        check_text(answer.reason, cases[i].reason);
        check_int(resolve(s, key).outcome, cases[i].found);
    }
    end(s);
}

TEST(a_token_is_followed_by_the_callbacks_that_it_is_named_for)
{
    static const struct {
        const char *token;
        int at_once, soon, late;
    } cases[] = {{"approve", 0, 0, 0},       {"timeout", 0, 0, 0},       {"decline", 0, 0, 0},
                 {"webhook_first", 1, 0, 0}, {"webhook_twice", 0, 2, 0}, {"webhook_late", 0, 0, 1}};
    arena = arena_new();
    const char *why = "";
    struct sandbox *s = sandbox_open(arena_printf(arena, "%s/sandbox.ledger", test_dir()),
                                     60 * SECOND_US, arena, &why);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *key = arena_printf(arena, "pay_%zu", i);
        int64_t began_us = env.now_us();
        int found[3] = {0};
        charge(s, key, cases[i].token);
        for (int j = 0; j < 3; j++) {
            static const int64_t wait_us[] = {0, 30 * SECOND_US, 90 * SECOND_US};
            struct provider_news news;
            check(!sandbox_next_callback(s, arena, began_us + wait_us[j], "pay_none", &news));
            while (sandbox_next_callback(s, arena, began_us + wait_us[j], key, &news)) {
                check_text(news.key, key);
                check_int(news.answer.outcome, OUTCOME_CAPTURED);
                found[j]++;
            }
        }
        check_int(found[0], cases[i].at_once);
        check_int(found[1], cases[i].soon);
        check_int(found[2], cases[i].late);
    }
    end(s);
}

TEST(a_page_of_its_books_goes_on_where_the_last_one_ended)
{
    struct sandbox *s = new_sandbox();
    int64_t began_us = env.now_us();
    for (int i = 0; i < 25; i++)
        charge(s, arena_printf(arena, "pay_%d", i), "approve");
    int64_t ended_us = env.now_us() + 1;
    for (size_t max = 1; max <= 26; max++) {
        const struct provider_list in = {.from_us = began_us, .to_us = ended_us, .max = max};
        struct provider_movement *found;
        size_t n, total = 0;
        for (int64_t offset = 0; offset >= 0; total += n) {
            check_int(sandbox_page(s, arena, &in, &offset, &found, &n), OK);
            for (size_t i = 0; i < n; i++)
                check_text(found[i].key, arena_printf(arena, "pay_%zu", total + i));
        }
        check_int((long long)total, 25);
        check_int(sandbox_provider.list(s, arena, &in, &found, &n),
                  max < 25 ? RESOURCE_EXHAUSTED : OK);
    }
    struct provider_movement *none;
    size_t n = 1;
    const struct provider_list earlier = {.from_us = 0, .to_us = began_us, .max = 10};
    check_int(sandbox_provider.list(s, arena, &earlier, &none, &n), OK);
    check_int((long long)n, 0);
    end(s);
}

TEST(a_repeated_key_is_answered_with_its_first_outcome_and_moves_nothing)
{
    struct sandbox *s = new_sandbox();
    struct provider_answer first = charge(s, "pay_1", "approve");
    check_text(first.ref, "sbx_1");
    check_int(charge(s, "pay_1", "decline").outcome, OUTCOME_CAPTURED);
    check_text(charge(s, "pay_1", "approve").ref, "sbx_1");
    check_int(refund(s, "rfd_1", "pay_1", 200).outcome, OUTCOME_REFUNDED);
    check_int(refund(s, "rfd_1", "pay_1", 200).outcome, OUTCOME_REFUNDED);
    check_int(lines(), 2);
    end(s);
}

TEST(a_key_that_was_asked_about_and_not_known_is_void)
{
    struct sandbox *s = new_sandbox();
    check_int(resolve(s, "pay_1").outcome, OUTCOME_ABSENT);
    check_int(resolve(s, "pay_1").outcome, OUTCOME_ABSENT);
    struct provider_answer late = charge(s, "pay_1", "approve");
    check_int(late.outcome, OUTCOME_DECLINED);
    check_text(late.reason, "voided");
    sandbox_close(s);
    s = open_sandbox();
    check_int(charge(s, "pay_1", "approve").outcome, OUTCOME_DECLINED);
    check_int(lines(), 1);
    end(s);
}

TEST(no_more_is_given_back_than_was_captured)
{
    static const struct {
        const char *key, *of;
        int64_t amount_minor;
        enum outcome outcome;
        const char *reason;
    } cases[] = {
        {"rfd_1", "pay_1", 300, OUTCOME_REFUNDED, ""},
        {"rfd_2", "pay_1", 201, OUTCOME_DECLINED, "more_than_captured"},
        {"rfd_3", "pay_1", 200, OUTCOME_REFUNDED, ""},
        {"rfd_4", "pay_1", 1, OUTCOME_DECLINED, "more_than_captured"},
        {"rfd_5", "pay_2", 1, OUTCOME_DECLINED, "no_such_charge"}, /* it was declined */
        {"rfd_6", "pay_3", 1, OUTCOME_DECLINED, "no_such_charge"},
        {"rfd_7", "rfd_1", 1, OUTCOME_DECLINED, "no_such_charge"},
    };
    struct sandbox *s = new_sandbox();
    charge(s, "pay_1", "approve");
    charge(s, "pay_2", "decline");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (i == 2) { /* what went back is known after a restart */
            sandbox_close(s);
            s = open_sandbox();
        }
        struct provider_answer answer = refund(s, cases[i].key, cases[i].of, cases[i].amount_minor);
        check_int(answer.outcome, cases[i].outcome);
        check_text(answer.reason, cases[i].reason);
    }
    end(s);
}

TEST(its_ledger_brings_back_what_it_knew)
{
    struct sandbox *s = new_sandbox();
    for (int i = 0; i < 3000; i++)
        charge(s, arena_printf(arena, "pay_%d", i), i % 3 ? "approve" : "decline");
    sandbox_close(s);
    s = open_sandbox();
    for (int i = 0; i < 3000; i++)
        check_int(resolve(s, arena_printf(arena, "pay_%d", i)).outcome,
                  i % 3 ? OUTCOME_CAPTURED : OUTCOME_DECLINED);
    check_int(lines(), 3000);
    check(strstr(ledger(), ",\"kind\":\"charge\",\"key\":\"pay_1\",\"of\":\"ord_1\",\"amount\":500,"
                           "\"currency\":\"EUR\",\"outcome\":\"captured\",\"reason\":\"\"}\n"));
    end(s);
}

/* However far the last line got, it was not answered for. */
TEST(a_torn_last_line_is_dropped)
{
    struct sandbox *s = new_sandbox();
    charge(s, "pay_1", "approve");
    sandbox_close(s);
    const char *whole = ledger();
    size_t n = strlen(whole);
    for (size_t cut = 0; cut < n; cut++) {
        const char *other = arena_strdup(arena, whole);
        memcpy(strstr(other, "pay_1"), "pay_2", 5);
        write_to_ledger(arena_strndup(arena, other, cut));
        s = open_sandbox();
        check_text(ledger(), whole);
        sandbox_close(s);
    }
    s = open_sandbox();
    check_int(resolve(s, "pay_2").outcome, OUTCOME_ABSENT);
    check_int(resolve(s, "pay_1").outcome, OUTCOME_CAPTURED);
    end(s);
}

static int writes_that_work;

static ssize_t
write_half(int fd, const void *bytes, size_t n)
{
    if (writes_that_work-- > 0)
        return write(fd, bytes, n);
    return write(fd, bytes, n / 2);
}

/* Half a line is no promise: nobody is told that it happened, and it has not. */
TEST(a_full_disk_leaves_the_outcome_unknown_and_then_undone)
{
    struct sandbox *s = new_sandbox();
    writes_that_work = 1;
    env.file_write = write_half;
    check_int(charge(s, "pay_1", "approve").outcome, OUTCOME_CAPTURED);
    check_int(charge(s, "pay_2", "approve").outcome, OUTCOME_UNKNOWN);
    check_int(resolve(s, "pay_2").outcome, OUTCOME_UNKNOWN);
    env.file_write = env_real.file_write;
    check_int(resolve(s, "pay_2").outcome, OUTCOME_ABSENT);
    check_int(charge(s, "pay_1", "approve").outcome, OUTCOME_CAPTURED);
    check_int(lines(), 2);
    end(s);
}

TEST(what_is_no_word_of_a_ledger_is_declined)
{
    struct sandbox *s = new_sandbox();
    check_text(charge(s, "pay \"1\"", "approve").reason, "bad_request");
    check_text(charge(s, "", "approve").reason, "bad_request");
    check_text(charge(s, "pay_0123456789012345678901234567890123456789", "approve").reason,
               "bad_request");
    check_int(lines(), 0);
    end(s);
}
