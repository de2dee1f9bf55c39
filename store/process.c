/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /proc/PID/stat shows flags to everybody, but the exit code only to who may trace the process: others read 0, which is also a good end. The same right
 * is asked for by readlink(/proc/PID/ns/user), which works until the process is reaped, so that tells the two apart.
 *
 * The exit code there is that of the whole process once it is ending as one (exit_group(2), a deadly signal), else the thread's own.
 *
 * But most of /proc must be left alone while the process may be in execve(2): the kernel holds a lock (exec_update_lock) that reading stat, links and much else
 * needs, and under it closes what is to be closed on exec, which is a FLUSH, which waits for who reads: for us. Other files (statm, status) take hold of
 * its memory for a moment, and who lets go of that last tears it down and writes back what was mapped from us: to us. So it is first asked whether any
 * of its threads has memory, by oom_score, which neither waits nor takes hold: it is 0 without, and more with memory. A thread gives up its memory before its files
 * when it exits, and has some all through execve(2); a process without will never get there, and its stat may be read.
 */
#include "store/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "store/cleanup.h"

#define FLAG_EXITING 0x4 /* PF_EXITING, field 9 */
/* At this oom_score_adj and below the score may be 0 whatever the memory. */
#define OOM_ADJ_EXEMPT (-990)

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

#define KNOWN_MAX 32

/*
 * A process that was asked for of late. Both descriptors are bound to it, not to its number: what they say of it stays true of it when the number is another's. That the number is still its
 * own is known when one of them says that it is there.
 */
struct tp_known {
	pid_t tgid; /* 0: none, or one whose number is another's by now */
	int pidfd;
	int score_fd;	 /* its oom_score; -1: could not be had */
	unsigned refs;	 /* who uses the descriptors */
	uint64_t wanted; /* when, in calls */
};

/* Processes are the machine's, not a store's. */
static pthread_mutex_t known_lock = PTHREAD_MUTEX_INITIALIZER;
static struct tp_known known[KNOWN_MAX]; /* known_lock */
static uint64_t known_calls;		 /* known_lock */

/* What /proc/PID/stat says. */
struct stat_line {
	unsigned long flags;
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
		if (field == 9)
			line.flags = strtoul(at, NULL, 10);
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

/* Is the process of a pidfd there, if only as a zombie? */
static bool is_there(int pidfd)
{
	return syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0) == 0 || errno == EPERM;
}

/* The one of that number, with a reference more; NULL: it is not known. */
static struct tp_known *known_get(pid_t tgid)
{
	TP_LOCK(&known_lock);
	for (unsigned i = 0; i < KNOWN_MAX; i++) {
		if (known[i].tgid != tgid)
			continue;
		known[i].refs++;
		known[i].wanted = ++known_calls;
		return &known[i];
	}
	return NULL;
}

/* stale: its number is another's. */
static void known_put(struct tp_known *k, bool stale)
{
	int fds[2] = {-1, -1};

	{
		TP_LOCK(&known_lock);
		if (stale)
			k->tgid = 0;
		if (--k->refs == 0 && k->tgid == 0) {
			fds[0] = k->pidfd;
			fds[1] = k->score_fd;
		}
	}
	(void)tp_close(fds[0]);
	(void)tp_close(fds[1]);
}

/* Takes pidfd over, unless NULL is returned: all places are in use. */
static struct tp_known *known_add(pid_t tgid, int pidfd)
{
	char path[48];
	int fds[2] = {-1, -1}, score_fd;
	struct tp_known *k = NULL;

	(void)snprintf(path, sizeof(path), "/proc/%d/oom_score", (int)tgid);
	score_fd = open(path, O_RDONLY | O_CLOEXEC);
	/* Of this process only if that was there afterwards. */
	if (!is_there(pidfd))
		score_fd = tp_close(score_fd);
	{
		TP_LOCK(&known_lock);
		for (unsigned i = 0; i < KNOWN_MAX; i++)
			if (known[i].refs == 0 && (!k || known[i].wanted < k->wanted))
				k = &known[i];
		if (k) {
			if (k->tgid) {
				fds[0] = k->pidfd;
				fds[1] = k->score_fd;
			}
			*k = (struct tp_known){tgid, pidfd, score_fd, 1, ++known_calls};
		}
	}
	if (!k)
		(void)tp_close(score_fd);
	(void)tp_close(fds[0]);
	(void)tp_close(fds[1]);
	return k;
}

/* Has a thread of it memory (see above)? False also when that cannot be said. */
static bool known_has_memory(const struct tp_known *k)
{
	char text[32];

	return k->score_fd >= 0 && pread(k->score_fd, text, sizeof(text), 0) > 0 && text[0] > '0' &&
	       text[0] <= '9';
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

/* A small number in /proc/PID/name; otherwise when it cannot be read. */
static long read_number(pid_t pid, const char *name, long otherwise)
{
	char path[48], text[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
	return read_text(path, text, sizeof(text)) > 0 ? strtol(text, NULL, 10) : otherwise;
}

/* Has a thread of the process of pid memory, so that it lives and is not past exiting? False also when there is none. */
static bool has_memory(pid_t pid)
{
	if (read_number(pid, "oom_score", 0) > 0)
		return true;
	/* Who may never be killed for memory has the score 0, too. Of those, which are few, there is only statm to ask. */
	return read_number(pid, "oom_score_adj", 0) <= OOM_ADJ_EXEMPT && read_number(pid, "statm", 0) > 0;
}

/* How did pid end, which has no memory any more? -ESRCH: it is not there at all. */
static int end_of(pid_t pid, enum tp_end *ret)
{
	struct stat_line line;
	char path[32];
	int r;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	r = read_stat(path, &line);
	if (r < 0)
		return r;
	if (!(line.flags & FLAG_EXITING))
		*ret = TP_END_RUNS; /* A thread of the kernel, or another process by the same number. */
	else if (line.exit_code == 0 && !may_know(pid))
		*ret = TP_END_UNKNOWN;
	else
		*ret = judge(line.exit_code);
	return 0;
}

pid_t tp_process_of(pid_t tid)
{
	char path[32];
	pid_t tgid = 0;
	DIR *dir;

	if (tid <= 0)
		return 0;
	/* Signal 0 to a thread of itself: the kernel says ESRCH unless tid is a process, and is much quicker than /proc. */
	if (syscall(SYS_tgkill, tid, tid, 0) == 0 || errno == EPERM)
		return tid;
	/* One of its threads is the process; asking status would take hold of its memory. */
	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)tid);
	dir = opendir(path);
	if (!dir)
		return 0;
	for (struct dirent *e = readdir(dir); e && !tgid; e = readdir(dir)) {
		pid_t id = (pid_t)strtol(e->d_name, NULL, 10);

		if (id > 0 && (syscall(SYS_tgkill, id, id, 0) == 0 || errno == EPERM))
			tgid = id;
	}
	(void)closedir(dir);
	return tgid;
}

void tp_process_open(pid_t tgid, struct tp_process *ret)
{
	struct tp_known *k = tgid > 0 ? known_get(tgid) : NULL;

	if (k && !is_there(k->pidfd)) {
		known_put(k, true);
		k = NULL;
	}
	*ret = (struct tp_process){.tgid = tgid, .pidfd = k ? k->pidfd : -1, .known = k};
	if (k || tgid <= 0)
		return;
	/* A pidfd is CLOEXEC by itself. */
	ret->pidfd = (int)syscall(SYS_pidfd_open, tgid, 0);
	if (ret->pidfd >= 0)
		ret->known = known_add(tgid, ret->pidfd);
}

void tp_process_close(struct tp_process *p)
{
	if (p->known)
		known_put(p->known, false);
	else
		(void)tp_close(p->pidfd);
	p->known = NULL;
	p->pidfd = -1;
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
	enum tp_end end = TP_END_RUNS;
	int r = 0;

	if (p->tgid <= 0)
		return TP_END_UNKNOWN;
	if (p->known && known_has_memory(p->known))
		return TP_END_RUNS;
	if (!has_memory(p->tgid))
		r = end_of(p->tgid, &end);
	/* The number may be another's by now: what was read counts only if ours is there after it was read. EPERM: it is. */
	if (r < 0 || (p->pidfd >= 0 && !is_there(p->pidfd)))
		return end_of_gone(p->pidfd);
	return end;
}

enum tp_end tp_process_end_of(pid_t tid)
{
	enum tp_end end = TP_END_RUNS;
	struct tp_known *k;

	if (tid <= 0)
		return TP_END_UNKNOWN;
	k = known_get(tid);
	if (k) {
		bool runs = known_has_memory(k);

		known_put(k, false);
		if (runs)
			return TP_END_RUNS;
	}
	if (!has_memory(tid) && end_of(tid, &end) < 0)
		return TP_END_UNKNOWN;
	return end;
}

const char *tp_process_name(pid_t tgid, char *buf, size_t len)
{
	char path[32];
	ssize_t k;

	(void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)tgid);
	k = tgid > 0 ? read_text(path, buf, len) : -ESRCH;
	if (k > 0 && buf[k - 1] == '\n')
		buf[k - 1] = 0;
	/* A process calls itself what it likes, and what is said of it is read line by line, on terminals. */
	for (char *c = buf; k > 0 && *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	if (k <= 0 || !buf[0])
		(void)snprintf(buf, len, "?");
	return buf;
}
