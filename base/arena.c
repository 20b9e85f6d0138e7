#include "base/arena.h"

#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FIRST_BLOCK_BYTES = 4 << 10,
    BLOCK_BYTES_MAX = 64 << 10,
    ALIGNMENT = alignof(max_align_t),
};

struct block {
    struct block *older;
    alignas(max_align_t) char bytes[];
};

struct deferred {
    struct deferred *older;
    void (*fn)(void *thing);
    void *thing;
};

struct arena {
    char *next, *end;     /* what is left of the newest block */
    struct block *blocks; /* those beyond the first, newest first */
    size_t next_block;    /* how large the next one will be */
    size_t used;
    struct deferred *deferred;
    alignas(max_align_t) char first[FIRST_BLOCK_BYTES];
};

#ifdef __SANITIZE_ADDRESS__
static const bool one_malloc_each = true;
#else
static const bool one_malloc_each = false;
#endif

static void *take(struct arena *a, size_t size);
static void *take_block(struct arena *a, size_t size);
static struct block *new_block(struct arena *a, size_t size);
static void start(struct arena *a);
static void give_back(struct arena *a);

struct arena *
arena_new(void)
{
    struct arena *a = malloc(sizeof *a);
    if (!a)
        abort();
    start(a);
    return a;
}

void
arena_free(struct arena *a)
{
    if (!a)
        return;
    give_back(a);
    free(a);
}

void
arena_reset(struct arena *a)
{
    give_back(a);
    start(a);
}

void *
arena_alloc(struct arena *a, size_t size)
{
    return memset(take(a, size), 0, size);
}

void *
arena_copy(struct arena *a, const void *bytes, size_t n)
{
    void *copy = take(a, n);
    if (n > 0)
        memcpy(copy, bytes, n);
    return copy;
}

void *
arena_grow(struct arena *a, void *p, size_t old_n, size_t n)
{
    size_t taken = (old_n + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    bool newest = !one_malloc_each && p && (char *)p + taken == a->next;
    if (newest && n >= old_n && (size_t)(a->end - (char *)p) >= n + ALIGNMENT) {
        a->used += n - old_n;
        a->next = (char *)p + ((n + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1));
        return p;
    }
    void *grown = take(a, n);
    if (old_n > 0)
        memcpy(grown, p, old_n < n ? old_n : n);
    return grown;
}

char *
arena_strdup(struct arena *a, const char *s)
{
    return s ? arena_copy(a, s, strlen(s) + 1) : arena_copy(a, "", 1);
}

char *
arena_strndup(struct arena *a, const char *s, size_t n)
{
    size_t length = s ? strnlen(s, n) : 0;
    char *copy = take(a, length + 1);
    if (length > 0)
        memcpy(copy, s, length);
    copy[length] = '\0';
    return copy;
}

char *
arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *text = arena_vprintf(a, fmt, args);
    va_end(args);
    return text;
}

char *
arena_vprintf(struct arena *a, const char *fmt, va_list args)
{
    char small[256];
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(small, sizeof small, fmt, args);
    if (n < 0)
        abort();

    char *text = take(a, (size_t)n + 1);
    if ((size_t)n < sizeof small)
        memcpy(text, small, (size_t)n + 1);
    else
        vsnprintf(text, (size_t)n + 1, fmt, again);
    va_end(again);
    return text;
}

void
arena_defer(struct arena *a, void (*fn)(void *thing), void *thing)
{
    struct deferred *d = take(a, sizeof *d);
    *d = (struct deferred){.older = a->deferred, .fn = fn, .thing = thing};
    a->deferred = d;
}

size_t
arena_used(const struct arena *a)
{
    return a->used;
}

/* size bytes as they are. */
static void *
take(struct arena *a, size_t size)
{
    if (size > PTRDIFF_MAX / 2)
        abort();
    a->used += size;
    if (one_malloc_each)
        return new_block(a, size)->bytes;

    size_t step = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if (step > (size_t)(a->end - a->next))
        return take_block(a, step);
    char *p = a->next;
    a->next += step;
    return p;
}

/* From a new block: one of its own for what is large, so that the current one is not wasted. */
static void *
take_block(struct arena *a, size_t size)
{
    if (size > a->next_block / 4)
        return new_block(a, size)->bytes;

    struct block *b = new_block(a, a->next_block);
    a->next = b->bytes + size;
    a->end = b->bytes + a->next_block;
    if (a->next_block < BLOCK_BYTES_MAX)
        a->next_block *= 2;
    return b->bytes;
}

static struct block *
new_block(struct arena *a, size_t size)
{
    struct block *b = malloc(sizeof *b + size);
    if (!b)
        abort();
    b->older = a->blocks;
    a->blocks = b;
    return b;
}

static void
start(struct arena *a)
{
    a->next = a->first;
    a->end = a->first + sizeof a->first;
    a->blocks = NULL;
    a->next_block = 2 * FIRST_BLOCK_BYTES;
    a->used = 0;
    a->deferred = NULL;
}

static void
give_back(struct arena *a)
{
    /* A deferred function may itself defer, or allocate for a last message. */
    while (a->deferred) {
        struct deferred *d = a->deferred;
        a->deferred = d->older;
        d->fn(d->thing);
    }
    while (a->blocks) {
        struct block *older = a->blocks->older;
        free(a->blocks);
        a->blocks = older;
    }
}
