/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/cleanup.h"
#include "store/trail.h"

static struct tp_trail trail;

static void add(unsigned i)
{
	char line[64];
	int n = snprintf(line, sizeof(line), "line %u%.*s\n", i, (int)(i % 7), "-------");

	tp_trail_add(&trail, line, (size_t)n);
}

Test(trail, gives_back_what_was_added)
{
	tp_autofree char *buf = malloc(TP_TRAIL_BYTES);

	tp_trail_init(&trail);
	cr_assert_eq(tp_trail_copy(&trail, buf), 0);
	add(0);
	add(8);
	cr_assert_eq(tp_trail_copy(&trail, buf), 15);
	cr_assert_arr_eq(buf, "line 0\nline 8-\n", 15);
	tp_trail_fini(&trail);
}

Test(trail, keeps_the_last_lines_whole_when_it_is_full)
{
	tp_autofree char *buf = malloc(TP_TRAIL_BYTES + 1);
	unsigned i = 0, next, kept = 0;

	tp_trail_init(&trail);
	while (trail.end < 3 * TP_TRAIL_BYTES) {
		size_t len;

		add(i++);
		if (i % 1000)
			continue;
		len = tp_trail_copy(&trail, buf);
		buf[len] = 0;
		cr_assert_eq(sscanf(buf, "line %u", &next), 1);
		for (kept = 0; *buf && kept < len; next++) {
			char line[64];
			size_t n = (size_t)snprintf(
				line, sizeof(line), "line %u%.*s\n", next, (int)(next % 7), "-------");

			cr_assert_eq(memcmp(buf + kept, line, n), 0, "%u", next);
			kept += (unsigned)n;
		}
		cr_assert_eq(next, i);
		cr_assert_eq(kept, len);
		cr_assert(trail.end < TP_TRAIL_BYTES || len > TP_TRAIL_BYTES - 64);
	}
	tp_trail_fini(&trail);
}
