/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tp-traces: hit ratios of LRU, S3-FIFO, ARC and ours on generated traces, side by side.
 *
 * What is held to: ours is at most PLAIN_BEHIND_MAX points behind the best of the three in each cell, and ahead of all
 * three on prefix chains. A cell that does not do that stands in `known` with how far it may be behind.
 */
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy.h"
#include "trace.h"

#define PLAIN_BEHIND_MAX 2.0
#define LANES_MAX 8
#define N_POLICIES 4

static const struct policy *const policies[N_POLICIES] = {
	&policy_lru, &policy_s3fifo, &policy_arc, &policy_ours};

struct options {
	uint64_t events, seed;
	bool quick, json;
	const char *only;
};

struct ratio {
	double objects, bytes; /* in percent */
};

/* --- One trace through one cache --- */

struct lane {
	uint64_t at, end; /* refs of its walk; equal: it has none */
	bool missed;
};

struct run {
	const struct trace *t;
	const struct policy *policy;
	void *cache;
	uint64_t next; /* ref that no lane has taken yet */
	uint64_t hits, hits_kib, all_kib;
};

static bool lane_take(struct run *run, struct lane *l)
{
	const struct trace *t = run->t;

	if (l->at < l->end)
		return true;
	if (run->next == t->n_refs)
		return false;
	*l = (struct lane){.at = run->next++};
	while (run->next < t->n_refs && !(t->refs[run->next] & WALK_BEGINS))
		run->next++;
	l->end = run->next;
	return true;
}

/* After the first miss of a walk nothing is looked up any more: what is there below it is of no use, but is put again. */
static void lane_step(struct run *run, struct lane *l)
{
	uint32_t id = run->t->refs[l->at++] & ~WALK_BEGINS, kib = run->t->objects[id].size_kib;
	bool there = run->policy->has(run->cache, id);

	run->all_kib += kib;
	if (there && !l->missed) {
		run->hits++;
		run->hits_kib += kib;
	}
	if (!there)
		l->missed = true;
	if (there)
		run->policy->use(run->cache, id);
	else
		run->policy->insert(run->cache, id);
}

static struct ratio trace_run(
	const struct trace *t, const struct policy *policy, uint64_t size_kib, uint64_t seed)
{
	struct run run = {.t = t, .policy = policy, .cache = policy->new (t, size_kib)};
	struct lane lanes[LANES_MAX] = {{0}};
	struct rng r = {seed};
	unsigned idle = 0;

	/* Lanes are drawn, so that walks mix; the same draws for each policy. */
	while (idle < t->lanes) {
		struct lane *l = &lanes[t->lanes == 1 ? 0 : rng_below(&r, t->lanes)];

		if (lane_take(&run, l)) {
			lane_step(&run, l);
			continue;
		}
		idle = 0;
		for (unsigned i = 0; i < t->lanes; i++)
			idle += lanes[i].at == lanes[i].end;
	}
	policy->free(run.cache);
	return (struct ratio){100.0 * (double)run.hits / (double)t->n_refs,
		100.0 * (double)run.hits_kib / (double)run.all_kib};
}

/* --- Cells --- */

struct cell {
	const char *name;
	double percent; /* of the footprint */
	bool chains;
	struct ratio ratios[N_POLICIES];
	struct ratio ideal; /* of a cache that holds all */
};

/* Points by which ours is ahead of the best of the others; negative: behind. */
static double ahead(const struct cell *c)
{
	double best = 0;

	for (int i = 0; i < N_POLICIES - 1; i++)
		best = fmax(best, c->ratios[i].objects);
	return c->ratios[N_POLICIES - 1].objects - best;
}

static double ahead_bytes(const struct cell *c)
{
	double best = 0;

	for (int i = 0; i < N_POLICIES - 1; i++)
		best = fmax(best, c->ratios[i].bytes);
	return c->ratios[N_POLICIES - 1].bytes - best;
}

static bool cell_holds(const struct cell *c)
{
	return c->chains ? ahead(c) > 0 : ahead(c) >= -PLAIN_BEHIND_MAX;
}

static void cell_print(const struct cell *c)
{
	printf("%-16s %4.0f %%", c->name, c->percent);
	for (int i = 0; i < N_POLICIES; i++)
		printf(" %8.2f", c->ratios[i].objects);
	printf(" %8.2f %+8.2f %+8.2f%s\n", c->ideal.objects, ahead(c), ahead_bytes(c),
		cell_holds(c) ? "" : "  <--");
}

/* Returns how many cells do not hold. */
static int generator_run(const struct generator *g, const struct options *o)
{
	static const double percents[] = {1, 10, 30}, loop_percents[] = {50, 67, 80, 91, 97};
	bool is_loop = !strcmp(g->name, "loop");
	struct trace t;
	/* Each trace has its own numbers: they do not change when another one is added. */
	struct rng r = {o->seed * 1000003};
	uint64_t footprint_kib;
	int bad = 0;

	for (const char *c = g->name; *c; c++)
		r.state = r.state * 31 + (unsigned char)*c;
	trace_init(&t, g->name);
	t.chains = g->chains;
	t.lanes = g->lanes;
	g->generate(&t, &r, o->events);
	footprint_kib = trace_footprint_kib(&t);
	for (int i = 0; i < (is_loop ? 5 : 3); i++) {
		struct cell c = {.name = g->name,
			.percent = is_loop ? loop_percents[i] : percents[i],
			.chains = g->chains};

		c.ideal = trace_run(&t, &policy_lru, footprint_kib, o->seed);
		for (int p = 0; p < N_POLICIES; p++)
			c.ratios[p] = trace_run(&t, policies[p],
				(uint64_t)((double)footprint_kib * c.percent / 100), o->seed);
		cell_print(&c);
		bad += !cell_holds(&c);
	}
	if (t.chains) {
		printf("    %lu refs, %u objects, %.1f GiB\n", (unsigned long)t.n_refs, t.n_objects,
			(double)footprint_kib / 1048576);
	}
	trace_fini(&t);
	return bad;
}

int main(int argc, char **argv)
{
	struct options o = {.events = 200000, .seed = 1};
	int bad = 0, c;
	static const struct option longs[] = {{"quick", no_argument, NULL, 'q'},
		{"events", required_argument, NULL, 'n'}, {"seed", required_argument, NULL, 's'},
		{"only", required_argument, NULL, 'o'}, {0}};

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == 'q')
			o.quick = true;
		else if (c == 'n')
			o.events = strtoull(optarg, NULL, 10);
		else if (c == 's')
			o.seed = strtoull(optarg, NULL, 10);
		else if (c == 'o')
			o.only = optarg;
		else
			return 2;
	}
	printf("%-16s %6s", "trace", "cache");
	for (int i = 0; i < N_POLICIES; i++)
		printf(" %8s", policies[i]->name);
	printf(" %8s %8s %8s\n", "ideal", "ahead", "by bytes");
	for (const struct generator *g = plain_generators; g->name; g++)
		if (!o.only || strstr(g->name, o.only))
			bad += generator_run(g, &o);
	for (const struct generator *g = chain_generators; g->name; g++)
		if (!o.only || strstr(g->name, o.only))
			bad += generator_run(g, &o);
	return bad ? 1 : 0;
}
