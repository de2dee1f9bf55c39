/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a transport answers a peer that reads: a table of functions, filled by whoever has the objects. A transport knows names, which are bytes, and
 * numbers; what they stand for is the owner's business.
 *
 * One answer is pin, then read until all that was asked for has been sent, then unpin when nothing of it is under way any more: the bytes go from where they lie to where the
 * peer wants them, and nothing of the owner's is handed out. A transport is ended before the owner is.
 *
 * The functions are called from the transport's threads, for different pins at the same time, with no lock of the transport's held. None of them waits for
 * a disk, for room or for a peer, and none calls the transport.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* What is sent at once: an answer is cut into pieces of this size. */
#define TP_SERVE_PIECE_BYTES (1u << 20)

/* A pinned object; the owner's own. */
struct tp_pin;

struct tp_pin_info {
	uint64_t generation; /* never 0; one number never stands for two contents */
	uint64_t size_bytes;
	uint32_t mode, uid, gid; /* who may read it: for the side that asked to check */
};

struct tp_serve {
	/*
	 * Finds an object by its name and keeps its bytes as they are until it is unpinned, whatever is done to it meanwhile. generation: that one and no other; 0: the one that is
	 * there. -ENOENT: there is none; -ESTALE: there is one, of another generation; -EBUSY: it is being changed in place, later perhaps; -ENOMEM: not now.
	 */
	int (*pin)(void *user, const void *name, size_t name_len, uint64_t generation, struct tp_pin **ret,
		struct tp_pin_info *ret_info);
	/*
	 * Points iov at len bytes from offset, which lie before the end of the object. *ret_count entries are filled and *ret_len bytes covered: not
	 * 0, and less than len only when iov_max entries were not enough. Valid until the pin is gone.
	 */
	void (*read)(void *user, const struct tp_pin *pin, uint64_t offset, size_t len, struct iovec *iov,
		unsigned iov_max, unsigned *ret_count, size_t *ret_len);
	void (*unpin)(void *user, struct tp_pin *pin);
	void *user;
};
