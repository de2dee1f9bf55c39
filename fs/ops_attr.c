/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attributes, extended attributes, and what df shows.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fs/ops.h"
#include "fs/view.h"
#include "store/cleanup.h"

#define XATTR_VALUE_MAX 65536u
#define EXPLAIN "user.tidepool.explain"
#define EXPLAIN_BYTES_MAX 8192u

void tp_op_getattr(struct tp_fs *fs, struct tp_request *r)
{
	const struct fuse_getattr_in *in = r->arg;
	struct tp_who who = tp_ops_who(r);
	struct tp_handle *h = NULL;
	struct tp_entry e;
	int error = 0;

	if (tp_control_is_node(r->caller.node)) {
		tp_control_entry(fs, r->caller.node, &e);
	} else {
		if (in->getattr_flags & FUSE_GETATTR_FH)
			h = tp_handle_get(&fs->handles, in->fh, TP_HANDLE_FILE);
		error = tp_tree_getattr(fs->tree, &who, r->caller.node, h ? h->opened.gen : NULL, &e);
	}
	tp_ops_reply_attr(fs, r, error, &e);
}

static uint64_t join_time(uint64_t s, uint32_t ns)
{
	/* Seconds before 1970 are negative. What 64 bits of nanoseconds cannot hold becomes the first or last that they can. */
	int64_t whole = (int64_t)s, max = INT64_MAX / (int64_t)TP_NS_PER_S;

	if (whole >= max)
		return INT64_MAX;
	return whole < -max ? (uint64_t)INT64_MIN : s * TP_NS_PER_S + ns;
}

static void read_setattr(const struct fuse_setattr_in *in, uint64_t now_ns, struct tp_setattr *ret)
{
	*ret = (struct tp_setattr){
		.set_mode = in->valid & FATTR_MODE,
		.set_uid = in->valid & FATTR_UID,
		.set_gid = in->valid & FATTR_GID,
		.set_size = in->valid & FATTR_SIZE,
		.set_atime = in->valid & FATTR_ATIME,
		.set_mtime = in->valid & FATTR_MTIME,
		.set_ctime = in->valid & FATTR_CTIME,
		.kill_suid = in->valid & FATTR_KILL_SUIDGID,
		.mode = in->mode,
		.uid = in->uid,
		.gid = in->gid,
		.size = in->size,
		.atime_ns = in->valid & FATTR_ATIME_NOW ? now_ns : join_time(in->atime, in->atimensec),
		.mtime_ns = in->valid & FATTR_MTIME_NOW ? now_ns : join_time(in->mtime, in->mtimensec),
		.ctime_ns = join_time(in->ctime, in->ctimensec),
	};
}

void tp_op_setattr(struct tp_fs *fs, struct tp_request *r)
{
	const struct fuse_setattr_in *in = r->arg;
	struct tp_who who = tp_ops_who(r);
	struct tp_handle *h = NULL;
	struct tp_setattr set;
	struct tp_entry e;
	int error = 0;

	read_setattr(in, tp_wall_ns(fs->store->clock), &set);
	if (tp_control_is_node(r->caller.node)) {
		/* echo x > .tidepool/lookup cuts it off first; nothing else can be changed. */
		if (set.set_mode || set.set_uid || set.set_gid)
			error = -EPERM;
		tp_control_entry(fs, r->caller.node, &e);
	} else {
		if (in->valid & FATTR_FH)
			h = tp_handle_get(&fs->handles, in->fh, TP_HANDLE_FILE);
		error = tp_tree_setattr(fs->tree, &who, r->caller.node,
			h && h->opened.write ? h->opened.gen : NULL, &set, &e);
		if (error == 0 && set.set_size)
			tp_preload_await(fs, r, r->caller.node);
	}
	tp_ops_reply_attr(fs, r, error, &e);
}

void tp_op_setxattr(struct tp_fs *fs, struct tp_request *r)
{
	const struct fuse_setxattr_in *in = r->arg;
	/* Older kernels send the first half of the struct only. */
	bool whole = tp_session_flags(fs->session) & FUSE_SETXATTR_EXT;
	const char *name = (const char *)r->arg + (whole ? sizeof(*in) : FUSE_COMPAT_SETXATTR_IN_SIZE);
	struct tp_who who = tp_ops_who(r);
	int error = -EPERM;

	if (!tp_control_is_node(r->caller.node))
		error = tp_tree_set_xattr(fs->tree, &who, r->caller.node, name, name + strlen(name) + 1,
			in->size, (int)in->flags);
	tp_ops_reply(fs, r, error);
}

/* The whole of it, for the caller to free: what the store knows, and who has the file open. */
static ssize_t explain(struct tp_fs *fs, struct tp_request *r, const char *name, char **ret)
{
	char *text = NULL, known[EXPLAIN_BYTES_MAX];
	struct tp_who who = tp_ops_who(r);
	ssize_t n = tp_tree_get_xattr(fs->tree, &who, r->caller.node, name, known, sizeof(known));
	size_t len;
	FILE *out;

	if (n < 0)
		return n;
	tp_request_may_block(r);
	out = open_memstream(&text, &len);
	if (!out)
		return -ENOMEM;
	(void)fwrite(known, 1, (size_t)n, out);
	tp_view_holders(fs, r->caller.node, out);
	if (fclose(out) != 0) {
		free(text);
		return -ENOMEM;
	}
	*ret = text;
	return (ssize_t)len;
}

static void reply_xattr(struct tp_fs *fs, struct tp_request *r, ssize_t n, const char *value, uint32_t size)
{
	struct fuse_getxattr_out out = {.size = n > 0 ? (uint32_t)n : 0};

	if (n < 0)
		tp_ops_reply(fs, r, (int)n);
	else if (size == 0)
		tp_reply_data(fs->session, &r->caller, &out, sizeof(out));
	else
		tp_reply_data(fs->session, &r->caller, value, (size_t)n);
}

void tp_op_getxattr(struct tp_fs *fs, struct tp_request *r)
{
	const struct fuse_getxattr_in *in = r->arg;
	const char *name = (const char *)(in + 1);
	struct tp_who who = tp_ops_who(r);
	uint32_t size = in->size < XATTR_VALUE_MAX ? in->size : XATTR_VALUE_MAX;
	tp_autofree char *value = NULL;
	ssize_t n = -ENOMEM;

	if (strcmp(name, EXPLAIN) == 0 && !tp_control_is_node(r->caller.node)) {
		n = explain(fs, r, name, &value);
		if (size && n > (ssize_t)size)
			n = -ERANGE;
		reply_xattr(fs, r, n, value, in->size);
		return;
	}
	value = malloc(size ? size : 1);
	if (tp_control_is_node(r->caller.node))
		n = -ENODATA;
	else if (value)
		n = tp_tree_get_xattr(fs->tree, &who, r->caller.node, name, value, size);
	reply_xattr(fs, r, n, value, in->size);
}

void tp_op_listxattr(struct tp_fs *fs, struct tp_request *r)
{
	const struct fuse_getxattr_in *in = r->arg;
	struct tp_who who = tp_ops_who(r);
	uint32_t size = in->size < XATTR_VALUE_MAX ? in->size : XATTR_VALUE_MAX;
	tp_autofree char *value = malloc(size ? size : 1);
	ssize_t n = -ENOMEM;

	if (tp_control_is_node(r->caller.node))
		n = 0;
	else if (value)
		n = tp_tree_list_xattr(fs->tree, &who, r->caller.node, value, size);
	reply_xattr(fs, r, n, value, in->size);
}

void tp_op_removexattr(struct tp_fs *fs, struct tp_request *r)
{
	struct tp_who who = tp_ops_who(r);
	int error = -EPERM;

	if (!tp_control_is_node(r->caller.node))
		error = tp_tree_remove_xattr(fs->tree, &who, r->caller.node, r->arg);
	tp_ops_reply(fs, r, error);
}

void tp_op_statfs(struct tp_fs *fs, struct tp_request *r)
{
	struct fuse_statfs_out out = {0};
	struct tp_tree_counts counts;
	uint64_t total = tp_pool_size_pages(fs->store->pool), available, used;
	uint64_t names = fs->store->options.names_max;

	tp_tree_count(fs->tree, &counts);
	/* What can be evicted counts as available: clients that watch f_bavail would start deleting. */
	available = tp_evictor_available_bytes(fs->store->evictor) / TP_PAGE_BYTES;
	if (available > total)
		available = total;
	out.st.blocks = total;
	out.st.bfree = out.st.bavail = available;
	used = counts.names > counts.names_spare ? counts.names - counts.names_spare : 0;
	out.st.files = names;
	out.st.ffree = used < names ? names - used : 0;
	out.st.bsize = out.st.frsize = TP_PAGE_BYTES;
	out.st.namelen = NAME_MAX;
	tp_reply_data(fs->session, &r->caller, &out, sizeof(out));
}
