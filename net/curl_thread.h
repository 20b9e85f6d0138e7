/* What every use of libcurl on a plain thread needs. */
#pragma once

/*
 * Runs fn(arg) with libcurl ready and the signal of writing to a closed connection held back, which
 * must not end the process.
 */
void curl_thread(void (*fn)(void *arg), void *arg);
