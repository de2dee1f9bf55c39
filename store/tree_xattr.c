/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attributes: user.* are the user's own, user.tidepool.* are the rules and what tidepool knows of an object. The latter are got and set by name and never listed.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "store/cleanup.h"
#include "store/file.h"
#include "store/tree.h"

#define OURS "user.tidepool."
#define VALUE_BYTES_MAX 8192

static const char *our_key(const char *name)
{
	return strncmp(name, OURS, strlen(OURS)) == 0 ? name + strlen(OURS) : NULL;
}

/* 0, or what the kernel says of a name of another kind, or of no more than the beginning. */
static int check_name(const char *name)
{
	if (strncmp(name, "user.", 5) != 0)
		return -EOPNOTSUPP;
	return name[5] ? 0 : -EINVAL;
}

static void rules_of_one_changed(struct tp_tree *t, struct tp_object *o)
{
	if (!o->gen || o->gen->state != TP_GEN_PUBLISHED)
		return;
	tp_evictor_expire(t->store->evictor, o->gen);
	tp_gen_count_idle(t, o->gen);
}

/* All that lies in dir, and below, is to be looked at. */
static void rules_of_all_changed(struct tp_tree *t, struct tp_object *dir)
{
	dir->dir->ruled_from = 0;
	/* Behind the others, so that who sets a rule again and again is last. */
	tp_list_remove(&dir->dir->ruled);
	/* One that was removed must be in no list, and is empty. */
	if (dir->dir->names > 0)
		tp_list_push_back(&t->ruled, &dir->dir->ruled);
}

bool tp_tree_rules_look(struct tp_tree *t)
{
	unsigned left = TP_RULES_AT_ONCE;

	while (!tp_list_empty(&t->ruled)) {
		struct tp_dir *d = tp_container(t->ruled.next, struct tp_dir, ruled);
		const struct tp_name *n;

		while ((n = tp_dir_next(d, d->ruled_from))) {
			if (left-- == 0)
				return true;
			d->ruled_from = n->cookie;
			if (S_ISREG(n->object->mode))
				rules_of_one_changed(t, n->object);
			else if (S_ISDIR(n->object->mode))
				rules_of_all_changed(t, n->object);
		}
		tp_list_remove(&d->ruled);
	}
	return false;
}

void tp_tree_rules_changed(struct tp_tree *t, struct tp_object *top)
{
	if (S_ISREG(top->mode))
		rules_of_one_changed(t, top);
	if (!S_ISDIR(top->mode))
		return;
	rules_of_all_changed(t, top);
	if (tp_tree_rules_look(t))
		tp_evictor_look(t->store->evictor);
}

static int set_rule(struct tp_tree *t, struct tp_who *who, struct tp_tree_room *room, struct tp_object *o,
	const char *key, const void *value, size_t len)
{
	bool is_dir = S_ISDIR(o->mode);
	bool is_stream = tp_tree_in_samples(t, o) && is_dir;
	struct tp_extra *extra;
	int r;

	if (strcmp(key, "tier") == 0) {
		r = S_ISREG(o->mode) ? tp_policy_check_tier(value, len) : -EOPNOTSUPP;
		/* It is in the one tier that there is, and is to stay there. */
		if (r == 0 && o->gen && tp_heat_holds(&o->gen->heat))
			tp_heat_touch(t->heat, &o->gen->heat);
		return r;
	}
	/* A rule lets objects go that others have below; the right to write is not enough for that. */
	if (!tp_who_administers(who) && (who->uid != o->uid || strcmp(key, "pin") == 0))
		return -EPERM;
	if (o == t->root || (!S_ISREG(o->mode) && !is_dir))
		return -EOPNOTSUPP;
	extra = tp_object_extra(o);
	if (!extra)
		return -ENOMEM;
	r = tp_tree_may_note(t, room, o->mode);
	if (r < 0)
		return r;
	r = tp_policy_set(&extra->policy, key, value, len, is_dir, is_stream);
	if (r < 0)
		return r;
	extra->quota_rest_ns = 0;
	extra->quota_rests = 0;
	/* One that was removed has nothing to limit. */
	if (is_dir)
		tp_tree_limit(t, o, o->names && extra->policy.quota_bytes);
	if (strcmp(key, "ttl") == 0 || strcmp(key, "pin") == 0)
		tp_tree_rules_changed(t, o);
	if (strcmp(key, "depth") == 0 && S_ISREG(o->mode) && o->gen && tp_heat_holds(&o->gen->heat)) {
		TP_RDLOCK(tp_tree_map_lock(t, o->gen));
		tp_heat_change(t->heat, &o->gen->heat, tp_map_bytes(&o->gen->map), tp_tree_depth_of(t, o));
	}
	tp_tree_note_object(t, o);
	return 0;
}

/* How many bytes more o has when name is set to len bytes; 0 also where that is refused. */
static size_t growth(const struct tp_object *o, const char *name, size_t len, int flags)
{
	ssize_t had = tp_object_get_xattr(o, name, NULL, 0);

	if (had < 0)
		return flags & XATTR_REPLACE ? 0 : sizeof(struct tp_xattr) + strlen(name) + len;
	return flags & XATTR_CREATE || len <= (size_t)had ? 0 : len - (size_t)had;
}

/* Sets name, or removes it (value NULL). A rule of ours that is removed is one that is set to nothing. */
static int change_xattr_locked(struct tp_tree *t, struct tp_who *who, struct tp_tree_room *room,
	uint64_t node, const char *name, const void *value, size_t len, int flags)
{
	struct tp_node *n = tp_tree_node(t, node);
	struct tp_object *o;
	size_t before;
	int r;

	if (!n)
		return -ESTALE;
	o = tp_tree_object_of(n);
	if (our_key(name))
		return set_rule(t, who, room, o, our_key(name), value ? value : "", len);
	r = value ? tp_tree_may_name(t, growth(o, name, len, flags)) : 0;
	if (r == 0)
		r = tp_tree_may_note(t, room, o->mode);
	before = tp_object_extra_bytes(o);
	if (r == 0)
		r = value ? tp_object_set_xattr(o, name, value, len, flags) : tp_object_remove_xattr(o, name);
	if (r < 0)
		return r;
	if (o->names)
		atomic_fetch_add(&t->names_bytes, tp_object_extra_bytes(o) - before);
	o->ctime_ns = tp_wall_ns(t->store->clock);
	tp_tree_tell_node(t, node);
	tp_tree_note_object(t, o);
	return 0;
}

static int change_xattr(struct tp_tree *t, struct tp_who *who, struct tp_tree_room *room, uint64_t node,
	const char *name, const void *value, size_t len, int flags)
{
	int r = check_name(name);

	if (r < 0)
		return r;
	r = TP_TREE_CHANGE(*room, change_xattr_locked(t, who, room, node, name, value, len, flags));
	if (r < 0)
		return r;
	if (our_key(name))
		tp_evictor_look(t->store->evictor);
	return tp_tree_record_change(t, room);
}

int tp_tree_set_xattr(struct tp_tree *t, struct tp_who *who, uint64_t node, const char *name,
	const void *value, size_t len, int flags)
{
	TP_TREE_ROOM(room, t, false);

	return change_xattr(t, who, &room, node, name, value, len, flags);
}

int tp_tree_remove_xattr(struct tp_tree *t, struct tp_who *who, uint64_t node, const char *name)
{
	TP_TREE_ROOM(room, t, true);

	return change_xattr(t, who, &room, node, name, NULL, 0, 0);
}

static int checksum(struct tp_tree *t, struct tp_gen *g, char *buf, size_t len)
{
	tp_autofree XXH3_state_t *x = aligned_alloc(64, (sizeof(XXH3_state_t) + 63) / 64 * 64);
	tp_autofree char *piece = malloc(TP_PIECE_BYTES);
	uint64_t offset = 0;
	size_t n;

	if (!x || !piece)
		return -ENOMEM;
	(void)XXH3_64bits_reset(x);
	while ((n = tp_file_copy(t, g, offset, piece, TP_PIECE_BYTES)) > 0) {
		(void)XXH3_64bits_update(x, piece, n);
		offset += n;
	}
	return snprintf(buf, len, "xxh3:%016" PRIx64, (uint64_t)XXH3_64bits_digest(x));
}

static int sample_state(
	struct tp_tree *t, const struct tp_object *o, const struct tp_gen *g, char *buf, size_t len)
{
	/* What has a temporary name is none yet. */
	if (!o->sample || tp_tree_is_leftover(o))
		return -ENODATA;
	return snprintf(buf, len, "%s", g && g->state == TP_GEN_PUBLISHED ? "ready" : "draft");
}

static int explain_file(
	struct tp_tree *t, const struct tp_object *o, const struct tp_gen *g, char *buf, size_t len)
{
	size_t used = 0;
	char name[32];

	used += (size_t)snprintf(buf + used, len - used, "state: %s\n", tp_gen_state_name(g));
	{
		TP_RDLOCK(tp_tree_map_lock(t, g));
		used += (size_t)snprintf(buf + used, len - used,
			"tier: %s\nsize: %" PRIu64 "\nheld bytes: %" PRIu64 "\n",
			tp_tier_names(t->store, g, name, sizeof(name)) ? name : "none", g->size,
			tp_map_bytes(&g->map));
	}
	used += (size_t)snprintf(
		buf + used, len - used, "generation: %" PRIu64 "\nopen: %u\n", g->number, g->opens);
	used += (size_t)snprintf(buf + used, len - used, "can be evicted: %s\n",
		o->sample		       ? "no, a sample"
		: tp_tree_pinned(t, o)	       ? "no, pinned"
		: g->opens		       ? "no, open"
		: g->busy		       ? "no, held by a look-up"
		: g->state != TP_GEN_PUBLISHED ? "no, being written"
					       : "yes");
	for (const struct tp_draft *d = o->drafts ? o->drafts : g->draft; d; d = d->next)
		for (uint32_t i = 0; i < d->writers_count && used < len; i++)
			used += (size_t)snprintf(buf + used, len - used, "written by: %d (%s)%s\n",
				d->writers[i].process.tgid,
				tp_process_name(d->writers[i].process.tgid, name, sizeof(name)),
				d->gen->state == TP_GEN_LIVE ? "" : ", hidden until its last close");
	return (int)(used < len ? used : len);
}

static int explain(
	struct tp_tree *t, const struct tp_object *o, const struct tp_gen *g, char *buf, size_t len)
{
	if (g)
		return explain_file(t, o, g, buf, len);
	if (!S_ISDIR(o->mode))
		return snprintf(buf, len, "state: kept in the ledger\n");
	return snprintf(buf, len,
		"names: %u, of them hidden drafts: %u\nheld bytes: %" PRIu64 "\nquota: %" PRIu64
		"\ncommit: %s\npinned: %s\n",
		o->dir->names, o->dir->hidden, atomic_load(&o->dir->bytes_below),
		o->extra ? o->extra->policy.quota_bytes : 0, tp_commit_name(tp_tree_commit_of(t, o)),
		tp_tree_pinned(t, o) ? "yes" : "no");
}

/* What is in force, inherited or set here. */
static int get_rule(struct tp_tree *t, const struct tp_object *o, struct tp_gen *g, const char *key,
	char *buf, size_t len)
{
	uint64_t ttl_s;

	if (strcmp(key, "commit") == 0 && S_ISDIR(o->mode))
		return snprintf(buf, len, "%s", tp_commit_name(tp_tree_commit_of(t, o)));
	if (strcmp(key, "pin") == 0)
		return snprintf(buf, len, "%d", tp_tree_pinned(t, o));
	if (strcmp(key, "depth") == 0)
		return snprintf(buf, len, "%u", tp_tree_depth_of(t, o));
	if (strcmp(key, "ttl") == 0) {
		ttl_s = tp_tree_ttl_of(t, o);
		return ttl_s ? snprintf(buf, len, "%" PRIu64, ttl_s) : -ENODATA;
	}
	if (strcmp(key, "tier") == 0)
		return g ? tp_tier_names(t->store, g, buf, len) : -ENODATA;
	if (strcmp(key, "generation") == 0)
		return g && g->number ? snprintf(buf, len, "%" PRIu64, g->number) : -ENODATA;
	if (strcmp(key, "state") == 0)
		return sample_state(t, o, g, buf, len);
	if (strcmp(key, "explain") == 0)
		return explain(t, o, g, buf, len);
	if (o->extra)
		return tp_policy_get(&o->extra->policy, key, buf, len);
	return -ENODATA;
}

static ssize_t get_ours(struct tp_tree *t, uint64_t node, const char *key, char *buf, size_t len)
{
	struct tp_node *n;
	struct tp_object *o;
	struct tp_gen *g;
	int r;

	{
		TP_WRLOCK(&t->lock);
		n = tp_tree_node(t, node);
		if (!n)
			return -ESTALE;
		o = tp_tree_object_of(n);
		g = S_ISREG(o->mode) ? tp_container(n, struct tp_gen, node) : NULL;
		if (strcmp(key, "checksum") != 0)
			return get_rule(t, o, g, key, buf, len);
		if (!g || g->state != TP_GEN_PUBLISHED)
			return -ENODATA;
		/* It takes a while: without the lock, but it must not go meanwhile. */
		tp_gen_hold(t, g);
	}
	r = checksum(t, g, buf, len);
	TP_WRLOCK(&t->lock);
	tp_gen_let_go(t, g);
	return r;
}

ssize_t tp_tree_get_xattr(
	struct tp_tree *t, struct tp_who *who, uint64_t node, const char *name, void *buf, size_t len)
{
	const char *key = our_key(name);
	tp_autofree char *value = NULL;
	struct tp_node *n;
	ssize_t r;

	if (check_name(name) < 0)
		return check_name(name);
	if (!key) {
		TP_RDLOCK(&t->lock);
		n = tp_tree_node(t, node);
		return n ? tp_object_get_xattr(tp_tree_object_of(n), name, buf, len) : -ESTALE;
	}
	value = malloc(VALUE_BYTES_MAX);
	if (!value)
		return -ENOMEM;
	r = get_ours(t, node, key, value, VALUE_BYTES_MAX);
	if (r < 0 || len == 0)
		return r;
	if ((size_t)r > len)
		return -ERANGE;
	memcpy(buf, value, (size_t)r);
	return r;
}

ssize_t tp_tree_list_xattr(struct tp_tree *t, struct tp_who *who, uint64_t node, char *buf, size_t len)
{
	struct tp_node *n;
	TP_RDLOCK(&t->lock);

	n = tp_tree_node(t, node);
	return n ? tp_object_list_xattr(tp_tree_object_of(n), buf, len) : -ESTALE;
}
