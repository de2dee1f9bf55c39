/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tp-handover DIR: what one process has closed, the next one finds. Pairs of processes pass files on: one makes a file, overwrites it, renames it into place
 * or lets go of a lock, closes, and says so through a pipe; the other one looks at once. Several pairs at the same time keep several threads of the
 * server reading, so that the RELEASE of a file and the look-up after it are in different hands.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "party.h"

#define PAIRS 4
#define POLL_MS 100
#define NAME_BYTES 32

enum way { MADE, OVERWRITTEN, RENAMED, UNLOCKED, WAYS };

static const char *const way_names[WAYS] = {"made", "overwritten", "renamed", "unlocked"};

/* What the maker says: the file is there. */
struct baton {
	enum way way;
	unsigned number;
};

static int batons[PAIRS][2], thanks[PAIRS][2];

static void name_of(unsigned pair, const char *what, char *ret_name)
{
	(void)snprintf(ret_name, NAME_BYTES, "%s-%u", what, pair);
}

static void remove_all(void)
{
	static const char *const whats[] = {"file", ".file", "lock"};
	char name[NAME_BYTES];

	for (unsigned i = 0; i < 3 * PAIRS; i++) {
		name_of(i / 3, whats[i % 3], name);
		(void)unlink(name);
	}
}

/* False: the party is over. */
static bool receive(struct tp_member *m, int fd, void *buf, size_t len)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	while (!m->party->stop)
		if (poll(&p, 1, POLL_MS) == 1)
			return read(fd, buf, len) == (ssize_t)len;
	return false;
}

static void say(struct tp_member *m, int fd, const void *buf, size_t len)
{
	if (write(fd, buf, len) != (ssize_t)len)
		tp_member_fail(m, "pipe: %s", strerror(errno));
}

static void put(struct tp_member *m, const char *name, int flags, unsigned number)
{
	int fd = open(name, O_WRONLY | O_CREAT | flags, 0644);

	if (fd < 0 || write(fd, &number, sizeof(number)) != sizeof(number) || close(fd) != 0)
		tp_member_fail(m, "writing %s: %s", name, strerror(errno));
}

static void take_and_drop_lock(struct tp_member *m, unsigned pair)
{
	char name[NAME_BYTES];

	name_of(pair, "lock", name);
	int fd = open(name, O_RDONLY | O_CREAT, 0644);

	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0 || close(fd) != 0)
		tp_member_fail(m, "flock of %s: %s", name, strerror(errno));
}

static void maker(struct tp_member *m)
{
	unsigned pair = m->number / 2;
	unsigned long round = m->party->rounds[m->number];
	struct baton b = {.way = (enum way)(round % WAYS), .number = (unsigned)round};
	char name[NAME_BYTES], temporary[NAME_BYTES], thank;

	name_of(pair, "file", name);
	name_of(pair, ".file", temporary);
	tp_member_doing(m, way_names[b.way]);
	if (b.way == UNLOCKED)
		take_and_drop_lock(m, pair);
	else if (b.way == RENAMED)
		put(m, temporary, O_EXCL, b.number);
	else
		put(m, name, b.way == MADE ? O_EXCL : O_TRUNC, b.number);
	if (b.way == RENAMED && rename(temporary, name) != 0)
		tp_member_fail(m, "rename: %s", strerror(errno));
	say(m, batons[pair][1], &b, sizeof(b));
	tp_member_doing(m, "waiting for its partner");
	(void)receive(m, thanks[pair][0], &thank, 1);
}

static void look(struct tp_member *m, const char *name, const struct baton *b)
{
	unsigned number = 0;
	int fd = open(name, O_RDONLY);

	if (fd < 0)
		tp_member_fail(m, "%u, %s: open: %s", b->number, way_names[b->way], strerror(errno));
	if (read(fd, &number, sizeof(number)) != sizeof(number) || number != b->number)
		tp_member_fail(m, "%u, %s: the file says %u", b->number, way_names[b->way], number);
	(void)close(fd);
}

static void taker(struct tp_member *m)
{
	unsigned pair = m->number / 2;
	struct baton b;
	char name[NAME_BYTES];

	name_of(pair, "file", name);
	tp_member_doing(m, "waiting for its partner");
	if (!receive(m, batons[pair][0], &b, sizeof(b)))
		return;
	tp_member_doing(m, way_names[b.way]);
	if (b.way == UNLOCKED)
		take_and_drop_lock(m, pair);
	else
		look(m, name, &b);
	/* It is made anew in the next round. */
	if (b.way == RENAMED && unlink(name) != 0)
		tp_member_fail(m, "unlink: %s", strerror(errno));
	tp_party_count(m->party, b.way, 1);
	say(m, thanks[pair][1], "", 1);
}

int main(int argc, char **argv)
{
	struct tp_party *p = tp_party_new();
	int status;

	p->stall_seconds = 30;
	p->seconds = 3;
	if (argc == 4 && strcmp(argv[1], "--seconds") == 0)
		p->seconds = (unsigned)strtoul(argv[2], NULL, 10);
	if ((argc != 2 && argc != 4) || chdir(argv[argc - 1]) != 0) {
		(void)fprintf(stderr, "usage: tp-handover [--seconds N] DIR\n");
		return 2;
	}
	remove_all();
	for (unsigned i = 0; i < PAIRS; i++) {
		if (pipe(batons[i]) != 0 || pipe(thanks[i]) != 0)
			abort();
		tp_party_add(p, "maker", maker);
		tp_party_add(p, "taker", taker);
	}
	status = tp_party_run(p);
	remove_all();
	for (unsigned i = 0; i < WAYS; i++)
		printf("%s%s %lu", i ? ", " : "", way_names[i], (unsigned long)p->counters[i]);
	printf("\n");
	return status;
}
