/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open files. A WRITE that finds no room is parked (parked.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/notify.h"
#include "fs/ops.h"
#include "fs/ops_lock.h"
#include "fs/parked.h"
#include "fs/worker.h"
#include "store/cleanup.h"
#include "store/evict.h"
#include "store/file.h"

static void fill_open(struct tp_handle *h, struct fuse_open_out *out, bool flushes)
{
	*out = (struct fuse_open_out){.fh = tp_handle_ready(h)};
	if (h->opened.direct)
		out->open_flags |= FOPEN_DIRECT_IO;
	else if (h->opened.keep_cache)
		out->open_flags |= FOPEN_KEEP_CACHE;
	/* The close of a reader tells nothing, unless locks hang on it. */
	if (!flushes)
		out->open_flags |= FOPEN_NOFLUSH;
}

static void open_control(struct tp_fs *fs, struct tp_request *r, int flags)
{
	struct fuse_open_out out = {.open_flags = FOPEN_DIRECT_IO};
	struct tp_control_file *file;
	struct tp_handle *h;
	struct tp_who who = tp_ops_who(r);
	int error;

	/* A view may look through all of /proc. */
	if ((flags & O_ACCMODE) == O_RDONLY)
		tp_request_may_block(r);
	error = tp_control_open(fs, &who, r->caller.node, flags, &file);

	if (error == 0) {
		error = tp_handle_new(
			&fs->handles, TP_HANDLE_CONTROL, r->caller.node, (pid_t)r->caller.pid, &h);
		if (error)
			tp_control_close(fs, file);
	}
	if (error) {
		tp_ops_reply(fs, r, error);
		return;
	}
	h->control = file;
	out.fh = tp_handle_ready(h);
	if (tp_control_is_stream(file))
		out.open_flags |= FOPEN_STREAM;
	tp_reply_data(fs->session, &r->caller, &out, sizeof(out));
}

void tp_op_open(struct tp_fs *fs, struct tp_request *r)
{
	const struct fuse_open_in *in = r->arg;
	struct tp_who who = tp_ops_who(r);
	struct fuse_open_out out;
	struct tp_handle *h;
	int error;

	if (tp_control_is_node(r->caller.node)) {
		open_control(fs, r, (int)in->flags);
		return;
	}
	error = tp_handle_new(&fs->handles, TP_HANDLE_FILE, r->caller.node, (pid_t)r->caller.pid, &h);
	if (error == 0) {
		error = tp_tree_open(fs->tree, &who, r->caller.node, (int)in->flags, &h->opened);
		if (error)
			tp_handle_free(&fs->handles, h);
		else if (in->open_flags & FUSE_OPEN_KILL_SUIDGID)
			tp_file_kill_suid(fs->tree, h->opened.gen);
	}
	if (error) {
		tp_ops_reply(fs, r, error);
		return;
	}
	h->drops = !h->opened.direct && !h->opened.keep_cache;
	if (h->drops && h->opened.quiet && tp_preload(fs, r, h->opened.gen)) {
		h->opened.keep_cache = true;
		h->drops = false;
	} else {
		tp_preload_await(fs, r, r->caller.node);
	}
	fill_open(h, &out, !h->opened.quiet || tp_ops_has_locks(fs, h));
	tp_reply_data(fs->session, &r->caller, &out, sizeof(out));
}

/* Long enough for the rest of an open(2), which asks for the mode once more, and too short for anything to change. */
#define CREATED_VALID_NS (20 * TP_NS_PER_MS)

static void reply_created(
	struct tp_fs *fs, struct tp_request *r, int error, const struct tp_entry *e, struct tp_handle *h)
{
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out;

	if (error) {
		tp_ops_reply(fs, r, error);
		return;
	}
	tp_ops_fill_entry(e, &out.entry);
	if (out.entry.attr_valid == 0)
		out.entry.attr_valid_nsec = CREATED_VALID_NS;
	fill_open(h, &out.open, true);
	tp_reply_data(fs->session, &r->caller, &out, sizeof(out));
}

static void create(struct tp_fs *fs, struct tp_request *r, bool named)
{
	const struct fuse_create_in *in = r->arg;
	const char *name = (const char *)(in + 1);
	struct tp_who who = tp_ops_who(r);
	struct tp_handle *h = NULL;
	struct tp_entry e;
	int error;

	if (named && tp_control_lookup(fs, r->caller.node, name, &e)) {
		tp_ops_reply(fs, r, in->flags & O_EXCL ? -EEXIST : -EPERM);
		return;
	}
	error = tp_handle_new(&fs->handles, TP_HANDLE_FILE, 0, (pid_t)r->caller.pid, &h);
	if (error == 0) {
		if (named)
			error = tp_tree_create(fs->tree, &who, r->caller.node, name, in->mode, (int)in->flags,
				&e, &h->opened);
		else
			error = tp_tree_tmpfile(
				fs->tree, &who, r->caller.node, in->mode, (int)in->flags, &e, &h->opened);
		if (error)
			tp_handle_free(&fs->handles, h);
		else
			h->node = e.node;
		/* Another may have created it before, and it may have been read since. */
		if (!error)
			tp_preload_await(fs, r, e.node);
		if (!error && in->open_flags & FUSE_OPEN_KILL_SUIDGID)
			tp_file_kill_suid(fs->tree, h->opened.gen);
	}
	reply_created(fs, r, error, &e, h);
}

void tp_op_create(struct tp_fs *fs, struct tp_request *r)
{
	create(fs, r, true);
}

void tp_op_tmpfile(struct tp_fs *fs, struct tp_request *r)
{
	create(fs, r, false);
}

static void read_control(
	struct tp_fs *fs, struct tp_request *r, struct tp_handle *h, uint64_t offset, uint32_t size)
{
	tp_autofree char *buf = malloc(size ? size : 1);
	ssize_t n = buf ? tp_control_read(fs, h->control, offset, buf, size) : -ENOMEM;

	if (n < 0)
		tp_ops_reply(fs, r, (int)n);
	else
		tp_reply_data(fs->session, &r->caller, buf, (size_t)n);
}

void tp_op_read(struct tp_fs *fs, struct tp_request *r)
{
	const struct fuse_read_in *in = r->arg;
	struct tp_handle *h = tp_handle_get(&fs->handles, in->fh, TP_HANDLE_FILE);
	uint32_t size = in->size < TP_PIECE_BYTES ? in->size : TP_PIECE_BYTES;
	struct tp_read read;

	if (h) {
		/* Who reads has been opened, and that has dropped what was old. */
		if (atomic_load_explicit(&h->drops, memory_order_relaxed) &&
			atomic_exchange(&h->drops, false))
			tp_file_cache_is_new(fs->tree, h->opened.gen);
		tp_file_read(fs->tree, h->opened.gen, in->offset, size, &read);
		tp_reply_iov(fs->session, &r->caller, read.iov, read.count + 1);
		tp_file_read_done(fs->tree, &read);
		tp_stats_time(&fs->store->stats.histogram[TP_HIST_COLD_READ],
			tp_mono_ns(fs->store->clock) - r->caller.started_ns);
		return;
	}
	h = tp_handle_get(&fs->handles, in->fh, TP_HANDLE_CONTROL);
	if (h)
		read_control(fs, r, h, in->offset, size);
	else
		tp_ops_reply(fs, r, -EBADF);
}

static void take_pages(void *user, unsigned pages, struct tp_run *ret_runs, unsigned *ret_count)
{
	tp_request_take_pages(user, pages, ret_runs, ret_count);
}

static void write_control(struct tp_fs *fs, struct tp_request *r, struct tp_handle *h)
{
	tp_autofree char *text = malloc(r->payload_len + 1);
	struct fuse_write_out out = {.size = (uint32_t)r->payload_len};
	size_t at = 0;
	int error = -ENOMEM;

	if (text) {
		for (unsigned i = 0; i < r->payload_count; i++) {
			memcpy(text + at, r->payload[i].iov_base, r->payload[i].iov_len);
			at += r->payload[i].iov_len;
		}
		error = tp_control_write(fs, h->control, text, r->payload_len);
	}
	if (error)
		tp_ops_reply(fs, r, error);
	else
		tp_reply_data(fs->session, &r->caller, &out, sizeof(out));
}

void tp_op_write(struct tp_fs *fs, struct tp_request *r)
{
	const struct fuse_write_in *in = r->arg;
	struct tp_handle *h = tp_handle_get(&fs->handles, in->fh, TP_HANDLE_FILE);
	struct fuse_write_out out = {.size = (uint32_t)r->payload_len};
	struct tp_who who = tp_ops_who(r);
	struct tp_write w = {
		.offset = in->offset,
		.iov = r->payload,
		.iov_count = r->payload_count,
		.len = r->payload_len,
		.take = take_pages,
		.user = r,
		.from_cache = in->write_flags & FUSE_WRITE_CACHE,
		.kill_suid = in->write_flags & FUSE_WRITE_KILL_SUIDGID,
		.sync = in->flags & O_DSYNC,
	};
	int error;

	if (!h) {
		h = tp_handle_get(&fs->handles, in->fh, TP_HANDLE_CONTROL);
		if (h)
			write_control(fs, r, h);
		else
			tp_ops_reply(fs, r, -EBADF);
		return;
	}
	for (unsigned i = 0; i < r->runs_count; i++)
		w.take_pages_max += r->runs[i].pages;
	error = h->opened.write ? tp_file_write(fs->tree, &who, h->opened.gen, &w) : -EBADF;
	if (error == -ENOSPC || error == -EDQUOT)
		tp_parked_write(fs, r, h, &w, error);
	else if (error)
		tp_ops_reply(fs, r, error);
	else
		tp_reply_data(fs->session, &r->caller, &out, sizeof(out));
}

struct flush {
	struct tp_session *session;
	struct tp_caller caller;
	int error;
};

static void answer_flush(void *user)
{
	tp_autofree struct flush *f = user;

	tp_reply_error(f->session, &f->caller, f->error);
}

/*
 * The writing open took one name from the kernel and had the others taken by the notifier. Before that one is through, the kernel
 * itself would answer a stat by one of them, with the old size: so close() does not return earlier, unless the kernel has been holding that up for long.
 */
static bool flush_after_notices(struct tp_fs *fs, struct tp_request *r, int error)
{
	struct flush *f = malloc(sizeof(*f));

	if (!f)
		return false;
	*f = (struct flush){.session = fs->session, .caller = r->caller, .error = error};
	if (tp_notifier_then(tp_session_notifier(fs->session), answer_flush, f) == 0)
		return true;
	free(f);
	return false;
}

void tp_op_flush(struct tp_fs *fs, struct tp_request *r)
{
	const struct fuse_flush_in *in = r->arg;
	struct tp_handle *h = tp_handle_get(&fs->handles, in->fh, TP_HANDLE_FILE);
	struct tp_who who = tp_ops_who(r);
	int error = 0;

	if (h) {
		tp_ops_drop_locks(fs, h, in->lock_owner, false);
		error = tp_file_flush(fs->tree, &who, &h->opened);
		if (tp_file_has_links(fs->tree, &h->opened) && flush_after_notices(fs, r, error))
			return;
	}
	tp_ops_reply(fs, r, error);
}

void tp_op_release(struct tp_fs *fs, struct tp_request *r)
{
	const struct fuse_release_in *in = r->arg;
	struct tp_handle *h = tp_handle_get(&fs->handles, in->fh, TP_HANDLE_FILE);

	if (h) {
		if (in->release_flags & FUSE_RELEASE_FLOCK_UNLOCK)
			tp_ops_drop_locks(fs, h, in->lock_owner, true);
		tp_ops_handle_closed(fs, h);
		tp_file_release(fs->tree, &h->opened, r->caller.started_ns);
	} else {
		h = tp_handle_get(&fs->handles, in->fh, TP_HANDLE_CONTROL);
		if (h)
			tp_control_close(fs, h->control);
	}
	if (h)
		tp_handle_free(&fs->handles, h);
	tp_ops_reply(fs, r, 0);
}

void tp_op_fsync(struct tp_fs *fs, struct tp_request *r)
{
	const struct fuse_fsync_in *in = r->arg;
	struct tp_handle *h = tp_handle_get(&fs->handles, in->fh, TP_HANDLE_FILE);

	if (h)
		tp_file_sync(fs->tree, h->opened.gen);
	tp_ops_reply(fs, r, 0);
}

struct dir_sync {
	struct tp_job job;
	struct tp_fs *fs;
	struct tp_caller caller;
};

static void sync_dir(struct tp_job *j)
{
	struct dir_sync *s = tp_container(j, struct dir_sync, job);

	tp_reply_error(s->fs->session, &s->caller, tp_tree_sync(s->fs->tree));
	free(s);
}

void tp_op_fsyncdir(struct tp_fs *fs, struct tp_request *r)
{
	struct dir_sync *s = malloc(sizeof(*s));

	if (!s) {
		tp_ops_reply(fs, r, -ENOMEM);
		return;
	}
	*s = (struct dir_sync){.job.do_it = sync_dir, .fs = fs, .caller = r->caller};
	tp_worker_add(fs->worker, &s->job);
}

void tp_op_lseek(struct tp_fs *fs, struct tp_request *r)
{
	const struct fuse_lseek_in *in = r->arg;
	struct tp_handle *h = tp_handle_get(&fs->handles, in->fh, TP_HANDLE_FILE);
	struct fuse_lseek_out out;
	int64_t at = h ? tp_file_seek(fs->tree, h->opened.gen, in->offset, (int)in->whence) : -EINVAL;

	if (at < 0) {
		tp_ops_reply(fs, r, (int)at);
		return;
	}
	out.offset = (uint64_t)at;
	tp_reply_data(fs->session, &r->caller, &out, sizeof(out));
}

void tp_op_fallocate(struct tp_fs *fs, struct tp_request *r)
{
	const struct fuse_fallocate_in *in = r->arg;
	struct tp_handle *h = tp_handle_get(&fs->handles, in->fh, TP_HANDLE_FILE);
	struct tp_who who = tp_ops_who(r);
	int error = -EBADF;

	if (h && h->opened.write)
		error = tp_file_allocate(
			fs->tree, &who, h->opened.gen, (int)in->mode, in->offset, in->length);
	/* No need to throw out all the rest to find out. */
	if (error == -ENOSPC && !tp_file_can_fit(fs->tree, in->offset, in->length)) {
		tp_stats_add(&fs->store->stats, TP_STAT_NOSPACE, 1);
		tp_ops_reply(fs, r, error);
	} else if (error == -ENOSPC || error == -EDQUOT) {
		tp_parked_allocate(fs, r, h, error);
	} else {
		tp_ops_reply(fs, r, error);
	}
}
