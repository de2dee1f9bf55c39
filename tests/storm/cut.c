/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tp-cut DIR: several processes create, overwrite, rename, remove and look at a few names of one directory until its daemon is gone, so that the
 * kernel's lock of the directory is wanted all the time by them and by the daemon's invalidations.
 *
 * Each has to meet an error that says so (ENOTCONN, ECONNABORTED or EIO), which ends it. What else the others do to it is not looked at: tp-storm does.
 * Exit status: 0 when all ended in that way, 1 when one did not within --seconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "party.h"

#define NAMES 6

/* Ends the process when that is what r, a system call's result, says. */
static long look(struct tp_member *m, long r)
{
	if (r >= 0 || (errno != ENOTCONN && errno != ECONNABORTED && errno != EIO))
		return r;
	tp_party_count(m->party, 0, 1);
	_exit(0);
}

static void one_round(struct tp_member *m)
{
	static const char bytes[3000];
	char name[16], other[16];
	struct stat st;
	int fd;

	(void)snprintf(name, sizeof(name), "n%u", tp_member_random(m, NAMES));
	(void)snprintf(other, sizeof(other), "n%u", tp_member_random(m, NAMES));
	tp_member_doing(m, "a call on one of the names");
	switch (tp_member_random(m, 8)) {
	case 0:
		(void)look(m, unlink(name));
		break;
	case 1:
		(void)look(m, rename(name, other));
		break;
	case 2:
		(void)look(m, stat(name, &st));
		break;
	case 3:
		(void)look(m, mkdir("d", 0755));
		(void)look(m, rmdir("d"));
		break;
	default:
		fd = (int)look(m, open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644));
		if (fd < 0)
			return;
		(void)look(m, write(fd, bytes, sizeof(bytes)));
		(void)look(m, close(fd));
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"seconds", required_argument, NULL, 's'},
		{"processes", required_argument, NULL, 'p'}, {"seed", required_argument, NULL, 'e'},
		{NULL, 0, NULL, 0}};
	struct tp_party *p = tp_party_new();
	unsigned processes = 8;
	int c, r;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 's')
			p->seconds = (unsigned)atoi(optarg);
		else if (c == 'p')
			processes = (unsigned)atoi(optarg);
		else if (c == 'e')
			p->seed = strtoul(optarg, NULL, 10);
		else
			optind = argc;
	}
	if (optind + 1 != argc || p->seconds == 0 || processes == 0 || processes > TP_MEMBERS_MAX) {
		(void)fprintf(stderr, "usage: tp-cut --seconds N [--processes N] [--seed N] DIR\n");
		return 2;
	}
	if (chdir(argv[optind]) != 0) {
		perror(argv[optind]);
		return 2;
	}
	for (unsigned i = 0; i < processes; i++)
		tp_party_add(p, "client", one_round);
	r = tp_party_run(p);
	(void)printf("%lu of %u were cut off\n", (unsigned long)p->counters[0], processes);
	return r == 0 && p->counters[0] == processes ? 0 : 1;
}
