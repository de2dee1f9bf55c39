/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contents that say what they are: a number repeated, in a length that follows from the number. A part of one, bytes of two of them, or
 * a length that belongs to another one is recognised.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Between min and max bytes. */
static inline uint32_t tp_stamp_len(uint64_t number, uint32_t min, uint32_t max)
{
	uint64_t z = number * 0x9e3779b97f4a7c15u;

	return min + (uint32_t)((z >> 20) % (max - min));
}

static inline void tp_stamp_fill(uint8_t *to, uint64_t number, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		to[i] = ((const uint8_t *)&number)[i % 8];
}

/* The place of the first byte that is wrong; len when all is well, also when the length itself is wrong. */
static inline uint32_t tp_stamp_wrong(const uint8_t *from, uint32_t len)
{
	for (uint32_t i = 8; i < len; i++) {
		if (from[i] != from[i % 8])
			return i;
	}
	return len;
}

static inline uint64_t tp_stamp_number(const uint8_t *from)
{
	uint64_t number;

	memcpy(&number, from, 8);
	return number;
}
