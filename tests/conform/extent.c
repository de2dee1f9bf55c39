/* SPDX-License-Identifier: Apache-2.0 */
/* fallocate, holes, copy_file_range, splice, O_DIRECT. */
#include "files.h"

#include <limits.h>
#include <linux/falloc.h>
#include <sys/sendfile.h>
#include <sys/statvfs.h>

static int opened(size_t size)
{
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT, 0644));

	if (size)
		tp_pattern_write(fd, 0, size, 1);
	return fd;
}

/* ---- fallocate ---- */

static void allocated(const struct tp_case *c)
{
	enum { WHOLE = 100000 };
	int flags = (int)c->d, fd = opened(WHOLE);
	off_t at = c->a, n = c->b, size = WHOLE;

	if (fallocate(fd, flags, at, n) < 0 && errno == EOPNOTSUPP && flags & FALLOC_FL_ZERO_RANGE)
		tp_case_skip("no FALLOC_FL_ZERO_RANGE here");
	EQ(errno, 0);
	if (!(flags & FALLOC_FL_KEEP_SIZE) && at + n > WHOLE)
		size = at + n;
	EQ(tp_fstat(fd).st_size, size);
	for (int pass = 0; pass < 2; pass++) {
		bool zeroed = flags & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE);
		off_t end = at + n < WHOLE ? at + n : WHOLE;

		tp_pattern_check(fd, 0, zeroed && at < WHOLE ? at : WHOLE, 1);
		if (zeroed && at < WHOLE) {
			tp_pattern_check(fd, at, end - at, 0);
			tp_pattern_check(fd, end, WHOLE - end, 1);
		}
		if (size > WHOLE)
			tp_pattern_check(fd, WHOLE, size - WHOLE, 0);
		/* Once more after it was closed. */
		OK(close(fd));
		fd = (int)OK(open(N("f"), O_RDONLY));
	}
	EQ(tp_fstat(fd).st_size, size);
}

TP_CASES(fallocates)
{
	static const struct {
		int flags;
		const char *name;
	} modes[] = {{0, "default"}, {FALLOC_FL_KEEP_SIZE, "keep_size"},
		{FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, "punch_hole"},
		{FALLOC_FL_ZERO_RANGE, "zero_range"},
		{FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, "zero_range_keep_size"}};
	static const struct {
		long at, n;
	} ranges[] = {{0, 1}, {0, 4096}, {0, 100000}, {1, 99998}, {4096, 8192}, {5000, 10}, {5000, 20000},
		{50000, 50000}, {50000, 100000}, {100000, 1}, {100000, 50000}, {200000, 4096}, {0, 300000}};

	for (size_t m = 0; m < 5; m++)
		for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
			tp_case_add(TP_ANYBODY, allocated, ranges[i].at, ranges[i].n, modes[m].flags,
				"fallocate/%s_%ld_at_%ld", modes[m].name, ranges[i].n, ranges[i].at);
}

TP_CASE(fallocate, bad_arguments, TP_ANYBODY)
{
	int fd = opened(10), ro = (int)OK(open(N("f"), O_RDONLY)), pipes[2];

	FAILS(fallocate(fd, 0, 0, 0), EINVAL);
	FAILS(fallocate(fd, 0, -1, 10), EINVAL);
	FAILS(fallocate(fd, 0, 0, -1), EINVAL);
	FAILS(fallocate(fd, 0, LLONG_MAX, 10), EFBIG);
	FAILS(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10), EOPNOTSUPP);
	FAILS(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0, 10),
		EOPNOTSUPP);
	FAILS(fallocate(ro, 0, 0, 10), EBADF);
	FAILS(fallocate(-1, 0, 0, 10), EBADF);
	OK(pipe(pipes));
	FAILS(fallocate(pipes[1], 0, 0, 10), ESPIPE);
	EQ(tp_fstat(fd).st_size, 10);
}

TP_CASE(fallocate, more_than_there_is_fails_and_changes_nothing, TP_ANYBODY)
{
	int fd = opened(10);

	CHECK(fallocate(fd, 0, 0, 1L << 52) < 0 && (errno == ENOSPC || errno == EFBIG));
	EQ(tp_fstat(fd).st_size, 10);
	CHECK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 1L << 52) < 0 && (errno == ENOSPC || errno == EFBIG));
	tp_pattern_check(fd, 0, 10, 1);
	OK(close(fd));
	EQ(tp_stat(N("f")).st_size, 10);
}

TP_CASE(fallocate, reserves_blocks, TP_ANYBODY)
{
	int fd = opened(0);

	OK(fallocate(fd, 0, 0, 1 << 20));
	CHECK(tp_fstat(fd).st_blocks >= (1 << 20) / 512);
	tp_pattern_check(fd, 0, 1 << 20, 0);
}

TP_CASE(fallocate, posix_fallocate_grows, TP_ANYBODY)
{
	int fd = opened(10);

	EQ(posix_fallocate(fd, 0, 5000), 0);
	EQ(tp_fstat(fd).st_size, 5000);
	EQ(posix_fallocate(fd, 0, 100), 0);
	EQ(tp_fstat(fd).st_size, 5000);
	tp_pattern_check(fd, 0, 10, 1);
	tp_pattern_check(fd, 10, 4990, 0);
}

TP_CASE(fallocate, punching_frees_blocks, TP_ANYBODY)
{
	int fd = opened(1 << 20);
	blkcnt_t before;

	OK(fsync(fd));
	before = tp_fstat(fd).st_blocks;
	OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1 << 19));
	CHECK(tp_fstat(fd).st_blocks <= before - (1 << 19) / 512 + 16);
	EQ(tp_fstat(fd).st_size, 1 << 20);
}

TP_CASE(fallocate, kept_size_can_be_written_later, TP_ANYBODY)
{
	int fd = opened(0);

	OK(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 200000));
	EQ(tp_fstat(fd).st_size, 0);
	tp_pattern_write(fd, 0, 100000, 1);
	OK(close(fd));
	EQ(tp_stat(N("f")).st_size, 100000);
}

TP_CASE(fallocate, on_a_directory_and_a_fifo, TP_ANYBODY)
{
	int fd;

	OK(mkfifo(N("p"), 0644));
	fd = (int)OK(open(N("p"), O_RDWR | O_NONBLOCK));
	FAILS(fallocate(fd, 0, 0, 10), ESPIPE);
	fd = (int)OK(open(".", O_RDONLY));
	FAILS(fallocate(fd, 0, 0, 10), EBADF);
}

/* ---- holes ---- */

enum { MIB = 1 << 20 };

static int with_holes(void)
{
	int fd = opened(0);

	/* Data at 1 MiB and at 3 MiB, 4 MiB in all. */
	OK(ftruncate(fd, 4 * MIB));
	tp_pattern_write(fd, MIB, 65536, 1);
	tp_pattern_write(fd, 3 * MIB, 65536, 1);
	return fd;
}

static void holes(const struct tp_case *c)
{
	int fd = with_holes();

	if (c->a) {
		OK(close(fd));
		fd = (int)OK(open(N("f"), O_RDONLY));
	}
	EQ(lseek(fd, 0, SEEK_HOLE), 0);
	EQ(lseek(fd, 0, SEEK_DATA), MIB);
	EQ(lseek(fd, MIB, SEEK_DATA), MIB);
	EQ(lseek(fd, MIB + 1, SEEK_DATA), MIB + 1);
	EQ(lseek(fd, MIB, SEEK_HOLE), MIB + 65536);
	EQ(lseek(fd, MIB + 65536, SEEK_DATA), 3 * MIB);
	EQ(lseek(fd, 3 * MIB, SEEK_HOLE), 3 * MIB + 65536);
	FAILS(lseek(fd, 3 * MIB + 65536, SEEK_DATA), ENXIO);
	EQ(lseek(fd, 3 * MIB + 65536, SEEK_HOLE), 3 * MIB + 65536);
	FAILS(lseek(fd, 4 * MIB, SEEK_DATA), ENXIO);
	FAILS(lseek(fd, 4 * MIB, SEEK_HOLE), ENXIO);
	FAILS(lseek(fd, -1, SEEK_DATA), ENXIO);
	EQ(lseek(fd, 0, SEEK_CUR), 3 * MIB + 65536);
}

TP_CASES(holes)
{
	tp_case_add(TP_ANYBODY, holes, 0, 0, 0, "holes/while_it_is_written");
	tp_case_add(TP_ANYBODY, holes, 1, 0, 0, "holes/after_it_was_closed");
}

TP_CASE(holes, file_without_any, TP_ANYBODY)
{
	int fd = opened(100000);

	EQ(lseek(fd, 0, SEEK_DATA), 0);
	EQ(lseek(fd, 0, SEEK_HOLE), 100000);
	EQ(lseek(fd, 99999, SEEK_DATA), 99999);
	EQ(lseek(fd, 99999, SEEK_HOLE), 100000);
	FAILS(lseek(fd, 100000, SEEK_DATA), ENXIO);
}

TP_CASE(holes, empty_file_has_neither, TP_ANYBODY)
{
	int fd = opened(0);

	FAILS(lseek(fd, 0, SEEK_DATA), ENXIO);
	FAILS(lseek(fd, 0, SEEK_HOLE), ENXIO);
}

TP_CASE(holes, nothing_but_a_hole, TP_ANYBODY)
{
	int fd = opened(0);

	OK(ftruncate(fd, MIB));
	FAILS(lseek(fd, 0, SEEK_DATA), ENXIO);
	EQ(lseek(fd, 0, SEEK_HOLE), 0);
	EQ(lseek(fd, 1000, SEEK_HOLE), 1000);
}

TP_CASE(holes, punched_hole_is_one, TP_ANYBODY)
{
	int fd = opened(2 * MIB);

	OK(fsync(fd));
	OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 65536, MIB));
	EQ(lseek(fd, 0, SEEK_HOLE), 65536);
	EQ(lseek(fd, 65536, SEEK_DATA), 65536 + MIB);
	EQ(lseek(fd, 65536 + MIB, SEEK_HOLE), 2 * MIB);
}

/* ---- copying inside the kernel ---- */

static void copied(const struct tp_case *c)
{
	size_t size = (size_t)c->a;
	loff_t from = 0, to = 0;
	int in = opened(size), out = (int)OK(open(N("g"), O_RDWR | O_CREAT, 0644));

	for (size_t left = size; left > 0;) {
		ssize_t n = (ssize_t)OK(copy_file_range(in, &from, out, &to, left, 0));

		CHECK(n > 0);
		left -= (size_t)n;
	}
	EQ(from, size);
	EQ(to, size);
	EQ(copy_file_range(in, &from, out, &to, 100, 0), 0);
	EQ(lseek(in, 0, SEEK_CUR), 0);
	OK(close(out));
	out = (int)OK(open(N("g"), O_RDONLY));
	tp_pattern_check(out, 0, size, 1);
	EQ(tp_fstat(out).st_size, size);
}

TP_CASES(copies)
{
	static const int sizes[] = {1, 4096, 5000, 131072, 1000000};

	for (int i = 0; i < 5; i++)
		tp_case_add(TP_ANYBODY, copied, sizes[i], 0, 0, "copy_file_range/%d_bytes", sizes[i]);
}

TP_CASE(copy_file_range, into_the_middle, TP_ANYBODY)
{
	loff_t from = 10, to = 5000;
	int in = opened(20000), out = (int)OK(open(N("g"), O_RDWR | O_CREAT, 0644));

	tp_pattern_write(out, 0, 10000, 2);
	EQ(copy_file_range(in, &from, out, &to, 1000, 0), 1000);
	EQ(tp_fstat(out).st_size, 10000);
	tp_pattern_check(out, 0, 5000, 2);
	for (int i = 0; i < 1000; i += 100) {
		unsigned char b;

		EQ(pread(out, &b, 1, 5000 + i), 1);
		EQ(b, tp_pattern(1, 10 + i));
	}
	tp_pattern_check(out, 6000, 4000, 2);
}

TP_CASE(copy_file_range, past_the_end_of_both, TP_ANYBODY)
{
	loff_t from = 90, to = 1000;
	int in = opened(100), out = (int)OK(open(N("g"), O_RDWR | O_CREAT, 0644));

	EQ(copy_file_range(in, &from, out, &to, 1000, 0), 10);
	EQ(tp_fstat(out).st_size, 1010);
	tp_pattern_check(out, 0, 1000, 0);
}

TP_CASE(copy_file_range, moves_offsets_without_pointers, TP_ANYBODY)
{
	int in = opened(100), out = (int)OK(open(N("g"), O_RDWR | O_CREAT, 0644));

	EQ(lseek(in, 0, SEEK_SET), 0);
	EQ(copy_file_range(in, NULL, out, NULL, 60, 0), 60);
	EQ(copy_file_range(in, NULL, out, NULL, 60, 0), 40);
	EQ(copy_file_range(in, NULL, out, NULL, 60, 0), 0);
	EQ(lseek(out, 0, SEEK_CUR), 100);
	tp_pattern_check(out, 0, 100, 1);
}

TP_CASE(copy_file_range, within_one_file, TP_ANYBODY)
{
	loff_t from = 0, to = 5000, overlap = 100;
	int fd = opened(5000);

	EQ(copy_file_range(fd, &from, fd, &to, 5000, 0), 5000);
	EQ(tp_fstat(fd).st_size, 10000);
	from = 0;
	FAILS(copy_file_range(fd, &from, fd, &overlap, 5000, 0), EINVAL);
}

TP_CASE(copy_file_range, bad_arguments, TP_ANYBODY)
{
	int in = opened(100), out = (int)OK(open(N("g"), O_RDWR | O_CREAT, 0644));
	int ro = (int)OK(open(N("g"), O_RDONLY)), wo = (int)OK(open(N("f"), O_WRONLY));
	int append = (int)OK(open(N("g"), O_WRONLY | O_APPEND)), dir = (int)OK(open(".", O_RDONLY)), pipes[2];

	FAILS(copy_file_range(in, NULL, ro, NULL, 10, 0), EBADF);
	FAILS(copy_file_range(wo, NULL, out, NULL, 10, 0), EBADF);
	FAILS(copy_file_range(in, NULL, append, NULL, 10, 0), EBADF);
	FAILS(copy_file_range(in, NULL, out, NULL, 10, 1), EINVAL);
	FAILS(copy_file_range(dir, NULL, out, NULL, 10, 0), EISDIR);
	OK(pipe(pipes));
	FAILS(copy_file_range(pipes[0], NULL, out, NULL, 10, 0), EINVAL);
	EQ(tp_fstat(out).st_size, 0);
}

TP_CASE(sendfile, from_a_file_into_a_file, TP_ANYBODY)
{
	off_t from = 0;
	int in = opened(300000), out = (int)OK(open(N("g"), O_RDWR | O_CREAT, 0644));

	while (from < 300000)
		CHECK(OK(sendfile(out, in, &from, 300000)) > 0);
	tp_pattern_check(out, 0, 300000, 1);
}

TP_CASE(splice, through_a_pipe, TP_ANYBODY)
{
	int in = opened(50000), out = (int)OK(open(N("g"), O_RDWR | O_CREAT, 0644)), pipes[2];
	loff_t from = 0, to = 0;

	OK(pipe(pipes));
	while (to < 50000) {
		ssize_t n = (ssize_t)OK(splice(in, &from, pipes[1], NULL, 30000, 0));

		while (n > 0)
			n -= (ssize_t)OK(splice(pipes[0], NULL, out, &to, (size_t)n, 0));
	}
	tp_pattern_check(out, 0, 50000, 1);
}

/* ---- O_DIRECT ---- */

static void *page_buffer(size_t size)
{
	void *p = aligned_alloc(4096, size);

	if (!p)
		abort();
	return p;
}

static int open_direct(const char *path, int flags)
{
	int fd = open(path, flags | O_DIRECT, 0644);

	if (fd < 0 && errno == EINVAL)
		tp_case_skip("no O_DIRECT here");
	return (int)OK(fd);
}

static void direct(const struct tp_case *c)
{
	size_t size = (size_t)c->a;
	unsigned char *buf = page_buffer(size);
	int fd = open_direct(N("f"), O_RDWR | O_CREAT);

	tp_pattern_fill(buf, size, 1, 0);
	EQ(pwrite(fd, buf, size, 0), size);
	memset(buf, 0, size);
	EQ(pread(fd, buf, size, 0), size);
	for (size_t i = 0; i < size; i++)
		CHECK(buf[i] == tp_pattern(1, i));
	OK(close(fd));
	/* Through the cache, and directly once more. */
	fd = (int)OK(open(N("f"), O_RDONLY));
	tp_pattern_check(fd, 0, size, 1);
	OK(close(fd));
	fd = open_direct(N("f"), O_RDONLY);
	EQ(pread(fd, buf, size, 0), size);
	EQ(buf[size - 1], tp_pattern(1, size - 1));
	EQ(pread(fd, buf, 4096, (off_t)size), 0);
	EQ(pread(fd, buf, 4096, (off_t)size + 65536), 0);
	free(buf);
}

TP_CASES(directs)
{
	static const int sizes[] = {4096, 8192, 65536, 131072, 135168, 1 << 20, (1 << 20) + 4096};

	for (int i = 0; i < 7; i++)
		tp_case_add(TP_ANYBODY, direct, sizes[i], 0, 0, "o_direct/%d_bytes", sizes[i]);
}

TP_CASE(o_direct, reading_an_odd_end_gives_what_is_there, TP_ANYBODY)
{
	unsigned char *buf = page_buffer(8192);
	int fd = opened(5000);

	OK(fsync(fd));
	OK(close(fd));
	fd = open_direct(N("f"), O_RDONLY);
	EQ(pread(fd, buf, 8192, 0), 5000);
	EQ(buf[4999], tp_pattern(1, 4999));
	EQ(pread(fd, buf, 4096, 4096), 904);
	EQ(pread(fd, buf, 4096, 8192), 0);
	free(buf);
}

TP_CASE(o_direct, mixes_with_cached_descriptors, TP_ANYBODY)
{
	unsigned char *buf = page_buffer(4096);
	int cached = opened(16384), raw = open_direct(N("f"), O_RDWR);

	EQ(pread(raw, buf, 4096, 4096), 4096);
	EQ(buf[0], tp_pattern(1, 4096));
	tp_pattern_fill(buf, 4096, 2, 8192);
	EQ(pwrite(raw, buf, 4096, 8192), 4096);
	tp_pattern_check(cached, 8192, 4096, 2);
	tp_pattern_write(cached, 8192, 4096, 3);
	EQ(pread(raw, buf, 4096, 8192), 4096);
	EQ(buf[17], tp_pattern(3, 8192 + 17));
	tp_pattern_check(cached, 0, 8192, 1);
	free(buf);
}

TP_CASE(o_direct, appends_and_truncates, TP_ANYBODY)
{
	unsigned char *buf = page_buffer(4096);
	int fd = open_direct(N("f"), O_RDWR | O_CREAT | O_APPEND);

	for (int i = 0; i < 4; i++) {
		tp_pattern_fill(buf, 4096, 1, i * 4096);
		EQ(write(fd, buf, 4096), 4096);
	}
	OK(ftruncate(fd, 8192));
	EQ(tp_fstat(fd).st_size, 8192);
	OK(close(fd));
	fd = (int)OK(open(N("f"), O_RDONLY));
	tp_pattern_check(fd, 0, 8192, 1);
	free(buf);
}
