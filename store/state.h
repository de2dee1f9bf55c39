/* SPDX-License-Identifier: Apache-2.0 */
/*
 * STATE, the directory that a store lives in: made when it is missing, checked, and locked for one process at
 * a time.
 *
 * The lock is on STATE/lock, which holds the number of the process that has it. It ends with the process, or
 * when it is closed.
 */
#pragma once

#include "store/errtext.h"

struct tp_state {
	int fd;	     /* owned: the directory */
	int lock_fd; /* owned: holds the lock */
};

#define TP_STATE_NONE ((struct tp_state){.fd = -1, .lock_fd = -1})

/*
 * Opens and locks the directory path, made with mode 0700 when it is missing. All with text: -EBUSY a living
 * process has it (with its pid where that is known); -EBADMSG it is not a directory; -EOPNOTSUPP a file
 * system that is refused; else what mkdir and open give (-EACCES no permission, -ENOENT the directory above
 * is missing, -EROFS).
 */
int tp_state_open(const char *path, struct tp_err *err, struct tp_state *ret);
void tp_state_close(struct tp_state *s);

/*
 * May STATE lie on a file system of this type (statfs f_type)? -EOPNOTSUPP with text: not on NFS, SMB or
 * overlayfs, which lock, map or sync otherwise than LMDB needs.
 */
int tp_state_check_type(const char *path, unsigned long f_type, struct tp_err *err);
