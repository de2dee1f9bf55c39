/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ledger, for tests that fail its flushes, kill its process, or change its files behind its back.
 */
#pragma once

#include <criterion/criterion.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "scratch.h"
#include "store/ledger.h"

/* What the flushes of LMDB and the journal fail with; 0: nothing. And whether they come to an end. */
extern atomic_int flush_errno;
extern atomic_bool flush_hangs;
/* A clock that stands still: nothing is committed unless somebody asks. */
extern const struct tp_clock still;

struct tp_ledger *opened_with(const char *state, const struct tp_clock *clock, uint64_t interval_ns,
	struct tp_ledger_info *ret_info);
/* By the clock that stands still. */
struct tp_ledger *opened(const char *state);
void batch_put(struct tp_ledger_batch *b, const char *key, const char *value);
/* One change: puts value, or removes key when value is NULL. */
int change(struct tp_ledger *l, const char *key, const char *value);
/* "key=value key=value " of the table of names; to be freed. */
char *names(struct tp_ledger *l);

#define assert_names(l, expect)                                                                              \
	do {                                                                                                 \
		char *text_ = names(l);                                                                      \
		cr_assert_str_eq(text_, expect);                                                             \
		free(text_);                                                                                 \
	} while (0)

/* What a daemon does that is killed: what is in its memory is gone, its files stay as they are. */
void in_killed_child(void (*work)(const char *state), const char *state);
/* Opens it, for in_killed_child(). */
void hold(const char *state);
/* Changes STATE's ledger without tidepool. table NULL: the main one, which holds the others. */
void meddle(const char *state, const char *table, const char *key, const void *value, size_t value_len);
