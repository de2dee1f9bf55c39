/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The session over a pair of sockets: the test is the kernel. At the end the same over a real mount, where there may be one.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fs/frame.h"
#include "fs/hand.h"
#include "fs/session.h"
#include "fs/turns.h"
#include "store/cleanup.h"
#include "store/clock.h"
#include "tests/store/heap.h"

#define POOL_BYTES (64u << 20)

/* A session with all around it. The handler can be told what to do by node number. */
enum node {
	NODE_ECHO = 10, /* answers with arg */
	NODE_PARK,	/* waits */
	NODE_TAKE,	/* WRITE: takes the full pages, answers their count and the first one's number */
	NODE_HOLD,	/* says that it may block, and waits for `go` */
	NODE_AFTER,	/* waits for RELEASEs, answers whether it had to and what had happened by then */
	NODE_EARLY,	/* waits for `go`, then parks */
	NODE_LATE,	/* answers, then waits for `go` */
	NODE_STORE,	/* puts arg into the page cache, answers how that went */
};

struct rig {
	struct tp_pool *pool;
	struct tp_stats stats;
	struct tp_session *session;
	struct tp_session_ops ops;
	int kernel; /* our end */
	pthread_t thread;
	sem_t entered, go;
	_Atomic unsigned released, handled, ready, cancelled, threads;
	int served;
	struct tp_wait wait;
};

struct taken {
	uint32_t runs_count, payload_count, pages, page;
	uint64_t payload_len;
	char first, last;
};

static void cancel(struct tp_wait *w)
{
	struct rig *g = tp_container(w, struct rig, wait);

	atomic_fetch_add(&g->cancelled, 1);
	tp_reply_error(g->session, &w->caller, EINTR);
}

static void park(struct rig *g, struct tp_request *r)
{
	memset(&g->wait, 0, sizeof(g->wait));
	g->wait.caller = r->caller;
	g->wait.cancel = cancel;
	(void)snprintf(g->wait.what, sizeof(g->wait.what), "test");
	if (tp_wait_add(g->session, &g->wait) < 0)
		tp_reply_error(g->session, &r->caller, EALREADY);
	else
		sem_post(&g->entered);
}

static void take(struct rig *g, struct tp_request *r)
{
	struct taken t = {.runs_count = r->runs_count,
		.payload_count = r->payload_count,
		.payload_len = r->payload_len};
	struct tp_run runs[TP_PAYLOAD_RUNS_MAX];
	unsigned count;

	if (r->payload_count > 0) {
		struct iovec *last = &r->payload[r->payload_count - 1];

		t.first = *(char *)r->payload[0].iov_base;
		t.last = ((char *)last->iov_base)[last->iov_len - 1];
	}
	for (unsigned i = 0; i < r->runs_count; i++)
		t.pages += r->runs[i].pages;
	if (t.pages > 0 && t.pages == r->payload_len / TP_PAGE_BYTES) {
		tp_request_take_pages(r, t.pages, runs, &count);
		t.page = runs[0].page;
		cr_expect_eq(*(char *)tp_pool_at(g->pool, t.page), t.first);
		for (unsigned i = 0; i < count; i++)
			tp_pool_put(g->pool, runs[i].page, runs[i].pages);
	}
	tp_reply_data(g->session, &r->caller, &t, sizeof(t));
}

static int store(struct rig *g, struct tp_request *r)
{
	struct iovec iov[3] = {{0}, {(void *)r->arg, 1}, {(char *)r->arg + 1, r->arg_len - 1}};

	return tp_session_store(g->session, &r->caller, iov, 3);
}

static void handle(struct tp_request *r, void *user)
{
	static _Thread_local struct rig *seen;
	struct rig *g = user;
	uint32_t answer[2];

	if (seen != g)
		atomic_fetch_add(&g->threads, 1);
	seen = g;
	atomic_fetch_add(&g->handled, 1);
	cr_expect_eq(((const char *)r->arg)[r->arg_len], 0);
	switch ((enum node)r->caller.node) {
	case NODE_ECHO:
		if (r->caller.opcode != FUSE_FORGET && r->caller.opcode != FUSE_BATCH_FORGET)
			tp_reply_data(g->session, &r->caller, r->arg, r->arg_len);
		break;
	case NODE_PARK:
		park(g, r);
		break;
	case NODE_TAKE:
		take(g, r);
		break;
	case NODE_HOLD:
		tp_request_may_block(r);
		sem_post(&g->entered);
		sem_wait(&g->go);
		atomic_store(&g->released, 1);
		tp_reply_error(g->session, &r->caller, 0);
		break;
	case NODE_AFTER:
		answer[0] = tp_request_after_releases(r);
		answer[1] = atomic_load(&g->released);
		tp_reply_data(g->session, &r->caller, answer, sizeof(answer));
		break;
	case NODE_EARLY:
		tp_request_may_block(r);
		sem_post(&g->entered);
		sem_wait(&g->go);
		park(g, r);
		break;
	case NODE_LATE:
		tp_request_may_block(r);
		tp_reply_error(g->session, &r->caller, 0);
		sem_wait(&g->go);
		break;
	case NODE_STORE:
		tp_reply_error(g->session, &r->caller, store(g, r));
		break;
	default:
		tp_reply_error(g->session, &r->caller, ENOSYS);
	}
}

static void ready(void *user)
{
	atomic_fetch_add(&((struct rig *)user)->ready, 1);
}

static void *serve(void *arg)
{
	struct rig *g = arg;

	g->served = tp_session_serve(g->session);
	return NULL;
}

static void send_frame(
	struct rig *g, uint32_t opcode, uint64_t unique, uint64_t node, const void *arg, size_t len)
{
	struct fuse_in_header h = {.len = (uint32_t)(sizeof(h) + len),
		.opcode = opcode,
		.unique = unique,
		.nodeid = node,
		.uid = 7,
		.gid = 8,
		.pid = 9};
	struct iovec iov[2] = {{&h, sizeof(h)}, {(void *)arg, len}};

	cr_assert_eq(writev(g->kernel, iov, 2), (ssize_t)(sizeof(h) + len), "%s", strerror(errno));
}

/* Waits for the next reply and returns its error; up to len bytes behind the header go to buf. */
static int reply(struct rig *g, uint64_t unique, void *buf, size_t len, size_t *ret_len)
{
	static char frame[1 << 17];
	struct fuse_out_header h;
	ssize_t k = read(g->kernel, frame, sizeof(frame));

	cr_assert_geq(k, (ssize_t)sizeof(h));
	memcpy(&h, frame, sizeof(h));
	cr_assert_eq(h.len, (uint32_t)k);
	cr_assert_eq(
		h.unique, unique, "reply to %lu, not %lu", (unsigned long)h.unique, (unsigned long)unique);
	if (buf)
		memcpy(buf, frame + sizeof(h), (size_t)k - sizeof(h) < len ? (size_t)k - sizeof(h) : len);
	if (ret_len)
		*ret_len = (size_t)k - sizeof(h);
	return h.error;
}

static uint64_t next_unique(void)
{
	static _Atomic uint64_t unique = 1000;

	return atomic_fetch_add(&unique, 2);
}

static int ask(struct rig *g, uint32_t opcode, uint64_t node, const void *arg, size_t len)
{
	uint64_t unique = next_unique();

	send_frame(g, opcode, unique, node, arg, len);
	return reply(g, unique, NULL, 0, NULL);
}

/* A small request of thread pid that nobody waits for yet. */
static uint64_t send_small(struct rig *g, uint32_t pid)
{
	struct fuse_in_header h = {.len = sizeof(h),
		.opcode = FUSE_STATFS,
		.unique = next_unique(),
		.nodeid = NODE_ECHO,
		.pid = pid};

	cr_expect_eq(write(g->kernel, &h, sizeof(h)), sizeof(h));
	return h.unique;
}

static void rig_make(struct rig *g, uint64_t pool_bytes, unsigned threads)
{
	struct tp_pool_options pool = {.size_bytes = pool_bytes, .hugepages = TP_HUGEPAGES_OFF};
	struct tp_session_options options = {
		.threads_max = threads, .stats = &g->stats, .ops = &g->ops, .user = g};
	int big = 4 << 20;
	int ends[2];

	memset(g, 0, sizeof(*g));
	tp_stats_init(&g->stats);
	sem_init(&g->entered, 0, 0);
	sem_init(&g->go, 0, 0);
	g->ops = (struct tp_session_ops){.handle = handle, .ready = ready};
	cr_assert_eq(tp_pool_new(&pool, NULL, &g->pool), 0);
	options.pool = g->pool;
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	(void)setsockopt(ends[0], SOL_SOCKET, SO_SNDBUFFORCE, &big, sizeof(big));
	g->kernel = ends[0];
	cr_assert_eq(tp_session_new_fd(&options, ends[1], &g->session), 0);
	cr_assert_eq(pthread_create(&g->thread, NULL, serve, g), 0);
}

static void rig_init(struct rig *g)
{
	struct fuse_init_in in = {
		.major = 7, .minor = 45, .max_readahead = 1 << 17, .flags = ~0u, .flags2 = ~0u};
	struct fuse_init_out out;

	send_frame(g, FUSE_INIT, 2, 0, &in, sizeof(in));
	cr_assert_eq(reply(g, 2, &out, sizeof(out), NULL), 0);
}

static void rig_end(struct rig *g)
{
	struct tp_pool_usage usage;

	close(g->kernel);
	pthread_join(g->thread, NULL);
	cr_assert_eq(g->served, 0);
	tp_session_free(g->session);
	tp_pool_usage(g->pool, &usage);
	cr_assert_eq(usage.free_bytes, usage.size_bytes);
	tp_pool_free(g->pool);
}

static bool has_zero_flags(const struct fuse_init_out *out, uint64_t flags)
{
	return ((out->flags | (uint64_t)out->flags2 << 32) & flags) == 0;
}

Test(session, init_grants_what_is_offered_and_wanted)
{
	struct fuse_init_in in = {
		.major = 7, .minor = 45, .max_readahead = 1 << 17, .flags = ~0u, .flags2 = ~0u};
	struct fuse_init_out out;
	struct rig g;
	size_t len;

	rig_make(&g, POOL_BYTES, 2);
	cr_assert_eq(tp_session_flags(g.session), 0);
	send_frame(&g, FUSE_INIT, 2, 0, &in, sizeof(in));
	cr_assert_eq(reply(&g, 2, &out, sizeof(out), &len), 0);
	cr_assert_eq(len, sizeof(out));
	cr_assert_eq(out.major, 7);
	cr_assert_eq(out.minor, FUSE_KERNEL_MINOR_VERSION);
	cr_assert_eq(out.max_write, TP_WRITE_BYTES_MAX);
	cr_assert_eq(out.max_pages, 256);
	cr_assert_eq(out.max_background, 65535);
	cr_assert_eq(out.time_gran, 1);
	cr_assert_eq(out.max_readahead, 1 << 17);
	cr_assert(out.flags & FUSE_PARALLEL_DIROPS);
	cr_assert(out.flags & FUSE_HANDLE_KILLPRIV_V2);
	cr_assert_eq(out.flags2, TP_FUSE_DIRECT_IO_ALLOW_MMAP >> 32);
	cr_assert(has_zero_flags(&out, FUSE_WRITEBACK_CACHE | FUSE_AUTO_INVAL_DATA | FUSE_DONT_MASK |
					       FUSE_SPLICE_WRITE | FUSE_SPLICE_READ | FUSE_SPLICE_MOVE |
					       FUSE_EXPORT_SUPPORT));
	cr_assert_eq(tp_session_flags(g.session), out.flags | (uint64_t)out.flags2 << 32);
	/* A reply to something else comes after ready was called. */
	cr_assert_eq(ask(&g, FUSE_GETATTR, 1, (char[16]){0}, 16), -ENOSYS);
	cr_assert_eq(atomic_load(&g.ready), 1);
	rig_end(&g);
}

Test(session, init_of_an_older_kernel_grants_no_more_than_it_offers)
{
	/* The short struct, without flags2. */
	struct fuse_init_in in = {.major = 7, .minor = 31, .flags = FUSE_ASYNC_READ | FUSE_MAX_PAGES};
	struct fuse_init_out out;
	struct rig g;

	rig_make(&g, POOL_BYTES, 2);
	send_frame(&g, FUSE_INIT, 2, 0, &in, 16);
	cr_assert_eq(reply(&g, 2, &out, sizeof(out), NULL), 0);
	cr_assert_eq(out.minor, 31);
	cr_assert_eq(out.flags, FUSE_ASYNC_READ | FUSE_MAX_PAGES);
	cr_assert_eq(out.flags2, 0);
	/* SETXATTR comes with the short struct then: name and one byte of value behind 8 bytes. */
	cr_assert_eq(ask(&g, FUSE_SETXATTR, NODE_ECHO, "\1\0\0\0\0\0\0\0n\0v", 11), 0);
	rig_end(&g);
}

/* Of a page that is not full an older kernel would show what was in that memory before. */
Test(session, bytes_for_the_page_cache_end_within_a_page_only_where_the_kernel_clears_the_rest)
{
	static const struct {
		uint32_t minor, len;
		int error;
	} rows[] = {
		{31, 10, -EOPNOTSUPP}, {40, 4097, -EOPNOTSUPP}, {40, 8192, 0}, {41, 10, 0}, {45, 4097, 0}};
	static char bytes[8192];
	struct fuse_notify_store_out *out;
	struct rig g;
	size_t len;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i % 251);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		static _Alignas(8) char sent[sizeof(*out) + sizeof(bytes)];
		struct fuse_init_in in = {
			.major = 7, .minor = rows[i].minor, .flags = FUSE_ASYNC_READ | FUSE_MAX_PAGES};

		rig_make(&g, POOL_BYTES, 2);
		send_frame(&g, FUSE_INIT, 2, 0, &in, sizeof(in));
		cr_assert_eq(reply(&g, 2, NULL, 0, NULL), 0);
		send_frame(&g, FUSE_STATFS, 4, NODE_STORE, bytes, rows[i].len);
		if (rows[i].error == 0) {
			cr_assert_eq(reply(&g, 0, sent, sizeof(sent), &len), FUSE_NOTIFY_STORE);
			out = (void *)sent;
			cr_assert_eq(len, sizeof(*out) + rows[i].len);
			cr_assert_eq(out->nodeid, NODE_STORE);
			cr_assert_eq(out->offset, 0);
			cr_assert_eq(out->size, rows[i].len);
			cr_assert_arr_eq(sent + sizeof(*out), bytes, rows[i].len);
		}
		cr_assert_eq(reply(&g, 4, NULL, 0, NULL), rows[i].error);
		rig_end(&g);
	}
}

Test(session, init_in_strange_versions_is_refused_or_asked_again)
{
	struct fuse_init_in in = {.major = 7, .minor = 12};
	struct fuse_init_out out;
	struct rig g;

	rig_make(&g, POOL_BYTES, 2);
	cr_assert_eq(ask(&g, FUSE_INIT, 0, &in, sizeof(in)), -EPROTO);
	in.major = 6;
	cr_assert_eq(ask(&g, FUSE_INIT, 0, &in, sizeof(in)), -EPROTO);
	cr_assert_eq(ask(&g, FUSE_INIT, 0, &in, 4), -EPROTO);
	in.major = 8;
	send_frame(&g, FUSE_INIT, 4, 0, &in, sizeof(in));
	cr_assert_eq(reply(&g, 4, &out, sizeof(out), NULL), 0);
	cr_assert_eq(out.major, 7);
	/* It was not answered in earnest. */
	cr_assert_eq(ask(&g, FUSE_GETATTR, NODE_ECHO, (char[16]){0}, 16), -EIO);
	rig_init(&g);
	cr_assert_eq(ask(&g, FUSE_GETATTR, NODE_ECHO, (char[16]){0}, 16), 0);
	cr_assert_eq(ask(&g, FUSE_INIT, 0, &in, sizeof(in)), -EIO);
	rig_end(&g);
}

Test(session, arguments_are_contiguous_however_long)
{
	static char value[70000], back[70000];
	struct rig g;
	size_t len;

	rig_make(&g, POOL_BYTES, 2);
	rig_init(&g);
	for (size_t n = 1; n < 300; n++) {
		memset(value, 'a', n);
		value[n] = 0;
		send_frame(&g, FUSE_LOOKUP, n, NODE_ECHO, value, n + 1);
		cr_assert_eq(reply(&g, n, back, sizeof(back), &len), 0);
		cr_assert_eq(len, n + 1);
		cr_assert_eq(memcmp(back, value, len), 0);
	}
	memset(value, 0, sizeof(value));
	((struct fuse_setxattr_in *)value)->size = 60000;
	strcpy(value + sizeof(struct fuse_setxattr_in), "user.x");
	memset(value + sizeof(struct fuse_setxattr_in) + 7, 'v', 60000);
	len = sizeof(struct fuse_setxattr_in) + 7 + 60000;
	send_frame(&g, FUSE_SETXATTR, 2, NODE_ECHO, value, len);
	cr_assert_eq(reply(&g, 2, back, sizeof(back), &len), 0);
	cr_assert_eq(len, sizeof(struct fuse_setxattr_in) + 7 + 60000);
	cr_assert_eq(memcmp(back, value, len), 0);
	rig_end(&g);
}

/* A WRITE of size bytes; 0 when the socket is too small for it. */
static size_t send_write(struct rig *g, uint64_t unique, size_t size, struct taken *ret)
{
	static char frame[sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in) + TP_WRITE_BYTES_MAX];
	struct fuse_in_header *h = (void *)frame;
	struct fuse_write_in *in = (void *)(h + 1);
	size_t len = sizeof(*h) + sizeof(*in) + size;

	memset(frame, 0, sizeof(*h) + sizeof(*in));
	*h = (struct fuse_in_header){
		.len = (uint32_t)len, .opcode = FUSE_WRITE, .unique = unique, .nodeid = NODE_TAKE, .pid = 9};
	in->size = (uint32_t)size;
	memset(in + 1, 'm', size);
	if (size > 0) {
		((char *)(in + 1))[0] = 'f';
		((char *)(in + 1))[size - 1] = 'l';
	}
	if (write(g->kernel, frame, len) < 0) {
		cr_assert_eq(errno, EMSGSIZE);
		return 0;
	}
	cr_assert_eq(reply(g, unique, ret, sizeof(*ret), NULL), 0);
	cr_assert_eq(ret->payload_len, size);
	return size;
}

Test(session, writes_land_in_pool_pages_in_a_row)
{
	struct taken t;
	uint32_t next = 0;
	struct rig g;

	rig_make(&g, POOL_BYTES, 2);
	rig_init(&g);
	for (unsigned i = 0; i < 40; i++) {
		cr_assert_eq(send_write(&g, 4 + i, 4096, &t), 4096);
		cr_assert_eq(t.pages, 1);
		cr_assert_eq(t.first, 'f');
		cr_assert_eq(t.last, 'l');
		if (next != 0)
			cr_assert_eq(t.page, next);
		next = t.page + 1;
	}
	cr_assert_eq(send_write(&g, 100, 10000, &t), 10000);
	cr_assert_eq(t.pages, 3);
	cr_assert_eq(send_write(&g, 102, 0, &t), 0);
	if (send_write(&g, 104, TP_WRITE_BYTES_MAX, &t)) {
		cr_assert_eq(t.pages, 256);
		cr_assert_eq(t.first, 'f');
		cr_assert_eq(t.last, 'l');
	}
	rig_end(&g);
}

Test(session, a_full_pool_makes_writes_land_in_the_heap)
{
	struct tp_run runs[64];
	struct taken t;
	struct rig g;
	unsigned got, all = 0;

	rig_make(&g, POOL_BYTES, 2);
	while (tp_pool_free_pages(g.pool) > 0) {
		cr_assert_eq(tp_pool_get(g.pool, 1, &runs[0], 1, &got), 0);
		all++;
	}
	rig_init(&g);
	/* What the staging had taken before is used up. */
	for (unsigned i = 0; i < 400; i++)
		cr_assert_eq(send_write(&g, 4 + i, 4096, &t), 4096);
	cr_assert(t.pages == 0 || all < tp_pool_size_pages(g.pool));
	cr_assert_eq(send_write(&g, 1000, 100000, &t), 100000);
	cr_assert_eq(t.first, 'f');
	cr_assert_eq(t.last, 'l');
	tp_pool_put(g.pool, 1, (uint32_t)tp_pool_size_pages(g.pool));
	close(g.kernel);
	pthread_join(g.thread, NULL);
	tp_session_free(g.session);
	tp_pool_free(g.pool);
}

static int ask_write(struct rig *g, uint32_t size, size_t there)
{
	char frame[sizeof(struct fuse_write_in) + 64] = {0};

	((struct fuse_write_in *)frame)->size = size;
	return ask(g, FUSE_WRITE, NODE_ECHO, frame, sizeof(struct fuse_write_in) + there);
}

Test(session, frames_that_lie_are_refused_before_the_handler)
{
	static const struct {
		uint32_t opcode;
		size_t len;
		const char *arg;
	} bad[] = {
		{FUSE_LOOKUP, 0, ""},
		{FUSE_LOOKUP, 1, ""},
		{FUSE_LOOKUP, 3, "abc"},
		{FUSE_LOOKUP, 4, "a/b"},
		{FUSE_LOOKUP, 2, "."},
		{FUSE_LOOKUP, 3, ".."},
		{FUSE_UNLINK, 2, "ab"},
		{FUSE_GETATTR, 15, "0123456789abcdef"},
		{FUSE_MKDIR, 8, "01234567"},
		{FUSE_MKDIR, 9, "01234567"},
		{FUSE_MKDIR, 9, "01234567x"},
		{FUSE_RENAME, 10, "01234567a"},
		{FUSE_RENAME, 11, "01234567a\0b"},
		{FUSE_RENAME2, 11, "01234567a\0"},
		{FUSE_SYMLINK, 2, "a"},
		{FUSE_SYMLINK, 3, "a\0b"},
		{FUSE_SYMLINK, 3, "a\0"},
		{FUSE_BATCH_FORGET, 8, "\1\0\0\0\0\0\0\0"},
		{FUSE_SETXATTR, 19, "\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0n\0v"},
		{FUSE_READ, 39, "0123456789012345678901234567890123456789"},
		{FUSE_RELEASE, 8, "01234567"},
	};
	struct fuse_in_header h = {.len = 41, .opcode = FUSE_STATFS, .unique = 77, .nodeid = NODE_ECHO};
	struct rig g;
	unsigned before;

	rig_make(&g, POOL_BYTES, 2);
	rig_init(&g);
	before = atomic_load(&g.handled);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (bad[i].opcode == FUSE_BATCH_FORGET)
			send_frame(&g, bad[i].opcode, 5, NODE_ECHO, bad[i].arg, bad[i].len);
		else
			cr_assert_eq(ask(&g, bad[i].opcode, NODE_ECHO, bad[i].arg, bad[i].len), -EINVAL,
				"case %zu", i);
	}
	cr_assert_eq(ask_write(&g, 1, 0), -EINVAL);
	cr_assert_eq(ask_write(&g, 3, 4), -EINVAL);
	cr_assert_eq(ask_write(&g, TP_WRITE_BYTES_MAX + 1, 4), -E2BIG);
	cr_assert_eq(ask(&g, FUSE_WRITE, NODE_ECHO, "short", 5), -EINVAL);
	/* The header says another length than came. */
	cr_assert_eq(write(g.kernel, &h, sizeof(h)), sizeof(h));
	cr_assert_eq(reply(&g, 77, NULL, 0, NULL), -EIO);
	/* Not even a header: nobody to answer. */
	cr_assert_eq(write(g.kernel, &h, 20), 20);
	cr_assert_eq(atomic_load(&g.handled), before);
	/* The end of a link may hold what a name may not, a temporary file is called "/". */
	cr_assert_eq(ask(&g, FUSE_SYMLINK, NODE_ECHO, "a\0../b", 7), 0);
	cr_assert_eq(ask(&g, FUSE_TMPFILE, NODE_ECHO, "0123456789abcdef/", 18), 0);
	/* What is not known is the handler's. */
	cr_assert_eq(ask(&g, 4242, 1, NULL, 0), -ENOSYS);
	rig_end(&g);
}

Test(session, forgets_are_not_answered_and_all_is_counted)
{
	struct rig g;

	rig_make(&g, POOL_BYTES, 2);
	rig_init(&g);
	send_frame(&g, FUSE_FORGET, 4, NODE_ECHO, "01234567", 8);
	send_frame(&g, FUSE_BATCH_FORGET, 6, NODE_ECHO, "\0\0\0\0\0\0\0\0", 8);
	cr_assert_eq(ask(&g, FUSE_STATFS, NODE_ECHO, NULL, 0), 0);
	cr_assert_eq(ask(&g, FUSE_DESTROY, 0, NULL, 0), 0);
	cr_assert_eq(atomic_load(&g.handled), 3);
	cr_assert_eq(atomic_load(&g.stats.op_count[FUSE_FORGET]), 1);
	cr_assert_eq(atomic_load(&g.stats.op_count[FUSE_STATFS]), 1);
	cr_assert_eq(atomic_load(&g.stats.op_count[FUSE_INIT]), 1);
	cr_assert_gt(atomic_load(&g.stats.op_time[FUSE_STATFS].sum_ns), 0);
	rig_end(&g);
}

static void count_waits(const struct tp_wait *w, void *user)
{
	cr_expect_str_eq(w->what, "test");
	cr_expect_neq(w->since_ns, 0);
	(*(unsigned *)user)++;
}

Test(session, an_interrupt_cancels_what_waits)
{
	struct fuse_interrupt_in in = {.unique = 40};
	unsigned count = 0;
	struct rig g;

	rig_make(&g, POOL_BYTES, 2);
	rig_init(&g);
	send_frame(&g, FUSE_STATFS, 40, NODE_PARK, NULL, 0);
	sem_wait(&g.entered);
	tp_wait_each(g.session, count_waits, &count);
	cr_assert_eq(count, 1);
	send_frame(&g, FUSE_INTERRUPT, 41, 0, &in, sizeof(in));
	cr_assert_eq(reply(&g, 40, NULL, 0, NULL), -EINTR);
	cr_assert_not(tp_wait_take(g.session, &g.wait));
	cr_assert_eq(atomic_load(&g.cancelled), 1);
	rig_end(&g);
}

Test(session, an_interrupt_that_comes_before_the_wait_is_not_lost)
{
	struct fuse_interrupt_in in = {.unique = 40};
	struct rig g;

	rig_make(&g, POOL_BYTES, 2);
	rig_init(&g);
	send_frame(&g, FUSE_STATFS, 40, NODE_EARLY, NULL, 0);
	sem_wait(&g.entered);
	send_frame(&g, FUSE_INTERRUPT, 41, 0, &in, sizeof(in));
	/* This is read after the interrupt, by the same other thread. */
	cr_assert_eq(ask(&g, FUSE_STATFS, NODE_ECHO, NULL, 0), 0);
	sem_post(&g.go);
	cr_assert_eq(reply(&g, 40, NULL, 0, NULL), -EALREADY);
	cr_assert_eq(atomic_load(&g.cancelled), 0);
	rig_end(&g);
}

Test(session, what_was_taken_is_answered_once_by_who_took_it)
{
	struct fuse_interrupt_in in = {.unique = 40};
	struct rig g;

	rig_make(&g, POOL_BYTES, 2);
	rig_init(&g);
	send_frame(&g, FUSE_STATFS, 40, NODE_PARK, NULL, 0);
	sem_wait(&g.entered);
	cr_assert(tp_wait_take(g.session, &g.wait));
	send_frame(&g, FUSE_INTERRUPT, 41, 0, &in, sizeof(in));
	cr_assert_eq(ask(&g, FUSE_STATFS, NODE_ECHO, NULL, 0), 0);
	tp_reply_error(g.session, &g.wait.caller, 0);
	cr_assert_eq(reply(&g, 40, NULL, 0, NULL), 0);
	cr_assert_eq(atomic_load(&g.cancelled), 0);
	rig_end(&g);
}

Test(session, stopping_cancels_what_waits_and_ends_the_connection)
{
	struct rig g;
	char c;

	rig_make(&g, POOL_BYTES, 2);
	rig_init(&g);
	send_frame(&g, FUSE_STATFS, 40, NODE_PARK, NULL, 0);
	sem_wait(&g.entered);
	tp_session_stop(g.session);
	cr_assert_eq(atomic_load(&g.cancelled), 1);
	pthread_join(g.thread, NULL);
	cr_assert_eq(g.served, 0);
	cr_assert_eq(reply(&g, 40, NULL, 0, NULL), -EINTR);
	cr_assert_eq(read(g.kernel, &c, 1), 0);
	cr_assert_eq(tp_wait_add(g.session, &g.wait), -EINTR);
	tp_session_stop(g.session);
	tp_session_free(g.session);
	tp_pool_free(g.pool);
	close(g.kernel);
}

Test(session, one_that_was_stopped_before_it_began_ends_at_once)
{
	struct tp_stats stats;
	struct tp_session_ops ops = {.handle = handle};
	struct tp_session_options options = {.stats = &stats, .ops = &ops};
	struct tp_session *s;
	int ends[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
	cr_assert_eq(tp_session_new_fd(&options, ends[1], &s), 0);
	tp_session_stop(s);
	cr_assert_eq(tp_session_serve(s), 0);
	tp_session_free(s);
	close(ends[0]);
}

/* Readers that are asleep in read(2) on a descriptor that nothing ends: only the signal gets them out. */
Test(session, readers_are_woken_when_the_connection_lives_on, .timeout = 20)
{
	struct rig g;

	rig_make(&g, POOL_BYTES, 2);
	rig_init(&g);
	for (unsigned i = 0; i < 50; i++) {
		struct tp_session_options options = {
			.threads_max = 2, .stats = &g.stats, .ops = &g.ops, .user = &g};
		struct rig other = {.kernel = -1};
		int ends[2];

		/* A pipe takes no shutdown(2). */
		cr_assert_eq(pipe(ends), 0);
		cr_assert_eq(tp_session_new_fd(&options, ends[0], &other.session), 0);
		cr_assert_eq(pthread_create(&other.thread, NULL, serve, &other), 0);
		tp_session_stop(other.session);
		pthread_join(other.thread, NULL);
		tp_session_free(other.session);
		close(ends[1]);
	}
	rig_end(&g);
}

Test(session, a_request_waits_for_the_releases_before_it)
{
	uint32_t answer[2];
	struct rig g;

	rig_make(&g, POOL_BYTES, 3);
	rig_init(&g);
	/* None before it. */
	send_frame(&g, FUSE_STATFS, 4, NODE_AFTER, NULL, 0);
	cr_assert_eq(reply(&g, 4, answer, sizeof(answer), NULL), 0);
	cr_assert_eq(answer[0], 0);
	send_frame(&g, FUSE_RELEASE, 6, NODE_HOLD, (char[24]){0}, 24);
	sem_wait(&g.entered);
	send_frame(&g, FUSE_STATFS, 8, NODE_AFTER, NULL, 0);
	/* Others do not wait. Its being answered shows that 8 was read before. */
	cr_assert_eq(ask(&g, FUSE_STATFS, NODE_AFTER + 100, NULL, 0), -ENOSYS);
	sem_post(&g.go);
	cr_assert_eq(reply(&g, 6, NULL, 0, NULL), 0);
	cr_assert_eq(reply(&g, 8, answer, sizeof(answer), NULL), 0);
	cr_assert_eq(answer[0], 1);
	cr_assert_eq(answer[1], 1);
	rig_end(&g);
}

struct held_list {
	unsigned count;
	struct tp_held last;
};

static void list_held(const struct tp_held *h, void *user)
{
	struct held_list *l = user;

	l->count++;
	l->last = *h;
}

static struct held_list held_of(struct rig *g, uint64_t at_least_ns)
{
	struct held_list l = {0};

	tp_session_each_held(g->session, at_least_ns, list_held, &l);
	return l;
}

Test(session, what_a_handler_has_in_hand_is_seen_until_it_is_answered)
{
	uint64_t before_ns, unique;
	struct held_list l;
	struct rig g;

	rig_make(&g, POOL_BYTES, 2);
	rig_init(&g);
	cr_assert_eq(held_of(&g, 0).count, 0);
	before_ns = tp_mono_ns(tp_clock_system());
	unique = next_unique();
	send_frame(&g, FUSE_GETATTR, unique, NODE_HOLD, (char[16]){0}, 16);
	sem_wait(&g.entered);
	l = held_of(&g, 0);
	cr_assert_eq(l.count, 1);
	cr_assert_eq(l.last.opcode, FUSE_GETATTR);
	cr_assert_eq(l.last.node, NODE_HOLD);
	cr_assert_eq(l.last.pid, 9);
	cr_assert(l.last.started_ns >= before_ns && l.last.started_ns <= tp_mono_ns(tp_clock_system()));
	cr_assert_eq(held_of(&g, 3600 * TP_NS_PER_S).count, 0);
	/* What others ask meanwhile is not in hand any more. */
	cr_assert_eq(ask(&g, FUSE_GETATTR, NODE_ECHO, (char[16]){0}, 16), 0);
	l = held_of(&g, 0);
	cr_assert_eq(l.count, 1);
	cr_assert_eq(l.last.node, NODE_HOLD);
	sem_post(&g.go);
	cr_assert_eq(reply(&g, unique, NULL, 0, NULL), 0);
	cr_assert_eq(held_of(&g, 0).count, 0);
	/* Nobody is held up by a handler that goes on after its answer. */
	cr_assert_eq(ask(&g, FUSE_GETATTR, NODE_LATE, (char[16]){0}, 16), 0);
	cr_assert_eq(held_of(&g, 0).count, 0);
	sem_post(&g.go);
	rig_end(&g);
}

Test(session, each_allocation_of_a_new_one_may_fail)
{
	struct tp_stats stats;
	struct tp_session_ops ops = {.handle = handle};
	struct tp_session_options options = {.stats = &stats, .ops = &ops};
	struct tp_session *s = NULL;
	int ends[2];
	unsigned n;
	int r;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
	for (n = 1;; n++) {
		heap_fail_at(n);
		r = tp_session_new_fd(&options, ends[1], &s);
		if (!heap_fail_off())
			break;
		cr_assert_eq(r, -ENOMEM);
		cr_assert_null(s);
	}
	cr_assert_eq(r, 0);
	cr_assert_gt(n, 2);
	tp_session_free(s);
	close(ends[0]);
}

Test(session, one_client_is_served_by_one_thread)
{
	struct rig g;

	rig_make(&g, POOL_BYTES, 4);
	rig_init(&g);
	for (unsigned i = 0; i < 5000; i++)
		cr_assert_eq(reply(&g, send_small(&g, 42), NULL, 0, NULL), 0);
	cr_assert_eq(atomic_load(&g.threads), 1);
	rig_end(&g);
}

Test(session, clients_in_turn_are_served_by_several_threads_and_then_by_one, .timeout = 60)
{
	struct rig g;

	rig_make(&g, POOL_BYTES, 4);
	rig_init(&g);
	for (unsigned i = 0; atomic_load(&g.threads) < 2; i++)
		cr_assert_eq(reply(&g, send_small(&g, 42 + i % 2), NULL, 0, NULL), 0);
	for (unsigned i = 0; i < 2000; i++)
		cr_assert_eq(reply(&g, send_small(&g, 42), NULL, 0, NULL), 0);
	rig_end(&g);
}

struct crowd {
	struct rig *rig;
	uint32_t pid;
};

static void *storm(void *arg)
{
	struct crowd *c = arg;

	for (unsigned i = 0; i < 2000; i++)
		(void)send_small(c->rig, c->pid);
	return NULL;
}

Test(session, each_request_of_a_crowd_is_answered, .timeout = 60)
{
	pthread_t clients[4];
	struct crowd crowd[4];
	struct rig g;

	rig_make(&g, POOL_BYTES, 4);
	rig_init(&g);
	for (unsigned i = 0; i < 4; i++) {
		crowd[i] = (struct crowd){&g, 20 + i};
		cr_assert_eq(pthread_create(&clients[i], NULL, storm, &crowd[i]), 0);
	}
	for (unsigned i = 0; i < 8000; i++) {
		struct fuse_out_header h;

		cr_assert_eq(read(g.kernel, &h, sizeof(h)), sizeof(h));
		cr_assert_eq(h.error, 0);
	}
	for (unsigned i = 0; i < 4; i++)
		pthread_join(clients[i], NULL);
	cr_assert_eq(atomic_load(&g.handled), 8000);
	rig_end(&g);
}

/* So many different ones are enough, and so many looks where one processor does both and few are seen. */
#define SEEN 300000u
#define LOOKS 20000000u

struct shown {
	struct tp_hand hand;
	atomic_bool enough;
};

static void *show_many(void *arg)
{
	struct shown *s = arg;

	for (uint32_t i = 1; !atomic_load(&s->enough); i++) {
		struct tp_caller c = {.node = i, .started_ns = i, .opcode = i, .pid = i};

		tp_hand_show(&s->hand, &c, i);
		/* Now and then it is in hand for longer. */
		for (volatile uint32_t n = i % 16; n > 0; n = n - 1)
			;
		tp_hand_hide(&s->hand);
	}
	return NULL;
}

Test(hand, one_request_is_seen_whole_or_not_at_all, .timeout = 60)
{
	struct tp_held held = {0};
	static struct shown s;
	uint32_t last = 0;
	pthread_t thread;

	cr_assert_not(tp_hand_see(&s.hand, &held));
	cr_assert_eq(pthread_create(&thread, NULL, show_many, &s), 0);
	for (unsigned seen = 0, looks = 0; seen < SEEN && looks < LOOKS; looks++) {
		if (!tp_hand_see(&s.hand, &held))
			continue;
		cr_assert(held.node == held.pid && held.started_ns == held.pid && held.opcode == held.pid);
		cr_assert_geq(held.pid, last);
		seen += held.pid != last;
		last = held.pid;
	}
	atomic_store(&s.enough, true);
	pthread_join(thread, NULL);
	cr_assert_not(tp_hand_see(&s.hand, &held));
}

Test(turns, one_client_is_one)
{
	struct tp_turns t;

	tp_turns_init(&t);
	for (unsigned i = 0; i < 1000; i++)
		cr_assert_eq(tp_turns_note(&t, 42, 8), 1);
}

Test(turns, clients_in_turn_are_counted_and_forgotten)
{
	struct tp_turns t;
	unsigned n = 0;

	tp_turns_init(&t);
	for (unsigned i = 0; i < 1000; i++)
		n = tp_turns_note(&t, 40 + i % 3, 8);
	cr_assert_eq(n, 3);
	for (unsigned i = 0; i < 1000; i++)
		n = tp_turns_note(&t, 40 + i / 2 % 2, 8);
	cr_assert_eq(n, 2);
	for (unsigned i = 0; i < 1000; i++)
		n = tp_turns_note(&t, 40 + i % 30, 8);
	cr_assert_leq(n, 8);
	for (unsigned i = 0; i < 200; i++)
		n = tp_turns_note(&t, 40, 8);
	cr_assert_eq(n, 1);
}

Test(turns, of_two_clients_one_may_ask_more_often)
{
	struct tp_turns t;

	tp_turns_init(&t);
	/* The other one's requests take longer. */
	for (unsigned i = 0; i < 2000; i++)
		cr_assert(tp_turns_note(&t, i % 6 == 0 ? 41 : 40, 2) == 2 || i < 200, "%u", i);
}

Test(turns, processes_one_after_another_are_one)
{
	struct tp_turns t;

	tp_turns_init(&t);
	for (unsigned i = 0; i < 2000; i++)
		cr_assert_eq(tp_turns_note(&t, 1000 + i / 4, 8), 1);
}
