/* What the protos say of fields and events beyond plain protobuf; the tables are generated. */
#pragma once
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdint.h>

struct reason;
struct rpc_list;
struct topic;

struct field_rule {
    bool required, optional, personal, secret;
    bool has_min, has_max;
    int64_t min, max;
    int max_length; /* characters; 0: 1,000 */
    int max_items;  /* 0: 100 */
    const char *pattern, *format; /* or NULL */
    const char *header; /* the request's header that fills it, or NULL */
};

/* Rules of a message's fields, in the order of type->fields; NULL where no field has any. */
struct message_rules {
    const ProtobufCMessageDescriptor *type;
    const struct field_rule *fields;
};

extern const struct message_rules souk_message_rules[];
extern const size_t souk_n_message_rules;

extern const struct rpc_list *const souk_rpc_lists[]; /* every service's, NULL-terminated */
extern const struct reason *const souk_reasons[];     /* every reason to say no, NULL-terminated */
extern const struct topic *const souk_topics[];       /* every topic, sorted by name, NULL-terminated */

/* The rules of type, or NULL.  O(1). */
const struct message_rules *rules_of(const ProtobufCMessageDescriptor *type);
