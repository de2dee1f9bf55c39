/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "store/size.h"

static void is(const char *text, uint64_t want)
{
	uint64_t got = 1;

	cr_assert_eq(tp_size_parse(text, &got), 0, "%s", text);
	cr_assert_eq(got, want, "%s", text);
}

static void is_none(const char *text)
{
	uint64_t got = 77;

	cr_assert_eq(tp_size_parse(text, &got), -EINVAL, "%s", text);
	cr_assert_eq(got, 77, "set on success only");
}

Test(size, bytes_and_units_of_1024)
{
	is("0", 0);
	is("1", 1);
	is("007", 7);
	is("4K", 4096);
	is("4k", 4096);
	is("3M", UINT64_C(3) << 20);
	is("16G", UINT64_C(16) << 30);
	is("2t", UINT64_C(2) << 40);
	is("0T", 0);
}

Test(size, the_largest_fits_and_one_more_does_not)
{
	is("18446744073709551615", UINT64_MAX);
	is_none("18446744073709551616");
	is_none("99999999999999999999999");
	is("16777215T", UINT64_C(16777215) << 40);
	is_none("16777216T");
	is_none("18446744073709551615K");
}

Test(size, what_is_not_a_size_is_refused)
{
	static const char *const wrong[] = {"", " ", "K", "-1", "+1", " 1", "1 ", "1 K", "1KB", "1KK", "1P",
		"1.5G", "0x10", "1e3", "k1", "1\n"};

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		is_none(wrong[i]);
}
