/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/notify.h"

#include <assert.h>
#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "store/cleanup.h"

/* One thing to do: a message for the kernel, or a callback. */
struct message {
	struct tp_list link;
	void (*done)(void *user); /* NULL: a message */
	void *user;
	size_t len; /* of bytes */
	_Alignas(8) char bytes[];
};

void tp_notifier_init(struct tp_notifier *n, int fd, struct tp_stats *stats)
{
	*n = (struct tp_notifier){.fd = fd, .stats = stats};
	(void)pthread_mutex_init(&n->lock, NULL);
	(void)pthread_cond_init(&n->queued, NULL);
	(void)pthread_cond_init(&n->idle, NULL);
	(void)pthread_cond_init(&n->left, NULL);
	tp_list_init(&n->queue);
}

/* Takes m. -ESHUTDOWN: it ends, m was freed. */
static int push(struct tp_notifier *n, struct message *m)
{
	bool wake;

	{
		TP_LOCK(&n->lock);
		if (n->ending) {
			free(m);
			return -ESHUTDOWN;
		}
		tp_list_push_back(&n->queue, &m->link);
		n->depth++;
		wake = n->sleeping;
		n->sleeping = false;
	}
	if (wake)
		(void)pthread_cond_broadcast(&n->queued);
	return 0;
}

/* A message of code with len bytes behind its header; NULL and counted when there is no memory. */
static struct message *new_message(struct tp_notifier *n, int code, size_t len)
{
	size_t total = sizeof(struct fuse_out_header) + len;
	struct message *m = calloc(1, sizeof(*m) + total);

	if (!m) {
		TP_LOCK(&n->lock);
		n->lost++;
		return NULL;
	}
	*(struct fuse_out_header *)m->bytes = (struct fuse_out_header){.len = (uint32_t)total, .error = code};
	m->len = total;
	return m;
}

void tp_notifier_entry(struct tp_notifier *n, uint64_t parent, const char *name, size_t name_len)
{
	struct fuse_notify_inval_entry_out *out;
	struct message *m = new_message(n, FUSE_NOTIFY_INVAL_ENTRY, sizeof(*out) + name_len + 1);

	if (!m)
		return;
	out = (void *)(m->bytes + sizeof(struct fuse_out_header));
	out->parent = parent;
	out->namelen = (uint32_t)name_len;
	memcpy(out + 1, name, name_len);
	(void)push(n, m);
}

void tp_notifier_inode(struct tp_notifier *n, uint64_t node, int64_t off, int64_t len)
{
	struct fuse_notify_inval_inode_out *out;
	struct message *m = new_message(n, FUSE_NOTIFY_INVAL_INODE, sizeof(*out));

	if (!m)
		return;
	out = (void *)(m->bytes + sizeof(struct fuse_out_header));
	*out = (struct fuse_notify_inval_inode_out){.ino = node, .off = off, .len = len};
	(void)push(n, m);
}

int tp_notifier_then(struct tp_notifier *n, void (*done)(void *user), void *user)
{
	struct message *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	m->done = done;
	m->user = user;
	return push(n, m);
}

/* The directory that m needs the lock of; 0: none. */
static uint64_t parent_of(const struct message *m)
{
	const struct fuse_out_header *h = (const void *)m->bytes;

	return !m->done && h->error == FUSE_NOTIFY_INVAL_ENTRY
		       ? ((const struct fuse_notify_inval_entry_out *)(h + 1))->parent
		       : 0;
}

/* Who is held up in that directory, or NULL. */
static struct tp_notifier_thread *held_up_in(struct tp_notifier *n, uint64_t parent)
{
	for (unsigned i = 0; i < TP_NOTIFIER_THREADS_MAX; i++) {
		struct tp_notifier_thread *t = &n->threads[i];

		if (t->alive && t != n->active && t->parent == parent)
			return t;
	}
	return NULL;
}

static struct tp_notifier_thread *last_resort(struct tp_notifier *n)
{
	return &n->threads[TP_NOTIFIER_THREADS_MAX - 1];
}

/* Who else is to send m, which t took from the queue; NULL: nobody. */
static struct tp_notifier_thread *other_for(
	struct tp_notifier *n, struct tp_notifier_thread *t, const struct message *m)
{
	struct tp_notifier_thread *other = parent_of(m) ? held_up_in(n, parent_of(m)) : NULL;

	return !other && t == last_resort(n) && parent_of(m) && !n->quiet ? t : other;
}

/* What t is to do next, or NULL when it is time for it to go. */
static struct message *next_of(struct tp_notifier *n, struct tp_notifier_thread *t)
{
	for (;;) {
		bool own = n->active != t || (n->ending && tp_list_empty(&n->queue));
		struct tp_list *from = own ? &t->aside : &n->queue;
		struct tp_notifier_thread *other;
		struct message *m;

		if (tp_list_empty(from)) {
			if (own)
				return NULL;
			n->sleeping = true;
			(void)pthread_cond_wait(&n->queued, &n->lock);
			continue;
		}
		m = tp_container(from->next, struct message, link);
		tp_list_remove(&m->link);
		if (own)
			return m;
		n->sleeping = false;
		n->turn++;
		other = other_for(n, t, m);
		if (!other)
			return m;
		if (other == t && n->depth > TP_NOTIFIER_DEPTH_MAX) {
			free(m);
			n->depth--;
			n->lost++;
			continue;
		}
		tp_list_push_back(&other->aside, &m->link);
	}
}

/* The same. *ret_send: it is to be sent. */
static struct message *pull(struct tp_notifier *n, struct tp_notifier_thread *t, bool *ret_send)
{
	struct message *m;
	TP_LOCK(&n->lock);

	m = next_of(n, t);
	*ret_send = m && !n->quiet && !m->done;
	/* Until then it is what was sent last: nothing about the same directory goes before what lies aside. */
	t->parent = *ret_send ? parent_of(m) : 0;
	if (m && n->active == t)
		n->sending = *ret_send;
	return m;
}

static void sent(struct tp_notifier *n, struct tp_notifier_thread *t)
{
	TP_LOCK(&n->lock);

	n->depth--;
	if (n->active != t)
		return;
	if (n->sending && n->quiet)
		(void)pthread_cond_broadcast(&n->idle);
	n->sending = false;
}

static void *run(void *arg)
{
	struct tp_notifier_thread *t = arg;
	struct tp_notifier *n = t->notifier;
	struct message *m;
	bool send;

	while ((m = pull(n, t, &send))) {
		if (m->done) {
			m->done(m->user);
		} else if (send) {
			ssize_t k;

			do {
				k = write(n->fd, m->bytes, m->len);
			} while (k < 0 && errno == EINTR);
			/* A name or node that the kernel does not know (any more) is as good as forgotten; a mount that is gone forgets all. */
			if (k >= 0)
				tp_stats_add(n->stats, TP_STAT_NOTIFIES, 1);
		}
		sent(n, t);
		free(m);
	}
	TP_LOCK(&n->lock);
	t->alive = false;
	n->alive--;
	(void)pthread_cond_broadcast(&n->left);
	return NULL;
}

/* A thread that is not there, or NULL; the last one only when all others are. */
static struct tp_notifier_thread *spare(struct tp_notifier *n)
{
	for (unsigned i = 0; i < TP_NOTIFIER_THREADS_MAX; i++)
		if (!n->threads[i].alive)
			return &n->threads[i];
	return NULL;
}

/* t has the queue from now on; who had it ends when it comes back. With the lock held. -errno: as it was. */
static int hand_over(struct tp_notifier *n, struct tp_notifier_thread *t)
{
	pthread_attr_t attr;
	pthread_t thread;
	int r = pthread_attr_init(&attr);

	if (r)
		return -r;
	*t = (struct tp_notifier_thread){.notifier = n};
	tp_list_init(&t->aside);
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	r = pthread_create(&thread, &attr, run, t);
	(void)pthread_attr_destroy(&attr);
	if (r)
		return -r;
	t->alive = true;
	n->alive++;
	n->active = t;
	n->sending = n->sleeping = false;
	(void)pthread_cond_broadcast(&n->queued);
	(void)pthread_cond_broadcast(&n->idle);
	return 0;
}

int tp_notifier_start(struct tp_notifier *n)
{
	TP_LOCK(&n->lock);

	return hand_over(n, &n->threads[0]);
}

void tp_notifier_guard(struct tp_notifier *n)
{
	struct tp_notifier_thread *last = last_resort(n), *t;
	TP_LOCK(&n->lock);

	t = spare(n);
	if (t && !n->ending && n->sending && n->turn == n->turn_seen)
		(void)hand_over(n, t);
	/* One came back, and another may send what the last one could not. */
	if (t && !n->ending && n->active == last && t != last && hand_over(n, t) == 0)
		tp_list_splice_front(&n->queue, &last->aside);
	n->turn_seen = n->turn;
}

void tp_notifier_quiet(struct tp_notifier *n)
{
	TP_LOCK(&n->lock);

	n->quiet = true;
	while (n->sending)
		(void)pthread_cond_wait(&n->idle, &n->lock);
}

void tp_notifier_stop(struct tp_notifier *n)
{
	TP_LOCK(&n->lock);

	n->quiet = true;
	n->ending = true;
	(void)pthread_cond_broadcast(&n->queued);
	while (n->alive > 0)
		(void)pthread_cond_wait(&n->left, &n->lock);
}

void tp_notifier_fini(struct tp_notifier *n)
{
	assert(n->alive == 0);
	/* What was queued and never met a thread. */
	while (!tp_list_empty(&n->queue)) {
		struct message *m = tp_container(n->queue.next, struct message, link);

		tp_list_remove(&m->link);
		if (m->done)
			m->done(m->user);
		free(m);
	}
	(void)pthread_cond_destroy(&n->left);
	(void)pthread_cond_destroy(&n->idle);
	(void)pthread_cond_destroy(&n->queued);
	(void)pthread_mutex_destroy(&n->lock);
}

uint64_t tp_notifier_depth(struct tp_notifier *n)
{
	TP_LOCK(&n->lock);

	return n->depth;
}

uint64_t tp_notifier_lost(struct tp_notifier *n)
{
	TP_LOCK(&n->lock);

	return n->lost;
}

unsigned tp_notifier_held_up(struct tp_notifier *n)
{
	unsigned count = 0;
	TP_LOCK(&n->lock);

	for (unsigned i = 0; i < TP_NOTIFIER_THREADS_MAX; i++)
		count += n->threads[i].alive && &n->threads[i] != n->active && n->threads[i].parent;
	return count;
}
