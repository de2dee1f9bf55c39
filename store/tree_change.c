/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changing names: make, link, unlink, rename, rmdir, attributes.
 *
 * A name of which only its writers know ("hidden") is in nobody's way: mkdir, link and rename by others take it, and the writers hear of it when they close.
 * Each change is one hold of the tree's lock; its records leave for the ledger after that, in the order of the changes. All that can fail is done before anything changes:
 * the places for names, the objects, and the room for the records.
 */
#include "store/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/cleanup.h"
#include "store/file.h"
#include "store/record.h"

uint64_t tp_tree_number(struct tp_tree *t)
{
	uint64_t n;

	if (!t->store->ledger)
		return TP_NODE_DYNAMIC_FIRST + ++t->number;
	n = tp_ledger_next_generation(t->store->ledger);
	return n ? n + TP_NODE_DYNAMIC_FIRST : 0;
}

static uint64_t now(struct tp_tree *t)
{
	return tp_wall_ns(t->store->clock);
}

int tp_tree_add_name(struct tp_tree *t, struct tp_object *dir, const char *name, size_t len,
	struct tp_object *o, struct tp_name **ret)
{
	struct tp_name *n = malloc(sizeof(*n) + len);
	int r;

	if (!n)
		return -ENOMEM;
	*n = (struct tp_name){.parent = dir, .object = o, .len = (uint8_t)len};
	memcpy(n->bytes, name, len);
	r = tp_dir_append(dir->dir, n);
	if (r < 0) {
		free(n);
		return r;
	}
	tp_table_add(&t->names, &n->link);
	atomic_fetch_add(&t->names_bytes, TP_NAME_BYTES);
	/* The first name stays the first: it decides which rules hold, and whose directories count the bytes. */
	struct tp_name **last = &o->names;
	uint64_t charged = S_ISREG(o->mode) && !o->names ? atomic_exchange(&o->charged, 0) : 0;

	if (!o->names)
		atomic_fetch_add(&t->names_bytes, tp_object_extra_bytes(o));
	while (*last)
		last = &(*last)->next_of_object;
	*last = n;
	tp_tree_charge(t, o, (int64_t)charged);
	if (!S_ISDIR(o->mode))
		o->nlink++;
	if (S_ISREG(o->mode)) {
		t->objects += o->nlink == 1;
		if (tp_tree_hidden(o))
			dir->dir->hidden++;
	}
	if (ret)
		*ret = n;
	return 0;
}

/* Takes n out of all that knows it, and frees it. What its object is without it is the caller's business. */
static void remove_name(struct tp_tree *t, struct tp_name *n)
{
	struct tp_object *o = n->object;
	struct tp_name **at = &o->names;
	uint64_t charged = S_ISREG(o->mode) && o->names == n ? atomic_load(&o->charged) : 0;

	/* The first name's directories are charged: the next one's are from now on. */
	if (charged)
		tp_tree_charge(t, o, -(int64_t)charged);
	while (*at != n)
		at = &(*at)->next_of_object;
	*at = n->next_of_object;
	if (!o->names)
		atomic_fetch_sub(&t->names_bytes, tp_object_extra_bytes(o));
	if (charged)
		tp_tree_charge(t, o, (int64_t)charged);
	if (S_ISREG(o->mode) && tp_tree_hidden(o))
		n->parent->dir->hidden--;
	tp_dir_remove(n->parent->dir, n);
	tp_table_remove(&t->names, &n->link);
	atomic_fetch_sub(&t->names_bytes, TP_NAME_BYTES);
	if (!S_ISDIR(o->mode) && --o->nlink == 0 && S_ISREG(o->mode))
		t->objects--;
	free(n);
}

static void touch_dir(struct tp_tree *t, struct tp_object *dir)
{
	dir->mtime_ns = now(t);
	dir->ctime_ns = dir->mtime_ns;
	tp_tree_note_dirty(t, dir);
}

/* o lost its last name. beaten: another has it, so that it never was away, and the writers of drafts are to hear of it. */
static void nameless(struct tp_tree *t, struct tp_object *o, bool beaten)
{
	if (S_ISREG(o->mode)) {
		uint64_t charged = atomic_exchange(&o->charged, 0);

		(void)charged; /* no directory counts it any more */
		/* The last of its generations would take it along. */
		o->gens++;
		tp_gen_unlink_drafts(t, o, beaten);
		if (o->gen)
			tp_gen_retire(t, o->gen, beaten);
		o->gens--;
	} else {
		if (S_ISDIR(o->mode)) {
			t->directories--;
			tp_tree_limit(t, o, false);
		} else {
			t->others--;
		}
		tp_tree_note_gone(t, o);
		if (S_ISDIR(o->mode)) {
			tp_list_remove(&o->dir->dirty);
			tp_list_remove(&o->dir->ruled);
		}
	}
	tp_tree_settle_object(t, o);
}

static void drop_name(struct tp_tree *t, struct tp_name *n, bool tell, bool beaten)
{
	struct tp_object *o = n->object, *parent = n->parent;

	if (tell && t->hooks.name_changed)
		t->hooks.name_changed(t->hooks.user, parent->node.id, n->bytes, n->len);
	/* Said while the name is known; what becomes of them is seen at their close. */
	if (beaten && S_ISREG(o->mode) && o->nlink == 1)
		for (struct tp_draft *d = o->drafts; d; d = d->next)
			if (d->opened_for_write)
				tp_gen_say_dropped(t, d->gen, "its name was taken by another");
	tp_tree_note_name(t, n, true);
	remove_name(t, n);
	touch_dir(t, parent);
	o->ctime_ns = now(t);
	/* The kernel knows of one node that lost a link: the one that who sees. */
	if (S_ISREG(o->mode) && o->gen && o->drafts)
		tp_tree_tell_node(t, o->gen->node.id);
	if (!o->names) {
		nameless(t, o, beaten);
		return;
	}
	tp_tree_note_object(t, o);
	/* Another name may decide now. */
	tp_tree_rules_changed(t, o);
}

void tp_tree_drop_name(struct tp_tree *t, struct tp_name *n, bool tell)
{
	drop_name(t, n, tell, false);
}

void tp_tree_drop_object(struct tp_tree *t, struct tp_object *o)
{
	/* Who is writing it anew keeps its names: only what is there now goes. */
	if (o->drafts && o->gen) {
		for (struct tp_name *n = o->names; n; n = n->next_of_object) {
			touch_dir(t, n->parent);
			tp_tree_tell_node(t, n->parent->node.id);
		}
		tp_tree_tell_names(t, o);
		tp_gen_retire(t, o->gen, false);
		return;
	}
	/* The last one takes the object along. */
	for (uint32_t left = o->nlink; left > 0; left--) {
		struct tp_object *parent = o->names->parent;

		drop_name(t, o->names, true, false);
		tp_tree_tell_node(t, parent->node.id);
	}
}

void tp_tree_settle_object(struct tp_tree *t, struct tp_object *o)
{
	if (o->names || o->node.id < TP_NODE_DYNAMIC_FIRST)
		return;
	if (S_ISREG(o->mode)) {
		if (o->gens == 0)
			tp_object_free(o);
		return;
	}
	if (tp_node_lookups(&o->node) > 0)
		return;
	if (S_ISDIR(o->mode))
		tp_list_remove(&o->dir->dirty);
	tp_table_remove(&t->nodes, &o->node.link);
	tp_object_free(o);
}

/* May who put a name like this there? regular, dir: what it is to be. */
static int allowed_name(struct tp_tree *t, const struct tp_object *dir, const char *name, uint32_t mode)
{
	size_t len = strlen(name);

	if (len > NAME_MAX)
		return -ENAMETOOLONG;
	if (dir == t->root || dir->node.id == TP_NODE_CONTROL)
		return -EPERM;
	if (dir == t->samples) {
		if (!S_ISDIR(mode))
			return -EPERM;
		return tp_name_is_sample(name, len) ? 0 : -EINVAL;
	}
	if (!tp_tree_is_stream(t, dir))
		return 0;
	if (!S_ISREG(mode) || tp_name_is_control(name, len))
		return -EPERM;
	if (tp_tree_is_temporary(dir, name, len))
		return 0;
	return tp_name_is_sample(name, len) ? 0 : -EINVAL;
}

int tp_tree_allowed_name(struct tp_tree *t, const struct tp_object *dir, const char *name, uint32_t mode)
{
	return allowed_name(t, dir, name, mode);
}

/* The place for a new name: -EEXIST when who sees something there. What only others see is beaten: *ret_beaten, or NULL, goes once the new name is there. */
static int find_place(struct tp_tree *t, struct tp_who *who, struct tp_object *dir, const char *name,
	struct tp_name **ret_beaten)
{
	struct tp_name *n = tp_tree_find(t, dir, name, strlen(name));

	if (n && tp_tree_view(t, who, n->object))
		return -EEXIST;
	*ret_beaten = n;
	return 0;
}

struct tp_object *tp_tree_new_object(
	struct tp_tree *t, struct tp_who *who, const struct tp_object *dir, uint32_t mode)
{
	uint64_t ino = tp_tree_number(t);
	uint32_t gid = who->gid;

	if (ino == 0)
		return NULL;
	if (dir->mode & S_ISGID) {
		gid = dir->gid;
		if (S_ISDIR(mode))
			mode |= S_ISGID;
	}
	return tp_object_new(ino, mode, who->uid, gid, now(t));
}

static int make_locked(struct tp_tree *t, struct tp_who *who, struct tp_tree_room *room, uint64_t parent,
	const char *name, uint32_t mode, uint64_t rdev, const char *target, struct tp_entry *ret)
{
	struct tp_object *dir, *o;
	struct tp_name *n, *beaten = NULL;
	struct tp_gen *g = NULL;
	int r;

	r = tp_tree_dir(t, parent, &dir);
	if (r == 0)
		r = allowed_name(t, dir, name, mode);
	if (r == 0 && S_ISREG(mode) && tp_tree_commit_of(t, dir) == TP_COMMIT_RENAME &&
		!tp_tree_is_temporary(dir, name, strlen(name)))
		r = -EPERM;
	if (r == 0)
		r = find_place(t, who, dir, name, &beaten);
	/* More than that could not be recorded. */
	if (r == 0 && S_ISLNK(mode) && strlen(target) >= PATH_MAX)
		r = -ENAMETOOLONG;
	if (r == 0)
		r = tp_tree_may_name(t, (beaten ? 0 : TP_NAME_BYTES) + (S_ISLNK(mode) ? strlen(target) : 0));
	if (r == 0)
		r = tp_tree_may_note(t, room, mode);
	if (r < 0)
		return r;
	o = tp_tree_new_object(t, who, dir, mode);
	if (!o)
		return -ENOMEM;
	if (S_ISLNK(mode)) {
		o->target = strdup(target);
		if (!o->target) {
			tp_object_free(o);
			return -ENOMEM;
		}
	} else if (!S_ISREG(mode) && !S_ISDIR(mode)) {
		o->rdev = rdev;
	}
	if (S_ISREG(mode)) {
		o->sample = tp_tree_in_samples(t, dir);
		g = tp_gen_new(t, o, TP_GEN_DRAFT);
		if (!g) {
			tp_object_free(o);
			return -ENOMEM;
		}
	} else {
		tp_table_add(&t->nodes, &o->node.link);
	}
	r = tp_tree_add_name(t, dir, name, strlen(name), o, &n);
	if (r < 0) {
		if (g)
			tp_gen_retire(t, g, false);
		else
			tp_tree_settle_object(t, o);
		return r;
	}
	if (beaten)
		drop_name(t, beaten, false, true);
	touch_dir(t, dir);
	if (g) {
		tp_gen_publish(t, g);
	} else {
		if (S_ISDIR(mode))
			t->directories++;
		else
			t->others++;
		tp_tree_note_object(t, o);
		tp_tree_note_name(t, n, false);
	}
	tp_tree_entry(t, g ? &g->node : &o->node, ret);
	tp_tree_take(g ? &g->node : &o->node);
	return 0;
}

int tp_tree_make(struct tp_tree *t, struct tp_who *who, uint64_t parent, const char *name, uint32_t mode,
	uint64_t rdev, const char *target, struct tp_entry *ret)
{
	int r, recorded;
	TP_TREE_ROOM(room, t, false);

	r = TP_TREE_CHANGE(room, make_locked(t, who, &room, parent, name, mode, rdev, target, ret));
	recorded = tp_tree_record_change(t, &room);
	return r < 0 ? r : recorded;
}

/* May something that lies in `from` get a name in `to`? The parts of the mount and the streams are worlds of their own. */
static int same_world(struct tp_tree *t, const struct tp_object *from, const struct tp_object *to)
{
	bool from_samples = tp_tree_in_samples(t, from), to_samples = tp_tree_in_samples(t, to);

	if (from_samples != to_samples || (from_samples && from != to))
		return -EXDEV;
	return 0;
}

static int link_locked(struct tp_tree *t, struct tp_who *who, struct tp_tree_room *room, uint64_t node,
	uint64_t parent, const char *name, struct tp_entry *ret)
{
	struct tp_node *from = tp_tree_node(t, node), *seen;
	struct tp_object *dir, *o;
	struct tp_name *n, *beaten = NULL;
	int r;

	if (!from)
		return -ESTALE;
	o = tp_tree_object_of(from);
	r = tp_tree_dir(t, parent, &dir);
	if (r < 0)
		return r;
	if (S_ISDIR(o->mode))
		return -EPERM;
	r = allowed_name(t, dir, name, o->mode);
	if (r == 0 && o->names)
		r = same_world(t, o->names->parent, dir);
	if (r == 0 && !o->names && o->sample != tp_tree_in_samples(t, dir))
		r = -EXDEV;
	/* A file that lost its last name does not come back, but one from O_TMPFILE has not had any yet. */
	if (r == 0 && !o->names && !o->unnamed)
		r = -ENOENT;
	if (r == 0)
		r = tp_gen_may_complete(t, o, dir, name);
	if (r == 0)
		r = find_place(t, who, dir, name, &beaten);
	if (r == 0)
		r = tp_tree_may_name(t, beaten ? 0 : TP_NAME_BYTES);
	if (r == 0)
		r = tp_tree_may_note(t, room, o->mode);
	if (r == 0)
		r = tp_tree_add_name(t, dir, name, strlen(name), o, &n);
	if (r < 0)
		return r;
	if (beaten)
		drop_name(t, beaten, false, true);
	if (o->unnamed)
		tp_gen_named(t, o);
	o->ctime_ns = now(t);
	touch_dir(t, dir);
	tp_tree_note_object(t, o);
	tp_tree_note_name(t, n, false);
	seen = tp_tree_view(t, who, o);
	if (!seen)
		seen = from;
	tp_tree_entry(t, seen, ret);
	tp_tree_take(seen);
	return 0;
}

int tp_tree_link(struct tp_tree *t, struct tp_who *who, uint64_t node, uint64_t parent, const char *name,
	struct tp_entry *ret)
{
	int r, recorded;
	TP_TREE_ROOM(room, t, false);

	r = TP_TREE_CHANGE(room, link_locked(t, who, &room, node, parent, name, ret));
	recorded = tp_tree_record_change(t, &room);
	return r < 0 ? r : recorded;
}

static int unlink_locked(
	struct tp_tree *t, struct tp_who *who, struct tp_tree_room *room, uint64_t parent, const char *name)
{
	struct tp_object *dir;
	struct tp_name *n;
	int r = tp_tree_dir(t, parent, &dir);

	if (r < 0)
		return r;
	n = tp_tree_find(t, dir, name, strlen(name));
	if (!n || !tp_tree_view(t, who, n->object))
		return -ENOENT;
	if (S_ISDIR(n->object->mode))
		return -EISDIR;
	r = tp_tree_may_note(t, room, n->object->mode);
	if (r == 0)
		drop_name(t, n, false, false);
	return r;
}

int tp_tree_unlink(struct tp_tree *t, struct tp_who *who, uint64_t parent, const char *name)
{
	int r;
	TP_TREE_ROOM(room, t, true);

	r = TP_TREE_CHANGE(room, unlink_locked(t, who, &room, parent, name));
	if (r < 0)
		return r;
	tp_evictor_kick(t->store->evictor);
	return tp_tree_record_change(t, &room);
}

/* Is there anything in dir that who sees? */
static bool looks_empty(struct tp_tree *t, struct tp_who *who, const struct tp_object *dir)
{
	if (dir->dir->names > dir->dir->hidden)
		return false;
	for (struct tp_name *n = tp_dir_next(dir->dir, 0); n; n = tp_dir_next(dir->dir, n->cookie))
		if (tp_tree_view(t, who, n->object))
			return false;
	return true;
}

/* Nothing but drafts of others is in dir: they go with it. */
static void drop_hidden(struct tp_tree *t, struct tp_object *dir)
{
	struct tp_name *n;

	while ((n = tp_dir_next(dir->dir, 0))) {
		for (struct tp_draft *d = n->object->drafts; d; d = d->next)
			tp_gen_say_dropped(t, d->gen, "its directory was removed");
		drop_name(t, n, false, false);
	}
}

static int rmdir_locked(
	struct tp_tree *t, struct tp_who *who, struct tp_tree_room *room, uint64_t parent, const char *name)
{
	struct tp_object *dir;
	struct tp_name *n;
	int r = tp_tree_dir(t, parent, &dir);

	if (r < 0)
		return r;
	n = tp_tree_find(t, dir, name, strlen(name));
	if (!n || !tp_tree_view(t, who, n->object))
		return -ENOENT;
	if (!S_ISDIR(n->object->mode))
		return -ENOTDIR;
	if (dir == t->root)
		return -EBUSY;
	if (!looks_empty(t, who, n->object))
		return -ENOTEMPTY;
	r = tp_tree_may_note(t, room, n->object->mode);
	if (r < 0)
		return r;
	drop_hidden(t, n->object);
	drop_name(t, n, false, false);
	return 0;
}

int tp_tree_rmdir(struct tp_tree *t, struct tp_who *who, uint64_t parent, const char *name)
{
	int r, recorded;
	TP_TREE_ROOM(room, t, true);

	r = TP_TREE_CHANGE(room, rmdir_locked(t, who, &room, parent, name));
	recorded = tp_tree_record_change(t, &room);
	return r < 0 ? r : recorded;
}

/* Is `dir` o itself or below it? */
static bool is_below(const struct tp_object *dir, const struct tp_object *o)
{
	for (; dir; dir = tp_object_parent(dir))
		if (dir == o)
			return true;
	return false;
}

static int may_move(struct tp_tree *t, struct tp_object *from, struct tp_object *o, struct tp_object *to,
	const char *name)
{
	int r = allowed_name(t, to, name, o->mode);

	if (r == 0 && from == t->root)
		r = -EPERM;
	/* Streams are renamed as a whole; what is in one stays in it. */
	if (r == 0 && from != to)
		r = same_world(t, from, to);
	if (r == 0 && S_ISDIR(o->mode) && is_below(to, o))
		r = -EINVAL;
	return r < 0 ? r : tp_gen_may_complete(t, o, to, name);
}

static int may_replace(
	struct tp_tree *t, struct tp_who *who, const struct tp_object *o, const struct tp_object *target)
{
	if (S_ISDIR(o->mode) && !S_ISDIR(target->mode))
		return -ENOTDIR;
	if (!S_ISDIR(o->mode) && S_ISDIR(target->mode))
		return -EISDIR;
	if (S_ISDIR(target->mode) && !looks_empty(t, who, target))
		return -ENOTEMPTY;
	return 0;
}

/* What o's content and subtree count for in the directories above it. */
static uint64_t weight(const struct tp_object *o)
{
	return S_ISDIR(o->mode) ? atomic_load(&o->dir->bytes_below) : 0;
}

static void weigh(struct tp_object *dir, int64_t delta)
{
	for (; dir && delta; dir = tp_object_parent(dir))
		atomic_fetch_add(&dir->dir->bytes_below, (uint64_t)delta);
}

/* A name for move_name(), and places for `places` names in `to`: taken before anything changes, so that a change that has begun cannot fail. -ENOMEM. */
static int prepare_name(struct tp_object *to, const char *name, unsigned places, struct tp_name **ret)
{
	struct tp_name *n = malloc(sizeof(*n) + strlen(name));

	if (!n || tp_dir_reserve(to->dir, places) < 0) {
		free(n);
		return -ENOMEM;
	}
	*n = (struct tp_name){.parent = to, .len = (uint8_t)strlen(name)};
	memcpy(n->bytes, name, n->len);
	*ret = n;
	return 0;
}

/* Puts `moved`, which was prepared, into the place of n, which is freed. Nothing is at its place. */
static void move_name(struct tp_tree *t, struct tp_name *n, struct tp_name *moved)
{
	struct tp_object *o = n->object, *from = n->parent, *to = moved->parent;
	bool hidden = tp_tree_hidden(o);
	uint64_t w = weight(o), charged = o->names == n && S_ISREG(o->mode) ? atomic_load(&o->charged) : 0;
	struct tp_name **at = &o->names;
	int r;

	moved->object = o;
	r = tp_dir_append(to->dir, moved);
	assert(r == 0);
	(void)r;
	tp_tree_note_name(t, n, true);
	weigh(from, -(int64_t)w);
	if (charged)
		tp_tree_charge(t, o, -(int64_t)charged);
	while (*at != n)
		at = &(*at)->next_of_object;
	moved->next_of_object = n->next_of_object;
	*at = moved;
	tp_dir_remove(from->dir, n);
	tp_table_remove(&t->names, &n->link);
	free(n);
	tp_table_add(&t->names, &moved->link);
	from->dir->hidden -= hidden;
	to->dir->hidden += hidden;
	weigh(to, (int64_t)w);
	if (charged)
		tp_tree_charge(t, o, (int64_t)charged);
	tp_tree_note_name(t, moved, false);
}

/* True when that publishes it. */
static bool moved_object(struct tp_tree *t, struct tp_who *who, struct tp_name *n,
	const struct tp_object *from, bool was_temporary)
{
	struct tp_object *o = n->object;
	bool published = false;

	o->ctime_ns = now(t);
	tp_tree_note_object(t, o);
	if (S_ISREG(o->mode) && o->names == n)
		published = tp_gen_renamed(t, who, n, was_temporary);
	/* Or it may go from where they have not been heard of yet to where all have. */
	if (from != n->parent &&
		(tp_tree_ttl_of(t, from) != tp_tree_ttl_of(t, n->parent) ||
			tp_tree_pinned(t, from) != tp_tree_pinned(t, n->parent) || !tp_list_empty(&t->ruled)))
		tp_tree_rules_changed(t, o);
	return published;
}

static void terminated(const struct tp_name *n, char text[NAME_MAX + 1])
{
	memcpy(text, n->bytes, n->len);
	text[n->len] = 0;
}

static int exchange_locked(struct tp_tree *t, struct tp_who *who, struct tp_tree_room *room,
	struct tp_name *a, struct tp_name *b, bool *ret_published)
{
	struct tp_object *dir_a = a->parent, *dir_b = b->parent;
	char name_a[NAME_MAX + 1], name_b[NAME_MAX + 1];
	tp_autofree struct tp_name *moved_a = NULL, *moved_b = NULL, *aside = NULL;
	struct tp_name *by_way;
	bool temp_a, temp_b;
	int r;

	terminated(a, name_a);
	terminated(b, name_b);
	r = may_move(t, dir_a, a->object, dir_b, name_b);
	if (r == 0)
		r = may_move(t, dir_b, b->object, dir_a, name_a);
	if (r < 0 || a->object == b->object)
		return r;
	/* By way of a name that no path can have. */
	r = prepare_name(dir_b, "/", 3, &aside);
	if (r == 0)
		r = prepare_name(dir_a, name_a, 3, &moved_b);
	if (r == 0)
		r = prepare_name(dir_b, name_b, 3, &moved_a);
	if (r == 0)
		r = tp_tree_may_note(t, room, a->object->mode);
	if (r == 0)
		r = tp_tree_may_note(t, room, b->object->mode);
	if (r < 0)
		return r;
	temp_a = tp_tree_is_temporary(dir_a, name_a, a->len);
	temp_b = tp_tree_is_temporary(dir_b, name_b, b->len);
	by_way = tp_steal_ptr(aside);
	move_name(t, a, by_way);
	a = tp_steal_ptr(moved_a);
	move_name(t, b, moved_b);
	b = tp_steal_ptr(moved_b);
	move_name(t, by_way, a);
	*ret_published = moved_object(t, who, a, dir_a, temp_a);
	*ret_published |= moved_object(t, who, b, dir_b, temp_b);
	touch_dir(t, dir_a);
	touch_dir(t, dir_b);
	return 0;
}

static int rename_locked(struct tp_tree *t, struct tp_who *who, struct tp_tree_room *room,
	uint64_t from_parent, const char *from, uint64_t to_parent, const char *to, unsigned flags,
	bool *ret_published)
{
	struct tp_object *from_dir, *to_dir;
	struct tp_name *n, *moved = NULL, *target;
	bool was_temporary, target_seen;
	int r;

	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	r = tp_tree_dir(t, from_parent, &from_dir);
	if (r == 0)
		r = tp_tree_dir(t, to_parent, &to_dir);
	if (r < 0)
		return r;
	if (strlen(from) > NAME_MAX || strlen(to) > NAME_MAX)
		return -ENAMETOOLONG;
	n = tp_tree_find(t, from_dir, from, strlen(from));
	if (!n || !tp_tree_view(t, who, n->object))
		return -ENOENT;
	target = tp_tree_find(t, to_dir, to, strlen(to));
	target_seen = target && tp_tree_view(t, who, target->object);
	if (flags & RENAME_EXCHANGE)
		return target_seen ? exchange_locked(t, who, room, n, target, ret_published) : -ENOENT;
	if (target_seen && (flags & RENAME_NOREPLACE))
		return -EEXIST;
	r = may_move(t, from_dir, n->object, to_dir, to);
	if (r < 0 || (target && target->object == n->object))
		return r;
	if (target_seen)
		r = may_replace(t, who, n->object, target->object);
	if (r == 0)
		r = tp_tree_may_note(t, room, n->object->mode);
	if (r == 0 && target)
		r = tp_tree_may_note(t, room, target->object->mode);
	if (r == 0)
		r = prepare_name(to_dir, to, 1, &moved);
	if (r < 0)
		return r;
	if (target_seen && S_ISDIR(target->object->mode))
		drop_hidden(t, target->object);
	was_temporary = tp_tree_is_temporary(from_dir, from, strlen(from));
	if (target)
		drop_name(t, target, false, true);
	move_name(t, n, moved);
	*ret_published = moved_object(t, who, moved, from_dir, was_temporary);
	touch_dir(t, from_dir);
	touch_dir(t, to_dir);
	return 0;
}

int tp_tree_rename(struct tp_tree *t, struct tp_who *who, uint64_t from_parent, const char *from,
	uint64_t to_parent, const char *to, unsigned flags)
{
	uint64_t began_ns = tp_mono_ns(t->store->clock);
	bool published = false;
	int r, recorded;
	TP_TREE_ROOM(room, t, false);

	r = TP_TREE_CHANGE(
		room, rename_locked(t, who, &room, from_parent, from, to_parent, to, flags, &published));
	tp_evictor_kick(t->store->evictor);
	recorded = tp_tree_record_change(t, &room);
	if (published)
		tp_stats_time(
			&t->store->stats.histogram[TP_HIST_COMMIT], tp_mono_ns(t->store->clock) - began_ns);
	return r < 0 ? r : recorded;
}

static void set_owner_and_mode(struct tp_object *o, const struct tp_setattr *set)
{
	if (set->set_mode)
		o->mode = (o->mode & S_IFMT) | (set->mode & 07777);
	if (set->set_uid)
		o->uid = set->uid;
	if (set->set_gid)
		o->gid = set->gid;
	if (!S_ISDIR(o->mode) && !set->set_mode && (set->set_uid || set->set_gid || set->kill_suid))
		tp_object_kill_suid(o);
}

static void set_times(struct tp_object *o, struct tp_gen *g, const struct tp_setattr *set, uint64_t now_ns)
{
	if (set->set_atime)
		o->atime_ns = set->atime_ns;
	if (set->set_mtime && g) {
		g->mtime_ns = set->mtime_ns;
		g->mtime_set = true;
	} else if (set->set_mtime) {
		o->mtime_ns = set->mtime_ns;
	}
	o->ctime_ns = set->set_ctime ? set->ctime_ns : now_ns;
}

static int setattr_locked(struct tp_tree *t, struct tp_who *who, struct tp_tree_room *room, uint64_t node,
	struct tp_gen *open, const struct tp_setattr *set, struct tp_entry *ret)
{
	struct tp_node *n = open ? &open->node : tp_tree_node(t, node);
	struct tp_object *o;
	struct tp_gen *g;
	int r = 0;

	if (!n)
		return -ESTALE;
	o = tp_tree_object_of(n);
	g = S_ISREG(o->mode) ? tp_container(n, struct tp_gen, node) : NULL;
	if (set->set_size)
		r = g ? tp_gen_truncate(t, who, g, open != NULL, set->size) : -EISDIR;
	if (r == 0)
		r = tp_tree_may_note(t, room, o->mode);
	if (r < 0)
		return r;
	set_owner_and_mode(o, set);
	set_times(o, g, set, now(t));
	tp_tree_note_object(t, o);
	/* Other generations show the same owner and mode. */
	if (g && o->gen && o->gen != g)
		tp_tree_tell_node(t, o->gen->node.id);
	tp_tree_entry(t, n, ret);
	return 0;
}

int tp_tree_setattr(struct tp_tree *t, struct tp_who *who, uint64_t node, struct tp_gen *open,
	const struct tp_setattr *set, struct tp_entry *ret)
{
	int r;
	TP_TREE_ROOM(room, t, false);

	r = TP_TREE_CHANGE(room, setattr_locked(t, who, &room, node, open, set, ret));
	return r < 0 ? r : tp_tree_record_change(t, &room);
}

/* Loading */

static int load_node(const void *key, size_t key_len, const void *value, size_t value_len, void *user)
{
	struct tp_tree *t = user;
	struct tp_object *o, *fixed;
	uint64_t ino;
	int r;

	if (key_len != 8)
		return -EBADMSG;
	ino = tp_record_number(key);
	r = tp_record_decode(ino, value, value_len, &o);
	if (r < 0)
		return r;
	if (ino >= TP_NODE_DYNAMIC_FIRST) {
		tp_table_add(&t->nodes, &o->node.link);
		return 0;
	}
	fixed = ino == TP_NODE_ROOT	 ? t->root
		: ino == TP_NODE_CACHE	 ? t->cache
		: ino == TP_NODE_SAMPLES ? t->samples
					 : NULL;
	if (!fixed || !S_ISDIR(o->mode)) {
		tp_object_free(o);
		return -EBADMSG;
	}
	fixed->mode = o->mode;
	fixed->uid = o->uid;
	fixed->gid = o->gid;
	fixed->atime_ns = o->atime_ns;
	fixed->mtime_ns = o->mtime_ns;
	fixed->ctime_ns = o->ctime_ns;
	fixed->extra = tp_steal_ptr(o->extra);
	/* Others are counted and listed with their name. */
	if (fixed->names)
		atomic_fetch_add(&t->names_bytes, tp_object_extra_bytes(fixed));
	tp_tree_limit(t, fixed, fixed->extra && fixed->extra->policy.quota_bytes);
	fixed->recorded = true;
	tp_object_free(o);
	return 0;
}

static int load_name(const void *key, size_t key_len, const void *value, size_t value_len, void *user)
{
	struct tp_tree *t = user;
	struct tp_node *parent, *node;
	struct tp_object *o;
	int r;

	if (key_len <= 8 || key_len > 8 + NAME_MAX || value_len != 8)
		return -EBADMSG;
	parent = tp_tree_node(t, tp_record_number(key));
	node = tp_tree_node(t, tp_record_number(value));
	if (!parent || !node || !S_ISDIR(tp_tree_object_of(parent)->mode))
		return -EBADMSG;
	o = tp_tree_object_of(node);
	if (S_ISDIR(o->mode) && o->names)
		return -EBADMSG;
	r = tp_tree_add_name(t, tp_tree_object_of(parent), (const char *)key + 8, key_len - 8, o, NULL);
	if (r < 0)
		return r;
	if (S_ISDIR(o->mode)) {
		t->directories++;
		tp_tree_limit(t, o, o->extra && o->extra->policy.quota_bytes);
	} else if (o->nlink == 1) {
		t->others++;
	}
	return 0;
}

int tp_tree_load(struct tp_tree *t, struct tp_err *err)
{
	int r;

	if (!t->store->ledger)
		return 0;
	TP_WRLOCK(&t->lock);
	r = tp_ledger_scan(t->store->ledger, TP_LEDGER_NODES, load_node, t);
	if (r == 0)
		r = tp_ledger_scan(t->store->ledger, TP_LEDGER_NAMES, load_name, t);
	if (r < 0)
		return tp_err_set(err, r, "the directories in the ledger could not be read: %s",
			r == -EBADMSG ? "a record is damaged" : strerror(-r));
	if (!t->cache->recorded) {
		tp_tree_note_dirty(t, t->root);
		tp_tree_note_dirty(t, t->cache);
		tp_tree_note_dirty(t, t->samples);
	}
	return 0;
}
