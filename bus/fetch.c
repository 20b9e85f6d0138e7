/*
 * A fiber that asks one publisher's outbox and has the next page ready for its reader.
 *
 * Where a broker brings the events it compares instead: positions only, of what is some seconds
 * old, against the inbox.  A page then has what is missing (and perhaps more that came meanwhile;
 * the inbox knows), and lets the cursor move and the inbox shrink.  Of a subscriber that has
 * nothing yet it asks for everything.
 */
#include "bus/bus_private.h"

enum {
    COMPARE_EVENTS_MAX = 512,
    PATIENCE_AGES = 12, /* how long a queue at work is waited for, in repair_age_us */
    BACKOFF_FIRST_US = 50000,
    BACKOFF_MOST_US = 2000000,
    HASTY_US = 50000, /* an answer that is empty and did not wait: its process is ending */
};

/* What the next answer is to be. */
struct errand {
    uint64_t generation;
    int64_t after;
    bool hurries;
};

static bool next_errand(struct fetch *x, struct errand *ret);
static enum status run_errand(struct fetch *x, const struct errand *errand, struct arena *a,
                              struct page **ret, int64_t *ret_rest_us);
static enum status compare(struct fetch *x, const struct errand *errand, struct arena *a,
                           struct page **ret, int64_t *ret_rest_us);
static void set_goal(struct fetch *x, const struct errand *errand, bool asked);
static void rest(struct fetch *x, int64_t us);
static enum status ask_for(struct fetch *x, const struct outbox_ask *ask, struct arena *a,
                           struct outbox_page *ret);
static void leave_for_later(const struct fetch *x, struct outbox_page *page, int64_t brought);
static size_t leave_out(struct outbox_page *page, const int64_t *taken, size_t n_taken);
static void hand_over(struct fetch *x, const struct errand *errand, struct page *page);

void
fetch_run(void *arg)
{
    struct fetch *x = arg;
    int64_t backoff_us = 0;
    while (worker_goes_on(&x->worker)) {
        struct errand errand;
        if (!next_errand(x, &errand)) {
            worker_wait(&x->worker, INT64_MAX);
            continue;
        }
        struct arena *a = arena_new();
        struct page *page = NULL;
        int64_t rest_us = 0;
        bool asked = run_errand(x, &errand, a, &page, &rest_us) == OK;
        if (errand.hurries)
            set_goal(x, &errand, asked);
        if (asked) {
            backoff_us = 0;
        } else {
            backoff_us = backoff_us == 0 ? BACKOFF_FIRST_US : 2 * backoff_us;
            rest_us = backoff_us = backoff_us < BACKOFF_MOST_US ? backoff_us : BACKOFF_MOST_US;
        }
        if (page)
            hand_over(x, &errand, page);
        else
            arena_free(a);
        if (rest_us > 0)
            rest(x, rest_us);
    }
    worker_end(&x->worker);
}

struct page *
fetch_take(struct fetch *x)
{
    spin_lock(&x->lock);
    struct page *page = x->ready;
    x->ready = NULL;
    spin_unlock(&x->lock);
    if (page)
        worker_wake(&x->worker);
    return page;
}

void
fetch_rewind(struct fetch *x, int64_t after)
{
    spin_lock(&x->lock);
    struct page *page = x->ready;
    x->ready = NULL;
    x->on = true;
    x->generation++;
    x->after = after;
    spin_unlock(&x->lock);
    page_release(page);
    worker_wake(&x->worker);
}

void
fetch_rest(struct fetch *x)
{
    spin_lock(&x->lock);
    struct page *page = x->ready;
    x->ready = NULL;
    x->on = false;
    x->generation++;
    spin_unlock(&x->lock);
    page_release(page);
}

void
fetch_hurry(struct fetch *x)
{
    spin_lock(&x->lock);
    x->hurries = true;
    x->goal = -1;
    spin_unlock(&x->lock);
    worker_wake(&x->worker);
}

static void
set_goal(struct fetch *x, const struct errand *errand, bool asked)
{
    spin_lock(&x->lock);
    bool current = x->generation == errand->generation;
    if (current && !asked)
        x->hurries = false;
    if (current && x->goal < 0)
        x->goal = asked ? x->head : 0;
    spin_unlock(&x->lock);
    worker_wake(x->reader);
}

/* Shorter if somebody is in a hurry. */
static void
rest(struct fetch *x, int64_t us)
{
    int64_t until_us = env.mono_us() + us;
    while (worker_goes_on(&x->worker) && env.mono_us() < until_us) {
        spin_lock(&x->lock);
        bool called = x->hurries && x->goal < 0;
        spin_unlock(&x->lock);
        if (called)
            return;
        worker_wait(&x->worker, until_us);
    }
}

static bool
next_errand(struct fetch *x, struct errand *ret)
{
    spin_lock(&x->lock);
    bool wanted = x->on && !x->ready;
    if (x->goal >= 0 && x->after >= x->goal)
        x->hurries = false;
    *ret = (struct errand){x->generation, x->after, x->hurries};
    spin_unlock(&x->lock);
    return wanted;
}

/* No page if there is nothing new; *ret_rest_us: before it is asked again. */
static enum status
run_errand(struct fetch *x, const struct errand *errand, struct arena *a, struct page **ret,
           int64_t *ret_rest_us)
{
    if (x->compares)
        return compare(x, errand, a, ret, ret_rest_us);
    int64_t after = errand->after;
    int64_t start_us = env.mono_us(), poll_us = x->bus->options.poll_us;
    struct outbox_ask ask = {
        .after = after, .topics = x->topics, .most = PAGE_EVENTS_MAX, .wait_us = poll_us};
    struct outbox_page got;
    enum status st = ask_for(x, &ask, a, &got);
    if (st)
        return st;
    if (got.upto > after)
        *ret = page_new(a, after, got.upto, got.events, got.n);
    else if (env.mono_us() - start_us < poll_us / 2)
        *ret_rest_us = HASTY_US;
    return OK;
}

static enum status
compare(struct fetch *x, const struct errand *errand, struct arena *a, struct page **ret,
        int64_t *ret_rest_us)
{
    int64_t after = errand->after;
    struct outbox_ask ask = {
        .after = after,
        .topics = x->topics,
        .most = COMPARE_EVENTS_MAX,
        .positions_only = !x->far,
        .older_than_us = errand->hurries ? 0 : x->bus->options.repair_age_us,
    };
    struct outbox_page got;
    enum status st = ask_for(x, &ask, a, &got);
    if (st)
        return st;
    int64_t *taken;
    size_t n_taken;
    st = inbox_positions(x->compares, x->publisher, after, got.upto, a, &taken, &n_taken);
    if (st)
        return st;
    int64_t brought = n_taken > 0 ? taken[n_taken - 1] : after;
    bool patient = !errand->hurries && queue_is_at_work(x->queue);
    if (patient)
        leave_for_later(x, &got, brought);
    size_t listed = got.n, n_missing = leave_out(&got, taken, n_taken);
    if (n_missing > 0 && !x->far) {
        ask.after = got.events[0].position - 1;
        ask.positions_only = false;
        st = ask_for(x, &ask, a, &got);
        if (st)
            return st;
        if (patient)
            leave_for_later(x, &got, brought);
        leave_out(&got, taken, n_taken);
    }
    x->far = n_missing > 0 && n_missing == listed;
    bool more = x->far || listed == COMPARE_EVENTS_MAX ||
                (listed == 0 && got.upto - after > COMPARE_EVENTS_MAX);
    *ret_rest_us = more ? 0 : errand->hurries ? HASTY_US : x->bus->options.repair_us;
    if (got.upto > after) {
        *ret = page_new(a, after, got.upto, got.events, got.n);
        (*ret)->settles = listed > 0;
    }
    return OK;
}

/* An answer may come twice, or be an older one: what is not behind the question is left out. */
static enum status
ask_for(struct fetch *x, const struct outbox_ask *ask, struct arena *a, struct outbox_page *ret)
{
    struct outbox_page got;
    enum status st = outbox_ask(x->bus, x->publisher, ask, a, &got);
    if (st)
        return st;
    int64_t last = ask->after;
    size_t n = 0;
    for (size_t i = 0; i < got.n; i++) {
        if (got.events[i].position <= last)
            continue;
        last = got.events[i].position;
        got.events[n++] = got.events[i];
    }
    if (last > got.upto && n > 0)
        return DATA_LOSS;
    got.n = n;
    if (got.head > x->head)
        x->head = got.head;
    if (x->first == 0)
        x->first = got.head + 1;
    *ret = got;
    return OK;
}

/* A queue that is at work may bring yet what stands behind the last that it brought: that part of
 * the page is left for later, unless it is old. */
static void
leave_for_later(const struct fetch *x, struct outbox_page *page, int64_t brought)
{
    int64_t old_us = env.now_us() - PATIENCE_AGES * x->bus->options.repair_age_us;
    size_t n = page->n;
    while (n > 0 && page->events[n - 1].position > brought && page->events[n - 1].time_us > old_us)
        n--;
    int64_t upto = n > 0 ? page->events[n - 1].position : brought;
    if (n == page->n)
        return;
    page->n = n;
    page->upto = upto > brought ? upto : brought;
}

/* What was taken is no more in the page; gives how many stay. */
static size_t
leave_out(struct outbox_page *page, const int64_t *taken, size_t n_taken)
{
    size_t n = 0, at = 0;
    for (size_t i = 0; i < page->n; i++) {
        int64_t position = page->events[i].position;
        while (at < n_taken && taken[at] < position)
            at++;
        if (at == n_taken || taken[at] != position)
            page->events[n++] = page->events[i];
    }
    page->n = n;
    return n;
}

static void
hand_over(struct fetch *x, const struct errand *errand, struct page *page)
{
    spin_lock(&x->lock);
    bool wanted = x->on && x->generation == errand->generation;
    if (wanted) {
        x->ready = page;
        x->after = page->last;
    }
    spin_unlock(&x->lock);
    if (wanted)
        worker_wake(x->reader);
    else
        page_release(page);
}
