/* Sets of topics. */
#include <assert.h>
#include <string.h>

#include "base/hash.h"
#include "bus/bus_private.h"

void
topic_set_fill(struct topic_set *set, const char *const *names)
{
    *set = (struct topic_set){0};
    for (; *names; names++) {
        assert(set->n < TOPICS_MAX);
        if (strcmp(*names, "*") == 0)
            set->all = true;
        set->names[set->n] = *names;
        set->hashes[set->n++] = topic_hash(*names);
    }
}

uint64_t
topic_hash(const char *name)
{
    return hash64(name, strlen(name));
}

bool
topic_set_has(const struct topic_set *set, const char *name, uint64_t hash)
{
    if (set->all)
        return true;
    for (size_t i = 0; i < set->n; i++)
        if (set->hashes[i] == hash && strcmp(set->names[i], name) == 0)
            return true;
    return false;
}

bool
topic_is_of(const char *topic, const char *publisher)
{
    size_t n = strlen(publisher);
    return strncmp(topic, publisher, n) == 0 && topic[n] == '.';
}

bool
topic_set_hears(const struct topic_set *set, const char *publisher)
{
    if (set->all)
        return true;
    for (size_t i = 0; i < set->n; i++)
        if (topic_is_of(set->names[i], publisher))
            return true;
    return false;
}
