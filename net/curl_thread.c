#include "net/curl_thread.h"

#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

static void
start_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* The signal is taken before it can be delivered, unless it waited before. */
void
curl_thread(void (*fn)(void *arg), void *arg)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_curl);
    sigset_t pipe, before, pending;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &pipe, &before);
    fn(arg);
    const struct timespec at_once = {0};
    if (!sigismember(&pending, SIGPIPE))
        sigtimedwait(&pipe, NULL, &at_once);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}
