/* Secrets that are made at the first start and kept in a folder: mode 0600, the folder 0700. */
#pragma once
#include "base/arena.h"
#include "base/status.h"

/*
 * The text of folder/name; if there is none yet, the file is made with what make gives, and is on
 * disk when this returns.  Of several processes that make it at once, all get what the first made.
 * FAILED_PRECONDITION with *why if it cannot be read, cannot be made, or may be read by others.
 */
enum status key_file_open(struct arena *a, const char *folder, const char *name,
                          const char *(*make)(struct arena *a), const char **ret, const char **why);
