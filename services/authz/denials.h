/*
 * How many denials of visitors are recorded one by one: so many a minute for each permission. Those
 * beyond are counted.  In memory, for any thread; a permission is its place in all_permissions(),
 * and the place behind the last stands for what no proto names.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DENIALS_PER_MINUTE_MAX = 10 };

struct denials; /* zero is empty */
size_t denials_size(void);

/* Counts one: true if it is to be recorded by itself. */
bool denials_tell(struct denials *d, size_t permission, int64_t now_us);
/* Takes the counts of the others out; false if all are 0. */
bool denials_take(struct denials *d, int64_t *counts, size_t n);
void denials_give_back(struct denials *d, const int64_t *counts, size_t n);
