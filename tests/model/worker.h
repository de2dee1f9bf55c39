/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A process that does one operation at a time, as it is told through a pipe, and says what came of it.
 *
 * The driver starts it, gives it an operation, and waits for the answer; so all that several workers do has one order. It may be
 * killed or told to exit with all that it has open; the next operation is then done by a new process in its place.
 */
#pragma once

#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "body.h"
#include "op.h"

#define TP_LIST_MAX 64

struct tp_listed {
	char name[60];
	unsigned type; /* d_type */
};

/* What an operation gave. Lies in memory that driver and worker share. */
struct tp_result {
	int r; /* 0 or more: what the call returned; -errno */
	struct stat st;
	uint32_t data_len;
	uint8_t data[TP_BODY_BYTES_MAX];
	unsigned listed;
	struct tp_listed list[TP_LIST_MAX];
	char what[32]; /* which call it was that failed, where there are several */
};

struct tp_worker {
	pid_t pid;		  /* 0: none */
	unsigned number;	  /* of the process, counted over all workers: never used twice */
	int to, from;		  /* pipes */
	struct tp_op *op;	  /* shared */
	struct tp_result *result; /* shared */
};

/* The memory is made once, the process by start. Both abort when the machine refuses. */
void tp_worker_init(struct tp_worker *w);
void tp_worker_start(struct tp_worker *w, unsigned number, const char *dir);
/* Does op and waits for its end. -EPIPE: the process died of it. */
int tp_worker_do(struct tp_worker *w, const struct tp_op *op);
/* By signal 9, or by exit(status) of its own; returns when all its descriptors are closed. */
void tp_worker_kill(struct tp_worker *w);
void tp_worker_exit(struct tp_worker *w, int status);

/* The part of it that needs no descriptor of a worker: paths only, done by the caller itself. */
void tp_do_path(const struct tp_op *op, struct tp_result *ret);
