/* SPDX-License-Identifier: Apache-2.0 */
#include "store/object.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "store/cleanup.h"

struct tp_object *tp_object_new(uint64_t ino, uint32_t mode, uint32_t uid, uint32_t gid, uint64_t now_ns)
{
	struct tp_object *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->node.id = ino;
	o->mode = (uint16_t)mode;
	o->uid = uid;
	o->gid = gid;
	o->atime_ns = now_ns;
	atomic_init(&o->ctime_ns, now_ns);
	if (S_ISREG(mode))
		return o;
	atomic_init(&o->node.kind_and_lookups, (uint64_t)TP_NODE_OBJECT << 56);
	o->mtime_ns = now_ns;
	if (S_ISDIR(mode)) {
		o->dir = calloc(1, sizeof(*o->dir));
		if (!o->dir) {
			free(o);
			return NULL;
		}
		o->dir->next_cookie = 16; /* lower ones are "." and ".." */
		o->dir->self = o;
		tp_list_init(&o->dir->dirty);
		tp_list_init(&o->dir->limited);
		tp_list_init(&o->dir->ruled);
	}
	return o;
}

static void free_xattrs(struct tp_xattr *x)
{
	while (x) {
		struct tp_xattr *next = x->next;

		free(x);
		x = next;
	}
}

void tp_object_free(struct tp_object *o)
{
	if (!o)
		return;
	if (S_ISDIR(o->mode)) {
		free(o->dir->slots);
		free(o->dir);
	} else if (S_ISLNK(o->mode)) {
		free(o->target);
	}
	if (o->extra) {
		free_xattrs(o->extra->xattrs);
		tp_locks_fini(&o->extra->locks);
		free(o->extra);
	}
	free(o);
}

struct tp_extra *tp_object_extra(struct tp_object *o)
{
	if (!o->extra) {
		o->extra = calloc(1, sizeof(*o->extra));
		if (!o->extra)
			return NULL;
		tp_policy_init(&o->extra->policy);
		tp_locks_init(&o->extra->locks);
	}
	return o->extra;
}

void tp_object_kill_suid(struct tp_object *o)
{
	o->mode &= (uint16_t)~S_ISUID;
	if (o->mode & S_IXGRP)
		o->mode &= (uint16_t)~S_ISGID;
}

static struct tp_xattr **find_xattr(const struct tp_object *o, const char *name)
{
	struct tp_xattr **at;
	size_t len = strlen(name);

	if (!o->extra)
		return NULL;
	for (at = &o->extra->xattrs; *at; at = &(*at)->next)
		if ((*at)->name_len == len && memcmp((*at)->bytes, name, len) == 0)
			return at;
	return NULL;
}

size_t tp_object_extra_bytes(const struct tp_object *o)
{
	size_t bytes = S_ISLNK(o->mode) && o->target ? strlen(o->target) : 0;

	if (o->extra)
		for (const struct tp_xattr *x = o->extra->xattrs; x; x = x->next)
			bytes += sizeof(*x) + x->name_len + x->value_len;
	return bytes;
}

int tp_object_set_xattr(struct tp_object *o, const char *name, const void *value, size_t len, int flags)
{
	struct tp_xattr **at = find_xattr(o, name), *x;
	size_t used = 0, name_len = strlen(name);
	struct tp_extra *extra;

	if (at && (flags & XATTR_CREATE))
		return -EEXIST;
	if (!at && (flags & XATTR_REPLACE))
		return -ENODATA;
	if (name_len > UINT8_MAX)
		return -ERANGE;
	extra = tp_object_extra(o);
	if (!extra)
		return -ENOMEM;
	for (x = extra->xattrs; x; x = x->next)
		if (!at || x != *at)
			used += x->name_len + x->value_len;
	if (len > TP_XATTR_BYTES_MAX || used + name_len + len > TP_XATTR_BYTES_MAX)
		return -ENOSPC;
	x = malloc(sizeof(*x) + name_len + len);
	if (!x)
		return -ENOMEM;
	x->name_len = (uint8_t)name_len;
	x->value_len = (uint32_t)len;
	memcpy(x->bytes, name, name_len);
	if (len)
		memcpy(x->bytes + name_len, value, len);
	if (at) {
		struct tp_xattr *old = *at;

		x->next = old->next;
		*at = x;
		free(old);
	} else {
		x->next = extra->xattrs;
		extra->xattrs = x;
	}
	return 0;
}

ssize_t tp_object_get_xattr(const struct tp_object *o, const char *name, void *buf, size_t len)
{
	struct tp_xattr **at = find_xattr(o, name);

	if (!at)
		return -ENODATA;
	if (len == 0)
		return (*at)->value_len;
	if (len < (*at)->value_len)
		return -ERANGE;
	memcpy(buf, (*at)->bytes + (*at)->name_len, (*at)->value_len);
	return (*at)->value_len;
}

ssize_t tp_object_list_xattr(const struct tp_object *o, char *buf, size_t len)
{
	size_t need = 0;

	if (!o->extra)
		return 0;
	for (const struct tp_xattr *x = o->extra->xattrs; x; x = x->next) {
		if (len >= need + x->name_len + 1) {
			memcpy(buf + need, x->bytes, x->name_len);
			buf[need + x->name_len] = 0;
		} else if (len) {
			return -ERANGE;
		}
		need += x->name_len + 1u;
	}
	return (ssize_t)need;
}

int tp_object_remove_xattr(struct tp_object *o, const char *name)
{
	struct tp_xattr **at = find_xattr(o, name), *x;

	if (!at)
		return -ENODATA;
	x = *at;
	*at = x->next;
	free(x);
	return 0;
}

/* Directories: an array in the order of cookies, with tombstones that keep their cookie, so that a place can be found by bisection. */

static uint64_t slot_cookie(uintptr_t slot)
{
	return slot & 1 ? slot >> 1 : ((struct tp_name *)slot)->cookie;
}

/* The first slot whose cookie is at least cookie. */
static uint32_t slot_at(const struct tp_dir *d, uint64_t cookie)
{
	uint32_t from = 0, to = d->slots_used;

	while (from < to) {
		uint32_t mid = from + (to - from) / 2;

		if (slot_cookie(d->slots[mid]) < cookie)
			from = mid + 1;
		else
			to = mid;
	}
	return from;
}

int tp_dir_reserve(struct tp_dir *d, uint32_t more)
{
	uint32_t max = d->slots_max ? d->slots_max : 4;
	uintptr_t *slots;

	if (d->slots_max - d->slots_used >= more)
		return 0;
	while (max - d->slots_used < more)
		max *= 2;
	slots = realloc(d->slots, max * sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	d->slots = slots;
	d->slots_max = max;
	return 0;
}

int tp_dir_append(struct tp_dir *d, struct tp_name *n)
{
	int r = tp_dir_reserve(d, 1);

	if (r < 0)
		return r;
	n->cookie = d->next_cookie++;
	d->slots[d->slots_used++] = (uintptr_t)n;
	d->names++;
	if (S_ISDIR(n->object->mode))
		d->subdirs++;
	return 0;
}

static void squeeze(struct tp_dir *d)
{
	uint32_t to = 0;

	for (uint32_t i = 0; i < d->slots_used; i++)
		if (!(d->slots[i] & 1))
			d->slots[to++] = d->slots[i];
	d->slots_used = to;
	if (d->slots_max > 64 && to < d->slots_max / 4) {
		uintptr_t *slots = realloc(d->slots, (d->slots_max / 2) * sizeof(*slots));

		if (slots) {
			d->slots = slots;
			d->slots_max /= 2;
		}
	}
}

void tp_dir_remove(struct tp_dir *d, struct tp_name *n)
{
	uint32_t i = slot_at(d, n->cookie);

	assert(i < d->slots_used && d->slots[i] == (uintptr_t)n);
	d->slots[i] = (uintptr_t)(n->cookie << 1 | 1);
	d->names--;
	if (S_ISDIR(n->object->mode))
		d->subdirs--;
	if (d->slots_used > 16 && d->names < d->slots_used / 2)
		squeeze(d);
	else if (d->names == 0)
		d->slots_used = 0;
}

void tp_dir_move_to_end(struct tp_dir *d, struct tp_name *n)
{
	uint64_t cookie = n->cookie;
	uint32_t i = slot_at(d, cookie);

	assert(i < d->slots_used && d->slots[i] == (uintptr_t)n);
	if (i + 1 == d->slots_used)
		return;
	d->slots[i] = (uintptr_t)(cookie << 1 | 1);
	if (tp_dir_append(d, n) < 0) {
		d->slots[i] = (uintptr_t)n;
		return;
	}
	/* Appending counted it once more. */
	d->names--;
	if (S_ISDIR(n->object->mode))
		d->subdirs--;
}

struct tp_name *tp_dir_next(const struct tp_dir *d, uint64_t after)
{
	for (uint32_t i = slot_at(d, after + 1); i < d->slots_used; i++)
		if (!(d->slots[i] & 1))
			return (struct tp_name *)d->slots[i];
	return NULL;
}

/* Drafts */

struct tp_draft *tp_draft_new(struct tp_gen *g, uint64_t now_ns)
{
	struct tp_draft *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->gen = g;
	d->started_ns = now_ns;
	tp_list_init(&d->awaiting);
	tp_list_init(&d->writing);
	return d;
}

void tp_draft_free(struct tp_draft *d)
{
	if (!d)
		return;
	tp_list_remove(&d->awaiting);
	tp_list_remove(&d->writing);
	for (uint32_t i = 0; i < d->writers_count; i++)
		tp_process_close(&d->writers[i].process);
	free(d->writers);
	free(d->viewers);
	free(d);
}

static struct tp_viewer *find_viewer(const struct tp_draft *d, pid_t tgid)
{
	for (uint32_t i = 0; i < d->viewers_count; i++)
		if (d->viewers[i].tgid == tgid)
			return &d->viewers[i];
	return NULL;
}

bool tp_draft_seen_by(const struct tp_draft *d, pid_t tgid)
{
	return find_viewer(d, tgid) != NULL;
}

int tp_draft_add_viewer(struct tp_draft *d, pid_t tgid, bool joined)
{
	struct tp_viewer *viewers = find_viewer(d, tgid);

	if (tgid == 0)
		return 0;
	if (viewers) {
		viewers->joined = viewers->joined && joined;
		return 0;
	}
	viewers = realloc(d->viewers, (d->viewers_count + 1) * sizeof(*viewers));
	if (!viewers)
		return -ENOMEM;
	viewers[d->viewers_count++] = (struct tp_viewer){.tgid = tgid, .joined = joined};
	d->viewers = viewers;
	return 0;
}

void tp_draft_viewer_opened(struct tp_draft *d, pid_t tgid)
{
	struct tp_viewer *v = find_viewer(d, tgid);

	if (v)
		v->opens++;
}

void tp_draft_viewer_closed(struct tp_draft *d, pid_t tgid)
{
	struct tp_viewer *v = find_viewer(d, tgid);

	if (v && v->opens > 0) {
		v->opens--;
		tp_draft_viewer_failed(d, tgid);
	}
}

void tp_draft_viewer_failed(struct tp_draft *d, pid_t tgid)
{
	struct tp_viewer *v = find_viewer(d, tgid);

	if (v && v->opens == 0 && v->joined)
		*v = d->viewers[--d->viewers_count];
}

static struct tp_writer *find_writer(struct tp_draft *d, pid_t tgid)
{
	for (uint32_t i = 0; i < d->writers_count; i++)
		if (d->writers[i].process.tgid == tgid)
			return &d->writers[i];
	return NULL;
}

int tp_draft_add_writer(struct tp_draft *d, pid_t tid, pid_t tgid)
{
	struct tp_writer *writers;

	if (tgid == 0) {
		d->unseen_writer = true;
		return 0;
	}
	if (!find_writer(d, tgid)) {
		writers = realloc(d->writers, (d->writers_count + 1) * sizeof(*writers));
		if (!writers)
			return -ENOMEM;
		d->writers = writers;
		writers[d->writers_count] = (struct tp_writer){.end = TP_END_RUNS};
		tp_process_open(tgid, &writers[d->writers_count].process);
		d->writers_count++;
	}
	d->last_tid = tid;
	return 0;
}

void tp_draft_note_end(struct tp_draft *d, pid_t tgid, enum tp_end end)
{
	struct tp_writer *w = find_writer(d, tgid);

	/* A bad end stays one: the process may flush several descriptors on its way out. */
	if (w && w->end != TP_END_KILLED && w->end != TP_END_FAILED)
		w->end = end;
}

void tp_missing_add(struct tp_missing *m, uint64_t from, uint64_t to, int error)
{
	bool any = tp_missing_any(m);

	m->from = any && m->from < from ? m->from : from;
	m->to = any && m->to > to ? m->to : to;
	m->error = error;
}

void tp_missing_cover(struct tp_missing *m, uint64_t from, uint64_t to)
{
	if (!tp_missing_any(m))
		return;
	if (from <= m->from && to > m->from)
		m->from = to < m->to ? to : m->to;
	if (to >= m->to && from < m->to)
		m->to = from > m->from ? from : m->from;
}
