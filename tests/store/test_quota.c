/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Quotas: what goes for the directory that has one, and when.
 */
#include "evict_fixture.h"

Test(quota, a_quota_evicts_below_its_directory_and_nowhere_else)
{
	struct fixture f;
	uint64_t d, sub;

	fixture_open(&f, 8 * MIB, NULL);
	d = make_dir(&f, TP_NODE_CACHE, "d");
	sub = make_dir(&f, d, "sub");
	cr_assert_eq(set_rule(&f, d, "quota", "1M"), 0);
	fill(&f, TP_NODE_CACHE, "out", 10, 64 * KIB);
	fill(&f, sub, "in", 40, 64 * KIB);
	holds(&f);
	cr_assert_eq(count_names(&f, TP_NODE_CACHE, "out", 10), 10);
	cr_assert_leq(count_names(&f, sub, "in", 40), 16);
	cr_assert_geq(count_names(&f, sub, "in", 40), 8);
	cr_assert_gt(tp_stats_get(&f.store->stats, TP_STAT_QUOTA_EVICTED), 0);
	cr_assert_eq(tp_stats_get(&f.store->stats, TP_STAT_EVICTED), 0);
	cr_assert_eq(put_waiting(&f, d, "more", 1100 * KIB, 1), -EDQUOT);
	fixture_close(&f);
}

Test(quota, a_quota_says_edquot_when_all_below_it_is_pinned)
{
	struct fixture f;
	uint64_t d;

	fixture_open(&f, 8 * MIB, NULL);
	d = make_dir(&f, TP_NODE_CACHE, "d");
	cr_assert_eq(set_rule(&f, d, "quota", "1048576"), 0);
	cr_assert_eq(set_rule(&f, d, "pin", "1"), 0);
	fill(&f, d, "in", 15, 64 * KIB);
	cr_assert_eq(put_waiting(&f, d, "more", 128 * KIB, 1), -EDQUOT);
	cr_assert_eq(count_names(&f, d, "in", 15), 15);
	cr_assert_eq(set_rule(&f, d, "quota", ""), 0);
	cr_assert_eq(put_waiting(&f, d, "more", 128 * KIB, 1), 0);
	holds(&f);
	fixture_close(&f);
}

static bool below_a_mib(void *user)
{
	struct tp_object *o = user;

	return o->dir->bytes_below <= MIB;
}

static bool below_64_kib(void *user)
{
	struct tp_object *o = user;

	return o->dir->bytes_below <= 64 * KIB;
}

Test(quota, a_quota_that_is_set_below_what_is_there_makes_it_hold)
{
	struct fixture f;
	struct tp_object *o;
	uint64_t d;

	fixture_open(&f, 8 * MIB, NULL);
	d = make_dir(&f, TP_NODE_CACHE, "d");
	o = tp_tree_object_of(tp_tree_node(f.tree, d));
	fill(&f, d, "in", 40, 64 * KIB);
	cr_assert_eq(set_rule(&f, d, "quota", "1M"), 0);
	wait_until(below_a_mib, o);
	cr_assert_geq(count_names(&f, d, "in", 40), 8);
	fixture_close(&f);
}

Test(quota, every_directory_that_is_above_its_quota_is_brought_down)
{
	struct fixture f;
	struct tp_object *o[3], *into;
	uint64_t d[3], moved, limited;

	fixture_open(&f, 16 * MIB, NULL);
	for (unsigned i = 0; i < 3; i++) {
		d[i] = make_dir(&f, TP_NODE_CACHE, numbered("d", i));
		o[i] = tp_tree_object_of(tp_tree_node(f.tree, d[i]));
		fill(&f, d[i], "in", 40, 64 * KIB);
	}
	/* The kernel hears late, so that all are set before the first one holds. */
	f.hold = true;
	cr_assert_eq(set_rule(&f, d[0], "quota", "1M"), 0);
	cr_assert_eq(set_rule(&f, d[1], "quota", "1M"), 0);
	cr_assert_eq(set_rule(&f, d[2], "quota", "64M"), 0);
	f.hold = false;
	let_kernel_hear(&f);
	wait_until(below_a_mib, o[0]);
	wait_until(below_a_mib, o[1]);
	cr_assert_eq(count_names(&f, d[0], "in", 40), 16, "no more than has to");
	cr_assert_eq(count_names(&f, d[1], "in", 40), 16);
	cr_assert_eq(count_names(&f, d[2], "in", 40), 40);
	/* A subtree comes in, and nobody writes. */
	limited = make_dir(&f, TP_NODE_CACHE, "limited");
	into = tp_tree_object_of(tp_tree_node(f.tree, limited));
	moved = make_dir(&f, TP_NODE_CACHE, "moved");
	cr_assert_eq(set_rule(&f, limited, "quota", "1M"), 0);
	fill(&f, moved, "in", 40, 64 * KIB);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "moved", limited, "moved", 0), 0);
	wait_until(below_a_mib, into);
	cr_assert_eq(count_names(&f, moved, "in", 40), 16);
	fixture_close(&f);
}

Test(quota, what_a_quota_counts_for_small_objects_is_what_goes_for_it)
{
	struct fixture f;
	struct tp_object *o;
	uint64_t d;

	fixture_open(&f, 8 * MIB, NULL);
	d = make_dir(&f, TP_NODE_CACHE, "d");
	o = tp_tree_object_of(tp_tree_node(f.tree, d));
	fill(&f, d, "in", 300, 200);
	cr_assert_eq(o->dir->bytes_below, 300 * 256);
	cr_assert_eq(set_rule(&f, d, "quota", "64K"), 0);
	wait_until(below_64_kib, o);
	cr_assert_eq(count_names(&f, d, "in", 300), 256);
	fixture_close(&f);
}

Test(quota, a_quota_below_which_nothing_may_go_holds_up_no_other_and_is_tried_again)
{
	struct fixture f;
	struct tp_object *o;
	struct file open;
	uint64_t stuck, other;

	fixture_open(&f, 8 * MIB, NULL);
	stuck = make_dir(&f, TP_NODE_CACHE, "stuck");
	other = make_dir(&f, TP_NODE_CACHE, "other");
	o = tp_tree_object_of(tp_tree_node(f.tree, other));
	cr_assert_eq(put_bytes(&f, stuck, "x", 1536 * KIB, 1), 0);
	fill(&f, other, "in", 40, 64 * KIB);
	cr_assert_eq(file_open(&f, &f.me, stuck, "x", O_RDONLY, &open), 0);
	cr_assert_eq(set_rule(&f, stuck, "quota", "1M"), 0);
	cr_assert_eq(set_rule(&f, other, "quota", "1M"), 0);
	wait_until(below_a_mib, o);
	cr_assert(sees(&f, &f.me, stuck, "x"));
	cr_assert_eq(file_close(&f, &open), 0);
	move_time(&f, 11 * TP_NS_PER_S);
	wait_gone(&f, stuck, "x");
	fixture_close(&f);
}

struct rests {
	struct tp_tree *tree;
	struct tp_extra *extra;
	unsigned count;
};

static bool has_rested(void *user)
{
	struct rests *r = user;
	TP_RDLOCK(&r->tree->lock);

	return r->extra->quota_rests == r->count;
}

Test(quota, a_quota_that_stays_stuck_is_tried_more_and_more_seldom)
{
	struct fixture f;
	struct rests r;
	struct file open;
	uint64_t stuck;

	fixture_open(&f, 8 * MIB, NULL);
	stuck = make_dir(&f, TP_NODE_CACHE, "stuck");
	cr_assert_eq(put_bytes(&f, stuck, "x", 1536 * KIB, 1), 0);
	cr_assert_eq(file_open(&f, &f.me, stuck, "x", O_RDONLY, &open), 0);
	cr_assert_eq(set_rule(&f, stuck, "quota", "1M"), 0);
	r = (struct rests){f.tree, tp_tree_object_of(tp_tree_node(f.tree, stuck))->extra, 1};
	wait_until(has_rested, &r);
	for (uint64_t rest_s = 10; r.count < 5; rest_s *= 2) {
		uint64_t until_ns = r.extra->quota_rest_ns;

		/* The time stood still: all of it lies ahead. */
		cr_assert_eq(until_ns, tp_mono_ns(f.store->clock) + rest_s * TP_NS_PER_S);
		move_time(&f, rest_s * TP_NS_PER_S);
		r.count++;
		wait_until(has_rested, &r);
	}
	cr_assert_eq(set_rule(&f, stuck, "quota", "1M"), 0);
	r.count = 1;
	wait_until(has_rested, &r);
	cr_assert_eq(file_close(&f, &open), 0);
	move_time(&f, 11 * TP_NS_PER_S);
	wait_gone(&f, stuck, "x");
	fixture_close(&f);
}

Test(quota, what_is_on_its_way_is_enough_for_a_quota)
{
	struct fixture f;
	struct tp_who other = process_start();
	struct file draft;
	uint64_t d;

	fixture_open(&f, 8 * MIB, NULL);
	d = make_dir(&f, TP_NODE_CACHE, "d");
	cr_assert_eq(put_bytes(&f, d, "x", MIB, 1), 0);
	cr_assert_eq(put_bytes(&f, d, "y", 512 * KIB, 2), 0);
	/* Its names stay, and its old bytes count until the kernel knows. */
	cr_assert_eq(file_open(&f, &other, d, "x", O_WRONLY | O_TRUNC, &draft), 0);
	f.hold = true;
	cr_assert_eq(set_rule(&f, d, "quota", "1M"), 0);
	wait_gone(&f, d, "x");
	cr_assert(get_room(&f, TP_PAGE_BYTES, 0), "the thread has been round");
	cr_assert(get_room(&f, TP_PAGE_BYTES, 0));
	cr_assert(sees(&f, &f.me, d, "y"));
	f.hold = false;
	let_kernel_hear(&f);
	cr_assert_eq(file_puts(&f, &draft, 0, "new"), 0);
	cr_assert_eq(file_close(&f, &draft), 0);
	cr_assert(reads(&f, &f.me, d, "x", "new"));
	cr_assert(sees(&f, &f.me, d, "y"));
	process_kill(&other);
	fixture_close(&f);
}

Test(quota, a_quota_set_on_a_directory_that_was_removed_means_nothing)
{
	struct fixture f;
	struct tp_who who;
	struct tp_entry e;

	fixture_open(&f, 8 * MIB, NULL);
	who = f.me;
	(void)make_dir(&f, TP_NODE_CACHE, "d");
	cr_assert_eq(tp_tree_lookup(f.tree, &who, TP_NODE_CACHE, "d", &e), 0);
	cr_assert_eq(rmdir_as(&f, &f.me, TP_NODE_CACHE, "d"), 0);
	cr_assert_eq(set_rule(&f, e.node, "quota", "1M"), 0);
	cr_assert_eq(f.tree->quotas, 0);
	holds(&f);
	tp_tree_forget(f.tree, e.node, 1);
	fixture_close(&f);
}

Test(quota, quotas_are_counted_down_when_their_directory_goes)
{
	struct fixture f;

	fixture_open(&f, 8 * MIB, NULL);
	cr_assert_eq(set_rule(&f, make_dir(&f, TP_NODE_CACHE, "d"), "quota", "1M"), 0);
	cr_assert_eq(f.tree->quotas, 1);
	cr_assert_eq(rmdir_as(&f, &f.me, TP_NODE_CACHE, "d"), 0);
	cr_assert_eq(f.tree->quotas, 0);
	fixture_close(&f);
}

Test(quota, what_is_there_already_counts_once)
{
	struct fixture f;
	struct file file;
	tp_autofree unsigned char *bytes = bytes_of(64 * KIB, 1);
	uint64_t d;

	fixture_open(&f, POOL, NULL);
	d = make_dir(&f, TP_NODE_CACHE, "d");
	cr_assert_eq(set_rule(&f, d, "quota", "1M"), 0);
	/* A draft that is written again. */
	cr_assert_eq(file_open(&f, &f.me, d, "x", O_RDWR | O_CREAT, &file), 0);
	for (unsigned round = 0; round < 2; round++)
		for (unsigned i = 0; i < 16; i++)
			cr_assert_eq(file_write(&f, &file, i * 64 * KIB, bytes, 64 * KIB), 0);
	cr_assert_eq(file_write(&f, &file, 16 * 64 * KIB, bytes, 1), -EDQUOT);
	cr_assert_eq(tp_file_allocate(f.tree, &file.who, file.opened.gen,
			     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 15 * 64 * KIB, 64 * KIB),
		0);
	/* What was allocated. */
	cr_assert_eq(tp_file_allocate(f.tree, &file.who, file.opened.gen, 0, 15 * 64 * KIB, 64 * KIB), 0);
	cr_assert_eq(file_write(&f, &file, 15 * 64 * KIB, bytes, 64 * KIB), 0);
	cr_assert_eq(tp_file_allocate(f.tree, &file.who, file.opened.gen, 0, 0, 16 * 64 * KIB), 0);
	cr_assert_eq(tp_file_allocate(f.tree, &file.who, file.opened.gen, 0, 0, 16 * 64 * KIB + 1), -EDQUOT);
	/* For the one byte that was too much. */
	cr_assert_eq(file_close(&f, &file), -EDQUOT);
	holds(&f);
	fixture_close(&f);
}

Test(quota, an_object_that_is_changed_in_place_counts_once_and_stays_in_sight)
{
	struct fixture f;
	struct file file;
	struct tp_object *o;
	uint64_t d;

	fixture_open(&f, POOL, NULL);
	d = make_dir(&f, TP_NODE_CACHE, "d");
	o = tp_tree_object_of(tp_tree_node(f.tree, d));
	cr_assert_eq(put_bytes(&f, d, "x", 960 * KIB, 1), 0);
	cr_assert_eq(set_rule(&f, d, "quota", "1M"), 0);
	cr_assert_eq(file_open(&f, &f.me, d, "x", O_RDWR, &file), 0);
	cr_assert_eq(file_puts(&f, &file, 0, "changed"), 0);
	cr_assert_eq(o->dir->bytes_below, 960 * KIB);
	holds(&f);
	tp_evictor_look(f.store->evictor);
	cr_assert_eq(put_waiting(&f, d, "more", 128 * KIB, 1), -EDQUOT);
	{
		struct tp_who other = process_start();

		cr_assert(sees(&f, &other, d, "x"));
		process_kill(&other);
	}
	cr_assert_eq(file_close(&f, &file), 0);
	holds(&f);
	cr_assert_eq(o->dir->bytes_below, 960 * KIB);
	cr_assert_eq(unlink_as(&f, &f.me, d, "x"), 0);
	cr_assert_eq(o->dir->bytes_below, 0);
	fixture_close(&f);
}

Test(quota, what_may_go_is_found_among_many_that_may_not)
{
	struct fixture f;
	struct tp_object *o;
	uint64_t d, held, other;

	fixture_open(&f, 16 * MIB, NULL);
	d = make_dir(&f, TP_NODE_CACHE, "d");
	other = make_dir(&f, TP_NODE_CACHE, "other");
	held = make_dir(&f, TP_NODE_CACHE, "held");
	o = tp_tree_object_of(tp_tree_node(f.tree, d));
	fill(&f, other, "before", 2000, 64);
	fill(&f, d, "in", 32, 4 * KIB);
	fill(&f, other, "after", 3000, 64);
	cr_assert_eq(set_rule(&f, d, "quota", "64K"), 0);
	wait_until(below_64_kib, o);
	cr_assert_eq(count_names(&f, d, "in", 32), 16);
	/* All others are colder. */
	fill(&f, d, "room", 16, 4 * KIB);
	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(put_waiting(&f, d, numbered("hot", i), 4 * KIB, 1), 0);
	/* None of all may go. */
	cr_assert_eq(set_rule(&f, held, "quota", "64K"), 0);
	cr_assert_eq(set_rule(&f, held, "pin", "1"), 0);
	fill(&f, held, "in", 16, 4 * KIB);
	cr_assert_eq(put_waiting(&f, held, "more", 4 * KIB, 1), -EDQUOT);
	cr_assert_eq(count_names(&f, other, "before", 2000), 2000);
	cr_assert_eq(count_names(&f, other, "after", 3000), 3000);
	fixture_close(&f);
}
