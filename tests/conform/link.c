/* SPDX-License-Identifier: Apache-2.0 */
/* link, symlink, readlink. */
#include "files.h"

/* ---- hard links ---- */

static void link_of(const struct tp_case *c)
{
	enum tp_type t = (enum tp_type)c->a;
	struct stat before, parent;

	tp_make(t, N("a"));
	tp_mkdir(N("d"));
	before = tp_times_age(N("a"));
	parent = tp_times_age(N("d"));
	if (tp_type_is_dir(t)) {
		FAILS(link(N("a"), N("d/b")), EPERM);
		TIMES(N("d"), &parent, TP_NO_TIME);
		return;
	}
	OK(link(N("a"), N("d/b")));
	SAME_FILE(before, tp_stat(N("d/b")));
	EQ(tp_stat(N("a")).st_nlink, 2);
	EQ(tp_stat(N("d/b")).st_nlink, 2);
	tp_type_check(t, N("d/b"));
	TIMES(N("a"), &before, TP_CTIME);
	TIMES(N("d"), &parent, TP_BOTH);
	OK(unlink(N("a")));
	EQ(tp_stat(N("d/b")).st_nlink, 1);
	tp_type_check(t, N("d/b"));
}

static void attributes_are_shared(const struct tp_case *c)
{
	struct timespec t[2] = {{100, 1}, {200, 2}};

	tp_make((enum tp_type)c->a, N("a"));
	OK(link(N("a"), N("b")));
	OK(utimensat(AT_FDCWD, N("a"), t, AT_SYMLINK_NOFOLLOW));
	EQ(tp_stat(N("b")).st_mtim.tv_sec, 200);
	if (c->a == TP_LINK || c->a == TP_DANGLING)
		return;
	OK(chmod(N("b"), 0604));
	EQ(tp_stat(N("a")).st_mode & 07777, 0604);
}

TP_CASES(links)
{
	for (enum tp_type t = 0; t < TP_TYPES; t++) {
		tp_case_add(tp_type_who(t), link_of, t, 0, 0, "link/of_%s", tp_type_name(t));
		if (!tp_type_is_dir(t))
			tp_case_add(tp_type_who(t), attributes_are_shared, t, 0, 0,
				"link/names_of_%s_share_attributes", tp_type_name(t));
	}
}

TP_CASE(link, missing_source_is_enoent, TP_ANYBODY)
{
	FAILS(link(N("a"), N("b")), ENOENT);
	FAILS(link("", N("b")), ENOENT);
	tp_touch(N("a"));
	FAILS(link(N("a"), ""), ENOENT);
	FAILS(link(N("a"), N("d/b")), ENOENT);
}

TP_CASE(link, onto_itself_is_eexist, TP_ANYBODY)
{
	tp_touch(N("a"));
	FAILS(link(N("a"), N("a")), EEXIST);
	EQ(tp_stat(N("a")).st_nlink, 1);
}

TP_CASE(link, slashes, TP_ANYBODY)
{
	tp_touch(N("a"));
	FAILS(link(N("a/"), N("b")), ENOTDIR);
	FAILS(link(N("a"), N("b/")), ENOENT);
	EQ(tp_stat(N("a")).st_nlink, 1);
}

TP_CASE(link, bytes_are_shared, TP_ANYBODY)
{
	int fd;

	tp_put(N("a"), "abc", 3);
	OK(link(N("a"), N("b")));
	fd = (int)OK(open(N("b"), O_WRONLY));
	EQ(pwrite(fd, "X", 1, 1), 1);
	OK(close(fd));
	HOLDS(N("a"), "aXc", 3);
	OK(truncate(N("a"), 2));
	HOLDS(N("b"), "aX", 2);
}

TP_CASE(link, size_shows_under_every_name, TP_ANYBODY)
{
	tp_put(N("a"), "abc", 3);
	OK(link(N("a"), N("b")));
	OK(link(N("b"), N("c")));
	EQ(tp_stat(N("a")).st_nlink, 3);
	tp_put(N("c"), "longer", 6);
	EQ(tp_stat(N("a")).st_size, 6);
	EQ(tp_stat(N("b")).st_size, 6);
}

TP_CASE(link, two_hundred_names, TP_ANYBODY)
{
	char name[16];

	tp_put(N("a"), "abc", 3);
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof name, "n%d", i);
		OK(link(N("a"), N(name)));
	}
	EQ(tp_stat(N("a")).st_nlink, 201);
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof name, "n%d", i);
		OK(unlink(N(name)));
	}
	EQ(tp_stat(N("a")).st_nlink, 1);
	HOLDS(N("a"), "abc", 3);
}

TP_CASE(link, last_of_three_names_frees_the_file, TP_ANYBODY)
{
	int fd;

	tp_put(N("a"), "abc", 3);
	OK(link(N("a"), N("b")));
	fd = (int)OK(open(N("a"), O_RDONLY));
	OK(unlink(N("a")));
	EQ(tp_fstat(fd).st_nlink, 1);
	OK(unlink(N("b")));
	EQ(tp_fstat(fd).st_nlink, 0);
}

TP_CASE(link, symlink_itself_is_linked, TP_ANYBODY)
{
	tp_touch(N("to"));
	OK(symlink(N("to"), N("l")));
	OK(link(N("l"), N("m")));
	CHECK(S_ISLNK(tp_stat(N("m")).st_mode));
	OK(linkat(AT_FDCWD, N("l"), AT_FDCWD, N("n"), AT_SYMLINK_FOLLOW));
	CHECK(S_ISREG(tp_stat(N("n")).st_mode));
	SAME_FILE(tp_stat(N("to")), tp_stat(N("n")));
}

TP_CASE(link, bad_flags_are_einval, TP_ANYBODY)
{
	tp_touch(N("a"));
	FAILS(linkat(AT_FDCWD, N("a"), AT_FDCWD, N("b"), AT_REMOVEDIR), EINVAL);
	CHECK(!tp_exists(N("b")));
}

TP_CASE(link, through_proc_of_an_open_file, TP_ANYBODY)
{
	char path[64];
	int fd;

	tp_put(N("a"), "abc", 3);
	fd = (int)OK(open(N("a"), O_RDONLY));
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	OK(linkat(AT_FDCWD, path, AT_FDCWD, N("b"), AT_SYMLINK_FOLLOW));
	HOLDS(N("b"), "abc", 3);
	EQ(tp_fstat(fd).st_nlink, 2);
}

TP_CASE(link, empty_path_of_an_open_file, TP_ROOT)
{
	int fd;

	tp_put(N("a"), "abc", 3);
	fd = (int)OK(open(N("a"), O_RDONLY));
	OK(linkat(fd, "", AT_FDCWD, N("b"), AT_EMPTY_PATH));
	HOLDS(N("b"), "abc", 3);
}

TP_CASE(link, new_file_is_linked_while_it_is_written, TP_ANYBODY)
{
	int fd = (int)OK(open(N("a"), O_WRONLY | O_CREAT, 0644));

	EQ(write(fd, "ab", 2), 2);
	OK(link(N("a"), N("b")));
	EQ(tp_fstat(fd).st_nlink, 2);
	EQ(write(fd, "cd", 2), 2);
	OK(close(fd));
	HOLDS(N("a"), "abcd", 4);
	HOLDS(N("b"), "abcd", 4);
	SAME_FILE(tp_stat(N("a")), tp_stat(N("b")));
}

TP_CASE(link, relative_to_descriptors, TP_ANYBODY)
{
	int p, q;

	tp_mkdir(N("p"));
	tp_mkdir(N("q"));
	tp_put(N("p/a"), "abc", 3);
	p = (int)OK(open(N("p"), O_PATH));
	q = (int)OK(open(N("q"), O_RDONLY | O_DIRECTORY));
	OK(linkat(p, N("a"), q, N("b"), 0));
	HOLDS(N("q/b"), "abc", 3);
	FAILS(linkat(-1, N("a"), q, N("b"), 0), EBADF);
}

/* ---- symbolic links ---- */

static void symlink_length(const struct tp_case *c)
{
	static char to[4096], got[5000];
	struct stat st;

	memset(to, 'x', (size_t)c->a);
	to[c->a] = '\0';
	OK(symlink(to, N("l")));
	st = tp_stat(N("l"));
	EQ(st.st_size, c->a);
	EQ(st.st_mode, S_IFLNK | 0777);
	EQ(readlink(N("l"), got, sizeof got), c->a);
	CHECK(memcmp(to, got, (size_t)c->a) == 0);
}

static void readlink_of(const struct tp_case *c)
{
	char b[64];

	tp_make((enum tp_type)c->a, N("x"));
	FAILS(readlink(N("x"), b, sizeof b), EINVAL);
}

TP_CASES(symlinks)
{
	static const int lengths[] = {1, 59, 60, 61, 127, 128, 255, 256, 1023, 1024, 2047, 4094, 4095};

	for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
		tp_case_add(TP_ANYBODY, symlink_length, lengths[i], 0, 0, "symlink/of_%d_bytes", lengths[i]);
	for (enum tp_type t = 0; t < TP_TYPES; t++)
		if (t != TP_LINK && t != TP_DANGLING)
			tp_case_add(tp_type_who(t), readlink_of, t, 0, 0, "readlink/of_%s_is_einval",
				tp_type_name(t));
}

TP_CASE(symlink, of_4096_bytes_is_enametoolong, TP_ANYBODY)
{
	FAILS(symlink(tp_name_long(4096, 'x'), N("l")), ENAMETOOLONG);
	CHECK(!tp_exists(N("l")));
}

TP_CASE(symlink, to_nothing_is_enoent, TP_ANYBODY)
{
	FAILS(symlink("", N("l")), ENOENT);
}

TP_CASE(symlink, any_bytes_are_kept, TP_ANYBODY)
{
	char to[256], got[300];

	for (int i = 0; i < 255; i++)
		to[i] = (char)(i + 1);
	to[255] = '\0';
	OK(symlink(to, N("l")));
	EQ(readlink(N("l"), got, sizeof got), 255);
	CHECK(memcmp(to, got, 255) == 0);
}

TP_CASE(symlink, trailing_slash_is_enoent, TP_ANYBODY)
{
	FAILS(symlink("to", N("l/")), ENOENT);
}

TP_CASE(symlink, text_is_not_looked_up, TP_ANYBODY)
{
	char got[64];

	OK(symlink("a//b/./c/../", N("l")));
	EQ(readlink(N("l"), got, sizeof got), 12);
	CHECK(memcmp(got, "a//b/./c/../", 12) == 0);
}

TP_CASE(readlink, short_buffer_gets_the_beginning, TP_ANYBODY)
{
	char got[4] = "....";

	OK(symlink("abcdef", N("l")));
	EQ(readlink(N("l"), got, 3), 3);
	CHECK(memcmp(got, "abc.", 4) == 0);
	FAILS(readlink(N("l"), got, 0), EINVAL);
}

TP_CASE(readlink, missing_is_enoent, TP_ANYBODY)
{
	char b[8];

	FAILS(readlink(N("l"), b, sizeof b), ENOENT);
	FAILS(readlink("", b, sizeof b), ENOENT);
	tp_touch(N("f"));
	FAILS(readlink(N("f/x"), b, sizeof b), ENOTDIR);
}

TP_CASE(symlink, leads_to_file_and_directory, TP_ANYBODY)
{
	struct stat st;

	tp_mkdir(N("d"));
	tp_put(N("d/f"), "abc", 3);
	OK(symlink(N("d"), N("l")));
	OK(symlink(N("d/f"), N("m")));
	HOLDS(N("l/f"), "abc", 3);
	HOLDS(N("m"), "abc", 3);
	OK(stat(N("l"), &st));
	SAME_FILE(st, tp_stat(N("d")));
	OK(stat(N("m"), &st));
	EQ(st.st_size, 3);
}

TP_CASE(symlink, is_relative_to_its_own_directory, TP_ANYBODY)
{
	tp_mkdir(N("d"));
	tp_put(N("d/f"), "abc", 3);
	OK(symlink(N("f"), N("d/l")));
	HOLDS(N("d/l"), "abc", 3);
	tp_put(N("f"), "other", 5);
	HOLDS(N("d/l"), "abc", 3);
	OK(symlink(N("../f"), N("d/m")));
	HOLDS(N("d/m"), "other", 5);
}

TP_CASE(symlink, absolute, TP_ANYBODY)
{
	char here[4096], path[4300];

	CHECK(getcwd(here, sizeof here));
	tp_put(N("f"), "abc", 3);
	snprintf(path, sizeof path, "%s/%s", here, N("f"));
	OK(symlink(path, N("l")));
	HOLDS(N("l"), "abc", 3);
}

TP_CASE(symlink, dangling_is_seen_by_lstat_only, TP_ANYBODY)
{
	struct stat st;

	OK(symlink(N("to"), N("l")));
	FAILS(stat(N("l"), &st), ENOENT);
	OK(lstat(N("l"), &st));
	tp_put(N("to"), "abc", 3);
	HOLDS(N("l"), "abc", 3);
	OK(unlink(N("to")));
	FAILS(stat(N("l"), &st), ENOENT);
}

TP_CASE(symlink, to_itself_is_eloop, TP_ANYBODY)
{
	struct stat st;

	OK(symlink(N("l"), N("l")));
	FAILS(stat(N("l"), &st), ELOOP);
	FAILS(chmod(N("l"), 0644), ELOOP);
	FAILS(truncate(N("l"), 0), ELOOP);
	FAILS(access(N("l"), F_OK), ELOOP);
	FAILS(chdir(N("l")), ELOOP);
	OK(lstat(N("l"), &st));
	OK(unlink(N("l")));
}

static void make_chain(int links)
{
	char name[16], to[16];

	tp_put(N("c0"), "end", 3);
	for (int i = 1; i <= links; i++) {
		snprintf(name, sizeof name, "c%d", i);
		snprintf(to, sizeof to, "c%d", i - 1);
		OK(symlink(N(to), N(name)));
	}
}

TP_CASE(symlink, chain_of_40_is_followed, TP_ANYBODY)
{
	make_chain(40);
	HOLDS(N("c40"), "end", 3);
}

TP_CASE(symlink, chain_of_41_is_eloop, TP_ANYBODY)
{
	make_chain(41);
	FAILS(open(N("c41"), O_RDONLY), ELOOP);
}

TP_CASE(symlink, lchown_and_utimensat_can_mean_the_link, TP_ANYBODY)
{
	struct timespec t[2] = {{100, 1}, {200, 2}};
	struct stat before;

	tp_put(N("f"), "abc", 3);
	OK(symlink(N("f"), N("l")));
	before = tp_stat(N("f"));
	OK(lchown(N("l"), geteuid(), getegid()));
	OK(utimensat(AT_FDCWD, N("l"), t, AT_SYMLINK_NOFOLLOW));
	EQ(tp_stat(N("l")).st_mtim.tv_sec, 200);
	EQ(tp_stat(N("l")).st_mtim.tv_nsec, 2);
	TIMES(N("f"), &before, TP_NO_TIME);
	OK(utimensat(AT_FDCWD, N("l"), t, 0));
	EQ(tp_stat(N("f")).st_mtim.tv_sec, 200);
}

TP_CASE(symlink, lchown_of_a_dangling_one, TP_ROOT)
{
	OK(symlink(N("nowhere"), N("l")));
	OK(lchown(N("l"), 12345, 23456));
	EQ(tp_stat(N("l")).st_uid, 12345);
	EQ(tp_stat(N("l")).st_gid, 23456);
	FAILS(chown(N("l"), 1, 1), ENOENT);
}

TP_CASE(symlink, chmod_and_truncate_mean_the_target, TP_ANYBODY)
{
	tp_put(N("f"), "abc", 3);
	OK(symlink(N("f"), N("l")));
	OK(chmod(N("l"), 0604));
	EQ(tp_stat(N("f")).st_mode & 07777, 0604);
	EQ(tp_stat(N("l")).st_mode, S_IFLNK | 0777);
	OK(truncate(N("l"), 1));
	HOLDS(N("f"), "a", 1);
}
