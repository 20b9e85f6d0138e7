#include "base/hash.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(SHA256_BYTES == crypto_hash_sha256_BYTES, "a digest is a digest");

/* libsodium asks for this once, before anything else of it and before there are threads. */
__attribute__((constructor)) static void
start_sodium(void)
{
    if (sodium_init() < 0)
        abort();
}

void
sha256(const void *bytes, size_t n, uint8_t ret[SHA256_BYTES])
{
    crypto_hash_sha256(ret, bytes, n);
}

void
hmac_sha256(const void *key, size_t key_n, const void *bytes, size_t n, uint8_t ret[SHA256_BYTES])
{
    crypto_auth_hmacsha256_state state;
    crypto_auth_hmacsha256_init(&state, key, key_n);
    crypto_auth_hmacsha256_update(&state, bytes, n);
    crypto_auth_hmacsha256_final(&state, ret);
}

void
sha256_parts(const char *const *parts, size_t n, uint8_t ret[SHA256_BYTES])
{
    crypto_hash_sha256_state state;
    crypto_hash_sha256_init(&state);
    for (size_t i = 0; i < n; i++) {
        const char *part = parts[i] ? parts[i] : "";
        uint64_t length = strlen(part);
        uint8_t frame[8];
        for (int byte = 0; byte < 8; byte++)
            frame[byte] = (uint8_t)(length >> (56 - 8 * byte));
        crypto_hash_sha256_update(&state, frame, sizeof frame);
        crypto_hash_sha256_update(&state, (const uint8_t *)part, length);
    }
    crypto_hash_sha256_final(&state, ret);
}

uint64_t
hash64(const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < n; i++)
        hash = (hash ^ p[i]) * UINT64_C(0x100000001b3);
    return hash;
}
