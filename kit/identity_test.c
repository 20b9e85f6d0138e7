/* Who calls, between processes: believed with the gateway's signature, and with nothing else. */
#include <stdlib.h>
#include <unistd.h>

#include "base/env.h"
#include "kit/identity.h"
#include "test/test.h"

static int64_t shift_us;

static int64_t
shifted_now(void)
{
    return env_real.now_us() + shift_us;
}

static const struct caller ada = {.kind = CALLER_USER, .id = "usr_ada", .session_id = "ses_1",
                                  .order_id = "", .ip = "", .user_agent = ""};

static struct identity *
opened(const char *folder, bool signs, struct arena *a)
{
    struct identity *id = NULL;
    const char *why = "";
    check_int(identity_open(folder, signs, a, &id, &why), OK);
    check_text(why, "");
    return id;
}

TEST(a_caller_that_the_gateway_signed_is_believed)
{
    struct arena *a = arena_new();
    const char *folder = test_dir();
    struct identity *gateway = opened(folder, true, a), *other = opened(folder, false, a);
    ProtobufCBinaryData bytes = identity_sign(gateway, a, &ada);
    for (int i = 0; i < 2; i++) { /* the second time from memory */
        struct caller got = {.kind = CALLER_ANONYMOUS};
        check(identity_verify(other, a, bytes, &got));
        check_int(got.kind, CALLER_USER);
        check_text(got.id, "usr_ada");
        check_text(got.session_id, "ses_1");
    }
    ProtobufCBinaryData again = identity_sign(gateway, a, &ada);
    check(again.len == bytes.len && memcmp(again.data, bytes.data, bytes.len) == 0);
    struct caller guest = {.kind = CALLER_GUEST, .id = "", .session_id = "", .order_id = "ord_1"}, got;
    check(identity_verify(other, a, identity_sign(gateway, a, &guest), &got));
    check_int(got.kind, CALLER_GUEST);
    check_text(got.order_id, "ord_1");
    identity_free(gateway);
    identity_free(other);
    arena_free(a);
}

TEST(every_changed_byte_is_refused)
{
    struct arena *a = arena_new();
    const char *folder = test_dir();
    struct identity *gateway = opened(folder, true, a);
    ProtobufCBinaryData bytes = identity_sign(gateway, a, &ada);
    for (size_t i = 0; i < bytes.len; i++) {
        ProtobufCBinaryData forged = {bytes.len, arena_copy(a, bytes.data, bytes.len)};
        forged.data[i] ^= 1;
        struct caller got = {.kind = CALLER_ANONYMOUS};
        check(!identity_verify(gateway, a, forged, &got));
        check_int(got.kind, CALLER_ANONYMOUS);
    }
    identity_free(gateway);
    arena_free(a);
}

TEST(another_gateways_signature_is_refused_until_its_key_is_known)
{
    struct arena *a = arena_new();
    const char *ours = arena_printf(a, "%s/ours", test_dir());
    const char *theirs = arena_printf(a, "%s/theirs", test_dir());
    struct identity *gateway = opened(theirs, true, a);
    struct identity *first = opened(ours, true, a), *other = opened(ours, false, a);
    ProtobufCBinaryData bytes = identity_sign(gateway, a, &ada);
    struct caller got;
    check(!identity_verify(other, a, bytes, &got));
    check_int(system(arena_printf(a, "cat %s/gateway.pub >>%s/gateway.pub", theirs, ours)), 0);
    usleep(1100000); /* the file is looked at once a second */
    check(identity_verify(other, a, bytes, &got));
    check(identity_verify(other, a, identity_sign(first, a, &ada), &got));
    identity_free(gateway);
    identity_free(first);
    identity_free(other);
    arena_free(a);
}

TEST(a_signature_ends)
{
    struct arena *a = arena_new();
    env.now_us = shifted_now;
    struct identity *gateway = opened(test_dir(), true, a);
    ProtobufCBinaryData bytes = identity_sign(gateway, a, &ada);
    struct caller got;
    check(identity_verify(gateway, a, bytes, &got));
    shift_us = 40 * SECOND_US; /* signed anew: less than half of its minute is left */
    ProtobufCBinaryData newer = identity_sign(gateway, a, &ada);
    check(newer.len != bytes.len || memcmp(newer.data, bytes.data, newer.len) != 0);
    shift_us = 2 * MINUTE_US;
    check(!identity_verify(gateway, a, bytes, &got));
    env = env_real;
    identity_free(gateway);
    arena_free(a);
}

TEST(keys_are_the_same_after_a_restart)
{
    struct arena *a = arena_new();
    const char *folder = test_dir();
    struct identity *before = opened(folder, true, a);
    ProtobufCBinaryData bytes = identity_sign(before, a, &ada);
    identity_free(before);
    struct identity *after = opened(folder, true, a);
    struct caller got;
    check(identity_verify(after, a, bytes, &got));
    identity_free(after);
    arena_free(a);
}
