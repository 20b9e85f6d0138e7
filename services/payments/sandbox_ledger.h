/*
 * The sandbox's books: a file with one line of JSON for each movement, written before the sandbox
 * answers,
 *
 *     {"time_us":1,"kind":"charge","key":"pay_…","of":"ord_…","amount":4299,"currency":"EUR",
 *      "outcome":"captured","reason":""}
 *
 * and in memory what it says of each key, 64 bytes a movement.  kind is charge (of an order),
 * refund (of a charge's key) or void; outcome captured, declined or refunded.  The file is not
 * synced: it stands for another company's machine, which does not lose its power together with
 * ours.
 */
#pragma once
#include "payments/provider.h"

enum { LEDGER_KEY_CHARS_MAX = 39, LEDGER_CURRENCY_CHARS = 3 };

enum kind { KIND_NONE, KIND_CHARGE, KIND_REFUND, KIND_VOID };

struct movement {
    char key[LEDGER_KEY_CHARS_MAX + 1];
    char currency[LEDGER_CURRENCY_CHARS + 1];
    uint8_t kind, outcome, reason; /* the last one for ledger_reason */
    int64_t amount_minor;
    int64_t refunded_minor; /* of a charge */
};

struct ledger;

/* Opens or makes the file.  NULL, and *why (in a), if it cannot be read and written. */
struct ledger *ledger_open(const char *path, struct arena *a, const char **why);
void ledger_close(struct ledger *l); /* NULL is allowed */

/* False while the file cannot be read again after a write that failed half-way. */
bool ledger_ready(struct ledger *l);
struct movement *ledger_find(const struct ledger *l, const char *key);
/* Writes and keeps it; false if it is not written, and then nothing has happened. */
bool ledger_append(struct ledger *l, const struct movement *m, const char *of);

/* The number of a reason that the ledger knows, and its word. */
uint8_t ledger_reason(const char *word);
const char *ledger_reason_word(const struct movement *m);
/* Could it stand in a line? */
bool ledger_takes(const char *key, const char *of, const char *currency);

/*
 * The lines of a time, at most in->max of them, as the file has them: from any thread, also while
 * lines are being added.  *offset is where to begin (0) and where to go on, -1 at the end.
 */
enum status ledger_list(const struct ledger *l, struct arena *a, const struct provider_list *in,
                        int64_t *offset, struct provider_movement **ret, size_t *ret_n);
