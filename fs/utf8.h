/* SPDX-License-Identifier: Apache-2.0 */
/* Names are any bytes; the texts that they are put into have to be UTF-8. */
#pragma once

#include <stddef.h>

/* The length of the character at s, of which len bytes are there; 0: the first byte begins none. */
static inline size_t tp_utf8_len(const char *s, size_t len)
{
	const unsigned char *u = (const unsigned char *)s;
	/* What the second byte may be: no overlong forms, no surrogates, nothing above U+10FFFF. */
	unsigned char least = 0x80, most = 0xbf;
	size_t n;

	if (len == 0)
		return 0;
	if (u[0] < 0x80)
		return 1;
	if (u[0] < 0xc2 || u[0] > 0xf4)
		return 0;
	n = u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;
	if (u[0] == 0xe0)
		least = 0xa0;
	else if (u[0] == 0xed)
		most = 0x9f;
	else if (u[0] == 0xf0)
		least = 0x90;
	else if (u[0] == 0xf4)
		most = 0x8f;
	if (len < n || u[1] < least || u[1] > most)
		return 0;
	for (size_t i = 2; i < n; i++)
		if (u[i] < 0x80 || u[i] > 0xbf)
			return 0;
	return n;
}
