/* The sandbox as a server of its own (`souk sandbox`), reached over HTTP as a real gateway is. */
#pragma once
#include "payments/provider.h"

struct remote {
    const char *url, *secret; /* live as long as it does */
};

extern const struct provider remote_provider; /* its state is a struct remote */
