/*
 * Ids: a prefix that says what kind of thing, then 128 bits, the time first, so that they sort by
 * when they were made: "ord_" and 26 characters of Crockford's base32 in lower case (48 bits of
 * milliseconds, 80 bits of randomness, as in the ULID specification).
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"

enum { ID_BODY_CHARS = 26, ID_PREFIX_MAX = 8, ID_CHARS_MAX = ID_PREFIX_MAX + 1 + ID_BODY_CHARS };

/* A new id: id_make(a, "ord", now_us) → "ord_01j…".  Randomness comes from env. */
const char *id_make(struct arena *a, const char *prefix, int64_t now_us);

/*
 * The id that follows from another one: the same from, kind and detail always give the same id, and
 * it keeps from's time, so that derived keys stay near each other in an index.  from that is not an
 * id of ours gives a time of 0 and is hashed like the rest.  detail may be NULL.
 */
const char *id_derive(struct arena *a, const char *prefix, const char *from, const char *detail);

/* True for prefix_ and 26 characters of the alphabet. */
bool id_valid(const char *prefix, const char *id);

/* When an id was made (microseconds, to the millisecond), or -1 if it is none of ours. */
int64_t id_time_us(const char *id);
