/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/ops.h"

#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

typedef void (*op_fn)(struct tp_fs *fs, struct tp_request *r);

#define OPS_MAX 64

static const op_fn table[OPS_MAX] = {
#define X(opcode, name) [opcode] = tp_op_##name,
	TP_OPS(X)
#undef X
};

/* The name behind the fixed part of a request about one name in a directory; NULL: it is about the node itself. */
static const char *name_in(const struct tp_request *r)
{
	switch (r->caller.opcode) {
	case FUSE_LOOKUP:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_SYMLINK:
		return r->arg;
	case FUSE_CREATE:
		return (const char *)r->arg + sizeof(struct fuse_create_in);
	case FUSE_MKNOD:
		return (const char *)r->arg + sizeof(struct fuse_mknod_in);
	case FUSE_MKDIR:
		return (const char *)r->arg + sizeof(struct fuse_mkdir_in);
	case FUSE_LINK:
		return (const char *)r->arg + sizeof(struct fuse_link_in);
	case FUSE_RENAME:
		return (const char *)r->arg + sizeof(struct fuse_rename_in);
	case FUSE_RENAME2:
		return (const char *)r->arg + sizeof(struct fuse_rename2_in);
	default:
		return NULL;
	}
}

/* Does what r asks depend on files that others have closed just now? Their RELEASEs came before it, but may not be done. */
static bool depends_on_releases(struct tp_fs *fs, const struct tp_request *r)
{
	const char *name = name_in(r);

	switch (r->caller.opcode) {
	case FUSE_READ:
		/* Of a control file: it tells of all. */
		return tp_control_is_node(r->caller.node) && atomic_load(&fs->tree->closing) > 0;
	case FUSE_WRITE:
	case FUSE_RELEASE:
	case FUSE_FLUSH:
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		return false;
	case FUSE_RENAME:
		if (tp_tree_is_closing(fs->tree, ((const struct fuse_rename_in *)r->arg)->newdir,
			    name + strlen(name) + 1))
			return true;
		break;
	case FUSE_RENAME2:
		if (tp_tree_is_closing(fs->tree, ((const struct fuse_rename2_in *)r->arg)->newdir,
			    name + strlen(name) + 1))
			return true;
		break;
	case FUSE_LINK:
		if (tp_tree_is_closing(fs->tree, ((const struct fuse_link_in *)r->arg)->oldnodeid, NULL))
			return true;
		break;
	default:
		break;
	}
	/* The control files tell of all. */
	if (tp_control_is_node(r->caller.node))
		return atomic_load(&fs->tree->closing) > 0;
	return tp_tree_is_closing(fs->tree, r->caller.node, name);
}

void tp_ops_handle(struct tp_request *r, void *user)
{
	struct tp_fs *fs = user;
	op_fn op = r->caller.opcode < OPS_MAX ? table[r->caller.opcode] : NULL;

	if (!op) {
		tp_ops_reply(fs, r, -ENOSYS);
		return;
	}
	if (depends_on_releases(fs, r) && tp_request_after_releases(r))
		tp_stats_add(&fs->store->stats, TP_STAT_SLOW_RELEASES, 1);
	op(fs, r);
}

struct tp_who tp_ops_who(const struct tp_request *r)
{
	return (struct tp_who){.uid = r->caller.uid, .gid = r->caller.gid, .tid = (pid_t)r->caller.pid};
}

static void split_time(uint64_t ns, uint64_t *ret_s, uint32_t *ret_ns)
{
	/* Before 1970 it is negative, and the nanoseconds still count upwards. */
	int64_t s = (int64_t)ns / (int64_t)TP_NS_PER_S, rest = (int64_t)ns % (int64_t)TP_NS_PER_S;

	if (rest < 0) {
		s--;
		rest += (int64_t)TP_NS_PER_S;
	}
	*ret_s = (uint64_t)s;
	*ret_ns = (uint32_t)rest;
}

void tp_ops_fill_attr(const struct tp_attr *from, struct fuse_attr *to)
{
	*to = (struct fuse_attr){
		.ino = from->ino,
		.size = from->size,
		.blocks = from->blocks,
		.mode = from->mode,
		.nlink = from->nlink,
		.uid = from->uid,
		.gid = from->gid,
		.rdev = (uint32_t)from->rdev,
		.blksize = TP_PAGE_BYTES,
	};
	split_time(from->atime_ns, &to->atime, &to->atimensec);
	split_time(from->mtime_ns, &to->mtime, &to->mtimensec);
	split_time(from->ctime_ns, &to->ctime, &to->ctimensec);
}

void tp_ops_fill_entry(const struct tp_entry *from, struct fuse_entry_out *to)
{
	*to = (struct fuse_entry_out){
		.nodeid = from->node,
		.entry_valid = from->fleeting ? 0 : TP_CACHE_SECONDS,
		.attr_valid = from->changing || from->fleeting ? 0 : TP_CACHE_SECONDS,
	};
	tp_ops_fill_attr(&from->attr, &to->attr);
}

void tp_ops_reply_entry(struct tp_fs *fs, struct tp_request *r, int error, const struct tp_entry *e)
{
	struct fuse_entry_out out;

	if (error) {
		tp_ops_reply(fs, r, error);
		return;
	}
	tp_ops_fill_entry(e, &out);
	tp_reply_data(fs->session, &r->caller, &out, sizeof(out));
}

void tp_ops_reply_attr(struct tp_fs *fs, struct tp_request *r, int error, const struct tp_entry *e)
{
	struct fuse_attr_out out = {0};

	if (error) {
		tp_ops_reply(fs, r, error);
		return;
	}
	out.attr_valid = e->changing || e->fleeting ? 0 : TP_CACHE_SECONDS;
	tp_ops_fill_attr(&e->attr, &out.attr);
	tp_reply_data(fs->session, &r->caller, &out, sizeof(out));
}

void tp_op_forget(struct tp_fs *fs, struct tp_request *r)
{
	const struct fuse_forget_in *in = r->arg;

	tp_tree_forget(fs->tree, r->caller.node, in->nlookup);
}

void tp_op_batch_forget(struct tp_fs *fs, struct tp_request *r)
{
	const struct fuse_batch_forget_in *in = r->arg;
	const struct fuse_forget_one *one = (const struct fuse_forget_one *)(in + 1);

	for (uint32_t i = 0; i < in->count; i++)
		tp_tree_forget(fs->tree, one[i].nodeid, one[i].nlookup);
}

uint64_t tp_ops_ino(struct tp_fs *fs, uint64_t node)
{
	struct tp_node *n;
	TP_RDLOCK(&fs->tree->lock);

	n = tp_tree_node(fs->tree, node);
	return n && tp_node_kind(n) == TP_NODE_GEN ? tp_tree_object_of(n)->regular_id : 0;
}
