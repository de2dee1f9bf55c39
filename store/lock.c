/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lock is a range of one owner with one type; the ranges of one owner never overlap. Setting a lock first cuts the range out of what the owner has (a piece may remain on
 * either side), then adds the new range and joins it with neighbours of the same type. All memory that may be needed is taken before anything changes.
 */
#include "store/lock.h"

#include <errno.h>
#include <stdlib.h>

#include "store/cleanup.h"

struct tp_lock {
	struct tp_list link;
	struct tp_lock_range range;
};

void tp_locks_init(struct tp_locks *l)
{
	tp_list_init(&l->held);
	tp_list_init(&l->waiters);
}

void tp_locks_fini(struct tp_locks *l)
{
	assert(tp_list_empty(&l->waiters));
	tp_list_each_safe (e, &l->held)
		free(tp_container(e, struct tp_lock, link));
	tp_list_init(&l->held);
}

bool tp_locks_empty(const struct tp_locks *l)
{
	return tp_list_empty(&l->held) && tp_list_empty(&l->waiters);
}

static bool same_owner(const struct tp_lock_range *a, const struct tp_lock_range *b)
{
	return a->flock == b->flock && a->owner == b->owner;
}

static bool conflict(const struct tp_lock_range *a, const struct tp_lock_range *b)
{
	return a->flock == b->flock && a->owner != b->owner && a->start <= b->end && b->start <= a->end &&
	       (a->type == TP_LOCK_WRITE || b->type == TP_LOCK_WRITE);
}

/* The first one in the file of those that do not fit beside want. */
static const struct tp_lock_range *in_the_way(const struct tp_locks *l, const struct tp_lock_range *want)
{
	const struct tp_lock_range *first = NULL;

	if (want->type == TP_LOCK_NONE)
		return NULL;
	tp_list_each (e, &l->held) {
		const struct tp_lock_range *have = &tp_container(e, struct tp_lock, link)->range;

		if (conflict(have, want) && (!first || have->start < first->start))
			first = have;
	}
	return first;
}

bool tp_locks_test(const struct tp_locks *l, const struct tp_lock_range *want, struct tp_lock_range *ret)
{
	const struct tp_lock_range *have = in_the_way(l, want);

	if (have)
		*ret = *have;
	return have != NULL;
}

/* Cuts want's range out of the owner's locks. spare is used when one is split in two. */
static void cut(struct tp_locks *l, const struct tp_lock_range *want, struct tp_lock **spare)
{
	tp_list_each_safe (e, &l->held) {
		struct tp_lock *have = tp_container(e, struct tp_lock, link);
		struct tp_lock_range *r = &have->range;

		if (!same_owner(r, want) || r->end < want->start || want->end < r->start)
			continue;
		if (r->start < want->start && r->end > want->end) {
			struct tp_lock *right = tp_steal_ptr(*spare);

			right->range = *r;
			right->range.start = want->end + 1;
			r->end = want->start - 1;
			tp_list_insert_after(&have->link, &right->link);
		} else if (r->start < want->start) {
			r->end = want->start - 1;
		} else if (r->end > want->end) {
			r->start = want->end + 1;
		} else {
			tp_list_remove(&have->link);
			free(have);
		}
	}
}

static void join(struct tp_locks *l, struct tp_lock *lock)
{
	struct tp_lock_range *r = &lock->range;

	tp_list_each_safe (e, &l->held) {
		struct tp_lock *have = tp_container(e, struct tp_lock, link);

		if (have == lock || !same_owner(&have->range, r) || have->range.type != r->type)
			continue;
		/* What ends at the last number has no neighbour behind it. */
		if (r->start > 0 && have->range.end == r->start - 1)
			r->start = have->range.start;
		else if (have->range.start > 0 && r->end == have->range.start - 1)
			r->end = have->range.end;
		else
			continue;
		tp_list_remove(&have->link);
		free(have);
	}
}

/* Puts want, which nothing is in the way of, into the place of what its owner had there. Takes ownership of lock and spare. */
static void put(
	struct tp_locks *l, const struct tp_lock_range *want, struct tp_lock *lock, struct tp_lock *spare)
{
	cut(l, want, &spare);
	free(spare);
	if (want->type == TP_LOCK_NONE) {
		free(lock);
		return;
	}
	lock->range = *want;
	tp_list_push_back(&l->held, &lock->link);
	join(l, lock);
}

int tp_locks_set(struct tp_locks *l, const struct tp_lock_range *want)
{
	struct tp_lock *lock, *spare;

	if (in_the_way(l, want))
		return -EAGAIN;
	lock = malloc(sizeof(*lock));
	spare = malloc(sizeof(*spare));
	if (!lock || !spare) {
		free(lock);
		free(spare);
		return -ENOMEM;
	}
	put(l, want, lock, spare);
	return 0;
}

/* Does owner (of a held lock) wait, directly or through others, for a lock of `by`? */
static bool waits_for(const struct tp_locks *l, uint64_t owner, uint64_t by, unsigned depth)
{
	if (depth > 32)
		return false;
	tp_list_each (e, &l->waiters) {
		const struct tp_lock_range *want = &tp_container(e, struct tp_lock_waiter, link)->want;

		if (want->flock || want->owner != owner)
			continue;
		tp_list_each (h, &l->held) {
			const struct tp_lock_range *have = &tp_container(h, struct tp_lock, link)->range;

			if (!conflict(have, want))
				continue;
			if (have->owner == by || waits_for(l, have->owner, by, depth + 1))
				return true;
		}
	}
	return false;
}

int tp_locks_wait(struct tp_locks *l, struct tp_lock_waiter *w)
{
	if (!w->want.flock) {
		tp_list_each (h, &l->held) {
			const struct tp_lock_range *have = &tp_container(h, struct tp_lock, link)->range;

			if (conflict(have, &w->want) && waits_for(l, have->owner, w->want.owner, 0))
				return -EDEADLK;
		}
	}
	tp_list_push_back(&l->waiters, &w->link);
	return 0;
}

void tp_locks_unwait(struct tp_lock_waiter *w)
{
	tp_list_remove(&w->link);
}

void tp_locks_grant(struct tp_locks *l, bool (*claim)(struct tp_lock_waiter *w, void *user), void *user,
	struct tp_list *granted)
{
	tp_list_each_safe (e, &l->waiters) {
		struct tp_lock_waiter *w = tp_container(e, struct tp_lock_waiter, link);
		struct tp_lock *lock, *spare;

		if (in_the_way(l, &w->want))
			continue;
		lock = malloc(sizeof(*lock));
		spare = malloc(sizeof(*spare));
		if (!lock || !spare || !claim(w, user)) {
			free(lock);
			free(spare);
			continue;
		}
		put(l, &w->want, lock, spare);
		tp_list_remove(&w->link);
		tp_list_push_back(granted, &w->link);
	}
}

void tp_locks_drop_handle(struct tp_locks *l, uint64_t handle)
{
	tp_list_each_safe (e, &l->held) {
		struct tp_lock *have = tp_container(e, struct tp_lock, link);

		if (have->range.handle != handle || have->range.flock)
			continue;
		tp_list_remove(&have->link);
		free(have);
	}
}

void tp_locks_drop_owner(struct tp_locks *l, uint64_t owner, bool flock)
{
	tp_list_each_safe (e, &l->held) {
		struct tp_lock *have = tp_container(e, struct tp_lock, link);

		if (have->range.owner != owner || have->range.flock != flock)
			continue;
		tp_list_remove(&have->link);
		free(have);
	}
}
