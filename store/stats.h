/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters and latency histograms, counted without a lock (relaxed atomics), rendered as Prometheus text.
 *
 * Each counter stands once in the list below: enum, name, help. Histograms are in nanoseconds, with buckets
 * at powers of two from 1 us to 16 s, shown in seconds.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* X(enum suffix, Prometheus name without tidepool_, help) */
#define TP_COUNTERS(X)                                                                                       \
	X(PUBLISHED, "published_total", "generations published")                                             \
	X(DEDUPED, "dedup_total", "publications whose bytes were there already")                             \
	X(DROPPED, "drafts_dropped_total", "drafts dropped because a writer ended badly or was unlinked")    \
	X(UNKNOWN_END, "drafts_unknown_end_total",                                                           \
		"drafts published though how a writer ended cannot be known")                                \
	X(EVICTED, "evicted_total", "objects evicted for room")                                              \
	X(EVICTED_BYTES, "evicted_bytes_total", "bytes evicted for room")                                    \
	X(EXPIRED, "expired_total", "objects whose ttl ran out")                                             \
	X(QUOTA_EVICTED, "quota_evicted_total", "objects evicted to keep a directory in its quota")          \
	X(HITS, "hits_total", "opens for reading that found their object")                                   \
	X(MISSES, "misses_total", "look-ups in cache/ that found nothing")                                   \
	X(READ_BYTES, "read_bytes_total", "bytes read through the daemon")                                   \
	X(WRITTEN_BYTES, "written_bytes_total", "bytes written")                                             \
	X(ADOPTED_BYTES, "adopted_bytes_total",                                                              \
		"bytes written that were not copied after the kernel's copy")                                \
	X(NOSPACE, "nospace_total", "writes that were answered ENOSPC")                                      \
	X(PARKED, "parked_total", "requests that had to wait")                                               \
	X(NOTIFIES, "notifies_total", "invalidations sent to the kernel")                                    \
	X(STALE_OPENS, "stale_opens_total", "opens sent back to look up again")                              \
	X(SLOW_RELEASES, "slow_releases_total", "look-ups that waited for a RELEASE")                        \
	X(SAMPLES_COMMITTED, "samples_committed_total", "samples committed")

enum tp_counter {
#define X(id, name, help) TP_STAT_##id,
	TP_COUNTERS(X)
#undef X
		TP_STAT_COUNT
};

/* X(enum suffix, name without tidepool_ and _seconds, help) */
#define TP_HISTOGRAMS(X)                                                                                     \
	X(COMMIT, "commit", "of last closes and renames that published an object")                           \
	X(COLD_READ, "cold_read", "READ requests answered, and first opens that were answered with all bytes")

enum tp_histogram {
#define X(id, name, help) TP_HIST_##id,
	TP_HISTOGRAMS(X)
#undef X
		TP_HIST_COUNT
};

#define TP_STATS_OPS_MAX 64 /* FUSE opcodes, by number */
#define TP_STATS_BUCKETS 26 /* le 1 us, 2 us, ... 16.8 s, +Inf */

struct tp_stats_histogram {
	_Atomic uint64_t bucket[TP_STATS_BUCKETS];
	_Atomic uint64_t sum_ns;
};

struct tp_stats {
	_Atomic uint64_t counter[TP_STAT_COUNT];
	struct tp_stats_histogram histogram[TP_HIST_COUNT];
	_Atomic uint64_t op_count[TP_STATS_OPS_MAX];
	struct tp_stats_histogram op_time[TP_STATS_OPS_MAX];
};

static inline void tp_stats_add(struct tp_stats *s, enum tp_counter c, uint64_t n)
{
	atomic_fetch_add_explicit(&s->counter[c], n, memory_order_relaxed);
}

static inline uint64_t tp_stats_get(struct tp_stats *s, enum tp_counter c)
{
	return atomic_load_explicit(&s->counter[c], memory_order_relaxed);
}

void tp_stats_init(struct tp_stats *s);
void tp_stats_time(struct tp_stats_histogram *h, uint64_t ns);

/*
 * Writes everything as Prometheus text. op_names has TP_STATS_OPS_MAX entries, the operations' names by
 * number (NULL: not shown); NULL leaves the operations out. A failed write shows in ferror(out).
 */
void tp_stats_render(struct tp_stats *s, const char *const *op_names, FILE *out);
