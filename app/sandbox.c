/* souk sandbox: the sandbox payment provider as a server of its own. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "app/app.h"
#include "base/time.h"
#include "services/sandbox_server.h"

enum { SLOW_MS = 2000 };

static const char *
secret_of(const struct options *options)
{
    const char *secret = options->secret ? options->secret : getenv("SOUK_SANDBOX_SECRET");
    return secret && *secret ? secret : NULL;
}

int
command_sandbox(const struct options *options)
{
    hold_signals();
    struct arena *a = options->arena;
    const char *why = NULL;
    struct sandbox_server_options o = {
        .listen = options->listen ? options->listen : "127.0.0.1:8090",
        .ledger = arena_printf(a, "%s/sandbox.ledger", options->data_dir),
        .secret = secret_of(options),
        .callback_url = options->callback,
        .latency_us = options->latency_ms * MILLISECOND_US,
        .slow_us = SLOW_MS * MILLISECOND_US,
    };
    if (!o.secret)
        return complain("a secret is needed: --secret S, or $SOUK_SANDBOX_SECRET"), 2;
    if (options->faults && !sandbox_faults_read(&o.faults, options->faults, a, &why))
        return complain("--faults: %s", why), 2;
    if (mkdir(options->data_dir, 0700) && errno != EEXIST)
        return complain("%s: %s", options->data_dir, strerror(errno));
    struct sandbox_server *server;
    if (sandbox_server_start(&o, a, &server, &why))
        return complain("%s", why);
    printf("The sandbox serves %s on http://%s\n", o.ledger, o.listen);
    fflush(stdout);
    wait_for_end();
    sandbox_server_stop(server);
    return 0;
}
