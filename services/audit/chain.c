#include "audit/chain.h"

#include "audit/personal.h"

static void add_number(struct text *t, int64_t n);
static void add_bytes(struct text *t, const void *bytes, size_t n);
static void add_text(struct text *t, const char *s);
static void leaf_of(struct arena *a, const AuditRow *row, const PersonalFields *personal,
                    uint8_t ret[SHA256_BYTES]);

void
chain_digest(const uint8_t previous[SHA256_BYTES], const AuditRow *row,
             const PersonalFields *personal, uint8_t ret[SHA256_BYTES])
{
    struct arena *a = arena_new();
    uint8_t leaf[SHA256_BYTES];
    leaf_of(a, row, personal, leaf);

    struct text t = text_in(a);
    add_bytes(&t, previous, SHA256_BYTES);
    add_number(&t, row->position);
    add_text(&t, row->event_id);
    add_text(&t, row->topic);
    add_text(&t, row->publisher);
    add_text(&t, row->subject);
    add_text(&t, row->type);
    add_number(&t, row->sequence);
    add_number(&t, row->time_us);
    add_text(&t, row->correlation_id);
    add_text(&t, row->causation_id);
    add_text(&t, row->traceparent);
    add_bytes(&t, leaf, sizeof leaf);
    sha256(t.bytes, t.n, ret);
    arena_free(a);
}

bool
chain_fits(struct arena *a, const uint8_t previous[SHA256_BYTES], const AuditRow *row,
           uint8_t ret[SHA256_BYTES])
{
    const PersonalFields *personal = message_read(a, DESCRIPTOR_OF_PersonalFields, row->personal);
    if (!personal || row->digest.len != SHA256_BYTES || !personal_is_true(personal))
        return false;
    uint8_t digest[SHA256_BYTES];
    chain_digest(previous, row, personal, digest);
    if (memcmp(digest, row->digest.data, sizeof digest) != 0)
        return false;
    memcpy(ret, digest, sizeof digest);
    return true;
}

static void
leaf_of(struct arena *a, const AuditRow *row, const PersonalFields *personal,
        uint8_t ret[SHA256_BYTES])
{
    struct text t = text_in(a);
    add_bytes(&t, row->payload.data, row->payload.len);
    for (size_t i = 0; i < personal->n_fields; i++) {
        add_text(&t, personal->fields[i]->path);
        add_bytes(&t, personal->fields[i]->digest.data, personal->fields[i]->digest.len);
    }
    sha256(t.bytes, t.n, ret);
}

static void
add_number(struct text *t, int64_t n)
{
    char bytes[sizeof n];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)((uint64_t)n >> (56 - 8 * i));
    text_add_n(t, bytes, sizeof bytes);
}

static void
add_bytes(struct text *t, const void *bytes, size_t n)
{
    add_number(t, (int64_t)n);
    text_add_n(t, bytes, n);
}

static void
add_text(struct text *t, const char *s)
{
    add_bytes(t, s, strlen(s));
}
