/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/staging.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fs/session.h"

#define WRITE_PAGES (TP_WRITE_BYTES_MAX / TP_PAGE_BYTES)
/* Fewer than this in one go only crumble the pool. */
#define TAKE_PAGES_MIN 16

static_assert(TP_STAGING_RUNS_MAX == TP_PAYLOAD_RUNS_MAX, "a payload is a staging's front");

int tp_staging_init(struct tp_staging *st, struct tp_pool *pool, unsigned share)
{
	uint64_t pages_max = pool ? tp_pool_size_pages(pool) / share : 0;

	memset(st, 0, sizeof(*st));
	st->pool = pool;
	st->pages_low = pages_max < WRITE_PAGES ? (unsigned)pages_max : WRITE_PAGES;
	st->pages_high = st->pages_low + st->pages_low / 4;
	st->heap = malloc(TP_WRITE_BYTES_MAX);
	return st->heap ? 0 : -ENOMEM;
}

void tp_staging_fini(struct tp_staging *st)
{
	tp_staging_drop(st);
	free(st->heap);
	st->heap = NULL;
}

void tp_staging_drop(struct tp_staging *st)
{
	for (unsigned i = 0; i < st->runs_count; i++)
		tp_pool_put(st->pool, st->runs[i].page, st->runs[i].pages);
	st->runs_count = 0;
	st->pages = 0;
}

/* Takes count pages in the places that are left; puts the first run together with the last one that was there when they touch. */
static int take_more(struct tp_staging *st, unsigned count)
{
	struct tp_run *fresh = &st->runs[st->runs_count];
	unsigned got;
	int r;

	r = tp_pool_get(st->pool, count, fresh, TP_STAGING_RUNS_MAX - st->runs_count, &got);
	if (r < 0)
		return r;
	st->pages += count;
	if (st->runs_count > 0 && fresh[-1].page + fresh[-1].pages == fresh->page &&
		tp_pool_at(st->pool, fresh->page) == (char *)tp_pool_at(st->pool, fresh[-1].page) +
							     (size_t)fresh[-1].pages * TP_PAGE_BYTES) {
		fresh[-1].pages += fresh->pages;
		got--;
		memmove(fresh, fresh + 1, got * sizeof(*fresh));
	}
	st->runs_count += got;
	return 0;
}

void tp_staging_fill(struct tp_staging *st)
{
	unsigned count;

	if (st->pages >= st->pages_low)
		return;
	/* Few places are left for many pages: what is here is crumbs, and the pool may have something better by now. */
	if (st->runs_count > TP_STAGING_RUNS_MAX - 4)
		tp_staging_drop(st);
	count = st->pages_high - st->pages;
	while (count >= TAKE_PAGES_MIN && st->pages < st->pages_low && st->runs_count < TP_STAGING_RUNS_MAX) {
		if (tp_pool_free_pages(st->pool) < count || take_more(st, count) < 0)
			count /= 2;
		else if (count > st->pages_high - st->pages)
			count = st->pages_high - st->pages;
	}
}

unsigned tp_staging_iov(const struct tp_staging *st, struct iovec *iov)
{
	size_t len = (size_t)st->pages * TP_PAGE_BYTES;
	unsigned n;

	for (n = 0; n < st->runs_count; n++) {
		iov[n].iov_base = tp_pool_at(st->pool, st->runs[n].page);
		iov[n].iov_len = (size_t)st->runs[n].pages * TP_PAGE_BYTES;
	}
	if (len < TP_WRITE_BYTES_MAX) {
		iov[n].iov_base = st->heap;
		iov[n++].iov_len = TP_WRITE_BYTES_MAX - len;
	}
	return n;
}

unsigned tp_staging_peek(const struct tp_staging *st, unsigned pages, struct tp_run *ret_runs)
{
	unsigned n;

	for (n = 0; n < st->runs_count && pages > 0; n++) {
		ret_runs[n] = st->runs[n];
		if (ret_runs[n].pages > pages)
			ret_runs[n].pages = pages;
		pages -= ret_runs[n].pages;
	}
	return n;
}

unsigned tp_staging_take(struct tp_staging *st, unsigned pages, struct tp_run *ret_runs)
{
	unsigned n = tp_staging_peek(st, pages, ret_runs);
	unsigned whole = 0;

	assert(pages <= st->pages);
	for (unsigned i = 0; i < n; i++) {
		st->runs[i].page += ret_runs[i].pages;
		st->runs[i].pages -= ret_runs[i].pages;
		if (st->runs[i].pages == 0)
			whole++;
	}
	st->pages -= pages;
	st->runs_count -= whole;
	memmove(st->runs, st->runs + whole, st->runs_count * sizeof(st->runs[0]));
	return n;
}
