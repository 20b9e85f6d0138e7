/* Carts, as the gateway has to do with them: catalog validates a line, cart adds it; an order takes
 * its lines from a cart. */
#include "gateway/carts.h"

#include "cart.api.h"
#include "catalog.api.h"
#include "gateway.api.h"

static Line *line_of(struct request *rq, const PricedLine *priced);

/*
 * The command's id follows from the request's, so that a retry, and the event that catalog
 * publishes, add nothing twice.
 */
enum status
gateway_add_cart_line(struct request *rq, const AddCartLineBody *in, ShoppingCart *out)
{
    const char *command_id = id_derive(rq->arena, "cmd", rq->id, NULL);
    const char *user_id = rq->caller.kind == CALLER_USER ? rq->caller.id : "";
    note(rq, "cart_id", in->id);
    CheckAddResponse *check;
    enum status st =
        call_cart_check_add(rq, &check, .cart_id = in->id, .command_id = command_id, .sku = in->sku,
                            .quantity = in->quantity, .expected_version = in->expected_version);
    if (st)
        return st;
    PricedLine *line = new_priced_line(rq->arena);
    line->price = new_money(rq->arena);
    if (!check->known)
        st = call_catalog_add_to_cart(rq, &line, .cart_id = in->id, .command_id = command_id,
                                      .user_id = user_id, .sku = in->sku, .quantity = in->quantity,
                                      .in_cart = check->quantity,
                                      .expected_version = in->expected_version);
    if (st)
        return st;
    ShoppingCart *cart;
    st = call_cart_add_line(rq, &cart, .cart_id = in->id, .command_id = command_id,
                            .user_id = user_id, .line = line,
                            .expected_version = in->expected_version);
    if (st == OK)
        *out = *cart;
    return st;
}

enum status
basket_take(struct request *rq, const PlaceOrderBody *in, const char *checkout_id,
            struct basket *ret)
{
    *ret = (struct basket){.cart_id = "", .lines = in->lines, .n_lines = in->n_lines};
    if (text_empty(in->cart_id) == (in->n_lines == 0)) {
        fail_at(rq, in->n_lines ? "/cart_id" : "/lines", in->n_lines ? "not_both" : "required", -1,
                "give either cart_id or lines");
        return fail(rq, &GATEWAY_INVALID_REQUEST, "an order is of either a cart or lines");
    }
    if (in->n_lines)
        return OK;
    ShoppingCart *cart;
    enum status st =
        call_cart_begin_checkout(rq, &cart, .cart_id = in->cart_id, .checkout_id = checkout_id);
    if (st)
        return st;
    ret->cart_id = cart->id;
    ret->cart_version = cart->version;
    ret->shown = cart->lines;
    ret->n_shown = ret->n_lines = cart->n_lines;
    ret->lines = arena_alloc(rq->arena, cart->n_lines * sizeof *ret->lines);
    for (size_t i = 0; i < cart->n_lines; i++)
        ret->lines[i] = line_of(rq, cart->lines[i]);
    return OK;
}

/* Where this fails, OrderCreated closes the cart, or time lets go of it. */
void
basket_end(struct request *rq, const struct basket *basket, const char *checkout_id,
           const char *order_id)
{
    if (text_empty(basket->cart_id))
        return;
    const struct reason *reason = rq->reason;
    const char *message = rq->message;
    struct violation *violations = rq->violations;
    struct pair extras[EXTRAS_MAX];
    size_t n_violations = rq->n_violations, n_extras = rq->n_extras;
    memcpy(extras, rq->extras, sizeof extras);
    fail_clear(rq);
    Empty *done;
    call_cart_end_checkout(rq, &done, .cart_id = basket->cart_id, .checkout_id = checkout_id,
                           .order_id = order_id);
    fail_clear(rq);
    rq->reason = reason;
    rq->message = message;
    rq->violations = violations;
    rq->n_violations = n_violations;
    rq->n_extras = n_extras;
    memcpy(rq->extras, extras, sizeof extras);
}

static Line *
line_of(struct request *rq, const PricedLine *priced)
{
    Line *line = new_line(rq->arena);
    line->sku = priced->sku;
    line->ticket_type_id = priced->ticket_type_id;
    line->quantity = priced->quantity;
    return line;
}
