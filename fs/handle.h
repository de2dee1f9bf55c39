/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open files by number. The number that the kernel gets is a place in a table and a count of how often that place was used, never a pointer, so that
 * a number that is not in use is recognised.
 *
 * tp_handle_get() takes no lock: the kernel does not release a handle while a request on it is answered.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "store/file.h"

enum tp_handle_kind { TP_HANDLE_FREE, TP_HANDLE_FILE, TP_HANDLE_DIR, TP_HANDLE_CONTROL };

struct tp_handle {
	uint64_t number;	/* under the table's lock */
	_Atomic uint64_t ready; /* number, once all of it is filled in; else 0 */
	enum tp_handle_kind kind;
	pid_t pid;		 /* of the thread that opened it */
	uint64_t node;		 /* that was opened */
	struct tp_opened opened; /* FILE */
	_Atomic bool drops;	 /* FILE: the kernel was told to keep nothing, and nothing was read since */
	struct tp_control_file *control; /* CONTROL: owned */
	uint32_t next_free;
};

#define TP_HANDLE_BLOCK 1024u
#define TP_HANDLE_BLOCKS_MAX 4096u

struct tp_handles {
	pthread_mutex_t lock; /* all but the reading of blocks */
	_Atomic(struct tp_handle *) blocks[TP_HANDLE_BLOCKS_MAX];
	uint32_t blocks_count;
	uint32_t free; /* the first free place + 1, 0: none */
	_Atomic uint32_t used;
};

void tp_handles_init(struct tp_handles *h);
/* Frees the table; what handles own has been given back. */
void tp_handles_fini(struct tp_handles *h);
/* -ENOMEM, -ENFILE: four million are open. */
int tp_handle_new(
	struct tp_handles *h, enum tp_handle_kind kind, uint64_t node, pid_t pid, struct tp_handle **ret);
/* All of it is filled in: from now on tp_handle_get() finds it. Returns its number, for the answer to the open. */
uint64_t tp_handle_ready(struct tp_handle *handle);
void tp_handle_free(struct tp_handles *h, struct tp_handle *handle);
/* NULL: no such handle of that kind. */
struct tp_handle *tp_handle_get(struct tp_handles *h, uint64_t number, enum tp_handle_kind kind);
/* Calls each for all that are open, under the lock. */
void tp_handles_each(struct tp_handles *h, void (*each)(struct tp_handle *handle, void *user), void *user);
