/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/utf8.h"

#include <criterion/criterion.h>
#include <stdint.h>

/* By the definition: what is decoded and encoded again is the same, and may be encoded. */
static size_t by_definition(const unsigned char *u, size_t len)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n = u[0] < 0x80 ? 1 : u[0] >> 5 == 6 ? 2 : u[0] >> 4 == 14 ? 3 : u[0] >> 3 == 30 ? 4 : 0;
	uint32_t c;

	if (n <= 1 || n > len)
		return n == 1;
	c = u[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if (u[i] >> 6 != 2)
			return 0;
		c = c << 6 | (u[i] & 0x3f);
	}
	return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n;
}

Test(utf8, all_first_two_bytes_before_some_others)
{
	static const unsigned char others[] = {0x00, 0x7f, 0x80, 0x8f, 0xbf, 0xc0, 0xff};
	unsigned char u[4];

	for (unsigned two = 0; two < 65536; two++) {
		u[0] = (unsigned char)(two >> 8);
		u[1] = (unsigned char)two;
		for (unsigned i = 0; i < sizeof(others) * sizeof(others); i++) {
			u[2] = others[i / sizeof(others)];
			u[3] = others[i % sizeof(others)];
			for (size_t len = 1; len <= 4; len++)
				cr_assert_eq(tp_utf8_len((const char *)u, len), by_definition(u, len),
					"%02x %02x %02x %02x, %zu", u[0], u[1], u[2], u[3], len);
		}
	}
	cr_assert_eq(tp_utf8_len("", 0), 0);
}
