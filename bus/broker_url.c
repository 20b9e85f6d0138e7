#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "bus/broker_inside.h"

static bool parse(struct arena *a, CURLU *url, struct broker_url *ret, const char **why);
static const struct wire *wire_of(const char *scheme, bool *ret_tls, int *ret_port);
static const char *part(struct arena *a, CURLU *url, CURLUPart which);
static bool read_query(struct arena *a, const char *query, struct broker_url *ret,
                       const char **why);
static const char **option(struct broker_url *url, const char *name, size_t n);

bool
broker_url_parse(struct arena *a, const char *text, struct broker_url *ret, const char **why)
{
    CURLU *url = curl_url();
    if (!url)
        abort();
    struct broker_url parsed = {0};
    *why = "it is no URL";
    bool right = curl_url_set(url, CURLUPART_URL, text, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK &&
                 parse(a, url, &parsed, why);
    curl_url_cleanup(url);
    if (right)
        *ret = parsed;
    return right;
}

static bool
parse(struct arena *a, CURLU *url, struct broker_url *ret, const char **why)
{
    int port = 0;
    ret->wire = wire_of(part(a, url, CURLUPART_SCHEME), &ret->tls, &port);
    ret->host = part(a, url, CURLUPART_HOST);
    ret->user = part(a, url, CURLUPART_USER);
    ret->password = part(a, url, CURLUPART_PASSWORD);
    ret->path = part(a, url, CURLUPART_PATH);
    if (ret->path && ret->path[0] == '/')
        ret->path++;
    const char *given = part(a, url, CURLUPART_PORT);
    ret->port = given ? atoi(given) : port; /* curl has seen that it is one */
    if (!ret->wire)
        *why = "its scheme is none of amqp, amqps, nats, tls";
    else if (text_empty(ret->host))
        *why = "it has no host";
    else if (ret->wire == &nats_wire && !text_empty(ret->path))
        *why = "nats has no path";
    else
        return read_query(a, part(a, url, CURLUPART_QUERY), ret, why);
    return false;
}

static const struct wire *
wire_of(const char *scheme, bool *ret_tls, int *ret_port)
{
    static const struct {
        const char *scheme;
        const struct wire *wire;
        bool tls;
        int port;
    } known[] = {{"amqp", &rabbitmq_wire, false, 5672},
                 {"amqps", &rabbitmq_wire, true, 5671},
                 {"nats", &nats_wire, false, 4222},
                 {"tls", &nats_wire, true, 4222}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (text_equal(scheme, known[i].scheme)) {
            *ret_tls = known[i].tls;
            *ret_port = known[i].port;
            return known[i].wire;
        }
    return NULL;
}

/* Decoded, the query apart; NULL if there is none. */
static const char *
part(struct arena *a, CURLU *url, CURLUPart which)
{
    char *got = NULL;
    unsigned flags = which == CURLUPART_QUERY ? 0 : CURLU_URLDECODE;
    if (curl_url_get(url, which, &got, flags) != CURLUE_OK)
        return NULL;
    const char *copy = arena_strdup(a, got);
    curl_free(got);
    size_t n = strlen(copy);
    if (which == CURLUPART_HOST && n > 2 && copy[0] == '[')
        return arena_strndup(a, copy + 1, n - 2); /* an address of IPv6 */
    return copy;
}

/* Named as Erlang's clients name them: cacertfile, certfile, keyfile. */
static bool
read_query(struct arena *a, const char *query, struct broker_url *ret, const char **why)
{
    while (!text_empty(query)) {
        size_t n = strcspn(query, "&"), name_n = strcspn(query, "=&");
        const char **at = option(ret, query, name_n);
        if (!at || name_n == n) {
            *why = "of options it knows cacertfile=, certfile= and keyfile= alone";
            return false;
        }
        int length;
        char *value = curl_easy_unescape(NULL, query + name_n + 1, (int)(n - name_n - 1), &length);
        if (!value)
            abort();
        *at = arena_strndup(a, value, (size_t)length);
        curl_free(value);
        query += n + (query[n] == '&');
    }
    if (!ret->tls && (ret->cacertfile || ret->certfile || ret->keyfile))
        *why = "certificates are for amqps and tls";
    else if (!ret->certfile != !ret->keyfile)
        *why = "certfile and keyfile go together";
    else
        return true;
    return false;
}

static const char **
option(struct broker_url *url, const char *name, size_t n)
{
    const struct {
        const char *name;
        const char **at;
    } known[] = {
        {"cacertfile", &url->cacertfile}, {"certfile", &url->certfile}, {"keyfile", &url->keyfile}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strlen(known[i].name) == n && memcmp(known[i].name, name, n) == 0)
            return known[i].at;
    return NULL;
}
