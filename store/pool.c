/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages are bits of a bitmap per arena, set where the page is free. The lowest run that is long enough is taken, so that
 * memory that was used before, which the kernel has given already and the processor may still have in its cache, comes
 * before memory that was never touched. For each power of two the arena remembers below where no run of that length
 * begins: the search starts there, and what is short and low is looked at once. It also remembers the shortest run that it
 * was found not to have, until something is given back that makes one. A summary of the bitmap lets a search for a single
 * page pass over what is full.
 *
 * Slots are cut from slabs of four pages (one, when no four in a row are free), in units of 64 bytes. There are no size
 * classes: a slab has a bit per unit, and takes slots of all sizes side by side. Slabs that have room stand in a list
 * by the longest run of free units that they have, and a slot comes from the slab where it fits best. What is known of a
 * slab lies in an array with an entry for each page of the arena, which is mapped and not touched where there are no
 * slabs. A slab that is all free goes back to the pages at once.
 *
 * One lock for all: it is held for a microsecond, and a piece of a megabyte is taken with one call. A lock for each
 * arena would be no gain, as there is mostly one arena.
 */
#include "store/pool.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "store/arena.h"
#include "store/bits.h"
#include "store/cleanup.h"

#define UNITS_PER_PAGE (TP_PAGE_BYTES / TP_SLOT_UNIT_BYTES)
#define UNITS_MAX (TP_SLOT_BYTES_MAX / TP_SLOT_UNIT_BYTES)
#define SLAB_PAGES 4u
#define PAGE_MAX (UINT32_MAX - 16) /* whoever stores page numbers may use those above for marks */
#define ORDERS 11u		   /* up to 4 MiB */
#define PREFAULT_STEP_BYTES (UINT64_C(2) << 20)

_Static_assert(UNITS_PER_PAGE == 64, "a page's units fill a word");
_Static_assert(UNITS_MAX < 64, "lists of slabs fit a word");

const unsigned char tp_zero_page[TP_PAGE_BYTES] __attribute__((aligned(TP_PAGE_BYTES)));

/* Of each page, in use for pages of slabs; next, prev, pages and list for the first page of a slab. */
struct slab_page {
	uint64_t units;	     /* free ones */
	uint32_t next, prev; /* pages that begin the neighbours in the list; 0: none */
	uint8_t pages;	     /* of this slab */
	uint8_t list;	     /* longest run of free units, UNITS_MAX at most; 0: full and in no list */
	uint8_t back;	     /* pages to the first page of the slab */
};

struct arena {
	struct tp_arena memory;
	uint32_t first;	     /* number of its first page */
	uint32_t pages;	     /* how many it has */
	struct tp_bits room; /* free pages; this and all below under the pool's lock */
	struct tp_bits cut;  /* pages of slabs */
	struct slab_page *slabs;
	uint32_t free;		 /* pages */
	uint32_t lacks;		 /* no run of so many free pages is here, nor a longer one */
	uint32_t lowest[ORDERS]; /* [i]: no run of 1 << i free pages begins before this page */
};

struct tp_pool {
	pthread_mutex_t lock;
	uint64_t slot_units;		   /* handed out; under lock */
	uint64_t slab_pages;		   /* under lock */
	uint64_t lists;			   /* bit i: slab_list[i] is not empty; under lock */
	uint32_t slab_list[UNITS_MAX + 1]; /* first pages of slabs; 0: empty; under lock */

	_Atomic uint64_t free_pages;
	_Atomic uint64_t double_frees;
	uint64_t size_pages;

	pthread_t prefaulter;
	bool prefaulting; /* prefaulter must be joined */
	_Atomic bool stop;
	_Atomic uint64_t prefaulted_bytes;

	unsigned arenas;
	struct arena arena[];
};

static struct arena *arena_of(const struct tp_pool *p, uint32_t page)
{
	for (unsigned i = 0; i < p->arenas; i++) {
		const struct arena *a = &p->arena[i];

		if (page - a->first < a->pages)
			return (struct arena *)a;
	}
	assert(!"no page of this pool");
	return NULL;
}

void *tp_pool_at(const struct tp_pool *p, uint32_t page)
{
	const struct arena *a = arena_of(p, page);

	return a->memory.base + (uint64_t)(page - a->first) * TP_PAGE_BYTES;
}

void *tp_pool_slot_at(const struct tp_pool *p, uint64_t slot)
{
	return (unsigned char *)tp_pool_at(p, (uint32_t)(slot / UNITS_PER_PAGE)) +
	       slot % UNITS_PER_PAGE * TP_SLOT_UNIT_BYTES;
}

/* Pages, counted within an arena */

/* The lowest run of n free pages, taken; or TP_BITS_NONE. */
static uint32_t arena_take(struct arena *a, uint32_t n)
{
	uint32_t order = 31 - (uint32_t)__builtin_clz(n), at, end;

	if (n > a->free || n >= a->lacks)
		return TP_BITS_NONE;
	if (order >= ORDERS)
		order = ORDERS - 1;
	at = tp_bits_find(&a->room, a->lowest[order], a->pages, n);
	end = at == TP_BITS_NONE ? a->pages : at + n;
	/* No run of n or more is before the end of this one. */
	for (uint32_t i = ORDERS; i-- && 1u << i >= n;)
		if (a->lowest[i] < end)
			a->lowest[i] = end;
	if (at == TP_BITS_NONE) {
		a->lacks = n;
		return TP_BITS_NONE;
	}
	tp_bits_clear(&a->room, at, n);
	a->free -= n;
	return at;
}

/* Gives n pages back that were taken. */
static void arena_give(struct arena *a, uint32_t at, uint32_t n)
{
	uint32_t far = 1u << (ORDERS - 1), before, run;

	if (a->lacks != UINT32_MAX && a->lacks > far)
		far = a->lacks;
	a->free += tp_bits_set(&a->room, at, n);
	before = tp_bits_run_before(&a->room, at, far);
	run = before + tp_bits_run_after(&a->room, at, far);
	if (run >= a->lacks)
		a->lacks = UINT32_MAX;
	for (uint32_t i = 0; i < ORDERS && 1u << i <= run; i++)
		if (a->lowest[i] > at - before)
			a->lowest[i] = at - before;
}

/*
 * Takes n pages in as few runs as halving the wish can find, and adds them to runs. False when they need more than
 * runs_max runs; what was taken so far stays in runs. n <= free pages of a.
 */
static bool arena_take_scattered(
	struct arena *a, uint32_t n, struct tp_run *runs, unsigned runs_max, unsigned *count)
{
	uint32_t wish = n;

	while (n) {
		uint32_t at, more;

		if (*count == runs_max)
			return false;
		if (wish > n)
			wish = n;
		at = arena_take(a, wish);
		if (at == TP_BITS_NONE) {
			assert(wish > 1);
			wish -= wish / 2;
			continue;
		}
		more = tp_bits_run_after(&a->room, at + wish, n - wish);
		tp_bits_clear(&a->room, at + wish, more);
		a->free -= more;
		runs[(*count)++] = (struct tp_run){.page = a->first + at, .pages = wish + more};
		n -= wish + more;
	}
	return true;
}

static void give_runs(struct tp_pool *p, const struct tp_run *runs, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct arena *a = arena_of(p, runs[i].page);

		arena_give(a, runs[i].page - a->first, runs[i].pages);
	}
}

static bool take_contiguous(struct tp_pool *p, uint32_t n, struct tp_run *ret_run)
{
	for (unsigned i = 0; i < p->arenas; i++) {
		struct arena *a = &p->arena[i];
		uint32_t at = arena_take(a, n);

		if (at != TP_BITS_NONE) {
			*ret_run = (struct tp_run){.page = a->first + at, .pages = n};
			return true;
		}
	}
	return false;
}

/* In one arena if one has enough; else, with across set, from all. */
static bool take_scattered(struct tp_pool *p, uint32_t n, bool across, struct tp_run *runs, unsigned runs_max,
	unsigned *ret_count)
{
	unsigned count = 0;

	for (unsigned i = 0; i < p->arenas && n; i++) {
		struct arena *a = &p->arena[i];
		uint32_t here = a->free < n ? a->free : n;

		if (!here || (!across && here < n))
			continue;
		if (!arena_take_scattered(a, here, runs, runs_max, &count)) {
			give_runs(p, runs, count);
			count = 0;
			if (across)
				return false;
			continue;
		}
		n -= here;
	}
	*ret_count = count;
	return n == 0;
}

int tp_pool_get(struct tp_pool *p, uint32_t pages, struct tp_run *runs, unsigned runs_max, unsigned *ret_runs)
{
	assert(pages > 0 && runs_max > 0);
	/* Nobody waits for the lock of a pool that is full. */
	if (atomic_load_explicit(&p->free_pages, memory_order_relaxed) < pages)
		return -ENOSPC;

	TP_LOCK(&p->lock);
	if (atomic_load_explicit(&p->free_pages, memory_order_relaxed) < pages)
		return -ENOSPC;
	if (take_contiguous(p, pages, runs))
		*ret_runs = 1;
	else if (runs_max == 1 || (!take_scattered(p, pages, false, runs, runs_max, ret_runs) &&
					  !take_scattered(p, pages, true, runs, runs_max, ret_runs)))
		return -ENOSPC;
	atomic_fetch_sub_explicit(&p->free_pages, pages, memory_order_relaxed);
	return 0;
}

void tp_pool_put(struct tp_pool *p, uint32_t page, uint32_t pages)
{
	struct arena *a = arena_of(p, page);
	uint32_t at = page - a->first, freed = 0;

	assert(pages <= a->pages - at);
	if (!pages)
		return;

	TP_LOCK(&p->lock);
	if (!tp_bits_any(&a->room, at, pages) && !tp_bits_any(&a->cut, at, pages)) {
		arena_give(a, at, pages);
		freed = pages;
	} else {
		/* Somebody is wrong: what is free stays free, and what is cut into slots is not his to give. */
		for (uint32_t i = at; i < at + pages; i++) {
			if (tp_bits_any(&a->room, i, 1) || tp_bits_any(&a->cut, i, 1))
				continue;
			arena_give(a, i, 1);
			freed++;
		}
		atomic_fetch_add_explicit(&p->double_frees, pages - freed, memory_order_relaxed);
	}
	atomic_fetch_add_explicit(&p->free_pages, freed, memory_order_relaxed);
}

/* Slots */

static uint32_t units_for(uint32_t bytes)
{
	return (bytes + TP_SLOT_UNIT_BYTES - 1) / TP_SLOT_UNIT_BYTES;
}

uint32_t tp_pool_slot_size(uint32_t bytes)
{
	return units_for(bytes) * TP_SLOT_UNIT_BYTES;
}

static struct slab_page *slab_at(const struct tp_pool *p, uint32_t page)
{
	const struct arena *a = arena_of(p, page);

	return &a->slabs[page - a->first];
}

static void slab_unlink(struct tp_pool *p, struct slab_page *s)
{
	if (!s->list)
		return;
	if (s->prev)
		slab_at(p, s->prev)->next = s->next;
	else
		p->slab_list[s->list] = s->next;
	if (s->next)
		slab_at(p, s->next)->prev = s->prev;
	if (!p->slab_list[s->list])
		p->lists &= ~(UINT64_C(1) << s->list);
	s->list = 0;
}

static void slab_link(struct tp_pool *p, struct slab_page *s, uint32_t page, uint8_t list)
{
	s->list = list;
	if (!list)
		return;
	s->prev = 0;
	s->next = p->slab_list[list];
	if (s->next)
		slab_at(p, s->next)->prev = page;
	p->slab_list[list] = page;
	p->lists |= UINT64_C(1) << list;
}

/* Copies the units of a slab into words and describes them. */
static struct tp_bits slab_units(const struct slab_page *s, uint64_t words[SLAB_PAGES])
{
	for (unsigned i = 0; i < s->pages; i++)
		words[i] = s[i].units;
	return (struct tp_bits){.words = words, .count = s->pages * UNITS_PER_PAGE};
}

/* Writes words back and puts the slab into the list where it belongs now. */
static void slab_update(struct tp_pool *p, struct slab_page *s, uint32_t page, const struct tp_bits *units)
{
	uint32_t low = 0, high = UNITS_MAX;

	for (unsigned i = 0; i < s->pages; i++)
		s[i].units = units->words[i];
	/* The longest run, by halving: it has a run of low, and none longer than high. */
	while (low < high) {
		uint32_t mid = (low + high + 1) / 2;

		if (tp_bits_find(units, 0, units->count, mid) != TP_BITS_NONE)
			low = mid;
		else
			high = mid - 1;
	}
	if (s->list == low)
		return;
	slab_unlink(p, s);
	slab_link(p, s, page, (uint8_t)low);
}

/* Cuts pages into units. False when there is no page. */
static bool slab_new(struct tp_pool *p)
{
	uint32_t pages = SLAB_PAGES;
	struct slab_page *s;
	struct tp_run run;
	struct arena *a;

	if (!take_contiguous(p, pages, &run)) {
		pages = 1;
		if (!take_contiguous(p, pages, &run))
			return false;
	}
	a = arena_of(p, run.page);
	tp_bits_set(&a->cut, run.page - a->first, pages);
	s = &a->slabs[run.page - a->first];
	for (unsigned i = 0; i < pages; i++)
		s[i] = (struct slab_page){.units = ~UINT64_C(0), .back = (uint8_t)i};
	s->pages = (uint8_t)pages;
	slab_link(p, s, run.page, UNITS_MAX);
	p->slab_pages += pages;
	atomic_fetch_sub_explicit(&p->free_pages, pages, memory_order_relaxed);
	return true;
}

static void slab_free(struct tp_pool *p, struct arena *a, struct slab_page *s)
{
	uint32_t at = (uint32_t)(s - a->slabs), pages = s->pages;

	slab_unlink(p, s);
	tp_bits_clear(&a->cut, at, pages);
	arena_give(a, at, pages);
	p->slab_pages -= pages;
	atomic_fetch_add_explicit(&p->free_pages, pages, memory_order_relaxed);
}

int tp_pool_get_slot(struct tp_pool *p, uint32_t bytes, uint64_t *ret_slot)
{
	uint32_t units = units_for(bytes), page, at;
	uint64_t words[SLAB_PAGES], lists;
	struct tp_bits free_units;
	struct slab_page *s;

	assert(bytes > 0 && bytes <= TP_SLOT_BYTES_MAX);
	TP_LOCK(&p->lock);
	lists = p->lists >> units << units;
	if (!lists) {
		if (!slab_new(p))
			return -ENOSPC;
		lists = UINT64_C(1) << UNITS_MAX;
	}
	page = p->slab_list[__builtin_ctzll(lists)];
	s = slab_at(p, page);
	free_units = slab_units(s, words);
	at = tp_bits_find(&free_units, 0, free_units.count, units);
	assert(at != TP_BITS_NONE);
	tp_bits_clear(&free_units, at, units);
	slab_update(p, s, page, &free_units);
	p->slot_units += units;
	*ret_slot = (uint64_t)page * UNITS_PER_PAGE + at;
	return 0;
}

void tp_pool_put_slot(struct tp_pool *p, uint64_t slot, uint32_t bytes)
{
	uint32_t units = units_for(bytes), page = (uint32_t)(slot / UNITS_PER_PAGE), at;
	struct arena *a = arena_of(p, page);
	uint64_t words[SLAB_PAGES];
	struct tp_bits free_units;
	struct slab_page *s;

	assert(bytes > 0 && bytes <= TP_SLOT_BYTES_MAX);
	TP_LOCK(&p->lock);
	at = page - a->first;
	if (!tp_bits_any(&a->cut, at, 1)) {
		atomic_fetch_add_explicit(&p->double_frees, 1, memory_order_relaxed);
		return;
	}
	s = &a->slabs[at];
	page -= s->back;
	at = s->back * UNITS_PER_PAGE + (uint32_t)(slot % UNITS_PER_PAGE);
	s -= s->back;
	free_units = slab_units(s, words);
	if (at + units > free_units.count || tp_bits_any(&free_units, at, units)) {
		atomic_fetch_add_explicit(&p->double_frees, 1, memory_order_relaxed);
		return;
	}
	tp_bits_set(&free_units, at, units);
	p->slot_units -= units;
	if (tp_bits_run_after(&free_units, 0, free_units.count) == free_units.count)
		slab_free(p, a, s);
	else
		slab_update(p, s, page, &free_units);
}

/* The whole */

uint64_t tp_pool_free_pages(const struct tp_pool *p)
{
	return atomic_load_explicit(&p->free_pages, memory_order_relaxed);
}

uint64_t tp_pool_size_pages(const struct tp_pool *p)
{
	return p->size_pages;
}

uint64_t tp_pool_double_frees(const struct tp_pool *p)
{
	return atomic_load_explicit(&p->double_frees, memory_order_relaxed);
}

void tp_pool_usage(struct tp_pool *p, struct tp_pool_usage *ret)
{
	TP_LOCK(&p->lock);
	*ret = (struct tp_pool_usage){
		.size_bytes = p->size_pages * TP_PAGE_BYTES,
		.free_bytes = tp_pool_free_pages(p) * TP_PAGE_BYTES,
		.slot_bytes = p->slot_units * TP_SLOT_UNIT_BYTES,
		.slot_page_bytes = p->slab_pages * TP_PAGE_BYTES,
		.prefaulted_bytes = atomic_load_explicit(&p->prefaulted_bytes, memory_order_relaxed),
		.arenas = p->arenas,
	};
	for (unsigned i = 0; i < p->arenas; i++)
		ret->huge = ret->huge || p->arena[i].memory.huge;
}

/* Touches all pages. Ends early when it shall stop, or when there is no memory: then whoever writes will be told. */
static void *prefault(void *user)
{
	struct tp_pool *p = user;

	/* On Linux this is the thread's own. */
	(void)setpriority(PRIO_PROCESS, 0, 19);
	for (unsigned i = 0; i < p->arenas; i++) {
		const struct tp_arena *m = &p->arena[i].memory;

		for (uint64_t at = 0; at < m->size_bytes; at += PREFAULT_STEP_BYTES) {
			uint64_t left = m->size_bytes - at;
			uint64_t step = left < PREFAULT_STEP_BYTES ? left : PREFAULT_STEP_BYTES;

			if (atomic_load_explicit(&p->stop, memory_order_relaxed) ||
				tp_arena_populate(m, at, step) < 0)
				return NULL;
			atomic_fetch_add_explicit(&p->prefaulted_bytes, step, memory_order_relaxed);
		}
	}
	return NULL;
}

/* Makes what is needed to divide the memory that a has. first: number of its first page. */
static int arena_divide(struct arena *a, uint64_t first, struct tp_err *err)
{
	uint64_t pages = a->memory.size_bytes / TP_PAGE_BYTES;
	uint32_t words;
	void *slabs;

	if (pages >= UINT32_MAX - first)
		return tp_err_set(
			err, -EINVAL, "the memory pool is too large: it can have %u pages", UINT32_MAX);
	a->first = (uint32_t)first;
	a->pages = a->free = (uint32_t)pages;
	a->lacks = UINT32_MAX;
	words = tp_bits_words(a->pages);
	a->room = (struct tp_bits){.words = calloc(words, sizeof(uint64_t)),
		.some = calloc(tp_bits_words(words), sizeof(uint64_t)),
		.count = a->pages};
	a->cut = (struct tp_bits){.words = calloc(words, sizeof(uint64_t)), .count = a->pages};
	slabs = mmap(NULL, pages * sizeof(*a->slabs), PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (slabs != MAP_FAILED)
		a->slabs = slabs;
	if (!a->room.words || !a->room.some || !a->cut.words || !a->slabs)
		return tp_err_set(err, -ENOMEM, "no memory for the lists of the memory pool");
	tp_bits_set(&a->room, 0, a->pages);
	return 0;
}

static void arena_fini(struct arena *a)
{
	if (a->slabs)
		(void)munmap(a->slabs, (uint64_t)a->pages * sizeof(*a->slabs));
	free(a->cut.words);
	free(a->room.some);
	free(a->room.words);
	tp_arena_close(&a->memory);
}

static int add_arena(struct tp_pool *p, const struct tp_pool_options *options, const char *path,
	uint64_t size_bytes, struct tp_err *err)
{
	struct arena *a = &p->arena[p->arenas];
	int r;

	if (path && options->size_bytes && size_bytes < TP_PAGE_BYTES)
		return tp_err_set(err, -EINVAL, "the memory pool is too small to be spread over its files");
	r = path ? tp_arena_open_file(path, size_bytes, options->hugepages, err, &a->memory)
		 : tp_arena_open_anonymous(size_bytes, options->hugepages, err, &a->memory);
	if (r < 0)
		return r;
	/* From here on tp_pool_free() cleans it up, half built or not. */
	p->arenas++;
	/* A number is left out after each arena, so that numbers in a row are memory in a row. */
	r = arena_divide(a, p->size_pages + p->arenas, err);
	if (r < 0)
		return r;
	p->size_pages += a->pages;
	atomic_fetch_add_explicit(&p->free_pages, a->pages, memory_order_relaxed);
	return 0;
}

int tp_pool_new(const struct tp_pool_options *options, struct tp_err *err, struct tp_pool **ret)
{
	unsigned paths = 0;
	struct tp_pool *p;
	int r = 0;

	while (options->paths && options->paths[paths])
		paths++;
	p = calloc(1, sizeof(*p) + (paths ? paths : 1) * sizeof(p->arena[0]));
	if (!p)
		return tp_err_set(err, -ENOMEM, "no memory for the memory pool");
	r = pthread_mutex_init(&p->lock, NULL);
	assert(r == 0);
	if (!paths)
		r = add_arena(p, options, NULL, options->size_bytes, err);
	for (unsigned i = 0; i < paths && r == 0; i++)
		r = add_arena(p, options, options->paths[i], options->size_bytes / paths, err);
	if (r == 0 && options->prefault) {
		r = -pthread_create(&p->prefaulter, NULL, prefault, p);
		p->prefaulting = r == 0;
		if (r < 0)
			r = tp_err_set(err, r, "cannot start the thread that touches the memory pool: %s",
				strerror(-r));
	}
	if (r < 0) {
		tp_pool_free(p);
		return r;
	}
	*ret = p;
	return 0;
}

void tp_pool_free(struct tp_pool *p)
{
	if (!p)
		return;
	if (p->prefaulting) {
		atomic_store_explicit(&p->stop, true, memory_order_relaxed);
		(void)pthread_join(p->prefaulter, NULL);
	}
	for (unsigned i = 0; i < p->arenas; i++)
		arena_fini(&p->arena[i]);
	(void)pthread_mutex_destroy(&p->lock);
	free(p);
}
