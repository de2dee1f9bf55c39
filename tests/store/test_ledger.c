/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "heap.h"
#include "ledger_fixture.h"
#include "store/peek.h"
#include "store/state.h"

Test(ledger, what_was_applied_is_there_after_close_and_open)
{
	SCRATCH(dir);
	struct tp_ledger_info first, again;
	struct tp_ledger *l = opened_with(scratch_path(&dir, "state"), &still, TP_NS_PER_S, &first);
	struct stat st;

	cr_assert(first.created);
	cr_assert_eq(first.replayed, 0);
	cr_assert_eq(stat(scratch_path(&dir, "state"), &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0700);
	assert_names(l, "");
	cr_assert_eq(change(l, "b", "2"), 0);
	cr_assert_eq(change(l, "a", "1"), 0);
	cr_assert_eq(change(l, "c", "3"), 0);
	cr_assert_eq(change(l, "b", NULL), 0);
	cr_assert_eq(change(l, "never there", NULL), 0);
	cr_assert_eq(tp_ledger_close(l), 0);
	l = opened_with(scratch_path(&dir, "state"), &still, TP_NS_PER_S, &again);
	cr_assert_not(again.created);
	cr_assert_eq(again.replayed, 0);
	cr_assert_arr_eq(first.uuid, again.uuid, 16);
	assert_names(l, "a=1 c=3 ");
	cr_assert_eq(tp_ledger_close(l), 0);
}

Test(ledger, the_lock_says_who_has_it)
{
	SCRATCH(dir);
	struct tp_ledger *l = opened(dir.path), *other;
	struct tp_ledger_info info;
	struct tp_err err;
	char text[400];

	cr_assert_eq(tp_ledger_open(dir.path, &still, 1, &err, &other, &info), -EBUSY);
	(void)snprintf(text, sizeof(text), "%s is in use by process %ld", dir.path, (long)getpid());
	cr_assert_str_eq(err.text, text);
	cr_assert_eq(tp_ledger_close(l), 0);
	cr_assert_eq(tp_ledger_close(opened(dir.path)), 0);
}

Test(ledger, the_lock_ends_with_the_process)
{
	SCRATCH(dir);

	in_killed_child(hold, dir.path);
	cr_assert_eq(tp_ledger_close(opened(dir.path)), 0);
}

static void assert_refused(const char *state, int r, const char *part)
{
	struct tp_ledger_info info;
	struct tp_ledger *l;
	struct tp_err err = {""};

	cr_assert_eq(tp_ledger_open(state, &still, 1, &err, &l, &info), r, "%s", err.text);
	cr_assert_not_null(strstr(err.text, part), "%s", err.text);
}

static void assert_nothing_to_peek(const char *state, int r, const char *part)
{
	struct tp_peek peek;
	struct tp_err err = {""};

	cr_assert_eq(tp_peek_state(state, &err, &peek), r, "%s", err.text);
	cr_assert_not_null(strstr(err.text, part), "%s", err.text);
}

Test(ledger, what_is_not_a_state_is_refused)
{
	SCRATCH(dir);

	scratch_write(scratch_path(&dir, "file"), "x", 1);
	assert_refused(scratch_path(&dir, "file"), -EBADMSG, "is not a directory");
	assert_refused(scratch_path(&dir, "a/b"), -ENOENT, "cannot be made: No such file");
	cr_assert_eq(mkdir(scratch_path(&dir, "s"), 0700), 0);
	scratch_write(scratch_path(&dir, "s/ledger"), "x", 1);
	assert_refused(scratch_path(&dir, "s"), -EBADMSG, "s/ledger is not a directory");
	cr_assert_eq(unlink(scratch_path(&dir, "s/ledger")), 0);
	cr_assert_eq(mkdir(scratch_path(&dir, "s/ledger"), 0700), 0);
	assert_refused(scratch_path(&dir, "s"), -EBADMSG, "data.mdb cannot be opened");
	scratch_write(scratch_path(&dir, "s/ledger/data.mdb"), "", 0);
	assert_refused(scratch_path(&dir, "s"), -EBADMSG, "is empty");
	static char garbage[65536];
	memset(garbage, 'g', sizeof(garbage));
	scratch_write(scratch_path(&dir, "s/ledger/data.mdb"), garbage, sizeof(garbage));
	assert_refused(scratch_path(&dir, "s"), -EBADMSG, "is damaged, or not a ledger of tidepool");
	size_t len;
	char *now = scratch_read(scratch_path(&dir, "s/ledger/data.mdb"), &len);
	cr_assert(len == sizeof(garbage) && memcmp(now, garbage, len) == 0, "it was written to");
	free(now);
}

Test(ledger, file_systems_that_lock_or_sync_otherwise_are_refused)
{
	struct tp_err err;

	cr_assert_eq(tp_state_check_type("/s", 0x6969, &err), -EOPNOTSUPP);
	cr_assert_str_eq(
		err.text, "/s is on NFS, which cannot keep a store safe: use a directory on a local disk");
	cr_assert_eq(tp_state_check_type("/s", OVERLAYFS_SUPER_MAGIC, &err), -EOPNOTSUPP);
	cr_assert_not_null(strstr(err.text, "on overlayfs"));
	/* f_type is a signed number on some machines. */
	cr_assert_eq(tp_state_check_type("/s", (unsigned long)(long)(int)0xff534d42, &err), -EOPNOTSUPP);
	cr_assert_eq(tp_state_check_type("/s", EXT4_SUPER_MAGIC, &err), 0);
	cr_assert_eq(tp_state_check_type("/s", TMPFS_MAGIC, &err), 0);
	cr_assert_eq(tp_state_check_type("/s", XFS_SUPER_MAGIC, &err), 0);
	cr_assert_eq(tp_state_check_type("/s", BTRFS_SUPER_MAGIC, &err), 0);
}

Test(ledger, a_state_without_permission_is_refused)
{
	SCRATCH(dir);
	pid_t pid;
	int status;

	cr_assert_eq(chmod(dir.path, 0555), 0);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		if (getuid() == 0 && setuid(65534) < 0)
			_exit(2);
		assert_refused(dir.path, -EACCES, "lock cannot be opened: Permission denied");
		assert_refused(scratch_path(&dir, "new"), -EACCES, "cannot be made: Permission denied");
		_exit(0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
	cr_assert_eq(chmod(dir.path, 0700), 0);
}

Test(ledger, another_version_and_somebody_elses_ledger_are_refused)
{
	SCRATCH(dir);

	cr_assert_eq(tp_ledger_close(opened(scratch_path(&dir, "s"))), 0);
	meddle(scratch_path(&dir, "s"), "meta", "version", "\x07\0\0\0\0\0\0", 8);
	assert_refused(scratch_path(&dir, "s"), -EBADMSG,
		"has a ledger of version 7, and this tidepool knows version 1 only");
	cr_assert_eq(mkdir(scratch_path(&dir, "t"), 0700), 0);
	assert_nothing_to_peek(scratch_path(&dir, "s"), -EBADMSG,
		"has a ledger of version 7, and this tidepool knows version 1 only");
	meddle(scratch_path(&dir, "t"), NULL, "mine", "x", 1);
	assert_refused(scratch_path(&dir, "t"), -EBADMSG, "is damaged, or not a ledger of tidepool");
	meddle(scratch_path(&dir, "t"), "meta", "mine", "x", 1);
	meddle(scratch_path(&dir, "t"), "nodes", "mine", "x", 1);
	meddle(scratch_path(&dir, "t"), "names", "mine", "x", 1);
	assert_refused(scratch_path(&dir, "t"), -EBADMSG, "is not a ledger of tidepool");
	assert_nothing_to_peek(scratch_path(&dir, "t"), -EBADMSG, "is not a ledger of tidepool");
}

Test(ledger, what_nobody_serves_can_be_looked_at_and_is_not_changed)
{
	SCRATCH(dir);
	struct tp_ledger_info info;
	struct tp_peek peek;
	struct tp_err err = {""};
	struct stat before, after;
	const char *data;

	assert_nothing_to_peek(scratch_path(&dir, "s"), -ENOENT, "holds no store");
	cr_assert_eq(tp_ledger_close(opened_with(scratch_path(&dir, "s"), &still, 1, &info)), 0);
	data = scratch_path(&dir, "s/ledger/data.mdb");
	cr_assert_eq(stat(data, &before), 0);
	cr_assert_eq(tp_peek_state(scratch_path(&dir, "s"), &err, &peek), 0, "%s", err.text);
	cr_assert_arr_eq(peek.uuid, info.uuid, sizeof(info.uuid));
	cr_assert_eq(peek.names, 0);
	cr_assert_eq(peek.ledger_bytes, (uint64_t)before.st_size);
	cr_assert_eq(peek.journal_bytes, 0);
	cr_assert_eq(stat(data, &after), 0);
	cr_assert_eq(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
	scratch_write(data, "not a page", 10);
	assert_nothing_to_peek(scratch_path(&dir, "s"), -EBADMSG, "is damaged, or not a ledger of tidepool");
}

Test(ledger, a_ledger_that_was_half_made_is_made_again)
{
	SCRATCH(dir);
	struct tp_ledger_info info;
	struct tp_ledger *l;

	cr_assert_eq(mkdir(scratch_path(&dir, "ledger.new"), 0700), 0);
	scratch_write(scratch_path(&dir, "ledger.new/data.mdb"), "torn", 4);
	scratch_write(scratch_path(&dir, "ledger.new/lock.mdb"), "torn", 4);
	l = opened_with(dir.path, &still, 1, &info);
	cr_assert(info.created);
	cr_assert_eq(tp_ledger_close(l), 0);
}

static void apply_three(const char *state)
{
	struct tp_ledger *l = opened(state);

	cr_assert_eq(change(l, "a", "1"), 0);
	cr_assert_eq(change(l, "b", "1"), 0);
	cr_assert_eq(change(l, "a", NULL), 0);
}

Test(ledger, what_was_only_in_the_journal_is_replayed)
{
	SCRATCH(dir);
	struct tp_ledger_info info;
	struct tp_ledger *l;

	in_killed_child(apply_three, dir.path);
	l = opened_with(dir.path, &still, 1, &info);
	cr_assert_eq(info.replayed, 3);
	cr_assert_eq(info.dropped_bytes, 0);
	assert_names(l, "b=1 ");
	cr_assert_eq(tp_ledger_close(l), 0);
}

Test(ledger, a_torn_record_is_dropped_and_counted)
{
	SCRATCH(dir);
	struct tp_ledger_info info;
	struct tp_ledger *l;
	size_t len;
	char *file;

	in_killed_child(apply_three, dir.path);
	file = scratch_read(scratch_path(&dir, "journal.0"), &len);
	scratch_write(scratch_path(&dir, "journal.0"), file, len - 1);
	free(file);
	l = opened_with(dir.path, &still, 1, &info);
	cr_assert_eq(info.replayed, 2);
	cr_assert_eq(info.dropped_bytes, len / 3 - 1);
	assert_names(l, "a=1 b=1 ");
	cr_assert_eq(tp_ledger_close(l), 0);
}

Test(ledger, a_damaged_journal_is_refused_with_file_and_offset_and_nothing_is_changed)
{
	SCRATCH(dir);
	size_t len, len_after;
	char *file, *after;

	in_killed_child(apply_three, dir.path);
	file = scratch_read(scratch_path(&dir, "journal.0"), &len);
	file[20] ^= 1;
	scratch_write(scratch_path(&dir, "journal.0"), file, len);
	assert_refused(
		dir.path, -EBADMSG, "/journal.0 is damaged: record 1 should be at offset 0, and record 2");
	after = scratch_read(scratch_path(&dir, "journal.0"), &len_after);
	cr_assert(len == len_after && memcmp(file, after, len) == 0);
	free(after);
	file[20] ^= 1;
	scratch_write(scratch_path(&dir, "journal.0"), file, len);
	free(file);
	struct tp_ledger *l = opened(dir.path);
	assert_names(l, "b=1 ");
	cr_assert_eq(tp_ledger_close(l), 0);
}

/* The journal was emptied after a commit, but its emptying did not reach the disk. */
Test(ledger, a_journal_that_comes_back_does_not_bring_back_what_was_removed)
{
	SCRATCH(dir);
	struct tp_ledger *l = opened(dir.path);
	struct tp_ledger_info info;
	size_t len;
	char *file;

	cr_assert_eq(change(l, "a", "old"), 0);
	cr_assert_eq(change(l, "b", "old"), 0);
	file = scratch_read(scratch_path(&dir, "journal.0"), &len);
	cr_assert_eq(tp_ledger_sync(l), 0);
	cr_assert_eq(change(l, "a", NULL), 0);
	cr_assert_eq(change(l, "b", "new"), 0);
	cr_assert_eq(tp_ledger_close(l), 0);
	scratch_write(scratch_path(&dir, "journal.0"), file, len);
	free(file);
	l = opened_with(dir.path, &still, 1, &info);
	cr_assert_eq(info.replayed, 0);
	assert_names(l, "b=new ");
	cr_assert_eq(tp_ledger_close(l), 0);
}

Test(ledger, sync_empties_the_journal_and_so_does_the_interval)
{
	SCRATCH(dir);
	struct tp_ledger_info info;
	struct tp_ledger *l = opened(dir.path);
	struct stat st[2];

	cr_assert_eq(change(l, "a", "1"), 0);
	cr_assert_eq(stat(scratch_path(&dir, "journal.0"), &st[0]), 0);
	cr_assert_gt(st[0].st_size, 0);
	cr_assert_eq(tp_ledger_sync(l), 0);
	cr_assert_eq(stat(scratch_path(&dir, "journal.0"), &st[0]), 0);
	cr_assert_eq(st[0].st_size, 0);
	cr_assert_eq(tp_ledger_close(l), 0);
	l = opened_with(dir.path, tp_clock_system(), TP_NS_PER_MS, &info);
	cr_assert_eq(change(l, "a", "2"), 0);
	do {
		(void)sched_yield();
		cr_assert_eq(stat(scratch_path(&dir, "journal.0"), &st[0]), 0);
		cr_assert_eq(stat(scratch_path(&dir, "journal.1"), &st[1]), 0);
	} while (st[0].st_size || st[1].st_size);
	cr_assert_eq(tp_ledger_close(l), 0);
}

Test(ledger, a_batch_holds_together_and_is_empty_after_it_was_applied)
{
	SCRATCH(dir);
	struct tp_ledger *l = opened(dir.path);
	struct tp_ledger_batch *b = tp_ledger_batch_new();

	cr_assert_eq(tp_ledger_apply(l, b), 0);
	batch_put(b, "a", "1");
	batch_put(b, "b", "1");
	cr_assert_eq(tp_ledger_batch_remove(b, TP_LEDGER_NAMES, "a", 1), 0);
	cr_assert_eq(tp_ledger_apply(l, b), 0);
	batch_put(b, "c", "1");
	cr_assert_eq(tp_ledger_apply(l, b), 0);
	cr_assert_eq(tp_ledger_apply(l, b), 0);
	tp_ledger_batch_free(b);
	tp_ledger_batch_free(NULL);
	cr_assert_eq(tp_ledger_sync(l), 0);
	assert_names(l, "b=1 c=1 ");
	cr_assert_eq(tp_ledger_close(l), 0);
}

Test(ledger, the_ledgers_own_keys_and_wrong_lengths_are_refused)
{
	static char big[129 * 1024];
	struct tp_ledger_batch *b = tp_ledger_batch_new();

	cr_assert_eq(tp_ledger_batch_put(b, TP_LEDGER_META, "version", 7, "x", 1), -EINVAL);
	cr_assert_eq(tp_ledger_batch_remove(b, TP_LEDGER_META, "journal", 7), -EINVAL);
	cr_assert_eq(tp_ledger_batch_put(b, TP_LEDGER_META, "versions", 8, "x", 1), 0);
	cr_assert_eq(tp_ledger_batch_put(b, TP_LEDGER_NAMES, "version", 7, "x", 1), 0);
	cr_assert_eq(tp_ledger_batch_put(b, TP_LEDGER_TABLES, "a", 1, "x", 1), -EINVAL);
	cr_assert_eq(tp_ledger_batch_put(b, TP_LEDGER_NAMES, "", 0, "x", 1), -EINVAL);
	cr_assert_eq(tp_ledger_batch_put(b, TP_LEDGER_NAMES, big, 501, "x", 1), -EINVAL);
	cr_assert_eq(tp_ledger_batch_put(b, TP_LEDGER_NAMES, big, 500, big, 128 * 1024), 0);
	cr_assert_eq(tp_ledger_batch_put(b, TP_LEDGER_NAMES, big, 500, big, 128 * 1024 + 1), -EINVAL);
	tp_ledger_batch_free(b);
}

/*
 * The child changes a small set of keys for ever, three in each batch, and tells each number of a batch when
 * it was applied. After SIGKILL the ledger holds exactly what the told batches made, and perhaps the one
 * after them.
 */
#define KEYS 29

static void model_batch(unsigned n, unsigned *state)
{
	for (unsigned i = 0; i < 3; i++)
		state[(n * 7 + i * 11) % KEYS] = n % 5 == 0 ? 0 : n;
}

static void apply_for_ever(const char *state, int out, unsigned n)
{
	struct tp_ledger_info info;
	struct tp_ledger *l = opened_with(state, tp_clock_system(), TP_NS_PER_MS, &info);
	struct tp_ledger_batch *b = tp_ledger_batch_new();
	char key[16], value[16];

	for (;; n++) {
		for (unsigned i = 0; i < 3; i++) {
			(void)snprintf(key, sizeof(key), "%02u", (n * 7 + i * 11) % KEYS);
			(void)snprintf(value, sizeof(value), "%u", n);
			if (n % 5)
				batch_put(b, key, value);
			else
				cr_assert_eq(tp_ledger_batch_remove(b, TP_LEDGER_NAMES, key, 2), 0);
		}
		if (tp_ledger_apply(l, b) < 0 || (n % 64 == 0 && tp_ledger_sync(l) < 0))
			_exit(1);
		if (write(out, &n, sizeof(n)) != sizeof(n))
			_exit(2);
	}
}

/* Reads one number. The runner's handler of SIGCHLD may interrupt it. */
static bool read_told(int fd, unsigned *ret)
{
	ssize_t n;

	do
		n = read(fd, ret, sizeof(*ret));
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof(*ret);
}

static int read_model(const void *key, size_t key_len, const void *value, size_t value_len, void *user)
{
	char key_text[16] = "", value_text[16] = "";

	cr_assert(key_len == 2 && value_len < sizeof(value_text));
	memcpy(key_text, key, key_len);
	memcpy(value_text, value, value_len);
	((unsigned *)user)[atoi(key_text)] = (unsigned)atoi(value_text);
	return 0;
}

Test(ledger, sigkill_at_any_moment_loses_nothing_that_was_applied_and_undoes_nothing, .timeout = 100)
{
	SCRATCH(dir);
	unsigned model[KEYS] = {0}, n = 0, told;

	for (unsigned round = 0; round < 60; round++) {
		unsigned found[KEYS] = {0};
		struct tp_ledger *l;
		int fd[2];
		pid_t pid;

		cr_assert_eq(pipe2(fd, O_CLOEXEC), 0);
		pid = fork();
		cr_assert_geq(pid, 0);
		if (pid == 0)
			apply_for_ever(dir.path, fd[1], n + 1);
		(void)tp_close(fd[1]);
		/*
		 * The rounds stop after different numbers of changes, and so in different moments of the
		 * writer.
		 */
		for (unsigned i = 0; i < 1 + round * 37 % 500; i++) {
			cr_assert(read_told(fd[0], &told));
			cr_assert_eq(told, n + 1);
			model_batch(++n, model);
		}
		cr_assert_eq(kill(pid, SIGKILL), 0);
		while (read_told(fd[0], &told))
			model_batch(++n, model);
		cr_assert_eq(waitpid(pid, NULL, 0), pid);
		(void)tp_close(fd[0]);
		l = opened(dir.path);
		cr_assert_eq(tp_ledger_scan(l, TP_LEDGER_NAMES, read_model, found), 0);
		if (memcmp(found, model, sizeof(model)) != 0)
			model_batch(++n, model); /* it was applied, and not told any more */
		cr_assert_arr_eq(found, model, sizeof(model), "round %u, batch %u", round, n);
		cr_assert_eq(tp_ledger_close(l), 0);
	}
}

Test(ledger, a_failed_flush_makes_it_read_only_and_the_journal_keeps_what_was_applied)
{
	SCRATCH(dir);
	struct tp_ledger *l = opened(dir.path);
	uint64_t generation;

	tp_ledger_set_block(l, 65536);
	cr_assert_eq(change(l, "a", "1"), 0);
	cr_assert_eq(tp_ledger_trouble(l), 0);
	atomic_store(&flush_errno, EIO);
	cr_assert_eq(tp_ledger_sync(l), -EROFS);
	atomic_store(&flush_errno, 0);
	cr_assert_eq(tp_ledger_trouble(l), EIO);
	cr_assert_eq(change(l, "b", "1"), -EROFS);
	cr_assert_eq(tp_ledger_sync(l), -EROFS);
	/* What is left of the reserved block may still be given out, and no more. */
	generation = 0;
	for (uint64_t g; (g = tp_ledger_next_generation(l)) != 0; generation = g)
		cr_assert_gt(g, generation);
	cr_assert_eq(generation, 65536);
	cr_assert_eq(tp_ledger_close(l), -EROFS);
	l = opened(dir.path);
	assert_names(l, "a=1 ");
	cr_assert_gt(tp_ledger_next_generation(l), generation);
	cr_assert_eq(tp_ledger_close(l), 0);
}

Test(ledger, a_failed_flush_during_replay_refuses_the_state_and_keeps_the_journal)
{
	SCRATCH(dir);
	struct tp_ledger *l;

	in_killed_child(apply_three, dir.path);
	atomic_store(&flush_errno, EIO);
	assert_refused(dir.path, -EIO, "cannot be");
	atomic_store(&flush_errno, 0);
	l = opened(dir.path);
	assert_names(l, "b=1 ");
	cr_assert_eq(tp_ledger_close(l), 0);
}

static void limit_files(rlim_t bytes)
{
	struct rlimit limit;

	(void)signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes ? bytes : limit.rlim_max;
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

Test(ledger, a_full_disk_refuses_a_change_and_takes_it_when_there_is_room)
{
	SCRATCH(dir);
	struct tp_ledger *l = opened(dir.path);
	struct tp_ledger_batch *b = tp_ledger_batch_new();

	cr_assert_eq(change(l, "a", "1"), 0);
	batch_put(b, "b", "a value that does not fit any more into what the file may become");
	limit_files(100);
	cr_assert_eq(tp_ledger_apply(l, b), -ENOSPC);
	limit_files(0);
	cr_assert_eq(tp_ledger_trouble(l), 0);
	cr_assert_eq(tp_ledger_apply(l, b), 0);
	tp_ledger_batch_free(b);
	cr_assert_eq(tp_ledger_close(l), 0);
	l = opened(dir.path);
	assert_names(l, "a=1 b=a value that does not fit any more into what the file may become ");
	cr_assert_eq(tp_ledger_close(l), 0);
}

static atomic_bool full;

int fallocate(int fd, int mode, off_t offset, off_t len)
{
	if (atomic_load(&full)) {
		errno = ENOSPC;
		return -1;
	}
	return (int)syscall(SYS_fallocate, fd, mode, offset, len);
}

Test(ledger, what_was_promised_has_room_and_what_has_none_is_not_promised)
{
	SCRATCH(dir);
	struct tp_ledger *l = opened(dir.path);
	uint64_t promised = 0;

	atomic_store(&full, true);
	for (; tp_ledger_promise(l, 1000, false) == 0; promised += 1000)
		cr_assert_lt(promised, 16 << 20);
	cr_assert_gt(promised, 0);
	cr_assert_eq(tp_ledger_promise(l, 1000, true), 0);
	promised += 1000;
	cr_assert_eq(tp_ledger_promise(l, 1 << 20, true), -ENOSPC);
	tp_ledger_release(l, promised);
	cr_assert_eq(tp_ledger_promise(l, 1000, false), 0);
	atomic_store(&full, false);
	cr_assert_eq(tp_ledger_promise(l, 16 << 20, false), 0);
	cr_assert_eq(change(l, "a", "1"), 0);
	atomic_store(&full, true);
	/* The other file has no room for what is promised. */
	cr_assert_eq(tp_ledger_sync(l), -ENOSPC);
	cr_assert_eq(tp_ledger_trouble(l), ENOSPC);
	cr_assert_eq(change(l, "b", "1"), 0);
	tp_ledger_release(l, (16 << 20) + 1000);
	cr_assert_eq(tp_ledger_sync(l), 0);
	cr_assert_eq(change(l, "c", "1"), 0);
	atomic_store(&full, false);
	cr_assert_eq(tp_ledger_close(l), 0);
	l = opened(dir.path);
	assert_names(l, "a=1 b=1 c=1 ");
	cr_assert_eq(tp_ledger_close(l), 0);
}

Test(ledger, a_commit_without_room_is_tried_again_and_loses_nothing)
{
	SCRATCH(dir);
	struct tp_ledger *l = opened(dir.path);
	struct stat st;

	cr_assert_eq(change(l, "a", "1"), 0);
	cr_assert_eq(tp_ledger_sync(l), 0);
	cr_assert_eq(stat(scratch_path(&dir, "ledger/data.mdb"), &st), 0);
	limit_files((rlim_t)st.st_size);
	/* Enough for LMDB to want new pages, and less than what the journal's file may become. */
	for (unsigned i = 0; i < 300; i++) {
		char key[16];

		(void)snprintf(key, sizeof(key), "key %03u", i);
		cr_assert_eq(change(l, key, "a value that takes a little of the room in a page"), 0);
	}
	/* The other file has no room for what is promised. */
	cr_assert_eq(tp_ledger_sync(l), -ENOSPC);
	cr_assert_eq(tp_ledger_trouble(l), ENOSPC);
	cr_assert_eq(change(l, "b", "1"), 0);
	cr_assert_eq(tp_ledger_sync(l), -ENOSPC);
	limit_files(0);
	cr_assert_eq(tp_ledger_sync(l), 0);
	cr_assert_eq(tp_ledger_trouble(l), 0);
	cr_assert_eq(change(l, "c", "1"), 0);
	cr_assert_eq(tp_ledger_close(l), 0);
	l = opened(dir.path);
	char *all = names(l);
	cr_assert_eq(strncmp(all, "a=1 b=1 c=1 key 000=a value", 27), 0);
	cr_assert_not_null(strstr(all, "key 299=a value"));
	free(all);
	cr_assert_eq(tp_ledger_close(l), 0);
}

Test(ledger, an_exhausted_heap_refuses_a_change_and_makes_nothing_read_only)
{
	SCRATCH(dir);
	struct tp_ledger_info info;
	struct tp_ledger *l;
	struct tp_err err;
	unsigned opens = 0, changes = 0;

	for (unsigned n = 1;; n++) {
		heap_fail_at(n);
		int r = tp_ledger_open(dir.path, &still, 1, &err, &l, &info);

		if (!heap_fail_off()) {
			cr_assert_eq(r, 0);
			break;
		}
		cr_assert_eq(r, -ENOMEM);
		cr_assert_neq(err.text[0], 0);
		opens++;
	}
	cr_assert_eq(opens, 2);
	for (unsigned n = 1;; n++) {
		int r = -ENOMEM;

		heap_fail_at(n);
		struct tp_ledger_batch *b = tp_ledger_batch_new();

		if (b)
			r = tp_ledger_batch_put(b, TP_LEDGER_NAMES, "a", 1, "1", 1);
		if (r == 0)
			r = tp_ledger_apply(l, b);
		tp_ledger_batch_free(b);
		if (!heap_fail_off()) {
			cr_assert_eq(r, 0);
			break;
		}
		cr_assert_eq(r, -ENOMEM);
		cr_assert_eq(tp_ledger_trouble(l), 0);
		changes++;
	}
	cr_assert_eq(changes, 2);
	cr_assert_eq(tp_ledger_close(l), 0);
}

static int count_bytes(const void *key, size_t key_len, const void *value, size_t value_len, void *user)
{
	*(uint64_t *)user += value_len;
	return 0;
}

static void fill(struct tp_ledger *l, unsigned from, unsigned to)
{
	static char value[128 * 1024];
	struct tp_ledger_batch *b = tp_ledger_batch_new();

	for (unsigned i = from; i < to; i++) {
		cr_assert_eq(tp_ledger_batch_put(b, TP_LEDGER_NODES, &i, sizeof(i), value, sizeof(value)), 0);
		cr_assert_eq(tp_ledger_apply(l, b), 0);
	}
	tp_ledger_batch_free(b);
}

static void fill_much(const char *state)
{
	fill(opened(state), 600, 900);
}

/* The map begins with 64 MiB. */
Test(ledger, a_full_map_grows_in_a_commit_and_in_a_replay, .timeout = 100)
{
	SCRATCH(dir);
	struct tp_ledger *l = opened(dir.path);
	uint64_t bytes = 0;

	fill(l, 0, 600);
	cr_assert_eq(tp_ledger_sync(l), 0);
	cr_assert_eq(tp_ledger_scan(l, TP_LEDGER_NODES, count_bytes, &bytes), 0);
	cr_assert_eq(bytes, 600 * 128 * 1024);
	cr_assert_eq(tp_ledger_close(l), 0);
	in_killed_child(fill_much, dir.path);
	l = opened(dir.path);
	bytes = 0;
	cr_assert_eq(tp_ledger_scan(l, TP_LEDGER_NODES, count_bytes, &bytes), 0);
	cr_assert_eq(bytes, 900 * 128 * 1024);
	cr_assert_eq(tp_ledger_close(l), 0);
}

static int stop_at_second(const void *key, size_t key_len, const void *value, size_t value_len, void *user)
{
	return ++*(int *)user == 2 ? -ECANCELED : 0;
}

Test(ledger, a_scan_stops_where_it_is_told_to)
{
	SCRATCH(dir);
	struct tp_ledger *l = opened(dir.path);
	int calls = 0;

	cr_assert_eq(change(l, "a", "1"), 0);
	cr_assert_eq(change(l, "b", "1"), 0);
	cr_assert_eq(change(l, "c", "1"), 0);
	cr_assert_eq(tp_ledger_sync(l), 0);
	cr_assert_eq(tp_ledger_scan(l, TP_LEDGER_NAMES, stop_at_second, &calls), -ECANCELED);
	cr_assert_eq(calls, 2);
	cr_assert_eq(change(l, "d", "1"), 0);
	cr_assert_eq(tp_ledger_sync(l), 0);
	cr_assert_eq(tp_ledger_close(l), 0);
}

struct busy {
	struct tp_ledger *l;
	unsigned number;
	uint64_t generations[2000];
};

static void *be_busy(void *arg)
{
	struct busy *b = arg;
	char key[16], value[16];

	for (unsigned i = 0; i < 2000; i++) {
		(void)snprintf(key, sizeof(key), "%u-%u", b->number, i % 50);
		(void)snprintf(value, sizeof(value), "%u", i);
		b->generations[i] = tp_ledger_next_generation(b->l);
		if (change(b->l, key, value) < 0)
			return arg;
		if (i % 100 == b->number && tp_ledger_sync(b->l) < 0)
			return arg;
		if (tp_ledger_trouble(b->l))
			return arg;
	}
	return NULL;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int is_last(const void *key, size_t key_len, const void *value, size_t value_len, void *user)
{
	unsigned number, i;
	char text[64];

	(void)snprintf(text, sizeof(text), "%.*s %.*s", (int)key_len, (const char *)key, (int)value_len,
		(const char *)value);
	cr_assert_eq(sscanf(text, "%u-%u", &number, &i), 2);
	cr_assert_eq((unsigned)atoi(strchr(text, ' ')), 1950 + i);
	(*(unsigned *)user)++;
	return 0;
}

Test(ledger, threads_apply_and_sync_at_the_same_time, .timeout = 100)
{
	SCRATCH(dir);
	static struct busy busy[4];
	static uint64_t all[8000];
	struct tp_ledger_info info;
	struct tp_ledger *l = opened_with(dir.path, tp_clock_system(), TP_NS_PER_MS, &info);
	pthread_t thread[4];
	unsigned found = 0;
	void *failed;

	for (unsigned i = 0; i < 4; i++) {
		busy[i] = (struct busy){.l = l, .number = i};
		cr_assert_eq(pthread_create(&thread[i], NULL, be_busy, &busy[i]), 0);
	}
	for (unsigned i = 0; i < 4; i++) {
		cr_assert_eq(pthread_join(thread[i], &failed), 0);
		cr_assert_null(failed);
		memcpy(all + i * 2000, busy[i].generations, sizeof(busy[i].generations));
	}
	cr_assert_eq(tp_ledger_close(l), 0);
	qsort(all, 8000, sizeof(*all), compare);
	for (unsigned i = 1; i < 8000; i++)
		cr_assert_gt(all[i], all[i - 1]);
	l = opened(dir.path);
	cr_assert_eq(tp_ledger_scan(l, TP_LEDGER_NAMES, is_last, &found), 0);
	cr_assert_eq(found, 200);
	cr_assert_eq(tp_ledger_close(l), 0);
}
