/* SPDX-License-Identifier: Apache-2.0 */
#include "files.h"

#include <assert.h>
#include <sys/sysmacros.h>
#include <time.h>

static const struct {
	const char *name;
	mode_t mode;
} types[] = {
	[TP_FILE] = {"file", S_IFREG},
	[TP_DIR] = {"dir", S_IFDIR},
	[TP_FULL] = {"full_dir", S_IFDIR},
	[TP_LINK] = {"symlink", S_IFLNK},
	[TP_DANGLING] = {"dangling", S_IFLNK},
	[TP_FIFO] = {"fifo", S_IFIFO},
	[TP_SOCKET] = {"socket", S_IFSOCK},
	[TP_CHAR] = {"char_device", S_IFCHR},
	[TP_BLOCK] = {"block_device", S_IFBLK},
	[TP_MISSING] = {"nothing", 0},
};

const char *tp_type_name(enum tp_type type)
{
	return types[type].name;
}

mode_t tp_type_mode(enum tp_type type)
{
	return types[type].mode;
}

bool tp_type_is_dir(enum tp_type type)
{
	return type == TP_DIR || type == TP_FULL;
}

enum tp_case_who tp_type_who(enum tp_type type)
{
	return type == TP_CHAR || type == TP_BLOCK ? TP_ROOT : TP_ANYBODY;
}

void tp_touch(const char *path)
{
	int fd = (int)OK(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));

	OK(close(fd));
}

void tp_mkdir(const char *path)
{
	OK(mkdir(path, 0755));
}

void tp_put(const char *path, const void *bytes, size_t size)
{
	int fd = (int)OK(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));

	EQ(OK(write(fd, bytes, size)), size);
	OK(close(fd));
}

void tp_put_as(const char *path, mode_t mode, uid_t uid, gid_t gid)
{
	tp_put(path, "bytes", 5);
	OK(chown(path, uid, gid));
	OK(chmod(path, mode));
}

void tp_mkdir_as(const char *path, mode_t mode, uid_t uid, gid_t gid)
{
	tp_mkdir(path);
	OK(chown(path, uid, gid));
	OK(chmod(path, mode));
}

static void make_full(const char *path)
{
	char in[4200];

	tp_mkdir(path);
	snprintf(in, sizeof in, "%s/%s", path, N("in"));
	tp_touch(in);
}

static void make_link(const char *path)
{
	const char *to = N("what-links-point-to");

	if (!tp_exists(to))
		tp_put(to, "linked", 6);
	OK(symlink(to, path));
}

void tp_make(enum tp_type type, const char *path)
{
	switch (type) {
	case TP_FILE:
		tp_put(path, "bytes", 5);
		break;
	case TP_DIR:
		tp_mkdir(path);
		break;
	case TP_FULL:
		make_full(path);
		break;
	case TP_LINK:
		make_link(path);
		break;
	case TP_DANGLING:
		OK(symlink(N("nowhere"), path));
		break;
	case TP_FIFO:
		OK(mkfifo(path, 0644));
		break;
	case TP_SOCKET:
		OK(mknod(path, S_IFSOCK | 0644, 0));
		break;
	case TP_CHAR:
		OK(mknod(path, S_IFCHR | 0644, makedev(1, 3)));
		break;
	case TP_BLOCK:
		OK(mknod(path, S_IFBLK | 0644, makedev(250, 77)));
		break;
	case TP_MISSING:
		break;
	}
}

void tp_type_check(enum tp_type type, const char *path)
{
	struct stat st;

	if (type == TP_MISSING) {
		FAILS(lstat(path, &st), ENOENT);
		return;
	}
	OK(lstat(path, &st));
	EQ(st.st_mode & S_IFMT, types[type].mode);
	if (type == TP_FILE)
		HOLDS(path, "bytes", 5);
	if (type == TP_CHAR)
		EQ(st.st_rdev, makedev(1, 3));
	if (type == TP_BLOCK)
		EQ(st.st_rdev, makedev(250, 77));
}

struct stat tp_stat(const char *path)
{
	struct stat st;

	OK(lstat(path, &st));
	return st;
}

struct stat tp_fstat(int fd)
{
	struct stat st;

	OK(fstat(fd, &st));
	return st;
}

bool tp_exists(const char *path)
{
	struct stat st;

	if (lstat(path, &st) == 0)
		return true;
	EQ(errno, ENOENT);
	return false;
}

unsigned char tp_pattern(unsigned seed, uint64_t i)
{
	uint64_t x = (i / 8 + 1) * 0x9e3779b97f4a7c15u + seed * 0xbf58476d1ce4e5b9u;

	return seed == 0 ? 0 : (unsigned char)(x >> (8 * (i % 8)));
}

void tp_pattern_fill(unsigned char *buf, size_t size, unsigned seed, uint64_t offset)
{
	for (size_t i = 0; i < size; i++)
		buf[i] = tp_pattern(seed, offset + i);
}

void tp_pattern_check(int fd, uint64_t offset, size_t size, unsigned seed)
{
	unsigned char *buf = malloc(size + 1);
	size_t got = 0;

	assert(buf);
	while (got < size) {
		ssize_t n = (ssize_t)OK(pread(fd, buf + got, size - got, offset + got));

		if (n == 0)
			tp_case_fail(__FILE__, __LINE__, 0, "end of file at %llu, before %llu",
				(unsigned long long)(offset + got), (unsigned long long)(offset + size));
		got += n;
	}
	for (size_t i = 0; i < size; i++)
		if (buf[i] != tp_pattern(seed, offset + i))
			tp_case_fail(__FILE__, __LINE__, 0, "byte %llu is 0x%02x, not 0x%02x",
				(unsigned long long)(offset + i), buf[i], tp_pattern(seed, offset + i));
	free(buf);
}

void tp_pattern_write(int fd, uint64_t offset, size_t size, unsigned seed)
{
	unsigned char *buf = malloc(size + 1);

	assert(buf);
	tp_pattern_fill(buf, size, seed, offset);
	EQ(OK(pwrite(fd, buf, size, offset)), size);
	free(buf);
}

static bool later(struct timespec a, struct timespec b)
{
	return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

struct stat tp_times_age(const char *path)
{
	struct timespec old[2] = {{1000000000, 111111111}, {1000000001, 222222222}}, now;
	struct stat st;

	OK(utimensat(AT_FDCWD, path, old, AT_SYMLINK_NOFOLLOW));
	st = tp_stat(path);
	do
		OK(clock_gettime(CLOCK_REALTIME_COARSE, &now));
	while (!later(now, st.st_ctim));
	return st;
}

static void check_one(const char *what, const char *path, const struct timespec *was,
	const struct timespec *is, bool moved, const char *file, int line)
{
	struct timespec now;

	OK(clock_gettime(CLOCK_REALTIME, &now));
	if (!moved && (was->tv_sec != is->tv_sec || was->tv_nsec != is->tv_nsec))
		tp_case_fail(file, line, 0, "%s of %s moved from %lld.%09ld to %lld.%09ld", what, path,
			(long long)was->tv_sec, was->tv_nsec, (long long)is->tv_sec, is->tv_nsec);
	if (moved && !later(*is, *was))
		tp_case_fail(file, line, 0, "%s of %s stayed at %lld.%09ld", what, path,
			(long long)was->tv_sec, was->tv_nsec);
	if (moved && later(*is, now))
		tp_case_fail(file, line, 0, "%s of %s is in the future", what, path);
}

void tp_times_check(const char *path, const struct stat *before, unsigned moved, const char *file, int line)
{
	struct stat st = tp_stat(path);

	check_one("mtime", path, &before->st_mtim, &st.st_mtim, moved & TP_MTIME, file, line);
	check_one("ctime", path, &before->st_ctim, &st.st_ctim, moved & TP_CTIME, file, line);
}
