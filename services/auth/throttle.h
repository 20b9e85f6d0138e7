/* How often a login may fail, whoever tries: counted for each e-mail, known or not. */
#pragma once
#include "base/time.h"

enum { LOGIN_FAILURES_MAX = 10 };
#define THROTTLE_WINDOW_US (15 * MINUTE_US)
