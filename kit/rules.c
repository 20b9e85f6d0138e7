#include "kit/rules.h"

#include <stdlib.h>
#include <pthread.h>

#include "base/hash.h"

/* A table by descriptor, made once: at most half full. */
enum { SLOTS = 2048 };
static const struct message_rules *slots[SLOTS];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static size_t
slot_of(const ProtobufCMessageDescriptor *type)
{
    return hash64(&type, sizeof type) % SLOTS;
}

static void
fill(void)
{
    if (souk_n_message_rules > SLOTS / 2)
        abort(); /* time to raise SLOTS */
    for (size_t i = 0; i < souk_n_message_rules; i++) {
        size_t at = slot_of(souk_message_rules[i].type);
        while (slots[at])
            at = (at + 1) % SLOTS;
        slots[at] = &souk_message_rules[i];
    }
}

const struct message_rules *
rules_of(const ProtobufCMessageDescriptor *type)
{
    pthread_once(&once, fill);
    for (size_t at = slot_of(type); slots[at]; at = (at + 1) % SLOTS)
        if (slots[at]->type == type)
            return slots[at];
    return NULL;
}
