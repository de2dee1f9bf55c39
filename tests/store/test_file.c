/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is done with an open file.
 */
#include "tree_fixture.h"

#include <linux/falloc.h>
#include <stdlib.h>

Test(file, a_file_that_was_unlinked_while_it_was_open_is_still_written_and_read)
{
	struct fixture f;
	struct file reader, writer;

	fixture_open(&f, POOL, NULL);
	cr_assert_eq(set_rule(&f, TP_NODE_CACHE, "commit", "live"), 0);
	put(&f, TP_NODE_CACHE, "x", "old");
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_RDONLY, &reader), 0);
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_RDWR, &writer), 0);
	cr_assert_eq(unlink_as(&f, &f.me, TP_NODE_CACHE, "x"), 0);
	holds(&f);
	cr_assert_eq(file_puts(&f, &writer, 3, "er"), 0);
	cr_assert(has_text(&f, &reader, "older"));
	cr_assert_eq(file_close(&f, &writer), 0);
	cr_assert(has_text(&f, &reader, "older"));
	holds(&f);
	cr_assert_eq(file_close(&f, &reader), 0);
	cr_assert_eq(pool_used_bytes(&f), 0);
	fixture_close(&f);
}

Test(file, a_failed_write_is_told_at_close_and_keeps_the_draft_from_being_published)
{
	char *much = calloc(1, 2 * MIB);
	struct fixture f;
	struct file draft;

	fixture_open(&f, MIB, NULL);
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_WRONLY | O_CREAT, &draft), 0);
	cr_assert_eq(file_puts(&f, &draft, 0, "bytes"), 0);
	cr_assert_eq(file_write(&f, &draft, 5, much, 2 * MIB), -ENOSPC);
	cr_assert_eq(file_close(&f, &draft), -ENOSPC);
	cr_assert_not(sees(&f, &f.me, TP_NODE_CACHE, "x"));
	cr_assert_eq(pool_used_bytes(&f), 0);
	/* What was missing is written after all. */
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_WRONLY | O_CREAT, &draft), 0);
	tp_file_interrupted(f.tree, draft.opened.gen, 0, 5, -EINTR);
	cr_assert_eq(file_puts(&f, &draft, 0, "bytes"), 0);
	cr_assert_eq(file_close(&f, &draft), 0);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "x", "bytes"));
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "y", O_WRONLY | O_CREAT, &draft), 0);
	cr_assert_eq(file_write(&f, &draft, (uint64_t)TP_MAP_SIZE_MAX, "x", 1), -EFBIG);
	cr_assert_eq(file_write(&f, &draft, UINT64_MAX, "x", 1), -EFBIG);
	cr_assert_eq(file_close(&f, &draft), 0);
	free(much);
	fixture_close(&f);
}

Test(file, holes_are_reserved_punched_and_found)
{
	struct fixture f;
	struct file file;

	fixture_open(&f, POOL, NULL);
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_RDWR | O_CREAT, &file), 0);
	cr_assert_eq(file_puts(&f, &file, 64 * KIB, "data"), 0);
	cr_assert_eq(tp_file_seek(f.tree, file.opened.gen, 0, SEEK_DATA), 64 * KIB);
	cr_assert_eq(tp_file_seek(f.tree, file.opened.gen, 64 * KIB, SEEK_HOLE), 64 * KIB + 4);
	cr_assert_eq(tp_file_seek(f.tree, file.opened.gen, MIB, SEEK_DATA), -ENXIO);
	cr_assert_eq(tp_file_seek(f.tree, file.opened.gen, 0, SEEK_SET), -EINVAL);
	cr_assert_eq(tp_file_allocate(f.tree, &file.who, file.opened.gen, 0, 0, MIB), 0);
	cr_assert_eq(file.opened.gen->size, MIB);
	cr_assert_eq(pool_used_bytes(&f), MIB);
	holds(&f);
	cr_assert_eq(tp_file_allocate(f.tree, &file.who, file.opened.gen, 0, 0, 0), -EINVAL);
	cr_assert_eq(tp_file_allocate(f.tree, &file.who, file.opened.gen, 0x40, 0, 1), -EOPNOTSUPP);
	cr_assert_eq(tp_file_allocate(f.tree, &file.who, file.opened.gen, 0, UINT64_MAX, 2), -EFBIG);
	cr_assert_eq(tp_file_allocate(f.tree, &file.who, file.opened.gen, 0, TP_MAP_SIZE_MAX, 1), -EFBIG);
	cr_assert_eq(tp_file_allocate(f.tree, &file.who, file.opened.gen, 0, 2 * MIB, 8 * MIB), -ENOSPC);
	cr_assert(tp_file_can_fit(f.tree, 2 * MIB, POOL), "if there were nothing else");
	cr_assert_not(tp_file_can_fit(f.tree, 2 * MIB, POOL + 1));
	cr_assert_not(tp_file_can_fit(f.tree, 1, POOL));
	cr_assert_eq(tp_file_allocate(f.tree, &file.who, file.opened.gen, 0, 1, POOL), -ENOSPC);
	cr_assert_eq(tp_file_allocate(f.tree, &file.who, file.opened.gen, 0, 0, UINT64_C(1) << 40), -ENOSPC);
	cr_assert_eq(file.opened.gen->size, MIB);
	cr_assert_eq(tp_file_allocate(f.tree, &file.who, file.opened.gen,
			     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 512 * KIB),
		0);
	holds(&f);
	cr_assert_eq(pool_used_bytes(&f), 512 * KIB);
	cr_assert_eq(file_close(&f, &file), 0);
	holds(&f);
	fixture_close(&f);
}

Test(file, a_write_by_who_may_not_keep_them_clears_setuid_and_setgid)
{
	struct tp_setattr set = {.set_mode = true, .mode = 06755};
	struct iovec iov = {(void *)"x", 1};
	struct tp_write w = {.iov = &iov, .iov_count = 1, .len = 1, .kill_suid = true};
	struct fixture f;
	struct file file;
	struct tp_entry e;

	fixture_open(&f, POOL, NULL);
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, "x", O_RDWR | O_CREAT, &file), 0);
	cr_assert_eq(tp_tree_setattr(f.tree, &file.who, file.node, file.opened.gen, &set, &e), 0);
	cr_assert_eq(e.attr.mode, S_IFREG | 06755);
	cr_assert_eq(tp_file_write(f.tree, &file.who, file.opened.gen, &w), 0);
	cr_assert_eq(file_close(&f, &file), 0);
	cr_assert_eq(stat_as(&f, &f.me, TP_NODE_CACHE, "x", &e), 0);
	cr_assert_eq(e.attr.mode, S_IFREG | 0755);
	fixture_close(&f);
}

Test(file, what_a_temporary_name_lacks_is_kept_for_the_rename_or_the_name_goes)
{
	struct fixture f;
	struct file file;
	bool noted = false;

	fixture_open(&f, POOL, NULL);
	for (unsigned n = 1; !noted; n++) {
		int r;

		cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, ".x.tmp", O_WRONLY | O_CREAT, &file), 0);
		cr_assert_eq(file_puts(&f, &file, 0, "some"), 0);
		tp_file_interrupted(f.tree, file.opened.gen, 4, 4, -EIO);
		cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, ".x.tmp", TP_NODE_CACHE, "x", 0), -EIO);
		heap_fail_at(n);
		r = file_close(&f, &file);
		noted = !heap_fail_off();
		cr_assert_eq(r, -EIO);
		cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, ".x.tmp", TP_NODE_CACHE, "x", 0),
			sees(&f, &f.me, TP_NODE_CACHE, ".x.tmp") ? -EIO : -ENOENT);
		holds(&f);
	}
	cr_assert_eq(file_open(&f, &f.me, TP_NODE_CACHE, ".x.tmp", O_WRONLY, &file), 0);
	cr_assert_eq(file_puts(&f, &file, 4, "more"), 0);
	cr_assert_eq(file_close(&f, &file), 0);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, ".x.tmp", TP_NODE_CACHE, "x", 0), 0);
	cr_assert(reads(&f, &f.me, TP_NODE_CACHE, "x", "somemore"));
	fixture_close(&f);
}
