/* What WooCommerce writes into a cell; for woocommerce.c and its writer. */
#pragma once
#include "base/text.h"

/*
 * It sets an apostrophe before what a spreadsheet would run as a formula, and takes it off again.
 * Here texts that begin with apostrophes of their own before such a sign get one more, so that each
 * text comes back as it was.
 */
const char *woo_unescape(struct arena *a, const char *cell);
const char *woo_escape(struct arena *a, const char *text);

/* In descriptions "\n" is a line's end and "\\n" stands for "\n". */
const char *woo_text_decode(struct arena *a, const char *cell);
const char *woo_text_encode(struct arena *a, const char *text);
