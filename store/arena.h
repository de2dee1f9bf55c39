/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A piece of memory that is mapped once, for as long as the pool lives: an anonymous memfd, or a file on tmpfs or
 * hugetlbfs. The pool divides it.
 *
 * Both ways to open fill err and return -EINVAL (what was asked for makes no sense), -EBUSY (another process, or
 * another arena, has the file), -ENOMEM or -ENOSPC (not enough memory, huge pages, or room on the file's file system)
 * or the errno of the call that failed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "store/errtext.h"
#include "store/pool.h"

struct tp_arena {
	unsigned char *base; /* of the mapping; NULL: not open */
	uint64_t size_bytes; /* of the mapping, whole pages */
	int fd;		     /* of what is mapped; holds the lock on a file */
	bool huge;	     /* it lies in huge pages, or the kernel was asked for them and gives them */
	bool collapses;	     /* the kernel gives them when tp_arena_populate() asks for 2 MiB at a time */
};

int tp_arena_open_anonymous(
	uint64_t size_bytes, enum tp_hugepages hugepages, struct tp_err *err, struct tp_arena *ret);
/* size_bytes 0: as long as the file is. */
int tp_arena_open_file(const char *path, uint64_t size_bytes, enum tp_hugepages hugepages, struct tp_err *err,
	struct tp_arena *ret);
void tp_arena_close(struct tp_arena *a);

/*
 * Makes sure that [offset, offset+len) has its memory, without a change to what is in it; others may use it meanwhile.
 * Returns the errno of madvise(2) when there is no memory to be had.
 */
int tp_arena_populate(const struct tp_arena *a, uint64_t offset, uint64_t len);
