/*
 * The sandbox: a payment provider for tests and demonstrations.  It moves no money and behaves as
 * its token says:
 *
 *     approve                       captures
 *     decline, insufficient_funds   declines
 *     timeout                       captures, then never answers
 *     slow                          captures after a while
 *     webhook_late                  captures, does not know yet when asked, and says so after a
 * while webhook_twice                 the same soon, and twice webhook_first captures, and says so
 * by callback before it answers
 *
 * The same ledger stands behind the sandbox in process (sandbox_provider) and behind the server of
 * its own (sandbox_server.h).
 */
#pragma once
#include "payments/provider.h"

struct sandbox;

extern const struct provider sandbox_provider; /* its state is a struct sandbox */

/* Opens or makes the ledger.  NULL, and *why (in a), if it cannot be read and written.  All calls
 * on one sandbox come from one scheduler, save list's. */
struct sandbox *sandbox_open(const char *path, int64_t slow_us, struct arena *a, const char **why);
void sandbox_close(struct sandbox *s); /* NULL is allowed */

/* What a token does besides capturing or declining. */
enum manner {
    MANNER_PROMPT,
    MANNER_TIMEOUT,
    MANNER_SLOW,
    MANNER_CALLBACK_LATE,
    MANNER_CALLBACK_TWICE,
    MANNER_CALLBACK_FIRST,
};
enum manner sandbox_manner(const char *token);
/* Captures or declines at once, whatever the manner. */
void sandbox_capture(struct sandbox *s, struct arena *a, const struct provider_charge *in,
                     struct provider_answer *ret);
/* One page of list: at most in->max movements from *offset on, which is -1 behind the last. */
enum status sandbox_page(struct sandbox *s, struct arena *a, const struct provider_list *in,
                         int64_t *offset, struct provider_movement **ret, size_t *ret_n);

/* What the provider says by itself. */
struct provider_news {
    const char *kind, *key; /* as in its books */
    struct provider_answer answer;
    int64_t amount_minor;
    const char *currency;
};

/* What a callback about this key would say; false if there is no such movement. */
bool sandbox_news(struct sandbox *s, struct arena *a, const char *key, struct provider_news *ret);

const char *sandbox_callback_body(struct arena *a, const struct provider_news *news);
/* "captured", …; "pending" for OUTCOME_UNKNOWN. */
const char *sandbox_outcome_word(enum outcome outcome);

/* In process: takes out a callback that is due, of this key alone unless key is NULL.  The sandbox
 * remembers up to 256 of them, and none over a restart: as everywhere, a callback may get lost. */
bool sandbox_next_callback(struct sandbox *s, struct arena *a, int64_t now_us, const char *key,
                           struct provider_news *ret);
