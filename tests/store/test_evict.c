/* SPDX-License-Identifier: Apache-2.0 */
#include "tree_fixture.h"

#include <stdio.h>
#include <stdlib.h>

/* A program that waits for room as the frontend lets it wait. */
struct waiting {
	struct tp_room_waiter room;
	_Atomic int called; /* 1: try again, 2: there will be none */
};

static void ready(struct tp_room_waiter *w, bool last)
{
	tp_container(w, struct waiting, room)->called = last ? 2 : 1;
}

static bool was_called(void *user)
{
	return ((struct waiting *)user)->called != 0;
}

/* Waits until the evictor says that there is room (true) or that there will be none. */
static bool get_room(struct fixture *f, uint64_t bytes, uint64_t quota_node)
{
	struct waiting w = {.room = {.bytes = bytes, .quota_node = quota_node, .ready = ready}};

	tp_list_init(&w.room.link);
	tp_evictor_wait(f->store->evictor, &w.room);
	wait_until(was_called, &w);
	return w.called == 1;
}

/* Writes a file and makes room for it when there is none. 0, or the error of the last try. */
static int put_waiting(struct fixture *f, uint64_t parent, const char *name, size_t len, unsigned seed)
{
	tp_autofree unsigned char *bytes = malloc(len);
	struct iovec iov = {bytes, len};
	struct tp_write w = {.iov = &iov, .iov_count = 1, .len = len};
	struct file file;
	unsigned tried = 0;
	int r, closed;

	for (size_t i = 0; i < len; i++)
		bytes[i] = (unsigned char)rand_r(&seed);
	r = file_open(f, &f->me, parent, name, O_WRONLY | O_CREAT | O_TRUNC, &file);
	if (r < 0)
		return r;
	while ((r = tp_file_write(f->tree, &file.who, file.opened.gen, &w)) == -ENOSPC || r == -EDQUOT) {
		uint64_t quota_node = r == -EDQUOT ? tp_file_quota_node(f->tree, file.opened.gen, len) : 0;

		if (w.last_try)
			break;
		w.last_try = !get_room(f, tp_file_room_bytes(len, tried++), quota_node);
	}
	closed = file_close(f, &file);
	return r < 0 ? r : closed;
}

static const char *numbered(const char *what, unsigned i)
{
	static char names[4][32];
	static unsigned turn;
	char *name = names[turn++ % 4];

	(void)snprintf(name, sizeof(names[0]), "%s%u", what, i);
	return name;
}

/* The first names of `what`0, 1, ... that are there. */
static unsigned count_names(struct fixture *f, uint64_t parent, const char *what, unsigned max)
{
	unsigned n = 0;

	for (unsigned i = 0; i < max; i++)
		n += sees(f, &f->me, parent, numbered(what, i));
	return n;
}

static void fill(struct fixture *f, uint64_t parent, const char *what, unsigned count, size_t len)
{
	for (unsigned i = 0; i < count; i++)
		cr_assert_eq(put_waiting(f, parent, numbered(what, i), len, i), 0);
}

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
	struct waiting w = {.room = {.bytes = MIB, .ready = ready}};
	uint64_t used;

	fixture_open(&f, 4 * MIB, NULL);
	cr_assert_eq(put_bytes(&f, TP_NODE_CACHE, "x", 3400 * KIB, 1), 0);
	used = pool_used_bytes(&f);
	f.hold = true;
	forget_told(&f);
	tp_list_init(&w.room.link);
	tp_evictor_wait(f.store->evictor, &w.room);
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
	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(name, sizeof(name), "o%u", i);
		cr_assert_eq(put_waiting(&f, TP_NODE_CACHE, name, 40000, i + 2), 0);
	}
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
	struct waiting w = {.room = {.bytes = 4 * MIB, .ready = ready}};

	fixture_open(&f, 4 * MIB, NULL);
	cr_assert_eq(put_bytes(&f, TP_NODE_CACHE, "x", 3 * MIB, 1), 0);
	f.hold = true;
	tp_list_init(&w.room.link);
	tp_evictor_wait(f.store->evictor, &w.room);
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
	for (unsigned i = 0; i < 3; i++) {
		w[i] = (struct waiting){.room = {.bytes = i == 1 ? 5 * MIB : MIB, .ready = ready}};
		tp_list_init(&w[i].room.link);
		tp_evictor_wait(f.store->evictor, &w[i].room);
	}
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

/* Quotas */

Test(evict, a_quota_evicts_below_its_directory_and_nowhere_else)
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

Test(evict, a_quota_says_edquot_when_all_below_it_is_pinned)
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

Test(evict, a_quota_that_is_set_below_what_is_there_makes_it_hold)
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

Test(evict, every_directory_that_is_above_its_quota_is_brought_down)
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

Test(evict, what_a_quota_counts_for_small_objects_is_what_goes_for_it)
{
	struct fixture f;
	struct tp_object *o;
	uint64_t d;

	fixture_open(&f, 8 * MIB, NULL);
	d = make_dir(&f, TP_NODE_CACHE, "d");
	o = tp_tree_object_of(tp_tree_node(f.tree, d));
	fill(&f, d, "in", 300, 200);
	cr_assert_eq(o->dir->bytes_below, 300 * TP_PAGE_BYTES);
	cr_assert_eq(set_rule(&f, d, "quota", "1M"), 0);
	wait_until(below_a_mib, o);
	cr_assert_eq(count_names(&f, d, "in", 300), 256);
	fixture_close(&f);
}

Test(evict, a_quota_below_which_nothing_may_go_holds_up_no_other_and_is_tried_again)
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

Test(evict, a_quota_that_stays_stuck_is_tried_more_and_more_seldom)
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

Test(evict, what_is_on_its_way_is_enough_for_a_quota)
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

Test(evict, a_quota_set_on_a_directory_that_was_removed_means_nothing)
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

Test(evict, quotas_are_counted_down_when_their_directory_goes)
{
	struct fixture f;

	fixture_open(&f, 8 * MIB, NULL);
	cr_assert_eq(set_rule(&f, make_dir(&f, TP_NODE_CACHE, "d"), "quota", "1M"), 0);
	cr_assert_eq(f.tree->quotas, 1);
	cr_assert_eq(rmdir_as(&f, &f.me, TP_NODE_CACHE, "d"), 0);
	cr_assert_eq(f.tree->quotas, 0);
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
	struct waiting w = {.room = {.bytes = 4 * MIB, .ready = ready}};

	fixture_open(&f, 4 * MIB, NULL);
	who = f.me;
	cr_assert_eq(put_bytes(&f, TP_NODE_CACHE, "x", MIB, 1), 0);
	cr_assert_eq(tp_tree_lookup(f.tree, &who, TP_NODE_CACHE, "x", &e), 0);
	cr_assert_eq(put_bytes(&f, TP_NODE_CACHE, "x", MIB, 2), 0);
	cr_assert_eq(f.tree->old_bytes, MIB);
	cr_assert_eq(kept(&f), 0);
	tp_tree_forget(f.tree, e.node, 1);
	f.hold = true;
	tp_list_init(&w.room.link);
	tp_evictor_wait(f.store->evictor, &w.room);
	wait_gone(&f, TP_NODE_CACHE, "x");
	while (tp_evictor_pending_bytes(f.store->evictor) == 0)
		(void)usleep(1000);
	cr_assert_eq(kept(&f), 0);
	f.hold = false;
	let_kernel_hear(&f);
	wait_until(was_called, &w);
	fixture_close(&f);
}

/* Times to live */

Test(evict, an_object_goes_when_its_time_is_over_and_not_before)
{
	struct fixture f;
	struct file open;
	uint64_t d, s;

	fixture_open(&f, 8 * MIB, NULL);
	d = make_dir(&f, TP_NODE_CACHE, "d");
	s = make_dir(&f, TP_NODE_SAMPLES, "s");
	put(&f, d, "before", "set later");
	cr_assert_eq(set_rule(&f, d, "ttl", "60"), 0);
	put(&f, d, "x", "x");
	put(&f, d, "own", "x");
	put(&f, s, "sample", "x");
	put(&f, TP_NODE_CACHE, "none", "x");
	cr_assert_eq(set_rule(&f, node_of(&f, &f.me, d, "own"), "ttl", "600"), 0);
	cr_assert_eq(file_open(&f, &f.me, d, "x", O_RDONLY, &open), 0);
	move_time(&f, 59 * TP_NS_PER_S);
	put(&f, d, "later", "x");
	cr_assert(get_room(&f, TP_PAGE_BYTES, 0), "the thread has been round");
	cr_assert(sees(&f, &f.me, d, "x"));
	forget_told(&f);
	move_time(&f, 2 * TP_NS_PER_S);
	wait_gone(&f, d, "x");
	wait_gone(&f, d, "before");
	cr_assert(told_name(&f, d, "x"));
	cr_assert(has_text(&f, &open, "x"), "who has it open keeps it");
	cr_assert_eq(file_close(&f, &open), 0);
	cr_assert(sees(&f, &f.me, d, "own"));
	cr_assert(sees(&f, &f.me, d, "later"));
	cr_assert(sees(&f, &f.me, s, "sample"));
	cr_assert(sees(&f, &f.me, TP_NODE_CACHE, "none"));
	cr_assert_eq(tp_stats_get(&f.store->stats, TP_STAT_EXPIRED), 2);
	holds(&f);
	move_time(&f, 600 * TP_NS_PER_S);
	wait_gone(&f, d, "own");
	wait_gone(&f, d, "later");
	fixture_close(&f);
}

Test(evict, a_temporary_name_in_a_stream_goes_an_hour_after_its_last_close)
{
	struct fixture f;
	struct file written, read;
	uint64_t s;

	fixture_open(&f, 8 * MIB, NULL);
	s = make_dir(&f, TP_NODE_SAMPLES, "s");
	put(&f, s, ".left", "x");
	put(&f, s, ".committed", "x");
	put(&f, s, ".linked", "x");
	put(&f, s, ".moved", "x");
	put(&f, s, ".read", "x");
	put(&f, s, "sample", "x");
	put(&f, s, "withdrawn", "x");
	put(&f, TP_NODE_CACHE, ".cached", "x");
	cr_assert_eq(file_open(&f, &f.me, s, ".written", O_WRONLY | O_CREAT, &written), 0);
	move_time(&f, 3000 * TP_NS_PER_S);
	cr_assert_eq(rename_as(&f, &f.me, s, ".committed", s, "committed", 0), 0);
	cr_assert_eq(link_as(&f, &f.me, s, ".linked", s, "linked"), 0);
	cr_assert_eq(rename_as(&f, &f.me, s, ".moved", s, "moved.tmp", 0), 0);
	cr_assert_eq(rename_as(&f, &f.me, s, "withdrawn", s, ".withdrawn", 0), 0);
	cr_assert_eq(file_open(&f, &f.me, s, ".read", O_RDONLY, &read), 0);
	move_time(&f, 599 * TP_NS_PER_S);
	cr_assert(get_room(&f, TP_PAGE_BYTES, 0), "the thread has been round");
	cr_assert(sees(&f, &f.me, s, ".left"));
	move_time(&f, 2 * TP_NS_PER_S);
	wait_gone(&f, s, ".left");
	wait_gone(&f, s, "moved.tmp");
	cr_assert(get_room(&f, TP_PAGE_BYTES, 0));
	cr_assert_eq(tp_stats_get(&f.store->stats, TP_STAT_EXPIRED), 2);
	cr_assert_eq(file_close(&f, &written), 0);
	cr_assert_eq(file_close(&f, &read), 0);
	move_time(&f, 3000 * TP_NS_PER_S);
	wait_gone(&f, s, ".withdrawn");
	cr_assert(sees(&f, &f.me, s, ".written"));
	cr_assert(sees(&f, &f.me, s, ".read"));
	/* What loses the name that made it a sample is none any more. */
	cr_assert_eq(unlink_as(&f, &f.me, s, "linked"), 0);
	move_time(&f, 602 * TP_NS_PER_S);
	wait_gone(&f, s, ".written");
	wait_gone(&f, s, ".read");
	wait_gone(&f, s, ".linked");
	cr_assert_eq(tp_stats_get(&f.store->stats, TP_STAT_EXPIRED), 6);
	cr_assert_str_eq(list_as(&f, &f.me, s), "sample committed ");
	cr_assert(sees(&f, &f.me, TP_NODE_CACHE, ".cached"));
	fixture_close(&f);
}

Test(evict, what_moves_the_change_time_of_an_object_gives_it_no_more_time_to_live)
{
	struct fixture f;
	struct tp_setattr mode = {.set_mode = true, .mode = 0600};
	struct tp_entry e;
	uint64_t d, node;

	fixture_open(&f, 8 * MIB, NULL);
	d = make_dir(&f, TP_NODE_CACHE, "d");
	cr_assert_eq(set_rule(&f, d, "ttl", "60"), 0);
	put(&f, d, "mode", "x");
	put(&f, d, "linked", "x");
	put(&f, d, "renamed", "x");
	put(&f, d, "attribute", "x");
	put(&f, d, "kept", "x");
	move_time(&f, 40 * TP_NS_PER_S);
	cr_assert_eq(tp_tree_setattr(f.tree, &f.me, node_of(&f, &f.me, d, "mode"), NULL, &mode, &e), 0);
	cr_assert_eq(link_as(&f, &f.me, d, "linked", TP_NODE_CACHE, "link"), 0);
	cr_assert_eq(rename_as(&f, &f.me, d, "renamed", d, "moved", 0), 0);
	node = node_of(&f, &f.me, d, "attribute");
	cr_assert_eq(tp_tree_set_xattr(f.tree, &f.me, node, "user.x", "1", 1, 0), 0);
	/* The same bytes again are a publication. */
	put(&f, d, "kept", "x");
	cr_assert_eq(tp_stats_get(&f.store->stats, TP_STAT_DEDUPED), 1);
	move_time(&f, 21 * TP_NS_PER_S);
	wait_gone(&f, d, "mode");
	wait_gone(&f, d, "linked");
	wait_gone(&f, TP_NODE_CACHE, "link");
	wait_gone(&f, d, "moved");
	wait_gone(&f, d, "attribute");
	cr_assert(sees(&f, &f.me, d, "kept"));
	move_time(&f, 40 * TP_NS_PER_S);
	wait_gone(&f, d, "kept");
	fixture_close(&f);
}

Test(evict, a_rename_from_a_temporary_name_starts_the_time_to_live)
{
	struct fixture f;
	uint64_t d;

	fixture_open(&f, 8 * MIB, NULL);
	d = make_dir(&f, TP_NODE_CACHE, "d");
	cr_assert_eq(set_rule(&f, d, "ttl", "60"), 0);
	put(&f, d, ".x.tmp", "x");
	put(&f, d, ".y.tmp", "y");
	move_time(&f, 40 * TP_NS_PER_S);
	cr_assert_eq(rename_as(&f, &f.me, d, ".x.tmp", d, "x", 0), 0);
	move_time(&f, 30 * TP_NS_PER_S);
	wait_gone(&f, d, ".y.tmp");
	cr_assert(sees(&f, &f.me, d, "x"));
	move_time(&f, 31 * TP_NS_PER_S);
	wait_gone(&f, d, "x");
	fixture_close(&f);
}

Test(evict, a_time_to_live_counts_from_the_publication_however_it_comes_to_hold)
{
	struct fixture f;
	uint64_t short_lived, changed, d, sub;

	fixture_open(&f, 8 * MIB, NULL);
	short_lived = make_dir(&f, TP_NODE_CACHE, "short");
	d = make_dir(&f, TP_NODE_CACHE, "d");
	sub = make_dir(&f, d, "sub");
	changed = make_dir(&f, TP_NODE_CACHE, "changed");
	cr_assert_eq(set_rule(&f, short_lived, "ttl", "60"), 0);
	put(&f, TP_NODE_CACHE, "file", "x");
	put(&f, TP_NODE_CACHE, "named first", "x");
	put(&f, sub, "below", "x");
	put(&f, TP_NODE_CACHE, "exchanged", "x");
	put(&f, short_lived, "out", "x");
	put(&f, changed, "longer", "x");
	cr_assert_eq(set_rule(&f, changed, "ttl", "60"), 0);
	cr_assert_eq(link_as(&f, &f.me, TP_NODE_CACHE, "named first", short_lived, "named next"), 0);
	move_time(&f, 40 * TP_NS_PER_S);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "file", short_lived, "file", 0), 0);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "d", short_lived, "d", 0), 0);
	cr_assert_eq(
		rename_as(&f, &f.me, TP_NODE_CACHE, "exchanged", short_lived, "out", RENAME_EXCHANGE), 0);
	cr_assert_eq(unlink_as(&f, &f.me, TP_NODE_CACHE, "named first"), 0);
	move_time(&f, 19 * TP_NS_PER_S);
	cr_assert(get_room(&f, TP_PAGE_BYTES, 0), "the thread has been round");
	cr_assert(sees(&f, &f.me, short_lived, "file"));
	cr_assert(sees(&f, &f.me, sub, "below"));
	cr_assert_eq(set_rule(&f, changed, "ttl", "1000"), 0);
	move_time(&f, 2 * TP_NS_PER_S);
	wait_gone(&f, short_lived, "file");
	wait_gone(&f, sub, "below");
	wait_gone(&f, short_lived, "out");
	wait_gone(&f, short_lived, "named next");
	cr_assert(sees(&f, &f.me, TP_NODE_CACHE, "exchanged"), "it left in time");
	cr_assert(sees(&f, &f.me, changed, "longer"));
	cr_assert_eq(set_rule(&f, changed, "ttl", "61"), 0);
	wait_gone(&f, changed, "longer");
	fixture_close(&f);
}

Test(evict, what_is_overwritten_again_and_again_is_noted_a_few_times_only)
{
	struct fixture f;
	char name[16];

	fixture_open(&f, 8 * MIB, NULL);
	cr_assert_eq(set_rule(&f, TP_NODE_CACHE, "ttl", "3600"), 0);
	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(name, sizeof(name), "keep%u", i);
		put(&f, TP_NODE_CACHE, name, "x");
	}
	for (unsigned i = 0; i < 2000; i++) {
		(void)snprintf(name, sizeof(name), "%u", i);
		put(&f, TP_NODE_CACHE, "x", name);
	}
	cr_assert_leq(tp_evictor_expiries(f.store->evictor), 256);
	/* A rule that is set again and again notes all that is below it. */
	for (unsigned i = 0; i < 100; i++)
		cr_assert_eq(set_rule(&f, TP_NODE_CACHE, "ttl", i % 2 ? "1800" : "60"), 0);
	cr_assert_leq(tp_evictor_expiries(f.store->evictor), 256);
	move_time(&f, 1799 * TP_NS_PER_S);
	cr_assert(get_room(&f, TP_PAGE_BYTES, 0), "the thread has been round");
	cr_assert_eq(count_names(&f, TP_NODE_CACHE, "keep", 100), 100);
	move_time(&f, 2 * TP_NS_PER_S);
	wait_gone(&f, TP_NODE_CACHE, "x");
	while (count_names(&f, TP_NODE_CACHE, "keep", 100) > 0)
		(void)usleep(1000);
	while (tp_evictor_expiries(f.store->evictor) > 0)
		(void)usleep(1000);
	fixture_close(&f);
}

Test(evict, overwriting_starts_the_time_to_live_anew_and_a_draft_outlives_the_old)
{
	struct fixture f;
	struct tp_who other = process_start();
	struct file draft;
	uint64_t d;

	fixture_open(&f, 8 * MIB, NULL);
	d = make_dir(&f, TP_NODE_CACHE, "d");
	cr_assert_eq(set_rule(&f, d, "ttl", "60"), 0);
	put(&f, d, "x", "x");
	put(&f, d, "y", "y");
	cr_assert_eq(file_open(&f, &other, d, "y", O_WRONLY | O_TRUNC, &draft), 0);
	cr_assert_eq(file_puts(&f, &draft, 0, "yy"), 0);
	move_time(&f, 40 * TP_NS_PER_S);
	put(&f, d, "x", "xx");
	move_time(&f, 30 * TP_NS_PER_S);
	wait_gone(&f, d, "y");
	cr_assert(reads(&f, &f.me, d, "x", "xx"));
	holds(&f);
	cr_assert_eq(file_close(&f, &draft), 0);
	cr_assert(reads(&f, &f.me, d, "y", "yy"));
	process_kill(&other);
	fixture_close(&f);
}

Test(evict, the_soonest_of_many_times_to_live_comes_first)
{
	struct fixture f;
	uint64_t node;

	fixture_open(&f, 8 * MIB, NULL);
	for (unsigned i = 0; i < 200; i++) {
		char ttl[16];

		put(&f, TP_NODE_CACHE, numbered("f", i), "x");
		(void)snprintf(ttl, sizeof(ttl), "%u", 10 + (i * 73) % 200);
		node = node_of(&f, &f.me, TP_NODE_CACHE, numbered("f", i));
		cr_assert_eq(set_rule(&f, node, "ttl", ttl), 0);
	}
	for (unsigned round = 0; round < 20; round++) {
		unsigned expected = 190 - 10 * round;

		move_time(&f, round ? 10 * TP_NS_PER_S : 19 * TP_NS_PER_S);
		while (count_names(&f, TP_NODE_CACHE, "f", 200) > expected)
			(void)usleep(1000);
		cr_assert_eq(count_names(&f, TP_NODE_CACHE, "f", 200), expected);
	}
	holds(&f);
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
