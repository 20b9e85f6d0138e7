#include "gateway/idempotency.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/env.h"
#include "base/hash.h"
#include "fiber/fiber.h"
#include "gateway.impl.h"

enum {
    SLOTS = 1024,
    TWINS_MAX = 1000,
    FORGET_ROWS_MAX = 500,
    FORGET_ROUNDS_MAX = 20,
    LEASE_US = 60 * 1000 * 1000,
};
static const int64_t kept_us = 25 * HOUR_US;
/* Another process tells of its end by what it writes alone. */
static const int64_t look_again_us = 50 * MILLISECOND_US;

/* A request that waits for the one that has the key. */
struct twin {
    struct fiber *fiber;
    struct twin *next;
    bool woken;
};

struct keys {
    const char *owner; /* this process, in all its lives */
    struct key_hold *running[SLOTS];
    size_t n_twins;
};

static void digest_of(struct arena *a, const char *const *parts, size_t n, char *ret);
static void make_digests(struct key_hold *hold, const struct request *rq, const struct route *route,
                         const struct http_request *in, const char *key);
static struct key_hold *running_one(struct keys *keys, const char *digest);
static enum status wait_for(struct keys *keys, struct key_hold *other, const struct request *rq);
static void unpack_answer(const KeptAnswer *row, struct answer *kept);
static bool read_answer(const struct key_hold *hold, struct request *rq, struct answer *kept);
static void take_hold(struct keys *keys, struct key_hold *hold);
static enum status claim(struct keys *keys, struct key_hold *hold, struct request *rq,
                         KeptAnswer **ret);
static enum status claim_row(struct keys *keys, struct key_hold *hold, struct request *rq,
                             KeptAnswer **ret);
static bool read_owner(const char *path, char ret[KEY_DIGEST_CHARS + 1]);
static void write_owner(const char *path, const char *owner);
static enum status in_use(struct request *rq);
static enum status reused(struct request *rq);

struct keys *
keys_new(struct arena *a, const char *owner)
{
    struct keys *keys = arena_alloc(a, sizeof *keys);
    keys->owner = owner;
    return keys;
}

const char *
keys_owner(struct arena *a, const char *dir)
{
    const char *path = arena_printf(a, "%s/gateway.id", dir);
    char owner[KEY_DIGEST_CHARS + 1];
    if (read_owner(path, owner))
        return arena_strdup(a, owner);
    uint8_t random[16];
    env.random(random, sizeof random);
    const char *fresh = base64url_encode(a, random, sizeof random);
    write_owner(path, fresh);
    return fresh;
}

enum status
key_begin(struct keys *keys, struct key_hold *hold, struct request *rq, const struct route *route,
          const struct http_request *in, struct answer *kept)
{
    *hold = (struct key_hold){0};
    const char *key = http_header(in, "idempotency-key");
    if (!key || strcmp(in->method, "POST") != 0 || (route->rpc->flags & RPC_UNKEPT))
        return OK;
    if (!key_valid(key))
        return fail(rq, &GATEWAY_BAD_IDEMPOTENCY_KEY,
                    "an Idempotency-Key has 1 to %d visible ASCII characters", KEY_CHARS_MAX);
    if (rq->caller.kind != CALLER_USER && !route->for_visitors)
        return OK; /* will be denied: nobody buys a write with that */
    make_digests(hold, rq, route, in, key);
    for (struct key_hold *other; (other = running_one(keys, hold->digest));) {
        if (strcmp(other->content, hold->content) != 0)
            return reused(rq);
        if (wait_for(keys, other, rq))
            return in_use(rq);
        if (read_answer(hold, rq, kept)) {
            hold->replayed = true;
            return OK;
        }
    }
    take_hold(keys, hold);
    KeptAnswer *row = NULL;
    enum status st = claim(keys, hold, rq, &row);
    hold->replayed = st == OK && row && row->http_status;
    if (hold->replayed)
        unpack_answer(row, kept);
    if (st || hold->replayed)
        key_end(hold);
    else
        rq->id = rq->correlation_id = hold->request_id;
    return st;
}

void
key_keep(struct key_hold *hold, struct request *rq, const struct answer *answer)
{
    if (!hold->keys)
        return;
    struct tx *tx = tx_begin(rq);
    switch (key_fate(answer->status)) {
    case KEY_KEEP_ANSWER: {
        static uint8_t nothing[1]; /* an empty blob is not NULL */
        union {
            const char *text;
            uint8_t *bytes;
        } body = {.text = answer->body};
        if (answer->body_n == 0)
            body.bytes = nothing;
        insert_answer(tx, .request_id = hold->request_id, .http_status = answer->status,
                      .content_type = answer->content_type, .location = answer->location,
                      .etag = answer->etag, .body = {answer->body_n, body.bytes});
        break;
    }
    case KEY_KEEP_REQUEST_ID:
        take_key(tx, .digest = hold->digest, .owner = hold->keys->owner,
                 .lease_until_us = rq->now_us);
        break;
    case KEY_FREE:
        free_key(tx, .digest = hold->digest);
        break;
    }
    /* Where this fails the work is done all the same, and a retry finds it by the request id. */
    tx_commit(tx);
}

void
key_end(struct key_hold *hold)
{
    if (!hold->keys)
        return;
    struct keys *keys = hold->keys;
    struct key_hold **link = &keys->running[hash64(hold->digest, KEY_DIGEST_CHARS) % SLOTS];
    while (*link != hold)
        link = &(*link)->next;
    *link = hold->next;
    hold->keys = NULL;
    for (struct twin *twin = hold->twins, *next; twin; twin = next) {
        next = twin->next; /* once woken, it may end */
        twin->woken = true;
        fiber_wake(twin->fiber);
    }
}

bool
key_valid(const char *key)
{
    size_t n = 0;
    for (; key[n]; n++)
        if (key[n] <= ' ' || key[n] > '~')
            return false;
    return n > 0 && n <= KEY_CHARS_MAX;
}

/* A retry after a 5xx goes on with the same work; any other answer that is not kept did nothing
 * that a fresh request would repeat. */
enum key_fate
key_fate(int http_status)
{
    if ((http_status >= 200 && http_status < 300) || http_status == 402 || http_status == 409)
        return KEY_KEEP_ANSWER;
    return http_status >= 500 ? KEY_KEEP_REQUEST_ID : KEY_FREE;
}

enum status
keys_forget(struct request *rq)
{
    int64_t gone = FORGET_ROWS_MAX;
    for (int i = 0; i < FORGET_ROUNDS_MAX && gone == FORGET_ROWS_MAX; i++) {
        struct tx *tx = tx_begin(rq);
        forget_answers(tx, .before_us = rq->now_us - kept_us, .most = FORGET_ROWS_MAX);
        gone = forget_keys(tx, .before_us = rq->now_us - kept_us, .most = FORGET_ROWS_MAX);
        enum status st = tx_commit(tx);
        if (st)
            return fail_store(rq, st);
    }
    return OK;
}

static void
digest_of(struct arena *a, const char *const *parts, size_t n, char *ret)
{
    uint8_t digest[SHA256_BYTES];
    sha256_parts(parts, n, digest);
    snprintf(ret, KEY_DIGEST_CHARS + 1, "%s", base64url_encode(a, digest, 16));
}

/*
 * A user's keys are the user's own, whatever they are used for.  A guest has no name: the key and
 * the body are the scope, and for what is done to one order its token, so that nobody else's
 * request is answered with it.
 */
static void
make_digests(struct key_hold *hold, const struct request *rq, const struct route *route,
             const struct http_request *in, const char *key)
{
    uint8_t digest[SHA256_BYTES];
    sha256(in->body, in->body_n, digest);
    const char *body = base64url_encode(rq->arena, digest, sizeof digest);
    const char *content[] = {in->method, in->path, in->query, body};
    digest_of(rq->arena, content, 4, hold->content);
    if (rq->caller.kind == CALLER_USER) {
        const char *scope[] = {"user", rq->caller.id, key};
        digest_of(rq->arena, scope, 3, hold->digest);
        return;
    }
    const char *token = route->n_params ? rq->caller.order_id : "";
    const char *scope[] = {"guest", token, key, hold->content};
    digest_of(rq->arena, scope, 4, hold->digest);
}

static struct key_hold *
running_one(struct keys *keys, const char *digest)
{
    struct key_hold *hold = keys->running[hash64(digest, KEY_DIGEST_CHARS) % SLOTS];
    while (hold && strcmp(hold->digest, digest) != 0)
        hold = hold->next;
    return hold;
}

/* Waits until other has ended: OK, or DEADLINE_EXCEEDED. */
static enum status
wait_for(struct keys *keys, struct key_hold *other, const struct request *rq)
{
    if (keys->n_twins == TWINS_MAX)
        return DEADLINE_EXCEEDED;
    struct twin twin = {.fiber = fiber_self(), .next = other->twins};
    other->twins = &twin;
    keys->n_twins++;
    while (!twin.woken && fiber_park_until(rq->deadline_us))
        ;
    keys->n_twins--;
    if (twin.woken)
        return OK;
    struct twin **link = &other->twins;
    while (*link != &twin)
        link = &(*link)->next;
    *link = twin.next;
    return DEADLINE_EXCEEDED;
}

static void
unpack_answer(const KeptAnswer *row, struct answer *kept)
{
    *kept = (struct answer){
        .status = (int)row->http_status,
        .content_type = text_empty(row->content_type) ? NULL : row->content_type,
        .location = text_empty(row->location) ? NULL : row->location,
        .etag = text_empty(row->etag) ? NULL : row->etag,
        .body = (const char *)row->body.data,
        .body_n = row->body.len,
    };
}

/* What a twin left is on disk, and many may ask for it at once: it is read beside the writer. */
static bool
read_answer(const struct key_hold *hold, struct request *rq, struct answer *kept)
{
    KeptAnswer *row;
    struct tx *tx = tx_begin_read(rq);
    enum status st = find_key(tx, &row, .digest = hold->digest);
    tx_end(tx);
    if (st || !row->http_status || strcmp(row->content_digest, hold->content) != 0)
        return false;
    unpack_answer(row, kept);
    return true;
}

static void
take_hold(struct keys *keys, struct key_hold *hold)
{
    struct key_hold **slot = &keys->running[hash64(hold->digest, KEY_DIGEST_CHARS) % SLOTS];
    hold->keys = keys;
    hold->next = *slot;
    *slot = hold;
}

/* Waits for a twin in another process as for one in this. */
static enum status
claim(struct keys *keys, struct key_hold *hold, struct request *rq, KeptAnswer **ret)
{
    enum status st;
    while ((st = claim_row(keys, hold, rq, ret)) == ABORTED &&
           env.mono_us() + look_again_us < rq->deadline_us) {
        fiber_sleep_us(look_again_us);
        fail_clear(rq);
    }
    return st;
}

/*
 * Makes the key's row, or takes over the one that is there; an answer that is there is in *ret. The
 * row's lease keeps another process from the work; of this one's, what runs is in the table.
 */
static enum status
claim_row(struct keys *keys, struct key_hold *hold, struct request *rq, KeptAnswer **ret)
{
    int64_t now_us = env.now_us(), lease_until_us = now_us + LEASE_US;
    hold->request_id = rq->id;
    struct tx *tx = tx_begin(rq);
    enum status st = OK;
    if (insert_key(tx, .digest = hold->digest, .content_digest = hold->content,
                   .request_id = rq->id, .owner = keys->owner,
                   .lease_until_us = lease_until_us) == 0 &&
        tx_status(tx) == OK) {
        KeptAnswer *row;
        st = find_key(tx, &row, .digest = hold->digest);
        bool alive =
            st == OK && row->lease_until_us > now_us && strcmp(row->owner, keys->owner) != 0;
        if (st == OK && strcmp(row->content_digest, hold->content) != 0)
            st = reused(rq);
        else if (st == OK && !row->http_status && alive)
            st = in_use(rq);
        else if (st == OK && !row->http_status)
            take_key(tx, .digest = hold->digest, .owner = keys->owner,
                     .lease_until_us = lease_until_us);
        if (st == OK)
            *ret = row;
        if (st == OK)
            hold->request_id = row->request_id;
    }
    if (st) {
        tx_end(tx);
        return rq->reason ? st : fail_store(rq, st);
    }
    return fail_store(rq, tx_commit(tx));
}

static bool
read_owner(const char *path, char ret[KEY_DIGEST_CHARS + 1])
{
    int fd = env.file_open(path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return false;
    ssize_t n = env.file_read(fd, ret, KEY_DIGEST_CHARS);
    env.file_close(fd);
    ret[n < 0 ? 0 : n] = '\0';
    return n == KEY_DIGEST_CHARS && key_valid(ret);
}

/* Where that fails, or is lost, the next life waits for this one's leases to end. */
static void
write_owner(const char *path, const char *owner)
{
    int fd = env.file_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    env.file_write(fd, owner, strlen(owner));
    env.file_close(fd);
}

static enum status
in_use(struct request *rq)
{
    return fail(rq, &GATEWAY_IDEMPOTENCY_KEY_IN_USE,
                "a request with this Idempotency-Key is still running; try again later");
}

static enum status
reused(struct request *rq)
{
    return fail(rq, &GATEWAY_IDEMPOTENCY_KEY_REUSED,
                "this Idempotency-Key was used with another request");
}
