#include "base/ids.h"

#include <assert.h>
#include <string.h>

#include "base/env.h"
#include "base/hash.h"
#include "base/time.h"

enum {
    TIME_BYTES = 6,
    RANDOM_BYTES = 10,
    ID_BYTES = TIME_BYTES + RANDOM_BYTES,
    TIME_CHARS = 10, /* of the body: 50 bits, the top two zero */
};

static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";

static const char *write_id(struct arena *a, const char *prefix, int64_t time_us,
                            const uint8_t random[RANDOM_BYTES]);
static int digit_of(char c);
static bool body_valid(const char *body);

const char *
id_make(struct arena *a, const char *prefix, int64_t now_us)
{
    uint8_t random[RANDOM_BYTES];
    env.random(random, sizeof random);
    return write_id(a, prefix, now_us, random);
}

const char *
id_derive(struct arena *a, const char *prefix, const char *from, const char *detail)
{
    uint8_t digest[SHA256_BYTES];
    sha256_parts((const char *const[]){prefix, from, detail}, 3, digest);
    int64_t time_us = id_time_us(from);
    return write_id(a, prefix, time_us < 0 ? 0 : time_us, digest);
}

bool
id_valid(const char *prefix, const char *id)
{
    size_t n = strlen(prefix);
    return id && strncmp(id, prefix, n) == 0 && id[n] == '_' && body_valid(id + n + 1);
}

int64_t
id_time_us(const char *id)
{
    const char *underscore = id ? strchr(id, '_') : NULL;
    if (!underscore || underscore == id || underscore - id > ID_PREFIX_MAX ||
        !body_valid(underscore + 1))
        return -1;
    int64_t ms = 0;
    for (int i = 1; i <= TIME_CHARS; i++)
        ms = ms << 5 | digit_of(underscore[i]);
    return ms * MILLISECOND_US;
}

static const char *
write_id(struct arena *a, const char *prefix, int64_t time_us, const uint8_t random[RANDOM_BYTES])
{
    size_t prefix_n = strlen(prefix);
    assert(prefix_n > 0 && prefix_n <= ID_PREFIX_MAX && time_us >= 0);

    uint8_t bytes[ID_BYTES];
    uint64_t ms = (uint64_t)(time_us / MILLISECOND_US);
    for (int i = 0; i < TIME_BYTES; i++)
        bytes[i] = (uint8_t)(ms >> (8 * (TIME_BYTES - 1 - i)));
    memcpy(bytes + TIME_BYTES, random, RANDOM_BYTES);

    char *id = arena_alloc(a, prefix_n + 1 + ID_BODY_CHARS + 1);
    memcpy(id, prefix, prefix_n);
    id[prefix_n] = '_';
    char *body = id + prefix_n + 1;
    uint32_t bits = 0;
    unsigned held = 2; /* 128 bits are two short of 26 digits: the first takes two zeros */
    for (int i = 0, made = 0; made < ID_BODY_CHARS; made++) {
        if (held < 5) {
            bits = bits << 8 | bytes[i++];
            held += 8;
        }
        held -= 5;
        body[made] = alphabet[bits >> held & 31];
    }
    return id;
}

static int
digit_of(char c)
{
    const char *at = c ? strchr(alphabet, c) : NULL;
    return at ? (int)(at - alphabet) : -1;
}

static bool
body_valid(const char *body)
{
    if (body[0] < '0' || body[0] > '7') /* more than 128 bits */
        return false;
    for (int i = 0; i < ID_BODY_CHARS; i++)
        if (digit_of(body[i]) < 0)
            return false;
    return body[ID_BODY_CHARS] == '\0';
}
