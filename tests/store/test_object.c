/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "heap.h"
#include "store/object.h"

Test(object, setuid_goes_and_setgid_only_where_the_group_executes)
{
	struct tp_object *o = tp_object_new(1, S_IFREG | 06755, 0, 0, 0);

	tp_object_kill_suid(o);
	cr_assert_eq(o->mode, S_IFREG | 0755);
	o->mode = S_IFREG | 06744;
	tp_object_kill_suid(o);
	cr_assert_eq(o->mode, S_IFREG | 02744, "mandatory locking, to who is old enough");
	tp_object_free(o);
	tp_object_free(NULL);
}

Test(object, attributes_are_set_replaced_listed_and_removed)
{
	struct tp_object *o = tp_object_new(1, S_IFREG, 0, 0, 0);
	char buf[32];

	cr_assert_eq(tp_object_list_xattr(o, buf, sizeof(buf)), 0);
	cr_assert_eq(tp_object_get_xattr(o, "user.a", buf, sizeof(buf)), -ENODATA);
	cr_assert_eq(tp_object_remove_xattr(o, "user.a"), -ENODATA);
	cr_assert_eq(tp_object_set_xattr(o, "user.a", "1", 1, XATTR_REPLACE), -ENODATA);
	cr_assert_eq(tp_object_set_xattr(o, "user.a", "1", 1, XATTR_CREATE), 0);
	cr_assert_eq(tp_object_set_xattr(o, "user.a", "1", 1, XATTR_CREATE), -EEXIST);
	cr_assert_eq(tp_object_set_xattr(o, "user.ab", "", 0, 0), 0);
	cr_assert_eq(tp_object_set_xattr(o, "user.a", "longer", 6, XATTR_REPLACE), 0);
	cr_assert_eq(tp_object_get_xattr(o, "user.a", NULL, 0), 6);
	cr_assert_eq(tp_object_get_xattr(o, "user.a", buf, 5), -ERANGE);
	cr_assert_eq(tp_object_get_xattr(o, "user.a", buf, 6), 6);
	cr_assert_eq(memcmp(buf, "longer", 6), 0);
	cr_assert_eq(tp_object_list_xattr(o, NULL, 0), 15);
	cr_assert_eq(tp_object_list_xattr(o, buf, 14), -ERANGE);
	cr_assert_eq(tp_object_list_xattr(o, buf, 15), 15);
	cr_assert_eq(tp_object_remove_xattr(o, "user.a"), 0);
	cr_assert_eq(tp_object_list_xattr(o, buf, sizeof(buf)), 8);
	cr_assert_str_eq(buf, "user.ab");
	tp_object_free(o);
}

Test(object, attributes_have_4_kib_in_all)
{
	struct tp_object *o = tp_object_new(1, S_IFREG, 0, 0, 0);
	char big[4200] = {0}, name[300];

	cr_assert_eq(tp_object_set_xattr(o, "user.x", big, 4097, 0), -ENOSPC);
	cr_assert_eq(tp_object_set_xattr(o, "user.x", big, 4096 - 6, 0), 0);
	cr_assert_eq(tp_object_set_xattr(o, "user.y", big, 0, 0), -ENOSPC);
	/* What it replaces does not count. */
	cr_assert_eq(tp_object_set_xattr(o, "user.x", big, 4096 - 6, 0), 0);
	cr_assert_eq(tp_object_set_xattr(o, "user.x", big, 4096 - 12, 0), 0);
	cr_assert_eq(tp_object_set_xattr(o, "user.y", big, 0, 0), 0);
	memset(name, 'n', sizeof(name));
	name[256] = 0;
	cr_assert_eq(tp_object_set_xattr(o, name, big, 0, 0), -ERANGE);
	tp_object_free(o);
}

Test(object, without_memory_attributes_stay_as_they_are)
{
	struct tp_object *o = tp_object_new(1, S_IFREG, 0, 0, 0);
	char buf[8];

	for (unsigned n = 1; n <= 2; n++) {
		heap_fail_at(n);
		cr_assert_eq(tp_object_set_xattr(o, "user.a", "1", 1, 0), -ENOMEM);
		cr_assert(heap_fail_off());
		cr_assert_eq(tp_object_get_xattr(o, "user.a", buf, 8), -ENODATA);
	}
	cr_assert_eq(tp_object_set_xattr(o, "user.a", "1", 1, 0), 0);
	heap_fail_at(1);
	cr_assert_eq(tp_object_set_xattr(o, "user.a", "22", 2, 0), -ENOMEM);
	cr_assert(heap_fail_off());
	cr_assert_eq(tp_object_get_xattr(o, "user.a", buf, 8), 1);
	tp_object_free(o);
	for (unsigned n = 1; n <= 2; n++) {
		heap_fail_at(n);
		cr_assert_null(tp_object_new(1, S_IFDIR, 0, 0, 0));
		cr_assert(heap_fail_off());
	}
}

/* Directories */

struct entry {
	struct tp_name *name;
	struct tp_object *object;
};

static struct tp_name *name_of(struct tp_object *dir, struct tp_object *o)
{
	struct tp_name *n = calloc(1, sizeof(*n) + 1);

	n->parent = dir;
	n->object = o;
	return n;
}

Test(object, a_directory_keeps_order_and_cookies_over_thousands_of_changes)
{
	enum { MAX = 500 };
	struct tp_object *dir = tp_object_new(1, S_IFDIR, 0, 0, 0),
			 *file = tp_object_new(2, S_IFREG, 0, 0, 0),
			 *sub = tp_object_new(3, S_IFDIR, 0, 0, 0);
	struct tp_name *names[MAX]; /* in order */
	unsigned count = 0, seed = 1;

	for (unsigned i = 0; i < 20000; i++) {
		unsigned what = (unsigned)rand_r(&seed) % 100, subdirs = 0, k = 0;
		/* Grows for a while, then shrinks. */
		unsigned grow = i / 4000 % 2 ? 30 : 60;

		if (what < grow && count < MAX) {
			names[count] = name_of(dir, what % 3 ? file : sub);
			cr_assert_eq(tp_dir_append(dir->dir, names[count]), 0);
			count++;
		} else if (count > 0) {
			unsigned at = (unsigned)rand_r(&seed) % count;
			struct tp_name *n = names[at];

			memmove(&names[at], &names[at + 1], (count - at - 1) * sizeof(names[0]));
			if (what % 4) {
				tp_dir_remove(dir->dir, n);
				free(n);
				count--;
			} else {
				tp_dir_move_to_end(dir->dir, n);
				names[count - 1] = n;
			}
		}
		cr_assert_eq(dir->dir->names, count);
		if (i % 50)
			continue;
		for (struct tp_name *n = tp_dir_next(dir->dir, 0); n; n = tp_dir_next(dir->dir, n->cookie)) {
			cr_assert_eq(n, names[k]);
			cr_assert(k == 0 || n->cookie > names[k - 1]->cookie);
			subdirs += S_ISDIR(n->object->mode);
			k++;
		}
		cr_assert_eq(k, count);
		cr_assert_eq(dir->dir->subdirs, subdirs);
		cr_assert_leq(dir->dir->slots_used, 2 * count + 17, "tombstones go");
	}
	while (count > 0) {
		tp_dir_remove(dir->dir, names[--count]);
		free(names[count]);
	}
	cr_assert_null(tp_dir_next(dir->dir, 0));
	tp_object_free(dir);
	tp_object_free(file);
	tp_object_free(sub);
}

Test(object, places_that_were_reserved_are_there_without_memory)
{
	struct tp_object *dir = tp_object_new(1, S_IFDIR, 0, 0, 0),
			 *file = tp_object_new(2, S_IFREG, 0, 0, 0);
	struct tp_name *names[9];

	for (unsigned i = 0; i < 9; i++)
		names[i] = name_of(dir, file);
	heap_fail_at(1);
	cr_assert_eq(tp_dir_append(dir->dir, names[0]), -ENOMEM);
	cr_assert(heap_fail_off());
	cr_assert_eq(dir->dir->names, 0);
	for (unsigned i = 0; i < 8; i++)
		cr_assert_eq(tp_dir_append(dir->dir, names[i]), 0);
	/* It is full: a name keeps its place where no other can be had. */
	heap_fail_at(1);
	tp_dir_move_to_end(dir->dir, names[0]);
	cr_assert(heap_fail_off());
	cr_assert_eq(tp_dir_next(dir->dir, 0), names[0]);
	heap_fail_at(1);
	cr_assert_eq(tp_dir_reserve(dir->dir, 1), -ENOMEM);
	cr_assert(heap_fail_off());
	cr_assert_eq(tp_dir_reserve(dir->dir, 3), 0);
	heap_fail_at(1);
	cr_assert_eq(tp_dir_append(dir->dir, names[8]), 0);
	cr_assert_not(heap_fail_off());
	for (unsigned i = 0; i < 9; i++) {
		tp_dir_remove(dir->dir, names[i]);
		free(names[i]);
	}
	tp_object_free(dir);
	tp_object_free(file);
}

/* Drafts */

Test(object, who_joined_a_draft_sees_it_while_it_has_it_open)
{
	struct tp_gen g = {0};
	struct tp_draft *d = tp_draft_new(&g, 1);

	cr_assert_eq(tp_draft_add_viewer(d, 10, false), 0);
	cr_assert_eq(tp_draft_add_viewer(d, 20, true), 0);
	cr_assert(tp_draft_seen_by(d, 20));
	tp_draft_viewer_opened(d, 10);
	tp_draft_viewer_opened(d, 20);
	tp_draft_viewer_opened(d, 20);
	tp_draft_viewer_failed(d, 20);
	tp_draft_viewer_closed(d, 20);
	cr_assert(tp_draft_seen_by(d, 20));
	tp_draft_viewer_closed(d, 20);
	cr_assert_not(tp_draft_seen_by(d, 20));
	tp_draft_viewer_closed(d, 20);
	tp_draft_viewer_closed(d, 30);
	/* Who began it keeps seeing it. */
	tp_draft_viewer_closed(d, 10);
	tp_draft_viewer_closed(d, 10);
	cr_assert(tp_draft_seen_by(d, 10));
	/* Who joined and then begins it, too. */
	cr_assert_eq(tp_draft_add_viewer(d, 40, true), 0);
	cr_assert_eq(tp_draft_add_viewer(d, 40, false), 0);
	tp_draft_viewer_failed(d, 40);
	cr_assert(tp_draft_seen_by(d, 40));
	cr_assert_eq(tp_draft_add_viewer(d, 50, true), 0);
	tp_draft_viewer_failed(d, 50);
	cr_assert_not(tp_draft_seen_by(d, 50));
	/* Who cannot be seen may be anybody. */
	cr_assert_eq(tp_draft_add_viewer(d, 0, false), 0);
	cr_assert_not(tp_draft_seen_by(d, 0));
	heap_fail_at(1);
	cr_assert_eq(tp_draft_add_viewer(d, 60, false), -ENOMEM);
	cr_assert(heap_fail_off());
	tp_draft_free(d);
	tp_draft_free(NULL);
}

Test(object, a_bad_end_stays_one_and_each_writer_is_noted_once)
{
	struct tp_gen g = {0};
	struct tp_draft *d = tp_draft_new(&g, 1);
	pid_t me = getpid();

	heap_fail_at(1);
	cr_assert_eq(tp_draft_add_writer(d, me, me), -ENOMEM);
	cr_assert(heap_fail_off());
	cr_assert_eq(tp_draft_add_writer(d, me, me), 0);
	cr_assert_eq(tp_draft_add_writer(d, me + 1, me), 0);
	cr_assert_eq(d->writers_count, 1);
	cr_assert_eq(d->last_tid, me + 1);
	cr_assert_not(d->unseen_writer);
	cr_assert_eq(tp_draft_add_writer(d, 0, 0), 0);
	cr_assert(d->unseen_writer);
	cr_assert_eq(d->writers_count, 1);
	tp_draft_note_end(d, me + 1000, TP_END_KILLED);
	cr_assert_eq(d->writers[0].end, TP_END_RUNS);
	tp_draft_note_end(d, me, TP_END_GOOD);
	tp_draft_note_end(d, me, TP_END_FAILED);
	tp_draft_note_end(d, me, TP_END_GOOD);
	cr_assert_eq(d->writers[0].end, TP_END_FAILED);
	tp_draft_free(d);
}

static bool missing(const struct tp_draft *d, uint64_t from, uint64_t to)
{
	return d->missing.from == from && d->missing.to == to;
}

Test(object, bytes_of_failed_writes_are_missing_until_they_are_written)
{
	struct tp_gen g = {0};
	struct tp_draft *d = tp_draft_new(&g, 1);

	tp_missing_cover(&d->missing, 0, 100);
	cr_assert(missing(d, 0, 0));
	tp_missing_add(&d->missing, 100, 200, -ENOSPC);
	tp_missing_add(&d->missing, 300, 400, -ENOSPC);
	cr_assert(missing(d, 100, 400));
	tp_missing_cover(&d->missing, 150, 160);
	cr_assert(missing(d, 100, 400), "in the middle: it is not known better");
	tp_missing_cover(&d->missing, 0, 101);
	cr_assert(missing(d, 101, 400));
	tp_missing_cover(&d->missing, 350, 1000);
	cr_assert(missing(d, 101, 350));
	tp_missing_cover(&d->missing, 400, 500);
	tp_missing_cover(&d->missing, 0, 50);
	cr_assert(missing(d, 101, 350));
	tp_missing_cover(&d->missing, 101, 350);
	cr_assert(!tp_missing_any(&d->missing));
	tp_missing_add(&d->missing, 10, 20, -ENOSPC);
	tp_missing_cover(&d->missing, 0, UINT64_MAX);
	cr_assert(!tp_missing_any(&d->missing));
	tp_draft_free(d);
}
