/* SPDX-License-Identifier: Apache-2.0 */
/* rename and renameat2: every type over every type, and what else can be said wrong. */
#include "files.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <linux/fs.h>

static int rename2(const char *from, const char *to, unsigned flags)
{
	return renameat2(AT_FDCWD, from, AT_FDCWD, to, flags);
}

/* Where the two names of a table's case are: in one directory, or in two. */
struct two {
	const char *from, *to, *from_dir, *to_dir;
};

static struct two names_of(const struct tp_case *c)
{
	struct two n = {N("a"), N("b"), ".", "."};

	if (!c->d)
		return n;
	n = (struct two){N("p/a"), N("q/b"), N("p"), N("q")};
	tp_mkdir(n.from_dir);
	tp_mkdir(n.to_dir);
	return n;
}

/* What rename gives, 0 or an errno. */
static int plain_result(enum tp_type from, enum tp_type to)
{
	if (to == TP_MISSING)
		return 0;
	if (tp_type_is_dir(from))
		return to == TP_FULL ? ENOTEMPTY : to == TP_DIR ? 0 : ENOTDIR;
	return tp_type_is_dir(to) ? EISDIR : 0;
}

static void check_links(const struct two *n, enum tp_type from, enum tp_type to)
{
	unsigned in_from = tp_type_is_dir(from), in_to = tp_type_is_dir(to);

	if (strcmp(n->from_dir, ".") == 0)
		return;
	EQ(tp_stat(n->from_dir).st_nlink, 2 + in_from);
	EQ(tp_stat(n->to_dir).st_nlink, 2 + in_to);
}

static void stays(const struct two *n, const struct tp_case *c, const struct stat *a, const struct stat *b)
{
	tp_type_check((enum tp_type)c->a, n->from);
	tp_type_check((enum tp_type)c->b, n->to);
	SAME_FILE(*a, tp_stat(n->from));
	if (c->b != TP_MISSING)
		SAME_FILE(*b, tp_stat(n->to));
	check_links(n, (enum tp_type)c->a, (enum tp_type)c->b);
}

static void plain(const struct tp_case *c)
{
	struct two n = names_of(c);
	enum tp_type from = (enum tp_type)c->a, to = (enum tp_type)c->b;
	int want = plain_result(from, to), fd = -1;
	struct stat a, b = {0};

	tp_make(from, n.from);
	tp_make(to, n.to);
	a = tp_stat(n.from);
	if (to != TP_MISSING) {
		b = tp_stat(n.to);
		fd = (int)OK(open(n.to, O_PATH | O_NOFOLLOW));
	}
	if (want) {
		FAILS(rename(n.from, n.to), want);
		stays(&n, c, &a, &b);
		return;
	}
	OK(rename(n.from, n.to));
	tp_type_check(TP_MISSING, n.from);
	tp_type_check(from, n.to);
	SAME_FILE(a, tp_stat(n.to));
	check_links(&n, TP_MISSING, from);
	if (to != TP_MISSING)
		EQ(tp_fstat(fd).st_nlink, 0);
}

static void noreplace(const struct tp_case *c)
{
	struct two n = names_of(c);
	struct stat a, b = {0};

	tp_make((enum tp_type)c->a, n.from);
	tp_make((enum tp_type)c->b, n.to);
	a = tp_stat(n.from);
	if (c->b != TP_MISSING) {
		b = tp_stat(n.to);
		FAILS(rename2(n.from, n.to, RENAME_NOREPLACE), EEXIST);
		stays(&n, c, &a, &b);
		return;
	}
	OK(rename2(n.from, n.to, RENAME_NOREPLACE));
	tp_type_check(TP_MISSING, n.from);
	tp_type_check((enum tp_type)c->a, n.to);
	SAME_FILE(a, tp_stat(n.to));
}

static void exchange(const struct tp_case *c)
{
	struct two n = names_of(c);
	struct stat a, b = {0};

	tp_make((enum tp_type)c->a, n.from);
	tp_make((enum tp_type)c->b, n.to);
	a = tp_stat(n.from);
	if (c->b == TP_MISSING) {
		FAILS(rename2(n.from, n.to, RENAME_EXCHANGE), ENOENT);
		FAILS(rename2(n.to, n.from, RENAME_EXCHANGE), ENOENT);
		stays(&n, c, &a, &b);
		return;
	}
	b = tp_stat(n.to);
	OK(rename2(n.from, n.to, RENAME_EXCHANGE));
	SAME_FILE(a, tp_stat(n.to));
	SAME_FILE(b, tp_stat(n.from));
	tp_type_check((enum tp_type)c->a, n.to);
	tp_type_check((enum tp_type)c->b, n.from);
	EQ(tp_stat(n.to).st_nlink, a.st_nlink);
	check_links(&n, (enum tp_type)c->b, (enum tp_type)c->a);
}

TP_CASES(rename_matrix)
{
	static const struct {
		const char *name;
		tp_case_fn run;
	} kinds[] = {{"over", plain}, {"noreplace", noreplace}, {"exchange", exchange}};

	for (size_t k = 0; k < 3; k++)
		for (enum tp_type from = 0; from < TP_TYPES; from++)
			for (enum tp_type to = 0; to <= TP_MISSING; to++)
				for (int cross = 0; cross < 2; cross++) {
					bool root =
						tp_type_who(from) == TP_ROOT || tp_type_who(to) == TP_ROOT;

					tp_case_add(root ? TP_ROOT : TP_ANYBODY, kinds[k].run, from, to,
						cross, "rename/%s_%s_%s%s", tp_type_name(from), kinds[k].name,
						tp_type_name(to), cross ? "_in_another_directory" : "");
				}
}

/* ---- times, for each type ---- */

static void moves_times(const struct tp_case *c)
{
	struct stat p, q, self;

	tp_mkdir(N("p"));
	tp_mkdir(N("q"));
	tp_make((enum tp_type)c->a, N("p/a"));
	p = tp_times_age(N("p"));
	q = tp_times_age(N("q"));
	self = tp_times_age(N("p/a"));
	OK(rename(N("p/a"), N("q/b")));
	TIMES(N("p"), &p, TP_BOTH);
	TIMES(N("q"), &q, TP_BOTH);
	TIMES(N("q/b"), &self, TP_CTIME);
}

static void missing_source(const struct tp_case *c)
{
	struct stat parent;

	tp_make((enum tp_type)c->a, N("b"));
	parent = tp_times_age(".");
	FAILS(rename(N("a"), N("b")), ENOENT);
	FAILS(rename2(N("a"), N("b"), RENAME_NOREPLACE), ENOENT);
	FAILS(rename2(N("a"), N("b"), RENAME_EXCHANGE), ENOENT);
	tp_type_check((enum tp_type)c->a, N("b"));
	TIMES(".", &parent, TP_NO_TIME);
}

static void onto_itself(const struct tp_case *c)
{
	struct stat self, parent;

	tp_make((enum tp_type)c->a, N("a"));
	self = tp_times_age(N("a"));
	parent = tp_times_age(".");
	OK(rename(N("a"), N("a")));
	FAILS(rename2(N("a"), N("a"), RENAME_NOREPLACE), EEXIST);
	SAME_FILE(self, tp_stat(N("a")));
	TIMES(N("a"), &self, TP_NO_TIME);
	TIMES(".", &parent, TP_NO_TIME);
}

static void onto_own_link(const struct tp_case *c)
{
	struct stat self;

	tp_make((enum tp_type)c->a, N("a"));
	OK(link(N("a"), N("b")));
	self = tp_stat(N("a"));
	OK(rename(N("a"), N("b")));
	SAME_FILE(self, tp_stat(N("a")));
	SAME_FILE(self, tp_stat(N("b")));
	EQ(tp_stat(N("a")).st_nlink, 2);
}

static void with_slashes(const struct tp_case *c)
{
	enum tp_type t = (enum tp_type)c->a;

	tp_make(t, N("a"));
	if (tp_type_is_dir(t)) {
		OK(rename(N("a/"), N("b")));
		OK(rename(N("b"), N("c/")));
		OK(rename(N("c//"), N("d//")));
		tp_type_check(t, N("d"));
	} else {
		FAILS(rename(N("a"), N("b/")), ENOTDIR);
		FAILS(rename(N("a/"), N("b")), ENOTDIR);
		tp_type_check(t, N("a"));
		CHECK(!tp_exists(N("b")));
	}
}

TP_CASES(rename_types)
{
	for (enum tp_type t = 0; t < TP_TYPES; t++) {
		const char *name = tp_type_name(t);
		enum tp_case_who who = tp_type_who(t);

		tp_case_add(who, moves_times, t, 0, 0, "rename/of_%s_moves_ctime_and_both_directories", name);
		tp_case_add(who, missing_source, t, 0, 0, "rename/nothing_over_%s_is_enoent", name);
		tp_case_add(who, onto_itself, t, 0, 0, "rename/%s_onto_itself_does_nothing", name);
		tp_case_add(who, with_slashes, t, 0, 0, "rename/%s_with_slashes", name);
		if (!tp_type_is_dir(t))
			tp_case_add(
				who, onto_own_link, t, 0, 0, "rename/%s_onto_its_own_link_keeps_both", name);
	}
}

/* ---- paths ---- */

TP_CASE(rename, empty_paths_are_enoent, TP_ANYBODY)
{
	tp_touch(N("a"));
	FAILS(rename("", N("b")), ENOENT);
	FAILS(rename(N("a"), ""), ENOENT);
}

TP_CASE(rename, missing_directories_are_enoent, TP_ANYBODY)
{
	tp_touch(N("a"));
	FAILS(rename(N("a"), N("d/b")), ENOENT);
	FAILS(rename(N("d/a"), N("b")), ENOENT);
	CHECK(tp_exists(N("a")));
}

TP_CASE(rename, below_a_file_is_enotdir, TP_ANYBODY)
{
	tp_touch(N("a"));
	tp_touch(N("f"));
	FAILS(rename(N("a"), N("f/b")), ENOTDIR);
	FAILS(rename(N("f/a"), N("b")), ENOTDIR);
}

TP_CASE(rename, below_a_loop_is_eloop, TP_ANYBODY)
{
	tp_touch(N("a"));
	OK(symlink(N("l"), N("l")));
	FAILS(rename(N("a"), N("l/b")), ELOOP);
	FAILS(rename(N("l/a"), N("b")), ELOOP);
}

TP_CASE(rename, dots_are_ebusy, TP_ANYBODY)
{
	tp_mkdir(N("d"));
	tp_mkdir(N("d/e"));
	FAILS(rename(".", N("b")), EBUSY);
	FAILS(rename(N("d/."), N("b")), EBUSY);
	FAILS(rename(N("d/e/.."), N("b")), EBUSY);
	FAILS(rename(N("d"), "."), EBUSY);
	FAILS(rename(N("d"), N("d/e/..")), EBUSY);
}

TP_CASE(rename, into_own_subtree_is_einval, TP_ANYBODY)
{
	tp_mkdir(N("d"));
	tp_mkdir(N("d/e"));
	tp_mkdir(N("d/e/f"));
	FAILS(rename(N("d"), N("d/x")), EINVAL);
	FAILS(rename(N("d"), N("d/e/x")), EINVAL);
	FAILS(rename(N("d"), N("d/e/f")), EINVAL);
	FAILS(rename(N("d"), N("d/e/f/x")), EINVAL);
	FAILS(rename2(N("d"), N("d/e/x"), RENAME_NOREPLACE), EINVAL);
}

TP_CASE(rename, over_an_ancestor_is_enotempty, TP_ANYBODY)
{
	tp_mkdir(N("d"));
	tp_mkdir(N("d/e"));
	tp_mkdir(N("d/e/f"));
	FAILS(rename(N("d/e/f"), N("d")), ENOTEMPTY);
	FAILS(rename(N("d/e/f"), N("d/e")), ENOTEMPTY);
}

TP_CASE(rename, exchange_with_an_ancestor_is_einval, TP_ANYBODY)
{
	tp_mkdir(N("d"));
	tp_mkdir(N("d/e"));
	tp_touch(N("d/e/f"));
	FAILS(rename2(N("d"), N("d/e"), RENAME_EXCHANGE), EINVAL);
	FAILS(rename2(N("d/e"), N("d"), RENAME_EXCHANGE), EINVAL);
	FAILS(rename2(N("d/e/f"), N("d"), RENAME_EXCHANGE), EINVAL);
}

TP_CASE(rename, flags_that_exclude_each_other_are_einval, TP_ANYBODY)
{
	tp_touch(N("a"));
	tp_touch(N("b"));
	FAILS(rename2(N("a"), N("b"), RENAME_NOREPLACE | RENAME_EXCHANGE), EINVAL);
	FAILS(rename2(N("a"), N("c"), 0x80), EINVAL);
	CHECK(tp_exists(N("a")));
}

TP_CASE(rename, exchange_with_itself_does_nothing, TP_ANYBODY)
{
	tp_put(N("a"), "bytes", 5);
	OK(rename2(N("a"), N("a"), RENAME_EXCHANGE));
	tp_type_check(TP_FILE, N("a"));
}

TP_CASE(rename, symlink_is_renamed_not_followed, TP_ANYBODY)
{
	tp_mkdir(N("d"));
	OK(symlink(N("d"), N("l")));
	tp_touch(N("f"));
	OK(rename(N("f"), N("l")));
	CHECK(S_ISREG(tp_stat(N("l")).st_mode));
	CHECK(!tp_exists(N("d/f")));
	OK(symlink(N("d"), N("m")));
	OK(rename(N("m"), N("n")));
	CHECK(S_ISLNK(tp_stat(N("n")).st_mode));
}

TP_CASE(rename, through_a_symlink_to_a_directory, TP_ANYBODY)
{
	tp_mkdir(N("d"));
	OK(symlink(N("d"), N("l")));
	tp_put(N("f"), "bytes", 5);
	OK(rename(N("f"), N("l/g")));
	tp_type_check(TP_FILE, N("d/g"));
}

TP_CASE(renameat, relative_to_descriptors, TP_ANYBODY)
{
	int p, q;

	tp_mkdir(N("p"));
	tp_mkdir(N("q"));
	tp_put(N("p/a"), "bytes", 5);
	p = (int)OK(open(N("p"), O_RDONLY | O_DIRECTORY));
	q = (int)OK(open(N("q"), O_PATH));
	OK(renameat(p, N("a"), q, N("b")));
	tp_type_check(TP_FILE, N("q/b"));
	FAILS(renameat(p, N("a"), q, N("b")), ENOENT);
	FAILS(renameat(-1, N("a"), q, N("b")), EBADF);
	FAILS(renameat(q, N("b"), -1, N("b")), EBADF);
}

/* ---- what is open or below ---- */

TP_CASE(rename, open_file_goes_on_under_its_new_name, TP_ANYBODY)
{
	int fd;

	tp_put(N("a"), "abc", 3);
	fd = (int)OK(open(N("a"), O_RDWR));
	OK(rename(N("a"), N("b")));
	EQ(pwrite(fd, "X", 1, 1), 1);
	OK(close(fd));
	HOLDS(N("b"), "aXc", 3);
}

TP_CASE(rename, new_file_is_renamed_while_it_is_written, TP_ANYBODY)
{
	int fd = (int)OK(open(N("a"), O_WRONLY | O_CREAT, 0644));

	EQ(write(fd, "ab", 2), 2);
	OK(rename(N("a"), N("b")));
	CHECK(!tp_exists(N("a")));
	EQ(write(fd, "cd", 2), 2);
	OK(close(fd));
	HOLDS(N("b"), "abcd", 4);
}

TP_CASE(rename, over_an_open_file_leaves_its_reader_the_old_bytes, TP_ANYBODY)
{
	char b[3];
	int fd;

	tp_put(N("a"), "new", 3);
	tp_put(N("b"), "old", 3);
	fd = (int)OK(open(N("b"), O_RDONLY));
	OK(rename(N("a"), N("b")));
	EQ(pread(fd, b, 3, 0), 3);
	CHECK(memcmp(b, "old", 3) == 0);
	EQ(tp_fstat(fd).st_nlink, 0);
	HOLDS(N("b"), "new", 3);
}

TP_CASE(rename, over_a_file_that_is_being_written, TP_ANYBODY)
{
	int fd;

	tp_put(N("a"), "new", 3);
	tp_put(N("b"), "old", 3);
	fd = (int)OK(open(N("b"), O_RDWR));
	EQ(pwrite(fd, "XYZ", 3, 0), 3);
	OK(rename(N("a"), N("b")));
	HOLDS(N("b"), "new", 3);
	EQ(pwrite(fd, "123", 3, 0), 3);
	EQ(tp_fstat(fd).st_nlink, 0);
	(void)close(fd);
	HOLDS(N("b"), "new", 3);
}

TP_CASE(rename, over_one_of_two_links_leaves_the_other, TP_ANYBODY)
{
	struct stat before;

	tp_put(N("a"), "new", 3);
	tp_put(N("b"), "old", 3);
	OK(link(N("b"), N("c")));
	before = tp_times_age(N("c"));
	OK(rename(N("a"), N("b")));
	HOLDS(N("b"), "new", 3);
	HOLDS(N("c"), "old", 3);
	EQ(tp_stat(N("c")).st_nlink, 1);
	TIMES(N("c"), &before, TP_CTIME);
}

TP_CASE(rename, one_of_two_links_moves_alone, TP_ANYBODY)
{
	struct stat st;

	tp_put(N("a"), "abc", 3);
	OK(link(N("a"), N("b")));
	tp_mkdir(N("d"));
	OK(rename(N("a"), N("d/a")));
	st = tp_stat(N("b"));
	SAME_FILE(st, tp_stat(N("d/a")));
	EQ(st.st_nlink, 2);
}

TP_CASE(rename, directory_takes_its_contents_along, TP_ANYBODY)
{
	tp_mkdir(N("d"));
	tp_mkdir(N("d/e"));
	tp_put(N("d/e/f"), "abc", 3);
	tp_mkdir(N("x"));
	OK(rename(N("d"), N("x/y")));
	HOLDS(N("x/y/e/f"), "abc", 3);
	CHECK(!tp_exists(N("d")));
	FAILS(open(N("d/e/f"), O_RDONLY), ENOENT);
}

TP_CASE(rename, dot_dot_of_a_moved_directory_is_its_new_parent, TP_ANYBODY)
{
	tp_mkdir(N("p"));
	tp_mkdir(N("q"));
	tp_mkdir(N("p/d"));
	OK(rename(N("p/d"), N("q/d")));
	SAME_FILE(tp_stat(N("q")), tp_stat(N("q/d/..")));
	EQ(tp_stat(N("p")).st_nlink, 2);
	EQ(tp_stat(N("q")).st_nlink, 3);
}

TP_CASE(rename, dot_dot_after_an_exchange, TP_ANYBODY)
{
	tp_mkdir(N("p"));
	tp_mkdir(N("q"));
	tp_mkdir(N("p/d"));
	tp_mkdir(N("q/e"));
	OK(rename2(N("p/d"), N("q/e"), RENAME_EXCHANGE));
	SAME_FILE(tp_stat(N("p")), tp_stat(N("p/d/..")));
	SAME_FILE(tp_stat(N("q")), tp_stat(N("q/e/..")));
}

TP_CASE(rename, working_directory_moves_along, TP_ANYBODY)
{
	char buf[4096];

	tp_mkdir(N("d"));
	tp_mkdir(N("e"));
	OK(chdir(N("d")));
	OK(rename(N("../d"), N("../e/f")));
	tp_touch(N("x"));
	CHECK(getcwd(buf, sizeof buf));
	CHECK(strlen(buf) > 3 && strcmp(buf + strlen(buf) - strlen(N("e/f")), N("e/f")) == 0);
	OK(chdir("../.."));
	CHECK(tp_exists(N("e/f/x")));
}

TP_CASE(rename, over_an_open_empty_directory, TP_ANYBODY)
{
	int fd;

	tp_make(TP_FULL, N("a"));
	tp_mkdir(N("b"));
	fd = (int)OK(open(N("b"), O_RDONLY | O_DIRECTORY));
	OK(rename(N("a"), N("b")));
	EQ(tp_fstat(fd).st_nlink, 0);
	FAILS(openat(fd, N("x"), O_WRONLY | O_CREAT, 0644), ENOENT);
	CHECK(tp_exists(N("b/in")));
}

TP_CASE(rename, hundred_times_back_and_forth, TP_ANYBODY)
{
	tp_put(N("a"), "bytes", 5);
	for (int i = 0; i < 100; i++) {
		OK(rename(N("a"), N("b")));
		CHECK(!tp_exists(N("a")));
		OK(rename(N("b"), N("a")));
	}
	tp_type_check(TP_FILE, N("a"));
	CHECK(!tp_exists(N("b")));
}

TP_CASE(rename, replaced_a_hundred_times, TP_ANYBODY)
{
	char text[8];

	for (int i = 0; i < 100; i++) {
		snprintf(text, sizeof text, "%03d", i);
		tp_put(N("new"), text, 3);
		OK(rename(N("new"), N("a")));
		HOLDS(N("a"), text, 3);
	}
}

TP_CASE(rename, mode_owner_and_times_go_along, TP_ANYBODY)
{
	struct timespec t[2] = {{100, 1}, {200, 2}};
	struct stat st;

	tp_put(N("a"), "abc", 3);
	OK(chmod(N("a"), 0604));
	OK(utimensat(AT_FDCWD, N("a"), t, 0));
	OK(rename(N("a"), N("b")));
	st = tp_stat(N("b"));
	EQ(st.st_mode, S_IFREG | 0604);
	EQ(st.st_atim.tv_sec, 100);
	EQ(st.st_mtim.tv_sec, 200);
	EQ(st.st_mtim.tv_nsec, 2);
}

TP_CASE(rename, moving_a_directory_needs_write_on_it, TP_ROOT)
{
	tp_mkdir_as(N("p"), 0777, 0, 0);
	tp_mkdir_as(N("q"), 0777, 0, 0);
	tp_mkdir_as(N("p/d"), 0555, tp_bob.uid, tp_bob.gid);
	AS (&tp_bob) {
		/* ".." would have to be written; within one directory it stays. */
		FAILS(rename(N("p/d"), N("q/d")), EACCES);
		OK(rename(N("p/d"), N("p/e")));
	}
}
