/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/process.h"

/* A child that does what it is told by how, and its process. */
enum how { WAITS, EXITS_0, EXITS_3, KILLED, TERMINATED };

static pid_t start(enum how how, struct tp_process *ret)
{
	int go[2];
	pid_t pid;
	char c;

	cr_assert_eq(pipe(go), 0);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(go[1]);
		(void)!read(go[0], &c, 1);
		switch (how) {
		case EXITS_0:
			_exit(0);
		case EXITS_3:
			_exit(3);
		case KILLED:
			raise(SIGKILL);
			break;
		case TERMINATED:
			signal(SIGTERM, SIG_DFL);
			raise(SIGTERM);
			break;
		case WAITS:
			break;
		}
		for (;;)
			pause();
	}
	close(go[0]);
	tp_process_open(pid, ret);
	cr_assert_geq(ret->pidfd, 0);
	cr_assert_eq(tp_process_end(ret), TP_END_RUNS);
	close(go[1]);
	return pid;
}

static void wait_zombie(pid_t pid)
{
	siginfo_t info;

	cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

static void reap(pid_t pid)
{
	cr_assert_eq(waitpid(pid, NULL, 0), pid);
}

/* Is the kernel new enough to tell how one went that was reaped (6.15)? */
static bool tells_of_reaped(void)
{
	struct tp_process p;
	pid_t pid = start(EXITS_0, &p);
	enum tp_end end;

	reap(pid);
	end = tp_process_end(&p);
	tp_process_close(&p);
	return end != TP_END_UNKNOWN;
}

static void check(enum how how, enum tp_end want)
{
	struct tp_process p;
	pid_t pid = start(how, &p);

	wait_zombie(pid);
	cr_assert_eq(tp_process_end(&p), want);
	cr_assert_eq(tp_process_end_of(pid), want);
	reap(pid);
	cr_assert_eq(tp_process_end(&p), tells_of_reaped() ? want : TP_END_UNKNOWN);
	cr_assert_eq(tp_process_end_of(pid), TP_END_UNKNOWN);
	tp_process_close(&p);
	cr_assert_eq(p.pidfd, -1);
	tp_process_close(&p);
}

Test(process, exit_0_is_good_as_a_zombie_and_when_reaped)
{
	check(EXITS_0, TP_END_GOOD);
}

Test(process, exit_3_is_failed_as_a_zombie_and_when_reaped)
{
	check(EXITS_3, TP_END_FAILED);
}

Test(process, a_deadly_signal_is_killed_as_a_zombie_and_when_reaped)
{
	check(KILLED, TP_END_KILLED);
	check(TERMINATED, TP_END_KILLED);
}

Test(process, one_that_lives_or_is_stopped_runs)
{
	struct tp_process p;
	pid_t pid = start(WAITS, &p);
	siginfo_t info;

	cr_assert_eq(tp_process_end_of(pid), TP_END_RUNS);
	kill(pid, SIGSTOP);
	cr_assert_eq(waitid(P_PID, (id_t)pid, &info, WSTOPPED | WNOWAIT), 0);
	cr_assert_eq(tp_process_end(&p), TP_END_RUNS);
	kill(pid, SIGKILL);
	reap(pid);
	tp_process_close(&p);
}

Test(process, without_a_pidfd_what_is_gone_is_not_known)
{
	struct tp_process p;
	pid_t pid = start(KILLED, &p);

	tp_process_close(&p);
	wait_zombie(pid);
	cr_assert_eq(tp_process_end(&p), TP_END_KILLED);
	reap(pid);
	cr_assert_eq(tp_process_end(&p), TP_END_UNKNOWN);
}

/* A child that waits, with this number when want is not 0. 0: it could not be had. */
static pid_t start_as(pid_t want)
{
	for (unsigned i = 0; i < 1000; i++) {
		pid_t pid;

		if (want) {
			FILE *f = fopen("/proc/sys/kernel/ns_last_pid", "w");

			if (!f)
				return 0;
			(void)fprintf(f, "%d", (int)want - 1);
			(void)fclose(f);
		}
		pid = fork();
		cr_assert_geq(pid, 0);
		if (pid == 0) {
			(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
			for (;;)
				pause();
		}
		if (!want || pid == want)
			return pid;
		kill(pid, SIGKILL);
		reap(pid);
	}
	return 0;
}

Test(process, one_that_has_the_number_of_another_is_not_taken_for_it)
{
	struct tp_process first, second, third;
	bool tells = tells_of_reaped();
	pid_t pid = start_as(0);

	tp_process_open(pid, &first);
	tp_process_open(pid, &second);
	cr_assert_eq(first.pidfd, second.pidfd, "it is known");
	kill(pid, SIGKILL);
	reap(pid);
	if (start_as(pid) != pid) {
		tp_process_close(&first);
		tp_process_close(&second);
		cr_skip_test("no process with a chosen number could be had");
	}
	cr_assert_eq(tp_process_end(&first), tells ? TP_END_KILLED : TP_END_UNKNOWN);
	cr_assert_eq(tp_process_end_of(pid), TP_END_RUNS);
	tp_process_close(&first);
	tp_process_open(pid, &third);
	cr_assert_eq(tp_process_end(&third), TP_END_RUNS);
	cr_assert_eq(tp_process_end(&second), tells ? TP_END_KILLED : TP_END_UNKNOWN);
	tp_process_close(&second);
	cr_assert_eq(tp_process_end(&third), TP_END_RUNS);
	kill(pid, SIGKILL);
	reap(pid);
	cr_assert_eq(tp_process_end(&third), tells ? TP_END_KILLED : TP_END_UNKNOWN);
	tp_process_close(&third);
}

static unsigned descriptors(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

Test(process, of_many_only_some_stay_known)
{
	enum { MANY = 200, KNOWN_FDS_MAX = 2 * 32 };
	static struct tp_process p[MANY];
	static pid_t pid[MANY];
	unsigned before = descriptors();

	for (unsigned i = 0; i < MANY; i++) {
		pid[i] = start_as(0);
		tp_process_open(pid[i], &p[i]);
		cr_assert_geq(p[i].pidfd, 0);
	}
	for (unsigned i = 0; i < MANY; i++) {
		cr_assert_eq(tp_process_end(&p[i]), TP_END_RUNS);
		kill(pid[i], SIGKILL);
		wait_zombie(pid[i]);
		cr_assert_eq(tp_process_end(&p[i]), TP_END_KILLED);
		reap(pid[i]);
	}
	for (unsigned i = 0; i < MANY; i++)
		tp_process_close(&p[i]);
	cr_assert_leq(descriptors(), before + KNOWN_FDS_MAX);
}

Test(process, nobody_is_not_known)
{
	struct tp_process p;
	char name[32];

	tp_process_open(0, &p);
	cr_assert_eq(p.pidfd, -1);
	cr_assert_eq(tp_process_end(&p), TP_END_UNKNOWN);
	cr_assert_eq(tp_process_end_of(0), TP_END_UNKNOWN);
	cr_assert_eq(tp_process_of(0), 0);
	cr_assert_eq(tp_process_of(-5), 0);
	/* Above any pid_max. */
	cr_assert_eq(tp_process_of(1 << 23), 0);
	cr_assert_str_eq(tp_process_name(0, name, sizeof(name)), "?");
	cr_assert_str_eq(tp_process_name(1 << 23, name, sizeof(name)), "?");
}

Test(process, a_name_full_of_parentheses_confuses_nothing)
{
	struct tp_process self;
	char name[32];

	cr_assert_eq(prctl(PR_SET_NAME, "a) Z (0 4) 9 9"), 0);
	tp_process_open(getpid(), &self);
	cr_assert_eq(tp_process_end(&self), TP_END_RUNS);
	cr_assert_str_eq(tp_process_name(getpid(), name, sizeof(name)), "a) Z (0 4) 9 9");
	tp_process_close(&self);
}

struct meeting {
	pthread_barrier_t there, leave;
	pid_t tid;
};

static void *attend(void *arg)
{
	struct meeting *m = arg;

	m->tid = (pid_t)syscall(SYS_gettid);
	pthread_barrier_wait(&m->there);
	pthread_barrier_wait(&m->leave);
	return NULL;
}

Test(process, a_thread_belongs_to_its_process)
{
	struct meeting m;
	pthread_t thread;

	pthread_barrier_init(&m.there, NULL, 2);
	pthread_barrier_init(&m.leave, NULL, 2);
	cr_assert_eq(pthread_create(&thread, NULL, attend, &m), 0);
	pthread_barrier_wait(&m.there);
	cr_assert_neq(m.tid, getpid());
	cr_assert_eq(tp_process_of(m.tid), getpid());
	cr_assert_eq(tp_process_of(getpid()), getpid());
	cr_assert_eq(tp_process_of(1), 1);
	cr_assert_eq(tp_process_end_of(m.tid), TP_END_RUNS);
	pthread_barrier_wait(&m.leave);
	pthread_join(thread, NULL);
}

static void *outlive(void *arg)
{
	int *ends = arg;
	char c;

	/* The first thread is gone as such when its own state says so. */
	(void)!read(ends[0], &c, 1);
	_exit(3);
}

Test(process, one_whose_first_thread_has_ended_runs_until_the_last_has)
{
	struct tp_process p;
	int ends[2];
	pid_t pid;
	char path[64], text[256] = "";

	cr_assert_eq(pipe(ends), 0);
	pid = fork();
	cr_assert_geq(pid, 0);
	if (pid == 0) {
		pthread_t thread;

		close(ends[1]);
		pthread_create(&thread, NULL, outlive, ends);
		syscall(SYS_exit, 0);
	}
	close(ends[0]);
	tp_process_open(pid, &p);
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	while (!strstr(text, ") Z ")) {
		FILE *f = fopen(path, "r");

		cr_assert_not_null(f);
		cr_assert_not_null(fgets(text, sizeof(text), f));
		fclose(f);
		sched_yield();
	}
	cr_assert_eq(tp_process_end(&p), TP_END_RUNS);
	close(ends[1]);
	wait_zombie(pid);
	cr_assert_eq(tp_process_end(&p), TP_END_FAILED);
	reap(pid);
	tp_process_close(&p);
}

/* Runs body as nobody in a child, since Criterion's own must stay what it is. */
static int as_nobody(int (*body)(pid_t other), pid_t other)
{
	int status;
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		if (setgid(65534) != 0 || setuid(65534) != 0)
			_exit(99);
		_exit(body(other));
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static int end_seen(pid_t other)
{
	return (int)tp_process_end_of(other);
}

static int process_seen(pid_t other)
{
	return tp_process_of(other) == other;
}

Test(process, of_another_user_only_root_knows_how_it_ended)
{
	struct tp_process p;
	pid_t pid;

	if (geteuid() != 0)
		cr_skip_test("not root");
	pid = start(EXITS_0, &p);
	wait_zombie(pid);
	cr_assert_eq(tp_process_end_of(pid), TP_END_GOOD);
	cr_assert_eq(as_nobody(end_seen, pid), TP_END_UNKNOWN);
	cr_assert_eq(as_nobody(process_seen, pid), 1);
	reap(pid);
	tp_process_close(&p);
	/* A failure is not shown either, and must not look like a success. */
	pid = start(EXITS_3, &p);
	wait_zombie(pid);
	cr_assert_eq(as_nobody(end_seen, pid), TP_END_UNKNOWN);
	reap(pid);
	tp_process_close(&p);
}

Test(process, in_a_child_pid_namespace_it_is_known_from_outside)
{
	struct tp_process p;
	pid_t *inner, outer;

	if (geteuid() != 0)
		cr_skip_test("not root");
	inner = mmap(NULL, sizeof(*inner), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(inner, MAP_FAILED);
	outer = fork();
	cr_assert_geq(outer, 0);
	if (outer == 0) {
		pid_t pid;

		if (unshare(CLONE_NEWPID) != 0)
			_exit(99);
		pid = fork();
		if (pid == 0)
			_exit(3);
		*inner = pid;
		for (;;)
			pause();
	}
	while (*(volatile pid_t *)inner == 0)
		sched_yield();
	tp_process_open(*inner, &p);
	cr_assert_geq(p.pidfd, 0);
	while (tp_process_end(&p) == TP_END_RUNS)
		sched_yield();
	cr_assert_eq(tp_process_end(&p), TP_END_FAILED);
	kill(outer, SIGKILL);
	reap(outer);
	tp_process_close(&p);
	munmap(inner, sizeof(*inner));
}
