/* What happened to an account, told by events alone; without personal data.  Private to users. */
#pragma once
#include "auth.api.h"
#include "authz.api.h"
#include "users.impl.h"

/* The newest limit entries behind the one of this id ("": from the newest on). */
enum status activity_page(struct request *rq, const char *after_id, int64_t limit, Activity ***ret,
                          size_t *ret_n);

user_registered_handler activity_on_user_registered;
user_logged_in_handler activity_on_user_logged_in;
session_revoked_handler activity_on_session_revoked;
password_reset_requested_handler activity_on_password_reset_requested;
user_roles_updated_handler activity_on_user_roles_updated;
profile_updated_handler activity_on_profile_updated;
user_disabled_handler activity_on_user_disabled;
person_erased_handler activity_on_person_erased;
