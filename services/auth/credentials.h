/* What an account logs in with: its e-mail and password, set and shut. */
#pragma once
#include "auth.impl.h"
#include "users.api.h"

/* WEAK_PASSWORD, with its place in the body. */
enum status password_fits(struct request *rq, const char *password);
/* Waits for a place at the hashers; RESOURCE_EXHAUSTED if none gets free in time. */
enum status password_hash_in_turn(struct request *rq, const char *password, const char **ret);

/* What stands for an e-mail where it must not be read: it cannot be guessed without the key. */
const char *identifier_hash(struct request *rq, const char *email);

/* The secret of a link: follows from what it is for, so that no database has to hold it. */
const char *link_token(struct request *rq, const char *purpose, const char *id);
/* What is kept of it. */
const char *link_digest(struct request *rq, const char *token);

/* What users tells of an account. */
profile_updated_handler credentials_on_profile_updated;
user_disabled_handler credentials_on_user_disabled;
person_erased_handler credentials_on_person_erased;
