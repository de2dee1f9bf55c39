/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A FUSE mount and the /dev/fuse descriptor behind it.
 *
 * libfuse is used for the mount alone (as root by mount(2), else through fusermount3) and let go of at once. Nothing here ever stats the mount
 * point while it is mounted, since the answer would have to come from ourselves: what must be known of the mount is read from
 * /proc/self/mountinfo.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>

#include "store/errtext.h"

struct tp_device {
	int fd;		      /* -1: none */
	char *mountpoint;     /* absolute, without links; NULL: a descriptor without a mount (tests) */
	unsigned maj, min;    /* of the mount's st_dev; 0:0 when not known */
	_Atomic bool hung_up; /* fd is not the connection any more */
};

struct tp_device_options {
	const char *mountpoint;
	const char *fuse_options; /* FUSE's own and mount's, comma-separated; may be NULL */
	bool default_permissions;
	bool read_only;
};

/* Errors carry libfuse's own words. -errno of realpath(3) for a mount point that is not there; -EINVAL for options that libfuse does not know; -EIO when it could not mount. */
int tp_device_mount(const struct tp_device_options *options, struct tp_err *err, struct tp_device *ret);
/* Wraps a descriptor that was got otherwise; takes ownership. */
void tp_device_wrap(int fd, struct tp_device *ret);
/*
 * Takes the mount away, if it is still ours: properly when nothing uses it, else lazily. Requests must be answered meanwhile: the kernel writes
 * dirty pages back first. 0: it is gone from the tree (true in *ret_busy: files are still open, and the kernel goes on to send requests of them). -errno: it is still there.
 */
int tp_device_unmount(struct tp_device *d, bool *ret_busy);
/* Lets the kernel read ahead that much, where we may say so (root). */
void tp_device_read_ahead(const struct tp_device *d, unsigned kib);
/* Ends the connection for all who still use it: what they asked gets ENOTCONN or ECONNABORTED. Where it cannot be done (no fusectl) closing the last descriptor does the same. */
void tp_device_abort(const struct tp_device *d);
/*
 * Puts /dev/null in the place of the descriptor, so that the connection ends and late replies by number go nowhere, rather than to a file that happens
 * to get the number.
 */
void tp_device_hang_up(struct tp_device *d);
void tp_device_close(struct tp_device *d);
