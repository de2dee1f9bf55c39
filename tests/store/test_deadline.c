/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

#include "heap.h"
#include "store/deadline.h"

#define COUNT 500u

struct thing {
	struct tp_deadline deadline;
	uint64_t at; /* 0: never */
};

static const struct thing *first_of(const struct thing *things)
{
	const struct thing *first = NULL;

	for (unsigned i = 0; i < COUNT; i++)
		if (things[i].at && (!first || things[i].at < first->at))
			first = &things[i];
	return first;
}

static void agrees(const struct tp_deadlines *h, const struct thing *things)
{
	const struct thing *want = first_of(things);
	uint64_t at = 0;
	uint32_t count = 0;
	struct tp_deadline *got = tp_deadlines_first(h, &at);

	cr_assert_eq(got != NULL, want != NULL);
	if (got)
		cr_assert_eq(at, want->at);
	for (unsigned i = 0; i < COUNT; i++) {
		uint32_t place = things[i].deadline.place;

		count += place != 0;
		cr_assert_eq(place != 0, things[i].at != 0);
		if (!place)
			continue;
		cr_assert_eq(h->heap[place - 1].deadline, &things[i].deadline);
		cr_assert_eq(h->heap[place - 1].at, things[i].at);
	}
	cr_assert_eq(h->count, count);
}

Test(deadline, whatever_is_set_moved_and_removed_the_first_is_the_first)
{
	struct thing things[COUNT] = {0};
	struct tp_deadlines h;
	unsigned seed = 1;

	tp_deadlines_init(&h);
	agrees(&h, things);
	for (unsigned step = 0; step < 20000; step++) {
		struct thing *x = &things[(unsigned)rand_r(&seed) % COUNT];

		if (rand_r(&seed) % 3 == 0) {
			x->at = 0;
			tp_deadlines_remove(&h, &x->deadline);
		} else {
			x->at = 1 + (unsigned)rand_r(&seed) % 200;
			cr_assert_eq(tp_deadlines_set(&h, &x->deadline, x->at), 0);
		}
		if (step % 16 == 0)
			agrees(&h, things);
	}
	for (unsigned i = 0; i < COUNT; i++) {
		things[i].at = 0;
		tp_deadlines_remove(&h, &things[i].deadline);
		agrees(&h, things);
	}
	tp_deadlines_fini(&h);
}

Test(deadline, without_memory_what_is_there_stays_and_can_be_moved)
{
	struct thing things[COUNT] = {0};
	struct tp_deadlines h;
	unsigned refused = 0;

	tp_deadlines_init(&h);
	things[0].at = 7;
	cr_assert_eq(tp_deadlines_set(&h, &things[0].deadline, 7), 0);
	for (unsigned i = 1; i < COUNT; i++) {
		heap_fail_at(1);
		things[i].at = tp_deadlines_set(&h, &things[i].deadline, i) == 0 ? i : 0;
		refused += heap_fail_off();
	}
	cr_assert_geq(refused, COUNT / 2);
	things[0].at = 3;
	cr_assert_eq(tp_deadlines_set(&h, &things[0].deadline, 3), 0);
	agrees(&h, things);
	for (unsigned i = 0; i < COUNT; i++)
		tp_deadlines_remove(&h, &things[i].deadline);
	tp_deadlines_remove(&h, &things[0].deadline);
	cr_assert_eq(h.count, 0);
	tp_deadlines_fini(&h);
}
