/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger's LMDB environment, STATE/ledger: made complete or not at all, opened, and brought up to the journal. For store/ledger.c, which says when.
 *
 * LMDB's map must not be replaced while a transaction is open: only one thread commits or replays, and no scan runs meanwhile.
 */
#pragma once

#include <lmdb.h>

#include "store/journal.h"
#include "store/ledger.h"

struct tp_db {
	int state_fd; /* STATE; not owned */
	MDB_env *env;
	MDB_dbi dbi[TP_LEDGER_TABLES];
	uint64_t stored;   /* the highest sequence of the journal that is there */
	uint64_t reserved; /* the generation that is there as the highest one reserved */
};

/* Makes STATE/ledger when there is none. Errors with text, as of tp_ledger_open(); tp_db_close() after them too. */
int tp_db_open(
	struct tp_db *db, int state_fd, const char *state, struct tp_err *err, struct tp_ledger_info *info);
/* One that was never opened is all zero, and allowed. */
void tp_db_close(struct tp_db *db);
/*
 * The journal's records as a crash left them, those that are not stored, and the reservation of generations up to `reserve`. ret_last: the last sequence that was
 * seen, which counts as stored now. err says what is wrong with the journal; it may be empty.
 */
int tp_db_replay(struct tp_db *db, struct tp_journal *journal, uint64_t reserve, struct tp_err *err,
	struct tp_ledger_info *info, uint64_t *ret_last);
/*
 * The journal's sealed records (journal NULL: none) and the reservation of generations, up to `reserve` from now on (db->reserved: as it is; less gives back what nobody was given), in
 * transactions that are synced. An error leaves what was committed.
 */
int tp_db_commit(struct tp_db *db, struct tp_journal *journal, uint64_t reserve);
/* See tp_ledger_scan(). */
int tp_db_scan(struct tp_db *db, enum tp_ledger_table t,
	int (*each)(const void *key, size_t key_len, const void *value, size_t value_len, void *user),
	void *user);
/* A key of META that is kept here, and nobody else's. */
bool tp_db_is_own_key(enum tp_ledger_table t, const void *key, size_t key_len);
/* What a ledger that nobody has open says of its store, and its number of names. Nothing is written. Errors as of tp_db_open(). */
int tp_db_peek(const char *state, struct tp_err *err, struct tp_ledger_info *ret_info, uint64_t *ret_names);
