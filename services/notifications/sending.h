/* The job that sends what is queued. */
#pragma once
#include "notifications.impl.h"

/* Sends a batch of the mails that are due, or keeps them as files where no server is set. */
enum status send_due(struct request *rq);

/* At start: wrong settings are told at once, and the key of recipients' digests is made. */
enum status sending_start(struct request *rq);
