/* gRPC's own words in HTTP/2. */
#include "net/grpc_wire.h"

#include <nghttp2/nghttp2.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "base/time.h"
#include "net/internal.h"

enum {
    MESSAGE_ROOM_FIRST = 16 << 10, /* an announced length is believed so far; then memory follows */
    TIMEOUT_DIGITS_MAX = 8,
    HTTP_OK = 200,
};

/* ---- messages -------------------------------------------------------------------------------- */

void
grpc_prefix(uint8_t *ret, size_t n)
{
    ret[0] = 0;
    for (int i = 1; i < GRPC_PREFIX_BYTES; i++)
        ret[i] = (uint8_t)(n >> 8 * (GRPC_PREFIX_BYTES - 1 - i));
}

static enum grpc_progress
read_prefix(struct grpc_reader *r, const uint8_t **bytes, size_t *n, size_t max)
{
    while (*n > 0 && r->prefix_n < GRPC_PREFIX_BYTES) {
        r->prefix[r->prefix_n++] = *(*bytes)++;
        --*n;
    }
    if (r->prefix_n < GRPC_PREFIX_BYTES)
        return GRPC_MORE;
    if (r->prefix[0] != 0)
        return GRPC_COMPRESSED;
    r->length = 0;
    for (int i = 1; i < GRPC_PREFIX_BYTES; i++)
        r->length = r->length << 8 | r->prefix[i];
    return r->length > max ? GRPC_TOO_LARGE : GRPC_WHOLE;
}

static void
make_room(struct grpc_reader *r, size_t n)
{
    if (r->message && n <= r->room)
        return;
    size_t room = r->message ? 2 * r->room : MESSAGE_ROOM_FIRST;
    while (room < n)
        room *= 2;
    if (room > r->length)
        room = r->length;
    size_t have = r->message ? r->message->n : 0;
    r->message = realloc(r->message, sizeof *r->message + room);
    if (!r->message)
        abort();
    *r->message = (struct chunk){.n = have};
    r->room = room;
}

enum grpc_progress
grpc_read(struct grpc_reader *r, const uint8_t **bytes, size_t *n, size_t max, struct chunk **ret)
{
    if (r->prefix_n < GRPC_PREFIX_BYTES) {
        enum grpc_progress prefix = read_prefix(r, bytes, n, max);
        if (prefix != GRPC_WHOLE)
            return prefix;
    }
    size_t have = r->message ? r->message->n : 0;
    size_t m = *n < r->length - have ? *n : r->length - have;
    make_room(r, have + m);
    memcpy(r->message->bytes + have, *bytes, m);
    r->message->n += m;
    *bytes += m;
    *n -= m;
    if (r->message->n < r->length)
        return GRPC_MORE;
    *ret = r->message;
    r->message = NULL;
    r->room = r->prefix_n = 0;
    return GRPC_WHOLE;
}

void
grpc_reader_free(struct grpc_reader *r)
{
    free(r->message);
    *r = (struct grpc_reader){0};
}

bool
grpc_reader_between(const struct grpc_reader *r)
{
    return r->prefix_n == 0;
}

/* ---- timeouts -------------------------------------------------------------------------------- */

static const struct {
    char unit;
    int64_t us; /* 0: less than one */
} units[] = {
    {'u', 1}, {'m', MILLISECOND_US}, {'S', SECOND_US}, {'M', MINUTE_US}, {'H', HOUR_US}, {'n', 0},
};

enum { N_UNITS = sizeof units / sizeof units[0] };

bool
grpc_timeout_parse(const char *text, size_t n, int64_t *ret_us)
{
    if (n < 2 || n > TIMEOUT_DIGITS_MAX + 1)
        return false;
    int64_t value = 0;
    for (size_t i = 0; i < n - 1; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (text[i] - '0');
    }
    for (size_t i = 0; i < N_UNITS; i++) {
        if (units[i].unit != text[n - 1])
            continue;
        *ret_us = units[i].us ? value * units[i].us : (value + 999) / 1000;
        return true;
    }
    return false;
}

/* In the finest unit that has room; rounded up, so that the peer does not end before us. */
void
grpc_timeout_format(int64_t us, char ret[GRPC_TIMEOUT_CHARS])
{
    static const int64_t value_max = 99999999;
    if (us < 1)
        us = 1;
    for (size_t i = 0; i < N_UNITS && units[i].us; i++) {
        int64_t value = (us - 1) / units[i].us + 1;
        if (value > value_max && units[i].unit != 'H')
            continue;
        if (value > value_max)
            value = value_max;
        snprintf(ret, GRPC_TIMEOUT_CHARS, "%d%c", (int)value, units[i].unit);
        return;
    }
}

/* ---- grpc-message ---------------------------------------------------------------------------- */

char *
grpc_why_encode(struct arena *a, const char *why)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t n = strlen(why);
    if (n > GRPC_WHY_BYTES_MAX)
        for (n = GRPC_WHY_BYTES_MAX; n > 0 && ((unsigned char)why[n] & 0xc0) == 0x80;)
            n--; /* whole characters only */
    char *text = arena_alloc(a, 3 * n + 1), *at = text;
    for (size_t i = 0; i < n; i++) {
        unsigned char ch = (unsigned char)why[i];
        if (ch >= ' ' && ch <= '~' && ch != '%') {
            *at++ = (char)ch;
            continue;
        }
        *at++ = '%';
        *at++ = digits[ch >> 4];
        *at++ = digits[ch & 15];
    }
    *at = '\0';
    return text;
}

static int
hex_digit(char ch)
{
    if (ch >= '0' && ch <= '9')
        return ch - '0';
    ch |= 0x20;
    return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

/* What is no escape stays as it is; what is no UTF-8, and NUL, become question marks. */
char *
grpc_why_decode(struct arena *a, const char *text, size_t n)
{
    char *why = arena_alloc(a, n + 1);
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        int high = text[i] == '%' && i + 2 < n ? hex_digit(text[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
        if (low < 0) {
            why[m++] = text[i];
            continue;
        }
        why[m++] = (char)(high << 4 | low);
        i += 2;
    }
    for (size_t i = 0; i < m; i++)
        if (why[i] == '\0')
            why[i] = '?';
    if (!utf8_valid(why, m))
        for (size_t i = 0; i < m; i++)
            if ((unsigned char)why[i] >= 0x80)
                why[i] = '?';
    return why;
}

/* ---- base64 (RFC 4648, section 4) ------------------------------------------------------------ */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *
grpc_base64_encode(struct arena *a, const void *bytes, size_t n, size_t *ret_n)
{
    const uint8_t *in = bytes;
    char *text = arena_alloc(a, (n + 2) / 3 * 4 + 1);
    size_t m = 0;
    for (size_t i = 0; i < n; i += 3) {
        size_t have = n - i < 3 ? n - i : 3;
        unsigned word = (unsigned)in[i] << 16;
        if (have > 1)
            word |= (unsigned)in[i + 1] << 8;
        if (have > 2)
            word |= in[i + 2];
        for (size_t j = 0; j <= have; j++)
            text[m++] = alphabet[word >> (18 - 6 * j) & 63];
    }
    *ret_n = m;
    return text;
}

uint8_t *
grpc_base64_decode(struct arena *a, const char *text, size_t n, size_t *ret_n)
{
    if (n > 0 && n % 4 == 0 && text[n - 1] == '=')
        n -= text[n - 2] == '=' ? 2 : 1;
    if (n % 4 == 1)
        return NULL;
    uint8_t *bytes = arena_alloc(a, n / 4 * 3 + 3);
    size_t m = 0;
    unsigned word = 0;
    for (size_t i = 0; i < n; i++) {
        const char *at = text[i] ? strchr(alphabet, text[i]) : NULL;
        if (!at)
            return NULL;
        word = word << 6 | (unsigned)(at - alphabet);
        if (i % 4 != 0)
            bytes[m++] = (uint8_t)(word >> (6 - 2 * (i % 4)));
    }
    *ret_n = m;
    return bytes;
}

/* ---- metadata -------------------------------------------------------------------------------- */

bool
grpc_name_binary(const char *name, size_t n)
{
    return n > 4 && memcmp(name + n - 4, "-bin", 4) == 0;
}

bool
grpc_name_reserved(const char *name, size_t n)
{
    static const char *const ours[] = {"content-type",   "te",   "user-agent",
                                       "content-length", "host", "connection"};
    static const char details[] = "grpc-status-details-bin"; /* is for whoever fails, to say more */
    if (n == 0 || name[0] == ':')
        return true;
    if (n >= 5 && memcmp(name, "grpc-", 5) == 0)
        return n != sizeof details - 1 || memcmp(name, details, n) != 0;
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (strlen(ours[i]) == n && memcmp(ours[i], name, n) == 0)
            return true;
    return false;
}

bool
grpc_name_valid(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789_-.";
    return name[0] && strspn(name, allowed) == strlen(name);
}

/* A binary value may be several, with commas between them: they are one after another then. */
static void
add_binary(struct grpc_pairs *p, struct arena *a, const char *name, const char *value, size_t n)
{
    for (const char *end = value + n;;) {
        const char *comma = memchr(value, ',', (size_t)(end - value));
        size_t part = (size_t)((comma ? comma : end) - value), m;
        const uint8_t *bytes = grpc_base64_decode(a, value, part, &m);
        if (!bytes)
            p->wrong = "metadata that ends in -bin is no base64";
        else if (p->n == GRPC_METADATA_MAX)
            p->wrong = "there is too much metadata";
        if (p->wrong)
            return;
        p->list[p->n++] = (struct grpc_pair){name, (const char *)bytes, m};
        if (!comma)
            return;
        value = comma + 1;
    }
}

void
grpc_pairs_add(struct grpc_pairs *p, struct arena *a, const uint8_t *name, size_t name_n,
               const uint8_t *value, size_t value_n)
{
    if (grpc_name_reserved((const char *)name, name_n) || p->wrong)
        return;
    p->bytes += name_n + value_n;
    if (p->bytes > GRPC_METADATA_BYTES_MAX || p->n == GRPC_METADATA_MAX) {
        p->wrong = "there is too much metadata";
        return;
    }
    if (!p->list)
        p->list = arena_alloc(a, GRPC_METADATA_MAX * sizeof *p->list);
    const char *key = arena_strndup(a, (const char *)name, name_n);
    if (grpc_name_binary(key, name_n))
        add_binary(p, a, key, (const char *)value, value_n);
    else
        p->list[p->n++] =
            (struct grpc_pair){key, arena_strndup(a, (const char *)value, value_n), value_n};
}

bool
grpc_pair_encode(struct arena *a, const struct grpc_pair *pair, const char **ret, size_t *ret_n)
{
    size_t n = strlen(pair->name);
    if (!grpc_name_valid(pair->name) || grpc_name_reserved(pair->name, n))
        return false;
    if (grpc_name_binary(pair->name, n)) {
        *ret = grpc_base64_encode(a, pair->value, pair->value_n, ret_n);
        return true;
    }
    for (size_t i = 0; i < pair->value_n; i++)
        if (pair->value[i] < ' ' || pair->value[i] > '~')
            return false;
    *ret = arena_strndup(a, pair->value, pair->value_n);
    *ret_n = pair->value_n;
    return true;
}

/* ---- statuses -------------------------------------------------------------------------------- */

enum status
grpc_status_of_http(int http)
{
    switch (http) {
    case HTTP_OK:
    case 400:
        return INTERNAL;
    case 401:
        return UNAUTHENTICATED;
    case 403:
        return PERMISSION_DENIED;
    case 404:
        return UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return UNAVAILABLE;
    default:
        return UNKNOWN;
    }
}

enum status
grpc_status_of_reset(uint32_t error)
{
    switch (error) {
    case NGHTTP2_REFUSED_STREAM:
        return UNAVAILABLE;
    case NGHTTP2_CANCEL:
        return CANCELLED;
    case NGHTTP2_ENHANCE_YOUR_CALM:
        return RESOURCE_EXHAUSTED;
    case NGHTTP2_INADEQUATE_SECURITY:
        return PERMISSION_DENIED;
    default:
        return INTERNAL;
    }
}
