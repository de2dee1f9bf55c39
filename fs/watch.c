/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which mount. The mount point cannot be held open, or nobody could unmount it; so it is looked up again when the time has come, and by then another
 * daemon may have mounted there. The mount's number tells. A look-up for O_PATH, and statx(2) that is not to synchronize, ask the daemon nothing.
 *
 * umount2(MNT_FORCE) aborts, and then takes the mount away unless it is in use. It must stay, since who looks at it is to see ENOTCONN, not
 * the directory underneath. Therefore it is opened first, and unmounting is answered with EBUSY. For the same reason an ordinary user's mount is not taken
 * away through fusermount3 where nothing else can be done: the clients would hang as before, and then not even root could let them go by `umount -f`.
 *
 * Which signals. All that end a process with a core dump, for the dump waits for all threads even when there is none to be written. Handlers that
 * were there before (those of sanitizers) get their turn with the signal as it came. Only the main thread has a stack of its own for it, so one that
 * another thread's full stack raises goes unhandled.
 *
 * The notice of the parent's death comes when the thread that forked has ended, not when the process has: it comes though others are stuck.
 */
#include "fs/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/cleanup.h"

/* Linux 6.8; what older ones give instead may be used again. */
#define MNT_ID_UNIQUE 0x4000u

#define WATCHER_NAME "tidepool-watch"

static const int crash_signals[] = {
	SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGQUIT, SIGSYS, SIGTRAP, SIGXCPU, SIGXFSZ};
#define CRASH_SIGNALS (sizeof(crash_signals) / sizeof(crash_signals[0]))

static struct sigaction before[CRASH_SIGNALS]; /* what the signals did; written before the handler is there */
static _Atomic(struct tp_watch *) armed;
static _Alignas(16) char stack[64 * 1024]; /* the main thread's, for the handler */

/* What is mounted on top at the mount point, held. Asks the daemon nothing. Async-signal-safe. */
static int find_mount(const char *mountpoint, int *ret_fd, uint64_t *ret_id, uint64_t *ret_dev)
{
	tp_autoclose int fd = open(mountpoint, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct statx st;

	if (fd < 0)
		return -errno;
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID | MNT_ID_UNIQUE, &st) < 0)
		return -errno;
	*ret_id = st.stx_mnt_id;
	*ret_dev = (uint64_t)st.stx_dev_major << 32 | st.stx_dev_minor;
	*ret_fd = tp_steal_fd(&fd);
	return 0;
}

/* "/proc/self/fd/N", without stdio. */
static void fd_path(int fd, char path[32])
{
	char digits[12];
	unsigned n = 0;
	char *to = stpcpy(path, "/proc/self/fd/");

	do
		digits[n++] = (char)('0' + fd % 10);
	while ((fd /= 10) > 0);
	while (n > 0)
		*to++ = digits[--n];
	*to = 0;
}

/* Ends the connection; the mount stays. Async-signal-safe. */
static void abort_connection(const struct tp_watch *w)
{
	tp_autoclose int held = -1;
	uint64_t id = 0, dev = 0;
	char path[32];

	if (w->abort_fd >= 0 && write(w->abort_fd, "1", 1) == 1)
		return;
	if (find_mount(w->mountpoint, &held, &id, &dev) < 0 || id != w->mount_id || dev != w->dev)
		return;
	fd_path(held, path);
	(void)umount2(path, MNT_FORCE);
}

static void on_crash(int sig, siginfo_t *info, void *context)
{
	const struct tp_watch *w = atomic_load(&armed);

	if (w && getpid() == w->daemon) {
		struct tp_events *events = atomic_load(&w->events);

		abort_connection(w);
		if (events)
			tp_events_crashed(events);
	}
	for (unsigned i = 0; i < CRASH_SIGNALS; i++)
		if (crash_signals[i] == sig)
			(void)sigaction(sig, &before[i], NULL);
	/* Comes when this handler has returned, with the registers and the address of the fault. */
	if (syscall(SYS_rt_tgsigqueueinfo, getpid(), (pid_t)syscall(SYS_gettid), sig, info) < 0)
		(void)raise(sig);
}

static void handle_crashes(void)
{
	struct sigaction act = {.sa_sigaction = on_crash, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	stack_t own = {.ss_sp = stack, .ss_size = sizeof(stack)}, old;

	if (sigaltstack(NULL, &old) == 0 && (old.ss_flags & SS_DISABLE))
		(void)sigaltstack(&own, NULL);
	(void)sigfillset(&act.sa_mask);
	for (unsigned i = 0; i < CRASH_SIGNALS; i++)
		(void)sigaction(crash_signals[i], NULL, &before[i]);
	for (unsigned i = 0; i < CRASH_SIGNALS; i++)
		if (before[i].sa_handler != SIG_IGN)
			(void)sigaction(crash_signals[i], &act, NULL);
}

/* Remembers which mount it is, and opens what aborts it while it is certain whose that is. */
static void note_mount(struct tp_watch *w)
{
	tp_autoclose int held = -1;
	char path[64];

	if (find_mount(w->mountpoint, &held, &w->mount_id, &w->dev) < 0)
		return;
	(void)snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/abort", (unsigned)w->dev);
	w->abort_fd = open(path, O_WRONLY | O_CLOEXEC);
}

/* What ps and top show. The arguments are replaced, too, so that who looks for the daemon by them does not find two. */
static void take_name(const struct tp_watch *w)
{
	unsigned long begin = 0, end = 0;
	char text[2048], *at;
	size_t len;
	FILE *f;

	(void)prctl(PR_SET_NAME, WATCHER_NAME);
	f = fopen("/proc/self/stat", "re");
	if (!f)
		return;
	len = fread(text, 1, sizeof(text) - 1, f);
	(void)fclose(f);
	text[len] = 0;
	at = strrchr(text, ')');
	/* arg_start and arg_end are fields 48 and 49; the one behind the name is the third. */
	for (unsigned field = 2; at && field < 48; field++)
		at = strchr(at + 1, ' ');
	if (!at || sscanf(at, "%lu %lu", &begin, &end) != 2 || begin == 0 || end <= begin)
		return;
	memset((void *)begin, 0, end - begin);
	(void)snprintf((char *)begin, end - begin, "%s %s", WATCHER_NAME, w->mountpoint);
}

/* Nothing of the daemon's but the line, as descriptor 3. */
static void let_go(int line_fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)setsid();
	(void)!chdir("/");
	for (int fd = 0; null >= 0 && fd < 3; fd++)
		(void)dup2(null, fd);
	if (line_fd != 3)
		(void)dup2(line_fd, 3);
	if (syscall(SYS_close_range, 4u, ~0u, 0u) < 0)
		for (int fd = 4; fd < 1024; fd++)
			(void)close(fd);
}

/* Waits for the daemon's death; all signals are blocked. */
_Noreturn static void watch(struct tp_watch *w, int line_fd)
{
	struct pollfd p[2] = {{.fd = 3, .events = POLLIN}, {.fd = -1, .events = POLLIN}};
	sigset_t death;
	char word = 0;

	/* A signal that nobody sends by mistake. */
	(void)sigemptyset(&death);
	(void)sigaddset(&death, SIGRTMAX);
	let_go(line_fd);
	take_name(w);
	p[1].fd = signalfd(-1, &death, SFD_CLOEXEC);
	/* A parent that has died already is seen by the line. */
	if (p[1].fd < 0 || prctl(PR_SET_PDEATHSIG, SIGRTMAX) < 0 || write(3, &word, 1) != 1)
		_exit(1);
	for (;;) {
		if (poll(p, 2, -1) < 0)
			continue;
		if (p[1].revents || recv(3, &word, 1, 0) != 1)
			break;
		note_mount(w);
	}
	/* When the process has gone with all its threads, so has its descriptor, and another daemon's mount may be there. */
	if (w->dev != 0 && getppid() == w->daemon)
		abort_connection(w);
	_exit(0);
}

int tp_watch_begin(struct tp_watch *w, const char *mountpoint)
{
	sigset_t all, old;
	int ends[2], r;
	char word;
	pid_t pid;

	*w = (struct tp_watch){.mountpoint = mountpoint, .daemon = getpid(), .line_fd = -1, .abort_fd = -1};
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return w->why_not = -errno;
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	pid = fork();
	if (pid == 0) {
		/* Or the daemon's death would not end the line. */
		(void)tp_close(ends[0]);
		watch(w, ends[1]);
	}
	r = pid < 0 ? -errno : 0;
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	(void)tp_close(ends[1]);
	w->line_fd = ends[0];
	w->watcher = pid > 0 ? pid : 0;
	if (r == 0) {
		ssize_t n;

		while ((n = recv(w->line_fd, &word, 1, 0)) < 0 && errno == EINTR)
			;
		r = n == 1 ? 0 : -EPIPE;
	}
	if (r < 0)
		tp_watch_end(w);
	w->why_not = r;
	return r;
}

int tp_watch_arm(struct tp_watch *w)
{
	static const char word = 'm';

	note_mount(w);
	if (w->dev == 0)
		return -ENOENT;
	if (w->abort_fd < 0 && geteuid() != 0)
		return -EPERM;
	if (w->line_fd >= 0)
		(void)!send(w->line_fd, &word, 1, MSG_NOSIGNAL);
	handle_crashes();
	atomic_store(&armed, w);
	return w->why_not;
}

void tp_watch_abort(const struct tp_watch *w)
{
	if (w->dev != 0)
		abort_connection(w);
}

void tp_watch_end(struct tp_watch *w)
{
	if (atomic_exchange(&armed, NULL))
		for (unsigned i = 0; i < CRASH_SIGNALS; i++)
			(void)sigaction(crash_signals[i], &before[i], NULL);
	if (w->watcher > 0) {
		/* It has nothing to tidy up, and what else might stop it cannot keep us waiting. */
		(void)kill(w->watcher, SIGKILL);
		while (waitpid(w->watcher, NULL, 0) < 0 && errno == EINTR)
			;
		w->watcher = 0;
	}
	w->line_fd = tp_close(w->line_fd);
	w->abort_fd = tp_close(w->abort_fd);
}
