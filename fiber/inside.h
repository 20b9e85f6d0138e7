/* What the files of fiber/ share. */
#pragma once
#include "fiber/fiber.h"
#include "fiber/switch.h"

#define FOREVER INT64_MAX

/* Which kind of wake a fiber waits for or has been given. */
enum wake { WAKE_USER = 1, WAKE_INSIDE = 2 };

/*
 * Fibers and threads' handles are never given back to the machine, only used again: a wake that
 * comes late touches memory that is still a fiber's, and at worst wakes its next user for nothing.
 */
struct fiber {
    /* Wakes that nobody waited for yet (enum wake), shifted by PARKED_SHIFT what is waited for, and
     * SLEEPING while a plain thread is in the kernel.  Atomic. */
    unsigned state;
    struct sched *sched; /* NULL: a plain thread's handle */
    struct fiber *next;  /* in the one list it is in */
    struct context context;
    void (*fn)(void *arg);
    void *arg;
    bool started, ended;
    bool timed_out;
    int64_t wake_us;
    size_t timer; /* its place in the heap from 1, or 0 */
};

enum { PARKED_SHIFT = 2, SLEEPING = 16 };

/* A heap of sleepers, the earliest first; belongs to one scheduler's thread. */
struct timers {
    struct fiber **heap; /* from 1 */
    size_t n, room;
};
void timers_add(struct timers *t, struct fiber *f, int64_t wake_us);
void timers_remove(struct timers *t, struct fiber *f);
int64_t timers_next_us(const struct timers *t); /* or FOREVER */
void timers_free(struct timers *t);

/* Fibers out of use, with or without a stack. */
struct fiber *fiber_take(void); /* with a stack; NULL if there is no memory for one */
void fiber_give_back(struct fiber *f);
struct fiber *fiber_take_bare(void);
void fiber_give_back_bare(struct fiber *f);

/* What a fiber's stack runs: f->fn(f->arg) again and again, each time for who took it last. */
void fiber_main(void);

/* What one scheduler's fibers wait for; belongs to its thread, but for the bell. */
struct poller {
    bool open;
    int epoll, bell;
    size_t n; /* fibers that wait */
};
struct poller *sched_poller(struct sched *s);
/* Wakes whom an event has come for; waits for one (or for the bell) at most for_us. */
void poller_look(struct poller *p, int64_t for_us);
/* Ends a wait, or the next one; from any thread, once it was seen to wait. */
void poller_ring(struct poller *p);

/* Puts f, which is ready, at the end of its scheduler's line; from any thread. */
void sched_enqueue(struct fiber *f);
/* Leaves the running fiber f; returns when it is run again. */
void sched_leave(struct fiber *f);
struct timers *sched_timers(struct sched *s);
/* The running fiber of this thread, or NULL. */
struct fiber *sched_running(void);
/* With env.single_thread, from a plain thread: runs all schedulers once; false if nothing was
 * ready. */
bool sched_run_all(void);

/* True if f was parked for this wake and no longer is: the caller must see that it runs. */
bool fiber_unpark(struct fiber *f, enum wake wake);
/* Waits for wake until mono_us; false if the time came first. */
bool fiber_park_for(enum wake wake, int64_t mono_us);
