/*
 * Settings: souk.conf in the data folder ("name = value", # begins a comment), environment
 * (SOUK_CURRENCY) over it, flags over that.  An unknown name or a bad value is an error with its place.
 */
#pragma once
#include "base/arena.h"
#include "base/status.h"

struct conf;

struct conf *conf_new(void);
void conf_free(struct conf *c);
/* Reads the file (which need not be there) and the environment. */
enum status conf_load(struct conf *c, const char *path, struct arena *a, const char **why);
enum status conf_set(struct conf *c, const char *name, const char *value, struct arena *a,
                     const char **why);
const char *conf_get(const struct conf *c, const char *name); /* c may be NULL: defaults */
/* "name = value   # what it does", every setting, for `souk check-config`. */
char *conf_text(const struct conf *c, struct arena *a);
