/* souk health: is it ready?  For a container's health check, whose image has no curl. */
#include <stdio.h>
#include <string.h>

#include "app/app.h"
#include "base/time.h"
#include "net/net.h"

enum { HEALTH_TIMEOUT_US = 4 * SECOND_US };

/* The setting, where nobody gave an address; a server on every address is asked on this machine's.
 */
static const char *
address_of(const struct options *options, const struct conf *conf)
{
    const char *address = options->n_words ? options->words[0] : conf_get(conf, "listen");
    if (strncmp(address, "0.0.0.0:", 8) == 0)
        return arena_printf(options->arena, "127.0.0.1:%s", address + 8);
    if (strncmp(address, "[::]:", 5) == 0)
        return arena_printf(options->arena, "[::1]:%s", address + 5);
    return address;
}

static int
ask(struct arena *a, const char *address)
{
    const char *why = "";
    struct http_answer answer;
    const struct http_fetch fetch = {.url = arena_printf(a, "http://%s/readyz", address),
                                     .timeout_us = HEALTH_TIMEOUT_US};
    enum status st = http_fetch(a, &fetch, &answer, &why);
    if (st)
        return complain("%s does not answer: %s", address, why);
    if (answer.status != 200)
        return complain("%s is not ready: it answers %d", address, answer.status);
    printf("%s is ready\n", address);
    return 0;
}

int
command_health(const struct options *options)
{
    struct conf *conf = conf_new();
    int code = load_conf(options, conf) ? ask(options->arena, address_of(options, conf)) : 1;
    conf_free(conf);
    return code;
}
