/* Bounds that more than one folder must agree on; what concerns one file stands in it. */
#pragma once

enum {
    BODY_BYTES_MAX = 1 << 20,             /* a request body, unless its rpc says otherwise */
    IMPORT_BYTES_MAX = 32 << 20,          /* a CSV import's body */
    HEADER_BYTES_MAX = 32 << 10,          /* all headers of one request */
    HEADERS_MAX = 100,                    /* header fields of one request */
    TARGET_BYTES_MAX = 8 << 10,           /* the request target (path and query) */
    PAGE_ITEMS_MAX = 100,                 /* items of one page of a list */
    PAGE_ITEMS_DEFAULT = 20,
    ERRORS_MAX = 50,                      /* violations told in one answer */
    EVENT_BYTES_MAX = 256 << 10,          /* one event's payload */
    CALL_DEPTH_MAX = 8,                   /* calls within calls */
};
