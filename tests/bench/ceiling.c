/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tp-ceiling: the fastest FUSE server that we know how to write, as the measure for the real one.
 *
 *	tp-ceiling [OPTION...] MOUNTPOINT	serves in the foreground until it is unmounted
 *
 * It keeps nothing: what is written lands in one static buffer, what is read comes from it. Of each name it remembers the size, so that
 * reads find an end. It has one flat directory. It answers what a server that keeps its promises has to be asked (LOOKUP, CREATE, OPEN,
 * READ, WRITE, FLUSH of what was written, RELEASE), and spares everything else: no FLUSH of what was only read, no
 * attributes or pages asked for twice.
 *
 * What was tried (2 processors, kernel 6.18, clients pinned, medians in us for one client; what is marked is the best mode):
 *
 *					4 KiB create	4 KiB warm	1 MiB create	16 MiB first read
 *	past the page cache,
 *	  one thread, client's processor	46 *		17 *		154 *		8,200
 *	  one thread, the other processor	155		60		293		4,200 *
 *	  one thread, as the kernel likes	41 to 178	16 to 54	142 to 317	4,600 to 8,000
 *	  two threads				55		28		163		5,900
 *	  a thread that never sleeps		82		40		208		4,500
 *	through the page cache (--cached-writes)
 *	  one thread				46		18		506		2,600 (was never away)
 *
 * So: direct I/O for writes, page cache for reads. Small things go fastest where the client runs, because a request is then two switches
 * and no interrupt between (virtual) processors; a long read goes fastest elsewhere, because read-ahead is answered while the client copies. With two
 * clients two threads are best (1 MiB create 186 against 380). Following the client from processor to processor cost more than it
 * brought when the client is not pinned: the kernel then moves the client away again. The payload in one buffer that stays in
 * the processor's cache against a memory as large as the objects (--fill 256M): 1 MiB create 142 and 151, first read 434 and 511.
 * scripts/bench runs one thread and two, where tp-bench puts all servers in turn, and takes the best for each figure.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#include <fuse_lowlevel.h>

#define NAMES_MAX (1u << 16) /* a power of two */
#define WRITE_BYTES_MAX (1u << 20)
#define HEAD_BYTES (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))
#define LARGE_HEAD_BYTES (64u << 10)
#define TIMEOUT_S 100000000u

struct ceiling_name {
	uint64_t hash; /* of the name, never 0; a place is kept for its name for ever */
	uint64_t size_bytes;
	uint64_t births; /* part of the node number: what is created again is another node to the kernel */
	bool alive;
};

static struct ceiling_name names[NAMES_MAX];
static bool cached_writes;
static bool with_permissions;
static size_t fill_bytes = WRITE_BYTES_MAX;
static unsigned threads = 1;

/* One reading thread's memory. */
struct ceiling_reader {
	pthread_t thread;
	int fd;
	char *fill;	  /* fill_bytes, and WRITE_BYTES_MAX more: where payload comes from and goes to */
	size_t fill_used; /* where the next payload starts */
	char head[LARGE_HEAD_BYTES] __attribute__((aligned(64)));
};

static void *fill_next(struct ceiling_reader *t, size_t bytes)
{
	char *p = t->fill + t->fill_used;

	t->fill_used += (bytes + 4095) & ~(size_t)4095;
	if (t->fill_used >= fill_bytes)
		t->fill_used = 0;
	return p;
}

static uint64_t name_hash(const char *name)
{
	uint64_t h = 14695981039346656037u;

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 1099511628211u;
	return h ? h : 1;
}

/* The place of a name; with `make`, a free one when it has none. NULL: none, or the table is full. */
static struct ceiling_name *name_find(const char *name, bool make)
{
	uint64_t h = name_hash(name);
	uint64_t at = h ^ h >> 32;

	for (unsigned i = 0; i < NAMES_MAX; i++, at++) {
		struct ceiling_name *n = &names[at % NAMES_MAX];

		if (n->hash == h)
			return n;
		if (!n->hash) {
			if (make)
				n->hash = h;
			return make ? n : NULL;
		}
	}
	return NULL;
}

static uint64_t node_of(const struct ceiling_name *n)
{
	return NAMES_MAX * (n->births + 1) + (uint64_t)(n - names);
}

static struct ceiling_name *name_of(uint64_t node)
{
	return &names[node % NAMES_MAX];
}

static void attr_fill(uint64_t node, struct fuse_attr *ret_attr)
{
	memset(ret_attr, 0, sizeof(*ret_attr));
	ret_attr->ino = node;
	ret_attr->blksize = 4096;
	if (node == FUSE_ROOT_ID) {
		ret_attr->mode = S_IFDIR | 0777;
		ret_attr->nlink = 2;
		return;
	}
	ret_attr->mode = S_IFREG | 0666;
	ret_attr->nlink = 1;
	ret_attr->size = name_of(node)->size_bytes;
	ret_attr->blocks = (ret_attr->size + 511) / 512;
}

static void entry_fill(const struct ceiling_name *n, struct fuse_entry_out *ret_entry)
{
	memset(ret_entry, 0, sizeof(*ret_entry));
	ret_entry->nodeid = node_of(n);
	ret_entry->entry_valid = TIMEOUT_S;
	ret_entry->attr_valid = TIMEOUT_S;
	attr_fill(ret_entry->nodeid, &ret_entry->attr);
}

/* A failed answer is for a caller that is gone. */
static void reply(struct ceiling_reader *t, uint64_t unique, int error, const void *data, size_t len)
{
	struct fuse_out_header head = {
		.unique = unique, .error = -error, .len = (uint32_t)(sizeof(head) + len)};
	struct iovec iov[2] = {{&head, sizeof(head)}, {(void *)data, len}};

	(void)!writev(t->fd, iov, len ? 2 : 1);
}

static void do_init(struct ceiling_reader *t, const struct fuse_in_header *h, const struct fuse_init_in *in)
{
	uint32_t wanted = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_MAX_PAGES | FUSE_PARALLEL_DIROPS |
			  FUSE_ATOMIC_O_TRUNC | FUSE_NO_OPENDIR_SUPPORT | FUSE_HANDLE_KILLPRIV_V2;
	struct fuse_init_out out = {
		.major = FUSE_KERNEL_VERSION,
		.minor = in->minor < FUSE_KERNEL_MINOR_VERSION ? in->minor : FUSE_KERNEL_MINOR_VERSION,
		.max_readahead = WRITE_BYTES_MAX,
		.flags = in->flags & wanted,
		.max_background = 4096,
		.congestion_threshold = 4096,
		.max_write = WRITE_BYTES_MAX,
		.time_gran = 1,
		.max_pages = WRITE_BYTES_MAX / 4096,
	};

	reply(t, h->unique, 0, &out, sizeof(out));
}

static void do_lookup(struct ceiling_reader *t, const struct fuse_in_header *h, const char *name)
{
	const struct ceiling_name *n = name_find(name, false);
	struct fuse_entry_out out;

	if (!n || !n->alive) {
		reply(t, h->unique, ENOENT, NULL, 0);
		return;
	}
	entry_fill(n, &out);
	reply(t, h->unique, 0, &out, sizeof(out));
}

static void do_create(
	struct ceiling_reader *t, const struct fuse_in_header *h, const struct fuse_create_in *in)
{
	struct ceiling_name *n = name_find((const char *)(in + 1), true);
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out;

	if (!n) {
		reply(t, h->unique, ENOSPC, NULL, 0);
		return;
	}
	if (!n->alive) {
		n->births++;
		n->alive = true;
	}
	n->size_bytes = 0;
	memset(&out, 0, sizeof(out));
	entry_fill(n, &out.entry);
	out.open.open_flags =
		cached_writes ? FOPEN_KEEP_CACHE : FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
	reply(t, h->unique, 0, &out, sizeof(out));
}

static void do_open(struct ceiling_reader *t, const struct fuse_in_header *h, const struct fuse_open_in *in)
{
	struct fuse_open_out out = {.open_flags = FOPEN_KEEP_CACHE | FOPEN_NOFLUSH};

	if ((in->flags & O_ACCMODE) != O_RDONLY)
		out.open_flags =
			cached_writes ? FOPEN_KEEP_CACHE : FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
	if (in->flags & O_TRUNC)
		name_of(h->nodeid)->size_bytes = 0;
	reply(t, h->unique, 0, &out, sizeof(out));
}

static void do_read(struct ceiling_reader *t, const struct fuse_in_header *h, const struct fuse_read_in *in)
{
	uint64_t size = name_of(h->nodeid)->size_bytes;
	uint64_t len = in->offset < size ? size - in->offset : 0;

	if (len > in->size)
		len = in->size;
	reply(t, h->unique, 0, fill_next(t, len), len);
}

static void do_write(struct ceiling_reader *t, const struct fuse_in_header *h, const struct fuse_write_in *in)
{
	struct ceiling_name *n = name_of(h->nodeid);
	struct fuse_write_out out = {.size = in->size};

	if (n->size_bytes < in->offset + in->size)
		n->size_bytes = in->offset + in->size;
	reply(t, h->unique, 0, &out, sizeof(out));
	(void)fill_next(t, in->size);
}

static void do_attr(
	struct ceiling_reader *t, const struct fuse_in_header *h, const struct fuse_setattr_in *set)
{
	struct fuse_attr_out out = {.attr_valid = TIMEOUT_S};

	if (set && set->valid & FATTR_SIZE && h->nodeid != FUSE_ROOT_ID)
		name_of(h->nodeid)->size_bytes = set->size;
	attr_fill(h->nodeid, &out.attr);
	reply(t, h->unique, 0, &out, sizeof(out));
}

static void do_unlink(struct ceiling_reader *t, const struct fuse_in_header *h, const char *name)
{
	struct ceiling_name *n = name_find(name, false);
	bool there = n && n->alive;

	if (there)
		n->alive = false;
	reply(t, h->unique, there ? 0 : ENOENT, NULL, 0);
}

static void do_statfs(struct ceiling_reader *t, const struct fuse_in_header *h)
{
	struct fuse_statfs_out out = {.st = {.bsize = 4096,
					      .frsize = 4096,
					      .blocks = 1u << 30,
					      .bfree = 1u << 30,
					      .bavail = 1u << 30,
					      .namelen = 255}};

	reply(t, h->unique, 0, &out, sizeof(out));
}

static void handle(struct ceiling_reader *t)
{
	const struct fuse_in_header *h = (const void *)t->head;
	const void *arg = h + 1;

	switch (h->opcode) {
	case FUSE_READ:
		do_read(t, h, arg);
		break;
	case FUSE_WRITE:
		do_write(t, h, arg);
		break;
	case FUSE_LOOKUP:
		do_lookup(t, h, arg);
		break;
	case FUSE_OPEN:
		do_open(t, h, arg);
		break;
	case FUSE_CREATE:
		do_create(t, h, arg);
		break;
	case FUSE_GETATTR:
		do_attr(t, h, NULL);
		break;
	case FUSE_SETATTR:
		do_attr(t, h, arg);
		break;
	case FUSE_UNLINK:
		do_unlink(t, h, arg);
		break;
	case FUSE_STATFS:
		do_statfs(t, h);
		break;
	case FUSE_INIT:
		do_init(t, h, arg);
		break;
	case FUSE_FLUSH:
	case FUSE_RELEASE:
	case FUSE_RELEASEDIR:
	case FUSE_READDIR:
		reply(t, h->unique, 0, NULL, 0);
		break;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
	case FUSE_INTERRUPT:
		break;
	default:
		reply(t, h->unique, ENOSYS, NULL, 0);
	}
}

/*
 * Each request is read so that the payload of a WRITE starts on a page of the fill memory; what is longer than a WRITE's head and no WRITE
 * is put together again in the head.
 */
static void *serve(void *user)
{
	struct ceiling_reader *t = user;

	for (;;) {
		char *payload = t->fill + t->fill_used;
		struct iovec iov[2] = {{t->head, HEAD_BYTES}, {payload, WRITE_BYTES_MAX}};
		ssize_t n = readv(t->fd, iov, 2);

		if (n < 0) {
			if (errno == EINTR || errno == ENOENT)
				continue;
			return NULL;
		}
		if ((size_t)n > HEAD_BYTES && ((struct fuse_in_header *)t->head)->opcode != FUSE_WRITE) {
			size_t more = (size_t)n - HEAD_BYTES;

			if (more > sizeof(t->head) - HEAD_BYTES)
				more = sizeof(t->head) - HEAD_BYTES;
			memcpy(t->head + HEAD_BYTES, payload, more);
		}
		handle(t);
	}
}

/* Only root may; as anybody else the kernel's 128 KiB stay. */
static void raise_readahead(const char *mountpoint)
{
	struct stat st;
	char path[128];
	FILE *f;

	if (stat(mountpoint, &st))
		return;
	(void)snprintf(
		path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", major(st.st_dev), minor(st.st_dev));
	f = fopen(path, "we");
	if (!f)
		return;
	(void)fprintf(f, "%u\n", WRITE_BYTES_MAX / 1024);
	(void)fclose(f);
}

static int reader_start(struct ceiling_reader *t, int fd)
{
	size_t bytes = fill_bytes + WRITE_BYTES_MAX;

	t->fd = fd;
	t->fill = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (t->fill == MAP_FAILED)
		return -errno;
	(void)madvise(t->fill, bytes, MADV_HUGEPAGE);
	memset(t->fill, 'c', bytes);
	return -pthread_create(&t->thread, NULL, serve, t);
}

static int run(const char *mountpoint)
{
	char options[128];
	char name[] = "tp-ceiling", option[] = "-o";
	char *argv[] = {name, option, options, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);
	const struct fuse_lowlevel_ops none = {0};
	struct ceiling_reader *readers;
	struct fuse_session *session;
	int fd;

	(void)snprintf(options, sizeof(options), "fsname=tp-ceiling,subtype=tp-ceiling%s%s",
		geteuid() == 0 ? ",allow_other" : "", with_permissions ? ",default_permissions" : "");
	session = fuse_session_new(&args, &none, sizeof(none), NULL);
	if (!session)
		return 1;
	if (fuse_session_mount(session, mountpoint))
		return 1;
	fd = fuse_session_fd(session);
	readers = aligned_alloc(64, threads * sizeof(*readers));
	if (!readers)
		return 1;
	for (unsigned i = 0; i < threads; i++) {
		if (reader_start(&readers[i], fd))
			return 1;
	}
	raise_readahead(mountpoint);
	for (unsigned i = 0; i < threads; i++)
		(void)pthread_join(readers[i].thread, NULL);
	fuse_session_unmount(session);
	fuse_session_destroy(session);
	return 0;
}

static size_t size_parse(const char *text)
{
	char *end;
	size_t n = strtoull(text, &end, 0);

	return n << (*end == 'G' ? 30 : *end == 'M' ? 20 : *end == 'K' ? 10 : 0);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"cached-writes", no_argument, NULL, 'c'},
		{"permissions", no_argument, NULL, 'p'},
		{"fill", required_argument, NULL, 'f'},
		{"threads", required_argument, NULL, 't'},
		{NULL, 0, NULL, 0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			cached_writes = true;
			break;
		case 'p':
			with_permissions = true;
			break;
		case 'f':
			fill_bytes = size_parse(optarg);
			break;
		case 't':
			threads = (unsigned)atoi(optarg);
			break;
		default:
			return 2;
		}
	}
	if (optind + 1 != argc || !threads || !fill_bytes) {
		(void)fputs("usage: tp-ceiling [--threads N] [--cached-writes] [--permissions]\n"
			    "                  [--fill SIZE] MOUNTPOINT\n",
			stderr);
		return 2;
	}
	return run(argv[optind]);
}
