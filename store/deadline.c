/* SPDX-License-Identifier: Apache-2.0 */
#include "store/deadline.h"

#include <errno.h>
#include <stdlib.h>

void tp_deadlines_init(struct tp_deadlines *h)
{
	*h = (struct tp_deadlines){0};
}

void tp_deadlines_fini(struct tp_deadlines *h)
{
	free(h->heap);
	*h = (struct tp_deadlines){0};
}

/* Puts d, due at `at`, where nobody is, at i or above it; who is later than it comes down. */
static void put_up(struct tp_deadlines *h, uint32_t i, struct tp_deadline *d, uint64_t at)
{
	for (; i > 0 && h->heap[(i - 1) / 2].at > at; i = (i - 1) / 2) {
		h->heap[i] = h->heap[(i - 1) / 2];
		h->heap[i].deadline->place = i + 1;
	}
	h->heap[i].at = at;
	h->heap[i].deadline = d;
	d->place = i + 1;
}

/* The same, at i or below it; who is earlier comes up. */
static void put_down(struct tp_deadlines *h, uint32_t i, struct tp_deadline *d, uint64_t at)
{
	for (;;) {
		uint64_t child = 2 * (uint64_t)i + 1;

		if (child + 1 < h->count && h->heap[child + 1].at < h->heap[child].at)
			child++;
		if (child >= h->count || h->heap[child].at >= at)
			break;
		h->heap[i] = h->heap[child];
		h->heap[i].deadline->place = i + 1;
		i = (uint32_t)child;
	}
	h->heap[i].at = at;
	h->heap[i].deadline = d;
	d->place = i + 1;
}

static int grow(struct tp_deadlines *h)
{
	uint64_t max = h->max ? 2 * (uint64_t)h->max : 64;
	void *heap = max <= UINT32_MAX ? realloc(h->heap, max * sizeof(*h->heap)) : NULL;

	if (!heap)
		return -ENOMEM;
	h->heap = heap;
	h->max = (uint32_t)max;
	return 0;
}

int tp_deadlines_set(struct tp_deadlines *h, struct tp_deadline *d, uint64_t at)
{
	int r;

	if (d->place == 0) {
		r = h->count == h->max ? grow(h) : 0;
		if (r == 0)
			put_up(h, h->count++, d, at);
		return r;
	}
	if (at < h->heap[d->place - 1].at)
		put_up(h, d->place - 1, d, at);
	else
		put_down(h, d->place - 1, d, at);
	return 0;
}

void tp_deadlines_remove(struct tp_deadlines *h, struct tp_deadline *d)
{
	uint32_t i = d->place - 1;
	struct tp_deadline *last;

	if (d->place == 0)
		return;
	d->place = 0;
	last = h->heap[--h->count].deadline;
	if (last == d)
		return;
	/* The last one takes its place, or one above or below it. */
	if (i > 0 && h->heap[(i - 1) / 2].at > h->heap[h->count].at)
		put_up(h, i, last, h->heap[h->count].at);
	else
		put_down(h, i, last, h->heap[h->count].at);
}

struct tp_deadline *tp_deadlines_first(const struct tp_deadlines *h, uint64_t *ret_at)
{
	if (h->count == 0)
		return NULL;
	*ret_at = h->heap[0].at;
	return h->heap[0].deadline;
}
