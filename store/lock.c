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
	l->held_count = l->waiters_count = 0;
	l->freed_from = 1;
	l->freed_to = 0;
}

static void note_freed(struct tp_locks *l, uint64_t from, uint64_t to)
{
	bool none = l->freed_from > l->freed_to;

	l->freed_from = none || from < l->freed_from ? from : l->freed_from;
	l->freed_to = none || to > l->freed_to ? to : l->freed_to;
}

/* Would it be too much to look at all locks for each waiter? */
static bool too_many(uint64_t held, uint64_t waiters)
{
	return held * (waiters + 1) > TP_LOCKS_LOOKS_MAX;
}

void tp_locks_fini(struct tp_locks *l)
{
	assert(tp_list_empty(&l->waiters));
	tp_list_each_safe (e, &l->held)
		free(tp_container(e, struct tp_lock, link));
	tp_list_init(&l->held);
}

static void forget(struct tp_locks *l, struct tp_lock *lock)
{
	note_freed(l, lock->range.start, lock->range.end);
	tp_list_remove(&lock->link);
	free(lock);
	l->held_count--;
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

/* Does want's range lie within one of the owner's locks, so that a piece remains on either side? */
static bool splits(const struct tp_locks *l, const struct tp_lock_range *want)
{
	tp_list_each (e, &l->held) {
		const struct tp_lock_range *r = &tp_container(e, struct tp_lock, link)->range;

		if (same_owner(r, want) && r->start < want->start && r->end > want->end)
			return true;
	}
	return false;
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
			l->held_count++;
		} else if (r->start < want->start) {
			r->end = want->start - 1;
		} else if (r->end > want->end) {
			r->start = want->end + 1;
		} else {
			forget(l, have);
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
		forget(l, have);
	}
}

/* Puts want, which nothing is in the way of, into the place of what its owner had there. Takes ownership of lock and spare. */
static void put(
	struct tp_locks *l, const struct tp_lock_range *want, struct tp_lock *lock, struct tp_lock *spare)
{
	cut(l, want, &spare);
	note_freed(l, want->start, want->end);
	free(spare);
	if (want->type == TP_LOCK_NONE) {
		free(lock);
		return;
	}
	lock->range = *want;
	tp_list_push_back(&l->held, &lock->link);
	l->held_count++;
	join(l, lock);
}

int tp_locks_set(struct tp_locks *l, const struct tp_lock_range *want)
{
	struct tp_lock *lock, *spare;

	if (in_the_way(l, want))
		return -EAGAIN;
	if ((l->held_count >= TP_LOCKS_HELD_MAX || too_many(l->held_count + 1, l->waiters_count)) &&
		(want->type != TP_LOCK_NONE || splits(l, want)))
		return -ENOLCK;
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

/* Looks that a search for a deadlock takes, at most: it is made under the tree's lock, and who wants to make it long can. */
#define SEARCH_MAX 100000u

/* A search through who waits for whom. */
struct search {
	struct tp_locks *locks;
	struct tp_list found;	/* waiters that are to be looked at */
	struct tp_list waiting; /* the others */
	unsigned left;		/* looks */
};

/* Moves those that wait for a lock and belong to owner to found. */
static void find_waiters(struct search *s, uint64_t owner)
{
	tp_list_each_safe (e, &s->waiting) {
		const struct tp_lock_range *want = &tp_container(e, struct tp_lock_waiter, search)->want;

		if (s->left == 0)
			return;
		s->left--;
		if (want->flock || want->owner != owner)
			continue;
		tp_list_remove(e);
		tp_list_push_back(&s->found, e);
	}
}

/* Is want kept waiting by a lock of `by`? Finds the waiters among those who keep it. */
static bool waits_for(struct search *s, const struct tp_lock_range *want, uint64_t by)
{
	tp_list_each (h, &s->locks->held) {
		const struct tp_lock_range *have = &tp_container(h, struct tp_lock, link)->range;

		if (s->left == 0)
			return false;
		s->left--;
		if (!conflict(have, want))
			continue;
		if (have->owner == by)
			return true;
		find_waiters(s, have->owner);
	}
	return false;
}

/* Would who wants it wait, directly or through others, for itself? Each waiter is looked at once. */
static bool is_deadlock(struct tp_locks *l, const struct tp_lock_range *want)
{
	struct search s = {.locks = l, .left = SEARCH_MAX};
	bool found;

	tp_list_init(&s.found);
	tp_list_init(&s.waiting);
	tp_list_each (e, &l->waiters)
		tp_list_push_back(&s.waiting, &tp_container(e, struct tp_lock_waiter, link)->search);
	/* A lock of its own is never in its way. */
	found = waits_for(&s, want, want->owner);
	while (!found && !tp_list_empty(&s.found)) {
		struct tp_list *e = s.found.next;

		tp_list_remove(e);
		found = waits_for(&s, &tp_container(e, struct tp_lock_waiter, search)->want, want->owner);
	}
	return found;
}

int tp_locks_wait(struct tp_locks *l, struct tp_lock_waiter *w)
{
	if (too_many(l->held_count, l->waiters_count + 1))
		return -ENOLCK;
	if (!w->want.flock && is_deadlock(l, &w->want))
		return -EDEADLK;
	w->locks = l;
	tp_list_push_back(&l->waiters, &w->link);
	l->waiters_count++;
	return 0;
}

void tp_locks_unwait(struct tp_lock_waiter *w)
{
	tp_list_remove(&w->link);
	w->locks->waiters_count--;
}

void tp_locks_grant(struct tp_locks *l, bool (*claim)(struct tp_lock_waiter *w, void *user), void *user,
	struct tp_list *granted)
{
	uint64_t from = l->freed_from, to = l->freed_to;
	bool all_wait = true;

	tp_list_each_safe (e, &l->waiters) {
		struct tp_lock_waiter *w = tp_container(e, struct tp_lock_waiter, link);
		struct tp_lock *lock, *spare;

		/* What keeps it waiting is still there. */
		if (w->want.end < from || to < w->want.start || in_the_way(l, &w->want))
			continue;
		all_wait = false;
		lock = malloc(sizeof(*lock));
		spare = malloc(sizeof(*spare));
		if (!lock || !spare || !claim(w, user)) {
			free(lock);
			free(spare);
			continue;
		}
		put(l, &w->want, lock, spare);
		tp_locks_unwait(w);
		tp_list_push_back(granted, &w->link);
	}
	/* Otherwise the same are looked at by the next call, too: some may have got less than they had, or could not be granted. */
	if (all_wait) {
		l->freed_from = 1;
		l->freed_to = 0;
	}
}

void tp_locks_drop_handle(struct tp_locks *l, uint64_t handle)
{
	tp_list_each_safe (e, &l->held) {
		struct tp_lock *have = tp_container(e, struct tp_lock, link);

		if (have->range.handle != handle || have->range.flock)
			continue;
		forget(l, have);
	}
}

void tp_locks_drop_owner(struct tp_locks *l, uint64_t owner, bool flock)
{
	tp_list_each_safe (e, &l->held) {
		struct tp_lock *have = tp_container(e, struct tp_lock, link);

		if (have->range.owner != owner || have->range.flock != flock)
			continue;
		forget(l, have);
	}
}
