/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "heap.h"
#include "store/map.h"

#define MIB (UINT64_C(1) << 20)
#define PAGE UINT64_C(4096)

static struct tp_pool *pool_of(uint64_t size_bytes)
{
	struct tp_pool_options options = {.size_bytes = size_bytes, .hugepages = TP_HUGEPAGES_OFF};
	struct tp_pool *p = NULL;
	struct tp_err err;
	struct tp_run run;
	unsigned runs;

	cr_assert_eq(tp_pool_new(&options, &err, &p), 0, "%s", err.text);
	/* No page is zero by luck. */
	cr_assert_eq(tp_pool_get(p, (uint32_t)tp_pool_size_pages(p), &run, 1, &runs), 0);
	memset(tp_pool_at(p, run.page), 0xee, size_bytes);
	tp_pool_put(p, run.page, run.pages);
	return p;
}

static void pool_is_empty(struct tp_pool *p)
{
	struct tp_pool_usage u;

	tp_pool_usage(p, &u);
	cr_assert_eq(u.free_bytes, u.size_bytes);
	cr_assert_eq(u.slot_bytes, 0);
	cr_assert_eq(u.slot_page_bytes, 0);
	cr_assert_eq(tp_pool_double_frees(p), 0);
}

static struct tp_pool_usage usage_of(struct tp_pool *p)
{
	struct tp_pool_usage u;

	tp_pool_usage(p, &u);
	return u;
}

static void reads_as(
	const struct tp_map *m, const struct tp_pool *p, uint64_t offset, const char *expected, size_t len)
{
	char *buf = malloc(len);

	tp_map_copy_out(m, p, offset, buf, len);
	cr_assert_eq(memcmp(buf, expected, len), 0);
	free(buf);
}

static void reads_as_zero(const struct tp_map *m, const struct tp_pool *p, uint64_t offset, size_t len)
{
	char *zero = calloc(1, len);

	reads_as(m, p, offset, zero, len);
	free(zero);
}

Test(map, what_was_not_written_reads_as_zero)
{
	struct tp_pool *p = pool_of(MIB);
	struct tp_map m;

	tp_map_init(&m);
	reads_as_zero(&m, p, 0, 3 * MIB);
	cr_assert_eq(tp_map_write(&m, p, 5000, "hello", 5), 0);
	reads_as(&m, p, 5000, "hello", 5);
	reads_as_zero(&m, p, 0, 5000);
	reads_as_zero(&m, p, 5005, 2 * MIB);
	cr_assert_eq(tp_map_pages(&m), 1);
	cr_assert_eq(tp_map_own_bytes(&m), 4096);
	tp_map_fini(&m, p);
	cr_assert_eq(tp_map_pages(&m), 0);
	pool_is_empty(p);
	tp_pool_free(p);
}

Test(map, offsets_end_at_the_limit_and_zero_bytes_are_nothing)
{
	struct tp_pool *p = pool_of(MIB);
	struct tp_map m;

	tp_map_init(&m);
	cr_assert_eq(tp_map_write(&m, p, TP_MAP_SIZE_MAX - 3, "abc", 3), 0);
	reads_as(&m, p, TP_MAP_SIZE_MAX - 3, "abc", 3);
	cr_assert_eq(tp_map_write(&m, p, TP_MAP_SIZE_MAX - 3, "abcd", 4), -EFBIG);
	cr_assert_eq(tp_map_write(&m, p, TP_MAP_SIZE_MAX, "a", 1), -EFBIG);
	cr_assert_eq(tp_map_write(&m, p, UINT64_MAX, "a", 1), -EFBIG);
	cr_assert_eq(tp_map_reserve(&m, p, 0, TP_MAP_SIZE_MAX + 1), -EFBIG);
	cr_assert_eq(tp_map_reserve(&m, p, 0, TP_MAP_SIZE_MAX), -ENOSPC);
	cr_assert_eq(tp_map_reserve(&m, p, 0, 2 * MIB), -ENOSPC);
	cr_assert_eq(tp_map_seek(&m, 0, TP_MAP_SIZE_MAX, false), TP_MAP_SIZE_MAX - 4096);
	cr_assert_eq(tp_map_seek(&m, 0, TP_MAP_SIZE_MAX, true), 0);
	cr_assert_eq(tp_map_write(&m, p, 7, NULL, 0), 0);
	cr_assert_eq(tp_map_reserve(&m, p, 7, 0), 0);
	cr_assert_eq(tp_map_punch(&m, p, TP_MAP_SIZE_MAX - 3, 0), 0);
	cr_assert_eq(tp_map_adopt(&m, p, 0, NULL, 0), 0);
	cr_assert_eq(tp_map_pages(&m), 1);
	cr_assert_eq(tp_map_punch(&m, p, TP_MAP_SIZE_MAX - 2, UINT64_MAX), 0);
	reads_as(&m, p, TP_MAP_SIZE_MAX - 3, "a\0\0", 3);
	cr_assert_eq(tp_map_truncate(&m, p, TP_MAP_SIZE_MAX), 0);
	cr_assert_eq(tp_map_truncate(&m, p, TP_MAP_SIZE_MAX - 4096), 0);
	cr_assert_eq(tp_map_pages(&m), 0);
	tp_map_fini(&m, p);
	pool_is_empty(p);
	tp_pool_free(p);
}

Test(map, a_small_object_takes_little_heap)
{
	struct tp_pool *p = pool_of(MIB);
	char page[4096] = "x";
	struct tp_map m;
	size_t before;

	tp_map_init(&m);
	before = mallinfo2().uordblks;
	cr_assert_eq(tp_map_write(&m, p, 0, page, sizeof(page)), 0);
	cr_assert_leq(mallinfo2().uordblks - before, 32);
	tp_map_fini(&m, p);
	tp_pool_free(p);
}

Test(map, adopted_pages_are_the_very_same_and_need_no_table)
{
	struct tp_pool *p = pool_of(4 * MIB);
	struct iovec iov[4];
	struct tp_map m;
	struct tp_run run;
	unsigned count;
	uint64_t heap;
	size_t len;

	tp_map_init(&m);
	cr_assert_eq(tp_pool_get(p, 512, &run, 1, &count), 0);
	memset(tp_pool_at(p, run.page), 7, 2 * MIB);
	heap = heap_asked_bytes();
	/* In pieces of 128 KiB, as the kernel sends them. */
	for (uint32_t i = 0; i < 256; i += 32) {
		struct tp_run part = {.page = run.page + i, .pages = 32};

		heap = heap_asked_bytes();
		cr_assert_eq(tp_map_adopt(&m, p, i * PAGE, &part, 1), 0);
		cr_assert_eq(heap_asked_bytes() - heap, 24);
	}
	run = (struct tp_run){.page = run.page + 256, .pages = 256};
	cr_assert_eq(tp_map_adopt(&m, p, MIB, &run, 1), 0);
	cr_assert_eq(tp_map_pages(&m), 512);
	tp_map_read(&m, p, 1, 2 * MIB - 1, iov, 4, &count, &len);
	cr_assert_eq(count, 1);
	cr_assert_eq(len, 2 * MIB - 1);
	cr_assert_eq(iov[0].iov_base, (char *)tp_pool_at(p, run.page - 256) + 1);
	tp_map_fini(&m, p);
	pool_is_empty(p);
	tp_pool_free(p);
}

Test(map, adoption_replaces_what_was_there)
{
	struct tp_pool *p = pool_of(4 * MIB);
	struct tp_map m, other;
	struct tp_run run[2];
	unsigned count;

	tp_map_init(&m);
	for (unsigned i = 0; i < 600; i++)
		cr_assert_eq(tp_map_write(&m, p, i * PAGE, "old", 4), 0);
	cr_assert_eq(tp_map_clone(&m, &other), 0);
	cr_assert_eq(tp_pool_get(p, 5, &run[0], 1, &count), 0);
	cr_assert_eq(tp_pool_get(p, 7, &run[1], 1, &count), 0);
	for (unsigned i = 0; i < 2; i++)
		memset(tp_pool_at(p, run[i].page), 'n', run[i].pages * PAGE);
	/* The clone has all, so two whole pieces must be copied: there is no room. */
	cr_assert_eq(tp_map_adopt(&m, p, 250 * PAGE, run, 2), -ENOSPC);
	reads_as(&m, p, 250 * PAGE, "old", 4);
	tp_map_fini(&other, p);
	cr_assert_eq(tp_map_adopt(&m, p, 250 * PAGE, run, 2), 0);
	reads_as(&m, p, 249 * PAGE, "old", 4);
	reads_as(&m, p, 250 * PAGE, "nnnn", 4);
	reads_as(&m, p, 262 * PAGE - 4, "nnnnold", 8);
	cr_assert_eq(tp_map_pages(&m), 600);
	tp_map_fini(&m, p);
	pool_is_empty(p);
	tp_pool_free(p);
}

Test(map, a_clone_shares_until_one_of_them_is_written)
{
	struct tp_pool *p = pool_of(8 * MIB);
	char *bytes = malloc(3 * MIB);
	struct tp_map m, other;

	memset(bytes, 'a', 3 * MIB);
	tp_map_init(&m);
	cr_assert_eq(tp_map_write(&m, p, 0, bytes, 3 * MIB), 0);
	cr_assert_eq(tp_map_clone(&m, &other), 0);
	cr_assert_eq(tp_pool_free_pages(p), 5 * 256);
	cr_assert_eq(tp_map_own_bytes(&m), 0);
	cr_assert(tp_map_equal(&m, &other, p, 3 * MIB));
	cr_assert_eq(tp_map_write(&other, p, MIB + 10, "b", 1), 0);
	cr_assert_eq(tp_pool_free_pages(p), 4 * 256);
	cr_assert_not(tp_map_equal(&m, &other, p, 3 * MIB));
	cr_assert(tp_map_equal(&m, &other, p, MIB + 10));
	reads_as(&m, p, MIB + 9, "aaa", 3);
	reads_as(&other, p, MIB + 9, "aba", 3);
	cr_assert_eq(tp_map_own_bytes(&m), MIB);
	cr_assert_eq(tp_map_bytes(&m), 3 * MIB);
	tp_map_fini(&m, p);
	cr_assert_eq(tp_map_own_bytes(&other), 3 * MIB);
	tp_map_fini(&other, p);
	pool_is_empty(p);
	free(bytes);
	tp_pool_free(p);
}

Test(map, truncating_to_the_same_size_copies_nothing)
{
	struct tp_pool *p = pool_of(4 * MIB);
	struct tp_map m, other;

	tp_map_init(&m);
	cr_assert_eq(tp_map_write(&m, p, 100 * PAGE, "abc", 3), 0);
	cr_assert_eq(tp_map_clone(&m, &other), 0);
	cr_assert_eq(tp_map_truncate(&other, p, 100 * PAGE + 3), 0);
	cr_assert_eq(tp_map_own_bytes(&other), 0);
	cr_assert_eq(tp_map_truncate(&other, p, 100 * PAGE + 2), 0);
	reads_as(&other, p, 100 * PAGE, "ab\0", 3);
	reads_as(&m, p, 100 * PAGE, "abc", 3);
	tp_map_fini(&m, p);
	tp_map_fini(&other, p);
	pool_is_empty(p);
	tp_pool_free(p);
}

Test(map, a_settled_tail_takes_a_slot_and_can_be_written_again)
{
	struct tp_pool *p = pool_of(4 * MIB);
	struct tp_map m, other;
	char bytes[6000];

	memset(bytes, 's', sizeof(bytes));
	tp_map_init(&m);
	cr_assert_eq(tp_map_write(&m, p, 0, bytes, sizeof(bytes)), 0);
	cr_assert_eq(tp_map_reserve(&m, p, 0, 2 * MIB), 0);
	tp_map_settle(&m, p, sizeof(bytes));
	cr_assert_eq(tp_map_pages(&m), 2);
	cr_assert_eq(usage_of(p).slot_bytes, tp_pool_slot_size(6000 - 4096));
	cr_assert_eq(tp_map_own_bytes(&m), 4096 + tp_pool_slot_size(6000 - 4096));
	cr_assert_eq(tp_map_bytes(&m), 4096 + tp_pool_slot_size(6000 - 4096));
	cr_assert_eq(tp_map_seek(&m, 5000, 6000, true), 6000);
	cr_assert_eq(tp_map_seek(&m, 0, 8000, true), 8000);
	reads_as(&m, p, 0, bytes, sizeof(bytes));
	reads_as_zero(&m, p, 6000, 10000);
	cr_assert_eq(tp_map_clone(&m, &other), 0);

	/* Into the slot, behind it, and after it. */
	cr_assert_eq(tp_map_write(&other, p, 6010, "x", 1), 0);
	reads_as(&other, p, 0, bytes, sizeof(bytes));
	reads_as_zero(&other, p, 6000, 10);
	reads_as(&other, p, 6010, "x\0", 2);
	cr_assert_eq(tp_map_write(&m, p, 100 * PAGE, "y", 1), 0);
	reads_as(&m, p, 0, bytes, sizeof(bytes));
	reads_as_zero(&m, p, 6000, 94 * PAGE);
	cr_assert_eq(usage_of(p).slot_bytes, 0);
	tp_map_fini(&m, p);
	tp_map_fini(&other, p);
	pool_is_empty(p);
	tp_pool_free(p);
}

Test(map, a_page_with_others_after_it_does_not_become_a_slot)
{
	struct tp_pool *p = pool_of(MIB);
	struct tp_map m;

	tp_map_init(&m);
	cr_assert_eq(tp_map_write(&m, p, 0, "first", 5), 0);
	cr_assert_eq(tp_map_reserve(&m, p, 0, 3 * PAGE), 0);
	/* What is reserved beyond the end cannot be let go of. */
	heap_fail_at(1);
	tp_map_settle(&m, p, 5);
	cr_assert(heap_fail_off());
	cr_assert_eq(tp_map_write(&m, p, 2 * PAGE, "last", 4), 0);
	tp_map_settle(&m, p, 2 * PAGE + 4);
	cr_assert_eq(tp_map_pages(&m), 3);
	reads_as(&m, p, 0, "first", 6);
	reads_as(&m, p, 2 * PAGE, "last", 5);
	tp_map_fini(&m, p);
	pool_is_empty(p);
	tp_pool_free(p);
}

Test(map, a_tail_in_a_slot_is_cut_and_punched)
{
	struct tp_pool *p = pool_of(4 * MIB);
	struct tp_map m, other;

	tp_map_init(&m);
	cr_assert_eq(tp_map_write(&m, p, 0, "0123456789", 10), 0);
	tp_map_settle(&m, p, 10);
	cr_assert_eq(tp_map_clone(&m, &other), 0);
	cr_assert_eq(tp_map_truncate(&other, p, 5), 0);
	reads_as(&other, p, 0, "01234\0\0\0\0\0\0", 11);
	reads_as(&m, p, 0, "0123456789\0", 11);
	cr_assert_eq(tp_map_truncate(&m, p, 6), 0);
	reads_as(&m, p, 0, "012345\0\0\0\0\0", 11);
	cr_assert_eq(tp_map_punch(&m, p, 2, 2), 0);
	reads_as(&m, p, 0,
		"01\0\0"
		"45\0",
		7);
	cr_assert_eq(tp_map_punch(&m, p, 0, 64), 0);
	cr_assert_eq(tp_map_pages(&m), 0);
	cr_assert_eq(tp_map_truncate(&other, p, 0), 0);
	pool_is_empty(p);
	tp_pool_free(p);
}

Test(map, holes_are_found_where_they_are)
{
	struct tp_pool *p = pool_of(8 * MIB);
	struct tp_map m;

	tp_map_init(&m);
	cr_assert_eq(tp_map_seek(&m, 0, 100, false), -ENXIO);
	cr_assert_eq(tp_map_seek(&m, 0, 100, true), 0);
	cr_assert_eq(tp_map_seek(&m, 100, 100, true), -ENXIO);
	cr_assert_eq(tp_map_reserve(&m, p, 10 * PAGE, MIB), 0);
	cr_assert_eq(tp_map_punch(&m, p, 20 * PAGE - 1, PAGE + 2), 0);
	cr_assert_eq(tp_map_write(&m, p, 5 * MIB + 5, "x", 1), 0);
	cr_assert_eq(tp_map_seek(&m, 3, 6 * MIB, false), 10 * PAGE);
	cr_assert_eq(tp_map_seek(&m, 10 * PAGE + 7, 6 * MIB, false), 10 * PAGE + 7);
	cr_assert_eq(tp_map_seek(&m, 10 * PAGE + 7, 6 * MIB, true), 20 * PAGE);
	cr_assert_eq(tp_map_seek(&m, 20 * PAGE, 6 * MIB, false), 21 * PAGE);
	cr_assert_eq(tp_map_seek(&m, 21 * PAGE, 6 * MIB, true), MIB + 10 * PAGE);
	cr_assert_eq(tp_map_seek(&m, MIB + 10 * PAGE, 6 * MIB, false), 5 * MIB);
	cr_assert_eq(tp_map_seek(&m, MIB + 10 * PAGE, 5 * MIB, false), -ENXIO);
	cr_assert_eq(tp_map_seek(&m, 5 * MIB, 6 * MIB, true), 5 * MIB + PAGE);
	cr_assert_eq(tp_map_seek(&m, 5 * MIB, 5 * MIB + 6, true), 5 * MIB + 6);
	tp_map_fini(&m, p);
	pool_is_empty(p);
	tp_pool_free(p);
}

Test(map, a_read_says_how_far_its_vector_goes)
{
	struct tp_pool *p = pool_of(4 * MIB);
	struct iovec iov[3];
	struct tp_map m;
	unsigned count;
	size_t len;

	tp_map_init(&m);
	cr_assert_eq(tp_map_write(&m, p, PAGE, "x", 1), 0);
	tp_map_read(&m, p, 10, 4 * PAGE, iov, 3, &count, &len);
	cr_assert_eq(count, 3);
	cr_assert_eq(len, 3 * PAGE - 10);
	cr_assert_eq(iov[0].iov_base, tp_zero_page);
	cr_assert_eq(iov[0].iov_len, PAGE - 10);
	cr_assert_eq(*(char *)iov[1].iov_base, 'x');
	tp_map_read(&m, p, 10, 0, iov, 3, &count, &len);
	cr_assert_eq(count, 0);
	tp_map_fini(&m, p);
	tp_pool_free(p);
}

/* Random changes of several maps that share pieces, against plain arrays of bytes. */

#define MODEL_MAPS 5
#define MODEL_BYTES (3 * MIB + 3 * PAGE + 100)
#define MODEL_PAGES (MODEL_BYTES / PAGE + 1)

struct model {
	struct tp_map map;
	uint64_t base;	  /* offset of the first byte of the model in the file */
	uint64_t settled; /* with this size, counted from base */
	bool touched[MODEL_PAGES];
	unsigned char bytes[MODEL_PAGES * PAGE];
};

struct world {
	struct tp_pool *pool;
	unsigned seed;
	struct model *models[MODEL_MAPS];
	unsigned char *buf;
	unsigned failed_pool, failed_heap;
};

static uint64_t pick(struct world *w, uint64_t below)
{
	uint64_t x = ((uint64_t)rand_r(&w->seed) << 31 | (uint64_t)rand_r(&w->seed)) % below;

	/* Near page and piece boundaries it is more interesting. */
	switch (rand_r(&w->seed) % 4) {
	case 0:
		x = x / PAGE * PAGE;
		break;
	case 1:
		x = (x / MIB * MIB + (uint64_t)rand_r(&w->seed) % 5) % below;
		break;
	default:
		break;
	}
	return x;
}

static void model_check(const struct world *w, const struct model *o)
{
	cr_assert_leq(tp_map_pages(&o->map), 4 * TP_PIECE_PAGES);
	tp_map_copy_out(&o->map, w->pool, o->base, w->buf, MODEL_BYTES);
	if (memcmp(w->buf, o->bytes, MODEL_BYTES) == 0)
		return;
	for (uint64_t i = 0; i < MODEL_BYTES; i++)
		cr_assert_eq(
			w->buf[i], o->bytes[i], "byte %lu is %u and should be %u", i, w->buf[i], o->bytes[i]);
}

static void model_check_holes(const struct world *w, const struct model *o)
{
	static const unsigned char zero[PAGE];

	for (uint64_t i = 0; i < MODEL_BYTES / PAGE; i++) {
		int64_t at = (int64_t)(o->base + i * PAGE);
		bool data = tp_map_seek(&o->map, (uint64_t)at, o->base + MODEL_BYTES, false) == at;
		bool hole = tp_map_seek(&o->map, (uint64_t)at, o->base + MODEL_BYTES, true) == at;

		cr_assert_neq(data, hole);
		if (memcmp(o->bytes + i * PAGE, zero, PAGE) != 0)
			cr_assert(data);
		if (!o->touched[i])
			cr_assert(hole);
	}
}

static void touch(struct model *o, uint64_t at, uint64_t len)
{
	for (uint64_t i = at / PAGE; len && i <= (at + len - 1) / PAGE; i++)
		o->touched[i] = true;
}

static int do_write(struct world *w, struct model *o, uint64_t at, uint64_t len)
{
	int r;

	for (uint64_t i = 0; i < len; i++)
		w->buf[i] = (unsigned char)(w->seed + i * 7 % 251);
	r = tp_map_write(&o->map, w->pool, o->base + at, w->buf, len);
	if (r < 0)
		return r;
	memcpy(o->bytes + at, w->buf, len);
	touch(o, at, len);
	return 0;
}

static int do_adopt(struct world *w, struct model *o, uint64_t at, uint64_t len)
{
	uint32_t pages = (uint32_t)(len / PAGE);
	struct tp_run runs[64];
	unsigned count;
	uint64_t done = 0;
	int r;

	at = at / PAGE * PAGE;
	if (!pages)
		return 0;
	r = tp_pool_get(w->pool, pages, runs, 1 + (unsigned)rand_r(&w->seed) % 64, &count);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < count; i++)
		memset(tp_pool_at(w->pool, runs[i].page), (int)(w->seed + i), runs[i].pages * PAGE);
	r = tp_map_adopt(&o->map, w->pool, o->base + at, runs, count);
	for (unsigned i = 0; i < count; i++) {
		if (r < 0) {
			tp_pool_put(w->pool, runs[i].page, runs[i].pages);
			continue;
		}
		memset(o->bytes + at + done, (int)(w->seed + i), runs[i].pages * PAGE);
		done += runs[i].pages * PAGE;
	}
	if (r == 0)
		touch(o, at, done);
	return r;
}

static int do_punch(struct world *w, struct model *o, uint64_t at, uint64_t len)
{
	int r = tp_map_punch(&o->map, w->pool, o->base + at, len);

	if (r < 0)
		return r;
	memset(o->bytes + at, 0, len);
	for (uint64_t i = (at + PAGE - 1) / PAGE; i < (at + len) / PAGE; i++)
		o->touched[i] = false;
	return 0;
}

static int do_truncate(struct world *w, struct model *o, uint64_t at)
{
	int r = tp_map_truncate(&o->map, w->pool, o->base + at);

	if (r < 0)
		return r;
	memset(o->bytes + at, 0, MODEL_BYTES - at);
	for (uint64_t i = (at + PAGE - 1) / PAGE; i < MODEL_PAGES; i++)
		o->touched[i] = false;
	return 0;
}

static int do_clone(struct world *w, struct model *o, struct model *to)
{
	struct tp_map copy;
	int r = tp_map_clone(&o->map, &copy);

	cr_assert(r == 0 || (copy.one == NULL));
	if (r < 0)
		return r;
	tp_map_fini(&to->map, w->pool);
	to->map = copy;
	to->base = o->base;
	to->settled = o->settled;
	memcpy(to->touched, o->touched, sizeof(to->touched));
	memcpy(to->bytes, o->bytes, sizeof(to->bytes));
	return 0;
}

static void do_settle(struct world *w, struct model *o)
{
	uint64_t size = MODEL_BYTES;

	while (size && !o->bytes[size - 1])
		size--;
	o->settled = size;
	tp_map_settle(&o->map, w->pool, o->base + size);
}

static void one_step(struct world *w)
{
	struct model *o = w->models[rand_r(&w->seed) % MODEL_MAPS];
	uint64_t at = pick(w, MODEL_BYTES), len = pick(w, MODEL_BYTES - at + 1);
	struct tp_pool_usage before = usage_of(w->pool);
	uint64_t pages = tp_map_pages(&o->map);
	int r = 0;

	if (rand_r(&w->seed) % 3)
		len %= 3 * PAGE;
	/* At the end, where a slot may be, and after it. */
	if (rand_r(&w->seed) % 4 == 0) {
		at = o->settled / PAGE * PAGE + pick(w, PAGE);
		at -= at > PAGE && rand_r(&w->seed) & 1 ? PAGE : 0;
		at = at < MODEL_BYTES ? at : MODEL_BYTES - 1;
		len = pick(w, 2 * PAGE);
		len = len < MODEL_BYTES - at ? len : MODEL_BYTES - at;
	}
	if (rand_r(&w->seed) % 8 == 0)
		heap_fail_at(1 + (unsigned)rand_r(&w->seed) % 5);
	switch (rand_r(&w->seed) % 14) {
	case 0:
		r = do_truncate(w, o, at);
		break;
	case 1:
		r = do_clone(w, o, w->models[rand_r(&w->seed) % MODEL_MAPS]);
		break;
	case 2:
	case 3:
		r = do_punch(w, o, at, len);
		break;
	case 4:
		r = tp_map_reserve(&o->map, w->pool, o->base + at, len);
		if (r == 0)
			touch(o, at, len);
		break;
	case 5:
	case 6:
	case 7:
	case 8:
		do_settle(w, o);
		break;
	case 9:
		r = do_adopt(w, o, at, len);
		break;
	default:
		r = do_write(w, o, at, len);
		break;
	}
	(void)heap_fail_off();
	if (r < 0) {
		struct tp_pool_usage after = usage_of(w->pool);

		cr_assert(r == -ENOMEM || r == -ENOSPC);
		cr_assert_eq(
			after.free_bytes + after.slot_page_bytes, before.free_bytes + before.slot_page_bytes);
		cr_assert_eq(after.slot_bytes, before.slot_bytes);
		cr_assert_eq(tp_map_pages(&o->map), pages);
		w->failed_heap += r == -ENOMEM;
		w->failed_pool += r == -ENOSPC;
	}
	/* Looking at all bytes takes longer than changing them. */
	if (r < 0 || rand_r(&w->seed) % 4 == 0)
		model_check(w, o);
}

/* Two of them must agree with their models about whether they are equal. */
static void compare_two(struct world *w)
{
	struct model *a = w->models[rand_r(&w->seed) % MODEL_MAPS],
		     *b = w->models[rand_r(&w->seed) % MODEL_MAPS];
	uint64_t size = pick(w, MODEL_BYTES);

	if (a->base == b->base)
		cr_assert_eq(tp_map_equal(&a->map, &b->map, w->pool, a->base + size),
			memcmp(a->bytes, b->bytes, size) == 0);
}

static void check_through_iov(struct world *w)
{
	const struct model *o = w->models[rand_r(&w->seed) % MODEL_MAPS];
	uint64_t at = pick(w, MODEL_BYTES), len = pick(w, MODEL_BYTES - at + 1);
	struct iovec iov[64];
	unsigned count;
	size_t covered;

	tp_map_read(&o->map, w->pool, o->base + at, len, iov, 64, &count, &covered);
	cr_assert_leq(covered, len);
	cr_assert(covered == len || count == 64);
	for (unsigned i = 0; i < count; i++) {
		cr_assert_eq(memcmp(iov[i].iov_base, o->bytes + at, iov[i].iov_len), 0);
		at += iov[i].iov_len;
		covered -= iov[i].iov_len;
	}
	cr_assert_eq(covered, 0);
}

static void random_changes(unsigned seed, uint64_t pool_bytes, unsigned steps)
{
	struct world w = {.pool = pool_of(pool_bytes), .seed = seed, .buf = malloc(MODEL_BYTES)};

	cr_log_info("seed %u", seed);
	for (unsigned i = 0; i < MODEL_MAPS; i++) {
		w.models[i] = calloc(1, sizeof(*w.models[i]));
		/* One at the end of what a file can be. */
		w.models[i]->base = i ? 0 : TP_MAP_SIZE_MAX / MIB * MIB - 4 * MIB;
	}
	for (unsigned i = 0; i < steps; i++) {
		one_step(&w);
		if (i % 8 == 0) {
			compare_two(&w);
			check_through_iov(&w);
		}
		if (i % 64)
			continue;
		for (unsigned k = 0; k < MODEL_MAPS; k++) {
			model_check(&w, w.models[k]);
			model_check_holes(&w, w.models[k]);
		}
	}
	cr_log_info("%u without room, %u without heap", w.failed_pool, w.failed_heap);
	cr_assert_gt(w.failed_heap, 0);
	for (unsigned i = 0; i < MODEL_MAPS; i++) {
		tp_map_fini(&w.models[i]->map, w.pool);
		free(w.models[i]);
	}
	free(w.buf);
	pool_is_empty(w.pool);
	tp_pool_free(w.pool);
}

Test(map, random_changes_do_what_they_do_to_plain_bytes)
{
	const char *seed = getenv("TIDEPOOL_TEST_SEED");

	if (seed)
		random_changes((unsigned)strtoul(seed, NULL, 0), 8 * MIB, 3000);
	for (unsigned i = 1; !seed && i <= 3; i++) {
		random_changes(i, 8 * MIB, 1500);
		random_changes(i + 100, 32 * MIB, 1500);
	}
}

/* The Nth allocation fails, for each kind of change, and nothing has changed. */
Test(map, any_allocation_that_fails_leaves_the_map_as_it_was)
{
	struct tp_pool *p = pool_of(64 * MIB);
	char *bytes = malloc(9 * MIB);
	struct tp_map m, shared, copy;
	unsigned n, failures = 0;

	memset(bytes, 'w', 9 * MIB);
	tp_map_init(&m);
	for (uint64_t i = 0; i < 7; i++)
		cr_assert_eq(tp_map_write(&m, p, i * 2 * MIB, bytes, 3 * PAGE + 5), 0);
	for (unsigned kind = 0; kind < 4; kind++) {
		for (n = 1; n < 100; n++) {
			uint64_t free_pages;
			int r = 0;

			cr_assert_eq(tp_map_clone(&m, &shared), 0);
			cr_assert_eq(tp_map_clone(&m, &copy), 0);
			free_pages = tp_pool_free_pages(p);
			heap_fail_at(n);
			if (kind == 0)
				r = tp_map_write(&shared, p, PAGE + 1, bytes, 9 * MIB);
			else if (kind == 1)
				r = tp_map_punch(&shared, p, PAGE + 1, 8 * MIB);
			else if (kind == 2)
				r = tp_map_reserve(&shared, p, PAGE + 1, 9 * MIB);
			else
				r = tp_map_truncate(&shared, p, PAGE + 1);
			if (!heap_fail_off()) {
				cr_assert_eq(r, 0);
				tp_map_fini(&shared, p);
				tp_map_fini(&copy, p);
				break;
			}
			failures++;
			cr_assert_eq(r, -ENOMEM);
			cr_assert_eq(tp_pool_free_pages(p), free_pages);
			cr_assert(tp_map_equal(&shared, &copy, p, 14 * MIB));
			tp_map_fini(&shared, p);
			tp_map_fini(&copy, p);
		}
		cr_assert_lt(n, 100);
	}
	cr_assert_gt(failures, 20);
	tp_map_fini(&m, p);
	pool_is_empty(p);
	free(bytes);
	tp_pool_free(p);
}

/* Threads with a map each, all clones of one, change theirs and leave the others alone. */
struct worker {
	pthread_t thread;
	struct tp_pool *pool;
	const struct tp_map *from; /* nobody writes it */
	unsigned id;
};

static void *work(void *user)
{
	struct worker *w = user;
	unsigned seed = w->id;
	unsigned char mark[100], buf[100];

	memset(mark, (int)w->id, sizeof(mark));
	for (unsigned round = 0; round < 60; round++) {
		struct tp_map m, again;

		cr_assert_eq(tp_map_clone(w->from, &m), 0);
		for (unsigned i = 0; i < 20; i++) {
			uint64_t at = (uint64_t)rand_r(&seed) % (4 * MIB - 100);

			if (tp_map_write(&m, w->pool, at, mark, sizeof(mark)) < 0)
				continue;
			tp_map_copy_out(&m, w->pool, at, buf, sizeof(buf));
			cr_assert_eq(memcmp(buf, mark, sizeof(buf)), 0);
		}
		cr_assert_eq(tp_map_clone(&m, &again), 0);
		tp_map_fini(&m, w->pool);
		tp_map_settle(&again, w->pool, 4 * MIB);
		tp_map_fini(&again, w->pool);
	}
	return NULL;
}

Test(map, threads_that_share_pieces_do_not_see_each_others_changes)
{
	struct tp_pool *p = pool_of(24 * MIB);
	char *bytes = malloc(4 * MIB);
	struct worker workers[4];
	struct tp_map m;

	memset(bytes, 'z', 4 * MIB);
	tp_map_init(&m);
	cr_assert_eq(tp_map_write(&m, p, 0, bytes, 4 * MIB), 0);
	for (unsigned i = 0; i < 4; i++) {
		workers[i] = (struct worker){.pool = p, .from = &m, .id = i + 1};
		cr_assert_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(workers[i].thread, NULL);
	reads_as(&m, p, 0, bytes, 4 * MIB);
	tp_map_fini(&m, p);
	pool_is_empty(p);
	free(bytes);
	tp_pool_free(p);
}

/* One thread reads its clone and lets go; the other writes in place as soon as it has the piece to itself. */
struct reader {
	struct tp_pool *pool;
	struct tp_map map;
};

static void *read_and_let_go(void *user)
{
	struct reader *r = user;
	char buf[4096];

	tp_map_copy_out(&r->map, r->pool, 0, buf, sizeof(buf));
	for (unsigned i = 0; i < sizeof(buf); i++)
		cr_assert_eq(buf[i], 'r');
	tp_map_fini(&r->map, r->pool);
	return NULL;
}

Test(map, a_piece_is_written_in_place_only_after_others_have_read_it)
{
	struct tp_pool *p = pool_of(MIB);
	char bytes[4096], other[4096];

	memset(bytes, 'r', sizeof(bytes));
	memset(other, 'w', sizeof(other));
	for (unsigned round = 0; round < 200; round++) {
		struct reader r = {.pool = p};
		pthread_t thread;
		struct tp_map m;

		tp_map_init(&m);
		cr_assert_eq(tp_map_write(&m, p, 0, bytes, sizeof(bytes)), 0);
		cr_assert_eq(tp_map_clone(&m, &r.map), 0);
		cr_assert_eq(pthread_create(&thread, NULL, read_and_let_go, &r), 0);
		while (round % 2 && tp_map_own_bytes(&m) == 0)
			sched_yield();
		cr_assert_eq(tp_map_write(&m, p, 0, other, sizeof(other)), 0);
		pthread_join(thread, NULL);
		tp_map_fini(&m, p);
	}
	pool_is_empty(p);
	tp_pool_free(p);
}
