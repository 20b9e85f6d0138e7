/* What is promised to somebody: how a reservation begins, is sold, and ends. */
#pragma once
#include "inventory.impl.h"
#include "orders.api.h"

/* An item's availability changed: says so to whoever shows it. */
void tell_stock(struct request *rq, struct tx *tx, const Stock *stock);

/* From now on its order ends it, not the clock.  One that is gone stays gone. */
void reservation_bind(struct tx *tx, const char *reservation_id);

/* The order is paid: what was reserved is sold.  If its promise is gone, what is free is sold
 * instead; if that does not do for all lines, nothing is, and StockShort says so. */
void reservation_sell(struct request *rq, struct tx *tx, const OrderPaid *paid);

/* Gives back what is held, and nothing of what was sold. */
void reservation_release(struct request *rq, struct tx *tx, const char *reservation_id,
                         const char *reason);

/* Puts back on the shelf what was sold, and nothing of what is merely held. */
void reservation_unsell(struct request *rq, struct tx *tx, const char *reservation_id,
                        const char *reason);

/* A job: ends what was held past its time. */
enum status reservations_lapse(struct request *rq);
