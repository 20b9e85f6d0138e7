/* Pure functions over text: what is searched, and what is asked. */
#pragma once
#include "base/arena.h"

enum { QUERY_WORDS_MAX = 16 }; /* further words of a question are not looked at */

/* The text of HTML: tags, comments, scripts and styles left out, entities read, white space
 * joined.  Any input gives some text. */
const char *plain_text(struct arena *a, const char *html);

/* A question as an FTS5 query: every word quoted and wanted, the last one as a beginning.  "" where
 * it has no words. */
const char *plain_query(struct arena *a, const char *question);
