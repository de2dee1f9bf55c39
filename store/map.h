/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The content of one generation: which bytes lie where in the pool. Offsets that hold nothing are holes and read as
 * zeroes. A map does not know the file's size: its owner does, and passes it where it matters.
 *
 * A map is a vector of pieces of 1 MiB, sorted by offset, with holes left out. Each piece is reference counted on its
 * own, so that a draft that changes a little of a large object shares all the rest with the generation it came from; a
 * write to a shared piece copies that piece first. At publication tp_map_settle() puts a last page that is mostly
 * empty into a slot.
 *
 * The owner's lock protects a map: held shared for tp_map_read(), tp_map_seek() and the like, exclusively for what
 * changes it. Maps that share pieces need no common lock. The pieces' counts are atomic.
 *
 * Errors: -ENOSPC when the pool has no room, -ENOMEM when the heap has none, -EFBIG beyond TP_MAP_SIZE_MAX. On every error
 * the map is as it was.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "store/pool.h"

#define TP_PIECE_BYTES (1u << 20)
#define TP_PIECE_PAGES (TP_PIECE_BYTES / TP_PAGE_BYTES)
/* The largest offset a file can end at. */
#define TP_MAP_SIZE_MAX (INT64_C(1) << 60)

struct tp_piece;

/* One word, since nearly all maps have one piece. */
struct tp_map {
	union {
		struct tp_piece *one; /* the only piece, NULL: none; unless the lowest bit is set */
		uintptr_t vector;     /* then the rest is the address of map.c's vector of several */
	};
};

void tp_map_init(struct tp_map *m);
/* Lets go of all pieces; the last owner of a piece gives its pages back. */
void tp_map_fini(struct tp_map *m, struct tp_pool *p);

/* Writes len bytes at offset: all of them or none. */
int tp_map_write(struct tp_map *m, struct tp_pool *p, uint64_t offset, const void *buf, size_t len);
/*
 * Like tp_map_write() for bytes that lie in pool pages already: the whole pages that the write covers become the
 * map's own, in place of what was there, without a copy. offset is a multiple of the page size; `pages` pages in
 * `runs` (in order) are taken, each full. Takes ownership of them on success.
 */
int tp_map_adopt(
	struct tp_map *m, struct tp_pool *p, uint64_t offset, const struct tp_run *runs, unsigned runs_count);

/*
 * Points iov at len bytes from offset, without a copy; holes point at tp_zero_page. *ret_count entries are filled and
 * *ret_len bytes covered (less than len only when iov_max entries were not enough). Valid until the map changes.
 */
void tp_map_read(const struct tp_map *m, const struct tp_pool *p, uint64_t offset, size_t len,
	struct iovec *iov, unsigned iov_max, unsigned *ret_count, size_t *ret_len);
/*
 * Keeps what tp_map_read() pointed at, len bytes from offset and at most 1 MiB, valid beyond the owner's lock: whoever
 * writes there meanwhile gets pieces of its own. Given back by tp_map_unhold(), which needs no lock.
 */
#define TP_MAP_HELD_MAX 2
void tp_map_hold(
	const struct tp_map *m, uint64_t offset, size_t len, struct tp_piece **ret_held, unsigned *ret_count);
void tp_map_unhold(struct tp_pool *p, struct tp_piece **held, unsigned count);
/* Copies len bytes out. */
void tp_map_copy_out(const struct tp_map *m, const struct tp_pool *p, uint64_t offset, void *buf, size_t len);

/* Drops everything from size on; bytes of a kept page beyond size become zero. Growing is no business of the map. */
int tp_map_truncate(struct tp_map *m, struct tp_pool *p, uint64_t size);
/* Makes [offset, offset+len) a hole: whole pages are freed, the parts of pages at the ends are zeroed. */
int tp_map_punch(struct tp_map *m, struct tp_pool *p, uint64_t offset, uint64_t len);
/* Makes sure that writes to [offset, offset+len) will find room: holes in it get zeroed pages. All or nothing. */
int tp_map_reserve(struct tp_map *m, struct tp_pool *p, uint64_t offset, uint64_t len);
/* The next data (hole=false) or hole (hole=true) at or after offset in a file of size bytes; -ENXIO as lseek(2) says. */
int64_t tp_map_seek(const struct tp_map *m, uint64_t offset, uint64_t size, bool hole);

/* Makes *ret share all pieces of m. ret is initialised by this, also on error. */
int tp_map_clone(const struct tp_map *m, struct tp_map *ret);
/*
 * A file of size bytes is finished: lets go of what is reserved beyond and makes the last page only as long as its bytes.
 * Never fails (at worst nothing is saved).
 */
void tp_map_settle(struct tp_map *m, struct tp_pool *p, uint64_t size);
/* Are the first size bytes the same? */
bool tp_map_equal(const struct tp_map *a, const struct tp_map *b, const struct tp_pool *p, uint64_t size);

/* Bytes of the pool that a write to [offset, offset + len) adds to tp_map_bytes(). */
uint64_t tp_map_hole_bytes(const struct tp_map *m, const struct tp_pool *p, uint64_t offset, uint64_t len);
/* Pages and parts of pages that are mapped here, shared ones too. */
uint64_t tp_map_pages(const struct tp_map *m);
/* Bytes of the pool that it has, shared ones too. At once, whatever its size: a slot that is not the last of its pages counts as a page. */
uint64_t tp_map_bytes(const struct tp_map *m);
/* Bytes of the pool that would be free if this map alone went: pieces that nobody shares. */
uint64_t tp_map_own_bytes(const struct tp_map *m);
