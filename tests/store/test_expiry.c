/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Times to live: from when they count, and what goes at their end.
 */
#include "evict_fixture.h"

Test(expiry, an_object_goes_when_its_time_is_over_and_not_before)
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

Test(expiry, a_temporary_name_in_a_stream_goes_an_hour_after_its_last_close)
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

Test(expiry, what_moves_the_change_time_of_an_object_gives_it_no_more_time_to_live)
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

Test(expiry, a_rename_from_a_temporary_name_starts_the_time_to_live)
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

Test(expiry, a_time_to_live_counts_from_the_publication_however_it_comes_to_hold)
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

Test(expiry, what_is_overwritten_again_and_again_is_noted_once)
{
	struct fixture f;

	fixture_open(&f, 8 * MIB, NULL);
	cr_assert_eq(set_rule(&f, TP_NODE_CACHE, "ttl", "3600"), 0);
	for (unsigned i = 0; i < 100; i++)
		put(&f, TP_NODE_CACHE, numbered("keep", i), "x");
	for (unsigned i = 0; i < 2000; i++)
		put(&f, TP_NODE_CACHE, "x", numbered("", i));
	cr_assert_leq(tp_evictor_expiries(f.store->evictor), 102);
	/* So is what hears of other rules again and again. */
	for (unsigned i = 0; i < 100; i++)
		cr_assert_eq(set_rule(&f, TP_NODE_CACHE, "ttl", i % 2 ? "1800" : "60"), 0);
	cr_assert_leq(tp_evictor_expiries(f.store->evictor), 102);
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

Test(expiry, overwriting_starts_the_time_to_live_anew_and_a_draft_outlives_the_old)
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

Test(expiry, the_soonest_of_many_times_to_live_comes_first)
{
	struct fixture f;
	uint64_t node;

	fixture_open(&f, 8 * MIB, NULL);
	for (unsigned i = 0; i < 200; i++) {
		put(&f, TP_NODE_CACHE, numbered("f", i), "x");
		node = node_of(&f, &f.me, TP_NODE_CACHE, numbered("f", i));
		cr_assert_eq(set_rule(&f, node, "ttl", numbered("", 10 + (i * 73) % 200)), 0);
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
