/*
 * Personal data of a message, taken out and put back.
 *
 * Which fields are personal, the protos say; a personal message is so with all that is in it.  Each
 * value stands apart with a random salt, and what is chained is the digest of both: when value and
 * salt are erased, the digest tells nothing of them and still stands in the chain.
 */
#pragma once
#include "audit.api.h"
#include "kit/kit.h"

/* Packed messages, read into and written from an arena.  message_read gives NULL for what is none.
 */
void *message_read(struct arena *a, const ProtobufCMessageDescriptor *type,
                   ProtobufCBinaryData bytes);
ProtobufCBinaryData message_write(struct arena *a, const ProtobufCMessage *m);

/* Empties m's personal fields; gives what was in them. */
PersonalFields *personal_take(struct arena *a, ProtobufCMessage *m);
/* Puts back into m what has not been erased. */
void personal_put_back(struct arena *a, ProtobufCMessage *m, const PersonalFields *fields);

/* The payload of row as it was published, without what has been erased. */
ProtobufCBinaryData personal_whole(struct arena *a, const AuditRow *row,
                                   const ProtobufCMessageDescriptor *type);

void personal_erase(PersonalFields *fields);
/* False if a value that was not erased is not the one that was taken out. */
bool personal_is_true(const PersonalFields *fields);
