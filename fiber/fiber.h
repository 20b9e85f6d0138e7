/*
 * Fibers: cheap threads of control that wait without holding a thread.
 *
 * A scheduler runs its fibers on one thread, one at a time; a fiber gives way only where it waits
 * (fiber_park, fiber_sleep_us, fiber_wait_fd, fiber_offload), so code between two waits needs no
 * lock against its neighbours on the same scheduler.  Handlers do not know that they run on one.
 *
 * Every waiting function works on a plain thread too (a command, a test): it then blocks that
 * thread. With env.single_thread, schedulers have no thread of their own: sched_run drives them,
 * offloaded work runs at once, and time is env's virtual clock.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sched;
struct fiber;

/* A scheduler and its thread, named for the debugger.  fibers_max bounds how many live at once. */
struct sched *sched_new(const char *name, size_t fibers_max);

/* Waits until every fiber has ended, then ends the thread and frees all.  Not from its own fiber.
 */
void sched_free(struct sched *s);

/* Starts fn(arg) on a fiber of s; from any thread.  False if fibers_max live already. */
bool sched_spawn(struct sched *s, void (*fn)(void *arg), void *arg);
size_t sched_fibers(const struct sched *s); /* how many live now */
struct sched *sched_self(void);             /* whose fiber this is; NULL on a plain thread */

/* With env.single_thread only: runs what is ready; false if nothing was. */
bool sched_run_ready(struct sched *s);
/* When its earliest sleeper wakes (env.mono_us's clock), or INT64_MAX. */
int64_t sched_next_wake_us(const struct sched *s);

/* The caller's handle: a fiber's, or a plain thread's own. */
struct fiber *fiber_self(void);
bool fiber_is_fiber(void);

/* Waits for fiber_wake.  A wake that came before is remembered (once), so none is lost. */
void fiber_park(void);
/* The same until mono_us; false if the time came first. */
bool fiber_park_until(int64_t mono_us);
/* From any thread.  The fiber may not have ended: whoever parks must outlive his wakers. */
void fiber_wake(struct fiber *f);
void fiber_sleep_us(int64_t us);
/* Lets other ready fibers of this scheduler run first. */
void fiber_yield(void);

/*
 * Waits until fd can be read (for_write: or written), or has failed; false if the time came first.
 * One waits for a descriptor at a time, and it stays open meanwhile.
 */
bool fiber_wait_fd(int fd, bool for_write, int64_t until_mono_us);

/*
 * Runs fn(arg) on a thread of the offload pool and waits for it: for what blocks (a sync of the
 * disk, a provider, a password hash).  The pool grows to OFFLOAD_THREADS_MAX and queues beyond.
 */
enum { OFFLOAD_THREADS_MAX = 48 };
void fiber_offload(void (*fn)(void *arg), void *arg);

/* A lock that parks instead of blocking; fair, first come first served; works across schedulers and
 * plain threads.  Zero is unlocked. */
struct fiber_lock {
    int word; /* spin word over what follows; held for a few instructions */
    bool held;
    struct fiber_waiter *first, *last;
};
void fiber_lock(struct fiber_lock *l);
void fiber_unlock(struct fiber_lock *l);
/* How many wait for it now. */
size_t fiber_lock_waiters(struct fiber_lock *l);

/* A plain pthread mutex's job in three words of code: short sections, never parked inside.  For the
 * few tables that several threads share.  Zero is unlocked. */
struct spin {
    int word;
};
void spin_lock(struct spin *s);
void spin_unlock(struct spin *s);
