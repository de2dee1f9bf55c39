/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many names there may be.
 */
#include "evict_fixture.h"

#include <stdio.h>
#include <sys/xattr.h>

static void open_with_names(struct fixture *f, uint64_t names_max, const char *state)
{
	struct tp_store_options o = {
		.state = state,
		.pool = {.size_bytes = POOL, .hugepages = TP_HUGEPAGES_OFF},
		.high_pct = 90,
		.low_pct = 80,
		.names_max = names_max,
		.journal_interval_ns = 50 * TP_NS_PER_MS,
	};

	fixture_open_with(f, &o);
}

static int make_link(struct fixture *f, const char *name, const char *target)
{
	struct tp_who who = f->me;
	struct tp_entry e;
	int r = tp_tree_make(f->tree, &who, TP_NODE_CACHE, name, S_IFLNK | 0777, 0, target, &e);

	if (r == 0)
		tp_tree_forget(f->tree, e.node, 1);
	return r;
}

static int set_xattr(struct fixture *f, uint64_t node, const char *name, size_t len)
{
	static const char value[4096];
	struct tp_who who = f->me;

	return tp_tree_set_xattr(f->tree, &who, node, name, value, len, 0);
}

static uint64_t names(struct fixture *f)
{
	struct tp_tree_counts counts;

	tp_tree_count(f->tree, &counts);
	return counts.names;
}

/* Directories until there may be no more; how many. */
static unsigned make_dirs(struct fixture *f, const char *what)
{
	unsigned n = 0;

	while (make(f, &f->me, TP_NODE_CACHE, numbered(what, n), S_IFDIR | 0755) == 0)
		n++;
	return n;
}

Test(names, what_would_need_one_more_is_refused_and_changes_nothing)
{
	struct fixture f;

	open_with_names(&f, 20, NULL);
	cr_assert_eq(set_rule(&f, TP_NODE_CACHE, "pin", "1"), 0);
	put(&f, TP_NODE_CACHE, "x", "text");
	cr_assert_gt(make_dirs(&f, "d"), 10);
	cr_assert_eq(names(&f), 20);
	cr_assert_eq(make(&f, &f.me, TP_NODE_CACHE, "dir", S_IFDIR | 0755), -ENOSPC);
	cr_assert_eq(make(&f, &f.me, TP_NODE_CACHE, "node", S_IFREG | 0644), -ENOSPC);
	cr_assert_eq(make(&f, &f.me, TP_NODE_CACHE, "fifo", S_IFIFO | 0644), -ENOSPC);
	cr_assert_eq(make_link(&f, "link", "x"), -ENOSPC);
	cr_assert_eq(put_as(&f, &f.me, TP_NODE_CACHE, "file", "text"), -ENOSPC);
	cr_assert_eq(link_as(&f, &f.me, TP_NODE_CACHE, "x", TP_NODE_CACHE, "hard"), -ENOSPC);
	cr_assert_eq(set_xattr(&f, TP_NODE_CACHE, "user.a", 1), -ENOSPC);
	holds(&f);
	cr_assert_eq(names(&f), 20);
	/* What needs none more goes on. */
	cr_assert_eq(put_as(&f, &f.me, TP_NODE_CACHE, "x", "other"), 0);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "x", TP_NODE_CACHE, "y", 0), 0);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "d0", TP_NODE_CACHE, "d1", 0), 0);
	cr_assert_eq(names(&f), 19);
	cr_assert_eq(make(&f, &f.me, TP_NODE_CACHE, "dir", S_IFDIR | 0755), 0);
	cr_assert_eq(make(&f, &f.me, TP_NODE_CACHE, "more", S_IFDIR | 0755), -ENOSPC);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "y", "other"));
	/* The evictor makes room. */
	cr_assert_eq(set_rule(&f, TP_NODE_CACHE, "pin", ""), 0);
	wait_gone(&f, TP_NODE_CACHE, "y");
	cr_assert_eq(make(&f, &f.me, TP_NODE_CACHE, "more", S_IFDIR | 0755), 0);
	fixture_close(&f);
}

Test(names, attributes_and_the_texts_of_links_count_by_their_bytes)
{
	static char text[2049];
	struct fixture f;
	uint64_t before, dir;

	open_with_names(&f, 100, NULL);
	memset(text, 'x', sizeof(text) - 1);
	before = names(&f);
	dir = make_dir(&f, TP_NODE_CACHE, "dir");
	cr_assert_eq(make_link(&f, "link", text), 0);
	cr_assert_eq(names(&f), before + 1 + 5);
	cr_assert_eq(set_xattr(&f, dir, "user.a", 3000), 0);
	cr_assert_eq(names(&f), before + 1 + 5 + 6);
	cr_assert_eq(set_xattr(&f, dir, "user.a", 10), 0);
	cr_assert_eq(names(&f), before + 1 + 5 + 1);
	holds(&f);
	for (unsigned i = 0; make_link(&f, numbered("l", i), text) == 0; i++)
		cr_assert_lt(i, 20);
	cr_assert_leq(names(&f), 100);
	cr_assert_gt(names(&f), 95);
	cr_assert_eq(set_xattr(&f, dir, "user.b", 4000), -ENOSPC);
	holds(&f);
	cr_assert_eq(unlink_as(&f, &f.me, TP_NODE_CACHE, "link"), 0);
	cr_assert_eq(rmdir_as(&f, &f.me, TP_NODE_CACHE, "dir"), 0);
	for (unsigned i = 0; unlink_as(&f, &f.me, TP_NODE_CACHE, numbered("l", i)) == 0; i++)
		;
	cr_assert_eq(names(&f), before);
	fixture_close(&f);
}

/* As it is when eviction has come to its end. */
static bool is_thinned(void *user)
{
	struct fixture *f = user;

	return names(f) <= f->store->options.names_max * 80 / 100;
}

static bool is_below_high(void *user)
{
	struct fixture *f = user;

	return names(f) <= f->store->options.names_max * 90 / 100;
}

Test(names, cold_objects_go_when_there_are_too_many)
{
	struct fixture f;
	uint64_t pinned;

	open_with_names(&f, 200, NULL);
	pinned = make_dir(&f, TP_NODE_CACHE, "pinned");
	cr_assert_eq(set_rule(&f, pinned, "pin", "1"), 0);
	for (unsigned i = 0; i < 50; i++)
		put(&f, pinned, numbered("p", i), "text");
	for (unsigned i = 0; i < 2000; i++)
		put(&f, TP_NODE_CACHE, numbered("f", i), "text");
	wait_until(is_below_high, &f);
	holds(&f);
	cr_assert_eq(count_names(&f, pinned, "p", 50), 50);
	cr_assert_geq(count_names(&f, TP_NODE_CACHE, "f", 2000), 100);
	cr_assert_lt(pool_used_bytes(&f), POOL / 2, "it was not for want of room");
	fixture_close(&f);
}

/* Attributes count no more when the name has gone, though they are there until the kernel has heard of that. */
Test(names, not_more_go_than_have_to_where_attributes_count)
{
	struct fixture f;

	open_with_names(&f, 8000, NULL);
	f.hold = true;
	/* Each counts for nearly nine. */
	for (unsigned i = 0; i < 1100; i++) {
		put(&f, TP_NODE_CACHE, numbered("f", i), "text");
		(void)set_xattr(&f, node_of(&f, &f.me, TP_NODE_CACHE, numbered("f", i)), "user.a", 3900);
	}
	f.hold = false;
	let_kernel_hear(&f);
	wait_until(is_below_high, &f);
	holds(&f);
	/* As many as there are names left for, but for one. */
	cr_assert_geq(count_names(&f, TP_NODE_CACHE, "f", 1100), 730);
	fixture_close(&f);
}

Test(names, what_is_pinned_makes_no_room)
{
	struct fixture f;
	uint64_t pinned;
	unsigned i;

	open_with_names(&f, 2000, NULL);
	pinned = make_dir(&f, TP_NODE_CACHE, "pinned");
	cr_assert_eq(set_rule(&f, pinned, "pin", "1"), 0);
	for (i = 0; i < 3000 && put_as(&f, &f.me, pinned, numbered("p", i), "text") == 0; i++)
		;
	cr_assert_eq(names(&f), 2000);
	cr_assert_eq(count_names(&f, pinned, "p", i), i);
	cr_assert_eq(set_rule(&f, pinned, "pin", ""), 0);
	wait_until(is_thinned, &f);
	cr_assert_eq(put_as(&f, &f.me, pinned, "more", "text"), 0);
	fixture_close(&f);
}

/* The evictor has looked at everything since. */
static void let_evictor_look(struct fixture *f)
{
	for (unsigned i = 0; i < 10; i++) {
		tp_evictor_look(f->store->evictor);
		cr_assert(get_room(f, 1, 0));
	}
}

Test(names, below_high_nothing_goes_also_when_low_was_not_reached)
{
	struct fixture f;

	open_with_names(&f, 200, NULL);
	for (unsigned i = 0; i < 166; i++)
		(void)make_dir(&f, TP_NODE_CACHE, numbered("d", i));
	for (unsigned i = 0; i < 15; i++)
		put(&f, TP_NODE_CACHE, numbered("f", i), "text");
	wait_until(is_below_high, &f);
	let_evictor_look(&f);
	for (unsigned i = 0; i < 5; i++)
		put(&f, TP_NODE_CACHE, numbered("kept", i), "text");
	let_evictor_look(&f);
	cr_assert_eq(count_names(&f, TP_NODE_CACHE, "kept", 5), 5);
	fixture_close(&f);
}

static bool is_stuck(void *user)
{
	struct fixture *f = user;

	return atomic_load(&f->tree->names_stuck);
}

Test(names, what_seems_to_be_cold_and_may_not_go_makes_no_room)
{
	struct fixture f;
	struct file file;
	struct tp_who other = process_start();
	unsigned n = 0;

	open_with_names(&f, 20, NULL);
	put(&f, TP_NODE_CACHE, "x", "text");
	/* A draft has begun from it. */
	cr_assert_eq(file_open(&f, &other, TP_NODE_CACHE, "x", O_RDWR, &file), 0);
	cr_assert_eq(file_puts(&f, &file, 0, "T"), 0);
	n = make_dirs(&f, "d");
	wait_until(is_stuck, &f);
	/* Some may have come before it was found out. */
	while (names(&f) > 20)
		cr_assert_eq(rmdir_as(&f, &f.me, TP_NODE_CACHE, numbered("d", --n)), 0);
	cr_assert_eq(make(&f, &f.me, TP_NODE_CACHE, "more", S_IFDIR | 0755), -ENOSPC);
	cr_assert(sees(&f, &f.me, TP_NODE_CACHE, "x"));
	while (n-- > 10)
		cr_assert_eq(rmdir_as(&f, &f.me, TP_NODE_CACHE, numbered("d", n)), 0);
	cr_assert_eq(make(&f, &f.me, TP_NODE_CACHE, "more", S_IFDIR | 0755), 0);
	cr_assert_eq(file_close(&f, &file), 0);
	process_kill(&other);
	/* It looks again after a rest. */
	(void)make_dirs(&f, "e");
	move_time(&f, 3600 * TP_NS_PER_S);
	wait_gone(&f, TP_NODE_CACHE, "x");
	fixture_close(&f);
}

/* The name would stay. */
Test(names, what_is_being_overwritten_is_not_evicted_for_its_name)
{
	struct fixture f;
	struct file file;
	struct tp_who other = process_start();

	open_with_names(&f, 20, NULL);
	put(&f, TP_NODE_CACHE, "x", "text");
	cr_assert_eq(file_open(&f, &other, TP_NODE_CACHE, "x", O_WRONLY | O_TRUNC, &file), 0);
	cr_assert_eq(file_puts(&f, &file, 0, "new"), 0);
	(void)make_dirs(&f, "d");
	wait_until(is_stuck, &f);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "x", "text"));
	cr_assert_eq(file_close(&f, &file), 0);
	process_kill(&other);
	fixture_close(&f);
}

Test(names, an_attribute_may_be_replaced_at_the_limit)
{
	static const char value[4096];
	struct fixture f;
	struct tp_who who;

	open_with_names(&f, 20, NULL);
	who = f.me;
	cr_assert_eq(set_xattr(&f, TP_NODE_CACHE, "user.a", 1000), 0);
	(void)make_dirs(&f, "d");
	cr_assert_eq(set_xattr(&f, TP_NODE_CACHE, "user.a", 1000), 0);
	cr_assert_eq(set_xattr(&f, TP_NODE_CACHE, "user.a", 3000), -ENOSPC);
	cr_assert_eq(
		tp_tree_set_xattr(f.tree, &who, TP_NODE_CACHE, "user.a", value, 3000, XATTR_CREATE), -EEXIST);
	cr_assert_eq(tp_tree_set_xattr(f.tree, &who, TP_NODE_CACHE, "user.b", value, 3000, XATTR_REPLACE),
		-ENODATA);
	cr_assert_eq(set_xattr(&f, TP_NODE_CACHE, "user.a", 10), 0);
	cr_assert_eq(make(&f, &f.me, TP_NODE_CACHE, "dir", S_IFDIR | 0755), 0);
	holds(&f);
	fixture_close(&f);
}

Test(names, a_store_that_has_more_can_be_opened)
{
	SCRATCH(scratch);
	struct fixture f;
	uint64_t had;

	open_with_names(&f, 0, scratch.path);
	for (unsigned i = 0; i < 100; i++)
		(void)make_dir(&f, TP_NODE_CACHE, numbered("d", i));
	cr_assert_eq(set_xattr(&f, node_of(&f, &f.me, TP_NODE_CACHE, "d0"), "user.a", 1000), 0);
	had = names(&f);
	fixture_close(&f);
	open_with_names(&f, 50, scratch.path);
	cr_assert_eq(names(&f), had);
	holds(&f);
	cr_assert_eq(make(&f, &f.me, TP_NODE_CACHE, "dir", S_IFDIR | 0755), -ENOSPC);
	cr_assert_eq(rmdir_as(&f, &f.me, TP_NODE_CACHE, "d1"), 0);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "d2", TP_NODE_CACHE, "e", 0), 0);
	fixture_close(&f);
}
