/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread for what waits for a disk: jobs are done one after the other, in order, and answer their requests themselves.
 */
#pragma once

#include "store/list.h"

struct tp_worker;

/* Embedded in what the job is about; do_it frees that. */
struct tp_job {
	struct tp_list link;
	void (*do_it)(struct tp_job *j);
};

/* -ENOMEM, or what pthread_create gives. */
int tp_worker_new(struct tp_worker **ret);
/* Does what is queued, then ends. NULL is allowed. */
void tp_worker_free(struct tp_worker *w);
void tp_worker_add(struct tp_worker *w, struct tp_job *j);
