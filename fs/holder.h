/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which processes have files of a mount open now. A handle knows who opened it, but descriptors are inherited and passed on, and the kernel tells nobody.
 *
 * Read from /proc/PID/fdinfo, which says mount and inode number of a descriptor without asking the file system, and waits for no execve(2) as the links in /proc/PID/fd do (see
 * store/process.c). What is not there is not seen: processes of other users unless we are root, those of another pid namespace, those that see the mount by a mount of their
 * own, mappings whose descriptor is closed, and all on kernels before 5.14, which do not tell the inode number.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

struct tp_holder {
	uint64_t ino;
	pid_t pid;
	bool writes; /* has it open for writing */
};

struct tp_holders {
	struct tp_holder *list; /* owned; each process once for an inode, a process' together */
	size_t count, max;
};

/*
 * mount_id: the first field in mountinfo(5); 0: none, nothing is found. Reads a file for each descriptor that there is: without a lock. What cannot be read, and what is
 * too much, is left out. -ENOMEM, or why /proc
 * cannot be read.
 */
int tp_holders_find(unsigned mount_id, struct tp_holders *ret);
void tp_holders_fini(struct tp_holders *h);
/* Notes one more. -ENOMEM; -ENOSPC: there are too many. */
int tp_holders_add(struct tp_holders *h, uint64_t ino, pid_t pid, bool writes);
/* The one that pid is of ino; when there is none any other of ino; NULL: none is known. */
const struct tp_holder *tp_holders_get(const struct tp_holders *h, uint64_t ino, pid_t pid);
