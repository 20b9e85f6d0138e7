#include "fiber/futex.h"
#include "fiber/wait.h"

struct fiber_waiter {
    struct fiber *fiber;
    struct fiber_waiter *next;
};

/* A word that guards a short section: free, taken, or taken with somebody asleep on it. */
enum { FREE, TAKEN, WAITED_FOR };
enum { SPINS_MAX = 100 };

static void word_lock(int *word);
static void word_unlock(int *word);

void
spin_lock(struct spin *s)
{
    word_lock(&s->word);
}

void
spin_unlock(struct spin *s)
{
    word_unlock(&s->word);
}

void
fiber_lock(struct fiber_lock *l)
{
    word_lock(&l->word);
    if (!l->held) {
        l->held = true;
        word_unlock(&l->word);
        return;
    }
    struct fiber_waiter me = {.fiber = fiber_self()};
    if (l->last)
        l->last->next = &me;
    else
        l->first = &me;
    l->last = &me;
    word_unlock(&l->word);
    fiber_wait_inside(); /* whoever unlocks hands it over */
}

void
fiber_unlock(struct fiber_lock *l)
{
    word_lock(&l->word);
    struct fiber *next = NULL;
    if (l->first) {
        next = l->first->fiber;
        l->first = l->first->next;
        if (!l->first)
            l->last = NULL;
    } else {
        l->held = false;
    }
    word_unlock(&l->word);
    if (next)
        fiber_wake_inside(next);
}

size_t
fiber_lock_waiters(struct fiber_lock *l)
{
    size_t n = 0;
    word_lock(&l->word);
    for (struct fiber_waiter *w = l->first; w; w = w->next)
        n++;
    word_unlock(&l->word);
    return n;
}

static void
word_lock(int *word)
{
    int seen = FREE;
    if (__atomic_compare_exchange_n(word, &seen, TAKEN, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return;
    for (int i = 0; i < SPINS_MAX; i++) {
        seen = FREE;
        if (__atomic_load_n(word, __ATOMIC_RELAXED) == FREE &&
            __atomic_compare_exchange_n(word, &seen, TAKEN, false, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED))
            return;
        cpu_relax();
    }
    while (__atomic_exchange_n(word, WAITED_FOR, __ATOMIC_ACQUIRE) != FREE)
        futex_wait((unsigned *)word, WAITED_FOR, INT64_MAX);
}

static void
word_unlock(int *word)
{
    if (__atomic_exchange_n(word, FREE, __ATOMIC_RELEASE) == WAITED_FOR)
        futex_wake_one((unsigned *)word);
}
