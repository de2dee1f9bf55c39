/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What readers see of a name that is written, and what becomes of a draft when its writers end.
 */
#include "tree_fixture.h"

#include <signal.h>

static const struct tp_gen *gen_of(struct fixture *f, uint64_t parent, const char *name)
{
	return tp_container(tp_tree_node(f->tree, node_of(f, &f->me, parent, name)), struct tp_gen, node);
}

/* Overwriting */

Test(gen, readers_keep_the_old_bytes_while_and_after_a_name_is_overwritten)
{
	struct fixture f;
	struct file reader, late, writer;
	struct tp_entry before, after;

	fixture_open(&f, POOL, NULL);
	put(&f, TP_NODE_CACHE, "x", "old");
	cr_assert_eq(stat_as(&f, &f.me, TP_NODE_CACHE, "x", &before), 0);
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_RDONLY, &reader), 0);
	struct tp_who other = process_start();

	forget_told(&f);
	cr_assert_eq(file_open(&f, &other, TP_NODE_CACHE, "x", O_WRONLY | O_TRUNC, &writer), 0);
	cr_assert(told_name(&f, TP_NODE_CACHE, "x"), "at the writing open already");
	cr_assert_eq(file_puts(&f, &writer, 0, "new bytes"), 0);
	holds(&f);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "x", "old"));
	cr_assert(reads(&f, &other, TP_NODE_CACHE, "x", "new bytes"));
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_RDONLY, &late), 0);
	forget_told(&f);
	cr_assert_eq(file_close(&f, &writer), 0);
	cr_assert(told_name(&f, TP_NODE_CACHE, "x"));
	cr_assert(has_text(&f, &reader, "old"));
	cr_assert(has_text(&f, &late, "old"));
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "x", "new bytes"));
	holds(&f);
	cr_assert_eq(file_close(&f, &reader), 0);
	cr_assert_eq(file_close(&f, &late), 0);
	holds(&f);
	cr_assert_eq(stat_as(&f, &f.me, TP_NODE_CACHE, "x", &after), 0);
	cr_assert_eq(after.attr.ino, before.attr.ino);
	cr_assert_neq(after.node, before.node);
	cr_assert_eq(unlink_as(&f, &f.me, TP_NODE_CACHE, "x"), 0);
	cr_assert_eq(pool_used_bytes(&f), 0);
	process_kill(&other);
	fixture_close(&f);
}

Test(gen, a_change_of_some_bytes_keeps_the_others)
{
	struct fixture f;
	struct file writer;

	fixture_open(&f, POOL, NULL);
	put(&f, TP_NODE_CACHE, "x", "0123456789");
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_RDWR, &writer), 0);
	cr_assert_eq(file_puts(&f, &writer, 3, "abc"), 0);
	cr_assert_eq(gen_of(&f, TP_NODE_CACHE, "x"), writer.opened.gen);
	cr_assert_eq(file_close(&f, &writer), 0);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "x", "012abc6789"));
	fixture_close(&f);
}

Test(gen, superseded_bytes_stay_until_the_kernel_forgets_the_node)
{
	struct fixture f;
	struct tp_who other = process_start(), who;
	struct tp_entry e;
	struct tp_opened opened;
	struct file file = {0};

	fixture_open(&f, POOL, NULL);
	put(&f, TP_NODE_CACHE, "x", "old");
	who = f.me;
	/* Looked up, about to be opened. */
	cr_assert_eq(tp_tree_lookup(f.tree, &who, TP_NODE_CACHE, "x", &e), 0);
	cr_assert_eq(put_as(&f, &other, TP_NODE_CACHE, "x", "new"), 0);
	holds(&f);
	cr_assert_gt(f.tree->old_bytes, 0);
	/* Told once to look again; what it finds then it gets, though that is superseded in its turn. */
	cr_assert_eq(tp_tree_open(f.tree, &who, e.node, O_RDONLY, &opened), -ESTALE);
	tp_tree_forget(f.tree, e.node, 1);
	cr_assert_eq(f.tree->old_bytes, 0);
	cr_assert_eq(tp_tree_lookup(f.tree, &who, TP_NODE_CACHE, "x", &e), 0);
	cr_assert_eq(put_as(&f, &other, TP_NODE_CACHE, "x", "newest"), 0);
	cr_assert_gt(f.tree->old_bytes, 0);
	cr_assert_eq(tp_tree_open(f.tree, &who, e.node, O_RDONLY, &opened), 0);
	file = (struct file){.opened = opened, .who = who, .node = e.node};
	cr_assert(has_text(&f, &file, "new"));
	cr_assert_eq(f.tree->old_bytes, 0);
	cr_assert_eq(file_close(&f, &file), 0);
	holds(&f);
	cr_assert_eq(f.tree->old_bytes, 0);
	cr_assert_eq(unlink_as(&f, &f.me, TP_NODE_CACHE, "x"), 0);
	cr_assert_eq(pool_used_bytes(&f), 0);
	process_kill(&other);
	fixture_close(&f);
}

Test(gen, the_same_bytes_again_are_held_once)
{
	struct fixture f;
	uint64_t node, number, used;

	fixture_open(&f, POOL, NULL);
	cr_assert_eq(put_bytes(&f, TP_NODE_CACHE, "x", 100 * KIB, 7), 0);
	node = node_of(&f, &f.me, TP_NODE_CACHE, "x");
	number = gen_of(&f, TP_NODE_CACHE, "x")->number;
	used = pool_used_bytes(&f);
	cr_assert_eq(put_bytes(&f, TP_NODE_CACHE, "x", 100 * KIB, 7), 0);
	cr_assert_eq(node_of(&f, &f.me, TP_NODE_CACHE, "x"), node);
	cr_assert_eq(gen_of(&f, TP_NODE_CACHE, "x")->number, number);
	cr_assert_eq(pool_used_bytes(&f), used);
	cr_assert_eq(tp_stats_get(&f.store->stats, TP_STAT_DEDUPED), 1);
	holds(&f);
	cr_assert_eq(put_bytes(&f, TP_NODE_CACHE, "x", 100 * KIB, 8), 0);
	cr_assert_gt(gen_of(&f, TP_NODE_CACHE, "x")->number, number);
	cr_assert_eq(tp_stats_get(&f.store->stats, TP_STAT_DEDUPED), 1);
	fixture_close(&f);
}

Test(gen, an_old_generation_stays_when_its_overwriter_was_killed)
{
	struct fixture f;
	struct tp_who other = process_start();
	struct file draft;

	fixture_open(&f, POOL, NULL);
	put(&f, TP_NODE_CACHE, "x", "old");
	cr_assert_eq(file_open(&f, &other, TP_NODE_CACHE, "x", O_WRONLY | O_TRUNC, &draft), 0);
	cr_assert_eq(file_puts(&f, &draft, 0, "half"), 0);
	process_end(&other, SIGKILL, 0);
	cr_assert_eq(file_close(&f, &draft), 0);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "x", "old"));
	process_reap(&other);
	fixture_close(&f);
}

Test(gen, truncate_by_path_is_a_publication_and_its_readers_keep_theirs)
{
	struct fixture f;
	struct file reader;

	fixture_open(&f, POOL, NULL);
	put(&f, TP_NODE_CACHE, "x", "0123456789");
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_RDONLY, &reader), 0);
	cr_assert_eq(truncate_as(&f, &f.me, TP_NODE_CACHE, "x", 4), 0);
	holds(&f);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "x", "0123"));
	cr_assert(has_text(&f, &reader, "0123456789"));
	cr_assert_eq(file_close(&f, &reader), 0);
	cr_assert_eq(truncate_as(&f, &f.me, TP_NODE_CACHE, "x", (uint64_t)TP_MAP_SIZE_MAX + 1), -EFBIG);
	holds(&f);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "x", "0123"));
	cr_assert_eq(truncate_as(&f, &f.me, TP_NODE_CACHE, "none", 4), -ENOENT);
	put(&f, TP_NODE_CACHE, ".x", "0123456789");
	cr_assert_eq(truncate_as(&f, &f.me, TP_NODE_CACHE, ".x", 2), 0);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, ".x", "01"));
	fixture_close(&f);
}

/* The kernel looked the name up, and another file took it before the truncation came. */
Test(gen, a_truncation_that_comes_late_leaves_the_bytes_of_who_reads_the_replaced_file)
{
	struct fixture f;
	struct tp_setattr set = {.set_size = true};
	struct tp_who who;
	struct file reader;
	struct tp_entry e;

	fixture_open(&f, POOL, NULL);
	who = f.me;
	put(&f, TP_NODE_CACHE, "x", "0123456789");
	put(&f, TP_NODE_CACHE, "y", "another");
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_RDONLY, &reader), 0);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "y", TP_NODE_CACHE, "x", 0), 0);
	cr_assert_eq(tp_tree_setattr(f.tree, &who, reader.node, NULL, &set, &e), -ESTALE, "look again");
	cr_assert_eq(tp_tree_setattr(f.tree, &who, reader.node, NULL, &set, &e), -ENOENT, "once");
	cr_assert(has_text(&f, &reader, "0123456789"));
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "x", "another"));
	cr_assert_eq(file_close(&f, &reader), 0);
	holds(&f);
	cr_assert_eq(unlink_as(&f, &f.me, TP_NODE_CACHE, "x"), 0);
	fixture_close(&f);
}

Test(gen, what_was_set_on_a_draft_is_there_when_it_is_published)
{
	struct tp_setattr set = {.set_mode = true,
		.mode = 0600,
		.set_mtime = true,
		.mtime_ns = 123456789,
		.set_uid = true,
		.uid = 5};
	struct fixture f;
	struct file file;
	struct tp_entry e;
	char value[16];

	fixture_open(&f, POOL, NULL);
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_RDWR | O_CREAT, &file), 0);
	cr_assert_eq(file_puts(&f, &file, 0, "bytes"), 0);
	cr_assert_eq(tp_tree_setattr(f.tree, &file.who, file.node, file.opened.gen, &set, &e), 0);
	cr_assert_eq(tp_tree_set_xattr(f.tree, &file.who, file.node, "user.k", "v", 1, 0), 0);
	cr_assert_eq(file_close(&f, &file), 0);
	cr_assert_eq(stat_as(&f, &f.me, TP_NODE_CACHE, "x", &e), 0);
	cr_assert_eq(e.attr.mode, S_IFREG | 0600);
	cr_assert_eq(e.attr.uid, 5);
	cr_assert_eq(e.attr.mtime_ns, 123456789);
	cr_assert_eq(e.attr.ctime_ns, f.clock.wall_ns);
	cr_assert_eq(tp_tree_get_xattr(f.tree, &file.who, e.node, "user.k", value, sizeof(value)), 1);
	/* Over an overwriting too. */
	put(&f, TP_NODE_CACHE, "x", "other");
	cr_assert_eq(stat_as(&f, &f.me, TP_NODE_CACHE, "x", &e), 0);
	cr_assert_eq(e.attr.mode, S_IFREG | 0600);
	cr_assert_eq(tp_tree_get_xattr(f.tree, &file.who, e.node, "user.k", value, sizeof(value)), 1);
	fixture_close(&f);
}

/* The ladder */

enum end { GOOD, FAILS, KILLED, CATCHES };

/* What becomes of a writer's file that ends like this. */
static bool published(const char *commit, uint64_t parent, const char *name, enum end end, bool synced)
{
	struct fixture f;
	struct tp_who other = process_start();
	struct file draft;
	bool there;

	fixture_open(&f, POOL, NULL);
	if (parent == TP_NODE_SAMPLES)
		parent = make_dir(&f, TP_NODE_SAMPLES, "s");
	if (commit)
		cr_assert_eq(set_rule(&f, parent, "commit", commit), 0);
	cr_assert_eq(file_open(&f, &other, parent, name, O_WRONLY | O_CREAT, &draft), 0);
	cr_assert_eq(file_puts(&f, &draft, 0, "bytes"), 0);
	if (synced)
		tp_file_sync(f.tree, draft.opened.gen);
	if (end == FAILS)
		process_end(&other, 0, 3);
	else if (end == KILLED)
		process_end(&other, SIGKILL, 0);
	else if (end == GOOD)
		process_end(&other, 0, 0);
	cr_assert_eq(file_close(&f, &draft), 0);
	holds(&f);
	there = sees(&f, &f.me, parent, name);
	cr_assert_eq(there, reads(&f, &f.me, parent, name, "bytes"));
	if (!there)
		cr_assert_eq(pool_used_bytes(&f), 0);
	if (end == CATCHES)
		process_end(&other, SIGKILL, 0);
	process_reap(&other);
	fixture_close(&f);
	return there;
}

Test(gen, close_publishes_all_but_what_a_signal_killed_without_fsync)
{
	cr_assert(published(NULL, TP_NODE_CACHE, "x", GOOD, false));
	cr_assert(published(NULL, TP_NODE_CACHE, "x", CATCHES, false));
	cr_assert(published(NULL, TP_NODE_CACHE, "x", FAILS, false));
	cr_assert_not(published(NULL, TP_NODE_CACHE, "x", KILLED, false));
	cr_assert(published(NULL, TP_NODE_CACHE, "x", KILLED, true));
	cr_assert(published("close", TP_NODE_SAMPLES, "x", FAILS, false));
}

Test(gen, success_publishes_only_what_a_good_end_or_a_living_writer_left)
{
	cr_assert(published("success", TP_NODE_CACHE, "x", GOOD, false));
	cr_assert(published("success", TP_NODE_CACHE, "x", CATCHES, false));
	cr_assert_not(published("success", TP_NODE_CACHE, "x", FAILS, false));
	cr_assert_not(published("success", TP_NODE_CACHE, "x", KILLED, true));
	cr_assert_not(published(NULL, TP_NODE_SAMPLES, "x", FAILS, true));
	cr_assert_not(published(NULL, TP_NODE_SAMPLES, "x", KILLED, true));
	cr_assert(published(NULL, TP_NODE_SAMPLES, "x", GOOD, false));
}

Test(gen, live_and_temporary_names_stay_however_their_writer_ended)
{
	cr_assert(published("live", TP_NODE_CACHE, "x", KILLED, false));
	cr_assert(published("live", TP_NODE_CACHE, "x", FAILS, false));
	cr_assert(published(NULL, TP_NODE_CACHE, ".x", KILLED, false));
	cr_assert(published("rename", TP_NODE_CACHE, "x.tmp", KILLED, false));
	/* But not in a stream. */
	cr_assert_not(published(NULL, TP_NODE_SAMPLES, ".x", KILLED, false));
	cr_assert_not(published(NULL, TP_NODE_SAMPLES, ".x", KILLED, true));
	cr_assert(published(NULL, TP_NODE_SAMPLES, ".x", FAILS, false));
	cr_assert(published(NULL, TP_NODE_SAMPLES, ".x", GOOD, false));
}

Test(gen, rename_lets_nothing_be_written_but_temporary_names)
{
	struct fixture f;
	struct file file;
	uint64_t d;

	fixture_open(&f, POOL, NULL);
	d = make_dir(&f, TP_NODE_CACHE, "d");
	put(&f, d, "x", "old");
	cr_assert_eq(set_rule(&f, d, "commit", "rename"), 0);
	cr_assert_eq(file_open(&f, &f.me, d, "y", O_WRONLY | O_CREAT, &file), -EPERM);
	cr_assert_eq(file_open(&f, &f.me, d, "x", O_WRONLY, &file), -EPERM);
	cr_assert_eq(file_open(&f, &f.me, d, "x", O_RDWR | O_TRUNC, &file), -EPERM);
	cr_assert_eq(make(&f, &f.me, d, "y", S_IFREG | 0644), -EPERM);
	cr_assert_eq(make(&f, &f.me, d, "sub", S_IFDIR | 0755), 0);
	put(&f, d, "x.tmp", "new");
	cr_assert_eq(rename_as(&f, &f.me, d, "x.tmp", d, "x", 0), 0);
	cr_assert(reads(&f, &f.me, d, "x", "new"));
	fixture_close(&f);
}

Test(gen, only_the_end_of_those_who_wrote_counts)
{
	struct fixture f;
	struct tp_who other = process_start(), child = process_start();
	struct file draft, copy;

	fixture_open(&f, POOL, NULL);
	cr_assert_eq(file_open(&f, &other, TP_NODE_CACHE, "x", O_WRONLY | O_CREAT, &draft), 0);
	cr_assert_eq(file_puts(&f, &draft, 0, "bytes"), 0);
	/* An idle child with a copy of the descriptor is killed. */
	process_end(&child, SIGKILL, 0);
	copy = draft;
	copy.who = child;
	cr_assert_eq(tp_file_flush(f.tree, &copy.who, &draft.opened), 0);
	process_end(&other, 0, 0);
	cr_assert_eq(file_close(&f, &draft), 0);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "x", "bytes"));
	process_reap(&other);
	process_reap(&child);
	fixture_close(&f);
}

Test(gen, a_writer_that_was_killed_drops_the_draft_of_all_its_writers)
{
	struct fixture f;
	struct tp_who other = process_start(), child = process_start();
	struct file draft, copy;

	fixture_open(&f, POOL, NULL);
	cr_assert_eq(file_open(&f, &other, TP_NODE_CACHE, "x", O_WRONLY | O_CREAT, &draft), 0);
	copy = draft;
	copy.who = child;
	cr_assert_eq(file_puts(&f, &copy, 0, "bytes"), 0);
	process_end(&child, SIGKILL, 0);
	cr_assert_eq(tp_file_flush(f.tree, &copy.who, &draft.opened), 0);
	process_end(&other, 0, 0);
	cr_assert_eq(file_close(&f, &draft), 0);
	cr_assert_not(sees(&f, &f.me, TP_NODE_CACHE, "x"));
	cr_assert_eq(tp_stats_get(&f.store->stats, TP_STAT_DROPPED), 1);
	process_reap(&other);
	process_reap(&child);
	fixture_close(&f);
}

Test(gen, a_killed_writers_draft_takes_all_its_names_along)
{
	struct fixture f;
	struct tp_who other = process_start();
	struct file file;
	uint64_t d;

	fixture_open(&f, POOL, NULL);
	d = make_dir(&f, TP_NODE_CACHE, "d");
	cr_assert_eq(file_open(&f, &other, TP_NODE_CACHE, "x", O_WRONLY | O_CREAT, &file), 0);
	cr_assert_eq(link_as(&f, &other, TP_NODE_CACHE, "x", d, "y"), 0);
	process_end(&other, SIGKILL, 0);
	cr_assert_eq(file_close(&f, &file), 0);
	holds(&f);
	cr_assert_eq(f.tree->objects, 0);
	cr_assert_eq(rmdir_as(&f, &f.me, TP_NODE_CACHE, "d"), 0);
	process_reap(&other);
	fixture_close(&f);
}

Test(gen, a_writer_that_cannot_be_seen_is_believed_and_counted)
{
	struct fixture f;
	struct tp_who nobody = {.tid = 0};
	struct file draft;

	fixture_open(&f, POOL, NULL);
	cr_assert_eq(file_open(&f, &nobody, TP_NODE_CACHE, "x", O_WRONLY | O_CREAT, &draft), 0);
	cr_assert_eq(file_puts(&f, &draft, 0, "bytes"), 0);
	cr_assert_eq(file_close(&f, &draft), 0);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "x", "bytes"));
	cr_assert_eq(f.tree->unknown_ends, 1);
	fixture_close(&f);
}

/* Visible at once */

Test(gen, what_is_appended_to_is_seen_from_its_creation_and_grows)
{
	struct fixture f;
	struct tp_who other = process_start();
	struct file log;
	struct tp_entry e;
	uint64_t s;

	fixture_open(&f, POOL, NULL);
	cr_assert_eq(file_open(&f, &other, TP_NODE_CACHE, "log", O_WRONLY | O_CREAT | O_APPEND, &log), 0);
	cr_assert(sees(&f, &f.me, TP_NODE_CACHE, "log"));
	cr_assert_eq(file_puts(&f, &log, 0, "one "), 0);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "log", "one "));
	cr_assert_eq(stat_as(&f, &f.me, TP_NODE_CACHE, "log", &e), 0);
	cr_assert(e.changing);
	/* Rotated while it is written: it stays in sight. */
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "log", TP_NODE_CACHE, "log.1", 0), 0);
	cr_assert_eq(file_puts(&f, &log, 4, "two"), 0);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "log.1", "one two"));
	process_end(&other, SIGKILL, 0);
	cr_assert_eq(file_close(&f, &log), 0);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "log.1", "one two"));
	cr_assert_eq(stat_as(&f, &f.me, TP_NODE_CACHE, "log.1", &e), 0);
	cr_assert_not(e.changing);
	/* Again: the same node. */
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "log.1", O_WRONLY | O_APPEND, &log), 0);
	cr_assert_eq(log.node, e.node);
	holds(&f);
	cr_assert_eq(file_close(&f, &log), 0);
	s = make_dir(&f, TP_NODE_SAMPLES, "s");
	cr_assert_eq(file_open(&f, &f.me, s, "x", O_WRONLY | O_CREAT | O_APPEND, &log), -EPERM);
	process_reap(&other);
	fixture_close(&f);
}

Test(gen, a_temporary_name_that_is_renamed_while_it_is_written_is_hidden_until_its_last_close)
{
	struct fixture f;
	struct tp_who other = process_start();
	struct file file;

	fixture_open(&f, POOL, NULL);
	for (unsigned append = 0; append < 2; append++) {
		uint64_t s = make_dir(&f, TP_NODE_SAMPLES, append ? "s" : "t");
		int flags = O_WRONLY | O_CREAT | (append ? O_APPEND : 0);

		cr_assert_eq(file_open(&f, &other, s, ".x", flags, &file), 0);
		cr_assert_eq(file_puts(&f, &file, 0, "one "), 0);
		cr_assert(sees(&f, &f.me, s, ".x"));
		cr_assert_eq(rename_as(&f, &other, s, ".x", s, "x", 0), 0);
		holds(&f);
		cr_assert_not(sees(&f, &f.me, s, "x"), "%s", append ? "appended" : "written");
		cr_assert(sees(&f, &other, s, "x"));
		cr_assert_eq(file_puts(&f, &file, 4, "two"), 0);
		cr_assert_eq(tp_stats_get(&f.store->stats, TP_STAT_SAMPLES_COMMITTED), append);
		cr_assert_eq(file_close(&f, &file), 0);
		cr_assert(reads(&f, &f.me, s, "x", "one two"));
		cr_assert_eq(tp_stats_get(&f.store->stats, TP_STAT_SAMPLES_COMMITTED), append + 1);
	}
	process_kill(&other);
	fixture_close(&f);
}

Test(gen, a_draft_that_gets_a_temporary_name_is_seen_by_all)
{
	struct fixture f;
	struct tp_who other = process_start();
	struct file file;

	fixture_open(&f, POOL, NULL);
	cr_assert_eq(file_open(&f, &other, TP_NODE_CACHE, "x", O_WRONLY | O_CREAT, &file), 0);
	cr_assert_eq(link_as(&f, &other, TP_NODE_CACHE, "x", TP_NODE_CACHE, "second"), 0);
	holds(&f);
	cr_assert_not(sees(&f, &f.me, TP_NODE_CACHE, "second"));
	cr_assert_eq(rename_as(&f, &other, TP_NODE_CACHE, "x", TP_NODE_CACHE, ".x", 0), 0);
	holds(&f);
	cr_assert(sees(&f, &f.me, TP_NODE_CACHE, ".x"));
	cr_assert_eq(file_puts(&f, &file, 0, "one"), 0);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, ".x", "one"));
	cr_assert_eq(rename_as(&f, &other, TP_NODE_CACHE, ".x", TP_NODE_CACHE, "x", 0), 0);
	cr_assert_not(sees(&f, &f.me, TP_NODE_CACHE, "x"));
	holds(&f);
	cr_assert_eq(file_close(&f, &file), 0);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "x", "one"));
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "second", "one"));
	process_kill(&other);
	fixture_close(&f);
}

Test(gen, a_draft_that_is_shown_knows_nothing_of_the_hidden_ones)
{
	struct fixture f;
	struct tp_who other = process_start();
	struct file one, two;
	char text[4096];

	fixture_open(&f, POOL, NULL);
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_WRONLY | O_CREAT, &one), 0);
	cr_assert_eq(file_open(&f, &other, TP_NODE_CACHE, "x", O_WRONLY | O_CREAT | O_TRUNC, &two), 0);
	cr_assert_eq(rename_as(&f, &other, TP_NODE_CACHE, "x", TP_NODE_CACHE, "x.tmp", 0), 0);
	cr_assert_eq(file_close(&f, &one), 0);
	cr_assert_null(two.opened.gen->draft->next);
	cr_assert_gt(
		tp_tree_get_xattr(f.tree, &other, two.node, "user.tidepool.explain", text, sizeof(text)), 0);
	cr_assert_eq(file_close(&f, &two), 0);
	process_kill(&other);
	fixture_close(&f);
}
