/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many clients take turns in asking: what tells how many threads are worth having.
 *
 * When k clients ask in turn, each comes back after k requests on average, however long their runs are. So the distance between a client's requests,
 * smoothed, is the number of clients. Processes that come and go one after another (a shell loop) never come back, and count as one. The number goes up at the half, and
 * down only when a quarter of a client is left of the last: threads that are sent to sleep and woken again cost more than one that looks in vain.
 */
#pragma once

#include <stdint.h>

#define TP_TURNS_SLOTS 64 /* clients that are remembered, by the low bits of their number */
#define TP_TURNS_FAR 32	  /* one that was away for so long says nothing about the present */

struct tp_turns {
	uint64_t now; /* requests so far */
	struct {
		uint32_t client;
		uint64_t seen; /* now of its last request */
	} slot[TP_TURNS_SLOTS];
	uint32_t smooth; /* in 1/256 of a client */
	unsigned wanted; /* the last answer */
};

static inline void tp_turns_init(struct tp_turns *t)
{
	*t = (struct tp_turns){.smooth = 256, .wanted = 1};
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
		if (distance > TP_TURNS_FAR)
			distance = 1;
		else if (distance > 2 * (uint64_t)max)
			distance = 2 * (uint64_t)max;
		t->slot[at].client = client;
		t->slot[at].seen = t->now;
		t->smooth = (uint32_t)((t->smooth * 31 + distance * 256) / 32);
	}
	if (t->smooth >= t->wanted * 256 + 128 || t->smooth < (t->wanted - 1) * 256 + 64)
		t->wanted = (t->smooth + 128) / 256 < max ? (t->smooth + 128) / 256 : max;
	return t->wanted;
}
