/* SPDX-License-Identifier: Apache-2.0 */
#include "store/stats.h"

#include <inttypes.h>
#include <string.h>

#include "store/clock.h"

#define BUCKET_FIRST_NS UINT64_C(1000)

static const struct {
	const char *name, *help;
} counters[TP_STAT_COUNT] = {
#define X(id, n, h) [TP_STAT_##id] = {n, h},
	TP_COUNTERS(X)
#undef X
};

static const struct {
	const char *name, *help;
} histograms[TP_HIST_COUNT] = {
#define X(id, n, h) [TP_HIST_##id] = {n, h},
	TP_HISTOGRAMS(X)
#undef X
};

static void histogram_init(struct tp_stats_histogram *h)
{
	for (size_t i = 0; i < TP_STATS_BUCKETS; i++)
		atomic_init(&h->bucket[i], 0);
	atomic_init(&h->sum_ns, 0);
}

void tp_stats_init(struct tp_stats *s)
{
	for (size_t i = 0; i < TP_STAT_COUNT; i++)
		atomic_init(&s->counter[i], 0);
	for (size_t i = 0; i < TP_HIST_COUNT; i++)
		histogram_init(&s->histogram[i]);
	for (size_t i = 0; i < TP_STATS_OPS_MAX; i++) {
		atomic_init(&s->op_count[i], 0);
		histogram_init(&s->op_time[i]);
	}
}

void tp_stats_time(struct tp_stats_histogram *h, uint64_t ns)
{
	size_t i = 0;

	/*
	 * Bucket i holds what is at most 2^i us; the quotient is rounded up, so that exactly 2^i us is still
	 * in it.
	 */
	if (ns > BUCKET_FIRST_NS) {
		uint64_t us = (ns - 1) / BUCKET_FIRST_NS;

		i = 64 - (size_t)__builtin_clzll(us);
		if (i > TP_STATS_BUCKETS - 1)
			i = TP_STATS_BUCKETS - 1;
	}
	atomic_fetch_add_explicit(&h->bucket[i], 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&h->sum_ns, ns, memory_order_relaxed);
}

/*
 * Shows one histogram; label is `op="READ",` or nothing. The count is the sum of the buckets that were read,
 * so that it never contradicts them.
 */
static void render_histogram(struct tp_stats_histogram *h, const char *name, const char *label, FILE *out)
{
	uint64_t sum_ns = atomic_load_explicit(&h->sum_ns, memory_order_relaxed);
	uint64_t count = 0;
	char only[80] = "";

	for (size_t i = 0; i < TP_STATS_BUCKETS; i++) {
		count += atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
		if (i < TP_STATS_BUCKETS - 1)
			(void)fprintf(out, "tidepool_%s_seconds_bucket{%sle=\"%.9g\"} %" PRIu64 "\n", name,
				label, (double)(BUCKET_FIRST_NS << i) / (double)TP_NS_PER_S, count);
		else
			(void)fprintf(out, "tidepool_%s_seconds_bucket{%sle=\"+Inf\"} %" PRIu64 "\n", name,
				label, count);
	}
	if (*label)
		(void)snprintf(only, sizeof(only), "{%.*s}", (int)strlen(label) - 1, label);
	(void)fprintf(out, "tidepool_%s_seconds_sum%s %" PRIu64 ".%09" PRIu64 "\n", name, only,
		sum_ns / TP_NS_PER_S, sum_ns % TP_NS_PER_S);
	(void)fprintf(out, "tidepool_%s_seconds_count%s %" PRIu64 "\n", name, only, count);
}

static void render_head(const char *name, const char *unit, const char *help, const char *type, FILE *out)
{
	(void)fprintf(out, "# HELP tidepool_%s%s %s\n# TYPE tidepool_%s%s %s\n", name, unit, help, name, unit,
		type);
}

/*
 * The operations that have a name, and of these in the histograms only those that were seen: 26 lines each
 * would drown the rest.
 */
static void render_ops(struct tp_stats *s, const char *const *op_names, FILE *out)
{
	char label[64];

	render_head("fuse_requests_total", "", "FUSE requests", "counter", out);
	for (size_t i = 0; i < TP_STATS_OPS_MAX; i++)
		if (op_names[i])
			(void)fprintf(out, "tidepool_fuse_requests_total{op=\"%s\"} %" PRIu64 "\n",
				op_names[i], atomic_load_explicit(&s->op_count[i], memory_order_relaxed));
	render_head("fuse_request", "_seconds", "from a FUSE request to its answer", "histogram", out);
	for (size_t i = 0; i < TP_STATS_OPS_MAX; i++) {
		if (!op_names[i] || !atomic_load_explicit(&s->op_count[i], memory_order_relaxed))
			continue;
		(void)snprintf(label, sizeof(label), "op=\"%s\",", op_names[i]);
		render_histogram(&s->op_time[i], "fuse_request", label, out);
	}
}

void tp_stats_render(struct tp_stats *s, const char *const *op_names, FILE *out)
{
	for (size_t i = 0; i < TP_STAT_COUNT; i++) {
		render_head(counters[i].name, "", counters[i].help, "counter", out);
		(void)fprintf(out, "tidepool_%s %" PRIu64 "\n", counters[i].name,
			tp_stats_get(s, (enum tp_counter)i));
	}
	for (size_t i = 0; i < TP_HIST_COUNT; i++) {
		render_head(histograms[i].name, "_seconds", histograms[i].help, "histogram", out);
		render_histogram(&s->histogram[i], histograms[i].name, "", out);
	}
	if (op_names)
		render_ops(s, op_names, out);
}
