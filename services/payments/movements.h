/* What was settled between two moments, oldest first, read page by page. */
#pragma once
#include "payments.impl.h"

struct movements {
    int64_t after_us, before_us;
    const char *after_id;
    MovementRow **page;
    size_t n, at;
    bool last;
};

struct movements movements_between(int64_t from_us, int64_t to_us);
/* *ret is NULL behind the last one.  Others run between two pages; no transaction stays open. */
enum status movements_next(struct request *rq, struct movements *m, MovementRow **ret);
