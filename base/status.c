#include "base/status.h"

#include <stddef.h>

enum { STATUSES = UNAUTHENTICATED + 1 };

static const struct {
    const char *name;
    int http;
} statuses[STATUSES] = {
    [OK] = {"OK", 200},
    [CANCELLED] = {"CANCELLED", 499},
    [UNKNOWN] = {"UNKNOWN", 500},
    [INVALID_ARGUMENT] = {"INVALID_ARGUMENT", 400},
    [DEADLINE_EXCEEDED] = {"DEADLINE_EXCEEDED", 504},
    [NOT_FOUND] = {"NOT_FOUND", 404},
    [ALREADY_EXISTS] = {"ALREADY_EXISTS", 409},
    [PERMISSION_DENIED] = {"PERMISSION_DENIED", 403},
    [RESOURCE_EXHAUSTED] = {"RESOURCE_EXHAUSTED", 429},
    [FAILED_PRECONDITION] = {"FAILED_PRECONDITION", 400},
    [ABORTED] = {"ABORTED", 409},
    [OUT_OF_RANGE] = {"OUT_OF_RANGE", 400},
    [UNIMPLEMENTED] = {"UNIMPLEMENTED", 501},
    [INTERNAL] = {"INTERNAL", 500},
    [UNAVAILABLE] = {"UNAVAILABLE", 503},
    [DATA_LOSS] = {"DATA_LOSS", 500},
    [UNAUTHENTICATED] = {"UNAUTHENTICATED", 401},
};

const char *
status_name(enum status st)
{
    return (size_t)st < STATUSES ? statuses[st].name : statuses[UNKNOWN].name;
}

int
status_http(enum status st)
{
    return (size_t)st < STATUSES ? statuses[st].http : statuses[UNKNOWN].http;
}
