/* SPDX-License-Identifier: Apache-2.0 */
#include "store/state.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdint.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "store/cleanup.h"

#ifndef SMB2_SUPER_MAGIC
#define SMB2_SUPER_MAGIC 0xfe534d42
#endif
#ifndef CIFS_SUPER_MAGIC
#define CIFS_SUPER_MAGIC 0xff534d42
#endif

int tp_state_check_type(const char *path, unsigned long f_type, struct tp_err *err)
{
	static const struct {
		uint32_t type;
		const char *name;
	} refused[] = {
		{NFS_SUPER_MAGIC, "NFS"},
		{OVERLAYFS_SUPER_MAGIC, "overlayfs"},
		{SMB_SUPER_MAGIC, "SMB"},
		{CIFS_SUPER_MAGIC, "SMB"},
		{SMB2_SUPER_MAGIC, "SMB"},
	};

	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++)
		if ((uint32_t)f_type == refused[i].type)
			return tp_err_set(err, -EOPNOTSUPP,
				"%s is on %s, which cannot keep a store safe: use a directory on a local "
				"disk",
				path, refused[i].name);
	return 0;
}

/* Opens the directory STATE, which is made when it is missing. */
static int open_directory(const char *path, struct tp_err *err, int *ret_fd)
{
	struct statfs sf;
	tp_autoclose int fd = -1;
	int r;

	if (mkdir(path, 0700) == 0) {
		/*
		 * Its name must be as durable as what will be in it. Not every file system can sync a
		 * directory.
		 */
		tp_autoclose int parent = -1;

		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		parent = fd < 0 ? -1 : openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (parent >= 0)
			(void)fsync(parent);
	} else if (errno != EEXIST) {
		r = -errno;
		return tp_err_set(err, r, "%s cannot be made: %s", path, strerror(-r));
	} else {
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	if (fd < 0 && errno == ENOTDIR)
		return tp_err_set(err, -EBADMSG, "%s is not a directory", path);
	if (fd < 0 || fstatfs(fd, &sf) < 0) {
		r = -errno;
		return tp_err_set(err, r, "%s cannot be opened: %s", path, strerror(-r));
	}
	r = tp_state_check_type(path, (unsigned long)sf.f_type, err);
	if (r < 0)
		return r;
	*ret_fd = tp_steal_fd(&fd);
	return 0;
}

/*
 * Takes the lock of STATE, which ends with the process, and writes the process's number into it for whoever
 * is refused.
 */
static int lock_directory(const char *path, int dir_fd, struct tp_err *err, int *ret_fd)
{
	char pid[24] = "";
	tp_autoclose int fd = openat(dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	ssize_t n;
	int r;

	if (fd < 0) {
		r = -errno;
		return tp_err_set(err, r, "%s/lock cannot be opened: %s", path, strerror(-r));
	}
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK) {
			r = -errno;
			return tp_err_set(err, r, "%s cannot be locked: %s", path, strerror(-r));
		}
		n = pread(fd, pid, sizeof(pid) - 1, 0);
		if (n <= 0 || atol(pid) <= 0)
			return tp_err_set(err, -EBUSY, "%s is in use by another process", path);
		return tp_err_set(err, -EBUSY, "%s is in use by process %ld", path, atol(pid));
	}
	/* The pid is for people; a full disk must not keep a store from being opened. */
	n = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());
	if (pwrite(fd, pid, (size_t)n, 0) == n)
		(void)!ftruncate(fd, n);
	*ret_fd = tp_steal_fd(&fd);
	return 0;
}

int tp_state_open(const char *path, struct tp_err *err, struct tp_state *ret)
{
	struct tp_state s = TP_STATE_NONE;
	int r;

	r = open_directory(path, err, &s.fd);
	if (r < 0)
		return r;
	r = lock_directory(path, s.fd, err, &s.lock_fd);
	if (r < 0) {
		tp_state_close(&s);
		return r;
	}
	*ret = s;
	return 0;
}

void tp_state_close(struct tp_state *s)
{
	s->fd = tp_close(s->fd);
	s->lock_fd = tp_close(s->lock_fd);
}
