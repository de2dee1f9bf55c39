/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What can be known of a STATE that nobody serves, without changing anything in it.
 */
#pragma once

#include <stdint.h>

#include "store/errtext.h"

struct tp_peek {
	unsigned char uuid[16];
	uint64_t names; /* directories, links and special files in the ledger, under all their names */
	uint64_t ledger_bytes;
	uint64_t journal_bytes; /* changes that the next mount replays first */
};

/*
 * Reads STATE's ledger. The caller knows that no daemon has it. -ENOENT: there is no store; -EBADMSG: a ledger that is damaged, of another version, or
 * not ours; others as of opening files. All with text.
 */
int tp_peek_state(const char *state, struct tp_err *err, struct tp_peek *ret);
