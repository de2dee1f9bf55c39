/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/fs.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "fs/holder.h"
#include "fs/mounts.h"
#include "fs/notify.h"
#include "fs/ops.h"
#include "fs/worker.h"
#include "store/cleanup.h"
#include "store/evict.h"

static void name_changed(void *user, uint64_t parent_node, const char *name, size_t len)
{
	struct tp_fs *fs = user;

	tp_notifier_entry(tp_session_notifier(fs->session), parent_node, name, len);
}

static void node_changed(void *user, uint64_t node, int64_t off, int64_t len)
{
	struct tp_fs *fs = user;

	tp_notifier_inode(tp_session_notifier(fs->session), node, off, len);
}

static int then(void *user, void (*done)(void *arg), void *arg)
{
	struct tp_fs *fs = user;

	return tp_notifier_then(tp_session_notifier(fs->session), done, arg);
}

int tp_fs_mount(
	const struct tp_fs_options *options, struct tp_store *store, struct tp_err *err, struct tp_fs **ret)
{
	static const struct tp_session_ops ops = {.handle = tp_ops_handle};
	struct tp_fs *fs = calloc(1, sizeof(*fs));
	struct tp_session_options so;
	int r;

	if (!fs)
		return tp_err_set(err, -ENOMEM, "no memory for the mount");
	fs->options = *options;
	fs->store = store;
	fs->tree = store->tree;
	fs->started_mono_ns = tp_mono_ns(store->clock);
	tp_handles_init(&fs->handles);
	tp_preloads_init(&fs->preloads);
	tp_controls_init(fs);
	r = tp_worker_new(&fs->worker);
	if (r < 0) {
		tp_fs_free(fs);
		return tp_err_set(err, r, "a thread could not be started: %s", strerror(-r));
	}
	so = (struct tp_session_options){
		.mountpoint = options->mountpoint,
		.fuse_options = options->fuse_options,
		.default_permissions = options->default_permissions,
		.read_only = options->read_only,
		.threads_max = options->threads,
		.pool = store->pool,
		.stats = &store->stats,
		.ops = &ops,
		.user = fs,
	};
	r = tp_session_new(&so, err, &fs->session);
	if (r < 0) {
		tp_fs_free(fs);
		return r;
	}
	fs->mount_id = tp_mounts_id(options->mountpoint);
	tp_tree_set_hooks(fs->tree, &(struct tp_tree_hooks){.name_changed = name_changed,
					    .node_changed = node_changed,
					    .then = then,
					    .user = fs});
	*ret = fs;
	return 0;
}

int tp_fs_serve(struct tp_fs *fs)
{
	int r = tp_session_serve(fs->session);

	/* Nobody listens any more. */
	tp_tree_set_hooks(fs->tree, &(struct tp_tree_hooks){0});
	return r;
}

void tp_fs_stop(struct tp_fs *fs)
{
	tp_session_stop(fs->session);
}

struct open_call {
	struct tp_fs *fs;
	struct tp_holders holders;
	void (*each)(const char *path, int pid, void *user);
	void *user;
};

static void tell_open(struct tp_handle *h, void *user)
{
	struct open_call *call = user;
	struct tp_tree *t = call->fs->tree;
	const struct tp_holder *holder;
	char path[PATH_MAX];
	pid_t opener;

	if (h->kind != TP_HANDLE_FILE)
		return;
	opener = tp_process_of(h->pid);
	holder = tp_holders_get(&call->holders, tp_ops_ino(call->fs, h->node), opener);
	call->each(tp_tree_path(t, h->node, path, sizeof(path)), holder ? holder->pid : opener, call->user);
}

void tp_fs_each_open(struct tp_fs *fs, void (*each)(const char *path, int pid, void *user), void *user)
{
	struct open_call call = {.fs = fs, .each = each, .user = user};

	/* Without it the openers are known still. */
	if (atomic_load(&fs->handles.used) > 0)
		(void)tp_holders_find(fs->mount_id, &call.holders);
	tp_handles_each(&fs->handles, tell_open, &call);
	tp_holders_fini(&call.holders);
}

static void close_left(struct tp_handle *h, void *user)
{
	struct tp_fs *fs = user;

	if (h->kind == TP_HANDLE_CONTROL)
		tp_control_close(fs, h->control);
}

void tp_fs_free(struct tp_fs *fs)
{
	if (!fs)
		return;
	tp_worker_free(fs->worker);
	if (fs->session)
		tp_tree_set_hooks(fs->tree, &(struct tp_tree_hooks){0});
	tp_handles_each(&fs->handles, close_left, fs);
	tp_session_free(fs->session);
	tp_handles_fini(&fs->handles);
	tp_preloads_fini(&fs->preloads);
	free(fs);
}
