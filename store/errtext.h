/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text of a start-up or mount error: filled where the fault is known, wrapped on the way up, and printed once
 * as one sentence. Functions that take a struct tp_err fill it whenever they return a negative errno.
 */
#pragma once

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct tp_err {
	char text[512];
};

/* Sets the text and returns r, so that `return tp_err_set(err, -EINVAL, ...)` reads well. err may be NULL. */
__attribute__((format(printf, 3, 4))) static inline int tp_err_set(
	struct tp_err *err, int r, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return r;
	va_start(ap, fmt);
	(void)vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	return r;
}

/* Puts "what: " before the text that is there. Returns r. */
static inline int tp_err_wrap(struct tp_err *err, int r, const char *what)
{
	char old[sizeof(err->text)];

	if (!err)
		return r;
	memcpy(old, err->text, sizeof(old));
	old[sizeof(old) - 1] = 0;
	(void)snprintf(err->text, sizeof(err->text), "%.120s: %.380s", what, old);
	return r;
}
