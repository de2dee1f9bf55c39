/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ledger's journal: what was applied and is not yet in LMDB, in two files that alternate.
 *
 * Records are appended to the open file with one write, so that they survive SIGKILL once tp_journal_append()
 * has returned. To bring them elsewhere the open file is sealed: appending goes on in the other file, while
 * the sealed one is read by tp_journal_load() and dropped by tp_journal_drop_sealed() when its records are on
 * stable storage elsewhere. Nothing is ever flushed here.
 *
 * Who has to know that a record will find room before it does what the record tells asks tp_journal_reserve():
 * blocks behind the file's end are allocated then, which no other file can take. A file system that cannot do
 * that (EOPNOTSUPP) is taken at its word that there is room; tp_journal_append() may say -ENOSPC all the same.
 *
 * A record, little endian, padded with zeros to a multiple of 8 bytes:
 *
 *	 0	4	magic "tpJ1"
 *	 4	4	version, 1
 *	 8	8	sequence: one more than that of the record before it, over both files
 *	16	8	boot: which boot of the machine wrote it
 *	24	4	length of the entries in bytes, without the padding
 *	28	4	number of entries, 1 or more
 *	32	8	check: XXH3-64 of the 32 bytes before it, seeded with XXH3-64 of the entries
 *	40	...	entries
 *
 * An entry:
 *
 *	 0	1	op: 1 put, 2 remove
 *	 1	1	table
 *	 2	2	length of the key, 1 to 500
 *	 4	4	length of the value, up to 131072; 0 for remove
 *	 8	...	key, value
 *
 * What can be wrong with a file, and what is done about it:
 * - Its end is not a valid record: a write that SIGKILL or a full disk cut short. Nothing after it was ever
 *   appended, and nobody was told that it was; it is dropped and counted.
 * - A record is bad or missing, and valid ones that this boot of the machine wrote come after it: the file is
 *   damaged, -EBADMSG.
 * - The same, but what comes after was written before the machine was restarted: pages that had not reached
 *   the disk when it went down may be missing anywhere. From there on everything is dropped and counted: the
 *   last second, as promised.
 * - Records that the ledger has already, since a file was not yet emptied (or its emptying did not reach the
 *   disk): they are skipped by their sequence; putting them in again would let removed keys come back.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "store/errtext.h"

#define TP_JOURNAL_MAGIC UINT32_C(0x314a7074)
#define TP_JOURNAL_VERSION 1
#define TP_JOURNAL_KEY_MAX 500
#define TP_JOURNAL_VALUE_MAX (128 * 1024)
#define TP_JOURNAL_RECORD_MAX (16 * 1024 * 1024) /* header, entries and padding */

struct tp_journal_header {
	uint32_t magic;
	uint32_t version;
	uint64_t sequence;
	uint64_t boot;
	uint32_t length;
	uint32_t count;
	uint64_t check;
};
_Static_assert(sizeof(struct tp_journal_header) == 40, "a record's header has no holes");
_Static_assert(offsetof(struct tp_journal_header, check) == 32, "the check covers what is before it");

struct tp_journal_entry_header {
	uint8_t op;
	uint8_t table;
	uint16_t key_len;
	uint32_t value_len;
};
_Static_assert(sizeof(struct tp_journal_entry_header) == 8, "an entry's header has no holes");

enum tp_journal_op {
	TP_JOURNAL_PUT = 1,
	TP_JOURNAL_REMOVE = 2,
};

struct tp_journal_entry {
	enum tp_journal_op op;
	uint8_t table;
	size_t key_len, value_len;
	const void *key, *value; /* in the record */
};

/* A record that is being built. All zeros is an empty one. */
struct tp_journal_record {
	unsigned char *buf; /* owned: header, entries, later the padding */
	size_t len, size;   /* bytes in use, bytes allocated */
	uint32_t count;	    /* entries */
};

/*
 * Adds an entry. -EINVAL: a key or a value of a length that the layout does not allow. -EMSGSIZE: the record
 * would become too long. -ENOMEM: nothing was added.
 */
int tp_journal_record_add(struct tp_journal_record *rec, const struct tp_journal_entry *entry);
/* Entries of `bytes` in all, headers included, can be added. -EMSGSIZE, -ENOMEM. */
int tp_journal_record_reserve(struct tp_journal_record *rec, size_t bytes);
/* Makes it empty again and keeps its memory. */
void tp_journal_record_clear(struct tp_journal_record *rec);
void tp_journal_record_fini(struct tp_journal_record *rec);
/*
 * Fills in the header and the padding. The record has entries. Returns its bytes, valid until the record is
 * changed.
 */
size_t tp_journal_record_seal(struct tp_journal_record *rec, uint64_t sequence, uint64_t boot);

/* A record that was read. */
struct tp_journal_view {
	uint64_t sequence, boot;
	size_t len;	/* of the whole record, padding included */
	uint32_t count; /* entries that tp_journal_view_next() has not returned yet */
	const unsigned char *at,
		*end; /* the entries that are left; valid as long as the buffer that was parsed */
};

/*
 * Reads the record at buf. -EAGAIN: it may be one, but it is longer than len. -EBADMSG: it is none. On
 * success all its entries are known to be whole.
 */
int tp_journal_parse(const void *buf, size_t len, struct tp_journal_view *ret);
/* The next entry. Returns 1, or 0 after the last one. */
int tp_journal_view_next(struct tp_journal_view *v, struct tp_journal_entry *ret);

struct tp_journal;

/*
 * Opens the two files in the directory dir_fd, which stays the caller's, and makes them when they are
 * missing. To be followed by tp_journal_replay(). Errors: what openat gives, with text.
 */
int tp_journal_open(int dir_fd, struct tp_err *err, struct tp_journal **ret);
/* NULL is allowed. The files keep what they hold. */
void tp_journal_close(struct tp_journal *j);

/* Called for each record in order. Stops reading at the first non-zero return. */
typedef int (*tp_journal_each)(struct tp_journal_view *v, void *user);

/*
 * Reads both files as they were found, the older one first, and calls each for all records above applied;
 * records up to it are skipped. ret_last: the highest sequence that was seen, at least applied; the next
 * record must be above it, and the caller keeps it durably before tp_journal_start(). ret_dropped_bytes: what
 * was left out as torn or lost. -EBADMSG with text: damaged; -EIO, -ENOMEM; or what each returned.
 */
int tp_journal_replay(struct tp_journal *j, uint64_t applied, tp_journal_each each, void *user,
	struct tp_err *err, uint64_t *ret_last, uint64_t *ret_dropped_bytes);
/*
 * Empties both files and allocates some room in them, where there is any; the next record gets the sequence
 * last + 1. Errors: what ftruncate gives.
 */
int tp_journal_start(struct tp_journal *j, uint64_t last);

/*
 * Appends rec. -ENOSPC: the disk is full, nothing was appended. Any other error is of the device, and then
 * nothing must be appended any more. ret_open_bytes: how long the open file is now. Calls of append and seal
 * must not overlap.
 */
int tp_journal_append(struct tp_journal *j, struct tp_journal_record *rec, uint64_t *ret_sequence,
	uint64_t *ret_open_bytes);
/*
 * Sees to it that the next records, of `bytes` in all, find room in the open file. -ENOSPC, or what fallocate
 * gives: it is as it was. Must not overlap with append or seal, as they must not with each other.
 */
int tp_journal_reserve(struct tp_journal *j, uint64_t bytes);
/* For how many bytes there is room for certain in the open file. */
uint64_t tp_journal_room(const struct tp_journal *j);
/*
 * Seals the open file unless a sealed one is still there, or it is empty. room_bytes: what was reserved and not
 * appended yet; when the other file has no room for it, -ENOSPC, or what fallocate gives, and nothing is
 * sealed. ret_bytes: how long the sealed file is, 0 when there is nothing to read. ret_last: the sequence of
 * its last record.
 */
int tp_journal_seal(struct tp_journal *j, uint64_t room_bytes, uint64_t *ret_last, uint64_t *ret_bytes);
/*
 * Calls each for the sealed file's records above applied. May run beside append, as tp_journal_drop_sealed()
 * may. Errors as of replay.
 */
int tp_journal_load(
	struct tp_journal *j, uint64_t applied, tp_journal_each each, void *user, struct tp_err *err);
/* Empties the sealed file, and allocates some room in it for its next turn. Errors: what ftruncate gives. */
int tp_journal_drop_sealed(struct tp_journal *j);
