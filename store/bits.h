/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A set of small numbers as a bitmap, searched for runs of members a word at a time. With a second bitmap that says
 * which words are not zero, long stretches without members are passed over.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define TP_BITS_NONE UINT32_MAX

struct tp_bits {
	uint64_t *words; /* bits from count on are zero */
	uint64_t *some;	 /* bit i: words[i] is not zero; NULL: not kept */
	uint32_t count;	 /* bits */
};

static inline uint32_t tp_bits_words(uint32_t count)
{
	return count / 64 + (count % 64 != 0);
}

/* n bits from `at` on in a word. at + n <= 64, 0 < n. */
static inline uint64_t tp_bits_mask(unsigned at, unsigned n)
{
	return ~UINT64_C(0) >> (64 - n) << at;
}

/* The bits of word at which a run of n set bits begins. 0 < n <= 64. */
static inline uint64_t tp_bits_starts(uint64_t word, uint32_t n)
{
	while (n > 1 && word) {
		word &= word >> n / 2;
		n -= n / 2;
	}
	return word;
}

/* The first word from w on, and below end, that is not zero; end when there is none. */
static inline uint32_t tp_bits_next_word(const struct tp_bits *b, uint32_t w, uint32_t end)
{
	if (!b->some) {
		while (w < end && !b->words[w])
			w++;
		return w;
	}
	while (w < end) {
		uint64_t some = b->some[w / 64] >> w % 64;

		if (some) {
			w += (uint32_t)__builtin_ctzll(some);
			return w < end ? w : end;
		}
		w = (w | 63) + 1;
	}
	return end;
}

/* Where the first run of n members within [from, to) begins, or TP_BITS_NONE. 0 < n, to <= count. */
static inline uint32_t tp_bits_find(const struct tp_bits *b, uint32_t from, uint32_t to, uint32_t n)
{
	uint64_t mask = ~UINT64_C(0) << from % 64;
	uint32_t end = tp_bits_words(to), before = 0; /* members in a row up to this word */

	for (uint32_t w = from / 64; w < end; w++) {
		uint64_t word = b->words[w] & mask;
		uint64_t starts;
		uint32_t low;

		mask = ~UINT64_C(0);
		if (w == to / 64)
			word &= tp_bits_mask(0, to % 64);
		if (!word) {
			before = 0;
			w = tp_bits_next_word(b, w + 1, end) - 1;
			continue;
		}
		low = ~word ? (uint32_t)__builtin_ctzll(~word) : 64;
		if ((uint64_t)before + low >= n)
			return w * 64 - before;
		if (low == 64) {
			before += 64;
			continue;
		}
		starts = n < 64 ? tp_bits_starts(word, n) : 0;
		if (starts)
			return w * 64 + (uint32_t)__builtin_ctzll(starts);
		before = (uint32_t)__builtin_clzll(~word);
	}
	return TP_BITS_NONE;
}

/* How many members stand in a row at `at` and after it; stops counting at max. */
static inline uint32_t tp_bits_run_after(const struct tp_bits *b, uint32_t at, uint32_t max)
{
	uint32_t n = 0;

	while (n < max && at + n < b->count) {
		uint64_t rest = ~(b->words[(at + n) / 64] >> (at + n) % 64);
		uint32_t left = 64 - (at + n) % 64;
		uint32_t low = rest ? (uint32_t)__builtin_ctzll(rest) : 64;

		if (low < left) {
			n += low;
			break;
		}
		n += left;
	}
	return n < max ? n : max;
}

/* How many members stand in a row before `at`; stops counting at max. */
static inline uint32_t tp_bits_run_before(const struct tp_bits *b, uint32_t at, uint32_t max)
{
	uint32_t n = 0;

	while (n < max && n < at) {
		uint32_t last = at - n - 1;
		uint64_t rest = ~(b->words[last / 64] << (63 - last % 64));
		uint32_t left = last % 64 + 1;
		uint32_t high = rest ? (uint32_t)__builtin_clzll(rest) : 64;

		if (high < left) {
			n += high;
			break;
		}
		n += left;
	}
	return n < max ? n : max;
}

/* Is one of [at, at+n) a member? */
static inline bool tp_bits_any(const struct tp_bits *b, uint32_t at, uint32_t n)
{
	while (n) {
		unsigned here = 64 - at % 64 < n ? 64 - at % 64 : n;

		if (b->words[at / 64] & tp_bits_mask(at % 64, here))
			return true;
		at += here;
		n -= here;
	}
	return false;
}

/* Makes [at, at+n) members. Returns how many were not before. */
static inline uint32_t tp_bits_set(struct tp_bits *b, uint32_t at, uint32_t n)
{
	uint32_t fresh = 0;

	while (n) {
		unsigned here = 64 - at % 64 < n ? 64 - at % 64 : n;
		uint64_t mask = tp_bits_mask(at % 64, here);
		uint32_t w = at / 64;

		fresh += (uint32_t)__builtin_popcountll(mask & ~b->words[w]);
		b->words[w] |= mask;
		if (b->some)
			b->some[w / 64] |= UINT64_C(1) << w % 64;
		at += here;
		n -= here;
	}
	return fresh;
}

/* Takes [at, at+n) out. */
static inline void tp_bits_clear(struct tp_bits *b, uint32_t at, uint32_t n)
{
	while (n) {
		unsigned here = 64 - at % 64 < n ? 64 - at % 64 : n;
		uint32_t w = at / 64;

		b->words[w] &= ~tp_bits_mask(at % 64, here);
		if (b->some && !b->words[w])
			b->some[w / 64] &= ~(UINT64_C(1) << w % 64);
		at += here;
		n -= here;
	}
}
