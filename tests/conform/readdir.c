/* SPDX-License-Identifier: Apache-2.0 */
/* Reading directories: what is listed, where one can go on, and what happens while they change. */
#include "files.h"

#include <assert.h>
#include <dirent.h>
#include <sys/syscall.h>

enum { NUMBERED = 10000 };

/* Makes count empty files 0, 1, ... in d. They are links of one file, which is quicker. */
static void fill(int count)
{
	char name[32];

	tp_mkdir(N("d"));
	tp_touch(N("seed"));
	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof name, "d/%d", i);
		OK(link(N("seed"), N(name)));
	}
}

static DIR *opened(const char *path)
{
	DIR *dir = opendir(path);

	if (!dir)
		tp_case_fail(__FILE__, __LINE__, errno, "opendir %s", path);
	return dir;
}

static struct dirent *next(DIR *dir)
{
	struct dirent *e;

	errno = 0;
	e = readdir(dir);
	if (!e && errno)
		tp_case_fail(__FILE__, __LINE__, errno, "readdir");
	return e;
}

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* The number that fill() gave to a name; -1 for the dots. */
static int number_of(const char *name)
{
	long n;

	if (is_dots(name))
		return -1;
	if (tp_case_temporary && name[0] == '.')
		name++;
	n = strtol(name, NULL, 10);
	CHECK(n >= 0 && n < NUMBERED);
	return (int)n;
}

/* Reads to the end and counts in seen[] how often each number came; returns how many entries there were. */
static int collect(DIR *dir, unsigned char *seen)
{
	struct dirent *e;
	int entries = 0;

	while ((e = next(dir))) {
		int n = number_of(e->d_name);

		entries++;
		if (n >= 0)
			seen[n]++;
	}
	return entries;
}

static unsigned char *new_seen(void)
{
	unsigned char *seen = calloc(NUMBERED, 1);

	assert(seen);
	return seen;
}

static void check_seen(const unsigned char *seen, int from, int to, int times)
{
	for (int i = from; i < to; i++)
		if (seen[i] != times)
			tp_case_fail(
				__FILE__, __LINE__, 0, "entry %d came %d times, not %d", i, seen[i], times);
}

static void lists_all(const struct tp_case *c)
{
	unsigned char *seen = new_seen();
	DIR *dir;

	fill((int)c->a);
	dir = opened(N("d"));
	EQ(collect(dir, seen), c->a + 2);
	check_seen(seen, 0, (int)c->a, 1);
	CHECK(!next(dir));
	OK(closedir(dir));
}

static void rewinds(const struct tp_case *c)
{
	unsigned char *seen = new_seen();
	DIR *dir;

	fill((int)c->a);
	dir = opened(N("d"));
	EQ(collect(dir, seen), c->a + 2);
	rewinddir(dir);
	EQ(collect(dir, seen), c->a + 2);
	check_seen(seen, 0, (int)c->a, 2);
}

/* Every position that telldir gave leads back to the entry that came after it. */
static void seeks(const struct tp_case *c)
{
	int count = (int)c->a, entries = 0;
	struct {
		long at;
		char name[256];
	} *places = calloc(count + 2, sizeof *places);
	struct dirent *e;
	DIR *dir;

	assert(places);
	fill(count);
	dir = opened(N("d"));
	for (;;) {
		long at = telldir(dir);

		e = next(dir);
		if (!e)
			break;
		CHECK(entries < count + 2);
		places[entries].at = at;
		strcpy(places[entries++].name, e->d_name);
	}
	EQ(entries, count + 2);
	for (int i = 0; i < entries && i < 150; i++) {
		int k = (int)((i * 7919L) % entries);

		seekdir(dir, places[k].at);
		e = next(dir);
		CHECK(e && strcmp(e->d_name, places[k].name) == 0);
	}
	seekdir(dir, places[entries - 1].at);
	CHECK(next(dir) && !next(dir));
	free(places);
}

static void deletes_while_reading(const struct tp_case *c)
{
	unsigned char *seen = new_seen();
	struct dirent *e;
	DIR *dir;

	fill((int)c->a);
	dir = opened(N("d"));
	while ((e = next(dir)))
		if (!is_dots(e->d_name)) {
			seen[number_of(e->d_name)]++;
			OK(unlinkat(dirfd(dir), e->d_name, 0));
		}
	check_seen(seen, 0, (int)c->a, 1);
	OK(closedir(dir));
	OK(rmdir(N("d")));
}

TP_CASES(readdirs)
{
	static const int counts[] = {0, 1, 2, 10, 100, 300, 1000, 5000};

	for (int i = 0; i < 8; i++) {
		tp_case_add(TP_ANYBODY, lists_all, counts[i], 0, 0, "readdir/lists_%d", counts[i]);
		tp_case_add(TP_ANYBODY, rewinds, counts[i], 0, 0, "readdir/rewinds_%d", counts[i]);
		tp_case_add(TP_ANYBODY, seeks, counts[i], 0, 0, "readdir/seeks_in_%d", counts[i]);
		tp_case_add(TP_ANYBODY, deletes_while_reading, counts[i], 0, 0,
			"readdir/deletes_%d_while_reading", counts[i]);
	}
}

TP_CASE(readdir, types_and_inode_numbers, TP_ANYBODY)
{
	static const unsigned char want[] = {
		DT_REG, DT_DIR, DT_DIR, DT_LNK, DT_LNK, DT_FIFO, DT_SOCK, DT_CHR, DT_BLK};
	enum tp_type last = geteuid() == 0 ? TP_BLOCK : TP_SOCKET;
	struct dirent *e;
	char name[16];
	int found = 0;
	DIR *dir;

	tp_mkdir(N("d"));
	for (enum tp_type t = 0; t <= last; t++) {
		snprintf(name, sizeof name, "d/%d", t);
		tp_make(t, N(name));
	}
	dir = opened(N("d"));
	while ((e = next(dir))) {
		struct stat st;

		OK(fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW));
		if (strcmp(e->d_name, "..") != 0)
			EQ(e->d_ino, st.st_ino);
		if (is_dots(e->d_name)) {
			CHECK(e->d_type == DT_DIR || e->d_type == DT_UNKNOWN);
			continue;
		}
		CHECK(e->d_type == want[number_of(e->d_name)] || e->d_type == DT_UNKNOWN);
		found++;
	}
	EQ(found, last + 1);
}

TP_CASE(readdir, dots_are_there_once, TP_ANYBODY)
{
	struct dirent *e;
	int one = 0, two = 0;
	DIR *dir;

	fill(50);
	dir = opened(N("d"));
	while ((e = next(dir))) {
		one += strcmp(e->d_name, ".") == 0;
		two += strcmp(e->d_name, "..") == 0;
	}
	EQ(one, 1);
	EQ(two, 1);
}

TP_CASE(readdir, rewind_shows_what_was_made_since, TP_ANYBODY)
{
	unsigned char *seen = new_seen();
	DIR *dir;

	fill(3);
	dir = opened(N("d"));
	EQ(collect(dir, seen), 5);
	tp_touch(N("d/3"));
	OK(unlink(N("d/0")));
	memset(seen, 0, NUMBERED);
	rewinddir(dir);
	EQ(collect(dir, seen), 5);
	EQ(seen[0], 0);
	check_seen(seen, 1, 4, 1);
}

TP_CASE(readdir, others_come_once_while_some_are_made_and_removed, TP_ANYBODY)
{
	unsigned char *seen = new_seen();
	struct dirent *e;
	char name[32];
	int at = 0;
	DIR *dir;

	/* 0 to 999 stay; 1000 to 1999 go and 2000 to 2999 come while it is read. */
	fill(2000);
	dir = opened(N("d"));
	while ((e = next(dir))) {
		int n = number_of(e->d_name);

		if (n >= 0)
			seen[n]++;
		if (at < 1000) {
			snprintf(name, sizeof name, "d/%d", 1000 + at);
			OK(unlink(N(name)));
			snprintf(name, sizeof name, "d/%d", 2000 + at++);
			OK(link(N("seed"), N(name)));
		}
	}
	check_seen(seen, 0, 1000, 1);
	for (int i = 1000; i < 3000; i++)
		CHECK(seen[i] <= 1);
}

TP_CASE(readdir, renaming_all_while_reading_loses_none, TP_ANYBODY)
{
	unsigned char *seen = new_seen();
	struct dirent *e;
	DIR *dir;

	fill(500);
	tp_mkdir(N("e"));
	dir = opened(N("d"));
	while ((e = next(dir)))
		if (!is_dots(e->d_name)) {
			int to = (int)OK(open(N("e"), O_RDONLY | O_DIRECTORY));

			OK(renameat(dirfd(dir), e->d_name, to, e->d_name));
			OK(close(to));
		}
	OK(closedir(dir));
	dir = opened(N("e"));
	EQ(collect(dir, seen), 502);
	check_seen(seen, 0, 500, 1);
	OK(rmdir(N("d")));
}

TP_CASE(readdir, long_names, TP_ANYBODY)
{
	char name[256], path[600];
	struct dirent *e;
	int found = 0;
	DIR *dir;

	tp_mkdir(N("d"));
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof name, "%s", tp_name_long(255, (char)('a' + i % 26)));
		snprintf(path, sizeof path, "%s/%s", N("d"), name);
		path[strlen(path) - 3] = (char)('0' + i / 100);
		path[strlen(path) - 2] = (char)('0' + i / 10 % 10);
		path[strlen(path) - 1] = (char)('0' + i % 10);
		tp_touch(path);
	}
	dir = opened(N("d"));
	while ((e = next(dir)))
		if (!is_dots(e->d_name)) {
			EQ(strlen(e->d_name), 255);
			found++;
		}
	EQ(found, 200);
}

TP_CASE(readdir, removed_directory_is_empty, TP_ANYBODY)
{
	DIR *dir;

	tp_mkdir(N("d"));
	dir = opened(N("d"));
	OK(rmdir(N("d")));
	errno = 0;
	CHECK(!readdir(dir) && (errno == 0 || errno == ENOENT));
}

TP_CASE(readdir, two_readers_have_places_of_their_own, TP_ANYBODY)
{
	unsigned char *one = new_seen(), *two = new_seen();
	DIR *a, *b;

	fill(300);
	a = opened(N("d"));
	b = opened(N("d"));
	for (int i = 0; i < 100; i++) {
		int n = number_of(next(a)->d_name);

		if (n >= 0)
			one[n]++;
	}
	EQ(collect(b, two), 302);
	collect(a, one);
	check_seen(one, 0, 300, 1);
	check_seen(two, 0, 300, 1);
}

TP_CASE(readdir, wrong_things, TP_ANYBODY)
{
	char b[1024];
	int fd;

	tp_touch(N("f"));
	errno = 0;
	CHECK(!opendir(N("x")) && errno == ENOENT);
	CHECK(!opendir(N("f")) && errno == ENOTDIR);
	CHECK(!opendir("") && errno == ENOENT);
	fd = (int)OK(open(N("f"), O_RDONLY));
	FAILS(syscall(SYS_getdents64, fd, b, sizeof b), ENOTDIR);
	fd = (int)OK(open(".", O_PATH));
	FAILS(syscall(SYS_getdents64, fd, b, sizeof b), EBADF);
	FAILS(syscall(SYS_getdents64, -1, b, sizeof b), EBADF);
}

TP_CASE(readdir, small_buffer_still_gets_everything, TP_ANYBODY)
{
	unsigned char *seen = new_seen();
	char b[64];
	int fd, entries = 0;
	long n;

	fill(40);
	fd = (int)OK(open(N("d"), O_RDONLY | O_DIRECTORY));
	while ((n = OK(syscall(SYS_getdents64, fd, b, sizeof b))) > 0)
		for (long at = 0; at < n;) {
			int k = number_of(b + at + offsetof(struct dirent64, d_name));
			unsigned short length;

			memcpy(&length, b + at + offsetof(struct dirent64, d_reclen), sizeof length);
			at += length;
			entries++;
			if (k >= 0)
				seen[k]++;
		}
	EQ(entries, 42);
	check_seen(seen, 0, 40, 1);
}

TP_CASE(readdir, lseek_to_the_start_rereads, TP_ANYBODY)
{
	char b[4096];
	long first;
	int fd;

	fill(10);
	fd = (int)OK(open(N("d"), O_RDONLY | O_DIRECTORY));
	first = OK(syscall(SYS_getdents64, fd, b, sizeof b));
	CHECK(first > 0);
	EQ(OK(syscall(SYS_getdents64, fd, b, sizeof b)), 0);
	EQ(lseek(fd, 0, SEEK_SET), 0);
	EQ(OK(syscall(SYS_getdents64, fd, b, sizeof b)), first);
	FAILS(lseek(fd, -1, SEEK_SET), EINVAL);
}

TP_CASE(readdir, does_not_move_mtime_or_ctime, TP_ANYBODY)
{
	unsigned char *seen = new_seen();
	struct stat before;
	DIR *dir;

	fill(10);
	before = tp_times_age(N("d"));
	dir = opened(N("d"));
	EQ(collect(dir, seen), 12);
	OK(closedir(dir));
	TIMES(N("d"), &before, TP_NO_TIME);
}

TP_CASE(readdir, names_are_gone_after_unlink_and_rename, TP_ANYBODY)
{
	unsigned char *seen = new_seen();
	DIR *dir;

	fill(10);
	OK(unlink(N("d/3")));
	OK(rename(N("d/4"), N("d/14")));
	OK(rename(N("d/5"), N("d/6")));
	dir = opened(N("d"));
	collect(dir, seen);
	EQ(seen[3], 0);
	EQ(seen[4], 0);
	EQ(seen[14], 1);
	/* 5 and 6 are links of one file, so that rename did nothing. */
	EQ(seen[5] + seen[6], 2);
}
