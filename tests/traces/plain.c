/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traces without chains.
 *
 * zipf: popularity by Zipf's law, each request on its own; block and key-value traces are fitted with an alpha of 0.6
 * to 1.2. The sizes, where mixed, are 4 KiB to 4 MiB, each power of two as likely, and say nothing about popularity.
 * The same with objects that lie in directories of several depths, which say nothing either: where no depth is set, that of
 * the directory counts.
 * loop: the same order again and again (epochs of training); of use to a cache that keeps what it has.
 * scan: a hot set, and now and then a pass over what is never asked for again (backup, a data set that is read once).
 * drift: a popular set that moves: every object is popular for a while after it came up, and then no more.
 */
#include <stdlib.h>

#include "trace.h"

#define SIZE_KIB 1024

static uint32_t mixed_size(struct rng *r)
{
	return 4u << rng_below(r, 11);
}

static void zipf(struct trace *t, struct rng *r, uint64_t events, double alpha, bool mixed)
{
	uint32_t n = (uint32_t)(events / 10);
	struct zipf z;

	for (uint32_t i = 0; i < n; i++)
		trace_object(t, r, mixed ? mixed_size(r) : SIZE_KIB, 0);
	zipf_init(&z, n, alpha);
	for (uint64_t i = 0; i < events; i++)
		trace_ref(t, zipf_draw(&z, r), true);
	zipf_fini(&z);
}

static void zipf_06(struct trace *t, struct rng *r, uint64_t events)
{
	zipf(t, r, events, 0.6, false);
}

static void zipf_08(struct trace *t, struct rng *r, uint64_t events)
{
	zipf(t, r, events, 0.8, false);
}

static void zipf_10(struct trace *t, struct rng *r, uint64_t events)
{
	zipf(t, r, events, 1.0, false);
}

static void zipf_12(struct trace *t, struct rng *r, uint64_t events)
{
	zipf(t, r, events, 1.2, false);
}

static void zipf_08_sizes(struct trace *t, struct rng *r, uint64_t events)
{
	zipf(t, r, events, 0.8, true);
}

static void zipf_10_sizes(struct trace *t, struct rng *r, uint64_t events)
{
	zipf(t, r, events, 1.0, true);
}

static void zipf_10_tree(struct trace *t, struct rng *r, uint64_t events)
{
	zipf(t, r, events, 1.0, false);
	for (uint32_t i = 0; i < t->n_objects; i++)
		t->objects[i].depth = (uint16_t)(2 + rng_below(r, 4));
}

static void loop(struct trace *t, struct rng *r, uint64_t events)
{
	uint32_t n = (uint32_t)(events / 20);

	for (uint32_t i = 0; i < n; i++)
		trace_object(t, r, SIZE_KIB, 0);
	for (uint64_t i = 0; i < events; i++)
		trace_ref(t, (uint32_t)(i % n), true);
}

static void scan(struct trace *t, struct rng *r, uint64_t events)
{
	uint32_t n = (uint32_t)(events / 40), scan_length = n * 4;
	struct zipf z;

	for (uint32_t i = 0; i < n; i++)
		trace_object(t, r, SIZE_KIB, 0);
	zipf_init(&z, n, 0.8);
	/* The hot set for as long as a scan takes, twice, then the scan: a third of all is scanned. */
	for (uint64_t i = 0; i < events; i++) {
		if (i % (scan_length * 3) < scan_length * 2)
			trace_ref(t, zipf_draw(&z, r), true);
		else
			trace_ref(t, trace_object(t, r, SIZE_KIB, 0), true);
	}
	zipf_fini(&z);
}

static void drift(struct trace *t, struct rng *r, uint64_t events)
{
	/* How many objects ago it came up: a tenth new, the rest of heavy-tailed age, mostly near. */
	uint64_t n_new = events / 10;
	struct zipf age;

	zipf_init(&age, (uint32_t)(n_new / 2), 0.9);
	for (uint64_t i = 0; i < events; i++) {
		uint32_t back;

		if (!t->n_objects || rng_below(r, 10) == 0) {
			trace_ref(t, trace_object(t, r, SIZE_KIB, 0), true);
			continue;
		}
		back = zipf_draw(&age, r);
		trace_ref(t, back < t->n_objects ? t->n_objects - 1 - back : 0, true);
	}
	zipf_fini(&age);
}

const struct generator plain_generators[] = {
	{"zipf-0.6", zipf_06, false, 1},
	{"zipf-0.8", zipf_08, false, 1},
	{"zipf-1.0", zipf_10, false, 1},
	{"zipf-1.2", zipf_12, false, 1},
	{"zipf-0.8-sizes", zipf_08_sizes, false, 1},
	{"zipf-1.0-sizes", zipf_10_sizes, false, 1},
	{"zipf-1.0-tree", zipf_10_tree, false, 1},
	{"loop", loop, false, 1},
	{"scan", scan, false, 1},
	{"drift", drift, false, 1},
	{NULL, NULL, false, 0},
};
