/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A piece: up to 1 MiB of a map's content that may be shared between maps, and how one is changed.
 *
 * A piece never changes while it is shared, and its list of pages never changes at all. A change is planned: the plan
 * starts as what the piece has, is filled, dropped from, adopted into, and finished, which takes all that is needed from pool
 * and heap and gives an edit: the old piece and the fresh one that replaces it. An edit is either done or undone; neither can
 * fail. So a change of several pieces is all or nothing: finish all plans, then do all edits or undo them.
 *
 * What the fresh piece has in common with an old one that nobody else has is the same pages; of a shared piece all pages
 * are copied, but for those that the change overwrites as a whole.
 */
#pragma once

#include <assert.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/map.h"
#include "store/pool.h"

/* 24 bytes without a table, which the heap rounds up to 32. */
struct tp_piece {
	_Atomic uint32_t refs;
	uint32_t page;	  /* in the pool, of the first one; with a table: how many entries of it are not 0 */
	uint64_t at : 40; /* offset in the file, in pieces; read it with tp_piece_index() */
	uint64_t first : 8;	/* page within the piece where the run or the table begins */
	uint64_t span : 9;	/* pages in the run, entries of the table */
	uint64_t scattered : 1; /* there is a table */
	/* The last page of the piece, when it is a slot. Its bytes after slot_bytes are zero. */
	uint64_t slot : 44;
	uint64_t slot_bytes : 12; /* 0: there is none */
	uint64_t slot_page : 8;	  /* page within the piece */
	uint32_t table[];	  /* pages in the pool; 0: a hole */
};

_Static_assert(sizeof(struct tp_piece) == 24, "a small object's piece is small");
_Static_assert(TP_MAP_SIZE_MAX / TP_PIECE_BYTES <= INT64_C(1) << 40, "at holds every piece");
_Static_assert(TP_SLOT_BYTES_MAX < 1u << 12, "slot_bytes holds every slot");

/* Not to be had from the field: gcc calculates with 40 bits then, and drops what does not fit. */
static inline uint64_t tp_piece_index(const struct tp_piece *pc)
{
	return pc->at;
}

/* The pool's page that is page i of the piece; 0 when that is a hole, or a slot. */
static inline uint32_t tp_piece_page(const struct tp_piece *pc, unsigned i)
{
	unsigned k = i - (unsigned)pc->first;

	if (k >= pc->span)
		return 0;
	return pc->scattered ? pc->table[k] : pc->page + k;
}

/* Is page i of the piece a slot? */
static inline bool tp_piece_slot_is(const struct tp_piece *pc, unsigned i)
{
	return pc->slot_bytes && pc->slot_page == i;
}

/* Pages and slots that it has. */
static inline uint32_t tp_piece_count(const struct tp_piece *pc)
{
	return (pc->scattered ? pc->page : (uint32_t)pc->span) + (pc->slot_bytes != 0);
}

/*
 * Does nobody else have it? True stays true while the caller holds the lock of its map exclusively; and what others read in
 * it before they let go has been read.
 */
static inline bool tp_piece_is_own(struct tp_piece *pc)
{
	return atomic_load_explicit(&pc->refs, memory_order_acquire) == 1;
}

static inline struct tp_piece *tp_piece_ref(struct tp_piece *pc)
{
	uint32_t before = atomic_fetch_add_explicit(&pc->refs, 1, memory_order_relaxed);

	assert(before > 0 && before < UINT32_MAX);
	(void)before;
	return pc;
}

/* The last one gives the pages back. */
void tp_piece_unref(struct tp_piece *pc, struct tp_pool *p);

/* Which pages a piece has, one by one. */
struct tp_piece_pages {
	uint32_t page[TP_PIECE_PAGES];
	uint64_t slot;
	uint32_t slot_bytes;
	uint32_t slot_page;
};

struct tp_piece_plan {
	struct tp_piece *old;
	uint64_t index;
	bool own;	       /* old is nobody else's: its pages may be kept */
	bool slot_grows;       /* old's slot becomes a page */
	uint32_t adopted_from; /* pages of the piece that are the caller's until the edit is done */
	uint32_t adopted_to;
	struct tp_piece_pages pages;
};

struct tp_piece_edit {
	struct tp_piece *old;	/* NULL: there was none */
	struct tp_piece *fresh; /* NULL: nothing is left */
	bool own;
	uint32_t adopted_from;
	uint32_t adopted_to;
};

/* old may be NULL: all is a hole. */
void tp_piece_plan_init(struct tp_piece_plan *pl, struct tp_piece *old, uint64_t index);
/*
 * There shall be pages for [from, to), bytes within the piece. With overwritten set the caller writes all of [from, to) once
 * the edit is done, and what lies there is not copied or zeroed where that is a whole page.
 */
void tp_piece_plan_fill(struct tp_piece_plan *pl, uint32_t from, uint32_t to, bool overwritten);
/* Pages from first on shall be these of the pool. Calls go upwards and leave no gap. */
void tp_piece_plan_adopt(struct tp_piece_plan *pl, uint32_t first, uint32_t page, uint32_t pages);
/* What lies wholly within [from, to), bytes within the piece, shall be a hole. */
void tp_piece_plan_drop(struct tp_piece_plan *pl, uint32_t from, uint32_t to);
/* Takes what is needed. -ENOSPC or -ENOMEM: nothing was taken. */
int tp_piece_plan_finish(struct tp_piece_plan *pl, struct tp_pool *p, struct tp_piece_edit *ret);

/* Lets go of old, and of its pages that are not in fresh. */
void tp_piece_edit_done(struct tp_piece_edit *e, struct tp_pool *p);
/* Lets go of fresh, and of its pages that are neither old's nor adopted. */
void tp_piece_edit_undo(struct tp_piece_edit *e, struct tp_pool *p);
