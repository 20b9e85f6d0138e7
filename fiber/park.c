#include <sched.h>
#include <stdlib.h>

#include "base/env.h"
#include "fiber/futex.h"
#include "fiber/inside.h"
#include "fiber/wait.h"

/* A plain thread looks this often for its wake before it sleeps in the kernel: about 2 us, less
 * than the two system calls that it may save. */
enum { LOOKS_MAX = 50 };

static bool take_wake(struct fiber *f, enum wake wake);
static bool set_parked(struct fiber *f, enum wake wake);
static bool thread_park(struct fiber *f, enum wake wake, int64_t mono_us);
static bool thread_park_alone(struct fiber *f, enum wake wake, int64_t mono_us);
static void wake_up(struct fiber *f, enum wake wake);
static struct fiber *thread_handle(void);

static pthread_key_t handle_key;
static pthread_once_t handle_once = PTHREAD_ONCE_INIT;
static __thread struct fiber *handle;

struct fiber *
fiber_self(void)
{
    struct fiber *f = sched_running();
    return f ? f : thread_handle();
}

bool
fiber_is_fiber(void)
{
    return sched_running() != NULL;
}

void
fiber_park(void)
{
    fiber_park_for(WAKE_USER, FOREVER);
}

bool
fiber_park_until(int64_t mono_us)
{
    return fiber_park_for(WAKE_USER, mono_us);
}

void
fiber_wake(struct fiber *f)
{
    wake_up(f, WAKE_USER);
}

void
fiber_wait_inside(void)
{
    fiber_park_for(WAKE_INSIDE, FOREVER);
}

bool
fiber_wait_inside_until(int64_t mono_us)
{
    return fiber_park_for(WAKE_INSIDE, mono_us);
}

void
fiber_wake_inside(struct fiber *f)
{
    wake_up(f, WAKE_INSIDE);
}

/* Nobody wakes a sleeper: only the clock ends it. */
void
fiber_sleep_us(int64_t us)
{
    fiber_park_for(WAKE_INSIDE, env.mono_us() + us);
}

bool
fiber_park_for(enum wake wake, int64_t mono_us)
{
    struct fiber *f = fiber_self();
    if (take_wake(f, wake))
        return true;
    if (mono_us != FOREVER && mono_us <= env.mono_us())
        return false;
    if (!f->sched)
        return thread_park(f, wake, mono_us);

    f->timed_out = false;
    if (mono_us != FOREVER)
        timers_add(sched_timers(f->sched), f, mono_us);
    if (set_parked(f, wake))
        sched_leave(f);
    timers_remove(sched_timers(f->sched), f);
    return !f->timed_out;
}

bool
fiber_unpark(struct fiber *f, enum wake wake)
{
    unsigned parked = (unsigned)wake << PARKED_SHIFT;
    unsigned state = __atomic_load_n(&f->state, __ATOMIC_RELAXED);
    do {
        if (!(state & parked))
            return false;
    } while (!__atomic_compare_exchange_n(&f->state, &state, state & ~parked, true,
                                          __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
    return true;
}

/* From here on f is not touched unless it cannot run before we say so: it may end at any moment. */
static void
wake_up(struct fiber *f, enum wake wake)
{
    unsigned parked = (unsigned)wake << PARKED_SHIFT;
    bool is_fiber = __atomic_load_n(&f->sched, __ATOMIC_RELAXED) != NULL;
    unsigned next, state = __atomic_load_n(&f->state, __ATOMIC_RELAXED);
    do {
        next = state & parked ? state & ~(parked | SLEEPING) : state | (unsigned)wake;
    } while (!__atomic_compare_exchange_n(&f->state, &state, next, true, __ATOMIC_ACQ_REL,
                                          __ATOMIC_RELAXED));
    if (!(state & parked))
        return;
    if (is_fiber)
        sched_enqueue(f);
    else if (state & SLEEPING)
        futex_wake_one(&f->state);
}

static bool
take_wake(struct fiber *f, enum wake wake)
{
    if (!(__atomic_load_n(&f->state, __ATOMIC_RELAXED) & (unsigned)wake))
        return false;
    __atomic_fetch_and(&f->state, ~(unsigned)wake, __ATOMIC_ACQ_REL);
    return true;
}

/* False if the wake has come meanwhile, and is taken. */
static bool
set_parked(struct fiber *f, enum wake wake)
{
    unsigned next, state = __atomic_load_n(&f->state, __ATOMIC_RELAXED);
    do {
        next = state & (unsigned)wake ? state & ~(unsigned)wake
                                      : state | (unsigned)wake << PARKED_SHIFT;
    } while (!__atomic_compare_exchange_n(&f->state, &state, next, true, __ATOMIC_ACQ_REL,
                                          __ATOMIC_RELAXED));
    return !(state & (unsigned)wake);
}

static bool
thread_park(struct fiber *f, enum wake wake, int64_t mono_us)
{
    if (env.single_thread)
        return thread_park_alone(f, wake, mono_us);
    if (!set_parked(f, wake))
        return true;

    unsigned parked = (unsigned)wake << PARKED_SHIFT;
    for (int i = 0; i < LOOKS_MAX; i++, cpu_relax())
        if (!(__atomic_load_n(&f->state, __ATOMIC_ACQUIRE) & parked))
            return true;
    for (;;) {
        int64_t for_us = mono_us == FOREVER ? FOREVER : mono_us - env.mono_us();
        if (for_us <= 0)
            return !fiber_unpark(f, wake);
        unsigned state = __atomic_load_n(&f->state, __ATOMIC_ACQUIRE);
        if (!(state & parked))
            return true;
        if (!(state & SLEEPING) &&
            !__atomic_compare_exchange_n(&f->state, &state, state | SLEEPING, false,
                                         __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            continue;
        futex_wait(&f->state, state | SLEEPING, for_us);
    }
}

/* Without threads, whoever will wake us is a fiber that only we can run. */
static bool
thread_park_alone(struct fiber *f, enum wake wake, int64_t mono_us)
{
    while (!take_wake(f, wake)) {
        if (mono_us != FOREVER && mono_us <= env.mono_us())
            return false;
        if (!sched_run_all())
            sched_yield(); /* until a sleeper's time has come */
    }
    return true;
}

static void
give_back_handle(void *f)
{
    handle = NULL;
    fiber_give_back_bare(f);
}

static void
make_handle_key(void)
{
    if (pthread_key_create(&handle_key, give_back_handle) != 0)
        abort();
}

static struct fiber *
thread_handle(void)
{
    if (handle)
        return handle;
    pthread_once(&handle_once, make_handle_key);
    handle = fiber_take_bare();
    pthread_setspecific(handle_key, handle);
    return handle;
}
