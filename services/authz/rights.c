#include "authz/rights.h"

#include <assert.h>
#include <stdlib.h>

#include "kit/rules.h"

static const struct rpc *next_rpc(size_t *list, size_t *i);
static bool granted_to(const struct rpc *rpc, const char *role);
static bool among(const char *const *names, size_t n, const char *name);
static int by_name(const void *a, const void *b);

bool
role_known(const char *role)
{
    return text_equal(role, "customer") || role_is_staff(role);
}

bool
role_is_staff(const char *role)
{
    return text_equal(role, "admin") || text_equal(role, "superadmin");
}

bool
role_permits(const char *role, const char *permission)
{
    if (text_equal(role, "superadmin"))
        return true;
    size_t list = 0, i = 0;
    for (const struct rpc *rpc; (rpc = next_rpc(&list, &i));)
        if (text_equal(rpc->permission, permission) && granted_to(rpc, role))
            return true;
    return false;
}

size_t
permissions_of(struct arena *a, const char *const *roles, size_t n, const char ***ret)
{
    const char **names = arena_alloc(a, PERMISSIONS_MAX * sizeof *names);
    size_t found = 0, list = 0, i = 0;
    for (const struct rpc *rpc; (rpc = next_rpc(&list, &i));) {
        bool permitted = false;
        for (size_t role = 0; role < n && !permitted; role++)
            permitted = text_equal(roles[role], "superadmin") || granted_to(rpc, roles[role]);
        if (!permitted || among(names, found, rpc->permission))
            continue;
        assert(found < PERMISSIONS_MAX);
        names[found++] = rpc->permission;
    }
    qsort(names, found, sizeof *names, by_name);
    *ret = names;
    return found;
}

size_t
all_permissions(struct arena *a, const char ***ret)
{
    return permissions_of(a, (const char *const[]){"superadmin"}, 1, ret);
}

/* The next rpc that takes a permission. */
static const struct rpc *
next_rpc(size_t *list, size_t *i)
{
    for (; souk_rpc_lists[*list]; ++*list, *i = 0)
        while (*i < souk_rpc_lists[*list]->n) {
            const struct rpc *rpc = &souk_rpc_lists[*list]->rpcs[(*i)++];
            if (rpc->permission)
                return rpc;
        }
    return NULL;
}

static bool
granted_to(const struct rpc *rpc, const char *role)
{
    for (const char *const *granted = rpc->granted_to; granted && *granted; granted++)
        if (text_equal(*granted, role))
            return true;
    return false;
}

static bool
among(const char *const *names, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (text_equal(names[i], name))
            return true;
    return false;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}
