#include "bus/cloudevents.h"

#include "base/time.h"
#include "bus/message_json.h"

static void add_text(struct text *out, const char *name, const char *value);
static void add_int(struct text *out, const char *name, int64_t value);
static void add_data(struct text *out, const struct event *e,
                     const ProtobufCMessageDescriptor *type);
static void *allocate(void *arena, size_t size);
static void leave(void *arena, void *bytes);

void
cloudevent_json(struct text *out, const struct event *e, const ProtobufCMessageDescriptor *type)
{
    text_add(out, "{\"specversion\":\"1.0\"");
    add_text(out, "id", e->id);
    text_add(out, ",\"source\":\"/souk/");
    text_add(out, e->publisher); /* a service's name: nothing to escape */
    text_add_char(out, '"');
    add_text(out, "type", e->topic);
    add_text(out, "subject", e->subject);
    add_text(out, "time", time_format(out->arena, e->time_us));
    add_text(out, "dataschema", e->type);
    add_int(out, "sequence", e->sequence);
    add_text(out, "correlationid", e->correlation_id);
    add_text(out, "causationid", e->causation_id);
    add_text(out, "traceparent", e->traceparent);
    add_int(out, "position", e->position);
    add_data(out, e, type);
    text_add_char(out, '}');
}

/* CloudEvents' attributes are never empty: what is, is left out. */
static void
add_text(struct text *out, const char *name, const char *value)
{
    if (text_empty(value))
        return;
    text_add(out, ",\"");
    text_add(out, name);
    text_add(out, "\":");
    text_add_json(out, value);
}

static void
add_int(struct text *out, const char *name, int64_t value)
{
    text_add(out, ",\"");
    text_add(out, name);
    text_add(out, "\":");
    text_add_int(out, value);
}

static void
add_data(struct text *out, const struct event *e, const ProtobufCMessageDescriptor *type)
{
    ProtobufCAllocator in_arena = {allocate, leave, out->arena};
    ProtobufCMessage *message =
        type ? protobuf_c_message_unpack(type, &in_arena, e->data.len, e->data.data) : NULL;
    if (message) {
        add_text(out, "datacontenttype", "application/json");
        text_add(out, ",\"data\":");
        message_json(out, message);
    } else {
        add_text(out, "datacontenttype", "application/protobuf");
        text_add(out, ",\"data_base64\":");
        base64_json(out, e->data.data, e->data.len);
    }
}

static void *
allocate(void *arena, size_t size)
{
    return arena_alloc(arena, size);
}

static void
leave(void *arena, void *bytes)
{
    (void)arena;
    (void)bytes;
}
