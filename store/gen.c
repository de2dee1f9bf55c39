/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Generations: how a draft begins, who holds it, and what becomes of it.
 *
 * The happy path: an open for writing makes a generation (DRAFT when it is hidden, LIVE when it is visible at once) and a struct tp_draft beside it that knows the
 * writers. When the last handle is gone, finish() decides: publish, or drop with an event. Publishing retires the generation that was current.
 *
 * A retired generation keeps its content while it is open. When it was superseded, by a newer one or by another file that took its name, it keeps it also while the kernel knows its
 * node: a reader that looked the name up before the replacement may open it a moment later, and must not be told ESTALE twice in one open. When its name was removed,
 * ENOENT is a true answer, and the content goes at once.
 *
 * An open for writing of a published name cannot be answered with that node, since pages and size belong to the node. It is answered ESTALE, and the kernel looks the
 * name up again: that look-up finds the draft that was reserved for this process meanwhile. The kernel does so once per open, therefore a draft to which an opener was
 * sent is not published for a moment (awaited). As soon as that thread asks for something else the draft waits no more: drafts that nobody comes for would hold the content that
 * they start from, and where a name is replaced fast they would fill the pool.
 *
 * Callers outside the daemon's pid namespace all look the same (process 0): any of them may be another than the one that writes. So none of them sees a draft by path. One that was
 * sent to look again is not recognised either: for a moment each look-up of the name by such a caller gets a reserved draft that nobody else was given. The opener begins its
 * draft with it; who only reads finds there what is published; who appends, which is done in place, ends that moment and is sent to look again.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "store/cleanup.h"
#include "store/file.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* How long a draft waits for an opener that was sent to it. */
#define AWAIT_NS (2 * TP_NS_PER_S)

static const char *const state_names[] = {"reserved", "draft", "live", "published", "old", "gone"};

const char *tp_gen_state_name(const struct tp_gen *g)
{
	return state_names[g->state];
}

bool tp_gen_is_past(const struct tp_gen *g)
{
	return g->state == TP_GEN_GONE || (g->state == TP_GEN_OLD && !g->draft);
}

static void move_to(struct tp_gen *g, enum tp_gen_state to)
{
	static const uint8_t allowed[] = {
		[TP_GEN_RESERVED] = 1 << TP_GEN_DRAFT | 1 << TP_GEN_OLD,
		[TP_GEN_DRAFT] = 1 << TP_GEN_LIVE | 1 << TP_GEN_PUBLISHED | 1 << TP_GEN_OLD,
		[TP_GEN_LIVE] = 1 << TP_GEN_PUBLISHED | 1 << TP_GEN_DRAFT | 1 << TP_GEN_OLD,
		[TP_GEN_PUBLISHED] = 1 << TP_GEN_LIVE | 1 << TP_GEN_OLD,
		[TP_GEN_OLD] = 1 << TP_GEN_GONE,
		[TP_GEN_GONE] = 0,
	};

	assert(allowed[g->state] & 1 << to);
	g->state = (uint8_t)to;
}

struct tp_gen *tp_gen_new(struct tp_tree *t, struct tp_object *o, enum tp_gen_state state)
{
	struct tp_gen *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->node.id = tp_tree_number(t);
	if (g->node.id == 0) {
		free(g);
		return NULL;
	}
	atomic_init(&g->node.kind_and_lookups, (uint64_t)TP_NODE_GEN << 56);
	g->object = o;
	g->state = (uint8_t)state;
	g->mtime_ns = tp_wall_ns(t->store->clock);
	tp_map_init(&g->map);
	tp_list_init(&g->heat.link);
	tp_table_add(&t->nodes, &g->node.link);
	o->gens++;
	return g;
}

static void drop_content(struct tp_tree *t, struct tp_gen *g)
{
	const struct tp_store *s = t->store;

	for (unsigned i = 0; i < s->tiers_count; i++)
		if (s->tiers[i].ops->holds(&s->tiers[i], g))
			s->tiers[i].ops->drop(&s->tiers[i], g);
}

static void free_gen(struct tp_tree *t, struct tp_gen *g)
{
	struct tp_object *o = g->object;

	tp_table_remove(&t->nodes, &g->node.link);
	tp_deadlines_remove(&t->expiries, &g->expiry);
	tp_draft_free(g->draft);
	free(g);
	o->gens--;
	tp_tree_settle_object(t, o);
}

/* Before its content changes or goes. */
static void leave_idle(struct tp_tree *t, struct tp_gen *g)
{
	if (!g->idle)
		return;
	g->idle = false;
	t->idle_bytes -= tp_map_bytes(&g->map);
	if (g->pinned)
		t->idle_pinned_bytes -= tp_map_bytes(&g->map);
	else
		t->idle_spare--;
}

void tp_gen_count_idle(struct tp_tree *t, struct tp_gen *g)
{
	leave_idle(t, g);
	if (g->state != TP_GEN_PUBLISHED || g->opens > 0 || g->busy > 0 || !tp_heat_holds(&g->heat))
		return;
	g->idle = true;
	g->pinned = tp_tree_pinned(t, g->object);
	t->idle_bytes += tp_map_bytes(&g->map);
	if (g->pinned)
		t->idle_pinned_bytes += tp_map_bytes(&g->map);
	else
		t->idle_spare++;
}

void tp_gen_hold(struct tp_tree *t, struct tp_gen *g)
{
	if (g->busy++ == 0)
		leave_idle(t, g);
}

void tp_gen_let_go(struct tp_tree *t, struct tp_gen *g)
{
	if (--g->busy == 0)
		tp_gen_count_idle(t, g);
	tp_tree_settle_gen(t, g);
}

static void leave_old_list(struct tp_tree *t, struct tp_gen *g)
{
	/* While it is current the same link is in the order of eviction. */
	if (g->state != TP_GEN_OLD || tp_list_empty(&g->heat.link))
		return;
	tp_list_remove(&g->heat.link);
	atomic_fetch_sub(&t->old_bytes, tp_map_bytes(&g->map));
}

static void drop_draft(struct tp_tree *t, struct tp_gen *g, const char *why);

void tp_tree_settle_gen(struct tp_tree *t, struct tp_gen *g)
{
	bool known = tp_node_lookups(&g->node) > 0;

	if (g->opens > 0 || g->busy > 0)
		return;
	if (g->state == TP_GEN_RESERVED && !known) {
		/*
		 * The opener that it was reserved for never came; but the kernel forgets a node of its first look-up
		 * before it asks for the second.
		 */
		if (!tp_gen_is_awaited(t, g->draft))
			drop_draft(t, g, NULL);
		return;
	}
	/* What lost its name is found by nobody any more: the kernel does not come to open it. */
	if (g->state == TP_GEN_DRAFT && g->draft->unlinked && !known) {
		tp_gen_retire(t, g, false);
		return;
	}
	if (g->state == TP_GEN_OLD) {
		if (g->superseded && known) {
			if (tp_list_empty(&g->heat.link)) {
				tp_list_push_back(&t->old, &g->heat.link);
				atomic_fetch_add(&t->old_bytes, tp_map_bytes(&g->map));
			}
			return;
		}
		leave_old_list(t, g);
		drop_content(t, g);
		move_to(g, TP_GEN_GONE);
		tp_evictor_kick(t->store->evictor);
	}
	if (g->state == TP_GEN_GONE && !known)
		free_gen(t, g);
}

void tp_gen_give_up_old(struct tp_tree *t)
{
	while (!tp_list_empty(&t->old)) {
		struct tp_gen *g = tp_container(t->old.next, struct tp_gen, heat.link);

		leave_old_list(t, g);
		g->superseded = false;
		tp_tree_settle_gen(t, g);
	}
}

/* The draft of g is none of its object's hidden ones any more, if it was. */
static void leave_drafts(struct tp_gen *g)
{
	for (struct tp_draft **at = &g->object->drafts; *at; at = &(*at)->next) {
		if (*at == g->draft) {
			*at = g->draft->next;
			g->draft->next = NULL;
			return;
		}
	}
}

static void forget_draft(struct tp_tree *t, struct tp_gen *g)
{
	/* Its generation counts as a whole from now on, and is taken off as a whole when its content goes. */
	tp_tree_charge(t, g->object, (int64_t)g->draft->uncharged_bytes);
	leave_drafts(g);
	tp_draft_set_closing(t, g->draft, false);
	tp_draft_free(g->draft);
	g->draft = NULL;
	t->drafts--;
}

void tp_draft_set_closing(struct tp_tree *t, struct tp_draft *d, bool closing)
{
	if (atomic_load(&d->closing) == closing || atomic_exchange(&d->closing, closing) == closing)
		return;
	if (closing)
		atomic_fetch_add(&t->closing, 1);
	else
		atomic_fetch_sub(&t->closing, 1);
}

/* o's visible generation is g (NULL: none) from now on: its directories know how many of their names are hidden. */
static void set_current(struct tp_object *o, struct tp_gen *g)
{
	int change = (g == NULL) - (o->gen == NULL);

	for (struct tp_name *n = o->names; n && change; n = n->next_of_object)
		n->parent->dir->hidden += (uint32_t)change;
	o->gen = g;
}

uint64_t tp_gen_heat_key(const struct tp_object *o)
{
	const struct tp_name *n = o->names;

	return n ? XXH3_64bits_withSeed(n->bytes, n->len, n->parent->node.id) : o->node.id;
}

void tp_gen_retire(struct tp_tree *t, struct tp_gen *g, bool superseded)
{
	struct tp_object *o = g->object;

	if (g->state == TP_GEN_OLD || g->state == TP_GEN_GONE)
		return;
	if (o->gen == g) {
		leave_idle(t, g);
		if (tp_heat_holds(&g->heat))
			tp_heat_remove(t->heat, &g->heat);
		set_current(o, NULL);
	}
	/* The writers of a live generation that lost its name go on: POSIX says so, and nobody sees it. */
	if (g->draft && (g->state == TP_GEN_RESERVED || g->opens == 0))
		forget_draft(t, g);
	move_to(g, TP_GEN_OLD);
	g->superseded = superseded;
	/* Who has it open sees its links and times change from now on without the kernel's doing. */
	if (g->opens > 0)
		tp_tree_tell_node(t, g->node.id);
	tp_tree_settle_gen(t, g);
}

static void push_draft(struct tp_tree *t, struct tp_gen *g, struct tp_draft *d)
{
	g->draft = d;
	tp_list_push_back(&t->writing, &d->writing);
	t->drafts++;
	if (g->state == TP_GEN_RESERVED || g->state == TP_GEN_DRAFT) {
		d->next = g->object->drafts;
		g->object->drafts = d;
	}
}

int tp_gen_start_draft(struct tp_tree *t, struct tp_gen *g)
{
	struct tp_draft *d = tp_draft_new(g, tp_mono_ns(t->store->clock));

	if (!d)
		return -ENOMEM;
	if (g->object->gen == g && g->object->extra)
		d->missing = g->object->extra->missing;
	push_draft(t, g, d);
	return 0;
}

int tp_gen_reserve(struct tp_tree *t, struct tp_who *who, struct tp_object *o, struct tp_gen **ret)
{
	struct tp_gen *g = tp_gen_new(t, o, TP_GEN_RESERVED);
	int r;

	if (!g)
		return -ENOMEM;
	r = tp_gen_start_draft(t, g);
	if (r == 0)
		r = tp_draft_add_viewer(g->draft, tp_who_tgid(who), false);
	if (r < 0) {
		tp_gen_retire(t, g, false);
		return r;
	}
	*ret = g;
	return 0;
}

struct tp_draft *tp_gen_draft_for(struct tp_tree *t, struct tp_object *o, struct tp_who *who)
{
	if (!o->drafts)
		return NULL;
	for (struct tp_draft *d = o->drafts; d; d = d->next)
		if (tp_draft_seen_by(d, tp_who_tgid(who)))
			return d;
	return NULL;
}

static bool is_of_unseen(const struct tp_draft *d)
{
	return d->viewers_count == 0;
}

struct tp_draft *tp_gen_draft_to_join(const struct tp_object *o, struct tp_who *who)
{
	/* Which draft it joined could not be told when it comes back, unless it opens it at once: under a name that nobody sees. */
	if (o->gen && tp_who_tgid(who) == 0)
		return NULL;
	for (struct tp_draft *d = o->drafts; d; d = d->next)
		if (!is_of_unseen(d) || d->opened_for_write)
			return d;
	return NULL;
}

static struct tp_draft *find_to_come(const struct tp_object *o)
{
	for (struct tp_draft *d = o->drafts; d; d = d->next)
		if (d->to_come)
			return d;
	return NULL;
}

void tp_gen_expect_unseen(struct tp_tree *t, struct tp_draft *d)
{
	struct tp_draft *before = find_to_come(d->gen->object);

	if (d->gen->state != TP_GEN_RESERVED || !is_of_unseen(d))
		return;
	/* One stands for them all. */
	if (!before)
		d->to_come = true;
	tp_gen_await(t, before ? before : d, false);
	tp_tree_settle_gen(t, d->gen);
}

void tp_gen_expect_no_unseen(struct tp_tree *t, const struct tp_object *o)
{
	const struct tp_draft *d = find_to_come(o);

	if (d)
		tp_gen_unawait(t, d->gen->node.id);
}

bool tp_gen_expects_unseen(struct tp_tree *t, const struct tp_object *o, struct tp_who *who)
{
	struct tp_draft *d;

	if (!S_ISREG(o->mode) || !o->gen || o->gen->state != TP_GEN_PUBLISHED)
		return false;
	d = find_to_come(o);
	return d && tp_gen_is_awaited(t, d) && tp_who_tgid(who) == 0;
}

/* Gives a reserved generation what it starts from. */
static int begin(struct tp_tree *t, struct tp_gen *g, bool empty)
{
	const struct tp_gen *from = g->object->gen;
	struct tp_map map;
	uint64_t size;
	int r;

	if (!empty && from) {
		TP_RDLOCK(tp_tree_map_lock(t, from));
		r = tp_map_clone(&from->map, &map);
		if (r < 0)
			return r;
		size = from->size;
		g->mtime_ns = from->mtime_ns;
	} else {
		tp_map_init(&map);
		size = 0;
	}
	{
		TP_WRLOCK(tp_tree_map_lock(t, g));
		g->map = map;
		g->size = size;
	}
	g->draft->uncharged_bytes = tp_map_bytes(&map);
	move_to(g, TP_GEN_DRAFT);
	return 0;
}

/* Shall this open go past the page cache? Payload of a writer that only writes lands in pool pages then, with one copy less; but one that can map the file, and logs and databases with
 * readers beside the writer, need the page cache, which keeps pages and writes the same. */
static bool wants_direct(struct tp_tree *t, const struct tp_gen *g, int flags, bool write)
{
	bool cached = g->opens > g->direct_opens;

	if (cached || (g->state == TP_GEN_PUBLISHED && !write))
		return false;
	if (write)
		return (flags & O_ACCMODE) == O_WRONLY && !(flags & O_APPEND) &&
		       !(g->draft && g->draft->appended) &&
		       (g->state == TP_GEN_DRAFT || !g->object->names ||
			       tp_tree_commit_of(t, g->object->names->parent) != TP_COMMIT_LIVE);
	/* A reader beside a direct writer reads past the cache as well: its pages would get old. */
	return g->direct_opens > 0 && g->draft && g->draft->write_opens > 0;
}

int tp_gen_open(struct tp_tree *t, struct tp_who *who, struct tp_gen *g, int flags, struct tp_opened *ret)
{
	bool write = (flags & O_ACCMODE) != O_RDONLY;
	bool fresh = !g->draft && write;
	int r = 0;

	leave_idle(t, g);
	if (fresh)
		r = tp_gen_start_draft(t, g);
	if (r == 0 && write)
		r = tp_draft_add_writer(g->draft, who->tid, tp_who_tgid(who));
	/* Last of what can fail: a draft that has begun without anybody who has it open would stay for ever. */
	if (r == 0 && g->state == TP_GEN_RESERVED)
		r = begin(t, g, flags & O_TRUNC);
	else if (r == 0 && (flags & O_TRUNC))
		r = tp_file_resize(t, g, 0);
	if (r < 0) {
		if (fresh && g->draft)
			forget_draft(t, g);
		tp_gen_count_idle(t, g);
		return r;
	}
	leave_old_list(t, g);
	*ret = (struct tp_opened){.gen = g, .write = write};
	ret->mappable = (flags & O_ACCMODE) == O_RDWR;
	ret->quiet = !write && g->state == TP_GEN_PUBLISHED;
	ret->direct = wants_direct(t, g, flags, write);
	ret->keep_cache = !ret->direct && !g->drop_cache;
	if (write) {
		if (g->state == TP_GEN_PUBLISHED)
			move_to(g, TP_GEN_LIVE);
		/* No mapping is left from before utimens, so what one writes from now on counts. */
		if (g->draft->write_opens++ == 0)
			g->mtime_set = false;
		tp_draft_viewer_opened(g->draft, tp_who_tgid(who));
		ret->tgid = who->tgid;
		g->draft->opened_for_write = true;
		g->draft->appended |= flags & O_APPEND && g->state == TP_GEN_LIVE;
		g->drop_cache |= ret->direct;
	}
	if (g->draft && (flags & O_TRUNC))
		g->draft->opened_for_write = true;
	g->opens++;
	if (g->draft)
		g->draft->opened++;
	g->direct_opens += ret->direct;
	return 0;
}

/* Publishing */

void tp_gen_say_dropped(struct tp_tree *t, const struct tp_gen *g, const char *why)
{
	char path[PATH_MAX], quoted[PATH_MAX];

	tp_tree_path_locked(t, g->node.id, path, sizeof(path));
	tp_events_say(t->store->events, "dropped", "draft %s: %s",
		tp_events_quote(path, strlen(path), quoted, sizeof(quoted)), why);
	tp_stats_add(&t->store->stats, TP_STAT_DROPPED, 1);
}

static void drop_draft(struct tp_tree *t, struct tp_gen *g, const char *why)
{
	struct tp_object *o = g->object;

	if (why)
		tp_gen_say_dropped(t, g, why);
	/* The last of its generations would take an object without a name along. */
	o->gens++;
	tp_gen_retire(t, g, false);
	/* A name that nothing but this draft stood for goes with it. */
	while (!o->gen && !o->drafts && o->names) {
		tp_tree_tell_node(t, o->names->parent->node.id);
		tp_tree_drop_name(t, o->names, false);
	}
	o->gens--;
	tp_tree_settle_object(t, o);
}

static bool is_stream_name(struct tp_tree *t, const struct tp_name *n)
{
	return tp_tree_is_stream(t, n->parent) && !tp_tree_is_temporary(n->parent, n->bytes, n->len);
}

static void note_publication(struct tp_tree *t, struct tp_gen *g)
{
	g->published_s = (uint32_t)((tp_wall_ns(t->store->clock) + TP_NS_PER_S - 1) / TP_NS_PER_S);
}

/* What a generation that stops changing gets: a number, its place in the order of eviction, a time to live. */
static void complete(struct tp_tree *t, struct tp_gen *g)
{
	struct tp_object *o = g->object;
	uint64_t before, bytes;

	g->number = tp_tree_number(t);
	{
		TP_WRLOCK(tp_tree_map_lock(t, g));
		before = tp_map_bytes(&g->map);
		tp_map_settle(&g->map, t->store->pool, g->size);
		bytes = tp_map_bytes(&g->map);
		tp_tree_charge(t, o, (int64_t)(bytes - before));
	}
	if (tp_heat_holds(&g->heat))
		tp_heat_change(t->heat, &g->heat, bytes, tp_tree_depth_of(t, o));
	else if (!o->sample)
		tp_heat_add(t->heat, &g->heat, tp_gen_heat_key(o), bytes, tp_tree_depth_of(t, o));
	tp_gen_count_idle(t, g);
	note_publication(t, g);
	tp_evictor_expire(t->store->evictor, g);
	tp_evictor_kick(t->store->evictor);
}

static void take_place(struct tp_tree *t, struct tp_object *o)
{
	/* A sample's place in its stream is that of its commit. */
	for (struct tp_name *n = o->names; n; n = n->next_of_object) {
		if (!is_stream_name(t, n))
			continue;
		tp_dir_move_to_end(n->parent->dir, n);
		tp_stats_add(&t->store->stats, TP_STAT_SAMPLES_COMMITTED, 1);
	}
}

void tp_gen_publish(struct tp_tree *t, struct tp_gen *g)
{
	struct tp_object *o = g->object;
	struct tp_gen *before = o->gen;

	if (g->draft)
		forget_draft(t, g);
	if (before && before != g) {
		tp_gen_retire(t, before, true);
		tp_tree_tell_names(t, o);
	}
	move_to(g, TP_GEN_PUBLISHED);
	if (!o->gen)
		set_current(o, g);
	if (!before)
		take_place(t, o);
	o->ctime_ns = tp_wall_ns(t->store->clock);
	complete(t, g);
	tp_stats_add(&t->store->stats, TP_STAT_PUBLISHED, 1);
}

static bool any_ended(const struct tp_draft *d, enum tp_end end)
{
	for (uint32_t i = 0; i < d->writers_count; i++)
		if (d->writers[i].end == end)
			return true;
	return false;
}

/* Was it written, or did a writer end, so that the draft is not to be published? The reason, or NULL. */
static const char *bad_end(
	struct tp_tree *t, const struct tp_draft *d, enum tp_commit step, bool *ret_unknown)
{
	*ret_unknown = d->unseen_writer || any_ended(d, TP_END_UNKNOWN);
	/* A database goes on after a write for which there was no room: what it then syncs is complete without it. */
	if (tp_missing_any(&d->missing) && (step >= TP_COMMIT_SUCCESS || !d->synced))
		return "a write had failed";
	if (any_ended(d, TP_END_KILLED) && (step >= TP_COMMIT_SUCCESS || !d->synced))
		return "its writer was killed";
	if (any_ended(d, TP_END_FAILED) && step >= TP_COMMIT_SUCCESS)
		return "its writer exited with an error";
	return NULL;
}

void tp_gen_settle_closed(struct tp_tree *t, struct tp_gen *g)
{
	if (g->opens > 0)
		return;
	if (g->state == TP_GEN_OLD && g->draft)
		forget_draft(t, g);
	/* From O_TMPFILE and never named: goes with its last handle. */
	if (g->state == TP_GEN_PUBLISHED && !g->object->names) {
		tp_gen_retire(t, g, false);
		return;
	}
	if (g->state == TP_GEN_PUBLISHED && tp_tree_is_leftover(g->object))
		note_publication(t, g);
	tp_gen_count_idle(t, g);
	tp_tree_settle_gen(t, g);
}

static bool has_temporary_name(const struct tp_object *o)
{
	return o->names && tp_tree_is_temporary(o->names->parent, o->names->bytes, o->names->len);
}

int tp_gen_may_complete(struct tp_tree *t, struct tp_object *o, const struct tp_object *dir, const char *name)
{
	struct tp_missing missing = {.from = 0};

	if (!S_ISREG(o->mode) || !o->gen || (o->names && !has_temporary_name(o)) ||
		tp_tree_is_temporary(dir, name, strlen(name)) || tp_tree_commit_of(t, dir) == TP_COMMIT_LIVE)
		return 0;
	if (o->gen->draft) {
		TP_RDLOCK(tp_tree_map_lock(t, o->gen));
		missing = o->gen->draft->missing;
	} else if (o->extra) {
		missing = o->extra->missing;
	}
	return tp_missing_any(&missing) ? missing.error : 0;
}

/* What is missing of g under its temporary name outlives its writers, so that a rename can tell. -ENOMEM. */
static int keep_missing(struct tp_gen *g)
{
	struct tp_object *o = g->object;

	if (!has_temporary_name(o) || (!o->extra && !tp_missing_any(&g->draft->missing)))
		return 0;
	if (!tp_object_extra(o))
		return -ENOMEM;
	o->extra->missing = g->draft->missing;
	return 0;
}

bool tp_gen_close_live(struct tp_tree *t, struct tp_gen *g)
{
	struct tp_object *o = g->object;
	struct tp_name *n = o->names;
	const char *why = NULL;

	/*
	 * What a killed producer leaves under a temporary name of a stream would never be claimed; one that met an error
	 * may leave it for another to look at.
	 */
	if (o->sample && has_temporary_name(o) && any_ended(g->draft, TP_END_KILLED))
		why = "its writer was killed";
	else if (keep_missing(g) < 0)
		why = "a write had failed";
	if (why)
		tp_gen_say_dropped(t, g, why);
	forget_draft(t, g);
	move_to(g, TP_GEN_PUBLISHED);
	if (why) {
		tp_tree_drop_object(t, o);
		return false;
	}
	if (n) {
		complete(t, g);
		tp_stats_add(&t->store->stats, TP_STAT_PUBLISHED, 1);
	}
	tp_gen_settle_closed(t, g);
	return n && !has_temporary_name(o);
}

static void same_bytes(struct tp_tree *t, struct tp_gen *g)
{
	struct tp_object *o = g->object;
	char path[PATH_MAX], quoted[PATH_MAX];

	tp_tree_path_locked(t, g->node.id, path, sizeof(path));
	tp_events_say(
		t->store->events, "dedup", "%s", tp_events_quote(path, strlen(path), quoted, sizeof(quoted)));
	tp_stats_add(&t->store->stats, TP_STAT_DEDUPED, 1);
	o->gen->mtime_ns = g->mtime_ns;
	note_publication(t, o->gen);
	o->ctime_ns = tp_wall_ns(t->store->clock);
	tp_tree_tell_node(t, o->gen->node.id);
	tp_gen_retire(t, g, false);
}

/* The draft g has no handle any more. equal: its bytes are those of the current generation. */
bool tp_gen_finish(struct tp_tree *t, struct tp_gen *g, bool equal)
{
	struct tp_draft *d = g->draft;
	struct tp_object *o = g->object;
	enum tp_commit step;
	const char *why;
	bool unknown;

	if (d->unlinked || d->beaten || !o->names) {
		drop_draft(t, g, NULL); /* where the writer was not the one, it was said when the name went */
		return false;
	}
	if (!d->opened_for_write) {
		drop_draft(t, g, NULL);
		return false;
	}
	step = tp_tree_commit_of(t, o->names->parent);
	why = bad_end(t, d, step, &unknown);
	if (why) {
		drop_draft(t, g, why);
		return false;
	}
	if (unknown) {
		atomic_fetch_add(&t->unknown_ends, 1);
		tp_stats_add(&t->store->stats, TP_STAT_UNKNOWN_END, 1);
	}
	if (equal && o->gen && o->gen != g)
		same_bytes(t, g);
	else
		tp_gen_publish(t, g);
	return true;
}

/* Names */

void tp_gen_unlink_drafts(struct tp_tree *t, struct tp_object *o, bool beaten)
{
	struct tp_draft *next;

	for (struct tp_draft *d = o->drafts; d; d = next) {
		next = d->next;
		d->unlinked = true;
		d->beaten = beaten;
		if (d->gen->opens > 0)
			continue;
		if (d->gen->state == TP_GEN_RESERVED && is_of_unseen(d) && !d->to_come)
			tp_gen_await(t, d, false);
		/* An opener that was sent here finds it as one that was open when it lost its name, with the bytes that it had. */
		if (tp_gen_is_awaited(t, d) && !d->to_come &&
			(d->gen->state != TP_GEN_RESERVED || begin(t, d->gen, false) == 0))
			continue;
		tp_gen_retire(t, d->gen, false);
	}
}

void tp_gen_named(struct tp_tree *t, struct tp_object *o)
{
	o->unnamed = false;
	if (o->gen->state != TP_GEN_PUBLISHED)
		return; /* the last close completes it */
	take_place(t, o);
	complete(t, o->gen);
}

/* A visible generation that is still written becomes a draft until its last close. */
static void hide(struct tp_tree *t, struct tp_who *who, struct tp_gen *g)
{
	struct tp_draft *d = g->draft;

	(void)tp_draft_add_viewer(d, tp_who_tgid(who), false);
	for (uint32_t i = 0; i < d->writers_count; i++)
		(void)tp_draft_add_viewer(d, d->writers[i].process.tgid, false);
	if (tp_heat_holds(&g->heat))
		tp_heat_remove(t->heat, &g->heat);
	set_current(g->object, NULL);
	move_to(g, TP_GEN_DRAFT);
	d->next = g->object->drafts;
	g->object->drafts = d;
	tp_tree_tell_names(t, g->object);
}

/* A draft got a name that everybody sees from its creation. */
static void show(struct tp_tree *t, struct tp_gen *g)
{
	leave_drafts(g);
	move_to(g, TP_GEN_LIVE);
	set_current(g->object, g);
}

bool tp_gen_renamed(struct tp_tree *t, struct tp_who *who, struct tp_name *n, bool was_temporary)
{
	struct tp_object *o = n->object;
	bool temporary = tp_tree_is_temporary(n->parent, n->bytes, n->len);
	enum tp_commit step = tp_tree_commit_of(t, n->parent);
	struct tp_draft *own = tp_gen_draft_for(t, o, who);
	bool published = false;

	if (!temporary && o->extra)
		o->extra->missing = (struct tp_missing){.from = 0};
	/* A log that is rotated stays in sight; a sample is never seen before it is whole. */
	if (o->gen && o->gen->state == TP_GEN_LIVE && o->gen->draft &&
		(!o->gen->draft->appended || o->sample) && o->gen->draft->write_opens > 0 && !temporary &&
		step != TP_COMMIT_LIVE) {
		hide(t, who, o->gen);
	} else if (!o->gen && own && own->gen->state == TP_GEN_DRAFT &&
		   (temporary || step == TP_COMMIT_LIVE)) {
		show(t, own->gen);
	} else if (o->gen && o->gen->state == TP_GEN_PUBLISHED) {
		published = was_temporary && !temporary;
		if (published) {
			take_place(t, o);
			note_publication(t, o->gen);
		} else if (!was_temporary && tp_tree_is_leftover(o)) {
			note_publication(t, o->gen);
			tp_evictor_expire(t->store->evictor, o->gen);
		}
		if (tp_heat_holds(&o->gen->heat))
			tp_heat_change(
				t->heat, &o->gen->heat, tp_map_bytes(&o->gen->map), tp_tree_depth_of(t, o));
	}
	return published;
}

/* One that was on its way to d is not any more. */
static void count_off(struct tp_draft *d)
{
	if (d->awaited > 0 && --d->awaited == 0)
		d->awaited_until_ns = 0;
}

static int truncate_by(
	struct tp_tree *t, struct tp_who *who, struct tp_gen *g, bool open, bool told, uint64_t size)
{
	struct tp_object *o = g->object;
	const struct tp_name *n = o->names;
	bool in_place = open || g->state == TP_GEN_LIVE;
	struct tp_draft *own;
	struct tp_gen *draft;
	int r;

	if (tp_gen_is_past(g))
		return told ? -ENOENT : tp_tree_look_again(t, who, O_WRONLY, NULL);
	if (g->state == TP_GEN_RESERVED) {
		r = begin(t, g, false);
		if (r < 0)
			return r;
	}
	if (!n || g->state == TP_GEN_DRAFT || (in_place && g->state != TP_GEN_PUBLISHED)) {
		r = tp_file_resize(t, g, size);
		/* When it failed, and nobody else ever wrote it, the draft is dropped. */
		if (g->state == TP_GEN_DRAFT && g->opens == 0)
			g->draft->opened_for_write |= r == 0;
		return r;
	}
	if (g->state == TP_GEN_OLD)
		return tp_tree_look_again(t, who, O_WRONLY, NULL);
	if (tp_tree_commit_of(t, n->parent) == TP_COMMIT_LIVE ||
		tp_tree_is_temporary(n->parent, n->bytes, n->len)) {
		leave_idle(t, g);
		r = tp_file_resize(t, g, size);
		if (r == 0)
			complete(t, g);
		else
			tp_gen_count_idle(t, g);
		return r;
	}
	if (tp_tree_commit_of(t, n->parent) == TP_COMMIT_RENAME)
		return -EPERM;
	own = tp_gen_draft_for(t, o, who);
	if (!own) {
		r = tp_gen_reserve(t, who, o, &draft);
		if (r < 0)
			return r;
		own = draft->draft;
		tp_tree_tell_names(t, o);
	}
	return tp_tree_look_again(t, who, O_WRONLY, own);
}

int tp_gen_truncate(struct tp_tree *t, struct tp_who *who, struct tp_gen *g, bool open, uint64_t size)
{
	uint64_t awaited = 0;
	bool told = !open && tp_tree_told_before(t, who, g->node.id, &awaited);
	int r = truncate_by(t, who, g, open, told, size);

	if (awaited == g->node.id && g->draft)
		count_off(g->draft);
	else
		tp_gen_unawait(t, awaited);
	/* Nobody has it open, so nobody's close will publish it. */
	if (g->state == TP_GEN_DRAFT && g->opens == 0 && !tp_gen_is_awaited(t, g->draft))
		tp_gen_finish(t, g, false);
	return r;
}

bool tp_gen_is_awaited(struct tp_tree *t, struct tp_draft *d)
{
	return d->awaited_until_ns > tp_mono_ns(t->store->clock);
}

void tp_gen_await(struct tp_tree *t, struct tp_draft *d, bool another)
{
	uint64_t now_ns = tp_mono_ns(t->store->clock);

	if (d->awaited_until_ns <= now_ns)
		d->awaited = 0;
	d->awaited += another || d->awaited == 0;
	d->awaited_until_ns = now_ns + AWAIT_NS;
	/* However it goes, somebody looks at it then. */
	if (tp_list_empty(&d->awaiting))
		tp_list_push_back(&t->awaiting, &d->awaiting);
}

void tp_gen_unawait(struct tp_tree *t, uint64_t node)
{
	struct tp_node *n = node ? tp_tree_node(t, node) : NULL;
	struct tp_gen *g = n && tp_node_kind(n) == TP_NODE_GEN ? tp_container(n, struct tp_gen, node) : NULL;

	if (!g || !g->draft)
		return;
	count_off(g->draft);
	if (g->draft->awaited > 0)
		return;
	/* What was written is published by the next tick, since it may have to be compared first. */
	if (g->state == TP_GEN_DRAFT && g->opens == 0 && g->draft->unlinked)
		tp_gen_finish(t, g, false);
	else
		tp_tree_settle_gen(t, g);
}
