/* Mail by SMTP: libcurl on a thread of the offload pool, a few connections that are used again. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"

enum { SMTP_CONNECTIONS_MAX = 4 };

struct smtp_server {
    const char *url;             /* smtp://host:25, or smtps://host:465 */
    const char *user, *password; /* "" where the server asks for none */
    const char *authorities;     /* PEM file of who may sign its certificate; "": the system's */
    bool tls; /* required; without it, STARTTLS is used where the server offers it */
};

enum smtp_outcome {
    SMTP_UNTRIED, /* not begun: time was up, or the server was down */
    SMTP_SENT,
    SMTP_REFUSED, /* the server will never take it: 5xx to its recipient or its content */
    SMTP_LATER,   /* 4xx, or the connection broke over it: it may have arrived all the same */
    SMTP_DOWN,    /* the server takes no mail at all; this one has not been offered */
};

struct smtp_mail {
    const char *from, *to; /* addresses alone, each without blanks, brackets and line breaks */
    const char *bytes;     /* the message; its lines end with CRLF */
    size_t n;
    enum smtp_outcome outcome;
    int code;        /* of the server's last answer to it, or 0 */
    const char *why; /* in words, where it was not sent */
};

/*
 * Offers the mails in their order and waits (parks the fiber) for what becomes of each.  Begins
 * none after the first SMTP_DOWN, nor after some seconds, so that a slow server does not hold who
 * waits.
 */
void smtp_send(struct arena *a, const struct smtp_server *server, struct smtp_mail *mails,
               size_t n);
