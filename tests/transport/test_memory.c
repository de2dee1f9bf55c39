/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport in memory, with an owner who has one object and can change it at each pin.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tests/store/heap.h"
#include "transport/memory.h"

#define MIB (1u << 20)
#define OBJECT_BYTES_MAX (7 * MIB / 2)
#define MS UINT64_C(1000000)

struct owner {
	struct tp_serve serve;
	unsigned char *bytes;
	uint64_t size, generation;
	bool changes;	     /* each pin finds a new generation, of bytes that are its number */
	int error;	     /* of pin */
	unsigned pins, asks; /* pins that are there; pins ever */
};

static int owner_pin(void *user, const void *name, size_t name_len, uint64_t generation, struct tp_pin **ret,
	struct tp_pin_info *ret_info)
{
	struct owner *o = user;

	o->asks++;
	if (o->error)
		return o->error;
	if (name_len != 4 || memcmp(name, "name", 4) != 0)
		return -ENOENT;
	if (o->changes)
		o->generation++;
	if (generation && generation != o->generation)
		return -ESTALE;
	o->pins++;
	*ret = (struct tp_pin *)(uintptr_t)o->generation;
	*ret_info = (struct tp_pin_info){
		.generation = o->generation, .size_bytes = o->size, .mode = 0640, .uid = 7, .gid = 8};
	return 0;
}

/* In entries of 1,000 bytes at most, so that one call is not always enough. */
static void owner_read(void *user, const struct tp_pin *pin, uint64_t offset, size_t len, struct iovec *iov,
	unsigned iov_max, unsigned *ret_count, size_t *ret_len)
{
	struct owner *o = user;

	cr_assert_gt(len, 0);
	cr_assert_leq(offset + len, o->size);
	if (o->changes)
		memset(o->bytes + offset, (int)(uintptr_t)pin, len);
	*ret_len = 0;
	for (*ret_count = 0; *ret_count < iov_max && *ret_len < len; (*ret_count)++) {
		size_t n = len - *ret_len < 1000 ? len - *ret_len : 1000;

		iov[*ret_count] = (struct iovec){o->bytes + offset + *ret_len, n};
		*ret_len += n;
	}
}

static void owner_unpin(void *user, struct tp_pin *pin)
{
	struct owner *o = user;

	cr_assert_gt(o->pins, 0);
	o->pins--;
}

struct rig {
	struct owner owner;
	struct tp_memory *memory;
	struct tp_fetch fetch;
	unsigned done;
	int error;
	unsigned char *landing;
};

static void done(struct tp_fetch *f, int error)
{
	struct rig *g = (struct rig *)((char *)f - offsetof(struct rig, fetch));

	g->done++;
	g->error = error;
}

static void rig_init(struct rig *g, uint64_t seed, unsigned lost_pct, unsigned twice_pct)
{
	struct tp_memory_options options = {.seed = seed,
		.serve = {NULL, &g->owner.serve},
		.delay_ns_max = 10 * MS,
		.lost_pct = lost_pct,
		.twice_pct = twice_pct};

	*g = (struct rig){.landing = malloc(OBJECT_BYTES_MAX)};
	g->owner = (struct owner){.serve = {owner_pin, owner_read, owner_unpin, &g->owner},
		.bytes = malloc(OBJECT_BYTES_MAX),
		.generation = 1};
	for (size_t i = 0; i < OBJECT_BYTES_MAX; i++)
		g->owner.bytes[i] = (unsigned char)((uint32_t)i * 2654435761u >> 24);
	memset(g->landing, 0xee, OBJECT_BYTES_MAX);
	cr_assert_eq(tp_memory_new(&options, &g->memory), 0);
}

static void rig_fini(struct rig *g)
{
	tp_memory_free(g->memory);
	cr_assert_eq(g->owner.pins, 0);
	free(g->owner.bytes);
	free(g->landing);
}

/* A fetch of len bytes from offset to its end, or to when nothing is under way. */
static int fetch(struct rig *g, uint64_t offset, size_t len, uint64_t within_ns)
{
	g->fetch = (struct tp_fetch){.name = "name",
		.name_len = 4,
		.offset = offset,
		.landing = g->landing,
		.landing_bytes = len,
		.deadline_ns = tp_memory_now_ns(g->memory) + within_ns,
		.done = done};
	g->done = 0;
	cr_assert_eq(tp_memory_fetch(g->memory, 0, &g->fetch), 0);
	while (g->done == 0)
		cr_assert(tp_memory_step(g->memory));
	return g->error;
}

static void finish(struct rig *g)
{
	while (tp_memory_step(g->memory)) {
	}
	cr_assert_eq(g->done, 1);
	cr_assert_eq(g->owner.pins, 0);
}

Test(memory, objects_of_all_sizes_come_whole_with_one_request)
{
	static const uint64_t sizes[] = {0, 1, 4096, MIB - 1, MIB, MIB + 1, OBJECT_BYTES_MAX};
	struct rig g;

	rig_init(&g, 1, 0, 0);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		g.owner.size = sizes[i];
		g.owner.generation = i + 1;
		g.owner.asks = 0;
		cr_assert_eq(fetch(&g, 0, OBJECT_BYTES_MAX, 100 * MS), 0);
		cr_assert_eq(g.fetch.len, sizes[i]);
		cr_assert_eq(g.fetch.info.size_bytes, sizes[i]);
		cr_assert_eq(g.fetch.info.generation, i + 1);
		cr_assert_eq(g.fetch.info.mode, 0640);
		cr_assert_eq(g.fetch.info.uid, 7);
		cr_assert_eq(g.fetch.info.gid, 8);
		cr_assert_eq(memcmp(g.landing, g.owner.bytes, sizes[i]), 0);
		finish(&g);
		cr_assert_eq(g.owner.asks, 1);
	}
	rig_fini(&g);
}

Test(memory, a_range_lands_and_nothing_beyond_it)
{
	struct rig g;

	rig_init(&g, 2, 0, 0);
	g.owner.size = OBJECT_BYTES_MAX;
	cr_assert_eq(fetch(&g, 12345, 2 * MIB + 7, 100 * MS), 0);
	cr_assert_eq(g.fetch.len, 2 * MIB + 7);
	cr_assert_eq(memcmp(g.landing, g.owner.bytes + 12345, g.fetch.len), 0);
	cr_assert_eq(g.landing[g.fetch.len], 0xee);
	finish(&g);
	cr_assert_eq(fetch(&g, OBJECT_BYTES_MAX - 5, MIB, 100 * MS), 0);
	cr_assert_eq(g.fetch.len, 5);
	cr_assert_eq(memcmp(g.landing, g.owner.bytes + OBJECT_BYTES_MAX - 5, 5), 0);
	cr_assert_eq(fetch(&g, OBJECT_BYTES_MAX + 1, MIB, 100 * MS), 0);
	cr_assert_eq(g.fetch.len, 0);
	g.fetch.landing_bytes = TP_FETCH_BYTES_MAX + 1;
	cr_assert_eq(tp_memory_fetch(g.memory, 0, &g.fetch), -EINVAL);
	rig_fini(&g);
}

Test(memory, what_the_owner_says_is_passed_on)
{
	struct rig g;

	rig_init(&g, 3, 0, 0);
	g.owner.error = -EBUSY;
	cr_assert_eq(fetch(&g, 0, MIB, 100 * MS), -EBUSY);
	finish(&g);
	rig_fini(&g);
}

Test(memory, what_is_lost_ends_by_the_deadline_and_not_before)
{
	struct rig g;
	uint64_t start;

	rig_init(&g, 4, 100, 0);
	start = tp_memory_now_ns(g.memory);
	cr_assert_eq(fetch(&g, 0, MIB, 30 * MS), -ETIMEDOUT);
	cr_assert_eq(tp_memory_now_ns(g.memory), start + 30 * MS);
	finish(&g);
	rig_fini(&g);
}

Test(memory, a_cut_line_ends_in_the_deadline_and_a_mended_one_works)
{
	struct rig g;

	rig_init(&g, 5, 0, 0);
	g.owner.size = MIB;
	tp_memory_cut(g.memory, true);
	cr_assert_eq(fetch(&g, 0, MIB, 30 * MS), -ETIMEDOUT);
	cr_assert_eq(g.owner.asks, 0);
	tp_memory_cut(g.memory, false);
	cr_assert_eq(fetch(&g, 0, MIB, 30 * MS), 0);
	finish(&g);
	rig_fini(&g);
}

Test(memory, a_cut_between_pin_and_piece_lets_the_pin_go)
{
	struct rig g;

	rig_init(&g, 6, 0, 0);
	g.owner.size = OBJECT_BYTES_MAX;
	g.fetch = (struct tp_fetch){.name = "name",
		.name_len = 4,
		.landing = g.landing,
		.landing_bytes = OBJECT_BYTES_MAX,
		.deadline_ns = 100 * MS,
		.done = done};
	cr_assert_eq(tp_memory_fetch(g.memory, 0, &g.fetch), 0);
	cr_assert(tp_memory_step(g.memory));
	cr_assert_eq(g.owner.pins, 1);
	tp_memory_cut(g.memory, true);
	finish(&g);
	cr_assert_eq(g.error, -ETIMEDOUT);
	rig_fini(&g);
}

Test(memory, nothing_lands_after_the_end)
{
	unsigned late = 0, partly = 0;
	struct rig g;

	for (uint64_t seed = 0; seed < 200; seed++) {
		rig_init(&g, seed, 0, 50);
		g.owner.size = OBJECT_BYTES_MAX;
		/* About when the pieces come. */
		if (fetch(&g, 0, OBJECT_BYTES_MAX, 12 * MS) == -ETIMEDOUT) {
			late += g.owner.pins > 0;
			partly += g.fetch.landed != 0;
		}
		memset(g.landing, 0xdd, OBJECT_BYTES_MAX);
		finish(&g);
		for (size_t i = 0; i < OBJECT_BYTES_MAX; i += 512)
			cr_assert_eq(g.landing[i], 0xdd, "seed %lu", (unsigned long)seed);
		rig_fini(&g);
	}
	cr_assert_gt(late, 20);
	cr_assert_gt(partly, 20);
}

Test(memory, two_answers_to_one_fetch_are_never_mixed)
{
	unsigned whole = 0, second = 0;
	struct rig g;

	for (uint64_t seed = 0; seed < 200; seed++) {
		rig_init(&g, seed, 10, 100);
		g.owner.size = 3 * MIB;
		g.owner.changes = true;
		if (fetch(&g, 0, OBJECT_BYTES_MAX, 100 * MS) == 0) {
			whole++;
			second += g.fetch.info.generation == 3;
			for (size_t i = 0; i < 3 * MIB; i += 512)
				cr_assert_eq(g.landing[i], g.fetch.info.generation, "seed %lu",
					(unsigned long)seed);
		}
		finish(&g);
		rig_fini(&g);
	}
	cr_assert_gt(whole, 20);
	cr_assert_gt(second, 20);
}

Test(memory, the_same_seed_goes_the_same_way)
{
	uint64_t end[2];
	struct rig g;

	for (unsigned i = 0; i < 2; i++) {
		rig_init(&g, 77, 20, 20);
		g.owner.size = OBJECT_BYTES_MAX;
		end[i] = 0;
		for (unsigned n = 0; n < 20; n++)
			end[i] = end[i] * 31 + (uint64_t)(fetch(&g, 0, OBJECT_BYTES_MAX, 15 * MS) == 0);
		end[i] += tp_memory_now_ns(g.memory);
		rig_fini(&g);
	}
	cr_assert_eq(end[0], end[1]);
}

Test(memory, the_end_of_the_transport_ends_what_is_under_way)
{
	struct rig g;

	rig_init(&g, 8, 0, 0);
	g.owner.size = OBJECT_BYTES_MAX;
	g.fetch = (struct tp_fetch){.name = "name",
		.name_len = 4,
		.landing = g.landing,
		.landing_bytes = OBJECT_BYTES_MAX,
		.deadline_ns = 100 * MS,
		.done = done};
	cr_assert_eq(tp_memory_fetch(g.memory, 0, &g.fetch), 0);
	cr_assert(tp_memory_step(g.memory));
	cr_assert_eq(g.owner.pins, 1);
	rig_fini(&g);
	cr_assert_eq(g.done, 1);
	cr_assert_eq(g.error, -ECANCELED);
}

Test(memory, each_allocation_may_fail)
{
	struct tp_memory_options options = {.delay_ns_max = 1};
	struct tp_memory *none = NULL;
	struct rig g;

	heap_fail_at(1);
	cr_assert_eq(tp_memory_new(&options, &none), -ENOMEM);
	cr_assert(heap_fail_off());
	cr_assert_null(none);
	rig_init(&g, 9, 0, 0);
	heap_fail_at(1);
	cr_assert_eq(tp_memory_fetch(g.memory, 0, &g.fetch), -ENOMEM);
	cr_assert(heap_fail_off());
	cr_assert_not(tp_memory_step(g.memory));
	/* The owner's: the fetch's own was the first. */
	heap_fail_at(2);
	cr_assert_eq(fetch(&g, 0, MIB, 30 * MS), -ETIMEDOUT);
	cr_assert(heap_fail_off());
	finish(&g);
	rig_fini(&g);
}
