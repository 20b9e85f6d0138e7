/* The composition root: adding a service is its folder and its line here (docs/NEW_SERVICE.md). */
#include "services/services.h"

#include "services.gen.h"

const struct service *const souk_services[] = {
    &auth_service,
    &authz_service,
    &users_service,
    &catalog_service,
    &cart_service,
    &inventory_service,
    &orders_service,
    &payments_service,
    &shipping_service,
    &analytics_service,
    &notifications_service,
    &recommendations_service,
    &search_service,
    &audit_service,
    NULL,
};
