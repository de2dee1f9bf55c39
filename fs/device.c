/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/device.h"

#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <poll.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "fs/mounts.h"
#include "store/cleanup.h"

extern char **environ;

/* libfuse reports through one function for the whole process, without an argument. */
static pthread_mutex_t words_lock = PTHREAD_MUTEX_INITIALIZER;
static char words[sizeof(
	((struct tp_err *)0)->text)]; /* the first line that it said, perhaps in pieces; by words_lock */
static bool words_whole;	      /* by words_lock */

__attribute__((format(printf, 2, 0))) static void note_words(
	enum fuse_log_level level, const char *fmt, va_list ap)
{
	size_t len = strlen(words);

	if (words_whole || level > FUSE_LOG_WARNING)
		return;
	(void)vsnprintf(words + len, sizeof(words) - len, fmt, ap);
	len = strcspn(words, "\n");
	words_whole = words[len] == '\n';
	words[len] = 0;
}

/* What libfuse said, without its own name in front, or other when it said nothing. */
static const char *said(const char *other)
{
	const char *text = strncmp(words, "fuse: ", 6) == 0 ? words + 6 : words;

	return text[0] ? text : other;
}

/*
 * Frees libfuse's session without its unmounting anything: fuse_session_unmount() leaves the mount alone when its descriptor shows POLLERR,
 * as the writing end of a pipe without readers does, and it is the only one to free the mount point's name.
 */
static void forget(struct fuse_session *fuse)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return; /* Some bytes are lost, which is better than the mount. */
	(void)dup3(ends[1], fuse_session_fd(fuse), O_CLOEXEC);
	(void)tp_close(ends[0]);
	(void)tp_close(ends[1]);
	fuse_session_unmount(fuse);
	fuse_session_destroy(fuse);
}

static int mount_by_libfuse(const char *mountpoint, const char *list, struct tp_err *err, int *ret_fd)
{
	static const struct fuse_lowlevel_ops none;
	char *argv[] = {(char *)"tidepool", (char *)"-o", (char *)list, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(list[0] ? 3 : 1, argv);
	struct fuse_session *fuse;
	int r = 0;
	int fd;

	fuse = fuse_session_new(&args, &none, sizeof(none), NULL);
	fuse_opt_free_args(&args);
	if (!fuse)
		return tp_err_set(err, -EINVAL, "options of FUSE: %s", said("refused"));
	if (fuse_session_mount(fuse, mountpoint) != 0) {
		r = tp_err_set(err, -EIO, "cannot mount at '%s': %s", mountpoint, said("fusermount3 failed"));
		fuse_session_destroy(fuse);
		return r;
	}
	fd = fcntl(fuse_session_fd(fuse), F_DUPFD_CLOEXEC, 3);
	if (fd < 0) {
		r = tp_err_set(err, -errno, "cannot keep /dev/fuse: %s", strerror(errno));
		fuse_session_unmount(fuse);
		fuse_session_destroy(fuse);
		return r;
	}
	forget(fuse);
	*ret_fd = fd;
	return 0;
}

/* The device number of what is mounted on top at mountpoint; -ENOENT: nothing. */
static int find_mount(const char *mountpoint, unsigned *ret_maj, unsigned *ret_min)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	tp_autofree char *line = NULL;
	size_t room = 0;
	int r = -ENOENT;

	if (!f)
		return -errno;
	/* Later lines lie over earlier ones. */
	while (getline(&line, &room, f) > 0) {
		unsigned maj, min;
		int at = 0;
		char *end;

		if (sscanf(line, "%*s %*s %u:%u %*s %n", &maj, &min, &at) != 2 || at == 0)
			continue;
		end = strchr(line + at, ' ');
		if (!end)
			continue;
		*end = 0;
		tp_mounts_unescape(line + at);
		if (strcmp(line + at, mountpoint) == 0) {
			*ret_maj = maj;
			*ret_min = min;
			r = 0;
		}
	}
	(void)fclose(f);
	return r;
}

int tp_device_mount(const struct tp_device_options *options, struct tp_err *err, struct tp_device *ret)
{
	const char *own = options->fuse_options ? options->fuse_options : "";
	int fd = -1;
	tp_autofree char *mountpoint = NULL;
	tp_autofree char *list = NULL;
	int r;

	mountpoint = realpath(options->mountpoint, NULL);
	if (!mountpoint)
		return tp_err_set(err, -errno, "mount point '%s': %s", options->mountpoint, strerror(errno));
	if (asprintf(&list, "%s%s%s%s%s", options->default_permissions ? "default_permissions" : "",
		    options->default_permissions && (options->read_only || own[0]) ? "," : "",
		    options->read_only ? "ro" : "", options->read_only && own[0] ? "," : "", own) < 0) {
		list = NULL;
		return tp_err_set(err, -ENOMEM, "out of memory");
	}
	{
		TP_LOCK(&words_lock);
		words[0] = 0;
		words_whole = false;
		fuse_set_log_func(note_words);
		r = mount_by_libfuse(mountpoint, list, err, &fd);
		fuse_set_log_func(NULL);
	}
	if (r < 0)
		return r;
	tp_device_wrap(fd, ret);
	(void)find_mount(mountpoint, &ret->maj, &ret->min);
	ret->mountpoint = tp_steal_ptr(mountpoint);
	return 0;
}

void tp_device_wrap(int fd, struct tp_device *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->fd = fd;
}

/* The kernel shows an error when the connection has ended; its device number may be another mount's from then on. */
static bool is_connected(const struct tp_device *d)
{
	struct pollfd p = {.fd = d->fd};

	if (atomic_load(&d->hung_up))
		return false;
	return poll(&p, 1, 0) != 1 || !(p.revents & POLLERR);
}

/* Is it still our mount that lies on top there? */
static bool is_ours(const struct tp_device *d)
{
	unsigned maj, min;

	return is_connected(d) && find_mount(d->mountpoint, &maj, &min) == 0 && maj == d->maj &&
	       min == d->min;
}

/* As an ordinary user. What it prints is not wanted: that it failed is seen from the mount. */
static void run_fusermount(const char *mountpoint, bool lazy)
{
	const char *const argv[] = {"fusermount3", "-u", "-q", lazy ? "-z" : "--", mountpoint, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none;
	pid_t pid;

	sigemptyset(&none);
	if (posix_spawn_file_actions_init(&actions) != 0)
		return;
	if (posix_spawnattr_init(&attr) != 0) {
		(void)posix_spawn_file_actions_destroy(&actions);
		return;
	}
	(void)posix_spawnattr_setsigmask(&attr, &none);
	(void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	if (posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0) == 0 &&
		posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO) == 0 &&
		posix_spawnp(&pid, argv[0], &actions, &attr, (char *const *)argv, environ) == 0) {
		while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	(void)posix_spawnattr_destroy(&attr);
	(void)posix_spawn_file_actions_destroy(&actions);
}

int tp_device_unmount(struct tp_device *d, bool *ret_busy)
{
	int r;

	if (ret_busy)
		*ret_busy = false;
	if (!d->mountpoint) {
		(void)shutdown(d->fd, SHUT_RDWR);
		return 0;
	}
	if (!is_ours(d))
		return 0;
	r = umount2(d->mountpoint, UMOUNT_NOFOLLOW) < 0 ? -errno : 0;
	if (r == -EPERM)
		run_fusermount(d->mountpoint, false);
	if (!is_ours(d))
		return 0;
	if (ret_busy)
		*ret_busy = true;
	if (r == -EPERM)
		run_fusermount(d->mountpoint, true);
	else
		r = umount2(d->mountpoint, UMOUNT_NOFOLLOW | MNT_DETACH) < 0 ? -errno : 0;
	return is_ours(d) ? (r < 0 ? r : -EBUSY) : 0;
}

/* What is written to files of /proc and /sys: in one go, and a failure is nobody's fault. */
static void write_text(const char *path, const char *text)
{
	tp_autoclose int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0)
		(void)!write(fd, text, strlen(text));
}

void tp_device_read_ahead(const struct tp_device *d, unsigned kib)
{
	char path[64], text[16];

	if (d->maj == 0 && d->min == 0)
		return;
	(void)snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", d->maj, d->min);
	(void)snprintf(text, sizeof(text), "%u", kib);
	write_text(path, text);
}

void tp_device_abort(const struct tp_device *d)
{
	char path[64];

	if (d->min == 0 || !is_connected(d))
		return;
	(void)snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/abort", d->min);
	write_text(path, "1");
}

void tp_device_hang_up(struct tp_device *d)
{
	tp_autoclose int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	atomic_store(&d->hung_up, true);
	/* Without it the connection lives until tp_device_close(), which is a matter of a moment. */
	if (null >= 0)
		(void)dup3(null, d->fd, O_CLOEXEC);
}

void tp_device_close(struct tp_device *d)
{
	d->fd = tp_close(d->fd);
	free(d->mountpoint);
	d->mountpoint = NULL;
}
