/* The journal forgets whom it is told to: which events tell that, the protos say. */
#include <assert.h>

#include "kit/node_impl.h"
#include "kit/personal.h"
#include "kit/rules.h"

enum { ERASING_TOPICS_MAX = 8 };

static event_fn hear;
static bus_erase_fn erase;

void
subscribe_erasures(struct node *node)
{
    const char **topics = arena_alloc(node->arena, (ERASING_TOPICS_MAX + 1) * sizeof *topics);
    size_t n = 0;
    for (size_t i = 0; souk_topics[i]; i++)
        if (souk_topics[i]->erases) {
            assert(n < ERASING_TOPICS_MAX);
            topics[n++] = souk_topics[i]->name;
        }
    bus_subscribe(node->bus,
                  &(struct subscriber){
                      .service = "erasure", .store = node->core, .topics = topics, .handle = hear});
}

enum status
journal_erase(struct request *rq)
{
    return fail_store(rq, bus_erase(rq->node->bus, erase));
}

static enum status
hear(void *arg, struct tx *tx, const struct event *event)
{
    (void)arg;
    bus_erase_note(tx, event, 0);
    return tx_status(tx);
}

static bool
erase(struct arena *a, const struct event *erasing, const struct event *e, ProtobufCBinaryData *ret)
{
    struct erased who;
    return erased_by(a, erasing, &who) && erased_payload(a, &who, e, ret);
}
