/* Sleeping on a word of memory until somebody changes it and says so. */
#pragma once
#include <limits.h>
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Sleeps while *word is seen, at most for_us (INT64_MAX: without limit).  May return early. */
static inline void
futex_wait(unsigned *word, unsigned seen, int64_t for_us)
{
    struct timespec t = {.tv_sec = (time_t)(for_us / 1000000),
                         .tv_nsec = (for_us % 1000000) * 1000};
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, for_us == INT64_MAX ? NULL : &t, NULL, 0);
}

static inline void
futex_wake_one(unsigned *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static inline void
cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}
