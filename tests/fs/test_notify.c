/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is held up: a full pipe stands for a kernel that does not take the message.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../store/heap.h"
#include "fs/notify.h"

#define PIPE_BYTES 4096
#define NAME_BYTES 8

struct rig {
	struct tp_notifier n;
	struct tp_stats stats;
	int ends[2];
	sem_t done;
};

static void note_done(void *user)
{
	struct rig *g = user;

	sem_post(&g->done);
}

static void rig_start(struct rig *g)
{
	memset(g, 0, sizeof(*g));
	cr_assert_eq(pipe(g->ends), 0);
	cr_assert_eq(fcntl(g->ends[1], F_SETPIPE_SZ, PIPE_BYTES), PIPE_BYTES);
	sem_init(&g->done, 0, 0);
	tp_notifier_init(&g->n, g->ends[1], &g->stats);
	cr_assert_eq(tp_notifier_start(&g->n), 0);
}

static void rig_end(struct rig *g)
{
	tp_notifier_quiet(&g->n);
	tp_notifier_stop(&g->n);
	cr_assert_eq(tp_notifier_depth(&g->n), 0);
	tp_notifier_fini(&g->n);
	close(g->ends[0]);
	close(g->ends[1]);
}

static void fill(struct rig *g)
{
	static const char zero[PIPE_BYTES];

	cr_assert_eq(write(g->ends[1], zero, sizeof(zero)), PIPE_BYTES);
}

static void take(struct rig *g, void *to, size_t len)
{
	for (size_t had = 0; had < len;) {
		ssize_t n = read(g->ends[0], (char *)to + had, len - had);

		cr_assert_gt(n, 0);
		had += (size_t)n;
	}
}

static void drain(struct rig *g)
{
	char bytes[PIPE_BYTES];

	take(g, bytes, sizeof(bytes));
}

/* A name of NAME_BYTES. */
static void queue_entry(struct rig *g, uint64_t parent, unsigned i)
{
	char name[NAME_BYTES + 1];

	(void)snprintf(name, sizeof(name), "n%07u", i % 10000000);
	tp_notifier_entry(&g->n, parent, name, NAME_BYTES);
}

/* The one that the kernel takes next: its number. */
static unsigned take_entry(struct rig *g, uint64_t *ret_parent)
{
	struct __attribute__((packed)) {
		struct fuse_out_header h;
		struct fuse_notify_inval_entry_out entry;
		char name[NAME_BYTES + 1];
	} m;

	take(g, &m, sizeof(m));
	cr_assert_eq(m.h.unique, 0);
	cr_assert_eq(m.h.len, sizeof(m));
	cr_assert_eq(m.h.error, FUSE_NOTIFY_INVAL_ENTRY);
	cr_assert_eq(m.entry.namelen, NAME_BYTES);
	cr_assert_eq(m.name[NAME_BYTES], 0);
	*ret_parent = m.entry.parent;
	return (unsigned)strtoul(m.name + 1, NULL, 10);
}

/* A callback counts until it has returned. */
static void until_depth(struct rig *g, uint64_t depth)
{
	while (tp_notifier_depth(&g->n) != depth)
		(void)sched_yield();
}

/* Seconds pass until so many are held up. */
static void until_held_up(struct rig *g, unsigned count)
{
	while (tp_notifier_held_up(&g->n) < count) {
		tp_notifier_guard(&g->n);
		(void)sched_yield();
	}
}

/* And until all has been sent; nobody waits to write. */
static void until_sent(struct rig *g)
{
	while (tp_notifier_depth(&g->n) > 0) {
		tp_notifier_guard(&g->n);
		(void)sched_yield();
	}
}

Test(notify, what_is_queued_is_sent_in_order)
{
	struct {
		struct fuse_out_header h;
		struct fuse_notify_inval_inode_out inode;
	} m;
	struct rig g;
	uint64_t parent;

	rig_start(&g);
	queue_entry(&g, 5, 1);
	tp_notifier_inode(&g.n, 6, -1, 0);
	cr_assert_eq(tp_notifier_then(&g.n, note_done, &g), 0);
	sem_wait(&g.done);
	cr_assert_eq(take_entry(&g, &parent), 1);
	cr_assert_eq(parent, 5);
	take(&g, &m, sizeof(m));
	cr_assert_eq(m.h.unique, 0);
	cr_assert_eq(m.h.len, sizeof(m));
	cr_assert_eq(m.h.error, FUSE_NOTIFY_INVAL_INODE);
	cr_assert_eq(m.inode.ino, 6);
	cr_assert_eq(m.inode.off, -1);
	cr_assert_eq(m.inode.len, 0);
	cr_assert_eq(tp_stats_get(&g.stats, TP_STAT_NOTIFIES), 2);
	tp_notifier_stop(&g.n);
	cr_assert_eq(tp_notifier_then(&g.n, note_done, &g), -ESHUTDOWN);
	queue_entry(&g, 5, 2);
	cr_assert_eq(tp_notifier_lost(&g.n), 0);
	rig_end(&g);
}

Test(notify, what_cannot_be_queued_is_counted)
{
	struct rig g;

	rig_start(&g);
	heap_fail_at(1);
	queue_entry(&g, 5, 1);
	cr_assert(heap_fail_off());
	heap_fail_at(1);
	cr_assert_eq(tp_notifier_then(&g.n, note_done, &g), -ENOMEM);
	cr_assert(heap_fail_off());
	cr_assert_eq(tp_notifier_lost(&g.n), 1);
	rig_end(&g);
}

Test(notify, who_is_held_up_holds_up_only_what_is_about_the_same_directory)
{
	unsigned i, of_five = 0, of_six = 0;
	uint64_t parent;
	struct rig g;

	rig_start(&g);
	fill(&g);
	queue_entry(&g, 5, 1);
	cr_assert_eq(tp_notifier_then(&g.n, note_done, &g), 0);
	until_held_up(&g, 1);
	sem_wait(&g.done);
	/* Which the stand-in need not try. */
	queue_entry(&g, 5, 2);
	queue_entry(&g, 5, 3);
	cr_assert_eq(tp_notifier_then(&g.n, note_done, &g), 0);
	sem_wait(&g.done);
	cr_assert_eq(tp_notifier_held_up(&g.n), 1);
	queue_entry(&g, 6, 1);
	cr_assert_eq(tp_notifier_then(&g.n, note_done, &g), 0);
	until_held_up(&g, 2);
	sem_wait(&g.done);
	until_depth(&g, 4);
	drain(&g);
	queue_entry(&g, 5, 4);
	while (of_five < 4 || of_six < 1) {
		i = take_entry(&g, &parent);
		cr_assert_eq(i, parent == 5 ? ++of_five : ++of_six, "%u of %u is out of order", i,
			(unsigned)parent);
	}
	until_depth(&g, 0);
	cr_assert_eq(tp_notifier_lost(&g.n), 0);
	rig_end(&g);
	cr_assert_eq(tp_stats_get(&g.stats, TP_STAT_NOTIFIES), 5);
}

/* All are held up but the last one, each for a directory of its own: 11 and on. */
static void hold_up_all(struct rig *g)
{
	fill(g);
	for (unsigned k = 1; k < TP_NOTIFIER_THREADS_MAX; k++) {
		queue_entry(g, 10 + k, k);
		until_held_up(g, k);
	}
}

Test(notify, when_all_others_are_held_up_the_last_one_leaves_names_to_who_comes_back)
{
	struct rig g;
	uint64_t parent;

	rig_start(&g);
	hold_up_all(&g);
	queue_entry(&g, 100, 1);
	cr_assert_eq(tp_notifier_then(&g.n, note_done, &g), 0);
	sem_wait(&g.done);
	queue_entry(&g, 100, 2);
	tp_notifier_guard(&g.n);
	tp_notifier_guard(&g.n);
	cr_assert_eq(tp_notifier_held_up(&g.n), TP_NOTIFIER_THREADS_MAX - 1, "there are no more");
	drain(&g);
	/* Who waits to write into a pipe of one page is woken when it is empty. */
	for (unsigned k = 1; k < TP_NOTIFIER_THREADS_MAX; k++) {
		(void)take_entry(&g, &parent);
		cr_assert_lt(parent, 100);
	}
	queue_entry(&g, 100, 3);
	until_sent(&g);
	for (unsigned i = 1; i <= 3; i++) {
		cr_assert_eq(take_entry(&g, &parent), i);
		cr_assert_eq(parent, 100);
	}
	cr_assert_eq(tp_notifier_lost(&g.n), 0);
	rig_end(&g);
}

Test(notify, what_the_last_one_leaves_is_not_without_end)
{
	struct rig g;
	uint64_t parent;

	rig_start(&g);
	hold_up_all(&g);
	for (unsigned i = 0; i < TP_NOTIFIER_DEPTH_MAX + 10; i++)
		queue_entry(&g, 100, i);
	while (tp_notifier_lost(&g.n) < 10)
		(void)sched_yield();
	tp_notifier_quiet(&g.n);
	drain(&g);
	for (unsigned k = 1; k < TP_NOTIFIER_THREADS_MAX; k++)
		(void)take_entry(&g, &parent);
	rig_end(&g);
	cr_assert_eq(tp_stats_get(&g.stats, TP_STAT_NOTIFIES), TP_NOTIFIER_THREADS_MAX - 1);
}

Test(notify, being_quiet_does_not_wait_for_who_is_held_up)
{
	struct rig g;
	uint64_t parent;

	rig_start(&g);
	fill(&g);
	queue_entry(&g, 5, 1);
	until_held_up(&g, 1);
	queue_entry(&g, 5, 2);
	cr_assert_eq(tp_notifier_then(&g.n, note_done, &g), 0);
	sem_wait(&g.done);
	tp_notifier_quiet(&g.n);
	drain(&g);
	cr_assert_eq(take_entry(&g, &parent), 1);
	rig_end(&g);
	cr_assert_eq(tp_stats_get(&g.stats, TP_STAT_NOTIFIES), 1, "what was set aside was not sent");
}
