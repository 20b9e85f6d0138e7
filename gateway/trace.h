/* W3C Trace Context, https://www.w3.org/TR/trace-context/ */
#pragma once
#include <stdbool.h>

/* Takes the trace's id out of a traceparent header; false if it is malformed. */
bool trace_parse(const char *header, char ret_trace_id[33]);
