/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /proc/PID/stat shows flags to everybody, but the exit code only to who may trace the process: others read 0, which is also a good end. The same right
 * is asked for by readlink(/proc/PID/ns/user), which works until the process is reaped, so that tells the two apart.
 *
 * The exit code there is that of the whole process once it is ending as one (exit_group(2), a deadly signal), else the thread's own.
 */
#include "store/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "store/cleanup.h"

#define FLAG_EXITING 0x4 /* PF_EXITING, field 9 */

/* Linux 6.15; not in the headers of the distributions yet. The first version of the struct, which later kernels go on to accept. */
struct pidfd_info_v0 {
	uint64_t mask; /* asked for, and then what is there */
	uint64_t cgroupid;
	uint32_t pid, tgid, ppid;
	uint32_t ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
	int32_t exit_code; /* as wait(2) tells it */
};

static_assert(sizeof(struct pidfd_info_v0) == 64, "the kernel's struct");

#define INFO_EXIT (UINT64_C(1) << 3)
#define GET_INFO _IOWR(0xff, 11, struct pidfd_info_v0)

/* What /proc/PID/stat says. */
struct stat_line {
	char state;
	unsigned long flags;
	long threads;
	int exit_code;
};

/* Reads a small file of /proc into buf, NUL-terminated. Returns its length or -errno. */
static ssize_t read_text(const char *path, char *buf, size_t len)
{
	tp_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t k;

	if (fd < 0)
		return -errno;
	do {
		k = read(fd, buf, len - 1);
	} while (k < 0 && errno == EINTR);
	if (k < 0)
		return -errno;
	buf[k] = 0;
	return k;
}

/* -ESRCH: there is none, or it makes no sense. */
static int parse_stat(const char *text, struct stat_line *ret)
{
	struct stat_line line = {0};
	/* The name in parentheses may hold anything, parentheses too. */
	const char *at = strrchr(text, ')');

	if (!at || at[1] != ' ')
		return -ESRCH;
	at += 2;
	for (unsigned field = 3; *at; field++) {
		if (field == 3)
			line.state = *at;
		else if (field == 9)
			line.flags = strtoul(at, NULL, 10);
		else if (field == 20)
			line.threads = strtol(at, NULL, 10);
		else if (field == 52) {
			line.exit_code = (int)strtol(at, NULL, 10);
			*ret = line;
			return 0;
		}
		at = strchr(at, ' ');
		if (!at)
			break;
		at++;
	}
	return -ESRCH;
}

static int read_stat(const char *path, struct stat_line *ret)
{
	char text[1024];
	ssize_t k = read_text(path, text, sizeof(text));

	return k < 0 ? -ESRCH : parse_stat(text, ret);
}

/* Does the kernel tell us exit codes of this one? */
static bool may_know(pid_t pid)
{
	char path[48], target[32];

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	return readlink(path, target, sizeof(target)) > 0;
}

/* code is as wait(2) tells it. */
static enum tp_end judge(int code)
{
	if (WIFSIGNALED(code))
		return TP_END_KILLED;
	return WEXITSTATUS(code) == 0 ? TP_END_GOOD : TP_END_FAILED;
}

/* The first thread has ended; has another one of them not? */
static bool others_run(pid_t tgid)
{
	char path[300];
	bool runs = false;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)tgid);
	dir = opendir(path);
	if (!dir)
		return false;
	for (struct dirent *e = readdir(dir); e && !runs; e = readdir(dir)) {
		struct stat_line line;

		(void)snprintf(path, sizeof(path), "/proc/%d/task/%s/stat", (int)tgid, e->d_name);
		runs = e->d_name[0] != '.' && read_stat(path, &line) == 0 && !(line.flags & FLAG_EXITING);
	}
	(void)closedir(dir);
	return runs;
}

/* How is pid, of which /proc/PID/stat says line? */
static enum tp_end end_of(pid_t pid, const struct stat_line *line)
{
	/* A process that was killed is lost from the moment on, though its threads have not all heard. */
	if (WIFSIGNALED(line->exit_code) && WTERMSIG(line->exit_code) == SIGKILL)
		return TP_END_KILLED;
	if (!(line->flags & FLAG_EXITING))
		return TP_END_RUNS;
	if (line->exit_code == 0 && !may_know(pid))
		return TP_END_UNKNOWN;
	return judge(line->exit_code);
}

pid_t tp_process_of(pid_t tid)
{
	char path[32], text[512];
	const char *at;

	if (tid <= 0)
		return 0;
	/* Signal 0 to a thread of itself: the kernel says ESRCH unless tid is a process, and is much quicker than /proc. */
	if (syscall(SYS_tgkill, tid, tid, 0) == 0 || errno == EPERM)
		return tid;
	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)tid);
	if (read_text(path, text, sizeof(text)) < 0)
		return 0;
	at = strstr(text, "\nTgid:");
	return at ? (pid_t)strtol(at + 6, NULL, 10) : 0;
}

void tp_process_open(pid_t tgid, struct tp_process *ret)
{
	/* A pidfd is CLOEXEC by itself. */
	*ret = (struct tp_process){
		.tgid = tgid, .pidfd = tgid > 0 ? (int)syscall(SYS_pidfd_open, tgid, 0) : -1};
}

void tp_process_close(struct tp_process *p)
{
	p->pidfd = tp_close(p->pidfd);
}

/* It is gone altogether: only the kernel's own note, kept for who holds a pidfd, can tell. */
static enum tp_end end_of_gone(int pidfd)
{
	struct pidfd_info_v0 info = {.mask = INFO_EXIT};

	if (pidfd < 0 || ioctl(pidfd, GET_INFO, &info) < 0 || !(info.mask & INFO_EXIT))
		return TP_END_UNKNOWN;
	return judge(info.exit_code);
}

enum tp_end tp_process_end(const struct tp_process *p)
{
	struct stat_line line;
	char path[32];
	int r;

	if (p->tgid <= 0)
		return TP_END_UNKNOWN;
	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)p->tgid);
	r = read_stat(path, &line);
	/* The number may be another's by now: what was read counts only if ours is there after it was read. EPERM: it is. */
	if (r < 0 ||
		(p->pidfd >= 0 && syscall(SYS_pidfd_send_signal, p->pidfd, 0, NULL, 0) < 0 && errno == ESRCH))
		return end_of_gone(p->pidfd);
	/* pthread_exit() of the first thread is not the end. */
	if ((line.flags & FLAG_EXITING) && line.exit_code == 0 && line.threads > 1 && others_run(p->tgid))
		return TP_END_RUNS;
	return end_of(p->tgid, &line);
}

enum tp_end tp_process_end_of(pid_t tid)
{
	struct stat_line line;
	char path[32];

	if (tid <= 0)
		return TP_END_UNKNOWN;
	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)tid);
	if (read_stat(path, &line) < 0)
		return TP_END_UNKNOWN;
	return end_of(tid, &line);
}

const char *tp_process_name(pid_t tgid, char *buf, size_t len)
{
	char path[32];
	ssize_t k;

	(void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)tgid);
	k = tgid > 0 ? read_text(path, buf, len) : -ESRCH;
	if (k > 0 && buf[k - 1] == '\n')
		buf[k - 1] = 0;
	if (k <= 0 || !buf[0])
		(void)snprintf(buf, len, "?");
	return buf;
}
