#include "kit/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/env.h"
#include "base/hash.h"
#include "fiber/fiber.h"
#include "kit/key_file.h"
#include "kit/node.h"
#include "wire.pb-c.h"

enum {
    KEYS_MAX = 8,
    SIGNED_BYTES_MAX = 320,
    KNOWN_MAX = 4096, /* that need not be signed, or verified, again */
    WAYS = 4,
};
#define LIFE_US        MINUTE_US
#define CLOCK_SKEW_US  (30 * SECOND_US)
#define LOOK_AGAIN_US  SECOND_US
#define PUBLIC_FILE_BYTES_MAX 4096

/* A caller that was signed or verified; key is a digest of what was asked. */
struct known {
    uint8_t key[SHA256_BYTES];
    int64_t until_us;
    size_t n;
    uint8_t bytes[SIGNED_BYTES_MAX]; /* signed: the SignedCaller; verified: the Caller */
};

struct identity {
    struct spin lock;
    char *public_path;
    bool signs;
    uint8_t secret[crypto_sign_SECRETKEYBYTES];
    uint8_t keys[KEYS_MAX][crypto_sign_PUBLICKEYBYTES];
    size_t n_keys;
    int64_t looked_us; /* when the public keys were read last */
    struct known *known;
};

static const char *make_secret(struct arena *a);
static enum status open_secret(struct identity *id, const char *folder, struct arena *a,
                               const char **why);
static enum status write_public(struct identity *id,
                                const uint8_t ours[crypto_sign_PUBLICKEYBYTES], struct arena *a,
                                const char **why);
static void read_public(struct identity *id);
static bool signature_good(struct identity *id, const Souk__Kit__V1__SignedCaller *in);
static bool find_known(struct identity *id, const uint8_t key[SHA256_BYTES], int64_t least_us,
                       struct known *ret);
static void keep_known(struct identity *id, const struct known *fresh);
static void caller_from(struct caller *ret, const Souk__Kit__V1__Caller *row);

enum status
identity_open(const char *folder, bool signs, struct arena *a, struct identity **ret,
              const char **why)
{
    struct identity *id = calloc(1, sizeof *id);
    if (!id || !(id->known = calloc(KNOWN_MAX, sizeof *id->known)) ||
        !(id->public_path = strdup(arena_printf(a, "%s/gateway.pub", folder))))
        abort();
    id->signs = signs;
    enum status st = signs ? open_secret(id, folder, a, why) : OK;
    if (st) {
        identity_free(id);
        return st;
    }
    read_public(id); /* where it is not there yet, the first who needs it looks again */
    *ret = id;
    return OK;
}

void
identity_free(struct identity *id)
{
    if (!id)
        return;
    sodium_memzero(id->secret, sizeof id->secret);
    free(id->public_path);
    free(id->known);
    free(id);
}

ProtobufCBinaryData
identity_sign(struct identity *id, struct arena *a, const struct caller *caller)
{
    const char *const parts[] = {caller->kind == CALLER_GUEST ? "guest" : "user", caller->id,
                                 caller->session_id, caller->order_id};
    struct known known = {0};
    sha256_parts(parts, sizeof parts / sizeof parts[0], known.key);
    uint8_t key[SHA256_BYTES];
    memcpy(key, known.key, sizeof key);
    int64_t now_us = env.now_us();
    if (find_known(id, key, now_us + IDENTITY_LEFT_US, &known))
        return (ProtobufCBinaryData){known.n, arena_copy(a, known.bytes, known.n)};

    Souk__Kit__V1__Caller row = SOUK__KIT__V1__CALLER__INIT;
    row.guest = caller->kind == CALLER_GUEST;
    row.id = caller->id;
    row.session_id = caller->session_id;
    row.order_id = caller->order_id;
    row.until_us = now_us + LIFE_US;
    Souk__Kit__V1__SignedCaller out = SOUK__KIT__V1__SIGNED_CALLER__INIT;
    out.caller.data = message_pack(a, &row.base, &out.caller.len);
    out.signature.len = crypto_sign_BYTES;
    out.signature.data = arena_alloc(a, crypto_sign_BYTES);
    crypto_sign_detached(out.signature.data, NULL, out.caller.data, out.caller.len, id->secret);

    ProtobufCBinaryData packed;
    packed.data = message_pack(a, &out.base, &packed.len);
    if (packed.len <= SIGNED_BYTES_MAX) {
        known.until_us = row.until_us;
        known.n = packed.len;
        memcpy(known.bytes, packed.data, packed.len);
        keep_known(id, &known);
    }
    return packed;
}

bool
identity_verify(struct identity *id, struct arena *a, ProtobufCBinaryData signed_caller,
                struct caller *ret)
{
    struct known known = {0};
    sha256(signed_caller.data, signed_caller.len, known.key);
    uint8_t key[SHA256_BYTES];
    memcpy(key, known.key, sizeof key);
    int64_t now_us = env.now_us();
    ProtobufCBinaryData packed;
    bool is_known = find_known(id, key, now_us - CLOCK_SKEW_US, &known);
    if (is_known) {
        packed = (ProtobufCBinaryData){known.n, known.bytes};
    } else {
        const Souk__Kit__V1__SignedCaller *in =
            (void *)message_unpack(a, &souk__kit__v1__signed_caller__descriptor,
                                   signed_caller.data, signed_caller.len);
        if (!in || !signature_good(id, in))
            return false;
        packed = in->caller;
    }
    const Souk__Kit__V1__Caller *row =
        (void *)message_unpack(a, &souk__kit__v1__caller__descriptor, packed.data, packed.len);
    if (!row || row->until_us <= now_us - CLOCK_SKEW_US)
        return false;
    if (!is_known && packed.len <= SIGNED_BYTES_MAX) {
        known.until_us = row->until_us;
        known.n = packed.len;
        memcpy(known.bytes, packed.data, packed.len);
        keep_known(id, &known);
    }
    caller_from(ret, row);
    return true;
}

static void
caller_from(struct caller *ret, const Souk__Kit__V1__Caller *row)
{
    ret->kind = row->guest ? CALLER_GUEST : CALLER_USER;
    ret->id = row->id;
    ret->session_id = row->session_id;
    ret->order_id = row->order_id;
}

static const char *
make_secret(struct arena *a)
{
    uint8_t seed[crypto_sign_SEEDBYTES];
    env.random(seed, sizeof seed);
    return base64url_encode(a, seed, sizeof seed);
}

static enum status
open_secret(struct identity *id, const char *folder, struct arena *a, const char **why)
{
    const char *text;
    enum status st = key_file_open(a, folder, "gateway.key", make_secret, &text, why);
    if (st)
        return st;
    size_t n;
    uint8_t public[crypto_sign_PUBLICKEYBYTES];
    const uint8_t *seed = base64url_decode(a, text, strcspn(text, "\n"), &n);
    if (!seed || n != crypto_sign_SEEDBYTES) {
        *why = arena_printf(a, "%s/gateway.key is no key", folder);
        return FAILED_PRECONDITION;
    }
    crypto_sign_seed_keypair(public, id->secret, seed);
    return write_public(id, public, a, why);
}

/* Adds our public half to the file, unless it is there. */
static enum status
write_public(struct identity *id, const uint8_t ours[crypto_sign_PUBLICKEYBYTES], struct arena *a,
             const char **why)
{
    read_public(id);
    for (size_t i = 0; i < id->n_keys; i++)
        if (memcmp(id->keys[i], ours, crypto_sign_PUBLICKEYBYTES) == 0)
            return OK;
    const char *line =
        arena_printf(a, "%s\n", base64url_encode(a, ours, crypto_sign_PUBLICKEYBYTES));
    int fd = env.file_open(id->public_path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    size_t n = strlen(line);
    bool written = fd >= 0 && env.file_write(fd, line, n) == (ssize_t)n && env.file_sync(fd) == 0;
    if (!written)
        *why = arena_printf(a, "%s: cannot be written: %s", id->public_path, strerror(errno));
    if (fd >= 0)
        env.file_close(fd);
    return written ? OK : FAILED_PRECONDITION;
}

static void
read_public(struct identity *id)
{
    char text[PUBLIC_FILE_BYTES_MAX + 1];
    int fd = env.file_open(id->public_path, O_RDONLY, 0);
    ssize_t got = fd >= 0 ? env.file_read(fd, text, PUBLIC_FILE_BYTES_MAX) : 0;
    if (fd >= 0)
        env.file_close(fd);
    text[got > 0 ? got : 0] = '\0';
    struct arena *a = arena_new();
    uint8_t keys[KEYS_MAX][crypto_sign_PUBLICKEYBYTES];
    size_t n_keys = 0;
    char *left = text;
    for (char *line; n_keys < KEYS_MAX && (line = strsep(&left, "\n"));) {
        size_t n;
        const void *key = base64url_decode(a, line, strlen(line), &n);
        if (key && n == crypto_sign_PUBLICKEYBYTES)
            memcpy(keys[n_keys++], key, n);
    }
    arena_free(a);
    spin_lock(&id->lock);
    id->looked_us = env.mono_us();
    if (n_keys) {
        memcpy(id->keys, keys, sizeof keys);
        id->n_keys = n_keys;
    }
    spin_unlock(&id->lock);
}

/* A signature that none of the keys made may be of one that is new: then the file is read again, at
 * most once a second; while there is none, each time. */
static bool
signature_good(struct identity *id, const Souk__Kit__V1__SignedCaller *in)
{
    if (in->signature.len != crypto_sign_BYTES)
        return false;
    for (int tries = 0; tries < 2; tries++) {
        uint8_t keys[KEYS_MAX][crypto_sign_PUBLICKEYBYTES];
        spin_lock(&id->lock);
        size_t n = id->n_keys;
        memcpy(keys, id->keys, sizeof keys);
        bool looks = n == 0 || env.mono_us() - id->looked_us >= LOOK_AGAIN_US;
        spin_unlock(&id->lock);
        for (size_t i = 0; i < n; i++)
            if (crypto_sign_verify_detached(in->signature.data, in->caller.data, in->caller.len,
                                            keys[i]) == 0)
                return true;
        if (!looks)
            return false;
        read_public(id);
    }
    return false;
}

static struct known *
set_of(struct identity *id, const uint8_t key[SHA256_BYTES])
{
    uint32_t start;
    memcpy(&start, key, sizeof start);
    return &id->known[start % (KNOWN_MAX / WAYS) * WAYS];
}

static bool
find_known(struct identity *id, const uint8_t key[SHA256_BYTES], int64_t least_us,
           struct known *ret)
{
    bool found = false;
    spin_lock(&id->lock);
    const struct known *set = set_of(id, key);
    for (int i = 0; i < WAYS && !found; i++)
        if (set[i].until_us > least_us && memcmp(set[i].key, key, SHA256_BYTES) == 0) {
            *ret = set[i];
            found = true;
        }
    spin_unlock(&id->lock);
    return found;
}

static void
keep_known(struct identity *id, const struct known *fresh)
{
    spin_lock(&id->lock);
    struct known *set = set_of(id, fresh->key), *place = set;
    for (int i = 0; i < WAYS; i++) {
        if (set[i].until_us < place->until_us)
            place = &set[i];
        if (memcmp(set[i].key, fresh->key, SHA256_BYTES) == 0) {
            place = &set[i];
            break;
        }
    }
    *place = *fresh;
    spin_unlock(&id->lock);
}
