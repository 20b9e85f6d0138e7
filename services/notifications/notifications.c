/*
 * Notifications: a mail for what happened, written down by subscribers, sent by a job (sending.c).
 *
 * One mail for each thing told: the dedup_key is the template and what it is about.
 */
#include "notifications.impl.h"

#include "auth.api.h"
#include "cart.api.h"
#include "kit/node.h"
#include "kit/trace.h"
#include "notifications/compose.h"
#include "notifications/mime.h"
#include "notifications/sending.h"
#include "orders.api.h"
#include "payments.api.h"
#include "users.api.h"

/* Behind every notification's id. */
static const char last_id[] = "ntf_zzzzzzzzzzzzzzzzzzzzzzzzzz";

/* A mail to be. */
struct letter {
    const char *template;
    const char *about; /* makes its key */
    const char *order_id, *user_id, *recipient;
    const MailFacts *facts;
};

static void write_letter(struct request *rq, struct tx *tx, const struct letter *letter);
static enum status write_of_order(struct request *rq, struct tx *tx, struct letter letter,
                                  MailFacts *facts);
static void welcome(struct request *rq, struct tx *tx, const char *user_id, const char *email,
                    const char *name);
static enum status show(struct request *rq, const MailRow *row, Notification *out);
static enum status load(struct request *rq, const char *id, MailRow **ret);
static const char *cancel_words(const char *reason);

enum status
notifications_list_notifications(struct request *rq, const ListNotificationsRequest *in,
                                 ListNotificationsResponse *out)
{
    int64_t limit = in->limit < 1 ? PAGE_ITEMS_DEFAULT : in->limit;
    if (limit > PAGE_ITEMS_MAX)
        limit = PAGE_ITEMS_MAX;
    const char *before = text_empty(in->starting_after) ? last_id : in->starting_after;
    MailRow **rows;
    size_t n;
    struct tx *tx = tx_begin_read(rq);
    enum status st = text_empty(in->order_id)
                         ? list_mails(tx, &rows, &n, .before = before, .rows = limit + 1)
                         : list_mails_of_order(tx, &rows, &n, .order_id = in->order_id,
                                               .before = before, .rows = limit + 1);
    tx_end(tx);
    if (st)
        return fail_store(rq, st);
    out->has_more = n > (size_t)limit;
    out->data = arena_alloc(rq->arena, n * sizeof *out->data);
    for (size_t i = 0; i < n && i < (size_t)limit && st == OK; i++) {
        out->data[i] = new_notification(rq->arena);
        st = show(rq, rows[i], out->data[i]);
        out->n_data = i + 1;
    }
    return st;
}

enum status
notifications_get_notification(struct request *rq, const GetNotificationRequest *in,
                               Notification *out)
{
    MailRow *row;
    enum status st = load(rq, in->id, &row);
    return st ? st : show(rq, row, out);
}

/* Safe to repeat: what waits already goes on waiting. */
enum status
notifications_resend_notification(struct request *rq, const ResendNotificationRequest *in,
                                  Notification *out)
{
    MailRow *row;
    enum status st = load(rq, in->id, &row);
    if (st)
        return st;
    struct tx *tx = tx_begin(rq);
    int64_t queued = queue_again(tx, .id = row->id, .now_us = rq->now_us);
    st = tx_commit(tx);
    if (st)
        return fail_store(rq, st);
    if (queued == 0)
        return fail(rq, &NOTIFICATIONS_ERASED, "whom it went to has been erased");
    st = load(rq, in->id, &row);
    return st ? st : show(rq, row, out);
}

static enum status
load(struct request *rq, const char *id, MailRow **ret)
{
    struct tx *tx = tx_begin_read(rq);
    enum status st = find_mail(tx, ret, .id = id);
    tx_end(tx);
    if (st == NOT_FOUND)
        return fail(rq, &NOTIFICATIONS_NO_SUCH_NOTIFICATION, "there is no such notification");
    return fail_store(rq, st);
}

static enum status
show(struct request *rq, const MailRow *row, Notification *out)
{
    out->id = row->id;
    out->order_id = row->order_id;
    out->channel = "email";
    out->template_ = row->template_;
    out->status = row->status;
    out->recipient = row->recipient;
    out->content = row->content;
    out->sent_at_us = row->sent_at_us;
    out->created_at_us = row->created_at_us;
    out->attempts = row->attempts;
    out->reason = row->reason;
    if (!text_empty(row->content) || text_empty(row->recipient))
        return OK;
    return compose_content(rq, row, &out->content);
}

/* Its id follows from the event's, its Message-ID from its id and the sender's domain. */
static void
write_letter(struct request *rq, struct tx *tx, const struct letter *letter)
{
    const char *name, *from = "souk@localhost";
    mime_from(rq->arena, setting(rq->node, "mail_from"), &name, &from);
    const char *id = id_derive(rq->arena, "ntf", rq->id, letter->template);
    size_t n;
    uint8_t *facts = message_pack(rq->arena, &letter->facts->base, &n);
    add_mail(tx, .id = id,
             .dedup_key = arena_printf(rq->arena, "%s:%s", letter->template, letter->about),
             .message_id = arena_printf(rq->arena, "%s%s", id, strchr(from, '@')),
             .template = letter->template, .order_id = letter->order_id, .user_id = letter->user_id,
             .recipient = letter->recipient, .facts = (ProtobufCBinaryData){n, facts},
             .now_us = rq->now_us, .traceparent = trace_kept(rq));
}

/* To whom ordered.  Where OrderCreated has not been heard yet, the bus comes again. */
static enum status
write_of_order(struct request *rq, struct tx *tx, struct letter letter, MailFacts *facts)
{
    ContactRow *contact;
    enum status st = find_contact(tx, &contact, .id = letter.order_id);
    if (st == NOT_FOUND)
        return fail_status(rq, NOT_FOUND, "nobody is known to have ordered %s", letter.order_id);
    if (st || text_empty(contact->email))
        return st;
    facts->name = contact->name;
    letter.recipient = contact->email;
    letter.user_id = contact->user_id;
    letter.facts = facts;
    write_letter(rq, tx, &letter);
    return tx_status(tx);
}

static enum status
on_user_created(struct request *rq, struct tx *tx, const UserCreated *event)
{
    keep_contact(tx, .id = event->user_id, .email = event->email, .name = event->name,
                 .user_id = event->user_id);
    if (text_equal(event->origin, "signup"))
        welcome(rq, tx, event->user_id, event->email, event->name);
    return tx_status(tx);
}

/* Whichever of the two comes first writes the one welcome. */
static enum status
on_user_registered(struct request *rq, struct tx *tx, const UserRegistered *event)
{
    ContactRow *contact;
    enum status st = find_contact(tx, &contact, .id = event->user_id);
    if (st == NOT_FOUND)
        return fail_status(rq, NOT_FOUND, "nothing is known of account %s", event->user_id);
    if (st || text_empty(contact->email))
        return st;
    welcome(rq, tx, event->user_id, contact->email, contact->name);
    return tx_status(tx);
}

static void
welcome(struct request *rq, struct tx *tx, const char *user_id, const char *email, const char *name)
{
    MailFacts *facts = new_mail_facts(rq->arena);
    facts->name = name;
    write_letter(rq, tx,
                 &(struct letter){.template = "welcome",
                                  .about = user_id,
                                  .user_id = user_id,
                                  .recipient = email,
                                  .facts = facts});
}

static enum status
on_profile_updated(struct request *rq, struct tx *tx, const ProfileUpdated *event)
{
    keep_contact(tx, .id = event->user_id, .email = event->email, .name = event->name,
                 .user_id = event->user_id);
    MailFacts *facts = new_mail_facts(rq->arena);
    facts->name = event->name;
    facts->fields = event->fields;
    facts->n_fields = event->n_fields;
    if (event->n_fields)
        write_letter(rq, tx,
                     &(struct letter){.template = "profile_changed",
                                      .about = rq->id,
                                      .user_id = event->user_id,
                                      .recipient = event->email,
                                      .facts = facts});
    return tx_status(tx);
}

static enum status
on_staff_invited(struct request *rq, struct tx *tx, const StaffInvited *event)
{
    MailFacts *facts = new_mail_facts(rq->arena);
    facts->role = event->role;
    facts->link_id = event->invitation_id;
    write_letter(rq, tx,
                 &(struct letter){.template = "invitation",
                                  .about = event->invitation_id,
                                  .recipient = event->email,
                                  .facts = facts});
    return tx_status(tx);
}

static enum status
on_password_reset_requested(struct request *rq, struct tx *tx, const PasswordResetRequested *event)
{
    MailFacts *facts = new_mail_facts(rq->arena);
    facts->name = event->name;
    facts->link_id = event->reset_id;
    write_letter(rq, tx,
                 &(struct letter){.template = "password_reset",
                                  .about = event->reset_id,
                                  .user_id = event->user_id,
                                  .recipient = event->email,
                                  .facts = facts});
    return tx_status(tx);
}

/* Nothing is sent to him any more, and nobody can read what was. */
static enum status
on_person_erased(struct request *rq, struct tx *tx, const PersonErased *event)
{
    (void)rq;
    erase_mails(tx, .user_id = event->user_id, .email = event->email,
                .nothing = (ProtobufCBinaryData){0, (uint8_t[1]){0}});
    erase_contacts(tx, .user_id = event->user_id, .email = event->email);
    return tx_status(tx);
}

/* What was told of the order after its buyer was erased goes, too. */
static enum status
on_order_erased(struct request *rq, struct tx *tx, const OrderErased *event)
{
    (void)rq;
    erase_mails_of_order(tx, .order_id = event->order_id,
                         .nothing = (ProtobufCBinaryData){0, (uint8_t[1]){0}});
    erase_contact(tx, .id = event->order_id);
    return tx_status(tx);
}

static enum status
on_order_created(struct request *rq, struct tx *tx, const OrderCreated *event)
{
    (void)rq;
    const Contact *to = event->customer;
    keep_contact(tx, .id = event->order_id, .email = to ? to->email : "",
                 .name = to ? to->name : "", .user_id = event->user_id);
    return tx_status(tx);
}

static enum status
on_order_paid(struct request *rq, struct tx *tx, const OrderPaid *event)
{
    MailFacts *facts = new_mail_facts(rq->arena);
    facts->name = event->customer ? event->customer->name : "";
    facts->lines = event->lines;
    facts->n_lines = event->n_lines;
    facts->total = event->total;
    facts->shipping_address = event->shipping_address;
    if (event->customer && !text_empty(event->customer->email))
        write_letter(rq, tx,
                     &(struct letter){.template = "receipt",
                                      .about = event->order_id,
                                      .order_id = event->order_id,
                                      .user_id = event->user_id,
                                      .recipient = event->customer->email,
                                      .facts = facts});
    return tx_status(tx);
}

/* One mail an order tells how to pay again, however often that fails. */
static enum status
on_payment_failed(struct request *rq, struct tx *tx, const PaymentFailed *event)
{
    MailFacts *facts = new_mail_facts(rq->arena);
    facts->total = event->amount;
    struct text words = text_in(rq->arena);
    text_add(&words, event->reason);
    for (size_t i = 0; i < words.n; i++)
        if (words.bytes[i] == '_')
            words.bytes[i] = ' ';
    facts->reason = words.bytes ? words.bytes : "";
    return write_of_order(rq, tx,
                          (struct letter){.template = "payment_failed",
                                          .about = event->order_id,
                                          .order_id = event->order_id},
                          facts);
}

static enum status
on_order_shipped(struct request *rq, struct tx *tx, const OrderShipped *event)
{
    MailFacts *facts = new_mail_facts(rq->arena);
    facts->carrier = event->carrier;
    facts->tracking = event->tracking;
    return write_of_order(rq, tx,
                          (struct letter){.template = "shipped",
                                          .about = event->order_id,
                                          .order_id = event->order_id},
                          facts);
}

static enum status
on_order_cancelled(struct request *rq, struct tx *tx, const OrderCancelled *event)
{
    MailFacts *facts = new_mail_facts(rq->arena);
    facts->paid = event->was_paid;
    facts->reason = cancel_words(event->reason);
    /* A refund's own mail says all that there is to say. */
    if (text_equal(event->reason, "refunded") || text_equal(event->reason, "returned"))
        return OK;
    /* One that lapsed may be paid after all, and end once more for another reason. */
    return write_of_order(
        rq, tx,
        (struct letter){.template = "cancelled",
                        .about = arena_printf(rq->arena, "%s:%s", event->order_id, event->reason),
                        .order_id = event->order_id},
        facts);
}

static const char *
cancel_words(const char *reason)
{
    static const struct {
        const char *reason, *words;
    } known[] = {
        {"buyer", "as you wished"},
        {"staff", "by the shop"},
        {"lapsed", "it was not paid in time"},
        {"stock_short", "its goods are sold out"},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (text_equal(reason, known[i].reason))
            return known[i].words;
    return "by the shop";
}

/* A mail for each refund, part or whole. */
static enum status
on_payment_refunded(struct request *rq, struct tx *tx, const PaymentRefunded *event)
{
    MailFacts *facts = new_mail_facts(rq->arena);
    facts->total = event->amount;
    return write_of_order(
        rq, tx,
        (struct letter){.template = "refunded", .about = rq->id, .order_id = event->order_id},
        facts);
}

/* A cart whose owner is not known has nobody to write to. */
static enum status
on_cart_abandoned(struct request *rq, struct tx *tx, const CartAbandoned *event)
{
    ContactRow *contact;
    enum status st = find_contact(tx, &contact, .id = event->user_id);
    if (st == NOT_FOUND || (st == OK && text_empty(contact->email)) || event->n_lines == 0)
        return OK;
    if (st)
        return st;
    MailFacts *facts = new_mail_facts(rq->arena);
    facts->name = contact->name;
    facts->lines = event->lines;
    facts->n_lines = event->n_lines;
    facts->total = event->total;
    write_letter(rq, tx,
                 &(struct letter){.template = "cart_abandoned",
                                  .about = event->cart_id,
                                  .user_id = event->user_id,
                                  .recipient = contact->email,
                                  .facts = facts});
    return tx_status(tx);
}

const struct service notifications_service = {
    .name = "notifications",
    .serves = &notifications_server,
    .listens = true,
    .calls = {&auth_rpcs, &users_rpcs},
    .publishes = {&notification_sent, &notification_failed},
    .subscribes = {{subscribe(user_created, on_user_created)},
                   {subscribe(user_registered, on_user_registered)},
                   {subscribe(profile_updated, on_profile_updated)},
                   {subscribe(staff_invited, on_staff_invited)},
                   {subscribe(password_reset_requested, on_password_reset_requested)},
                   {subscribe(person_erased, on_person_erased)},
                   {subscribe(order_erased, on_order_erased)},
                   {subscribe(order_created, on_order_created)},
                   {subscribe(order_paid, on_order_paid)},
                   {subscribe(payment_failed, on_payment_failed)},
                   {subscribe(order_shipped, on_order_shipped)},
                   {subscribe(order_cancelled, on_order_cancelled)},
                   {subscribe(payment_refunded, on_payment_refunded)},
                   {subscribe(cart_abandoned, on_cart_abandoned)}},
    .jobs = {{"send", send_due, 250 * MILLISECOND_US}},
    .start = sending_start,
};
