/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many clients take turns in asking: what tells how many threads are worth having.
 *
 * When k clients ask in turn, each comes back after k requests on average, however long their runs are. So the distance between a client's requests,
 * smoothed, is the number of clients. Processes that come and go one after another (a shell loop) never come back, and count as one.
 */
#pragma once

#include <stdint.h>

#define TP_TURNS_SLOTS 64 /* clients that are remembered, by the low bits of their number */

struct tp_turns {
	uint64_t now; /* requests so far */
	struct {
		uint32_t client;
		uint64_t seen; /* now of its last request */
	} slot[TP_TURNS_SLOTS];
	uint32_t smooth; /* in 1/256 of a client */
};

static inline void tp_turns_init(struct tp_turns *t)
{
	*t = (struct tp_turns){.smooth = 256};
}

/* A request of client (0: nobody's, ignored). Returns how many there seem to be, 1 to max. */
static inline unsigned tp_turns_note(struct tp_turns *t, uint32_t client, unsigned max)
{
	unsigned at = client % TP_TURNS_SLOTS;
	uint64_t distance = 1;

	if (client != 0) {
		t->now++;
		if (t->slot[at].client == client)
			distance = t->now - t->slot[at].seen;
		/* One that was away for long says nothing about the present. */
		if (distance > 2 * (uint64_t)max)
			distance = 1;
		t->slot[at].client = client;
		t->slot[at].seen = t->now;
		t->smooth = (uint32_t)((t->smooth * 31 + distance * 256) / 32);
	}
	if (t->smooth < 256 + 128)
		return 1;
	return (t->smooth + 128) / 256 < max ? (t->smooth + 128) / 256 : max;
}
