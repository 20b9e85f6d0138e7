/*
 * The world outside, reached through one table: the clock, randomness and files.
 *
 * app fills it with the real thing (env_real), a simulation with a virtual clock, a seeded generator
 * and a disk that can lose what was not synced.  The network is reached through net, whose transport
 * a simulation replaces as a whole; threads through fiber/, which `single_thread` turns off.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct env {
    int64_t (*now_us)(void);  /* wall clock, UTC microseconds since 1970 */
    int64_t (*mono_us)(void); /* never goes back; only differences mean anything */
    void (*random)(void *bytes, size_t n);

    /* Files that Souk itself writes (the database library has a file layer of its own).  All give
     * -1 with errno set on failure, as POSIX does. */
    int (*file_open)(const char *path, int flags, mode_t mode);
    ssize_t (*file_write)(int fd, const void *bytes, size_t n);
    ssize_t (*file_read)(int fd, void *bytes, size_t n);
    int (*file_sync)(int fd);
    int (*file_truncate)(int fd, off_t bytes);
    int (*file_close)(int fd);

    bool single_thread; /* run everything on the calling thread, deterministically */
};

extern struct env env; /* starts as the real one */
extern const struct env env_real;
