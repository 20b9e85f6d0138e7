/*
 * The chain of events: each digest covers the event and the digest before it, so that none can be
 * changed, left out, put in or moved without all later digests being wrong.  Pure.
 *
 *     leaf   = SHA-256 (payload without personal data, path and digest of each personal field)
 *     digest = SHA-256 (digest before, position, envelope, leaf)
 *
 * Every piece is framed by its length; numbers are 8 bytes, the highest first.
 */
#pragma once
#include "audit.api.h"
#include "base/hash.h"

/* The digest of row, which stands behind one with the digest previous (zeros: it is the first). */
void chain_digest(const uint8_t previous[SHA256_BYTES], const AuditRow *row,
                  const PersonalFields *personal, uint8_t ret[SHA256_BYTES]);

/* True if row is what was chained behind previous; *ret is its digest as it stands in the row. */
bool chain_fits(struct arena *a, const uint8_t previous[SHA256_BYTES], const AuditRow *row,
                uint8_t ret[SHA256_BYTES]);
