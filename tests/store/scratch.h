/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory for one test, on a file system that a ledger may lie on, and what tests do with files in it.
 */
#pragma once

#include <assert.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "store/cleanup.h"

struct scratch {
	char path[200];
};

/* Makes the directory. In a container /tmp is often overlayfs, which a ledger refuses; then /dev/shm it is. */
static inline void scratch_init(struct scratch *s)
{
	const char *base = getenv("TMPDIR");
	struct statfs sf;

	if (!base || strlen(base) > 100)
		base = "/tmp";
	if (statfs(base, &sf) == 0 && (unsigned long)sf.f_type == OVERLAYFS_SUPER_MAGIC)
		base = "/dev/shm";
	(void)snprintf(s->path, sizeof(s->path), "%s/tidepool-test-XXXXXX", base);
	if (!mkdtemp(s->path))
		abort();
}

static inline int scratch_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static inline void scratch_fini(struct scratch *s)
{
	(void)nftw(s->path, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#define SCRATCH(name)                                                                                        \
	__attribute__((cleanup(scratch_fini))) struct scratch name;                                          \
	scratch_init(&name)

/* "DIR/name", in one of four buffers that take turns. */
static inline const char *scratch_path(struct scratch *s, const char *name)
{
	static char buf[4][512];
	static unsigned turn;
	char *p = buf[turn++ % 4];

	(void)snprintf(p, sizeof(buf[0]), "%s/%s", s->path, name);
	return p;
}

static inline void scratch_write(const char *path, const void *data, size_t len)
{
	tp_autoclose int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, data, len) != (ssize_t)len)
		abort();
}

/* The whole file, terminated by a NUL that does not count; to be freed. */
static inline char *scratch_read(const char *path, size_t *ret_len)
{
	tp_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *data;

	if (fd < 0 || fstat(fd, &st) < 0)
		abort();
	data = malloc((size_t)st.st_size + 1);
	if (!data || read(fd, data, (size_t)st.st_size) != (ssize_t)st.st_size)
		abort();
	data[st.st_size] = 0;
	*ret_len = (size_t)st.st_size;
	return data;
}
