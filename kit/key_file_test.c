/* Keys in files: made once, whoever else makes them at the same time, and read by nobody else. */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/env.h"
#include "base/text.h"
#include "kit/key_file.h"
#include "test/test.h"

static const char *
make_text(struct arena *a)
{
    uint8_t random[8];
    env.random(random, sizeof random);
    return hex_encode(a, random, sizeof random);
}

static const char *
keys_in(struct arena *a, const char *dir)
{
    return arena_printf(a, "%s/keys", dir);
}

static int
files_in(const char *folder)
{
    int n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

TEST(a_key_is_made_once_and_read_by_nobody_else)
{
    struct arena *a = arena_new();
    const char *keys = keys_in(a, test_dir()), *first, *again, *why = "";
    check_int(key_file_open(a, keys, "k", make_text, &first, &why), OK);
    check_int(key_file_open(a, keys, "k", make_text, &again, &why), OK);
    check_text(again, first);
    check_int(files_in(keys), 1);
    struct stat st;
    check(stat(keys, &st) == 0 && (st.st_mode & 0777) == 0700);
    const char *path = arena_printf(a, "%s/k", keys);
    check(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);

    check_int(chmod(path, 0640), 0);
    check_int(key_file_open(a, keys, "k", make_text, &again, &why), FAILED_PRECONDITION);
    check(strstr(why, "chmod 600") != NULL);
    arena_free(a);
}

static ssize_t
full_disk(int fd, const void *bytes, size_t n)
{
    (void)fd, (void)bytes, (void)n;
    errno = ENOSPC;
    return -1;
}

TEST(a_full_disk_leaves_no_half_key)
{
    struct arena *a = arena_new();
    const char *keys = keys_in(a, test_dir()), *text, *why = "";
    env.file_write = full_disk;
    check_int(key_file_open(a, keys, "k", make_text, &text, &why), FAILED_PRECONDITION);
    check(strstr(why, "No space") != NULL);
    env = env_real;
    check_int(files_in(keys), 0);
    check_int(key_file_open(a, keys, "k", make_text, &text, &why), OK);
    arena_free(a);
}

static struct {
    struct arena *a;
    const char *keys, *text;
} twin;

/* While our key is written, a twin comes and is done. */
static int
sync_after_twin(int fd)
{
    const char *why = "";
    env = env_real;
    check_int(key_file_open(twin.a, twin.keys, "k", make_text, &twin.text, &why), OK);
    return env.file_sync(fd);
}

TEST(of_two_who_make_a_key_at_once_both_have_the_first_ones)
{
    struct arena *a = arena_new();
    const char *text = "", *again, *why = "";
    twin.a = a;
    twin.keys = keys_in(a, test_dir());
    env.file_sync = sync_after_twin;
    check_int(key_file_open(a, twin.keys, "k", make_text, &text, &why), OK);
    check_text(text, twin.text);
    check_int(key_file_open(a, twin.keys, "k", make_text, &again, &why), OK);
    check_text(text, again);
    check_int(files_in(twin.keys), 1);
    arena_free(a);
}

enum { CROWD = 8, ROUNDS = 20, TEXT_CHARS = 16 };

/* In a process of its own: opens the key when the starter closes its pipe, and tells what it got.
 */
static void
open_in_crowd(const char *keys, int start, int told)
{
    struct arena *a = arena_new();
    const char *text, *why = "";
    char nothing;
    if (read(start, &nothing, 1) == 0 &&
        key_file_open(a, keys, "k", make_text, &text, &why) == OK &&
        write(told, text, TEXT_CHARS) == TEXT_CHARS)
        _exit(0);
    _exit(1);
}

static void
run_crowd(struct arena *a)
{
    const char *keys = keys_in(a, test_dir()), *text = "", *why = "";
    int start[2], told[2];
    check(pipe(start) == 0 && pipe(told) == 0);
    for (int i = 0; i < CROWD; i++)
        if (fork() == 0) {
            close(start[1]);
            open_in_crowd(keys, start[0], told[1]);
        }
    close(start[0]);
    close(start[1]);
    close(told[1]);
    for (int i = 0, ended; i < CROWD; i++)
        check(wait(&ended) > 0 && ended == 0);
    check_int(key_file_open(a, keys, "k", make_text, &text, &why), OK);
    for (int i = 0; i < CROWD; i++) {
        char got[TEXT_CHARS + 1] = "";
        check(read(told[0], got, TEXT_CHARS) == TEXT_CHARS);
        check_text(got, text);
    }
    check_int(files_in(keys), 1);
    close(told[0]);
}

TEST(a_crowd_of_processes_that_start_on_an_empty_folder_has_one_key)
{
    struct arena *a = arena_new();
    for (int i = 0; i < ROUNDS && !test_failed; i++)
        run_crowd(a);
    arena_free(a);
}
