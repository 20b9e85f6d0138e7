/* Events as CloudEvents 1.0 in JSON (structured mode). */
#pragma once
#include "base/text.h"
#include "bus/bus.h"

/*
 * Adds the event to out as one JSON object.  data is the message as message_json writes it; where
 * type is NULL (an unknown one) or the bytes are not of it, data_base64 has them as they are.
 */
void cloudevent_json(struct text *out, const struct event *e,
                     const ProtobufCMessageDescriptor *type);
