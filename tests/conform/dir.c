/* SPDX-License-Identifier: Apache-2.0 */
/* mkdir, rmdir, mknod, unlink: errors, modes, link counts. */
#include "files.h"

#include <sys/sysmacros.h>
#include <time.h>

/* The calls that make a name. */
enum maker { MAKE_FILE, MAKE_DIR, MAKE_FIFO, MAKE_SOCKET, MAKE_LINK, MAKE_HARD, MAKERS };

static const char *const maker_names[] = {"open_excl", "mkdir", "mkfifo", "mksocket", "symlink", "link"};

static int make_by(enum maker m, const char *path)
{
	int fd;

	switch (m) {
	case MAKE_FILE:
		fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		return fd < 0 ? -1 : close(fd);
	case MAKE_DIR:
		return mkdir(path, 0755);
	case MAKE_FIFO:
		return mkfifo(path, 0644);
	case MAKE_SOCKET:
		return mknod(path, S_IFSOCK | 0644, 0);
	case MAKE_LINK:
		return symlink("somewhere", path);
	case MAKE_HARD:
		return link(N("source"), path);
	case MAKERS:
		break;
	}
	abort();
}

static void made_over(const struct tp_case *c)
{
	enum tp_type there = (enum tp_type)c->b;
	struct stat before, parent;

	tp_touch(N("source"));
	tp_make(there, N("x"));
	before = tp_stat(N("x"));
	parent = tp_times_age(".");
	FAILS(make_by((enum maker)c->a, N("x")), EEXIST);
	SAME_FILE(before, tp_stat(N("x")));
	tp_type_check(there, N("x"));
	TIMES(".", &parent, TP_NO_TIME);
}

static void made_in_missing(const struct tp_case *c)
{
	tp_touch(N("source"));
	FAILS(make_by((enum maker)c->a, N("d/x")), ENOENT);
	FAILS(make_by((enum maker)c->a, ""), ENOENT);
}

static void made_below_file(const struct tp_case *c)
{
	tp_touch(N("source"));
	FAILS(make_by((enum maker)c->a, N("source/x")), ENOTDIR);
}

static void made_in_loop(const struct tp_case *c)
{
	tp_touch(N("source"));
	OK(symlink(N("l"), N("l")));
	FAILS(make_by((enum maker)c->a, N("l/x")), ELOOP);
}

static void made_moves_times(const struct tp_case *c)
{
	struct stat parent, other;

	tp_touch(N("source"));
	tp_mkdir(N("d"));
	tp_mkdir(N("e"));
	other = tp_times_age(N("e"));
	parent = tp_times_age(N("d"));
	OK(make_by((enum maker)c->a, N("d/x")));
	TIMES(N("d"), &parent, TP_BOTH);
	TIMES(N("e"), &other, TP_NO_TIME);
}

static void made_has_its_times(const struct tp_case *c)
{
	struct timespec from, to;
	struct stat st;

	tp_touch(N("source"));
	(void)tp_times_age(".");
	OK(clock_gettime(CLOCK_REALTIME_COARSE, &from));
	OK(make_by((enum maker)c->a, N("x")));
	st = tp_stat(N("x"));
	OK(clock_gettime(CLOCK_REALTIME, &to));
	for (int i = 0; i < 3; i++) {
		struct timespec t = i == 0 ? st.st_atim : i == 1 ? st.st_mtim : st.st_ctim;

		CHECK(t.tv_sec > from.tv_sec || (t.tv_sec == from.tv_sec && t.tv_nsec >= from.tv_nsec));
		CHECK(t.tv_sec < to.tv_sec || (t.tv_sec == to.tv_sec && t.tv_nsec <= to.tv_nsec));
	}
}

static void made_counts_in_parent(const struct tp_case *c)
{
	bool dir = c->a == MAKE_DIR;

	tp_touch(N("source"));
	tp_mkdir(N("d"));
	EQ(tp_stat(N("d")).st_nlink, 2);
	OK(make_by((enum maker)c->a, N("d/x")));
	EQ(tp_stat(N("d")).st_nlink, dir ? 3 : 2);
	EQ(tp_stat(N("d/x")).st_nlink, dir || c->a == MAKE_HARD ? 2 : 1);
	OK(dir ? rmdir(N("d/x")) : unlink(N("d/x")));
	EQ(tp_stat(N("d")).st_nlink, 2);
}

TP_CASES(makers)
{
	for (enum maker m = 0; m < MAKERS; m++) {
		const char *name = maker_names[m];

		for (enum tp_type t = 0; t < TP_TYPES; t++)
			tp_case_add(tp_type_who(t), made_over, m, t, 0, "make/%s_over_%s_is_eexist", name,
				tp_type_name(t));
		tp_case_add(TP_ANYBODY, made_in_missing, m, 0, 0, "make/%s_in_a_missing_directory_is_enoent",
			name);
		tp_case_add(TP_ANYBODY, made_below_file, m, 0, 0, "make/%s_below_a_file_is_enotdir", name);
		tp_case_add(TP_ANYBODY, made_in_loop, m, 0, 0, "make/%s_below_a_symlink_loop_is_eloop", name);
		tp_case_add(TP_ANYBODY, made_moves_times, m, 0, 0, "make/%s_moves_the_times_of_its_directory",
			name);
		if (m != MAKE_HARD)
			tp_case_add(TP_ANYBODY, made_has_its_times, m, 0, 0,
				"make/%s_has_the_times_of_its_making", name);
		tp_case_add(TP_ANYBODY, made_counts_in_parent, m, 0, 0, "make/%s_counts_links", name);
	}
}

/* ---- mkdir ---- */

static void mkdir_mode(const struct tp_case *c)
{
	mode_t mode = (mode_t)c->a, mask = (mode_t)c->b;

	umask(mask);
	OK(mkdir(N("d"), mode));
	/* Linux lets mkdir set the sticky bit and no other special one. */
	EQ(tp_stat(N("d")).st_mode, S_IFDIR | (mode & 01777 & ~mask));
}

static void fifo_mode(const struct tp_case *c)
{
	umask((mode_t)c->b);
	OK(mkfifo(N("p"), (mode_t)c->a));
	EQ(tp_stat(N("p")).st_mode, S_IFIFO | (c->a & ~c->b));
}

static void socket_mode(const struct tp_case *c)
{
	umask((mode_t)c->b);
	OK(mknod(N("p"), S_IFSOCK | (mode_t)c->a, 0));
	EQ(tp_stat(N("p")).st_mode, S_IFSOCK | (c->a & ~c->b));
}

TP_CASES(dir_modes)
{
	static const mode_t modes[] = {0, 0500, 0700, 0755, 0777, 01777, 02755, 04711};
	static const mode_t masks[] = {0, 022, 077};

	for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
		for (size_t k = 0; k < sizeof masks / sizeof masks[0]; k++) {
			tp_case_add(TP_ANYBODY, mkdir_mode, modes[i], masks[k], 0,
				"mkdir/mode_%04o_umask_%03o", modes[i], masks[k]);
			if (modes[i] > 0777)
				continue;
			tp_case_add(TP_ANYBODY, fifo_mode, modes[i], masks[k], 0,
				"mknod/fifo_mode_%04o_umask_%03o", modes[i], masks[k]);
			tp_case_add(TP_ANYBODY, socket_mode, modes[i], masks[k], 0,
				"mknod/socket_mode_%04o_umask_%03o", modes[i], masks[k]);
		}
	}
}

TP_CASE(mkdir, dots_are_eexist, TP_ANYBODY)
{
	tp_mkdir(N("d"));
	FAILS(mkdir(".", 0755), EEXIST);
	FAILS(mkdir("..", 0755), EEXIST);
	FAILS(mkdir("/", 0755), EEXIST);
	FAILS(mkdir(N("d/."), 0755), EEXIST);
	FAILS(mkdir(N("d/.."), 0755), EEXIST);
}

TP_CASE(mkdir, trailing_slashes_are_fine, TP_ANYBODY)
{
	OK(mkdir(N("d/"), 0755));
	OK(mkdir(N("d/e///"), 0755));
	tp_type_check(TP_DIR, N("d/e"));
}

TP_CASE(mkdir, missing_last_dot_is_enoent, TP_ANYBODY)
{
	FAILS(mkdir(N("d/."), 0755), ENOENT);
}

TP_CASE(mkdir, dangling_symlink_is_not_followed, TP_ANYBODY)
{
	OK(symlink(N("to"), N("l")));
	FAILS(mkdir(N("l"), 0755), EEXIST);
	FAILS(mkdir(N("l/"), 0755), EEXIST);
	CHECK(!tp_exists(N("to")));
}

TP_CASE(mkdir, new_directory_has_dots, TP_ANYBODY)
{
	struct stat here = tp_stat(".");

	tp_mkdir(N("d"));
	SAME_FILE(tp_stat(N("d")), tp_stat(N("d/.")));
	SAME_FILE(here, tp_stat(N("d/..")));
	EQ(tp_stat(N("d")).st_uid, geteuid());
}

TP_CASE(mkdir, thirty_levels, TP_ANYBODY)
{
	char path[256] = "";

	for (int i = 0; i < 30; i++) {
		strcat(path, i ? "/d" : "d");
		tp_mkdir(N(path));
	}
	tp_touch(N(strcat(path, "/f")));
	CHECK(tp_exists(N(path)));
}

TP_CASE(mkdir, hundred_subdirectories_are_counted, TP_ANYBODY)
{
	char name[16];

	tp_mkdir(N("d"));
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof name, "d/%d", i);
		tp_mkdir(N(name));
	}
	EQ(tp_stat(N("d")).st_nlink, 102);
}

/* ---- rmdir ---- */

static void rmdir_of(const struct tp_case *c)
{
	enum tp_type t = (enum tp_type)c->a;

	tp_make(t, N("x"));
	if (t == TP_DIR) {
		OK(rmdir(N("x")));
		CHECK(!tp_exists(N("x")));
	} else {
		FAILS(rmdir(N("x")), t == TP_FULL ? ENOTEMPTY : t == TP_MISSING ? ENOENT : ENOTDIR);
		tp_type_check(t, N("x"));
	}
}

static void rmdir_with(const struct tp_case *c)
{
	tp_mkdir(N("d"));
	tp_make((enum tp_type)c->a, N("d/x"));
	FAILS(rmdir(N("d")), ENOTEMPTY);
	OK(tp_type_is_dir((enum tp_type)c->a) ? 0 : unlink(N("d/x")));
	if (c->a == TP_FULL)
		OK(unlink(N("d/x/in")));
	OK(tp_type_is_dir((enum tp_type)c->a) ? rmdir(N("d/x")) : 0);
	OK(rmdir(N("d")));
}

static void unlink_of(const struct tp_case *c)
{
	enum tp_type t = (enum tp_type)c->a;
	struct stat parent;

	tp_make(t, N("x"));
	parent = tp_times_age(".");
	if (t == TP_MISSING || tp_type_is_dir(t)) {
		FAILS(unlink(N("x")), t == TP_MISSING ? ENOENT : EISDIR);
		TIMES(".", &parent, TP_NO_TIME);
		tp_type_check(t, N("x"));
		return;
	}
	OK(unlink(N("x")));
	TIMES(".", &parent, TP_BOTH);
	CHECK(!tp_exists(N("x")));
	if (t == TP_LINK)
		CHECK(tp_exists(N("what-links-point-to")));
}

static void unlinkat_removedir_of(const struct tp_case *c)
{
	enum tp_type t = (enum tp_type)c->a;

	tp_make(t, N("x"));
	if (t == TP_DIR)
		OK(unlinkat(AT_FDCWD, N("x"), AT_REMOVEDIR));
	else
		FAILS(unlinkat(AT_FDCWD, N("x"), AT_REMOVEDIR), t == TP_FULL	  ? ENOTEMPTY
								: t == TP_MISSING ? ENOENT
										  : ENOTDIR);
}

static void unlink_with_slash(const struct tp_case *c)
{
	enum tp_type t = (enum tp_type)c->a;

	tp_make(t, N("x"));
	FAILS(unlink(N("x/")), tp_type_is_dir(t) ? EISDIR : t == TP_MISSING ? ENOENT : ENOTDIR);
	tp_type_check(t, N("x"));
}

TP_CASES(removals)
{
	for (enum tp_type t = 0; t <= TP_MISSING; t++) {
		enum tp_case_who who = tp_type_who(t);
		const char *name = tp_type_name(t);

		tp_case_add(who, rmdir_of, t, 0, 0, "rmdir/of_%s", name);
		if (t != TP_MISSING)
			tp_case_add(who, rmdir_with, t, 0, 0, "rmdir/with_a_%s_in_it_is_enotempty", name);
		tp_case_add(who, unlink_of, t, 0, 0, "unlink/of_%s", name);
		tp_case_add(who, unlinkat_removedir_of, t, 0, 0, "unlink/at_removedir_of_%s", name);
		tp_case_add(who, unlink_with_slash, t, 0, 0, "unlink/of_%s_with_a_slash", name);
	}
}

TP_CASE(rmdir, dot_is_einval_and_dot_dot_enotempty, TP_ANYBODY)
{
	tp_mkdir(N("d"));
	tp_mkdir(N("d/e"));
	FAILS(rmdir(N("d/.")), EINVAL);
	FAILS(rmdir("."), EINVAL);
	FAILS(rmdir(N("d/e/..")), ENOTEMPTY);
}

TP_CASE(rmdir, symlink_to_a_directory_is_enotdir, TP_ANYBODY)
{
	tp_mkdir(N("d"));
	OK(symlink(N("d"), N("l")));
	FAILS(rmdir(N("l")), ENOTDIR);
	FAILS(rmdir(N("l/")), ENOTDIR);
	OK(rmdir(N("d/")));
}

TP_CASE(rmdir, below_a_file_is_enotdir, TP_ANYBODY)
{
	tp_touch(N("f"));
	FAILS(rmdir(N("f/d")), ENOTDIR);
	FAILS(rmdir(""), ENOENT);
}

TP_CASE(rmdir, moves_the_times_of_its_parent, TP_ANYBODY)
{
	struct stat parent;

	tp_mkdir(N("d"));
	tp_mkdir(N("d/e"));
	parent = tp_times_age(N("d"));
	OK(rmdir(N("d/e")));
	TIMES(N("d"), &parent, TP_BOTH);
}

TP_CASE(rmdir, failing_moves_nothing, TP_ANYBODY)
{
	struct stat parent, self;

	tp_make(TP_FULL, N("d"));
	parent = tp_times_age(".");
	self = tp_times_age(N("d"));
	FAILS(rmdir(N("d")), ENOTEMPTY);
	TIMES(".", &parent, TP_NO_TIME);
	TIMES(N("d"), &self, TP_NO_TIME);
}

TP_CASE(rmdir, open_directory_lives_on_without_links, TP_ANYBODY)
{
	int fd;

	tp_mkdir(N("d"));
	fd = (int)OK(open(N("d"), O_RDONLY | O_DIRECTORY));
	OK(rmdir(N("d")));
	EQ(tp_fstat(fd).st_nlink, 0);
	CHECK(S_ISDIR(tp_fstat(fd).st_mode));
	FAILS(openat(fd, N("x"), O_RDONLY), ENOENT);
}

TP_CASE(rmdir, working_directory_can_go, TP_ANYBODY)
{
	char buf[4096];

	tp_mkdir(N("d"));
	OK(chdir(N("d")));
	OK(rmdir(N("../d")));
	errno = 0;
	CHECK(!getcwd(buf, sizeof buf) && errno == ENOENT);
	FAILS(open(N("x"), O_WRONLY | O_CREAT, 0644), ENOENT);
	OK(chdir(".."));
}

TP_CASE(rmdir, name_can_be_used_again_at_once, TP_ANYBODY)
{
	for (int i = 0; i < 20; i++) {
		tp_mkdir(N("x"));
		OK(rmdir(N("x")));
		tp_put(N("x"), "bytes", 5);
		tp_type_check(TP_FILE, N("x"));
		OK(unlink(N("x")));
	}
}

/* ---- unlink ---- */

TP_CASE(unlink, empty_path_and_missing_parent_are_enoent, TP_ANYBODY)
{
	FAILS(unlink(""), ENOENT);
	FAILS(unlink(N("d/f")), ENOENT);
}

TP_CASE(unlink, below_a_file_is_enotdir, TP_ANYBODY)
{
	tp_touch(N("f"));
	FAILS(unlink(N("f/x")), ENOTDIR);
	FAILS(unlink(N("f/.")), ENOTDIR);
}

TP_CASE(unlink, bad_flags_are_einval, TP_ANYBODY)
{
	tp_touch(N("f"));
	FAILS(unlinkat(AT_FDCWD, N("f"), 0x40000000), EINVAL);
	CHECK(tp_exists(N("f")));
}

TP_CASE(unlink, one_of_two_links_moves_ctime_of_the_file, TP_ANYBODY)
{
	struct stat before;

	tp_put(N("f"), "abc", 3);
	OK(link(N("f"), N("g")));
	before = tp_times_age(N("g"));
	OK(unlink(N("f")));
	TIMES(N("g"), &before, TP_CTIME);
	EQ(tp_stat(N("g")).st_nlink, 1);
	HOLDS(N("g"), "abc", 3);
}

TP_CASE(unlink, open_file_reads_writes_and_grows_on, TP_ANYBODY)
{
	int fd;

	tp_put(N("f"), "abc", 3);
	fd = (int)OK(open(N("f"), O_RDWR));
	OK(unlink(N("f")));
	EQ(tp_fstat(fd).st_nlink, 0);
	EQ(tp_fstat(fd).st_size, 3);
	tp_pattern_write(fd, 0, 20000, 3);
	tp_pattern_check(fd, 0, 20000, 3);
	OK(ftruncate(fd, 10000));
	EQ(tp_fstat(fd).st_size, 10000);
	OK(fchmod(fd, 0600));
	EQ(tp_fstat(fd).st_mode, S_IFREG | 0600);
	OK(fsync(fd));
	CHECK(!tp_exists(N("f")));
}

TP_CASE(unlink, created_and_unlinked_before_writing, TP_ANYBODY)
{
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT | O_EXCL, 0600));

	OK(unlink(N("f")));
	CHECK(!tp_exists(N("f")));
	EQ(tp_fstat(fd).st_nlink, 0);
	tp_pattern_write(fd, 0, 20000, 3);
	tp_pattern_check(fd, 0, 20000, 3);
	OK(close(fd));
	CHECK(!tp_exists(N("f")));
}

TP_CASE(unlink, reader_of_the_old_file_is_apart_from_the_new_one, TP_ANYBODY)
{
	char b[3];
	int fd;

	tp_put(N("f"), "old", 3);
	fd = (int)OK(open(N("f"), O_RDONLY));
	OK(unlink(N("f")));
	tp_put(N("f"), "new", 3);
	EQ(pread(fd, b, 3, 0), 3);
	CHECK(memcmp(b, "old", 3) == 0);
	CHECK(tp_fstat(fd).st_ino != tp_stat(N("f")).st_ino);
	HOLDS(N("f"), "new", 3);
}

TP_CASE(unlink, deleted_file_cannot_be_linked_again, TP_ANYBODY)
{
	char path[64];
	int fd;

	tp_touch(N("f"));
	fd = (int)OK(open(N("f"), O_RDWR));
	OK(unlink(N("f")));
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	FAILS(linkat(AT_FDCWD, path, AT_FDCWD, N("g"), AT_SYMLINK_FOLLOW), ENOENT);
}

TP_CASE(unlink, times_and_owner_of_an_unlinked_open_file, TP_ANYBODY)
{
	struct timespec t[2] = {{1000, 1}, {2000, 2}};
	int fd;

	tp_touch(N("f"));
	fd = (int)OK(open(N("f"), O_RDWR));
	OK(unlink(N("f")));
	OK(futimens(fd, t));
	OK(fchown(fd, geteuid(), getegid()));
	EQ(tp_fstat(fd).st_mtim.tv_sec, 2000);
	EQ(tp_fstat(fd).st_mtim.tv_nsec, 2);
}

/* ---- mknod ---- */

TP_CASE(mknod, regular_file_is_empty, TP_ANYBODY)
{
	OK(mknod(N("f"), S_IFREG | 0640, 0));
	EQ(tp_stat(N("f")).st_mode, S_IFREG | 0640);
	OK(mknod(N("g"), 0600, 0));
	EQ(tp_stat(N("g")).st_mode, S_IFREG | 0600);
	EQ(tp_stat(N("g")).st_size, 0);
	tp_put(N("f"), "abc", 3);
	HOLDS(N("f"), "abc", 3);
}

TP_CASE(mknod, directory_is_eperm, TP_ANYBODY)
{
	FAILS(mknod(N("d"), S_IFDIR | 0755, 0), EPERM);
}

TP_CASE(mknod, symlink_and_nonsense_are_einval, TP_ANYBODY)
{
	FAILS(mknod(N("d"), S_IFLNK | 0755, 0), EINVAL);
	FAILS(mknod(N("d"), 0050000 | 0755, 0), EINVAL);
	CHECK(!tp_exists(N("d")));
}

TP_CASE(mknod, device_by_a_user_is_eperm, TP_USER)
{
	FAILS(mknod(N("c"), S_IFCHR | 0644, makedev(1, 3)), EPERM);
	FAILS(mknod(N("b"), S_IFBLK | 0644, makedev(7, 0)), EPERM);
	CHECK(!tp_exists(N("c")) && !tp_exists(N("b")));
}

static void device_numbers(const struct tp_case *c)
{
	static const unsigned majors[] = {0, 1, 255, 256, 4095}, minors[] = {0, 3, 255, 256, 1048575};

	for (size_t i = 0; i < 5; i++) {
		char name[16];
		dev_t dev = makedev(majors[i], minors[i]);

		if (c->a == S_IFCHR && dev == 0) /* that is overlayfs' whiteout */
			continue;
		snprintf(name, sizeof name, "dev%zu", i);
		OK(mknod(N(name), (mode_t)c->a | 0640, dev));
		EQ(tp_stat(N(name)).st_rdev, dev);
		EQ(tp_stat(N(name)).st_mode, c->a | 0640);
		EQ(tp_stat(N(name)).st_size, 0);
	}
}

TP_CASES(devices)
{
	tp_case_add(TP_ROOT, device_numbers, S_IFCHR, 0, 0, "mknod/char_device_keeps_its_number");
	tp_case_add(TP_ROOT, device_numbers, S_IFBLK, 0, 0, "mknod/block_device_keeps_its_number");
}
