/* SPDX-License-Identifier: Apache-2.0 */
#include "evict_fixture.h"

#include <stdio.h>

Test(evict, a_store_takes_ten_times_its_pool_and_holds_together)
{
	struct fixture f;
	unsigned left;

	fixture_open(&f, 4 * MIB, NULL);
	fill(&f, TP_NODE_CACHE, "f", 400, 100 * KIB);
	holds(&f);
	left = count_names(&f, TP_NODE_CACHE, "f", 400);
	cr_assert_geq(left, 20);
	cr_assert_leq(left, 41);
	cr_assert_gt(tp_stats_get(&f.store->stats, TP_STAT_EVICTED), 300);
	fixture_close(&f);
}

Test(evict, a_name_goes_first_then_the_kernel_hears_of_it_and_only_then_the_memory_is_free)
{
	struct fixture f;
	struct waiting w;
	uint64_t used;

	fixture_open(&f, 4 * MIB, NULL);
	cr_assert_eq(put_bytes(&f, TP_NODE_CACHE, "x", 3400 * KIB, 1), 0);
	used = pool_used_bytes(&f);
	f.hold = true;
	forget_told(&f);
	ask_room(&f, &w, MIB, 0);
	wait_gone(&f, TP_NODE_CACHE, "x");
	cr_assert(told_name(&f, TP_NODE_CACHE, "x"));
	cr_assert(told_node(&f, TP_NODE_CACHE));
	cr_assert_eq(pool_used_bytes(&f), used);
	cr_assert_eq(w.called, 0);
	holds(&f);
	/* The thread counts what is on its way right after it let the name go. */
	while (f.held_count == 0)
		(void)usleep(1000);
	cr_assert_eq(tp_evictor_pending_bytes(f.store->evictor), used);
	f.hold = false;
	let_kernel_hear(&f);
	wait_until(was_called, &w);
	cr_assert_eq(w.called, 1);
	cr_assert_eq(pool_used_bytes(&f), 0);
	cr_assert_eq(tp_evictor_pending_bytes(f.store->evictor), 0);
	fixture_close(&f);
}

Test(evict, there_is_no_room_only_when_all_that_is_left_is_pinned_open_or_a_sample)
{
	struct fixture f;
	struct file open;
	uint64_t pinned, s;

	fixture_open(&f, 4 * MIB, NULL);
	pinned = make_dir(&f, TP_NODE_CACHE, "pinned");
	s = make_dir(&f, TP_NODE_SAMPLES, "s");
	cr_assert_eq(set_rule(&f, pinned, "pin", "1"), 0);
	cr_assert_eq(put_bytes(&f, pinned, "p", MIB, 1), 0);
	cr_assert_eq(put_bytes(&f, s, "sample", MIB, 2), 0);
	cr_assert_eq(put_bytes(&f, s, ".temporary", 512 * KIB, 3), 0);
	cr_assert_eq(put_bytes(&f, TP_NODE_CACHE, "open", 512 * KIB, 4), 0);
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "open", O_RDONLY, &open), 0);
	cr_assert_eq(put_bytes(&f, TP_NODE_CACHE, "other", 256 * KIB, 5), 0);
	cr_assert_eq(put_waiting(&f, TP_NODE_CACHE, "much", 1536 * KIB, 6), -ENOSPC);
	cr_assert_not(sees(&f, &f.me, TP_NODE_CACHE, "other"));
	cr_assert_not(sees(&f, &f.me, TP_NODE_CACHE, "much"));
	holds(&f);
	cr_assert(sees(&f, &f.me, pinned, "p"));
	cr_assert(sees(&f, &f.me, s, "sample"));
	cr_assert(sees(&f, &f.me, s, ".temporary"));
	cr_assert(sees(&f, &f.me, TP_NODE_CACHE, "open"));
	cr_assert_eq(tp_stats_get(&f.store->stats, TP_STAT_NOSPACE), 1);
	cr_assert_eq(file_close(&f, &open), 0);
	cr_assert_eq(put_waiting(&f, TP_NODE_CACHE, "much", 1200 * KIB, 6), 0);
	cr_assert_not(sees(&f, &f.me, TP_NODE_CACHE, "open"));
	fixture_close(&f);
}

Test(evict, samples_stay_whatever_is_written_over_the_cache)
{
	struct fixture f;
	uint64_t s;

	fixture_open(&f, 4 * MIB, NULL);
	s = make_dir(&f, TP_NODE_SAMPLES, "s");
	fill(&f, s, "s", 16, 64 * KIB);
	fill(&f, TP_NODE_CACHE, "f", 100, 100 * KIB);
	cr_assert_eq(count_names(&f, s, "s", 16), 16);
	fixture_close(&f);
}

Test(evict, what_is_pinned_stays_though_many_others_go_in_one_round)
{
	struct fixture f;
	uint64_t pinned;

	fixture_open(&f, 4 * MIB, NULL);
	pinned = make_dir(&f, TP_NODE_CACHE, "pinned");
	cr_assert_eq(set_rule(&f, pinned, "pin", "1"), 0);
	fill(&f, pinned, "p", 16, 64 * KIB);
	fill(&f, TP_NODE_CACHE, "f", 600, 16 * KIB);
	cr_assert_eq(count_names(&f, pinned, "p", 16), 16);
	/* An object's own rule beats that of its directory. */
	cr_assert_eq(set_rule(&f, node_of(&f, &f.me, pinned, "p0"), "pin", "0"), 0);
	fill(&f, TP_NODE_CACHE, "g", 600, 16 * KIB);
	cr_assert_eq(count_names(&f, pinned, "p", 16), 15);
	cr_assert_not(sees(&f, &f.me, pinned, "p0"));
	fixture_close(&f);
}

Test(evict, half_a_pool_that_is_pinned_stays_when_more_is_asked_for_than_there_is)
{
	struct fixture f;
	uint64_t pinned;

	fixture_open(&f, 4 * MIB, NULL);
	pinned = make_dir(&f, TP_NODE_CACHE, "pinned");
	cr_assert_eq(set_rule(&f, pinned, "pin", "1"), 0);
	fill(&f, pinned, "p", 32, 64 * KIB);
	fill(&f, TP_NODE_CACHE, "f", 32, 32 * KIB);
	cr_assert_eq(put_waiting(&f, TP_NODE_CACHE, "much", 2560 * KIB, 6), -ENOSPC);
	cr_assert_eq(count_names(&f, pinned, "p", 32), 32);
	fixture_close(&f);
}

Test(evict, what_is_pinned_beyond_its_share_of_the_pool_goes)
{
	struct fixture f;
	uint64_t pinned;

	fixture_open(&f, 4 * MIB, NULL);
	pinned = make_dir(&f, TP_NODE_CACHE, "pinned");
	cr_assert_eq(set_rule(&f, pinned, "pin", "1"), 0);
	fill(&f, pinned, "p", 64, 100 * KIB);
	cr_assert_geq(count_names(&f, pinned, "p", 64), 28);
	holds(&f);
	fixture_close(&f);
}

Test(evict, a_name_that_is_being_overwritten_loses_its_old_bytes_and_gets_its_new_ones)
{
	struct fixture f;
	struct tp_who other = process_start();
	struct file draft;

	fixture_open(&f, 4 * MIB, NULL);
	cr_assert_eq(put_bytes(&f, TP_NODE_CACHE, "x", MIB, 1), 0);
	cr_assert_eq(file_open(&f, &other, TP_NODE_CACHE, "x", O_WRONLY | O_TRUNC, &draft), 0);
	cr_assert_eq(file_puts(&f, &draft, 0, "new"), 0);
	forget_told(&f);
	cr_assert(get_room(&f, 4 * MIB - 64 * KIB, 0));
	cr_assert_not(sees(&f, &f.me, TP_NODE_CACHE, "x"));
	cr_assert(told_name(&f, TP_NODE_CACHE, "x"));
	cr_assert(sees(&f, &other, TP_NODE_CACHE, "x"));
	holds(&f);
	cr_assert_eq(file_close(&f, &draft), 0);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "x", "new"));
	process_kill(&other);
	fixture_close(&f);
}

Test(evict, what_a_draft_is_about_to_start_from_stays)
{
	struct fixture f;
	struct tp_who who;
	struct tp_entry published, draft;
	struct file file = {0};

	fixture_open(&f, 4 * MIB, NULL);
	who = f.me;
	put(&f, TP_NODE_CACHE, "x", "old bytes");
	cr_assert_eq(tp_tree_lookup(f.tree, &who, TP_NODE_CACHE, "x", &published), 0);
	cr_assert_eq(tp_tree_open(f.tree, &who, published.node, O_WRONLY, &file.opened), -ESTALE);
	cr_assert_not(get_room(&f, 4 * MIB, 0));
	cr_assert_eq(tp_tree_lookup(f.tree, &who, TP_NODE_CACHE, "x", &draft), 0);
	cr_assert_eq(tp_tree_open(f.tree, &who, draft.node, O_WRONLY, &file.opened), 0);
	file.who = who;
	file.node = draft.node;
	cr_assert_eq(file_puts(&f, &file, 0, "new"), 0);
	cr_assert_eq(file_close(&f, &file), 0);
	tp_tree_forget(f.tree, published.node, 1);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "x", "new bytes"));
	fixture_close(&f);
}

Test(evict, superseded_bytes_that_nobody_reads_go_before_anything_else)
{
	struct fixture f;
	struct tp_who who;
	struct tp_entry e;

	fixture_open(&f, 4 * MIB, NULL);
	who = f.me;
	cr_assert_eq(put_bytes(&f, TP_NODE_CACHE, "x", 1536 * KIB, 1), 0);
	cr_assert_eq(tp_tree_lookup(f.tree, &who, TP_NODE_CACHE, "x", &e), 0);
	cr_assert_eq(put_bytes(&f, TP_NODE_CACHE, "x", 1536 * KIB, 2), 0);
	cr_assert_eq(f.tree->old_bytes, 1536 * KIB);
	cr_assert(get_room(&f, 2 * MIB, 0));
	holds(&f);
	cr_assert_eq(f.tree->old_bytes, 0);
	cr_assert(sees(&f, &f.me, TP_NODE_CACHE, "x"));
	/* An opener that comes for them now is sent to the new ones. */
	struct tp_opened opened;

	cr_assert_eq(tp_tree_open(f.tree, &who, e.node, O_RDONLY, &opened), -ESTALE);
	tp_tree_forget(f.tree, e.node, 1);
	fixture_close(&f);
}

/* Somebody wrote it, closed it, and is about to rename it. */
Test(evict, what_has_a_temporary_name_stays_while_anything_else_may_go_and_goes_then)
{
	struct fixture f;
	char name[16];

	fixture_open(&f, MIB, NULL);
	cr_assert_eq(put_bytes(&f, TP_NODE_CACHE, ".first.tmp", 40000, 1), 0);
	for (unsigned i = 0; i < 100; i++)
		cr_assert_eq(put_waiting(&f, TP_NODE_CACHE, numbered("o", i), 40000, i + 2), 0);
	cr_assert(sees(&f, &f.me, TP_NODE_CACHE, ".first.tmp"), "it is the coldest of all");
	cr_assert_gt(tp_stats_get(&f.store->stats, TP_STAT_EVICTED), 0);
	/* Nothing but temporary names: without room there would be none for anybody. */
	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(name, sizeof(name), ".o%u.tmp", i);
		cr_assert_eq(put_waiting(&f, TP_NODE_CACHE, name, 40000, i + 200), 0, "%u", i);
	}
	cr_assert(!sees(&f, &f.me, TP_NODE_CACHE, ".first.tmp"));
	holds(&f);
	fixture_close(&f);
}

Test(evict, all_names_of_an_object_go_at_once)
{
	struct fixture f;
	uint64_t d;

	fixture_open(&f, 4 * MIB, NULL);
	d = make_dir(&f, TP_NODE_CACHE, "d");
	cr_assert_eq(put_bytes(&f, TP_NODE_CACHE, "x", MIB, 1), 0);
	cr_assert_eq(link_as(&f, &f.me, TP_NODE_CACHE, "x", d, "y"), 0);
	forget_told(&f);
	cr_assert(get_room(&f, 4 * MIB, 0));
	cr_assert(told_name(&f, TP_NODE_CACHE, "x"));
	cr_assert(told_name(&f, d, "y"));
	cr_assert_not(sees(&f, &f.me, d, "y"));
	cr_assert_eq(f.tree->objects, 0);
	fixture_close(&f);
}

Test(evict, who_stops_waiting_is_not_called)
{
	struct fixture f;
	struct waiting w;

	fixture_open(&f, 4 * MIB, NULL);
	cr_assert_eq(put_bytes(&f, TP_NODE_CACHE, "x", 3 * MIB, 1), 0);
	f.hold = true;
	ask_room(&f, &w, 4 * MIB, 0);
	wait_gone(&f, TP_NODE_CACHE, "x");
	cr_assert(tp_evictor_unwait(f.store->evictor, &w.room));
	cr_assert_not(tp_evictor_unwait(f.store->evictor, &w.room));
	f.hold = false;
	let_kernel_hear(&f);
	cr_assert(get_room(&f, MIB, 0));
	cr_assert_eq(w.called, 0);
	fixture_close(&f);
}

Test(evict, waiters_are_served_in_the_order_of_their_coming)
{
	struct fixture f;
	struct waiting w[3];

	fixture_open(&f, 4 * MIB, NULL);
	for (unsigned i = 0; i < 3; i++)
		ask_room(&f, &w[i], i == 1 ? 5 * MIB : MIB, 0);
	wait_until(was_called, &w[2]);
	cr_assert_eq(w[0].called, 1);
	cr_assert_eq(w[1].called, 2, "more than there ever is");
	cr_assert_eq(w[2].called, 1);
	fixture_close(&f);
}

Test(evict, a_write_that_has_to_copy_a_shared_piece_is_told_that_there_is_no_room_for_it)
{
	struct fixture f;
	struct file reader, writer;
	struct iovec iov = {(void *)"x", 1};
	struct tp_write w = {.iov = &iov, .iov_count = 1, .len = 1};
	unsigned tried;
	int r;

	fixture_open(&f, 4 * MIB, NULL);
	cr_assert_eq(put_bytes(&f, make_dir(&f, TP_NODE_SAMPLES, "s"), "s", 2560 * KIB, 2), 0);
	cr_assert_eq(put_bytes(&f, TP_NODE_CACHE, "x", MIB, 1), 0);
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_RDONLY, &reader), 0);
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_RDWR, &writer), 0);
	for (tried = 0;
		(r = tp_file_write(f.tree, &writer.who, writer.opened.gen, &w)) == -ENOSPC && !w.last_try;
		tried++)
		w.last_try = !get_room(&f, tp_file_room_bytes(1, tried), 0);
	cr_assert_eq(r, -ENOSPC);
	cr_assert_leq(tried, 2);
	cr_assert_eq(file_close(&f, &writer), -ENOSPC);
	cr_assert_eq(file_close(&f, &reader), 0);
	fixture_close(&f);
}

Test(evict, depth_decides_among_the_cold)
{
	struct fixture f;
	uint64_t parent = TP_NODE_CACHE, chain[12];

	fixture_open(&f, 4 * MIB, NULL);
	/* A chain of directories with one object each. */
	for (unsigned i = 0; i < 12; i++) {
		chain[i] = parent;
		cr_assert_eq(put_waiting(&f, parent, "x", 256 * KIB, i), 0);
		parent = make_dir(&f, parent, "d");
	}
	cr_assert_eq(put_waiting(&f, TP_NODE_CACHE, "other", 768 * KIB, 77), 0);
	cr_assert(get_room(&f, 4 * KIB, 0));
	cr_assert(sees(&f, &f.me, TP_NODE_CACHE, "x"), "the head goes last");
	for (unsigned i = 1; i < 12; i++)
		cr_assert(sees(&f, &f.me, chain[i - 1], "x") || !sees(&f, &f.me, chain[i], "x"));
	cr_assert_not(sees(&f, &f.me, chain[11], "x"));
	holds(&f);
	fixture_close(&f);
}

/* What df shows */

static uint64_t kept(struct fixture *f)
{
	return tp_pool_size_pages(f->store->pool) * TP_PAGE_BYTES -
	       tp_evictor_available_bytes(f->store->evictor);
}

Test(evict, available_is_what_is_free_or_may_go_and_nothing_that_is_open_written_or_a_sample)
{
	struct fixture f;
	struct file open, again, draft, unlinked;
	uint64_t s;

	fixture_open(&f, 16 * MIB, NULL);
	s = make_dir(&f, TP_NODE_SAMPLES, "s");
	cr_assert_eq(kept(&f), 0);
	fill(&f, TP_NODE_CACHE, "f", 4, MIB);
	cr_assert_eq(kept(&f), 0);
	cr_assert_eq(put_bytes(&f, s, "sample", MIB, 1), 0);
	cr_assert_eq(kept(&f), MIB);
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "f0", O_RDONLY, &open), 0);
	cr_assert_eq(kept(&f), 2 * MIB);
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "f0", O_RDONLY, &again), 0);
	cr_assert_eq(kept(&f), 2 * MIB);
	/* What replaces it may go, what is still read of it not. */
	cr_assert_eq(put_bytes(&f, TP_NODE_CACHE, "f0", MIB, 77), 0);
	cr_assert_eq(kept(&f), 2 * MIB);
	cr_assert_eq(file_close(&f, &open), 0);
	cr_assert_eq(kept(&f), 2 * MIB);
	cr_assert_eq(file_close(&f, &again), 0);
	cr_assert_eq(kept(&f), MIB);
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "draft", O_WRONLY | O_CREAT, &draft), 0);
	cr_assert_eq(file_puts(&f, &draft, 0, "written"), 0);
	cr_assert_eq(kept(&f), MIB + TP_PAGE_BYTES);
	cr_assert_eq(file_close(&f, &draft), 0);
	cr_assert_eq(unlink_as(&f, &f.me, TP_NODE_CACHE, "draft"), 0);
	cr_assert_eq(kept(&f), MIB);
	/* Open without a name. */
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "f1", O_RDONLY, &unlinked), 0);
	cr_assert_eq(unlink_as(&f, &f.me, TP_NODE_CACHE, "f1"), 0);
	cr_assert_eq(kept(&f), 2 * MIB);
	cr_assert_eq(file_close(&f, &unlinked), 0);
	cr_assert_eq(kept(&f), MIB);
	holds(&f);
	fixture_close(&f);
}

Test(evict, available_is_nothing_that_is_held_without_being_open)
{
	struct fixture f;
	struct tp_attr attr;
	struct tp_gen *g;
	uint64_t node;

	fixture_open(&f, 16 * MIB, NULL);
	fill(&f, TP_NODE_CACHE, "f", 2, MIB);
	cr_assert_eq(tp_tree_resolve(f.tree, &f.me, "cache/f0", &attr, &node), 0);
	{
		TP_WRLOCK(&f.tree->lock);
		g = tp_container(tp_tree_node(f.tree, node), struct tp_gen, node);
		tp_gen_hold(f.tree, g);
		tp_gen_hold(f.tree, g);
	}
	cr_assert_eq(kept(&f), MIB);
	cr_assert_eq(set_rule(&f, TP_NODE_CACHE, "ttl", "100"), 0);
	cr_assert_eq(kept(&f), MIB);
	holds(&f);
	{
		TP_WRLOCK(&f.tree->lock);
		tp_gen_let_go(f.tree, g);
	}
	cr_assert_eq(kept(&f), MIB);
	{
		TP_WRLOCK(&f.tree->lock);
		tp_gen_let_go(f.tree, g);
	}
	cr_assert_eq(kept(&f), 0);
	holds(&f);
	fixture_close(&f);
}

Test(evict, available_follows_pins_up_to_their_share_of_the_pool)
{
	struct fixture f;
	struct file open;
	uint64_t pinned, sub, plain;

	fixture_open(&f, 16 * MIB, NULL);
	pinned = make_dir(&f, TP_NODE_CACHE, "pinned");
	plain = make_dir(&f, TP_NODE_CACHE, "plain");
	sub = make_dir(&f, plain, "sub");
	fill(&f, pinned, "p", 4, MIB);
	fill(&f, sub, "s", 2, MIB);
	cr_assert_eq(set_rule(&f, pinned, "pin", "1"), 0);
	cr_assert_eq(kept(&f), 4 * MIB);
	/* Open as well: once. */
	cr_assert_eq(file_open(&f, &f.me, pinned, "p0", O_RDONLY, &open), 0);
	cr_assert_eq(kept(&f), 4 * MIB);
	cr_assert_eq(set_rule(&f, node_of(&f, &f.me, pinned, "p0"), "pin", "0"), 0);
	cr_assert_eq(file_close(&f, &open), 0);
	cr_assert_eq(kept(&f), 3 * MIB);
	cr_assert_eq(rename_as(&f, &f.me, pinned, "p1", plain, "p1", 0), 0);
	cr_assert_eq(kept(&f), 2 * MIB);
	cr_assert_eq(rename_as(&f, &f.me, plain, "sub", pinned, "sub", 0), 0);
	cr_assert_eq(kept(&f), 4 * MIB);
	/* The first name decides. */
	cr_assert_eq(link_as(&f, &f.me, sub, "s0", plain, "link"), 0);
	cr_assert_eq(kept(&f), 4 * MIB);
	cr_assert_eq(unlink_as(&f, &f.me, sub, "s0"), 0);
	cr_assert_eq(kept(&f), 3 * MIB);
	cr_assert_eq(set_rule(&f, node_of(&f, &f.me, pinned, "p0"), "pin", ""), 0);
	cr_assert_eq(unlink_as(&f, &f.me, plain, "p1"), 0);
	cr_assert_eq(unlink_as(&f, &f.me, plain, "link"), 0);
	fill(&f, pinned, "more", 7, MIB);
	cr_assert_eq(kept(&f), 11 * MIB);
	fill(&f, pinned, "beyond", 2, MIB);
	cr_assert_eq(kept(&f), 12 * MIB, "three quarters of the pool");
	cr_assert_eq(set_rule(&f, pinned, "pin", "0"), 0);
	cr_assert_eq(kept(&f), 0);
	fixture_close(&f);
}

Test(evict, available_counts_live_objects_as_they_are_changed_by_name)
{
	struct fixture f;
	struct tp_setattr cut = {.set_size = true, .size = 1 * MIB};
	struct file file;
	struct tp_entry e;
	uint64_t live;
	bool failed;

	fixture_open(&f, 16 * MIB, NULL);
	live = make_dir(&f, TP_NODE_CACHE, "live");
	cr_assert_eq(set_rule(&f, live, "commit", "live"), 0);
	cr_assert_eq(set_rule(&f, live, "pin", "1"), 0);
	cr_assert_eq(put_bytes(&f, live, "x", 2 * MIB, 1), 0);
	cr_assert_eq(kept(&f), 2 * MIB);
	cr_assert_eq(tp_tree_setattr(f.tree, &f.me, node_of(&f, &f.me, live, "x"), NULL, &cut, &e), 0);
	cr_assert_eq(kept(&f), MIB);
	cut.size = (uint64_t)TP_MAP_SIZE_MAX + 1;
	cr_assert_eq(tp_tree_setattr(f.tree, &f.me, node_of(&f, &f.me, live, "x"), NULL, &cut, &e), -EFBIG);
	holds(&f);
	for (unsigned n = 1; n < 100; n++) {
		int r;

		heap_fail_at(n);
		r = file_open(&f, &f.me, live, "x", O_WRONLY, &file);
		failed = heap_fail_off();
		holds(&f);
		if (r == 0)
			cr_assert_eq(file_close(&f, &file), 0);
		if (!failed)
			break;
	}
	cr_assert_not(failed);
	cr_assert_eq(kept(&f), MIB);
	cr_assert_eq(file_open(&f, &f.me, live, "x", O_WRONLY | O_TRUNC, &file), 0);
	cr_assert_eq(kept(&f), 0);
	cr_assert_eq(file_close(&f, &file), 0);
	holds(&f);
	fixture_close(&f);
}

/* One page holds many: none of them takes a page away from what is available. */
Test(evict, available_counts_small_objects_by_their_bytes)
{
	struct fixture f;
	uint64_t s;

	fixture_open(&f, 4 * MIB, NULL);
	s = make_dir(&f, TP_NODE_SAMPLES, "s");
	cr_assert_eq(put_bytes(&f, s, "sample", 2 * MIB, 1), 0);
	fill(&f, TP_NODE_CACHE, "f", 1000, 200);
	cr_assert_geq(kept(&f), 2 * MIB - 64 * KIB);
	cr_assert_leq(kept(&f), 2 * MIB + 64 * KIB);
	fixture_close(&f);
}

Test(evict, available_counts_what_was_evicted_and_what_was_replaced)
{
	struct fixture f;
	struct tp_who who;
	struct tp_entry e;
	struct waiting w;

	fixture_open(&f, 4 * MIB, NULL);
	who = f.me;
	cr_assert_eq(put_bytes(&f, TP_NODE_CACHE, "x", MIB, 1), 0);
	cr_assert_eq(tp_tree_lookup(f.tree, &who, TP_NODE_CACHE, "x", &e), 0);
	cr_assert_eq(put_bytes(&f, TP_NODE_CACHE, "x", MIB, 2), 0);
	cr_assert_eq(f.tree->old_bytes, MIB);
	cr_assert_eq(kept(&f), 0);
	tp_tree_forget(f.tree, e.node, 1);
	f.hold = true;
	ask_room(&f, &w, 4 * MIB, 0);
	wait_gone(&f, TP_NODE_CACHE, "x");
	while (tp_evictor_pending_bytes(f.store->evictor) == 0)
		(void)usleep(1000);
	cr_assert_eq(kept(&f), 0);
	f.hold = false;
	let_kernel_hear(&f);
	wait_until(was_called, &w);
	fixture_close(&f);
}

#define MANY 4000u

struct many {
	struct fixture f;
	uint64_t d, subs[4];
};

static void many_open(struct many *m)
{
	fixture_open(&m->f, 8 * MIB, NULL);
	m->d = make_dir(&m->f, TP_NODE_CACHE, "d");
	for (unsigned i = 0; i < 4; i++) {
		m->subs[i] = make_dir(&m->f, i == 3 ? m->subs[2] : m->d, numbered("sub", i));
		fill(&m->f, m->subs[i], "in", MANY / 4, 200);
	}
}

static bool all_heard(void *user)
{
	struct many *m = user;
	TP_RDLOCK(&m->f.tree->lock);

	return tp_list_empty(&m->f.tree->ruled);
}

static uint64_t pinned_bytes(struct many *m)
{
	TP_RDLOCK(&m->f.tree->lock);

	return m->f.tree->idle_pinned_bytes;
}

static bool all_gone(void *user)
{
	struct many *m = user;
	TP_RDLOCK(&m->f.tree->lock);

	return m->f.tree->objects == 0;
}

Test(evict, many_hear_of_other_rules_bit_by_bit)
{
	unsigned not_at_once = 0;
	struct many m;

	many_open(&m);
	for (unsigned i = 1; i <= 21; i++) {
		cr_assert_eq(set_rule(&m.f, m.d, "pin", i % 2 ? "1" : "0"), 0);
		not_at_once += !all_heard(&m);
		/* Others get the lock meanwhile, and may change what is walked through. */
		cr_assert_eq(
			rename_as(&m.f, &m.f.me, m.subs[2], numbered("sub", 3), TP_NODE_CACHE, "out", 0), 0);
		cr_assert_eq(
			rename_as(&m.f, &m.f.me, TP_NODE_CACHE, "out", m.subs[2], numbered("sub", 3), 0), 0);
		cr_assert_eq(rename_as(&m.f, &m.f.me, m.d, "sub0", m.d, "sub9", 0), 0);
		cr_assert_eq(rename_as(&m.f, &m.f.me, m.d, "sub9", m.d, "sub0", 0), 0);
		holds(&m.f);
	}
	cr_assert_gt(not_at_once, 0, "the lock was kept for all %u", MANY);
	wait_until(all_heard, &m);
	cr_assert_eq(pinned_bytes(&m), MANY * 256);
	holds(&m.f);
	fixture_close(&m.f);
}

Test(evict, a_directory_may_go_before_what_is_in_it_has_heard_of_other_rules)
{
	struct fixture f;
	uint64_t d, sub = 0;

	fixture_open(&f, 8 * MIB, NULL);
	d = make_dir(&f, TP_NODE_CACHE, "d");
	for (unsigned i = 0; i < 2000; i++) {
		sub = make_dir(&f, d, numbered("sub", i));
		put(&f, sub, "x", "x");
	}
	for (unsigned i = 0; i < 20; i++) {
		/* One of those that are known to have something to tell, and to which nobody has come yet. */
		unsigned victim = 1000 + i;

		cr_assert_eq(set_rule(&f, d, "pin", i % 2 ? "0" : "1"), 0);
		sub = node_of(&f, &f.me, d, numbered("sub", victim));
		cr_assert_eq(unlink_as(&f, &f.me, sub, "x"), 0);
		cr_assert_eq(rmdir_as(&f, &f.me, d, numbered("sub", victim)), 0);
		holds(&f);
	}
	fixture_close(&f);
}

Test(evict, what_moves_to_where_all_have_heard_of_other_rules_has_heard_as_well)
{
	struct many m;
	uint64_t first, second;

	fixture_open(&m.f, 8 * MIB, NULL);
	m.d = make_dir(&m.f, TP_NODE_CACHE, "d");
	first = make_dir(&m.f, m.d, "first");
	second = make_dir(&m.f, m.d, "second");
	fill(&m.f, first, "x", 10, 200);
	fill(&m.f, second, "in", MANY, 200);
	for (unsigned i = 1; i <= 20; i++) {
		cr_assert_eq(set_rule(&m.f, m.d, "pin", i % 2 ? "1" : "0"), 0);
		cr_assert_eq(rename_as(&m.f, &m.f.me, second, numbered("in", MANY - i), first,
				     numbered("moved", i), 0),
			0);
		wait_until(all_heard, &m);
		cr_assert_eq(pinned_bytes(&m), i % 2 ? (MANY + 10) * 256 : 0);
		holds(&m.f);
	}
	fixture_close(&m.f);
}

Test(evict, nobody_is_refused_while_a_pin_spreads)
{
	for (unsigned i = 0; i < 3; i++) {
		struct fixture f;
		uint64_t d;

		fixture_open(&f, 8 * MIB, NULL);
		d = make_dir(&f, TP_NODE_CACHE, "d");
		fill(&f, d, "in", 28000, 256);
		cr_assert_eq(set_rule(&f, d, "pin", "1"), 0);
		/* More is pinned than may be, so some of it goes. */
		cr_assert_eq(put_waiting(&f, TP_NODE_CACHE, "more", 1900 * KIB, 1), 0);
		fixture_close(&f);
	}
}

struct setter {
	struct many *m;
	_Atomic bool ends;
};

static void *set_again_and_again(void *arg)
{
	struct setter *s = arg;

	while (!s->ends)
		(void)set_rule(&s->m->f, s->m->d, "ttl", "3600");
	return NULL;
}

Test(evict, who_sets_rules_without_end_keeps_nobody_waiting)
{
	struct many m;
	struct setter s = {.m = &m};
	pthread_t thread;
	uint64_t stream;

	many_open(&m);
	cr_assert_eq(set_rule(&m.f, m.d, "pin", "1"), 0);
	wait_until(all_heard, &m);
	stream = make_dir(&m.f, TP_NODE_SAMPLES, "s");
	fill(&m.f, stream, "x", 90, 64 * KIB);
	cr_assert_eq(pthread_create(&thread, NULL, set_again_and_again, &s), 0);
	for (unsigned i = 0; i < 20; i++)
		cr_assert_eq(put_waiting(&m.f, TP_NODE_CACHE, "more", 4 * MIB, 1), -ENOSPC);
	s.ends = true;
	pthread_join(thread, NULL);
	fixture_close(&m.f);
}

Test(evict, a_time_to_live_for_many_holds_for_all)
{
	struct many m;

	many_open(&m);
	cr_assert_eq(set_rule(&m.f, m.d, "ttl", "5"), 0);
	wait_until(all_heard, &m);
	move_time(&m.f, 7 * TP_NS_PER_S);
	tp_evictor_look(m.f.store->evictor);
	wait_until(all_gone, &m);
	fixture_close(&m.f);
}
