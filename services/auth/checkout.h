/* A checkout by events alone: whose it is.  Private to auth. */
#pragma once
#include "auth.impl.h"
#include "gateway.api.h"

/* Says whose a checkout is, or that its session is good no more. */
user_checkout_handler checkout_verify;
