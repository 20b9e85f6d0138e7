/*
 * Personal data of messages, and whose it is.
 *
 * Which fields are personal, the protos say; a personal message is so with all that is in it.  An
 * event whose proto says (souk.erases) makes whoever keeps events erase what is personal in older
 * ones: in those that have one of its ids, and in those that name the e-mail it names.
 */
#pragma once
#include "kit/kit.h"

/* path is "customer.email", "lines[0].holder"; place is where the value lies in its struct. */
typedef void personal_fn(void *arg, const char *path, ProtobufCType type, void *place);
/* Visits every place of m where personal data may stand; paths live in a. */
void personal_visit(struct arena *a, ProtobufCMessage *m, personal_fn *visit, void *arg);

/* Text without its NUL, bytes, or a number as it lies in memory; no bytes where there is nothing.
 */
ProtobufCBinaryData personal_value(ProtobufCType type, const void *place);
/* Puts such a value there, copied into a; one that does not fit is left out. */
void personal_set(struct arena *a, ProtobufCType type, void *place, ProtobufCBinaryData value);
void personal_clear(ProtobufCType type, void *place);

/* Whom an erasing event is about. */
struct erased {
    const struct event *event;
    const ProtobufCMessage *message;
    const char *email; /* in lower case, or "" */
};

/* False if event erases nothing. */
bool erased_by(struct arena *a, const struct event *event, struct erased *ret);
/* True if an event with this subject and message has one of its ids: user_id, order_id. */
bool erased_has_id(const struct erased *who, const char *subject, const ProtobufCMessage *m);
bool erased_has_email(struct arena *a, const struct erased *who, ProtobufCBinaryData value);

/* How long what is erased stays after it was heard who is to be: embedded it is known who has heard;
 * else others may still hear an older event, or bring it. */
int64_t erase_after_us(const struct node *node);

/* An event's payload without what is personal in it; false if it is not about who, or has nothing.
 */
bool erased_payload(struct arena *a, const struct erased *who, const struct event *event,
                    ProtobufCBinaryData *ret);
