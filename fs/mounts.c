/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/cleanup.h"

extern char **environ;

void tp_mounts_unescape(char *s)
{
	char *to = s;

	while (*s) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' &&
			s[3] <= '7') {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*to++ = *s++;
		}
	}
	*to = 0;
}

void tp_mounts_fini(struct tp_mounts *m)
{
	free(m->mountpoint);
	free(m->state);
	*m = (struct tp_mounts){0};
}

/*
 * Finds the mount for which match() returns the highest number above 0; of equal ones the last, which lies on top.
 */
static int find(unsigned (*match)(const struct tp_mounts *m, const void *user), const void *user,
	struct tp_mounts *ret)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	tp_autofree char *line = NULL;
	struct tp_mounts best = {0};
	unsigned best_score = 0;
	size_t size = 0;
	int r = -ENOENT;

	if (!f)
		return -errno;
	while (getline(&line, &size, f) > 0) {
		unsigned id, major, minor, score;
		tp_autofree char *at = NULL, *source = NULL;
		struct tp_mounts m;
		char *rest = strstr(line, " - fuse.tidepool ");

		if (!rest || sscanf(line, "%u %*s %u:%u %*s %ms", &id, &major, &minor, &at) != 4 ||
			sscanf(rest, " - %*s %ms", &source) != 1)
			continue;
		tp_mounts_unescape(at);
		tp_mounts_unescape(source);
		m = (struct tp_mounts){
			.mountpoint = at, .state = source, .id = id, .dev = makedev(major, minor)};
		score = match(&m, user);
		if (!score || score < best_score)
			continue;
		tp_mounts_fini(&best);
		best = m;
		(void)tp_steal_ptr(at);
		(void)tp_steal_ptr(source);
		best_score = score;
		r = 0;
	}
	(void)fclose(f);
	if (r == 0)
		*ret = best;
	return r;
}

static unsigned match_at(const struct tp_mounts *m, const void *user)
{
	return strcmp(m->mountpoint, user) == 0;
}

static unsigned match_state(const struct tp_mounts *m, const void *user)
{
	return strcmp(m->state, user) == 0;
}

static unsigned match_any(const struct tp_mounts *m, const void *user)
{
	return 1;
}

/* The deepest mount point that path begins with. */
static unsigned match_prefix(const struct tp_mounts *m, const void *user)
{
	const char *path = user;
	size_t n = strlen(m->mountpoint);

	return strncmp(path, m->mountpoint, n) == 0 && (path[n] == 0 || path[n] == '/') ? (unsigned)n : 0;
}

char *tp_mounts_resolve(const char *path)
{
	tp_autofree char *copy = strdup(path), *directory = NULL;
	const char *last;
	char *slash, *whole;
	size_t n;

	if (!copy)
		return NULL;
	if (!*path) {
		errno = ENOENT;
		return NULL;
	}
	n = strlen(copy);
	while (n > 1 && copy[n - 1] == '/')
		copy[--n] = 0;
	slash = strrchr(copy, '/');
	last = slash ? slash + 1 : copy;
	if (!*last || strcmp(last, ".") == 0 || strcmp(last, "..") == 0)
		return realpath(copy, NULL);
	if (slash == copy)
		directory = strdup("/");
	else if (slash)
		*slash = 0, directory = realpath(copy, NULL);
	else
		directory = realpath(".", NULL);
	if (!directory)
		return NULL;
	if (asprintf(&whole, "%s/%s", strcmp(directory, "/") == 0 ? "" : directory, last) < 0)
		return NULL;
	return whole;
}

int tp_mounts_at(const char *path, struct tp_mounts *ret)
{
	tp_autofree char *whole = tp_mounts_resolve(path), *real = NULL;
	int r;

	if (!whole)
		return -errno;
	r = find(match_at, whole, ret);
	if (r != -ENOENT)
		return r;
	/* Its last part may be a link to the mount point. */
	real = realpath(path, NULL);
	return real ? find(match_at, real, ret) : -ENOENT;
}

unsigned tp_mounts_id(const char *mountpoint)
{
	struct tp_mounts m;
	unsigned id;

	if (find(match_at, mountpoint, &m) < 0)
		return 0;
	id = m.id;
	tp_mounts_fini(&m);
	return id;
}

int tp_mounts_of(const char *path, struct tp_mounts *ret)
{
	tp_autofree char *whole = tp_mounts_resolve(path), *real = NULL;
	struct stat st;
	int r;

	if (!whole)
		return -errno;
	r = find(match_prefix, whole, ret);
	if (r == 0 && lstat(path, &st) == 0 && st.st_dev != ret->dev) {
		/* Another file system is mounted inside. */
		tp_mounts_fini(ret);
		r = -ENOENT;
	}
	if (r != -ENOENT)
		return r;
	real = realpath(path, NULL);
	return real && strcmp(real, whole) != 0 ? find(match_prefix, real, ret) : -ENOENT;
}

int tp_mounts_serving(const char *state, struct tp_mounts *ret)
{
	return find(match_state, state, ret);
}

int tp_mounts_take_away(const char *mountpoint, bool lazy)
{
	const char *argv[] = {"fusermount3", lazy ? "-uz" : "-u", "--", mountpoint, NULL};
	int status, r;
	pid_t pid;

	if (geteuid() == 0) {
		/* Root of a container may not force. */
		if (lazy && umount2(mountpoint, UMOUNT_NOFOLLOW | MNT_DETACH | MNT_FORCE) == 0)
			return 0;
		return umount2(mountpoint, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0 ? 0 : -errno;
	}
	r = posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)(uintptr_t)argv, environ);
	if (r != 0)
		return -r;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EIO;
}

int tp_mounts_any(struct tp_mounts *ret)
{
	return find(match_any, NULL, ret);
}
