/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "store/numbers.h"

Test(numbers, a_block_is_given_out_in_order_and_then_no_more)
{
	struct tp_numbers n = {.block = 4, .last = 7, .end = 11};

	for (uint64_t i = 8; i <= 11; i++)
		cr_assert_eq(tp_numbers_next(&n), i);
	cr_assert_eq(tp_numbers_next(&n), 0);
	cr_assert_eq(tp_numbers_next(&n), 0);
	n.end = tp_numbers_block_end(&n);
	cr_assert_eq(n.end, 15);
	cr_assert_eq(tp_numbers_next(&n), 12);
}

Test(numbers, few_are_left_from_the_half_on)
{
	struct tp_numbers n = {.block = 4, .end = 4};

	cr_assert_not(tp_numbers_are_few(&n));
	(void)tp_numbers_next(&n);
	cr_assert_not(tp_numbers_are_few(&n));
	for (unsigned i = 0; i < 4; i++) {
		(void)tp_numbers_next(&n);
		cr_assert(tp_numbers_are_few(&n));
	}
	n.end = tp_numbers_block_end(&n);
	cr_assert_not(tp_numbers_are_few(&n));
}

Test(numbers, a_block_of_one_is_asked_for_when_it_is_used_up)
{
	struct tp_numbers n = {.block = 1, .end = 1};

	cr_assert_not(tp_numbers_are_few(&n));
	cr_assert_eq(tp_numbers_next(&n), 1);
	cr_assert(tp_numbers_are_few(&n));
}

Test(numbers, the_last_block_is_as_long_as_there_are_numbers)
{
	struct tp_numbers n = {
		.block = TP_NUMBERS_BLOCK, .last = TP_NUMBERS_MAX - 3, .end = TP_NUMBERS_MAX - 3};

	cr_assert(tp_numbers_are_few(&n));
	n.end = tp_numbers_block_end(&n);
	cr_assert_eq(n.end, TP_NUMBERS_MAX);
	cr_assert_not(tp_numbers_are_few(&n));
	for (unsigned i = 0; i < 3; i++)
		cr_assert_neq(tp_numbers_next(&n), 0);
	cr_assert_eq(n.last, TP_NUMBERS_MAX);
	cr_assert_eq(tp_numbers_next(&n), 0);
	cr_assert_not(tp_numbers_are_few(&n));
	cr_assert_eq(tp_numbers_block_end(&n), TP_NUMBERS_MAX);
	/* A block that ends there by itself. */
	n = (struct tp_numbers){.block = 8, .last = TP_NUMBERS_MAX - 8, .end = TP_NUMBERS_MAX - 8};
	cr_assert_eq(tp_numbers_block_end(&n), TP_NUMBERS_MAX);
}

/* Nobody gives such out, but it is read from a file. */
Test(numbers, behind_the_last_one_there_is_none)
{
	struct tp_numbers n = {.block = TP_NUMBERS_BLOCK, .last = UINT64_MAX, .end = UINT64_MAX};

	cr_assert_not(tp_numbers_are_few(&n));
	cr_assert_eq(tp_numbers_block_end(&n), UINT64_MAX);
	cr_assert_eq(tp_numbers_next(&n), 0);
}
