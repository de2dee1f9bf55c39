/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two queues, a memory of what went, and a notion of walks.
 *
 * What is new enters `fresh`; what was used again moves to `hot`. A scan therefore runs through fresh and leaves hot
 * alone. How much of the held bytes fresh may have is learnt: of what goes, a fingerprint stays behind for a while;
 * when something returns soon after it went, the queue that gave it up would have kept it with a little more room, and
 * gets some from the other one. (ARC learns from all that it remembers; what returns late says little about a little
 * more room.)
 *
 * Inside a queue the order is by last use. An entry that is used by itself, not as part of a chain, also earns a life, at
 * most LIVES_MAX: at the cold end a life is taken instead of the entry. That is worth one to two points where popularity
 * is steady, and keeps most of a loop that is a little larger than the tier.
 *
 * Chains have no such popularity: a conversation is used whole, again and again, and then never more. But they have an
 * order. A chain is walked from its head to its end, and one that has lost its head is useless. Uses whose depth rises by
 * one are taken as one walk, a few at the same time since readers mix; and
 * - each entry of a walk is put behind (colder than) the one before it, so that the end of a chain is always older than
 *   what it hangs on;
 * - what is added at the end of a chain that was used for the first time goes to hot at once: it is a conversation, and
 *   the new end is as likely to be asked for again as the rest. What is added below something that has been used more
 *   often is a question to a template, and has to prove itself;
 * - when a walk leaves a chain at a place where none did before, what hangs below that place goes back to fresh: somebody
 *   took back the last steps and went on elsewhere.
 * All this is a guess from depths and order, and may be wrong: it moves entries between queues, nothing more.
 *
 * For what walks do not catch, the victim is not simply the oldest, but the deepest of some of the oldest.
 *
 * What is read for the first time right after it was written is not in demand yet: whoever wrote it looks at it.
 *
 * What may not go just now is moved to the young end, so that the next call does not meet it first again.
 *
 * All is in units of KiB and relative to what is held, not to the size of the tier: samples and open drafts, which are not
 * in here, may take most of it.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "store/heat.h"

_Static_assert(sizeof(struct tp_heat_entry) <= 40, "it is in every object");

/* How many of the oldest are compared by depth: a part of the queue between these bounds. */
#define WINDOW_MIN 8
#define WINDOW_MAX 32
#define WINDOW_PART 64
/* How many that may not go are passed over in one queue before the other one is asked. */
#define REFUSALS_MAX 16
#define USES_MAX 3
#define LIVES_MAX 2
/* How many are spared before one goes although it has lives: a bound on the time of a call. */
#define SPARED_MAX 64
#define N_WALKS 32
/* A walk that has not gone on for so many uses is over. */
#define WALK_PAUSE_MAX 64
/* What is read before so many other uses have come was just written. */
#define JUST_ADDED_MAX 4
/* An abandoned chain that is longer keeps the rest in hot. */
#define ABANDONED_MAX 256

/* Shares of the held bytes are in 1/SHARE_ONE. */
#define SHARE_ONE (1u << 20)
#define SHARE_FIRST (SHARE_ONE / 6)
#define SHARE_MIN (SHARE_ONE / 100)
/* What returns before its queue has given up this part of the held bytes would have been kept with a little more. */
#define SOON_PART 20
/* Fresh is limited by its share when it is that near to it. */
#define NEAR_PART 50
/* By how many times its size one that returns moves the border. */
#define LEARN_TIMES 3

#define GHOST_WAYS 8
#define GHOST_SLOTS_MIN 1024u
#define GHOST_SLOTS_MAX (4u << 20)
/* Bytes of the tier for each remembered object. */
#define GHOST_BYTES_PER_SLOT 8192

enum {
	IN_NONE,
	IN_FRESH,
	IN_HOT,
	N_QUEUES,
};

struct queue {
	struct tp_list list; /* next is older: the first is the youngest, the last goes first */
	uint64_t size_kib;   /* of its entries */
	uint64_t count;
	uint64_t gone_kib; /* evicted from here, ever: the clock of its ghosts */
};

/* What is remembered of one that was evicted. All zero: free. */
struct ghost {
	uint32_t print; /* the low half of the key; the lowest bit says from which queue: 1 is hot */
	uint32_t stamp; /* the queue's gone_kib at that time, in units of 1 << stamp_shift */
};

/* A walk down one chain. The pointers are cleared when the entry goes or leaves the queue. */
struct walk {
	uint64_t when;			     /* the use that was its last; 0: free */
	uint32_t depth;			     /* of that */
	uint32_t length;		     /* uses so far */
	struct tp_heat_entry *last;	     /* that was used, or NULL */
	struct tp_heat_entry *put[N_QUEUES]; /* its last in each queue: the next goes behind it; or NULL */
	struct tp_heat_entry *below;	     /* where the walk before this one went on from last, or NULL */
	bool alone;			     /* no other use came between its uses */
	bool added;			     /* last was new */
	bool grows;			     /* last was new, at the end of a chain that grows */
};

struct tp_heat {
	struct queue queues[N_QUEUES]; /* IN_NONE is not used */
	struct walk walks[N_WALKS];
	uint64_t uses;	      /* additions and touches, ever */
	uint32_t fresh_share; /* what fresh may have of the held bytes, in 1/SHARE_ONE */
	unsigned stamp_shift;
	uint64_t bucket_mask;
	struct ghost *ghosts; /* owned: (bucket_mask + 1) * GHOST_WAYS */
};

static struct tp_heat_entry *entry_of(struct tp_list *l)
{
	return tp_container(l, struct tp_heat_entry, link);
}

static uint32_t kib_of(uint64_t size_bytes)
{
	uint64_t kib = size_bytes / 1024 + (size_bytes % 1024 != 0);

	return kib > UINT32_MAX ? UINT32_MAX : (uint32_t)kib;
}

static uint64_t held_kib(const struct tp_heat *h)
{
	return h->queues[IN_FRESH].size_kib + h->queues[IN_HOT].size_kib;
}

struct tp_heat *tp_heat_new(uint64_t size_bytes)
{
	struct tp_heat *h = calloc(1, sizeof(*h));
	uint64_t slots = GHOST_SLOTS_MIN;

	if (!h)
		return NULL;
	while (slots < GHOST_SLOTS_MAX && slots * GHOST_BYTES_PER_SLOT < size_bytes)
		slots *= 2;
	/* The kernel gives the pages as they are used, so that a tier of large objects pays for few of them. */
	h->ghosts = calloc(slots, sizeof(*h->ghosts));
	if (!h->ghosts) {
		free(h);
		return NULL;
	}
	h->bucket_mask = slots / GHOST_WAYS - 1;
	/* A tier is at least 2^16 units then, and a stamp repeats only after 2^15 tiers have gone. */
	while (h->stamp_shift < 32 && (size_bytes >> 10 >> h->stamp_shift) > (1u << 17))
		h->stamp_shift++;
	h->fresh_share = SHARE_FIRST;
	for (int i = 0; i < N_QUEUES; i++)
		tp_list_init(&h->queues[i].list);
	return h;
}

void tp_heat_free(struct tp_heat *h)
{
	if (!h)
		return;
	assert(tp_list_empty(&h->queues[IN_FRESH].list) && tp_list_empty(&h->queues[IN_HOT].list));
	free(h->ghosts);
	free(h);
}

/* --- Ghosts --- */

static struct ghost *bucket_of(struct tp_heat *h, uint64_t key)
{
	return h->ghosts + (key >> 32 & h->bucket_mask) * GHOST_WAYS;
}

static uint32_t print_of(uint64_t key, int queue)
{
	/* Never zero, which says free. */
	return (((uint32_t)key | 2) & ~1u) | (queue == IN_HOT ? 1 : 0);
}

static uint32_t stamp_now(const struct tp_heat *h, int queue)
{
	return (uint32_t)(h->queues[queue].gone_kib >> h->stamp_shift);
}

static uint64_t ghost_age_kib(const struct tp_heat *h, const struct ghost *g)
{
	return (uint64_t)(stamp_now(h, g->print & 1 ? IN_HOT : IN_FRESH) - g->stamp) << h->stamp_shift;
}

static void ghost_put(struct tp_heat *h, int queue, uint64_t key)
{
	struct ghost *b = bucket_of(h, key), *to = b;

	/* The free one, or the one whose queue has given up most since. */
	for (int i = 0; i < GHOST_WAYS; i++) {
		if (!b[i].print) {
			to = &b[i];
			break;
		}
		if (ghost_age_kib(h, &b[i]) > ghost_age_kib(h, to))
			to = &b[i];
	}
	*to = (struct ghost){.print = print_of(key, queue), .stamp = stamp_now(h, queue)};
}

/* Takes the memory of key out. Returns the queue that gave it up, IN_NONE when that is not known or too long ago. */
static int ghost_take(struct tp_heat *h, uint64_t key, uint64_t *ret_age_kib)
{
	struct ghost *b = bucket_of(h, key);

	for (int i = 0; i < GHOST_WAYS; i++) {
		int queue = b[i].print & 1 ? IN_HOT : IN_FRESH;

		if (b[i].print != print_of(key, queue))
			continue;
		*ret_age_kib = ghost_age_kib(h, &b[i]);
		b[i] = (struct ghost){0};
		return *ret_age_kib > held_kib(h) ? IN_NONE : queue;
	}
	return IN_NONE;
}

static uint64_t fresh_allowed_kib(const struct tp_heat *h)
{
	return held_kib(h) / SHARE_ONE * h->fresh_share +
	       held_kib(h) % SHARE_ONE * h->fresh_share / SHARE_ONE;
}

/* One of size_kib is back that `queue` gave up age_kib ago. */
static void learn(struct tp_heat *h, int queue, uint32_t size_kib, uint64_t age_kib)
{
	uint64_t held = held_kib(h) + 1, step = (uint64_t)size_kib * LEARN_TIMES * SHARE_ONE / held;
	uint64_t fresh = h->queues[IN_FRESH].size_kib, allowed = fresh_allowed_kib(h),
		 near = held / NEAR_PART;
	uint32_t share = h->fresh_share;

	if (age_kib > held / SOON_PART)
		return;
	if (step > SHARE_ONE / 8)
		step = SHARE_ONE / 8;
	if (queue == IN_HOT) {
		h->fresh_share = share < SHARE_MIN + step ? SHARE_MIN : share - (uint32_t)step;
		return;
	}
	/* Where it is not the share that limits fresh, a larger one would not have helped. */
	if (fresh > allowed + near || fresh + near < allowed)
		return;
	h->fresh_share =
		share + step > SHARE_ONE - SHARE_MIN ? SHARE_ONE - SHARE_MIN : share + (uint32_t)step;
}

/* --- Walks --- */

/* Nothing may point to e any more: it goes, or it leaves its place. */
static void walks_forget(struct tp_heat *h, const struct tp_heat_entry *e, bool goes)
{
	for (struct walk *w = h->walks; w < h->walks + N_WALKS; w++) {
		if (w->put[e->queue] == e)
			w->put[e->queue] = NULL;
		if (w->below == e)
			w->below = NULL;
		if (goes && w->last == e)
			w->last = NULL;
	}
}

/* Its slot is needed: what was used by itself, and is not new, has earned a life. */
static void walk_end(struct walk *w)
{
	if (w->length == 1 && !w->added && w->last && w->last->lives < LIVES_MAX)
		w->last->lives++;
}

/*
 * How well the use of e fits as the next of w: 0 not at all. Best is what the walk before went on with, then what comes
 * right after w's last use when nobody else seems to walk. After its first miss a walk has only misses, so what is new fits better where something new
 * came before, and what is old where not.
 */
static int walk_fits(const struct tp_heat *h, const struct walk *w, const struct tp_heat_entry *e,
	uint32_t depth, bool is_new)
{
	if (!w->when || w->depth + 1 != depth || h->uses - w->when > WALK_PAUSE_MAX)
		return 0;
	if (w->below == e)
		return 5;
	if (w->when == h->uses && w->alone)
		return 4;
	if (!is_new)
		return w->added ? 1 : 2;
	return w->added ? 3 : w->below ? 1 : 2;
}

/* The walk that the use of e at this depth continues, or a new one. */
static struct walk *walk_at(struct tp_heat *h, uint32_t depth, const struct tp_heat_entry *e, bool is_new)
{
	struct walk *found = NULL, *oldest = h->walks;
	int best = 0;

	for (struct walk *w = h->walks; w < h->walks + N_WALKS; w++) {
		int fits = walk_fits(h, w, e, depth, is_new);

		if (fits > best || (found && fits == best && w->when > found->when)) {
			best = fits;
			found = w;
		}
		if (w->when < oldest->when)
			oldest = w;
	}
	if (!found) {
		walk_end(oldest);
		*oldest = (struct walk){.when = h->uses, .alone = true};
		found = oldest;
	}
	found->alone = found->alone && found->when == h->uses;
	found->when = ++h->uses;
	found->depth = depth;
	found->length++;
	return found;
}

/* --- Queues --- */

static void take_out(struct tp_heat *h, struct tp_heat_entry *e)
{
	struct queue *q = &h->queues[e->queue];

	assert(e->queue != IN_NONE);
	tp_list_remove(&e->link);
	q->size_kib -= e->size_kib;
	q->count--;
	e->queue = IN_NONE;
}

/* At the young end, but behind `behind` when that is not NULL. */
static void put_in(struct tp_heat *h, struct tp_heat_entry *e, int queue, struct tp_heat_entry *behind)
{
	struct queue *q = &h->queues[queue];

	tp_list_insert_after(behind ? &behind->link : &q->list, &e->link);
	q->size_kib += e->size_kib;
	q->count++;
	e->queue = (uint8_t)queue;
}

/* The one in its queue that is next older, when that can only be the next of the same chain; or NULL. */
static struct tp_heat_entry *next_in_chain(struct tp_heat *h, const struct tp_heat_entry *e)
{
	struct tp_heat_entry *next;

	if (e->link.next == &h->queues[e->queue].list)
		return NULL;
	next = entry_of(e->link.next);
	return next->depth == e->depth + 1u ? next : NULL;
}

/*
 * The walk goes on to e from w->last. Whether it leaves there a chain that no walk has left before: not guessed when several
 * walk, since one that is taken for another seems to leave its chain.
 */
static bool walk_leaves(const struct walk *w, const struct tp_heat_entry *e)
{
	return w->alone && w->last && w->below && w->below != e && !w->last->branched;
}

/* `first` and what hangs below it have been left: they are as good as new ones. */
static void abandon(struct tp_heat *h, struct tp_heat_entry *first)
{
	struct tp_heat_entry *e = first, *behind = NULL;

	for (int i = 0; e && i < ABANDONED_MAX; i++) {
		struct tp_heat_entry *next = next_in_chain(h, e);

		walks_forget(h, e, false);
		take_out(h, e);
		e->uses = 0;
		e->lives = 0;
		put_in(h, e, IN_FRESH, behind);
		behind = e;
		e = next;
	}
}

void tp_heat_add(
	struct tp_heat *h, struct tp_heat_entry *e, uint64_t key, uint64_t size_bytes, uint16_t depth)
{
	struct walk *w = walk_at(h, depth, e, true);
	bool goes_on = w->length > 1;
	uint64_t age_kib = 0;
	int from, to;

	*e = (struct tp_heat_entry){.size_kib = kib_of(size_bytes), .depth = depth};
	tp_list_init(&e->link);
	from = ghost_take(h, key, &age_kib);
	if (from != IN_NONE)
		learn(h, from, e->size_kib, age_kib);
	if (walk_leaves(w, e)) {
		w->last->branched = 1;
		abandon(h, w->below);
	}
	w->grows =
		goes_on && w->last && (w->added ? w->grows : w->last->queue == IN_HOT && w->last->uses == 1);
	/* What hot gave up and is used by itself has to prove itself again, or a loop would turn hot over for ever. */
	to = w->grows || from == IN_FRESH || (from == IN_HOT && goes_on) ? IN_HOT : IN_FRESH;
	put_in(h, e, to, w->put[to]);
	w->put[to] = w->last = e;
	w->below = NULL;
	w->added = true;
}

/* Whether its addition is among the last few uses, and no part of a longer walk. */
static bool just_added(const struct tp_heat *h, const struct tp_heat_entry *e)
{
	for (const struct walk *w = h->walks; w < h->walks + N_WALKS; w++)
		if (w->last == e && w->added && w->length == 1 && h->uses - w->when < JUST_ADDED_MAX)
			return true;
	return false;
}

void tp_heat_touch(struct tp_heat *h, struct tp_heat_entry *e)
{
	struct walk *w;
	struct tp_heat_entry *below;

	if (e->queue == IN_NONE || just_added(h, e))
		return;
	w = walk_at(h, e->depth, e, false);
	if (walk_leaves(w, e)) {
		w->last->branched = 1;
		abandon(h, w->below);
	}
	below = next_in_chain(h, e);
	walks_forget(h, e, false);
	if (e->uses < USES_MAX)
		e->uses++;
	take_out(h, e);
	put_in(h, e, IN_HOT, w->put[IN_HOT]);
	w->put[IN_HOT] = w->last = e;
	w->below = below && below->queue == IN_HOT ? below : NULL;
	w->added = w->grows = false;
}

void tp_heat_change(struct tp_heat *h, struct tp_heat_entry *e, uint64_t size_bytes, uint16_t depth)
{
	if (e->queue != IN_NONE) {
		h->queues[e->queue].size_kib -= e->size_kib;
		h->queues[e->queue].size_kib += kib_of(size_bytes);
	}
	e->size_kib = kib_of(size_bytes);
	e->depth = depth;
}

void tp_heat_evict(struct tp_heat *h, struct tp_heat_entry *e, uint64_t key)
{
	if (e->queue == IN_NONE)
		return;
	h->queues[e->queue].gone_kib += e->size_kib;
	ghost_put(h, e->queue, key);
	tp_heat_remove(h, e);
}

void tp_heat_remove(struct tp_heat *h, struct tp_heat_entry *e)
{
	if (e->queue == IN_NONE)
		return;
	walks_forget(h, e, true);
	take_out(h, e);
}

/* --- Victims --- */

struct search {
	bool (*may_go)(struct tp_heat_entry *e, void *user);
	void *user;
	/* The refused are at the front of each queue, in their order: how many, and the oldest of them, or the head. */
	uint64_t refused[N_QUEUES];
	struct tp_list *oldest_refused[N_QUEUES];
};

/* To the young end, behind `at`, in no walk. */
static void spare(struct tp_heat *h, struct tp_heat_entry *e, struct tp_list *at)
{
	walks_forget(h, e, false);
	tp_list_remove(&e->link);
	tp_list_insert_after(at, &e->link);
}

/* The deepest of the oldest, the older of two that are equal; refused ones, which are the youngest, are left out. */
static struct tp_heat_entry *coldest(const struct queue *q, uint64_t refused)
{
	uint64_t window = q->count / WINDOW_PART;
	struct tp_heat_entry *best = NULL;
	struct tp_list *at = q->list.prev;

	if (window < WINDOW_MIN)
		window = WINDOW_MIN;
	if (window > WINDOW_MAX)
		window = WINDOW_MAX;
	for (uint64_t i = 0; i < window && i + refused < q->count; i++, at = at->prev) {
		struct tp_heat_entry *e = entry_of(at);

		if (!best || (e->depth > best->depth && !e->lives))
			best = e;
	}
	return best;
}

/* Asks until one may go, all have been asked or `refusals_max` have been refused. */
static struct tp_heat_entry *search_queue(
	struct tp_heat *h, struct search *s, int queue, uint64_t refusals_max)
{
	struct queue *q = &h->queues[queue];

	while (s->refused[queue] < refusals_max) {
		struct tp_heat_entry *e;

		for (int i = 0; i < SPARED_MAX && q->count > s->refused[queue]; i++) {
			e = entry_of(q->list.prev);
			if (!e->lives)
				break;
			e->lives--;
			spare(h, e, s->oldest_refused[queue]);
		}
		e = coldest(q, s->refused[queue]);
		if (!e)
			return NULL;
		if (!s->may_go || s->may_go(e, s->user))
			return e;
		spare(h, e, &q->list);
		if (s->refused[queue]++ == 0)
			s->oldest_refused[queue] = &e->link;
	}
	return NULL;
}

uint64_t tp_heat_longest(const struct tp_heat *h)
{
	uint64_t fresh = h->queues[IN_FRESH].count, hot = h->queues[IN_HOT].count;

	return fresh > hot ? fresh : hot;
}

struct tp_heat_entry *tp_heat_victim(struct tp_heat *h, bool (*may_go)(struct tp_heat_entry *e, void *user),
	void *user, uint64_t refusals_max)
{
	struct search s = {
		.may_go = may_go,
		.user = user,
		.oldest_refused =
			{[IN_FRESH] = &h->queues[IN_FRESH].list, [IN_HOT] = &h->queues[IN_HOT].list},
	};
	int first = h->queues[IN_FRESH].size_kib > fresh_allowed_kib(h) || !h->queues[IN_HOT].count ? IN_FRESH
												    : IN_HOT;
	int second = first == IN_FRESH ? IN_HOT : IN_FRESH;
	struct tp_heat_entry *e;

	/* A few from each, so that a queue full of pinned ones costs little while the other has something to give. */
	e = search_queue(h, &s, first, REFUSALS_MAX);
	if (!e)
		e = search_queue(h, &s, second, REFUSALS_MAX);
	if (!e)
		e = search_queue(h, &s, first, refusals_max);
	if (!e)
		e = search_queue(h, &s, second, refusals_max);
	return e;
}
