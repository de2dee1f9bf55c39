/* SPDX-License-Identifier: Apache-2.0 */
#include "store/trail.h"

#include <string.h>

#include "store/cleanup.h"

void tp_trail_init(struct tp_trail *t)
{
	(void)pthread_mutex_init(&t->lock, NULL);
	t->end = 0;
}

void tp_trail_fini(struct tp_trail *t)
{
	(void)pthread_mutex_destroy(&t->lock);
}

void tp_trail_add(struct tp_trail *t, const char *line, size_t len)
{
	size_t at, first;
	TP_LOCK(&t->lock);

	assert(len <= TP_TRAIL_BYTES);
	at = t->end % TP_TRAIL_BYTES;
	first = len < TP_TRAIL_BYTES - at ? len : TP_TRAIL_BYTES - at;
	memcpy(t->bytes + at, line, first);
	memcpy(t->bytes, line + first, len - first);
	t->end += len;
}

size_t tp_trail_copy(struct tp_trail *t, char *buf)
{
	size_t at, len;
	const char *newline;
	TP_LOCK(&t->lock);

	at = t->end % TP_TRAIL_BYTES;
	if (t->end <= TP_TRAIL_BYTES) {
		memcpy(buf, t->bytes, (size_t)t->end);
		return (size_t)t->end;
	}
	memcpy(buf, t->bytes + at, TP_TRAIL_BYTES - at);
	memcpy(buf + TP_TRAIL_BYTES - at, t->bytes, at);
	/* The oldest line is a part, or it is whole and goes all the same. */
	newline = memchr(buf, '\n', TP_TRAIL_BYTES);
	len = TP_TRAIL_BYTES - (size_t)(newline + 1 - buf);
	memmove(buf, newline + 1, len);
	return len;
}
