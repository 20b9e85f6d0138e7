/* How a call ended: gRPC's codes, and their HTTP twins. */
#pragma once
#include <stdbool.h>

/* The numbers are gRPC's (https://grpc.io/docs/guides/status-codes/). */
enum status {
    OK = 0,
    CANCELLED = 1,
    UNKNOWN = 2,
    INVALID_ARGUMENT = 3,
    DEADLINE_EXCEEDED = 4,
    NOT_FOUND = 5,
    ALREADY_EXISTS = 6,
    PERMISSION_DENIED = 7,
    RESOURCE_EXHAUSTED = 8,
    FAILED_PRECONDITION = 9,
    ABORTED = 10,
    OUT_OF_RANGE = 11,
    UNIMPLEMENTED = 12,
    INTERNAL = 13,
    UNAVAILABLE = 14,
    DATA_LOSS = 15,
    UNAUTHENTICATED = 16,
};

/* "NOT_FOUND" for NOT_FOUND; "UNKNOWN" for a number that is none of gRPC's. */
const char *status_name(enum status st);

/* The HTTP status that says the same, as in google.rpc.Code; 200 for OK. */
int status_http(enum status st);
