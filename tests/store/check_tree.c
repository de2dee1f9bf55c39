/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that can be reached is first collected into three arrays that are sorted by address. What refers to something that is in none of them is found by that; each kind
 * is then looked at by itself, with counts made from the arrays.
 */
#include "check_tree.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/cleanup.h"
#include "store/file.h"

/* The allocations of a check are not those that a test lets fail. */
void *__real_realloc(void *old, size_t size);

struct seen {
	const struct tp_object *object;
	uint64_t gens, names, hidden, subdirs, charged_below, bytes;
};

struct check {
	struct tp_tree *tree;
	struct seen *objects; /* by address once sorted */
	size_t objects_count, objects_max;
	const struct tp_gen **gens;
	size_t gens_count, gens_max;
	uint64_t directories, others, regular, drafts, quotas, idle_bytes, idle_pinned_bytes, idle_spare,
		names_bytes;
};

static __thread char problem[512];

__attribute__((format(printf, 1, 2))) static const char *say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(problem, sizeof(problem), fmt, ap);
	va_end(ap);
	return problem;
}

#define HOLDS(x, ...)                                                                                        \
	do {                                                                                                 \
		if (!(x))                                                                                    \
			return say("does not hold: " #x ": " __VA_ARGS__);                                   \
	} while (0)
#define GOES_ON(call)                                                                                        \
	do {                                                                                                 \
		const char *why = (call);                                                                    \
		if (why)                                                                                     \
			return why;                                                                          \
	} while (0)

static void add_object(struct check *c, const struct tp_object *o)
{
	if (c->objects_count == c->objects_max) {
		c->objects_max = c->objects_max ? c->objects_max * 2 : 256;
		c->objects = __real_realloc(c->objects, c->objects_max * sizeof(*c->objects));
	}
	c->objects[c->objects_count++] = (struct seen){.object = o};
}

static void add_gen(struct check *c, const struct tp_gen *g)
{
	if (c->gens_count == c->gens_max) {
		c->gens_max = c->gens_max ? c->gens_max * 2 : 256;
		c->gens = __real_realloc(c->gens, c->gens_max * sizeof(*c->gens));
	}
	c->gens[c->gens_count++] = g;
}

static int by_address(const void *a, const void *b)
{
	uintptr_t x = (uintptr_t)((const struct seen *)a)->object,
		  y = (uintptr_t)((const struct seen *)b)->object;

	return (x > y) - (x < y);
}

static struct seen *find(struct check *c, const struct tp_object *o)
{
	struct seen key = {.object = o};

	return bsearch(&key, c->objects, c->objects_count, sizeof(key), by_address);
}

static const char *collect(struct check *c)
{
	const struct tp_tree *t = c->tree;
	size_t to = 0, nodes = 0, names = 0;

	for (size_t i = 0; i <= t->nodes.mask; i++)
		for (struct tp_link *l = t->nodes.buckets[i]; l; l = l->next, nodes++) {
			struct tp_node *n = tp_container(l, struct tp_node, link);

			HOLDS(tp_tree_node(c->tree, n->id) == n, "node %" PRIu64, n->id);
			if (tp_node_kind(n) == TP_NODE_GEN)
				add_gen(c, tp_container(n, struct tp_gen, node));
			add_object(c, tp_tree_object_of(n));
		}
	for (size_t i = 0; i <= t->names.mask; i++)
		for (struct tp_link *l = t->names.buckets[i]; l; l = l->next, names++)
			add_object(c, tp_container(l, struct tp_name, link)->object);
	HOLDS(nodes == t->nodes.count, "%zu, %zu", nodes, t->nodes.count);
	HOLDS(names == t->names.count, "%zu, %zu", names, t->names.count);
	qsort(c->objects, c->objects_count, sizeof(*c->objects), by_address);
	for (size_t i = 0; i < c->objects_count; i++)
		if (to == 0 || c->objects[to - 1].object != c->objects[i].object)
			c->objects[to++] = c->objects[i];
	c->objects_count = to;
	c->names_bytes = names * TP_NAME_BYTES;
	for (size_t i = 0; i < to; i++)
		if (c->objects[i].object->names)
			c->names_bytes += tp_object_extra_bytes(c->objects[i].object);
	return NULL;
}

static bool in_list(const struct tp_list *head, const struct tp_list *e)
{
	tp_list_each (l, head)
		if (l == e)
			return true;
	return false;
}

static const char *check_draft(struct check *c, const struct tp_gen *g)
{
	const struct tp_draft *d = g->draft, *at;
	bool listed = false;

	c->drafts++;
	HOLDS(d->gen == g, "gen %" PRIu64, g->node.id);
	HOLDS(in_list(&c->tree->writing, &d->writing), "gen %" PRIu64, g->node.id);
	for (at = g->object->drafts; at; at = at->next)
		listed |= at == d;
	HOLDS(listed == (g->state == TP_GEN_RESERVED || g->state == TP_GEN_DRAFT), "gen %" PRIu64 " is %s",
		g->node.id, tp_gen_state_name(g));
	HOLDS(d->write_opens <= g->opens, "gen %" PRIu64, g->node.id);
	/* Somebody has to come and settle it. */
	if (g->state == TP_GEN_DRAFT)
		HOLDS(g->opens || g->busy || in_list(&c->tree->awaiting, &d->awaiting), "gen %" PRIu64,
			g->node.id);
	return NULL;
}

static const char *check_gen(struct check *c, const struct tp_gen *g)
{
	struct seen *o = find(c, g->object);
	bool known = tp_node_lookups(&g->node) > 0, old = in_list(&c->tree->old, &g->heat.link);

	HOLDS(S_ISREG(g->object->mode), "gen %" PRIu64, g->node.id);
	o->gens++;
	o->bytes += tp_map_bytes(&g->map) - (g->draft ? g->draft->uncharged_bytes : 0);
	HOLDS(g->direct_opens <= g->opens, "gen %" PRIu64, g->node.id);
	HOLDS(old == (g->state == TP_GEN_OLD && g->superseded && known && !g->opens && !g->busy),
		"gen %" PRIu64 " is %s", g->node.id, tp_gen_state_name(g));
	if (g->draft)
		GOES_ON(check_draft(c, g));
	HOLDS(g->idle == (g->state == TP_GEN_PUBLISHED && !g->opens && !g->busy && tp_heat_holds(&g->heat)),
		"gen %" PRIu64, g->node.id);
	/* Unless it has not heard of it yet. */
	HOLDS(!g->idle || g->pinned == tp_tree_pinned(c->tree, g->object) || !tp_list_empty(&c->tree->ruled),
		"gen %" PRIu64, g->node.id);
	c->idle_bytes += g->idle ? tp_map_bytes(&g->map) : 0;
	c->idle_pinned_bytes += g->idle && g->pinned ? tp_map_bytes(&g->map) : 0;
	c->idle_spare += g->idle && !g->pinned;
	switch ((enum tp_gen_state)g->state) {
	case TP_GEN_RESERVED:
		HOLDS(g->draft && tp_map_pages(&g->map) == 0 && g->opens == 0, "gen %" PRIu64, g->node.id);
		HOLDS(known || in_list(&c->tree->awaiting, &g->draft->awaiting), "gen %" PRIu64, g->node.id);
		break;
	case TP_GEN_DRAFT:
		HOLDS(g->draft, "gen %" PRIu64, g->node.id);
		break;
	case TP_GEN_LIVE:
		HOLDS(g->draft && g->opens, "gen %" PRIu64, g->node.id);
		HOLDS(g->object->gen == g, "gen %" PRIu64, g->node.id);
		break;
	case TP_GEN_PUBLISHED:
		HOLDS(!g->draft && g->object->gen == g, "gen %" PRIu64, g->node.id);
		HOLDS(tp_heat_holds(&g->heat) == (g->object->names && !g->object->sample), "gen %" PRIu64,
			g->node.id);
		break;
	case TP_GEN_OLD:
		HOLDS(g->opens || g->busy || old, "gen %" PRIu64, g->node.id);
		break;
	case TP_GEN_GONE:
		HOLDS(tp_map_pages(&g->map) == 0 && known && !g->draft, "gen %" PRIu64, g->node.id);
		break;
	}
	return NULL;
}

static const char *check_name(struct check *c, struct tp_name *n)
{
	struct seen *parent = find(c, n->parent);
	bool listed = false;

	HOLDS(parent && S_ISDIR(parent->object->mode), "%.*s", n->len, n->bytes);
	HOLDS(tp_tree_find(c->tree, n->parent, n->bytes, n->len) == n, "%.*s", n->len, n->bytes);
	for (const struct tp_name *at = n->object->names; at; at = at->next_of_object)
		listed |= at == n;
	HOLDS(listed, "%.*s", n->len, n->bytes);
	HOLDS(tp_dir_next(n->parent->dir, n->cookie - 1) == n, "%.*s", n->len, n->bytes);
	HOLDS(n->cookie < n->parent->dir->next_cookie, "%.*s", n->len, n->bytes);
	parent->names++;
	parent->hidden += tp_tree_hidden(n->object);
	parent->subdirs += S_ISDIR(n->object->mode);
	return NULL;
}

static const char *check_names(struct check *c)
{
	const struct tp_table *names = &c->tree->names;

	for (size_t i = 0; i <= names->mask; i++)
		for (struct tp_link *l = names->buckets[i]; l; l = l->next)
			GOES_ON(check_name(c, tp_container(l, struct tp_name, link)));
	return NULL;
}

static const char *check_regular(struct check *c, const struct seen *s)
{
	const struct tp_object *o = s->object;
	uint32_t nlink = 0;

	for (const struct tp_name *n = o->names; n; n = n->next_of_object) {
		HOLDS(n->object == o, "%.*s", n->len, n->bytes);
		nlink++;
	}
	HOLDS(o->nlink == nlink, "inode %" PRIu64 ": %u, %u", o->node.id, o->nlink, nlink);
	if (!S_ISREG(o->mode))
		return NULL;
	c->regular += nlink > 0;
	HOLDS(o->gens == s->gens, "inode %" PRIu64 ": %u, %" PRIu64, o->node.id, o->gens, s->gens);
	HOLDS(o->gens > 0, "inode %" PRIu64, o->node.id);
	HOLDS(!nlink || o->gen || o->drafts, "inode %" PRIu64 ": its names stand for nothing", o->node.id);
	HOLDS(!o->gen || o->gen->object == o, "inode %" PRIu64, o->node.id);
	if (nlink || o->unnamed)
		HOLDS(o->charged == s->bytes, "inode %" PRIu64 ": %" PRIu64 ", %" PRIu64, o->node.id,
			atomic_load(&o->charged), s->bytes);
	for (const struct tp_object *d = tp_object_parent(o); d; d = tp_object_parent(d))
		find(c, d)->charged_below += o->charged;
	return NULL;
}

static const char *check_dir(struct check *c, const struct seen *s)
{
	const struct tp_object *o = s->object;
	const struct tp_dir *d = o->dir;
	uint64_t names = 0;

	HOLDS(d->self == o, "directory %" PRIu64, o->node.id);
	HOLDS(d->names == s->names, "directory %" PRIu64 ": %u, %" PRIu64, o->node.id, d->names, s->names);
	HOLDS(d->hidden == s->hidden, "directory %" PRIu64 ": %u, %" PRIu64, o->node.id, d->hidden,
		s->hidden);
	HOLDS(d->subdirs == s->subdirs, "directory %" PRIu64 ": %u, %" PRIu64, o->node.id, d->subdirs,
		s->subdirs);
	HOLDS(d->bytes_below == s->charged_below, "directory %" PRIu64 ": %" PRIu64 ", %" PRIu64, o->node.id,
		atomic_load(&d->bytes_below), s->charged_below);
	for (struct tp_name *n = tp_dir_next(d, 0); n; n = tp_dir_next(d, n->cookie)) {
		HOLDS(n->parent == o, "%.*s", n->len, n->bytes);
		names++;
	}
	HOLDS(names == d->names, "directory %" PRIu64, o->node.id);
	HOLDS(!o->names || !o->names->next_of_object, "directory %" PRIu64, o->node.id);
	HOLDS(o->names || o == c->tree->root || (tp_node_lookups(&o->node) > 0 && d->names == 0),
		"directory %" PRIu64, o->node.id);
	c->directories += o->names != NULL;
	HOLDS(in_list(&c->tree->limited, &d->limited) ==
			(o->names && o->extra && o->extra->policy.quota_bytes),
		"directory %" PRIu64, o->node.id);
	c->quotas += !tp_list_empty(&d->limited);
	return NULL;
}

static const char *check_objects(struct check *c)
{
	for (size_t i = 0; i < c->objects_count; i++)
		if (!S_ISDIR(c->objects[i].object->mode))
			GOES_ON(check_regular(c, &c->objects[i]));
	for (size_t i = 0; i < c->objects_count; i++) {
		const struct tp_object *o = c->objects[i].object;

		if (S_ISDIR(o->mode))
			GOES_ON(check_dir(c, &c->objects[i]));
		else if (!S_ISREG(o->mode))
			c->others += o->names != NULL;
	}
	return NULL;
}

static const char *check_counts(struct check *c)
{
	struct tp_tree *t = c->tree;
	uint64_t writing = 0, old_bytes = 0;

	tp_list_each (l, &t->writing)
		writing++;
	tp_list_each (l, &t->old)
		old_bytes += tp_map_bytes(&tp_container(l, struct tp_gen, heat.link)->map);
	HOLDS(t->objects == c->regular, "%" PRIu64 ", %" PRIu64, t->objects, c->regular);
	HOLDS(t->directories == c->directories, "%" PRIu64 ", %" PRIu64, t->directories, c->directories);
	HOLDS(t->others == c->others, "%" PRIu64 ", %" PRIu64, t->others, c->others);
	HOLDS(t->drafts == c->drafts && writing == c->drafts, "%" PRIu64 ", %" PRIu64 ", %" PRIu64, t->drafts,
		writing, c->drafts);
	HOLDS(t->quotas == c->quotas, "%" PRIu64 ", %" PRIu64, atomic_load(&t->quotas), c->quotas);
	HOLDS(t->old_bytes == old_bytes, "%" PRIu64 ", %" PRIu64, atomic_load(&t->old_bytes), old_bytes);
	HOLDS(t->idle_spare == c->idle_spare, "%" PRIu64 ", %" PRIu64, t->idle_spare, c->idle_spare);
	HOLDS(atomic_load(&t->names_bytes) == c->names_bytes, "%" PRIu64 ", %" PRIu64,
		atomic_load(&t->names_bytes), c->names_bytes);
	HOLDS(t->idle_bytes == c->idle_bytes, "%" PRIu64 ", %" PRIu64, t->idle_bytes, c->idle_bytes);
	HOLDS(t->idle_pinned_bytes == c->idle_pinned_bytes, "%" PRIu64 ", %" PRIu64, t->idle_pinned_bytes,
		c->idle_pinned_bytes);
	tp_list_each (l, &t->dirty)
		HOLDS(find(c, tp_container(l, struct tp_dir, dirty)->self), "a directory that is gone");
	tp_list_each (l, &t->ruled)
		HOLDS(find(c, tp_container(l, struct tp_dir, ruled)->self), "a directory that is gone");
	return NULL;
}

static const char *check(struct check *c)
{
	GOES_ON(collect(c));
	for (size_t i = 0; i < c->gens_count; i++)
		GOES_ON(check_gen(c, c->gens[i]));
	GOES_ON(check_names(c));
	GOES_ON(check_objects(c));
	return check_counts(c);
}

const char *check_tree(struct tp_tree *t)
{
	struct check c = {.tree = t};
	const char *why;
	TP_WRLOCK(&t->lock);

	why = check(&c);
	free(c.objects);
	free(c.gens);
	return why;
}
