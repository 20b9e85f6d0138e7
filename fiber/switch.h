/*
 * Leaving one stack for another: what the schedulers stand on.
 *
 * By hand on x86-64 and aarch64, about 5 ns; elsewhere by ucontext, which makes two system calls a
 * switch for the signal mask.  The sanitizers are told of every switch.
 */
#pragma once
#include <stddef.h>
#include <ucontext.h>

#if !defined(SWITCH_BY_HAND) && (defined(__x86_64__) || defined(__aarch64__))
#define SWITCH_BY_HAND 1
#elif !defined(SWITCH_BY_HAND)
#define SWITCH_BY_HAND 0
#endif

/* A place to come back to, and the stack it stands on. */
struct context {
    void *sp; /* by hand: where the registers are saved */
#if !SWITCH_BY_HAND
    ucontext_t saved;
#endif
    char *stack; /* its lowest byte; of a thread's own stack, what the sanitizer told */
    size_t stack_bytes;
    void *shadow; /* the address sanitizer's fake stack, while it is left */
    void *twin;   /* the thread sanitizer's name for it */
};

/* A stack with a guard page below; NULL if there is no memory for one. */
char *stack_new(size_t *ret_bytes);
void stack_free(char *stack);

/* The caller's own thread, as a place to come back to. */
void context_of_thread(struct context *c);
/* On c->stack, ready to run fn, which must never return. */
void context_start(struct context *c, void (*fn)(void));
/* Frees what the sanitizers keep for c. */
void context_end(struct context *c);

/* Leaves from for to; returns when somebody switches back to from. */
void context_switch(struct context *from, struct context *to);
/* The first thing to do where a switch arrives: in the function given to context_start, and after
 * context_switch has returned.  left is where the switch came from. */
void context_arrived(struct context *left, struct context *here);
