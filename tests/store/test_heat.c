/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "heap.h"
#include "store/heat.h"

#define MIB 1048576ull

/* A pool of objects of 1 MiB, with numbers. */
struct pool {
	struct tp_heat *heat;
	struct tp_heat_entry *e; /* owned, by number */
	unsigned n, held, room;
};

static uint64_t key_of(unsigned i)
{
	uint64_t z = (i + 1) * 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	return z ^ z >> 27;
}

static void pool_init(struct pool *p, unsigned n, unsigned room)
{
	*p = (struct pool){.n = n, .room = room};
	p->heat = tp_heat_new(room * MIB);
	p->e = calloc(n, sizeof(*p->e));
	cr_assert(p->heat && p->e);
	for (unsigned i = 0; i < n; i++)
		tp_list_init(&p->e[i].link);
}

static bool holds(const struct pool *p, unsigned i)
{
	return tp_heat_holds(&p->e[i]);
}

static void gone(struct pool *p, struct tp_heat_entry *e, bool evicted)
{
	if (evicted)
		tp_heat_evict(p->heat, e, key_of((unsigned)(e - p->e)));
	else
		tp_heat_remove(p->heat, e);
	cr_assert_not(tp_heat_holds(e));
	p->held--;
}

static void pool_fini(struct pool *p)
{
	for (unsigned i = 0; i < p->n; i++)
		if (holds(p, i))
			gone(p, &p->e[i], false);
	tp_heat_free(p->heat);
	free(p->e);
}

/* The number of what goes; it is evicted. -1: nothing. */
static int evict(struct pool *p)
{
	struct tp_heat_entry *e = tp_heat_victim(p->heat, NULL, NULL, UINT64_MAX);

	if (!e)
		return -1;
	gone(p, e, true);
	return (int)(e - p->e);
}

static void add(struct pool *p, unsigned i, uint16_t depth)
{
	while (p->held >= p->room)
		cr_assert_geq(evict(p), 0);
	tp_heat_add(p->heat, &p->e[i], key_of(i), MIB, depth);
	p->held++;
}

static void touch(struct pool *p, unsigned i)
{
	tp_heat_touch(p->heat, &p->e[i]);
}

/* Numbers from to to - 1 make one chain: asked for from the head, added where missing. Returns the hits before the first miss. */
static unsigned walk(struct pool *p, unsigned from, unsigned to)
{
	unsigned hits = 0;
	bool missed = false;

	for (unsigned i = from; i < to; i++) {
		missed = missed || !holds(p, i);
		hits += !missed;
		if (holds(p, i))
			touch(p, i);
		else
			add(p, i, (uint16_t)(i - from + 1));
	}
	return hits;
}

Test(heat, an_empty_one_has_no_victim)
{
	struct tp_heat *h = tp_heat_new(64 * MIB);

	cr_assert_null(tp_heat_victim(h, NULL, NULL, UINT64_MAX));
	tp_heat_free(h);
	tp_heat_free(NULL);
}

Test(heat, without_memory_there_is_none_and_nothing_is_allocated_later)
{
	struct tp_heat *h = NULL;
	struct tp_heat_entry e[100];
	uint64_t count;
	unsigned n;

	for (n = 1; n < 10; n++) {
		heap_fail_at(n);
		h = tp_heat_new(64 * MIB);
		if (!heap_fail_off())
			break;
		cr_assert_null(h);
	}
	cr_assert_gt(n, 1);
	cr_assert_not_null(h);
	count = heap_asked_count();
	for (unsigned i = 0; i < 100; i++)
		tp_heat_add(h, &e[i], key_of(i), MIB, 1);
	for (unsigned i = 0; i < 100; i++)
		tp_heat_evict(h, tp_heat_victim(h, NULL, NULL, UINT64_MAX), i);
	cr_assert_eq(heap_asked_count(), count);
	tp_heat_free(h);
}

Test(heat, what_was_not_used_goes_first_and_in_its_order)
{
	struct pool p;

	pool_init(&p, 64, 64);
	for (unsigned i = 0; i < 64; i++)
		add(&p, i, 2);
	for (unsigned i = 0; i < 32; i++)
		touch(&p, i);
	for (int i = 32; i < 48; i++)
		cr_assert_eq(evict(&p), i);
	pool_fini(&p);
}

Test(heat, among_the_cold_the_deepest_goes_first_and_of_equals_the_older)
{
	static const uint16_t depths[] = {3, 7, 1, 7, 5, 0, 7, 2};
	static const int order[] = {1, 3, 6, 4, 0, 7, 2, 5};
	struct pool p;

	pool_init(&p, 8, 64);
	for (unsigned i = 0; i < 8; i++)
		add(&p, i, depths[i]);
	for (unsigned i = 0; i < 8; i++)
		cr_assert_eq(evict(&p), order[i], "place %u", i);
	cr_assert_eq(evict(&p), -1);
	pool_fini(&p);
}

Test(heat, a_change_of_depth_counts_at_once)
{
	struct pool p;

	pool_init(&p, 4, 64);
	for (unsigned i = 0; i < 4; i++)
		add(&p, i, 1);
	tp_heat_change(p.heat, &p.e[2], 2 * MIB, 9);
	cr_assert_eq(p.e[2].size_kib, 2048);
	cr_assert_eq(evict(&p), 2);
	cr_assert_eq(evict(&p), 0);
	pool_fini(&p);
}

Test(heat, sizes_are_rounded_up_and_saturate)
{
	struct tp_heat *h = tp_heat_new(64 * MIB);
	struct tp_heat_entry a, b;

	tp_heat_add(h, &a, 1, 1, 0);
	tp_heat_add(h, &b, 2, UINT64_MAX, 0);
	cr_assert_eq(a.size_kib, 1);
	cr_assert_eq(b.size_kib, UINT32_MAX);
	tp_heat_change(h, &b, 0, 0);
	cr_assert_eq(b.size_kib, 0);
	tp_heat_evict(h, &a, 1);
	tp_heat_evict(h, &b, 2);
	tp_heat_free(h);
}

Test(heat, a_long_chain_goes_from_its_end_however_it_was_used)
{
	struct pool p;

	for (unsigned uses = 0; uses < 3; uses++) {
		pool_init(&p, 200, 400);
		for (unsigned i = 0; i <= uses; i++)
			walk(&p, 0, 200);
		for (int i = 199; i >= 0; i--)
			cr_assert_eq(evict(&p), i, "used %u times", uses);
		pool_fini(&p);
	}
}

Test(heat, chains_of_readers_that_mix_go_from_their_ends_too)
{
	struct pool p;
	int last[3] = {100, 200, 300};

	pool_init(&p, 300, 400);
	/* Each reader is some steps behind the one before it. */
	for (unsigned round = 0; round < 2; round++)
		for (unsigned step = 0; step < 120; step++)
			for (unsigned chain = 0; chain < 3; chain++) {
				unsigned i = step - chain * 7;

				if (i >= 100)
					continue;
				if (round)
					touch(&p, chain * 100 + i);
				else
					add(&p, chain * 100 + i, (uint16_t)(i + 1));
			}
	for (unsigned i = 0; i < 300; i++) {
		int victim = evict(&p);

		cr_assert_eq(victim, last[victim / 100] - 1);
		last[victim / 100] = victim;
	}
	pool_fini(&p);
}

Test(heat, the_end_of_a_conversation_outlives_questions_to_a_template)
{
	struct pool p;

	/* 0 to 19 is a conversation that grows by two at each turn: the last two have never been asked for again. */
	pool_init(&p, 1000, 100);
	for (unsigned turn = 1; turn <= 10; turn++)
		walk(&p, 0, 2 * turn);
	/* 30 to 34 is a template, asked by many, each with an end of its own. */
	for (unsigned i = 0; i < 300; i++) {
		walk(&p, 30, 35);
		add(&p, 100 + i, 6);
	}
	for (unsigned i = 0; i < 20; i++)
		cr_assert(holds(&p, i), "%u", i);
	for (unsigned i = 30; i < 35; i++)
		cr_assert(holds(&p, i), "%u", i);
	pool_fini(&p);
}

Test(heat, steps_that_were_taken_back_go_before_what_is_used_less)
{
	struct pool p;

	pool_init(&p, 200, 200);
	for (unsigned i = 0; i < 2; i++)
		walk(&p, 100, 140);
	/* A chain of 40, taken back to 20 and continued by others. */
	for (unsigned i = 0; i < 3; i++)
		walk(&p, 0, 40);
	walk(&p, 0, 20);
	add(&p, 50, 21);
	for (int i = 39; i >= 30; i--)
		cr_assert_eq(evict(&p), i);
	pool_fini(&p);
}

Test(heat, a_change_of_size_counts_for_the_shares)
{
	struct pool p;

	/* Half is new, which is more than its share; but not any more when the rest has grown. */
	pool_init(&p, 20, 2000);
	for (unsigned i = 0; i < 20; i++)
		add(&p, i, 2);
	for (unsigned i = 10; i < 20; i++)
		touch(&p, i);
	cr_assert_eq(tp_heat_victim(p.heat, NULL, NULL, UINT64_MAX), &p.e[0]);
	for (unsigned i = 10; i < 20; i++)
		tp_heat_change(p.heat, &p.e[i], 100 * MIB, 2);
	cr_assert_eq(tp_heat_victim(p.heat, NULL, NULL, UINT64_MAX), &p.e[10]);
	pool_fini(&p);
}

Test(heat, one_pass_over_ten_times_the_pool_leaves_the_hot_set)
{
	const unsigned room = 1000, hot = room / 2;
	struct pool p;

	/* The pass writes only, or reads what it wrote, or lies in directories of all depths. */
	for (unsigned how = 0; how < 3; how++) {
		unsigned left = 0;

		pool_init(&p, hot + 10 * room, room);
		for (unsigned i = 0; i < hot; i++)
			add(&p, i, 2);
		for (unsigned round = 0; round < 2; round++)
			for (unsigned i = 0; i < hot; i++)
				touch(&p, i);
		for (unsigned i = hot; i < p.n; i++) {
			add(&p, i, how == 2 ? (uint16_t)(i * 7 % 5) : 2);
			if (how == 1)
				touch(&p, i);
		}
		for (unsigned i = 0; i < hot; i++)
			left += holds(&p, i);
		cr_assert_geq(left * 100, hot * 80, "%u of %u in case %u", left, hot, how);
		pool_fini(&p);
	}
}

Test(heat, what_returns_after_it_was_evicted_outlives_a_scan)
{
	struct pool p;

	pool_init(&p, 2000, 100);
	for (unsigned i = 0; i < 120; i++)
		add(&p, i, 1);
	/* The first ones have gone; ten of them return. */
	for (unsigned i = 0; i < 10; i++) {
		cr_assert_not(holds(&p, i));
		add(&p, i, 1);
	}
	for (unsigned i = 200; i < 2000; i++)
		add(&p, i, 1);
	for (unsigned i = 0; i < 10; i++)
		cr_assert(holds(&p, i));
	pool_fini(&p);
}

Test(heat, what_somebody_removed_is_forgotten)
{
	struct pool p;

	pool_init(&p, 2000, 100);
	for (unsigned i = 0; i < 100; i++)
		add(&p, i, 1);
	for (unsigned i = 0; i < 10; i++) {
		gone(&p, &p.e[i], false);
		add(&p, i, 1);
	}
	for (unsigned i = 200; i < 2000; i++)
		add(&p, i, 1);
	for (unsigned i = 0; i < 10; i++)
		cr_assert_not(holds(&p, i));
	pool_fini(&p);
}

/* --- may_go --- */

struct asked {
	struct pool *p;
	unsigned *times; /* by number */
	unsigned calls;
	unsigned from, to; /* only these may go */
};

static bool in_range(struct tp_heat_entry *e, void *user)
{
	struct asked *a = user;
	unsigned i = (unsigned)(e - a->p->e);

	a->calls++;
	if (a->times)
		a->times[i]++;
	return i >= a->from && i < a->to;
}

Test(heat, a_search_asks_each_once_and_finds_the_only_one_that_may_go)
{
	const unsigned n = 1000;

	/* All new; all used; half of each; used so often that they are spared, some once, some twice. */
	for (unsigned how = 0; how < 4; how++)
		for (unsigned only = 0; only <= n; only += 125) {
			struct pool p;
			struct asked a = {.p = &p, .from = only, .to = only + 1};
			struct tp_heat_entry *e;

			pool_init(&p, n, 2 * n);
			a.times = calloc(n, sizeof(*a.times));
			for (unsigned i = 0; i < n; i++)
				add(&p, i, 1);
			for (unsigned round = 0; round < how; round++)
				for (unsigned i = 0; i < (how == 2 ? n / 2 : n); i++)
					if (how < 3 || i * 7919 % 5 > round)
						touch(&p, i);
			e = tp_heat_victim(p.heat, in_range, &a, UINT64_MAX);
			cr_assert_eq(e, only < n ? &p.e[only] : NULL);
			for (unsigned i = 0; i < n; i++)
				cr_assert_leq(a.times[i], 1);
			free(a.times);
			/* Nobody has left, and those that were refused may go the next time. */
			a = (struct asked){.p = &p, .to = n};
			for (unsigned i = 0; i < n; i++) {
				e = tp_heat_victim(p.heat, in_range, &a, UINT64_MAX);
				cr_assert_not_null(e);
				gone(&p, e, true);
			}
			cr_assert_null(tp_heat_victim(p.heat, in_range, &a, UINT64_MAX));
			pool_fini(&p);
		}
}

Test(heat, a_search_in_parts_finds_the_only_one_that_may_go)
{
	const unsigned n = 1000, part = 64;
	uint64_t most = 0;

	for (unsigned how = 0; how < 4; how++)
		for (unsigned only = 0; only < n; only += 125) {
			struct pool p;
			struct asked a = {.p = &p, .from = only, .to = only + 1};
			struct tp_heat_entry *e = NULL;
			uint64_t calls = 0;

			pool_init(&p, n, 2 * n);
			for (unsigned i = 0; i < n; i++)
				add(&p, i, 1);
			for (unsigned round = 0; round < how; round++)
				for (unsigned i = 0; i < (how == 2 ? n / 2 : n); i++)
					if (how < 3 || i * 7919 % 5 > round)
						touch(&p, i);
			for (; !e; calls++)
				e = tp_heat_victim(p.heat, in_range, &a, part);
			cr_assert_eq(e, &p.e[only]);
			most = calls > most ? calls : most;
			pool_fini(&p);
		}
	cr_assert_leq(most, 1 + n / part);
}

Test(heat, many_that_may_not_go_do_not_slow_each_search)
{
	const unsigned n = 20000, pinned = 6000;

	for (unsigned how = 0; how < 3; how++) {
		struct pool p;
		struct asked a = {.p = &p, .from = pinned, .to = UINT32_MAX};
		unsigned victims = 0;

		/* The pinned are the oldest; they are the used ones, or the new ones, or all are new. */
		pool_init(&p, n + 5000, n);
		for (unsigned i = 0; i < n; i++)
			add(&p, i, 1);
		for (unsigned i = 0; i < n; i++)
			if (how != 2 && (i < pinned) == (how == 0))
				touch(&p, i);
		for (unsigned i = n; i < p.n; i++, victims++) {
			struct tp_heat_entry *e = tp_heat_victim(p.heat, in_range, &a, UINT64_MAX);

			cr_assert_not_null(e);
			gone(&p, e, true);
			add(&p, i, 1);
		}
		cr_assert_leq(a.calls, 3 * (victims + pinned), "%u calls in case %u", a.calls, how);
		pool_fini(&p);
	}
}

Test(heat, what_has_gone_is_not_looked_at_any_more)
{
	enum { N = 300 };
	static struct tp_heat_entry e[N], wiped;
	bool there[N] = {false}, left[N] = {false};
	struct tp_heat *h = tp_heat_new(N * MIB);
	uint64_t state = 7;

	memset(&wiped, 0xa5, sizeof(wiped));
	for (unsigned step = 0; step < 100000; step++) {
		unsigned i, what;

		/* Mostly down a chain of ten, so that the next use looks at the one before it. */
		state = state * 6364136223846793005 + 1442695040888963407;
		what = (unsigned)(state >> 33) % 8;
		i = what < 5 ? step % N : (unsigned)(state >> 40) % N;
		if (!there[i]) {
			cr_assert(!left[i] || memcmp(&e[i], &wiped, sizeof(wiped)) == 0, "%u", i);
			tp_heat_add(h, &e[i], key_of(i), MIB, (uint16_t)(i % 10 + 1));
		} else if (what == 0 || what == 5) {
			if (what == 0)
				tp_heat_evict(h, &e[i], key_of(i));
			else
				tp_heat_remove(h, &e[i]);
			memcpy(&e[i], &wiped, sizeof(wiped));
			left[i] = true;
		} else {
			tp_heat_touch(h, &e[i]);
			continue;
		}
		there[i] = !there[i];
	}
	for (unsigned i = 0; i < N; i++) {
		if (there[i])
			tp_heat_remove(h, &e[i]);
	}
	tp_heat_free(h);
}

Test(heat, any_order_of_calls_loses_nobody)
{
	const unsigned n = 3000;
	struct pool p;
	uint64_t state = 1;
	unsigned left = 0;

	pool_init(&p, n, 700);
	for (unsigned step = 0; step < 200000; step++) {
		unsigned i, what;

		state = state * 6364136223846793005 + 1442695040888963407;
		i = (unsigned)(state >> 33) % n;
		what = (unsigned)(state >> 20) % 16;
		if (!holds(&p, i))
			add(&p, i, (uint16_t)(i % 7));
		else if (what == 0)
			gone(&p, &p.e[i], false);
		else if (what == 1)
			tp_heat_change(p.heat, &p.e[i], state >> 40, (uint16_t)(state >> 50) % 9);
		else
			touch(&p, i);
	}
	for (unsigned i = 0; i < n; i++)
		left += holds(&p, i);
	cr_assert_eq(left, p.held);
	while (evict(&p) >= 0)
		left--;
	cr_assert_eq(left, 0);
	pool_fini(&p);
}
