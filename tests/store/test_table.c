/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>

#include "heap.h"
#include "store/cleanup.h"
#include "store/list.h"
#include "store/table.h"

struct element {
	struct tp_link link;
	uint64_t key;
};

static uint64_t hash_of(const struct tp_link *l)
{
	return tp_container(l, struct element, link)->key * UINT64_C(0x9e3779b97f4a7c15) >> 16;
}

static uint64_t same_for_all(const struct tp_link *l)
{
	return 7;
}

static struct element *find(const struct tp_table *t, uint64_t key)
{
	struct element e = {.key = key};

	for (struct tp_link *l = tp_table_first(t, t->hash(&e.link)); l; l = l->next)
		if (tp_container(l, struct element, link)->key == key)
			return tp_container(l, struct element, link);
	return NULL;
}

Test(table, all_are_found_while_it_grows_and_shrinks)
{
	const size_t n = 10000;
	struct element *e = calloc(n, sizeof(*e));
	struct tp_table t;

	cr_assert_eq(tp_table_init(&t, hash_of), 0);
	cr_assert_null(find(&t, 0));
	for (size_t i = 0; i < n; i++) {
		e[i].key = i;
		tp_table_add(&t, &e[i].link);
		cr_assert_eq(t.count, i + 1);
	}
	cr_assert_geq(t.mask + 1, n / 2);
	for (size_t i = 0; i < n; i++)
		cr_assert_eq(find(&t, i), &e[i]);
	cr_assert_null(find(&t, n));
	for (size_t i = 0; i < n; i += 2)
		tp_table_remove(&t, &e[i].link);
	for (size_t i = 0; i < n; i++)
		cr_assert_eq(find(&t, i), i % 2 ? &e[i] : NULL);
	for (size_t i = 1; i < n; i += 2)
		tp_table_remove(&t, &e[i].link);
	cr_assert_eq(t.count, 0);
	cr_assert_leq(t.mask + 1, 128, "it has given its memory back");
	tp_table_fini(&t);
	tp_table_fini(&t);
	free(e);
}

Test(table, equal_hashes_are_a_chain_from_which_any_can_go)
{
	struct element e[5] = {{.key = 0}, {.key = 1}, {.key = 2}, {.key = 3}, {.key = 4}};
	static const unsigned order[] = {2, 0, 4, 1, 3};
	struct tp_table t;

	cr_assert_eq(tp_table_init(&t, same_for_all), 0);
	for (unsigned i = 0; i < 5; i++)
		tp_table_add(&t, &e[i].link);
	for (unsigned i = 0; i < 5; i++) {
		tp_table_remove(&t, &e[order[i]].link);
		cr_assert_null(find(&t, order[i]));
		for (unsigned k = i + 1; k < 5; k++)
			cr_assert_eq(find(&t, order[k]), &e[order[k]]);
	}
	tp_table_fini(&t);
}

Test(table, without_memory_it_only_gets_slower)
{
	const size_t n = 1000;
	struct element *e = calloc(n, sizeof(*e));
	struct tp_table t;
	size_t mask;

	heap_fail_at(1);
	cr_assert_eq(tp_table_init(&t, hash_of), -ENOMEM);
	cr_assert(heap_fail_off());
	cr_assert_eq(tp_table_init(&t, hash_of), 0);
	mask = t.mask;
	for (size_t i = 0; i < n; i++) {
		e[i].key = i;
		heap_fail_at(1);
		tp_table_add(&t, &e[i].link);
		(void)heap_fail_off();
	}
	cr_assert_eq(t.mask, mask);
	for (size_t i = 0; i < n; i++)
		cr_assert_eq(find(&t, i), &e[i]);
	for (size_t i = 0; i < n; i++) {
		heap_fail_at(1);
		tp_table_remove(&t, &e[i].link);
		(void)heap_fail_off();
	}
	cr_assert_eq(t.count, 0);
	tp_table_fini(&t);
	free(e);
}
