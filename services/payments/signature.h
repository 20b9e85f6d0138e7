/*
 * Signatures of callbacks, by Stripe's scheme ("Verify webhook signatures manually"): a header
 *
 *     t=1764201600,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd
 *
 * where t is when it was sent (Unix seconds) and v1 the HMAC-SHA-256, in hex, of t, a full stop and
 * the body as it came.  More than one v1 may stand there while a secret is being changed.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"

/* Older or newer than this by our clock, a callback is refused: a recording of it is worth nothing
 * afterwards. */
#define SIGNATURE_TOLERANCE_US (INT64_C(300) * 1000000)

const char *signature_make(struct arena *a, const char *secret, int64_t now_us, const char *body,
                           size_t n);
/* Compares in time that says nothing of how much is right. */
bool signature_good(struct arena *a, const char *secret, int64_t now_us, const char *header,
                    const char *body, size_t n);
