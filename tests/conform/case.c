/* SPDX-License-Identifier: Apache-2.0 */
#include "case.h"

#include <assert.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

struct tp_verdict *tp_verdict;
bool tp_case_temporary;

const struct tp_ids tp_alice = {65534, 65534, (gid_t)-1};
const struct tp_ids tp_bob = {12345, 12345, (gid_t)-1};

static struct tp_case *first, **last = &first;

struct tp_case *tp_case_first(void)
{
	return first;
}

void tp_case_add(enum tp_case_who who, tp_case_fn run, long a, long b, long d, const char *format, ...)
{
	struct tp_case *c = calloc(1, sizeof *c);
	va_list args;
	int r;

	va_start(args, format);
	r = c ? vasprintf(&c->name, format, args) : -1;
	va_end(args);
	if (r < 0) {
		fprintf(stderr, "tp-conform: no memory for the list of cases\n");
		exit(2);
	}
	c->run = run;
	c->who = who;
	c->a = a;
	c->b = b;
	c->d = d;
	*last = c;
	last = &c->next;
}

void tp_case_fail(const char *file, int line, int err, const char *format, ...)
{
	va_list args;

	/* A child's failure comes first and says more than its parent's "the child failed". */
	if (tp_verdict->state == TP_PASSED) {
		tp_verdict->file = file;
		tp_verdict->line = line;
		tp_verdict->err = err;
		va_start(args, format);
		vsnprintf(tp_verdict->text, sizeof tp_verdict->text, format, args);
		va_end(args);
		tp_verdict->state = TP_FAILED;
	}
	_exit(1);
}

void tp_case_skip(const char *why)
{
	if (tp_verdict->state == TP_PASSED) {
		snprintf(tp_verdict->text, sizeof tp_verdict->text, "%s", why);
		tp_verdict->state = TP_SKIPPED;
	}
	_exit(1);
}

static const char *errno_name(int err)
{
	const char *name = err ? strerrorname_np(err) : "no error";

	return name ? name : "an unknown error";
}

long tp_check_ok(long r, const char *what, const char *file, int line)
{
	if (r < 0)
		tp_case_fail(file, line, errno, "%s: %s", what, errno_name(errno));
	return r;
}

void tp_check_fails(long r, int want, const char *what, const char *file, int line)
{
	if (r >= 0)
		tp_case_fail(file, line, 0, "%s succeeded, not %s", what, errno_name(want));
	if (errno != want)
		tp_case_fail(file, line, errno, "%s: %s, not %s", what, errno_name(errno), errno_name(want));
}

void tp_check_true(bool ok, const char *what, const char *file, int line)
{
	if (!ok)
		tp_case_fail(file, line, 0, "%s does not hold", what);
}

void tp_check_eq(long long a, long long b, const char *what_a, const char *what_b, const char *file, int line)
{
	if (a != b)
		tp_case_fail(file, line, 0, "%s is %lld (0%llo), not %s = %lld (0%llo)", what_a, a, a, what_b,
			b, b);
}

void tp_check_holds(const char *path, const void *bytes, size_t size, const char *file, int line)
{
	unsigned char *buf = malloc(size + 1);
	size_t got = 0;
	ssize_t n;
	int fd;

	assert(buf);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		tp_case_fail(file, line, errno, "opening %s to see its bytes: %s", path, errno_name(errno));
	while ((n = read(fd, buf + got, size + 1 - got)) > 0)
		got += n;
	if (n < 0)
		tp_case_fail(file, line, errno, "reading %s: %s", path, errno_name(errno));
	close(fd);
	if (got != size)
		tp_case_fail(file, line, 0, "%s has %zu%s bytes, not %zu", path, got,
			got > size ? " or more" : "", size);
	if (memcmp(buf, bytes, size) != 0)
		tp_case_fail(file, line, 0, "%s has other bytes", path);
	free(buf);
}

static char *name_slot(void)
{
	static char slots[32][2 * 4096 + 64];
	static unsigned at;

	return slots[at++ % 32];
}

const char *N(const char *path)
{
	char *slot = name_slot(), *to = slot;
	const char *from = path;

	if (!tp_case_temporary)
		return path;
	while (*from && to < slot + 2 * 4096) {
		size_t n = strcspn(from, "/");
		bool dots = (n == 1 && from[0] == '.') || (n == 2 && from[0] == '.' && from[1] == '.');

		if (n > 0 && !dots)
			*to++ = '.';
		memcpy(to, from, n);
		to += n;
		from += n;
		while (*from == '/')
			*to++ = *from++;
	}
	*to = '\0';
	return slot;
}

const char *tp_name_long(size_t length, char fill)
{
	char *slot = name_slot();

	assert(length >= 1 && length < 2 * 4096);
	memset(slot, fill, length);
	slot[length] = '\0';
	if (tp_case_temporary)
		slot[0] = '.';
	return slot;
}

static void become(const struct tp_ids *ids)
{
	bool alone = ids->group == (gid_t)-1;

	OK(setgroups(alone ? 0 : 1, &ids->group));
	OK(setresgid(ids->gid, ids->gid, ids->gid));
	OK(setresuid(ids->uid, ids->uid, ids->uid));
	/* Or /proc would hide from the first process where this one waits. */
	OK(prctl(PR_SET_DUMPABLE, 1));
}

static void await_child(pid_t pid)
{
	int status = 0;

	OK(waitpid(pid, &status, 0));
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	/* A child that failed or skipped has said why already. */
	tp_case_fail(__FILE__, __LINE__, 0, "a second process of the case ended with status 0x%x", status);
}

bool tp_child_enter(const struct tp_ids *ids)
{
	pid_t pid = (pid_t)OK(fork());

	if (pid > 0) {
		await_child(pid);
		return false;
	}
	if (ids)
		become(ids);
	return true;
}

bool tp_child_leave(void)
{
	_exit(0);
}

bool tp_side_start(struct tp_side *s, const struct tp_ids *ids)
{
	int pair[2];

	OK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	s->pid = (pid_t)OK(fork());
	s->fd = pair[s->pid == 0];
	OK(close(pair[s->pid != 0]));
	if (s->pid == 0 && ids)
		become(ids);
	return s->pid == 0;
}

void tp_side_tell(struct tp_side *s)
{
	char c = 't';

	EQ(send(s->fd, &c, 1, MSG_NOSIGNAL), 1);
}

void tp_side_await(struct tp_side *s)
{
	char c;

	if (read(s->fd, &c, 1) == 1)
		return;
	if (s->pid > 0)
		await_child(s->pid);
	tp_case_fail(__FILE__, __LINE__, 0, "the other process of the case ended early");
}

bool tp_side_told(struct tp_side *s)
{
	struct pollfd p = {.fd = s->fd, .events = POLLIN};

	return OK(poll(&p, 1, 0)) > 0;
}

void tp_side_await_call(struct tp_side *s, long number)
{
	char path[64], line[256];

	snprintf(path, sizeof path, "/proc/%d/syscall", s->pid);
	for (;;) {
		FILE *f = fopen(path, "re");
		char *got;

		if (!f) /* not shown on this machine: the case then checks less */
			return;
		got = fgets(line, sizeof line, f);
		fclose(f);
		if (!got || tp_side_told(s))
			return;
		if (line[0] >= '0' && line[0] <= '9' && strtol(line, NULL, 10) == number)
			return;
		sched_yield();
	}
}

void tp_side_end(struct tp_side *s)
{
	if (s->pid == 0)
		_exit(0);
	await_child(s->pid);
	OK(close(s->fd));
}
