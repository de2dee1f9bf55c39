/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bytes that a file should have, in memory, and the pattern that the model test writes.
 */
#pragma once

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define TP_BODY_BYTES_MAX (96u << 10)

struct tp_body {
	uint8_t *bytes; /* owned, TP_BODY_BYTES_MAX long or NULL */
	uint32_t len;
};

static inline void tp_body_reserve(struct tp_body *b)
{
	if (!b->bytes) {
		b->bytes = calloc(1, TP_BODY_BYTES_MAX);
		assert(b->bytes);
	}
}

static inline void tp_body_free(struct tp_body *b)
{
	free(b->bytes);
	b->bytes = NULL;
	b->len = 0;
}

static inline void tp_body_copy(struct tp_body *to, const struct tp_body *from)
{
	if (from->len > 0) {
		tp_body_reserve(to);
		memcpy(to->bytes, from->bytes, from->len);
	}
	to->len = from->len;
}

/* What is beyond the new end is forgotten, what is new is zero. */
static inline void tp_body_truncate(struct tp_body *b, uint32_t len)
{
	assert(len <= TP_BODY_BYTES_MAX);
	if (len > b->len) {
		tp_body_reserve(b);
		memset(b->bytes + b->len, 0, len - b->len);
	}
	b->len = len;
}

static inline bool tp_body_equal(const struct tp_body *a, const struct tp_body *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(a->bytes, b->bytes, a->len) == 0);
}

/* The byte that a write of this value puts at an offset: never zero, so that a hole is told from it. */
static inline uint8_t tp_pattern(uint32_t value, uint32_t off)
{
	uint32_t x = value * 2654435761u + off * 40503u + (off >> 12) * 977u;

	return (uint8_t)(x >> 16) | 1;
}

static inline void tp_pattern_fill(uint8_t *to, uint32_t value, uint32_t off, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		to[i] = tp_pattern(value, off + i);
}

/* Puts len bytes at an offset; what they are was made for the offset pattern_off. */
static inline void tp_body_write(
	struct tp_body *b, uint32_t at, uint32_t value, uint32_t pattern_off, uint32_t len)
{
	assert(at + len <= TP_BODY_BYTES_MAX);
	if (len == 0)
		return;
	tp_body_reserve(b);
	if (at + len > b->len)
		tp_body_truncate(b, at + len);
	tp_pattern_fill(b->bytes + at, value, pattern_off, len);
}
