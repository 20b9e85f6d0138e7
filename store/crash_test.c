/* The machine gets in the way: kill -9 while many write, and a disk that really takes no more. */
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

#include "store/store_test.h"

enum { KILLS = 12, FIBERS = 16, ID_BYTES = 24 };

struct life {
    const char *path;
    int number; /* of this life: ids are never used twice */
    int acks;   /* where the child says what it was told is durable */
    struct store *store;
    int next;
};

static void
write_for_ever(void *arg)
{
    struct life *l = arg;
    struct arena *a = arena_new();
    for (;;) {
        char id[ID_BYTES] = {0};
        snprintf(id, sizeof id, "%d-%d", l->number, l->next++);
        struct tx_scope scope = {.arena = a};
        struct tx *tx = tx_begin_in(l->store, "shop", &scope);
        item(tx, id, 1);
        struct value event[] = {value_text(id)};
        sql_exec(tx, &publish, event, 1);
        if (tx_commit(tx) != OK || store_wait(&scope) != OK)
            _exit(3);
        if (write(l->acks, id, sizeof id) != sizeof id)
            _exit(4);
        arena_reset(a);
    }
}

static void
live(struct life *l)
{
    struct arena *a = arena_new();
    l->store = open_at(&(struct place){.path = l->path}, a);
    struct sched *s = sched_new("core", FIBERS);
    for (int i = 0; i < FIBERS; i++)
        sched_spawn(s, write_for_ever, l);
    for (;;)
        pause();
}

/* Counts those of the acknowledged ids that are not there. */
static int
count_lost(struct shop *s, const char *acks, size_t n)
{
    int lost = 0;
    for (size_t i = 0; i + ID_BYTES <= n; i += ID_BYTES)
        lost += ask_afresh(s, &find_n, acks + i) != 1;
    return lost;
}

TEST(what_was_acknowledged_before_a_kill_is_there_after_it)
{
    struct arena *a = arena_new();
    const char *path = arena_printf(a, "%s/shop.db", test_dir());
    size_t all = 0;
    for (int k = 0; k < KILLS; k++) {
        int fd[2];
        check_int(pipe(fd), 0);
        struct life l = {.path = path, .number = k, .acks = fd[1]};
        pid_t child = fork();
        if (child == 0)
            live(&l);
        close(fd[1]);
        size_t n = 0, room = 4 << 20;
        char *acks = malloc(room);
        size_t want = (size_t)(1 + k * k * 40) * ID_BYTES; /* at various moments */
        for (ssize_t got = 1; got > 0 && n < room; n += (size_t)got) {
            got = read(fd[0], acks + n, room - n);
            if (got > 0 && n + (size_t)got >= want)
                kill(child, SIGKILL); /* and read what it had said before */
        }
        close(fd[0]);
        waitpid(child, NULL, 0);
        struct shop s = {.arena = arena_new(), .place = {.path = path}};
        s.store = open_at(&s.place, s.arena);
        check(n >= want);
        check_int(count_lost(&s, acks, n), 0);
        check_int(ask_afresh(&s, &count_items, NULL), ask_afresh(&s, &count_events, NULL));
        all += n / ID_BYTES;
        check(ask_afresh(&s, &count_items, NULL) >= (int64_t)all);
        shop_close(&s);
        free(acks);
    }
    arena_free(a);
}

/* ---- a disk that is full: no file may grow past a limit, so the WAL cannot ---- */

static void
fill(struct shop *s, const char *name, enum status *ret_commit, enum status *ret_wait)
{
    static struct statement insert_large = {
        "shop", "insert_large", "INSERT INTO shop_item VALUES (?1, 1, NULL, zeroblob(200000))",
        true, 0};
    struct tx_scope scope = {.arena = s->arena};
    struct value in[] = {value_text(name)};
    struct tx *tx = tx_begin_in(s->store, "shop", &scope);
    sql_exec(tx, &insert_large, in, 1);
    *ret_commit = tx_commit(tx);
    *ret_wait = store_wait(&scope);
}

static void
live_on_a_full_disk(void *path)
{
    struct shop s = {.arena = arena_new(), .place = {.path = path}};
    s.store = open_at(&s.place, s.arena);
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){1 << 20, RLIM_INFINITY});
    enum status commit, wait;
    int good = 0, bad = 0;
    for (int i = 0; i < 12; i++) {
        fill(&s, arena_printf(s.arena, "%d", i), &commit, &wait);
        good += commit == OK && wait == OK;
        bad += wait == UNAVAILABLE;
    }
    check(good >= 2 && bad >= 2 && good + bad == 12);
    check_int(ask_afresh(&s, &count_items, NULL), good);
    check((int)store_figures(s.store).failed_batches >= bad);

    setrlimit(RLIMIT_FSIZE, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY});
    fill(&s, "with room again", &commit, &wait);
    check_int(commit, OK);
    check_int(wait, OK);
    check_int(ask_afresh(&s, &count_items, NULL), good + 1);
    shop_close(&s);
    _exit(test_failed);
}

TEST(a_disk_that_is_full_refuses_and_serves_again_when_it_is_not)
{
    struct arena *a = arena_new();
    char *path = arena_printf(a, "%s/shop.db", test_dir());
    int status;
    char *words = words_of_dying(live_on_a_full_disk, path, a, &status);
    check_text(words, "");
    check_int(status, 0);
    arena_free(a);
}
