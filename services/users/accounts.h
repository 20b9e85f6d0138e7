/* Accounts: found, made and read.  Private to users. */
#pragma once
#include "users.impl.h"

/* The account with this e-mail, which is in lower case; made if there is none.  Whoever asks has
 * the right to set its password: it is opened again if it was disabled.  Safe to repeat. */
enum status account_make(struct request *rq, const char *email, const char *name,
                         const char *origin, User **ret);
/* Its password, and with it the e-mail it logs in with. */
enum status account_set_password(struct request *rq, const User *user, const char *password);
/* WEAK_PASSWORD, with its place in the body, before anything is written. */
enum status account_password_fits(struct request *rq, const char *password);

/* With roles and addresses.  NO_SUCH_USER. */
enum status account_load(struct request *rq, const char *user_id, User **ret);
/* Without roles, within tx. */
enum status account_read(struct request *rq, struct tx *tx, const char *user_id, User **ret);

/* Exactly these roles from now on.  LAST_SUPERADMIN. */
enum status account_set_roles(struct request *rq, const char *user_id, const char *const *roles,
                              size_t n);

/* What a page holds where nobody asked for less. */
int64_t page_limit(int64_t asked);
