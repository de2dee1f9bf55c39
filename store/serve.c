/* SPDX-License-Identifier: Apache-2.0 */
#include "store/serve.h"

#include <errno.h>
#include <string.h>

#include "store/cleanup.h"
#include "store/file.h"
#include "store/tree.h"

struct tp_pin {
	struct tp_gen *gen; /* is busy */
	struct tp_map map;  /* its content, as it was */
};

/* The visible generation of the file at that path, or NULL. With t->lock held. */
static struct tp_gen *find(struct tp_tree *t, const char *path, size_t len)
{
	const struct tp_object *o = t->cache;

	for (;;) {
		const char *slash = memchr(path, '/', len);
		size_t here = slash ? (size_t)(slash - path) : len;
		const struct tp_name *n = tp_tree_find(t, o, path, here);

		if (!n)
			return NULL;
		o = n->object;
		if (!slash)
			return S_ISREG(o->mode) ? o->gen : NULL;
		path += here + 1;
		len -= here + 1;
	}
}

static int pin(void *user, const void *name, size_t name_len, uint64_t generation, struct tp_pin **ret,
	struct tp_pin_info *ret_info)
{
	struct tp_tree *t = user;
	tp_autofree struct tp_pin *p = malloc(sizeof(*p));
	struct tp_gen *g;
	int r;
	TP_WRLOCK(&t->lock);

	if (!p)
		return -ENOMEM;
	g = find(t, name, name_len);
	if (!g)
		return -ENOENT;
	/* Without a number it was published after the ledger had failed. */
	if (g->state != TP_GEN_PUBLISHED || !g->number)
		return -EBUSY;
	if (generation && generation != g->number)
		return -ESTALE;
	{
		TP_RDLOCK(tp_tree_map_lock(t, g));
		r = tp_map_clone(&g->map, &p->map);
		if (r < 0)
			return r;
		*ret_info = (struct tp_pin_info){.generation = g->number,
			.size_bytes = g->size,
			.mode = g->object->mode,
			.uid = g->object->uid,
			.gid = g->object->gid};
	}
	p->gen = g;
	tp_gen_hold(t, g);
	if (tp_heat_holds(&g->heat))
		tp_heat_touch(t->heat, &g->heat);
	*ret = tp_steal_ptr(p);
	return 0;
}

static void pin_read(void *user, const struct tp_pin *p, uint64_t offset, size_t len, struct iovec *iov,
	unsigned iov_max, unsigned *ret_count, size_t *ret_len)
{
	struct tp_tree *t = user;

	tp_map_read(&p->map, t->store->pool, offset, len, iov, iov_max, ret_count, ret_len);
}

static void unpin(void *user, struct tp_pin *p)
{
	struct tp_tree *t = user;

	/* Before the generation may go, so that whoever waits for its room finds it. */
	tp_map_fini(&p->map, t->store->pool);
	{
		TP_WRLOCK(&t->lock);
		tp_gen_let_go(t, p->gen);
	}
	free(p);
}

void tp_tree_serve(struct tp_tree *t, struct tp_serve *ret)
{
	*ret = (struct tp_serve){.pin = pin, .read = pin_read, .unpin = unpin, .user = t};
}
