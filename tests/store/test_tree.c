/* SPDX-License-Identifier: Apache-2.0 */
#include "tree_fixture.h"

#include <limits.h>
#include <stdio.h>

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
