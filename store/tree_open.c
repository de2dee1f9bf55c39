/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening: which generation an open of a name or node gets, and when a name has to be looked up again.
 */
#include "store/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "store/cleanup.h"
#include "store/file.h"

/* An opener that was told ESTALE looks the name up again within this time. */
#define RETRY_NS TP_NS_PER_S

/* The place of who, with retries_lock held; -1: it was not sent to look again a moment ago. */
static int find_retry(struct tp_tree *t, const struct tp_who *who, uint64_t now_ns)
{
	for (int i = 0; i < TP_RETRIES; i++)
		if (t->retries[i].tid == who->tid && t->retries[i].until_ns > now_ns)
			return i;
	return -1;
}

/* who is on its way to d (NULL: to none) from now on, and no more to where it was sent before. With tree.lock. */
static void set_awaited(struct tp_tree *t, struct tp_who *who, struct tp_draft *d)
{
	uint64_t before = 0, node = d ? d->gen->node.id : 0, now_ns = tp_mono_ns(t->store->clock);

	{
		TP_LOCK(&t->retries_lock);
		int i = find_retry(t, who, now_ns);

		if (i >= 0) {
			before = t->retries[i].awaited;
			t->retries[i].awaited = node;
		}
	}
	if (d)
		tp_gen_await(t, d, before != node);
	if (before != node)
		tp_gen_unawait(t, before);
}

/*
 * Remembers that who was told ESTALE: the kernel looks the name up again once per open. By its thread, whatever object that was about: the name may stand for
 * another one when it comes back.
 */
static void note_told(struct tp_tree *t, struct tp_who *who, int flags)
{
	uint64_t now_ns = tp_mono_ns(t->store->clock), until_ns = now_ns + RETRY_NS;
	unsigned at = TP_RETRIES;
	TP_LOCK(&t->retries_lock);

	/* Who has not come back in time is not on its way any more. */
	for (unsigned i = 0; i < TP_RETRIES; i++)
		if (t->retries[i].until_ns <= now_ns)
			t->retries[i].tid = 0;
	/* Its own place or a free one; only when more threads than that are on their way at once, somebody else's. */
	for (unsigned i = 0; i < TP_RETRIES; i++)
		if (t->retries[i].tid == who->tid || (t->retries[i].tid == 0 && at == TP_RETRIES))
			at = i;
	if (at == TP_RETRIES) {
		at = t->retries_next;
		t->retries_next = (t->retries_next + 1) % TP_RETRIES;
	}
	if (t->retries[at].tid != who->tid)
		t->retries[at].awaited = 0;
	t->retries[at].tid = who->tid;
	t->retries[at].flags = flags;
	t->retries[at].found = 0;
	t->retries[at].until_ns = until_ns;
	atomic_store(&t->retries_until_ns, until_ns);
}

int tp_tree_look_again(struct tp_tree *t, struct tp_who *who, int flags, struct tp_draft *d)
{
	tp_stats_add(&t->store->stats, TP_STAT_STALE_OPENS, 1);
	if (tp_who_tgid(who) == 0) {
		if (d)
			tp_gen_expect_unseen(t, d);
		return -ESTALE;
	}
	note_told(t, who, flags);
	set_awaited(t, who, d);
	return -ESTALE;
}

void tp_tree_expect_none(struct tp_tree *t, struct tp_who *who)
{
	set_awaited(t, who, NULL);
}

/* Nearly always nobody is on the way. */
static bool any_retry(struct tp_tree *t, const struct tp_who *who, uint64_t *ret_now_ns)
{
	uint64_t until_ns = atomic_load_explicit(&t->retries_until_ns, memory_order_relaxed);

	if (until_ns == 0 || who->tid == 0)
		return false;
	*ret_now_ns = tp_mono_ns(t->store->clock);
	return until_ns > *ret_now_ns;
}

bool tp_tree_told_before(struct tp_tree *t, struct tp_who *who, uint64_t node, uint64_t *ret_awaited)
{
	uint64_t now_ns;
	bool told;
	int i;

	*ret_awaited = 0;
	if (!any_retry(t, who, &now_ns))
		return false;
	TP_LOCK(&t->retries_lock);
	i = find_retry(t, who, now_ns);
	if (i < 0)
		return false;
	/*
	 * What it opens is what it found, or the same again when it has no name to look up (a link in /proc/self/fd);
	 * anything else is another open, after one that came to nothing.
	 */
	told = t->retries[i].found == node || t->retries[i].found == 0;
	*ret_awaited = t->retries[i].awaited;
	t->retries[i].awaited = 0;
	t->retries[i].tid = 0;
	return told;
}

void tp_tree_note_found(struct tp_tree *t, struct tp_who *who, uint64_t node)
{
	uint64_t now_ns;
	int i;

	if (!any_retry(t, who, &now_ns))
		return;
	TP_LOCK(&t->retries_lock);
	i = find_retry(t, who, now_ns);
	if (i >= 0)
		t->retries[i].found = node;
}

bool tp_tree_comes_to_write(struct tp_tree *t, const struct tp_who *who, int *ret_flags)
{
	uint64_t now_ns;
	int i;

	if (!any_retry(t, who, &now_ns))
		return false;
	TP_LOCK(&t->retries_lock);
	i = find_retry(t, who, now_ns);
	if (i < 0)
		return false;
	*ret_flags = t->retries[i].flags;
	return (*ret_flags & O_ACCMODE) != O_RDONLY || (*ret_flags & O_TRUNC);
}

/* Is what is written under this name seen by everybody from the start? -EPERM: nothing may be written under it. */
static int visible_at_once(
	struct tp_tree *t, const struct tp_object *dir, const char *name, size_t len, int flags)
{
	enum tp_commit step = tp_tree_commit_of(t, dir);

	if (tp_tree_is_temporary(dir, name, len) || step == TP_COMMIT_LIVE)
		return 1;
	if (step == TP_COMMIT_RENAME)
		return -EPERM;
	if (flags & O_APPEND)
		return tp_tree_is_stream(t, dir) ? -EPERM : 1;
	return 0;
}

/* The draft that an open for writing of o joins or begins: who's own, else (without O_TRUNC) one of others, else a new one. */
static int draft_to_write(
	struct tp_tree *t, struct tp_who *who, struct tp_object *o, int flags, struct tp_gen **ret)
{
	struct tp_draft *d = tp_gen_draft_for(t, o, who);
	struct tp_draft *others = d || flags & O_TRUNC ? NULL : tp_gen_draft_to_join(o, who);
	int r;

	if (others) {
		d = others;
		r = tp_draft_add_viewer(d, tp_who_tgid(who), true);
		if (r < 0)
			return r;
		tp_tree_tell_names(t, o);
	} else if (!d) {
		r = tp_gen_reserve(t, who, o, ret);
		if (r < 0)
			return r;
		d = (*ret)->draft;
		tp_tree_tell_names(t, o);
	}
	*ret = d->gen;
	return 0;
}

void tp_tree_expect_writer(
	struct tp_tree *t, struct tp_who *who, struct tp_object *dir, struct tp_name *n, int flags)
{
	struct tp_object *o = n->object;
	struct tp_draft *own = S_ISREG(o->mode) ? tp_gen_draft_for(t, o, who) : NULL;
	struct tp_gen *g;

	if (!S_ISREG(o->mode))
		return;
	if (!own && o->gen && o->gen->state == TP_GEN_PUBLISHED &&
		visible_at_once(t, dir, n->bytes, n->len, flags) == 0 &&
		draft_to_write(t, who, o, flags, &g) == 0)
		/* Another file than the one that it was sent away from. */
		own = g->draft;
	/* The draft that waits for it waits from now on, however long it was on its way. */
	set_awaited(t, who, own);
}

static int open_existing(struct tp_tree *t, struct tp_who *who, struct tp_name *n, int flags,
	struct tp_entry *ret, struct tp_opened *ret_opened)
{
	struct tp_object *o = n->object;
	struct tp_node *seen = tp_tree_view(t, who, o);
	bool write = (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
	struct tp_gen *g;
	int r, at_once;

	if (flags & O_EXCL)
		return -EEXIST;
	if (!S_ISREG(o->mode))
		return S_ISDIR(o->mode) ? -EISDIR : -ESTALE;
	at_once = write ? visible_at_once(t, n->parent, n->bytes, n->len, flags) : 0;
	if (at_once < 0)
		return at_once;
	if (seen && (!write || (at_once && tp_container(seen, struct tp_gen, node) == o->gen))) {
		g = tp_container(seen, struct tp_gen, node);
	} else {
		r = draft_to_write(t, who, o, flags, &g);
		if (r < 0)
			return r;
	}
	r = tp_gen_open(t, who, g, flags, ret_opened);
	if (r < 0) {
		if (g->draft)
			tp_draft_viewer_failed(g->draft, tp_who_tgid(who));
		tp_tree_settle_gen(t, g);
		return r;
	}
	tp_tree_entry(t, &g->node, ret);
	tp_tree_take(&g->node);
	return 0;
}

/* A new object in dir with a generation that is being written, not named yet. */
static int new_file(struct tp_tree *t, struct tp_who *who, struct tp_object *dir, uint32_t mode, bool visible,
	struct tp_gen **ret)
{
	struct tp_object *o = tp_tree_new_object(t, who, dir, S_IFREG | (mode & 07777));
	struct tp_gen *g;

	if (!o)
		return -ENOMEM;
	o->sample = tp_tree_in_samples(t, dir);
	g = tp_gen_new(t, o, visible ? TP_GEN_LIVE : TP_GEN_DRAFT);
	if (!g) {
		tp_object_free(o);
		return -ENOMEM;
	}
	if (visible)
		o->gen = g;
	*ret = g;
	return 0;
}

static int create_locked(struct tp_tree *t, struct tp_who *who, uint64_t parent, const char *name,
	uint32_t mode, int flags, struct tp_entry *ret, struct tp_opened *ret_opened)
{
	struct tp_object *dir;
	struct tp_name *n;
	struct tp_gen *g;
	int r, at_once;

	r = tp_tree_dir(t, parent, &dir);
	if (r == 0)
		r = tp_tree_allowed_name(t, dir, name, S_IFREG);
	if (r < 0)
		return r;
	n = tp_tree_find(t, dir, name, strlen(name));
	if (n)
		return open_existing(t, who, n, flags, ret, ret_opened);
	at_once = visible_at_once(t, dir, name, strlen(name), flags);
	r = at_once < 0 ? at_once : tp_tree_may_name(t, TP_NAME_BYTES);
	if (r < 0)
		return r;
	r = new_file(t, who, dir, mode, at_once, &g);
	if (r < 0)
		return r;
	r = tp_gen_open(t, who, g, flags & ~O_TRUNC, ret_opened);
	if (r == 0 && !g->draft) {
		/* O_RDONLY with O_CREAT: an empty file all the same. */
		r = tp_gen_start_draft(t, g);
	}
	if (r == 0) {
		g->draft->opened_for_write = true;
		r = at_once ? 0 : tp_draft_add_viewer(g->draft, tp_who_tgid(who), false);
	}
	if (r == 0)
		r = tp_tree_add_name(t, dir, name, strlen(name), g->object, &n);
	if (r < 0) {
		g->opens = 0;
		tp_gen_retire(t, g, false);
		return r;
	}
	dir->mtime_ns = g->mtime_ns;
	dir->ctime_ns = g->mtime_ns;
	tp_tree_note_dirty(t, dir);
	tp_tree_entry(t, &g->node, ret);
	tp_tree_take(&g->node);
	return 0;
}

int tp_tree_create(struct tp_tree *t, struct tp_who *who, uint64_t parent, const char *name, uint32_t mode,
	int flags, struct tp_entry *ret, struct tp_opened *ret_opened)
{
	uint64_t awaited;
	int r;

	(void)tp_tree_told_before(t, who, 0, &awaited);
	TP_WRLOCK(&t->lock);
	r = create_locked(t, who, parent, name, mode, flags, ret, ret_opened);
	tp_gen_unawait(t, awaited);
	return r;
}

int tp_tree_tmpfile(struct tp_tree *t, struct tp_who *who, uint64_t parent, uint32_t mode, int flags,
	struct tp_entry *ret, struct tp_opened *ret_opened)
{
	struct tp_object *dir;
	struct tp_gen *g = NULL;
	int r;

	TP_WRLOCK(&t->lock);
	r = tp_tree_dir(t, parent, &dir);
	if (r == 0 && (dir == t->root || dir == t->samples || dir->node.id == TP_NODE_CONTROL))
		r = -EPERM;
	if (r == 0)
		r = new_file(t, who, dir, mode, true, &g);
	if (r < 0)
		return r;
	/* linkat of a file that was opened with O_EXCL is refused by the kernel. */
	g->object->unnamed = !(flags & O_EXCL);
	r = tp_gen_open(t, who, g, flags & ~O_TRUNC, ret_opened);
	if (r < 0) {
		tp_gen_retire(t, g, false);
		return r;
	}
	tp_tree_entry(t, &g->node, ret);
	tp_tree_take(&g->node);
	return 0;
}

static int open_to_read(
	struct tp_tree *t, struct tp_who *who, struct tp_gen *g, int flags, bool told, struct tp_opened *ret)
{
	struct tp_object *o = g->object;
	int r;

	/* Its name may stand for another by now; for who cannot be seen, also for nothing, or for one that grows. */
	if (g->state == TP_GEN_GONE || (g->state == TP_GEN_RESERVED && tp_who_tgid(who) == 0 &&
					       (!o->gen || o->gen->state != TP_GEN_PUBLISHED)))
		return told ? -ENOENT : tp_tree_look_again(t, who, flags, NULL);
	if (g->state == TP_GEN_OLD && g->superseded && !told)
		return tp_tree_look_again(t, who, flags, NULL);
	r = tp_gen_open(t, who, g, flags, ret);
	if (r == 0 && g->state == TP_GEN_PUBLISHED) {
		if (tp_heat_holds(&g->heat))
			tp_heat_touch(t->heat, &g->heat);
		if (o->names)
			tp_tree_count_use(t, o->names->parent, true);
	}
	return r;
}

static int open_to_write(
	struct tp_tree *t, struct tp_who *who, struct tp_gen *g, int flags, bool told, struct tp_opened *ret)
{
	struct tp_object *o = g->object;
	struct tp_name *n = o->names;
	bool unseen = tp_who_tgid(who) == 0, no_drafts;
	struct tp_gen *draft;
	int r, at_once;

	if (g->state == TP_GEN_RESERVED && unseen && n &&
		visible_at_once(t, n->parent, n->bytes, n->len, flags) > 0) {
		tp_gen_expect_no_unseen(t, o);
		return tp_tree_look_again(t, who, flags, NULL);
	}
	if (g->state == TP_GEN_DRAFT || g->state == TP_GEN_RESERVED)
		return tp_gen_open(t, who, g, flags, ret);
	if (tp_gen_is_past(g) && !n)
		return told ? -ENOENT : tp_tree_look_again(t, who, flags, NULL);
	if (!n) /* written by others already, and got from an open descriptor: in place, as everywhere */
		return tp_gen_open(t, who, g, flags, ret);
	at_once = visible_at_once(t, n->parent, n->bytes, n->len, flags);
	if (at_once < 0)
		return at_once;
	no_drafts = !o->drafts || unseen; /* that it could join */
	if (g == o->gen && (g->state == TP_GEN_LIVE || (at_once && (no_drafts || told))))
		return tp_gen_open(t, who, g, flags, ret);
	if (at_once && no_drafts) /* superseded: the current one is written in place */
		return told ? -ENOENT : tp_tree_look_again(t, who, flags, NULL);
	r = draft_to_write(t, who, o, flags, &draft);
	return r < 0 ? r : tp_tree_look_again(t, who, flags, draft->draft);
}

static int open_locked(
	struct tp_tree *t, struct tp_who *who, uint64_t node, int flags, bool told, struct tp_opened *ret)
{
	struct tp_node *n = tp_tree_node(t, node);
	struct tp_gen *g;

	if (!n)
		return -ESTALE;
	if (tp_node_kind(n) != TP_NODE_GEN)
		return S_ISDIR(tp_tree_object_of(n)->mode) ? -EISDIR : -EINVAL;
	g = tp_container(n, struct tp_gen, node);
	if ((flags & O_ACCMODE) == O_RDONLY && !(flags & O_TRUNC))
		return open_to_read(t, who, g, flags, told, ret);
	return open_to_write(t, who, g, flags, told, ret);
}

int tp_tree_open(struct tp_tree *t, struct tp_who *who, uint64_t node, int flags, struct tp_opened *ret)
{
	uint64_t awaited;
	bool told = tp_tree_told_before(t, who, node, &awaited);
	int r;

	TP_WRLOCK(&t->lock);
	r = open_locked(t, who, node, flags, told, ret);
	/* It has come, or went elsewhere. */
	tp_gen_unawait(t, awaited);
	return r;
}
