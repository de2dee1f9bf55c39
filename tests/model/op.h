/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One operation of the model test, with all that it needs: it can be recorded, printed, left out and done again.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#define TP_WORKERS 3
#define TP_SLOTS 6 /* descriptors of a worker, and as many mappings */
#define TP_PATH_MAX 64

enum tp_op_kind {
	/* by descriptor */
	TP_OP_CLOSE,
	TP_OP_DUP,
	TP_OP_READ,
	TP_OP_WRITE,
	TP_OP_FTRUNCATE,
	TP_OP_FSYNC,
	TP_OP_FCHMOD,
	TP_OP_FUTIMENS,
	TP_OP_FSETXATTR,
	TP_OP_FSTAT,
	TP_OP_MMAP,
	/* by mapping */
	TP_OP_MWRITE,
	TP_OP_MREAD,
	TP_OP_MSYNC,
	TP_OP_MUNMAP,
	/* by path */
	TP_OP_OPEN,
	TP_OP_STAT,
	TP_OP_LIST,
	TP_OP_SLURP,
	TP_OP_TRUNCATE,
	TP_OP_CHMOD,
	TP_OP_UTIMENS,
	TP_OP_SETXATTR,
	TP_OP_GETXATTR,
	TP_OP_UNLINK,
	TP_OP_MKDIR,
	TP_OP_RMDIR,
	TP_OP_RENAME,
	TP_OP_LINK,
	/* of the process */
	TP_OP_KILL,
	TP_OP_EXIT,
	TP_OP_KINDS
};

/* What is looked at when the operation is done. */
#define TP_LOOK_SELF 1u	  /* the paths, by the worker that did it */
#define TP_LOOK_OTHER 2u  /* by another worker */
#define TP_LOOK_DRIVER 4u /* by the driver, which never writes */
#define TP_LOOK_OPEN 8u	  /* a descriptor of somebody */
#define TP_LOOK_ALL 16u	  /* everything by everybody */

struct tp_op {
	enum tp_op_kind kind;
	unsigned worker;
	unsigned slot, slot2; /* slot2: what DUP and MMAP fill */
	char a[TP_PATH_MAX], b[TP_PATH_MAX];
	int flags; /* of open or renameat2; of EXIT the status */
	mode_t mode;
	uint32_t off, len;
	uint32_t value; /* pattern, time or attribute value */
	unsigned look;
	uint32_t dice; /* which descriptor, which other worker is looked at */
};

struct tp_rng {
	uint64_t state;
};

uint32_t tp_rng_next(struct tp_rng *rng);
/* 0 to n - 1. */
uint32_t tp_rng_below(struct tp_rng *rng, uint32_t n);

/* Copies as much of a text as there is room for. */
static inline void tp_text_copy(char *to, size_t room, const char *from)
{
	size_t len = strlen(from);

	if (len > room - 1)
		len = room - 1;
	memcpy(to, from, len);
	to[len] = 0;
}

/* Into buf, as one line without its end. Returns buf. */
const char *tp_op_text(const struct tp_op *op, char *buf, size_t len);
