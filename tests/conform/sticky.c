/* SPDX-License-Identifier: Apache-2.0 */
/* Sticky directories, and directories with the setgid bit. */
#include "files.h"

#include <sys/xattr.h>

/* ---- sticky ---- */

enum actor { FILE_OWNER, DIR_OWNER, STRANGER, SUPERUSER, ACTORS };
enum removal { UNLINK, RMDIR, RENAME_AWAY, RENAME_OVER, EXCHANGE, RENAME_DIR_AWAY, REMOVALS };

static const char *const actor_names[] = {"the_file_owner", "the_directory_owner", "a_stranger", "root"};
static const char *const removal_names[] = {
	"unlink", "rmdir", "rename_away", "rename_over", "exchange", "rename_of_a_directory"};

static int removed_by(enum removal how)
{
	switch (how) {
	case UNLINK:
		return unlink(N("d/f"));
	case RMDIR:
		return rmdir(N("d/e"));
	case RENAME_AWAY:
		return rename(N("d/f"), N("d/g"));
	case RENAME_OVER:
		return rename(N("d/own"), N("d/f"));
	case EXCHANGE:
		return renameat2(AT_FDCWD, N("d/own"), AT_FDCWD, N("d/f"), RENAME_EXCHANGE);
	case RENAME_DIR_AWAY:
		return rename(N("d/e"), N("d/g"));
	case REMOVALS:
		break;
	}
	abort();
}

static void sticky(const struct tp_case *c)
{
	static const struct tp_ids ids[] = {
		{1001, 1001, (gid_t)-1}, {1002, 1002, (gid_t)-1}, {1003, 1003, (gid_t)-1}, {0, 0, (gid_t)-1}};
	const struct tp_ids *me = &ids[c->b];

	tp_mkdir_as(N("d"), 01777, 1002, 1002);
	tp_put_as(N("d/f"), 0666, 1001, 1001);
	tp_mkdir_as(N("d/e"), 0777, 1001, 1001);
	tp_put_as(N("d/own"), 0666, me->uid, me->gid);
	AS (me) {
		if (c->b == STRANGER)
			FAILS(removed_by((enum removal)c->a), EPERM);
		else
			OK(removed_by((enum removal)c->a));
	}
}

TP_CASES(sticky_directories)
{
	for (int how = 0; how < REMOVALS; how++)
		for (int who = 0; who < ACTORS; who++)
			tp_case_add(TP_ROOT, sticky, how, who, 0, "sticky/%s_by_%s", removal_names[how],
				actor_names[who]);
}

TP_CASE(sticky, stranger_may_write_but_not_remove, TP_ROOT)
{
	tp_mkdir_as(N("d"), 01777, 0, 0);
	tp_put_as(N("d/f"), 0666, 1001, 1001);
	AS (&tp_bob) {
		int fd = (int)OK(open(N("d/f"), O_WRONLY));

		EQ(write(fd, "X", 1), 1);
		OK(close(fd));
		tp_touch(N("d/new"));
		OK(rename(N("d/new"), N("d/newer")));
		FAILS(rename(N("d/newer"), N("d/f")), EPERM);
		OK(unlink(N("d/newer")));
	}
}

TP_CASE(sticky, without_the_bit_anybody_may, TP_ROOT)
{
	tp_mkdir_as(N("d"), 0777, 0, 0);
	tp_put_as(N("d/f"), 0600, 1001, 1001);
	AS (&tp_bob)
		OK(unlink(N("d/f")));
}

TP_CASE(sticky, user_attributes_of_a_strangers_directory_are_eperm, TP_ROOT)
{
	tp_mkdir_as(N("d"), 01777, 0, 0);
	if (setxattr(N("d"), "user.a", "1", 1, 0) < 0 && errno == EOPNOTSUPP)
		tp_case_skip("no user attributes here");
	AS (&tp_bob)
		FAILS(setxattr(N("d"), "user.b", "1", 1, 0), EPERM);
}

/* ---- setgid directories ---- */

static void inherits_group(const struct tp_case *c)
{
	enum tp_type t = (enum tp_type)c->a;
	struct stat st;

	tp_put(N("what-links-point-to"), "linked", 6);
	tp_mkdir_as(N("d"), 02777, 0, 4242);
	if (c->b) {
		AS (&tp_bob)
			tp_make(t, N("d/x"));
	} else {
		tp_make(t, N("d/x"));
	}
	st = tp_stat(N("d/x"));
	EQ(st.st_gid, 4242);
	EQ(st.st_uid, c->b ? tp_bob.uid : 0);
	EQ(st.st_mode & S_ISGID, tp_type_is_dir(t) ? S_ISGID : 0);
	if (t == TP_FULL)
		EQ(tp_stat(N("d/x/in")).st_gid, 4242);
}

TP_CASES(setgid_directories)
{
	for (enum tp_type t = 0; t < TP_TYPES; t++) {
		tp_case_add(
			TP_ROOT, inherits_group, t, 0, 0, "setgid/%s_inherits_the_group", tp_type_name(t));
		if (tp_type_who(t) == TP_ANYBODY)
			tp_case_add(TP_ROOT, inherits_group, t, 1, 0,
				"setgid/%s_of_a_stranger_inherits_the_group", tp_type_name(t));
	}
}

TP_CASE(setgid, stranger_cannot_make_a_setgid_program, TP_ROOT)
{
	int fd;

	tp_mkdir_as(N("d"), 02777, 0, 4242);
	AS (&tp_bob) {
		fd = (int)OK(open(N("d/f"), O_WRONLY | O_CREAT, 02775));
		EQ(tp_fstat(fd).st_mode & 07777, 0755);
		EQ(tp_fstat(fd).st_gid, 4242);
	}
}

TP_CASE(setgid, member_can_make_a_setgid_program, TP_ROOT)
{
	struct tp_ids member = {12345, 12345, 4242};
	int fd;

	tp_mkdir_as(N("d"), 02777, 0, 4242);
	AS (&member) {
		fd = (int)OK(open(N("d/f"), O_WRONLY | O_CREAT, 02755));
		EQ(tp_fstat(fd).st_mode & 07777, 02755);
		EQ(tp_fstat(fd).st_gid, 4242);
	}
}

TP_CASE(setgid, goes_down_a_tree, TP_ROOT)
{
	tp_mkdir_as(N("d"), 02777, 0, 4242);
	tp_mkdir(N("d/e"));
	tp_mkdir(N("d/e/f"));
	tp_touch(N("d/e/f/g"));
	EQ(tp_stat(N("d/e/f")).st_mode & 07777, 02755);
	EQ(tp_stat(N("d/e/f/g")).st_gid, 4242);
}

TP_CASE(setgid, is_not_inherited_by_what_is_moved_in, TP_ROOT)
{
	tp_mkdir_as(N("d"), 02777, 0, 4242);
	tp_mkdir(N("e"));
	tp_put(N("f"), "x", 1);
	OK(rename(N("e"), N("d/e")));
	OK(rename(N("f"), N("d/f")));
	EQ(tp_stat(N("d/e")).st_mode & 07777, 0755);
	EQ(tp_stat(N("d/e")).st_gid, 0);
	EQ(tp_stat(N("d/f")).st_gid, 0);
}

TP_CASE(setgid, later_change_of_group_does_not_go_down, TP_ROOT)
{
	tp_mkdir_as(N("d"), 02777, 0, 4242);
	tp_touch(N("d/f"));
	OK(chown(N("d"), 0, 4343));
	EQ(tp_stat(N("d/f")).st_gid, 4242);
	EQ(tp_stat(N("d")).st_mode & 07777, 02777);
	tp_touch(N("d/g"));
	EQ(tp_stat(N("d/g")).st_gid, 4343);
}

TP_CASE(setgid, without_the_bit_the_group_is_the_makers, TP_ROOT)
{
	tp_mkdir_as(N("d"), 0777, 0, 4242);
	AS (&tp_bob)
		tp_mkdir(N("d/e"));
	EQ(tp_stat(N("d/e")).st_gid, tp_bob.gid);
	EQ(tp_stat(N("d/e")).st_mode & 07777, 0755);
}

TP_CASE(setgid, own_directory_of_a_user_keeps_its_bit, TP_USER)
{
	tp_mkdir(N("d"));
	OK(chmod(N("d"), 02755));
	EQ(tp_stat(N("d")).st_mode & 07777, 02755);
	tp_mkdir(N("d/e"));
	EQ(tp_stat(N("d/e")).st_mode & 07777, 02755);
}
