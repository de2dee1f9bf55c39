/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What others see of a file while somebody writes it, and what is left of it when its writer is killed.
 *
 * Here is where a file system that publishes whole files differs from one that shows every byte at once.
 */
#include "files.h"

#include <dirent.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* A new file with these bytes that stays open. */
static int being_written(const char *name, const char *bytes)
{
	int fd = (int)OK(open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0644));

	EQ(write(fd, bytes, strlen(bytes)), strlen(bytes));
	return fd;
}

static bool is_listed(const char *name)
{
	DIR *dir = opendir(".");
	struct dirent *e;
	bool found = false;

	CHECK(dir);
	while ((e = readdir(dir)))
		found = found || strcmp(e->d_name, name) == 0;
	closedir(dir);
	return found;
}

static void reads(int fd, const char *bytes)
{
	char b[64];

	EQ(pread(fd, b, sizeof b, 0), strlen(bytes));
	CHECK(memcmp(b, bytes, strlen(bytes)) == 0);
}

/* ---- a new file ---- */

TP_CASE(writers, new_file_is_found_by_others_before_its_close, TP_ANYBODY)
{
	struct stat st;

	being_written(N("f"), "abc");
	AS (TP_SAME) {
		OK(stat(N("f"), &st));
		EQ(st.st_size, 3);
	}
}

TP_CASE(writers, new_file_is_found_by_its_writer_before_its_close, TP_ANYBODY)
{
	being_written(N("f"), "abc");
	EQ(tp_stat(N("f")).st_size, 3);
	OK(access(N("f"), R_OK));
	CHECK(is_listed(N("f")));
	HOLDS(N("f"), "abc", 3);
}

TP_CASE(writers, new_file_is_listed_for_others_before_its_close, TP_ANYBODY)
{
	being_written(N("f"), "abc");
	AS (TP_SAME)
		CHECK(is_listed(N("f")));
}

TP_CASE(writers, new_file_is_read_by_others_before_its_close, TP_ANYBODY)
{
	being_written(N("f"), "abc");
	AS (TP_SAME)
		HOLDS(N("f"), "abc", 3);
}

TP_CASE(writers, new_file_is_unlinked_by_others_before_its_close, TP_ANYBODY)
{
	int fd = being_written(N("f"), "abc");

	AS (TP_SAME)
		OK(unlink(N("f")));
	(void)close(fd);
	CHECK(!tp_exists(N("f")));
}

TP_CASE(writers, new_file_is_renamed_by_others_before_its_close, TP_ANYBODY)
{
	int fd = being_written(N("f"), "abc");

	AS (TP_SAME)
		OK(rename(N("f"), N("g")));
	OK(close(fd));
	HOLDS(N("g"), "abc", 3);
}

TP_CASE(writers, new_file_is_linked_by_others_before_its_close, TP_ANYBODY)
{
	int fd = being_written(N("f"), "abc");

	AS (TP_SAME)
		OK(link(N("f"), N("g")));
	OK(close(fd));
	HOLDS(N("g"), "abc", 3);
}

TP_CASE(writers, new_file_is_changed_by_others_before_its_close, TP_ANYBODY)
{
	int fd = being_written(N("f"), "abc");

	AS (TP_SAME)
		OK(chmod(N("f"), 0600));
	EQ(tp_fstat(fd).st_mode, S_IFREG | 0600);
}

TP_CASE(writers, new_file_is_opened_for_writing_by_others_before_its_close, TP_ANYBODY)
{
	int fd = being_written(N("f"), "abc");

	AS (TP_SAME) {
		int mine = (int)OK(open(N("f"), O_WRONLY));

		EQ(pwrite(mine, "X", 1, 1), 1);
	}
	reads(fd, "aXc");
}

TP_CASE(writers, new_file_refuses_excl_by_others_before_its_close, TP_ANYBODY)
{
	being_written(N("f"), "abc");
	AS (TP_SAME)
		FAILS(open(N("f"), O_WRONLY | O_CREAT | O_EXCL, 0644), EEXIST);
	FAILS(open(N("f"), O_WRONLY | O_CREAT | O_EXCL, 0644), EEXIST);
}

TP_CASE(writers, new_file_refuses_mkdir_by_others_before_its_close, TP_ANYBODY)
{
	being_written(N("f"), "abc");
	AS (TP_SAME)
		FAILS(mkdir(N("f"), 0755), EEXIST);
}

TP_CASE(writers, new_file_refuses_mkdir_by_its_writer, TP_ANYBODY)
{
	being_written(N("f"), "abc");
	FAILS(mkdir(N("f"), 0755), EEXIST);
}

TP_CASE(writers, new_file_is_replaced_by_others_and_closes_well, TP_ANYBODY)
{
	int fd = being_written(N("f"), "abc");

	AS (TP_SAME) {
		tp_put(N("g"), "other", 5);
		OK(rename(N("g"), N("f")));
	}
	OK(close(fd));
	HOLDS(N("f"), "other", 5);
}

TP_CASE(writers, new_file_is_joined_with_o_creat, TP_ANYBODY)
{
	int fd = being_written(N("f"), "abc");

	AS (TP_SAME) {
		int mine = (int)OK(open(N("f"), O_WRONLY | O_CREAT, 0644));

		EQ(pwrite(mine, "def", 3, 3), 3);
		OK(close(mine));
	}
	EQ(pwrite(fd, "X", 1, 0), 1);
	OK(close(fd));
	HOLDS(N("f"), "Xbcdef", 6);
}

TP_CASE(writers, new_file_is_emptied_by_others_with_o_trunc, TP_ANYBODY)
{
	int fd = being_written(N("f"), "abcdef");

	AS (TP_SAME) {
		int mine = (int)OK(open(N("f"), O_WRONLY | O_CREAT | O_TRUNC, 0644));

		EQ(write(mine, "x", 1), 1);
		OK(close(mine));
	}
	OK(close(fd));
	HOLDS(N("f"), "x", 1);
}

TP_CASE(writers, new_file_is_emptied_by_its_writer_with_o_trunc, TP_ANYBODY)
{
	int fd = being_written(N("f"), "abcdef");
	int again = (int)OK(open(N("f"), O_WRONLY | O_CREAT | O_TRUNC, 0644));

	EQ(tp_fstat(fd).st_size, 0);
	EQ(write(again, "x", 1), 1);
	OK(close(again));
	reads(fd, "x");
	OK(close(fd));
	HOLDS(N("f"), "x", 1);
}

TP_CASE(writers, new_file_keeps_its_directory_from_others, TP_ANYBODY)
{
	tp_mkdir(N("d"));
	being_written(N("d/f"), "abc");
	AS (TP_SAME)
		FAILS(rmdir(N("d")), ENOTEMPTY);
}

TP_CASE(writers, new_file_keeps_its_directory_from_its_writer, TP_ANYBODY)
{
	tp_mkdir(N("d"));
	being_written(N("d/f"), "abc");
	FAILS(rmdir(N("d")), ENOTEMPTY);
}

TP_CASE(writers, new_file_is_seen_by_others_after_its_close, TP_ANYBODY)
{
	OK(close(being_written(N("f"), "abc")));
	AS (TP_SAME) {
		HOLDS(N("f"), "abc", 3);
		CHECK(is_listed(N("f")));
	}
}

TP_CASE(writers, new_file_renamed_while_written_is_seen_by_others, TP_ANYBODY)
{
	being_written(N("f"), "abc");
	OK(rename(N("f"), N("g")));
	AS (TP_SAME)
		HOLDS(N("g"), "abc", 3);
}

TP_CASE(writers, new_file_moves_with_its_directory, TP_ANYBODY)
{
	int fd;

	tp_mkdir(N("d"));
	fd = being_written(N("d/f"), "abc");
	OK(rename(N("d"), N("e")));
	EQ(write(fd, "def", 3), 3);
	OK(close(fd));
	AS (TP_SAME)
		HOLDS(N("e/f"), "abcdef", 6);
}

TP_CASE(writers, new_file_by_mknod_is_seen_by_others, TP_ANYBODY)
{
	OK(mknod(N("f"), S_IFREG | 0644, 0));
	AS (TP_SAME)
		HOLDS(N("f"), "", 0);
}

TP_CASE(writers, new_file_is_written_by_a_child_that_inherits_it, TP_ANYBODY)
{
	int fd = being_written(N("f"), "abc");

	AS (TP_SAME)
		EQ(write(fd, "def", 3), 3);
	OK(close(fd));
	AS (TP_SAME)
		HOLDS(N("f"), "abcdef", 6);
}

TP_CASE(writers, new_file_is_complete_when_the_last_of_two_closes, TP_ANYBODY)
{
	struct tp_side side;
	int fd = being_written(N("f"), "abc");

	if (tp_side_start(&side, TP_SAME)) {
		tp_side_await(&side);
		EQ(write(fd, "def", 3), 3);
		OK(close(fd));
		tp_side_end(&side);
	}
	OK(close(fd));
	tp_side_tell(&side);
	tp_side_end(&side);
	HOLDS(N("f"), "abcdef", 6);
}

TP_CASE(writers, unlinked_new_file_frees_its_name_for_others, TP_ANYBODY)
{
	int fd = being_written(N("f"), "abc");

	OK(unlink(N("f")));
	AS (TP_SAME) {
		CHECK(!tp_exists(N("f")));
		tp_put(N("f"), "other", 5);
	}
	OK(close(fd));
	HOLDS(N("f"), "other", 5);
}

/* ---- a file that is there already ---- */

TP_CASE(writers, overwritten_bytes_are_seen_by_others_before_the_close, TP_ANYBODY)
{
	int fd;

	tp_put(N("f"), "old", 3);
	fd = (int)OK(open(N("f"), O_WRONLY));
	EQ(write(fd, "new", 3), 3);
	AS (TP_SAME)
		HOLDS(N("f"), "new", 3);
	OK(close(fd));
}

TP_CASE(writers, overwritten_bytes_are_seen_by_the_writer_before_the_close, TP_ANYBODY)
{
	int fd;

	tp_put(N("f"), "old", 3);
	fd = (int)OK(open(N("f"), O_WRONLY));
	EQ(write(fd, "newer", 5), 5);
	HOLDS(N("f"), "newer", 5);
	EQ(tp_stat(N("f")).st_size, 5);
	OK(close(fd));
}

TP_CASE(writers, overwritten_bytes_are_seen_by_others_after_the_close, TP_ANYBODY)
{
	int fd;

	tp_put(N("f"), "old", 3);
	AS (TP_SAME)
		HOLDS(N("f"), "old", 3);
	fd = (int)OK(open(N("f"), O_WRONLY));
	EQ(write(fd, "newer", 5), 5);
	OK(close(fd));
	AS (TP_SAME)
		HOLDS(N("f"), "newer", 5);
}

TP_CASE(writers, overwritten_bytes_are_seen_by_an_open_reader, TP_ANYBODY)
{
	int reader, fd;

	tp_put(N("f"), "old", 3);
	reader = (int)OK(open(N("f"), O_RDONLY));
	reads(reader, "old");
	fd = (int)OK(open(N("f"), O_WRONLY));
	EQ(write(fd, "new", 3), 3);
	reads(reader, "new");
	OK(close(fd));
}

TP_CASE(writers, overwritten_bytes_are_seen_by_an_open_reader_after_the_close, TP_ANYBODY)
{
	int reader, fd;

	tp_put(N("f"), "old", 3);
	reader = (int)OK(open(N("f"), O_RDONLY));
	fd = (int)OK(open(N("f"), O_WRONLY));
	EQ(write(fd, "new", 3), 3);
	OK(close(fd));
	reads(reader, "new");
}

TP_CASE(writers, overwritten_bytes_are_seen_in_a_readers_mapping, TP_ANYBODY)
{
	char *m;
	int reader, fd;

	tp_put(N("f"), "old", 3);
	reader = (int)OK(open(N("f"), O_RDONLY));
	m = (char *)OK(mmap(NULL, 3, PROT_READ, MAP_SHARED, reader, 0));
	CHECK(memcmp(m, "old", 3) == 0);
	fd = (int)OK(open(N("f"), O_WRONLY));
	EQ(write(fd, "new", 3), 3);
	OK(close(fd));
	CHECK(memcmp(m, "new", 3) == 0);
}

TP_CASE(writers, o_trunc_is_seen_by_an_open_reader, TP_ANYBODY)
{
	int reader;

	tp_put(N("f"), "old", 3);
	reader = (int)OK(open(N("f"), O_RDONLY));
	OK(close((int)OK(open(N("f"), O_WRONLY | O_TRUNC))));
	reads(reader, "");
}

TP_CASE(writers, o_trunc_is_seen_by_others_before_the_close, TP_ANYBODY)
{
	int fd;

	tp_put(N("f"), "old", 3);
	fd = (int)OK(open(N("f"), O_WRONLY | O_TRUNC));
	AS (TP_SAME)
		HOLDS(N("f"), "", 0);
	OK(close(fd));
}

TP_CASE(writers, truncate_is_seen_by_an_open_reader, TP_ANYBODY)
{
	int reader;

	tp_put(N("f"), "old", 3);
	reader = (int)OK(open(N("f"), O_RDONLY));
	OK(truncate(N("f"), 1));
	reads(reader, "o");
}

TP_CASE(writers, truncate_is_seen_by_others, TP_ANYBODY)
{
	tp_put(N("f"), "old", 3);
	OK(truncate(N("f"), 1));
	AS (TP_SAME)
		HOLDS(N("f"), "o", 1);
}

TP_CASE(writers, growth_is_seen_by_fstat_of_an_open_reader, TP_ANYBODY)
{
	int reader, fd;

	tp_put(N("f"), "old", 3);
	reader = (int)OK(open(N("f"), O_RDONLY));
	fd = (int)OK(open(N("f"), O_WRONLY));
	EQ(write(fd, "longer", 6), 6);
	OK(close(fd));
	EQ(tp_fstat(reader).st_size, 6);
}

TP_CASE(writers, mode_and_times_are_seen_by_fstat_of_an_open_reader, TP_ANYBODY)
{
	struct timespec t[2] = {{100, 1}, {200, 2}};
	int reader;

	tp_put(N("f"), "old", 3);
	reader = (int)OK(open(N("f"), O_RDONLY));
	OK(chmod(N("f"), 0600));
	OK(utimensat(AT_FDCWD, N("f"), t, 0));
	EQ(tp_fstat(reader).st_mode, S_IFREG | 0600);
	EQ(tp_fstat(reader).st_mtim.tv_nsec, 2);
	OK(unlink(N("f")));
	EQ(tp_fstat(reader).st_nlink, 0);
}

TP_CASE(writers, replaced_file_stays_with_its_open_reader, TP_ANYBODY)
{
	int reader;

	tp_put(N("f"), "old", 3);
	reader = (int)OK(open(N("f"), O_RDONLY));
	AS (TP_SAME) {
		tp_put(N("g"), "newer", 5);
		OK(rename(N("g"), N("f")));
	}
	reads(reader, "old");
	EQ(tp_fstat(reader).st_size, 3);
	HOLDS(N("f"), "newer", 5);
}

TP_CASE(writers, two_processes_write_two_halves, TP_ANYBODY)
{
	struct tp_side side;
	int fd;

	tp_put(N("f"), "........", 8);
	fd = (int)OK(open(N("f"), O_WRONLY));
	EQ(pwrite(fd, "ab", 2, 0), 2);
	if (tp_side_start(&side, TP_SAME)) {
		int mine = (int)OK(open(N("f"), O_WRONLY));

		EQ(pwrite(mine, "xyz", 3, 4), 3);
		tp_side_tell(&side);
		tp_side_await(&side);
		OK(close(mine));
		tp_side_end(&side);
	}
	tp_side_await(&side);
	EQ(pwrite(fd, "cd", 2, 2), 2);
	OK(close(fd));
	tp_side_tell(&side);
	tp_side_end(&side);
	HOLDS(N("f"), "abcdxyz.", 8);
}

TP_CASE(writers, opened_for_writing_and_closed_leaves_the_bytes, TP_ANYBODY)
{
	tp_put(N("f"), "old", 3);
	OK(close((int)OK(open(N("f"), O_RDWR))));
	AS (TP_SAME) {
		OK(close((int)OK(open(N("f"), O_WRONLY))));
		HOLDS(N("f"), "old", 3);
	}
}

TP_CASE(writers, inode_number_is_the_same_for_all_while_it_is_overwritten, TP_ANYBODY)
{
	struct stat before;
	int fd;

	tp_put(N("f"), "old", 3);
	before = tp_stat(N("f"));
	fd = (int)OK(open(N("f"), O_WRONLY | O_TRUNC));
	SAME_FILE(before, tp_fstat(fd));
	SAME_FILE(before, tp_stat(N("f")));
	AS (TP_SAME)
		SAME_FILE(before, tp_stat(N("f")));
	OK(close(fd));
	SAME_FILE(before, tp_stat(N("f")));
}

/* ---- logs ---- */

TP_CASE(writers, appended_lines_are_seen_by_others_at_once, TP_ANYBODY)
{
	int fd = (int)OK(open(N("log"), O_WRONLY | O_CREAT | O_APPEND, 0644));

	EQ(write(fd, "one\n", 4), 4);
	AS (TP_SAME)
		HOLDS(N("log"), "one\n", 4);
	EQ(write(fd, "two\n", 4), 4);
	AS (TP_SAME) {
		HOLDS(N("log"), "one\ntwo\n", 8);
		EQ(tp_stat(N("log")).st_size, 8);
	}
}

TP_CASE(writers, appended_lines_are_seen_by_an_open_reader, TP_ANYBODY)
{
	int fd, reader;
	char b[16];

	tp_put(N("log"), "one\n", 4);
	reader = (int)OK(open(N("log"), O_RDONLY));
	EQ(read(reader, b, sizeof b), 4);
	EQ(read(reader, b, sizeof b), 0);
	fd = (int)OK(open(N("log"), O_WRONLY | O_APPEND));
	EQ(write(fd, "two\n", 4), 4);
	EQ(tp_fstat(reader).st_size, 8);
	EQ(read(reader, b, sizeof b), 4);
	CHECK(memcmp(b, "two\n", 4) == 0);
	OK(close(fd));
}

TP_CASE(writers, four_processes_append_without_loss, TP_ANYBODY)
{
	struct tp_side sides[4];
	char b[2000];
	int fd, count[4] = {0};

	for (int i = 0; i < 4; i++)
		if (tp_side_start(&sides[i], TP_SAME)) {
			fd = (int)OK(open(N("log"), O_WRONLY | O_CREAT | O_APPEND, 0644));
			for (int k = 0; k < 50; k++) {
				char line[] = "x line\n";

				line[0] = (char)('0' + i);
				EQ(write(fd, line, 7), 7);
			}
			OK(close(fd));
			tp_side_end(&sides[i]);
		}
	for (int i = 0; i < 4; i++)
		tp_side_end(&sides[i]);
	fd = (int)OK(open(N("log"), O_RDONLY));
	EQ(read(fd, b, sizeof b), 4 * 50 * 7);
	for (int i = 0; i < 200; i++) {
		CHECK(b[7 * i] >= '0' && b[7 * i] < '4' && memcmp(b + 7 * i + 1, " line\n", 6) == 0);
		count[b[7 * i] - '0']++;
	}
	for (int i = 0; i < 4; i++)
		EQ(count[i], 50);
}

/* ---- writers that do not end well ---- */

enum end { KILLED, KILLED_AFTER_FSYNC, EXIT_3, EXIT_3_AFTER_FSYNC, EXIT_0, CLOSED_THEN_KILLED, ENDS };

static const char *const end_names[] = {"killed", "killed_after_fsync", "exits_with_3",
	"exits_with_3_after_fsync", "exits_with_0", "killed_after_close"};

/* A child writes the bytes with these flags and ends like this, without a close. */
static void write_and_end(int flags, enum end end)
{
	pid_t pid = (pid_t)OK(fork());
	int status, fd;

	if (pid > 0) {
		OK(waitpid(pid, &status, 0));
		EQ(tp_verdict->words[0], 1);
		return;
	}
	fd = (int)OK(open(N("f"), flags | O_WRONLY, 0644));
	EQ(write(fd, "new bytes", 9), 9);
	if (end == KILLED_AFTER_FSYNC || end == EXIT_3_AFTER_FSYNC)
		OK(fsync(fd));
	if (end == CLOSED_THEN_KILLED)
		OK(close(fd));
	tp_verdict->words[0] = 1;
	if (end == EXIT_3 || end == EXIT_3_AFTER_FSYNC)
		_exit(3);
	if (end == EXIT_0)
		_exit(0);
	raise(SIGKILL);
}

static void new_file_of_one_that(const struct tp_case *c)
{
	write_and_end(O_CREAT, (enum end)c->a);
	HOLDS(N("f"), "new bytes", 9);
	CHECK(is_listed(N("f")));
}

static void old_file_of_one_that(const struct tp_case *c)
{
	tp_put(N("f"), "old", 3);
	write_and_end(O_TRUNC, (enum end)c->a);
	HOLDS(N("f"), "new bytes", 9);
}

static void log_of_one_that(const struct tp_case *c)
{
	tp_put(N("f"), "old ", 4);
	write_and_end(O_APPEND, (enum end)c->a);
	HOLDS(N("f"), "old new bytes", 13);
}

TP_CASES(bad_ends)
{
	for (int end = 0; end < ENDS; end++) {
		tp_case_add(TP_ANYBODY, new_file_of_one_that, end, 0, 0,
			"writers/new_file_of_one_that_%s_is_kept", end_names[end]);
		tp_case_add(TP_ANYBODY, old_file_of_one_that, end, 0, 0,
			"writers/overwritten_file_of_one_that_%s_is_new", end_names[end]);
		tp_case_add(TP_ANYBODY, log_of_one_that, end, 0, 0, "writers/log_of_one_that_%s_is_kept",
			end_names[end]);
	}
}
