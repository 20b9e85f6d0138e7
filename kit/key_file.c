#include "kit/key_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/env.h"
#include "base/text.h"

enum { KEY_FILE_BYTES_MAX = 4096 };

static bool make_file(struct arena *a, const char *folder, const char *path, const char *text);
static const char *read_all(struct arena *a, int fd, const char *path, const char **why);
static bool write_whole(const char *path, const char *text);
static bool sync_folder(const char *path);

enum status
key_file_open(struct arena *a, const char *folder, const char *name,
              const char *(*make)(struct arena *a), const char **ret, const char **why)
{
    const char *path = arena_printf(a, "%s/%s", folder, name);
    int fd = env.file_open(path, O_RDONLY, 0);
    if (fd < 0 && errno == ENOENT) {
        if (!make_file(a, folder, path, make(a))) {
            *why = arena_printf(a, "%s: cannot be made: %s", path, strerror(errno));
            return FAILED_PRECONDITION;
        }
        fd = env.file_open(path, O_RDONLY, 0);
    }
    if (fd < 0) {
        *why = arena_printf(a, "%s: cannot be read: %s", path, strerror(errno));
        return FAILED_PRECONDITION;
    }
    const char *text = read_all(a, fd, path, why);
    env.file_close(fd);
    if (!text)
        return FAILED_PRECONDITION;
    *ret = text;
    return OK;
}

/* Complete under a name of its own first: a half-written key would be a key lost.  Several
 * processes may be at this at once; the first to give it its name wins, and all read what is there
 * then. */
static bool
make_file(struct arena *a, const char *folder, const char *path, const char *text)
{
    uint8_t own[8];
    env.random(own, sizeof own);
    const char *fresh = arena_printf(a, "%s.new-%s", path, hex_encode(a, own, sizeof own));
    if (mkdir(folder, 0700) && errno != EEXIST)
        return false;
    bool made = write_whole(fresh, text) && (link(fresh, path) == 0 || errno == EEXIST);
    int error = errno;
    unlink(fresh);
    errno = error;
    return made && sync_folder(folder) && sync_folder(arena_printf(a, "%s/..", folder));
}

static const char *
read_all(struct arena *a, int fd, const char *path, const char **why)
{
    struct stat st;
    if (fstat(fd, &st) == 0 && (st.st_mode & 077)) {
        *why = arena_printf(a, "%s: others may read this key; chmod 600 it", path);
        return NULL;
    }
    char *text = arena_alloc(a, KEY_FILE_BYTES_MAX + 1);
    size_t n = 0;
    ssize_t got;
    while ((got = env.file_read(fd, text + n, KEY_FILE_BYTES_MAX - n)) > 0)
        n += (size_t)got;
    if (got < 0 || n == 0 || n == KEY_FILE_BYTES_MAX) {
        *why = arena_printf(a, "%s: %s", path, got < 0 ? strerror(errno) : "not a key's size");
        return NULL;
    }
    return text;
}

static bool
write_whole(const char *path, const char *text)
{
    int fd = env.file_open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return false;
    size_t n = strlen(text);
    bool written = env.file_write(fd, text, n) == (ssize_t)n && env.file_sync(fd) == 0;
    return env.file_close(fd) == 0 && written;
}

static bool
sync_folder(const char *path)
{
    int fd = env.file_open(path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return false;
    bool synced = env.file_sync(fd) == 0;
    return env.file_close(fd) == 0 && synced;
}
