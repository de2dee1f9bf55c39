/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one thread shows of the request that it has in hand, for whoever wants to know what is held up. The thread itself only stores and never waits; who looks sees all of one
 * request or nothing. Each of its requests has a turn of its own, which only grows.
 */
#pragma once

#include <stdatomic.h>

#include "fs/session.h"

struct tp_hand {
	_Atomic uint64_t turn; /* of what is shown; 0: nothing is */
	_Atomic uint64_t node, started_ns, opcode_and_pid;
};

static inline void tp_hand_hide(struct tp_hand *h)
{
	atomic_store_explicit(&h->turn, 0, memory_order_relaxed);
}

/* Nothing is shown before. Each store is a release, so that who sees it sees also that what it replaces is not shown any more. */
static inline void tp_hand_show(struct tp_hand *h, const struct tp_caller *c, uint64_t turn)
{
	atomic_store_explicit(&h->node, c->node, memory_order_release);
	atomic_store_explicit(&h->started_ns, c->started_ns, memory_order_release);
	atomic_store_explicit(&h->opcode_and_pid, (uint64_t)c->opcode << 32 | c->pid, memory_order_release);
	atomic_store_explicit(&h->turn, turn, memory_order_release);
}

/* From any thread. False: nothing is in hand, or it changes just now. */
static inline bool tp_hand_see(struct tp_hand *h, struct tp_held *ret)
{
	uint64_t turn = atomic_load_explicit(&h->turn, memory_order_acquire), opcode_and_pid;
	struct tp_held held;

	if (turn == 0)
		return false;
	held.node = atomic_load_explicit(&h->node, memory_order_acquire);
	held.started_ns = atomic_load_explicit(&h->started_ns, memory_order_acquire);
	opcode_and_pid = atomic_load_explicit(&h->opcode_and_pid, memory_order_acquire);
	if (atomic_load_explicit(&h->turn, memory_order_relaxed) != turn)
		return false;
	held.opcode = (uint32_t)(opcode_and_pid >> 32);
	held.pid = (uint32_t)opcode_and_pid;
	*ret = held;
	return true;
}
