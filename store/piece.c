/* SPDX-License-Identifier: Apache-2.0 */
#include "store/piece.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Marks in a plan, where a page is not there yet. The pool has no such page numbers. */
#define WANT_ANY UINT32_MAX	   /* a page, whatever is in it */
#define WANT_ZERO (UINT32_MAX - 1) /* a page of zeroes */

static void list_pages(const struct tp_piece *pc, struct tp_piece_pages *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (!pc)
		return;
	for (unsigned k = 0; k < pc->span; k++)
		ret->page[pc->first + k] = tp_piece_page(pc, (unsigned)pc->first + k);
	ret->slot = pc->slot;
	ret->slot_bytes = pc->slot_bytes;
	ret->slot_page = pc->slot_page;
}

/* Gives back what a has and b has not, except the pages [from, to). */
static void give_difference(struct tp_pool *p, const struct tp_piece_pages *a, const struct tp_piece_pages *b,
	uint32_t from, uint32_t to)
{
	uint32_t page = 0, pages = 0;

	for (unsigned i = 0; i < TP_PIECE_PAGES; i++) {
		uint32_t one = a->page[i];

		if (!one || one >= WANT_ZERO || one == b->page[i] || (i >= from && i < to))
			continue;
		if (pages && one == page + pages) {
			pages++;
			continue;
		}
		if (pages)
			tp_pool_put(p, page, pages);
		page = one;
		pages = 1;
	}
	if (pages)
		tp_pool_put(p, page, pages);
	if (a->slot_bytes && (!b->slot_bytes || a->slot != b->slot))
		tp_pool_put_slot(p, a->slot, a->slot_bytes);
}

void tp_piece_unref(struct tp_piece *pc, struct tp_pool *p)
{
	static const struct tp_piece_pages nothing;
	struct tp_piece_pages all;

	/* What others did with the piece comes before its pages are somebody else's. */
	if (atomic_fetch_sub_explicit(&pc->refs, 1, memory_order_acq_rel) != 1)
		return;
	if (pc->scattered) {
		list_pages(pc, &all);
		give_difference(p, &all, &nothing, 0, 0);
	} else {
		if (pc->span)
			tp_pool_put(p, pc->page, (uint32_t)pc->span);
		if (pc->slot_bytes)
			tp_pool_put_slot(p, pc->slot, pc->slot_bytes);
	}
	free(pc);
}

void tp_piece_plan_init(struct tp_piece_plan *pl, struct tp_piece *old, uint64_t index)
{
	pl->old = old;
	pl->index = index;
	pl->own = old && tp_piece_is_own(old);
	pl->slot_grows = false;
	pl->adopted_from = pl->adopted_to = 0;
	list_pages(old, &pl->pages);
}

/* Is page i one of old's, which somebody else has too? */
static bool borrowed(const struct tp_piece_plan *pl, unsigned i)
{
	return !pl->own && pl->old && pl->pages.page[i] && pl->pages.page[i] == tp_piece_page(pl->old, i);
}

/* A slot is the last page of its piece: it becomes a page when something comes after it. */
static void grow_slot(struct tp_piece_plan *pl)
{
	pl->pages.slot_bytes = 0;
	pl->pages.page[pl->pages.slot_page] = WANT_ZERO;
	pl->slot_grows = true;
}

void tp_piece_plan_fill(struct tp_piece_plan *pl, uint32_t from, uint32_t to, bool overwritten)
{
	if (from >= to)
		return;
	if (pl->pages.slot_bytes && pl->pages.slot_page * TP_PAGE_BYTES < to) {
		uint32_t start = pl->pages.slot_page * TP_PAGE_BYTES;

		if (overwritten && from <= start && to >= start + TP_PAGE_BYTES)
			pl->pages.slot_bytes = 0;
		else
			grow_slot(pl);
	}
	for (uint32_t i = from / TP_PAGE_BYTES; i <= (to - 1) / TP_PAGE_BYTES; i++) {
		bool whole = overwritten && from <= i * TP_PAGE_BYTES && to >= (i + 1) * TP_PAGE_BYTES;

		if (!pl->pages.page[i] || (whole && borrowed(pl, i)))
			pl->pages.page[i] = whole ? WANT_ANY : WANT_ZERO;
	}
}

void tp_piece_plan_adopt(struct tp_piece_plan *pl, uint32_t first, uint32_t page, uint32_t pages)
{
	assert(first + pages <= TP_PIECE_PAGES);
	assert(pl->adopted_from == pl->adopted_to || pl->adopted_to == first);
	if (pl->adopted_from == pl->adopted_to)
		pl->adopted_from = first;
	pl->adopted_to = first + pages;
	if (pl->pages.slot_bytes && pl->pages.slot_page < first)
		grow_slot(pl);
	else if (pl->pages.slot_bytes && pl->pages.slot_page < first + pages)
		pl->pages.slot_bytes = 0;
	for (uint32_t i = 0; i < pages; i++)
		pl->pages.page[first + i] = page + i;
}

void tp_piece_plan_drop(struct tp_piece_plan *pl, uint32_t from, uint32_t to)
{
	uint32_t slot_from = pl->pages.slot_page * TP_PAGE_BYTES;

	for (uint32_t i = (from + TP_PAGE_BYTES - 1) / TP_PAGE_BYTES; i < to / TP_PAGE_BYTES; i++)
		pl->pages.page[i] = 0;
	if (pl->pages.slot_bytes && from <= slot_from && to >= slot_from + pl->pages.slot_bytes)
		pl->pages.slot_bytes = 0;
}

/* Takes pages for all that is wanted or borrowed, and puts the bytes into them that belong there. */
static int take_pages(struct tp_piece_plan *pl, struct tp_pool *p)
{
	struct tp_run runs[TP_PIECE_PAGES], *run = runs;
	uint32_t needed = 0;
	unsigned count;
	int r;

	for (unsigned i = 0; i < TP_PIECE_PAGES; i++)
		needed += pl->pages.page[i] >= WANT_ZERO || borrowed(pl, i);
	if (!needed)
		return 0;
	r = tp_pool_get(p, needed, runs, TP_PIECE_PAGES, &count);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < TP_PIECE_PAGES; i++) {
		uint32_t before = pl->pages.page[i];
		void *at;

		if (before < WANT_ZERO && !borrowed(pl, i))
			continue;
		at = tp_pool_at(p, run->page);
		if (before == WANT_ZERO)
			memset(at, 0, TP_PAGE_BYTES);
		else if (before != WANT_ANY)
			memcpy(at, tp_pool_at(p, before), TP_PAGE_BYTES);
		if (pl->slot_grows && before == WANT_ZERO && pl->old->slot_page == i)
			memcpy(at, tp_pool_slot_at(p, pl->old->slot), pl->old->slot_bytes);
		pl->pages.page[i] = run->page++;
		if (!--run->pages)
			run++;
	}
	return 0;
}

/* A slot that is kept and shared is copied. */
static int take_slot(struct tp_piece_plan *pl, struct tp_pool *p)
{
	uint64_t slot;
	int r;

	if (!pl->pages.slot_bytes || pl->own)
		return 0;
	r = tp_pool_get_slot(p, pl->pages.slot_bytes, &slot);
	if (r < 0)
		return r;
	memcpy(tp_pool_slot_at(p, slot), tp_pool_slot_at(p, pl->pages.slot), pl->pages.slot_bytes);
	pl->pages.slot = slot;
	return 0;
}

/* Makes a piece of these pages, in the smallest form. */
static int pack(const struct tp_piece_pages *pages, uint64_t index, struct tp_piece **ret)
{
	uint32_t first = 0, end = TP_PIECE_PAGES, count = 0;
	bool scattered = false;
	struct tp_piece *pc;

	while (end && !pages->page[end - 1])
		end--;
	while (first < end && !pages->page[first])
		first++;
	for (uint32_t i = first; i < end; i++) {
		count += pages->page[i] != 0;
		scattered = scattered || pages->page[i] != pages->page[first] + (i - first);
	}
	if (!count && !pages->slot_bytes) {
		*ret = NULL;
		return 0;
	}
	pc = malloc(sizeof(*pc) + (scattered ? (end - first) * sizeof(pc->table[0]) : 0));
	if (!pc)
		return -ENOMEM;
	atomic_init(&pc->refs, 1);
	pc->at = index;
	pc->first = first;
	pc->span = end - first;
	pc->scattered = scattered;
	pc->page = scattered ? count : pages->page[first];
	pc->slot = pages->slot;
	pc->slot_bytes = pages->slot_bytes;
	pc->slot_page = pages->slot_page;
	if (scattered)
		memcpy(pc->table, &pages->page[first], (end - first) * sizeof(pc->table[0]));
	*ret = pc;
	return 0;
}

int tp_piece_plan_finish(struct tp_piece_plan *pl, struct tp_pool *p, struct tp_piece_edit *ret)
{
	struct tp_piece_pages before;
	struct tp_piece *fresh = NULL;
	int r;

	r = take_pages(pl, p);
	if (r < 0)
		return r;
	r = take_slot(pl, p);
	if (r < 0)
		goto give_back;
	r = pack(&pl->pages, pl->index, &fresh);
	if (r < 0)
		goto give_back;
	*ret = (struct tp_piece_edit){.old = pl->old,
		.fresh = fresh,
		.own = pl->own,
		.adopted_from = pl->adopted_from,
		.adopted_to = pl->adopted_to};
	return 0;

give_back:
	list_pages(pl->old, &before);
	give_difference(p, &pl->pages, &before, pl->adopted_from, pl->adopted_to);
	return r;
}

void tp_piece_edit_done(struct tp_piece_edit *e, struct tp_pool *p)
{
	struct tp_piece_pages old, fresh;

	if (!e->old)
		return;
	if (!e->own) {
		tp_piece_unref(e->old, p);
		return;
	}
	list_pages(e->old, &old);
	list_pages(e->fresh, &fresh);
	give_difference(p, &old, &fresh, 0, 0);
	free(e->old);
}

void tp_piece_edit_undo(struct tp_piece_edit *e, struct tp_pool *p)
{
	struct tp_piece_pages old, fresh;

	if (!e->fresh)
		return;
	list_pages(e->old, &old);
	list_pages(e->fresh, &fresh);
	give_difference(p, &fresh, &old, e->adopted_from, e->adopted_to);
	free(e->fresh);
}
