/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "fs/handle.h"
#include "../store/heap.h"

static struct tp_handles *table(void)
{
	struct tp_handles *h = malloc(sizeof(*h));

	tp_handles_init(h);
	return h;
}

static void done(struct tp_handles *h)
{
	tp_handles_fini(h);
	free(h);
}

static struct tp_handle *fresh(struct tp_handles *h, enum tp_handle_kind kind, uint64_t node)
{
	struct tp_handle *handle;

	cr_assert_eq(tp_handle_new(h, kind, node, 7, &handle), 0);
	cr_assert_null(tp_handle_get(h, handle->number, kind), "before all of it is filled in");
	cr_assert_eq(tp_handle_ready(handle), handle->number);
	return handle;
}

Test(handle, a_number_is_good_for_its_kind_and_as_long_as_it_is_open)
{
	struct tp_handles *h = table();
	struct tp_handle *a = fresh(h, TP_HANDLE_FILE, 5), *b = fresh(h, TP_HANDLE_DIR, 6);
	uint64_t number = a->number;

	cr_assert_neq(a->number, b->number);
	cr_assert_eq(tp_handle_get(h, a->number, TP_HANDLE_FILE), a);
	cr_assert_null(tp_handle_get(h, a->number, TP_HANDLE_DIR));
	cr_assert_null(tp_handle_get(h, a->number, TP_HANDLE_CONTROL));
	cr_assert_eq(a->node, 5);
	cr_assert_eq(a->pid, 7);
	tp_handle_free(h, a);
	cr_assert_null(tp_handle_get(h, number, TP_HANDLE_FILE));
	/* The place is used again, the number is not. */
	a = fresh(h, TP_HANDLE_FILE, 8);
	cr_assert_eq((uint32_t)a->number, (uint32_t)number);
	cr_assert_neq(a->number, number);
	cr_assert_null(tp_handle_get(h, number, TP_HANDLE_FILE));
	cr_assert_eq(h->used, 2);
	done(h);
}

Test(handle, numbers_that_never_were_are_none)
{
	struct tp_handles *h = table();
	static const uint64_t wrong[] = {0, 1, 1023, 1024, UINT32_MAX, UINT64_MAX, UINT64_C(1) << 32,
		(uint64_t)TP_HANDLE_BLOCK * TP_HANDLE_BLOCKS_MAX};

	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
			for (int kind = TP_HANDLE_FILE; kind <= TP_HANDLE_CONTROL; kind++)
				cr_assert_null(tp_handle_get(h, wrong[i], (enum tp_handle_kind)kind));
		if (round == 0) {
			tp_handle_free(h, fresh(h, TP_HANDLE_FILE, 1));
			(void)fresh(h, TP_HANDLE_FILE, 1);
		}
	}
	done(h);
}

static void count(struct tp_handle *handle, void *user)
{
	((unsigned *)user)[handle->kind]++;
}

Test(handle, thousands_are_open_at_once_and_each_is_met_once)
{
	enum { N = 3 * TP_HANDLE_BLOCK + 5 };
	struct tp_handles *h = table();
	struct tp_handle **all = calloc(N, sizeof(*all));
	unsigned kinds[4] = {0};

	for (unsigned i = 0; i < N; i++)
		all[i] = fresh(h, i % 2 ? TP_HANDLE_FILE : TP_HANDLE_DIR, i);
	for (unsigned i = 0; i < N; i++)
		cr_assert_eq(
			tp_handle_get(h, all[i]->number, i % 2 ? TP_HANDLE_FILE : TP_HANDLE_DIR), all[i]);
	tp_handles_each(h, count, kinds);
	cr_assert_eq(kinds[TP_HANDLE_FREE], 0);
	cr_assert_eq(kinds[TP_HANDLE_FILE], N / 2);
	cr_assert_eq(kinds[TP_HANDLE_DIR], N - N / 2);
	for (unsigned i = 0; i < N; i++)
		tp_handle_free(h, all[i]);
	cr_assert_eq(h->used, 0);
	cr_assert_eq(h->blocks_count, 4);
	for (unsigned i = 0; i < N; i++)
		(void)fresh(h, TP_HANDLE_FILE, i);
	cr_assert_eq(h->blocks_count, 4, "places are used again");
	free(all);
	done(h);
}

Test(handle, without_memory_for_more_what_is_there_goes_on)
{
	struct tp_handles *h = table();
	struct tp_handle *handle, *first;

	heap_fail_at(1);
	cr_assert_eq(tp_handle_new(h, TP_HANDLE_FILE, 1, 1, &handle), -ENOMEM);
	cr_assert(heap_fail_off());
	first = fresh(h, TP_HANDLE_FILE, 1);
	for (unsigned i = 1; i < TP_HANDLE_BLOCK; i++)
		(void)fresh(h, TP_HANDLE_FILE, 1);
	heap_fail_at(1);
	cr_assert_eq(tp_handle_new(h, TP_HANDLE_FILE, 1, 1, &handle), -ENOMEM);
	cr_assert(heap_fail_off());
	tp_handle_free(h, first);
	heap_fail_at(1);
	cr_assert_eq(tp_handle_new(h, TP_HANDLE_FILE, 1, 1, &handle), 0);
	cr_assert_not(heap_fail_off());
	done(h);
}

static void *open_and_close(void *user)
{
	struct tp_handles *h = user;

	for (unsigned i = 0; i < 20000; i++) {
		struct tp_handle *handle = fresh(h, TP_HANDLE_FILE, i), *other = fresh(h, TP_HANDLE_DIR, i);

		cr_assert_eq(tp_handle_get(h, handle->number, TP_HANDLE_FILE), handle);
		cr_assert_eq(tp_handle_get(h, other->number, TP_HANDLE_DIR), other);
		cr_assert_eq(handle->node, i);
		tp_handle_free(h, handle);
		tp_handle_free(h, other);
	}
	return NULL;
}

Test(handle, threads_open_and_close_at_once)
{
	struct tp_handles *h = table();
	pthread_t threads[4];

	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, open_and_close, h), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(h->used, 0);
	done(h);
}
