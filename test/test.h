/*
 * The whole test harness: TEST(name_as_a_sentence) { check(...); } and a closing line
 * "N passed, N failed".  A test program's arguments are the names of the tests to run; without any,
 * all run, in the order in which they stand in the file.
 */
#pragma once
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct test {
    const char *name;
    void (*run)(void);
    struct test *next;
};

void test_register(struct test *test);

#define TEST(name)                                                                                 \
    static void name(void);                                                                        \
    __attribute__((constructor)) static void register_##name(void)                                 \
    {                                                                                              \
        static struct test test = {#name, name, NULL};                                             \
        test_register(&test);                                                                      \
    }                                                                                              \
    static void name(void)

/* A claim that does not hold is told with its place; the test goes on, and has failed. */
#define check(claim)          ((claim) ? (void)0 : test_complain(__FILE__, __LINE__, #claim))
#define check_int(got, want)  test_check_int(__FILE__, __LINE__, #got, (got), (want))
#define check_text(got, want) test_check_text(__FILE__, __LINE__, #got, (got), (want))

void test_complain(const char *file, int line, const char *claim);
void test_check_int(const char *file, int line, const char *what, long long got, long long want);
void test_check_text(const char *file, int line, const char *what, const char *got,
                     const char *want);

/* True once something of the running test did not hold. */
extern bool test_failed;

/* A fresh temporary folder, empty; it goes with all in it when the program ends. */
const char *test_dir(void);
