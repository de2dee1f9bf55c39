/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/preload.h"

#include <stdatomic.h>

#include "fs/ops.h"
#include "store/cleanup.h"
#include "store/file.h"

/* The kernel takes these bytes page by page. A READ of more is as fast, since it gets them in larger ones. */
#define BYTES_MAX (64u << 10)

/* The bytes of one node. */
struct preload {
	struct tp_list link;
	uint64_t node;
};

void tp_preloads_init(struct tp_preloads *p)
{
	(void)pthread_mutex_init(&p->lock, NULL);
	(void)pthread_cond_init(&p->arrived, NULL);
	tp_list_init(&p->on_the_way);
	atomic_init(&p->count, 0);
}

void tp_preloads_fini(struct tp_preloads *p)
{
	(void)pthread_cond_destroy(&p->arrived);
	(void)pthread_mutex_destroy(&p->lock);
}

static void leave(struct tp_preloads *p, struct preload *one)
{
	TP_LOCK(&p->lock);
	tp_list_push_back(&p->on_the_way, &one->link);
	atomic_fetch_add(&p->count, 1);
}

static void arrive(struct tp_preloads *p, struct preload *one)
{
	TP_LOCK(&p->lock);
	tp_list_remove(&one->link);
	atomic_fetch_sub(&p->count, 1);
	(void)pthread_cond_broadcast(&p->arrived);
}

bool tp_preload(struct tp_fs *fs, struct tp_request *r, struct tp_gen *g)
{
	struct preload one = {.node = r->caller.node};
	struct tp_read read;
	bool done = false;

	leave(&fs->preloads, &one);
	if (tp_file_read_small(fs->tree, g, BYTES_MAX, &read)) {
		done = tp_session_store(fs->session, &r->caller, read.iov, read.count + 1) == 0;
		tp_file_read_done(fs->tree, &read);
	}
	/* Others are answered from now on, and may keep it. */
	if (done)
		tp_file_cache_is_new(fs->tree, g);
	arrive(&fs->preloads, &one);
	if (done)
		tp_stats_time(&fs->store->stats.histogram[TP_HIST_COLD_READ],
			tp_mono_ns(fs->store->clock) - r->caller.started_ns);
	return done;
}

static bool is_on_the_way(struct tp_preloads *p, uint64_t node)
{
	for (struct tp_list *e = p->on_the_way.next; e != &p->on_the_way; e = e->next)
		if (tp_container(e, struct preload, link)->node == node)
			return true;
	return false;
}

void tp_preload_await(struct tp_fs *fs, struct tp_request *r, uint64_t node)
{
	struct tp_preloads *p = &fs->preloads;

	if (atomic_load(&p->count) == 0)
		return;
	{
		TP_LOCK(&p->lock);
		if (!is_on_the_way(p, node))
			return;
	}
	tp_request_may_block(r);
	TP_LOCK(&p->lock);
	while (is_on_the_way(p, node))
		(void)pthread_cond_wait(&p->arrived, &p->lock);
}
