/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names and directories.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/ops.h"
#include "store/cleanup.h"

/* The kernel asks for a whole listing in pieces of at most this. */
#define LISTING_BYTES_MAX (1u << 20)
/* Names of .tidepool have these cookies, behind all that the tree gives. */
#define CONTROL_COOKIE (UINT64_C(1) << 62)

void tp_op_lookup(struct tp_fs *fs, struct tp_request *r)
{
	struct tp_who who = tp_ops_who(r);
	struct tp_entry e;
	int error;

	if (tp_control_lookup(fs, r->caller.node, r->arg, &e)) {
		tp_ops_reply_entry(fs, r, 0, &e);
		return;
	}
	error = tp_control_is_node(r->caller.node)
			? -ENOTDIR
			: tp_tree_lookup(fs->tree, &who, r->caller.node, r->arg, &e);
	tp_ops_reply_entry(fs, r, error, &e);
}

void tp_op_readlink(struct tp_fs *fs, struct tp_request *r)
{
	char text[PATH_MAX];
	ssize_t n = tp_tree_readlink(fs->tree, r->caller.node, text, sizeof(text));

	if (n < 0)
		tp_ops_reply(fs, r, (int)n);
	else
		tp_reply_data(fs->session, &r->caller, text, (size_t)n);
}

static void make(struct tp_fs *fs, struct tp_request *r, const char *name, uint32_t mode, uint64_t rdev,
	const char *target)
{
	struct tp_who who = tp_ops_who(r);
	struct tp_entry e;
	int error = tp_tree_make(fs->tree, &who, r->caller.node, name, mode, rdev, target, &e);

	tp_ops_reply_entry(fs, r, error, &e);
}

void tp_op_symlink(struct tp_fs *fs, struct tp_request *r)
{
	const char *name = r->arg;

	make(fs, r, name, S_IFLNK | 0777, 0, name + strlen(name) + 1);
}

void tp_op_mknod(struct tp_fs *fs, struct tp_request *r)
{
	const struct fuse_mknod_in *in = r->arg;

	make(fs, r, (const char *)(in + 1), in->mode, in->rdev, NULL);
}

void tp_op_mkdir(struct tp_fs *fs, struct tp_request *r)
{
	const struct fuse_mkdir_in *in = r->arg;

	make(fs, r, (const char *)(in + 1), S_IFDIR | (in->mode & 07777), 0, NULL);
}

void tp_op_unlink(struct tp_fs *fs, struct tp_request *r)
{
	struct tp_who who = tp_ops_who(r);
	struct tp_entry e;

	if (tp_control_lookup(fs, r->caller.node, r->arg, &e))
		tp_ops_reply(fs, r, -EPERM);
	else
		tp_ops_reply(fs, r, tp_tree_unlink(fs->tree, &who, r->caller.node, r->arg));
}

void tp_op_rmdir(struct tp_fs *fs, struct tp_request *r)
{
	struct tp_who who = tp_ops_who(r);

	tp_ops_reply(fs, r, tp_tree_rmdir(fs->tree, &who, r->caller.node, r->arg));
}

static void move(struct tp_fs *fs, struct tp_request *r, uint64_t to_parent, const char *from, unsigned flags)
{
	struct tp_who who = tp_ops_who(r);
	const char *to = from + strlen(from) + 1;
	struct tp_entry e;
	int error;

	if (tp_control_lookup(fs, r->caller.node, from, &e) || tp_control_lookup(fs, to_parent, to, &e))
		error = -EPERM;
	else
		error = tp_tree_rename(fs->tree, &who, r->caller.node, from, to_parent, to, flags);
	tp_ops_reply(fs, r, error);
}

void tp_op_rename(struct tp_fs *fs, struct tp_request *r)
{
	const struct fuse_rename_in *in = r->arg;

	move(fs, r, in->newdir, (const char *)(in + 1), 0);
}

void tp_op_rename2(struct tp_fs *fs, struct tp_request *r)
{
	const struct fuse_rename2_in *in = r->arg;

	move(fs, r, in->newdir, (const char *)(in + 1), in->flags);
}

void tp_op_link(struct tp_fs *fs, struct tp_request *r)
{
	const struct fuse_link_in *in = r->arg;
	struct tp_who who = tp_ops_who(r);
	struct tp_entry e;
	int error = -EPERM;

	if (!tp_control_is_node(in->oldnodeid))
		error = tp_tree_link(
			fs->tree, &who, in->oldnodeid, r->caller.node, (const char *)(in + 1), &e);
	tp_ops_reply_entry(fs, r, error, &e);
}

void tp_op_opendir(struct tp_fs *fs, struct tp_request *r)
{
	struct fuse_open_out out = {0};
	struct tp_handle *h;
	int error = tp_tree_opendir(fs->tree, r->caller.node);

	if (error == 0)
		error = tp_handle_new(&fs->handles, TP_HANDLE_DIR, r->caller.node, (pid_t)r->caller.pid, &h);
	if (error) {
		tp_ops_reply(fs, r, error);
		return;
	}
	out.fh = tp_handle_ready(h);
	tp_reply_data(fs->session, &r->caller, &out, sizeof(out));
}

void tp_op_releasedir(struct tp_fs *fs, struct tp_request *r)
{
	const struct fuse_release_in *in = r->arg;
	struct tp_handle *h = tp_handle_get(&fs->handles, in->fh, TP_HANDLE_DIR);

	if (h)
		tp_handle_free(&fs->handles, h);
	tp_ops_reply(fs, r, 0);
}

/* A piece of a listing as it is filled. */
struct listing {
	char *buf;
	size_t used, max;
	bool plus;
	bool full;
};

static bool add_name(const char *name, size_t len, uint64_t next_cookie, const struct tp_entry *e, void *user)
{
	struct listing *l = user;
	size_t head = l->plus ? offsetof(struct fuse_direntplus, dirent) : 0;
	size_t bytes = FUSE_DIRENT_ALIGN(head + FUSE_NAME_OFFSET + len);
	struct fuse_dirent d = {.ino = e->attr.ino,
		.off = next_cookie,
		.namelen = (uint32_t)len,
		.type = (e->attr.mode & S_IFMT) >> 12};

	if (l->used + bytes > l->max) {
		l->full = true;
		return false;
	}
	memset(l->buf + l->used, 0, bytes);
	if (l->plus)
		tp_ops_fill_entry(e, (struct fuse_entry_out *)(l->buf + l->used));
	memcpy(l->buf + l->used + head, &d, FUSE_NAME_OFFSET);
	memcpy(l->buf + l->used + head + FUSE_NAME_OFFSET, name, len);
	l->used += bytes;
	return true;
}

static void add_controls(struct tp_fs *fs, struct listing *l, uint64_t cookie)
{
	unsigned i = cookie >= CONTROL_COOKIE ? (unsigned)(cookie - CONTROL_COOKIE) + 1 : 0;
	struct tp_entry e;
	const char *name;
	uint64_t node;

	for (; (name = tp_control_name(i, &node)); i++) {
		tp_control_entry(fs, node, &e);
		/* Not counted: the kernel looks them up by name. */
		e.node = 0;
		if (!add_name(name, strlen(name), CONTROL_COOKIE + i, &e, l))
			return;
	}
}

static void list(struct tp_fs *fs, struct tp_request *r, bool plus)
{
	const struct fuse_read_in *in = r->arg;
	struct tp_who who = tp_ops_who(r);
	struct listing l = {.max = in->size < LISTING_BYTES_MAX ? in->size : LISTING_BYTES_MAX, .plus = plus};
	tp_autofree char *buf = malloc(l.max ? l.max : 1);
	int error = -ENOMEM;

	l.buf = buf;
	if (buf)
		error = tp_handle_get(&fs->handles, in->fh, TP_HANDLE_DIR) ? 0 : -EBADF;
	if (error == 0 && in->offset < CONTROL_COOKIE)
		error = tp_tree_readdir(fs->tree, &who, r->caller.node, in->offset, plus, add_name, &l);
	if (error == 0 && r->caller.node == TP_NODE_CONTROL && !l.full)
		add_controls(fs, &l, in->offset);
	if (error)
		tp_ops_reply(fs, r, error);
	else
		tp_reply_data(fs->session, &r->caller, buf, l.used);
}

void tp_op_readdir(struct tp_fs *fs, struct tp_request *r)
{
	list(fs, r, false);
}

void tp_op_readdirplus(struct tp_fs *fs, struct tp_request *r)
{
	list(fs, r, true);
}
