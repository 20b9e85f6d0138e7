/* What somebody sees and changes of himself. */
#include "auth.api.h"
#include "users/accounts.h"
#include "users/activity.h"

enum { EXPORTED_ACTIVITIES_MAX = 1000 };

static bool given(const UpdateMeRequest *in, const char *field);
static size_t changed_fields(struct request *rq, const UpdateMeRequest *in, User *user,
                             const char ***ret);
static bool addresses_equal(const User *user, const UpdateMeRequest *in);
static void save_profile(struct request *rq, struct tx *tx, const User *user, const char **fields,
                         size_t n);

enum status
users_get_me(struct request *rq, const GetMeRequest *in, User *out)
{
    (void)in;
    User *user;
    enum status st = account_load(rq, rq->caller.id, &user);
    if (st == OK)
        *out = *user;
    return st;
}

/* What changes nothing leaves the version as it is, and tells nobody. */
enum status
users_update_me(struct request *rq, const UpdateMeRequest *in, User *out)
{
    User *user;
    struct tx *tx = tx_begin(rq);
    enum status st = account_read(rq, tx, rq->caller.id, &user);
    if (st == OK && in->expected_version && in->expected_version != user->version)
        st = fail(rq, &USERS_VERSION_MISMATCH, "the profile is at version %lld, not %lld",
                  (long long)user->version, (long long)in->expected_version);
    if (st) {
        tx_end(tx);
        return st;
    }
    const char **fields;
    size_t n = changed_fields(rq, in, user, &fields);
    if (n > 0)
        save_profile(rq, tx, user, fields, n);
    st = tx_commit(tx);
    return st ? fail_store(rq, st) : users_get_me(rq, NULL, out);
}

enum status
users_export_me(struct request *rq, const ExportMeRequest *in, ExportedPerson *out)
{
    (void)in;
    enum status st = account_load(rq, rq->caller.id, &out->user);
    if (st == OK)
        st = activity_page(rq, "", EXPORTED_ACTIVITIES_MAX, &out->activity, &out->n_activity);
    if (st)
        return st;
    ListSessionsResponse *open;
    st = call_auth_list_sessions(rq, &open);
    if (st)
        return st;
    out->sessions = open->data;
    out->n_sessions = open->n_data;
    return OK;
}


static bool
given(const UpdateMeRequest *in, const char *field)
{
    for (size_t i = 0; i < in->n_update_mask; i++)
        if (text_equal(in->update_mask[i], field))
            return true;
    return false;
}

/* Changes *user; gives the names of the fields that are now different. */
static size_t
changed_fields(struct request *rq, const UpdateMeRequest *in, User *user, const char ***ret)
{
    enum { FIELDS = 3 };
    const char **fields = arena_alloc(rq->arena, FIELDS * sizeof *fields);
    size_t n = 0;
    if (given(in, "name") && !text_equal(in->name, user->name)) {
        user->name = in->name;
        fields[n++] = "name";
    }
    if (given(in, "phone") && !text_equal(in->phone, user->phone)) {
        user->phone = in->phone;
        fields[n++] = "phone";
    }
    if (given(in, "addresses") && !addresses_equal(user, in)) {
        user->addresses = in->addresses;
        user->n_addresses = in->n_addresses;
        fields[n++] = "addresses";
    }
    *ret = fields;
    return n;
}

static bool
addresses_equal(const User *user, const UpdateMeRequest *in)
{
    if (user->n_addresses != in->n_addresses)
        return false;
    for (size_t i = 0; i < in->n_addresses; i++) {
        const Address *a = user->addresses[i], *b = in->addresses[i];
        if (!text_equal(a->name, b->name) || !text_equal(a->line1, b->line1) ||
            !text_equal(a->line2, b->line2) || !text_equal(a->city, b->city) ||
            !text_equal(a->region, b->region) || !text_equal(a->postal_code, b->postal_code) ||
            !text_equal(a->country, b->country))
            return false;
    }
    return true;
}

static void
save_profile(struct request *rq, struct tx *tx, const User *user, const char **fields, size_t n)
{
    set_profile(tx, .user_id = user->id, .version = user->version, .name = user->name,
                .phone = user->phone);
    delete_addresses(tx, .user_id = user->id);
    for (size_t i = 0; i < user->n_addresses; i++) {
        const Address *a = user->addresses[i];
        insert_address(tx, .user_id = user->id, .position = (int64_t)i, .name = a->name,
                       .line1 = a->line1, .line2 = a->line2, .city = a->city, .region = a->region,
                       .postal_code = a->postal_code, .country = a->country);
    }
    publish_profile_updated(rq, tx, .user_id = user->id, .fields = fields, .n_fields = n,
                            .version = user->version + 1, .email = user->email, .name = user->name);
}
