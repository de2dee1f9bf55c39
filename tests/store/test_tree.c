/* SPDX-License-Identifier: Apache-2.0 */
#include "tree_fixture.h"

#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>

/* Names */

Test(tree, a_new_tree_has_its_three_directories_and_nothing_else)
{
	struct fixture f;

	fixture_open(&f, POOL, NULL);
	holds(&f);
	cr_assert_str_eq(list_as(&f, &f.me, TP_NODE_ROOT), "cache samples .tidepool ");
	cr_assert_str_eq(list_as(&f, &f.me, TP_NODE_CACHE), "");
	cr_assert_eq(make(&f, &f.me, TP_NODE_ROOT, "x", S_IFDIR | 0755), -EPERM);
	cr_assert_eq(put_as(&f, &f.me, TP_NODE_ROOT, "x", ""), -EPERM);
	cr_assert_eq(make(&f, &f.me, TP_NODE_CONTROL, "x", S_IFDIR | 0755), -EPERM);
	cr_assert_eq(make(&f, &f.me, TP_NODE_ROOT, "cache", S_IFDIR | 0755), -EPERM);
	cr_assert_eq(rmdir_as(&f, &f.me, TP_NODE_ROOT, "cache"), -EBUSY);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_ROOT, "cache", TP_NODE_ROOT, "c", 0), -EPERM);
	fixture_close(&f);
}

Test(tree, names_may_have_255_bytes_and_no_more)
{
	char name[258];
	struct fixture f;
	struct tp_entry e;

	fixture_open(&f, POOL, NULL);
	memset(name, 'n', sizeof(name));
	name[255] = 0;
	put(&f, TP_NODE_CACHE, name, "x");
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, name, "x"));
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, name, TP_NODE_CACHE, "short", 0), 0);
	name[255] = 'n';
	name[256] = 0;
	cr_assert_eq(make(&f, &f.me, TP_NODE_CACHE, name, S_IFDIR | 0755), -ENAMETOOLONG);
	cr_assert_eq(stat_as(&f, &f.me, TP_NODE_CACHE, name, &e), -ENAMETOOLONG);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "short", TP_NODE_CACHE, name, 0), -ENAMETOOLONG);
	cr_assert_eq(link_as(&f, &f.me, TP_NODE_CACHE, "short", TP_NODE_CACHE, name), -ENAMETOOLONG);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "\n\xff\x01", TP_NODE_CACHE, "x", 0), -ENOENT);
	put(&f, TP_NODE_CACHE, "\n\xff\x01", "any bytes");
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "\n\xff\x01", "any bytes"));
	fixture_close(&f);
}

Test(tree, what_is_no_directory_has_nothing_in_it_and_what_is_unknown_is_stale)
{
	struct fixture f;
	struct tp_entry e;
	uint64_t node;

	fixture_open(&f, POOL, NULL);
	put(&f, TP_NODE_CACHE, "f", "x");
	node = node_of(&f, &f.me, TP_NODE_CACHE, "f");
	cr_assert_eq(stat_as(&f, &f.me, node, "x", &e), -ENOTDIR);
	cr_assert_eq(make(&f, &f.me, node, "x", S_IFDIR | 0755), -ENOTDIR);
	cr_assert_eq(tp_tree_opendir(f.tree, node), -ENOTDIR);
	cr_assert_eq(stat_as(&f, &f.me, 999999, "x", &e), -ESTALE);
	cr_assert_eq(make(&f, &f.me, 999999, "x", S_IFDIR | 0755), -ESTALE);
	cr_assert_eq(tp_tree_opendir(f.tree, 999999), -ESTALE);
	cr_assert_eq(unlink_as(&f, &f.me, TP_NODE_CACHE, "none"), -ENOENT);
	cr_assert_eq(rmdir_as(&f, &f.me, TP_NODE_CACHE, "none"), -ENOENT);
	cr_assert_eq(rmdir_as(&f, &f.me, TP_NODE_CACHE, "f"), -ENOTDIR);
	make_dir(&f, TP_NODE_CACHE, "d");
	cr_assert_eq(unlink_as(&f, &f.me, TP_NODE_CACHE, "d"), -EISDIR);
	cr_assert_eq(make(&f, &f.me, TP_NODE_CACHE, "d", S_IFDIR | 0755), -EEXIST);
	cr_assert_eq(make(&f, &f.me, TP_NODE_CACHE, "f", S_IFIFO | 0644), -EEXIST);
	fixture_close(&f);
}

Test(tree, a_removed_directory_that_is_still_known_takes_nothing_in_and_lists_nothing)
{
	struct fixture f;
	struct tp_who who;
	struct tp_entry e;

	fixture_open(&f, POOL, NULL);
	make_dir(&f, TP_NODE_CACHE, "d");
	who = f.me;
	cr_assert_eq(tp_tree_lookup(f.tree, &who, TP_NODE_CACHE, "d", &e), 0);
	cr_assert_eq(rmdir_as(&f, &f.me, TP_NODE_CACHE, "d"), 0);
	holds(&f);
	cr_assert_eq(make(&f, &f.me, e.node, "x", S_IFDIR | 0755), -ENOENT);
	cr_assert_eq(put_as(&f, &f.me, e.node, "x", ""), -ENOENT);
	cr_assert_str_eq(list_as(&f, &f.me, e.node), "");
	cr_assert_eq(tp_tree_getattr(f.tree, &who, e.node, NULL, &e), 0);
	cr_assert_eq(e.attr.nlink, 0);
	tp_tree_forget(f.tree, e.node, 1);
	cr_assert_eq(tp_tree_getattr(f.tree, &who, e.node, NULL, &e), -ESTALE);
	fixture_close(&f);
}

Test(tree, link_counts_are_those_of_posix)
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

Test(tree, bytes_of_a_file_count_where_its_first_name_lies)
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

Test(tree, rename_moves_replaces_and_refuses_as_posix_says)
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

Test(tree, exchange_swaps_files_and_directories_of_different_depth)
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

Test(tree, links_fifos_and_devices_show_what_they_are)
{
	struct fixture f;
	struct tp_who who;
	struct tp_entry e;
	char buf[PATH_MAX];

	fixture_open(&f, POOL, NULL);
	who = f.me;
	cr_assert_eq(tp_tree_make(f.tree, &who, TP_NODE_CACHE, "l", S_IFLNK | 0777, 0, "some/where", &e), 0);
	cr_assert_eq(e.attr.size, 10);
	cr_assert_eq(tp_tree_readlink(f.tree, e.node, buf, sizeof(buf)), 10);
	cr_assert_arr_eq(buf, "some/where", 10);
	cr_assert_eq(tp_tree_readlink(f.tree, e.node, buf, 4), 4);
	tp_tree_forget(f.tree, e.node, 1);
	cr_assert_eq(tp_tree_make(f.tree, &who, TP_NODE_CACHE, "n", S_IFCHR | 0600, 0x103, NULL, &e), 0);
	cr_assert_eq(e.attr.rdev, 0x103);
	cr_assert_eq(tp_tree_readlink(f.tree, e.node, buf, sizeof(buf)), -EINVAL);
	tp_tree_forget(f.tree, e.node, 1);
	cr_assert_eq(make(&f, &f.me, TP_NODE_CACHE, "p", S_IFIFO | 0600), 0);
	cr_assert_eq(link_as(&f, &f.me, TP_NODE_CACHE, "p", TP_NODE_CACHE, "q"), 0);
	cr_assert_eq(unlink_as(&f, &f.me, TP_NODE_CACHE, "p"), 0);
	cr_assert_eq(f.tree->others, 3);
	holds(&f);
	cr_assert_eq(unlink_as(&f, &f.me, TP_NODE_CACHE, "q"), 0);
	cr_assert_eq(f.tree->others, 2);
	/* mknod of a regular file is complete at once. */
	cr_assert_eq(make(&f, &f.me, TP_NODE_CACHE, "r", S_IFREG | 0600), 0);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "r", ""));
	fixture_close(&f);
}

Test(tree, a_path_is_resolved_for_who_may_search_its_directories)
{
	static const struct {
		uint32_t mode, uid, gid;
		int r;
	} cases[] = {{0711, 5, 5, 0}, {0700, 5, 5, -EACCES}, {0710, 5, 77, 0}, {0701, 5, 77, -EACCES},
		{0100, 99, 5, 0}, {0677, 99, 77, -EACCES}, {0, 0, 0, 0}, {0766, 5, 5, -EACCES}};
	struct fixture f;
	struct tp_attr attr;
	struct tp_entry e;
	uint64_t d, node;

	fixture_open(&f, POOL, NULL);
	d = make_dir(&f, TP_NODE_CACHE, "d");
	put(&f, make_dir(&f, d, "sub"), "x", "there");
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct tp_setattr set = {.set_mode = true, .set_uid = true, .set_gid = true};
		struct tp_who who = {.uid = cases[i].uid, .gid = cases[i].gid};

		set.mode = cases[i].mode;
		set.uid = 99;
		set.gid = 77;
		cr_assert_eq(tp_tree_setattr(f.tree, &f.me, d, NULL, &set, &e), 0);
		cr_assert_eq(
			tp_tree_resolve(f.tree, &who, "cache/d/sub/x", &attr, &node), cases[i].r, "%u", i);
		/* What is not there is not told either. */
		cr_assert_eq(tp_tree_resolve(f.tree, &who, "cache/d/none", &attr, &node),
			cases[i].r ? cases[i].r : -ENOENT, "%u", i);
		/* The directory itself is in one that everybody may search. */
		cr_assert_eq(tp_tree_resolve(f.tree, &who, "cache/d", &attr, &node), 0, "%u", i);
	}
	cr_assert_eq(tp_tree_resolve(f.tree, &f.me, "cache/d/sub/x", &attr, &node), 0);
	cr_assert_eq(attr.size, 5);
	cr_assert_eq(tp_tree_resolve(f.tree, &f.me, "cache/d/sub/x/y", &attr, &node), -ENOTDIR);
	cr_assert_eq(tp_tree_resolve(f.tree, &f.me, "cache/d/../d", &attr, &node), -ENOENT);
	holds(&f);
	fixture_close(&f);
}

Test(tree, setgid_of_a_directory_is_inherited)
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

/* Listing */

struct page {
	char names[40][8];
	unsigned count, max;
	uint64_t cookie;
};

static bool fill_page(
	const char *name, size_t len, uint64_t next_cookie, const struct tp_entry *entry, void *user)
{
	struct page *p = user;

	if (p->count == p->max)
		return false;
	(void)snprintf(p->names[p->count++], 8, "%.*s", (int)len, name);
	p->cookie = next_cookie;
	return true;
}

Test(tree, cookies_stay_good_while_names_are_removed_and_added)
{
	struct page p = {.max = 12};
	struct fixture f;
	struct tp_who who;
	char name[8];
	uint64_t d;

	fixture_open(&f, POOL, NULL);
	who = f.me;
	d = make_dir(&f, TP_NODE_CACHE, "d");
	for (unsigned i = 0; i < 40; i++) {
		(void)snprintf(name, sizeof(name), "%02u", i);
		cr_assert_eq(make(&f, &f.me, d, name, S_IFDIR | 0755), 0);
	}
	cr_assert_eq(tp_tree_readdir(f.tree, &who, d, 0, false, fill_page, &p), 0);
	cr_assert_eq(p.count, 12);
	cr_assert_str_eq(p.names[0], ".");
	cr_assert_str_eq(p.names[1], "..");
	cr_assert_str_eq(p.names[11], "09");
	/* All that was listed goes, the one at the cookie too, and some that was not; the slots are squeezed. */
	for (unsigned i = 0; i < 35; i++) {
		(void)snprintf(name, sizeof(name), "%02u", i);
		cr_assert_eq(rmdir_as(&f, &f.me, d, name), 0);
	}
	cr_assert_eq(make(&f, &f.me, d, "new", S_IFDIR | 0755), 0);
	holds(&f);
	p.count = 0;
	p.max = 40;
	cr_assert_eq(tp_tree_readdir(f.tree, &who, d, p.cookie, false, fill_page, &p), 0);
	cr_assert_eq(p.count, 6);
	cr_assert_str_eq(p.names[0], "35");
	cr_assert_str_eq(p.names[5], "new");
	p.count = 0;
	cr_assert_eq(tp_tree_readdir(f.tree, &who, d, p.cookie, false, fill_page, &p), 0);
	cr_assert_eq(p.count, 0);
	fixture_close(&f);
}

static bool take_two(
	const char *name, size_t len, uint64_t next_cookie, const struct tp_entry *entry, void *user)
{
	uint64_t *nodes = user;

	if (next_cookie <= 2)
		return entry->node == 0;
	if (nodes[0] == 2)
		return false;
	nodes[++nodes[0]] = entry->node;
	return true;
}

Test(tree, a_listing_that_takes_counts_one_reference_for_each_name_it_gave)
{
	uint64_t nodes[3] = {0};
	struct fixture f;
	struct tp_who who;

	fixture_open(&f, POOL, NULL);
	who = f.me;
	for (unsigned i = 0; i < 3; i++)
		put(&f, TP_NODE_CACHE, i == 0 ? "a" : i == 1 ? "b" : "c", "x");
	cr_assert_eq(tp_tree_readdir(f.tree, &who, TP_NODE_CACHE, 0, true, take_two, nodes), 0);
	cr_assert_eq(tp_node_lookups(tp_tree_node(f.tree, nodes[1])), 1);
	cr_assert_eq(tp_node_lookups(tp_tree_node(f.tree, nodes[2])), 1);
	cr_assert_eq(tp_node_lookups(tp_tree_node(f.tree, node_of(&f, &f.me, TP_NODE_CACHE, "c"))), 0);
	tp_tree_forget(f.tree, nodes[1], 1);
	tp_tree_forget(f.tree, nodes[2], 100);
	fixture_close(&f);
}

Test(tree, samples_are_listed_in_the_order_of_their_commits)
{
	struct fixture f;
	struct file a, b;
	uint64_t s;

	fixture_open(&f, POOL, NULL);
	s = make_dir(&f, TP_NODE_SAMPLES, "s");
	cr_assert_eq(file_open(&f, &f.me, s, "a", O_WRONLY | O_CREAT, &a), 0);
	cr_assert_eq(file_open(&f, &f.me, s, "b", O_WRONLY | O_CREAT, &b), 0);
	put(&f, s, "c", "c");
	put(&f, s, ".d.tmp", "d");
	cr_assert_eq(file_close(&f, &b), 0);
	cr_assert_eq(rename_as(&f, &f.me, s, ".d.tmp", s, "d", 0), 0);
	cr_assert_eq(file_close(&f, &a), 0);
	cr_assert_str_eq(list_as(&f, &f.me, s), "c b d a ");
	cr_assert_eq(tp_stats_get(&f.store->stats, TP_STAT_SAMPLES_COMMITTED), 4);
	/* Written again: it keeps its place. */
	put(&f, s, "b", "another");
	cr_assert_str_eq(list_as(&f, &f.me, s), "c b d a ");
	fixture_close(&f);
}

/* What only its writer sees */

Test(tree, a_hidden_draft_is_in_nobodys_way_but_that_of_o_excl)
{
	struct fixture f;
	struct tp_who other = process_start();
	struct file draft, joined;
	struct tp_entry e;

	fixture_open(&f, POOL, NULL);
	cr_assert_eq(file_open(&f, &other, TP_NODE_CACHE, "x", O_WRONLY | O_CREAT | O_EXCL, &draft), 0);
	holds(&f);
	cr_assert(sees(&f, &other, TP_NODE_CACHE, "x"));
	cr_assert_not(sees(&f, &f.me, TP_NODE_CACHE, "x"));
	cr_assert_eq(stat_as(&f, &f.me, TP_NODE_CACHE, "x", &e), -ENOENT);
	cr_assert_str_eq(list_as(&f, &f.me, TP_NODE_CACHE), "");
	cr_assert_str_eq(list_as(&f, &other, TP_NODE_CACHE), "x ");
	cr_assert_eq(unlink_as(&f, &f.me, TP_NODE_CACHE, "x"), -ENOENT);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "x", TP_NODE_CACHE, "y", 0), -ENOENT);
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_WRONLY | O_CREAT | O_EXCL, &joined), -EEXIST);
	/* Without O_EXCL and O_TRUNC it is joined. */
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_WRONLY | O_CREAT, &joined), 0);
	cr_assert_eq(joined.opened.gen, draft.opened.gen);
	cr_assert(sees(&f, &f.me, TP_NODE_CACHE, "x"));
	cr_assert_eq(file_puts(&f, &joined, 0, "ours"), 0);
	cr_assert_eq(file_close(&f, &joined), 0);
	cr_assert_not(sees(&f, &f.me, TP_NODE_CACHE, "x"), "joined only while it was open");
	cr_assert_eq(file_close(&f, &draft), 0);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "x", "ours"));
	process_kill(&other);
	fixture_close(&f);
}

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

Test(tree, mkdir_takes_a_drafts_name_and_its_close_says_eexist)
{
	beaten(mkdir_x);
}

Test(tree, rename_takes_a_drafts_name_and_its_close_says_eexist)
{
	beaten(rename_x);
}

Test(tree, link_takes_a_drafts_name_and_its_close_says_eexist)
{
	beaten(link_x);
}

Test(tree, an_unlinked_draft_is_never_published_and_its_bytes_are_freed)
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

Test(tree, the_kernel_may_forget_a_node_before_the_release_of_its_file_is_read)
{
	struct fixture f;
	struct file draft;
	static const char *const names[] = {"x", ".x"};

	fixture_open(&f, POOL, NULL);
	for (unsigned i = 0; i < 4; i++) {
		cr_assert_eq(
			file_open(&f, &f.me, TP_NODE_CACHE, names[i % 2], O_WRONLY | O_CREAT, &draft), 0);
		cr_assert_eq(file_puts(&f, &draft, 0, "bytes"), 0);
		if (i < 2)
			cr_assert_eq(unlink_as(&f, &f.me, TP_NODE_CACHE, names[i % 2]), 0);
		tp_tree_forget(f.tree, draft.node, 1);
		holds(&f);
		tp_file_release(f.tree, &draft.opened, tp_mono_ns(&f.clock.clock));
		holds(&f);
		cr_assert_eq(sees(&f, &f.me, TP_NODE_CACHE, names[i % 2]), i >= 2);
	}
	fixture_close(&f);
}

Test(tree, rmdir_of_a_directory_with_nothing_but_drafts_of_others_drops_them)
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

Test(tree, a_directory_is_replaced_together_with_the_drafts_in_it)
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

/* Streams */

Test(tree, what_may_be_in_samples_is_checked_by_name_and_kind)
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

/* Without memory: what is refused has changed nothing. */

struct workload {
	struct fixture f;
	struct tp_who other;
	struct file draft;     /* other's, of "hidden" */
	struct file in_target; /* other's, in the directory "target" */
	uint64_t dir, sub, target, stream, link, full;
};

static void workload_open(struct workload *w, const char *state)
{
	struct tp_who me;

	fixture_open(&w->f, POOL, state);
	me = w->f.me;
	w->dir = make_dir(&w->f, TP_NODE_CACHE, "dir");
	w->sub = make_dir(&w->f, w->dir, "sub");
	w->target = make_dir(&w->f, TP_NODE_CACHE, "target");
	w->stream = make_dir(&w->f, TP_NODE_SAMPLES, "s");
	w->full = make_dir(&w->f, TP_NODE_CACHE, "full");
	cr_assert_eq(make(&w->f, &w->f.me, TP_NODE_CACHE, "l", S_IFLNK | 0777), 0);
	cr_assert_eq(link_as(&w->f, &w->f.me, TP_NODE_CACHE, "l", w->dir, "l2"), 0);
	cr_assert_eq(make(&w->f, &w->f.me, TP_NODE_CACHE, "p", S_IFIFO | 0600), 0);
	w->link = node_of(&w->f, &w->f.me, TP_NODE_CACHE, "l");
	cr_assert_eq(tp_tree_set_xattr(w->f.tree, &me, w->full, "user.kept", "value", 5, 0), 0);
	cr_assert_eq(set_rule(&w->f, w->full, "quota", "2M"), 0);
	cr_assert_eq(tp_tree_sync(w->f.tree), 0);
	put(&w->f, TP_NODE_CACHE, "a", "a");
	put(&w->f, TP_NODE_CACHE, "b", "b");
	put(&w->f, w->dir, "c", "c");
	put(&w->f, w->stream, ".t", "t");
	cr_assert_eq(file_open(&w->f, &w->other, TP_NODE_CACHE, "hidden", O_WRONLY | O_CREAT, &w->draft), 0);
	cr_assert_eq(file_open(&w->f, &w->other, w->target, "x", O_WRONLY | O_CREAT, &w->in_target), 0);
	/* Full, so that the next name needs more places. */
	put(&w->f, w->dir, "d", "");
	/* What changes a time from now on can be seen. */
	cr_assert_eq(tp_tree_sync(w->f.tree), 0);
	move_time(&w->f, 1);
}

struct dumped {
	char text[400];
	uint64_t ino;
	uint32_t mode;
};

struct dumping {
	struct dumped entries[32];
	unsigned count;
	bool kept; /* only what is there after the store was opened again */
};

static bool dump_one(const char *name, size_t len, uint64_t next_cookie, const struct tp_entry *e, void *user)
{
	struct dumping *d = user;
	struct dumped *one = &d->entries[d->count];

	if (next_cookie <= 2 || (d->kept && (S_ISREG(e->attr.mode) || e->attr.ino == TP_NODE_CONTROL)))
		return true;
	cr_assert_lt(++d->count, 32);
	one->ino = e->attr.ino;
	one->mode = e->attr.mode;
	(void)snprintf(one->text, sizeof(one->text),
		"%.*s:%o:%u:%u:%u:%zu:%" PRIu64 ":%" PRIu64 ":%" PRIu64 " ", (int)len, name, e->attr.mode,
		e->attr.uid, e->attr.nlink, (unsigned)e->attr.ino,
		S_ISDIR(e->attr.mode) ? 0 : (size_t)e->attr.size, e->attr.atime_ns, e->attr.mtime_ns,
		e->attr.ctime_ns);
	return true;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(((const struct dumped *)a)->text, ((const struct dumped *)b)->text);
}

__attribute__((format(printf, 3, 4))) static void add(char *text, size_t size, const char *fmt, ...)
{
	size_t used = strlen(text);
	va_list ap;

	va_start(ap, fmt);
	cr_assert_lt(vsnprintf(text + used, size - used, fmt, ap), (int)(size - used));
	va_end(ap);
}

static void dump_attributes(
	struct fixture *f, const struct tp_who *me, uint64_t node, char *text, size_t size)
{
	static const char *const ours[] = {"user.tidepool.quota", "user.tidepool.ttl"};
	char names[256], value[256];
	struct tp_who who = *me;
	ssize_t len = tp_tree_list_xattr(f->tree, &who, node, names, sizeof(names)), n;

	cr_assert_geq(len, 0);
	for (const char *name = names; name < names + len; name += strlen(name) + 1) {
		n = tp_tree_get_xattr(f->tree, &who, node, name, value, sizeof(value));
		add(text, size, "%s=%.*s ", name, (int)n, value);
	}
	for (unsigned i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		n = tp_tree_get_xattr(f->tree, &who, node, ours[i], value, sizeof(value));
		if (n > 0)
			add(text, size, "%s=%.*s ", ours[i], (int)n, value);
	}
}

/* kept: without what goes when the store is closed, and sorted, since names are loaded in that order. */
static void dump_below(
	struct fixture *f, const struct tp_who *who, uint64_t node, bool kept, char *text, size_t size)
{
	tp_autofree struct dumping *d = calloc(1, sizeof(*d));
	struct tp_who w = *who;

	d->kept = kept;
	cr_assert_eq(tp_tree_readdir(f->tree, &w, node, 0, false, dump_one, d), 0);
	if (kept)
		qsort(d->entries, d->count, sizeof(d->entries[0]), by_text);
	for (unsigned i = 0; i < d->count; i++) {
		add(text, size, "%s", d->entries[i].text);
		if (!S_ISREG(d->entries[i].mode))
			dump_attributes(f, who, d->entries[i].ino, text, size);
	}
	add(text, size, "/ ");
	for (unsigned i = 0; i < d->count; i++)
		if (S_ISDIR(d->entries[i].mode))
			dump_below(f, who, d->entries[i].ino, kept, text, size);
}

static void dump(struct fixture *f, const struct tp_who *who, uint64_t node, char *text, size_t size)
{
	dump_below(f, who, node, false, text, size);
}

static int make_over_hidden(struct workload *w)
{
	return make(&w->f, &w->f.me, TP_NODE_CACHE, "hidden", S_IFDIR | 0755);
}

static int node_over_hidden(struct workload *w)
{
	return make(&w->f, &w->f.me, TP_NODE_CACHE, "hidden", S_IFREG | 0644);
}

static int symlink_over_hidden(struct workload *w)
{
	return make(&w->f, &w->f.me, TP_NODE_CACHE, "hidden", S_IFLNK | 0777);
}

static int link_over_hidden(struct workload *w)
{
	return link_as(&w->f, &w->f.me, TP_NODE_CACHE, "a", TP_NODE_CACHE, "hidden");
}

static int rename_over_hidden(struct workload *w)
{
	return rename_as(&w->f, &w->f.me, w->dir, "c", TP_NODE_CACHE, "hidden", 0);
}

static int rename_over_file(struct workload *w)
{
	return rename_as(&w->f, &w->f.me, TP_NODE_CACHE, "a", w->dir, "c", 0);
}

static int rename_into_full(struct workload *w)
{
	return rename_as(&w->f, &w->f.me, TP_NODE_CACHE, "a", w->dir, "new", 0);
}

static int rename_over_directory(struct workload *w)
{
	return rename_as(&w->f, &w->f.me, TP_NODE_CACHE, "dir", TP_NODE_CACHE, "target", 0);
}

static int exchange(struct workload *w)
{
	return rename_as(&w->f, &w->f.me, TP_NODE_CACHE, "a", w->dir, "sub", RENAME_EXCHANGE);
}

static int commit(struct workload *w)
{
	return rename_as(&w->f, &w->f.me, w->stream, ".t", w->stream, "t", 0);
}

static int create(struct workload *w)
{
	struct file file;
	int r = file_open(&w->f, &w->f.me, w->dir, "new", O_WRONLY | O_CREAT | O_EXCL, &file);

	return r < 0 ? r : file_close(&w->f, &file);
}

static int create_live(struct workload *w)
{
	struct file file;
	int r = file_open(&w->f, &w->f.me, w->dir, ".new", O_RDONLY | O_CREAT, &file);

	return r < 0 ? r : file_close(&w->f, &file);
}

static int join(struct workload *w)
{
	struct file file;
	int r = file_open(&w->f, &w->f.me, TP_NODE_CACHE, "hidden", O_WRONLY | O_CREAT, &file);

	return r < 0 ? r : file_close(&w->f, &file);
}

static int overwrite(struct workload *w)
{
	struct file file;
	int r = file_open(&w->f, &w->f.me, TP_NODE_CACHE, "a", O_WRONLY, &file);

	return r < 0 ? r : file_close(&w->f, &file);
}

static int overwrite_live(struct workload *w)
{
	struct file file;
	int r = file_open(&w->f, &w->f.me, w->stream, ".t", O_RDWR, &file);

	return r < 0 ? r : file_close(&w->f, &file);
}

static int write_whole(struct workload *w)
{
	return put_as(&w->f, &w->f.me, TP_NODE_CACHE, "a", "another text");
}

static int cut(struct workload *w)
{
	return truncate_as(&w->f, &w->f.me, TP_NODE_CACHE, "b", 0);
}

static int without_name(struct workload *w)
{
	struct file file = {.who = w->f.me};
	struct tp_entry e;
	int r = tp_tree_tmpfile(w->f.tree, &file.who, w->dir, 0600, O_RDWR, &e, &file.opened), closed;

	if (r < 0)
		return r;
	file.node = e.node;
	r = tp_tree_link(w->f.tree, &file.who, e.node, w->dir, "new", &e);
	if (r == 0)
		tp_tree_forget(w->f.tree, e.node, 1);
	closed = file_close(&w->f, &file);
	return r < 0 ? r : closed;
}

static int set_user(struct workload *w)
{
	struct tp_who me = w->f.me;

	return tp_tree_set_xattr(w->f.tree, &me, w->dir, "user.a", "b", 1, 0);
}

static int set_quota(struct workload *w)
{
	return set_rule(&w->f, w->dir, "quota", "1M");
}

static int set_ttl(struct workload *w)
{
	return set_rule(&w->f, w->dir, "ttl", "60");
}

static int remove_file(struct workload *w)
{
	return unlink_as(&w->f, &w->f.me, TP_NODE_CACHE, "a");
}

static int remove_directory(struct workload *w)
{
	return rmdir_as(&w->f, &w->f.me, TP_NODE_CACHE, "target");
}

static int make_directory(struct workload *w)
{
	return make(&w->f, &w->f.me, w->full, "new", S_IFDIR | 0755);
}

static int make_symlink(struct workload *w)
{
	return make(&w->f, &w->f.me, w->full, "new", S_IFLNK | 0777);
}

static int make_fifo(struct workload *w)
{
	return make(&w->f, &w->f.me, w->full, "new", S_IFIFO | 0600);
}

static int link_symlink(struct workload *w)
{
	return link_as(&w->f, &w->f.me, TP_NODE_CACHE, "l", w->full, "new");
}

static int rename_directory(struct workload *w)
{
	return rename_as(&w->f, &w->f.me, TP_NODE_CACHE, "full", w->sub, "moved", 0);
}

static int rename_over_symlink(struct workload *w)
{
	return rename_as(&w->f, &w->f.me, TP_NODE_CACHE, "p", TP_NODE_CACHE, "l", 0);
}

static int rename_file_over_fifo(struct workload *w)
{
	return rename_as(&w->f, &w->f.me, TP_NODE_CACHE, "a", TP_NODE_CACHE, "p", 0);
}

static int exchange_directories(struct workload *w)
{
	return rename_as(&w->f, &w->f.me, w->dir, "sub", TP_NODE_CACHE, "full", RENAME_EXCHANGE);
}

static int remove_one_link(struct workload *w)
{
	return unlink_as(&w->f, &w->f.me, TP_NODE_CACHE, "l");
}

static int remove_fifo(struct workload *w)
{
	return unlink_as(&w->f, &w->f.me, TP_NODE_CACHE, "p");
}

static int set_attributes(struct workload *w, uint64_t node)
{
	struct tp_setattr set = {.set_mode = true,
		.mode = 0700,
		.set_uid = true,
		.uid = 7,
		.set_atime = true,
		.atime_ns = 7,
		.set_mtime = true,
		.mtime_ns = 8};
	struct tp_who me = w->f.me;
	struct tp_entry e;

	return tp_tree_setattr(w->f.tree, &me, node, NULL, &set, &e);
}

static int change_directory(struct workload *w)
{
	return set_attributes(w, w->full);
}

static int change_link(struct workload *w)
{
	return set_attributes(w, w->link);
}

static int replace_user(struct workload *w)
{
	struct tp_who me = w->f.me;

	return tp_tree_set_xattr(w->f.tree, &me, w->full, "user.kept", "another", 7, 0);
}

static int remove_user(struct workload *w)
{
	struct tp_who me = w->f.me;

	return tp_tree_remove_xattr(w->f.tree, &me, w->full, "user.kept");
}

static int remove_quota(struct workload *w)
{
	struct tp_who me = w->f.me;

	return tp_tree_remove_xattr(w->f.tree, &me, w->full, "user.tidepool.quota");
}

static const struct {
	const char *name;
	int (*run)(struct workload *w);
	bool noted; /* the ledger is told of it */
} steps[] = {
	{"make directory", make_directory, true},
	{"make symlink", make_symlink, true},
	{"make fifo", make_fifo, true},
	{"link symlink", link_symlink, true},
	{"rename directory", rename_directory, true},
	{"rename over symlink", rename_over_symlink, true},
	{"rename file over fifo", rename_file_over_fifo, true},
	{"exchange directories", exchange_directories, true},
	{"remove one link", remove_one_link, true},
	{"remove fifo", remove_fifo, true},
	{"change directory", change_directory, true},
	{"change link", change_link, true},
	{"replace user", replace_user, true},
	{"remove user", remove_user, true},
	{"remove quota", remove_quota, true},
	{"make over hidden", make_over_hidden, true},
	{"node over hidden", node_over_hidden},
	{"symlink over hidden", symlink_over_hidden, true},
	{"link over hidden", link_over_hidden},
	{"rename over hidden", rename_over_hidden},
	{"rename over file", rename_over_file},
	{"rename into a full directory", rename_into_full},
	{"rename over directory", rename_over_directory, true},
	{"exchange", exchange, true},
	{"commit", commit},
	{"create", create},
	{"create live", create_live},
	{"join", join},
	{"overwrite", overwrite},
	{"overwrite live", overwrite_live},
	{"write whole", write_whole},
	{"cut", cut},
	{"without name", without_name},
	{"set user", set_user, true},
	{"set quota", set_quota, true},
	{"set ttl", set_ttl, true},
	{"remove file", remove_file},
	{"remove directory", remove_directory, true},
};

/* What a user sees of the whole tree, from both sides. */
struct picture {
	char mine[1 << 14], others[1 << 14], kept[1 << 14];
};

static struct picture *picture_of(struct workload *w)
{
	struct picture *p = calloc(1, sizeof(*p));

	dump(&w->f, &w->f.me, TP_NODE_ROOT, p->mine, sizeof(p->mine));
	dump(&w->f, &w->other, TP_NODE_ROOT, p->others, sizeof(p->others));
	dump_below(&w->f, &w->f.me, TP_NODE_ROOT, true, p->kept, sizeof(p->kept));
	return p;
}

/* The step failed with r, or worked: what is there now is what was there before, or not. Ends w, and opens state, unless that is NULL, again to see that it is so there as well. */
static void check_step(
	struct workload *w, const char *name, int r, const struct picture *before, const char *state)
{
	tp_autofree struct picture *after = NULL;
	char again[1 << 14] = {0};

	if (check_tree(w->f.tree)) {
		/* Whoever was promised a draft may still come. */
		move_time(&w->f, 3 * TP_NS_PER_S);
		tp_file_tick(w->f.tree);
	}
	holds(&w->f);
	after = picture_of(w);
	if (r < 0) {
		cr_assert_str_eq(after->mine, before->mine, "%s: %d", name, r);
		cr_assert_str_eq(after->others, before->others, "%s: %d", name, r);
	}
	(void)file_close(&w->f, &w->draft);
	cr_assert_eq(file_close(&w->f, &w->in_target), 0);
	if (r < 0)
		cr_assert(sees(&w->f, &w->f.me, TP_NODE_CACHE, "hidden"));
	fixture_close(&w->f);
	if (!state)
		return;
	fixture_open(&w->f, POOL, state);
	holds(&w->f);
	dump_below(&w->f, &w->f.me, TP_NODE_ROOT, true, again, sizeof(again));
	cr_assert_str_eq(again, after->kept, "%s: %d, after opening again", name, r);
	fixture_close(&w->f);
}

static void every_allocation_fails(bool with_state)
{
	struct tp_who other = process_start();
	unsigned failures = 0;

	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		bool failed = true;

		for (unsigned n = 1; failed; n++) {
			SCRATCH(s);
			const char *state = with_state ? scratch_path(&s, "state") : NULL;
			struct workload w = {.other = other};
			tp_autofree struct picture *before = NULL;
			int r;

			cr_assert_lt(n, 60, "%s", steps[i].name);
			workload_open(&w, state);
			before = picture_of(&w);
			heap_fail_at(n);
			r = steps[i].run(&w);
			failed = heap_fail_off();
			failures += failed;
			/* Some can do without. */
			cr_assert(r == 0 || (failed && r == -ENOMEM), "%s, %u: %d", steps[i].name, n, r);
			check_step(&w, steps[i].name, r, before, state);
		}
	}
	cr_assert_gt(failures, 60, "%u", failures);
	process_kill(&other);
}

Test(tree, every_allocation_that_fails_leaves_a_change_done_or_not_begun, .timeout = 300)
{
	every_allocation_fails(false);
}

Test(tree, every_allocation_that_fails_leaves_no_trace_in_the_ledger, .timeout = 600)
{
	every_allocation_fails(true);
}

/* The disk is full for whoever asks for room; what is allocated stays. */
static atomic_bool full;

int fallocate(int fd, int mode, off_t offset, off_t len)
{
	if (atomic_load(&full)) {
		errno = ENOSPC;
		return -1;
	}
	return (int)syscall(SYS_fallocate, fd, mode, offset, len);
}

/* Takes all the room that the journal has. */
static uint64_t use_up_room(struct tp_ledger *l)
{
	uint64_t taken = 0;

	for (uint64_t bytes = MIB; bytes > 0; bytes /= 2)
		for (; tp_ledger_promise(l, bytes, true) == 0; taken += bytes)
			cr_assert_lt(taken, 64 * MIB);
	return taken;
}

Test(tree, on_a_full_disk_what_must_be_recorded_is_refused_and_the_rest_works, .timeout = 300)
{
	struct tp_who other = process_start();

	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		SCRATCH(s);
		const char *state = scratch_path(&s, "state");
		struct workload w = {.other = other};
		tp_autofree struct picture *before = NULL, *after = NULL;
		uint64_t taken;
		int r;

		workload_open(&w, state);
		before = picture_of(&w);
		atomic_store(&full, true);
		taken = use_up_room(w.f.store->ledger);
		r = steps[i].run(&w);
		cr_assert_eq(r, steps[i].noted ? -ENOSPC : 0, "%s: %d", steps[i].name, r);
		after = picture_of(&w);
		if (r < 0) {
			cr_assert_str_eq(after->mine, before->mine, "%s", steps[i].name);
			cr_assert_str_eq(after->others, before->others, "%s", steps[i].name);
		}
		atomic_store(&full, false);
		tp_ledger_release(w.f.store->ledger, taken);
		if (r < 0)
			cr_assert_eq(steps[i].run(&w), 0, "%s", steps[i].name);
		check_step(&w, steps[i].name, 0, before, state);
	}
	process_kill(&other);
}
