/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sizes as people write them: a number of bytes with K, M, G or T (1,024 each) behind it or not.
 */
#pragma once

#include <errno.h>
#include <stdint.h>

/* -EINVAL: not a size, or too large. */
static inline int tp_size_parse(const char *text, uint64_t *ret)
{
	static const char units[] = "KMGT";
	uint64_t v = 0;
	unsigned shift = 0;
	const char *c = text;

	if (*c < '0' || *c > '9')
		return -EINVAL;
	for (; *c >= '0' && *c <= '9'; c++) {
		if (__builtin_mul_overflow(v, UINT64_C(10), &v) ||
			__builtin_add_overflow(v, (uint64_t)(*c - '0'), &v))
			return -EINVAL;
	}
	for (unsigned i = 0; *c && units[i]; i++) {
		if ((*c & ~0x20) == units[i]) {
			shift = 10 * (i + 1);
			c++;
			break;
		}
	}
	if (*c || (shift && v > UINT64_MAX >> shift))
		return -EINVAL;
	*ret = v << shift;
	return 0;
}
