/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "store/bits.h"

#define COUNT 9000u
#define WORDS (COUNT / 64 + 1)

static bool has(const struct tp_bits *b, uint32_t i)
{
	return b->words[i / 64] >> i % 64 & 1;
}

static uint32_t slow_find(const struct tp_bits *b, uint32_t from, uint32_t to, uint32_t n)
{
	uint32_t run = 0;

	for (uint32_t i = from; i < to; i++) {
		run = has(b, i) ? run + 1 : 0;
		if (run == n)
			return i + 1 - n;
	}
	return TP_BITS_NONE;
}

static uint32_t slow_run(const struct tp_bits *b, int64_t at, int step, uint32_t max)
{
	uint32_t n = 0;

	while (n < max && at >= 0 && at < b->count && has(b, (uint32_t)at)) {
		n++;
		at += step;
	}
	return n;
}

static void fill_somehow(struct tp_bits *b, unsigned *seed)
{
	uint32_t longest = 1 + (uint32_t)rand_r(seed) % 300;

	for (uint32_t i = 0; i < b->count;) {
		uint32_t n = 1 + (uint32_t)rand_r(seed) % longest;

		if (n > b->count - i)
			n = b->count - i;
		if (rand_r(seed) & 1)
			tp_bits_set(b, i, n);
		else
			tp_bits_clear(b, i, n);
		i += n;
	}
}

static void check_against_slow(bool with_summary, unsigned seed)
{
	uint64_t words[WORDS] = {0}, some[WORDS / 64 + 1] = {0};
	struct tp_bits b = {.words = words, .some = with_summary ? some : NULL, .count = COUNT};

	for (unsigned round = 0; round < 3000; round++) {
		uint32_t from, to, n, at;

		if (round % 100 == 0)
			fill_somehow(&b, &seed);
		from = (uint32_t)rand_r(&seed) % COUNT;
		to = from + (uint32_t)rand_r(&seed) % (COUNT - from + 1);
		n = 1 + (uint32_t)rand_r(&seed) % (round & 1 ? 4 : 200);
		cr_assert_eq(tp_bits_find(&b, from, to, n), slow_find(&b, from, to, n));
		at = (uint32_t)rand_r(&seed) % COUNT;
		cr_assert_eq(tp_bits_run_after(&b, at, n), slow_run(&b, at, 1, n));
		cr_assert_eq(tp_bits_run_before(&b, at, n), slow_run(&b, (int64_t)at - 1, -1, n));
		if (n > COUNT - at)
			n = COUNT - at;
		cr_assert_eq(tp_bits_any(&b, at, n), slow_find(&b, at, at + n, 1) != TP_BITS_NONE);
	}
}

Test(bits, searches_find_what_a_walk_over_every_bit_finds)
{
	for (unsigned seed = 1; seed < 5; seed++)
		check_against_slow(seed & 1, seed);
}

Test(bits, set_counts_the_new_ones_and_the_summary_follows)
{
	uint64_t words[4] = {0}, some[1] = {0};
	struct tp_bits b = {.words = words, .some = some, .count = 200};

	cr_assert_eq(tp_bits_set(&b, 60, 70), 70);
	cr_assert_eq(tp_bits_set(&b, 50, 20), 10);
	cr_assert_eq(some[0], 7);
	tp_bits_clear(&b, 0, 64);
	cr_assert_eq(some[0], 6);
	cr_assert_eq(tp_bits_find(&b, 0, 200, 66), 64);
	cr_assert_eq(tp_bits_find(&b, 0, 200, 67), TP_BITS_NONE);
	tp_bits_clear(&b, 64, 136);
	cr_assert_eq(some[0], 0);
	cr_assert_eq(tp_bits_find(&b, 0, 200, 1), TP_BITS_NONE);
}
