#include "authz/denials.h"

#include <assert.h>
#include <string.h>

#include "authz/rights.h"
#include "fiber/fiber.h"

struct denials {
    struct spin lock;
    int64_t minute; /* which told belongs to */
    int told[PERMISSIONS_MAX + 1];
    int64_t untold[PERMISSIONS_MAX + 1];
};

size_t
denials_size(void)
{
    return sizeof(struct denials);
}

bool
denials_tell(struct denials *d, size_t permission, int64_t now_us)
{
    assert(permission <= PERMISSIONS_MAX);
    int64_t minute = now_us / MINUTE_US;
    spin_lock(&d->lock);
    if (minute > d->minute) {
        d->minute = minute;
        memset(d->told, 0, sizeof d->told);
    }
    bool tell = d->told[permission] < DENIALS_PER_MINUTE_MAX;
    if (tell)
        d->told[permission]++;
    else
        d->untold[permission]++;
    spin_unlock(&d->lock);
    return tell;
}

bool
denials_take(struct denials *d, int64_t *counts, size_t n)
{
    assert(n <= PERMISSIONS_MAX + 1);
    bool any = false;
    spin_lock(&d->lock);
    for (size_t i = 0; i < n; i++) {
        counts[i] = d->untold[i];
        d->untold[i] = 0;
        any = any || counts[i] > 0;
    }
    spin_unlock(&d->lock);
    return any;
}

void
denials_give_back(struct denials *d, const int64_t *counts, size_t n)
{
    spin_lock(&d->lock);
    for (size_t i = 0; i < n; i++)
        d->untold[i] += counts[i];
    spin_unlock(&d->lock);
}
