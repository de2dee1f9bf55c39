/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one thread reads a request into: a head for the header and the struct of a WRITE, and the staging behind it, so that a WRITE's bytes begin with a page. What
 * does not fit the head of other requests is put together on the heap. Used by its thread alone.
 */
#pragma once

#include "fs/session.h"
#include "fs/staging.h"

#define TP_INBOX_HEAD_BYTES (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))

struct tp_inbox {
	struct tp_staging staging;
	struct iovec iov[TP_STAGING_RUNS_MAX + 2]; /* what is to be filled: head, staging */
	unsigned iov_count;
	char *args; /* arguments that did not fit the head */
	size_t args_room;
	_Alignas(8) char head[TP_INBOX_HEAD_BYTES + 8]; /* with room for a zero behind it */
};

/* See tp_staging_init(). -ENOMEM. */
int tp_inbox_init(struct tp_inbox *in, struct tp_pool *pool, unsigned share);
void tp_inbox_fini(struct tp_inbox *in);
/* Gets iov ready for the next request, of up to TP_WRITE_BYTES_MAX behind the head at least. */
void tp_inbox_prepare(struct tp_inbox *in);
static inline struct fuse_in_header *tp_inbox_header(struct tp_inbox *in)
{
	return (void *)in->head;
}
/*
 * len bytes came, a header at least: sets arg, payload and runs of ret. Nothing is checked, but nothing beyond len is pointed at. Valid until the next
 * tp_inbox_prepare(). -ENOMEM.
 */
int tp_inbox_open(struct tp_inbox *in, size_t len, struct tp_request *ret);
