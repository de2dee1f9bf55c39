/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs of the model test: by seed, and again with fewer and fewer operations while they still fail.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "model.h"

struct tp_runs {
	const char *base; /* each run makes a directory of its own in it */
	enum tp_step step;
	unsigned steps;
	unsigned tail;	   /* operations that are printed on a failure */
	struct tp_op *ops; /* room for steps; what the last run by seed did */
	unsigned ops_count;
	char wrong[1024]; /* what did not fit */
};

/* -EILSEQ: the file system and the model differ (runs->wrong, the tail is on stderr); other errors: the run could not begin. */
int tp_runs_generate(struct tp_runs *runs, uint64_t seed, bool verbose);
/* Leaves operations out of what the last run did while it still fails, for so many seconds, and prints what is left. */
void tp_runs_shrink(struct tp_runs *runs, unsigned seconds);

/* -1: no such step. */
int tp_step_of(const char *name);
const char *tp_step_name(enum tp_step step);
