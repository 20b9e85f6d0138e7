/* Notifications in a whole world, without a mail server. */
#include <dirent.h>
#include <stdio.h>

#include "base/env.h"
#include "base/time.h"
#include "fiber/fiber.h"
#include "notifications.api.h"
#include "orders.api.h"
#include "test/world.h"
#include "users.api.h"

enum { WAIT_US = 30 * 1000 * 1000, STEP_US = 10 * 1000 };

static void sign_up(struct world *w, const char *email);
static ListNotificationsResponse *all(struct world *w);
static bool all_are(struct world *w, size_t n, const char *status);
static int files(struct world *w);

TEST(an_account_has_one_welcome_and_a_restart_sends_none_again)
{
    struct world *w = world_new();
    sign_up(w, "ada@example.org");
    sign_up(w, "bob@example.org");
    world_settle(w);
    check(all_are(w, 2, "kept"));
    world_restart(w);
    world_settle(w);
    check(all_are(w, 2, "kept"));
    check_int((long long)all(w)->data[0]->attempts, 1);
    world_settle(w);
    check_int(world_events(w, "notifications.notification_sent", NULL), 2);
    check_int(files(w), 2);
    world_free(w);
}

TEST(a_disk_that_fails_at_any_statement_loses_and_doubles_no_mail)
{
    for (int k = 1; k <= 40 && !test_failed; k++) {
        struct world *w = world_new();
        sign_up(w, "ada@example.org");
        store_fail_at(node_store(world_node(w), "notifications"), k);
        sign_up(w, "bob@example.org");
        world_settle(w);
        check(all_are(w, 2, "kept"));
        store_fail_at(node_store(world_node(w), "notifications"), 0);
        world_settle(w);
        check_int(world_events(w, "notifications.notification_sent", NULL), 2);
        check_int(files(w), 2);
        if (test_failed)
            fprintf(stderr, "with a failure at statement %d\n", k);
        world_free(w);
    }
}

struct told {
    struct world *w;
    const struct topic *topic;
    const ProtobufCMessage *message;
};

static void
tell_on_fiber(void *arg)
{
    const struct told *told = arg;
    struct request rq = world_request(told->w, "");
    for (const struct service *const *s = node_services(world_node(told->w)); *s; s++)
        if (strcmp((*s)->name, "orders") == 0)
            rq.service = *s;
    struct tx *tx = tx_begin(&rq);
    publish(&rq, tx, told->topic, told->message);
    check_int(tx_commit(tx), OK);
    check_int(request_settle(&rq), OK);
}

static void
tell(struct world *w, const struct topic *topic, const ProtobufCMessage *message)
{
    world_run(w, "orders", tell_on_fiber, &(struct told){w, topic, message});
}

/* It lapses, is paid after all, and its goods are sold out then. */
TEST(an_order_that_ends_twice_is_told_to_end_each_time)
{
    struct world *w = world_new();
    struct arena *a = world_arena(w);
    OrderCreated *created = new_order_created(a);
    OrderPaid *paid = new_order_paid(a);
    OrderCancelled *cancelled = new_order_cancelled(a);
    created->order_id = paid->order_id = cancelled->order_id = id_make(a, "ord", 1);
    created->customer = paid->customer = new_contact(a);
    created->customer->email = "ada@example.org";
    created->charged_by_rpc = true;
    created->reservation_id = paid->reservation_id = cancelled->reservation_id = "rsv_1";
    tell(w, &order_created, &created->base);
    cancelled->reason = "lapsed";
    tell(w, &order_cancelled, &cancelled->base);
    tell(w, &order_cancelled, &cancelled->base);
    tell(w, &order_paid, &paid->base);
    cancelled->reason = "stock_short";
    tell(w, &order_cancelled, &cancelled->base);
    world_settle(w);
    check(all_are(w, 3, "kept"));
    world_free(w);
}

TEST(a_mail_that_cannot_be_written_as_a_file_waits)
{
    struct world *w = world_new();
    const char *folder = arena_printf(world_arena(w), "%s/mail", world_dir(w));
    fclose(fopen(folder, "w")); /* where the folder should be */
    sign_up(w, "ada@example.org");
    world_settle(w);
    int64_t end_us = env.mono_us() + WAIT_US;
    while (all(w)->n_data < 1 || all(w)->data[0]->attempts < 1) {
        if (env.mono_us() > end_us)
            break;
        fiber_sleep_us(STEP_US);
    }
    check(all_are(w, 1, "queued"));
    remove(folder);
    check(all_are(w, 1, "kept"));
    check(all(w)->data[0]->attempts > 1);
    check_int(files(w), 1);
    world_free(w);
}

static void
sign_up(struct world *w, const char *email)
{
    SignUpRequest *in = new_sign_up_request(world_arena(w));
    in->email = email;
    in->password = "correct horse battery";
    in->name = "Ada";
    check_text(world_ask(w, "", "users", "SignUp", &in->base, NULL), "");
}

/* Nothing, if the question itself meets the failing disk. */
static ListNotificationsResponse *
all(struct world *w)
{
    ListNotificationsResponse *page = new_list_notifications_response(world_arena(w));
    const ListNotificationsRequest *in = new_list_notifications_request(world_arena(w));
    world_ask(w, "operator", "notifications", "ListNotifications", &in->base, (void *)&page);
    return page;
}

/* Waits until there are n, and all of them are so. */
static bool
all_are(struct world *w, size_t n, const char *status)
{
    for (int64_t end_us = env.mono_us() + WAIT_US; env.mono_us() < end_us;
         fiber_sleep_us(STEP_US)) {
        const ListNotificationsResponse *page = all(w);
        size_t right = 0;
        for (size_t i = 0; i < page->n_data; i++)
            right += text_equal(page->data[i]->status, status);
        if (right == n && page->n_data == n)
            return true;
    }
    return false;
}

static int
files(struct world *w)
{
    DIR *dir = opendir(arena_printf(world_arena(w), "%s/mail", world_dir(w)));
    int n = 0;
    for (const struct dirent *entry; dir && (entry = readdir(dir));)
        n += strstr(entry->d_name, ".eml") != NULL;
    if (dir)
        closedir(dir);
    return n;
}
