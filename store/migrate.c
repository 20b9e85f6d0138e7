/* Migrations: what is alike on both databases. */
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "store/inside.h"

static int by_number(const void *a, const void *b);

const char migration_table_sql[] =
    "CREATE TABLE IF NOT EXISTS store_migration (service TEXT NOT NULL, number BIGINT NOT NULL,"
    " name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at_us BIGINT NOT NULL,"
    " PRIMARY KEY (service, number))";

const struct migration **
migrations_in_order(const struct store_options *options, struct arena *a)
{
    size_t n = options->n_migrations;
    const struct migration **list = arena_alloc(a, (n + 1) * sizeof(struct migration *));
    for (size_t i = 0; i < n; i++)
        list[i] = &options->migrations[i];
    qsort(list, n, sizeof(const struct migration *), by_number);
    return list;
}

enum status
migration_check(const struct store_options *options, const struct applied *row, struct arena *a,
                const char **why)
{
    bool service_known = false;
    for (size_t i = 0; i < options->n_migrations; i++) {
        const struct migration *known = &options->migrations[i];
        if (strcmp(known->service, row->service) != 0)
            continue;
        service_known = true;
        if (known->number != row->number)
            continue;
        if (strcmp(migration_checksum(known, a), row->checksum) == 0)
            return OK;
        *why = arena_printf(a, "migration %s %s was changed after it was applied", row->service,
                            row->name);
        return FAILED_PRECONDITION;
    }
    if (!service_known)
        return OK; /* a service that does not run here */
    *why = arena_printf(a, "the database is newer than this program: it has migration %s %s",
                        row->service, row->name);
    return FAILED_PRECONDITION;
}

const char *
migration_checksum(const struct migration *m, struct arena *a)
{
    uint8_t digest[SHA256_BYTES];
    sha256(m->sql, strlen(m->sql), digest);
    return hex_encode(a, digest, sizeof digest);
}

static int
by_number(const void *a, const void *b)
{
    const struct migration *x = *(const struct migration *const *)a;
    const struct migration *y = *(const struct migration *const *)b;
    return x->number != y->number ? (x->number > y->number) - (x->number < y->number)
                                  : strcmp(x->service, y->service);
}
