#include "fiber/switch.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

/* Only pages that were touched are resident.  The sanitizers' frames are several times as large. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { STACK_BYTES = 1 << 20 };
#else
enum { STACK_BYTES = 256 << 10 };
#endif

static void switch_stacks(struct context *from, struct context *to);

char *
stack_new(size_t *ret_bytes)
{
    size_t guard = (size_t)sysconf(_SC_PAGESIZE);
    char *low = mmap(NULL, guard + STACK_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (low == MAP_FAILED)
        return NULL;
    if (mprotect(low, guard, PROT_NONE) != 0) {
        munmap(low, guard + STACK_BYTES);
        return NULL;
    }
    *ret_bytes = STACK_BYTES;
    return low + guard;
}

void
stack_free(char *stack)
{
    size_t guard = (size_t)sysconf(_SC_PAGESIZE);
    if (stack)
        munmap(stack - guard, guard + STACK_BYTES);
}

void
context_of_thread(struct context *c)
{
    *c = (struct context){.sp = NULL};
#ifdef __SANITIZE_THREAD__
    c->twin = __tsan_get_current_fiber();
#endif
}

void
context_end(struct context *c)
{
#ifdef __SANITIZE_THREAD__
    __tsan_destroy_fiber(c->twin);
#endif
    c->twin = NULL;
}

void
context_switch(struct context *from, struct context *to)
{
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(&from->shadow, to->stack, to->stack_bytes);
#endif
#ifdef __SANITIZE_THREAD__
    __tsan_switch_to_fiber(to->twin, 0);
#endif
    switch_stacks(from, to);
}

void
context_arrived(struct context *left, struct context *here)
{
#ifdef __SANITIZE_ADDRESS__
    const void *stack;
    size_t bytes;
    __sanitizer_finish_switch_fiber(here->shadow, &stack, &bytes);
    memcpy(&left->stack, &stack, sizeof stack);
    left->stack_bytes = bytes;
#else
    (void)left, (void)here;
#endif
}

/*
 * By hand: the registers that a called function must preserve go to the stack that is left, and are
 * taken from the one that is entered.  The floating-point control words are left alone: nobody here
 * changes them.
 */
#if !SWITCH_BY_HAND
/* ucontext does all of it. */
#elif defined(__x86_64__)
void souk_switch_stacks(void **save_sp, void *sp);
__asm__(".text\n"
        ".globl souk_switch_stacks\n"
        ".hidden souk_switch_stacks\n"
        ".type souk_switch_stacks, @function\n"
        "souk_switch_stacks:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    ret\n"
        ".size souk_switch_stacks, .-souk_switch_stacks\n");

enum { RETURN_AT = 6, WORDS = 8 }; /* and a zero where fn would return to */
#elif defined(__aarch64__)
void souk_switch_stacks(void **save_sp, void *sp);
__asm__(".text\n"
        ".globl souk_switch_stacks\n"
        ".hidden souk_switch_stacks\n"
        ".type souk_switch_stacks, %function\n"
        "souk_switch_stacks:\n"
        "    sub sp, sp, #160\n"
        "    stp x19, x20, [sp, #0]\n"
        "    stp x21, x22, [sp, #16]\n"
        "    stp x23, x24, [sp, #32]\n"
        "    stp x25, x26, [sp, #48]\n"
        "    stp x27, x28, [sp, #64]\n"
        "    stp x29, x30, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n"
        "    stp d10, d11, [sp, #112]\n"
        "    stp d12, d13, [sp, #128]\n"
        "    stp d14, d15, [sp, #144]\n"
        "    mov x9, sp\n"
        "    str x9, [x0]\n"
        "    mov sp, x1\n"
        "    ldp x19, x20, [sp, #0]\n"
        "    ldp x21, x22, [sp, #16]\n"
        "    ldp x23, x24, [sp, #32]\n"
        "    ldp x25, x26, [sp, #48]\n"
        "    ldp x27, x28, [sp, #64]\n"
        "    ldp x29, x30, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n"
        "    ldp d10, d11, [sp, #112]\n"
        "    ldp d12, d13, [sp, #128]\n"
        "    ldp d14, d15, [sp, #144]\n"
        "    add sp, sp, #160\n"
        "    ret\n"
        ".size souk_switch_stacks, .-souk_switch_stacks\n");

enum { RETURN_AT = 11, WORDS = 20 };
#endif

#if SWITCH_BY_HAND
void
context_start(struct context *c, void (*fn)(void))
{
    /* On x86-64 fn must find the stack as after a call: 8 bytes off a multiple of 16. */
    uintptr_t *top = (uintptr_t *)(void *)(c->stack + c->stack_bytes);
    uintptr_t *sp = top - WORDS;
    memset(sp, 0, WORDS * sizeof *sp);
    sp[RETURN_AT] = (uintptr_t)fn;
    c->sp = sp;
    c->shadow = NULL;
#ifdef __SANITIZE_THREAD__
    c->twin = __tsan_create_fiber(0);
#endif
}

static void
switch_stacks(struct context *from, struct context *to)
{
    souk_switch_stacks(&from->sp, to->sp);
}
#else
void
context_start(struct context *c, void (*fn)(void))
{
    getcontext(&c->saved);
    c->saved.uc_stack.ss_sp = c->stack;
    c->saved.uc_stack.ss_size = c->stack_bytes;
    c->saved.uc_link = NULL;
    makecontext(&c->saved, fn, 0);
#ifdef __SANITIZE_THREAD__
    c->twin = __tsan_create_fiber(0);
#endif
}

static void
switch_stacks(struct context *from, struct context *to)
{
    if (swapcontext(&from->saved, &to->saved) != 0)
        abort();
}
#endif
