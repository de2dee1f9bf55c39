/* SPDX-License-Identifier: Apache-2.0 */
/* chmod, chown, utimensat, access, stat, statvfs; setuid and setgid bits that are cleared. */
#include "files.h"

#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>

/* ---- chmod ---- */

static const mode_t all_modes[] = {
	0, 01, 0111, 0200, 0222, 0400, 0444, 0644, 0700, 0777, 01777, 02755, 04755, 06711, 07777};
enum { MODES = sizeof all_modes / sizeof all_modes[0] };

static void chmod_of(const struct tp_case *c)
{
	enum tp_type t = (enum tp_type)c->a;
	struct stat before, parent;

	tp_make(t, N("x"));
	parent = tp_times_age(".");
	for (int i = 0; i < MODES; i++) {
		OK(chmod(N("x"), all_modes[i]));
		EQ(tp_stat(N("x")).st_mode, tp_type_mode(t) | all_modes[i]);
	}
	before = tp_times_age(N("x"));
	OK(chmod(N("x"), 0700));
	TIMES(N("x"), &before, TP_CTIME);
	TIMES(".", &parent, TP_NO_TIME);
}

static void chmod_by_descriptor(const struct tp_case *c)
{
	mode_t mode = (mode_t)c->a;
	int fd;

	tp_touch(N("f"));
	fd = (int)OK(open(N("f"), O_RDONLY));
	OK(fchmod(fd, mode));
	EQ(tp_fstat(fd).st_mode, S_IFREG | mode);
	EQ(tp_stat(N("f")).st_mode, S_IFREG | mode);
}

static void chmod_by_another(const struct tp_case *c)
{
	struct stat before;

	tp_make((enum tp_type)c->a, N("x"));
	OK(chmod(N("x"), 0777));
	before = tp_times_age(N("x"));
	AS (&tp_bob) {
		FAILS(chmod(N("x"), 0700), EPERM);
		FAILS(chown(N("x"), tp_bob.uid, (gid_t)-1), EPERM);
		FAILS(chown(N("x"), (uid_t)-1, tp_bob.gid), EPERM);
	}
	EQ(tp_stat(N("x")).st_mode & 07777, 0777);
	TIMES(N("x"), &before, TP_NO_TIME);
}

TP_CASES(chmods)
{
	for (enum tp_type t = 0; t < TP_TYPES; t++) {
		if (t == TP_LINK || t == TP_DANGLING)
			continue;
		tp_case_add(tp_type_who(t), chmod_of, t, 0, 0, "chmod/every_mode_of_%s", tp_type_name(t));
		tp_case_add(TP_ROOT, chmod_by_another, t, 0, 0, "chmod/of_%s_by_another_user_is_eperm",
			tp_type_name(t));
	}
	for (int i = 0; i < MODES; i++)
		tp_case_add(TP_ANYBODY, chmod_by_descriptor, all_modes[i], 0, 0, "chmod/fchmod_%04o",
			all_modes[i]);
}

TP_CASE(chmod, wrong_paths, TP_ANYBODY)
{
	tp_touch(N("f"));
	FAILS(chmod(N("x"), 0644), ENOENT);
	FAILS(chmod("", 0644), ENOENT);
	FAILS(chmod(N("f/x"), 0644), ENOTDIR);
	FAILS(chmod(N("f/"), 0644), ENOTDIR);
	FAILS(fchmod(-1, 0644), EBADF);
	FAILS(fchmodat(-1, N("f"), 0644, 0), EBADF);
}

TP_CASE(chmod, dangling_symlink_is_enoent, TP_ANYBODY)
{
	OK(symlink(N("to"), N("l")));
	FAILS(chmod(N("l"), 0644), ENOENT);
}

TP_CASE(chmod, to_the_same_mode_moves_ctime, TP_ANYBODY)
{
	struct stat before;

	tp_touch(N("f"));
	before = tp_times_age(N("f"));
	OK(chmod(N("f"), before.st_mode & 07777));
	TIMES(N("f"), &before, TP_CTIME);
}

TP_CASE(chmod, does_not_revoke_an_open_descriptor, TP_ANYBODY)
{
	int fd;

	tp_put(N("f"), "abc", 3);
	fd = (int)OK(open(N("f"), O_RDWR));
	OK(chmod(N("f"), 0));
	EQ(pwrite(fd, "X", 1, 0), 1);
	OK(close(fd));
	OK(chmod(N("f"), 0600));
	HOLDS(N("f"), "Xbc", 3);
}

TP_CASE(chmod, of_a_file_that_is_being_written_sticks, TP_ANYBODY)
{
	int fd = (int)OK(open(N("f"), O_WRONLY | O_CREAT, 0644));

	OK(fchmod(fd, 0604));
	EQ(write(fd, "abc", 3), 3);
	OK(chmod(N("f"), 0640));
	OK(close(fd));
	EQ(tp_stat(N("f")).st_mode, S_IFREG | 0640);
	HOLDS(N("f"), "abc", 3);
}

TP_CASE(chmod, setgid_of_a_foreign_group_is_dropped, TP_ROOT)
{
	tp_put_as(N("f"), 0755, tp_bob.uid, 999);
	AS (&tp_bob) {
		OK(chmod(N("f"), 02755));
		EQ(tp_stat(N("f")).st_mode & 07777, 0755);
		OK(chmod(N("f"), 06755));
		EQ(tp_stat(N("f")).st_mode & 07777, 04755);
	}
	OK(chmod(N("f"), 02755));
	EQ(tp_stat(N("f")).st_mode & 07777, 02755);
}

TP_CASE(chmod, setgid_of_an_own_group_stays, TP_ROOT)
{
	struct tp_ids member = {12345, 12345, 999};

	tp_put_as(N("f"), 0755, 12345, 999);
	AS (&member) {
		OK(chmod(N("f"), 02755));
		EQ(tp_stat(N("f")).st_mode & 07777, 02755);
	}
}

/* ---- chown ---- */

static void chown_of(const struct tp_case *c)
{
	enum tp_type t = (enum tp_type)c->a;
	static const uid_t ids[] = {1, 65534, 65536, 1000000, 0x7fffffff, 0x80000000u, 0xfffffffeu};
	struct stat before;

	tp_make(t, N("x"));
	for (int i = 0; i < 7; i++) {
		OK(lchown(N("x"), ids[i], ids[6 - i]));
		EQ(tp_stat(N("x")).st_uid, ids[i]);
		EQ(tp_stat(N("x")).st_gid, ids[6 - i]);
	}
	OK(lchown(N("x"), 5, (gid_t)-1));
	EQ(tp_stat(N("x")).st_uid, 5);
	EQ(tp_stat(N("x")).st_gid, ids[0]);
	OK(lchown(N("x"), (uid_t)-1, 7));
	EQ(tp_stat(N("x")).st_uid, 5);
	EQ(tp_stat(N("x")).st_gid, 7);
	before = tp_times_age(N("x"));
	OK(lchown(N("x"), 6, 8));
	TIMES(N("x"), &before, TP_CTIME);
}

/* The bits that a change of owner takes away; from directories none. */
static void chown_clears(const struct tp_case *c)
{
	mode_t mode = (mode_t)c->b;
	bool dir = c->a == TP_DIR, sgid_goes = mode & S_IXGRP;
	mode_t left = dir ? mode : mode & ~(S_ISUID | (sgid_goes ? S_ISGID : 0));

	tp_make((enum tp_type)c->a, N("x"));
	OK(chown(N("x"), 1, 1));
	OK(chmod(N("x"), mode));
	OK(chown(N("x"), 2, 2));
	EQ(tp_stat(N("x")).st_mode & 07777, left);
	OK(chmod(N("x"), mode));
	OK(chown(N("x"), (uid_t)-1, 3));
	EQ(tp_stat(N("x")).st_mode & 07777, left);
}

TP_CASES(chowns)
{
	static const mode_t modes[] = {04755, 02755, 06755, 06711, 02644, 06777};

	for (enum tp_type t = 0; t < TP_TYPES; t++)
		tp_case_add(TP_ROOT, chown_of, t, 0, 0, "chown/of_%s", tp_type_name(t));
	for (int i = 0; i < 6; i++) {
		tp_case_add(TP_ROOT, chown_clears, TP_FILE, modes[i], 0,
			"chown/of_a_file_with_mode_%04o_clears", modes[i]);
		tp_case_add(TP_ROOT, chown_clears, TP_DIR, modes[i], 0,
			"chown/of_a_directory_with_mode_%04o_keeps", modes[i]);
	}
}

TP_CASE(chown, wrong_paths, TP_ANYBODY)
{
	tp_touch(N("f"));
	FAILS(chown(N("x"), geteuid(), getegid()), ENOENT);
	FAILS(chown("", geteuid(), getegid()), ENOENT);
	FAILS(chown(N("f/x"), geteuid(), getegid()), ENOTDIR);
	FAILS(fchown(-1, geteuid(), getegid()), EBADF);
	FAILS(lchown(N("f/"), geteuid(), getegid()), ENOTDIR);
}

TP_CASE(chown, user_cannot_give_away, TP_USER)
{
	tp_touch(N("f"));
	FAILS(chown(N("f"), 0, (gid_t)-1), EPERM);
	FAILS(chown(N("f"), (uid_t)-1, 0), EPERM);
	OK(chown(N("f"), geteuid(), getegid()));
	OK(chown(N("f"), (uid_t)-1, (gid_t)-1));
}

TP_CASE(chown, owner_may_change_to_a_group_of_its_own, TP_ROOT)
{
	struct tp_ids member = {12345, 12345, 999};

	tp_put_as(N("f"), 0644, 12345, 12345);
	AS (&member) {
		OK(chown(N("f"), (uid_t)-1, 999));
		EQ(tp_stat(N("f")).st_gid, 999);
		OK(chown(N("f"), 12345, 12345));
		FAILS(chown(N("f"), (uid_t)-1, 998), EPERM);
	}
}

TP_CASE(chown, by_the_owner_clears_setuid_and_setgid, TP_USER)
{
	tp_touch(N("f"));
	OK(chmod(N("f"), 06755));
	OK(chown(N("f"), (uid_t)-1, getegid()));
	EQ(tp_stat(N("f")).st_mode & 07777, 0755);
}

TP_CASE(chown, by_descriptor, TP_ROOT)
{
	int fd;

	tp_touch(N("f"));
	fd = (int)OK(open(N("f"), O_RDONLY));
	OK(fchown(fd, 12, 13));
	EQ(tp_stat(N("f")).st_uid, 12);
	EQ(tp_fstat(fd).st_gid, 13);
	OK(fchownat(fd, "", 14, 15, AT_EMPTY_PATH));
	EQ(tp_fstat(fd).st_uid, 14);
}

/* ---- what takes setuid and setgid away ---- */

enum clearer { BY_WRITE, BY_PWRITE, BY_TRUNCATE, BY_FTRUNCATE, BY_O_TRUNC, BY_COPY, CLEARERS };

static const char *const clearer_names[] = {
	"write", "pwrite", "truncate", "ftruncate", "o_trunc", "copy_file_range"};

static void clear_by(enum clearer by)
{
	int fd = (int)OK(open(N("f"), O_WRONLY | (by == BY_O_TRUNC ? O_TRUNC : 0))), from;

	switch (by) {
	case BY_WRITE:
		EQ(write(fd, "x", 1), 1);
		break;
	case BY_PWRITE:
		EQ(pwrite(fd, "x", 1, 1), 1);
		break;
	case BY_TRUNCATE:
		OK(truncate(N("f"), 1));
		break;
	case BY_FTRUNCATE:
		OK(ftruncate(fd, 1));
		break;
	case BY_COPY:
		from = (int)OK(open(N("from"), O_RDONLY));
		EQ(copy_file_range(from, NULL, fd, NULL, 2, 0), 2);
		break;
	case BY_O_TRUNC:
	case CLEARERS:
		break;
	}
	OK(close(fd));
}

static void cleared_by(const struct tp_case *c)
{
	mode_t mode = (mode_t)c->b, left = mode & ~(S_ISUID | (mode & S_IXGRP ? S_ISGID : 0));
	uid_t me = geteuid() ? geteuid() : tp_bob.uid;

	tp_put(N("from"), "from", 4);
	tp_put(N("f"), "abc", 3);
	if (geteuid() == 0)
		OK(chown(N("f"), me, tp_bob.gid));
	OK(chmod(N("f"), mode));
	if (geteuid() == 0) {
		AS (&tp_bob)
			clear_by((enum clearer)c->a);
	} else {
		clear_by((enum clearer)c->a);
	}
	EQ(tp_stat(N("f")).st_mode, S_IFREG | left);
}

static void kept_for_root(const struct tp_case *c)
{
	tp_put(N("from"), "from", 4);
	tp_put_as(N("f"), 06755, 12345, 12345);
	clear_by((enum clearer)c->a);
	EQ(tp_stat(N("f")).st_mode, S_IFREG | 06755);
}

TP_CASES(clearers)
{
	static const mode_t modes[] = {04755, 02755, 06755, 02744, 06777};

	for (int by = 0; by < CLEARERS; by++) {
		for (int i = 0; i < 5; i++)
			tp_case_add(TP_ANYBODY, cleared_by, by, modes[i], 0, "suid/mode_%04o_after_%s",
				modes[i], clearer_names[by]);
		tp_case_add(
			TP_ROOT, kept_for_root, by, 0, 0, "suid/kept_after_%s_by_root", clearer_names[by]);
	}
}

/* ---- utimensat ---- */

static void set_times(const struct tp_case *c)
{
	enum tp_type t = (enum tp_type)c->a;
	static const struct timespec times[][2] = {
		{{0, 0}, {0, 0}}, {{1, 1}, {2, 2}}, {{1000000000, 999999999}, {1234567890, 123456789}},
		{{0x7fffffff, 999999999}, {0x7ffffffe, 1}}, {{-1, 5}, {-1000000, 999999999}},
		{{4102444800, 7}, {4102444801, 8}}, /* the year 2100 */
	};
	struct stat st, parent;

	tp_make(t, N("x"));
	parent = tp_times_age(".");
	for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
		OK(utimensat(AT_FDCWD, N("x"), times[i], AT_SYMLINK_NOFOLLOW));
		st = tp_stat(N("x"));
		EQ(st.st_atim.tv_sec, times[i][0].tv_sec);
		EQ(st.st_atim.tv_nsec, times[i][0].tv_nsec);
		EQ(st.st_mtim.tv_sec, times[i][1].tv_sec);
		EQ(st.st_mtim.tv_nsec, times[i][1].tv_nsec);
	}
	st = tp_times_age(N("x"));
	OK(utimensat(AT_FDCWD, N("x"), NULL, AT_SYMLINK_NOFOLLOW));
	TIMES(N("x"), &st, TP_BOTH);
	TIMES(".", &parent, TP_NO_TIME);
}

TP_CASES(utimens)
{
	for (enum tp_type t = 0; t < TP_TYPES; t++)
		tp_case_add(
			tp_type_who(t), set_times, t, 0, 0, "utimensat/every_time_of_%s", tp_type_name(t));
}

TP_CASE(utimensat, omit_leaves_that_time_alone, TP_ANYBODY)
{
	struct timespec a[2] = {{100, 1}, {0, UTIME_OMIT}}, m[2] = {{0, UTIME_OMIT}, {200, 2}};
	struct stat before, st;

	tp_touch(N("f"));
	before = tp_times_age(N("f"));
	OK(utimensat(AT_FDCWD, N("f"), a, 0));
	st = tp_stat(N("f"));
	EQ(st.st_atim.tv_sec, 100);
	TIMES(N("f"), &before, TP_CTIME);
	OK(utimensat(AT_FDCWD, N("f"), m, 0));
	st = tp_stat(N("f"));
	EQ(st.st_atim.tv_nsec, 1);
	EQ(st.st_mtim.tv_sec, 200);
	EQ(st.st_mtim.tv_nsec, 2);
}

TP_CASE(utimensat, omit_both_does_nothing, TP_ANYBODY)
{
	struct timespec t[2] = {{0, UTIME_OMIT}, {0, UTIME_OMIT}};
	struct stat before;

	tp_touch(N("f"));
	before = tp_times_age(N("f"));
	OK(utimensat(AT_FDCWD, N("f"), t, 0));
	TIMES(N("f"), &before, TP_NO_TIME);
}

TP_CASE(utimensat, now_is_now, TP_ANYBODY)
{
	struct timespec t[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}}, a[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};
	struct stat before, st;

	tp_touch(N("f"));
	before = tp_times_age(N("f"));
	OK(utimensat(AT_FDCWD, N("f"), t, 0));
	TIMES(N("f"), &before, TP_BOTH);
	EQ(tp_stat(N("f")).st_atim.tv_sec, before.st_atim.tv_sec);
	before = tp_times_age(N("f"));
	OK(utimensat(AT_FDCWD, N("f"), a, 0));
	st = tp_stat(N("f"));
	CHECK(st.st_atim.tv_sec > before.st_atim.tv_sec);
	TIMES(N("f"), &before, TP_CTIME);
}

TP_CASE(utimensat, bad_nanoseconds_are_einval, TP_ANYBODY)
{
	struct timespec over[2] = {{1, 1000000000}, {1, 0}}, under[2] = {{1, 0}, {1, -1}};
	struct stat before;

	tp_touch(N("f"));
	before = tp_times_age(N("f"));
	FAILS(utimensat(AT_FDCWD, N("f"), over, 0), EINVAL);
	FAILS(utimensat(AT_FDCWD, N("f"), under, 0), EINVAL);
	FAILS(utimensat(AT_FDCWD, N("f"), NULL, 0x10000), EINVAL);
	TIMES(N("f"), &before, TP_NO_TIME);
}

TP_CASE(utimensat, wrong_paths, TP_ANYBODY)
{
	tp_touch(N("f"));
	FAILS(utimensat(AT_FDCWD, N("x"), NULL, 0), ENOENT);
	FAILS(utimensat(AT_FDCWD, "", NULL, 0), ENOENT);
	FAILS(utimensat(AT_FDCWD, N("f/x"), NULL, 0), ENOTDIR);
	FAILS(futimens(-1, NULL), EBADF);
}

TP_CASE(utimensat, by_descriptor, TP_ANYBODY)
{
	struct timespec t[2] = {{100, 1}, {200, 2}};
	int fd;

	tp_touch(N("f"));
	fd = (int)OK(open(N("f"), O_RDONLY));
	OK(futimens(fd, t));
	EQ(tp_stat(N("f")).st_mtim.tv_nsec, 2);
	EQ(tp_fstat(fd).st_atim.tv_sec, 100);
}

TP_CASE(utimensat, set_on_an_open_file_holds_over_close, TP_ANYBODY)
{
	struct timespec t[2] = {{100, 1}, {200, 2}};
	int fd = (int)OK(open(N("f"), O_WRONLY | O_CREAT, 0644));

	EQ(write(fd, "abc", 3), 3);
	OK(futimens(fd, t));
	OK(close(fd));
	EQ(tp_stat(N("f")).st_mtim.tv_sec, 200);
	EQ(tp_stat(N("f")).st_mtim.tv_nsec, 2);
	HOLDS(N("f"), "abc", 3);
	EQ(tp_stat(N("f")).st_mtim.tv_sec, 200);
}

TP_CASE(utimensat, set_before_close_by_path_holds, TP_ANYBODY)
{
	struct timespec t[2] = {{100, 1}, {200, 2}};
	int fd = (int)OK(open(N("f"), O_WRONLY | O_CREAT, 0644));

	EQ(write(fd, "abc", 3), 3);
	OK(utimensat(AT_FDCWD, N("f"), t, 0));
	OK(close(fd));
	EQ(tp_stat(N("f")).st_mtim.tv_sec, 200);
	EQ(tp_stat(N("f")).st_mtim.tv_nsec, 2);
}

TP_CASE(utimensat, writer_may_touch_but_not_set, TP_ROOT)
{
	struct timespec t[2] = {{100, 1}, {200, 2}}, half[2] = {{0, UTIME_NOW}, {0, UTIME_OMIT}};

	tp_put_as(N("w"), 0666, 0, 0);
	tp_put_as(N("r"), 0444, 0, 0);
	AS (&tp_bob) {
		OK(utimensat(AT_FDCWD, N("w"), NULL, 0));
		FAILS(utimensat(AT_FDCWD, N("w"), t, 0), EPERM);
		FAILS(utimensat(AT_FDCWD, N("w"), half, 0), EPERM);
		FAILS(utimensat(AT_FDCWD, N("r"), NULL, 0), EACCES);
		FAILS(utimensat(AT_FDCWD, N("r"), t, 0), EPERM);
	}
}

TP_CASE(utimensat, owner_may_set_without_write, TP_ANYBODY)
{
	struct timespec t[2] = {{100, 1}, {200, 2}};

	tp_touch(N("f"));
	OK(chmod(N("f"), 0));
	OK(utimensat(AT_FDCWD, N("f"), t, 0));
	OK(utimensat(AT_FDCWD, N("f"), NULL, 0));
}

/* ---- access ---- */

TP_CASE(access, wrong_paths, TP_ANYBODY)
{
	tp_touch(N("f"));
	FAILS(access(N("x"), F_OK), ENOENT);
	FAILS(access("", F_OK), ENOENT);
	FAILS(access(N("f/x"), F_OK), ENOTDIR);
	FAILS(access(N("f"), 8), EINVAL);
	OK(access(N("f"), F_OK));
	OK(access(N("f"), R_OK | W_OK));
}

TP_CASE(access, root_may_run_only_what_somebody_may, TP_ROOT)
{
	tp_put_as(N("f"), 0, 1, 1);
	OK(access(N("f"), R_OK | W_OK));
	FAILS(access(N("f"), X_OK), EACCES);
	OK(chmod(N("f"), 0001));
	OK(access(N("f"), X_OK));
	tp_mkdir_as(N("d"), 0, 1, 1);
	OK(access(N("d"), R_OK | W_OK | X_OK));
}

TP_CASE(access, follows_symlinks, TP_ANYBODY)
{
	tp_touch(N("f"));
	OK(chmod(N("f"), 0600));
	OK(symlink(N("f"), N("l")));
	FAILS(access(N("l"), X_OK), EACCES);
	OK(faccessat(AT_FDCWD, N("l"), F_OK, AT_EACCESS));
	OK(unlink(N("f")));
	FAILS(access(N("l"), F_OK), ENOENT);
}

/* ---- stat ---- */

static void stat_by_every_way(const struct tp_case *c)
{
	enum tp_type t = (enum tp_type)c->a;
	struct stat st, by_fd, at;
	struct statx x;
	int fd;

	tp_make(t, N("x"));
	st = tp_stat(N("x"));
	fd = (int)OK(open(N("x"), O_PATH | O_NOFOLLOW));
	by_fd = tp_fstat(fd);
	OK(fstatat(fd, "", &at, AT_EMPTY_PATH));
	SAME_FILE(st, by_fd);
	SAME_FILE(st, at);
	EQ(st.st_mode, by_fd.st_mode);
	EQ(st.st_size, by_fd.st_size);
	EQ(st.st_mtim.tv_nsec, at.st_mtim.tv_nsec);
	EQ(st.st_ctim.tv_nsec, at.st_ctim.tv_nsec);
	OK(statx(AT_FDCWD, N("x"), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, &x));
	EQ(x.stx_ino, st.st_ino);
	EQ(x.stx_size, st.st_size);
	EQ(x.stx_mode, st.st_mode);
	EQ(x.stx_nlink, st.st_nlink);
	EQ(x.stx_mtime.tv_nsec, st.st_mtim.tv_nsec);
}

TP_CASES(stats)
{
	for (enum tp_type t = 0; t < TP_TYPES; t++)
		tp_case_add(
			tp_type_who(t), stat_by_every_way, t, 0, 0, "stat/of_%s_every_way", tp_type_name(t));
}

TP_CASE(stat, wrong_paths, TP_ANYBODY)
{
	struct stat st;

	tp_touch(N("f"));
	FAILS(stat(N("x"), &st), ENOENT);
	FAILS(stat("", &st), ENOENT);
	FAILS(stat(N("f/"), &st), ENOTDIR);
	FAILS(stat(N("f/x"), &st), ENOTDIR);
	FAILS(fstat(-1, &st), EBADF);
	FAILS(fstatat(-1, N("f"), &st, 0), EBADF);
}

TP_CASE(stat, inode_numbers_differ, TP_ANYBODY)
{
	ino_t seen[64];
	char name[16];

	for (int i = 0; i < 64; i++) {
		snprintf(name, sizeof name, "f%d", i);
		tp_touch(N(name));
		seen[i] = tp_stat(N(name)).st_ino;
		for (int k = 0; k < i; k++)
			CHECK(seen[k] != seen[i]);
	}
}

TP_CASE(stat, inode_stays_over_writing_truncating_and_chmod, TP_ANYBODY)
{
	struct stat st;

	tp_put(N("f"), "abc", 3);
	st = tp_stat(N("f"));
	tp_put(N("f"), "xy", 2);
	SAME_FILE(st, tp_stat(N("f")));
	OK(truncate(N("f"), 100));
	OK(chmod(N("f"), 0600));
	SAME_FILE(st, tp_stat(N("f")));
}

TP_CASE(stat, blocks_are_those_of_the_bytes, TP_ANYBODY)
{
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT, 0644));

	tp_pattern_write(fd, 0, 1 << 20, 1);
	OK(fsync(fd));
	OK(close(fd));
	CHECK(tp_stat(N("f")).st_blocks >= (1 << 20) / 512);
	CHECK(tp_stat(N("f")).st_blocks <= (1 << 20) / 512 + 256);
}

/* ---- statvfs ---- */

TP_CASE(statvfs, numbers_fit_together, TP_ANYBODY)
{
	struct statvfs v, w;
	int fd;

	OK(statvfs(".", &v));
	CHECK(v.f_bsize >= 512 && v.f_frsize >= 512);
	CHECK(v.f_bfree <= v.f_blocks && v.f_bavail <= v.f_bfree);
	CHECK(v.f_ffree <= v.f_files);
	EQ(v.f_namemax, 255);
	CHECK(!(v.f_flag & ST_RDONLY));
	tp_touch(N("f"));
	fd = (int)OK(open(N("f"), O_RDONLY));
	OK(fstatvfs(fd, &w));
	EQ(v.f_blocks, w.f_blocks);
	EQ(v.f_bsize, w.f_bsize);
}

TP_CASE(statvfs, wrong_paths, TP_ANYBODY)
{
	struct statvfs v;

	tp_touch(N("f"));
	FAILS(statvfs(N("x"), &v), ENOENT);
	FAILS(statvfs(N("f/x"), &v), ENOTDIR);
	FAILS(fstatvfs(-1, &v), EBADF);
	OK(statvfs(N("f"), &v));
}
