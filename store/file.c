/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open regular files. Content is under the generation's map lock; tree.lock is taken only where a count in the tree changes: when another thread than before
 * writes, and to count bytes for the directories above.
 *
 * Reading gives pointers into the pool, without a copy and without a lock while the answer is written: the pieces are held by their reference counts, and a write to a held
 * piece makes a new one.
 *
 * A write of whole pages that lie in the reader's staging becomes part of the file as they are. Anything else is copied.
 */
#include "store/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/cleanup.h"

/* Fewer pages than this are copied: taking them costs the reader more than the copy. */
#define TAKE_PAGES_MIN 4u
/* A RELEASE that comes later than this after its FLUSH was held up by a mapping. */
#define MAPPING_NS (10 * TP_NS_PER_MS)

static uint64_t now(struct tp_tree *t)
{
	return tp_wall_ns(t->store->clock);
}

/* The writer that is not the one that wrote last: who is it? */
static int note_writer(struct tp_tree *t, struct tp_who *who, struct tp_gen *g, const struct tp_write *w)
{
	struct tp_draft *d = g->draft;
	bool suid = w->kill_suid && (g->object->mode & (S_ISUID | S_ISGID));

	/* Pages that a mapping wrote come from nobody in particular. */
	if (w->from_cache)
		atomic_store_explicit(&d->mapped, true, memory_order_relaxed);
	if (!suid && (w->from_cache || (who->tid && who->tid == atomic_load_explicit(
									&d->last_tid, memory_order_relaxed))))
		return 0;
	(void)tp_who_tgid(who);
	TP_WRLOCK(&t->lock);
	if (suid)
		tp_object_kill_suid(g->object);
	return w->from_cache ? 0 : tp_draft_add_writer(d, who->tid, who->tgid);
}

static int write_copied(struct tp_tree *t, struct tp_gen *g, uint64_t offset, const struct iovec *iov,
	unsigned count, size_t skip, size_t len)
{
	int r;

	/* One buffer is all or nothing by itself; several need their room first. */
	if (count > 1) {
		r = tp_map_reserve(&g->map, t->store->pool, offset, len);
		if (r < 0)
			return r;
	}
	for (unsigned i = 0; i < count && len > 0; i++) {
		size_t here = iov[i].iov_len;

		if (skip >= here) {
			skip -= here;
			continue;
		}
		here -= skip;
		if (here > len)
			here = len;
		r = tp_map_write(&g->map, t->store->pool, offset, (const char *)iov[i].iov_base + skip, here);
		if (r < 0)
			return r;
		offset += here;
		len -= here;
		skip = 0;
	}
	return 0;
}

/* Takes whole pages from the front as they are, *ret_len bytes. */
static int write_taken(struct tp_tree *t, struct tp_gen *g, const struct tp_write *w, size_t *ret_len)
{
	struct tp_run runs[64];
	unsigned pages = (unsigned)(w->len / TP_PAGE_BYTES), count = 0;
	int r;

	*ret_len = 0;
	if (!w->take || w->offset % TP_PAGE_BYTES)
		return 0;
	if (pages > w->take_pages_max)
		pages = w->take_pages_max;
	if (pages < TAKE_PAGES_MIN)
		return 0;
	/* What is not taken is written first, so that a failure leaves the pages where they are. */
	r = write_copied(t, g, w->offset + (uint64_t)pages * TP_PAGE_BYTES, w->iov, w->iov_count,
		(size_t)pages * TP_PAGE_BYTES, w->len - (size_t)pages * TP_PAGE_BYTES);
	if (r < 0)
		return r;
	w->take(w->user, pages, runs, &count);
	r = tp_map_adopt(&g->map, t->store->pool, w->offset, runs, count);
	if (r < 0) {
		for (unsigned i = 0; i < count; i++)
			tp_pool_put(t->store->pool, runs[i].page, runs[i].pages);
		return r;
	}
	tp_stats_add(&t->store->stats, TP_STAT_ADOPTED_BYTES, (uint64_t)pages * TP_PAGE_BYTES);
	*ret_len = w->len;
	return 0;
}

static int write_locked(struct tp_tree *t, struct tp_gen *g, const struct tp_write *w, int64_t *ret_delta)
{
	uint64_t before = tp_map_bytes(&g->map);
	size_t done;
	int r;

	r = write_taken(t, g, w, &done);
	if (r == 0 && done == 0)
		r = write_copied(t, g, w->offset, w->iov, w->iov_count, 0, w->len);
	*ret_delta = (int64_t)(tp_map_bytes(&g->map) - before);
	if (r < 0)
		return r;
	if (w->offset + w->len > g->size)
		g->size = w->offset + w->len;
	/* What a mapping wrote before utimens was called may be written back after it. */
	if (!w->from_cache || !g->mtime_set) {
		g->mtime_ns = now(t);
		g->mtime_set = false;
		atomic_store_explicit(&g->object->ctime_ns, g->mtime_ns, memory_order_relaxed);
	}
	tp_missing_cover(&g->draft->missing, w->offset, w->offset + w->len);
	return 0;
}

/* The directory whose quota does not allow what [offset, offset + len) takes beyond what is there; NULL: none. t->lock held. */
static struct tp_object *over_quota(struct tp_tree *t, struct tp_gen *g, uint64_t offset, uint64_t len)
{
	uint64_t more_bytes;

	if (atomic_load_explicit(&t->quotas, memory_order_relaxed) == 0)
		return NULL;
	{
		TP_RDLOCK(tp_tree_map_lock(t, g));
		more_bytes = tp_map_hole_bytes(&g->map, t->store->pool, offset, len);
	}
	return more_bytes ? tp_tree_over_quota(t, g->object, more_bytes) : NULL;
}

static int write_checked(struct tp_tree *t, struct tp_who *who, struct tp_gen *g, const struct tp_write *w)
{
	int64_t delta = 0;
	int r;

	if (w->offset > (uint64_t)TP_MAP_SIZE_MAX || w->len > (uint64_t)TP_MAP_SIZE_MAX - w->offset)
		return -EFBIG;
	/* A mapping outlives the descriptor. */
	if (!w->from_cache)
		tp_draft_set_closing(t, g->draft, false);
	r = note_writer(t, who, g, w);
	if (r < 0)
		return r;
	if (atomic_load_explicit(&t->quotas, memory_order_relaxed)) {
		TP_RDLOCK(&t->lock);
		if (over_quota(t, g, w->offset, w->len))
			return -EDQUOT;
	}
	{
		TP_WRLOCK(tp_tree_map_lock(t, g));
		r = write_locked(t, g, w, &delta);
	}
	if (delta) {
		TP_RDLOCK(&t->lock);
		tp_tree_charge(t, g->object, delta);
	}
	return r;
}

int tp_file_write(struct tp_tree *t, struct tp_who *who, struct tp_gen *g, const struct tp_write *w)
{
	int r = write_checked(t, who, g, w);

	if (r == 0) {
		if (w->sync)
			tp_file_sync(t, g);
		tp_stats_add(&t->store->stats, TP_STAT_WRITTEN_BYTES, w->len);
		tp_evictor_kick(t->store->evictor);
		return 0;
	}
	/* Beyond the largest offset there never was anything to be missed. */
	if (r != -EFBIG && ((r != -ENOSPC && r != -EDQUOT) || w->last_try)) {
		TP_WRLOCK(tp_tree_map_lock(t, g));
		tp_missing_add(&g->draft->missing, w->offset, w->offset + w->len, r);
	}
	if (w->last_try && (r == -ENOSPC || r == -EDQUOT))
		tp_stats_add(&t->store->stats, TP_STAT_NOSPACE, 1);
	return r;
}

void tp_file_interrupted(struct tp_tree *t, struct tp_gen *g, uint64_t offset, size_t len, int error)
{
	TP_WRLOCK(tp_tree_map_lock(t, g));
	tp_missing_add(&g->draft->missing, offset, offset + len, error);
}

static size_t clip(const struct tp_gen *g, uint64_t offset, size_t len)
{
	if (offset >= g->size)
		return 0;
	return len > g->size - offset ? (size_t)(g->size - offset) : len;
}

static void read_locked(struct tp_tree *t, struct tp_gen *g, uint64_t offset, size_t len, struct tp_read *ret)
{
	len = clip(g, offset, len);
	tp_map_read(&g->map, t->store->pool, offset, len, ret->iov + 1, TP_READ_IOV_MAX - 1, &ret->count,
		&ret->len);
	tp_map_hold(&g->map, offset, ret->len, ret->held, &ret->held_count);
	tp_stats_add(&t->store->stats, TP_STAT_READ_BYTES, ret->len);
}

void tp_file_read(struct tp_tree *t, struct tp_gen *g, uint64_t offset, size_t len, struct tp_read *ret)
{
	TP_RDLOCK(tp_tree_map_lock(t, g));

	read_locked(t, g, offset, len, ret);
}

bool tp_file_read_small(struct tp_tree *t, struct tp_gen *g, size_t max, struct tp_read *ret)
{
	{
		TP_RDLOCK(&t->lock);
		if (g->state != TP_GEN_PUBLISHED || g->opens != 1)
			return false;
	}
	TP_RDLOCK(tp_tree_map_lock(t, g));
	if (g->size == 0 || g->size > max)
		return false;
	read_locked(t, g, 0, g->size, ret);
	return true;
}

void tp_file_cache_is_new(struct tp_tree *t, struct tp_gen *g)
{
	TP_WRLOCK(&t->lock);

	/* Somebody who writes past it may have had g open before. */
	if (g->direct_opens == 0)
		g->drop_cache = false;
}

void tp_file_read_done(struct tp_tree *t, struct tp_read *r)
{
	tp_map_unhold(t->store->pool, r->held, r->held_count);
}

size_t tp_file_copy(struct tp_tree *t, struct tp_gen *g, uint64_t offset, void *buf, size_t len)
{
	TP_RDLOCK(tp_tree_map_lock(t, g));
	len = clip(g, offset, len);
	tp_map_copy_out(&g->map, t->store->pool, offset, buf, len);
	return len;
}

static int allocate_locked(struct tp_tree *t, struct tp_gen *g, int mode, uint64_t offset, uint64_t len)
{
	struct tp_pool *p = t->store->pool;
	int r;

	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) {
		r = tp_map_punch(&g->map, p, offset, len);
		if (r < 0 || (mode & FALLOC_FL_PUNCH_HOLE))
			return r;
	}
	r = tp_map_reserve(&g->map, p, offset, len);
	if (r < 0)
		return r;
	if (!(mode & FALLOC_FL_KEEP_SIZE) && offset + len > g->size)
		g->size = offset + len;
	return 0;
}

bool tp_file_can_fit(struct tp_tree *t, uint64_t offset, uint64_t len)
{
	uint64_t first = offset / TP_PAGE_BYTES, end = (offset + len - 1) / TP_PAGE_BYTES + 1;

	return end - first <= tp_pool_size_pages(t->store->pool);
}

int tp_file_allocate(
	struct tp_tree *t, struct tp_who *who, struct tp_gen *g, int mode, uint64_t offset, uint64_t len)
{
	struct tp_write as_write = {.offset = offset, .len = 0, .kill_suid = who->uid != 0};
	int64_t delta;
	int r;

	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		return -EOPNOTSUPP;
	if (len == 0 || offset > (uint64_t)TP_MAP_SIZE_MAX || len > (uint64_t)TP_MAP_SIZE_MAX - offset)
		return len == 0 ? -EINVAL : -EFBIG;
	if (!(mode & FALLOC_FL_PUNCH_HOLE) && !tp_file_can_fit(t, offset, len))
		return -ENOSPC;
	r = note_writer(t, who, g, &as_write);
	if (r < 0)
		return r;
	{
		TP_RDLOCK(&t->lock);
		if (!(mode & FALLOC_FL_PUNCH_HOLE) && over_quota(t, g, offset, len))
			return -EDQUOT;
	}
	{
		TP_WRLOCK(tp_tree_map_lock(t, g));
		delta = -(int64_t)tp_map_bytes(&g->map);
		r = allocate_locked(t, g, mode, offset, len);
		delta += (int64_t)tp_map_bytes(&g->map);
		if (r == 0) {
			g->mtime_ns = now(t);
			atomic_store_explicit(&g->object->ctime_ns, g->mtime_ns, memory_order_relaxed);
		}
	}
	{
		TP_RDLOCK(&t->lock);
		tp_tree_charge(t, g->object, delta);
	}
	return r;
}

int64_t tp_file_seek(struct tp_tree *t, struct tp_gen *g, uint64_t offset, int whence)
{
	TP_RDLOCK(tp_tree_map_lock(t, g));
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	return tp_map_seek(&g->map, offset, g->size, whence == SEEK_HOLE);
}

int tp_file_resize(struct tp_tree *t, struct tp_gen *g, uint64_t size)
{
	int64_t delta = 0;
	int r = 0;

	if (size > (uint64_t)TP_MAP_SIZE_MAX)
		return -EFBIG;
	{
		TP_WRLOCK(tp_tree_map_lock(t, g));
		delta = -(int64_t)tp_map_bytes(&g->map);
		if (size < g->size)
			r = tp_map_truncate(&g->map, t->store->pool, size);
		if (r < 0)
			return r;
		delta += (int64_t)tp_map_bytes(&g->map);
		g->size = size;
		g->mtime_ns = now(t);
		atomic_store_explicit(&g->object->ctime_ns, g->mtime_ns, memory_order_relaxed);
		if (g->draft)
			tp_missing_cover(&g->draft->missing, size, UINT64_MAX);
		else if (g->object->extra)
			tp_missing_cover(&g->object->extra->missing, size, UINT64_MAX);
	}
	tp_tree_charge(t, g->object, delta);
	return 0;
}

void tp_file_kill_suid(struct tp_tree *t, struct tp_gen *g)
{
	TP_WRLOCK(&t->lock);
	tp_object_kill_suid(g->object);
}

void tp_file_sync(struct tp_tree *t, struct tp_gen *g)
{
	TP_RDLOCK(&t->lock);
	if (g->draft)
		g->draft->synced = true;
}

/* The error of a write that was not made good, for who may have written it; or 0. */
static int what_failed(struct tp_tree *t, const struct tp_opened *o)
{
	struct tp_gen *g = o->gen;

	if (!o->write)
		return 0;
	/* Another handle may be written to just now. */
	TP_RDLOCK(tp_tree_map_lock(t, g));
	return tp_missing_any(&g->draft->missing) ? g->draft->missing.error : 0;
}

int tp_file_flush(struct tp_tree *t, struct tp_who *who, struct tp_opened *o)
{
	struct tp_gen *g = o->gen;
	enum tp_end end;

	{
		TP_RDLOCK(&t->lock);
		if (!g->draft)
			return 0;
		tp_draft_set_closing(t, g->draft, true);
		if (g->state != TP_GEN_DRAFT && !g->object->sample)
			return what_failed(t, o);
	}
	end = tp_process_end_of(who->tid);
	if (end != TP_END_RUNS || o->mappable)
		(void)tp_who_tgid(who);
	TP_WRLOCK(&t->lock);
	/* A reader's draft may have been settled meanwhile. */
	if (!g->draft)
		return 0;
	o->flushed_by = who->tgid;
	o->flushed_ns = tp_mono_ns(t->store->clock);
	if (end != TP_END_RUNS && who->tgid)
		tp_draft_note_end(g->draft, who->tgid, end);
	else if (end == TP_END_UNKNOWN)
		g->draft->unseen_writer = true;
	if (g->draft->beaten)
		return -EEXIST;
	return what_failed(t, o);
}

bool tp_file_has_links(struct tp_tree *t, const struct tp_opened *o)
{
	const struct tp_name *n;
	TP_RDLOCK(&t->lock);

	n = o->write && o->gen->state == TP_GEN_DRAFT ? o->gen->object->names : NULL;
	return n && n->next_of_object;
}

/*
 * A mapping outlives the descriptor's FLUSH: its process may be killed after that. It is taken for one when pages came from a mapping, or when
 * the RELEASE was read long after the FLUSH; the process that flushed last is then on its way out, or gone, when it ends badly. A mapping that was only read, by a
 * process that is killed within that time after it closed the descriptor, is not recognised: what it had written was whole when it closed.
 */
static void look_at_last_flusher(
	struct tp_tree *t, const struct tp_opened *o, struct tp_draft *d, uint64_t read_ns)
{
	struct tp_process p = {.tgid = 0};
	enum tp_end end;

	if (!o->mappable || o->flushed_by == 0)
		return;
	if (!atomic_load_explicit(&d->mapped, memory_order_relaxed) && read_ns - o->flushed_ns < MAPPING_NS)
		return;
	{
		TP_RDLOCK(&t->lock);
		if (o->gen->state != TP_GEN_DRAFT)
			return;
		for (uint32_t i = 0; i < d->writers_count; i++)
			if (d->writers[i].process.tgid == o->flushed_by)
				p = d->writers[i].process;
	}
	/* The handle that is being released keeps the draft and its pidfds. */
	end = p.tgid ? tp_process_end(&p) : TP_END_RUNS;
	if (end == TP_END_RUNS)
		return;
	TP_WRLOCK(&t->lock);
	tp_draft_note_end(d, p.tgid, end);
}

/* May the draft g hold the same bytes as what is there? Then both are kept from going while they are compared, and true is returned. */
static bool begin_compare(struct tp_tree *t, struct tp_gen *g)
{
	struct tp_gen *current = g->object->gen;

	/* A sample that is written again is a new one. */
	if (!current || g->object->sample || current->state != TP_GEN_PUBLISHED || current->size != g->size ||
		g->draft->unlinked || g->draft->beaten || !g->draft->opened_for_write)
		return false;
	tp_gen_hold(t, g);
	tp_gen_hold(t, current);
	return true;
}

/* A joiner may write to g while it is compared, and both may have the same lock. */
static bool compare(struct tp_tree *t, struct tp_gen *g, struct tp_gen *current)
{
	pthread_rwlock_t *first = tp_tree_map_lock(t, g), *second = tp_tree_map_lock(t, current);
	bool equal;

	if (first > second) {
		pthread_rwlock_t *other = first;

		first = second;
		second = other;
	}
	(void)pthread_rwlock_rdlock(first);
	if (second != first)
		(void)pthread_rwlock_rdlock(second);
	equal = g->size == current->size && tp_map_equal(&g->map, &current->map, t->store->pool, g->size);
	if (second != first)
		(void)pthread_rwlock_unlock(second);
	(void)pthread_rwlock_unlock(first);
	return equal;
}

/* True when it was published. */
static bool settle_draft(struct tp_tree *t, struct tp_gen *g)
{
	struct tp_gen *current = g->object->gen;
	uint32_t opened = g->draft->opened;
	bool equal = false;

	if (begin_compare(t, g)) {
		/* Large objects take a while: nobody else has to wait for it. */
		(void)pthread_rwlock_unlock(&t->lock);
		equal = compare(t, g, current);
		(void)pthread_rwlock_wrlock(&t->lock);
		equal = equal && g->object->gen == current && current->state == TP_GEN_PUBLISHED;
		tp_gen_let_go(t, current);
		/* Somebody joined meanwhile, and has perhaps written and gone again, or is on its way: who comes last settles it. */
		if (g->state != TP_GEN_DRAFT || g->draft->opened != opened ||
			tp_gen_is_awaited(t, g->draft)) {
			tp_gen_let_go(t, g);
			return false;
		}
		g->busy--;
	}
	return tp_gen_finish(t, g, equal);
}

void tp_file_tick(struct tp_tree *t)
{
	TP_TREE_WRLOCK(t);
	for (;;) {
		struct tp_draft *due = NULL;

		tp_list_each (l, &t->awaiting) {
			struct tp_draft *d = tp_container(l, struct tp_draft, awaiting);

			if (d->awaited_until_ns <= tp_mono_ns(t->store->clock)) {
				due = d;
				break;
			}
		}
		if (!due)
			return;
		tp_list_remove(&due->awaiting);
		if (due->gen->opens == 0 && due->gen->state == TP_GEN_DRAFT)
			(void)settle_draft(t, due->gen);
		else
			tp_tree_settle_gen(t, due->gen);
	}
}

void tp_file_release(struct tp_tree *t, const struct tp_opened *o, uint64_t read_ns)
{
	struct tp_gen *g = o->gen;
	struct tp_draft *d;
	bool published = false;

	/* A handle for writing keeps the draft; for others it may go until the lock is held. */
	if (o->write)
		look_at_last_flusher(t, o, g->draft, read_ns);
	TP_TREE_WRLOCK(t);
	d = g->draft;
	g->opens--;
	g->direct_opens -= o->direct;
	if (o->write) {
		d->write_opens--;
		tp_draft_viewer_closed(d, o->tgid);
	}
	switch ((enum tp_gen_state)g->state) {
	case TP_GEN_DRAFT:
		if (g->opens == 0 && !tp_gen_is_awaited(t, d))
			published = settle_draft(t, g);
		break;
	case TP_GEN_LIVE:
		/* Without a writer from the start when it was made by O_CREAT with O_RDONLY. */
		if (d->write_opens == 0 && (o->write || g->opens == 0))
			published = tp_gen_close_live(t, g);
		break;
	default:
		tp_gen_settle_closed(t, g);
	}
	if (published)
		tp_stats_time(
			&t->store->stats.histogram[TP_HIST_COMMIT], tp_mono_ns(t->store->clock) - read_ns);
}

uint64_t tp_file_quota_node(struct tp_tree *t, struct tp_gen *g, uint64_t offset, uint64_t len)
{
	struct tp_object *d;
	TP_RDLOCK(&t->lock);

	d = over_quota(t, g, offset, len);
	return d ? d->node.id : 0;
}
