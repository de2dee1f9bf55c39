/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/parked.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "store/evict.h"

/* What waiting writes may hold in the heap, all together. */
#define BYTES_MAX (UINT64_C(256) << 20)

static _Atomic uint64_t bytes_held;

struct parked {
	struct tp_wait wait; /* its caller's opcode says which of the two it is */
	struct tp_room_waiter room;
	struct tp_fs *fs;
	struct tp_gen *gen; /* open for as long as the request is not answered */
	struct tp_who who;
	struct tp_write write; /* of it FALLOCATE has only offset and len */
	struct iovec iov;      /* its bytes */
	int mode;	       /* FALLOCATE */
	bool was_not_enough;   /* the room that it asked for */
	_Atomic int parties;   /* that have yet to let go */
	size_t data_len;
	char data[];
};

static bool is_write(const struct parked *p)
{
	return p->wait.caller.opcode == FUSE_WRITE;
}

static void free_parked(struct parked *p)
{
	atomic_fetch_sub(&bytes_held, p->data_len);
	free(p);
}

static void leave(struct parked *p)
{
	if (atomic_fetch_sub(&p->parties, 1) == 1)
		free_parked(p);
}

static int try_again(struct parked *p, bool last)
{
	int r;

	p->write.last_try = last;
	if (is_write(p))
		return tp_file_write(p->fs->tree, &p->who, p->gen, &p->write);
	r = tp_file_allocate(p->fs->tree, &p->who, p->gen, p->mode, p->write.offset, p->write.len);
	if (last && (r == -ENOSPC || r == -EDQUOT))
		tp_stats_add(&p->fs->store->stats, TP_STAT_NOSPACE, 1);
	return r;
}

static void answer(struct parked *p, int error)
{
	struct fuse_write_out out = {.size = (uint32_t)p->write.len};

	if (error == 0 && is_write(p))
		tp_reply_data(p->fs->session, &p->wait.caller, &out, sizeof(out));
	else
		tp_reply_error(p->fs->session, &p->wait.caller, error);
}

static void interrupted(struct parked *p)
{
	if (is_write(p))
		tp_file_interrupted(p->fs->tree, p->gen, p->write.offset, p->write.len, -EIO);
	answer(p, -EINTR);
}

static void cancel(struct tp_wait *w)
{
	struct parked *p = tp_container(w, struct parked, wait);

	interrupted(p);
	if (tp_evictor_unwait(p->fs->store->evictor, &p->room))
		free_parked(p);
	else
		leave(p);
}

static void wait_for_room(struct parked *p, int error);

static void ready(struct tp_room_waiter *room, bool last)
{
	struct parked *p = tp_container(room, struct parked, room);
	int error;

	if (!tp_wait_take(p->fs->session, &p->wait)) {
		leave(p);
		return;
	}
	error = try_again(p, last);
	if ((error == -ENOSPC || error == -EDQUOT) && !last) {
		/* Somebody else took it, or it takes more than it seemed. */
		p->was_not_enough = true;
		wait_for_room(p, error);
		return;
	}
	answer(p, error);
	free_parked(p);
}

static void wait_for_room(struct parked *p, int error)
{
	char path[PATH_MAX], quoted[121];

	atomic_store(&p->parties, 2);
	p->room.bytes = tp_file_room_bytes(p->write.len, p->was_not_enough);
	p->room.quota_node =
		error == -EDQUOT ? tp_file_quota_node(p->fs->tree, p->gen, p->write.offset, p->write.len) : 0;
	p->room.ready = ready;
	p->wait.cancel = cancel;
	(void)tp_tree_path(p->fs->tree, p->wait.caller.node, path, sizeof(path));
	(void)snprintf(p->wait.what, sizeof(p->wait.what), "%s %s: no %s",
		is_write(p) ? "write" : "fallocate",
		tp_events_quote(path, strlen(path), quoted, sizeof(quoted)),
		error == -EDQUOT ? "quota" : "room");
	tp_list_init(&p->room.link);
	if (tp_wait_add(p->fs->session, &p->wait) < 0) {
		interrupted(p);
		free_parked(p);
		return;
	}
	tp_evictor_wait(p->fs->store->evictor, &p->room);
}

/* NULL: no memory, or too many wait already. */
static struct parked *new_parked(struct tp_fs *fs, struct tp_request *r, struct tp_handle *h, size_t data_len)
{
	struct parked *p = NULL;

	if (atomic_fetch_add(&bytes_held, data_len) + data_len <= BYTES_MAX)
		p = calloc(1, sizeof(*p) + data_len);
	if (!p) {
		atomic_fetch_sub(&bytes_held, data_len);
		return NULL;
	}
	p->fs = fs;
	p->gen = h->opened.gen;
	p->who = tp_ops_who(r);
	p->wait.caller = r->caller;
	p->data_len = data_len;
	return p;
}

void tp_parked_write(
	struct tp_fs *fs, struct tp_request *r, struct tp_handle *h, const struct tp_write *w, int error)
{
	struct parked *p = new_parked(fs, r, h, r->payload_len);
	size_t at = 0;

	if (!p) {
		tp_file_interrupted(fs->tree, h->opened.gen, w->offset, w->len, error);
		tp_ops_reply(fs, r, error);
		return;
	}
	p->iov = (struct iovec){p->data, p->data_len};
	p->write = *w;
	p->write.iov = &p->iov;
	p->write.iov_count = 1;
	p->write.take = NULL;
	for (unsigned i = 0; i < r->payload_count; i++) {
		memcpy(p->data + at, r->payload[i].iov_base, r->payload[i].iov_len);
		at += r->payload[i].iov_len;
	}
	wait_for_room(p, error);
}

void tp_parked_allocate(struct tp_fs *fs, struct tp_request *r, struct tp_handle *h, int error)
{
	const struct fuse_fallocate_in *in = r->arg;
	struct parked *p = new_parked(fs, r, h, 0);

	if (!p) {
		tp_ops_reply(fs, r, error);
		return;
	}
	p->write = (struct tp_write){.offset = in->offset, .len = in->length};
	p->mode = (int)in->mode;
	wait_for_room(p, error);
}
