/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pages that one thread reads /dev/fuse into: where the bytes of a WRITE land, so that they can become a file's without a copy.
 *
 * Writes take pages from the front, and new ones are put at the end a good many at a time, so that a file that is written in small steps gets
 * pages that lie in a row. What the pool cannot give is covered by a buffer of the heap. Used by its thread alone.
 */
#pragma once

#include <sys/uio.h>

#include "store/pool.h"

#define TP_STAGING_RUNS_MAX 24

struct tp_staging {
	struct tp_pool *pool; /* NULL: the heap alone */
	struct tp_run runs[TP_STAGING_RUNS_MAX];
	unsigned runs_count;
	unsigned pages;	     /* in runs */
	unsigned pages_low;  /* more are taken when there are less than this */
	unsigned pages_high; /* and never more than this */
	void *heap;	     /* TP_WRITE_BYTES_MAX bytes */
};

/* share: the part of the pool, one in `share`, that this one may hold at most. -ENOMEM. */
int tp_staging_init(struct tp_staging *st, struct tp_pool *pool, unsigned share);
void tp_staging_fini(struct tp_staging *st);
/* Takes pages when there are few; never fails. */
void tp_staging_fill(struct tp_staging *st);
/* Gives all pages back. */
void tp_staging_drop(struct tp_staging *st);
/* Points iov (room for TP_STAGING_RUNS_MAX + 1) at TP_WRITE_BYTES_MAX bytes or more. Returns how many entries. */
unsigned tp_staging_iov(const struct tp_staging *st, struct iovec *iov);
/* The runs that hold the first `pages` pages, or as many as there are; room for TP_STAGING_RUNS_MAX. Returns how many. */
unsigned tp_staging_peek(const struct tp_staging *st, unsigned pages, struct tp_run *ret_runs);
/* The same, and they are the caller's from now on. All of them are there. */
unsigned tp_staging_take(struct tp_staging *st, unsigned pages, struct tp_run *ret_runs);
