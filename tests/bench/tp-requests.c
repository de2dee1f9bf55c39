/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tp-requests: counts the FUSE requests that single operations cost, exactly, by .tidepool/stats of the mount.
 *
 *	tp-requests [--size 16M] MOUNT
 *
 * One line for each operation: `requests op=warm-read OPEN=1 RELEASE=1`. Requests that an operation did not cause are not in its line. Nobody
 * else may use the mount meanwhile.
 *
 * Looking at the counters costs requests itself, and a RELEASE may be counted a moment after close() returned. So the cost of a look
 * is measured first, and after each operation the counters are looked at until one look more adds nothing but its own cost.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPS_MAX 64
#define PIECE_BYTES ((size_t)1 << 20)
#define LOOKS_MAX 1000

struct counts {
	uint64_t n[OPS_MAX];
};

static char op_names[OPS_MAX][32];
static unsigned op_count;
static char stats_path[4096];
static char directory[4096];
static char *buffer;
static size_t size_bytes = (size_t)16 << 20;

static __attribute__((noreturn)) void die(const char *what)
{
	(void)fprintf(stderr, "tp-requests: %s: %s\n", what, strerror(errno));
	exit(1);
}

static unsigned op_index(const char *name, size_t len)
{
	for (unsigned i = 0; i < op_count; i++) {
		if (strlen(op_names[i]) == len && memcmp(op_names[i], name, len) == 0)
			return i;
	}
	if (op_count == OPS_MAX || len >= sizeof(op_names[0])) {
		errno = E2BIG;
		die("more kinds of requests than there is room for");
	}
	memcpy(op_names[op_count], name, len);
	return op_count++;
}

static struct counts look(void)
{
	static const char prefix[] = "tidepool_fuse_requests_total{op=\"";
	static char text[1 << 20];
	struct counts c = {0};
	size_t have = 0;
	ssize_t n;
	int fd = open(stats_path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die(stats_path);
	while ((n = read(fd, text + have, sizeof(text) - 1 - have)) > 0)
		have += (size_t)n;
	(void)close(fd);
	text[have] = 0;
	for (const char *p = text; (p = strstr(p, prefix));) {
		const char *name = p + sizeof(prefix) - 1;
		const char *end = strchr(name, '"');

		if (!end)
			break;
		c.n[op_index(name, (size_t)(end - name))] = strtoull(end + 2, NULL, 10);
		p = end;
	}
	return c;
}

static struct counts minus(struct counts a, struct counts b)
{
	for (unsigned i = 0; i < OPS_MAX; i++)
		a.n[i] -= b.n[i];
	return a;
}

static int same(struct counts a, struct counts b)
{
	return memcmp(&a, &b, sizeof(a)) == 0;
}

/* What one look costs: three in a row that agree. */
static struct counts look_cost(void)
{
	struct counts last = {0}, cost = {0}, c, d;
	unsigned agree = 0;

	for (unsigned i = 0; i < LOOKS_MAX && agree < 3; i++) {
		c = look();
		d = minus(c, last);
		agree = same(d, cost) ? agree + 1 : 0;
		cost = d;
		last = c;
	}
	if (agree < 3) {
		errno = EBUSY;
		die("somebody else uses the mount");
	}
	return cost;
}

static void count(const char *name, void (*operation)(void))
{
	struct counts cost = look_cost();
	struct counts start = look();
	struct counts last, c, all;
	unsigned looks = 1;

	operation();
	last = look();
	for (;; last = c) {
		c = look();
		if (same(minus(c, last), cost))
			break;
		if (++looks == LOOKS_MAX) {
			errno = EBUSY;
			die("somebody else uses the mount");
		}
	}
	all = minus(last, start);
	(void)printf("requests op=%s", name);
	for (unsigned i = 0; i < op_count; i++) {
		uint64_t n = all.n[i] - looks * cost.n[i];

		if (n)
			(void)printf(" %s=%" PRIu64, op_names[i], n);
	}
	(void)printf("\n");
	(void)fflush(stdout);
}

static void do_create(void)
{
	int fd = open("object", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		die("create");
	for (size_t off = 0; off < size_bytes; off += PIECE_BYTES) {
		if (write(fd, buffer, PIECE_BYTES) != (ssize_t)PIECE_BYTES)
			die("write");
	}
	if (close(fd))
		die("close");
}

static void do_read(void)
{
	int fd = open("object", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die("open");
	for (size_t off = 0; off < size_bytes; off += PIECE_BYTES) {
		if (read(fd, buffer, PIECE_BYTES) != (ssize_t)PIECE_BYTES)
			die("read");
	}
	(void)close(fd);
}

static void do_stat(void)
{
	struct stat st;

	if (stat("object", &st) || (size_t)st.st_size != size_bytes)
		die("stat");
}

static void do_nothing(void)
{
}

static void do_unlink(void)
{
	if (unlink("object"))
		die("unlink");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"size", required_argument, NULL, 's'}, {NULL, 0, NULL, 0}};
	char *end;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c != 's')
			return 2;
		size_bytes = strtoull(optarg, &end, 0) << (*end == 'M' ? 20 : 0);
	}
	if (optind + 1 != argc || !size_bytes || size_bytes % PIECE_BYTES) {
		(void)fputs("usage: tp-requests [--size 16M] MOUNT\n", stderr);
		return 2;
	}
	/* Aligned, since a write past the page cache that touches 257 pages is two requests. */
	buffer = aligned_alloc(4096, PIECE_BYTES);
	if (!buffer)
		return 1;
	memset(buffer, 'r', PIECE_BYTES);
	(void)snprintf(stats_path, sizeof(stats_path), "%s/.tidepool/stats", argv[optind]);
	(void)snprintf(directory, sizeof(directory), "%s/cache/requests", argv[optind]);
	/* Standing in the directory, so that a path is one name and no directory above is asked about. */
	if (mkdir(directory, 0755) || chdir(directory))
		die(directory);
	count("nothing", do_nothing);
	count("create", do_create);
	count("first-read", do_read);
	count("warm-read", do_read);
	count("first-stat", do_stat);
	count("warm-stat", do_stat);
	count("overwrite", do_create);
	count("unlink", do_unlink);
	if (chdir("/") || rmdir(directory))
		die(directory);
	return 0;
}
