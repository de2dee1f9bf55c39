/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "fs/worker.h"
#include "../store/heap.h"

struct job {
	struct tp_job job;
	struct tp_worker *worker;
	unsigned id, more; /* jobs that this one adds when it is done */
};

static unsigned order[1000];
static _Atomic unsigned order_count;
static pthread_t done_by;

static void note(struct tp_job *j)
{
	struct job *job = tp_container(j, struct job, job);

	order[order_count++] = job->id;
	done_by = pthread_self();
	for (unsigned i = 0; i < job->more; i++) {
		struct job *next = malloc(sizeof(*next));

		*next = (struct job){.job = {.do_it = note}, .id = job->id + 1 + i};
		tp_worker_add(job->worker, &next->job);
	}
	free(job);
}

static void add(struct tp_worker *w, unsigned id, unsigned more)
{
	struct job *job = malloc(sizeof(*job));

	*job = (struct job){.job = {.do_it = note}, .worker = w, .id = id, .more = more};
	tp_worker_add(w, &job->job);
}

Test(worker, jobs_are_done_in_order_by_another_thread_and_all_before_it_ends)
{
	struct tp_worker *w;

	cr_assert_eq(tp_worker_new(&w), 0);
	for (unsigned i = 0; i < 500; i++)
		add(w, i, 0);
	tp_worker_free(w);
	cr_assert_eq(order_count, 500);
	for (unsigned i = 0; i < 500; i++)
		cr_assert_eq(order[i], i);
	cr_assert_not(pthread_equal(done_by, pthread_self()));
}

Test(worker, a_job_may_add_jobs_also_while_it_ends)
{
	struct tp_worker *w;

	cr_assert_eq(tp_worker_new(&w), 0);
	add(w, 0, 100);
	tp_worker_free(w);
	cr_assert_eq(order_count, 101);
	for (unsigned i = 0; i <= 100; i++)
		cr_assert_eq(order[i], i);
}

Test(worker, one_without_jobs_ends_and_none_is_allowed)
{
	struct tp_worker *w;

	for (unsigned i = 0; i < 50; i++) {
		cr_assert_eq(tp_worker_new(&w), 0);
		tp_worker_free(w);
	}
	tp_worker_free(NULL);
}

Test(worker, without_memory_there_is_none)
{
	struct tp_worker *w = NULL;

	heap_fail_at(1);
	cr_assert_eq(tp_worker_new(&w), -ENOMEM);
	cr_assert(heap_fail_off());
	cr_assert_null(w);
}

static void *add_many(void *user)
{
	for (unsigned i = 0; i < 200; i++)
		add(user, i, 0);
	return NULL;
}

Test(worker, threads_add_at_once_and_nothing_is_lost)
{
	struct tp_worker *w;
	pthread_t threads[4];
	unsigned sum = 0;

	cr_assert_eq(tp_worker_new(&w), 0);
	for (unsigned i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, add_many, w), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	tp_worker_free(w);
	cr_assert_eq(order_count, 800);
	for (unsigned i = 0; i < 800; i++)
		sum += order[i];
	cr_assert_eq(sum, 4 * 199 * 200 / 2);
}
