/* Forgetting who ordered: private to orders. */
#pragma once
#include "orders.impl.h"
#include "users.api.h"

person_erased_handler erase_on_person_erased;

/* A job: finds the orders of whom is to be forgotten, and forgets him where nothing is to be sent
 * any more. */
enum status orders_erase(struct request *rq);
