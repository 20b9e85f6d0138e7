/*
 * For what is built upon fibers (locks, the store's waits, offloaded work): a wait and its wake
 * that are never mistaken for fiber_park and fiber_wake, so that code may wait for a lock between
 * asking for a wake of its own and parking for it.  Each of these waits is ended by exactly one
 * wake.
 *
 * And the only way to start a thread.
 */
#pragma once
#include <pthread.h>

#include "fiber/fiber.h"

void fiber_wait_inside(void);
void fiber_wake_inside(struct fiber *f);
/* The same until mono_us; false if the time came first.  Then the waker must be told not to come,
 * or if it is too late for that, waited for by fiber_wait_inside. */
bool fiber_wait_inside_until(int64_t mono_us);

/* A thread that gets no signals (but those of its own faults), named for the debugger. */
pthread_t thread_start(const char *name, void *(*fn)(void *arg), void *arg);
/* The same, for one that nobody joins; false if the machine gives none. */
bool thread_start_detached(const char *name, void *(*fn)(void *arg), void *arg);
