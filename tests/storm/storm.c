/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tp-storm DIR: opens, reads, closes and replacements of one name by several processes. No program may see ESTALE, a short read, bytes of
 * two generations, or an errno that the race does not explain.
 *
 * With --never-absent nobody unlinks, and then ENOENT is wrong, too. With --posix only what is atomic on any file system is done (a temporary name and a rename, unlink), so that the test can be held
 * against tmpfs.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "party.h"
#include "stamp.h"

#define NAME "name"
#define LEN_MIN 64u
#define LEN_MAX 150000u

enum {
	READ_ABSENT,
	READ_WHOLE,
	READ_MAPPED,
	READ_HELD,
	BY_TRUNC,
	BY_RENAME,
	BY_UNLINK,
	CLOSE_EEXIST,
	LOOKED,
	COUNTERS
};
static const char *const counter_names[] = {"absent", "read", "mapped", "held", "by O_TRUNC", "by rename",
	"by unlink", "EEXIST at close", "looked"};

static bool posix_only, never_absent;

static const char *name_of(int error)
{
	const char *name = strerrorname_np(error);

	return name ? name : "?";
}

static void check(struct tp_member *m, const uint8_t *bytes, uint32_t len, const char *how)
{
	uint64_t number = len >= 8 ? tp_stamp_number(bytes) : 0;
	uint32_t wrong = tp_stamp_wrong(bytes, len);

	if (len < 8)
		tp_member_fail(m, "%s: %u bytes in all", how, len);
	if (wrong < len)
		tp_member_fail(m, "%s: bytes of two generations: %lx, at %u of %u another one", how,
			(unsigned long)number, wrong, len);
	if (len != tp_stamp_len(number, LEN_MIN, LEN_MAX))
		tp_member_fail(m, "%s: %u bytes of generation %lx, which has %u", how, len,
			(unsigned long)number, tp_stamp_len(number, LEN_MIN, LEN_MAX));
}

/* All bytes of fd, from its start, by reads of odd lengths. */
static uint32_t read_all(struct tp_member *m, int fd, uint8_t *buf)
{
	uint32_t len = 0, chunk = 1 + tp_member_random(m, 2) * 4095 + tp_member_random(m, 70000);

	for (;;) {
		ssize_t r = pread(fd, buf + len, chunk < LEN_MAX + 1 - len ? chunk : LEN_MAX + 1 - len, len);

		if (r < 0)
			tp_member_fail(m, "read at %u: %s", len, name_of(errno));
		if (r == 0)
			return len;
		len += (uint32_t)r;
	}
}

static void read_mapped(struct tp_member *m, int fd, uint32_t len)
{
	uint8_t *at = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);

	if (at == MAP_FAILED)
		tp_member_fail(m, "mmap: %s", name_of(errno));
	check(m, at, len, "mapped");
	(void)munmap(at, len);
	tp_party_count(m->party, READ_MAPPED, 1);
}

static void reader(struct tp_member *m)
{
	uint8_t *buf = m->user ? m->user : (m->user = malloc(LEN_MAX + 1));
	struct stat st;

	tp_member_doing(m, "open for reading");
	int fd = open(NAME, O_RDONLY);

	if (fd < 0 && (errno != ENOENT || never_absent))
		tp_member_fail(m, "open for reading: %s", name_of(errno));
	if (fd < 0) {
		tp_party_count(m->party, READ_ABSENT, 1);
		return;
	}
	tp_member_doing(m, "read");
	if (fstat(fd, &st) != 0)
		tp_member_fail(m, "fstat: %s", name_of(errno));
	uint32_t len = read_all(m, fd, buf);

	check(m, buf, len, "read");
	if (st.st_size != len)
		tp_member_fail(m, "fstat said %ld, there were %u bytes", (long)st.st_size, len);
	if (tp_member_random(m, 4) == 0)
		read_mapped(m, fd, len);
	if (tp_member_random(m, 4) == 0) {
		uint64_t number = tp_stamp_number(buf);

		for (unsigned i = tp_member_random(m, 40); i > 0; i--)
			(void)sched_yield();
		len = read_all(m, fd, buf);
		check(m, buf, len, "read again");
		if (tp_stamp_number(buf) != number)
			tp_member_fail(m, "an open descriptor went over to another generation");
		tp_party_count(m->party, READ_HELD, 1);
	}
	if (close(fd) != 0)
		tp_member_fail(m, "close after reading: %s", name_of(errno));
	tp_party_count(m->party, READ_WHOLE, 1);
}

static void looker(struct tp_member *m)
{
	struct stat st;
	struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};
	int r;

	tp_member_doing(m, "stat, chmod, utimens");
	switch (tp_member_random(m, 8)) {
	case 0:
		r = utimensat(AT_FDCWD, NAME, times, 0);
		break;
	case 1:
		r = chmod(NAME, tp_member_random(m, 2) ? 0644 : 0664);
		break;
	case 2:
		r = access(NAME, R_OK | W_OK);
		break;
	default:
		r = stat(NAME, &st);
		if (r == 0 && st.st_size < LEN_MIN)
			tp_member_fail(m, "stat says %ld bytes", (long)st.st_size);
	}
	if (r != 0 && (errno != ENOENT || never_absent))
		tp_member_fail(m, "stat, chmod, access or utimens: %s", name_of(errno));
	tp_party_count(m->party, LOOKED, 1);
}

/* A number that nobody else writes, and never the same byte eight times. */
static uint64_t next_number(struct tp_member *m)
{
	return (m->party->rounds[m->number] + 1) << 8 | (m->number + 1) | 0xa5ull << 56;
}

/* Returns what close() gave: 0 or an errno. */
static int write_all(struct tp_member *m, int fd, uint8_t *buf)
{
	uint64_t number = next_number(m);
	uint32_t len = tp_stamp_len(number, LEN_MIN, LEN_MAX), done = 0;

	tp_stamp_fill(buf, number, len);
	while (done < len) {
		uint32_t chunk = 1 + tp_member_random(m, 65536);
		ssize_t r = write(fd, buf + done, chunk < len - done ? chunk : len - done);

		if (r <= 0)
			tp_member_fail(m, "write at %u: %s", done, r < 0 ? name_of(errno) : "0 bytes");
		done += (uint32_t)r;
	}
	return close(fd) == 0 ? 0 : errno;
}

static void closed(struct tp_member *m, int error, const char *how)
{
	/* A rename by another process onto the name of a draft wins, and the draft's close says so. */
	if (error != 0 && error != EEXIST)
		tp_member_fail(m, "%s: close: %s", how, name_of(error));
	if (error == EEXIST)
		tp_party_count(m->party, CLOSE_EEXIST, 1);
}

static void by_trunc(struct tp_member *m, uint8_t *buf)
{
	bool create = tp_member_random(m, 3) > 0;

	tp_member_doing(m, "open with O_TRUNC");
	int fd = open(NAME, O_WRONLY | O_TRUNC | (create ? O_CREAT : 0), 0644);

	if (fd < 0 && (create || errno != ENOENT || never_absent))
		tp_member_fail(m, "open with O_TRUNC%s: %s", create ? "|O_CREAT" : "", name_of(errno));
	if (fd < 0)
		return;
	tp_member_doing(m, "write and close after O_TRUNC");
	closed(m, write_all(m, fd, buf), "after O_TRUNC");
	tp_party_count(m->party, BY_TRUNC, 1);
}

static void by_rename(struct tp_member *m, uint8_t *buf)
{
	char temporary[32];

	tp_member_doing(m, "write of a temporary name");
	(void)snprintf(temporary, sizeof(temporary), ".%s.%u", NAME, m->number);
	int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL, 0644);

	if (fd < 0)
		tp_member_fail(m, "creating %s: %s", temporary, name_of(errno));
	int error = write_all(m, fd, buf);

	if (error != 0)
		tp_member_fail(m, "closing %s: %s", temporary, name_of(error));
	tp_member_doing(m, "rename");
	if (rename(temporary, NAME) != 0)
		tp_member_fail(m, "renaming %s: %s", temporary, name_of(errno));
	tp_party_count(m->party, BY_RENAME, 1);
}

static void by_unlink(struct tp_member *m, uint8_t *buf)
{
	tp_member_doing(m, "unlink");
	if (unlink(NAME) != 0 && errno != ENOENT)
		tp_member_fail(m, "unlink: %s", name_of(errno));
	tp_party_count(m->party, BY_UNLINK, 1);
	if (posix_only)
		return;
	tp_member_doing(m, "create with O_EXCL");
	int fd = open(NAME, O_WRONLY | O_CREAT | O_EXCL, 0644);

	if (fd < 0 && errno != EEXIST)
		tp_member_fail(m, "creating with O_EXCL: %s", name_of(errno));
	if (fd >= 0)
		closed(m, write_all(m, fd, buf), "after O_EXCL");
}

static void writer(struct tp_member *m)
{
	uint8_t *buf = m->user ? m->user : (m->user = malloc(LEN_MAX + 1));
	uint32_t dice = tp_member_random(m, 10);

	if (dice < 1 && !never_absent)
		by_unlink(m, buf);
	else if (dice < 6 && !posix_only)
		by_trunc(m, buf);
	else
		by_rename(m, buf);
}

static int parse(int argc, char **argv, struct tp_party *p, unsigned *ret_processes)
{
	static const struct option options[] = {{"seconds", required_argument, NULL, 's'},
		{"rounds", required_argument, NULL, 'r'}, {"processes", required_argument, NULL, 'p'},
		{"seed", required_argument, NULL, 'e'}, {"posix", no_argument, NULL, 'x'},
		{"never-absent", no_argument, NULL, 'a'}, {NULL, 0, NULL, 0}};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 's')
			p->seconds = (unsigned)atoi(optarg);
		else if (c == 'r')
			p->rounds_max = strtoul(optarg, NULL, 10);
		else if (c == 'p')
			*ret_processes = (unsigned)atoi(optarg);
		else if (c == 'e')
			p->seed = strtoul(optarg, NULL, 10);
		else if (c == 'x')
			posix_only = true;
		else if (c == 'a')
			never_absent = true;
		else
			return -EINVAL;
	}
	if (optind + 1 != argc || *ret_processes < 3 || *ret_processes > TP_MEMBERS_MAX)
		return -EINVAL;
	return p->seconds || p->rounds_max ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
	struct tp_party *p = tp_party_new();
	unsigned processes = 8;

	if (parse(argc, argv, p, &processes) < 0) {
		(void)fprintf(stderr, "usage: tp-storm --seconds N|--rounds N [--processes N] [--seed N] "
				      "[--posix] [--never-absent] DIR\n");
		return 2;
	}
	if (chdir(argv[optind]) != 0) {
		perror(argv[optind]);
		return 2;
	}
	if (never_absent) {
		struct tp_member first = {.party = p, .number = TP_MEMBERS_MAX - 1, .role = "the first"};

		uint8_t *buf = malloc(LEN_MAX + 1);

		by_rename(&first, buf);
		free(buf);
	}
	for (unsigned i = 0; i < processes; i++) {
		if (i == 0)
			tp_party_add(p, "looker", looker);
		else
			tp_party_add(p, i % 2 ? "writer" : "reader", i % 2 ? writer : reader);
	}
	int r = tp_party_run(p);

	for (unsigned i = 0; i < COUNTERS; i++)
		(void)printf("%s%s %lu", i ? ", " : "", counter_names[i], (unsigned long)p->counters[i]);
	(void)printf("\n");
	return r;
}
