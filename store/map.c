/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A write finds its pages there and nobody else's, and just copies; or it makes a plan for each piece that it touches, takes
 * all that the plans need, and only then changes the map (see piece.h). What a plan overwrites is written after that, in
 * place: so the bytes are copied once, and no error can come in between.
 */
#include "store/map.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/piece.h"

#define VECTOR_MIN 4u
/* Edits that need no heap: a FUSE write of 1 MiB touches two pieces. */
#define EDITS_SMALL 4u

/* The pieces of a map that has several, or is about to. */
struct vector {
	uint32_t count, count_max;
	uint64_t pages; /* of all */
	struct tp_piece *pieces[];
};

/* The pieces [from, to) of the vector give way to what the edits made, in order. */
struct change {
	struct tp_map *map;
	struct tp_pool *pool;
	struct tp_piece_edit *edits;
	struct tp_piece_edit small[EDITS_SMALL];
	uint32_t count, count_max;
	uint32_t from, to;
};

void tp_map_init(struct tp_map *m)
{
	*m = (struct tp_map){.one = NULL};
}

static struct vector *vector_of(const struct tp_map *m)
{
	return m->vector & 1 ? (struct vector *)(m->vector - 1) : NULL;
}

static struct tp_piece *const *pieces(const struct tp_map *m)
{
	return m->vector & 1 ? vector_of(m)->pieces : &m->one;
}

static uint32_t count_of(const struct tp_map *m)
{
	return m->vector & 1 ? vector_of(m)->count : m->one != NULL;
}

uint64_t tp_map_pages(const struct tp_map *m)
{
	if (m->vector & 1)
		return vector_of(m)->pages;
	return m->one ? tp_piece_count(m->one) : 0;
}

/* The place of the first piece of that index or a higher one. */
static uint32_t place_of(const struct tp_map *m, uint64_t index)
{
	struct tp_piece *const *all = pieces(m);
	uint32_t low = 0, high = count_of(m);

	/* Most writes go to the end. */
	if (high && tp_piece_index(all[high - 1]) < index)
		return high;
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (tp_piece_index(all[mid]) < index)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct tp_piece *piece_of(const struct tp_map *m, uint64_t index)
{
	uint32_t place = place_of(m, index);

	return place < count_of(m) && tp_piece_index(pieces(m)[place]) == index ? pieces(m)[place] : NULL;
}

/*
 * What lies at offset: memory in a row, or nothing. Returns how many bytes of it, 1 to max. *ret is NULL for a hole and
 * for the rest of a page of which only the beginning lies in a slot.
 */
static uint64_t chunk(
	const struct tp_map *m, const struct tp_pool *p, uint64_t offset, uint64_t max, unsigned char **ret)
{
	uint64_t index = offset / TP_PIECE_BYTES, len;
	unsigned i = offset % TP_PIECE_BYTES / TP_PAGE_BYTES, in_page = offset % TP_PAGE_BYTES, j = i + 1;
	/* No further than is asked for: a small write into a new piece must not look at all of it. */
	unsigned end = max < TP_PIECE_BYTES - offset % TP_PIECE_BYTES
			       ? i + (unsigned)((in_page + max + TP_PAGE_BYTES - 1) / TP_PAGE_BYTES)
			       : TP_PIECE_PAGES;
	uint32_t place = place_of(m, index), page;
	const struct tp_piece *pc = place < count_of(m) ? pieces(m)[place] : NULL;

	*ret = NULL;
	if (!pc || tp_piece_index(pc) != index) {
		len = pc ? tp_piece_index(pc) * TP_PIECE_BYTES - offset : max;
		return len < max ? len : max;
	}
	page = tp_piece_page(pc, i);
	len = TP_PAGE_BYTES - in_page;
	if (tp_piece_slot_is(pc, i)) {
		if (in_page < pc->slot_bytes) {
			*ret = (unsigned char *)tp_pool_slot_at(p, pc->slot) + in_page;
			len = pc->slot_bytes - in_page;
		}
	} else if (!page) {
		while (j < end && !tp_piece_page(pc, j) && !tp_piece_slot_is(pc, j))
			j++;
		len += (uint64_t)(j - i - 1) * TP_PAGE_BYTES;
	} else {
		*ret = (unsigned char *)tp_pool_at(p, page) + in_page;
		if (!pc->scattered)
			j = (unsigned)(pc->first + pc->span);
		while (pc->scattered && j < end && tp_piece_page(pc, j) == page + (j - i))
			j++;
		len += (uint64_t)(j - i - 1) * TP_PAGE_BYTES;
	}
	return len < max ? len : max;
}

/* Writes bytes, or zeroes for buf NULL, into pages that are nobody else's. Zeroes need no pages. */
static void poke(struct tp_map *m, const struct tp_pool *p, uint64_t offset, const void *buf, uint64_t len)
{
	const unsigned char *from = buf;

	while (len) {
		unsigned char *at;
		uint64_t n = chunk(m, p, offset, len, &at);

		assert(at || !buf);
		if (from) {
			memcpy(at, from, n);
			from += n;
		} else if (at) {
			memset(at, 0, n);
		}
		offset += n;
		len -= n;
	}
}

/* Changes */

static int change_begin(struct change *c, struct tp_map *m, struct tp_pool *p, uint64_t edits_max)
{
	c->map = m;
	c->pool = p;
	c->edits = c->small;
	c->count = 0;
	c->count_max = EDITS_SMALL;
	if (edits_max <= EDITS_SMALL)
		return 0;
	if (edits_max > UINT32_MAX / 2)
		return -ENOSPC;
	c->edits = malloc(edits_max * sizeof(c->edits[0]));
	if (!c->edits)
		return -ENOMEM;
	c->count_max = (uint32_t)edits_max;
	return 0;
}

static void change_end(struct change *c)
{
	if (c->edits != c->small)
		free(c->edits);
}

static void change_undo(struct change *c)
{
	while (c->count)
		tp_piece_edit_undo(&c->edits[--c->count], c->pool);
	change_end(c);
}

static int change_add(struct change *c, struct tp_piece_plan *plan)
{
	int r;

	assert(c->count < c->count_max);
	r = tp_piece_plan_finish(plan, c->pool, &c->edits[c->count]);
	if (r < 0)
		return r;
	c->count++;
	return 0;
}

/* Gives v, or a new one, places for count_max pieces. NULL: no memory, and v is as it was. */
static struct vector *vector_resize(struct vector *v, uint64_t count_max)
{
	struct vector *to;

	if (count_max > UINT32_MAX / 2)
		return NULL;
	to = realloc(v, sizeof(*to) + count_max * sizeof(to->pieces[0]));
	if (!to)
		return NULL;
	if (!v)
		to->count = 0;
	to->count_max = (uint32_t)count_max;
	return to;
}

/* Makes sure that count pieces find a place. */
static int make_room(struct tp_map *m, uint64_t count)
{
	struct vector *v = vector_of(m);
	uint64_t count_max = v ? v->count_max : 1;

	if (count <= count_max)
		return 0;
	count_max *= 2;
	if (count_max < VECTOR_MIN)
		count_max = VECTOR_MIN;
	if (count_max < count)
		count_max = count;
	v = vector_resize(v, count_max);
	if (!v)
		return -ENOMEM;
	if (!(m->vector & 1)) {
		v->count = m->one != NULL;
		v->pages = tp_map_pages(m);
		v->pieces[0] = m->one;
	}
	m->vector = (uintptr_t)v | 1;
	return 0;
}

/* Brings a vector with at most one piece back to the small form. */
static void shrink(struct tp_map *m)
{
	struct vector *v = vector_of(m);

	if (!v || v->count > 1)
		return;
	m->one = v->count ? v->pieces[0] : NULL;
	free(v);
}

/* Does all edits, or, when there is no memory for that, undoes them. Ends the change. */
static int change_apply(struct change *c)
{
	struct tp_map *m = c->map;
	struct tp_piece **all;
	struct vector *v;
	uint64_t pages;
	uint32_t count = count_of(m), fresh = 0, k = 0;
	int r;

	for (uint32_t i = 0; i < c->count; i++)
		fresh += c->edits[i].fresh != NULL;
	r = make_room(m, (uint64_t)count - (c->to - c->from) + fresh);
	if (r < 0) {
		change_undo(c);
		return r;
	}
	v = vector_of(m);
	all = v ? v->pieces : &m->one;
	pages = tp_map_pages(m);
	for (uint32_t i = c->from; i < c->to; i++) {
		while (k < c->count && !c->edits[k].old)
			k++;
		pages -= tp_piece_count(all[i]);
		if (k < c->count && c->edits[k].old == all[i])
			tp_piece_edit_done(&c->edits[k++], c->pool);
		else
			tp_piece_unref(all[i], c->pool);
	}
	if (v)
		memmove(all + c->from + fresh, all + c->to, (count - c->to) * sizeof(all[0]));
	else if (c->to > c->from)
		m->one = NULL;
	for (uint32_t i = 0, at = c->from; i < c->count; i++) {
		if (!c->edits[i].fresh)
			continue;
		all[at++] = c->edits[i].fresh;
		pages += tp_piece_count(c->edits[i].fresh);
	}
	if (v) {
		v->count = count - (c->to - c->from) + fresh;
		v->pages = pages;
	}
	change_end(c);
	shrink(m);
	return 0;
}

/* The bytes within the piece `index` of the file's [offset, end). */
static void clip(uint64_t index, uint64_t offset, uint64_t end, uint32_t *ret_from, uint32_t *ret_to)
{
	uint64_t start = index * TP_PIECE_BYTES;

	*ret_from = offset > start ? (uint32_t)(offset - start) : 0;
	*ret_to = end - start < TP_PIECE_BYTES ? (uint32_t)(end - start) : TP_PIECE_BYTES;
}

/* Are there pages for all of the bytes [from, to) of the piece, which nobody else has? */
static bool is_ready(struct tp_piece *pc, uint32_t from, uint32_t to)
{
	uint32_t first = from / TP_PAGE_BYTES, last = (to - 1) / TP_PAGE_BYTES;

	if (!pc || !tp_piece_is_own(pc))
		return false;
	if (!pc->scattered)
		return first >= pc->first && last < pc->first + pc->span;
	for (uint32_t i = first; i <= last; i++)
		if (!tp_piece_page(pc, i))
			return false;
	return true;
}

/* Sees to it that there are pages of our own for [offset, end), where holes and pieces of others are now. */
static int fill(struct tp_map *m, struct tp_pool *p, uint64_t offset, uint64_t end, bool overwritten)
{
	uint64_t first = offset / TP_PIECE_BYTES, last = (end - 1) / TP_PIECE_BYTES;
	uint32_t from, to;
	struct change c;
	int r;

	while (first <= last) {
		clip(first, offset, end, &from, &to);
		if (!is_ready(piece_of(m, first), from, to))
			break;
		first++;
	}
	if (first > last)
		return 0;
	/* What cannot succeed shall not ask for a lot of memory first. */
	if ((end - offset) / TP_PAGE_BYTES > tp_map_pages(m) + tp_pool_free_pages(p))
		return -ENOSPC;
	r = change_begin(&c, m, p, last - first + 1);
	if (r < 0)
		return r;
	c.from = place_of(m, first);
	for (c.to = c.from; first <= last; first++) {
		struct tp_piece *old = c.to < count_of(m) ? pieces(m)[c.to] : NULL;
		struct tp_piece_plan plan;

		if (old && tp_piece_index(old) != first)
			old = NULL;
		if (old)
			c.to++;
		clip(first, offset, end, &from, &to);
		tp_piece_plan_init(&plan, old, first);
		tp_piece_plan_fill(&plan, from, to, overwritten);
		r = change_add(&c, &plan);
		if (r < 0) {
			change_undo(&c);
			return r;
		}
	}
	return change_apply(&c);
}

int tp_map_write(struct tp_map *m, struct tp_pool *p, uint64_t offset, const void *buf, size_t len)
{
	int r;

	if (!len)
		return 0;
	if (offset > TP_MAP_SIZE_MAX || len > TP_MAP_SIZE_MAX - offset)
		return -EFBIG;
	r = fill(m, p, offset, offset + len, true);
	if (r < 0)
		return r;
	poke(m, p, offset, buf, len);
	return 0;
}

int tp_map_reserve(struct tp_map *m, struct tp_pool *p, uint64_t offset, uint64_t len)
{
	if (!len)
		return 0;
	if (offset > TP_MAP_SIZE_MAX || len > TP_MAP_SIZE_MAX - offset)
		return -EFBIG;
	return fill(m, p, offset, offset + len, false);
}

int tp_map_adopt(
	struct tp_map *m, struct tp_pool *p, uint64_t offset, const struct tp_run *runs, unsigned runs_count)
{
	uint64_t pages = 0, end, first;
	const struct tp_run *run = runs;
	uint32_t used = 0; /* pages of *run */
	struct change c;
	int r;

	assert(offset % TP_PAGE_BYTES == 0);
	for (unsigned i = 0; i < runs_count; i++)
		pages += runs[i].pages;
	if (!pages)
		return 0;
	if (offset > TP_MAP_SIZE_MAX || pages * TP_PAGE_BYTES > TP_MAP_SIZE_MAX - offset)
		return -EFBIG;
	end = offset + pages * TP_PAGE_BYTES;
	first = offset / TP_PIECE_BYTES;
	r = change_begin(&c, m, p, (end - 1) / TP_PIECE_BYTES - first + 1);
	if (r < 0)
		return r;
	c.from = place_of(m, first);
	for (c.to = c.from; first * TP_PIECE_BYTES < end; first++) {
		struct tp_piece *old = c.to < count_of(m) ? pieces(m)[c.to] : NULL;
		struct tp_piece_plan plan;
		uint32_t from, to;

		if (old && tp_piece_index(old) != first)
			old = NULL;
		if (old)
			c.to++;
		clip(first, offset, end, &from, &to);
		tp_piece_plan_init(&plan, old, first);
		for (from /= TP_PAGE_BYTES, to /= TP_PAGE_BYTES; from < to;) {
			uint32_t n = run->pages - used < to - from ? run->pages - used : to - from;

			if (n)
				tp_piece_plan_adopt(&plan, from, run->page + used, n);
			from += n;
			used += n;
			if (used == run->pages) {
				run++;
				used = 0;
			}
		}
		r = change_add(&c, &plan);
		if (r < 0) {
			change_undo(&c);
			return r;
		}
	}
	return change_apply(&c);
}

/* Is there something in [offset, end) that is not zero, or a whole page or slot that could go? */
static bool is_worth_punching(const struct tp_map *m, const struct tp_pool *p, uint64_t offset, uint64_t end)
{
	while (offset < end) {
		uint64_t rest = TP_PAGE_BYTES - offset % TP_PAGE_BYTES;
		unsigned char *at;
		uint64_t n = chunk(m, p, offset, end - offset, &at);

		if (at && n > rest)
			n = rest;
		if (at && (n == TP_PAGE_BYTES || memcmp(at, tp_zero_page, n) != 0))
			return true;
		if (at && offset % TP_PAGE_BYTES == 0 &&
			tp_piece_slot_is(piece_of(m, offset / TP_PIECE_BYTES),
				offset % TP_PIECE_BYTES / TP_PAGE_BYTES))
			return true;
		offset += n;
	}
	return false;
}

/* Adds an edit of the piece at c->to that drops [offset, end) from it, if there is anything to drop. */
static int punch_edge(struct change *c, uint64_t offset, uint64_t end, bool *ret_edited)
{
	struct tp_piece *old = pieces(c->map)[c->to];
	struct tp_piece_plan plan;
	uint32_t from, to;
	int r;

	clip(tp_piece_index(old), offset, end, &from, &to);
	*ret_edited = is_worth_punching(c->map, c->pool, tp_piece_index(old) * TP_PIECE_BYTES + from,
		tp_piece_index(old) * TP_PIECE_BYTES + to);
	if (!*ret_edited)
		return 0;
	tp_piece_plan_init(&plan, old, tp_piece_index(old));
	tp_piece_plan_drop(&plan, from, to);
	r = change_add(c, &plan);
	if (r == 0)
		c->to++;
	return r;
}

int tp_map_punch(struct tp_map *m, struct tp_pool *p, uint64_t offset, uint64_t len)
{
	bool head = false, tail = false; /* was the piece at that end edited? */
	uint64_t end, first, last;
	struct change c;
	int r;

	if (!len || offset >= TP_MAP_SIZE_MAX)
		return 0;
	end = len < TP_MAP_SIZE_MAX - offset ? offset + len : TP_MAP_SIZE_MAX;
	first = offset / TP_PIECE_BYTES;
	last = (end - 1) / TP_PIECE_BYTES;
	(void)change_begin(&c, m, p, 2);
	c.from = c.to = place_of(m, first);
	/* The piece where it begins, when it goes on before that or after the end. */
	if (c.to < count_of(m) && tp_piece_index(pieces(m)[c.to]) == first &&
		(offset % TP_PIECE_BYTES || (first == last && end % TP_PIECE_BYTES))) {
		r = punch_edge(&c, offset, end, &head);
		if (r < 0)
			goto undo;
		if (!head)
			c.from = ++c.to;
	}
	while (c.to < count_of(m) && tp_piece_index(pieces(m)[c.to]) <= last &&
		(tp_piece_index(pieces(m)[c.to]) < last || end % TP_PIECE_BYTES == 0))
		c.to++;
	if (last > first && c.to < count_of(m) && tp_piece_index(pieces(m)[c.to]) == last) {
		r = punch_edge(&c, offset, end, &tail);
		if (r < 0)
			goto undo;
	}
	r = change_apply(&c);
	if (r < 0)
		return r;
	/* Only pages that are cut are left at the ends; all whole ones are gone. */
	if (head) {
		uint64_t stop = (first + 1) * TP_PIECE_BYTES;

		poke(m, p, offset, NULL, (end < stop ? end : stop) - offset);
	}
	if (tail)
		poke(m, p, last * TP_PIECE_BYTES, NULL, end - last * TP_PIECE_BYTES);
	return 0;

undo:
	change_undo(&c);
	return r;
}

int tp_map_truncate(struct tp_map *m, struct tp_pool *p, uint64_t size)
{
	return tp_map_punch(m, p, size, TP_MAP_SIZE_MAX);
}

void tp_map_fini(struct tp_map *m, struct tp_pool *p)
{
	for (uint32_t i = 0; i < count_of(m); i++)
		tp_piece_unref(pieces(m)[i], p);
	free(vector_of(m));
	tp_map_init(m);
}

int tp_map_clone(const struct tp_map *m, struct tp_map *ret)
{
	const struct vector *from = vector_of(m);
	struct vector *v;

	tp_map_init(ret);
	if (!from) {
		ret->one = m->one ? tp_piece_ref(m->one) : NULL;
		return 0;
	}
	v = vector_resize(NULL, from->count);
	if (!v)
		return -ENOMEM;
	for (uint32_t i = 0; i < from->count; i++)
		v->pieces[i] = tp_piece_ref(from->pieces[i]);
	v->count = from->count;
	v->pages = from->pages;
	ret->vector = (uintptr_t)v | 1;
	return 0;
}

/* Moves the beginning of the last page of a piece into a slot. */
static int page_to_slot(struct tp_map *m, struct tp_pool *p, uint32_t place, unsigned i, uint32_t bytes)
{
	struct tp_piece *old = pieces(m)[place];
	struct tp_piece_plan plan;
	struct change c;
	uint64_t slot;
	int r;

	r = tp_pool_get_slot(p, bytes, &slot);
	if (r < 0)
		return r;
	memcpy(tp_pool_slot_at(p, slot), tp_pool_at(p, tp_piece_page(old, i)), bytes);
	tp_piece_plan_init(&plan, old, tp_piece_index(old));
	plan.pages.page[i] = 0;
	plan.pages.slot = slot;
	plan.pages.slot_bytes = bytes;
	plan.pages.slot_page = i;
	(void)change_begin(&c, m, p, 1);
	c.from = place;
	c.to = place + 1;
	/* A failure gives the slot back: it is not old's. */
	r = change_add(&c, &plan);
	return r < 0 ? r : change_apply(&c);
}

void tp_map_settle(struct tp_map *m, struct tp_pool *p, uint64_t size)
{
	uint64_t index = size / TP_PIECE_BYTES;
	uint32_t place = place_of(m, index), bytes = size % TP_PAGE_BYTES;
	unsigned i = size % TP_PIECE_BYTES / TP_PAGE_BYTES;
	struct vector *v;
	struct tp_piece *pc;

	/* What was reserved beyond the end; not if a shared piece had to be copied for it. */
	pc = place < count_of(m) && tp_piece_index(pieces(m)[place]) == index ? pieces(m)[place] : NULL;
	if (pc && size % TP_PIECE_BYTES && !tp_piece_is_own(pc))
		(void)tp_map_truncate(m, p, (index + 1) * TP_PIECE_BYTES);
	else
		(void)tp_map_truncate(m, p, size);
	pc = piece_of(m, index);
	/* Only the last page of its piece may be a slot. */
	if (pc && tp_piece_is_own(pc) && bytes && bytes <= TP_SLOT_BYTES_MAX && tp_piece_page(pc, i) &&
		pc->first + pc->span == i + 1)
		(void)page_to_slot(m, p, place, i, bytes);
	v = vector_of(m);
	if (v && v->count < v->count_max)
		v = vector_resize(v, v->count);
	if (v)
		m->vector = (uintptr_t)v | 1;
}

/* Looking */

void tp_map_read(const struct tp_map *m, const struct tp_pool *p, uint64_t offset, size_t len,
	struct iovec *iov, unsigned iov_max, unsigned *ret_count, size_t *ret_len)
{
	unsigned count = 0;
	size_t done = 0;

	while (done < len) {
		unsigned char *at;
		size_t n = chunk(m, p, offset + done, len - done, &at);

		if (!at) {
			at = (unsigned char *)tp_zero_page;
			n = n < TP_PAGE_BYTES ? n : TP_PAGE_BYTES;
		}
		/* Pieces may lie next to each other. */
		if (count && at != tp_zero_page &&
			(unsigned char *)iov[count - 1].iov_base + iov[count - 1].iov_len == at) {
			iov[count - 1].iov_len += n;
		} else {
			if (count == iov_max)
				break;
			iov[count++] = (struct iovec){.iov_base = at, .iov_len = n};
		}
		done += n;
	}
	*ret_count = count;
	*ret_len = done;
}

void tp_map_hold(
	const struct tp_map *m, uint64_t offset, size_t len, struct tp_piece **ret_held, unsigned *ret_count)
{
	*ret_count = 0;
	if (len == 0)
		return;
	assert(len <= TP_PIECE_BYTES);
	for (uint64_t i = offset / TP_PIECE_BYTES; i <= (offset + len - 1) / TP_PIECE_BYTES; i++) {
		struct tp_piece *pc = piece_of(m, i);

		if (pc)
			ret_held[(*ret_count)++] = tp_piece_ref(pc);
	}
}

void tp_map_unhold(struct tp_pool *p, struct tp_piece **held, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		tp_piece_unref(held[i], p);
}

void tp_map_copy_out(const struct tp_map *m, const struct tp_pool *p, uint64_t offset, void *buf, size_t len)
{
	unsigned char *to = buf;

	while (len) {
		unsigned char *at;
		size_t n = chunk(m, p, offset, len, &at);

		if (at)
			memcpy(to, at, n);
		else
			memset(to, 0, n);
		to += n;
		offset += n;
		len -= n;
	}
}

/* What lies at offset, to the end of it or to the end of the piece. Needs no pool. */
static uint64_t hole_or_data(const struct tp_map *m, uint64_t offset, uint64_t max, bool *ret_hole)
{
	uint64_t index = offset / TP_PIECE_BYTES, len;
	uint32_t place = place_of(m, index);
	const struct tp_piece *pc = place < count_of(m) ? pieces(m)[place] : NULL;
	unsigned i = offset % TP_PIECE_BYTES / TP_PAGE_BYTES, j = i + 1;

	*ret_hole = true;
	if (!pc || tp_piece_index(pc) != index) {
		len = pc ? tp_piece_index(pc) * TP_PIECE_BYTES - offset : max;
		return len < max ? len : max;
	}
	*ret_hole = !tp_piece_page(pc, i) && !tp_piece_slot_is(pc, i);
	while (j < TP_PIECE_PAGES && (!tp_piece_page(pc, j) && !tp_piece_slot_is(pc, j)) == *ret_hole)
		j++;
	len = (uint64_t)j * TP_PAGE_BYTES - offset % TP_PIECE_BYTES;
	return len < max ? len : max;
}

int64_t tp_map_seek(const struct tp_map *m, uint64_t offset, uint64_t size, bool hole)
{
	if (offset >= size)
		return -ENXIO;
	while (offset < size) {
		bool is_hole;
		uint64_t n = hole_or_data(m, offset, size - offset, &is_hole);

		if (is_hole == hole)
			return (int64_t)offset;
		offset += n;
	}
	return hole ? (int64_t)size : -ENXIO;
}

static bool is_zero(const unsigned char *at, uint64_t len)
{
	while (len) {
		uint64_t n = len < TP_PAGE_BYTES ? len : TP_PAGE_BYTES;

		if (memcmp(at, tp_zero_page, n) != 0)
			return false;
		at += n;
		len -= n;
	}
	return true;
}

bool tp_map_equal(const struct tp_map *a, const struct tp_map *b, const struct tp_pool *p, uint64_t size)
{
	for (uint64_t offset = 0; offset < size;) {
		unsigned char *at_a, *at_b;
		uint64_t n = chunk(a, p, offset, size - offset, &at_a);

		n = chunk(b, p, offset, n, &at_b);
		/* Bytes that they share need not be looked at. */
		if (at_a && at_b) {
			if (at_a != at_b && memcmp(at_a, at_b, n) != 0)
				return false;
		} else if ((at_a && !is_zero(at_a, n)) || (at_b && !is_zero(at_b, n))) {
			return false;
		}
		offset += n;
	}
	return true;
}

/* What a page has beyond the piece's slot, when there is one. */
static uint64_t slot_spares(const struct tp_piece *pc)
{
	return pc->slot_bytes ? TP_PAGE_BYTES - tp_pool_slot_size(pc->slot_bytes) : 0;
}

uint64_t tp_map_hole_bytes(const struct tp_map *m, const struct tp_pool *p, uint64_t offset, uint64_t len)
{
	uint64_t to = offset + len, end = (to + TP_PAGE_BYTES - 1) / TP_PAGE_BYTES * TP_PAGE_BYTES;
	uint64_t bytes = 0, here;
	unsigned char *data;

	for (uint64_t at = offset / TP_PAGE_BYTES * TP_PAGE_BYTES; at < end; at += here) {
		here = chunk(m, p, at, end - at, &data);
		/* What is behind a slot counts only when it is written. */
		if (!data && at < to && at + here > offset)
			bytes += here;
	}
	return bytes;
}

uint64_t tp_map_bytes(const struct tp_map *m)
{
	uint32_t count = count_of(m);

	return count ? tp_map_pages(m) * TP_PAGE_BYTES - slot_spares(pieces(m)[count - 1]) : 0;
}

uint64_t tp_map_own_bytes(const struct tp_map *m)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < count_of(m); i++) {
		struct tp_piece *pc = pieces(m)[i];

		if (!tp_piece_is_own(pc))
			continue;
		bytes += (uint64_t)tp_piece_count(pc) * TP_PAGE_BYTES - slot_spares(pc);
	}
	return bytes;
}
