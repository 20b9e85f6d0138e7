/* Erasing what is personal from the events that are kept: kit/personal.h says from which. */
#pragma once
#include "audit.api.h"
#include "kit/kit.h"

/* The job that does it for what insert_erasing has noted, some pages at a time. */
enum status erase_some(struct request *rq);
