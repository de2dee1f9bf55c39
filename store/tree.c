/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finding and showing: nodes, names, attributes, listings, and the rules in force. What changes the tree is in tree_change.c, what opens files in tree_open.c.
 *
 * Who sees what of a regular file: the process that writes a draft sees that draft; everybody else sees the current generation, if there is one. So the same
 * name gives different nodes to different processes while it is written, and such an entry is never to be cached.
 */
#include "store/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "store/cleanup.h"
#include "store/evict.h"
#include "store/file.h"
#include "store/record.h"

/* Beyond the limit, and an eighth of it, while cold ones go: more than come while the evictor is woken. */
#define NAMES_MORE 4096

bool tp_who_administers(const struct tp_who *who)
{
	return who->uid == 0 || who->uid == geteuid();
}

pid_t tp_who_tgid(struct tp_who *who)
{
	if (who->tgid == 0 && who->tid != 0)
		who->tgid = tp_process_of(who->tid);
	return who->tgid;
}

static uint64_t name_hash(uint64_t parent, const char *name, size_t len)
{
	return XXH3_64bits_withSeed(name, len, parent);
}

static uint64_t hash_of_name(const struct tp_link *l)
{
	const struct tp_name *n = tp_container(l, struct tp_name, link);

	return name_hash(n->parent->node.id, n->bytes, n->len);
}

static uint64_t id_hash(uint64_t id)
{
	return id * UINT64_C(0x9e3779b97f4a7c15) >> 16;
}

static uint64_t hash_of_node(const struct tp_link *l)
{
	return id_hash(tp_container(l, struct tp_node, link)->id);
}

static int add_fixed(struct tp_tree *t, uint64_t id, uint32_t mode, const char *name, struct tp_object **ret)
{
	struct tp_object *o;
	int r;

	o = tp_object_new(id, S_IFDIR | mode, geteuid(), getegid(), tp_wall_ns(t->store->clock));
	if (!o)
		return -ENOMEM;
	tp_table_add(&t->nodes, &o->node.link);
	/* The kernel holds what it was mounted on for ever. */
	atomic_fetch_add(&o->node.kind_and_lookups, 1);
	*ret = o;
	if (!name)
		return 0;
	r = tp_tree_add_name(t, t->root, name, strlen(name), o, NULL);
	t->directories++;
	return r;
}

static int init_locks(struct tp_tree *t)
{
	pthread_rwlockattr_t attr;
	int r = pthread_rwlockattr_init(&attr);

	if (r)
		return -r;
	/* Many look-ups in a row must not keep a change waiting for ever. */
	(void)pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	r = pthread_rwlock_init(&t->lock, &attr);
	for (unsigned i = 0; r == 0 && i < TP_MAP_LOCKS; i++)
		r = pthread_rwlock_init(&t->map_locks[i], &attr);
	(void)pthread_rwlockattr_destroy(&attr);
	if (r == 0)
		r = pthread_mutex_init(&t->retries_lock, NULL);
	if (r == 0)
		r = pthread_mutex_init(&t->record_lock, NULL);
	if (r == 0)
		r = pthread_mutex_init(&t->pending_lock, NULL);
	return -r;
}

int tp_tree_new(struct tp_store *s, struct tp_err *err, struct tp_tree **ret)
{
	struct tp_tree *t = calloc(1, sizeof(*t));
	struct tp_object *control;
	int r;

	if (!t)
		return tp_err_set(err, -ENOMEM, "no memory for the tree");
	t->store = s;
	tp_list_init(&t->old);
	tp_list_init(&t->dirty);
	tp_list_init(&t->awaiting);
	tp_list_init(&t->writing);
	tp_list_init(&t->limited);
	tp_list_init(&t->ruled);
	tp_deadlines_init(&t->expiries);
	r = init_locks(t);
	if (r == 0)
		r = tp_table_init(&t->nodes, hash_of_node);
	if (r == 0)
		r = tp_table_init(&t->names, hash_of_name);
	if (r == 0) {
		t->heat = tp_heat_new(tp_pool_size_pages(s->pool) * TP_PAGE_BYTES);
		r = t->heat ? 0 : -ENOMEM;
	}
	if (r == 0)
		r = add_fixed(t, TP_NODE_ROOT, 0755, NULL, &t->root);
	if (r == 0)
		r = add_fixed(t, TP_NODE_CACHE, 0755, "cache", &t->cache);
	if (r == 0)
		r = add_fixed(t, TP_NODE_SAMPLES, 0755, "samples", &t->samples);
	if (r == 0)
		r = add_fixed(t, TP_NODE_CONTROL, 0555, ".tidepool", &control);
	if (r < 0) {
		tp_tree_free(t);
		return tp_err_set(err, r, "no memory for the tree");
	}
	*ret = t;
	return 0;
}

/* Everything goes, whatever refers to it: nobody uses the tree any more. */
static void free_all(struct tp_tree *t)
{
	for (size_t i = 0; t->names.buckets && i <= t->names.mask; i++) {
		struct tp_link *next;

		for (struct tp_link *l = t->names.buckets[i]; l; l = next) {
			struct tp_name *n = tp_container(l, struct tp_name, link);
			struct tp_object *o = n->object;

			next = l->next;
			/* A regular file is freed with its last name unless generations hold it. */
			if (S_ISREG(o->mode) && --o->nlink == 0 && o->gens == 0)
				tp_object_free(o);
			free(n);
		}
	}
	for (size_t i = 0; t->nodes.buckets && i <= t->nodes.mask; i++) {
		struct tp_link *next;

		for (struct tp_link *l = t->nodes.buckets[i]; l; l = next) {
			struct tp_node *node = tp_container(l, struct tp_node, link);

			next = l->next;
			if (tp_node_kind(node) == TP_NODE_OBJECT) {
				tp_object_free(tp_container(node, struct tp_object, node));
				continue;
			}
			struct tp_gen *g = tp_container(node, struct tp_gen, node);

			tp_list_remove(&g->heat.link);
			tp_map_fini(&g->map, t->store->pool);
			tp_draft_free(g->draft);
			if (--g->object->gens == 0 && g->object->nlink == 0)
				tp_object_free(g->object);
			free(g);
		}
	}
}

void tp_tree_free(struct tp_tree *t)
{
	if (!t)
		return;
	free_all(t);
	tp_heat_free(t->heat);
	tp_deadlines_fini(&t->expiries);
	tp_table_fini(&t->nodes);
	tp_table_fini(&t->names);
	tp_ledger_batch_free(t->pending);
	tp_ledger_batch_free(t->unwritten);
	(void)pthread_rwlock_destroy(&t->lock);
	for (unsigned i = 0; i < TP_MAP_LOCKS; i++)
		(void)pthread_rwlock_destroy(&t->map_locks[i]);
	(void)pthread_mutex_destroy(&t->retries_lock);
	(void)pthread_mutex_destroy(&t->record_lock);
	(void)pthread_mutex_destroy(&t->pending_lock);
	free(t);
}

void tp_tree_set_hooks(struct tp_tree *t, const struct tp_tree_hooks *hooks)
{
	TP_WRLOCK(&t->lock);
	t->hooks = *hooks;
}

/* Finding */

struct tp_node *tp_tree_node(struct tp_tree *t, uint64_t id)
{
	for (struct tp_link *l = tp_table_first(&t->nodes, id_hash(id)); l; l = l->next) {
		struct tp_node *n = tp_container(l, struct tp_node, link);

		if (n->id == id)
			return n;
	}
	return NULL;
}

struct tp_object *tp_tree_object_of(struct tp_node *n)
{
	if (tp_node_kind(n) == TP_NODE_GEN)
		return tp_container(n, struct tp_gen, node)->object;
	return tp_container(n, struct tp_object, node);
}

struct tp_name *tp_tree_find(struct tp_tree *t, const struct tp_object *parent, const char *name, size_t len)
{
	struct tp_link *l = tp_table_first(&t->names, name_hash(parent->node.id, name, len));

	for (; l; l = l->next) {
		struct tp_name *n = tp_container(l, struct tp_name, link);

		if (n->parent == parent && n->len == len && memcmp(n->bytes, name, len) == 0)
			return n;
	}
	return NULL;
}

int tp_tree_dir(struct tp_tree *t, uint64_t node, struct tp_object **ret)
{
	struct tp_node *n = tp_tree_node(t, node);
	struct tp_object *o;

	if (!n)
		return -ESTALE;
	o = tp_tree_object_of(n);
	if (!S_ISDIR(o->mode))
		return -ENOTDIR;
	if (!o->names && o != t->root)
		return -ENOENT;
	*ret = o;
	return 0;
}

struct tp_node *tp_tree_view(struct tp_tree *t, struct tp_who *who, struct tp_object *o)
{
	struct tp_draft *d;

	if (!S_ISREG(o->mode))
		return &o->node;
	d = tp_gen_draft_for(t, o, who);
	if (d)
		return &d->gen->node;
	return o->gen ? &o->gen->node : NULL;
}

bool tp_tree_hidden(const struct tp_object *o)
{
	return S_ISREG(o->mode) && !o->gen;
}

/* Showing */

void tp_tree_attr(struct tp_tree *t, const struct tp_object *o, const struct tp_gen *g, struct tp_attr *ret)
{
	*ret = (struct tp_attr){
		.ino = o->node.id,
		.mode = o->mode,
		.nlink = o->nlink,
		.uid = o->uid,
		.gid = o->gid,
		.atime_ns = o->atime_ns,
		.mtime_ns = S_ISREG(o->mode) ? o->ctime_ns : o->mtime_ns,
		.ctime_ns = o->ctime_ns,
	};
	if (S_ISDIR(o->mode)) {
		ret->nlink = o->names || o == t->root ? 2 + o->dir->subdirs : 0;
		ret->size = o->dir->names;
	} else if (S_ISLNK(o->mode)) {
		ret->size = strlen(o->target);
	} else if (S_ISREG(o->mode) && g) {
		/* What is only promised shows what it will start from. */
		const struct tp_gen *content = g->state == TP_GEN_RESERVED && o->gen ? o->gen : g;
		TP_RDLOCK(tp_tree_map_lock(t, content));

		ret->size = content->size;
		ret->blocks = (tp_map_bytes(&content->map) + 511) / 512;
		ret->mtime_ns = content->mtime_ns;
	} else if (!S_ISREG(o->mode)) {
		ret->rdev = o->rdev;
	}
}

/*
 * A file that is written changes without the kernel's doing. A directory does not: the publication of a draft is none of its changes, so that the kernel need not ask for the
 * directory's attributes at each create; where a name goes by itself, the kernel is told.
 */
static bool changes_unseen(const struct tp_gen *g)
{
	return g && g->state != TP_GEN_PUBLISHED && g->state != TP_GEN_OLD;
}

void tp_tree_entry(struct tp_tree *t, struct tp_node *n, struct tp_entry *ret)
{
	struct tp_object *o = tp_tree_object_of(n);
	struct tp_gen *g = tp_node_kind(n) == TP_NODE_GEN ? tp_container(n, struct tp_gen, node) : NULL;

	ret->node = n->id;
	ret->fleeting = g && (o->drafts || g != o->gen);
	ret->changing = changes_unseen(g);
	tp_tree_attr(t, o, g, &ret->attr);
}

void tp_tree_take(struct tp_node *n)
{
	atomic_fetch_add_explicit(&n->kind_and_lookups, 1, memory_order_relaxed);
}

/* The first directory below cache/ on the way to dir, or NULL. */
static struct tp_object *first_directory(struct tp_tree *t, struct tp_object *dir)
{
	struct tp_object *below = NULL;

	for (struct tp_object *o = dir; o && o != t->root; below = o, o = tp_object_parent(o))
		if (o == t->cache)
			return below ? below : o;
	return NULL;
}

int tp_tree_may_name(struct tp_tree *t, uint64_t bytes)
{
	uint64_t max = t->store->options.names_max * TP_NAME_BYTES;
	uint64_t used = atomic_load(&t->names_bytes) + bytes;

	if (max == 0 || bytes == 0 || used <= max)
		return 0;
	if (t->idle_spare == 0 || atomic_load(&t->names_stuck))
		return -ENOSPC;
	/* What is cold is on its way out: until it has gone there may be some more. */
	tp_evictor_look(t->store->evictor);
	return used <= max + max / 8 + NAMES_MORE * TP_NAME_BYTES ? 0 : -ENOSPC;
}

void tp_tree_count_use(struct tp_tree *t, struct tp_object *dir, bool hit)
{
	struct tp_object *first = first_directory(t, dir);

	if (!first)
		return;
	tp_stats_add(&t->store->stats, hit ? TP_STAT_HITS : TP_STAT_MISSES, 1);
	atomic_fetch_add_explicit(hit ? &first->dir->hits : &first->dir->misses, 1, memory_order_relaxed);
}

/*
 * writer_flags: who was sent to look again, to open for writing with these; NULL: it was not. -EAGAIN: only with the lock held exclusively.
 */
static int lookup_locked(struct tp_tree *t, struct tp_who *who, uint64_t parent, const char *name,
	const int *writer_flags, bool exclusive, struct tp_entry *ret)
{
	struct tp_object *dir;
	struct tp_node *n = NULL;
	struct tp_name *at;
	struct tp_gen *g;
	int r = tp_tree_dir(t, parent, &dir);

	if (r < 0)
		return r;
	at = tp_tree_find(t, dir, name, strlen(name));
	if (at && writer_flags)
		tp_tree_expect_writer(t, who, dir, at, *writer_flags);
	if (at)
		n = tp_tree_view(t, who, at->object);
	if (n && tp_gen_expects_unseen(t, at->object, who)) {
		if (!exclusive)
			return -EAGAIN;
		if (tp_gen_reserve(t, who, at->object, &g) == 0)
			n = &g->node;
	}
	if (!n) {
		if (writer_flags)
			tp_tree_expect_none(t, who);
		tp_tree_note_found(t, who, UINT64_MAX);
		tp_tree_count_use(t, dir, false);
		return -ENOENT;
	}
	tp_tree_note_found(t, who, n->id);
	tp_tree_entry(t, n, ret);
	tp_tree_take(n);
	return 0;
}

int tp_tree_lookup(
	struct tp_tree *t, struct tp_who *who, uint64_t parent, const char *name, struct tp_entry *ret)
{
	int flags, r;

	if (strlen(name) > NAME_MAX)
		return -ENAMETOOLONG;
	if (tp_tree_comes_to_write(t, who, &flags)) {
		TP_WRLOCK(&t->lock);
		return lookup_locked(t, who, parent, name, &flags, true, ret);
	}
	{
		TP_RDLOCK(&t->lock);
		r = lookup_locked(t, who, parent, name, NULL, false, ret);
	}
	if (r != -EAGAIN)
		return r;
	TP_WRLOCK(&t->lock);
	return lookup_locked(t, who, parent, name, NULL, true, ret);
}

void tp_tree_forget(struct tp_tree *t, uint64_t node, uint64_t lookups)
{
	struct tp_node *n;

	TP_WRLOCK(&t->lock);
	n = tp_tree_node(t, node);
	if (!n || node < TP_NODE_DYNAMIC_FIRST)
		return;
	if (lookups > tp_node_lookups(n))
		lookups = tp_node_lookups(n);
	atomic_fetch_sub(&n->kind_and_lookups, lookups);
	if (tp_node_lookups(n) > 0)
		return;
	if (tp_node_kind(n) == TP_NODE_GEN)
		tp_tree_settle_gen(t, tp_container(n, struct tp_gen, node));
	else
		tp_tree_settle_object(t, tp_container(n, struct tp_object, node));
}

int tp_tree_getattr(
	struct tp_tree *t, struct tp_who *who, uint64_t node, struct tp_gen *open, struct tp_entry *ret)
{
	struct tp_node *n;

	TP_RDLOCK(&t->lock);
	n = open ? &open->node : tp_tree_node(t, node);
	if (!n)
		return -ESTALE;
	tp_tree_entry(t, n, ret);
	return 0;
}

static bool is_closing(const struct tp_object *o, const struct tp_gen *g)
{
	/* What is listed or removed depends on what is published in it. */
	if (S_ISDIR(o->mode))
		return o->dir->hidden > 0;
	if (!S_ISREG(o->mode))
		return false;
	for (const struct tp_draft *d = o->drafts; d; d = d->next)
		if (d->closing)
			return true;
	return (g && g->draft && g->draft->closing) || (o->gen && o->gen->draft && o->gen->draft->closing);
}

bool tp_tree_is_closing(struct tp_tree *t, uint64_t node, const char *name)
{
	const struct tp_object *o;
	const struct tp_name *at;
	struct tp_node *n;

	if (atomic_load(&t->closing) == 0)
		return false;
	TP_RDLOCK(&t->lock);
	n = tp_tree_node(t, node);
	if (!n)
		return false;
	o = tp_tree_object_of(n);
	if (!name)
		return is_closing(
			o, tp_node_kind(n) == TP_NODE_GEN ? tp_container(n, struct tp_gen, node) : NULL);
	at = tp_tree_find(t, o, name, strlen(name));
	/* What comes new into a stream comes after what was committed before. */
	if (!at)
		return S_ISDIR(o->mode) && o->dir->hidden > 0 && tp_tree_is_stream(t, o);
	return is_closing(at->object, NULL);
}

ssize_t tp_tree_readlink(struct tp_tree *t, uint64_t node, char *buf, size_t len)
{
	struct tp_node *n;
	struct tp_object *o;
	size_t have;

	TP_RDLOCK(&t->lock);
	n = tp_tree_node(t, node);
	if (!n)
		return -ESTALE;
	o = tp_tree_object_of(n);
	if (!S_ISLNK(o->mode))
		return -EINVAL;
	have = strlen(o->target);
	if (have > len)
		have = len;
	memcpy(buf, o->target, have);
	return (ssize_t)have;
}

int tp_tree_opendir(struct tp_tree *t, uint64_t node)
{
	struct tp_node *n;

	TP_RDLOCK(&t->lock);
	n = tp_tree_node(t, node);
	if (!n)
		return -ESTALE;
	return S_ISDIR(tp_tree_object_of(n)->mode) ? 0 : -ENOTDIR;
}

int tp_tree_readdir(struct tp_tree *t, struct tp_who *who, uint64_t node, uint64_t cookie, bool take,
	bool (*each)(
		const char *name, size_t len, uint64_t next_cookie, const struct tp_entry *entry, void *user),
	void *user)
{
	struct tp_object *dir, *parent;
	struct tp_entry entry;
	struct tp_name *n;
	int r;

	TP_RDLOCK(&t->lock);
	r = tp_tree_dir(t, node, &dir);
	if (r < 0)
		return r == -ENOENT ? 0 : r; /* removed while it is open: nothing is in it */
	parent = tp_object_parent(dir) ? tp_object_parent(dir) : t->root;
	for (; cookie < 2; cookie++) {
		tp_tree_entry(t, cookie == 0 ? &dir->node : &parent->node, &entry);
		entry.node = 0;
		if (!each(cookie == 0 ? "." : "..", cookie + 1, cookie + 1, &entry, user))
			return 0;
	}
	for (n = tp_dir_next(dir->dir, cookie); n; n = tp_dir_next(dir->dir, n->cookie)) {
		struct tp_node *seen = tp_tree_view(t, who, n->object);

		if (!seen)
			continue;
		tp_tree_entry(t, seen, &entry);
		if (!take)
			entry.node = 0;
		if (!each(n->bytes, n->len, n->cookie, &entry, user))
			return 0;
		if (take)
			tp_tree_take(seen);
	}
	return 0;
}

/* From the end to the front, and without recursion: a tree may be deeper than a stack. What does not fit is left out in front. */
static size_t path_of(struct tp_tree *t, const struct tp_object *o, char *buf, size_t len)
{
	size_t at = len - 1, used;

	for (const struct tp_name *n = o->names; o != t->root && n; o = n->parent, n = o->names) {
		size_t slash = at < len - 1;

		if (n->len + slash > at)
			break;
		if (slash)
			buf[--at] = '/';
		at -= n->len;
		memcpy(buf + at, n->bytes, n->len);
	}
	used = len - 1 - at;
	memmove(buf, buf + at, used);
	return used;
}

void tp_tree_count(struct tp_tree *t, struct tp_tree_counts *ret)
{
	TP_RDLOCK(&t->lock);
	*ret = (struct tp_tree_counts){
		.objects = t->objects,
		.directories = t->directories,
		.others = t->others,
		.drafts = t->drafts,
		.names = (atomic_load(&t->names_bytes) + TP_NAME_BYTES - 1) / TP_NAME_BYTES,
		.names_spare = t->idle_spare,
	};
}

const char *tp_tree_path(struct tp_tree *t, uint64_t node, char *buf, size_t len)
{
	TP_RDLOCK(&t->lock);
	return tp_tree_path_locked(t, node, buf, len);
}

const char *tp_tree_path_locked(struct tp_tree *t, uint64_t node, char *buf, size_t len)
{
	struct tp_node *n = tp_tree_node(t, node);
	size_t used = n ? path_of(t, tp_tree_object_of(n), buf, len) : 0;

	if (used == 0)
		buf[used++] = node == TP_NODE_ROOT ? '.' : '?';
	buf[used] = 0;
	return buf;
}

static bool may_search(const struct tp_object *dir, const struct tp_who *who)
{
	unsigned shift = who->uid == dir->uid ? 6 : who->gid == dir->gid ? 3 : 0;

	return who->uid == 0 || (dir->mode >> shift & 1);
}

int tp_tree_resolve(struct tp_tree *t, const struct tp_who *who, const char *path, struct tp_attr *ret,
	uint64_t *ret_node)
{
	struct tp_object *o = t->root;

	TP_RDLOCK(&t->lock);
	while (*path) {
		size_t len = strcspn(path, "/");
		struct tp_name *n;

		if (len > 0 && !(len == 1 && *path == '.')) {
			if (!S_ISDIR(o->mode))
				return -ENOTDIR;
			if (!may_search(o, who))
				return -EACCES;
			n = tp_tree_find(t, o, path, len);
			if (!n || tp_tree_hidden(n->object))
				return -ENOENT;
			o = n->object;
		}
		path += len + (path[len] == '/');
	}
	tp_tree_attr(t, o, S_ISREG(o->mode) ? o->gen : NULL, ret);
	*ret_node = S_ISREG(o->mode) ? o->gen->node.id : o->node.id;
	return 0;
}

/* Telling the kernel */

void tp_tree_tell_names(struct tp_tree *t, struct tp_object *o)
{
	if (t->hooks.name_changed)
		for (struct tp_name *n = o->names; n; n = n->next_of_object)
			t->hooks.name_changed(t->hooks.user, n->parent->node.id, n->bytes, n->len);
}

void tp_tree_tell_node(struct tp_tree *t, uint64_t node)
{
	if (t->hooks.node_changed)
		t->hooks.node_changed(t->hooks.user, node, -1, 0);
}

/* The rules in force */

bool tp_tree_in_samples(struct tp_tree *t, const struct tp_object *o)
{
	for (; o; o = tp_object_parent(o))
		if (o == t->samples)
			return true;
	return false;
}

bool tp_tree_is_stream(struct tp_tree *t, const struct tp_object *dir)
{
	return S_ISDIR(dir->mode) && tp_object_parent(dir) == t->samples;
}

enum tp_commit tp_tree_commit_of(struct tp_tree *t, const struct tp_object *parent)
{
	for (const struct tp_object *o = parent; o; o = tp_object_parent(o)) {
		if (o->extra && o->extra->policy.commit)
			return o->extra->policy.commit;
		if (o == t->samples)
			return TP_COMMIT_SUCCESS;
	}
	return TP_COMMIT_CLOSE;
}

bool tp_tree_pinned(struct tp_tree *t, const struct tp_object *o)
{
	for (; o; o = tp_object_parent(o))
		if (o->extra && o->extra->policy.pin >= 0)
			return o->extra->policy.pin;
	return false;
}

uint64_t tp_tree_ttl_of(struct tp_tree *t, const struct tp_object *o)
{
	for (; o; o = tp_object_parent(o))
		if (o->extra && o->extra->policy.ttl_s != TP_POLICY_UNSET)
			return o->extra->policy.ttl_s;
	return 0;
}

uint16_t tp_tree_depth_of(struct tp_tree *t, const struct tp_object *o)
{
	uint32_t depth = 0;

	if (o->extra && o->extra->policy.depth >= 0)
		return (uint16_t)o->extra->policy.depth;
	for (o = tp_object_parent(o); o && o != t->root && o != t->cache; o = tp_object_parent(o)) {
		if (o->extra && o->extra->policy.depth >= 0) {
			depth = (uint32_t)o->extra->policy.depth;
			break;
		}
		depth++;
	}
	return depth > UINT16_MAX ? UINT16_MAX : (uint16_t)depth;
}

bool tp_tree_is_temporary(const struct tp_object *dir, const char *name, size_t len)
{
	return tp_name_is_temporary(name, len, dir->extra ? dir->extra->policy.temp : NULL);
}

bool tp_tree_is_leftover(const struct tp_object *o)
{
	if (!o->sample || !o->names)
		return false;
	for (const struct tp_name *n = o->names; n; n = n->next_of_object)
		if (!tp_tree_is_temporary(n->parent, n->bytes, n->len))
			return false;
	return true;
}

void tp_tree_charge(struct tp_tree *t, struct tp_object *o, int64_t delta_bytes)
{
	if (delta_bytes == 0)
		return;
	atomic_fetch_add_explicit(&o->charged, (uint64_t)delta_bytes, memory_order_relaxed);
	for (struct tp_object *d = tp_object_parent(o); d; d = tp_object_parent(d))
		atomic_fetch_add_explicit(&d->dir->bytes_below, (uint64_t)delta_bytes, memory_order_relaxed);
}

void tp_tree_limit(struct tp_tree *t, struct tp_object *dir, bool limited)
{
	struct tp_list *link = &dir->dir->limited;

	if (limited == !tp_list_empty(link))
		return;
	if (limited)
		tp_list_push_back(&t->limited, link);
	else
		tp_list_remove(link);
	atomic_fetch_add(&t->quotas, limited ? 1 : (uint64_t)-1);
}

struct tp_object *tp_tree_over_quota(struct tp_tree *t, const struct tp_object *o, uint64_t more_bytes)
{
	if (atomic_load_explicit(&t->quotas, memory_order_relaxed) == 0)
		return NULL;
	for (struct tp_object *d = tp_object_parent(o); d; d = tp_object_parent(d))
		if (d->extra && d->extra->policy.quota_bytes &&
			atomic_load_explicit(&d->dir->bytes_below, memory_order_relaxed) + more_bytes >
				d->extra->policy.quota_bytes)
			return d;
	return NULL;
}

/* On the way to the ledger */

/* The most that one change notes, an exchange of two directories. */
#define NAME_BYTES (TP_LEDGER_ENTRY_BYTES + sizeof(struct tp_record_key) + 8)
#define OBJECT_BYTES (TP_LEDGER_ENTRY_BYTES + 8 + TP_RECORD_BYTES_MAX)
#define CHANGE_BYTES (TP_LEDGER_BATCH_BYTES + 6 * NAME_BYTES + 2 * OBJECT_BYTES)

struct tp_tree_room tp_tree_take_room(struct tp_tree *t, bool spare)
{
	struct tp_ledger *l = t->store->ledger;

	return (struct tp_tree_room){
		.tree = t, .error = l ? tp_ledger_promise_now(l, CHANGE_BYTES, spare) : 0, .spare = spare};
}

bool tp_tree_wait_for_room(struct tp_tree_room *room)
{
	if (room->error != -EAGAIN)
		return false;
	room->error = tp_ledger_promise(room->tree->store->ledger, CHANGE_BYTES, room->spare);
	return true;
}

int tp_tree_record_change(struct tp_tree *t, const struct tp_tree_room *room)
{
	return room->noted ? tp_tree_record(t) : 0;
}

void tp_tree_give_room(struct tp_tree_room *room)
{
	if (room->tree->store->ledger && room->error == 0)
		tp_ledger_release(room->tree->store->ledger, CHANGE_BYTES);
}

int tp_tree_may_note(struct tp_tree *t, struct tp_tree_room *room, uint32_t mode)
{
	int r;

	if (!t->store->ledger || S_ISREG(mode))
		return 0;
	if (room->error < 0)
		return room->error;
	room->noted = true;
	TP_LOCK(&t->pending_lock);
	if (!t->pending)
		t->pending = tp_ledger_batch_new();
	if (!t->pending)
		return -ENOMEM;
	r = tp_ledger_batch_reserve(t->pending, CHANGE_BYTES);
	/* So much waits only when the journal takes nothing. */
	return r == -EMSGSIZE ? -ENOSPC : r;
}

void tp_tree_note_dirty(struct tp_tree *t, struct tp_object *dir)
{
	if (tp_list_empty(&dir->dir->dirty))
		tp_list_push_back(&t->dirty, &dir->dir->dirty);
}

static void noted(struct tp_tree *t, int r)
{
	assert(r == 0);
	(void)r;
	atomic_store(&t->pending_any, true);
}

/* Returns the bytes that it took. */
static size_t note_object(struct tp_tree *t, struct tp_object *o)
{
	struct tp_record_key key;
	char value[TP_RECORD_BYTES_MAX];
	size_t len = tp_record_encode(o, value);

	TP_LOCK(&t->pending_lock);
	tp_record_node_key(o->node.id, &key);
	noted(t, tp_ledger_batch_put(t->pending, TP_LEDGER_NODES, key.bytes, key.len, value, len));
	o->recorded = true;
	return TP_LEDGER_ENTRY_BYTES + key.len + len;
}

void tp_tree_note_object(struct tp_tree *t, struct tp_object *o)
{
	/* What lies in memory only is not worth a record: it does not outlive the daemon. */
	if (!t->store->ledger || S_ISREG(o->mode) || o->node.id == TP_NODE_CONTROL)
		return;
	/* Nor is what was removed, and is only open still: nothing would take its record away again. */
	if (o->names || o->node.id < TP_NODE_DYNAMIC_FIRST)
		(void)note_object(t, o);
}

void tp_tree_note_name(struct tp_tree *t, struct tp_name *n, bool gone)
{
	struct tp_record_key key, target;

	if (!t->store->ledger || S_ISREG(n->object->mode))
		return;
	TP_LOCK(&t->pending_lock);
	tp_record_name_key(n->parent->node.id, n->bytes, n->len, &key);
	tp_record_node_key(n->object->node.id, &target);
	noted(t, gone ? tp_ledger_batch_remove(t->pending, TP_LEDGER_NAMES, key.bytes, key.len)
		      : tp_ledger_batch_put(
				t->pending, TP_LEDGER_NAMES, key.bytes, key.len, target.bytes, target.len));
}

void tp_tree_note_gone(struct tp_tree *t, struct tp_object *o)
{
	struct tp_record_key key;

	if (!t->store->ledger || !o->recorded)
		return;
	TP_LOCK(&t->pending_lock);
	tp_record_node_key(o->node.id, &key);
	noted(t, tp_ledger_batch_remove(t->pending, TP_LEDGER_NODES, key.bytes, key.len));
	o->recorded = false;
}

/* Notes as many of the directories whose times changed as there is room for. 1: there are more; 0; or why no more could be noted. */
static int note_some_dirty(struct tp_tree *t, struct tp_tree_room *room)
{
	size_t used = TP_LEDGER_BATCH_BYTES;
	int r = 0;
	TP_WRLOCK(&t->lock);

	while (!tp_list_empty(&t->dirty) && used + OBJECT_BYTES <= CHANGE_BYTES) {
		struct tp_dir *d = tp_container(t->dirty.next, struct tp_dir, dirty);

		r = tp_tree_may_note(t, room, d->self->mode);
		if (r < 0)
			return r;
		tp_list_remove(&d->dirty);
		if (t->store->ledger && d->self->node.id != TP_NODE_CONTROL)
			used += note_object(t, d->self);
	}
	return !tp_list_empty(&t->dirty);
}

int tp_tree_record_dirty(struct tp_tree *t)
{
	int more, r;

	do {
		TP_TREE_ROOM(room, t, true);
		(void)tp_tree_wait_for_room(&room);
		more = note_some_dirty(t, &room);
		r = tp_tree_record(t);
	} while (more > 0 && r == 0);
	return more < 0 ? more : r;
}

/* Takes what is on its way, whole changes only: they are noted under the lock. */
static struct tp_ledger_batch *take_pending(struct tp_tree *t)
{
	TP_RDLOCK(&t->lock);
	TP_LOCK(&t->pending_lock);

	return tp_steal_ptr(t->pending);
}

/* Until then nobody may say that its change is written. */
static void all_recorded(struct tp_tree *t)
{
	TP_LOCK(&t->pending_lock);
	atomic_store(&t->pending_any, t->pending != NULL);
}

static int record_all(struct tp_tree *t)
{
	int r;

	/* Whoever gets here finds its own change written already, or takes it along with those of others, in their order. */
	TP_LOCK(&t->record_lock);
	if (t->unwritten) {
		r = tp_ledger_apply(t->store->ledger, t->unwritten);
		if (r < 0)
			return r;
		tp_ledger_batch_free(tp_steal_ptr(t->unwritten));
	}
	t->unwritten = take_pending(t);
	if (t->unwritten) {
		r = tp_ledger_apply(t->store->ledger, t->unwritten);
		if (r < 0) {
			tp_events_say(t->store->events, "ledger",
				"changes of directories could not be kept so far: %s", strerror(-r));
			return r;
		}
		tp_ledger_batch_free(tp_steal_ptr(t->unwritten));
	}
	all_recorded(t);
	return 0;
}

int tp_tree_record(struct tp_tree *t)
{
	int r;

	if (!t->store->ledger || !atomic_load(&t->pending_any))
		return 0;
	r = record_all(t);
	tp_events_flush(t->store->events);
	return r;
}

int tp_tree_sync(struct tp_tree *t)
{
	int r = tp_tree_record_dirty(t);

	if (r == 0 && t->store->ledger)
		r = tp_ledger_sync(t->store->ledger);
	return r;
}
