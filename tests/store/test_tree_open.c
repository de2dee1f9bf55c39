/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening: which bytes an opener gets, and who is waited for.
 */
#include "tree_fixture.h"

#include <pthread.h>
#include <sched.h>

/* A name that stands for something else by the time of the open */

Test(tree_open, what_was_unlinked_between_look_up_and_open_is_enoent)
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

Test(tree_open, an_opener_meets_one_replacement_after_the_other_and_is_told_estale_once)
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

Test(tree_open, who_did_not_come_back_in_time_takes_nobodys_place)
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

/* Drafts that wait for their opener */

Test(tree_open, an_opener_that_was_sent_to_a_draft_is_waited_for)
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

Test(tree_open, each_of_two_openers_that_were_sent_to_a_draft_is_waited_for)
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

Test(tree_open, an_opener_that_finds_something_else_is_not_waited_for)
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

Test(tree_open, an_opener_that_was_sent_to_a_draft_while_it_is_compared_is_waited_for)
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

static bool no_drafts(void *user)
{
	struct fixture *f = user;
	TP_RDLOCK(&f->tree->lock);

	return f->tree->drafts == 0;
}

Test(tree_open, an_opener_that_never_comes_is_not_waited_for_for_ever)
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

Test(tree_open, a_name_that_only_a_promised_draft_stands_for_goes_with_it)
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

/* Openers that cannot be seen */

Test(tree_open, who_cannot_be_seen_sees_no_draft_and_shares_none)
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

Test(tree_open, openers_that_cannot_be_seen_overwrite_a_name_each_for_itself_while_others_read_what_was_there)
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

Test(tree_open, an_opener_that_cannot_be_seen_and_never_comes_leaves_nothing)
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

/* O_TMPFILE */

Test(tree_open, a_file_without_a_name_gets_one_by_link_and_otherwise_goes)
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
