/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request that has to wait for a lock is in two places: the object's queue (under the tree's lock) and the session's table of waits. Whoever grants it takes it out of
 * the table first, so that an interrupt that comes at the same time finds either all of it or nothing.
 */
#include "fs/ops_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>

#include "store/cleanup.h"

struct parked_lock {
	struct tp_wait wait;
	struct tp_lock_waiter waiter;
	struct tp_fs *fs;
};

static struct tp_locks *locks_of(struct tp_gen *g)
{
	return g->object->extra ? &g->object->extra->locks : NULL;
}

bool tp_ops_has_locks(struct tp_fs *fs, const struct tp_handle *h)
{
	struct tp_locks *l;
	TP_RDLOCK(&fs->tree->lock);

	l = locks_of(h->opened.gen);
	return l && !tp_locks_empty(l);
}

static bool claim(struct tp_lock_waiter *w, void *user)
{
	struct tp_fs *fs = user;

	return tp_wait_take(fs->session, &tp_container(w, struct parked_lock, waiter)->wait);
}

/* Answers those that got their lock; no lock is held. */
static void answer(struct tp_fs *fs, struct tp_list *granted)
{
	tp_list_each_safe (e, granted) {
		struct parked_lock *p = tp_container(e, struct parked_lock, waiter.link);

		tp_reply_error(fs->session, &p->wait.caller, 0);
		free(p);
	}
}

void tp_ops_drop_locks(struct tp_fs *fs, const struct tp_handle *h, uint64_t owner, bool flock)
{
	struct tp_list granted;
	struct tp_locks *l;

	if (!tp_ops_has_locks(fs, h))
		return;
	tp_list_init(&granted);
	{
		TP_WRLOCK(&fs->tree->lock);
		l = locks_of(h->opened.gen);
		tp_locks_drop_owner(l, owner, flock);
		tp_locks_grant(l, claim, fs, &granted);
	}
	answer(fs, &granted);
}

void tp_ops_handle_closed(struct tp_fs *fs, const struct tp_handle *h)
{
	struct tp_list granted;
	struct tp_locks *l;

	if (!tp_ops_has_locks(fs, h))
		return;
	tp_list_init(&granted);
	{
		TP_WRLOCK(&fs->tree->lock);
		l = locks_of(h->opened.gen);
		tp_locks_drop_handle(l, h->number);
		tp_locks_grant(l, claim, fs, &granted);
	}
	answer(fs, &granted);
}

static int read_range(const struct fuse_lk_in *in, struct tp_lock_range *ret)
{
	*ret = (struct tp_lock_range){
		.owner = in->owner,
		.handle = in->fh,
		.start = in->lk.start,
		.end = in->lk.end,
		.pid = (pid_t)in->lk.pid,
		.flock = in->lk_flags & FUSE_LK_FLOCK,
	};
	switch (in->lk.type) {
	case F_RDLCK:
		ret->type = TP_LOCK_READ;
		break;
	case F_WRLCK:
		ret->type = TP_LOCK_WRITE;
		break;
	case F_UNLCK:
		ret->type = TP_LOCK_NONE;
		break;
	default:
		return -EINVAL;
	}
	return ret->start > ret->end ? -EINVAL : 0;
}

static void cancel_lock(struct tp_wait *w)
{
	struct parked_lock *p = tp_container(w, struct parked_lock, wait);

	{
		TP_WRLOCK(&p->fs->tree->lock);
		tp_locks_unwait(&p->waiter);
	}
	/* EINTR without a signal is not taken back by the kernel, and the program sees a number that means nothing. */
	tp_reply_error(p->fs->session, &w->caller, w->ended ? -ENOTCONN : -EINTR);
	free(p);
}

/* Queues the request; 0: it waits, and is answered by others. With the tree's lock held. */
static int wait_for_lock(
	struct tp_fs *fs, struct tp_request *r, struct tp_gen *g, const struct tp_lock_range *want)
{
	struct parked_lock *p = calloc(1, sizeof(*p));
	char path[PATH_MAX], quoted[121];
	int error;

	if (!p)
		return -ENOMEM;
	p->fs = fs;
	p->waiter.want = *want;
	p->wait.caller = r->caller;
	p->wait.cancel = cancel_lock;
	(void)tp_tree_path_locked(fs->tree, g->node.id, path, sizeof(path));
	(void)snprintf(p->wait.what, sizeof(p->wait.what), "%s %s", want->flock ? "flock" : "lock",
		tp_events_quote(path, strlen(path), quoted, sizeof(quoted)));
	error = tp_locks_wait(locks_of(g), &p->waiter);
	if (error == 0) {
		error = tp_wait_add(fs->session, &p->wait);
		if (error < 0)
			tp_locks_unwait(&p->waiter);
	}
	if (error < 0)
		free(p);
	else
		tp_stats_add(&fs->store->stats, TP_STAT_PARKED, 1);
	return error;
}

/* -EINPROGRESS: the request waits and is answered by others; it is not to be looked at any more. */
static int try_lock(struct tp_fs *fs, struct tp_request *r, struct tp_gen *g,
	const struct tp_lock_range *want, bool wait, struct tp_list *granted)
{
	int error;
	TP_WRLOCK(&fs->tree->lock);

	error = tp_object_extra(g->object) ? tp_locks_set(locks_of(g), want) : -ENOMEM;
	if (error == -EAGAIN && wait) {
		error = wait_for_lock(fs, r, g, want);
		return error == 0 ? -EINPROGRESS : error;
	}
	/* Dropping a lock, or sharing it, may let others in. */
	if (error == 0 && want->type != TP_LOCK_WRITE)
		tp_locks_grant(locks_of(g), claim, fs, granted);
	return error;
}

static void set_lock(struct tp_fs *fs, struct tp_request *r, bool wait)
{
	const struct fuse_lk_in *in = r->arg;
	struct tp_handle *h = tp_handle_get(&fs->handles, in->fh, TP_HANDLE_FILE);
	struct tp_list granted;
	struct tp_lock_range want;
	int error = h ? read_range(in, &want) : -EBADF;

	tp_list_init(&granted);
	if (error == 0)
		error = try_lock(fs, r, h->opened.gen, &want, wait, &granted);
	if (error == -EAGAIN) {
		/* Who has it may have closed its file before this was asked. */
		(void)tp_request_after_releases(r);
		error = try_lock(fs, r, h->opened.gen, &want, wait, &granted);
	}
	if (error != -EINPROGRESS)
		tp_ops_reply(fs, r, error);
	answer(fs, &granted);
}

void tp_op_setlk(struct tp_fs *fs, struct tp_request *r)
{
	set_lock(fs, r, false);
}

void tp_op_setlkw(struct tp_fs *fs, struct tp_request *r)
{
	set_lock(fs, r, true);
}

void tp_op_getlk(struct tp_fs *fs, struct tp_request *r)
{
	const struct fuse_lk_in *in = r->arg;
	struct tp_handle *h = tp_handle_get(&fs->handles, in->fh, TP_HANDLE_FILE);
	struct fuse_lk_out out = {.lk.type = F_UNLCK};
	struct tp_lock_range want, found;
	int error = h ? read_range(in, &want) : -EBADF;

	if (error == 0) {
		TP_RDLOCK(&fs->tree->lock);
		if (locks_of(h->opened.gen) && tp_locks_test(locks_of(h->opened.gen), &want, &found)) {
			out.lk.start = found.start;
			out.lk.end = found.end;
			out.lk.type = found.type == TP_LOCK_WRITE ? F_WRLCK : F_RDLCK;
			out.lk.pid = (uint32_t)found.pid;
		}
	}
	if (error)
		tp_ops_reply(fs, r, error);
	else
		tp_reply_data(fs->session, &r->caller, &out, sizeof(out));
}
