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
		(void)pthread_cond_signal(&n->queued);
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

/* The next one, or NULL when it is time to go. *ret_send: it may be sent. */
static struct message *pull(struct tp_notifier *n, bool *ret_send)
{
	struct message *m;
	TP_LOCK(&n->lock);

	while (tp_list_empty(&n->queue)) {
		if (n->ending)
			return NULL;
		n->sleeping = true;
		(void)pthread_cond_wait(&n->queued, &n->lock);
	}
	n->sleeping = false;
	m = tp_container(n->queue.next, struct message, link);
	tp_list_remove(&m->link);
	*ret_send = !n->quiet && !m->done;
	n->sending = *ret_send;
	return m;
}

static void sent(struct tp_notifier *n)
{
	TP_LOCK(&n->lock);

	n->depth--;
	if (n->sending && n->quiet)
		(void)pthread_cond_broadcast(&n->idle);
	n->sending = false;
}

static void *run(void *arg)
{
	struct tp_notifier *n = arg;
	struct message *m;
	bool send;

	while ((m = pull(n, &send))) {
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
		sent(n);
		free(m);
	}
	return NULL;
}

int tp_notifier_start(struct tp_notifier *n)
{
	int r = pthread_create(&n->thread, NULL, run, n);

	if (r)
		return -r;
	n->running = true;
	return 0;
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
	{
		TP_LOCK(&n->lock);
		n->quiet = true;
		n->ending = true;
	}
	(void)pthread_cond_signal(&n->queued);
	if (n->running) {
		(void)pthread_join(n->thread, NULL);
		n->running = false;
	}
}

void tp_notifier_fini(struct tp_notifier *n)
{
	bool send;
	struct message *m;

	assert(!n->running);
	n->ending = n->quiet = true;
	/* What was queued and never met a thread. */
	while ((m = pull(n, &send))) {
		if (m->done)
			m->done(m->user);
		sent(n);
		free(m);
	}
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
