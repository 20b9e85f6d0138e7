/* What both shapes of a checkout need: private to the gateway. */
#pragma once
#include "gateway.impl.h"

/* Gives payments what the buyer will pay with; pointer is where the provider's name stood. */
enum status checkout_lodge(struct request *rq, const char *provider, const char *token,
                           const char *pointer, const char **ret_id);
/* A guest's token for an order. */
enum status checkout_give_token(struct request *rq, const char *order_id, const char **ret);
