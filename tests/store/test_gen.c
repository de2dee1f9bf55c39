/* SPDX-License-Identifier: Apache-2.0 */
#include "tree_fixture.h"

#include <limits.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

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

Test(gen, what_was_unlinked_between_look_up_and_open_is_enoent)
{
	struct fixture f;
	struct tp_who who;
	struct tp_entry e;
	struct tp_opened opened;

	fixture_open(&f, POOL, NULL);
	who = f.me;
	put(&f, TP_NODE_CACHE, "x", "old");
	cr_assert_eq(tp_tree_lookup(f.tree, &who, TP_NODE_CACHE, "x", &e), 0);
	cr_assert_eq(unlink_as(&f, &f.me, TP_NODE_CACHE, "x"), 0);
	cr_assert_eq(pool_used_bytes(&f), 0, "freed at once");
	/* Another may have its name: the kernel has to look. */
	cr_assert_eq(tp_tree_open(f.tree, &who, e.node, O_RDONLY, &opened), -ESTALE);
	cr_assert_not(sees(&f, &f.me, TP_NODE_CACHE, "x"));
	cr_assert_eq(tp_tree_open(f.tree, &who, e.node, O_WRONLY, &opened), -ESTALE);
	cr_assert_not(sees(&f, &f.me, TP_NODE_CACHE, "x"));
	holds(&f);
	tp_tree_forget(f.tree, e.node, 1);
	cr_assert_eq(tp_tree_open(f.tree, &who, e.node, O_RDONLY, &opened), -ESTALE);
	fixture_close(&f);
}

Test(gen, an_opener_meets_one_replacement_after_the_other_and_is_told_estale_once)
{
	struct fixture f;
	struct tp_who reader = process_start(), writer = process_start();
	struct tp_entry first, second, w1, w2;
	struct file file = {0}, written = {0};

	fixture_open(&f, POOL, NULL);
	put(&f, TP_NODE_CACHE, "x", "one");
	cr_assert_eq(tp_tree_lookup(f.tree, &reader, TP_NODE_CACHE, "x", &first), 0);
	cr_assert_eq(tp_tree_lookup(f.tree, &writer, TP_NODE_CACHE, "x", &w1), 0);
	put(&f, TP_NODE_CACHE, ".two", "two");
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, ".two", TP_NODE_CACHE, "x", 0), 0);
	holds(&f);
	cr_assert_eq(tp_tree_open(f.tree, &reader, first.node, O_RDONLY, &file.opened), -ESTALE);
	cr_assert_eq(tp_tree_open(f.tree, &writer, w1.node, O_WRONLY, &written.opened), -ESTALE);
	cr_assert_eq(tp_tree_lookup(f.tree, &reader, TP_NODE_CACHE, "x", &second), 0);
	cr_assert_eq(tp_tree_lookup(f.tree, &writer, TP_NODE_CACHE, "x", &w2), 0);
	put(&f, TP_NODE_CACHE, ".three", "three");
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, ".three", TP_NODE_CACHE, "x", 0), 0);
	holds(&f);
	/* Both open what they found, as if they had come a moment earlier. */
	cr_assert_eq(tp_tree_open(f.tree, &reader, second.node, O_RDONLY, &file.opened), 0);
	cr_assert_eq(tp_tree_open(f.tree, &writer, w2.node, O_WRONLY, &written.opened), 0);
	file.node = second.node;
	written.node = w2.node;
	written.who = writer;
	cr_assert(has_text(&f, &file, "two"));
	cr_assert(has_text(&f, &written, "two"));
	cr_assert_eq(file_puts(&f, &written, 0, "lost"), 0);
	holds(&f);
	cr_assert_eq(file_close(&f, &file), 0);
	(void)file_close(&f, &written);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "x", "three"));
	tp_tree_forget(f.tree, first.node, 1);
	tp_tree_forget(f.tree, w1.node, 1);
	holds(&f);
	process_kill(&reader);
	process_kill(&writer);
	fixture_close(&f);
}

Test(gen, a_file_that_was_unlinked_while_it_was_open_is_still_written_and_read)
{
	struct fixture f;
	struct file reader, writer;

	fixture_open(&f, POOL, NULL);
	cr_assert_eq(set_rule(&f, TP_NODE_CACHE, "commit", "live"), 0);
	put(&f, TP_NODE_CACHE, "x", "old");
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_RDONLY, &reader), 0);
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_RDWR, &writer), 0);
	cr_assert_eq(unlink_as(&f, &f.me, TP_NODE_CACHE, "x"), 0);
	holds(&f);
	cr_assert_eq(file_puts(&f, &writer, 3, "er"), 0);
	cr_assert(has_text(&f, &reader, "older"));
	cr_assert_eq(file_close(&f, &writer), 0);
	cr_assert(has_text(&f, &reader, "older"));
	holds(&f);
	cr_assert_eq(file_close(&f, &reader), 0);
	cr_assert_eq(pool_used_bytes(&f), 0);
	fixture_close(&f);
}

Test(gen, an_opener_that_was_sent_to_a_draft_is_waited_for)
{
	struct fixture f;
	struct tp_who who, again;
	struct tp_opened opened;
	struct file first;
	struct tp_entry published, draft;

	fixture_open(&f, POOL, NULL);
	put(&f, TP_NODE_CACHE, "x", "old");
	who = again = f.me;
	/* It looked up before the draft was there, and comes late with its open. */
	cr_assert_eq(tp_tree_lookup(f.tree, &who, TP_NODE_CACHE, "x", &published), 0);
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_WRONLY | O_TRUNC, &first), 0);
	cr_assert_eq(file_puts(&f, &first, 0, "new"), 0);
	cr_assert_eq(tp_tree_open(f.tree, &who, published.node, O_WRONLY, &opened), -ESTALE);
	cr_assert_eq(file_close(&f, &first), 0);
	holds(&f);
	cr_assert_eq(tp_tree_lookup(f.tree, &again, TP_NODE_CACHE, "x", &draft), 0);
	cr_assert_eq(tp_tree_open(f.tree, &again, draft.node, O_WRONLY, &opened), 0);
	struct file second = {.opened = opened, .who = again, .node = draft.node};

	cr_assert(has_text(&f, &second, "new"));
	cr_assert_eq(file_puts(&f, &second, 3, "er"), 0);
	cr_assert_eq(file_close(&f, &second), 0);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "x", "newer"));
	tp_tree_forget(f.tree, published.node, 1);
	fixture_close(&f);
}

Test(gen, each_of_two_openers_that_were_sent_to_a_draft_is_waited_for)
{
	struct fixture f;
	struct tp_who one, two, other = process_start();
	struct file first = {0}, second = {0};
	struct tp_entry published, draft;

	fixture_open(&f, POOL, NULL);
	put(&f, TP_NODE_CACHE, "x", "old");
	one = two = f.me;
	/* Another thread of the same process. */
	two.tid = other.tid;
	two.tgid = tp_who_tgid(&one);
	cr_assert_eq(tp_tree_lookup(f.tree, &one, TP_NODE_CACHE, "x", &published), 0);
	cr_assert_eq(tp_tree_open(f.tree, &one, published.node, O_WRONLY, &first.opened), -ESTALE);
	cr_assert_eq(tp_tree_open(f.tree, &two, published.node, O_WRONLY, &second.opened), -ESTALE);
	cr_assert_eq(tp_tree_lookup(f.tree, &one, TP_NODE_CACHE, "x", &draft), 0);
	cr_assert_eq(tp_tree_lookup(f.tree, &two, TP_NODE_CACHE, "x", &draft), 0);
	first.node = second.node = draft.node;
	first.who = one;
	second.who = two;
	cr_assert_eq(tp_tree_open(f.tree, &one, draft.node, O_WRONLY, &first.opened), 0);
	cr_assert_eq(file_puts(&f, &first, 0, "new"), 0);
	cr_assert_eq(file_close(&f, &first), 0);
	holds(&f);
	cr_assert_eq(tp_tree_open(f.tree, &two, draft.node, O_WRONLY, &second.opened), 0);
	cr_assert_eq(file_puts(&f, &second, 3, "er"), 0);
	cr_assert_eq(file_close(&f, &second), 0);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "x", "newer"));
	tp_tree_forget(f.tree, published.node, 1);
	holds(&f);
	process_kill(&other);
	fixture_close(&f);
}

Test(gen, an_opener_that_finds_something_else_is_not_waited_for)
{
	struct fixture f;
	struct tp_who who = process_start();
	struct tp_opened opened;
	struct tp_entry e;
	char one[2 * TP_PAGE_BYTES + 1];

	memset(one, '1', sizeof(one) - 1);
	one[sizeof(one) - 1] = 0;
	fixture_open(&f, POOL, NULL);
	put(&f, TP_NODE_CACHE, "x", one);
	cr_assert_eq(tp_tree_lookup(f.tree, &who, TP_NODE_CACHE, "x", &e), 0);
	cr_assert_eq(tp_tree_open(f.tree, &who, e.node, O_WRONLY, &opened), -ESTALE);
	tp_tree_forget(f.tree, e.node, 1);
	/* The draft that waits for it has the old bytes from now on. */
	put(&f, TP_NODE_CACHE, ".two", "two");
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, ".two", TP_NODE_CACHE, "x", 0), 0);
	holds(&f);
	cr_assert_eq(f.tree->drafts, 1);
	uint64_t both = pool_used_bytes(&f);

	cr_assert_eq(tp_tree_lookup(f.tree, &who, TP_NODE_CACHE, "x", &e), 0);
	holds(&f);
	cr_assert_eq(f.tree->drafts, 1, "that of the new file");
	cr_assert_lt(pool_used_bytes(&f), both);
	/* And to find nothing is to go elsewhere. */
	cr_assert_eq(unlink_as(&f, &f.me, TP_NODE_CACHE, "x"), 0);
	holds(&f);
	tp_tree_forget(f.tree, e.node, 1);
	cr_assert_eq(tp_tree_lookup(f.tree, &who, TP_NODE_CACHE, "x", &e), -ENOENT);
	holds(&f);
	cr_assert_eq(f.tree->drafts, 0);
	cr_assert_eq(pool_used_bytes(&f), 0);
	process_kill(&who);
	fixture_close(&f);
}

/* Without the tree's lock, which is not taken after a map's. */
static __attribute__((no_sanitize("thread"))) bool looks_busy(const struct tp_gen *g)
{
	return *(const volatile uint32_t *)&g->busy > 0;
}

struct closing {
	struct fixture *f;
	struct file file;
};

static void *close_it(void *arg)
{
	struct closing *c = arg;

	cr_assert_eq(file_close(c->f, &c->file), 0);
	return NULL;
}

Test(gen, an_opener_that_was_sent_to_a_draft_while_it_is_compared_is_waited_for)
{
	struct fixture f;
	struct closing c = {.f = &f};
	struct tp_who other = process_start();
	struct tp_entry published, draft;
	struct file late = {0};
	pthread_t thread;

	fixture_open(&f, POOL, NULL);
	put(&f, TP_NODE_CACHE, "x", "same");
	cr_assert_eq(tp_tree_lookup(f.tree, &other, TP_NODE_CACHE, "x", &published), 0);
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_WRONLY | O_TRUNC, &c.file), 0);
	cr_assert_eq(file_puts(&f, &c.file, 0, "SAME"), 0);
	{
		const struct tp_gen *current =
			tp_container(tp_tree_node(f.tree, published.node), struct tp_gen, node);
		/* The comparison waits for this. */
		TP_WRLOCK(tp_tree_map_lock(f.tree, current));

		cr_assert_eq(pthread_create(&thread, NULL, close_it, &c), 0);
		while (!looks_busy(current))
			sched_yield();
		cr_assert_eq(tp_tree_open(f.tree, &other, published.node, O_WRONLY, &late.opened), -ESTALE);
		cr_assert_eq(tp_tree_lookup(f.tree, &other, TP_NODE_CACHE, "x", &draft), 0);
	}
	pthread_join(thread, NULL);
	holds(&f);
	cr_assert_eq(tp_tree_open(f.tree, &other, draft.node, O_WRONLY, &late.opened), 0);
	late.who = other;
	late.node = draft.node;
	cr_assert(has_text(&f, &late, "SAME"));
	cr_assert_eq(file_close(&f, &late), 0);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "x", "SAME"));
	tp_tree_forget(f.tree, published.node, 1);
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

Test(gen, who_did_not_come_back_in_time_takes_nobodys_place)
{
	struct fixture f;
	struct tp_who first, second = process_start(), third = process_start();
	struct tp_entry old, found;
	struct file file = {0};

	fixture_open(&f, POOL, NULL);
	first = f.me;
	put(&f, TP_NODE_CACHE, "x", "0");
	cr_assert_eq(tp_tree_lookup(f.tree, &first, TP_NODE_CACHE, "x", &old), 0);
	for (unsigned i = 0; i + 1 < TP_RETRIES; i++) {
		f.tree->retries[i].tid = 1000000 + (pid_t)i;
		f.tree->retries[i].until_ns = 1;
	}
	f.tree->retries_next = TP_RETRIES - 1;
	cr_assert_eq(put_as(&f, &third, TP_NODE_CACHE, "x", "1"), 0);
	cr_assert_eq(tp_tree_open(f.tree, &first, old.node, O_RDONLY, &file.opened), -ESTALE);
	cr_assert_eq(tp_tree_lookup(f.tree, &first, TP_NODE_CACHE, "x", &found), 0);
	cr_assert_eq(tp_tree_open(f.tree, &second, old.node, O_RDONLY, &file.opened), -ESTALE);
	cr_assert_eq(put_as(&f, &third, TP_NODE_CACHE, "x", "2"), 0);
	cr_assert_eq(tp_tree_open(f.tree, &first, found.node, O_RDONLY, &file.opened), 0);
	file.who = first;
	file.node = found.node;
	cr_assert(has_text(&f, &file, "1"));
	cr_assert_eq(file_close(&f, &file), 0);
	tp_tree_forget(f.tree, old.node, 1);
	process_kill(&second);
	process_kill(&third);
	fixture_close(&f);
}

static bool no_drafts(void *user)
{
	struct fixture *f = user;
	TP_RDLOCK(&f->tree->lock);

	return f->tree->drafts == 0;
}

Test(gen, an_opener_that_never_comes_is_not_waited_for_for_ever)
{
	struct fixture f;
	struct tp_who who;
	struct tp_opened opened;
	struct tp_entry published;
	struct tp_who other = process_start();
	struct file first;

	fixture_open(&f, POOL, NULL);
	put(&f, TP_NODE_CACHE, "x", "old");
	put(&f, TP_NODE_CACHE, "y", "old");
	who = f.me;
	cr_assert_eq(tp_tree_lookup(f.tree, &who, TP_NODE_CACHE, "x", &published), 0);
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_WRONLY | O_TRUNC, &first), 0);
	cr_assert_eq(file_puts(&f, &first, 0, "new"), 0);
	cr_assert_eq(tp_tree_open(f.tree, &who, published.node, O_WRONLY, &opened), -ESTALE);
	cr_assert_eq(file_close(&f, &first), 0);
	tp_tree_forget(f.tree, published.node, 1);
	/* And one that was only reserved, for another thread. */
	who = other;
	cr_assert_eq(tp_tree_lookup(f.tree, &who, TP_NODE_CACHE, "y", &published), 0);
	cr_assert_eq(tp_tree_open(f.tree, &who, published.node, O_WRONLY, &opened), -ESTALE);
	tp_tree_forget(f.tree, published.node, 1);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "y", "old"));
	move_time(&f, 3 * TP_NS_PER_S);
	wait_until(no_drafts, &f);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "x", "new"));
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "y", "old"));
	process_kill(&other);
	fixture_close(&f);
}

Test(gen, a_name_that_only_a_promised_draft_stands_for_goes_with_it)
{
	struct fixture f;
	struct tp_who who = process_start();
	struct tp_opened opened;
	struct tp_entry e;

	fixture_open(&f, POOL, NULL);
	put(&f, TP_NODE_CACHE, "x", "old");
	cr_assert_eq(tp_tree_lookup(f.tree, &who, TP_NODE_CACHE, "x", &e), 0);
	cr_assert_eq(tp_tree_open(f.tree, &who, e.node, O_WRONLY, &opened), -ESTALE);
	{
		TP_WRLOCK(&f.tree->lock);
		tp_tree_drop_object(f.tree, tp_tree_object_of(tp_tree_node(f.tree, e.node)));
	}
	tp_tree_forget(f.tree, e.node, 1);
	move_time(&f, 3 * TP_NS_PER_S);
	wait_until(no_drafts, &f);
	holds(&f);
	cr_assert_eq(f.tree->objects, 0);
	cr_assert_eq(put_as(&f, &f.me, TP_NODE_CACHE, "x", "new"), 0);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "x", "new"));
	process_kill(&who);
	fixture_close(&f);
}

Test(gen, the_same_bytes_again_are_held_once)
{
	struct fixture f;
	struct tp_who other = process_start();
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
	process_kill(&other);
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

Test(gen, who_cannot_be_seen_sees_no_draft_and_shares_none)
{
	struct fixture f;
	struct tp_who nobody = {.tid = 0};
	struct file one, two, joined;

	fixture_open(&f, POOL, NULL);
	/* All that cannot be seen look like the one that writes. */
	cr_assert_eq(file_open(&f, &nobody, TP_NODE_CACHE, "x", O_WRONLY | O_CREAT | O_TRUNC, &one), 0);
	cr_assert_eq(file_puts(&f, &one, 0, "one"), 0);
	cr_assert_not(sees(&f, &nobody, TP_NODE_CACHE, "x"));
	cr_assert_str_eq(list_as(&f, &nobody, TP_NODE_CACHE), "");
	cr_assert_eq(unlink_as(&f, &nobody, TP_NODE_CACHE, "x"), -ENOENT);
	cr_assert_eq(file_open(&f, &nobody, TP_NODE_CACHE, "x", O_WRONLY | O_CREAT | O_EXCL, &two), -EEXIST);
	cr_assert_eq(file_open(&f, &nobody, TP_NODE_CACHE, "x", O_WRONLY | O_CREAT | O_TRUNC, &two), 0);
	cr_assert_neq(two.node, one.node);
	cr_assert_eq(file_puts(&f, &two, 0, "second"), 0);
	cr_assert_eq(file_open(&f, &nobody, TP_NODE_CACHE, "x", O_RDWR | O_CREAT, &joined), 0);
	cr_assert_eq(joined.node, two.node, "as everybody does who asks for no new one");
	cr_assert_eq(file_close(&f, &joined), 0);
	holds(&f);
	cr_assert_eq(file_close(&f, &two), 0);
	cr_assert(reads(&f, &nobody, TP_NODE_CACHE, "x", "second"));
	cr_assert_eq(file_close(&f, &one), 0);
	cr_assert(reads(&f, &nobody, TP_NODE_CACHE, "x", "one"));
	cr_assert_eq(unlink_as(&f, &nobody, TP_NODE_CACHE, "x"), 0);
	cr_assert_eq(pool_used_bytes(&f), 0);
	fixture_close(&f);
}

Test(gen, openers_that_cannot_be_seen_overwrite_a_name_each_for_itself_while_others_read_what_was_there)
{
	struct fixture f;
	struct tp_who nobody = {.tid = 0};
	struct file one = {0}, two = {0}, reader = {0}, plain;
	struct tp_entry published, again, seen;

	fixture_open(&f, POOL, NULL);
	put(&f, TP_NODE_CACHE, "x", "old");
	cr_assert_eq(tp_tree_lookup(f.tree, &nobody, TP_NODE_CACHE, "x", &published), 0);
	cr_assert_eq(tp_tree_open(f.tree, &nobody, published.node, O_WRONLY | O_TRUNC, &one.opened), -ESTALE);
	cr_assert_eq(tp_tree_open(f.tree, &nobody, published.node, O_WRONLY | O_TRUNC, &two.opened), -ESTALE);
	/* The kernel looks up twice: it finds that the name stands for something else, and then what. */
	cr_assert_eq(tp_tree_lookup(f.tree, &nobody, TP_NODE_CACHE, "x", &again), 0);
	cr_assert_eq(tp_tree_lookup(f.tree, &nobody, TP_NODE_CACHE, "x", &one.entry), 0);
	cr_assert_eq(tp_tree_lookup(f.tree, &nobody, TP_NODE_CACHE, "x", &reader.entry), 0);
	cr_assert_eq(tp_tree_lookup(f.tree, &nobody, TP_NODE_CACHE, "x", &two.entry), 0);
	cr_assert_neq(one.entry.node, two.entry.node);
	cr_assert_eq(one.entry.attr.ino, published.attr.ino);
	cr_assert_eq(one.entry.attr.size, 3);
	cr_assert(one.entry.fleeting);
	tp_tree_forget(f.tree, again.node, 1);
	holds(&f);
	one.node = one.entry.node;
	two.node = two.entry.node;
	reader.node = reader.entry.node;
	cr_assert_eq(tp_tree_open(f.tree, &nobody, one.node, O_WRONLY | O_TRUNC, &one.opened), 0);
	cr_assert_eq(file_puts(&f, &one, 0, "half"), 0);
	cr_assert_eq(tp_tree_open(f.tree, &nobody, reader.node, O_RDONLY, &reader.opened), 0);
	cr_assert(has_text(&f, &reader, "old"));
	/* One is still to come; who joins drafts does not join what was reserved for that one, nor what is only read. */
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_RDWR, &plain), 0);
	cr_assert_eq(plain.node, one.node);
	cr_assert_eq(file_close(&f, &plain), 0);
	cr_assert_eq(tp_tree_open(f.tree, &nobody, two.node, O_WRONLY | O_TRUNC, &two.opened), 0);
	cr_assert_eq(file_puts(&f, &two, 0, "second"), 0);
	/* A moment later nobody is: all see what is published. */
	move_time(&f, 3 * TP_NS_PER_S);
	cr_assert_eq(stat_as(&f, &nobody, TP_NODE_CACHE, "x", &seen), 0);
	cr_assert_eq(seen.node, published.node);
	cr_assert(reads(&f, &nobody, TP_NODE_CACHE, "x", "old"));
	holds(&f);
	cr_assert_eq(file_close(&f, &one), 0);
	cr_assert(reads(&f, &nobody, TP_NODE_CACHE, "x", "half"));
	cr_assert_eq(file_close(&f, &two), 0);
	cr_assert(reads(&f, &nobody, TP_NODE_CACHE, "x", "second"));
	cr_assert(has_text(&f, &reader, "old"));
	cr_assert_eq(file_close(&f, &reader), 0);
	cr_assert(reads(&f, &nobody, TP_NODE_CACHE, "x", "second"));
	tp_tree_forget(f.tree, published.node, 1);
	wait_until(no_drafts, &f);
	holds(&f);
	/* Without O_TRUNC its draft begins with what is there. */
	cr_assert_eq(file_open(&f, &nobody, TP_NODE_CACHE, "x", O_RDWR, &plain), 0);
	cr_assert(has_text(&f, &plain, "second"));
	cr_assert_eq(file_puts(&f, &plain, 0, "SEC"), 0);
	cr_assert(reads(&f, &nobody, TP_NODE_CACHE, "x", "second"));
	/* And what is appended is seen at once. */
	cr_assert_eq(file_open(&f, &nobody, TP_NODE_CACHE, "x", O_WRONLY | O_APPEND, &two), 0);
	cr_assert_eq(file_puts(&f, &two, 6, "+"), 0);
	cr_assert(reads(&f, &nobody, TP_NODE_CACHE, "x", "second+"));
	cr_assert_eq(file_close(&f, &two), 0);
	cr_assert_eq(file_close(&f, &plain), 0);
	cr_assert(reads(&f, &nobody, TP_NODE_CACHE, "x", "SECond"));
	fixture_close(&f);
}

Test(gen, an_opener_that_cannot_be_seen_and_never_comes_leaves_nothing)
{
	struct fixture f;
	struct tp_who nobody = {.tid = 0};
	struct tp_setattr cut = {.set_size = true, .size = 2};
	struct tp_opened opened;
	struct tp_entry published, late, e;

	fixture_open(&f, POOL, NULL);
	put(&f, TP_NODE_CACHE, "x", "old");
	cr_assert_eq(tp_tree_lookup(f.tree, &nobody, TP_NODE_CACHE, "x", &published), 0);
	cr_assert_eq(tp_tree_open(f.tree, &nobody, published.node, O_WRONLY | O_TRUNC, &opened), -ESTALE);
	cr_assert_eq(tp_tree_lookup(f.tree, &nobody, TP_NODE_CACHE, "x", &late), 0);
	move_time(&f, 3 * TP_NS_PER_S);
	cr_assert_eq(node_of(&f, &nobody, TP_NODE_CACHE, "x"), published.node);
	tp_tree_forget(f.tree, late.node, 1);
	wait_until(no_drafts, &f);
	holds(&f);
	/* A truncation by path is sent to look again, too, and publishes. */
	cr_assert_eq(tp_tree_setattr(f.tree, &nobody, published.node, NULL, &cut, &e), -ESTALE);
	cr_assert_eq(tp_tree_lookup(f.tree, &nobody, TP_NODE_CACHE, "x", &late), 0);
	cr_assert_eq(tp_tree_setattr(f.tree, &nobody, late.node, NULL, &cut, &e), 0);
	cr_assert(reads(&f, &nobody, TP_NODE_CACHE, "x", "ol"));
	tp_tree_forget(f.tree, late.node, 1);
	tp_tree_forget(f.tree, published.node, 1);
	move_time(&f, 3 * TP_NS_PER_S);
	/* The name goes while it is on its way: it finds a file without one, and never ESTALE. */
	cr_assert_eq(tp_tree_lookup(f.tree, &nobody, TP_NODE_CACHE, "x", &published), 0);
	cr_assert_eq(tp_tree_open(f.tree, &nobody, published.node, O_WRONLY | O_TRUNC, &opened), -ESTALE);
	cr_assert_eq(tp_tree_lookup(f.tree, &nobody, TP_NODE_CACHE, "x", &late), 0);
	cr_assert_eq(unlink_as(&f, &f.me, TP_NODE_CACHE, "x"), 0);
	cr_assert_eq(tp_tree_open(f.tree, &nobody, late.node, O_WRONLY | O_TRUNC, &opened), 0);
	struct file file = {.opened = opened, .who = nobody, .node = late.node};

	cr_assert_eq(file_close(&f, &file), 0);
	tp_tree_forget(f.tree, published.node, 1);
	move_time(&f, 3 * TP_NS_PER_S);
	wait_until(no_drafts, &f);
	cr_assert_eq(pool_used_bytes(&f), 0);
	/* When it does not come even then, nothing is kept for it. */
	put(&f, TP_NODE_CACHE, "x", "old");
	cr_assert_eq(tp_tree_lookup(f.tree, &nobody, TP_NODE_CACHE, "x", &published), 0);
	cr_assert_eq(tp_tree_open(f.tree, &nobody, published.node, O_WRONLY | O_TRUNC, &opened), -ESTALE);
	cr_assert_eq(tp_tree_lookup(f.tree, &nobody, TP_NODE_CACHE, "x", &late), 0);
	cr_assert_eq(unlink_as(&f, &f.me, TP_NODE_CACHE, "x"), 0);
	tp_tree_forget(f.tree, published.node, 1);
	cr_assert_gt(pool_used_bytes(&f), 0);
	tp_tree_forget(f.tree, late.node, 1);
	cr_assert_eq(pool_used_bytes(&f), 0);
	cr_assert_eq(f.tree->drafts, 0);
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

Test(gen, a_failed_write_is_told_at_close_and_keeps_the_draft_from_being_published)
{
	char *much = calloc(1, 2 * MIB);
	struct fixture f;
	struct file draft;

	fixture_open(&f, MIB, NULL);
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_WRONLY | O_CREAT, &draft), 0);
	cr_assert_eq(file_puts(&f, &draft, 0, "bytes"), 0);
	cr_assert_eq(file_write(&f, &draft, 5, much, 2 * MIB), -ENOSPC);
	cr_assert_eq(file_close(&f, &draft), -ENOSPC);
	cr_assert_not(sees(&f, &f.me, TP_NODE_CACHE, "x"));
	cr_assert_eq(pool_used_bytes(&f), 0);
	/* What was missing is written after all. */
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_WRONLY | O_CREAT, &draft), 0);
	tp_file_interrupted(f.tree, draft.opened.gen, 0, 5, -EINTR);
	cr_assert_eq(file_puts(&f, &draft, 0, "bytes"), 0);
	cr_assert_eq(file_close(&f, &draft), 0);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "x", "bytes"));
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "y", O_WRONLY | O_CREAT, &draft), 0);
	cr_assert_eq(file_write(&f, &draft, (uint64_t)TP_MAP_SIZE_MAX, "x", 1), -EFBIG);
	cr_assert_eq(file_write(&f, &draft, UINT64_MAX, "x", 1), -EFBIG);
	cr_assert_eq(file_close(&f, &draft), 0);
	free(much);
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

Test(gen, a_file_without_a_name_gets_one_by_link_and_otherwise_goes)
{
	struct fixture f;
	struct file file;
	struct tp_entry e;
	unsigned named;

	fixture_open(&f, POOL, NULL);
	for (named = 0; named < 2; named++) {
		file.who = f.me;
		cr_assert_eq(
			tp_tree_tmpfile(f.tree, &file.who, TP_NODE_CACHE, 0600, O_RDWR, &e, &file.opened), 0);
		file.node = e.node;
		cr_assert_eq(e.attr.nlink, 0);
		cr_assert_eq(file_puts(&f, &file, 0, "bytes"), 0);
		holds(&f);
		if (named) {
			cr_assert_eq(tp_tree_link(f.tree, &file.who, file.node, TP_NODE_CACHE, "x", &e), 0);
			tp_tree_forget(f.tree, e.node, 1);
			holds(&f);
		}
		cr_assert_eq(file_close(&f, &file), 0);
		cr_assert_eq(sees(&f, &f.me, TP_NODE_CACHE, "x"), named);
		cr_assert_eq(pool_used_bytes(&f) > 0, named);
		holds(&f);
	}
	/* With O_EXCL it never gets one. */
	file.who = f.me;
	cr_assert_eq(
		tp_tree_tmpfile(f.tree, &file.who, TP_NODE_CACHE, 0600, O_RDWR | O_EXCL, &e, &file.opened),
		0);
	file.node = e.node;
	cr_assert_eq(tp_tree_link(f.tree, &file.who, file.node, TP_NODE_CACHE, "y", &e), -ENOENT);
	cr_assert_eq(file_close(&f, &file), 0);
	cr_assert_eq(
		tp_tree_tmpfile(f.tree, &file.who, TP_NODE_SAMPLES, 0600, O_RDWR, &e, &file.opened), -EPERM);
	fixture_close(&f);
}

/* Sizes and times */

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

Test(gen, holes_are_reserved_punched_and_found)
{
	struct fixture f;
	struct file file;

	fixture_open(&f, POOL, NULL);
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_RDWR | O_CREAT, &file), 0);
	cr_assert_eq(file_puts(&f, &file, 64 * KIB, "data"), 0);
	cr_assert_eq(tp_file_seek(f.tree, file.opened.gen, 0, SEEK_DATA), 64 * KIB);
	cr_assert_eq(tp_file_seek(f.tree, file.opened.gen, 64 * KIB, SEEK_HOLE), 64 * KIB + 4);
	cr_assert_eq(tp_file_seek(f.tree, file.opened.gen, MIB, SEEK_DATA), -ENXIO);
	cr_assert_eq(tp_file_seek(f.tree, file.opened.gen, 0, SEEK_SET), -EINVAL);
	cr_assert_eq(tp_file_allocate(f.tree, &file.who, file.opened.gen, 0, 0, MIB), 0);
	cr_assert_eq(file.opened.gen->size, MIB);
	cr_assert_eq(pool_used_bytes(&f), MIB);
	holds(&f);
	cr_assert_eq(tp_file_allocate(f.tree, &file.who, file.opened.gen, 0, 0, 0), -EINVAL);
	cr_assert_eq(tp_file_allocate(f.tree, &file.who, file.opened.gen, 0x40, 0, 1), -EOPNOTSUPP);
	cr_assert_eq(tp_file_allocate(f.tree, &file.who, file.opened.gen, 0, UINT64_MAX, 2), -EFBIG);
	cr_assert_eq(tp_file_allocate(f.tree, &file.who, file.opened.gen, 0, TP_MAP_SIZE_MAX, 1), -EFBIG);
	cr_assert_eq(tp_file_allocate(f.tree, &file.who, file.opened.gen, 0, 2 * MIB, 8 * MIB), -ENOSPC);
	cr_assert(tp_file_can_fit(f.tree, 2 * MIB, POOL), "if there were nothing else");
	cr_assert_not(tp_file_can_fit(f.tree, 2 * MIB, POOL + 1));
	cr_assert_not(tp_file_can_fit(f.tree, 1, POOL));
	cr_assert_eq(tp_file_allocate(f.tree, &file.who, file.opened.gen, 0, 1, POOL), -ENOSPC);
	cr_assert_eq(tp_file_allocate(f.tree, &file.who, file.opened.gen, 0, 0, UINT64_C(1) << 40), -ENOSPC);
	cr_assert_eq(file.opened.gen->size, MIB);
	cr_assert_eq(tp_file_allocate(f.tree, &file.who, file.opened.gen,
			     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 512 * KIB),
		0);
	holds(&f);
	cr_assert_eq(pool_used_bytes(&f), 512 * KIB);
	cr_assert_eq(file_close(&f, &file), 0);
	holds(&f);
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

Test(gen, a_write_by_who_may_not_keep_them_clears_setuid_and_setgid)
{
	struct tp_setattr set = {.set_mode = true, .mode = 06755};
	struct iovec iov = {(void *)"x", 1};
	struct tp_write w = {.iov = &iov, .iov_count = 1, .len = 1, .kill_suid = true};
	struct fixture f;
	struct file file;
	struct tp_entry e;

	fixture_open(&f, POOL, NULL);
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_RDWR | O_CREAT, &file), 0);
	cr_assert_eq(tp_tree_setattr(f.tree, &file.who, file.node, file.opened.gen, &set, &e), 0);
	cr_assert_eq(e.attr.mode, S_IFREG | 06755);
	cr_assert_eq(tp_file_write(f.tree, &file.who, file.opened.gen, &w), 0);
	cr_assert_eq(file_close(&f, &file), 0);
	cr_assert_eq(stat_as(&f, &f.me, TP_NODE_CACHE, "x", &e), 0);
	cr_assert_eq(e.attr.mode, S_IFREG | 0755);
	fixture_close(&f);
}
