/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "store/cleanup.h"

struct tp_worker {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct tp_list jobs; /* lock */
	bool stopping;	     /* lock */
};

static struct tp_job *next_job(struct tp_worker *w)
{
	struct tp_job *j;
	TP_LOCK(&w->lock);

	while (tp_list_empty(&w->jobs) && !w->stopping)
		(void)pthread_cond_wait(&w->wake, &w->lock);
	if (tp_list_empty(&w->jobs))
		return NULL;
	j = tp_container(w->jobs.next, struct tp_job, link);
	tp_list_remove(&j->link);
	return j;
}

static void *run(void *arg)
{
	struct tp_worker *w = arg;
	struct tp_job *j;

	while ((j = next_job(w)))
		j->do_it(j);
	return NULL;
}

int tp_worker_new(struct tp_worker **ret)
{
	struct tp_worker *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	(void)pthread_mutex_init(&w->lock, NULL);
	(void)pthread_cond_init(&w->wake, NULL);
	tp_list_init(&w->jobs);
	r = pthread_create(&w->thread, NULL, run, w);
	if (r) {
		free(w);
		return -r;
	}
	*ret = w;
	return 0;
}

void tp_worker_free(struct tp_worker *w)
{
	if (!w)
		return;
	{
		TP_LOCK(&w->lock);
		w->stopping = true;
		(void)pthread_cond_signal(&w->wake);
	}
	(void)pthread_join(w->thread, NULL);
	(void)pthread_mutex_destroy(&w->lock);
	(void)pthread_cond_destroy(&w->wake);
	free(w);
}

void tp_worker_add(struct tp_worker *w, struct tp_job *j)
{
	TP_LOCK(&w->lock);
	tp_list_push_back(&w->jobs, &j->link);
	(void)pthread_cond_signal(&w->wake);
}
