/* The services that Souk is made of. */
#pragma once
#include "kit/kit.h"

extern const struct service *const souk_services[]; /* NULL-terminated */
