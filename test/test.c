#include "test/test.h"

#include <ftw.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum { DIRS_MAX = 256, DIR_CHARS_MAX = 256, OPEN_FOLDERS_MAX = 16 };

bool test_failed;

static struct test *first, **end = &first;
static const char *running = "";
static char dirs[DIRS_MAX][DIR_CHARS_MAX];
static size_t n_dirs;
static pid_t maker; /* of the folders: a child that a test forks must not remove them */

#ifdef __SANITIZE_THREAD__
/* libuv closes by the bare system call, which the sanitizer does not see: the number's next owner, where
   it got it from opendir, which it does not see either, looks like a second closer. */
const char *__tsan_default_suppressions(void);

const char *
__tsan_default_suppressions(void)
{
    return "race:closedir";
}
#endif

static bool wanted(const char *name, char *const *names);
static void name_the_aborted(int signal_number);
static void remove_dirs(void);

int
main(int argc, char **argv)
{
    (void)argc;
    signal(SIGABRT, name_the_aborted);
    setvbuf(stdout, NULL, _IOLBF, 0);
    int passed = 0, failed = 0;
    for (struct test *t = first; t; t = t->next) {
        if (!wanted(t->name, argv + 1))
            continue;
        test_failed = false;
        running = t->name;
        t->run();
        if (test_failed) {
            printf("FAILED %s\n", t->name);
            failed++;
        } else {
            passed++;
        }
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0 || passed == 0;
}

void
test_register(struct test *test)
{
    *end = test;
    end = &test->next;
}

void
test_complain(const char *file, int line, const char *claim)
{
    printf("%s:%d: %s: not so: %s\n", file, line, running, claim);
    test_failed = true;
}

void
test_check_int(const char *file, int line, const char *what, long long got, long long want)
{
    if (got == want)
        return;
    printf("%s:%d: %s: %s is %lld, not %lld\n", file, line, running, what, got, want);
    test_failed = true;
}

void
test_check_text(const char *file, int line, const char *what, const char *got, const char *want)
{
    if (got == want || (got && want && strcmp(got, want) == 0))
        return;
    printf("%s:%d: %s: %s is \"%s\", not \"%s\"\n", file, line, running, what, got ? got : "(null)",
           want ? want : "(null)");
    test_failed = true;
}

const char *
test_dir(void)
{
    const char *tmp = getenv("TMPDIR");
    if (n_dirs == DIRS_MAX)
        abort();
    if (n_dirs == 0) {
        maker = getpid();
        atexit(remove_dirs);
    }
    char *dir = dirs[n_dirs];
    snprintf(dir, DIR_CHARS_MAX, "%s/souk-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(dir)) {
        perror(dir);
        exit(2);
    }
    n_dirs++;
    return dir;
}

static bool
wanted(const char *name, char *const *names)
{
    bool any = false;
    for (; *names; names++) {
        any = true;
        if (strcmp(*names, name) == 0)
            return true;
    }
    return !any;
}

static void
name_the_aborted(int signal_number)
{
    (void)signal_number;
    static const char message[] = "aborted in test ";
    bool told = write(STDERR_FILENO, message, sizeof message - 1) > 0 &&
                write(STDERR_FILENO, running, strlen(running)) > 0 &&
                write(STDERR_FILENO, "\n", 1) > 0;
    (void)told;
    signal(SIGABRT, SIG_DFL);
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *place)
{
    (void)st, (void)type, (void)place;
    return remove(path);
}

static void
remove_dirs(void)
{
    if (getpid() != maker)
        return;
    for (size_t i = 0; i < n_dirs; i++)
        nftw(dirs[i], remove_one, OPEN_FOLDERS_MAX, FTW_DEPTH | FTW_PHYS);
}
