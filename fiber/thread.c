#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "fiber/wait.h"

struct start {
    void *(*fn)(void *arg);
    void *arg;
    char name[16];
};

static bool start_thread(const char *name, void *(*fn)(void *arg), void *arg, pthread_t *ret);
static void *begin(void *start);

pthread_t
thread_start(const char *name, void *(*fn)(void *arg), void *arg)
{
    pthread_t thread;
    if (!start_thread(name, fn, arg, &thread)) {
        fprintf(stderr, "souk: the thread %s cannot be started\n", name);
        abort();
    }
    return thread;
}

bool
thread_start_detached(const char *name, void *(*fn)(void *arg), void *arg)
{
    pthread_t thread;
    return start_thread(name, fn, arg, &thread) && pthread_detach(thread) == 0;
}

static bool
start_thread(const char *name, void *(*fn)(void *arg), void *arg, pthread_t *ret)
{
    struct start *start = malloc(sizeof *start);
    if (!start)
        return false;
    *start = (struct start){.fn = fn, .arg = arg};
    snprintf(start->name, sizeof start->name, "%s", name);

    static const int own_faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGPROF};
    sigset_t all, before;
    sigfillset(&all);
    for (size_t i = 0; i < sizeof own_faults / sizeof own_faults[0]; i++)
        sigdelset(&all, own_faults[i]);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    bool started = pthread_create(ret, NULL, begin, start) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!started)
        free(start);
    return started;
}

static void *
begin(void *start)
{
    struct start s = *(struct start *)start;
    free(start);
    pthread_setname_np(pthread_self(), s.name);
    return s.fn(s.arg);
}
