/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of .tidepool/ and the dot names of a stream: views that are made when they are opened, and the one control (lookup) that is written to.
 *
 * Their nodes have numbers of their own: those of .tidepool from TP_NODE_CONTROL_FIRST on, those of a stream have the top bit set, so that neither needs a table.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "store/tree.h"

struct tp_fs;
struct tp_control_file;

struct tp_controls {
	uint64_t made_wall_ns; /* their times */
	_Atomic size_t
		text_bytes; /* that all look-ups, and the texts that others than root have open, take together */
};

#define TP_NODE_STREAM_BIT (UINT64_C(1) << 63)

static inline bool tp_control_is_node(uint64_t node)
{
	return (node & TP_NODE_STREAM_BIT) || (node >= TP_NODE_CONTROL_FIRST && node < TP_NODE_DYNAMIC_FIRST);
}

void tp_controls_init(struct tp_fs *fs);
/* A control by its name in parent. False: there is none of that name. */
bool tp_control_lookup(struct tp_fs *fs, uint64_t parent, const char *name, struct tp_entry *ret);
void tp_control_entry(struct tp_fs *fs, uint64_t node, struct tp_entry *ret);
/* The name of the i-th file of .tidepool, NULL beyond the last. */
const char *tp_control_name(unsigned i, uint64_t *ret_node);

/* -EACCES: cannot be opened that way, or not by who; -ENFILE: all that are open take too much memory; -ENOMEM. What is asked through it is asked as who. */
int tp_control_open(
	struct tp_fs *fs, const struct tp_who *who, uint64_t node, int flags, struct tp_control_file **ret);
ssize_t tp_control_read(struct tp_fs *fs, struct tp_control_file *f, uint64_t offset, char *buf, size_t len);
/* The whole of buf or -errno; -EFBIG: too much in one go; -EDQUOT: all look-ups together take too much memory. */
int tp_control_write(struct tp_fs *fs, struct tp_control_file *f, const char *buf, size_t len);
/* Has it no position: what is read is not what was written? */
bool tp_control_is_stream(const struct tp_control_file *f);
void tp_control_close(struct tp_fs *fs, struct tp_control_file *f);
