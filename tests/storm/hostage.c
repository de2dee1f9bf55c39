/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tp-hostage MOUNTPOINT DIRECTORY...: keeps the kernel's lock of each directory until standard input ends. A listing copies names to the caller's memory with that lock held,
 * and this caller's memory is a file of a file system, mounted at MOUNTPOINT, that does not answer. Says "held" when it has them all.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "own_mount.h"
#include "store/cleanup.h"

#define HOSTAGES_MAX 64u
#define PAGE_BYTES 4096u
enum { FILE_NODE = 2 };

static struct own_mount own;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct tp_caller held[HOSTAGES_MAX]; /* READs, by lock */
static unsigned held_count;
static bool released;

static struct fuse_attr attr_of(uint64_t node)
{
	bool file = node == FILE_NODE;

	return (struct fuse_attr){.ino = node,
		.size = file ? HOSTAGES_MAX * PAGE_BYTES : 0,
		.mode = file ? S_IFREG | 0600 : S_IFDIR | 0700,
		.uid = getuid(),
		.gid = getgid(),
		.nlink = 1};
}

/* False: it is to be answered. */
static bool hold(const struct tp_caller *c)
{
	TP_LOCK(&lock);

	if (released || held_count == HOSTAGES_MAX)
		return false;
	held[held_count++] = *c;
	(void)pthread_cond_signal(&changed);
	return true;
}

static void handle(struct tp_request *r, void *user)
{
	const struct tp_caller *c = &r->caller;
	struct fuse_entry_out entry = {.nodeid = FILE_NODE, .attr = attr_of(FILE_NODE)};
	struct fuse_attr_out attr = {.attr = attr_of(c->node)};
	struct fuse_open_out opened = {0};

	switch (c->opcode) {
	case FUSE_LOOKUP:
		tp_reply_data(own.session, c, &entry, sizeof(entry));
		break;
	case FUSE_OPEN:
		tp_reply_data(own.session, c, &opened, sizeof(opened));
		break;
	case FUSE_GETATTR:
		tp_reply_data(own.session, c, &attr, sizeof(attr));
		break;
	case FUSE_READ:
		if (!hold(c))
			tp_reply_error(own.session, c, EIO);
		break;
	case FUSE_FLUSH:
	case FUSE_RELEASE:
		tp_reply_error(own.session, c, 0);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		break;
	default:
		tp_reply_error(own.session, c, ENOSYS);
	}
}

static void let_go(void)
{
	{
		TP_LOCK(&lock);
		released = true;
	}
	for (unsigned i = 0; i < held_count; i++)
		tp_reply_error(own.session, &held[i], EIO);
}

/* Until standard input ends. */
static void hold_all(unsigned count)
{
	char byte;

	{
		TP_LOCK(&lock);
		while (held_count < count)
			(void)pthread_cond_wait(&changed, &lock);
	}
	(void)puts("held");
	(void)fflush(stdout);
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
	let_go();
}

static int serve_and_hold(char **argv, unsigned count)
{
	int status = 1;
	pid_t child;

	if (!own_mount_start(&own, "tp-hostage", argv[1], handle))
		return 1;
	argv[0] = (char *)"keep";
	if (posix_spawn(&child, "/proc/self/exe", NULL, NULL, argv, environ) != 0)
		abort();
	hold_all(count);
	(void)waitpid(child, &status, 0);
	own_mount_end(&own);
	return status != 0;
}

/* The other process: one that waits in a fault of its own memory could not serve, since it needs that memory. */

struct hostage {
	pthread_t thread;
	const char *directory;
	char *memory;
};

static void *keep(void *arg)
{
	const struct hostage *h = arg;
	tp_autoclose int fd = open(h->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0) {
		(void)fprintf(stderr, "tp-hostage: %s: %s\n", h->directory, strerror(errno));
		exit(1);
	}
	(void)syscall(SYS_getdents64, fd, h->memory, PAGE_BYTES);
	return NULL;
}

static int keep_all(const char *mountpoint, char **directories, unsigned count)
{
	struct hostage hostages[HOSTAGES_MAX];
	char path[4096], *memory;

	(void)snprintf(path, sizeof(path), "%s/memory", mountpoint);
	tp_autoclose int fd = open(path, O_RDWR | O_CLOEXEC);

	memory = fd < 0 ? MAP_FAILED
			: mmap(NULL, (size_t)count * PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED) {
		(void)fprintf(stderr, "tp-hostage: %s: %s\n", path, strerror(errno));
		return 1;
	}
	/* One READ for each, not one for all. */
	(void)madvise(memory, (size_t)count * PAGE_BYTES, MADV_RANDOM);
	for (unsigned i = 0; i < count; i++) {
		hostages[i] = (struct hostage){
			.directory = directories[i], .memory = memory + (size_t)i * PAGE_BYTES};
		if (pthread_create(&hostages[i].thread, NULL, keep, &hostages[i]) != 0)
			abort();
	}
	for (unsigned i = 0; i < count; i++)
		(void)pthread_join(hostages[i].thread, NULL);
	return 0;
}

int main(int argc, char **argv)
{
	unsigned count = (unsigned)argc - 2;

	if (argc < 3 || count > HOSTAGES_MAX) {
		(void)fputs("usage: tp-hostage MOUNTPOINT DIRECTORY...\n", stderr);
		return 2;
	}
	return strcmp(argv[0], "keep") == 0 ? keep_all(argv[1], argv + 2, count)
					    : serve_and_hold(argv, count);
}
