/* Who looked at what: counted in memory, told once a second. */
#pragma once
#include "kit/kit.h"

/* A product's detail was read; what operators and services read does not count. */
void views_count(struct request *rq, const char *product_id);

/* A job: publishes ProductViewed for what was counted since its last run.  Staff's are left out. */
enum status views_tell(struct request *rq);
