/*
 * Memory that lives as long as one piece of work and is given back at once.
 *
 * An allocation cannot fail: inputs are bounded at the edge, and past the machine's memory the
 * process aborts.  In builds with the address sanitizer each allocation is its own malloc, so that
 * a lifetime slip is caught.
 */
#pragma once
#include <stdarg.h>
#include <stddef.h>

struct arena;

struct arena *arena_new(void);
void arena_free(struct arena *a); /* NULL is allowed */

/* Gives everything back, keeps the arena (and one block of it) for the next piece of work. */
void arena_reset(struct arena *a);

/* size bytes, all zero, aligned for anything.  size 0 gives a valid pointer. */
void *arena_alloc(struct arena *a, size_t size);
void *arena_copy(struct arena *a, const void *bytes, size_t n);
/* The old_n bytes at p in a place with room for n (in place where p was the newest); what is new is
 * not zeroed.  p may be NULL if old_n is 0. */
void *arena_grow(struct arena *a, void *p, size_t old_n, size_t n);
char *arena_strdup(struct arena *a, const char *s); /* NULL gives "" */
char *arena_strndup(struct arena *a, const char *s, size_t n);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *arena_vprintf(struct arena *a, const char *fmt, va_list args)
    __attribute__((format(printf, 2, 0)));

/* Calls fn(thing) when the arena is freed or reset, newest first: for what malloc'd libraries give. */
void arena_defer(struct arena *a, void (*fn)(void *thing), void *thing);

/* Bytes asked for since it was new or reset. */
size_t arena_used(const struct arena *a);
