/*
 * NATS JetStream: the streams.  The stream of events has a subject for each publisher, "orders.*",
 * which whoever publishes or hears adds when he first needs it: "*.*" would take what others in the
 * same account say, down to answers of theirs.
 */
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "bus/nats.h"

enum { TRIES_MAX = 10 };

static const int64_t second_ns = 1000000000;
/* How long the stream keeps what happened, and how much: the outboxes keep it forever. */
static const int64_t stream_days = 7, stream_bytes = INT64_C(4) << 30;
/* What is published again within it is recognized by its id. */
static const int64_t twin_minutes = 10;

static natsStatus cover(struct nats *n, const char *subject, bool *ret_has);
static natsStatus widen(struct nats *n, const jsStreamInfo *info, const char *subject);
static natsStatus add_stream(struct nats *n, const char *name, const char *subject);

bool
nats_cover(struct link *l, const char *topic)
{
    struct nats *n = l->wire;
    size_t publisher = strcspn(topic, ".");
    for (size_t i = 0; i < n->covered_n; i++)
        if (strncmp(n->covered[i], topic, publisher + 1) == 0)
            return true;
    const char *subject = arena_printf(n->scratch, "%.*s.*", (int)publisher, topic);
    natsStatus st = NATS_OK;
    bool has = false;
    for (int i = 0; i < TRIES_MAX && st == NATS_OK && !has; i++)
        st = cover(n, subject, &has);
    if (!nats_ok(l, st, subject))
        return false;
    if (!has)
        return link_fail(l, "%s: others change the stream all the time", subject);
    if (n->covered_n < NATS_PUBLISHERS_MAX)
        n->covered[n->covered_n++] = arena_strdup(n->arena, subject);
    return true;
}

/* One step towards it: others may be at it too, and whoever comes last has overwritten. */
static natsStatus
cover(struct nats *n, const char *subject, bool *ret_has)
{
    jsStreamInfo *info = NULL;
    natsStatus st = js_GetStreamInfo(&info, n->js, NATS_STREAM, NULL, NULL);
    if (st == NATS_NOT_FOUND)
        return add_stream(n, NATS_STREAM, subject);
    if (st != NATS_OK)
        return st;
    for (int i = 0; i < info->Config->SubjectsLen; i++)
        *ret_has |= strcmp(info->Config->Subjects[i], subject) == 0;
    if (!*ret_has)
        st = widen(n, info, subject);
    jsStreamInfo_Destroy(info);
    return st;
}

static natsStatus
widen(struct nats *n, const jsStreamInfo *info, const char *subject)
{
    int subjects_n = info->Config->SubjectsLen;
    const char **subjects = arena_alloc(n->scratch, (size_t)(subjects_n + 1) * sizeof *subjects);
    for (int i = 0; i < subjects_n; i++)
        subjects[i] = info->Config->Subjects[i];
    subjects[subjects_n] = subject;
    jsStreamConfig config = *info->Config;
    config.Subjects = subjects;
    config.SubjectsLen = subjects_n + 1;
    return js_UpdateStream(NULL, n->js, &config, NULL, NULL);
}

bool
nats_declare_dead(struct link *l)
{
    struct nats *n = l->wire;
    jsStreamInfo *info = NULL;
    natsStatus st = js_GetStreamInfo(&info, n->js, NATS_DEAD_STREAM, NULL, NULL);
    jsStreamInfo_Destroy(info);
    if (st == NATS_NOT_FOUND)
        st = add_stream(n, NATS_DEAD_STREAM, NATS_DEAD_PREFIX ">");
    return nats_ok(l, st, NATS_DEAD_STREAM);
}

/* Somebody else may have been quicker. */
static natsStatus
add_stream(struct nats *n, const char *name, const char *subject)
{
    jsErrCode error = 0;
    jsStreamConfig config;
    jsStreamConfig_Init(&config);
    config.Name = name;
    config.Subjects = &subject;
    config.SubjectsLen = 1;
    config.Storage = js_FileStorage;
    config.MaxAge = stream_days * 24 * 3600 * second_ns;
    config.MaxBytes = stream_bytes;
    config.Duplicates = twin_minutes * 60 * second_ns;
    natsStatus st = js_AddStream(NULL, n->js, &config, NULL, &error);
    return error == JSStreamNameExistErr ? NATS_OK : st;
}
