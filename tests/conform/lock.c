/* SPDX-License-Identifier: Apache-2.0 */
/* flock, record locks of fcntl, and those of open file descriptions. */
#include "files.h"

#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/syscall.h>

static int opened(int flags)
{
	return (int)OK(open(N("f"), flags | O_CLOEXEC));
}

static void make_file(void)
{
	tp_put(N("f"), "0123456789", 10);
}

/* ---- flock ---- */

/* What a second open gets beside a lock that the first one holds. */
static void flock_beside(const struct tp_case *c)
{
	int first = (int)c->a, second = (int)c->b;
	bool fits = first == LOCK_SH && second == LOCK_SH;
	int a, b;

	make_file();
	a = opened(c->d ? O_RDONLY : O_RDWR);
	b = opened(O_RDONLY);
	OK(flock(a, first));
	if (fits)
		OK(flock(b, second | LOCK_NB));
	else
		FAILS(flock(b, second | LOCK_NB), EWOULDBLOCK);
	AS (TP_SAME) {
		int fd = opened(O_RDWR);

		if (fits)
			OK(flock(fd, second | LOCK_NB));
		else
			FAILS(flock(fd, second | LOCK_NB), EWOULDBLOCK);
	}
	OK(flock(a, LOCK_UN));
	OK(flock(b, second | LOCK_NB));
}

TP_CASES(flocks)
{
	static const struct {
		int op;
		const char *name;
	} ops[] = {{LOCK_SH, "shared"}, {LOCK_EX, "exclusive"}};

	for (int i = 0; i < 2; i++)
		for (int k = 0; k < 2; k++)
			for (int ro = 0; ro < 2; ro++)
				tp_case_add(TP_ANYBODY, flock_beside, ops[i].op, ops[k].op, ro,
					"flock/%s_beside_%s%s", ops[k].name, ops[i].name,
					ro ? "_on_a_reader" : "");
}

TP_CASE(flock, close_lets_it_go, TP_ANYBODY)
{
	int a, b;

	make_file();
	a = opened(O_RDWR);
	b = opened(O_RDWR);
	OK(flock(a, LOCK_EX));
	FAILS(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	OK(close(a));
	OK(flock(b, LOCK_EX | LOCK_NB));
}

TP_CASE(flock, duplicate_keeps_it_until_the_last_close, TP_ANYBODY)
{
	int a, b, twin;

	make_file();
	a = opened(O_RDWR);
	b = opened(O_RDWR);
	twin = (int)OK(dup(a));
	OK(flock(a, LOCK_EX));
	OK(close(a));
	FAILS(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	OK(flock(twin, LOCK_UN));
	OK(flock(b, LOCK_EX | LOCK_NB));
}

TP_CASE(flock, converted_up_and_down, TP_ANYBODY)
{
	int a, b;

	make_file();
	a = opened(O_RDWR);
	b = opened(O_RDWR);
	OK(flock(a, LOCK_SH));
	OK(flock(b, LOCK_SH));
	FAILS(flock(a, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	OK(flock(b, LOCK_UN));
	OK(flock(a, LOCK_EX | LOCK_NB));
	FAILS(flock(b, LOCK_SH | LOCK_NB), EWOULDBLOCK);
	OK(flock(a, LOCK_SH));
	OK(flock(b, LOCK_SH | LOCK_NB));
}

TP_CASE(flock, inherited_over_fork, TP_ANYBODY)
{
	int a, b;

	make_file();
	a = opened(O_RDWR);
	b = opened(O_RDWR);
	OK(flock(a, LOCK_EX));
	AS (TP_SAME) {
		OK(flock(a, LOCK_EX | LOCK_NB));
		OK(flock(a, LOCK_UN));
	}
	OK(flock(b, LOCK_EX | LOCK_NB));
}

TP_CASE(flock, on_a_directory, TP_ANYBODY)
{
	int a = (int)OK(open(".", O_RDONLY)), b = (int)OK(open(".", O_RDONLY));

	OK(flock(a, LOCK_EX));
	FAILS(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	OK(flock(a, LOCK_UN));
	OK(flock(b, LOCK_EX | LOCK_NB));
}

TP_CASE(flock, bad_arguments, TP_ANYBODY)
{
	int fd;

	make_file();
	fd = opened(O_RDWR);
	FAILS(flock(fd, 0), EINVAL);
	FAILS(flock(-1, LOCK_EX), EBADF);
	fd = opened(O_PATH);
	FAILS(flock(fd, LOCK_EX), EBADF);
}

TP_CASE(flock, belongs_to_the_file_over_a_rename, TP_ANYBODY)
{
	int a, b;

	make_file();
	a = opened(O_RDWR);
	OK(flock(a, LOCK_EX));
	OK(rename(N("f"), N("g")));
	b = (int)OK(open(N("g"), O_RDWR));
	FAILS(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	tp_touch(N("f"));
	b = opened(O_RDWR);
	OK(flock(b, LOCK_EX | LOCK_NB));
}

TP_CASE(flock, is_shared_by_hard_links, TP_ANYBODY)
{
	int a, b;

	make_file();
	OK(link(N("f"), N("g")));
	a = opened(O_RDWR);
	b = (int)OK(open(N("g"), O_RDWR));
	OK(flock(a, LOCK_EX));
	FAILS(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
}

TP_CASE(flock, new_file_excludes_others_by_name, TP_ANYBODY)
{
	int a = (int)OK(open(N("l"), O_WRONLY | O_CREAT | O_TRUNC, 0644));

	OK(flock(a, LOCK_EX));
	AS (TP_SAME) {
		int b = (int)OK(open(N("l"), O_WRONLY | O_CREAT | O_TRUNC, 0644));

		FAILS(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	}
	OK(close(a));
	AS (TP_SAME) {
		int b = (int)OK(open(N("l"), O_WRONLY | O_CREAT | O_TRUNC, 0644));

		OK(flock(b, LOCK_EX | LOCK_NB));
	}
}

/*
 * The second process waits for the lock; it must not have it before the word says that the first let it go. lock
 * takes it or waits, and gives 0 or -1.
 */
static void blocks_until(
	int (*lock)(int fd, int on), long call, void (*let_go)(int fd, int (*lock)(int, int)))
{
	struct tp_side side;
	int fd;

	make_file();
	fd = opened(O_RDWR);
	OK(lock(fd, 1));
	if (tp_side_start(&side, TP_SAME)) {
		int mine;

		/* The copy that fork made would keep a lock alive after the first one's close. */
		OK(close(fd));
		mine = opened(O_RDWR);
		OK(lock(mine, 1));
		EQ(tp_verdict->words[0], 1);
		tp_side_tell(&side);
		tp_side_end(&side);
	}
	tp_side_await_call(&side, call);
	CHECK(!tp_side_told(&side));
	tp_verdict->words[0] = 1;
	let_go(fd, lock);
	tp_side_await(&side);
	tp_side_end(&side);
}

static void by_unlock(int fd, int (*lock)(int, int))
{
	OK(lock(fd, 0));
}

static void by_close(int fd, int (*lock)(int, int))
{
	OK(close(fd));
}

static int lock_flock(int fd, int on)
{
	return flock(fd, on ? LOCK_EX : LOCK_UN);
}

static int lock_posix(int fd, int on)
{
	struct flock l = {.l_type = on ? F_WRLCK : F_UNLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_SETLKW, &l);
}

static int lock_ofd(int fd, int on)
{
	struct flock l = {.l_type = on ? F_WRLCK : F_UNLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_OFD_SETLKW, &l);
}

TP_CASE(flock, waits_until_unlock, TP_ANYBODY)
{
	blocks_until(lock_flock, SYS_flock, by_unlock);
}

TP_CASE(flock, waits_until_close, TP_ANYBODY)
{
	blocks_until(lock_flock, SYS_flock, by_close);
}

TP_CASE(record_lock, waits_until_unlock, TP_ANYBODY)
{
	blocks_until(lock_posix, SYS_fcntl, by_unlock);
}

TP_CASE(record_lock, waits_until_close, TP_ANYBODY)
{
	blocks_until(lock_posix, SYS_fcntl, by_close);
}

TP_CASE(ofd_lock, waits_until_unlock, TP_ANYBODY)
{
	blocks_until(lock_ofd, SYS_fcntl, by_unlock);
}

TP_CASE(ofd_lock, waits_until_close, TP_ANYBODY)
{
	blocks_until(lock_ofd, SYS_fcntl, by_close);
}

static void on_alarm(int signal)
{
	(void)signal;
}

/* A signal ends the wait. */
static void interrupted(const struct tp_case *c)
{
	struct sigaction sa = {.sa_handler = on_alarm};
	struct tp_side side;
	int fd;

	make_file();
	fd = opened(O_RDWR);
	OK(c->a ? lock_posix(fd, 1) : lock_flock(fd, 1));
	if (tp_side_start(&side, TP_SAME)) {
		int mine = opened(O_RDWR);

		OK(sigaction(SIGUSR1, &sa, NULL));
		tp_side_tell(&side);
		FAILS(c->a ? lock_posix(mine, 1) : lock_flock(mine, 1), EINTR);
		tp_side_tell(&side);
		tp_side_end(&side);
	}
	tp_side_await(&side);
	tp_side_await_call(&side, c->a ? SYS_fcntl : SYS_flock);
	/* Again and again, since nobody can tell for certain that it waits already. */
	do {
		OK(kill(side.pid, SIGUSR1));
		sched_yield();
	} while (!tp_side_told(&side));
	tp_side_end(&side);
}

TP_CASES(interrupted_locks)
{
	tp_case_add(TP_ANYBODY, interrupted, 0, 0, 0, "flock/signal_ends_the_wait");
	tp_case_add(TP_ANYBODY, interrupted, 1, 0, 0, "record_lock/signal_ends_the_wait");
}

/* ---- record locks ---- */

static int set_lock(int fd, int type, off_t start, off_t length)
{
	struct flock l = {.l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

	return fcntl(fd, F_SETLK, &l);
}

/* What F_GETLK says of a lock that would be taken. */
static struct flock get_lock(int fd, int type, off_t start, off_t length)
{
	struct flock l = {.l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

	OK(fcntl(fd, F_GETLK, &l));
	return l;
}

struct range {
	off_t start, length; /* length 0: to the end, whatever it becomes */
};

static const struct range ranges[] = {{0, 0}, {0, 5}, {3, 4}, {5, 5}, {7, 0}, {20, 10}};
enum { RANGES = sizeof ranges / sizeof ranges[0] };

static bool overlap(struct range a, struct range b)
{
	bool before = a.length != 0 && a.start + a.length <= b.start;
	bool after = b.length != 0 && b.start + b.length <= a.start;

	return !before && !after;
}

static void record_beside(const struct tp_case *c)
{
	struct range first = ranges[c->a], second = ranges[c->b];
	int held = c->d & 1 ? F_WRLCK : F_RDLCK, asked = c->d & 2 ? F_WRLCK : F_RDLCK;
	bool refused = overlap(first, second) && (held == F_WRLCK || asked == F_WRLCK);
	pid_t parent = getpid();
	int fd;

	make_file();
	fd = opened(O_RDWR);
	OK(set_lock(fd, held, first.start, first.length));
	AS (TP_SAME) {
		int mine = opened(O_RDWR);
		struct flock l = get_lock(mine, asked, second.start, second.length);

		if (refused) {
			EQ(l.l_type, held);
			EQ(l.l_pid, parent);
			EQ(l.l_start, first.start);
			EQ(l.l_len, first.length);
			CHECK(set_lock(mine, asked, second.start, second.length) < 0 &&
				(errno == EAGAIN || errno == EACCES));
		} else {
			EQ(l.l_type, F_UNLCK);
			OK(set_lock(mine, asked, second.start, second.length));
		}
	}
	OK(set_lock(fd, F_UNLCK, 0, 0));
	AS (TP_SAME)
		OK(set_lock(opened(O_RDWR), F_WRLCK, 0, 0));
}

TP_CASES(record_locks)
{
	static const char *const names[] = {
		"read_beside_read", "read_beside_write", "write_beside_read", "write_beside_write"};

	for (int kind = 0; kind < 4; kind++)
		for (int i = 0; i < RANGES; i++)
			for (int k = 0; k < RANGES; k++)
				if (kind == 3 || i == k)
					tp_case_add(TP_ANYBODY, record_beside, i, k, kind,
						"record_lock/%s_%d_%d", names[kind], i, k);
}

TP_CASE(record_lock, own_locks_never_conflict, TP_ANYBODY)
{
	int a, b;

	make_file();
	a = opened(O_RDWR);
	b = opened(O_RDWR);
	OK(set_lock(a, F_WRLCK, 0, 0));
	OK(set_lock(b, F_WRLCK, 0, 5));
	EQ(get_lock(b, F_WRLCK, 0, 0).l_type, F_UNLCK);
}

TP_CASE(record_lock, closing_any_descriptor_lets_all_go, TP_ANYBODY)
{
	int a, b;

	make_file();
	a = opened(O_RDWR);
	b = opened(O_RDWR);
	OK(set_lock(a, F_WRLCK, 0, 0));
	OK(close(b));
	AS (TP_SAME)
		OK(set_lock(opened(O_RDWR), F_WRLCK, 0, 0));
}

TP_CASE(record_lock, is_not_inherited_over_fork, TP_ANYBODY)
{
	int fd;

	make_file();
	fd = opened(O_RDWR);
	OK(set_lock(fd, F_WRLCK, 0, 0));
	AS (TP_SAME)
		FAILS(set_lock(fd, F_WRLCK, 0, 0), EAGAIN);
}

TP_CASE(record_lock, ends_with_its_process, TP_ANYBODY)
{
	make_file();
	AS (TP_SAME)
		OK(set_lock(opened(O_RDWR), F_WRLCK, 0, 0));
	AS (TP_SAME)
		OK(set_lock(opened(O_RDWR), F_WRLCK, 0, 0));
}

TP_CASE(record_lock, unlocking_the_middle_splits, TP_ANYBODY)
{
	int fd;

	make_file();
	fd = opened(O_RDWR);
	OK(set_lock(fd, F_WRLCK, 0, 10));
	OK(set_lock(fd, F_UNLCK, 3, 4));
	AS (TP_SAME) {
		int mine = opened(O_RDWR);
		struct flock l = get_lock(mine, F_WRLCK, 0, 10);

		EQ(l.l_start, 0);
		EQ(l.l_len, 3);
		l = get_lock(mine, F_WRLCK, 3, 0);
		EQ(l.l_start, 7);
		EQ(l.l_len, 3);
		OK(set_lock(mine, F_WRLCK, 3, 4));
		FAILS(set_lock(mine, F_WRLCK, 3, 5), EAGAIN);
	}
}

TP_CASE(record_lock, neighbours_become_one, TP_ANYBODY)
{
	int fd;

	make_file();
	fd = opened(O_RDWR);
	OK(set_lock(fd, F_WRLCK, 0, 3));
	OK(set_lock(fd, F_WRLCK, 6, 3));
	OK(set_lock(fd, F_WRLCK, 3, 3));
	AS (TP_SAME) {
		struct flock l = get_lock(opened(O_RDWR), F_WRLCK, 0, 0);

		EQ(l.l_start, 0);
		EQ(l.l_len, 9);
	}
}

TP_CASE(record_lock, type_is_changed_in_the_middle, TP_ANYBODY)
{
	int fd;

	make_file();
	fd = opened(O_RDWR);
	OK(set_lock(fd, F_WRLCK, 0, 10));
	OK(set_lock(fd, F_RDLCK, 3, 4));
	AS (TP_SAME) {
		int mine = opened(O_RDWR);

		OK(set_lock(mine, F_RDLCK, 3, 4));
		FAILS(set_lock(mine, F_RDLCK, 2, 1), EAGAIN);
		FAILS(set_lock(mine, F_WRLCK, 3, 1), EAGAIN);
	}
}

TP_CASE(record_lock, whences_and_negative_length, TP_ANYBODY)
{
	struct flock from_end = {.l_type = F_WRLCK, .l_whence = SEEK_END, .l_start = -2, .l_len = 1};
	struct flock from_here = {.l_type = F_WRLCK, .l_whence = SEEK_CUR, .l_start = 1, .l_len = -3};
	int fd;

	make_file();
	fd = opened(O_RDWR);
	OK(fcntl(fd, F_SETLK, &from_end)); /* byte 8 */
	EQ(lseek(fd, 4, SEEK_SET), 4);
	OK(fcntl(fd, F_SETLK, &from_here)); /* bytes 2 to 4 */
	AS (TP_SAME) {
		int mine = opened(O_RDWR);
		struct flock l = get_lock(mine, F_WRLCK, 0, 0);

		EQ(l.l_start, 2);
		EQ(l.l_len, 3);
		l = get_lock(mine, F_WRLCK, 5, 0);
		EQ(l.l_start, 8);
		EQ(l.l_len, 1);
	}
}

TP_CASE(record_lock, bad_arguments, TP_ANYBODY)
{
	struct flock l = {.l_type = 99, .l_whence = SEEK_SET};
	int ro, wo;

	make_file();
	ro = opened(O_RDONLY);
	wo = opened(O_WRONLY);
	FAILS(set_lock(ro, F_WRLCK, 0, 0), EBADF);
	FAILS(set_lock(wo, F_RDLCK, 0, 0), EBADF);
	FAILS(set_lock(wo, F_WRLCK, -1, 0), EINVAL);
	FAILS(fcntl(wo, F_SETLK, &l), EINVAL);
	FAILS(set_lock(-1, F_WRLCK, 0, 0), EBADF);
}

TP_CASE(record_lock, two_that_wait_for_each_other_are_edeadlk, TP_ANYBODY)
{
	struct flock first = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1};
	struct flock second = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 1};
	struct tp_side side;
	int fd;

	make_file();
	fd = opened(O_RDWR);
	OK(fcntl(fd, F_SETLK, &first));
	if (tp_side_start(&side, TP_SAME)) {
		int mine = opened(O_RDWR);

		OK(fcntl(mine, F_SETLK, &second));
		tp_side_tell(&side);
		OK(fcntl(mine, F_SETLKW, &first));
		tp_side_end(&side);
	}
	tp_side_await(&side);
	tp_side_await_call(&side, SYS_fcntl);
	FAILS(fcntl(fd, F_SETLKW, &second), EDEADLK);
	OK(set_lock(fd, F_UNLCK, 0, 0));
	tp_side_end(&side);
}

TP_CASE(record_lock, lockf, TP_ANYBODY)
{
	int fd;

	make_file();
	fd = opened(O_RDWR);
	EQ(lseek(fd, 5, SEEK_SET), 5);
	OK(lockf(fd, F_LOCK, 3));
	AS (TP_SAME) {
		int mine = opened(O_RDWR);

		OK(lockf(mine, F_TLOCK, 5));
		EQ(lseek(mine, 5, SEEK_SET), 5);
		CHECK(lockf(mine, F_TEST, 3) < 0 && (errno == EACCES || errno == EAGAIN));
		FAILS(lockf(mine, F_TLOCK, 3), EAGAIN);
	}
	OK(lockf(fd, F_ULOCK, 3));
}

TP_CASE(record_lock, flock_is_another_kind, TP_ANYBODY)
{
	int a, b;

	make_file();
	a = opened(O_RDWR);
	OK(set_lock(a, F_WRLCK, 0, 0));
	AS (TP_SAME) {
		b = opened(O_RDWR);
		OK(flock(b, LOCK_EX | LOCK_NB));
	}
}

/* ---- locks of open file descriptions ---- */

static int set_ofd(int fd, int type, off_t start, off_t length)
{
	struct flock l = {.l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

	return fcntl(fd, F_OFD_SETLK, &l);
}

TP_CASE(ofd_lock, two_opens_of_one_process_conflict, TP_ANYBODY)
{
	int a, b;

	make_file();
	a = opened(O_RDWR);
	b = opened(O_RDWR);
	OK(set_ofd(a, F_WRLCK, 0, 5));
	FAILS(set_ofd(b, F_RDLCK, 4, 1), EAGAIN);
	OK(set_ofd(b, F_WRLCK, 5, 0));
	OK(set_ofd(a, F_UNLCK, 0, 0));
	OK(set_ofd(b, F_WRLCK, 0, 0));
}

TP_CASE(ofd_lock, closing_another_descriptor_keeps_it, TP_ANYBODY)
{
	int a, b;

	make_file();
	a = opened(O_RDWR);
	b = opened(O_RDWR);
	OK(set_ofd(a, F_WRLCK, 0, 0));
	OK(close(b));
	b = opened(O_RDWR);
	FAILS(set_ofd(b, F_WRLCK, 0, 0), EAGAIN);
	OK(close(a));
	OK(set_ofd(b, F_WRLCK, 0, 0));
}

TP_CASE(ofd_lock, inherited_over_fork, TP_ANYBODY)
{
	int a, b;

	make_file();
	a = opened(O_RDWR);
	b = opened(O_RDWR);
	OK(set_ofd(a, F_WRLCK, 0, 0));
	AS (TP_SAME)
		OK(set_ofd(a, F_UNLCK, 0, 0));
	OK(set_ofd(b, F_WRLCK, 0, 0));
}

TP_CASE(ofd_lock, is_told_by_getlk_without_a_process, TP_ANYBODY)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int a, b;

	make_file();
	a = opened(O_RDWR);
	b = opened(O_RDWR);
	OK(set_ofd(a, F_RDLCK, 2, 3));
	OK(fcntl(b, F_OFD_GETLK, &l));
	EQ(l.l_type, F_RDLCK);
	EQ(l.l_start, 2);
	EQ(l.l_len, 3);
	EQ(l.l_pid, -1);
}

TP_CASE(ofd_lock, conflicts_with_record_locks, TP_ANYBODY)
{
	int a, b;

	make_file();
	a = opened(O_RDWR);
	b = opened(O_RDWR);
	OK(set_ofd(a, F_WRLCK, 0, 5));
	FAILS(set_lock(b, F_WRLCK, 0, 1), EAGAIN);
	OK(set_lock(b, F_WRLCK, 5, 1));
	FAILS(set_ofd(a, F_WRLCK, 0, 10), EAGAIN);
}

TP_CASE(ofd_lock, shared_ones_fit, TP_ANYBODY)
{
	int a, b, w;

	make_file();
	a = opened(O_RDONLY);
	b = opened(O_RDONLY);
	w = opened(O_RDWR);
	OK(set_ofd(a, F_RDLCK, 0, 0));
	OK(set_ofd(b, F_RDLCK, 0, 0));
	FAILS(set_ofd(w, F_WRLCK, 0, 0), EAGAIN);
}

TP_CASE(ofd_lock, process_id_must_be_zero, TP_ANYBODY)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_pid = 1};

	make_file();
	FAILS(fcntl(opened(O_RDWR), F_OFD_SETLK, &l), EINVAL);
}
