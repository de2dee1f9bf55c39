/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trace.h"

/* splitmix64 */
uint64_t rng_next(struct rng *r)
{
	uint64_t z = r->state += 0x9e3779b97f4a7c15;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

double rng_unit(struct rng *r)
{
	return (double)(rng_next(r) >> 11) * 0x1p-53;
}

uint32_t rng_below(struct rng *r, uint32_t n)
{
	return (uint32_t)(rng_unit(r) * n);
}

/*
 * Logarithm and power of e, from what IEEE 754 fixes to the last bit: with those of a C library the traces of one seed, and
 * what is checked on them, would depend on its version and on the processor.
 */
static double ln(double x)
{
	int e;
	double m = frexp(x, &e), z, zz, term, sum = 0;

	z = (m - M_SQRT1_2) / (m + M_SQRT1_2);
	zz = z * z;
	term = z;
	for (int k = 1; k < 40; k += 2, term *= zz)
		sum += term / k;
	return 2 * sum + (e - 0.5) * M_LN2;
}

static double power_of_e(double x)
{
	int n = (int)(x / M_LN2);
	double r = x - n * M_LN2, term = 1, sum = 1;

	for (int k = 1; k < 24; k++) {
		term *= r / k;
		sum += term;
	}
	return ldexp(sum, n);
}

uint32_t rng_geometric(struct rng *r, double mean)
{
	return (uint32_t)(ln(1 - rng_unit(r)) / ln(mean / (mean + 1)));
}

double rng_exponential(struct rng *r, double mean)
{
	return -ln(1 - rng_unit(r)) * mean;
}

double rng_lognormal(struct rng *r, double median, double sigma)
{
	double u, v, s;

	/* Marsaglia's polar method. */
	do {
		u = 2 * rng_unit(r) - 1;
		v = 2 * rng_unit(r) - 1;
		s = u * u + v * v;
	} while (s >= 1 || s == 0);
	return median * power_of_e(sigma * u * sqrt(-2 * ln(s) / s));
}

void zipf_init(struct zipf *z, uint32_t n, double alpha)
{
	double sum = 0;

	z->n = n;
	z->sums = need(calloc(n, sizeof(*z->sums)));
	for (uint32_t i = 0; i < n; i++)
		z->sums[i] = sum += power_of_e(-alpha * ln(i + 1));
}

void zipf_fini(struct zipf *z)
{
	free(z->sums);
}

uint32_t zipf_draw(const struct zipf *z, struct rng *r)
{
	double at = rng_unit(r) * z->sums[z->n - 1];
	uint32_t low = 0, high = z->n - 1;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (z->sums[mid] <= at)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

void *need(void *p)
{
	if (!p) {
		fputs("tp-traces: out of memory\n", stderr);
		exit(1);
	}
	return p;
}

void trace_init(struct trace *t, const char *name)
{
	*t = (struct trace){.name = name, .lanes = 1};
}

void trace_fini(struct trace *t)
{
	free(t->objects);
	free(t->refs);
}

uint32_t trace_object(struct trace *t, struct rng *r, uint32_t size_kib, uint16_t depth)
{
	if (t->n_objects == t->objects_max) {
		t->objects_max = t->objects_max ? t->objects_max * 2 : 4096;
		t->objects = need(realloc(t->objects, t->objects_max * sizeof(*t->objects)));
	}
	t->objects[t->n_objects] = (struct object){.key = rng_next(r), .size_kib = size_kib, .depth = depth};
	return t->n_objects++;
}

void trace_ref(struct trace *t, uint32_t object, bool begins)
{
	if (t->n_refs == t->refs_max) {
		t->refs_max = t->refs_max ? t->refs_max * 2 : 65536;
		t->refs = need(realloc(t->refs, t->refs_max * sizeof(*t->refs)));
	}
	t->refs[t->n_refs++] = object | (begins ? WALK_BEGINS : 0);
}

uint64_t trace_footprint_kib(const struct trace *t)
{
	bool *seen = need(calloc(t->n_objects + 1, sizeof(*seen)));
	uint64_t kib = 0;

	for (uint64_t i = 0; i < t->n_refs; i++) {
		uint32_t id = t->refs[i] & ~WALK_BEGINS;

		if (!seen[id])
			kib += t->objects[id].size_kib;
		seen[id] = true;
	}
	free(seen);
	return kib;
}
