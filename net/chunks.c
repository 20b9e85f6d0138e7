/* Bytes that wait, in the pieces in which they came. */
#include <stdlib.h>
#include <string.h>

#include "net/internal.h"

struct chunk *
chunk_new(size_t n)
{
    struct chunk *chunk = malloc(sizeof *chunk + n);
    if (!chunk)
        abort();
    *chunk = (struct chunk){.n = n};
    return chunk;
}

void
chunks_add(struct chunks *q, struct chunk *chunk)
{
    if (q->last)
        q->last->next = chunk;
    else
        q->first = chunk;
    q->last = chunk;
    q->bytes += chunk->n;
}

struct chunk *
chunks_first(struct chunks *q)
{
    struct chunk *chunk = q->first;
    if (!chunk)
        return NULL;
    q->first = chunk->next;
    if (!q->first)
        q->last = NULL;
    q->bytes -= chunk->n - chunk->used;
    return chunk;
}

size_t
chunks_take(struct chunks *q, char *ret, size_t room)
{
    size_t n = 0;
    while (q->first && n < room) {
        struct chunk *chunk = q->first;
        size_t m = chunk->n - chunk->used < room - n ? chunk->n - chunk->used : room - n;
        memcpy(ret + n, chunk->bytes + chunk->used, m);
        n += m;
        chunk->used += m;
        q->bytes -= m;
        if (chunk->used == chunk->n)
            free(chunks_first(q));
    }
    return n;
}

void
chunks_free(struct chunks *q)
{
    struct chunk *chunk;
    while ((chunk = chunks_first(q)))
        free(chunk);
}
