/* What each role permits, read from the protos' granted_to: pure, and never stale. */
#pragma once
#include "kit/kit.h"

enum { PERMISSIONS_MAX = 256 };

/* True for customer, admin and superadmin: what a user can be given. */
bool role_known(const char *role);
/* Staff's decisions are recorded one by one. */
bool role_is_staff(const char *role);
/* superadmin permits everything; "anonymous" is a role too. */
bool role_permits(const char *role, const char *permission);

/* All that the roles permit together, sorted, each once. */
size_t permissions_of(struct arena *a, const char *const *roles, size_t n, const char ***ret);

/* Every permission that a proto names, sorted. */
size_t all_permissions(struct arena *a, const char ***ret);
