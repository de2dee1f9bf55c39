/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tp-model DIR: random operations by several processes against an in-memory model; see model.h.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runs.h"

static const char usage[] =
	"usage: tp-model [options] DIR\n"
	"  --step live|close|success|rename   what publishes a name in DIR (close)\n"
	"  --seed N, --seeds A-B              which runs (1)\n"
	"  --steps N                          operations of each (1000)\n"
	"  --tail N                           operations that are shown on a failure (40)\n"
	"  --shrink SECONDS                   how long to look for fewer that fail (30)\n"
	"  --verbose                          show each operation\n";

static const struct option options[] = {
	{"step", required_argument, NULL, 's'},
	{"seed", required_argument, NULL, 'r'},
	{"seeds", required_argument, NULL, 'r'},
	{"steps", required_argument, NULL, 'n'},
	{"tail", required_argument, NULL, 't'},
	{"shrink", required_argument, NULL, 'x'},
	{"verbose", no_argument, NULL, 'v'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

struct arguments {
	struct tp_runs runs;
	unsigned long first, last;
	unsigned shrink;
	bool verbose;
};

static int parse(int argc, char **argv, struct arguments *a)
{
	int c, step = TP_STEP_CLOSE;
	char *end;

	*a = (struct arguments){.first = 1, .last = 1, .shrink = 30};
	a->runs.steps = 1000;
	a->runs.tail = 40;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 's':
			step = tp_step_of(optarg);
			break;
		case 'r':
			a->first = a->last = strtoul(optarg, &end, 10);
			if (*end == '-')
				a->last = strtoul(end + 1, NULL, 10);
			break;
		case 'n':
			a->runs.steps = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 't':
			a->runs.tail = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'x':
			a->shrink = (unsigned)strtoul(optarg, NULL, 10);
			break;
		case 'v':
			a->verbose = true;
			break;
		case 'h':
			(void)fputs(usage, stdout);
			exit(0);
		default:
			return -EINVAL;
		}
	}
	if (step < 0 || optind + 1 != argc || a->runs.steps == 0 || a->runs.tail == 0)
		return -EINVAL;
	a->runs.step = (enum tp_step)step;
	a->runs.base = realpath(argv[optind], NULL);
	return a->runs.base ? 0 : -errno;
}

int main(int argc, char **argv)
{
	struct arguments a;
	int r = parse(argc, argv, &a), failed = 0;

	if (r < 0) {
		(void)fputs(r == -EINVAL ? usage : "tp-model: DIR is not there\n", stderr);
		return 2;
	}
	a.runs.ops = calloc(a.runs.steps, sizeof(*a.runs.ops));
	if (!a.runs.ops)
		return 2;
	for (unsigned long seed = a.first; seed <= a.last; seed++) {
		r = tp_runs_generate(&a.runs, seed, a.verbose);
		if (r == 0)
			continue;
		failed++;
		if (r != -EILSEQ) {
			(void)fprintf(stderr, "tp-model: %s: %s\n", a.runs.base, strerror(-r));
			break;
		}
		(void)fprintf(stderr, "tp-model --step %s --seed %lu --steps %u: operation %u\n  %s\n",
			tp_step_name(a.runs.step), seed, a.runs.steps, a.runs.ops_count - 1, a.runs.wrong);
		if (a.shrink > 0)
			tp_runs_shrink(&a.runs, a.shrink);
	}
	(void)printf("%s: seeds %lu to %lu, %u operations each: %d failed\n", tp_step_name(a.runs.step),
		a.first, a.last, a.runs.steps, failed);
	free(a.runs.ops);
	free((void *)a.runs.base);
	return failed ? 1 : 0;
}
