/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A read of a peer's object, as the one who asks has it: embedded in its own heap object, filled in, and given to a transport. It belongs to the transport
 * until done is called, once.
 *
 * The owner writes the bytes to `landing` while the fetch is under way, in any order and perhaps more than once, and never after it: what comes late is
 * thrown away. Without success the bytes there mean nothing.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "transport/serve.h"

/* Of one fetch. A larger object takes several, from the second on by the generation that the first gave. */
#define TP_FETCH_BYTES_MAX (64u << 20)

struct tp_fetch {
	const void *name; /* need not outlive the call */
	size_t name_len;
	uint64_t generation; /* 0: whichever is there */
	uint64_t offset;
	void *landing;
	size_t landing_bytes; /* at most TP_FETCH_BYTES_MAX; what does not fit is not sent */
	uint64_t deadline_ns; /* on the transport's clock */
	/*
	 * error: 0, what the owner's pin returned, -ETIMEDOUT by the deadline, -ECANCELED when the transport ends. Called from the transport's thread with no lock held; may free
	 * the fetch and start others.
	 */
	void (*done)(struct tp_fetch *f, int error);

	/* What came; set on success. */
	struct tp_pin_info info;
	size_t len; /* in landing; less than landing_bytes at the end of the object only */

	/* The transport's own. */
	struct tp_fetch *next;
	uint64_t id;
	uint64_t landed; /* pieces, a bit for each */
};
