/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes of names: what each does, and what it refuses.
 */
#include "tree_fixture.h"

Test(tree_change, link_counts_are_those_of_posix)
{
	struct fixture f;
	struct tp_entry e;
	uint64_t d, sub;

	fixture_open(&f, POOL, NULL);
	d = make_dir(&f, TP_NODE_CACHE, "d");
	cr_assert_eq(stat_as(&f, &f.me, TP_NODE_CACHE, "d", &e), 0);
	cr_assert_eq(e.attr.nlink, 2);
	sub = make_dir(&f, d, "sub");
	put(&f, d, "file", "x");
	cr_assert_eq(stat_as(&f, &f.me, TP_NODE_CACHE, "d", &e), 0);
	cr_assert_eq(e.attr.nlink, 3);
	cr_assert_eq(link_as(&f, &f.me, d, "file", sub, "again"), 0);
	cr_assert_eq(link_as(&f, &f.me, d, "file", sub, "again"), -EEXIST);
	cr_assert_eq(link_as(&f, &f.me, TP_NODE_CACHE, "d", sub, "dir"), -EPERM);
	cr_assert_eq(stat_as(&f, &f.me, d, "file", &e), 0);
	cr_assert_eq(e.attr.nlink, 2);
	cr_assert_eq(rename_as(&f, &f.me, d, "sub", TP_NODE_CACHE, "sub", 0), 0);
	cr_assert_eq(stat_as(&f, &f.me, TP_NODE_CACHE, "d", &e), 0);
	cr_assert_eq(e.attr.nlink, 2);
	holds(&f);
	cr_assert_eq(unlink_as(&f, &f.me, d, "file"), 0);
	cr_assert_eq(stat_as(&f, &f.me, sub, "again", &e), 0);
	cr_assert_eq(e.attr.nlink, 1);
	cr_assert(reads(&f, &f.me, sub, "again", "x"));
	fixture_close(&f);
}

Test(tree_change, bytes_of_a_file_count_where_its_first_name_lies)
{
	struct fixture f;
	uint64_t a, b;
	const struct tp_object *dir_a, *dir_b;

	fixture_open(&f, POOL, NULL);
	a = make_dir(&f, TP_NODE_CACHE, "a");
	b = make_dir(&f, TP_NODE_CACHE, "b");
	dir_a = tp_tree_object_of(tp_tree_node(f.tree, a));
	dir_b = tp_tree_object_of(tp_tree_node(f.tree, b));
	cr_assert_eq(put_bytes(&f, a, "f", 100 * KIB, 1), 0);
	cr_assert_eq(dir_a->dir->bytes_below, 100 * KIB);
	cr_assert_eq(link_as(&f, &f.me, a, "f", b, "f"), 0);
	cr_assert_eq(dir_b->dir->bytes_below, 0);
	cr_assert_eq(unlink_as(&f, &f.me, a, "f"), 0);
	cr_assert_eq(dir_a->dir->bytes_below, 0);
	cr_assert_eq(dir_b->dir->bytes_below, 100 * KIB);
	holds(&f);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "b", a, "b", 0), 0);
	cr_assert_eq(dir_a->dir->bytes_below, 100 * KIB);
	holds(&f);
	cr_assert_eq(rename_as(&f, &f.me, b, "f", TP_NODE_CACHE, "f", 0), 0);
	cr_assert_eq(dir_a->dir->bytes_below, 0);
	holds(&f);
	cr_assert_eq(unlink_as(&f, &f.me, TP_NODE_CACHE, "f"), 0);
	cr_assert_eq(pool_used_bytes(&f), 0);
	fixture_close(&f);
}

Test(tree_change, rename_moves_replaces_and_refuses_as_posix_says)
{
	struct fixture f;
	uint64_t d, sub, full;

	fixture_open(&f, POOL, NULL);
	d = make_dir(&f, TP_NODE_CACHE, "d");
	sub = make_dir(&f, d, "sub");
	full = make_dir(&f, TP_NODE_CACHE, "full");
	make_dir(&f, TP_NODE_CACHE, "empty");
	put(&f, full, "x", "x");
	put(&f, TP_NODE_CACHE, "a", "a");
	put(&f, TP_NODE_CACHE, "b", "b");
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "none", TP_NODE_CACHE, "x", 0), -ENOENT);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "d", sub, "d", 0), -EINVAL);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "d", d, "d", 0), -EINVAL);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "d", TP_NODE_CACHE, "full", 0), -ENOTEMPTY);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "d", TP_NODE_CACHE, "a", 0), -ENOTDIR);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "a", TP_NODE_CACHE, "d", 0), -EISDIR);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "a", TP_NODE_CACHE, "b", RENAME_NOREPLACE), -EEXIST);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "a", TP_NODE_CACHE, "b", RENAME_WHITEOUT), -EINVAL);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "a", TP_NODE_SAMPLES, "a", 0), -EPERM);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "d", TP_NODE_SAMPLES, "d", 0), -EXDEV);
	holds(&f);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "a", TP_NODE_CACHE, "b", 0), 0);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "b", "a"));
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "b", TP_NODE_CACHE, "b", 0), 0);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "d", TP_NODE_CACHE, "empty", 0), 0);
	cr_assert_str_eq(list_as(&f, &f.me, TP_NODE_CACHE), "full b empty ");
	holds(&f);
	/* Two names of one file: nothing happens. */
	cr_assert_eq(link_as(&f, &f.me, TP_NODE_CACHE, "b", TP_NODE_CACHE, "c"), 0);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "b", TP_NODE_CACHE, "c", 0), 0);
	cr_assert(sees(&f, &f.me, TP_NODE_CACHE, "b"));
	fixture_close(&f);
}

Test(tree_change, exchange_swaps_files_and_directories_of_different_depth)
{
	struct fixture f;
	uint64_t d, e;

	fixture_open(&f, POOL, NULL);
	d = make_dir(&f, TP_NODE_CACHE, "d");
	e = make_dir(&f, d, "e");
	cr_assert_eq(put_bytes(&f, e, "big", 64 * KIB, 1), 0);
	put(&f, TP_NODE_CACHE, "f", "f");
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "f", d, "e", RENAME_EXCHANGE), 0);
	holds(&f);
	cr_assert(reads(&f, &f.me, d, "e", "f"));
	cr_assert_eq(node_of(&f, &f.me, TP_NODE_CACHE, "f"), e);
	cr_assert_eq(
		rename_as(&f, &f.me, TP_NODE_CACHE, "f", TP_NODE_CACHE, "none", RENAME_EXCHANGE), -ENOENT);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "d", d, "e", RENAME_EXCHANGE), -EINVAL);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "d", TP_NODE_CACHE, "d", RENAME_EXCHANGE), 0);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "d", TP_NODE_CACHE, "f", RENAME_EXCHANGE), 0);
	cr_assert_eq(node_of(&f, &f.me, TP_NODE_CACHE, "d"), e);
	cr_assert_str_eq(list_as(&f, &f.me, e), "big ");
	fixture_close(&f);
}

Test(tree_change, setgid_of_a_directory_is_inherited)
{
	struct tp_setattr set = {.set_mode = true, .mode = S_ISGID | 0770, .set_gid = true, .gid = 77};
	struct fixture f;
	struct tp_who who;
	struct tp_entry e;
	uint64_t d;

	fixture_open(&f, POOL, NULL);
	who = f.me;
	d = make_dir(&f, TP_NODE_CACHE, "d");
	cr_assert_eq(tp_tree_setattr(f.tree, &who, d, NULL, &set, &e), 0);
	make_dir(&f, d, "sub");
	put(&f, d, "file", "");
	cr_assert_eq(stat_as(&f, &f.me, d, "sub", &e), 0);
	cr_assert_eq(e.attr.mode, S_IFDIR | S_ISGID | 0755);
	cr_assert_eq(e.attr.gid, 77);
	cr_assert_eq(stat_as(&f, &f.me, d, "file", &e), 0);
	cr_assert_eq(e.attr.mode, S_IFREG | 0644);
	cr_assert_eq(e.attr.gid, 77);
	fixture_close(&f);
}

Test(tree_change, what_may_be_in_samples_is_checked_by_name_and_kind)
{
	struct fixture f;
	uint64_t s, t;

	fixture_open(&f, POOL, NULL);
	cr_assert_eq(put_as(&f, &f.me, TP_NODE_SAMPLES, "x", ""), -EPERM);
	cr_assert_eq(make(&f, &f.me, TP_NODE_SAMPLES, ".s", S_IFDIR | 0755), -EINVAL);
	cr_assert_eq(make(&f, &f.me, TP_NODE_SAMPLES, "#s", S_IFDIR | 0755), -EINVAL);
	cr_assert_eq(make(&f, &f.me, TP_NODE_SAMPLES, "s ", S_IFDIR | 0755), -EINVAL);
	cr_assert_eq(make(&f, &f.me, TP_NODE_SAMPLES, "s\n", S_IFDIR | 0755), -EINVAL);
	s = make_dir(&f, TP_NODE_SAMPLES, "s");
	t = make_dir(&f, TP_NODE_SAMPLES, "t");
	cr_assert_eq(make(&f, &f.me, s, "sub", S_IFDIR | 0755), -EPERM);
	cr_assert_eq(make(&f, &f.me, s, "fifo", S_IFIFO | 0755), -EPERM);
	cr_assert_eq(make(&f, &f.me, s, "link", S_IFLNK | 0755), -EPERM);
	cr_assert_eq(put_as(&f, &f.me, s, ".claim", ""), -EPERM);
	cr_assert_eq(put_as(&f, &f.me, s, ".claim.5", ""), -EPERM);
	cr_assert_eq(put_as(&f, &f.me, s, "#x", ""), -EINVAL);
	put(&f, s, "x", "sample");
	put(&f, s, ".y", "temporary");
	cr_assert_eq(rename_as(&f, &f.me, s, ".y", s, ".ack", 0), -EPERM);
	cr_assert_eq(rename_as(&f, &f.me, s, "x", t, "x", 0), -EXDEV);
	cr_assert_eq(rename_as(&f, &f.me, s, "x", TP_NODE_CACHE, "x", 0), -EXDEV);
	cr_assert_eq(link_as(&f, &f.me, s, "x", TP_NODE_CACHE, "x"), -EXDEV);
	cr_assert_eq(link_as(&f, &f.me, s, "x", t, "x"), -EXDEV);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_SAMPLES, "t", TP_NODE_SAMPLES, "u", 0), 0);
	cr_assert_eq(set_rule(&f, s, "commit", "live"), -EINVAL);
	cr_assert_eq(set_rule(&f, s, "temp", "*.building"), 0);
	put(&f, s, "z.building", "x");
	cr_assert_eq(tp_stats_get(&f.store->stats, TP_STAT_SAMPLES_COMMITTED), 1);
	cr_assert_eq(rmdir_as(&f, &f.me, TP_NODE_SAMPLES, "s"), -ENOTEMPTY);
	fixture_close(&f);
}

/* Drafts whose name or directory goes */

static void beaten(int (*by)(struct fixture *f))
{
	struct fixture f;
	struct tp_who other = process_start();
	struct file draft;

	fixture_open(&f, POOL, NULL);
	put(&f, TP_NODE_CACHE, "mine", "mine");
	cr_assert_eq(file_open(&f, &other, TP_NODE_CACHE, "x", O_WRONLY | O_CREAT, &draft), 0);
	cr_assert_eq(file_puts(&f, &draft, 0, "other's"), 0);
	cr_assert_eq(by(&f), 0);
	holds(&f);
	cr_assert_eq(file_close(&f, &draft), -EEXIST);
	cr_assert(sees(&f, &f.me, TP_NODE_CACHE, "x"));
	cr_assert_not(reads(&f, &f.me, TP_NODE_CACHE, "x", "other's"));
	process_kill(&other);
	fixture_close(&f);
}

static int mkdir_x(struct fixture *f)
{
	return make(f, &f->me, TP_NODE_CACHE, "x", S_IFDIR | 0755);
}

static int rename_x(struct fixture *f)
{
	return rename_as(f, &f->me, TP_NODE_CACHE, "mine", TP_NODE_CACHE, "x", RENAME_NOREPLACE);
}

static int link_x(struct fixture *f)
{
	return link_as(f, &f->me, TP_NODE_CACHE, "mine", TP_NODE_CACHE, "x");
}

Test(tree_change, mkdir_takes_a_drafts_name_and_its_close_says_eexist)
{
	beaten(mkdir_x);
}

Test(tree_change, rename_takes_a_drafts_name_and_its_close_says_eexist)
{
	beaten(rename_x);
}

Test(tree_change, link_takes_a_drafts_name_and_its_close_says_eexist)
{
	beaten(link_x);
}

Test(tree_change, an_unlinked_draft_is_never_published_and_its_bytes_are_freed)
{
	struct fixture f;
	struct file draft;
	struct tp_entry e;

	fixture_open(&f, POOL, NULL);
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_RDWR | O_CREAT, &draft), 0);
	cr_assert_eq(file_puts(&f, &draft, 0, "bytes"), 0);
	cr_assert_eq(unlink_as(&f, &f.me, TP_NODE_CACHE, "x"), 0);
	cr_assert_not(sees(&f, &f.me, TP_NODE_CACHE, "x"));
	cr_assert_eq(tp_tree_getattr(f.tree, &draft.who, draft.node, draft.opened.gen, &e), 0);
	cr_assert_eq(e.attr.nlink, 0);
	cr_assert(has_text(&f, &draft, "bytes"));
	cr_assert_eq(file_puts(&f, &draft, 5, " more"), 0);
	holds(&f);
	cr_assert_eq(file_close(&f, &draft), 0);
	cr_assert_not(sees(&f, &f.me, TP_NODE_CACHE, "x"));
	cr_assert_eq(pool_used_bytes(&f), 0);
	fixture_close(&f);
}

Test(tree_change, rmdir_of_a_directory_with_nothing_but_drafts_of_others_drops_them)
{
	struct fixture f;
	struct tp_who other = process_start();
	struct file draft;
	uint64_t d;

	fixture_open(&f, POOL, NULL);
	d = make_dir(&f, TP_NODE_CACHE, "d");
	cr_assert_eq(file_open(&f, &other, d, "x", O_WRONLY | O_CREAT, &draft), 0);
	cr_assert_eq(file_puts(&f, &draft, 0, "bytes"), 0);
	cr_assert_eq(rmdir_as(&f, &other, TP_NODE_CACHE, "d"), -ENOTEMPTY);
	cr_assert_eq(rmdir_as(&f, &f.me, TP_NODE_CACHE, "d"), 0);
	holds(&f);
	cr_assert_eq(file_close(&f, &draft), 0);
	cr_assert_eq(pool_used_bytes(&f), 0);
	process_kill(&other);
	fixture_close(&f);
}

Test(tree_change, a_directory_is_replaced_together_with_the_drafts_in_it)
{
	struct fixture f;
	struct tp_who other = process_start();
	struct file draft;
	uint64_t d;

	fixture_open(&f, POOL, NULL);
	d = make_dir(&f, TP_NODE_CACHE, "d");
	make_dir(&f, TP_NODE_CACHE, ".d.tmp");
	cr_assert_eq(file_open(&f, &other, d, "x", O_WRONLY | O_CREAT, &draft), 0);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, ".d.tmp", TP_NODE_CACHE, "d", 0), 0);
	holds(&f);
	cr_assert_eq(file_close(&f, &draft), 0);
	cr_assert_str_eq(list_as(&f, &f.me, node_of(&f, &f.me, TP_NODE_CACHE, "d")), "");
	process_kill(&other);
	fixture_close(&f);
}
