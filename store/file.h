/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open regular files: reading, writing, and how what was written is published.
 *
 * A struct tp_gen * that an open gave (struct tp_opened) stays valid until tp_file_release(). Reads and writes take the generation's map lock only.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "store/tree.h"

/* Bytes to write: either in a buffer list, of which the first runs_pages pages lie in pool pages that may be kept. */
struct tp_write {
	uint64_t offset;
	const struct iovec *iov;
	unsigned iov_count;
	size_t len;
	/* Takes the first `pages` pages of iov into ret_runs, ret_count: they belong to the file then. NULL: nothing can be taken. */
	void (*take)(void *user, unsigned pages, struct tp_run *ret_runs, unsigned *ret_count);
	void *user;
	unsigned take_pages_max; /* full pages at the front that can be taken */
	bool from_cache;	 /* the kernel writes pages back: a mapping; nobody asks */
	bool kill_suid;
	bool sync; /* O_DSYNC: as if fsync came right after it, for which the kernel does not send one when it passes its cache */
	bool last_try; /* there will be no room: note that the bytes are missing */
};

/* All bytes or none. -ENOSPC: no room now; nothing changed, and unless last_try the caller makes room or waits, and tries again. -EDQUOT likewise by a quota. */
int tp_file_write(struct tp_tree *t, struct tp_who *who, struct tp_gen *g, const struct tp_write *w);

/*
 * Room to ask for when a write of len bytes found none. It takes little more than its bytes, unless it changes pieces that it shares with the generation it came from: these it
 * copies. That is asked for when there was room, and it was not enough.
 */
static inline uint64_t tp_file_room_bytes(size_t len, bool was_not_enough)
{
	return len + 2 * (uint64_t)(was_not_enough ? TP_PIECE_BYTES : TP_PAGE_BYTES);
}

/* The directory whose quota a write of [offset, offset + len) would pass, 0: none. */
uint64_t tp_file_quota_node(struct tp_tree *t, struct tp_gen *g, uint64_t offset, uint64_t len);
/* A write that waited for room was given up: its bytes are missing. */
void tp_file_interrupted(struct tp_tree *t, struct tp_gen *g, uint64_t offset, size_t len, int error);

/* Bytes of a file, where they lie. Valid until tp_file_read_done(), whatever is written meanwhile. */
#define TP_READ_IOV_MAX 1000
struct tp_read {
	struct iovec iov[TP_READ_IOV_MAX]; /* from [1] on; [0] is for the answer's header */
	unsigned count;			   /* of them, without [0] */
	size_t len;			   /* short at the end of file only */
	struct tp_piece *held[TP_MAP_HELD_MAX];
	unsigned held_count;
};

/* At most 1 MiB. */
void tp_file_read(struct tp_tree *t, struct tp_gen *g, uint64_t offset, size_t len, struct tp_read *ret);
/* All bytes of one that is published, open once, not empty, and has at most max. False: it is not so, and nothing was read. */
bool tp_file_read_small(struct tp_tree *t, struct tp_gen *g, size_t max, struct tp_read *ret);
void tp_file_read_done(struct tp_tree *t, struct tp_read *r);
/* The page cache has nothing that is older than what g has: opens may keep it from now on. Before a request of who has g open through the page cache is answered. */
void tp_file_cache_is_new(struct tp_tree *t, struct tp_gen *g);
/* Copies bytes; the number, short at the end of file only. */
size_t tp_file_copy(struct tp_tree *t, struct tp_gen *g, uint64_t offset, void *buf, size_t len);

/* Could the pool hold these bytes if it held nothing else? What it could not is not worth waiting for. */
bool tp_file_can_fit(struct tp_tree *t, uint64_t offset, uint64_t len);
/* mode as fallocate(2). -ENOSPC: no room now, or ever, see above; nothing changed. -EDQUOT likewise by a quota. -EFBIG beyond TP_MAP_SIZE_MAX. */
int tp_file_allocate(
	struct tp_tree *t, struct tp_who *who, struct tp_gen *g, int mode, uint64_t offset, uint64_t len);
int64_t tp_file_seek(struct tp_tree *t, struct tp_gen *g, uint64_t offset, int whence);
/* Changes the size of g, which is open for writing or being truncated by path. t->lock held exclusively. */
int tp_file_resize(struct tp_tree *t, struct tp_gen *g, uint64_t size);
/* It was cut off while it was opened, by somebody whose change takes setuid and setgid away. */
void tp_file_kill_suid(struct tp_tree *t, struct tp_gen *g);
/* fsync: from now on g is kept though its writer is killed. */
void tp_file_sync(struct tp_tree *t, struct tp_gen *g);
/* A descriptor of g is being closed by who: notes how who ends; the error that close() shall report, or 0. */
int tp_file_flush(struct tp_tree *t, struct tp_who *who, struct tp_opened *o);
/* Is what o writes to go to several names? */
bool tp_file_has_links(struct tp_tree *t, const struct tp_opened *o);
/* The last descriptor of one open is gone, as was read at read_ns (monotonic): publishes or drops when it was the last of all. */
void tp_file_release(struct tp_tree *t, const struct tp_opened *o, uint64_t read_ns);
/* Now and then: drafts whose awaited opener did not come. */
void tp_file_tick(struct tp_tree *t);

/* With t->lock held exclusively, for the tree: g, whose name makes it visible at once or that has no writer any more, becomes the current generation of its object. */
void tp_gen_publish(struct tp_tree *t, struct tp_gen *g);
/* A generation for o in the given state with one reference fewer than any: the caller counts. NULL: no memory. */
struct tp_gen *tp_gen_new(struct tp_tree *t, struct tp_object *o, enum tp_gen_state state);
/* g is not current any more (superseded by a newer one, or its object has no name). */
void tp_gen_retire(struct tp_tree *t, struct tp_gen *g, bool superseded);
/* An event: the draft g comes to nothing. */
void tp_gen_say_dropped(struct tp_tree *t, const struct tp_gen *g, const char *why);
/* Drops all drafts of o: its last name is gone; beaten: somebody else took it. */
void tp_gen_unlink_drafts(struct tp_tree *t, struct tp_object *o, bool beaten);
/* Opens g for who, whatever its state; makes it LIVE when write and it was PUBLISHED. */
int tp_gen_open(struct tp_tree *t, struct tp_who *who, struct tp_gen *g, int flags, struct tp_opened *ret);
/* Gives g, which nobody writes, its struct tp_draft. -ENOMEM. */
int tp_gen_start_draft(struct tp_tree *t, struct tp_gen *g);
/* The draft g has no handle any more: publishes it (true) or drops it. equal: its bytes are those of the current generation. */
bool tp_gen_finish(struct tp_tree *t, struct tp_gen *g, bool equal);
/* A visible generation that was written has no writer any more. True when that completes what has a name of its own. */
bool tp_gen_close_live(struct tp_tree *t, struct tp_gen *g);
/* One that is neither written nor a draft lost a handle. */
void tp_gen_settle_closed(struct tp_tree *t, struct tp_gen *g);
/* An opener is on its way to d (one more when `another`): not published until it came or a moment passed. */
void tp_gen_await(struct tp_tree *t, struct tp_draft *d, bool another);
/* One that was on its way to the draft at node (0: none) has come, or never will. */
void tp_gen_unawait(struct tp_tree *t, uint64_t node);
/* g's rules changed, or whether it is open or busy: counts it again for what the evictor may take. */
void tp_gen_count_idle(struct tp_tree *t, struct tp_gen *g);
/* g is busy: it is not evicted, and its content stays. */
void tp_gen_hold(struct tp_tree *t, struct tp_gen *g);
/* The opposite; g may be gone afterwards. */
void tp_gen_let_go(struct tp_tree *t, struct tp_gen *g);
/* Is one still to be waited for? Then d is looked at again by tp_file_tick(). */
bool tp_gen_is_awaited(struct tp_tree *t, struct tp_draft *d);
/* Room is needed: superseded generations that nobody opened give up their content. */
void tp_gen_give_up_old(struct tp_tree *t);
/* Is g past, and not written by anybody? Who still reads it keeps its bytes: it is never opened for writing, nor truncated. */
bool tp_gen_is_past(const struct tp_gen *g);
const char *tp_gen_state_name(const struct tp_gen *g);
/* By which the order of eviction recognises o when it comes back. */
uint64_t tp_gen_heat_key(const struct tp_object *o);
/* May the RELEASE of one of its handles be on its way? Without the lock. */
void tp_draft_set_closing(struct tp_tree *t, struct tp_draft *d, bool closing);
/*
 * May o get that name in dir, which says that it is whole? 0, or the error of a write under its temporary name, or before it
 * had any, that failed and was not made good.
 */
int tp_gen_may_complete(
	struct tp_tree *t, struct tp_object *o, const struct tp_object *dir, const char *name);
/* Its first name came: by linkat after O_TMPFILE. */
void tp_gen_named(struct tp_tree *t, struct tp_object *o);
/* Its first name is n now: what that means for who sees it. True when it is published by that. */
bool tp_gen_renamed(struct tp_tree *t, struct tp_who *who, struct tp_name *n, bool was_temporary);
/* truncate(2) of g by who; open: through a descriptor. -ESTALE: look up again, a draft waits. */
int tp_gen_truncate(struct tp_tree *t, struct tp_who *who, struct tp_gen *g, bool open, uint64_t size);
/* A draft of o that who sees, or NULL. */
struct tp_draft *tp_gen_draft_for(struct tp_tree *t, struct tp_object *o, struct tp_who *who);
/* The draft of others that an open of o for writing, without O_TRUNC, joins, or NULL. */
struct tp_draft *tp_gen_draft_to_join(const struct tp_object *o, struct tp_who *who);
/* An opener that cannot be seen is sent to look again, and d was reserved for it; d may be gone afterwards. */
void tp_gen_expect_unseen(struct tp_tree *t, struct tp_draft *d);
/* What is looked up is what is published, from now on. */
void tp_gen_expect_no_unseen(struct tp_tree *t, const struct tp_object *o);
/* May who, that looks o up, be such an opener? shared */
bool tp_gen_expects_unseen(struct tp_tree *t, const struct tp_object *o, struct tp_who *who);
/* A new draft of o, RESERVED, seen by who. -ENOMEM. */
int tp_gen_reserve(struct tp_tree *t, struct tp_who *who, struct tp_object *o, struct tp_gen **ret);
