/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last lines of something that happens too often for the events: a ring of bytes, from which the oldest lines fall out.
 *
 * Adding is a copy under a lock of its own, under which nothing is waited for, so that it may be done with any lock held. Any thread may call.
 */
#pragma once

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#define TP_TRAIL_BYTES (512u * 1024)

struct tp_trail {
	pthread_mutex_t lock;
	uint64_t end; /* lock: bytes ever added */
	char bytes[TP_TRAIL_BYTES];
};

void tp_trail_init(struct tp_trail *t);
void tp_trail_fini(struct tp_trail *t);
/* line ends in its only newline, and is no longer than the ring. */
void tp_trail_add(struct tp_trail *t, const char *line, size_t len);
/* The whole lines that are there, oldest first, into buf, which has room for TP_TRAIL_BYTES. Returns their length. */
size_t tp_trail_copy(struct tp_trail *t, char *buf);
