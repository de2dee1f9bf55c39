/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tp-locks DIR: locks taken as a shell takes them, `(flock 9; ...) 9>LOCK`: each process opens LOCK anew with O_CREAT and O_TRUNC, locks it, and
 * adds one to the number in a file. Two at a time, or a number that is one behind, fail the test.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "party.h"

enum { INSIDE, ENTERED, REFUSED, SHARED, KILLED, SHARING };
enum kind { BY_FLOCK, BY_FCNTL, BY_OFD };

static enum kind kind;

static const char *name_of(int error)
{
	const char *name = strerrorname_np(error);

	return name ? name : "?";
}

static int lock(int fd, int type, bool wait)
{
	struct flock l = {.l_type = (short)type, .l_whence = SEEK_SET};

	if (kind == BY_FLOCK)
		return flock(fd, (type == F_WRLCK ? LOCK_EX : LOCK_SH) | (wait ? 0 : LOCK_NB));
	if (kind == BY_FCNTL)
		return fcntl(fd, wait ? F_SETLKW : F_SETLK, &l);
	return fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &l);
}

static int open_lock(struct tp_member *m, int access)
{
	int fd = open("LOCK", access | O_CREAT | O_TRUNC, 0644);

	if (fd < 0)
		tp_member_fail(m, "opening LOCK: %s", name_of(errno));
	return fd;
}

static void add_one(struct tp_member *m)
{
	char text[32] = "";
	int fd = open("number", O_RDONLY);

	if (fd < 0)
		tp_member_fail(m, "reading the number: %s", name_of(errno));
	ssize_t r = read(fd, text, sizeof(text) - 1);

	(void)close(fd);
	if (r <= 0)
		tp_member_fail(m, "the number is not there");
	unsigned long number = strtoul(text, NULL, 10), want = m->party->counters[ENTERED];

	if (number != want)
		tp_member_fail(m, "the number is %lu, and %lu have been here", number, want);
	int len = snprintf(text, sizeof(text), "%lu\n", number + 1);

	fd = open("number", O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd < 0 || write(fd, text, (size_t)len) != len || close(fd) != 0)
		tp_member_fail(m, "writing the number: %s", name_of(errno));
	tp_party_count(m->party, ENTERED, 1);
}

static void alone(struct tp_member *m)
{
	struct tp_party *p = m->party;
	int fd = open_lock(m, O_RDWR);
	bool wait = tp_member_random(m, 4) > 0;

	tp_member_doing(m, "waiting for the lock");
	if (lock(fd, F_WRLCK, wait) != 0) {
		if (wait || (errno != EWOULDBLOCK && errno != EACCES))
			tp_member_fail(m, "lock: %s", name_of(errno));
		tp_party_count(p, REFUSED, 1);
		(void)close(fd);
		return;
	}
	tp_member_doing(m, "holding the lock");
	if (__atomic_exchange_n(&p->counters[INSIDE], 1, __ATOMIC_SEQ_CST) != 0 || p->counters[SHARING] != 0)
		tp_member_fail(m, "somebody else holds the lock too");
	add_one(m);
	__atomic_store_n(&p->counters[INSIDE], 0, __ATOMIC_SEQ_CST);
	/* A lock goes with the last descriptor of who took it. */
	if (close(fd) != 0 && errno != EEXIST)
		tp_member_fail(m, "closing LOCK: %s", name_of(errno));
}

static void together(struct tp_member *m)
{
	struct tp_party *p = m->party;
	int fd = open_lock(m, O_RDWR);

	tp_member_doing(m, "waiting for a shared lock");
	if (lock(fd, F_RDLCK, true) != 0)
		tp_member_fail(m, "shared lock: %s", name_of(errno));
	(void)__atomic_add_fetch(&p->counters[SHARING], 1, __ATOMIC_SEQ_CST);
	if (p->counters[INSIDE] != 0)
		tp_member_fail(m, "shared, while somebody has it alone");
	(void)__atomic_sub_fetch(&p->counters[SHARING], 1, __ATOMIC_SEQ_CST);
	tp_party_count(p, SHARED, 1);
	(void)close(fd);
}

/* A child takes the lock and is killed with it: the next one must get it. */
static void killed(struct tp_member *m)
{
	int ready[2];
	char c;

	if (pipe(ready) != 0)
		tp_member_fail(m, "pipe: %s", name_of(errno));
	pid_t pid = fork();

	if (pid == 0) {
		int fd = open_lock(m, O_RDWR);

		if (lock(fd, F_WRLCK, true) != 0 || write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			(void)pause();
	}
	(void)close(ready[1]);
	tp_member_doing(m, "waiting for a child that takes the lock");
	if (pid < 0 || read(ready[0], &c, 1) != 1)
		tp_member_fail(m, "a child did not get the lock");
	(void)close(ready[0]);
	(void)kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	tp_party_count(m->party, KILLED, 1);
}

static void one(struct tp_member *m)
{
	uint32_t dice = tp_member_random(m, 20);

	if (dice == 0)
		killed(m);
	else if (dice < 5)
		together(m);
	else
		alone(m);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"kind", required_argument, NULL, 'k'},
		{"rounds", required_argument, NULL, 'r'}, {"processes", required_argument, NULL, 'p'},
		{NULL, 0, NULL, 0}};
	struct tp_party *p = tp_party_new();
	unsigned processes = 5;
	int c;

	p->rounds_max = 100;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'k')
			kind = strcmp(optarg, "fcntl") == 0 ? BY_FCNTL
			       : strcmp(optarg, "ofd") == 0 ? BY_OFD
							    : BY_FLOCK;
		else if (c == 'r')
			p->rounds_max = strtoul(optarg, NULL, 10);
		else if (c == 'p')
			processes = (unsigned)atoi(optarg);
	}
	if (optind + 1 != argc || chdir(argv[optind]) != 0) {
		(void)fprintf(stderr,
			"usage: tp-locks [--kind flock|fcntl|ofd] [--rounds N] [--processes N] DIR\n");
		return 2;
	}
	int fd = open("number", O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || write(fd, "0\n", 2) != 2 || close(fd) != 0)
		return 2;
	for (unsigned i = 0; i < processes; i++)
		tp_party_add(p, "process", one);
	int r = tp_party_run(p);

	(void)printf("%lu went in alone, %lu together, %lu were refused, %lu killed\n",
		(unsigned long)p->counters[ENTERED], (unsigned long)p->counters[SHARED],
		(unsigned long)p->counters[REFUSED], (unsigned long)p->counters[KILLED]);
	return r;
}
