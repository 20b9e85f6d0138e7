/*
 * Shipping: what is sent for an order, from events alone.
 *
 * An order's shipment has one id that follows from the order's, and each change of it is
 * conditional: an event that comes twice, or behind a later one, changes nothing.
 */
#include <ctype.h>

#include "orders.api.h"
#include "shipping.impl.h"
#include "shipping/methods.h"
#include "users.api.h"

/* Behind every id, however a database sorts what is neither letter nor digit. */
static const char last_shipment_id[] = "shp_zzzzzzzzzzzzzzzzzzzzzzzzzz";

static enum status no_such(struct request *rq, const char *id);
static enum status load(struct request *rq, struct tx *tx, const char *id, Shipment **ret);
static enum status refuse_dispatch(struct request *rq, struct tx *tx, const Shipment *shipment);
static const char *upper_case(struct arena *a, const char *s);
static enum status read_page(struct tx *tx, struct arena *a, const ListShipmentsRequest *in,
                             int64_t limit, Shipment ***ret, size_t *ret_n);
static enum status read_methods(struct request *rq, ShippingMethod ***ret, size_t *ret_n);

/* What two events tell of an order. */
struct consignment {
    const char *order_id, *user_id;
    const Contact *customer;
    const Address *to;
    PricedLine *const *lines;
    size_t n_lines;
};
static enum status prepare(struct request *rq, struct tx *tx, const struct consignment *c);
static size_t goods_of(struct arena *a, const struct consignment *c, ShipmentLine ***ret);

enum status
shipping_list_shipments(struct request *rq, const ListShipmentsRequest *in,
                        ListShipmentsResponse *out)
{
    int64_t limit = in->limit ? in->limit : PAGE_ITEMS_DEFAULT;
    struct tx *tx = tx_begin_read(rq);
    Shipment **found = NULL;
    size_t n = 0;
    enum status st = read_page(tx, rq->arena, in, limit + 1, &found, &n);
    out->has_more = (int64_t)n > limit;
    out->n_data = out->has_more ? (size_t)limit : n;
    for (size_t i = 0; st == OK && i < out->n_data; i++)
        st = list_lines(tx, &found[i]->lines, &found[i]->n_lines, .shipment_id = found[i]->id);
    tx_end(tx);
    out->data = found;
    return fail_store(rq, st);
}

enum status
shipping_get_shipment(struct request *rq, const GetShipmentRequest *in, Shipment *out)
{
    struct tx *tx = tx_begin_read(rq);
    Shipment *shipment;
    enum status st = load(rq, tx, in->id, &shipment);
    tx_end(tx);
    if (st == OK)
        *out = *shipment;
    return st;
}

enum status
shipping_dispatch_shipment(struct request *rq, const DispatchShipmentRequest *in, Shipment *out)
{
    struct tx *tx = tx_begin(rq);
    bool leaves = set_dispatched(tx, .id = in->id, .carrier = in->carrier, .tracking = in->tracking,
                                 .request_id = rq->id, .now_us = rq->now_us) == 1;
    Shipment *shipment;
    enum status st = load(rq, tx, in->id, &shipment);
    if (st == OK && leaves) {
        publish_shipment_dispatched(rq, tx, .shipment_id = shipment->id,
                                    .order_id = shipment->order_id, .carrier = shipment->carrier,
                                    .tracking = shipment->tracking);
        erase_marked(tx, .order_id = shipment->order_id);
    } else if (st == OK) {
        st = refuse_dispatch(rq, tx, shipment);
    }
    if (st) {
        tx_end(tx);
        return st;
    }
    st = tx_commit(tx);
    if (st == OK)
        *out = *shipment;
    return fail_store(rq, st);
}

enum status
shipping_list_shipping_methods(struct request *rq, const ListShippingMethodsRequest *in,
                               ListShippingMethodsResponse *out)
{
    (void)in;
    return read_methods(rq, &out->data, &out->n_data);
}

static enum status
load(struct request *rq, struct tx *tx, const char *id, Shipment **ret)
{
    enum status st = find_shipment(tx, ret, .id = id);
    if (st == NOT_FOUND)
        return no_such(rq, id);
    if (st == OK)
        st = list_lines(tx, &(*ret)->lines, &(*ret)->n_lines, .shipment_id = id);
    return fail_store(rq, st);
}

static enum status
no_such(struct request *rq, const char *id)
{
    return fail(rq, &SHIPPING_NO_SUCH_SHIPMENT, "there is no shipment %s", id);
}

/* OK where the same request dispatched it before. */
static enum status
refuse_dispatch(struct request *rq, struct tx *tx, const Shipment *shipment)
{
    const char *by = "";
    enum status st = find_dispatch_request(tx, &by, .id = shipment->id);
    if (st)
        return fail_store(rq, st);
    if (shipment->status != SHIPMENT_STATUS_DISPATCHED)
        return fail(rq, &SHIPPING_NOT_RELEASED, "the shipment is %s: only a released one leaves",
                    shipment->status == SHIPMENT_STATUS_CANCELLED ? "cancelled" : "not paid for");
    if (!text_equal(by, rq->id))
        return fail(rq, &SHIPPING_ALREADY_DISPATCHED, "the shipment left already, with %s",
                    shipment->carrier);
    return OK;
}

static enum status
read_page(struct tx *tx, struct arena *a, const ListShipmentsRequest *in, int64_t limit,
          Shipment ***ret, size_t *ret_n)
{
    const char *before = text_empty(in->starting_after) ? last_shipment_id : in->starting_after;
    const char *status = upper_case(a, in->status);
    if (!text_empty(in->order_id))
        return list_shipments_of(tx, ret, ret_n, .order_id = in->order_id, .status = status,
                                 .before = before, .limit = limit);
    if (!text_empty(status))
        return list_shipments_in(tx, ret, ret_n, .status = status, .before = before,
                                 .limit = limit);
    return list_shipments(tx, ret, ret_n, .before = before, .limit = limit);
}

static const char *
upper_case(struct arena *a, const char *s)
{
    char *ret = arena_strdup(a, s);
    for (char *p = ret; *p; p++)
        *p = (char)toupper((unsigned char)*p);
    return ret;
}

static enum status
read_methods(struct request *rq, ShippingMethod ***ret, size_t *ret_n)
{
    const char *why;
    if (!methods_parse(rq->arena, setting(rq->node, "shipping_methods"),
                       setting(rq->node, "currency"), ret, ret_n, &why))
        return fail(rq, &SHIPPING_BAD_METHODS, "shipping_methods: %s", why);
    return OK;
}

static enum status
on_order_created(struct request *rq, struct tx *tx, const OrderCreated *event)
{
    return prepare(rq, tx,
                   &(struct consignment){event->order_id, event->user_id, event->customer,
                                         event->shipping_address, event->lines, event->n_lines});
}

/* The event is whole: it prepares what was not, should it come first. */
static enum status
on_order_paid(struct request *rq, struct tx *tx, const OrderPaid *event)
{
    enum status st =
        prepare(rq, tx,
                &(struct consignment){event->order_id, event->user_id, event->customer,
                                      event->shipping_address, event->lines, event->n_lines});
    if (st == OK)
        release_shipment(tx, .order_id = event->order_id, .now_us = rq->now_us);
    return st ? st : tx_status(tx);
}

/* What left stays as it is: that it comes back is staff's to see to. */
static enum status
on_order_cancelled(struct request *rq, struct tx *tx, const OrderCancelled *event)
{
    int64_t known = 0;
    enum status st = count_shipments(tx, &known, .order_id = event->order_id);
    if (st)
        return st;
    if (known)
        cancel_shipment(tx, .order_id = event->order_id, .reason = event->reason,
                        .was_paid = event->was_paid);
    else if (!text_equal(event->reason, "lapsed")) /* a lapse may be taken back */
        end_order(tx, .order_id = event->order_id);
    erase_marked(tx, .order_id = event->order_id);
    note(rq, "order_id", event->order_id);
    return tx_status(tx);
}

static enum status
on_person_erased(struct request *rq, struct tx *tx, const PersonErased *event)
{
    const char *email = text_lower(rq->arena, event->email);
    if (!text_empty(event->user_id))
        mark_user(tx, .user_id = event->user_id);
    if (!text_empty(email))
        mark_email(tx, .email = email);
    erase_marked(tx, .user_id = event->user_id, .email = email);
    return tx_status(tx);
}

/* Mostly the person was heard of before; not where the order was recorded meanwhile. */
static enum status
on_order_erased(struct request *rq, struct tx *tx, const OrderErased *event)
{
    (void)rq;
    mark_order(tx, .order_id = event->order_id);
    erase_marked(tx, .order_id = event->order_id);
    return tx_status(tx);
}

/* Only goods with an address are sent; an order is prepared once, and never after its end. */
static enum status
prepare(struct request *rq, struct tx *tx, const struct consignment *c)
{
    ShipmentLine **goods;
    size_t n = goods_of(rq->arena, c, &goods);
    int64_t ended = 0;
    enum status st = count_ended(tx, &ended, .order_id = c->order_id);
    if (st || ended || n == 0 || !c->to)
        return st;

    const char *id = id_derive(rq->arena, "shp", c->order_id, NULL);
    if (add_shipment(tx, .id = id, .order_id = c->order_id, .user_id = c->user_id,
                     .email = text_lower(rq->arena, c->customer ? c->customer->email : ""),
                     .ship_name = c->to->name,
                     .ship_line1 = c->to->line1, .ship_line2 = c->to->line2,
                     .ship_city = c->to->city, .ship_region = c->to->region,
                     .ship_postal_code = c->to->postal_code, .ship_country = c->to->country,
                     .created_at_us = rq->now_us) == 0)
        return tx_status(tx);
    for (size_t i = 0; i < n; i++)
        add_line(tx, .shipment_id = id, .line_no = (int64_t)i + 1, .sku = goods[i]->sku,
                 .title = goods[i]->title, .quantity = goods[i]->quantity);
    publish_shipment_prepared(rq, tx, .shipment_id = id, .order_id = c->order_id, .lines = goods,
                              .n_lines = n);
    return tx_status(tx);
}

static size_t
goods_of(struct arena *a, const struct consignment *c, ShipmentLine ***ret)
{
    ShipmentLine **goods = arena_alloc(a, (c->n_lines + 1) * sizeof *goods);
    size_t n = 0;
    for (size_t i = 0; i < c->n_lines; i++)
        if (!text_empty(c->lines[i]->sku)) {
            ShipmentLine *line = goods[n++] = new_shipment_line(a);
            line->sku = c->lines[i]->sku;
            line->title = c->lines[i]->title;
            line->quantity = c->lines[i]->quantity;
        }
    *ret = goods;
    return n;
}

/* A setting that cannot be read is told at once, not to the first visitor. */
static enum status
start(struct request *rq)
{
    ShippingMethod **methods;
    size_t n;
    return read_methods(rq, &methods, &n);
}

const struct service shipping_service = {
    .name = "shipping",
    .serves = &shipping_server,
    .listens = true,
    .publishes = {&shipment_prepared, &shipment_dispatched},
    .subscribes = {{subscribe(order_created, on_order_created)},
                   {subscribe(order_paid, on_order_paid)},
                   {subscribe(order_cancelled, on_order_cancelled)},
                   {subscribe(order_erased, on_order_erased)},
                   {subscribe(person_erased, on_person_erased)}},
    .start = start,
};
