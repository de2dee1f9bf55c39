/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Permissions: each operation for owner, group and others, with each of the eight values of their three bits.
 *
 * The other two classes always have the bits that the tested one lacks, so an answer from the wrong class shows.
 * As an ordinary user only the owner's column can be tested.
 */
#include "files.h"

#include <dirent.h>
#include <grp.h>
#include <sys/wait.h>
#include <sys/xattr.h>

enum { READ = 4, WRITE = 2, SEARCH = 1 };
enum class { OWNER, GROUP, EXTRA_GROUP, OTHER, CLASSES };

static const char *const class_names[] = {"owner", "group", "supplementary_group", "other"};
enum { SHARED_GID = 54321 };

static const struct tp_ids actors[] = {
	[OWNER] = {12345, 12345, (gid_t)-1},
	[GROUP] = {12345, SHARED_GID, (gid_t)-1},
	[EXTRA_GROUP] = {12345, 12345, SHARED_GID},
	[OTHER] = {12345, 12345, (gid_t)-1},
};

static mode_t mode_for(enum class who, unsigned bits)
{
	mode_t not = ~bits & 7;

	switch (who) {
	case OWNER:
		return bits << 6 | not << 3 | not ;
	case GROUP:
	case EXTRA_GROUP:
		return not << 6 | bits << 3 | not ;
	default:
		return not << 6 | not << 3 | bits;
	}
}

static void give(const char *path, enum class who, unsigned bits)
{
	if (geteuid() == 0)
		OK(lchown(path, who == OWNER ? 12345 : 65534, who == OTHER || who == OWNER ? 1 : SHARED_GID));
	OK(chmod(path, mode_for(who, bits)));
}

/* An operation on the file d/f or with names in d, which its owner prepared; 0 or -1 with errno. */
struct operation {
	const char *name;
	int (*run)(void);
	unsigned needs; /* of the bits that are tested, to succeed */
};

static int closed(int fd)
{
	return fd < 0 ? -1 : close(fd);
}

static int op_read(void)
{
	return closed(open(N("d/f"), O_RDONLY));
}

static int op_write(void)
{
	return closed(open(N("d/f"), O_WRONLY));
}

static int op_read_write(void)
{
	return closed(open(N("d/f"), O_RDWR));
}

static int op_append(void)
{
	return closed(open(N("d/f"), O_WRONLY | O_APPEND));
}

static int op_o_trunc(void)
{
	return closed(open(N("d/f"), O_WRONLY | O_TRUNC));
}

static int op_o_creat(void)
{
	return closed(open(N("d/f"), O_WRONLY | O_CREAT, 0644));
}

static int op_truncate(void)
{
	return truncate(N("d/f"), 1);
}

static int op_access_r(void)
{
	return access(N("d/f"), R_OK);
}

static int op_access_w(void)
{
	return access(N("d/f"), W_OK);
}

static int op_access_x(void)
{
	return access(N("d/f"), X_OK);
}

static int op_touch(void)
{
	return utimensat(AT_FDCWD, N("d/f"), NULL, 0);
}

static int op_setxattr(void)
{
	return setxattr(N("d/f"), "user.a", "2", 1, 0);
}

static int op_getxattr(void)
{
	char b[8];

	return getxattr(N("d/f"), "user.a", b, sizeof b) < 0 ? -1 : 0;
}

static int op_removexattr(void)
{
	return removexattr(N("d/f"), "user.a");
}

static int op_exec(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		execl(N("d/f"), "f", (char *)NULL);
		/* A file of five bytes is no program, but whoever may run it gets that far. */
		_exit(errno == ENOEXEC ? 0 : errno);
	}
	waitpid(pid, &status, 0);
	errno = WEXITSTATUS(status);
	return errno ? -1 : 0;
}

static const struct operation on_file[] = {
	{"read", op_read, READ},
	{"write", op_write, WRITE},
	{"read_write", op_read_write, READ | WRITE},
	{"append", op_append, WRITE},
	{"o_trunc", op_o_trunc, WRITE},
	{"o_creat", op_o_creat, WRITE},
	{"truncate", op_truncate, WRITE},
	{"access_r", op_access_r, READ},
	{"access_w", op_access_w, WRITE},
	{"access_x", op_access_x, SEARCH},
	{"setxattr", op_setxattr, WRITE},
	{"getxattr", op_getxattr, READ},
	{"removexattr", op_removexattr, WRITE},
	{"exec", op_exec, SEARCH},
};

static bool has_xattrs(void)
{
	tp_touch(N("probe"));
	return setxattr(N("probe"), "user.a", "1", 1, 0) == 0 || errno != EOPNOTSUPP;
}

static void act(const struct operation *op, bool allowed)
{
	if (allowed)
		tp_check_ok((errno = 0, op->run()), op->name, __FILE__, __LINE__);
	else
		tp_check_fails((errno = 0, op->run()), EACCES, op->name, __FILE__, __LINE__);
}

static void as_actor(enum class who, const struct operation *op, bool allowed)
{
	AS (geteuid() == 0 ? &actors[who] : TP_SAME)
		act(op, allowed);
}

static void file_operation(const struct tp_case *c)
{
	enum class who = (enum class)c->b;
	const struct operation *op = &on_file[c->a];

	if (strstr(op->name, "xattr") && !has_xattrs())
		tp_case_skip("no user attributes here");
	tp_mkdir(N("d"));
	for (unsigned bits = 0; bits < 8; bits++) {
		tp_put(N("d/f"), "bytes", 5);
		if (strstr(op->name, "xattr"))
			OK(setxattr(N("d/f"), "user.a", "1", 1, 0));
		give(N("d/f"), who, bits);
		as_actor(who, op, (bits & op->needs) == op->needs);
		OK(unlink(N("d/f")));
	}
}

/* ---- on a directory ---- */

static int op_list(void)
{
	DIR *dir = opendir(N("d"));

	return dir ? closedir(dir) : -1;
}

static int op_stat(void)
{
	struct stat st;

	return lstat(N("d/f"), &st);
}

static int op_chdir(void)
{
	return chdir(N("d"));
}

static int op_create(void)
{
	return closed(open(N("d/new"), O_WRONLY | O_CREAT, 0644));
}

static int op_mkdir(void)
{
	return mkdir(N("d/new"), 0755);
}

static int op_mkfifo(void)
{
	return mkfifo(N("d/new"), 0644);
}

static int op_symlink(void)
{
	return symlink("x", N("d/new"));
}

static int op_link_into(void)
{
	return link(N("mine/f"), N("d/new"));
}

static int op_unlink(void)
{
	return unlink(N("d/f"));
}

static int op_rmdir(void)
{
	return rmdir(N("d/e"));
}

static int op_rename_within(void)
{
	return rename(N("d/f"), N("d/new"));
}

static int op_rename_out(void)
{
	return rename(N("d/f"), N("mine/new"));
}

static int op_rename_in(void)
{
	return rename(N("mine/f"), N("d/new"));
}

static int op_rename_over(void)
{
	return rename(N("mine/f"), N("d/f"));
}

static int op_exchange(void)
{
	return renameat2(AT_FDCWD, N("mine/f"), AT_FDCWD, N("d/f"), RENAME_EXCHANGE);
}

static const struct operation on_dir[] = {
	{"list", op_list, READ},
	{"stat_in", op_stat, SEARCH},
	{"chdir", op_chdir, SEARCH},
	{"create_in", op_create, WRITE | SEARCH},
	{"mkdir_in", op_mkdir, WRITE | SEARCH},
	{"mkfifo_in", op_mkfifo, WRITE | SEARCH},
	{"symlink_in", op_symlink, WRITE | SEARCH},
	{"link_into", op_link_into, WRITE | SEARCH},
	{"unlink_in", op_unlink, WRITE | SEARCH},
	{"rmdir_in", op_rmdir, WRITE | SEARCH},
	{"rename_within", op_rename_within, WRITE | SEARCH},
	{"rename_out", op_rename_out, WRITE | SEARCH},
	{"rename_in", op_rename_in, WRITE | SEARCH},
	{"rename_over", op_rename_over, WRITE | SEARCH},
	{"exchange", op_exchange, WRITE | SEARCH},
	{"read_in", op_read, SEARCH},
	{"write_in", op_write, SEARCH},
	{"access_in", op_access_r, SEARCH},
	{"truncate_in", op_truncate, SEARCH},
	{"touch_in", op_touch, SEARCH},
};

static void clear_dir(const char *path)
{
	static const char *const names[] = {"f", "new"};
	char at[256];

	for (int i = 0; i < 2; i++) {
		snprintf(at, sizeof at, "%s/%s", path, N(names[i]));
		if (unlink(at) < 0 && errno == EISDIR)
			OK(rmdir(at));
	}
}

static void dir_operation(const struct tp_case *c)
{
	enum class who = (enum class)c->b;
	const struct operation *op = &on_dir[c->a];

	for (unsigned bits = 0; bits < 8; bits++) {
		tp_mkdir(N("d"));
		tp_mkdir(N("mine"));
		tp_mkdir(N("d/e"));
		tp_put(N("d/f"), "bytes", 5);
		tp_put(N("mine/f"), "bytes", 5);
		OK(chmod(N("d/f"), 0666));
		if (geteuid() == 0) {
			OK(chown(N("mine/f"), 12345, 12345));
			OK(chown(N("mine"), 12345, 12345));
		}
		give(N("d"), who, bits);
		as_actor(who, op, (bits & op->needs) == op->needs);
		OK(chmod(N("d"), 0777));
		clear_dir(N("d"));
		clear_dir(N("mine"));
		if (rmdir(N("d/e")) < 0)
			EQ(errno, ENOENT);
		OK(rmdir(N("d")));
		OK(rmdir(N("mine")));
	}
}

TP_CASES(permissions)
{
	for (size_t i = 0; i < sizeof on_file / sizeof on_file[0]; i++)
		for (int who = 0; who < CLASSES; who++)
			tp_case_add(who == OWNER ? TP_ANYBODY : TP_ROOT, file_operation, i, who, 0,
				"perm/%s_by_%s", on_file[i].name, class_names[who]);
	for (size_t i = 0; i < sizeof on_dir / sizeof on_dir[0]; i++)
		for (int who = 0; who < CLASSES; who++)
			tp_case_add(who == OWNER ? TP_ANYBODY : TP_ROOT, dir_operation, i, who, 0,
				"perm/%s_by_%s", on_dir[i].name, class_names[who]);
}

TP_CASE(perm, search_is_needed_on_every_directory_of_a_path, TP_ROOT)
{
	tp_mkdir(N("a"));
	tp_mkdir(N("a/b"));
	tp_mkdir(N("a/b/c"));
	tp_put(N("a/b/c/f"), "x", 1);
	OK(chmod(N("a"), 0700));
	AS (&tp_bob)
		FAILS(open(N("a/b/c/f"), O_RDONLY), EACCES);
	OK(chmod(N("a"), 0711));
	OK(chmod(N("a/b"), 0744));
	AS (&tp_bob) {
		FAILS(open(N("a/b/c/f"), O_RDONLY), EACCES);
		FAILS(open(N("a/b/missing"), O_RDONLY), EACCES);
	}
	OK(chmod(N("a/b"), 0711));
	AS (&tp_bob) {
		OK(open(N("a/b/c/f"), O_RDONLY));
		FAILS(open(N("a/b/missing"), O_RDONLY), ENOENT);
	}
}

TP_CASE(perm, root_may_all, TP_ROOT)
{
	tp_mkdir_as(N("d"), 0, 1, 1);
	tp_put_as(N("d/f"), 0, 1, 1);
	OK(open(N("d/f"), O_RDWR));
	OK(truncate(N("d/f"), 0));
	tp_touch(N("d/g"));
	OK(rename(N("d/g"), N("d/f")));
	OK(unlink(N("d/f")));
	OK(rmdir(N("d")));
}

TP_CASE(perm, directory_of_others_with_their_file_in_an_own_directory, TP_ROOT)
{
	/* Whoever may write the directory may remove what is in it, whoever's it is. */
	tp_mkdir_as(N("d"), 0755, tp_bob.uid, tp_bob.gid);
	tp_put_as(N("d/f"), 0600, 0, 0);
	tp_put_as(N("d/g"), 0600, 0, 0);
	AS (&tp_bob) {
		FAILS(open(N("d/f"), O_RDONLY), EACCES);
		OK(unlink(N("d/f")));
		OK(rename(N("d/g"), N("d/h")));
	}
}

TP_CASE(perm, new_file_belongs_to_its_maker, TP_ROOT)
{
	tp_mkdir_as(N("d"), 0777, 0, 0);
	AS (&tp_bob) {
		tp_touch(N("d/f"));
		tp_mkdir(N("d/e"));
		OK(symlink("x", N("d/l")));
		OK(mkfifo(N("d/p"), 0644));
	}
	EQ(tp_stat(N("d/f")).st_uid, tp_bob.uid);
	EQ(tp_stat(N("d/f")).st_gid, tp_bob.gid);
	EQ(tp_stat(N("d/e")).st_uid, tp_bob.uid);
	EQ(tp_stat(N("d/l")).st_gid, tp_bob.gid);
	EQ(tp_stat(N("d/p")).st_uid, tp_bob.uid);
}

TP_CASE(perm, mode_zero_file_is_writable_through_its_creating_descriptor, TP_ANYBODY)
{
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT | O_EXCL, 0));

	EQ(write(fd, "abc", 3), 3);
	OK(ftruncate(fd, 2));
	OK(close(fd));
	OK(chmod(N("f"), 0400));
	HOLDS(N("f"), "ab", 2);
}

TP_CASE(perm, ftruncate_needs_only_the_descriptor, TP_USER)
{
	int fd;

	tp_put(N("f"), "abc", 3);
	fd = (int)OK(open(N("f"), O_RDWR));
	OK(chmod(N("f"), 0));
	OK(ftruncate(fd, 1));
	EQ(tp_fstat(fd).st_size, 1);
	FAILS(truncate(N("f"), 0), EACCES);
}
