/* The HTTP client: libcurl on a thread of the offload pool, a fresh connection for each call. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/limits.h"
#include "base/text.h"
#include "base/time.h"
#include "fiber/fiber.h"
#include "net/curl_thread.h"
#include "net/net.h"

enum { ANSWER_BYTES_DEFAULT = 8 << 20 };
static const int64_t timeout_default_us = 30 * SECOND_US;

struct fetch {
    struct arena *arena;
    const struct http_fetch *in;
    size_t answer_max, header_bytes;
    struct text body;
    struct http_header *headers;
    size_t n_headers;
    bool too_large;
    bool head_ended; /* the blank line behind the headers has come */
    long status;
    enum status st;
    const char *why;
};

static void run(void *arg);
static void perform(void *arg);
static bool well_formed(const struct http_fetch *in);
static struct curl_slist *header_list(const struct fetch *f);
static void set_body(const struct fetch *f, CURL *curl);
static size_t on_body(char *bytes, size_t size, size_t n, void *arg);
static size_t on_header(char *bytes, size_t size, size_t n, void *arg);
static enum status meaning(CURL *curl, CURLcode code, const struct fetch *f);

/* On the caller's stack, which waits: the arena is ours alone meanwhile. */
enum status
http_fetch(struct arena *a, const struct http_fetch *in, struct http_answer *ret, const char **why)
{
    struct fetch f = {.arena = a, .in = in, .body = text_in(a)};
    f.answer_max = in->answer_max ? in->answer_max : ANSWER_BYTES_DEFAULT;
    f.headers = arena_alloc(a, HEADERS_MAX * sizeof *f.headers);
    if (!well_formed(in)) {
        *why = "the request has a line break in a method or header";
        return INVALID_ARGUMENT;
    }
    fiber_offload(run, &f);
    if (f.st) {
        *why = f.why;
        return f.st;
    }
    *ret = (struct http_answer){.status = (int)f.status,
                                .headers = f.headers,
                                .n_headers = f.n_headers,
                                .body = f.body.n ? f.body.bytes : arena_strdup(a, ""),
                                .body_n = f.body.n};
    return OK;
}

static bool
one_line(const char *s)
{
    return s[strcspn(s, "\r\n")] == '\0';
}

static bool
well_formed(const struct http_fetch *in)
{
    for (size_t i = 0; i < in->n_headers; i++)
        if (!one_line(in->headers[i].name) || !one_line(in->headers[i].value))
            return false;
    return !in->method || one_line(in->method);
}

static void
run(void *arg)
{
    curl_thread(perform, arg);
}

static void
perform(void *arg)
{
    struct fetch *f = arg;
    const struct http_fetch *in = f->in;
    char error[CURL_ERROR_SIZE] = "";
    CURL *curl = curl_easy_init();
    if (!curl) {
        fprintf(stderr, "souk: libcurl cannot be started\n");
        abort();
    }
    struct curl_slist *headers = header_list(f);
    int64_t timeout_ms = (in->timeout_us > 0 ? in->timeout_us : timeout_default_us) / 1000;
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, error);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_URL, in->url);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* none, whatever the environment says */
    curl_easy_setopt(curl, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(curl, CURLOPT_FORBID_REUSE, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)(timeout_ms > 0 ? timeout_ms : 1));
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "souk");
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, f);
    curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(curl, CURLOPT_HEADERDATA, f);
    if (in->unix_socket)
        curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, in->unix_socket);
    set_body(f, curl);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &f->status);
    f->st = meaning(curl, code, f);
    if (f->too_large)
        f->why = arena_printf(f->arena, "the answer is larger than %zu bytes", f->answer_max);
    else
        f->why = arena_strdup(f->arena, error[0] ? error
                                        : code   ? curl_easy_strerror(code)
                                                 : "the answer was cut short");
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
}

/* libcurl adds an Expect and a Content-Type that nobody has asked for, unless told not to. */
static struct curl_slist *
header_list(const struct fetch *f)
{
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    bool typed = false;
    for (size_t i = 0; i < f->in->n_headers; i++) {
        const struct http_header *h = &f->in->headers[i];
        const char *sign = h->value[0] ? ": " : ";"; /* libcurl's way to say: an empty value */
        list = curl_slist_append(list, arena_printf(f->arena, "%s%s%s", h->name, sign, h->value));
        typed |= strcasecmp(h->name, "content-type") == 0;
    }
    return typed ? list : curl_slist_append(list, "Content-Type:");
}

static void
set_body(const struct fetch *f, CURL *curl)
{
    const char *method = f->in->method ? f->in->method : "GET";
    bool writes = f->in->body_n > 0 || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
                  strcmp(method, "PATCH") == 0;
    if (writes) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)f->in->body_n);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, f->in->body_n > 0 ? f->in->body : "");
    }
    if (strcmp(method, "HEAD") == 0 && !writes)
        curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    else
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
}

static size_t
on_body(char *bytes, size_t size, size_t n, void *arg)
{
    struct fetch *f = arg;
    f->too_large = f->too_large || size * n > f->answer_max - f->body.n;
    if (f->too_large)
        return 0;
    text_add_n(&f->body, bytes, size * n);
    return size * n;
}

/* Each status line begins the headers anew: a 100 may come before the answer. */
static size_t
on_header(char *bytes, size_t size, size_t n, void *arg)
{
    struct fetch *f = arg;
    n *= size;
    f->header_bytes += n;
    if (f->header_bytes > HEADER_BYTES_MAX)
        return 0;
    const char *colon = memchr(bytes, ':', n);
    if (n >= 5 && memcmp(bytes, "HTTP/", 5) == 0) {
        f->n_headers = 0;
        f->head_ended = false;
    } else if (bytes[0] == '\r' || bytes[0] == '\n') {
        f->head_ended = true;
    } else if (colon && f->n_headers < HEADERS_MAX) {
        char *name = arena_strndup(f->arena, bytes, (size_t)(colon - bytes));
        for (char *at = name; *at; at++)
            if (*at >= 'A' && *at <= 'Z')
                *at = (char)(*at + ('a' - 'A'));
        const char *value = colon + 1, *end = bytes + n;
        while (value < end && (*value == ' ' || *value == '\t'))
            value++;
        while (end > value && (end[-1] == ' ' || end[-1] == '\r' || end[-1] == '\n'))
            end--;
        f->headers[f->n_headers++] =
            (struct http_header){name, arena_strndup(f->arena, value, (size_t)(end - value))};
    }
    return n;
}

/* Nothing was sent unless libcurl came as far as the transfer. */
static enum status
meaning(CURL *curl, CURLcode code, const struct fetch *f)
{
    curl_off_t ready_us = 0;
    long sent_bytes = 0;
    curl_easy_getinfo(curl, CURLINFO_PRETRANSFER_TIME_T, &ready_us);
    curl_easy_getinfo(curl, CURLINFO_REQUEST_SIZE, &sent_bytes);
    bool sent = ready_us > 0 || sent_bytes > 0;
    switch (code) {
    case CURLE_OK:
        return f->status > 0 && f->head_ended ? OK : UNKNOWN;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return sent ? UNKNOWN : INVALID_ARGUMENT;
    case CURLE_OPERATION_TIMEDOUT:
        return sent ? DEADLINE_EXCEEDED : UNAVAILABLE;
    default:
        return sent ? UNKNOWN : UNAVAILABLE;
    }
}
