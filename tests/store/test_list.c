/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>

#include "store/list.h"

struct number {
	struct tp_list link;
	int value;
};

static int digits(struct tp_list *head)
{
	int all = 0;

	tp_list_each (pos, head)
		all = all * 10 + tp_container(pos, struct number, link)->value;
	return all;
}

Test(list, elements_come_in_the_order_in_which_they_were_put)
{
	struct tp_list head;
	struct number one = {.value = 1}, two = {.value = 2}, three = {.value = 3};

	tp_list_init(&head);
	cr_assert(tp_list_empty(&head));
	tp_list_push_back(&head, &two.link);
	tp_list_push_back(&head, &three.link);
	tp_list_push_front(&head, &one.link);
	cr_assert_eq(digits(&head), 123);
	cr_assert_not(tp_list_empty(&head));
}

Test(list, removing_twice_is_harmless)
{
	struct tp_list head;
	struct number one = {.value = 1}, two = {.value = 2};

	tp_list_init(&head);
	tp_list_push_back(&head, &one.link);
	tp_list_push_back(&head, &two.link);
	tp_list_remove(&one.link);
	tp_list_remove(&one.link);
	cr_assert_eq(digits(&head), 2);
	tp_list_remove(&two.link);
	cr_assert(tp_list_empty(&head));
}

Test(list, a_walk_may_remove_where_it_stands)
{
	struct tp_list head;
	struct number n[5];

	tp_list_init(&head);
	for (int i = 0; i < 5; i++) {
		n[i].value = i + 1;
		tp_list_push_back(&head, &n[i].link);
	}
	tp_list_each_safe (pos, &head)
		if (tp_container(pos, struct number, link)->value % 2 == 0)
			tp_list_remove(pos);
	cr_assert_eq(digits(&head), 135);
}

Test(list, one_list_goes_before_another)
{
	struct tp_list head, from;
	struct number n[4];

	tp_list_init(&head);
	tp_list_init(&from);
	tp_list_splice_front(&head, &from);
	cr_assert(tp_list_empty(&head));
	for (int i = 0; i < 4; i++) {
		n[i].value = i + 1;
		tp_list_push_back(i < 2 ? &from : &head, &n[i].link);
	}
	tp_list_splice_front(&head, &from);
	cr_assert_eq(digits(&head), 1234);
	cr_assert(tp_list_empty(&from));
	for (int i = 0; i < 4; i++)
		tp_list_remove(&n[i].link);
	cr_assert(tp_list_empty(&head));
}
