/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A trace: objects, and in which order they are asked for. The generators fill one from a seed; the same seed gives
 * the same trace. Asking for what was not there puts it there.
 *
 * In a trace of prefix chains a *walk* asks for the objects of one chain from its head to its end; the first that is
 * missing ends the hits of the walk. In the other traces each request is a walk of its own.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct object {
	uint64_t key; /* as good as a hash of its name */
	uint32_t size_kib;
	uint16_t depth; /* in its chain, 0 outside of chains */
};

struct trace {
	const char *name;
	bool chains;
	unsigned lanes;		/* how many walks run at the same time, their requests mixed */
	struct object *objects; /* owned */
	uint32_t n_objects;
	uint32_t objects_max;
	uint32_t *refs; /* owned: object numbers, WALK_BEGINS set in the first of a walk */
	uint64_t n_refs;
	uint64_t refs_max;
};

#define WALK_BEGINS (1u << 31)

struct rng {
	uint64_t state;
};

uint64_t rng_next(struct rng *r);
/* Evenly in [0, 1). */
double rng_unit(struct rng *r);
/* Evenly in [0, n). */
uint32_t rng_below(struct rng *r, uint32_t n);
/* 0, 1, 2, ... with this mean, each as likely as the one before it times a constant. */
uint32_t rng_geometric(struct rng *r, double mean);
double rng_exponential(struct rng *r, double mean);
double rng_lognormal(struct rng *r, double median, double sigma);

/* Numbers 0 to n - 1, number i with a weight of 1 / (i + 1) ^ alpha. */
struct zipf {
	uint32_t n;
	double *sums; /* owned */
};

void zipf_init(struct zipf *z, uint32_t n, double alpha);
void zipf_fini(struct zipf *z);
uint32_t zipf_draw(const struct zipf *z, struct rng *r);

/* Ends the program when memory is short, as all of these do: a test has nothing better to do then. */
void *need(void *p);

void trace_init(struct trace *t, const char *name);
void trace_fini(struct trace *t);
/* Returns the number of a new object. */
uint32_t trace_object(struct trace *t, struct rng *r, uint32_t size_kib, uint16_t depth);
void trace_ref(struct trace *t, uint32_t object, bool begins);
/* KiB of all objects that are asked for. */
uint64_t trace_footprint_kib(const struct trace *t);

/* Each trace that there is: NULL name at the end. A trace gets about `events` requests. */
struct generator {
	const char *name;
	void (*generate)(struct trace *t, struct rng *r, uint64_t events);
	bool chains;
	unsigned lanes;
};

extern const struct generator plain_generators[];
extern const struct generator chain_generators[];
