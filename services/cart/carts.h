/* A cart with its lines, as a transaction finds it: private to cart. */
#pragma once
#include "cart.impl.h"
#include "cart/lines.h"

struct cart {
    CartRow *row;
    PricedLine **lines; /* with their totals; room for CART_LINES_MAX */
    size_t n;
    Money *total;
};

/* Sees every cart: souk's own work, and whoever holds the data folder. */
#define SEES_ALL NULL

/* Who looks: a user's id, "" for a guest, or SEES_ALL. */
const char *cart_viewer(const struct request *rq);
/* Whose a cart becomes that the caller makes or changes: a user's id, or "". */
const char *cart_user(const struct request *rq);

/*
 * The cart of this id, or the one that it was merged into.  NO_SUCH_CART (which leaves tx as it
 * was) where there is none that viewer may see: a guest's is anybody's who knows its id.
 */
enum status cart_find(struct request *rq, struct tx *tx, const char *id, const char *viewer,
                      struct cart *ret);

/* What a change needs: CART_CLOSED, IN_CHECKOUT, VERSION_MISMATCH or NULL. */
const struct reason *cart_takes_no_change(const struct request *rq, const struct cart *cart,
                                          int64_t expected_version);
/* Says it, with the numbers. */
enum status cart_refuse(struct request *rq, const struct cart *cart, const struct reason *why);

/* Writes a line (its quantity too) or, where line is NULL, removes sku. */
void cart_put(struct tx *tx, struct cart *cart, const PricedLine *line);
void cart_drop(struct tx *tx, struct cart *cart, const char *sku);
/* After the lines: counts the version, gives a guest's cart to user_id if it is not empty, and
 * tells. */
void cart_changed(struct request *rq, struct tx *tx, struct cart *cart, const char *user_id);

/* Ends tx with a commit, and answers with what the cart then shows. */
enum status cart_finish(struct request *rq, struct tx *tx, const struct cart *cart,
                        ShoppingCart *out);
/* Ends tx without one, and refuses. */
enum status cart_stop(struct request *rq, struct tx *tx, const struct cart *cart,
                      const struct reason *why);
/* Answers with what the cart shows. */
enum status cart_answer(struct request *rq, const struct cart *cart, ShoppingCart *out);

/* ---- prices (refresh.c) ---- */

/*
 * The cart that the caller may see, at the prices of now.  What catalog says otherwise than the
 * cart showed last is written; where that is another price, or a line is no longer for sale,
 * *ret_changed (which may be NULL) is true, and each such line is named in rq's violations.
 */
enum status cart_refresh(struct request *rq, const char *id, struct cart *ret, bool *ret_changed);

/* ---- commands (commands.c) ---- */

/* Something to be added, as catalog validated it. */
struct command {
    const char *id, *cart_id, *user_id;
    const PricedLine *line; /* without a total */
    int64_t expected_version;
};

/*
 * Applies it in tx, or refuses it for good: *ret_refused is why, or NULL.  Once per id, whoever
 * brings it first; told says that whoever asked hears of a refusal from here, so the cart need not
 * show it. Gives a failure of the store only.
 */
enum status command_apply(struct request *rq, struct tx *tx, const struct command *c, bool told,
                          const struct reason **ret_refused);

/* ---- the clean-up (idle.c) ---- */

enum status carts_clean_up(struct request *rq);
/* Takes away a cart with all that is in it, and tells it. */
void cart_end(struct request *rq, struct tx *tx, CartRow *row);
