/* SPDX-License-Identifier: Apache-2.0 */
/* open, creat, openat: errors, flags, modes. */
#include "files.h"

#include <sys/resource.h>
#include <sys/uio.h>

/* ---- what is missing or in the way ---- */

TP_CASE(open, missing_name_is_enoent, TP_ANYBODY)
{
	FAILS(open(N("f"), O_RDONLY), ENOENT);
	FAILS(open(N("f"), O_WRONLY), ENOENT);
	FAILS(open(N("f"), O_RDWR | O_TRUNC), ENOENT);
}

TP_CASE(open, empty_path_is_enoent, TP_ANYBODY)
{
	FAILS(open("", O_RDONLY), ENOENT);
	FAILS(open("", O_WRONLY | O_CREAT, 0644), ENOENT);
}

TP_CASE(open, missing_parent_is_enoent, TP_ANYBODY)
{
	FAILS(open(N("d/f"), O_RDONLY), ENOENT);
	FAILS(open(N("d/f"), O_WRONLY | O_CREAT, 0644), ENOENT);
}

static void below_a_non_directory(const struct tp_case *c)
{
	tp_make((enum tp_type)c->a, N("x"));
	FAILS(open(N("x/f"), O_RDONLY), ENOTDIR);
	FAILS(open(N("x/f"), O_WRONLY | O_CREAT, 0644), ENOTDIR);
	FAILS(open(N("x/."), O_RDONLY), ENOTDIR);
	FAILS(open(N("x/.."), O_RDONLY), ENOTDIR);
	FAILS(open(N("x/"), O_RDONLY), ENOTDIR);
}

static void excl_on(const struct tp_case *c)
{
	struct stat before, after;

	tp_make((enum tp_type)c->a, N("x"));
	before = tp_stat(N("x"));
	FAILS(open(N("x"), O_WRONLY | O_CREAT | O_EXCL, 0644), EEXIST);
	FAILS(open(N("x"), O_RDONLY | O_CREAT | O_EXCL | O_TRUNC, 0644), EEXIST);
	after = tp_stat(N("x"));
	SAME_FILE(before, after);
	tp_type_check((enum tp_type)c->a, N("x"));
}

static void directory_flag_on(const struct tp_case *c)
{
	enum tp_type type = (enum tp_type)c->a;

	tp_make(type, N("x"));
	if (tp_type_is_dir(type))
		OK(open(N("x"), O_RDONLY | O_DIRECTORY));
	else
		FAILS(open(N("x"), O_RDONLY | O_DIRECTORY | O_NONBLOCK),
			type == TP_DANGLING ? ENOENT : ENOTDIR);
}

static void path_flag_on(const struct tp_case *c)
{
	enum tp_type type = (enum tp_type)c->a;
	struct stat st;
	char b;
	int fd;

	tp_make(type, N("x"));
	fd = (int)OK(open(N("x"), O_PATH | O_NOFOLLOW));
	st = tp_fstat(fd);
	SAME_FILE(st, tp_stat(N("x")));
	EQ(st.st_mode & S_IFMT, tp_type_mode(type));
	FAILS(read(fd, &b, 1), EBADF);
	FAILS(write(fd, "x", 1), EBADF);
	FAILS(fchmod(fd, 0600), EBADF);
	FAILS(fsync(fd), EBADF);
}

TP_CASES(open_types)
{
	for (enum tp_type t = 0; t < TP_TYPES; t++) {
		enum tp_case_who who = tp_type_who(t);

		if (!tp_type_is_dir(t) && t != TP_LINK && t != TP_DANGLING)
			tp_case_add(who, below_a_non_directory, t, 0, 0, "open/below_a_%s_is_enotdir",
				tp_type_name(t));
		tp_case_add(who, excl_on, t, 0, 0, "open/excl_on_%s_is_eexist", tp_type_name(t));
		tp_case_add(who, directory_flag_on, t, 0, 0, "open/o_directory_on_%s", tp_type_name(t));
		tp_case_add(who, path_flag_on, t, 0, 0, "open/o_path_on_%s", tp_type_name(t));
	}
}

TP_CASE(open, directory_for_writing_is_eisdir, TP_ANYBODY)
{
	tp_mkdir(N("d"));
	FAILS(open(N("d"), O_WRONLY), EISDIR);
	FAILS(open(N("d"), O_RDWR), EISDIR);
	FAILS(open(N("d"), O_RDONLY | O_TRUNC), EISDIR);
	FAILS(open(N("d"), O_RDONLY | O_CREAT, 0644), EISDIR);
	FAILS(open(N("d"), O_WRONLY | O_APPEND), EISDIR);
	OK(open(N("d"), O_RDONLY));
}

TP_CASE(open, reading_a_directory_is_eisdir, TP_ANYBODY)
{
	char b;
	int fd;

	tp_mkdir(N("d"));
	fd = (int)OK(open(N("d"), O_RDONLY));
	FAILS(read(fd, &b, 1), EISDIR);
	FAILS(pread(fd, &b, 1, 0), EISDIR);
	FAILS(write(fd, "x", 1), EBADF);
}

TP_CASE(open, trailing_slash_on_a_new_name_is_eisdir, TP_ANYBODY)
{
	FAILS(open(N("new/"), O_WRONLY | O_CREAT, 0644), EISDIR);
	CHECK(!tp_exists(N("new")));
}

TP_CASE(open, nofollow_on_a_symlink_is_eloop, TP_ANYBODY)
{
	tp_touch(N("f"));
	OK(symlink(N("f"), N("l")));
	FAILS(open(N("l"), O_RDONLY | O_NOFOLLOW), ELOOP);
	FAILS(open(N("l"), O_WRONLY | O_NOFOLLOW | O_TRUNC), ELOOP);
	FAILS(open(N("l"), O_WRONLY | O_CREAT | O_NOFOLLOW, 0644), ELOOP);
	OK(open(N("f"), O_RDONLY | O_NOFOLLOW));
}

TP_CASE(open, nofollow_follows_in_the_middle, TP_ANYBODY)
{
	tp_mkdir(N("d"));
	tp_put(N("d/f"), "x", 1);
	OK(symlink(N("d"), N("l")));
	OK(open(N("l/f"), O_RDONLY | O_NOFOLLOW));
}

TP_CASE(open, dangling_symlink_is_enoent, TP_ANYBODY)
{
	OK(symlink(N("to"), N("l")));
	FAILS(open(N("l"), O_RDONLY), ENOENT);
	FAILS(open(N("l"), O_WRONLY), ENOENT);
}

TP_CASE(open, creat_through_a_dangling_symlink_makes_its_target, TP_ANYBODY)
{
	int fd;

	OK(symlink(N("to"), N("l")));
	fd = (int)OK(open(N("l"), O_WRONLY | O_CREAT, 0644));
	EQ(write(fd, "abc", 3), 3);
	OK(close(fd));
	HOLDS(N("to"), "abc", 3);
	CHECK(S_ISLNK(tp_stat(N("l")).st_mode));
}

TP_CASE(open, creat_through_a_symlink_into_a_missing_directory_is_enoent, TP_ANYBODY)
{
	OK(symlink(N("d/to"), N("l")));
	FAILS(open(N("l"), O_WRONLY | O_CREAT, 0644), ENOENT);
}

TP_CASE(open, symlink_loop_is_eloop, TP_ANYBODY)
{
	OK(symlink(N("b"), N("a")));
	OK(symlink(N("a"), N("b")));
	FAILS(open(N("a"), O_RDONLY), ELOOP);
	FAILS(open(N("a"), O_WRONLY | O_CREAT, 0644), ELOOP);
	FAILS(open(N("a/x"), O_RDONLY), ELOOP);
}

TP_CASE(open, socket_is_enxio, TP_ANYBODY)
{
	tp_make(TP_SOCKET, N("s"));
	FAILS(open(N("s"), O_RDONLY), ENXIO);
	FAILS(open(N("s"), O_RDWR), ENXIO);
}

TP_CASE(open, creat_with_o_directory_is_einval, TP_ANYBODY)
{
	FAILS(open(N("f"), O_RDONLY | O_CREAT | O_DIRECTORY, 0644), EINVAL);
	CHECK(!tp_exists(N("f")));
}

/* ---- openat ---- */

TP_CASE(openat, relative_to_a_directory, TP_ANYBODY)
{
	int dir, fd;

	tp_mkdir(N("d"));
	dir = (int)OK(open(N("d"), O_RDONLY | O_DIRECTORY));
	fd = (int)OK(openat(dir, N("f"), O_WRONLY | O_CREAT, 0644));
	EQ(write(fd, "abc", 3), 3);
	OK(close(fd));
	HOLDS(N("d/f"), "abc", 3);
}

TP_CASE(openat, relative_to_an_o_path_directory, TP_ANYBODY)
{
	int dir;

	tp_mkdir(N("d"));
	tp_touch(N("d/f"));
	dir = (int)OK(open(N("d"), O_PATH));
	OK(openat(dir, N("f"), O_RDONLY));
	FAILS(openat(dir, N("g"), O_RDONLY), ENOENT);
}

TP_CASE(openat, relative_to_a_file_is_enotdir, TP_ANYBODY)
{
	int fd;

	tp_touch(N("f"));
	fd = (int)OK(open(N("f"), O_RDONLY));
	FAILS(openat(fd, N("x"), O_RDONLY), ENOTDIR);
	FAILS(openat(fd, N("x"), O_WRONLY | O_CREAT, 0644), ENOTDIR);
}

TP_CASE(openat, bad_descriptor_is_ebadf, TP_ANYBODY)
{
	FAILS(openat(-1, N("x"), O_RDONLY), EBADF);
	FAILS(openat(1 << 20, N("x"), O_WRONLY | O_CREAT, 0644), EBADF);
}

TP_CASE(openat, renamed_directory_is_still_the_base, TP_ANYBODY)
{
	int dir;

	tp_mkdir(N("d"));
	dir = (int)OK(open(N("d"), O_RDONLY | O_DIRECTORY));
	OK(rename(N("d"), N("e")));
	OK(close((int)OK(openat(dir, N("f"), O_WRONLY | O_CREAT, 0644))));
	CHECK(tp_exists(N("e/f")));
}

TP_CASE(openat, creating_in_a_removed_directory_is_enoent, TP_ANYBODY)
{
	int dir;

	tp_mkdir(N("d"));
	dir = (int)OK(open(N("d"), O_RDONLY | O_DIRECTORY));
	OK(rmdir(N("d")));
	FAILS(openat(dir, N("f"), O_WRONLY | O_CREAT, 0644), ENOENT);
	FAILS(mkdirat(dir, N("f"), 0755), ENOENT);
	FAILS(symlinkat("x", dir, N("f")), ENOENT);
	FAILS(mknodat(dir, N("f"), S_IFIFO | 0644, 0), ENOENT);
}

/* ---- modes of what is created ---- */

static void creates_with_mode(const struct tp_case *c)
{
	mode_t mode = (mode_t)c->a, mask = (mode_t)c->b;
	int fd;

	umask(mask);
	fd = (int)OK(open(N("f"), O_RDWR | O_CREAT | O_EXCL, mode));
	EQ(tp_fstat(fd).st_mode, S_IFREG | (mode & ~mask));
	EQ(tp_stat(N("f")).st_mode, S_IFREG | (mode & ~mask));
	/* What the mode says holds for the next open, not for this one. The write may clear setuid and setgid. */
	EQ(write(fd, "abc", 3), 3);
	OK(close(fd));
	EQ(tp_stat(N("f")).st_mode & 01777, mode & ~mask & 01777);
	EQ(tp_stat(N("f")).st_size, 3);
}

TP_CASES(open_modes)
{
	static const mode_t modes[] = {
		0, 0200, 0400, 0444, 0600, 0644, 0666, 0755, 0777, 01644, 02755, 04755, 07777};
	static const mode_t masks[] = {0, 022, 027, 077, 0777};

	for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
		for (size_t k = 0; k < sizeof masks / sizeof masks[0]; k++)
			tp_case_add(TP_ANYBODY, creates_with_mode, modes[i], masks[k], 0,
				"open/creat_mode_%04o_umask_%03o", modes[i], masks[k]);
}

TP_CASE(open, creat_on_an_existing_file_keeps_mode_and_bytes, TP_ANYBODY)
{
	struct stat before;

	tp_put(N("f"), "abc", 3);
	OK(chmod(N("f"), 0600));
	before = tp_stat(N("f"));
	OK(close((int)OK(open(N("f"), O_WRONLY | O_CREAT, 0777))));
	SAME_FILE(before, tp_stat(N("f")));
	EQ(tp_stat(N("f")).st_mode, S_IFREG | 0600);
	HOLDS(N("f"), "abc", 3);
}

TP_CASE(open, new_file_is_empty_and_ours, TP_ANYBODY)
{
	struct stat st, parent = tp_stat(".");

	tp_touch(N("f"));
	st = tp_stat(N("f"));
	EQ(st.st_size, 0);
	EQ(st.st_nlink, 1);
	EQ(st.st_uid, geteuid());
	EQ(st.st_gid, parent.st_mode & S_ISGID ? parent.st_gid : getegid());
	EQ(st.st_blocks, 0);
	EQ(st.st_dev, parent.st_dev);
	CHECK(st.st_blksize >= 512);
	CHECK(st.st_ino != 0 && st.st_ino != parent.st_ino);
}

TP_CASE(open, creat_is_open_with_three_flags, TP_ANYBODY)
{
	char b;
	int fd;

	tp_put(N("f"), "abc", 3);
	fd = (int)OK(creat(N("f"), 0644));
	EQ(tp_fstat(fd).st_size, 0);
	FAILS(read(fd, &b, 1), EBADF);
	EQ(write(fd, "x", 1), 1);
	OK(close(fd));
	HOLDS(N("f"), "x", 1);
}

/* ---- O_TRUNC, O_APPEND, access modes ---- */

TP_CASE(open, trunc_empties_and_keeps_the_inode_and_mode, TP_ANYBODY)
{
	struct stat before;

	tp_put(N("f"), "abcdef", 6);
	OK(chmod(N("f"), 0640));
	before = tp_stat(N("f"));
	OK(close((int)OK(open(N("f"), O_WRONLY | O_TRUNC))));
	SAME_FILE(before, tp_stat(N("f")));
	EQ(tp_stat(N("f")).st_size, 0);
	EQ(tp_stat(N("f")).st_mode, before.st_mode);
	HOLDS(N("f"), "", 0);
}

TP_CASE(open, trunc_moves_mtime_and_ctime, TP_ANYBODY)
{
	struct stat before;

	tp_put(N("f"), "abcdef", 6);
	before = tp_times_age(N("f"));
	OK(close((int)OK(open(N("f"), O_WRONLY | O_TRUNC))));
	TIMES(N("f"), &before, TP_BOTH);
}

TP_CASE(open, trunc_keeps_hard_links_together, TP_ANYBODY)
{
	tp_put(N("f"), "abcdef", 6);
	OK(link(N("f"), N("g")));
	tp_put(N("f"), "xy", 2);
	HOLDS(N("g"), "xy", 2);
	EQ(tp_stat(N("g")).st_nlink, 2);
}

TP_CASE(open, append_writes_at_the_end_always, TP_ANYBODY)
{
	int fd;

	tp_put(N("f"), "abc", 3);
	fd = (int)OK(open(N("f"), O_WRONLY | O_APPEND));
	EQ(lseek(fd, 0, SEEK_CUR), 0);
	EQ(write(fd, "d", 1), 1);
	EQ(lseek(fd, 0, SEEK_CUR), 4);
	EQ(lseek(fd, 0, SEEK_SET), 0);
	EQ(write(fd, "e", 1), 1);
	OK(close(fd));
	HOLDS(N("f"), "abcde", 5);
}

TP_CASE(open, append_ignores_the_offset_of_pwrite, TP_ANYBODY)
{
	int fd;

	tp_put(N("f"), "abc", 3);
	fd = (int)OK(open(N("f"), O_WRONLY | O_APPEND));
	EQ(pwrite(fd, "d", 1, 0), 1);
	OK(close(fd));
	HOLDS(N("f"), "abcd", 4);
}

TP_CASE(open, two_appenders_do_not_overwrite_each_other, TP_ANYBODY)
{
	int a, b;

	a = (int)OK(open(N("f"), O_WRONLY | O_CREAT | O_APPEND, 0644));
	b = (int)OK(open(N("f"), O_WRONLY | O_APPEND));
	for (int i = 0; i < 10; i++) {
		EQ(write(a, "a", 1), 1);
		EQ(write(b, "b", 1), 1);
	}
	OK(close(a));
	OK(close(b));
	HOLDS(N("f"), "abababababababababab", 20);
}

TP_CASE(open, append_can_be_switched_by_fcntl, TP_ANYBODY)
{
	int fd;

	tp_put(N("f"), "abc", 3);
	fd = (int)OK(open(N("f"), O_RDWR));
	OK(fcntl(fd, F_SETFL, O_APPEND));
	EQ(fcntl(fd, F_GETFL) & (O_APPEND | O_ACCMODE), O_APPEND | O_RDWR);
	EQ(write(fd, "d", 1), 1);
	OK(fcntl(fd, F_SETFL, 0));
	EQ(pwrite(fd, "A", 1, 0), 1);
	OK(close(fd));
	HOLDS(N("f"), "Abcd", 4);
}

TP_CASE(open, append_and_trunc_together, TP_ANYBODY)
{
	int fd;

	tp_put(N("f"), "abc", 3);
	fd = (int)OK(open(N("f"), O_WRONLY | O_APPEND | O_TRUNC));
	EQ(write(fd, "x", 1), 1);
	EQ(write(fd, "y", 1), 1);
	OK(close(fd));
	HOLDS(N("f"), "xy", 2);
}

TP_CASE(open, read_of_a_write_only_descriptor_is_ebadf, TP_ANYBODY)
{
	struct iovec v;
	char b;
	int fd = (int)OK(open(N("f"), O_WRONLY | O_CREAT, 0644));

	v = (struct iovec){&b, 1};
	FAILS(read(fd, &b, 1), EBADF);
	FAILS(pread(fd, &b, 1, 0), EBADF);
	FAILS(readv(fd, &v, 1), EBADF);
}

TP_CASE(open, write_to_a_read_only_descriptor_is_ebadf, TP_ANYBODY)
{
	int fd;

	tp_put(N("f"), "abc", 3);
	fd = (int)OK(open(N("f"), O_RDONLY));
	FAILS(write(fd, "x", 1), EBADF);
	FAILS(pwrite(fd, "x", 1, 0), EBADF);
	FAILS(ftruncate(fd, 0), EINVAL);
	HOLDS(N("f"), "abc", 3);
}

TP_CASE(open, second_open_sees_what_the_first_wrote, TP_ANYBODY)
{
	char b[3];
	int a = (int)OK(open(N("f"), O_WRONLY | O_CREAT, 0644)), z;

	EQ(write(a, "abc", 3), 3);
	z = (int)OK(open(N("f"), O_RDONLY));
	EQ(read(z, b, 3), 3);
	CHECK(memcmp(b, "abc", 3) == 0);
	EQ(tp_stat(N("f")).st_size, 3);
	EQ(pwrite(a, "X", 1, 1), 1);
	EQ(pread(z, b, 3, 0), 3);
	CHECK(memcmp(b, "aXc", 3) == 0);
}

TP_CASE(open, offsets_are_separate_for_each_open, TP_ANYBODY)
{
	int a, z;
	char b;

	tp_put(N("f"), "abc", 3);
	a = (int)OK(open(N("f"), O_RDONLY));
	z = (int)OK(open(N("f"), O_RDONLY));
	EQ(read(a, &b, 1), 1);
	EQ(lseek(z, 0, SEEK_CUR), 0);
	EQ(lseek(a, 0, SEEK_CUR), 1);
}

TP_CASE(open, dup_and_fork_share_the_offset, TP_ANYBODY)
{
	int a, z;
	char b;

	tp_put(N("f"), "abc", 3);
	a = (int)OK(open(N("f"), O_RDONLY));
	z = (int)OK(dup(a));
	EQ(read(a, &b, 1), 1);
	EQ(lseek(z, 0, SEEK_CUR), 1);
	AS (TP_SAME)
		EQ(read(z, &b, 1), 1);
	EQ(lseek(a, 0, SEEK_CUR), 2);
}

static void sync_flag(const struct tp_case *c)
{
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT | (int)c->a, 0644));

	tp_pattern_write(fd, 0, 10000, 1);
	tp_pattern_check(fd, 0, 10000, 1);
	OK(close(fd));
	fd = (int)OK(open(N("f"), O_RDWR | (int)c->a));
	tp_pattern_write(fd, 5000, 10000, 2);
	tp_pattern_check(fd, 0, 5000, 1);
	tp_pattern_check(fd, 5000, 10000, 2);
}

TP_CASES(open_sync)
{
	tp_case_add(TP_ANYBODY, sync_flag, O_SYNC, 0, 0, "open/o_sync_reads_back");
	tp_case_add(TP_ANYBODY, sync_flag, O_DSYNC, 0, 0, "open/o_dsync_reads_back");
	tp_case_add(TP_ANYBODY, sync_flag, O_NOATIME, 0, 0, "open/o_noatime_by_the_owner_reads_back");
	tp_case_add(TP_ANYBODY, sync_flag, O_NONBLOCK, 0, 0, "open/o_nonblock_reads_back");
	tp_case_add(TP_ANYBODY, sync_flag, O_CLOEXEC | O_NOCTTY, 0, 0, "open/o_cloexec_o_noctty_reads_back");
}

TP_CASE(open, noatime_by_another_user_is_eperm, TP_ROOT)
{
	tp_put_as(N("f"), 0666, 0, 0);
	AS (&tp_bob) {
		FAILS(open(N("f"), O_RDONLY | O_NOATIME), EPERM);
		OK(open(N("f"), O_RDONLY));
	}
}

TP_CASE(open, many_descriptors_of_one_file, TP_ANYBODY)
{
	char b;

	tp_put(N("f"), "abc", 3);
	for (int i = 0; i < 200; i++) {
		int fd = (int)OK(open(N("f"), O_RDONLY));

		EQ(pread(fd, &b, 1, i % 3), 1);
		EQ(b, "abc"[i % 3]);
	}
}

TP_CASE(open, fd_limit_is_emfile_and_creates_nothing, TP_ANYBODY)
{
	struct rlimit limit = {64, 64};

	OK(setrlimit(RLIMIT_NOFILE, &limit));
	while (open("/dev/null", O_RDONLY) >= 0)
		continue;
	EQ(errno, EMFILE);
	FAILS(open(N("f"), O_WRONLY | O_CREAT, 0644), EMFILE);
	CHECK(!tp_exists(N("f")));
}

/* ---- O_PATH ---- */

TP_CASE(o_path, reopens_through_proc, TP_ANYBODY)
{
	char path[64], b[3];
	int fd, again;

	tp_put(N("f"), "abc", 3);
	fd = (int)OK(open(N("f"), O_PATH));
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	again = (int)OK(open(path, O_RDONLY));
	EQ(read(again, b, 3), 3);
}

TP_CASE(o_path, stays_with_the_file_over_a_rename, TP_ANYBODY)
{
	struct stat st;
	int fd;

	tp_put(N("f"), "abc", 3);
	st = tp_stat(N("f"));
	fd = (int)OK(open(N("f"), O_PATH));
	OK(rename(N("f"), N("g")));
	SAME_FILE(st, tp_fstat(fd));
	OK(unlink(N("g")));
	EQ(tp_fstat(fd).st_nlink, 0);
}

TP_CASE(o_path, readlink_of_an_o_path_symlink, TP_ANYBODY)
{
	char b[16];
	int fd;

	OK(symlink("where", N("l")));
	fd = (int)OK(open(N("l"), O_PATH | O_NOFOLLOW));
	EQ(readlinkat(fd, "", b, sizeof b), 5);
	CHECK(memcmp(b, "where", 5) == 0);
}

/* ---- O_TMPFILE ---- */

static int tmpfile_in(const char *dir, int flags)
{
	int fd = open(dir, O_TMPFILE | O_RDWR | flags, 0640);

	if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR))
		tp_case_skip("no O_TMPFILE here");
	return (int)OK(fd);
}

TP_CASE(o_tmpfile, has_no_name_and_no_link, TP_ANYBODY)
{
	struct stat st;
	int fd;

	fd = tmpfile_in(".", 0);
	st = tp_fstat(fd);
	EQ(st.st_nlink, 0);
	EQ(st.st_mode, S_IFREG | 0640);
	tp_pattern_write(fd, 0, 5000, 1);
	tp_pattern_check(fd, 0, 5000, 1);
}

TP_CASE(o_tmpfile, linkat_gives_it_a_name, TP_ANYBODY)
{
	char path[64];
	int fd = tmpfile_in(".", 0);

	EQ(write(fd, "abc", 3), 3);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	OK(linkat(AT_FDCWD, path, AT_FDCWD, N("f"), AT_SYMLINK_FOLLOW));
	EQ(tp_fstat(fd).st_nlink, 1);
	OK(close(fd));
	HOLDS(N("f"), "abc", 3);
}

TP_CASE(o_tmpfile, linkat_onto_a_name_is_eexist, TP_ANYBODY)
{
	char path[64];
	int fd = tmpfile_in(".", 0);

	tp_put(N("f"), "old", 3);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	FAILS(linkat(AT_FDCWD, path, AT_FDCWD, N("f"), AT_SYMLINK_FOLLOW), EEXIST);
	HOLDS(N("f"), "old", 3);
}

TP_CASE(o_tmpfile, excl_forbids_the_link, TP_ANYBODY)
{
	char path[64];
	int fd = tmpfile_in(".", O_EXCL);

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	FAILS(linkat(AT_FDCWD, path, AT_FDCWD, N("f"), AT_SYMLINK_FOLLOW), ENOENT);
}

TP_CASE(o_tmpfile, read_only_is_einval, TP_ANYBODY)
{
	FAILS(open(".", O_TMPFILE | O_RDONLY, 0600), EINVAL);
}
