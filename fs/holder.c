/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/holder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/cleanup.h"

#define HOLDERS_MAX 65536u

const struct tp_holder *tp_holders_get(const struct tp_holders *h, uint64_t ino, pid_t pid)
{
	const struct tp_holder *any = NULL;

	for (size_t i = 0; i < h->count; i++) {
		if (h->list[i].ino != ino)
			continue;
		any = &h->list[i];
		if (any->pid == pid)
			break;
	}
	return any;
}

int tp_holders_add(struct tp_holders *h, uint64_t ino, pid_t pid, bool writes)
{
	/* One process' come together. */
	for (size_t i = h->count; i-- > 0 && h->list[i].pid == pid;) {
		if (h->list[i].ino == ino) {
			h->list[i].writes |= writes;
			return 0;
		}
	}
	if (h->count == HOLDERS_MAX)
		return -ENOSPC;
	if (h->count == h->max) {
		size_t max = h->max ? 2 * h->max : 16;
		struct tp_holder *list = realloc(h->list, max * sizeof(*list));

		if (!list)
			return -ENOMEM;
		h->list = list;
		h->max = max;
	}
	h->list[h->count++] = (struct tp_holder){ino, pid, writes};
	return 0;
}

/* "pos: ...\nflags: OCTAL\nmnt_id: N\nino: N\n". False: it is of another mount, or does not say. */
static bool parse(const char *text, unsigned mount_id, uint64_t *ret_ino, bool *ret_writes)
{
	const char *at = strstr(text, "flags:");
	unsigned flags, id;

	if (!at || sscanf(at, "flags: %o mnt_id: %u ino: %" SCNu64, &flags, &id, ret_ino) != 3)
		return false;
	*ret_writes = (flags & O_ACCMODE) != O_RDONLY;
	return id == mount_id;
}

static int look_at(pid_t pid, unsigned mount_id, struct tp_holders *h)
{
	char path[48], text[256];
	struct dirent *e;
	int r = 0;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%d/fdinfo", (int)pid);
	dir = opendir(path);
	if (!dir)
		return 0;
	while (r == 0 && (e = readdir(dir))) {
		tp_autoclose int fd =
			e->d_name[0] == '.' ? -1 : openat(dirfd(dir), e->d_name, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
		uint64_t ino;
		bool writes;

		if (n <= 0)
			continue;
		text[n] = 0;
		if (parse(text, mount_id, &ino, &writes))
			r = tp_holders_add(h, ino, pid, writes);
	}
	(void)closedir(dir);
	return r;
}

int tp_holders_find(unsigned mount_id, struct tp_holders *ret)
{
	struct tp_holders h = {0};
	struct dirent *e;
	int r = 0;
	DIR *proc;

	*ret = h;
	if (mount_id == 0)
		return 0;
	proc = opendir("/proc");
	if (!proc)
		return -errno;
	while (r == 0 && (e = readdir(proc))) {
		pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);

		if (pid > 0 && pid != getpid())
			r = look_at(pid, mount_id, &h);
	}
	(void)closedir(proc);
	if (r == -ENOMEM) {
		tp_holders_fini(&h);
		return r;
	}
	*ret = h;
	return 0;
}

void tp_holders_fini(struct tp_holders *h)
{
	free(h->list);
	*h = (struct tp_holders){0};
}
