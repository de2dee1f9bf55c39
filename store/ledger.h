/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What must survive: a small transactional key-value store in STATE, LMDB with a journal before it.
 *
 * A change is a struct tp_ledger_batch: puts and removals that hold together. tp_ledger_apply() appends it to
 * the journal (journal.h, STATE/journal.0 and .1) with one write(2), so that it survives SIGKILL at once; a
 * writer thread brings what is in the journal into LMDB (STATE/ledger) with full sync within interval_ns, or
 * at once for tp_ledger_sync(), and then starts the journal anew. Opening replays what the journal has; a
 * torn last record is dropped, anything else that is wrong is an error. Later orders commit samples through
 * the same thread, as one transaction for all that arrived together, and answer from its callback.
 *
 * Nothing is kept in memory of what is not in LMDB yet: the writer reads it back from the journal. LMDB does
 * not survive fork(), and the thread neither: a daemon opens its ledger after it has become one.
 *
 * Keys are 1 to 500 bytes, values at most 128 KiB, a batch at most 16 MiB. All functions may be called from
 * any thread. No call but open, close and tp_ledger_sync() waits for a disk flush; applying and promising wait
 * as long as write(2) and fallocate(2) do, and tp_ledger_next_generation() for nothing.
 *
 * Errors: -ENOSPC full disk: nothing changed, and what was applied is still in the journal; -ENOMEM: nothing
 * changed; -EROFS after a failed sync or write (the ledger is read-only until it is opened again); -EBADMSG a
 * file that is damaged or not ours (with text at open); -EBUSY STATE is in use; -EINVAL a key or value of a
 * length that is not allowed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/clock.h"
#include "store/errtext.h"

enum tp_ledger_table {
	TP_LEDGER_META,	 /* name -> value: uuid, version, generations */
	TP_LEDGER_NODES, /* inode number, 8 bytes big endian -> attributes (drawn where they are encoded) */
	TP_LEDGER_NAMES, /* parent's inode number, 8 bytes big endian, and the name -> inode number */
	TP_LEDGER_TABLES
};

/* What a batch, and each entry beside its key and value, takes in the journal. */
#define TP_LEDGER_BATCH_BYTES 48u
#define TP_LEDGER_ENTRY_BYTES 8u

struct tp_ledger;
struct tp_ledger_batch;

struct tp_ledger_info {
	unsigned char uuid[16]; /* of this store, made with it */
	bool created;		/* it was made just now */
	uint64_t replayed;	/* journal records that were applied at open */
	uint64_t
		dropped_bytes; /* of the journal, left out: a torn record, or lost in a crash of the machine */
};

/*
 * Opens STATE's ledger (making STATE with mode 0700 and the ledger when they are missing). -EBUSY: a living
 * process has it (err names its pid where it is known). -EOPNOTSUPP: STATE is on a file system that is
 * refused (state.h). -EACCES: no permission. A regular file, a directory that holds something else's ledger,
 * another version, a damaged file: -EBADMSG. -ENOENT: the directory above STATE is missing. clock says how
 * old a change is; it outlives the ledger.
 */
int tp_ledger_open(const char *state, const struct tp_clock *clock, uint64_t interval_ns, struct tp_err *err,
	struct tp_ledger **ret, struct tp_ledger_info *ret_info);
/*
 * Brings everything into LMDB, gives back the numbers that were reserved and not given out, and closes. Returns
 * what the last sync returned. NULL is allowed.
 */
int tp_ledger_close(struct tp_ledger *l);

/* NULL when the heap is exhausted. */
struct tp_ledger_batch *tp_ledger_batch_new(void);
void tp_ledger_batch_free(struct tp_ledger_batch *b);
/*
 * Adds to b, or changes nothing: -EINVAL (also for a key of META that is the ledger's own), -EMSGSIZE a batch
 * that is too long, -ENOMEM.
 */
int tp_ledger_batch_put(struct tp_ledger_batch *b, enum tp_ledger_table t, const void *key, size_t key_len,
	const void *value, size_t value_len);
int tp_ledger_batch_remove(
	struct tp_ledger_batch *b, enum tp_ledger_table t, const void *key, size_t key_len);
/* What can be added, of `bytes` in all with the headers of its entries, fits in b. -EMSGSIZE, -ENOMEM. */
int tp_ledger_batch_reserve(struct tp_ledger_batch *b, size_t bytes);
/*
 * Promises that batches of `bytes` in all, with TP_LEDGER_BATCH_BYTES for each and TP_LEDGER_ENTRY_BYTES for
 * each entry, will find room on the disk until tp_ledger_release(): for who must know that before it does what
 * it will tell. spare: also out of the room that is kept for what must go on while the disk is full. -ENOSPC,
 * -EROFS: nothing is promised. Where the file system cannot allocate ahead the promise may be broken.
 */
int tp_ledger_promise(struct tp_ledger *l, uint64_t bytes, bool spare);
/* The same, without waiting for the disk. -EAGAIN: only it can tell. */
int tp_ledger_promise_now(struct tp_ledger *l, uint64_t bytes, bool spare);
void tp_ledger_release(struct tp_ledger *l, uint64_t bytes);
/*
 * Appends b to the journal: all of it survives SIGKILL from now on, or none of it. b is empty afterwards, on
 * success, and unchanged otherwise.
 */
int tp_ledger_apply(struct tp_ledger *l, struct tp_ledger_batch *b);
/*
 * Returns when all that was applied before is on stable storage. -ENOSPC and -ENOMEM: not now, it is tried
 * again at the next interval and the next call; -EROFS: never.
 */
int tp_ledger_sync(struct tp_ledger *l);
/*
 * Is something wrong? 0, or a positive errno. ENOSPC and ENOMEM pass: LMDB waits for room, what is applied
 * stays in the journal. Anything else is what made the ledger read-only.
 */
int tp_ledger_trouble(struct tp_ledger *l);

/*
 * Calls each entry of t in key order, from LMDB and the journal as of open; only before the first apply.
 * Stops at the first non-zero return, and returns it. each must not call the ledger: commits wait for the end
 * of the scan.
 */
int tp_ledger_scan(struct tp_ledger *l, enum tp_ledger_table t,
	int (*each)(const void *key, size_t key_len, const void *value, size_t value_len, void *user),
	void *user);

/*
 * A number that this store never gave out before, from 1 to TP_NUMBERS_MAX (numbers.h). It waits for no disk: blocks of
 * 2^36 are reserved durably ahead, the next one when half of a block is left, and what an orderly close finds
 * unused is given back. 0: there is none. That is when nothing could be reserved for all of half a block (31 hours
 * at 300,000 numbers a second), because the disk was full or did not answer or the ledger is read-only; or when all
 * numbers are used up, after 67 million blocks.
 */
uint64_t tp_ledger_next_generation(struct tp_ledger *l);
/* For tests: so many numbers are left from now on, and blocks are no larger. */
void tp_ledger_set_block(struct tp_ledger *l, uint64_t count);
