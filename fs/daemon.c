/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fs/mounts.h"
#include "store/cleanup.h"
#include "store/clock.h"

/* How long one may be there that serves a mount which nobody sees: it notices that its mount is gone, and drains. */
#define VANISHED_GRACE_NS (2 * TP_NS_PER_S)

/* How long one that was killed may take to go: its memory is freed, unless a disk that hangs holds it. */
#define DEAD_GRACE_NS (5 * TP_NS_PER_S)

static const char *const phases[] = {"starts", "serves", "drains"};

static int open_file(const char *state, int flags)
{
	char name[PATH_MAX + 16];
	int fd;

	(void)snprintf(name, sizeof(name), "%s/daemon", state);
	fd = open(name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? -errno : fd;
}

/*
 * A lock of the open file, not of the process, so that it comes with the fork into the background; and one that can be asked for without taking it,
 * so that who only looks never stands in the way of one that starts.
 */
static int lock_file(int fd, int command, short type)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET};

	if (fcntl(fd, command, &l) < 0)
		return errno == EACCES || errno == EAGAIN ? -EBUSY : -errno;
	return command == F_OFD_GETLK && l.l_type != F_UNLCK ? -EBUSY : 0;
}

/*
 * Was it killed, or did it end itself? Its main thread, which lives as long as the daemon, has ended, or has SIGKILL before it, which is how the kernel
 * ends the other threads, and waits for a disk. A number from another pid namespace may be anybody's here.
 */
static bool is_dying(pid_t pid)
{
	char name[64], text[4096];
	tp_autoclose int fd = -1;
	unsigned long long pending;
	const char *at;
	ssize_t n;

	(void)snprintf(name, sizeof(name), "/proc/%d/status", (int)pid);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return false;
	text[n] = 0;
	if (strncmp(text, "Name:\ttidepool\n", strlen("Name:\ttidepool\n")) != 0)
		return false;
	if (strstr(text, "\nState:\tZ") || strstr(text, "\nState:\tX"))
		return true;
	at = strstr(text, "\nSigPnd:");
	return at && sscanf(at, " SigPnd: %llx", &pending) == 1 && (pending >> (SIGKILL - 1) & 1);
}

static void read_file(int fd, struct tp_daemon *ret)
{
	char text[PATH_MAX + 64], phase[16];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	int pid, at = 0;

	*ret = (struct tp_daemon){.phase = TP_DAEMON_STARTS};
	if (n <= 0)
		return;
	text[n] = 0;
	text[strcspn(text, "\n")] = 0;
	if (sscanf(text, "%d %15s %n", &pid, phase, &at) < 2 || pid <= 0)
		return;
	ret->pid = pid;
	for (unsigned i = 0; i < 3; i++)
		if (strcmp(phase, phases[i]) == 0)
			ret->phase = (enum tp_daemon_phase)i;
	if (is_dying(pid))
		ret->phase = TP_DAEMON_DIES;
	if (at)
		(void)snprintf(ret->mountpoint, sizeof(ret->mountpoint), "%s", text + at);
}

void tp_daemon_say(int fd, enum tp_daemon_phase phase, const char *mountpoint)
{
	char text[PATH_MAX + 64];
	int n = snprintf(text, sizeof(text), "%d %s %s\n", (int)getpid(), phases[phase], mountpoint);

	/* Only words for people and for umount: when the disk is full they stay as they were. The lock is what counts. */
	if (n > 0 && (size_t)n < sizeof(text) && pwrite(fd, text, (size_t)n, 0) == n)
		(void)!ftruncate(fd, n);
}

/* May the one that has the lock go soon by itself? */
static bool goes_soon(const struct tp_daemon *d, const char *state, uint64_t waited_ns)
{
	struct tp_mounts m;

	if (d->phase == TP_DAEMON_DRAINS || d->phase == TP_DAEMON_DIES)
		return true;
	if (d->phase != TP_DAEMON_SERVES || waited_ns >= VANISHED_GRACE_NS)
		return false;
	if (tp_mounts_serving(state, &m) == 0) {
		tp_mounts_fini(&m);
		return false;
	}
	return true;
}

int tp_daemon_acquire(
	const char *state, const char *mountpoint, unsigned wait_s, struct tp_err *err, int *ret_fd)
{
	const struct tp_clock *clock = tp_clock_system();
	uint64_t start_ns = tp_mono_ns(clock);
	tp_autoclose int fd = open_file(state, O_RDWR | O_CREAT);
	struct stat st;
	int r;

	if (fd < 0)
		return tp_err_set(err, fd, "%s/daemon cannot be opened: %s", state, strerror(-fd));
	while ((r = lock_file(fd, F_OFD_SETLK, F_WRLCK)) < 0) {
		static const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
		uint64_t waited_ns = tp_mono_ns(clock) - start_ns;
		struct tp_daemon d;

		if (r != -EBUSY)
			return tp_err_set(err, r, "%s/daemon cannot be locked: %s", state, strerror(-r));
		read_file(fd, &d);
		if (!goes_soon(&d, state, waited_ns))
			return tp_err_set(err, -EBUSY, "%.150s is in use by process %d%s%.150s", state,
				(int)d.pid, d.mountpoint[0] ? ", which serves it at " : "", d.mountpoint);
		if (waited_ns >= wait_s * TP_NS_PER_S)
			return tp_err_set(err, -ETIMEDOUT,
				"%.150s is still being drained by process %d after %u seconds", state,
				(int)d.pid, wait_s);
		(void)nanosleep(&pause, NULL);
	}
	/* One that failed with a new STATE took it back. */
	if (fstat(fd, &st) == 0 && st.st_nlink == 0)
		return tp_err_set(err, -ENOENT, "STATE %s was taken away meanwhile", state);
	tp_daemon_say(fd, TP_DAEMON_STARTS, mountpoint);
	*ret_fd = tp_steal_fd(&fd);
	return 0;
}

int tp_daemon_find(const char *state, struct tp_daemon *ret)
{
	tp_autoclose int fd = open_file(state, O_RDONLY);
	int r;

	if (fd < 0)
		return fd;
	r = lock_file(fd, F_OFD_GETLK, F_WRLCK);
	if (r != -EBUSY)
		return r == 0 ? -ESRCH : r;
	read_file(fd, ret);
	return 0;
}

int tp_daemon_wait(const char *state)
{
	static const struct timespec pause = {.tv_nsec = 10 * 1000 * 1000};
	const struct tp_clock *clock = tp_clock_system();
	uint64_t dead_ns = 0;
	struct tp_daemon d;
	int r;

	while ((r = tp_daemon_find(state, &d)) == 0) {
		uint64_t now = tp_mono_ns(clock);

		if (d.phase != TP_DAEMON_DIES)
			dead_ns = 0;
		else if (!dead_ns)
			dead_ns = now;
		else if (now - dead_ns >= DEAD_GRACE_NS)
			return -ETIMEDOUT;
		(void)nanosleep(&pause, NULL);
	}
	return r == -ESRCH ? 0 : r;
}
