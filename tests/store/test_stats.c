/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "store/stats.h"

static struct tp_stats stats;

static char *rendered(const char *const *op_names)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	cr_assert_not_null(out);
	tp_stats_render(&stats, op_names, out);
	cr_assert_eq(fclose(out), 0);
	return text;
}

static uint64_t in_bucket(struct tp_stats_histogram *h, size_t i)
{
	return atomic_load(&h->bucket[i]);
}

Test(stats, a_time_is_in_the_first_bucket_whose_limit_is_not_below_it)
{
	struct tp_stats_histogram *h = &stats.histogram[TP_HIST_COMMIT];

	tp_stats_init(&stats);
	tp_stats_time(h, 0);
	tp_stats_time(h, 1000);
	cr_assert_eq(in_bucket(h, 0), 2);
	tp_stats_time(h, 1001);
	tp_stats_time(h, 2000);
	cr_assert_eq(in_bucket(h, 1), 2);
	for (size_t i = 2; i < TP_STATS_BUCKETS - 1; i++) {
		tp_stats_time(h, (UINT64_C(1000) << (i - 1)) + 1);
		tp_stats_time(h, UINT64_C(1000) << i);
		cr_assert_eq(in_bucket(h, i), 2, "bucket %zu", i);
	}
	tp_stats_time(h, (UINT64_C(1000) << (TP_STATS_BUCKETS - 2)) + 1);
	tp_stats_time(h, UINT64_MAX / 4);
	cr_assert_eq(in_bucket(h, TP_STATS_BUCKETS - 1), 2);
}

Test(stats, counters_are_shown_with_their_help_and_type)
{
	char *text;

	tp_stats_init(&stats);
	tp_stats_add(&stats, TP_STAT_EVICTED_BYTES, 5);
	tp_stats_add(&stats, TP_STAT_EVICTED_BYTES, UINT64_C(1) << 40);
	cr_assert_eq(tp_stats_get(&stats, TP_STAT_EVICTED_BYTES), (UINT64_C(1) << 40) + 5);
	text = rendered(NULL);
	cr_assert_not_null(strstr(text, "# HELP tidepool_evicted_bytes_total bytes evicted for room\n"
					"# TYPE tidepool_evicted_bytes_total counter\n"
					"tidepool_evicted_bytes_total 1099511627781\n"));
	cr_assert_null(strstr(text, "fuse_request"));
	free(text);
}

Test(stats, a_histogram_is_cumulative_and_in_seconds)
{
	char *text;

	tp_stats_init(&stats);
	tp_stats_time(&stats.histogram[TP_HIST_COLD_READ], 500);
	tp_stats_time(&stats.histogram[TP_HIST_COLD_READ], 3000000);
	text = rendered(NULL);
	cr_assert_not_null(strstr(text, "# TYPE tidepool_cold_read_seconds histogram\n"));
	cr_assert_not_null(strstr(text, "tidepool_cold_read_seconds_bucket{le=\"1e-06\"} 1\n"));
	cr_assert_not_null(strstr(text, "tidepool_cold_read_seconds_bucket{le=\"0.002048\"} 1\n"));
	cr_assert_not_null(strstr(text, "tidepool_cold_read_seconds_bucket{le=\"0.004096\"} 2\n"));
	cr_assert_not_null(strstr(text, "tidepool_cold_read_seconds_bucket{le=\"16.777216\"} 2\n"));
	cr_assert_not_null(strstr(text, "tidepool_cold_read_seconds_bucket{le=\"+Inf\"} 2\n"));
	cr_assert_not_null(strstr(text, "tidepool_cold_read_seconds_sum 0.003000500\n"));
	cr_assert_not_null(strstr(text, "tidepool_cold_read_seconds_count 2\n"));
	free(text);
}

Test(stats, operations_that_have_a_name_are_counted_and_those_that_were_seen_have_a_histogram)
{
	const char *names[TP_STATS_OPS_MAX] = {[1] = "LOOKUP", [15] = "READ"};
	char *text;

	tp_stats_init(&stats);
	atomic_fetch_add(&stats.op_count[15], 1);
	tp_stats_time(&stats.op_time[15], 1500);
	text = rendered(names);
	cr_assert_not_null(strstr(text, "tidepool_fuse_requests_total{op=\"LOOKUP\"} 0\n"));
	cr_assert_not_null(strstr(text, "tidepool_fuse_requests_total{op=\"READ\"} 1\n"));
	cr_assert_not_null(
		strstr(text, "tidepool_fuse_request_seconds_bucket{op=\"READ\",le=\"2e-06\"} 1\n"));
	cr_assert_not_null(strstr(text, "tidepool_fuse_request_seconds_sum{op=\"READ\"} 0.000001500\n"));
	cr_assert_not_null(strstr(text, "tidepool_fuse_request_seconds_count{op=\"READ\"} 1\n"));
	cr_assert_null(strstr(text, "bucket{op=\"LOOKUP\""));
	free(text);
}
