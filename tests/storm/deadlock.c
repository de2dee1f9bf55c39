/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tp-deadlock DIR: what could lock one another up, all at once: makers change directories, fillers write several times what the pool holds
 * so that it evicts all the time, readers look up and read what may be evicted under them. Each must get on: one that stands still for
 * --stall seconds has failed the test.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "party.h"
#include "stamp.h"

#define DIRS 3
#define NAMES 400
#define LEN_MIN 1024u
#define LEN_MAX (1u << 20)
#define HELD 4

enum { MADE, LISTED, FILLED_BYTES, READ_BYTES, MISSES, COUNTERS };
static const char *const counter_names[] = {
	"directory operations", "names listed", "bytes written", "bytes read", "misses"};

struct own {
	uint8_t *buf;
	int held[HELD];
	unsigned made;
};

static struct own *own_of(struct tp_member *m)
{
	struct own *o = m->user;

	if (o)
		return o;
	o = calloc(1, sizeof(*o));
	if (!o || !(o->buf = malloc(LEN_MAX + 1)))
		tp_member_fail(m, "no memory");
	for (unsigned i = 0; i < HELD; i++)
		o->held[i] = -1;
	m->user = o;
	return o;
}

static const char *name_of(int error)
{
	const char *name = strerrorname_np(error);

	return name ? name : "?";
}

static void must(struct tp_member *m, bool well, const char *what, const char *path)
{
	if (!well)
		tp_member_fail(m, "%s %s: %s", what, path, name_of(errno));
}

static void list(struct tp_member *m, const char *path)
{
	DIR *d = opendir(path);

	must(m, d != NULL, "opendir", path);
	errno = 0;
	while (readdir(d))
		tp_party_count(m->party, LISTED, 1);
	must(m, errno == 0, "readdir", path);
	(void)closedir(d);
}

/* Files and directories of its own in directories that all share. */
static void maker(struct tp_member *m)
{
	char a[64], b[64], d[64];
	unsigned n = own_of(m)->made++;

	(void)snprintf(a, sizeof(a), "d%u/m%u.%u", tp_member_random(m, DIRS), m->number, n % 50);
	(void)snprintf(b, sizeof(b), "d%u/n%u.%u", tp_member_random(m, DIRS), m->number, n % 50);
	(void)snprintf(d, sizeof(d), "d%u/s%u", tp_member_random(m, DIRS), m->number);
	tp_member_doing(m, "create");
	int fd = open(a, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	must(m, fd >= 0, "create", a);
	if (n % 3 == 0)
		must(m, write(fd, "0123456789", 10) == 10, "write", a);
	tp_member_doing(m, "close");
	must(m, close(fd) == 0, "close", a);
	tp_member_doing(m, "mkdir");
	must(m, mkdir(d, 0755) == 0, "mkdir", d);
	tp_member_doing(m, "rename");
	/* It may be evicted before it is renamed. */
	must(m, rename(a, b) == 0 || errno == ENOENT, "rename", a);
	tp_member_doing(m, "rmdir");
	must(m, rmdir(d) == 0, "rmdir", d);
	if (n % 7 == 0) {
		tp_member_doing(m, "readdir");
		(void)snprintf(d, sizeof(d), "d%u", tp_member_random(m, DIRS));
		list(m, d);
	}
	if (n % 2) {
		tp_member_doing(m, "unlink");
		must(m, unlink(b) == 0 || errno == ENOENT, "unlink", b);
	}
	tp_party_count(m->party, MADE, 6);
}

static void filler(struct tp_member *m)
{
	struct own *o = own_of(m);
	uint64_t number = (m->party->rounds[m->number] + 1) << 8 | (m->number + 1) | 0xa5ull << 56;
	uint32_t len = tp_stamp_len(number, LEN_MIN, LEN_MAX), done = 0;
	char path[64];

	(void)snprintf(path, sizeof(path), "d%u/o%u", tp_member_random(m, DIRS), tp_member_random(m, NAMES));
	tp_stamp_fill(o->buf, number, len);
	tp_member_doing(m, "create to fill");
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	must(m, fd >= 0, "create", path);
	tp_member_doing(m, "write to fill");
	while (done < len) {
		ssize_t r = write(fd, o->buf + done, len - done < 131072 ? len - done : 131072);

		must(m, r > 0, "write", path);
		done += (uint32_t)r;
	}
	tp_member_doing(m, "close to fill");
	must(m, close(fd) == 0, "close", path);
	tp_party_count(m->party, FILLED_BYTES, len);
}

static void reader(struct tp_member *m)
{
	struct own *o = own_of(m);
	unsigned slot = tp_member_random(m, HELD);
	char path[64];

	/* Some stay open: what they hold must not be evicted. */
	if (o->held[slot] >= 0) {
		tp_member_doing(m, "close after reading");
		must(m, close(o->held[slot]) == 0, "close", "after reading");
	}
	(void)snprintf(path, sizeof(path), "d%u/o%u", tp_member_random(m, DIRS), tp_member_random(m, NAMES));
	tp_member_doing(m, "open to read");
	int fd = o->held[slot] = open(path, O_RDONLY);

	must(m, fd >= 0 || errno == ENOENT, "open", path);
	if (fd < 0) {
		tp_party_count(m->party, MISSES, 1);
		return;
	}
	uint32_t len = 0;
	ssize_t r = 1;

	tp_member_doing(m, "read");
	while (r > 0) {
		r = pread(fd, o->buf + len, LEN_MAX + 1 - len, len);
		must(m, r >= 0, "read", path);
		len += (uint32_t)r;
	}
	if (len < 8 || tp_stamp_wrong(o->buf, len) < len ||
		len != tp_stamp_len(tp_stamp_number(o->buf), LEN_MIN, LEN_MAX))
		tp_member_fail(m, "%s: %u bytes that nobody wrote together", path, len);
	tp_party_count(m->party, READ_BYTES, len);
}

/* The pool was filled as many times over as was asked for, or the test has shown nothing. */
static int report(struct tp_party *p, uint64_t pool_bytes)
{
	for (unsigned i = 0; i < COUNTERS; i++)
		(void)printf("%s%s %lu", i ? ", " : "", counter_names[i], (unsigned long)p->counters[i]);
	(void)printf("\n");
	if (p->counters[FILLED_BYTES] >= pool_bytes)
		return 0;
	(void)fprintf(stderr, "only %lu bytes were written: the pool was not filled\n",
		(unsigned long)p->counters[FILLED_BYTES]);
	return 1;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"seconds", required_argument, NULL, 's'},
		{"pool", required_argument, NULL, 'p'}, {"stall", required_argument, NULL, 't'},
		{NULL, 0, NULL, 0}};
	struct tp_party *p = tp_party_new();
	uint64_t pool_bytes = 0;
	char path[16];
	int c;

	p->seconds = 10;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 's')
			p->seconds = (unsigned)atoi(optarg);
		else if (c == 'p')
			pool_bytes = strtoull(optarg, NULL, 10);
		else if (c == 't')
			p->stall_seconds = (unsigned)atoi(optarg);
	}
	if (optind + 1 != argc || chdir(argv[optind]) != 0) {
		(void)fprintf(
			stderr, "usage: tp-deadlock [--seconds N] [--pool BYTES] [--stall SECONDS] DIR\n");
		return 2;
	}
	for (unsigned i = 0; i < DIRS; i++) {
		(void)snprintf(path, sizeof(path), "d%u", i);
		if (mkdir(path, 0755) != 0 && errno != EEXIST)
			return 2;
	}
	for (unsigned i = 0; i < 18; i++)
		tp_party_add(p,
			i % 3 == 0   ? "maker"
			: i % 3 == 1 ? "filler"
				     : "reader",
			i % 3 == 0   ? maker
			: i % 3 == 1 ? filler
				     : reader);
	int r = tp_party_run(p);

	return report(p, r ? 0 : pool_bytes) || r;
}
