/* Days in UTC, from one to another: pure. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"

enum { RANGE_DAYS_DEFAULT = 30, RANGE_DAYS_MAX = 366 };

struct range {
    const char *first, *last; /* "2026-11-22", both included */
    int64_t first_us;         /* midnight */
    int64_t days;
};

/* From two days as they were asked for: without to, today is the last; without from, 30 days are
 * told.  False where they are no days, in the wrong order or too many; *why then tells. */
bool range_read(struct arena *a, const char *from, const char *to, int64_t now_us,
                struct range *ret, const char **why);

/* The place of a day in its range, from 0. */
int64_t range_place(const struct range *range, const char *day);
