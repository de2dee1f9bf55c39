/* SPDX-License-Identifier: Apache-2.0 */
/* User attributes. */
#include "files.h"

#include <sys/xattr.h>

static void need_xattrs(void)
{
	tp_touch(N("probe"));
	if (setxattr(N("probe"), "user.a", "1", 1, 0) < 0 && errno == EOPNOTSUPP)
		tp_case_skip("no user attributes here");
}

/* The attribute has this value. */
static void has(const char *path, const char *name, const void *value, size_t size)
{
	static char got[70000];

	EQ(OK(getxattr(path, name, got, sizeof got)), size);
	CHECK(memcmp(got, value, size) == 0);
}

/* Whether the list has the name, exactly once. */
static bool listed(const char *path, const char *name)
{
	static char list[70000];
	ssize_t n = (ssize_t)OK(listxattr(path, list, sizeof list));
	int found = 0;

	for (char *p = list; p < list + n; p += strlen(p) + 1)
		found += strcmp(p, name) == 0;
	CHECK(found <= 1);
	return found;
}

static void set_get_list_remove(const struct tp_case *c)
{
	enum tp_type t = (enum tp_type)c->a;
	struct stat before, parent;

	need_xattrs();
	tp_make(t, N("x"));
	parent = tp_times_age(".");
	before = tp_times_age(N("x"));
	OK(setxattr(N("x"), "user.one", "value", 5, 0));
	TIMES(N("x"), &before, TP_CTIME);
	has(N("x"), "user.one", "value", 5);
	CHECK(listed(N("x"), "user.one"));
	OK(setxattr(N("x"), "user.two", "", 0, 0));
	has(N("x"), "user.two", "", 0);
	before = tp_times_age(N("x"));
	OK(removexattr(N("x"), "user.one"));
	TIMES(N("x"), &before, TP_CTIME);
	FAILS(getxattr(N("x"), "user.one", NULL, 0), ENODATA);
	CHECK(!listed(N("x"), "user.one") && listed(N("x"), "user.two"));
	TIMES(".", &parent, TP_NO_TIME);
}

static void refused(const struct tp_case *c)
{
	char b[64];

	need_xattrs();
	tp_make((enum tp_type)c->a, N("x"));
	FAILS(lsetxattr(N("x"), "user.one", "v", 1, 0), EPERM);
	FAILS(lgetxattr(N("x"), "user.one", b, sizeof b), ENODATA);
	FAILS(lremovexattr(N("x"), "user.one"), EPERM);
}

static void value_of_size(const struct tp_case *c)
{
	size_t size = (size_t)c->a;
	char *value = malloc(size + 1);

	need_xattrs();
	CHECK(value);
	tp_pattern_fill((unsigned char *)value, size, 1, 0);
	tp_touch(N("f"));
	OK(setxattr(N("f"), "user.big", value, size, 0));
	has(N("f"), "user.big", value, size);
	EQ(getxattr(N("f"), "user.big", NULL, 0), size);
	if (size > 1)
		FAILS(getxattr(N("f"), "user.big", value, size - 1), ERANGE);
	free(value);
}

TP_CASES(xattrs)
{
	static const int sizes[] = {0, 1, 100, 255, 1024, 2048, 3000};

	for (enum tp_type t = 0; t < TP_TYPES; t++) {
		if (t == TP_FILE || tp_type_is_dir(t))
			tp_case_add(TP_ANYBODY, set_get_list_remove, t, 0, 0,
				"xattr/set_get_list_remove_on_%s", tp_type_name(t));
		else
			tp_case_add(tp_type_who(t), refused, t, 0, 0, "xattr/user_names_on_%s_are_eperm",
				tp_type_name(t));
	}
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
		tp_case_add(TP_ANYBODY, value_of_size, sizes[i], 0, 0, "xattr/value_of_%d_bytes", sizes[i]);
}

TP_CASE(xattr, create_and_replace_flags, TP_ANYBODY)
{
	need_xattrs();
	tp_touch(N("f"));
	FAILS(setxattr(N("f"), "user.a", "1", 1, XATTR_REPLACE), ENODATA);
	OK(setxattr(N("f"), "user.a", "1", 1, XATTR_CREATE));
	FAILS(setxattr(N("f"), "user.a", "2", 1, XATTR_CREATE), EEXIST);
	has(N("f"), "user.a", "1", 1);
	OK(setxattr(N("f"), "user.a", "3", 1, XATTR_REPLACE));
	has(N("f"), "user.a", "3", 1);
	FAILS(setxattr(N("f"), "user.a", "4", 1, 8), EINVAL);
}

TP_CASE(xattr, value_is_replaced_by_shorter_and_longer, TP_ANYBODY)
{
	need_xattrs();
	tp_touch(N("f"));
	OK(setxattr(N("f"), "user.a", "middle", 6, 0));
	OK(setxattr(N("f"), "user.a", "s", 1, 0));
	has(N("f"), "user.a", "s", 1);
	OK(setxattr(N("f"), "user.a", "a longer one", 12, 0));
	has(N("f"), "user.a", "a longer one", 12);
	OK(setxattr(N("f"), "user.a", "bin\0ary", 7, 0));
	has(N("f"), "user.a", "bin\0ary", 7);
}

TP_CASE(xattr, missing_is_enodata, TP_ANYBODY)
{
	char b[8];

	need_xattrs();
	tp_touch(N("f"));
	FAILS(getxattr(N("f"), "user.a", b, sizeof b), ENODATA);
	FAILS(removexattr(N("f"), "user.a"), ENODATA);
}

TP_CASE(xattr, wrong_paths, TP_ANYBODY)
{
	char b[8];

	tp_touch(N("f"));
	FAILS(getxattr(N("x"), "user.a", b, sizeof b), ENOENT);
	FAILS(setxattr(N("x"), "user.a", "1", 1, 0), ENOENT);
	FAILS(listxattr(N("x"), b, sizeof b), ENOENT);
	FAILS(removexattr(N("x"), "user.a"), ENOENT);
	FAILS(setxattr(N("f/x"), "user.a", "1", 1, 0), ENOTDIR);
	FAILS(fsetxattr(-1, "user.a", "1", 1, 0), EBADF);
}

TP_CASE(xattr, wrong_names, TP_ANYBODY)
{
	char name[300] = "user.";

	need_xattrs();
	tp_touch(N("f"));
	FAILS(setxattr(N("f"), "", "1", 1, 0), ERANGE);
	FAILS(setxattr(N("f"), "plain", "1", 1, 0), EOPNOTSUPP);
	FAILS(setxattr(N("f"), "user.", "1", 1, 0), EINVAL);
	memset(name + 5, 'n', 251);
	name[256] = '\0';
	FAILS(setxattr(N("f"), name, "1", 1, 0), ERANGE);
	name[255] = '\0';
	OK(setxattr(N("f"), name, "1", 1, 0));
	has(N("f"), name, "1", 1);
	CHECK(listed(N("f"), name));
}

TP_CASE(xattr, value_above_64_kib_is_e2big, TP_ANYBODY)
{
	char *value = calloc(1, 65537);

	need_xattrs();
	CHECK(value);
	tp_touch(N("f"));
	FAILS(setxattr(N("f"), "user.a", value, 65537, 0), E2BIG);
	FAILS(getxattr(N("f"), "user.a", value, 10), ENODATA);
	free(value);
}

TP_CASE(xattr, list_too_small_is_erange, TP_ANYBODY)
{
	char b[64];
	ssize_t n;

	need_xattrs();
	tp_touch(N("f"));
	OK(setxattr(N("f"), "user.first", "1", 1, 0));
	OK(setxattr(N("f"), "user.second", "1", 1, 0));
	n = (ssize_t)OK(listxattr(N("f"), NULL, 0));
	CHECK(n >= 23);
	FAILS(listxattr(N("f"), b, 5), ERANGE);
	FAILS(listxattr(N("f"), b, (size_t)n - 1), ERANGE);
	EQ(listxattr(N("f"), b, (size_t)n), n);
}

TP_CASE(xattr, many_small_ones, TP_ANYBODY)
{
	char name[32];

	need_xattrs();
	tp_touch(N("f"));
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof name, "user.name%02d", i);
		OK(setxattr(N("f"), name, name, strlen(name), 0));
	}
	for (int i = 0; i < 40; i += 2) {
		snprintf(name, sizeof name, "user.name%02d", i);
		OK(removexattr(N("f"), name));
	}
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof name, "user.name%02d", i);
		if (i % 2)
			has(N("f"), name, name, strlen(name));
		EQ(listed(N("f"), name), i % 2);
	}
}

TP_CASE(xattr, by_descriptor, TP_ANYBODY)
{
	char b[8];
	int fd;

	need_xattrs();
	tp_touch(N("f"));
	fd = (int)OK(open(N("f"), O_RDONLY));
	OK(fsetxattr(fd, "user.a", "abc", 3, 0));
	EQ(fgetxattr(fd, "user.a", b, sizeof b), 3);
	CHECK(flistxattr(fd, NULL, 0) >= 7);
	OK(fremovexattr(fd, "user.a"));
	FAILS(fgetxattr(fd, "user.a", b, sizeof b), ENODATA);
	fd = (int)OK(open(N("f"), O_PATH));
	FAILS(fsetxattr(fd, "user.a", "abc", 3, 0), EBADF);
}

TP_CASE(xattr, stays_over_rename_link_chmod_and_writing, TP_ANYBODY)
{
	int fd;

	need_xattrs();
	tp_put(N("f"), "abc", 3);
	OK(setxattr(N("f"), "user.a", "v", 1, 0));
	OK(rename(N("f"), N("g")));
	OK(link(N("g"), N("h")));
	OK(chmod(N("h"), 0600));
	fd = (int)OK(open(N("h"), O_WRONLY));
	EQ(write(fd, "X", 1), 1);
	OK(close(fd));
	tp_put(N("h"), "new", 3);
	OK(truncate(N("h"), 1));
	has(N("g"), "user.a", "v", 1);
	has(N("h"), "user.a", "v", 1);
}

TP_CASE(xattr, set_on_a_file_that_is_being_written_sticks, TP_ANYBODY)
{
	int fd;

	need_xattrs();
	fd = (int)OK(open(N("f"), O_WRONLY | O_CREAT, 0644));
	OK(fsetxattr(fd, "user.a", "v", 1, 0));
	EQ(write(fd, "abc", 3), 3);
	OK(setxattr(N("f"), "user.b", "w", 1, 0));
	OK(close(fd));
	has(N("f"), "user.a", "v", 1);
	has(N("f"), "user.b", "w", 1);
}

TP_CASE(xattr, symlink_is_followed, TP_ANYBODY)
{
	need_xattrs();
	tp_touch(N("f"));
	OK(symlink(N("f"), N("l")));
	OK(setxattr(N("l"), "user.a", "v", 1, 0));
	has(N("f"), "user.a", "v", 1);
}

TP_CASE(xattr, new_file_under_an_old_name_has_none, TP_ANYBODY)
{
	need_xattrs();
	tp_touch(N("f"));
	OK(setxattr(N("f"), "user.a", "v", 1, 0));
	OK(unlink(N("f")));
	tp_touch(N("f"));
	FAILS(getxattr(N("f"), "user.a", NULL, 0), ENODATA);
	CHECK(!listed(N("f"), "user.a"));
}

TP_CASE(xattr, unlinked_open_file_keeps_them, TP_ANYBODY)
{
	char b[8];
	int fd;

	need_xattrs();
	tp_touch(N("f"));
	fd = (int)OK(open(N("f"), O_RDWR));
	OK(setxattr(N("f"), "user.a", "v", 1, 0));
	OK(unlink(N("f")));
	EQ(fgetxattr(fd, "user.a", b, sizeof b), 1);
	OK(fsetxattr(fd, "user.b", "w", 1, 0));
	EQ(fgetxattr(fd, "user.b", b, sizeof b), 1);
}
