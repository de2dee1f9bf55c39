/* SPDX-License-Identifier: Apache-2.0 */
/* Paths: lengths of names and paths, dots and slashes, names of any bytes. */
#include "files.h"

#include <assert.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>

/* Every call that takes a path, once with a path that is there or may be made, once with a wrong one. */
enum call {
	P_OPEN,
	P_CREAT,
	P_MKDIR,
	P_MKFIFO,
	P_SYMLINK,
	P_LINK_TO,
	P_RENAME_TO,
	P_MAKERS,
	P_STAT = P_MAKERS,
	P_LSTAT,
	P_ACCESS,
	P_CHMOD,
	P_CHOWN,
	P_UTIMENS,
	P_TRUNCATE,
	P_UNLINK,
	P_RMDIR,
	P_READLINK,
	P_LINK_FROM,
	P_RENAME_FROM,
	P_STATVFS,
	P_CHDIR,
	P_GETXATTR,
	P_SETXATTR,
	P_EXEC,
	P_CALLS
};

static const char *const call_names[] = {"open", "creat", "mkdir", "mkfifo", "symlink", "link_to",
	"rename_to", "stat", "lstat", "access", "chmod", "chown", "utimensat", "truncate", "unlink", "rmdir",
	"readlink", "link_from", "rename_from", "statvfs", "chdir", "getxattr", "setxattr", "exec"};

static int closed(int fd)
{
	return fd < 0 ? -1 : close(fd);
}

static int call_on(enum call call, const char *path)
{
	struct statvfs vfs;
	struct stat st;
	char b[64];

	switch (call) {
	case P_OPEN:
		return closed(open(path, O_RDONLY));
	case P_CREAT:
		return closed(open(path, O_WRONLY | O_CREAT | O_EXCL, 0644));
	case P_MKDIR:
		return mkdir(path, 0755);
	case P_MKFIFO:
		return mkfifo(path, 0644);
	case P_SYMLINK:
		return symlink("x", path);
	case P_LINK_TO:
		return link(N("source"), path);
	case P_RENAME_TO:
		return rename(N("source"), path);
	case P_STAT:
		return stat(path, &st);
	case P_LSTAT:
		return lstat(path, &st);
	case P_ACCESS:
		return access(path, F_OK);
	case P_CHMOD:
		return chmod(path, 0755);
	case P_CHOWN:
		return chown(path, geteuid(), getegid());
	case P_UTIMENS:
		return utimensat(AT_FDCWD, path, NULL, 0);
	case P_TRUNCATE:
		return truncate(path, 0);
	case P_UNLINK:
		return unlink(path);
	case P_RMDIR:
		return rmdir(path);
	case P_READLINK:
		return readlink(path, b, sizeof b) < 0 ? -1 : 0;
	case P_LINK_FROM:
		return link(path, N("to"));
	case P_RENAME_FROM:
		return rename(path, N("to"));
	case P_STATVFS:
		return statvfs(path, &vfs);
	case P_CHDIR:
		return chdir(path);
	case P_GETXATTR:
		return getxattr(path, "user.a", b, sizeof b) < 0 ? -1 : 0;
	case P_SETXATTR:
		return setxattr(path, "user.a", "v", 1, 0);
	case P_EXEC:
		return execl(path, "x", (char *)NULL);
	case P_CALLS:
		break;
	}
	abort();
}

static void name_too_long(const struct tp_case *c)
{
	tp_touch(N("source"));
	FAILS(call_on((enum call)c->a, tp_name_long(256, 'n')), ENAMETOOLONG);
	FAILS(call_on((enum call)c->a, tp_name_long(1000, 'n')), ENAMETOOLONG);
	FAILS(call_on((enum call)c->a, tp_name_long(4095, 'n')), ENAMETOOLONG);
}

static void path_too_long(const struct tp_case *c)
{
	char path[5000];

	tp_touch(N("source"));
	memset(path, '/', sizeof path);
	for (int i = 0; i < 4096; i += 2)
		path[i] = '.';
	path[4096] = '\0';
	FAILS(call_on((enum call)c->a, path), ENAMETOOLONG);
	memset(path, 'x', 4999);
	path[4999] = '\0';
	FAILS(call_on((enum call)c->a, path), ENAMETOOLONG);
}

static void longest_name(const struct tp_case *c)
{
	const char *name = tp_name_long(255, 'n');

	tp_touch(N("source"));
	if (c->a == P_OPEN)
		tp_touch(name);
	OK(call_on((enum call)c->a, name));
	CHECK(tp_exists(name));
	/* One that differs in the last byte only is another one. */
	char *other = (char *)(uintptr_t)tp_name_long(255, 'n');

	other[254] = 'm';
	CHECK(!tp_exists(other));
}

TP_CASES(paths)
{
	for (int call = 0; call < P_CALLS; call++) {
		tp_case_add(TP_ANYBODY, name_too_long, call, 0, 0, "path/name_of_256_is_enametoolong_for_%s",
			call_names[call]);
		tp_case_add(TP_ANYBODY, path_too_long, call, 0, 0, "path/of_4096_is_enametoolong_for_%s",
			call_names[call]);
		if (call < P_MAKERS)
			tp_case_add(TP_ANYBODY, longest_name, call, 0, 0, "path/name_of_255_for_%s",
				call_names[call]);
	}
}

TP_CASE(path, of_4095_is_fine, TP_ANYBODY)
{
	char path[5000];
	size_t name = strlen(N("f"));

	/* Slashes and dots up to the name. */
	tp_mkdir(N("d"));
	OK(chdir(N("d")));
	memset(path, '/', sizeof path);
	path[0] = '.';
	strcpy(path + 4095 - name, N("f"));
	EQ(strlen(path), 4095);
	tp_put(path, "abc", 3);
	HOLDS(N("f"), "abc", 3);
	strcpy(path + 4096 - name, N("f"));
	FAILS(open(path, O_RDONLY), ENAMETOOLONG);
	OK(chdir(".."));
}

TP_CASE(path, tree_deeper_than_a_path_can_say, TP_ANYBODY)
{
	const char *name = tp_name_long(200, 'd');
	int at = (int)OK(open(".", O_RDONLY | O_DIRECTORY)), down;

	for (int i = 0; i < 30; i++) {
		OK(mkdirat(at, name, 0755));
		down = (int)OK(openat(at, name, O_RDONLY | O_DIRECTORY));
		OK(close(at));
		at = down;
	}
	OK(close((int)OK(openat(at, N("f"), O_WRONLY | O_CREAT, 0644))));
	OK(faccessat(at, N("f"), F_OK, 0));
	for (int i = 0; i < 30; i++) {
		int up = (int)OK(openat(at, "..", O_RDONLY | O_DIRECTORY));

		OK(close(at));
		at = up;
	}
	SAME_FILE(tp_fstat(at), tp_stat("."));
}

TP_CASE(path, two_hundred_levels, TP_ANYBODY)
{
	char path[1000] = "", up[1000] = "";

	for (int i = 0; i < 200; i++) {
		strcat(path, i ? "/d" : "d");
		tp_mkdir(N(path));
	}
	tp_put(N(strcat(path, "/f")), "abc", 3);
	HOLDS(N(path), "abc", 3);
	path[strlen(path) - 2] = '\0';
	OK(chdir(N(path)));
	for (int i = 0; i < 200; i++)
		strcat(up, "../");
	OK(chdir(up));
	CHECK(tp_exists(N("d")));
}

TP_CASE(path, dots_and_slashes, TP_ANYBODY)
{
	tp_mkdir(N("a"));
	tp_mkdir(N("a/b"));
	tp_put(N("f"), "abc", 3);
	HOLDS(N("./f"), "abc", 3);
	HOLDS(N(".//f"), "abc", 3);
	HOLDS(N("a/../f"), "abc", 3);
	HOLDS(N("a/b/../../f"), "abc", 3);
	HOLDS(N("a//b/.././//../f"), "abc", 3);
	SAME_FILE(tp_stat(N("a")), tp_stat(N("a/")));
	SAME_FILE(tp_stat(N("a")), tp_stat(N("a//.")));
	SAME_FILE(tp_stat(N("a")), tp_stat(N("a/b/..")));
}

TP_CASE(path, dot_dot_of_nothing_is_enoent, TP_ANYBODY)
{
	struct stat st;

	tp_touch(N("f"));
	FAILS(stat(N("x/.."), &st), ENOENT);
	FAILS(stat(N("f/.."), &st), ENOTDIR);
	FAILS(stat(N("f/."), &st), ENOTDIR);
	FAILS(stat(N("x/../f"), &st), ENOENT);
}

TP_CASE(path, symlink_with_a_slash_means_its_target, TP_ANYBODY)
{
	struct stat st;

	tp_mkdir(N("d"));
	OK(symlink(N("d"), N("l")));
	OK(lstat(N("l/"), &st));
	CHECK(S_ISDIR(st.st_mode));
	SAME_FILE(st, tp_stat(N("d")));
	OK(symlink(N("nothing"), N("m")));
	FAILS(lstat(N("m/"), &st), ENOENT);
}

/* ---- names ---- */

static void bytes_of_names(const struct tp_case *c)
{
	for (int b = (int)c->a; b < c->a + 16; b++) {
		char name[8] = "x", text[8];

		if (b == 0 || b == '/')
			continue;
		name[1] = (char)b;
		name[2] = 'y';
		snprintf(text, sizeof text, "%d", b);
		tp_put(N(name), text, strlen(text));
		HOLDS(N(name), text, strlen(text));
		/* Alone, where that is a name. */
		if (b != '.') {
			name[0] = (char)b;
			name[1] = '\0';
			tp_mkdir(N(name));
			CHECK(S_ISDIR(tp_stat(N(name)).st_mode));
		}
	}
}

TP_CASES(names)
{
	for (int b = 0; b < 256; b += 16)
		tp_case_add(TP_ANYBODY, bytes_of_names, b, 0, 0, "name/bytes_0x%02x_to_0x%02x", b, b + 15);
}

TP_CASE(name, odd_ones, TP_ANYBODY)
{
	static const char *const names[] = {"...", "..a", " ", "  lead", "trail ", "-rf", "a\nb", "tab\t",
		"~", "#x#", "a.tmp", "a.part", "a.tmp.b", "con", "*", "?", "\"", "\\", "\xff\xfe", "\xc3\xa4",
		"a\xcc\x88", "%s", "$HOME", "user.x", "lost+found", ".hidden"};
	enum { NAMES = sizeof names / sizeof names[0] };

	for (int i = 0; i < NAMES; i++)
		tp_put(N(names[i]), names[i], strlen(names[i]));
	for (int i = 0; i < NAMES; i++) {
		HOLDS(N(names[i]), names[i], strlen(names[i]));
		OK(unlink(N(names[i])));
		CHECK(!tp_exists(N(names[i])));
	}
}

TP_CASE(name, case_makes_a_difference, TP_ANYBODY)
{
	tp_put(N("Name"), "1", 1);
	tp_put(N("name"), "2", 1);
	tp_put(N("NAME"), "3", 1);
	HOLDS(N("Name"), "1", 1);
	HOLDS(N("name"), "2", 1);
}

TP_CASE(name, thousand_names_are_all_found, TP_ANYBODY)
{
	char name[16];

	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof name, "%d", i);
		OK(mknod(N(name), S_IFREG | 0644, 0));
	}
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof name, "%d", (i * 7) % 1000);
		CHECK(tp_exists(N(name)));
	}
	CHECK(!tp_exists(N("1000")));
}
