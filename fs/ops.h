/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The FUSE requests, answered from the store. Each tp_op_*() answers its request exactly once or parks it; ops.c has the table and what all of them need.
 *
 * Time limits: what is published and not being replaced may be kept by the kernel for a day, since the kernel is told when it goes; what is being written, not at all.
 */
#pragma once

#include "fs/control.h"
#include "fs/fs.h"
#include "fs/handle.h"
#include "fs/preload.h"
#include "fs/session.h"
#include "store/tree.h"

#define TP_CACHE_SECONDS 86400u

struct tp_fs {
	struct tp_fs_options options;
	struct tp_store *store;
	struct tp_tree *tree;
	struct tp_session *session;
	struct tp_handles handles;
	struct tp_worker *worker; /* what waits for a disk */
	uint64_t started_mono_ns;
	unsigned mount_id; /* see tp_mounts_id() */
	struct tp_controls controls;
	struct tp_preloads preloads;
};

void tp_ops_handle(struct tp_request *r, void *user);

/* Who asks, for the tree. */
struct tp_who tp_ops_who(const struct tp_request *r);
void tp_ops_fill_attr(const struct tp_attr *from, struct fuse_attr *to);
void tp_ops_fill_entry(const struct tp_entry *from, struct fuse_entry_out *to);
/* Answers with an entry, or with the error. */
void tp_ops_reply_entry(struct tp_fs *fs, struct tp_request *r, int error, const struct tp_entry *e);
void tp_ops_reply_attr(struct tp_fs *fs, struct tp_request *r, int error, const struct tp_entry *e);

/* The inode number of a node that is a regular file, else 0. */
uint64_t tp_ops_ino(struct tp_fs *fs, uint64_t node);

static inline void tp_ops_reply(struct tp_fs *fs, struct tp_request *r, int error)
{
	tp_reply_error(fs->session, &r->caller, error);
}

#define TP_OPS(X)                                                                                            \
	X(FUSE_LOOKUP, lookup)                                                                               \
	X(FUSE_GETATTR, getattr)                                                                             \
	X(FUSE_SETATTR, setattr)                                                                             \
	X(FUSE_READLINK, readlink)                                                                           \
	X(FUSE_SYMLINK, symlink)                                                                             \
	X(FUSE_MKNOD, mknod)                                                                                 \
	X(FUSE_MKDIR, mkdir)                                                                                 \
	X(FUSE_UNLINK, unlink)                                                                               \
	X(FUSE_RMDIR, rmdir)                                                                                 \
	X(FUSE_RENAME, rename)                                                                               \
	X(FUSE_RENAME2, rename2)                                                                             \
	X(FUSE_LINK, link)                                                                                   \
	X(FUSE_OPEN, open)                                                                                   \
	X(FUSE_READ, read)                                                                                   \
	X(FUSE_WRITE, write)                                                                                 \
	X(FUSE_STATFS, statfs)                                                                               \
	X(FUSE_RELEASE, release)                                                                             \
	X(FUSE_FSYNC, fsync)                                                                                 \
	X(FUSE_SETXATTR, setxattr)                                                                           \
	X(FUSE_GETXATTR, getxattr)                                                                           \
	X(FUSE_LISTXATTR, listxattr)                                                                         \
	X(FUSE_REMOVEXATTR, removexattr)                                                                     \
	X(FUSE_FLUSH, flush)                                                                                 \
	X(FUSE_OPENDIR, opendir)                                                                             \
	X(FUSE_READDIR, readdir)                                                                             \
	X(FUSE_READDIRPLUS, readdirplus)                                                                     \
	X(FUSE_RELEASEDIR, releasedir)                                                                       \
	X(FUSE_FSYNCDIR, fsyncdir)                                                                           \
	X(FUSE_GETLK, getlk)                                                                                 \
	X(FUSE_SETLK, setlk)                                                                                 \
	X(FUSE_SETLKW, setlkw)                                                                               \
	X(FUSE_CREATE, create)                                                                               \
	X(FUSE_TMPFILE, tmpfile)                                                                             \
	X(FUSE_FALLOCATE, fallocate)                                                                         \
	X(FUSE_LSEEK, lseek)                                                                                 \
	X(FUSE_FORGET, forget)                                                                               \
	X(FUSE_BATCH_FORGET, batch_forget)

#define X(opcode, name) void tp_op_##name(struct tp_fs *fs, struct tp_request *r);
TP_OPS(X)
#undef X
