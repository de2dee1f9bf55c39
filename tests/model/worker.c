/* SPDX-License-Identifier: Apache-2.0 */
#include "worker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ATTRIBUTE "user.model"

struct map {
	uint8_t *at;
	size_t len;
};

static int fds[TP_SLOTS];
static struct map maps[TP_SLOTS];
static sigjmp_buf bus;

static int checked(long r)
{
	return r < 0 ? -errno : (int)r;
}

static void on_bus(int sig)
{
	siglongjmp(bus, sig);
}

/* All of a file, by reads of an odd size, and what fstat said of it. */
static int slurp(const char *path, struct tp_result *ret)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	int r = checked(fstat(fd, &ret->st));

	ret->data_len = 0;
	while (r >= 0) {
		size_t room = sizeof(ret->data) - ret->data_len;

		r = checked(read(fd, ret->data + ret->data_len, room < 20011 ? room : 20011));
		if (r <= 0)
			break;
		ret->data_len += (uint32_t)r;
	}
	(void)snprintf(ret->what, sizeof(ret->what), "fstat or read");
	(void)close(fd);
	return r;
}

static int list(const char *path, struct tp_result *ret)
{
	DIR *d = opendir(path);

	ret->listed = 0;
	if (!d)
		return -errno;
	for (;;) {
		errno = 0;
		struct dirent *e = readdir(d);

		if (!e)
			break;
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || ret->listed == TP_LIST_MAX)
			continue;
		struct tp_listed *l = &ret->list[ret->listed++];

		tp_text_copy(l->name, sizeof(l->name), e->d_name);
		l->type = e->d_type;
	}
	int r = -errno;

	(void)closedir(d);
	return r;
}

/* An attribute whose value says it; value 0 takes it away. */
static int set_attribute(const char *path, int fd, uint32_t value)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", value);
	int r;

	if (value == 0)
		r = checked(path ? removexattr(path, ATTRIBUTE) : fremovexattr(fd, ATTRIBUTE));
	else
		r = checked(path ? setxattr(path, ATTRIBUTE, text, (size_t)len, 0)
				 : fsetxattr(fd, ATTRIBUTE, text, (size_t)len, 0));
	return r == -ENODATA ? 0 : r;
}

static void times_of(uint32_t value, struct timespec ret[2])
{
	ret[0] = ret[1] = (struct timespec){.tv_sec = 1000000000 + value, .tv_nsec = value % 1000000000};
}

void tp_do_path(const struct tp_op *op, struct tp_result *ret)
{
	struct timespec times[2];

	ret->what[0] = 0;
	switch (op->kind) {
	case TP_OP_STAT:
		ret->r = checked(lstat(op->a, &ret->st));
		break;
	case TP_OP_LIST:
		ret->r = list(op->a, ret);
		break;
	case TP_OP_SLURP:
		ret->r = slurp(op->a, ret);
		break;
	case TP_OP_TRUNCATE:
		ret->r = checked(truncate(op->a, op->len));
		break;
	case TP_OP_CHMOD:
		ret->r = checked(chmod(op->a, op->mode));
		break;
	case TP_OP_UTIMENS:
		times_of(op->value, times);
		ret->r = checked(utimensat(AT_FDCWD, op->a, times, 0));
		break;
	case TP_OP_SETXATTR:
		ret->r = set_attribute(op->a, -1, op->value);
		break;
	case TP_OP_GETXATTR:
		ret->r = checked(getxattr(op->a, ATTRIBUTE, ret->data, 64));
		ret->data_len = ret->r > 0 ? (uint32_t)ret->r : 0;
		break;
	case TP_OP_UNLINK:
		ret->r = checked(unlink(op->a));
		break;
	case TP_OP_MKDIR:
		ret->r = checked(mkdir(op->a, 0755));
		break;
	case TP_OP_RMDIR:
		ret->r = checked(rmdir(op->a));
		break;
	case TP_OP_RENAME:
		ret->r = checked(renameat2(AT_FDCWD, op->a, AT_FDCWD, op->b, (unsigned)op->flags));
		break;
	case TP_OP_LINK:
		ret->r = checked(link(op->a, op->b));
		break;
	default:
		ret->r = -ENOSYS;
	}
}

static void do_map(const struct tp_op *op, struct tp_result *ret)
{
	struct map *m = &maps[op->kind == TP_OP_MMAP ? op->slot2 : op->slot];

	if (sigsetjmp(bus, 1) != 0) {
		ret->r = -EFAULT;
		return;
	}
	switch (op->kind) {
	case TP_OP_MMAP:
		m->len = op->len;
		m->at = mmap(NULL, op->len, PROT_READ | (op->flags ? PROT_WRITE : 0), MAP_SHARED,
			fds[op->slot], 0);
		ret->r = m->at == MAP_FAILED ? -errno : 0;
		break;
	case TP_OP_MWRITE:
		tp_pattern_fill(m->at + op->off, op->value, op->off, op->len);
		ret->r = 0;
		break;
	case TP_OP_MREAD:
		memcpy(ret->data, m->at + op->off, op->len);
		ret->data_len = op->len;
		ret->r = (int)op->len;
		break;
	case TP_OP_MSYNC:
		ret->r = checked(msync(m->at, m->len, MS_SYNC));
		break;
	default:
		ret->r = checked(munmap(m->at, m->len));
	}
}

/* Answers kinds that work on a descriptor, or opens one. */
static void do_fd(const struct tp_op *op, struct tp_result *ret)
{
	struct timespec times[2];
	int *fd = &fds[op->slot];

	switch (op->kind) {
	case TP_OP_OPEN:
		ret->r = checked(open(op->a, op->flags | O_CLOEXEC, op->mode));
		if (ret->r >= 0) {
			*fd = ret->r;
			ret->r = checked(fstat(*fd, &ret->st));
		}
		break;
	case TP_OP_CLOSE:
		ret->r = checked(close(*fd));
		break;
	case TP_OP_DUP:
		fds[op->slot2] = fcntl(*fd, F_DUPFD_CLOEXEC, 3);
		ret->r = checked(fds[op->slot2]) < 0 ? -errno : 0;
		break;
	case TP_OP_READ:
		ret->r = checked(pread(*fd, ret->data, op->len, op->off));
		ret->data_len = ret->r > 0 ? (uint32_t)ret->r : 0;
		break;
	case TP_OP_WRITE:
		tp_pattern_fill(ret->data, op->value, op->off, op->len);
		ret->r = checked(pwrite(*fd, ret->data, op->len, op->off));
		break;
	case TP_OP_FTRUNCATE:
		ret->r = checked(ftruncate(*fd, op->len));
		break;
	case TP_OP_FSYNC:
		ret->r = checked(fsync(*fd));
		break;
	case TP_OP_FCHMOD:
		ret->r = checked(fchmod(*fd, op->mode));
		break;
	case TP_OP_FUTIMENS:
		times_of(op->value, times);
		ret->r = checked(futimens(*fd, times));
		break;
	case TP_OP_FSETXATTR:
		ret->r = set_attribute(NULL, *fd, op->value);
		break;
	default:
		ret->r = checked(fstat(*fd, &ret->st));
	}
}

static void serve(const struct tp_op *op, struct tp_result *ret)
{
	ret->what[0] = 0;
	if (op->kind == TP_OP_EXIT)
		_exit(op->flags);
	if (op->kind >= TP_OP_MMAP && op->kind <= TP_OP_MUNMAP)
		do_map(op, ret);
	else if (op->kind <= TP_OP_OPEN)
		do_fd(op, ret);
	else
		tp_do_path(op, ret);
}

static void *shared(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert(p != MAP_FAILED);
	return p;
}

void tp_worker_init(struct tp_worker *w)
{
	*w = (struct tp_worker){.to = -1, .from = -1};
	w->op = shared(sizeof(*w->op));
	w->result = shared(sizeof(*w->result));
}

void tp_worker_start(struct tp_worker *w, unsigned number, const char *dir)
{
	int to[2], from[2];
	char c;
	int r = pipe2(to, O_CLOEXEC);

	assert(r == 0);
	r = pipe2(from, O_CLOEXEC);
	assert(r == 0);
	w->number = number;
	w->pid = fork();
	assert(w->pid >= 0);
	if (w->pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)close(to[1]);
		(void)close(from[0]);
		(void)signal(SIGBUS, on_bus);
		(void)signal(SIGALRM, SIG_DFL);
		(void)umask(0);
		if (chdir(dir) != 0)
			_exit(99);
		while (read(to[0], &c, 1) == 1) {
			serve(w->op, w->result);
			if (write(from[1], &c, 1) != 1)
				break;
		}
		_exit(0);
	}
	(void)close(to[0]);
	(void)close(from[1]);
	w->to = to[1];
	w->from = from[0];
}

int tp_worker_do(struct tp_worker *w, const struct tp_op *op)
{
	char c = 'o';
	ssize_t r;

	*w->op = *op;
	w->result->r = -EPIPE;
	if (write(w->to, &c, 1) != 1)
		return -EPIPE;
	do {
		r = read(w->from, &c, 1);
	} while (r < 0 && errno == EINTR);
	return r == 1 ? 0 : -EPIPE;
}

static void reap(struct tp_worker *w)
{
	while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
		;
	(void)close(w->to);
	(void)close(w->from);
	w->to = w->from = -1;
	w->pid = 0;
}

void tp_worker_kill(struct tp_worker *w)
{
	if (w->pid == 0)
		return;
	(void)kill(w->pid, SIGKILL);
	reap(w);
}

void tp_worker_exit(struct tp_worker *w, int status)
{
	struct tp_op op = {.kind = TP_OP_EXIT, .flags = status};

	if (w->pid == 0)
		return;
	(void)tp_worker_do(w, &op);
	reap(w);
}
