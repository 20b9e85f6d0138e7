#include <signal.h>
#include <stdlib.h>

#include "fiber/inside.h"
#include "fiber/wait.h"

/* Stacks kept for use again, each with the pages that its last user touched. */
enum { STACKS_KEPT_MAX = 128 };

static struct spin lock;
static struct fiber *with_stack, *bare;
static size_t n_with_stack;

struct fiber *
fiber_take(void)
{
    spin_lock(&lock);
    struct fiber *f = with_stack;
    if (f) {
        with_stack = f->next;
        n_with_stack--;
    }
    spin_unlock(&lock);
    if (f)
        return f;

    size_t bytes;
    char *stack = stack_new(&bytes);
    if (!stack)
        return NULL;
    f = fiber_take_bare();
    f->started = false;
    f->context.stack = stack;
    f->context.stack_bytes = bytes;
    context_start(&f->context, fiber_main);
    return f;
}

void
fiber_give_back(struct fiber *f)
{
    __atomic_store_n(&f->state, 0, __ATOMIC_RELAXED);
    spin_lock(&lock);
    bool keep = n_with_stack < STACKS_KEPT_MAX;
    if (keep) {
        f->next = with_stack;
        with_stack = f;
        n_with_stack++;
    }
    spin_unlock(&lock);
    if (keep)
        return;
    context_end(&f->context);
    stack_free(f->context.stack);
    f->context = (struct context){.stack = NULL};
    fiber_give_back_bare(f);
}

struct fiber *
fiber_take_bare(void)
{
    spin_lock(&lock);
    struct fiber *f = bare;
    if (f)
        bare = f->next;
    spin_unlock(&lock);
    if (!f)
        f = calloc(1, sizeof *f);
    if (!f)
        abort();
    return f;
}

void
fiber_give_back_bare(struct fiber *f)
{
    __atomic_store_n(&f->sched, NULL, __ATOMIC_RELAXED);
    __atomic_store_n(&f->state, 0, __ATOMIC_RELAXED);
    spin_lock(&lock);
    f->next = bare;
    bare = f;
    spin_unlock(&lock);
}
