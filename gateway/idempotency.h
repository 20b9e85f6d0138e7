/*
 * Idempotency-Key: the same key and body give the same answer, also after a restart.
 *
 * A key's row, with the request's id, is ordered before the work and its answer after it; neither
 * waits for the disk by itself.  Twins of a request that is running wait for it on their fibers, and
 * for one that runs in another gateway of the same store as long as its lease says that it lives.  A
 * row without an answer is what a crash or a 5xx left: the next retry goes on under the same request
 * id, from which whatever is made once has its own.
 *
 * Everything here runs on the core scheduler, with rq->service the gateway's.
 */
#pragma once
#include "gateway/answer.h"

struct keys;

/* owner names the process: what it left in work by dying, it takes over in its next life.  It must
 * live as long as the keys. */
struct keys *keys_new(struct arena *a, const char *owner);
/* That of the process whose data folder dir is: made once, and kept in DIR/gateway.id. */
const char *keys_owner(struct arena *a, const char *dir);

enum { KEY_CHARS_MAX = 255, KEY_DIGEST_CHARS = 22 };

/* A request's hold on its key, from key_begin to key_end. */
struct key_hold {
    struct keys *keys; /* NULL: no key is held */
    char digest[KEY_DIGEST_CHARS + 1], content[KEY_DIGEST_CHARS + 1];
    const char *request_id;
    bool replayed;         /* the answer was there; nothing is held */
    struct twin *twins;    /* who waits for the end */
    struct key_hold *next; /* in the same slot of the table */
};

/*
 * Begins work under in's key, if it has one and the answer can be kept: hold is then taken, and
 * rq->id is the work's.  Or the answer is there: hold->replayed, and kept is it.  Or a failure, in
 * rq.  Waits for a twin until the request's deadline.
 */
enum status key_begin(struct keys *keys, struct key_hold *hold, struct request *rq,
                      const struct route *route, const struct http_request *in,
                      struct answer *kept);

/* Writes what the key keeps of this answer: to be followed by request_settle and key_end. */
void key_keep(struct key_hold *hold, struct request *rq, const struct answer *answer);

/* Lets go of the key and wakes the twins; when all that was written is on disk, or has failed. */
void key_end(struct key_hold *hold);

/* 1 to 255 visible ASCII characters. */
bool key_valid(const char *key);

enum key_fate { KEY_KEEP_ANSWER, KEY_KEEP_REQUEST_ID, KEY_FREE };
enum key_fate key_fate(int http_status);

/* For the gateway's service table. */
enum status keys_forget(struct request *rq);
