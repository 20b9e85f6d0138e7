#include "gateway/forwarded.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/text.h"

enum { WORD_CHARS_MAX = INET6_ADDRSTRLEN + 4 }; /* an address and "/128" */

static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff}; /* ::ffff:192.0.2.1 */

static bool find_client(const struct proxies *p, const struct http_request *in, const char *value,
                        const char **ret);
static bool read_network(const char *word, struct network *ret);
static bool read_address(const char *word, unsigned char ret[16]);
static bool trusted(const struct proxies *p, const unsigned char address[16]);
static const char *address_text(struct arena *a, const unsigned char bytes[16]);

/* The word before end, without the blanks around it, is copied; false if it is too long for one. */
static bool
copy_word(const char *begin, const char *end, char ret[WORD_CHARS_MAX])
{
    while (begin < end && (*begin == ' ' || *begin == '\t'))
        begin++;
    while (end > begin && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    size_t n = (size_t)(end - begin);
    if (n >= WORD_CHARS_MAX)
        return false;
    memcpy(ret, begin, n);
    ret[n] = '\0';
    return true;
}

enum status
proxies_read(const char *list, struct arena *a, struct proxies *ret, const char **why)
{
    struct proxies read = {.n = 0};
    for (const char *p = list, *end; *list && p; p = *end ? end + 1 : NULL) {
        p += strspn(p, " \t");
        end = p + strcspn(p, ",");
        char word[WORD_CHARS_MAX];
        if (read.n == PROXIES_MAX) {
            *why = arena_printf(a, "there are more than %d", PROXIES_MAX);
            return INVALID_ARGUMENT;
        }
        if (!copy_word(p, end, word) || !read_network(word, &read.networks[read.n++])) {
            *why = arena_printf(a, "\"%.*s\" is no address, nor a network as in 10.0.0.0/8",
                                (int)(end - p), p);
            return INVALID_ARGUMENT;
        }
    }
    *ret = read;
    return OK;
}

const char *
forwarded_client(const struct proxies *p, const struct http_request *in)
{
    unsigned char address[16];
    const char *client = in->peer;
    if (p->n == 0 || !read_address(in->peer, address) || !trusted(p, address))
        return client;
    for (size_t i = in->n_headers; i-- > 0;) /* one that came later was written by who is nearer */
        if (strcmp(in->headers[i].name, "x-forwarded-for") == 0 &&
            find_client(p, in, in->headers[i].value, &client))
            break;
    return client;
}

/* From right to left; true where the search ends: at a stranger, who is the client then, or at what
 * is no address. */
static bool
find_client(const struct proxies *p, const struct http_request *in, const char *value,
            const char **ret)
{
    size_t begin, end = strlen(value);
    do {
        for (begin = end; begin && value[begin - 1] != ',';)
            begin--;
        char word[WORD_CHARS_MAX];
        unsigned char address[16];
        if (!copy_word(value + begin, value + end, word) || !read_address(word, address))
            return true;
        if (!trusted(p, address)) {
            *ret = address_text(in->arena, address);
            return true;
        }
        end = begin ? begin - 1 : 0;
    } while (begin);
    return false;
}

static bool
read_network(const char *word, struct network *ret)
{
    char address[WORD_CHARS_MAX];
    size_t n = strcspn(word, "/");
    memcpy(address, word, n);
    address[n] = '\0';
    if (!read_address(address, ret->bytes))
        return false;
    int64_t most = strchr(address, ':') ? 128 : 32, bits = most;
    if (word[n] && (!int_parse(word + n + 1, &bits) || bits < 0 || bits > most))
        return false;
    ret->bits = (int)(128 - most + bits);
    return true;
}

static bool
read_address(const char *word, unsigned char ret[16])
{
    if (inet_pton(AF_INET6, word, ret) == 1)
        return true;
    memcpy(ret, mapped, sizeof mapped);
    return inet_pton(AF_INET, word, ret + sizeof mapped) == 1;
}

static bool
trusted(const struct proxies *p, const unsigned char address[16])
{
    for (size_t i = 0; i < p->n; i++) {
        const struct network *n = &p->networks[i];
        size_t whole = (size_t)n->bits / 8;
        unsigned char rest = (unsigned char)(0xff00 >> n->bits % 8);
        if (memcmp(n->bytes, address, whole) == 0 &&
            (!rest || ((n->bytes[whole] ^ address[whole]) & rest) == 0))
            return true;
    }
    return false;
}

/* As net names a peer. */
static const char *
address_text(struct arena *a, const unsigned char bytes[16])
{
    char text[INET6_ADDRSTRLEN];
    bool v4 = memcmp(bytes, mapped, sizeof mapped) == 0;
    inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? bytes + sizeof mapped : bytes, text, sizeof text);
    return arena_strdup(a, text);
}
