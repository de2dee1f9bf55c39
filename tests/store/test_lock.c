/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "heap.h"
#include "store/lock.h"

#define END (UINT64_C(0x7fffffffffffffff)) /* the kernel's end of a file */

static struct tp_lock_range range(uint64_t owner, enum tp_lock_type type, uint64_t start, uint64_t end)
{
	return (struct tp_lock_range){.owner = owner,
		.handle = owner,
		.start = start,
		.end = end,
		.type = type,
		.pid = (pid_t)owner};
}

static int set(struct tp_locks *l, uint64_t owner, enum tp_lock_type type, uint64_t start, uint64_t end)
{
	struct tp_lock_range r = range(owner, type, start, end);

	return tp_locks_set(l, &r);
}

static int set_flock(struct tp_locks *l, uint64_t owner, enum tp_lock_type type)
{
	struct tp_lock_range r = range(owner, type, 0, END);

	r.flock = true;
	return tp_locks_set(l, &r);
}

static unsigned held(const struct tp_locks *l)
{
	unsigned n = 0;

	tp_list_each (e, &l->held)
		n++;
	return n;
}

/* Who would be in the way of a write by nobody's owner at that byte: 0 none, else the owner. */
static uint64_t at(const struct tp_locks *l, uint64_t byte, enum tp_lock_type type)
{
	struct tp_lock_range want = range(999, type, byte, byte), found;

	return tp_locks_test(l, &want, &found) ? found.owner : 0;
}

Test(lock, readers_share_and_a_writer_is_alone)
{
	struct tp_lock_range want = range(3, TP_LOCK_WRITE, 50, 200), found;
	struct tp_locks l;

	tp_locks_init(&l);
	cr_assert(tp_locks_empty(&l));
	cr_assert_eq(set(&l, 1, TP_LOCK_READ, 0, 99), 0);
	cr_assert_eq(set(&l, 2, TP_LOCK_READ, 50, 149), 0);
	cr_assert_eq(set(&l, 3, TP_LOCK_WRITE, 149, 149), -EAGAIN);
	cr_assert_eq(set(&l, 3, TP_LOCK_WRITE, 150, 150), 0);
	cr_assert_eq(set(&l, 1, TP_LOCK_WRITE, 0, 50), -EAGAIN);
	cr_assert_eq(set(&l, 1, TP_LOCK_WRITE, 0, 49), 0);
	cr_assert(tp_locks_test(&l, &want, &found));
	cr_assert_eq(found.flock, false);
	want.type = TP_LOCK_NONE;
	cr_assert_not(tp_locks_test(&l, &want, &found));
	tp_locks_fini(&l);
	cr_assert(tp_locks_empty(&l));
}

Test(lock, ranges_of_one_owner_split_shrink_join_and_change_type)
{
	struct tp_locks l;

	tp_locks_init(&l);
	cr_assert_eq(set(&l, 1, TP_LOCK_WRITE, 0, END), 0);
	cr_assert_eq(set(&l, 1, TP_LOCK_NONE, 100, 199), 0);
	cr_assert_eq(held(&l), 2);
	cr_assert_eq(at(&l, 99, TP_LOCK_READ), 1);
	cr_assert_eq(at(&l, 100, TP_LOCK_READ), 0);
	cr_assert_eq(at(&l, 199, TP_LOCK_READ), 0);
	cr_assert_eq(at(&l, 200, TP_LOCK_READ), 1);
	cr_assert_eq(set(&l, 1, TP_LOCK_WRITE, 100, 199), 0);
	cr_assert_eq(held(&l), 1);
	/* A part becomes a reader's. */
	cr_assert_eq(set(&l, 1, TP_LOCK_READ, 10, 19), 0);
	cr_assert_eq(held(&l), 3);
	cr_assert_eq(at(&l, 15, TP_LOCK_READ), 0);
	cr_assert_eq(at(&l, 15, TP_LOCK_WRITE), 1);
	cr_assert_eq(at(&l, 20, TP_LOCK_READ), 1);
	/* From either side. */
	cr_assert_eq(set(&l, 1, TP_LOCK_NONE, 0, 14), 0);
	cr_assert_eq(at(&l, 14, TP_LOCK_WRITE), 0);
	cr_assert_eq(at(&l, 15, TP_LOCK_WRITE), 1);
	cr_assert_eq(set(&l, 1, TP_LOCK_NONE, 18, END), 0);
	cr_assert_eq(at(&l, 17, TP_LOCK_WRITE), 1);
	cr_assert_eq(at(&l, 18, TP_LOCK_WRITE), 0);
	cr_assert_eq(held(&l), 1);
	cr_assert_eq(set(&l, 1, TP_LOCK_NONE, 0, END), 0);
	cr_assert(tp_locks_empty(&l));
	tp_locks_fini(&l);
}

Test(lock, a_lock_up_to_the_last_number_is_no_neighbour_of_the_first)
{
	struct tp_locks l;

	tp_locks_init(&l);
	cr_assert_eq(set(&l, 1, TP_LOCK_READ, 100, UINT64_MAX), 0);
	cr_assert_eq(set(&l, 1, TP_LOCK_READ, 0, 10), 0);
	cr_assert_eq(held(&l), 2);
	cr_assert_eq(at(&l, 5, TP_LOCK_WRITE), 1);
	cr_assert_eq(at(&l, 50, TP_LOCK_WRITE), 0);
	cr_assert_eq(at(&l, 100, TP_LOCK_WRITE), 1);
	cr_assert_eq(set(&l, 1, TP_LOCK_READ, 100, UINT64_MAX), 0);
	cr_assert_eq(at(&l, 5, TP_LOCK_WRITE), 1);
	tp_locks_fini(&l);
}

Test(lock, flock_and_fcntl_do_not_see_each_other)
{
	struct tp_locks l;

	tp_locks_init(&l);
	cr_assert_eq(set_flock(&l, 1, TP_LOCK_WRITE), 0);
	cr_assert_eq(set(&l, 2, TP_LOCK_WRITE, 0, END), 0);
	cr_assert_eq(set_flock(&l, 3, TP_LOCK_READ), -EAGAIN);
	cr_assert_eq(set(&l, 3, TP_LOCK_READ, 5, 5), -EAGAIN);
	/* The same number, and another kind. */
	cr_assert_eq(set(&l, 2, TP_LOCK_NONE, 0, END), 0);
	cr_assert_eq(set(&l, 1, TP_LOCK_WRITE, 0, 9), 0);
	tp_locks_drop_owner(&l, 1, false);
	cr_assert_eq(held(&l), 1);
	cr_assert_eq(set_flock(&l, 3, TP_LOCK_READ), -EAGAIN);
	tp_locks_drop_owner(&l, 1, true);
	cr_assert(tp_locks_empty(&l));
	cr_assert_eq(set_flock(&l, 3, TP_LOCK_READ), 0);
	cr_assert_eq(set_flock(&l, 4, TP_LOCK_READ), 0);
	cr_assert_eq(set_flock(&l, 3, TP_LOCK_WRITE), -EAGAIN);
	tp_locks_fini(&l);
}

Test(lock, a_handle_takes_its_fcntl_locks_along_and_no_others)
{
	struct tp_lock_range r = range(1, TP_LOCK_WRITE, 0, 9);
	struct tp_locks l;

	tp_locks_init(&l);
	r.handle = 70;
	cr_assert_eq(tp_locks_set(&l, &r), 0);
	r.start = 20;
	r.end = 29;
	r.handle = 71;
	cr_assert_eq(tp_locks_set(&l, &r), 0);
	cr_assert_eq(set_flock(&l, 70, TP_LOCK_WRITE), 0);
	tp_locks_drop_handle(&l, 70);
	cr_assert_eq(held(&l), 2);
	cr_assert_eq(at(&l, 5, TP_LOCK_READ), 0);
	cr_assert_eq(at(&l, 25, TP_LOCK_READ), 1);
	tp_locks_fini(&l);
}

static bool claim_all(struct tp_lock_waiter *w, void *user)
{
	return true;
}

static bool claim_not(struct tp_lock_waiter *w, void *user)
{
	return w != user;
}

Test(lock, waiters_are_granted_in_the_order_of_their_coming)
{
	struct tp_lock_waiter w[4];
	struct tp_list granted;
	struct tp_locks l;

	tp_locks_init(&l);
	tp_list_init(&granted);
	cr_assert_eq(set(&l, 1, TP_LOCK_WRITE, 0, END), 0);
	for (unsigned i = 0; i < 4; i++) {
		w[i] = (struct tp_lock_waiter){
			.want = range(10 + i, i == 2 ? TP_LOCK_WRITE : TP_LOCK_READ, 0, END)};
		cr_assert_eq(tp_locks_wait(&l, &w[i]), 0);
	}
	tp_locks_grant(&l, claim_all, NULL, &granted);
	cr_assert(tp_list_empty(&granted));
	cr_assert_eq(set(&l, 1, TP_LOCK_NONE, 0, END), 0);
	cr_assert_not(tp_locks_empty(&l));
	/* One of them is being cancelled. */
	tp_locks_grant(&l, claim_not, &w[0], &granted);
	cr_assert_eq(granted.next, &w[1].link);
	cr_assert_eq(granted.prev, &w[3].link);
	tp_locks_unwait(&w[0]);
	tp_locks_unwait(&w[0]);
	tp_list_init(&granted);
	tp_locks_drop_owner(&l, 11, false);
	tp_locks_grant(&l, claim_all, NULL, &granted);
	cr_assert(tp_list_empty(&granted));
	tp_locks_drop_owner(&l, 13, false);
	tp_locks_grant(&l, claim_all, NULL, &granted);
	cr_assert_eq(granted.next, &w[2].link);
	cr_assert(tp_list_empty(&l.waiters));
	tp_locks_fini(&l);
}

Test(lock, who_would_wait_in_a_circle_is_told_edeadlk)
{
	struct tp_lock_waiter a, b, c;
	struct tp_locks l;

	tp_locks_init(&l);
	cr_assert_eq(set(&l, 1, TP_LOCK_WRITE, 1, 1), 0);
	cr_assert_eq(set(&l, 2, TP_LOCK_WRITE, 2, 2), 0);
	cr_assert_eq(set(&l, 3, TP_LOCK_WRITE, 3, 3), 0);
	a = (struct tp_lock_waiter){.want = range(1, TP_LOCK_READ, 2, 2)};
	b = (struct tp_lock_waiter){.want = range(2, TP_LOCK_READ, 3, 3)};
	c = (struct tp_lock_waiter){.want = range(3, TP_LOCK_READ, 1, 1)};
	cr_assert_eq(tp_locks_wait(&l, &a), 0);
	cr_assert_eq(tp_locks_wait(&l, &b), 0);
	cr_assert_eq(tp_locks_wait(&l, &c), -EDEADLK);
	c.want = range(4, TP_LOCK_READ, 1, 1);
	cr_assert_eq(tp_locks_wait(&l, &c), 0, "in no circle");
	tp_locks_unwait(&a);
	tp_locks_unwait(&b);
	tp_locks_unwait(&c);
	tp_locks_fini(&l);
}

Test(lock, without_memory_nothing_changes)
{
	struct tp_lock_waiter w = {.want = range(2, TP_LOCK_WRITE, 0, 9)};
	struct tp_list granted;
	struct tp_locks l;

	tp_locks_init(&l);
	tp_list_init(&granted);
	cr_assert_eq(set(&l, 1, TP_LOCK_WRITE, 0, 99), 0);
	for (unsigned n = 1; n <= 2; n++) {
		heap_fail_at(n);
		cr_assert_eq(set(&l, 1, TP_LOCK_NONE, 40, 50), -ENOMEM);
		cr_assert(heap_fail_off());
		cr_assert_eq(at(&l, 45, TP_LOCK_READ), 1);
		cr_assert_eq(held(&l), 1);
	}
	/* Who waits goes on waiting. */
	cr_assert_eq(tp_locks_wait(&l, &w), 0);
	tp_locks_drop_owner(&l, 1, false);
	heap_fail_at(2);
	tp_locks_grant(&l, claim_all, NULL, &granted);
	cr_assert(heap_fail_off());
	cr_assert(tp_list_empty(&granted));
	tp_locks_grant(&l, claim_all, NULL, &granted);
	cr_assert_eq(granted.next, &w.link);
	tp_locks_fini(&l);
}

/* Random changes against one byte array for each owner. */
Test(lock, random_ranges_are_what_an_array_of_bytes_says)
{
	enum { OWNERS = 3, BYTES = 40 };
	uint8_t model[OWNERS][BYTES];
	unsigned seed = 4711;
	struct tp_locks l;

	tp_locks_init(&l);
	memset(model, TP_LOCK_NONE, sizeof(model));
	for (unsigned i = 0; i < 20000; i++) {
		unsigned owner = (unsigned)rand_r(&seed) % OWNERS, start = (unsigned)rand_r(&seed) % BYTES,
			 end = start + (unsigned)rand_r(&seed) % (BYTES - start);
		enum tp_lock_type type = (enum tp_lock_type)(rand_r(&seed) % 3);
		bool in_the_way = false;

		for (unsigned o = 0; o < OWNERS && type != TP_LOCK_NONE; o++)
			for (unsigned b = start; b <= end && o != owner; b++)
				in_the_way |= model[o][b] == TP_LOCK_WRITE ||
					      (model[o][b] == TP_LOCK_READ && type == TP_LOCK_WRITE);
		cr_assert_eq(set(&l, owner + 1, type, start, end), in_the_way ? -EAGAIN : 0, "step %u", i);
		if (!in_the_way)
			memset(&model[owner][start], (int)type, end - start + 1);
		for (unsigned b = 0; b < BYTES; b++) {
			bool read = false, write = false;

			for (unsigned o = 0; o < OWNERS; o++) {
				read |= model[o][b] == TP_LOCK_READ;
				write |= model[o][b] == TP_LOCK_WRITE;
			}
			cr_assert_eq(at(&l, b, TP_LOCK_READ) != 0, write, "step %u, byte %u", i, b);
			cr_assert_eq(at(&l, b, TP_LOCK_WRITE) != 0, read || write, "step %u, byte %u", i, b);
		}
	}
	cr_assert_leq(held(&l), OWNERS * BYTES);
	tp_locks_fini(&l);
}

/* Owners in layers: each holds the byte of its layer together with the others, and wants the next one. By paths there would be 6 to the 19th. */
Test(lock, a_deadlock_is_searched_for_without_going_any_way_twice, .timeout = 60)
{
	enum { LAYERS = 20, WIDE = 6 };
	struct tp_lock_waiter w[LAYERS][WIDE], last;
	struct tp_locks l;

	tp_locks_init(&l);
	for (uint64_t i = 0; i < LAYERS; i++)
		for (uint64_t k = 0; k < WIDE; k++)
			cr_assert_eq(set(&l, 1 + i * WIDE + k, TP_LOCK_READ, i, i), 0);
	for (uint64_t i = 0; i + 1 < LAYERS; i++) {
		for (uint64_t k = 0; k < WIDE; k++) {
			w[i][k] = (struct tp_lock_waiter){
				.want = range(1 + i * WIDE + k, TP_LOCK_WRITE, i + 1, i + 1)};
			cr_assert_eq(tp_locks_wait(&l, &w[i][k]), 0);
		}
	}
	last = (struct tp_lock_waiter){.want = range(LAYERS * WIDE, TP_LOCK_WRITE, 0, 0)};
	cr_assert_eq(tp_locks_wait(&l, &last), -EDEADLK);
	last.want.owner = 1000;
	cr_assert_eq(tp_locks_wait(&l, &last), 0);
	tp_locks_unwait(&last);
	for (unsigned i = 0; i + 1 < LAYERS; i++)
		for (unsigned k = 0; k < WIDE; k++)
			tp_locks_unwait(&w[i][k]);
	tp_locks_fini(&l);
}

Test(lock, a_file_has_only_so_many_locks)
{
	struct tp_lock_waiter w;
	struct tp_locks l;

	tp_locks_init(&l);
	cr_assert_eq(set(&l, 1, TP_LOCK_WRITE, 10, END), 0);
	/* As if they were there. */
	l.held_count = TP_LOCKS_HELD_MAX - 1;
	cr_assert_eq(set(&l, 2, TP_LOCK_READ, 0, 0), 0);
	cr_assert_eq(set(&l, 2, TP_LOCK_READ, 2, 2), -ENOLCK);
	cr_assert_eq(set(&l, 1, TP_LOCK_NONE, 20, 20), -ENOLCK);
	cr_assert_eq(set(&l, 1, TP_LOCK_NONE, 20, END), 0);
	cr_assert_eq(set(&l, 1, TP_LOCK_NONE, 0, END), 0);
	cr_assert_eq(set(&l, 2, TP_LOCK_READ, 2, 2), 0);
	/* With many who wait each change takes longer: they are fewer then. */
	l.held_count = 60000;
	l.waiters_count = 100;
	cr_assert_eq(set(&l, 2, TP_LOCK_READ, 4, 4), -ENOLCK);
	l.waiters_count = 66;
	w = (struct tp_lock_waiter){.want = range(3, TP_LOCK_WRITE, 2, 2)};
	cr_assert_eq(tp_locks_wait(&l, &w), -ENOLCK);
	l.waiters_count = 64;
	cr_assert_eq(tp_locks_wait(&l, &w), 0);
	tp_locks_unwait(&w);
	tp_locks_fini(&l);
}

static bool claim_and_count(struct tp_lock_waiter *w, void *user)
{
	unsigned *count = user;

	(*count)++;
	return false;
}

Test(lock, who_waits_is_looked_at_when_what_it_waits_for_changes)
{
	struct tp_lock_waiter w = {.want = range(3, TP_LOCK_WRITE, 0, 9)},
			      other = {.want = range(4, TP_LOCK_WRITE, 20, 20)};
	struct tp_list granted;
	unsigned asked = 0;
	struct tp_locks l;

	tp_locks_init(&l);
	tp_list_init(&granted);
	cr_assert_eq(set(&l, 1, TP_LOCK_READ, 0, 0), 0);
	cr_assert_eq(set(&l, 2, TP_LOCK_WRITE, 20, 20), 0);
	cr_assert_eq(tp_locks_wait(&l, &w), 0);
	cr_assert_eq(tp_locks_wait(&l, &other), 0);
	cr_assert_eq(set(&l, 1, TP_LOCK_NONE, 0, 0), 0);
	tp_locks_grant(&l, claim_and_count, &asked, &granted);
	cr_assert_eq(asked, 1);
	/* One that could not be granted is asked again, whatever changes. */
	cr_assert_eq(set(&l, 5, TP_LOCK_READ, 100, 100), 0);
	tp_locks_grant(&l, claim_and_count, &asked, &granted);
	cr_assert_eq(asked, 2);
	tp_locks_grant(&l, claim_all, NULL, &granted);
	cr_assert_eq(granted.next, &w.link);
	tp_locks_drop_owner(&l, 2, false);
	tp_locks_grant(&l, claim_all, NULL, &granted);
	cr_assert_eq(w.link.next, &other.link);
	cr_assert_eq(l.waiters_count, 0);
	tp_locks_fini(&l);
}
