/* Erasing a person from the events that are kept: of his own account, or that name his e-mail. */
#pragma once
#include "audit.api.h"
#include "kit/kit.h"

/* Notes that PersonErased was heard at this position, in the transaction that keeps it. */
void erase_begin(struct request *rq, struct tx *tx, const struct event *event);
/* The job that does it, some pages at a time. */
enum status erase_some(struct request *rq);
