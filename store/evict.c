/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The evictor's round: expire what is due, serve who waits for room, evict while the pool is used above `high` (down to `low`), and while there are more names than that much of
 * what there may be, bring down what is above its quota, tell more of those for whom other rules hold.
 *
 * A victim loses its names under the tree's lock and is kept from going (busy) until the kernel has been told, or has held that up for long; the batch's done callback, from the notifier's thread, lets it
 * go. No lock is held while the kernel is told, and nobody waits for it but this thread's waiters.
 *
 * Lock order: tree.lock before e->lock. The thread holds neither when it calls a waiter.
 */
#include "store/evict.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/cleanup.h"
#include "store/file.h"
#include "store/trail.h"
#include "store/tree.h"

#define BATCH_MAX 128u
#define TICK_NS TP_NS_PER_S
/* What may be pinned at most, of the pool. */
#define PINNED_PCT_MAX 75u
/* What nobody makes a sample of goes that long after its last close. */
#define LEFTOVER_S 3600u
/* When nothing below a directory that is above its quota may go, it is looked at again after that. */
#define QUOTA_REST_NS (10 * TP_NS_PER_S)
#define QUOTA_RESTS_MAX 5
/* When no name may go, for so many times as long as it took to find that out nobody looks again. */
#define NAMES_REST 20
/* Instead of bytes. */
#define FOR_NAMES UINT64_MAX
/* So many that may not go are looked at while the tree's lock is held: where one directory has a quota, or much is open, there can be a million. */
#define REFUSALS_MAX 1024

struct tp_evictor {
	struct tp_store *store;
	pthread_t thread;
	bool started;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool kicked, stopping;	/* lock */
	struct tp_list waiters; /* lock; oldest first */
	_Atomic bool idle;	/* the thread sleeps and nobody kicked it */
	_Atomic bool has_waiters;
	_Atomic uint64_t pending_bytes; /* changed with tree.lock held exclusively */
	uint64_t high_pages,
		low_pages;	/* free pages: below the first it is above `high`, at the second at `low` */
	struct tp_trail trail;	/* the names of victims */
	uint64_t names_rest_ns; /* the thread's: names are not evicted before that; monotonic */
};

/* Victims whose names are gone and of which the kernel is being told. */
struct batch {
	struct tp_evictor *evictor;
	unsigned count;
	uint64_t bytes;
	struct tp_gen *gens[BATCH_MAX];
};

static void let_go(void *arg)
{
	struct batch *b = arg;
	struct tp_tree *t = b->evictor->store->tree;

	{
		TP_WRLOCK(&t->lock);
		for (unsigned i = 0; i < b->count; i++) {
			b->gens[i]->busy--;
			tp_tree_settle_gen(t, b->gens[i]);
		}
		atomic_fetch_sub(&b->evictor->pending_bytes, b->bytes);
	}
	/* A directory may still be above its quota. */
	tp_evictor_look(b->evictor);
	free(b);
}

struct choice {
	struct tp_tree *tree;
	bool spare_temporary; /* what somebody is about to rename is taken last, and only when room is needed */
	struct tp_object *below; /* only what lies below it; NULL: all */
	uint64_t pinned_max;	 /* so many bytes may be pinned */
	bool for_names;		 /* what a draft keeps the name of is no use */
};

/* Will a draft that was promised to an opener start from what is there now? */
static bool is_promised(const struct tp_object *o)
{
	for (const struct tp_draft *d = o->drafts; d; d = d->next)
		if (d->gen->state == TP_GEN_RESERVED)
			return true;
	return false;
}

/* Has a draft started from what is there now? It is open then, and a database in sight while it is used. */
static bool is_changed(const struct tp_object *o)
{
	for (const struct tp_draft *d = o->drafts; d; d = d->next)
		if (d->uncharged_bytes > 0)
			return true;
	return false;
}

static bool may_go(struct tp_heat_entry *e, void *user)
{
	struct choice *c = user;
	struct tp_gen *g = tp_container(e, struct tp_gen, heat);
	const struct tp_object *o = g->object;

	if (g->opens > 0 || g->busy > 0 || g->state != TP_GEN_PUBLISHED || o->sample || is_promised(o) ||
		is_changed(o) || (c->for_names && o->drafts))
		return false;
	if (c->spare_temporary && o->names &&
		tp_tree_is_temporary(o->names->parent, o->names->bytes, o->names->len))
		return false;
	if (c->below) {
		const struct tp_object *d = o;

		while (d && d != c->below)
			d = tp_object_parent(d);
		if (!d)
			return false;
	}
	return c->tree->idle_pinned_bytes > c->pinned_max || !tp_tree_pinned(c->tree, o);
}

static uint64_t pinned_max(struct tp_evictor *e)
{
	return tp_pool_size_pages(e->store->pool) * TP_PAGE_BYTES * PINNED_PCT_MAX / 100;
}

/* Are there more names than so much of what there may be? */
static bool has_names_above(struct tp_evictor *e, unsigned pct)
{
	uint64_t max = e->store->options.names_max * TP_NAME_BYTES;

	return max &&
	       atomic_load_explicit(&e->store->tree->names_bytes, memory_order_relaxed) > max / 100 * pct;
}

/* "TIME PATH" for each name of a victim. */
static void note_names(struct tp_evictor *e, const struct tp_object *o)
{
	struct tp_tree *t = e->store->tree;
	time_t now_s = (time_t)(tp_wall_ns(e->store->clock) / TP_NS_PER_S);
	char path[PATH_MAX + NAME_MAX + 2], line[4 * sizeof(path) + 64];
	struct tm tm;

	(void)gmtime_r(&now_s, &tm);
	for (const struct tp_name *n = o->names; n; n = n->next_of_object) {
		size_t len = strftime(line, 64, "%Y-%m-%dT%H:%M:%SZ ", &tm);

		(void)tp_tree_path_locked(t, n->parent->node.id, path, PATH_MAX);
		(void)snprintf(path + strlen(path), NAME_MAX + 2, "/%.*s", (int)n->len, n->bytes);
		(void)tp_events_quote(path, strlen(path), line + len, sizeof(line) - len - 1);
		len += strlen(line + len);
		line[len++] = '\n';
		tp_trail_add(&e->trail, line, len);
	}
}

/*
 * Takes the names of victims away until `bytes` will be free (FOR_NAMES: until there are few enough), or nothing may go of what is looked at while the lock is held.
 * *ret_rounds: after how many calls all has been looked at.
 */
static void pick(struct tp_evictor *e, uint64_t bytes, uint64_t below_node, bool spare_temporary,
	struct batch *b, uint64_t *ret_rounds)
{
	struct tp_tree *t = e->store->tree;
	struct choice choice = {
		.tree = t,
		.spare_temporary = spare_temporary,
		.pinned_max = pinned_max(e),
		.for_names = bytes == FOR_NAMES,
	};
	uint64_t got = 0;
	TP_WRLOCK(&t->lock);

	*ret_rounds = 1 + tp_heat_longest(t->heat) / REFUSALS_MAX;
	if (below_node) {
		struct tp_node *n = tp_tree_node(t, below_node);

		if (!n) {
			*ret_rounds = 0;
			return;
		}
		choice.below = tp_tree_object_of(n);
	}
	while (b->count < BATCH_MAX &&
		(choice.for_names ? has_names_above(e, e->store->options.low_pct) : got < bytes)) {
		struct tp_heat_entry *victim = tp_heat_victim(t->heat, may_go, &choice, REFUSALS_MAX);
		struct tp_gen *g;

		if (!victim)
			break;
		g = tp_container(victim, struct tp_gen, heat);
		g->busy++;
		b->gens[b->count++] = g;
		b->bytes += e->store->tiers[0].ops->own_bytes(&e->store->tiers[0], g);
		/* What a quota counts, or what will be free. */
		got = below_node ? got + tp_map_bytes(&g->map) : b->bytes;
		tp_heat_evict(t->heat, victim, tp_gen_heat_key(g->object));
		note_names(e, g->object);
		tp_tree_drop_object(t, g->object);
	}
	atomic_fetch_add(&e->pending_bytes, b->bytes);
}

/* Who waits for the tree's lock would not get it from one that lets go of it only to take it again. */
static void let_others(void)
{
	static const struct timespec between = {.tv_nsec = 50000};

	(void)nanosleep(&between, NULL);
}

/* The same until something may go, or nothing may of all that there is; others have the lock in between. */
static void pick_from_all(
	struct tp_evictor *e, uint64_t bytes, uint64_t below_node, bool spare_temporary, struct batch *b)
{
	uint64_t rounds = 1;

	for (uint64_t i = 0; i < rounds && b->count == 0; i++) {
		if (i > 0)
			let_others();
		pick(e, bytes, below_node, spare_temporary, b, &rounds);
	}
}

/* Evicts one batch; the bytes that will be free, 0: nothing may go. needed: somebody waits for it. */
static uint64_t evict(struct tp_evictor *e, uint64_t bytes, uint64_t below_node, bool needed)
{
	struct tp_tree *t = e->store->tree;
	struct batch *b = calloc(1, sizeof(*b));
	uint64_t evicted;
	unsigned count;

	if (!b)
		return 0;
	b->evictor = e;
	pick_from_all(e, bytes, below_node, true, b);
	if (b->count == 0 && needed)
		pick_from_all(e, bytes, below_node, false, b);
	count = b->count;
	evicted = b->bytes;
	if (count == 0) {
		free(b);
		return 0;
	}
	tp_stats_add(&e->store->stats, below_node ? TP_STAT_QUOTA_EVICTED : TP_STAT_EVICTED, count);
	tp_stats_add(&e->store->stats, TP_STAT_EVICTED_BYTES, evicted);
	tp_events_say(e->store->events, "evicted", "%u objects, %" PRIu64 " bytes%s", count, evicted,
		below_node ? ", to keep a quota" : "");
	tp_events_flush(e->store->events);
	/* Links that an object had are gone from the ledger's view as well. */
	(void)tp_tree_record(t);
	if (!t->hooks.then || t->hooks.then(t->hooks.user, let_go, b) < 0)
		let_go(b);
	/* Objects that share all their bytes with others free nothing at once, but went. */
	return evicted ? evicted : 1;
}

/* Times to live */

/* When g's time to live is over; 0: it has none. Of what is being written its publication comes again. */
static uint64_t due_ns(struct tp_tree *t, const struct tp_gen *g)
{
	const struct tp_object *o = g->object;
	uint64_t ttl_s;

	if (g->state != TP_GEN_PUBLISHED)
		return 0;
	ttl_s = tp_tree_is_leftover(o) ? LEFTOVER_S : o->sample ? 0 : tp_tree_ttl_of(t, o);
	return ttl_s ? (g->published_s + ttl_s) * TP_NS_PER_S : 0;
}

void tp_evictor_expire(struct tp_evictor *e, struct tp_gen *g)
{
	struct tp_tree *t;
	uint64_t due;

	if (!e)
		return;
	t = e->store->tree;
	due = due_ns(t, g);
	if (!due)
		tp_deadlines_remove(&t->expiries, &g->expiry);
	else if (tp_deadlines_set(&t->expiries, &g->expiry, due) < 0)
		tp_events_say(e->store->events, "ttl", "no memory to remember a time to live, ignoring it");
}

size_t tp_evictor_expiries(struct tp_evictor *e)
{
	TP_RDLOCK(&e->store->tree->lock);

	return e->store->tree->expiries.count;
}

/* The generation whose time is over at now_ns as it was noted, or NULL. */
static struct tp_gen *first_due(struct tp_tree *t, uint64_t now_ns)
{
	uint64_t at_ns;
	struct tp_deadline *first = tp_deadlines_first(&t->expiries, &at_ns);

	return first && at_ns <= now_ns ? tp_container(first, struct tp_gen, expiry) : NULL;
}

static bool is_due(struct tp_tree *t, uint64_t now_ns)
{
	TP_RDLOCK(&t->lock);

	return first_due(t, now_ns) != NULL;
}

/* The first one that is due; the rules may be others since its time was noted. False: none is. */
static bool expire_first(struct tp_evictor *e, uint64_t now_ns)
{
	struct tp_tree *t = e->store->tree;
	char path[4096], quoted[4096];
	struct tp_gen *g;
	uint64_t due;
	TP_TREE_WRLOCK(t);

	g = first_due(t, now_ns);
	if (!g)
		return false;
	due = due_ns(t, g);
	/* An opener is on its way to a draft that starts from it, or it is not closed. */
	if (due && (is_promised(g->object) || (g->object->sample && g->opens > 0)) && due < now_ns + TICK_NS)
		due = now_ns + TICK_NS;
	if (due > now_ns) {
		(void)tp_deadlines_set(&t->expiries, &g->expiry, due);
		return true;
	}
	tp_deadlines_remove(&t->expiries, &g->expiry);
	if (!due)
		return true;
	tp_stats_add(&e->store->stats, TP_STAT_EXPIRED, 1);
	tp_tree_path_locked(t, g->node.id, path, sizeof(path));
	tp_events_say(e->store->events, "expired", "%s",
		tp_events_quote(path, strlen(path), quoted, sizeof(quoted)));
	tp_tree_drop_object(t, g->object);
	return true;
}

static void expire_due(struct tp_evictor *e)
{
	uint64_t now_ns = tp_wall_ns(e->store->clock);

	/* Mostly nothing is, and that is found out beside others. */
	if (is_due(e->store->tree, now_ns))
		while (expire_first(e, now_ns))
			;
}

/* Room */

static uint64_t free_bytes(struct tp_evictor *e)
{
	return tp_pool_free_pages(e->store->pool) * TP_PAGE_BYTES;
}

static bool over_quota(struct tp_evictor *e, uint64_t node, uint64_t more_bytes)
{
	struct tp_tree *t = e->store->tree;
	struct tp_node *n;
	TP_RDLOCK(&t->lock);

	n = tp_tree_node(t, node);
	if (!n)
		return false;
	const struct tp_object *d = tp_tree_object_of(n);

	return d->extra && d->extra->policy.quota_bytes &&
	       atomic_load(&d->dir->bytes_below) + more_bytes > d->extra->policy.quota_bytes;
}

static bool satisfied(struct tp_evictor *e, const struct tp_room_waiter *w)
{
	return w->quota_node ? !over_quota(e, w->quota_node, w->bytes) : free_bytes(e) >= w->bytes;
}

/* Other rules hold for many: some of them hear of it. False: there are none. */
static bool spread_rules(struct tp_evictor *e)
{
	struct tp_tree *t = e->store->tree;

	{
		TP_TREE_WRLOCK(t);
		if (tp_list_empty(&t->ruled))
			return false;
		(void)tp_tree_rules_look(t);
	}
	let_others();
	return true;
}

/* All of them, unless rules are set again meanwhile: who does so without end is not waited for. False: there are none. */
static bool spread_all_rules(struct tp_evictor *e)
{
	struct tp_tree_counts counts;
	uint64_t rounds, i;

	tp_tree_count(e->store->tree, &counts);
	rounds = (counts.objects + counts.directories + counts.others) / TP_RULES_AT_ONCE + 1;
	for (i = 0; i < rounds && spread_rules(e); i++)
		;
	return i > 0;
}

/* Does what can be done for w now. 1: it may try again; 0: room is on its way; -1: there will be none. */
static int serve(struct tp_evictor *e, const struct tp_room_waiter *w)
{
	struct tp_tree *t = e->store->tree;
	/* A little more than what is asked for, so that the next one need not wait. */
	uint64_t bytes = w->bytes + w->bytes / 2 + 64 * TP_PAGE_BYTES;

	if (satisfied(e, w))
		return 1;
	if (atomic_load(&e->pending_bytes) > 0)
		return 0;
	{
		TP_WRLOCK(&t->lock);
		if (!tp_list_empty(&t->old)) {
			tp_gen_give_up_old(t);
			return 0;
		}
	}
	if (evict(e, bytes, w->quota_node, true) > 0)
		return 0;
	/* How much is pinned, and so may go nevertheless, is known when all have heard. */
	return spread_all_rules(e) && evict(e, bytes, w->quota_node, true) > 0 ? 0 : -1;
}

/* Each waiter in turn, the oldest first; false when the first of them has to wait on. */
static bool serve_oldest(struct tp_evictor *e)
{
	struct tp_room_waiter *w, copy;
	int r;

	{
		TP_LOCK(&e->lock);
		if (tp_list_empty(&e->waiters))
			return false;
		w = tp_container(e->waiters.next, struct tp_room_waiter, link);
		copy = *w;
	}
	r = serve(e, &copy);
	if (r == 0)
		return atomic_load(&e->pending_bytes) == 0;
	{
		TP_LOCK(&e->lock);
		/* It may have been taken out, and freed, meanwhile. */
		if (tp_list_empty(&e->waiters) || e->waiters.next != &w->link)
			return true;
		tp_list_remove(&w->link);
		atomic_store(&e->has_waiters, !tp_list_empty(&e->waiters));
	}
	w->ready(w, r < 0);
	return true;
}

static void make_room(struct tp_evictor *e)
{
	while (serve_oldest(e))
		;
	for (;;) {
		/* What was superseded goes by itself as soon as the kernel has forgotten it. */
		uint64_t have = free_bytes(e) + atomic_load(&e->pending_bytes) +
				atomic_load(&e->store->tree->old_bytes);
		uint64_t want = e->low_pages * TP_PAGE_BYTES;

		if (have >= e->high_pages * TP_PAGE_BYTES || have >= want ||
			evict(e, want - have, 0, false) == 0)
			return;
	}
}

static bool has_spare_names(struct tp_evictor *e)
{
	struct tp_tree_counts counts;

	tp_tree_count(e->store->tree, &counts);
	return counts.names_spare > 0;
}

/* What is pinned stays: names are refused then. */
static void keep_names(struct tp_evictor *e)
{
	const struct tp_store_options *o = &e->store->options;
	uint64_t start_ns = tp_mono_ns(e->store->clock), end_ns;
	unsigned pct = o->high_pct;

	if (start_ns < e->names_rest_ns)
		return;
	atomic_store(&e->store->tree->names_stuck, false);
	for (; has_names_above(e, pct) && has_spare_names(e); pct = o->low_pct) {
		start_ns = tp_mono_ns(e->store->clock);
		if (evict(e, FOR_NAMES, 0, has_names_above(e, 100)) > 0 || !has_names_above(e, o->low_pct))
			continue;
		/* All was looked at for nothing: that is done again, but not all the time. */
		end_ns = tp_mono_ns(e->store->clock);
		e->names_rest_ns = end_ns + TICK_NS + NAMES_REST * (end_ns - start_ns);
		atomic_store(&e->store->tree->names_stuck, true);
		return;
	}
}

/* A directory that is above its quota, and by how much; 0: none is, or all of those rest. */
static uint64_t above_quota(struct tp_evictor *e, uint64_t *ret_bytes)
{
	struct tp_tree *t = e->store->tree;
	TP_RDLOCK(&t->lock);

	tp_list_each (l, &t->limited) {
		const struct tp_dir *d = tp_container(l, struct tp_dir, limited);
		struct tp_extra *x = d->self->extra;
		uint64_t below = atomic_load(&d->bytes_below);

		if (below <= x->policy.quota_bytes) {
			x->quota_rests = 0; /* this thread's alone, but for who holds the lock exclusively */
		} else if (x->quota_rest_ns <= tp_mono_ns(e->store->clock)) {
			*ret_bytes = below - x->policy.quota_bytes;
			return d->self->node.id;
		}
	}
	return 0;
}

/* Looking costs a walk over all that there is. */
static void rest(struct tp_evictor *e, uint64_t node)
{
	struct tp_tree *t = e->store->tree;
	struct tp_extra *x;
	struct tp_node *n;

	TP_WRLOCK(&t->lock);
	n = tp_tree_node(t, node);
	if (!n)
		return;
	x = tp_tree_object_of(n)->extra;
	x->quota_rest_ns = tp_mono_ns(e->store->clock) + (QUOTA_REST_NS << x->quota_rests);
	x->quota_rests += x->quota_rests < QUOTA_RESTS_MAX;
}

/* A quota may be set below what is there already, or a subtree be moved to where there is no room for it. */
static void keep_quotas(struct tp_evictor *e)
{
	uint64_t node, bytes;

	if (atomic_load(&e->store->tree->quotas) == 0)
		return;
	/* The end of a batch wakes the thread: what is on its way may be counted still. */
	while (atomic_load(&e->pending_bytes) == 0 && (node = above_quota(e, &bytes)) != 0)
		if (evict(e, bytes, node, true) == 0)
			rest(e, node);
}

static void *run(void *arg)
{
	struct tp_evictor *e = arg;
	uint64_t next_tick_ns = 0;

	for (;;) {
		{
			TP_LOCK(&e->lock);
			while (!e->kicked && !e->stopping) {
				struct timespec until;

				(void)clock_gettime(CLOCK_MONOTONIC, &until);
				until.tv_sec += 1;
				atomic_store(&e->idle, true);
				if (pthread_cond_timedwait(&e->wake, &e->lock, &until) == ETIMEDOUT)
					break;
			}
			atomic_store(&e->idle, false);
			if (e->stopping)
				return NULL;
			e->kicked = false;
		}
		if (tp_mono_ns(e->store->clock) >= next_tick_ns) {
			next_tick_ns = tp_mono_ns(e->store->clock) + TICK_NS;
			tp_file_tick(e->store->tree);
			tp_tree_record_dirty(e->store->tree);
		}
		expire_due(e);
		make_room(e);
		keep_names(e);
		keep_quotas(e);
		/* The rest after what else is to be done. */
		if (spread_rules(e))
			tp_evictor_look(e);
	}
}

int tp_evictor_new(struct tp_store *s, struct tp_evictor **ret)
{
	struct tp_evictor *e = calloc(1, sizeof(*e));
	uint64_t pages = tp_pool_size_pages(s->pool);
	pthread_condattr_t attr;
	int r;

	if (!e)
		return -ENOMEM;
	e->store = s;
	e->high_pages = pages - pages * s->options.high_pct / 100;
	e->low_pages = pages - pages * s->options.low_pct / 100;
	tp_list_init(&e->waiters);
	tp_trail_init(&e->trail);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_mutex_init(&e->lock, NULL);
	(void)pthread_cond_init(&e->wake, &attr);
	(void)pthread_condattr_destroy(&attr);
	r = pthread_create(&e->thread, NULL, run, e);
	if (r) {
		free(e);
		return -r;
	}
	e->started = true;
	*ret = e;
	return 0;
}

void tp_evictor_stop(struct tp_evictor *e)
{
	if (!e || !e->started)
		return;
	{
		TP_LOCK(&e->lock);
		e->stopping = true;
		(void)pthread_cond_signal(&e->wake);
	}
	(void)pthread_join(e->thread, NULL);
	e->started = false;
}

void tp_evictor_free(struct tp_evictor *e)
{
	if (!e)
		return;
	tp_evictor_stop(e);
	assert(tp_list_empty(&e->waiters));
	(void)pthread_mutex_destroy(&e->lock);
	(void)pthread_cond_destroy(&e->wake);
	tp_trail_fini(&e->trail);
	free(e);
}

static void wake(struct tp_evictor *e)
{
	TP_LOCK(&e->lock);
	e->kicked = true;
	(void)pthread_cond_signal(&e->wake);
}

void tp_evictor_wait(struct tp_evictor *e, struct tp_room_waiter *w)
{
	{
		TP_LOCK(&e->lock);
		tp_list_push_back(&e->waiters, &w->link);
		atomic_store(&e->has_waiters, true);
	}
	tp_stats_add(&e->store->stats, TP_STAT_PARKED, 1);
	wake(e);
}

bool tp_evictor_unwait(struct tp_evictor *e, struct tp_room_waiter *w)
{
	TP_LOCK(&e->lock);
	if (tp_list_empty(&w->link))
		return false;
	tp_list_remove(&w->link);
	atomic_store(&e->has_waiters, !tp_list_empty(&e->waiters));
	return true;
}

void tp_evictor_kick(struct tp_evictor *e)
{
	if (!e)
		return;
	/* The thread looks by itself before it sleeps; while it is awake, only waiters are in a hurry. */
	if (atomic_load_explicit(&e->has_waiters, memory_order_relaxed) ||
		((tp_pool_free_pages(e->store->pool) < e->high_pages ||
			 has_names_above(e, e->store->options.high_pct)) &&
			atomic_exchange_explicit(&e->idle, false, memory_order_relaxed)))
		wake(e);
}

void tp_evictor_look(struct tp_evictor *e)
{
	if (e)
		wake(e);
}

uint64_t tp_evictor_available_bytes(struct tp_evictor *e)
{
	struct tp_tree *t = e->store->tree;
	uint64_t kept;
	TP_RDLOCK(&t->lock);

	kept = t->idle_pinned_bytes;
	if (kept > pinned_max(e))
		kept = pinned_max(e);
	return free_bytes(e) + atomic_load(&e->pending_bytes) + atomic_load(&t->old_bytes) + t->idle_bytes -
	       kept;
}

uint64_t tp_evictor_pending_bytes(struct tp_evictor *e)
{
	return atomic_load(&e->pending_bytes);
}

int tp_evictor_print_victims(struct tp_evictor *e, FILE *out)
{
	tp_autofree char *text = malloc(TP_TRAIL_BYTES);
	size_t len = text ? tp_trail_copy(&e->trail, text) : 0;

	if (!text)
		return -ENOMEM;
	return fwrite(text, 1, len, out) == len ? 0 : -EIO;
}
