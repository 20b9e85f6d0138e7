/*
 * Checkouts by events alone.
 *
 * The gateway has read the token when the request came; what it hands on is the session, never the
 * token.  Between then and now the session may have ended.
 */
#include "auth/checkout.h"

enum status
checkout_verify(struct request *rq, struct tx *tx, const UserCheckout *event)
{
    note(rq, "checkout_id", event->checkout_id);
    const char *name = "";
    if (!text_empty(event->user_id)) {
        int64_t open = 0;
        enum status st = session_is_open(tx, &open, .session_id = event->session_id,
                                         .user_id = event->user_id, .now_us = rq->now_us);
        if (st)
            return st;
        if (open == 0) {
            publish_auth_checkout_failed(rq, tx, .checkout_id = event->checkout_id,
                                         .code = AUTH_BAD_TOKEN.code,
                                         .reason = "the session has ended");
            return tx_status(tx);
        }
        st = name_of_user(tx, &name, .user_id = event->user_id);
        if (st && st != NOT_FOUND)
            return st;
    }
    publish_user_authenticated(rq, tx, .user_id = event->user_id, .name = name,
                               .context = "checkout", .checkout_id = event->checkout_id);
    return tx_status(tx);
}
