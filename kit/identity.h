/*
 * For whom a call is made, believed between processes because the gateway signed it.
 *
 * The signature is Ed25519 (RFC 8032, by libsodium) over a packed Caller, which says until when.  The
 * secret key stands in FOLDER/gateway.key where the gateway runs, its public half in FOLDER/gateway.pub
 * wherever a call may arrive: one key in base64url a line, so that an old and a new one can overlap.
 */
#pragma once
#include "kit/kit.h"

struct identity;

/* signs: this process runs the gateway; its keys are made if they are not there. */
enum status identity_open(const char *folder, bool signs, struct arena *a, struct identity **ret,
                          const char **why);
void identity_free(struct identity *id); /* NULL is allowed */

/* A packed SignedCaller for a user or a guest, in a; good for at least IDENTITY_LEFT_US.  Any thread. */
#define IDENTITY_LEFT_US (30 * SECOND_US)
ProtobufCBinaryData identity_sign(struct identity *id, struct arena *a, const struct caller *caller);

/* The caller that a packed SignedCaller names, in a; false if it is forged, torn or expired. */
bool identity_verify(struct identity *id, struct arena *a, ProtobufCBinaryData signed_caller,
                     struct caller *ret);
