/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/wait.h"

#include <errno.h>

#include "store/cleanup.h"
#include "store/clock.h"

void tp_waits_init(struct tp_waits *t)
{
	*t = (struct tp_waits){0};
	(void)pthread_mutex_init(&t->lock, NULL);
	tp_list_init(&t->waits);
}

void tp_waits_fini(struct tp_waits *t)
{
	assert(tp_list_empty(&t->waits));
	(void)pthread_mutex_destroy(&t->lock);
}

int tp_waits_add(struct tp_waits *t, struct tp_wait *w)
{
	TP_LOCK(&t->lock);

	if (t->closed)
		return -EINTR;
	for (unsigned i = 0; i < TP_WAITS_EARLY_MAX; i++) {
		if (t->early[i] == w->caller.unique && w->caller.unique != 0) {
			t->early[i] = 0;
			return -EINTR;
		}
	}
	w->since_ns = tp_mono_ns(tp_clock_system());
	w->waiting = true;
	tp_list_push_back(&t->waits, &w->link);
	return 0;
}

bool tp_waits_take(struct tp_waits *t, struct tp_wait *w)
{
	TP_LOCK(&t->lock);

	if (!w->waiting)
		return false;
	w->waiting = false;
	tp_list_remove(&w->link);
	return true;
}

void tp_waits_each(struct tp_waits *t, void (*each)(const struct tp_wait *w, void *user), void *user)
{
	TP_LOCK(&t->lock);

	tp_list_each (pos, &t->waits)
		each(tp_container(pos, struct tp_wait, link), user);
}

/* Takes the one that is unique out of the table; when it is not there its interrupt is noted for when it comes. */
static struct tp_wait *find(struct tp_waits *t, uint64_t unique)
{
	TP_LOCK(&t->lock);

	tp_list_each (pos, &t->waits) {
		struct tp_wait *w = tp_container(pos, struct tp_wait, link);

		if (w->caller.unique == unique) {
			w->waiting = false;
			tp_list_remove(&w->link);
			return w;
		}
	}
	t->early[t->early_next++ % TP_WAITS_EARLY_MAX] = unique;
	return NULL;
}

void tp_waits_interrupt(struct tp_waits *t, uint64_t unique)
{
	struct tp_wait *w = find(t, unique);

	if (w)
		w->cancel(w);
}

static struct tp_wait *take_first(struct tp_waits *t)
{
	struct tp_wait *w;
	TP_LOCK(&t->lock);

	t->closed = true;
	if (tp_list_empty(&t->waits))
		return NULL;
	w = tp_container(t->waits.next, struct tp_wait, link);
	w->waiting = false;
	tp_list_remove(&w->link);
	return w;
}

void tp_waits_close(struct tp_waits *t)
{
	for (struct tp_wait *w = take_first(t); w; w = take_first(t)) {
		w->ended = true;
		w->cancel(w);
	}
}
