/* SHA-256 (FIPS 180-4) and HMAC-SHA-256 (RFC 2104), by libsodium. */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum { SHA256_BYTES = 32 };

void sha256(const void *bytes, size_t n, uint8_t ret[SHA256_BYTES]);
void hmac_sha256(const void *key, size_t key_n, const void *bytes, size_t n,
                 uint8_t ret[SHA256_BYTES]);

/* Several pieces in one digest, each framed by its length so that no two splits are alike. */
void sha256_parts(const char *const *parts, size_t n, uint8_t ret[SHA256_BYTES]);

/* A fast keyless hash for tables in memory (FNV-1a, 64 bits); never for what an enemy can choose. */
uint64_t hash64(const void *bytes, size_t n);
