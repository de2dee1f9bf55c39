/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two queues and a memory of what went.
 *
 * What is new enters `fresh`; what was used again moves to `hot`. A scan therefore runs through fresh and leaves hot
 * alone. How much of the held bytes fresh may have is learnt as in ARC: of what goes, a fingerprint stays behind for
 * a while; when something returns that fresh gave up too early, fresh gets more, when hot did, hot gets more.
 *
 * Order inside a queue is by last use, with one twist. A prefix chain is walked from its head to its end, so plain
 * order of use would make the head the oldest of its chain, and a chain without its head is useless. While uses come
 * in strictly rising depth they are taken as one walk, and each is put behind (colder than) the one before it: the
 * end of a chain is always older than what it hangs on. Walks of several readers that interleave break that order; the
 * victim is therefore the deepest of the WINDOW oldest, not simply the oldest.
 *
 * What may not go just now is moved to the young end, so that the next call does not meet it first again.
 *
 * Everything is in units of KiB and relative to what is held, not to the size of the tier: samples and open drafts,
 * which are not in here, may take most of a tier.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "store/heat.h"

_Static_assert(sizeof(struct tp_heat_entry) <= 40, "it is in every object");

/* How many of the oldest are compared by depth. */
#define WINDOW 32
/* How many that may not go are passed over in one queue before the other one is asked. */
#define REFUSALS_MAX 64
#define USES_MAX 3
/* Shares of the held bytes are in 1/SHARE_ONE. */
#define SHARE_ONE (1u << 20)

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
	struct tp_list list;	    /* next is older: the first is the youngest, the last goes first */
	struct tp_heat_entry *walk; /* where the present walk put its last entry in here, or NULL */
	uint64_t size_kib;	    /* of its entries */
	uint64_t count;
	uint64_t gone_kib; /* evicted from here, ever: the clock of its ghosts */
};

/* What is remembered of one that was evicted. All zero: free. */
struct ghost {
	uint32_t
		print; /* the low half of the key without the lowest bit, which says from which queue: 1 is hot */
	uint32_t stamp; /* the queue's gone_kib at that time, in units of 1 << stamp_shift */
};

struct tp_heat {
	struct queue queues[N_QUEUES]; /* IN_NONE is not used */
	uint32_t fresh_share;	       /* what fresh may have of the held bytes, in 1/SHARE_ONE */
	uint32_t walk_depth;	       /* of the last use: a deeper one continues the walk */
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
	h->fresh_share = SHARE_ONE / 10;
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

static void ghost_put(struct tp_heat *h, const struct tp_heat_entry *e)
{
	struct ghost *b = bucket_of(h, e->key), *to = b;

	/* The free one, or the one whose queue has given up most since. */
	for (int i = 0; i < GHOST_WAYS; i++) {
		if (!b[i].print) {
			to = &b[i];
			break;
		}
		if (ghost_age_kib(h, &b[i]) > ghost_age_kib(h, to))
			to = &b[i];
	}
	*to = (struct ghost){.print = print_of(e->key, e->queue), .stamp = stamp_now(h, e->queue)};
}

/* Takes the memory of key out. Returns the queue that gave it up, IN_NONE when that is not known or too long ago. */
static int ghost_take(struct tp_heat *h, uint64_t key)
{
	struct ghost *b = bucket_of(h, key);

	for (int i = 0; i < GHOST_WAYS; i++) {
		int queue = b[i].print & 1 ? IN_HOT : IN_FRESH;
		uint64_t life_kib = held_kib(h);

		if (b[i].print != print_of(key, queue))
			continue;
		if (ghost_age_kib(h, &b[i]) > life_kib)
			queue = IN_NONE;
		b[i] = (struct ghost){0};
		return queue;
	}
	return IN_NONE;
}

/* One of size_kib is back that `queue` gave up: that queue should have been larger. */
static void learn(struct tp_heat *h, int queue, uint32_t size_kib)
{
	const struct queue *fresh = &h->queues[IN_FRESH], *hot = &h->queues[IN_HOT];
	const struct queue *mine = &h->queues[queue], *other = mine == fresh ? hot : fresh;
	uint64_t held = held_kib(h) + 1, step;

	/* The smaller a queue's memory, the more one find in it says; as in ARC, with the queues' sizes for the memories'. */
	step = (uint64_t)size_kib * SHARE_ONE / held;
	if (mine->size_kib > other->size_kib)
		step = step * (mine->size_kib / (other->size_kib + 1));
	if (step > SHARE_ONE / 16)
		step = SHARE_ONE / 16;
	if (queue == IN_FRESH)
		h->fresh_share =
			step > SHARE_ONE - h->fresh_share ? SHARE_ONE : h->fresh_share + (uint32_t)step;
	else
		h->fresh_share = step > h->fresh_share ? 0 : h->fresh_share - (uint32_t)step;
}

/* --- Queues --- */

static void take_out(struct tp_heat *h, struct tp_heat_entry *e)
{
	struct queue *q = &h->queues[e->queue];

	assert(e->queue != IN_NONE);
	if (q->walk == e)
		q->walk = NULL;
	tp_list_remove(&e->link);
	q->size_kib -= e->size_kib;
	q->count--;
	e->queue = IN_NONE;
}

/* At the young end, but behind what the present walk has put there. */
static void put_in(struct tp_heat *h, struct tp_heat_entry *e, int queue)
{
	struct queue *q = &h->queues[queue];

	if (e->depth <= h->walk_depth)
		h->queues[IN_FRESH].walk = h->queues[IN_HOT].walk = NULL;
	h->walk_depth = e->depth;
	if (q->walk)
		tp_list_insert_after(&q->walk->link, &e->link);
	else
		tp_list_push_front(&q->list, &e->link);
	q->walk = e;
	q->size_kib += e->size_kib;
	q->count++;
	e->queue = (uint8_t)queue;
}

void tp_heat_add(
	struct tp_heat *h, struct tp_heat_entry *e, uint64_t key, uint64_t size_bytes, uint16_t depth)
{
	int from;

	*e = (struct tp_heat_entry){.key = key, .size_kib = kib_of(size_bytes), .depth = depth};
	tp_list_init(&e->link);
	from = ghost_take(h, key);
	if (from != IN_NONE)
		learn(h, from, e->size_kib);
	put_in(h, e, from == IN_NONE ? IN_FRESH : IN_HOT);
}

void tp_heat_touch(struct tp_heat *h, struct tp_heat_entry *e)
{
	if (e->queue == IN_NONE)
		return;
	if (e->uses < USES_MAX)
		e->uses++;
	take_out(h, e);
	put_in(h, e, IN_HOT);
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

void tp_heat_remove(struct tp_heat *h, struct tp_heat_entry *e, bool evicted)
{
	if (e->queue == IN_NONE)
		return;
	if (evicted) {
		h->queues[e->queue].gone_kib += e->size_kib;
		ghost_put(h, e);
	}
	take_out(h, e);
}

/* --- Victims --- */

struct search {
	bool (*may_go)(struct tp_heat_entry *e, void *user);
	void *user;
	uint64_t refused[N_QUEUES]; /* how many of each queue's youngest have been asked in this call */
};

/* The deepest of the oldest, the older of two that are equal; refused ones, which are the youngest, are left out. */
static struct tp_heat_entry *coldest(struct queue *q, uint64_t refused)
{
	struct tp_heat_entry *best = NULL;
	struct tp_list *at = q->list.prev;

	for (uint64_t i = 0; i < WINDOW && i + refused < q->count; i++, at = at->prev) {
		struct tp_heat_entry *e = entry_of(at);

		if (!best || e->depth > best->depth)
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
		struct tp_heat_entry *e = coldest(q, s->refused[queue]);

		if (!e)
			return NULL;
		if (!s->may_go || s->may_go(e, s->user))
			return e;
		/* It goes to the very front, in no walk: the refused are told from the rest by their place. */
		q->walk = NULL;
		tp_list_remove(&e->link);
		tp_list_push_front(&q->list, &e->link);
		s->refused[queue]++;
	}
	return NULL;
}

struct tp_heat_entry *tp_heat_victim(
	struct tp_heat *h, bool (*may_go)(struct tp_heat_entry *e, void *user), void *user)
{
	struct search s = {.may_go = may_go, .user = user};
	uint64_t allowed_kib = held_kib(h) / SHARE_ONE * h->fresh_share +
			       held_kib(h) % SHARE_ONE * h->fresh_share / SHARE_ONE;
	int first =
		h->queues[IN_FRESH].size_kib > allowed_kib || !h->queues[IN_HOT].count ? IN_FRESH : IN_HOT;
	int second = first == IN_FRESH ? IN_HOT : IN_FRESH;
	struct tp_heat_entry *e;

	/* A few from each, so that a queue full of pinned ones costs little while the other has something to give. */
	e = search_queue(h, &s, first, REFUSALS_MAX);
	if (!e)
		e = search_queue(h, &s, second, REFUSALS_MAX);
	if (!e)
		e = search_queue(h, &s, first, UINT64_MAX);
	if (!e)
		e = search_queue(h, &s, second, UINT64_MAX);
	return e;
}
