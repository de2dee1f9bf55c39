/* SPDX-License-Identifier: Apache-2.0 */
/* mmap: shared and private mappings, and how they go together with read and write. */
#include "files.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { PAGE = 4096, SIZE = 5 * PAGE };

static unsigned char *mapped(int fd, size_t size, int prot, int flags)
{
	return (unsigned char *)OK(mmap(NULL, size, prot, flags, fd, 0));
}

static int opened(void)
{
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT, 0644));

	tp_pattern_write(fd, 0, SIZE, 1);
	return fd;
}

static void check_map(const unsigned char *m, size_t from, size_t to, unsigned seed)
{
	for (size_t i = from; i < to; i++)
		if (m[i] != tp_pattern(seed, i))
			tp_case_fail(__FILE__, __LINE__, 0, "byte %zu of the mapping is 0x%02x, not 0x%02x",
				i, m[i], tp_pattern(seed, i));
}

TP_CASE(mmap, shared_reads_the_file, TP_ANYBODY)
{
	int fd = opened();

	OK(close(fd));
	fd = (int)OK(open(N("f"), O_RDONLY));
	check_map(mapped(fd, SIZE, PROT_READ, MAP_SHARED), 0, SIZE, 1);
	check_map(mapped(fd, SIZE, PROT_READ, MAP_PRIVATE), 0, SIZE, 1);
}

TP_CASE(mmap, shared_write_is_seen_by_pread, TP_ANYBODY)
{
	int fd = opened();
	unsigned char *m = mapped(fd, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED);

	tp_pattern_fill(m + PAGE, PAGE, 2, PAGE);
	tp_pattern_check(fd, 0, PAGE, 1);
	tp_pattern_check(fd, PAGE, PAGE, 2);
	tp_pattern_check(fd, 2 * PAGE, 3 * PAGE, 1);
}

TP_CASE(mmap, pwrite_is_seen_in_a_shared_mapping, TP_ANYBODY)
{
	int fd = opened();
	unsigned char *m = mapped(fd, SIZE, PROT_READ, MAP_SHARED);

	check_map(m, 0, SIZE, 1);
	tp_pattern_write(fd, 100, 2 * PAGE, 2);
	check_map(m, 0, 100, 1);
	check_map(m, 100, 100 + 2 * PAGE, 2);
	check_map(m, 100 + 2 * PAGE, SIZE, 1);
}

TP_CASE(mmap, shared_write_survives_munmap_and_close, TP_ANYBODY)
{
	int fd = opened();
	unsigned char *m = mapped(fd, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED);

	tp_pattern_fill(m, SIZE, 3, 0);
	OK(munmap(m, SIZE));
	OK(close(fd));
	fd = (int)OK(open(N("f"), O_RDONLY));
	tp_pattern_check(fd, 0, SIZE, 3);
}

TP_CASE(mmap, written_after_close_of_the_descriptor, TP_ANYBODY)
{
	int fd = opened();
	unsigned char *m = mapped(fd, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED);

	OK(close(fd));
	tp_pattern_fill(m, SIZE, 3, 0);
	OK(msync(m, SIZE, MS_SYNC));
	check_map(m, 0, SIZE, 3);
	OK(munmap(m, SIZE));
	fd = (int)OK(open(N("f"), O_RDONLY));
	tp_pattern_check(fd, 0, SIZE, 3);
}

TP_CASE(mmap, written_after_close_without_msync, TP_ANYBODY)
{
	int fd = opened();
	unsigned char *m = mapped(fd, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED);

	OK(close(fd));
	tp_pattern_fill(m, SIZE, 3, 0);
	OK(munmap(m, SIZE));
	fd = (int)OK(open(N("f"), O_RDONLY));
	tp_pattern_check(fd, 0, SIZE, 3);
}

TP_CASE(mmap, existing_file_is_changed_in_place, TP_ANYBODY)
{
	int fd = opened();
	unsigned char *m;

	OK(close(fd));
	fd = (int)OK(open(N("f"), O_RDWR));
	m = mapped(fd, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED);
	tp_pattern_fill(m + 2 * PAGE, 10, 4, 2 * PAGE);
	OK(msync(m, SIZE, MS_SYNC));
	OK(munmap(m, SIZE));
	OK(close(fd));
	fd = (int)OK(open(N("f"), O_RDONLY));
	tp_pattern_check(fd, 0, 2 * PAGE, 1);
	tp_pattern_check(fd, 2 * PAGE, 10, 4);
	tp_pattern_check(fd, 2 * PAGE + 10, 3 * PAGE - 10, 1);
}

TP_CASE(mmap, private_write_stays_private, TP_ANYBODY)
{
	int fd = opened();
	unsigned char *m = mapped(fd, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE);

	tp_pattern_fill(m, SIZE, 2, 0);
	tp_pattern_check(fd, 0, SIZE, 1);
	OK(munmap(m, SIZE));
	OK(close(fd));
	fd = (int)OK(open(N("f"), O_RDONLY));
	tp_pattern_check(fd, 0, SIZE, 1);
}

TP_CASE(mmap, private_writable_of_a_read_only_descriptor, TP_ANYBODY)
{
	int fd = opened();
	unsigned char *m;

	OK(close(fd));
	fd = (int)OK(open(N("f"), O_RDONLY));
	m = mapped(fd, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	m[0] ^= 1;
	tp_pattern_check(fd, 0, SIZE, 1);
}

TP_CASE(mmap, two_mappings_are_one, TP_ANYBODY)
{
	int fd = opened();
	unsigned char *a = mapped(fd, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED);
	unsigned char *b = mapped(fd, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED);

	tp_pattern_fill(a, SIZE, 2, 0);
	check_map(b, 0, SIZE, 2);
	b[77] = 'x';
	EQ(a[77], 'x');
}

TP_CASE(mmap, shared_with_a_child, TP_ANYBODY)
{
	int fd = opened();
	unsigned char *m = mapped(fd, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED);

	AS (TP_SAME)
		tp_pattern_fill(m, SIZE, 2, 0);
	check_map(m, 0, SIZE, 2);
	tp_pattern_check(fd, 0, SIZE, 2);
}

TP_CASE(mmap, two_processes_open_one_file, TP_ANYBODY)
{
	struct tp_side side;
	unsigned char *m;
	int fd;

	OK(close(opened()));
	if (tp_side_start(&side, TP_SAME)) {
		tp_side_await(&side);
		fd = (int)OK(open(N("f"), O_RDWR));
		m = mapped(fd, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED);
		EQ(m[10], 'x');
		m[20] = 'y';
		tp_side_tell(&side);
		tp_side_await(&side);
		tp_side_end(&side);
	}
	fd = (int)OK(open(N("f"), O_RDWR));
	m = mapped(fd, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED);
	m[10] = 'x';
	tp_side_tell(&side);
	tp_side_await(&side);
	EQ(m[20], 'y');
	tp_side_tell(&side);
	tp_side_end(&side);
}

TP_CASE(mmap, lives_on_after_unlink, TP_ANYBODY)
{
	int fd = opened();
	unsigned char *m = mapped(fd, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED);

	OK(unlink(N("f")));
	OK(close(fd));
	tp_pattern_fill(m, PAGE, 2, 0);
	check_map(m, 0, PAGE, 2);
	check_map(m, PAGE, SIZE, 1);
}

TP_CASE(mmap, lives_on_after_rename_over, TP_ANYBODY)
{
	int fd = opened();
	unsigned char *m = mapped(fd, SIZE, PROT_READ, MAP_SHARED);

	tp_put(N("new"), "new", 3);
	OK(rename(N("new"), N("f")));
	check_map(m, 0, SIZE, 1);
	HOLDS(N("f"), "new", 3);
}

TP_CASE(mmap, end_of_the_last_page_is_zeros, TP_ANYBODY)
{
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT, 0644));
	unsigned char *m;

	tp_pattern_write(fd, 0, 5000, 1);
	m = mapped(fd, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	check_map(m, 0, 5000, 1);
	check_map(m, 5000, 2 * PAGE, 0);
	/* What is written behind the end is nobody's, and must not come to light when the file grows. */
	m[6000] = 'x';
	OK(msync(m, 2 * PAGE, MS_SYNC));
	OK(munmap(m, 2 * PAGE));
	EQ(tp_fstat(fd).st_size, 5000);
}

TP_CASE(mmap, grown_file_shows_in_the_mapping, TP_ANYBODY)
{
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT, 0644));
	unsigned char *m;

	tp_pattern_write(fd, 0, 100, 1);
	m = mapped(fd, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED);
	OK(ftruncate(fd, 4 * PAGE));
	check_map(m, 100, 4 * PAGE, 0);
	tp_pattern_fill(m + 3 * PAGE, PAGE, 2, 3 * PAGE);
	tp_pattern_check(fd, 3 * PAGE, PAGE, 2);
	OK(msync(m, 4 * PAGE, MS_SYNC));
	OK(munmap(m, 4 * PAGE));
	OK(close(fd));
	fd = (int)OK(open(N("f"), O_RDONLY));
	tp_pattern_check(fd, 3 * PAGE, PAGE, 2);
	tp_pattern_check(fd, 100, 3 * PAGE - 100, 0);
}

TP_CASE(mmap, cut_and_grown_again_is_zeros, TP_ANYBODY)
{
	int fd = opened();
	unsigned char *m = mapped(fd, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED);

	check_map(m, 0, SIZE, 1);
	OK(ftruncate(fd, PAGE + 10));
	OK(ftruncate(fd, SIZE));
	check_map(m, 0, PAGE + 10, 1);
	check_map(m, PAGE + 10, SIZE, 0);
	tp_pattern_check(fd, PAGE + 10, SIZE - PAGE - 10, 0);
}

TP_CASE(mmap, behind_the_end_is_sigbus, TP_ANYBODY)
{
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT, 0644)), status;
	unsigned char *m;
	pid_t pid;

	tp_pattern_write(fd, 0, 100, 1);
	m = mapped(fd, 4 * PAGE, PROT_READ, MAP_SHARED);
	pid = (pid_t)OK(fork());
	if (pid == 0) {
		signal(SIGBUS, SIG_DFL);
		_exit(((volatile unsigned char *)m)[2 * PAGE]);
	}
	OK(waitpid(pid, &status, 0));
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

TP_CASE(mmap, wrong_rights_are_eacces, TP_ANYBODY)
{
	int ro, wo;

	OK(close(opened()));
	ro = (int)OK(open(N("f"), O_RDONLY));
	wo = (int)OK(open(N("f"), O_WRONLY));
	FAILS(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, ro, 0), EACCES);
	FAILS(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, wo, 0), EACCES);
	FAILS(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, wo, 0), EACCES);
	FAILS(mmap(NULL, 0, PROT_READ, MAP_SHARED, ro, 0), EINVAL);
	FAILS(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, ro, 100), EINVAL);
}

TP_CASE(mmap, directory_is_enodev, TP_ANYBODY)
{
	int fd = (int)OK(open(".", O_RDONLY));

	FAILS(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0), ENODEV);
}

TP_CASE(mmap, write_and_msync_move_mtime, TP_ANYBODY)
{
	int fd = opened();
	struct stat before;
	unsigned char *m;

	OK(close(fd));
	before = tp_times_age(N("f"));
	fd = (int)OK(open(N("f"), O_RDWR));
	m = mapped(fd, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED);
	m[5] = 'x';
	OK(msync(m, SIZE, MS_SYNC));
	OK(munmap(m, SIZE));
	OK(close(fd));
	TIMES(N("f"), &before, TP_BOTH);
}

TP_CASE(mmap, offset_in_the_middle, TP_ANYBODY)
{
	int fd = opened();
	unsigned char *m = (unsigned char *)OK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 3 * PAGE));

	for (int i = 0; i < PAGE; i++)
		CHECK(m[i] == tp_pattern(1, 3 * PAGE + i));
}

TP_CASE(mmap, read_into_a_mapping_of_the_same_file, TP_ANYBODY)
{
	int fd = opened();
	unsigned char *m = mapped(fd, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED);

	EQ(pread(fd, m + PAGE, 100, 0), 100);
	EQ(m[PAGE + 50], tp_pattern(1, 50));
	EQ(pwrite(fd, m, 100, 2 * PAGE), 100);
	EQ(m[2 * PAGE + 50], tp_pattern(1, 50));
}

TP_CASE(mmap, sparse_mapping_is_written_here_and_there, TP_ANYBODY)
{
	enum { BIG = 1 << 20 };
	int fd = (int)OK(open(N("f"), O_RDWR | O_CREAT, 0644));
	unsigned char *m;

	OK(ftruncate(fd, BIG));
	m = mapped(fd, BIG, PROT_READ | PROT_WRITE, MAP_SHARED);
	for (int i = 0; i < BIG; i += 16 * PAGE)
		m[i + 5] = 'x';
	OK(munmap(m, BIG));
	OK(close(fd));
	fd = (int)OK(open(N("f"), O_RDONLY));
	for (int i = 0; i < BIG; i += 16 * PAGE) {
		char b[2];

		EQ(pread(fd, b, 2, i + 5), 2);
		CHECK(b[0] == 'x' && b[1] == 0);
	}
}

TP_CASE(mmap, punched_hole_shows_zeros, TP_ANYBODY)
{
	int fd = opened();
	unsigned char *m = mapped(fd, SIZE, PROT_READ, MAP_SHARED);

	check_map(m, 0, SIZE, 1);
	OK(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, 2 * PAGE));
	check_map(m, 0, PAGE, 1);
	check_map(m, PAGE, 3 * PAGE, 0);
	check_map(m, 3 * PAGE, SIZE, 1);
}
