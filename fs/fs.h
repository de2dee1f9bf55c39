/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store served as a FUSE file system: mount it, serve it, stop it.
 *
 *	tp_fs_mount()	the mount is there, nothing is answered yet
 *	tp_fs_serve()	answers until the mount is gone or tp_fs_stop() was called; from here on the mount works
 *	tp_fs_stop()	from any thread: takes the mount away (lazily when files are open) and lets tp_fs_serve() return
 *	tp_fs_free()
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "store/errtext.h"
#include "store/store.h"

struct tp_fs;

struct tp_fs_options {
	const char *mountpoint;
	const char *fuse_options; /* what is FUSE's own: "allow_other,ro,..."; may be NULL or empty */
	unsigned threads;	  /* readers of /dev/fuse at most; 0: chosen by the number of processors */
	const char *config_text;  /* what .tidepool/config shows */
	const char *version_text;
	bool default_permissions;
	bool read_only;
};

/* options and its strings must live until tp_fs_free(). store stays the caller's. */
int tp_fs_mount(
	const struct tp_fs_options *options, struct tp_store *store, struct tp_err *err, struct tp_fs **ret);
/* 0 when it was unmounted or stopped; -errno when /dev/fuse failed. Before it returns every parked request is answered. */
int tp_fs_serve(struct tp_fs *fs);
void tp_fs_stop(struct tp_fs *fs);
/* Calls each for every path that is still open, with the process that has it open, or else opened it (0: not known). For the report of a drain; after tp_fs_serve(). */
void tp_fs_each_open(struct tp_fs *fs, void (*each)(const char *path, int pid, void *user), void *user);
/* Takes the mount away if it is still there. NULL is allowed. */
void tp_fs_free(struct tp_fs *fs);
