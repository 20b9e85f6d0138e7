#include "base/env.h"

#include <fcntl.h>
#include <sodium.h>
#include <time.h>
#include <unistd.h>

static int64_t now_us(void);
static int64_t mono_us(void);
static int file_open(const char *path, int flags, mode_t mode);

const struct env env_real = {
    .now_us = now_us,
    .mono_us = mono_us,
    .random = randombytes_buf,
    .file_open = file_open,
    .file_write = write,
    .file_read = read,
    .file_sync = fsync,
    .file_truncate = ftruncate,
    .file_close = close,
};

struct env env = {
    .now_us = now_us,
    .mono_us = mono_us,
    .random = randombytes_buf,
    .file_open = file_open,
    .file_write = write,
    .file_read = read,
    .file_sync = fsync,
    .file_truncate = ftruncate,
    .file_close = close,
};

static int64_t
clock_us(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t
now_us(void)
{
    return clock_us(CLOCK_REALTIME);
}

static int64_t
mono_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

static int
file_open(const char *path, int flags, mode_t mode)
{
    return open(path, flags | O_CLOEXEC, mode);
}
