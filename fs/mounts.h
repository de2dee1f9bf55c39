/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tidepool mounts that this process can see: where each is and which STATE it serves. They are read from
 * /proc/self/mountinfo, so nothing waits for a daemon that hangs, and a dead mount is found like a living one.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct tp_mounts {
	char *mountpoint; /* absolute, without links; owned */
	char *state;	  /* what stands as its source; owned */
	unsigned id;	  /* the kernel's number of it in this mount namespace */
	dev_t dev;	  /* st_dev of what is in it */
};

/* The mount whose root is path. The last part of path is not followed into the mount. -ENOENT: there is none; -ENOMEM. */
int tp_mounts_at(const char *path, struct tp_mounts *ret);
/* The first field of mountinfo(5) of the mount at mountpoint, which is absolute and without links: asks nobody, so that the mount's own daemon may. 0: there is none. */
unsigned tp_mounts_id(const char *mountpoint);
/* The mount that path lies in; path itself need not exist, its directory must. -ENOENT: none, or no such directory; -ENOMEM. */
int tp_mounts_of(const char *path, struct tp_mounts *ret);
/* The first mount that serves state (an absolute path). -ENOENT, -ENOMEM. */
int tp_mounts_serving(const char *state, struct tp_mounts *ret);
/* The one that was mounted last. -ENOENT, -ENOMEM. */
int tp_mounts_any(struct tp_mounts *ret);
/* Undoes in place that mountinfo(5) writes blanks, tabs, newlines and backslashes as \NNN. */
void tp_mounts_unescape(char *s);
void tp_mounts_fini(struct tp_mounts *m);

/* path as the kernel would name it, though what is there may not answer: its directory is resolved, its last part is kept. NULL: errno says why. */
char *tp_mounts_resolve(const char *path);
/*
 * Takes a mount away, as root or through fusermount3. lazy is for one that is dead: also when it is busy, and as root its connection is ended, too,
 * so that nobody waits for the dead. 0 or -errno (-EIO: fusermount3 failed).
 */
int tp_mounts_take_away(const char *mountpoint, bool lazy);
