/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One run of the model test in a directory of its own: workers, model, the last operations as text, and what went wrong.
 */
#pragma once

#include "model.h"

#define TP_LINE_MAX 240

struct tp_run {
	struct tp_model model;
	struct tp_worker workers[TP_WORKERS];
	struct tp_result *seen; /* of the driver's own looking */
	char dir[512];
	char wrong[1024];	    /* empty: all is well */
	char (*lines)[TP_LINE_MAX]; /* ring of lines_max */
	unsigned lines_max, lines_count;
};

/* Was r among the answers that were planned? Fills run->wrong and returns false otherwise. */
bool tp_check_answer(
	struct tp_run *run, const struct tp_op *op, const struct tp_plan *plan, const struct tp_result *got);
/* After the commit: does what the operation gave back (data, stat, list) fit the model? */
bool tp_check_given(
	struct tp_run *run, const struct tp_op *op, const struct tp_plan *plan, const struct tp_result *got);
/* Looks at what op says is to be looked at. */
bool tp_check_look(struct tp_run *run, const struct tp_op *op);

/* Chooses the next operation; most are possible in the state that m is in, some are not. */
void tp_generate(const struct tp_model *m, struct tp_rng *rng, struct tp_op *ret);
