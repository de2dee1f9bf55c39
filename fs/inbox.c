/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/inbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int tp_inbox_init(struct tp_inbox *in, struct tp_pool *pool, unsigned share)
{
	memset(in, 0, sizeof(*in));
	return tp_staging_init(&in->staging, pool, share);
}

void tp_inbox_fini(struct tp_inbox *in)
{
	tp_staging_fini(&in->staging);
	free(in->args);
	in->args = NULL;
}

void tp_inbox_prepare(struct tp_inbox *in)
{
	tp_staging_fill(&in->staging);
	in->iov[0] = (struct iovec){in->head, TP_INBOX_HEAD_BYTES};
	in->iov_count = 1 + tp_staging_iov(&in->staging, in->iov + 1);
}

/* Copies len bytes that begin behind the head. */
static void copy_staged(const struct tp_inbox *in, char *to, size_t len)
{
	for (unsigned i = 1; i < in->iov_count && len > 0; i++) {
		size_t part = in->iov[i].iov_len < len ? in->iov[i].iov_len : len;

		memcpy(to, in->iov[i].iov_base, part);
		to += part;
		len -= part;
	}
}

/* Points r at len bytes of payload behind the head. */
static void set_payload(struct tp_inbox *in, size_t len, struct tp_request *r)
{
	unsigned pages = (unsigned)((len + TP_PAGE_BYTES - 1) / TP_PAGE_BYTES);

	r->payload_len = len;
	r->runs_count = tp_staging_peek(&in->staging, pages, r->runs);
	for (unsigned i = 1; len > 0; i++) {
		struct iovec part = in->iov[i];

		if (part.iov_len > len)
			part.iov_len = len;
		r->payload[r->payload_count++] = part;
		len -= part.iov_len;
	}
}

int tp_inbox_open(struct tp_inbox *in, size_t len, struct tp_request *ret)
{
	const size_t in_head = TP_INBOX_HEAD_BYTES - sizeof(struct fuse_in_header);
	char *args = in->head + sizeof(struct fuse_in_header);

	ret->payload_count = ret->runs_count = 0;
	ret->payload_len = 0;
	len -= sizeof(struct fuse_in_header);
	if (tp_inbox_header(in)->opcode == FUSE_WRITE && len >= in_head) {
		set_payload(in, len - in_head, ret);
		len = in_head;
	} else if (len > in_head) {
		if (len >= in->args_room) {
			size_t room = (len / TP_PAGE_BYTES + 1) * TP_PAGE_BYTES;
			char *more = realloc(in->args, room);

			if (!more)
				return -ENOMEM;
			in->args = more;
			in->args_room = room;
		}
		memcpy(in->args, args, in_head);
		args = in->args;
		copy_staged(in, args + in_head, len - in_head);
	}
	args[len] = 0;
	ret->arg = args;
	ret->arg_len = len;
	return 0;
}
