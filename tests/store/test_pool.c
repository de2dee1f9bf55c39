/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "heap.h"
#include "store/pool.h"

#define MIB (UINT64_C(1) << 20)

static struct tp_pool *pool_of(uint64_t size_bytes)
{
	struct tp_pool_options options = {.size_bytes = size_bytes, .hugepages = TP_HUGEPAGES_OFF};
	struct tp_pool *p = NULL;
	struct tp_err err;

	cr_assert_eq(tp_pool_new(&options, &err, &p), 0);
	return p;
}

static struct tp_pool_usage usage_of(struct tp_pool *p)
{
	struct tp_pool_usage u;

	tp_pool_usage(p, &u);
	return u;
}

/* Files on tmpfs without a name, so that nothing is left of a test that crashes. */
struct files {
	char path[3][64];
	const char *paths[4];
	int fd[3];
};

static void files_init(struct files *f, unsigned count, uint64_t size_bytes)
{
	memset(f, 0, sizeof(*f));
	for (unsigned i = 0; i < count; i++) {
		f->fd[i] = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		cr_assert_geq(f->fd[i], 0);
		cr_assert_eq(ftruncate(f->fd[i], (off_t)size_bytes), 0);
		snprintf(f->path[i], sizeof(f->path[i]), "/proc/self/fd/%d", f->fd[i]);
		f->paths[i] = f->path[i];
	}
}

static void files_fini(struct files *f)
{
	for (unsigned i = 0; f->paths[i]; i++)
		close(f->fd[i]);
}

Test(pool, pages_come_in_one_run_and_hold_what_is_written)
{
	struct tp_pool *p = pool_of(4 * MIB + 100);
	struct tp_run run;
	unsigned runs;

	cr_assert_eq(tp_pool_size_pages(p), 1024);
	cr_assert_eq(tp_pool_get(p, 256, &run, 1, &runs), 0);
	cr_assert_eq(runs, 1);
	cr_assert_gt(run.page, 0);
	cr_assert_eq(run.pages, 256);
	cr_assert_eq(tp_pool_free_pages(p), 768);
	memset(tp_pool_at(p, run.page), 0x5a, MIB);
	cr_assert_eq(((unsigned char *)tp_pool_at(p, run.page + 255))[4095], 0x5a);
	tp_pool_put(p, run.page, 256);
	cr_assert_eq(tp_pool_free_pages(p), 1024);
	cr_assert_eq(tp_pool_double_frees(p), 0);
	tp_pool_free(p);
}

Test(pool, a_full_pool_says_nospace_and_takes_nothing)
{
	struct tp_pool *p = pool_of(MIB);
	struct tp_run run, more;
	uint64_t slot;
	unsigned runs;

	cr_assert_eq(tp_pool_get(p, 257, &run, 1, &runs), -ENOSPC);
	cr_assert_eq(tp_pool_get(p, 256, &run, 1, &runs), 0);
	cr_assert_eq(tp_pool_get(p, 1, &more, 1, &runs), -ENOSPC);
	cr_assert_eq(tp_pool_get_slot(p, 64, &slot), -ENOSPC);
	tp_pool_put(p, run.page + 100, 1);
	cr_assert_eq(tp_pool_get_slot(p, 64, &slot), 0);
	cr_assert_eq(slot / 64, run.page + 100);
	tp_pool_put_slot(p, slot, 64);
	cr_assert_eq(tp_pool_get(p, 1, &more, 1, &runs), 0);
	cr_assert_eq(more.page, run.page + 100);
	tp_pool_free(p);
}

Test(pool, scattered_pages_are_found_when_no_run_is_long_enough)
{
	struct tp_pool *p = pool_of(MIB);
	struct tp_run run, runs[128];
	unsigned count;

	cr_assert_eq(tp_pool_get(p, 256, &run, 1, &count), 0);
	/* Every second page, and eight in a row. */
	for (uint32_t i = 0; i < 128; i += 2)
		tp_pool_put(p, run.page + i, 1);
	tp_pool_put(p, run.page + 200, 8);
	cr_assert_eq(tp_pool_free_pages(p), 72);
	cr_assert_eq(tp_pool_get(p, 10, runs, 1, &count), -ENOSPC);
	cr_assert_eq(tp_pool_get(p, 10, runs, 2, &count), -ENOSPC);
	cr_assert_eq(tp_pool_free_pages(p), 72);
	cr_assert_eq(tp_pool_get(p, 10, runs, 3, &count), 0);
	cr_assert_eq(count, 3);
	cr_assert_eq(runs[0].pages, 8);
	for (unsigned i = 0; i < count; i++)
		tp_pool_put(p, runs[i].page, runs[i].pages);
	cr_assert_eq(tp_pool_get(p, 72, runs, 128, &count), 0);
	cr_assert_eq(count, 65);
	cr_assert_eq(tp_pool_free_pages(p), 0);
	cr_assert_eq(tp_pool_double_frees(p), 0);
	tp_pool_free(p);
}

Test(pool, a_run_that_was_looked_for_in_vain_is_found_once_it_is_there)
{
	struct tp_pool *p = pool_of(MIB);
	struct tp_run run, found;
	unsigned count;

	cr_assert_eq(tp_pool_get(p, 256, &run, 1, &count), 0);
	for (uint32_t i = 0; i < 20; i++)
		if (i != 7)
			tp_pool_put(p, run.page + 30 + i, 1);
	cr_assert_eq(tp_pool_get(p, 19, &found, 1, &count), -ENOSPC);
	cr_assert_eq(tp_pool_get(p, 13, &found, 1, &count), -ENOSPC);
	tp_pool_put(p, run.page + 37, 1);
	cr_assert_eq(tp_pool_get(p, 20, &found, 1, &count), 0);
	cr_assert_eq(found.page, run.page + 30);
	tp_pool_free(p);
}

Test(pool, giving_back_twice_is_harmless_and_counted)
{
	struct tp_pool *p = pool_of(MIB);
	struct tp_run run;
	uint64_t slot, other;
	unsigned count;

	cr_assert_eq(tp_pool_get(p, 8, &run, 1, &count), 0);
	tp_pool_put(p, run.page + 2, 2);
	tp_pool_put(p, run.page, 8);
	cr_assert_eq(tp_pool_double_frees(p), 2);
	cr_assert_eq(tp_pool_free_pages(p), 256);

	cr_assert_eq(tp_pool_get_slot(p, 100, &slot), 0);
	cr_assert_eq(tp_pool_get_slot(p, 100, &other), 0);
	tp_pool_put_slot(p, slot, 100);
	tp_pool_put_slot(p, slot, 100);
	cr_assert_eq(tp_pool_double_frees(p), 3);
	/* A page that is cut into slots cannot be given back as a page. */
	tp_pool_put(p, (uint32_t)(other / 64), 1);
	cr_assert_eq(tp_pool_double_frees(p), 4);
	tp_pool_put_slot(p, other, 100);
	tp_pool_put_slot(p, other, 100);
	cr_assert_eq(tp_pool_double_frees(p), 5);
	cr_assert_eq(tp_pool_free_pages(p), 256);
	cr_assert_eq(usage_of(p).slot_bytes, 0);
	cr_assert_eq(usage_of(p).slot_page_bytes, 0);
	tp_pool_free(p);
}

struct taken {
	uint64_t slot;
	uint32_t bytes;
	unsigned char mark;
};

static void slot_take(struct tp_pool *p, struct taken *t, uint32_t bytes, unsigned char mark)
{
	*t = (struct taken){.bytes = bytes, .mark = mark};
	cr_assert_eq(tp_pool_get_slot(p, bytes, &t->slot), 0);
	memset(tp_pool_slot_at(p, t->slot), mark, bytes);
}

static void slot_drop(struct tp_pool *p, const struct taken *t)
{
	const unsigned char *at = tp_pool_slot_at(p, t->slot);

	for (uint32_t i = 0; i < t->bytes; i++)
		cr_assert_eq(at[i], t->mark);
	tp_pool_put_slot(p, t->slot, t->bytes);
}

static double waste(struct tp_pool *p, const struct taken *t, unsigned count)
{
	uint64_t asked = 0;

	for (unsigned i = 0; i < count; i++)
		asked += t[i].bytes;
	return (double)usage_of(p).slot_page_bytes / (double)asked - 1;
}

Test(pool, mixed_small_objects_waste_an_eighth_at_most)
{
	static struct taken t[20000];
	struct tp_pool *p = pool_of(64 * MIB);
	unsigned count = sizeof(t) / sizeof(t[0]), seed = 7;

	for (unsigned i = 0; i < count; i++)
		slot_take(p, &t[i], 1 + (uint32_t)rand_r(&seed) % TP_SLOT_BYTES_MAX, (unsigned char)i);
	cr_log_info("waste when filled: %.3f", waste(p, t, count));
	cr_assert_lt(waste(p, t, count), 0.125);
	for (unsigned i = 0; i < 10 * count; i++) {
		struct taken *one = &t[(unsigned)rand_r(&seed) % count];

		slot_drop(p, one);
		slot_take(p, one, 1 + (uint32_t)rand_r(&seed) % TP_SLOT_BYTES_MAX, (unsigned char)i);
	}
	cr_log_info("waste after changes: %.3f", waste(p, t, count));
	cr_assert_lt(waste(p, t, count), 0.125);
	for (unsigned i = 0; i < count; i++)
		slot_drop(p, &t[i]);
	cr_assert_eq(tp_pool_free_pages(p), tp_pool_size_pages(p));
	cr_assert_eq(tp_pool_double_frees(p), 0);
	tp_pool_free(p);
}

Test(pool, objects_of_one_size_waste_an_eighth_on_average)
{
	static struct taken t[1000];
	struct tp_pool *p = pool_of(16 * MIB);
	double sum = 0, worst = 0;
	unsigned sizes = 0;

	for (uint32_t bytes = 64; bytes <= TP_SLOT_BYTES_MAX; bytes += 64, sizes++) {
		double w;

		for (unsigned i = 0; i < 1000; i++)
			slot_take(p, &t[i], bytes, (unsigned char)i);
		w = waste(p, t, 1000);
		sum += w;
		worst = w > worst ? w : worst;
		for (unsigned i = 0; i < 1000; i++)
			slot_drop(p, &t[i]);
	}
	cr_log_info("waste on average %.3f, at worst %.3f", sum / sizes, worst);
	cr_assert_lt(sum / sizes, 0.125);
	cr_assert_lt(worst, 0.25);
	tp_pool_free(p);
}

Test(pool, slots_are_cut_from_single_pages_when_no_four_are_in_a_row)
{
	struct tp_pool *p = pool_of(MIB);
	struct taken t[128];
	struct tp_run run;
	unsigned count;

	cr_assert_eq(tp_pool_get(p, 256, &run, 1, &count), 0);
	for (uint32_t i = 0; i < 256; i += 2)
		tp_pool_put(p, run.page + i, 1);
	for (unsigned i = 0; i < 128; i++)
		slot_take(p, &t[i], TP_SLOT_BYTES_MAX, (unsigned char)i);
	cr_assert_eq(tp_pool_free_pages(p), 0);
	for (unsigned i = 0; i < 128; i++)
		slot_drop(p, &t[i]);
	cr_assert_eq(tp_pool_free_pages(p), 128);
	tp_pool_free(p);
}

Test(pool, several_files_are_used_one_run_never_crosses_them)
{
	struct tp_pool_options options = {.hugepages = TP_HUGEPAGES_OFF};
	struct tp_run runs[16];
	struct tp_pool *p;
	struct tp_err err;
	struct files f;
	unsigned count;

	files_init(&f, 3, 64 * 4096);
	options.paths = f.paths;
	cr_assert_eq(tp_pool_new(&options, &err, &p), 0, "%s", err.text);
	cr_assert_eq(tp_pool_size_pages(p), 192);
	cr_assert_eq(usage_of(p).arenas, 3);
	cr_assert_eq(tp_pool_get(p, 65, runs, 1, &count), -ENOSPC);
	cr_assert_eq(tp_pool_get(p, 150, runs, 16, &count), 0);
	cr_assert_eq(count, 3);
	for (unsigned i = 0; i < count; i++) {
		memset(tp_pool_at(p, runs[i].page), 1, (size_t)runs[i].pages * 4096);
		for (unsigned k = 0; k < count; k++)
			cr_assert_neq(runs[i].page + runs[i].pages, runs[k].page);
	}
	for (unsigned i = 0; i < count; i++)
		tp_pool_put(p, runs[i].page, runs[i].pages);
	cr_assert_eq(tp_pool_free_pages(p), 192);
	tp_pool_free(p);
	files_fini(&f);
}

Test(pool, scattered_pages_of_one_arena_are_taken_before_several_arenas_are)
{
	struct tp_pool_options options = {.hugepages = TP_HUGEPAGES_OFF};
	struct tp_run first, second, runs[64];
	struct tp_pool *p;
	struct files f;
	unsigned count;

	files_init(&f, 2, 64 * 4096);
	options.paths = f.paths;
	cr_assert_eq(tp_pool_new(&options, NULL, &p), 0);
	cr_assert_eq(tp_pool_get(p, 64, &first, 1, &count), 0);
	cr_assert_eq(tp_pool_get(p, 64, &second, 1, &count), 0);
	tp_pool_put(p, first.page + 10, 3);
	for (uint32_t i = 0; i < 20; i += 2)
		tp_pool_put(p, second.page + i, 1);
	cr_assert_eq(tp_pool_get(p, 6, runs, 64, &count), 0);
	cr_assert_eq(count, 6);
	for (unsigned i = 0; i < count; i++)
		cr_assert_geq(runs[i].page, second.page);
	tp_pool_free(p);
	files_fini(&f);
}

Test(pool, files_share_the_size_and_are_made_longer)
{
	struct tp_pool_options options = {.size_bytes = 8 * MIB, .hugepages = TP_HUGEPAGES_TRY};
	struct tp_pool *p, *other;
	struct tp_err err;
	struct files f;
	struct stat st;

	files_init(&f, 2, 0);
	options.paths = f.paths;
	cr_assert_eq(tp_pool_new(&options, &err, &p), 0, "%s", err.text);
	cr_assert_eq(tp_pool_size_pages(p), 2048);
	cr_assert_eq(stat(f.path[1], &st), 0);
	cr_assert_eq(st.st_size, 4 * MIB);
	cr_assert_eq(tp_pool_new(&options, &err, &other), -EBUSY);
	cr_assert_not_null(strstr(err.text, "in use"));
	tp_pool_free(p);
	files_fini(&f);
}

static void refuses(
	const char *path, uint64_t size_bytes, enum tp_hugepages hugepages, int expected, const char *text)
{
	const char *paths[] = {path, NULL};
	struct tp_pool_options options = {
		.size_bytes = size_bytes, .paths = path ? paths : NULL, .hugepages = hugepages};
	struct tp_pool *p = NULL;
	struct tp_err err = {.text = ""};

	cr_assert_eq(tp_pool_new(&options, &err, &p), expected);
	cr_assert_not_null(strstr(err.text, text), "'%s' is not in '%s'", text, err.text);
	cr_assert_null(p);
}

Test(pool, what_cannot_back_a_pool_is_refused_with_a_sentence)
{
	struct files f;

	files_init(&f, 1, 0);
	refuses(NULL, 4095, TP_HUGEPAGES_TRY, -EINVAL, "at least 4096");
	refuses(NULL, UINT64_MAX, TP_HUGEPAGES_TRY, -EINVAL, "too large");
	refuses("/dev/shm/no-such-file", 0, TP_HUGEPAGES_TRY, -ENOENT, "'/dev/shm/no-such-file'");
	refuses("/dev/shm", 0, TP_HUGEPAGES_TRY, -EISDIR, "'/dev/shm'");
	refuses("/dev/null", 0, TP_HUGEPAGES_TRY, -EINVAL, "'/dev/null' is not a regular file");
	refuses(f.path[0], 0, TP_HUGEPAGES_TRY, -EINVAL, "less than one page");
	refuses(f.path[0], 4096, TP_HUGEPAGES_REQUIRE, -EINVAL, "not on hugetlbfs");
	refuses(f.path[0], UINT64_C(1) << 60, TP_HUGEPAGES_OFF, -ENOSPC, "no room");
	/* More huge pages than any machine has. */
	refuses(NULL, UINT64_C(1) << 45, TP_HUGEPAGES_REQUIRE, -ENOMEM, "huge pages are required");
	files_fini(&f);
}

Test(pool, an_allocation_that_fails_while_it_is_made_leaves_nothing_behind)
{
	struct tp_pool_options options = {.size_bytes = MIB, .prefault = true};
	unsigned n;

	for (n = 1; n < 100; n++) {
		struct tp_pool *p = NULL;
		int r;

		heap_fail_at(n);
		r = tp_pool_new(&options, NULL, &p);
		if (!heap_fail_off()) {
			cr_assert_eq(r, 0);
			tp_pool_free(p);
			break;
		}
		cr_assert_eq(r, -ENOMEM);
		cr_assert_null(p);
	}
	cr_assert_gt(n, 3);
	cr_assert_lt(n, 100);
}

Test(pool, all_pages_get_touched_in_the_background_and_keep_their_bytes)
{
	struct tp_pool_options options = {.size_bytes = 32 * MIB, .prefault = true};
	unsigned char resident[8192];
	struct tp_pool *p;
	struct tp_run run;
	unsigned count;

	cr_assert_eq(tp_pool_new(&options, NULL, &p), 0);
	cr_assert_eq(tp_pool_get(p, 8192, &run, 1, &count), 0);
	for (uint32_t i = 0; i < 8192; i += 7)
		memset(tp_pool_at(p, run.page + i), 0xc3, 4096);
	while (usage_of(p).prefaulted_bytes < 32 * MIB)
		sched_yield();
	for (uint32_t i = 0; i < 8192; i++) {
		const unsigned char *at = tp_pool_at(p, run.page + i);

		cr_assert_eq(at[0], i % 7 ? 0 : 0xc3);
		cr_assert_eq(at[4095], i % 7 ? 0 : 0xc3);
	}
	cr_assert_eq(mincore(tp_pool_at(p, run.page), 32 * MIB, resident), 0);
	for (uint32_t i = 0; i < 8192; i++)
		cr_assert(resident[i] & 1);
	tp_pool_free(p);
}

Test(pool, freeing_does_not_wait_for_the_rest_to_be_touched)
{
	struct tp_pool_options options = {.size_bytes = UINT64_C(1) << 36, .prefault = true};
	struct tp_pool *p;

	/* It would take a minute, or all memory. */
	cr_assert_eq(tp_pool_new(&options, NULL, &p), 0);
	tp_pool_free(p);
}

/* Threads that take and give at the same time never hold the same bytes. */
struct worker {
	pthread_t thread;
	struct tp_pool *pool;
	unsigned id;
};

static void stamp(struct tp_pool *p, const struct tp_run *runs, unsigned count, uint32_t mark, bool check)
{
	for (unsigned i = 0; i < count; i++) {
		for (uint32_t j = 0; j < runs[i].pages; j++) {
			uint32_t *at = tp_pool_at(p, runs[i].page + j);

			if (check)
				cr_assert(at[0] == mark && at[1023] == mark);
			at[0] = at[1023] = mark;
		}
	}
}

static void *work(void *user)
{
	struct worker *w = user;
	struct tp_run runs[16][32];
	unsigned count[16] = {0}, seed = w->id;
	struct taken slots[16] = {0};

	for (unsigned i = 0; i < 20000; i++) {
		unsigned k = (unsigned)rand_r(&seed) % 16;
		uint32_t pages = 1 + (uint32_t)rand_r(&seed) % (i % 8 ? 3 : 120);

		stamp(w->pool, runs[k], count[k], w->id, true);
		for (unsigned j = 0; j < count[k]; j++)
			tp_pool_put(w->pool, runs[k][j].page, runs[k][j].pages);
		count[k] = 0;
		if (tp_pool_get(w->pool, pages, runs[k], 32, &count[k]) == 0)
			stamp(w->pool, runs[k], count[k], w->id, false);
		if (slots[k].slot)
			slot_drop(w->pool, &slots[k]);
		slots[k] = (struct taken){.bytes = 1 + (uint32_t)rand_r(&seed) % TP_SLOT_BYTES_MAX,
			.mark = (unsigned char)w->id};
		if (tp_pool_get_slot(w->pool, slots[k].bytes, &slots[k].slot) == 0)
			memset(tp_pool_slot_at(w->pool, slots[k].slot), (int)w->id, slots[k].bytes);
		else
			slots[k].slot = 0;
	}
	for (unsigned k = 0; k < 16; k++) {
		for (unsigned j = 0; j < count[k]; j++)
			tp_pool_put(w->pool, runs[k][j].page, runs[k][j].pages);
		if (slots[k].slot)
			slot_drop(w->pool, &slots[k]);
	}
	return NULL;
}

Test(pool, threads_never_hold_the_same_bytes)
{
	struct tp_pool_options options = {.size_bytes = 3 * MIB, .prefault = true};
	struct worker workers[4];
	struct tp_pool *p;

	cr_assert_eq(tp_pool_new(&options, NULL, &p), 0);
	for (unsigned i = 0; i < 4; i++) {
		workers[i] = (struct worker){.pool = p, .id = i + 1};
		cr_assert_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(workers[i].thread, NULL);
	cr_assert_eq(tp_pool_free_pages(p), 768);
	cr_assert_eq(tp_pool_double_frees(p), 0);
	cr_assert_eq(usage_of(p).slot_bytes, 0);
	tp_pool_free(p);
}
