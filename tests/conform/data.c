/* SPDX-License-Identifier: Apache-2.0 */
/* read, write, truncate, lseek, fsync, and times that they move. */
#include "files.h"

#include <limits.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

/* ---- sizes ---- */

static const int sizes[] = {1, 7, 511, 512, 513, 4095, 4096, 4097, 65535, 65536, 65537, 131071, 131072,
	131073, 262145, 1048575, 1048576, 1048577};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

static void written_and_read(const struct tp_case *c)
{
	size_t size = (size_t)c->a;
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT, 0644));
	char b;

	tp_pattern_write(fd, 0, size, 1);
	EQ(tp_fstat(fd).st_size, size);
	tp_pattern_check(fd, 0, size, 1);
	OK(close(fd));
	EQ(tp_stat(N("f")).st_size, size);
	fd = (int)OK(open(N("f"), O_RDONLY));
	tp_pattern_check(fd, 0, size, 1);
	EQ(pread(fd, &b, 1, size), 0);
	EQ(pread(fd, &b, 1, size - 1), 1);
	EQ((unsigned char)b, tp_pattern(1, size - 1));
}

/* One long write in pieces of an odd length, read in pieces of another. */
static void in_pieces(const struct tp_case *c)
{
	size_t size = (size_t)c->a, piece = (size_t)c->b, n;
	unsigned char buf[70000];
	int fd = (int)OK(open(N("f"), O_WRONLY | O_CREAT, 0644));

	for (size_t at = 0; at < size; at += n) {
		n = size - at < piece ? size - at : piece;
		tp_pattern_fill(buf, n, 2, at);
		EQ(write(fd, buf, n), n);
	}
	OK(close(fd));
	fd = (int)OK(open(N("f"), O_RDONLY));
	for (size_t at = 0;; at += n) {
		n = (size_t)OK(read(fd, buf, piece + 13 < sizeof buf ? piece + 13 : sizeof buf));
		if (n == 0) {
			EQ(at, size);
			break;
		}
		for (size_t i = 0; i < n; i++)
			CHECK(buf[i] == tp_pattern(2, at + i));
	}
}

/* An overwrite in a published file of 300,000 bytes: what is around it stays. */
static void overwritten(const struct tp_case *c)
{
	enum { WHOLE = 300000 };
	size_t at = (size_t)c->a, size = (size_t)c->b, end = at + size;
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT, 0644));

	tp_pattern_write(fd, 0, WHOLE, 1);
	OK(close(fd));
	fd = (int)OK(open(N("f"), O_RDWR));
	tp_pattern_write(fd, at, size, 2);
	OK(close(fd));
	fd = (int)OK(open(N("f"), O_RDONLY));
	tp_pattern_check(fd, 0, at < WHOLE ? at : WHOLE, 1);
	if (at > WHOLE)
		tp_pattern_check(fd, WHOLE, at - WHOLE, 0);
	tp_pattern_check(fd, at, size, 2);
	if (end < WHOLE)
		tp_pattern_check(fd, end, WHOLE - end, 1);
	EQ(tp_fstat(fd).st_size, end > WHOLE ? end : WHOLE);
}

static void truncated(const struct tp_case *c)
{
	size_t from = (size_t)c->a, to = (size_t)c->b, kept = from < to ? from : to;
	bool by_fd = c->d;
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT, 0644));

	tp_pattern_write(fd, 0, from, 1);
	if (by_fd)
		OK(ftruncate(fd, to));
	OK(close(fd));
	if (!by_fd)
		OK(truncate(N("f"), to));
	fd = (int)OK(open(N("f"), O_RDWR));
	EQ(tp_fstat(fd).st_size, to);
	tp_pattern_check(fd, 0, kept, 1);
	if (to > from)
		tp_pattern_check(fd, from, to - from, 0);
	/* What was cut off must not come back. */
	OK(ftruncate(fd, from + 100));
	tp_pattern_check(fd, 0, kept, 1);
	tp_pattern_check(fd, kept, from + 100 - kept, 0);
	OK(close(fd));
	EQ(tp_stat(N("f")).st_size, from + 100);
}

TP_CASES(data_sizes)
{
	static const int places[] = {0, 1, 4095, 4096, 65536, 131071, 262144, 299999, 300000, 300001, 400000};
	static const int lengths[] = {1, 4096, 100000};
	static const int cuts[] = {0, 1, 100, 4095, 4096, 4097, 100000, 131072, 200000};

	for (int i = 0; i < SIZES; i++)
		tp_case_add(TP_ANYBODY, written_and_read, sizes[i], 0, 0, "data/%d_bytes", sizes[i]);
	for (int i = 0; i < SIZES; i += 3) {
		tp_case_add(TP_ANYBODY, in_pieces, sizes[i], 4096, 0, "data/%d_bytes_in_pieces_of_4096",
			sizes[i]);
		tp_case_add(TP_ANYBODY, in_pieces, sizes[i], 1000, 0, "data/%d_bytes_in_pieces_of_1000",
			sizes[i]);
		tp_case_add(TP_ANYBODY, in_pieces, sizes[i], 69999, 0, "data/%d_bytes_in_pieces_of_69999",
			sizes[i]);
	}
	for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
		for (size_t k = 0; k < 3; k++)
			tp_case_add(TP_ANYBODY, overwritten, places[i], lengths[k], 0,
				"data/%d_bytes_over_those_at_%d", lengths[k], places[i]);
	for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i += 2)
		for (size_t k = 0; k < sizeof cuts / sizeof cuts[0]; k++)
			for (int by_fd = 0; by_fd < 2; by_fd++)
				tp_case_add(TP_ANYBODY, truncated, cuts[i], cuts[k], by_fd,
					"truncate/%s_%d_to_%d", by_fd ? "fd" : "path", cuts[i], cuts[k]);
}

/* ---- read and write ---- */

TP_CASE(read, at_the_end_gives_nothing, TP_ANYBODY)
{
	char b[10];
	int fd;

	tp_put(N("f"), "abc", 3);
	fd = (int)OK(open(N("f"), O_RDONLY));
	EQ(pread(fd, b, 10, 3), 0);
	EQ(pread(fd, b, 10, 1000000), 0);
	EQ(pread(fd, b, 10, 1L << 40), 0);
	EQ(pread(fd, b, 10, 1), 2);
	EQ(read(fd, b, 10), 3);
	EQ(read(fd, b, 10), 0);
	EQ(read(fd, b, 0), 0);
}

TP_CASE(read, empty_file_is_at_its_end, TP_ANYBODY)
{
	char b;
	int fd;

	tp_touch(N("f"));
	fd = (int)OK(open(N("f"), O_RDONLY));
	EQ(read(fd, &b, 1), 0);
	EQ(pread(fd, &b, 1, 5), 0);
}

TP_CASE(read, bad_arguments, TP_ANYBODY)
{
	void *nothing = (void *)OK(mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	char b;
	int fd;

	tp_put(N("f"), "abc", 3);
	fd = (int)OK(open(N("f"), O_RDWR));
	FAILS(pread(fd, &b, 1, -1), EINVAL);
	FAILS(pwrite(fd, &b, 1, -1), EINVAL);
	FAILS(read(-1, &b, 1), EBADF);
	FAILS(write(-1, &b, 1), EBADF);
	FAILS(read(fd, nothing, 3), EFAULT);
	FAILS(write(fd, nothing, 3), EFAULT);
	HOLDS(N("f"), "abc", 3);
}

TP_CASE(write, of_nothing_changes_nothing, TP_ANYBODY)
{
	struct stat before;
	int fd;

	tp_put(N("f"), "abc", 3);
	before = tp_times_age(N("f"));
	fd = (int)OK(open(N("f"), O_WRONLY));
	EQ(write(fd, "", 0), 0);
	EQ(pwrite(fd, "", 0, 100), 0);
	OK(close(fd));
	EQ(tp_stat(N("f")).st_size, 3);
	EQ(tp_stat(N("f")).st_mtim.tv_sec, before.st_mtim.tv_sec);
}

TP_CASE(write, vectors, TP_ANYBODY)
{
	char a[3], b[4];
	struct iovec out[3] = {
		{(void *)(uintptr_t) "ab", 2}, {(void *)(uintptr_t) "", 0}, {(void *)(uintptr_t) "cdefg", 5}};
	struct iovec in[2] = {{a, 3}, {b, 4}};
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT, 0644));

	EQ(writev(fd, out, 3), 7);
	EQ(preadv(fd, in, 2, 0), 7);
	CHECK(memcmp(a, "abc", 3) == 0 && memcmp(b, "defg", 4) == 0);
	EQ(pwritev(fd, out, 3, 5), 7);
	OK(close(fd));
	HOLDS(N("f"), "abcdeabcdefg", 12);
}

TP_CASE(write, past_the_end_leaves_zeros, TP_ANYBODY)
{
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT, 0644));

	tp_pattern_write(fd, 0, 10, 1);
	tp_pattern_write(fd, 100000, 10, 2);
	EQ(tp_fstat(fd).st_size, 100010);
	tp_pattern_check(fd, 0, 10, 1);
	tp_pattern_check(fd, 10, 99990, 0);
	tp_pattern_check(fd, 100000, 10, 2);
	OK(close(fd));
	fd = (int)OK(open(N("f"), O_RDONLY));
	tp_pattern_check(fd, 10, 99990, 0);
}

TP_CASE(write, seek_past_the_end_alone_does_not_grow, TP_ANYBODY)
{
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT, 0644));

	EQ(lseek(fd, 5000, SEEK_SET), 5000);
	EQ(tp_fstat(fd).st_size, 0);
	EQ(write(fd, "x", 1), 1);
	EQ(tp_fstat(fd).st_size, 5001);
}

TP_CASE(write, backwards, TP_ANYBODY)
{
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT, 0644));

	for (int at = 190000; at >= 0; at -= 10000)
		tp_pattern_write(fd, at, 10000, 5);
	OK(close(fd));
	fd = (int)OK(open(N("f"), O_RDONLY));
	tp_pattern_check(fd, 0, 200000, 5);
	EQ(tp_fstat(fd).st_size, 200000);
}

TP_CASE(write, hundred_small_ones_over_each_other, TP_ANYBODY)
{
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT, 0644));
	char want[356] = {0}, got[356];

	for (int i = 0; i < 100; i++) {
		int at = i * 37 % 256, n = i + 1;

		memset(want + at, 'a' + i % 26, n);
		EQ(pwrite(fd, want + at, n, at), n);
	}
	EQ(pread(fd, got, sizeof got, 0), tp_fstat(fd).st_size);
	CHECK(memcmp(got, want, tp_fstat(fd).st_size) == 0);
	OK(close(fd));
	HOLDS(N("f"), want, tp_stat(N("f")).st_size);
}

TP_CASE(write, above_the_file_size_limit_is_efbig, TP_ANYBODY)
{
	struct rlimit limit = {10000, 10000};
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT, 0644));

	signal(SIGXFSZ, SIG_IGN);
	OK(setrlimit(RLIMIT_FSIZE, &limit));
	tp_pattern_write(fd, 0, 9000, 1);
	EQ(pwrite(fd, "xxxxxxxxxx", 10, 9995), 5);
	FAILS(pwrite(fd, "x", 1, 10000), EFBIG);
	FAILS(ftruncate(fd, 10001), EFBIG);
	EQ(tp_fstat(fd).st_size, 10000);
}

TP_CASE(write, above_the_largest_offset_is_einval_or_efbig, TP_ANYBODY)
{
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT, 0644));

	CHECK(pwrite(fd, "xx", 2, LLONG_MAX - 1) < 0 && (errno == EINVAL || errno == EFBIG));
	CHECK(pwrite(fd, "x", 1, LLONG_MAX) < 0 && (errno == EINVAL || errno == EFBIG));
	EQ(tp_fstat(fd).st_size, 0);
}

TP_CASE(write, unaligned_ends_of_pages_hold_zeros_after_growth, TP_ANYBODY)
{
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT, 0644));

	tp_pattern_write(fd, 0, 5000, 1);
	OK(ftruncate(fd, 4500));
	tp_pattern_write(fd, 6000, 10, 2);
	tp_pattern_check(fd, 0, 4500, 1);
	tp_pattern_check(fd, 4500, 1500, 0);
	tp_pattern_check(fd, 6000, 10, 2);
}

TP_CASE(sparse, one_byte_at_a_gigabyte, TP_ANYBODY)
{
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT, 0644));
	struct stat st;
	char b = 1;

	EQ(pwrite(fd, "x", 1, 1 << 30), 1);
	OK(fsync(fd));
	OK(close(fd));
	st = tp_stat(N("f"));
	EQ(st.st_size, (1 << 30) + 1);
	CHECK(st.st_blocks < 4096);
	fd = (int)OK(open(N("f"), O_RDONLY));
	EQ(pread(fd, &b, 1, 12345678), 1);
	EQ(b, 0);
	EQ(pread(fd, &b, 1, 1 << 30), 1);
	EQ(b, 'x');
}

TP_CASE(sparse, truncated_up_to_a_gigabyte, TP_ANYBODY)
{
	tp_put(N("f"), "abc", 3);
	OK(truncate(N("f"), 1 << 30));
	EQ(tp_stat(N("f")).st_size, 1 << 30);
	CHECK(tp_stat(N("f")).st_blocks < 4096);
	OK(truncate(N("f"), 3));
	HOLDS(N("f"), "abc", 3);
}

TP_CASE(sparse, copy_of_a_hole_is_zeros, TP_ANYBODY)
{
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT, 0644));

	OK(ftruncate(fd, 300000));
	tp_pattern_check(fd, 0, 300000, 0);
	tp_pattern_write(fd, 150000, 1000, 1);
	OK(close(fd));
	fd = (int)OK(open(N("f"), O_RDWR));
	tp_pattern_check(fd, 0, 150000, 0);
	tp_pattern_check(fd, 150000, 1000, 1);
	tp_pattern_check(fd, 151000, 149000, 0);
}

/* ---- truncate ---- */

static void truncate_of(const struct tp_case *c)
{
	enum tp_type t = (enum tp_type)c->a;

	tp_make(t, N("x"));
	if (tp_type_is_dir(t))
		FAILS(truncate(N("x"), 0), EISDIR);
	else if (t == TP_FILE || t == TP_LINK)
		OK(truncate(N("x"), 0));
	else
		FAILS(truncate(N("x"), 0), t == TP_DANGLING ? ENOENT : EINVAL);
}

TP_CASES(truncates)
{
	for (enum tp_type t = 0; t < TP_TYPES; t++)
		tp_case_add(tp_type_who(t), truncate_of, t, 0, 0, "truncate/of_%s", tp_type_name(t));
}

TP_CASE(truncate, bad_arguments, TP_ANYBODY)
{
	int fd;

	tp_put(N("f"), "abc", 3);
	FAILS(truncate(N("f"), -1), EINVAL);
	FAILS(truncate(N("x"), 0), ENOENT);
	FAILS(truncate("", 0), ENOENT);
	FAILS(truncate(N("f/x"), 0), ENOTDIR);
	FAILS(truncate(N("f/"), 0), ENOTDIR);
	fd = (int)OK(open(N("f"), O_RDWR));
	FAILS(ftruncate(fd, -1), EINVAL);
	FAILS(ftruncate(-1, 0), EBADF);
	HOLDS(N("f"), "abc", 3);
}

TP_CASE(truncate, does_not_move_the_offset, TP_ANYBODY)
{
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT, 0644));

	tp_pattern_write(fd, 0, 10, 1);
	EQ(lseek(fd, 8, SEEK_SET), 8);
	OK(ftruncate(fd, 2));
	EQ(lseek(fd, 0, SEEK_CUR), 8);
	EQ(write(fd, "x", 1), 1);
	EQ(tp_fstat(fd).st_size, 9);
	tp_pattern_check(fd, 2, 6, 0);
}

TP_CASE(truncate, of_an_appended_file_goes_on_at_the_new_end, TP_ANYBODY)
{
	int fd = (int)OK(open(N("f"), O_WRONLY | O_CREAT | O_APPEND, 0644));

	EQ(write(fd, "abcdef", 6), 6);
	OK(ftruncate(fd, 2));
	EQ(write(fd, "X", 1), 1);
	OK(close(fd));
	HOLDS(N("f"), "abX", 3);
}

TP_CASE(truncate, by_path_is_seen_by_an_open_writer, TP_ANYBODY)
{
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT, 0644));

	tp_pattern_write(fd, 0, 10000, 1);
	OK(truncate(N("f"), 100));
	EQ(tp_fstat(fd).st_size, 100);
	tp_pattern_write(fd, 200, 10, 2);
	tp_pattern_check(fd, 100, 100, 0);
	OK(close(fd));
	EQ(tp_stat(N("f")).st_size, 210);
}

TP_CASE(truncate, frees_blocks, TP_ANYBODY)
{
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT, 0644));

	tp_pattern_write(fd, 0, 1 << 20, 1);
	OK(close(fd));
	OK(truncate(N("f"), 10));
	CHECK(tp_stat(N("f")).st_blocks <= 64);
	OK(truncate(N("f"), 0));
	CHECK(tp_stat(N("f")).st_blocks <= 8);
}

/* ---- what moves times, and what does not ---- */

enum change {
	C_WRITE,
	C_APPEND,
	C_TRUNCATE,
	C_FTRUNCATE,
	C_GROW,
	C_WRITEV,
	C_FALLOCATE,
	C_SPLICE,
	C_CHANGES_OF_DATA,
	C_READ = C_CHANGES_OF_DATA,
	C_OPEN,
	C_OPEN_RDWR,
	C_STAT,
	C_SEEK,
	C_SYNC,
	C_ACCESS,
	C_CHANGES
};

static const char *const change_names[] = {"write", "append", "truncate", "ftruncate", "growth", "writev",
	"fallocate", "sendfile", "read", "open", "open_for_writing", "stat", "seek", "fsync", "access"};

static void change_by(enum change how)
{
	struct iovec v = {(void *)(uintptr_t) "xy", 2};
	struct stat st;
	char b[8];
	int from, fd = -1;

	if (how != C_TRUNCATE && how != C_STAT && how != C_ACCESS)
		fd = (int)OK(open(N("d/f"), (how < C_READ || how == C_OPEN_RDWR ? O_RDWR : O_RDONLY) |
						    (how == C_APPEND ? O_APPEND : 0)));
	switch (how) {
	case C_WRITE:
	case C_APPEND:
		EQ(write(fd, "x", 1), 1);
		break;
	case C_TRUNCATE:
		OK(truncate(N("d/f"), 1));
		break;
	case C_FTRUNCATE:
		OK(ftruncate(fd, 1));
		break;
	case C_GROW:
		OK(ftruncate(fd, 10000));
		break;
	case C_WRITEV:
		EQ(writev(fd, &v, 1), 2);
		break;
	case C_FALLOCATE:
		OK(fallocate(fd, 0, 0, 10000));
		break;
	case C_SPLICE:
		from = (int)OK(open(N("from"), O_RDONLY));
		EQ(sendfile(fd, from, NULL, 4), 4);
		break;
	case C_READ:
		EQ(read(fd, b, sizeof b), 5);
		break;
	case C_STAT:
		OK(stat(N("d/f"), &st));
		break;
	case C_SEEK:
		EQ(lseek(fd, 0, SEEK_END), 5);
		break;
	case C_SYNC:
		OK(fsync(fd));
		break;
	case C_ACCESS:
		OK(access(N("d/f"), R_OK));
		break;
	default:
		break;
	}
	if (fd >= 0)
		OK(close(fd));
}

static void time_of_change(const struct tp_case *c)
{
	struct stat before, parent;

	tp_put(N("from"), "from", 4);
	tp_mkdir(N("d"));
	tp_put(N("d/f"), "bytes", 5);
	before = tp_times_age(N("d/f"));
	parent = tp_times_age(N("d"));
	change_by((enum change)c->a);
	if (c->a < C_CHANGES_OF_DATA)
		TIMES(N("d/f"), &before, TP_BOTH);
	else
		EQ(tp_stat(N("d/f")).st_mtim.tv_sec, before.st_mtim.tv_sec);
	if (c->a >= C_CHANGES_OF_DATA && c->a != C_OPEN_RDWR)
		TIMES(N("d/f"), &before, TP_NO_TIME);
	TIMES(N("d"), &parent, TP_NO_TIME);
}

TP_CASES(times)
{
	for (int how = 0; how < C_CHANGES; how++)
		tp_case_add(TP_ANYBODY, time_of_change, how, 0, 0, "times/%s_%s", change_names[how],
			how < C_CHANGES_OF_DATA ? "moves_them" : "leaves_them");
}

/* ---- lseek ---- */

TP_CASE(lseek, whences, TP_ANYBODY)
{
	int fd;

	tp_put(N("f"), "abcdef", 6);
	fd = (int)OK(open(N("f"), O_RDWR));
	EQ(lseek(fd, 2, SEEK_SET), 2);
	EQ(lseek(fd, 3, SEEK_CUR), 5);
	EQ(lseek(fd, -1, SEEK_END), 5);
	EQ(lseek(fd, 10, SEEK_END), 16);
	FAILS(lseek(fd, -1, SEEK_SET), EINVAL);
	FAILS(lseek(fd, -100, SEEK_END), EINVAL);
	FAILS(lseek(fd, 0, 99), EINVAL);
	EQ(lseek(fd, 0, SEEK_CUR), 16);
	FAILS(lseek(-1, 0, SEEK_SET), EBADF);
}

TP_CASE(lseek, end_follows_growth_by_another_descriptor, TP_ANYBODY)
{
	int a = (int)OK(open(N("f"), O_RDWR | O_CREAT, 0644)), z = (int)OK(open(N("f"), O_RDWR));

	EQ(write(a, "abcdef", 6), 6);
	EQ(lseek(z, 0, SEEK_END), 6);
}

/* ---- fsync ---- */

static void sync_of(const struct tp_case *c)
{
	int fd;

	tp_put(N("f"), "abc", 3);
	tp_mkdir(N("d"));
	tp_touch(N("d/f"));
	fd = (int)OK(open(c->a ? N("d") : N("f"), O_RDONLY));
	OK(fsync(fd));
	OK(fdatasync(fd));
	OK(syncfs(fd));
}

TP_CASES(syncs)
{
	tp_case_add(TP_ANYBODY, sync_of, 0, 0, 0, "fsync/of_a_file_open_for_reading");
	tp_case_add(TP_ANYBODY, sync_of, 1, 0, 0, "fsync/of_a_directory");
}

TP_CASE(fsync, in_the_middle_of_writing, TP_ANYBODY)
{
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT, 0644));

	for (int i = 0; i < 10; i++) {
		tp_pattern_write(fd, i * 5000, 5000, 1);
		OK(i % 2 ? fsync(fd) : fdatasync(fd));
	}
	tp_pattern_check(fd, 0, 50000, 1);
	OK(close(fd));
	EQ(tp_stat(N("f")).st_size, 50000);
	FAILS(fsync(-1), EBADF);
}
