/* From a row to a mail: its facts, what is secret, and the templates. */
#pragma once
#include "notifications.impl.h"

struct composed {
    const char *from_name, *from; /* of setting mail_from */
    const char *subject, *text, *html;
    const char *content; /* the text without what is secret */
};

/*
 * Fills row's templates, those in DIR/templates before those that come with Souk.  Asks auth for
 * what is secret, so no transaction may be open; where that is gone (a reset that was used), fails
 * with NOT_FOUND.
 */
enum status compose(struct request *rq, const MailRow *row, struct composed *ret);

/* The text as compose gives it in content, without asking anybody. */
enum status compose_content(struct request *rq, const MailRow *row, const char **ret);
