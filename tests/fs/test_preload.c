/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The requests of a kernel that puts what it is given into its page cache, without a kernel: what it would be sent is written down, in order, and the bytes may be
 * held up on their way.
 */
#include "fs/ops.h"
#include "tests/store/tree_fixture.h"

#include <semaphore.h>
#include <stdarg.h>
#include <time.h>

/* What a failed test may wait for. */
#define LIMIT_S 20

struct fake {
	struct fixture f;
	struct tp_fs fs;
};

static struct {
	pthread_mutex_t lock;
	char sent[256];	     /* lock; "given LEN ", "opened [kept] ", "created ", "attributes ", "error N " */
	char bytes[1 << 17]; /* lock; what was given last */
	uint64_t handles[4]; /* lock; that are open */
	unsigned handles_count;
	bool hold;	  /* the bytes are held up */
	int error;	  /* of what is given */
	sem_t on_the_way; /* bytes are held up */
	sem_t let_go;
	sem_t waits; /* a handler says that it may block */
} kernel = {.lock = PTHREAD_MUTEX_INITIALIZER};

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
	va_list args;
	size_t len;
	TP_LOCK(&kernel.lock);

	len = strlen(kernel.sent);
	va_start(args, format);
	(void)vsnprintf(kernel.sent + len, sizeof(kernel.sent) - len, format, args);
	va_end(args);
}

static void note_opened(const struct fuse_open_out *out)
{
	TP_LOCK(&kernel.lock);

	cr_assert_lt(kernel.handles_count, sizeof(kernel.handles) / sizeof(kernel.handles[0]));
	kernel.handles[kernel.handles_count++] = out->fh;
}

int __wrap_tp_session_store(
	struct tp_session *s, const struct tp_caller *c, struct iovec *iov, unsigned count);
void __wrap_tp_reply_data(struct tp_session *s, const struct tp_caller *c, const void *data, size_t len);
void __wrap_tp_reply_iov(struct tp_session *s, const struct tp_caller *c, struct iovec *iov, unsigned count);
void __wrap_tp_reply_error(struct tp_session *s, const struct tp_caller *c, int error);
void __wrap_tp_request_may_block(struct tp_request *r);

int __wrap_tp_session_store(
	struct tp_session *s, const struct tp_caller *c, struct iovec *iov, unsigned count)
{
	size_t len = 0;

	if (kernel.hold) {
		(void)sem_post(&kernel.on_the_way);
		(void)sem_wait(&kernel.let_go);
	}
	for (unsigned i = 1; i < count; i++) {
		TP_LOCK(&kernel.lock);
		cr_assert_leq(len + iov[i].iov_len, sizeof(kernel.bytes));
		memcpy(kernel.bytes + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	note("given %zu ", len);
	return kernel.error;
}

void __wrap_tp_reply_data(struct tp_session *s, const struct tp_caller *c, const void *data, size_t len)
{
	if (c->opcode == FUSE_OPEN) {
		const struct fuse_open_out *out = data;

		note_opened(out);
		note("%s", out->open_flags & FOPEN_KEEP_CACHE ? "opened kept " : "opened ");
	} else if (c->opcode == FUSE_CREATE) {
		note_opened((const void *)((const char *)data + sizeof(struct fuse_entry_out)));
		note("created ");
	} else {
		note("attributes ");
	}
}

void __wrap_tp_reply_iov(struct tp_session *s, const struct tp_caller *c, struct iovec *iov, unsigned count)
{
	note("read ");
}

void __wrap_tp_reply_error(struct tp_session *s, const struct tp_caller *c, int error)
{
	if (error)
		note("error %d ", error < 0 ? -error : error);
}

void __wrap_tp_request_may_block(struct tp_request *r)
{
	(void)sem_post(&kernel.waits);
}

/* What was sent since the last call. */
static const char *sent(void)
{
	static char text[sizeof(kernel.sent)];
	TP_LOCK(&kernel.lock);

	(void)strcpy(text, kernel.sent);
	kernel.sent[0] = 0;
	return text;
}

static void await(sem_t *s, const char *what)
{
	struct timespec limit;

	(void)clock_gettime(CLOCK_MONOTONIC, &limit);
	limit.tv_sec += LIMIT_S;
	cr_assert_eq(sem_clockwait(s, CLOCK_MONOTONIC, &limit), 0, "%s", what);
}

static void fake_open(struct fake *k)
{
	fixture_open(&k->f, POOL, NULL);
	kernel.error = 0;
	k->fs = (struct tp_fs){.store = k->f.store, .tree = k->f.tree};
	tp_handles_init(&k->fs.handles);
	tp_preloads_init(&k->fs.preloads);
	(void)sem_init(&kernel.on_the_way, 0, 0);
	(void)sem_init(&kernel.let_go, 0, 0);
	(void)sem_init(&kernel.waits, 0, 0);
}

static void fake_close(struct fake *k)
{
	tp_handles_fini(&k->fs.handles);
	tp_preloads_fini(&k->fs.preloads);
	fixture_close(&k->f);
}

/* The node as a kernel gets it, which has one reference then. */
static uint64_t look_up(struct fake *k, const char *name)
{
	struct tp_who who = k->f.me;
	struct tp_entry e;

	cr_assert_eq(tp_tree_lookup(k->f.tree, &who, TP_NODE_CACHE, name, &e), 0);
	return e.node;
}

static void ask(struct fake *k, uint32_t opcode, uint64_t node, const void *arg, size_t len)
{
	struct tp_request r = {.caller = {.node = node, .opcode = opcode, .pid = (uint32_t)getpid()},
		.arg = arg,
		.arg_len = len};

	tp_ops_handle(&r, &k->fs);
}

static void ask_open(struct fake *k, uint64_t node, uint32_t flags)
{
	struct fuse_open_in in = {.flags = flags};

	ask(k, FUSE_OPEN, node, &in, sizeof(in));
}

static void release_all(struct fake *k)
{
	while (kernel.handles_count > 0) {
		struct fuse_release_in in = {.fh = kernel.handles[--kernel.handles_count]};

		ask(k, FUSE_RELEASE, 0, &in, sizeof(in));
	}
}

static void ask_truncate(struct fake *k, uint64_t node)
{
	struct fuse_setattr_in in = {.valid = FATTR_SIZE, .size = 1};

	ask(k, FUSE_SETATTR, node, &in, sizeof(in));
}

static void ask_create(struct fake *k, const char *name)
{
	struct {
		struct fuse_create_in in;
		char name[32];
	} arg = {.in = {.flags = O_WRONLY | O_CREAT, .mode = 0600}};

	(void)strcpy(arg.name, name);
	ask(k, FUSE_CREATE, TP_NODE_CACHE, &arg, sizeof(arg));
}

/* What is asked while the bytes of .x are on their way. */
enum change { BY_OPEN, BY_O_TRUNC, BY_TRUNCATE, BY_CREATE, TO_READ, CHANGES };

struct asking {
	struct fake *k;
	uint64_t node;
	enum change change;
};

static void *ask_to_change(void *user)
{
	struct asking *a = user;

	if (a->change == BY_OPEN)
		ask_open(a->k, a->node, O_WRONLY);
	else if (a->change == BY_O_TRUNC)
		ask_open(a->k, a->node, O_RDONLY | O_TRUNC);
	else if (a->change == BY_TRUNCATE)
		ask_truncate(a->k, a->node);
	else if (a->change == TO_READ)
		ask_open(a->k, a->node, O_RDONLY);
	else
		ask_create(a->k, ".x");
	return NULL;
}

static void *ask_to_read(void *user)
{
	struct asking *a = user;

	ask_open(a->k, a->node, O_RDONLY);
	return NULL;
}

/* Opens a->node to read, by a thread whose bytes are held up. */
static void hold_up(struct asking *a, pthread_t *ret)
{
	kernel.hold = true;
	cr_assert_eq(pthread_create(ret, NULL, ask_to_read, a), 0);
	await(&kernel.on_the_way, "the bytes are on their way");
}

static void let_arrive(pthread_t reads)
{
	(void)sem_post(&kernel.let_go);
	pthread_join(reads, NULL);
	kernel.hold = false;
}

Test(preload, the_first_open_gives_all_bytes_and_later_ones_keep_them)
{
	struct fake k;
	uint64_t node;

	fake_open(&k);
	put(&k.f, TP_NODE_CACHE, "x", "all bytes");
	node = look_up(&k, "x");
	ask_open(&k, node, O_RDONLY);
	cr_assert_str_eq(sent(), "given 9 opened kept ");
	cr_assert_arr_eq(kernel.bytes, "all bytes", 9);
	release_all(&k);
	ask_open(&k, node, O_RDONLY);
	cr_assert_str_eq(sent(), "opened kept ");
	release_all(&k);
	tp_tree_forget(k.f.tree, node, 1);
	fake_close(&k);
}

Test(preload, large_and_empty_ones_are_left_to_be_read)
{
	static const struct {
		size_t len;
		const char *sent;
	} rows[] = {{0, "opened "}, {1, "given 1 opened kept "}, {4096, "given 4096 opened kept "},
		{4097, "given 4097 opened kept "}, {65536, "given 65536 opened kept "}, {65537, "opened "}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		tp_autofree unsigned char *bytes = bytes_of(rows[i].len + 1, 7);
		struct fake k;
		uint64_t node;

		fake_open(&k);
		cr_assert_eq(put_bytes(&k.f, TP_NODE_CACHE, "x", rows[i].len, 7), 0);
		node = look_up(&k, "x");
		ask_open(&k, node, O_RDONLY);
		cr_assert_str_eq(sent(), rows[i].sent, "of %zu bytes", rows[i].len);
		if (strstr(rows[i].sent, "given"))
			cr_assert_arr_eq(kernel.bytes, bytes, rows[i].len);
		release_all(&k);
		tp_tree_forget(k.f.tree, node, 1);
		fake_close(&k);
	}
}

Test(preload, what_could_not_be_given_is_not_kept)
{
	struct fake k;
	uint64_t node;

	fake_open(&k);
	put(&k.f, TP_NODE_CACHE, "x", "text");
	node = look_up(&k, "x");
	kernel.error = -ENOMEM;
	ask_open(&k, node, O_RDONLY);
	cr_assert_str_eq(sent(), "given 4 opened ");
	release_all(&k);
	tp_tree_forget(k.f.tree, node, 1);
	fake_close(&k);
}

Test(preload, one_that_is_written_is_not_given)
{
	struct fake k;
	struct file writer;
	uint64_t node;

	fake_open(&k);
	put(&k.f, TP_NODE_CACHE, ".x", "text");
	cr_assert_eq(file_open(&k.f, &k.f.me, TP_NODE_CACHE, ".x", O_WRONLY, &writer), 0);
	node = look_up(&k, ".x");
	ask_open(&k, node, O_RDONLY);
	cr_assert_str_eq(sent(), "opened ");
	release_all(&k);
	cr_assert_eq(file_close(&k.f, &writer), 0);
	tp_tree_forget(k.f.tree, node, 1);
	fake_close(&k);
}

Test(preload, one_that_came_to_be_written_since_it_was_opened_is_not_given)
{
	struct fake k;
	struct file reader, writer;
	struct tp_request r = {.caller = {.opcode = FUSE_OPEN}};

	fake_open(&k);
	put(&k.f, TP_NODE_CACHE, ".x", "text");
	cr_assert_eq(file_open(&k.f, &k.f.me, TP_NODE_CACHE, ".x", O_RDONLY, &reader), 0);
	cr_assert_eq(file_open(&k.f, &k.f.me, TP_NODE_CACHE, ".x", O_WRONLY, &writer), 0);
	r.caller.node = reader.node;
	cr_assert_eq(writer.node, reader.node);
	cr_assert_not(tp_preload(&k.fs, &r, reader.opened.gen));
	cr_assert_str_eq(sent(), "");
	cr_assert_eq(file_close(&k.f, &writer), 0);
	cr_assert_eq(file_close(&k.f, &reader), 0);
	fake_close(&k);
}

/* A READ may be on its way of who has it open, by a mapping perhaps, and the kernel would have to wait for the answer. */
Test(preload, one_that_others_have_open_is_not_given)
{
	struct fake k;
	struct file writer, reader;
	uint64_t node;

	fake_open(&k);
	cr_assert_eq(file_open(&k.f, &k.f.me, TP_NODE_CACHE, ".x", O_WRONLY | O_CREAT | O_TRUNC, &writer), 0);
	cr_assert_eq(file_puts(&k.f, &writer, 0, "text"), 0);
	cr_assert_eq(file_open(&k.f, &k.f.me, TP_NODE_CACHE, ".x", O_RDONLY, &reader), 0);
	cr_assert_eq(file_close(&k.f, &writer), 0);
	node = look_up(&k, ".x");
	ask_open(&k, node, O_RDONLY);
	cr_assert_str_eq(sent(), "opened ");
	release_all(&k);
	cr_assert_eq(file_close(&k.f, &reader), 0);
	ask_open(&k, node, O_RDONLY);
	cr_assert_str_eq(sent(), "given 4 opened kept ");
	release_all(&k);
	tp_tree_forget(k.f.tree, node, 1);
	fake_close(&k);
}

/* The kernel drops what it had before the program goes on that opened; another one may come before that. */
Test(preload, what_is_old_is_kept_by_nobody_until_somebody_has_read)
{
	struct fake k;
	struct fuse_read_in in = {.size = 4096};
	uint64_t node;

	fake_open(&k);
	cr_assert_eq(put_bytes(&k.f, TP_NODE_CACHE, "x", 100000, 3), 0);
	node = look_up(&k, "x");
	ask_open(&k, node, O_RDONLY);
	ask_open(&k, node, O_RDONLY);
	cr_assert_str_eq(sent(), "opened opened ");
	in.fh = kernel.handles[1];
	ask(&k, FUSE_READ, node, &in, sizeof(in));
	ask_open(&k, node, O_RDONLY);
	cr_assert_str_eq(sent(), "read opened kept ");
	release_all(&k);
	tp_tree_forget(k.f.tree, node, 1);
	fake_close(&k);
}

/* One that was there before may write past the cache after the READ. */
Test(preload, what_is_old_is_kept_by_nobody_while_somebody_writes_past_the_cache)
{
	struct fake k;
	struct fuse_read_in in = {.size = 4096};
	struct file writer;
	uint64_t node;

	fake_open(&k);
	cr_assert_eq(put_bytes(&k.f, TP_NODE_CACHE, ".x", 100000, 3), 0);
	cr_assert_eq(file_open(&k.f, &k.f.me, TP_NODE_CACHE, ".x", O_WRONLY, &writer), 0);
	cr_assert(writer.opened.direct);
	node = look_up(&k, ".x");
	ask_open(&k, node, O_RDWR);
	in.fh = kernel.handles[0];
	ask(&k, FUSE_READ, node, &in, sizeof(in));
	cr_assert_str_eq(sent(), "opened read ");
	release_all(&k);
	cr_assert_eq(file_close(&k.f, &writer), 0);
	ask_open(&k, node, O_RDONLY);
	cr_assert_str_eq(sent(), "opened ");
	release_all(&k);
	tp_tree_forget(k.f.tree, node, 1);
	fake_close(&k);
}

/*
 * The kernel may change the pages of a file, or read them, as soon as it has these answers; bytes that come afterwards would be older, or have to wait for
 * the READ.
 */
Test(preload, who_may_change_or_read_the_bytes_hears_of_it_when_they_have_arrived)
{
	/* The two answers after that may come in any order. */
	static const char *const answers[] = {
		[BY_OPEN] = "given 4 opened kept opened ",
		[BY_O_TRUNC] = "given 4 opened kept opened ",
		[BY_TRUNCATE] = "given 4 opened kept attributes ",
		[BY_CREATE] = "given 4 opened kept created ",
		[TO_READ] = "given 4 opened kept opened ",
	};

	for (enum change change = BY_OPEN; change < CHANGES; change++) {
		struct fake k;
		struct asking a = {&k, 0, change};
		pthread_t reads, changes;
		const char *text;

		fake_open(&k);
		put(&k.f, TP_NODE_CACHE, ".x", "text");
		a.node = look_up(&k, ".x");
		hold_up(&a, &reads);
		cr_assert_eq(pthread_create(&changes, NULL, ask_to_change, &a), 0);
		await(&kernel.waits, "who changes them waits");
		cr_assert_str_eq(sent(), "");
		let_arrive(reads);
		pthread_join(changes, NULL);
		text = sent();
		cr_assert(strncmp(text, "given 4 ", 8) == 0 && strlen(text) == strlen(answers[change]),
			"change %d: %s", (int)change, text);
		cr_assert_arr_eq(kernel.bytes, "text", 4);
		release_all(&k);
		tp_tree_forget(k.f.tree, a.node, change == BY_CREATE ? 2 : 1);
		fake_close(&k);
	}
}

Test(preload, nobody_waits_for_the_bytes_of_others)
{
	struct fake k;
	struct asking a = {&k, 0, BY_OPEN};
	uint64_t other;
	pthread_t reads;

	fake_open(&k);
	put(&k.f, TP_NODE_CACHE, ".x", "text");
	put(&k.f, TP_NODE_CACHE, ".y", "other");
	a.node = look_up(&k, ".x");
	other = look_up(&k, ".y");
	hold_up(&a, &reads);
	ask_open(&k, other, O_WRONLY);
	cr_assert_str_eq(sent(), "opened ");
	ask_truncate(&k, other);
	cr_assert_str_eq(sent(), "attributes ");
	let_arrive(reads);
	cr_assert_str_eq(sent(), "given 4 opened kept ");
	release_all(&k);
	tp_tree_forget(k.f.tree, a.node, 1);
	tp_tree_forget(k.f.tree, other, 1);
	fake_close(&k);
}
