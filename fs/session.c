/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How requests are read, who reads them, and how it ends.
 *
 * The crew. A thread reads one request and handles it. `active` threads do so, the others sleep. Who has read a request reckons from its client how many
 * threads are wanted, and calls one more when there are too few; who comes back from a handler and finds too many goes to sleep. So a single client is
 * served by one thread, and neither side ever wakes another for a request.
 *
 * The guard. A handler may be held up by what nobody expects to take long (a write to a STATE whose disk does not answer). A thread looks each second whether one still has
 * what it had in hand a second ago; that one does not count as active any more, and when nobody reads another is called.
 *
 * RELEASEs. The kernel's queue is first in, first out, but two threads that have taken a request each do not know whose was first. A thread that reads shows
 * it (`reading`), and shows a RELEASE (`releasing`) before it says that it reads no more, until the handler has returned. Whoever must know that the RELEASEs
 * before its own request are done looks at all the others. One that reads either still sleeps in the kernel, or has taken a request and is on its way back with it: a
 * signal tells which, since its handler runs on that very thread, and finds the request in the buffer or nothing. What is taken after that came later. This
 * costs two switches, and only the few need it that ask for a file that is being closed; a lock around read(2) would cost all of them, since the kernel
 * copies the payload of a WRITE in there.
 *
 * The end. It comes by itself (ENODEV: unmounted), or by tp_session_stop(), in this order: waits are cancelled; what is queued is read (a RELEASE that
 * nobody read is lost when the mount goes); the notifier is told to be quiet while requests are still answered, since the kernel may hold it up until one is; the
 * mount is taken away, with requests still answered, because the kernel writes dirty pages back; and then readers are made to leave. One that sleeps in read(2)
 * (the mount went lazily, files are open) is woken by a signal, again and again until it has left, because a signal that comes just before read(2) is lost.
 * tp_session_serve() then ends the connection, so that no client waits for an answer that never comes.
 */
#include "fs/session.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fs/device.h"
#include "fs/frame.h"
#include "fs/hand.h"
#include "fs/handshake.h"
#include "fs/inbox.h"
#include "fs/notify.h"
#include "fs/tsan.h"
#include "fs/turns.h"
#include "fs/wait.h"
#include "store/cleanup.h"
#include "store/clock.h"

#define THREADS_MAX 64
#define THREADS_DEFAULT_MAX 16
#define STACK_BYTES (256u << 10)
#define READ_AHEAD_KIB 1024
/* Readings in a row that failed without a reason that we know: the device is broken. */
#define FAILURES_MAX 32
#define KICK_NS (5 * TP_NS_PER_MS)
#define GUARD_S 1
/* Threads beyond threads_max that stand in for others. */
#define BLOCKED_MAX 8
#define LOOK_NS ((long)TP_NS_PER_MS)
#define SETTLE_MS_MAX 500
/* One thread of the crew. */
struct reader {
	struct tp_session *session;
	pthread_t thread;
	bool alive;		/* by crew_lock */
	bool asleep;		/* by crew_lock */
	_Atomic bool blocked;	/* may be blocked, so it does not count as active */
	_Atomic uint64_t turn;	/* how many it has begun; written by itself */
	uint64_t turn_seen;	/* the guard's */
	_Atomic bool reading;	/* is in read(2), or just about to go there or coming from it */
	_Atomic bool releasing; /* has a RELEASE in hand */
	_Atomic uint32_t looks; /* how often it has told, asked by a signal, what it has in hand */
	struct tp_inbox inbox;
	struct tp_request request; /* the one in hand */
	struct tp_hand hand; /* what others may see of it, while its handler runs and it is not answered */
};

struct tp_session {
	struct tp_session_options options;
	struct tp_device device;
	struct tp_waits waits;
	struct tp_notifier notifier;
	_Atomic unsigned threads_max; /* fewer when a thread could not be had */

	/* Locks: turns_lock, crew_lock, release_lock are never held together, and stop_lock is taken before any of them. */
	pthread_mutex_t turns_lock;
	struct tp_turns turns; /* by turns_lock */
	_Atomic unsigned failures;

	_Atomic uint64_t flags; /* what INIT granted; not 0 once it was answered */
	bool clears_tails;	/* see tp_handshake(); written before flags */
	_Atomic bool leaving;	/* readers leave */
	_Atomic bool handled_init;
	_Atomic int error;	 /* why reading failed, -errno */
	_Atomic unsigned wanted; /* threads that are worth having */
	_Atomic unsigned active; /* threads that read or handle; at least 1 unless they are blocked */
	_Atomic unsigned blocked;

	pthread_mutex_t crew_lock;
	pthread_cond_t called;	   /* calls, or leaving */
	pthread_cond_t left;	   /* a reader left */
	pthread_cond_t guard_ends; /* leaving */
	pthread_t guard;
	unsigned sleeping;		/* by crew_lock */
	unsigned calls;			/* sleepers that were called and are not up yet; by crew_lock */
	unsigned alive;			/* by crew_lock */
	_Atomic unsigned readers_count; /* only grows; written by crew_lock */
	struct reader *readers[THREADS_MAX];

	pthread_mutex_t release_lock;
	pthread_cond_t released;
	_Atomic unsigned release_waiters;

	pthread_mutex_t stop_lock;
};

static void *reader_run(void *arg);

/* Makes a reader leave read(2). */
static int wake_signal(void)
{
	return SIGUSR2;
}

/* Makes it tell what it has in hand; read(2) goes on. Not one of the real-time signals, which fail when too many are queued for the user. */
static int look_signal(void)
{
	return SIGURG;
}

static void wake(int sig)
{
	/* Its coming is all: read(2) returns. */
}

static _Thread_local struct reader *self;

/* Is what was read a RELEASE? The length is 0 until the kernel has put a request there. */
static void show_release(struct reader *t)
{
	const struct fuse_in_header *h = tp_inbox_header(&t->inbox);

	if (h->len != 0 && h->opcode == FUSE_RELEASE)
		atomic_store(&t->releasing, true);
}

static void look(int sig)
{
	int error = errno;
	struct reader *t = self;

	/* Else it has shown what it had, and the buffer may be that of a request that is done. */
	if (t && atomic_load(&t->reading))
		show_release(t);
	if (t) {
		atomic_fetch_add(&t->looks, 1);
		(void)syscall(SYS_futex, &t->looks, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
	}
	errno = error;
}

static uint64_t now_ns(void)
{
	return tp_mono_ns(tp_clock_system());
}

#ifdef TP_TELLS_TSAN
char tp_kernel_order;
#endif

/* Replies */

static void account(struct tp_session *s, const struct tp_caller *c)
{
	/* What the handler does after that holds up nobody who asked. */
	if (self && self->session == s && self->request.caller.unique == c->unique)
		tp_hand_hide(&self->hand);
	if (c->opcode < TP_STATS_OPS_MAX)
		tp_stats_time(&s->options.stats->op_time[c->opcode], now_ns() - c->started_ns);
}

/* 0 or -errno. */
static int send_reply(const struct tp_caller *c, const struct iovec *iov, unsigned count)
{
	ssize_t k;

	TP_ANSWERED();
	do {
		k = writev(c->fd, iov, (int)count);
	} while (k < 0 && errno == EINTR);
	return k < 0 ? -errno : 0;
}

void tp_reply_error(struct tp_session *s, const struct tp_caller *c, int error)
{
	struct fuse_out_header h = {
		.len = sizeof(h), .error = error > 0 ? -error : error, .unique = c->unique};
	struct iovec iov = {&h, sizeof(h)};

	account(s, c);
	(void)send_reply(c, &iov, 1);
}

void tp_reply_iov(struct tp_session *s, const struct tp_caller *c, struct iovec *iov, unsigned count)
{
	struct fuse_out_header h = {.len = sizeof(h), .unique = c->unique};
	int r;

	for (unsigned i = 1; i < count; i++)
		h.len += (uint32_t)iov[i].iov_len;
	iov[0].iov_base = &h;
	iov[0].iov_len = sizeof(h);
	account(s, c);
	r = send_reply(c, iov, count);
	/* The caller went away, or the mount did: nothing. Else it still waits, and must hear something. */
	if (r < 0 && r != -ENOENT && r != -ENODEV) {
		h = (struct fuse_out_header){.len = sizeof(h), .error = -EIO, .unique = c->unique};
		(void)send_reply(c, iov, 1);
	}
}

void tp_reply_data(struct tp_session *s, const struct tp_caller *c, const void *data, size_t len)
{
	struct iovec iov[2] = {{0}, {(void *)data, len}};

	tp_reply_iov(s, c, iov, 2);
}

int tp_session_store(struct tp_session *s, const struct tp_caller *c, struct iovec *iov, unsigned count)
{
	struct {
		struct fuse_out_header header;
		struct fuse_notify_store_out store;
	} out = {{.error = FUSE_NOTIFY_STORE}, {.nodeid = c->node}};

	for (unsigned i = 1; i < count; i++)
		out.store.size += (uint32_t)iov[i].iov_len;
	if (!s->clears_tails && out.store.size % (uint32_t)sysconf(_SC_PAGESIZE) != 0)
		return -EOPNOTSUPP;
	out.header.len = (uint32_t)sizeof(out) + out.store.size;
	iov[0].iov_base = &out;
	iov[0].iov_len = sizeof(out);
	return send_reply(c, iov, count);
}

/* INIT */

static void answer_init(struct tp_session *s, struct tp_request *r)
{
	struct fuse_init_out out;
	uint64_t flags;
	bool clears_tails;
	int error = tp_handshake(r->arg, r->arg_len, &out, &flags, &clears_tails);

	if (error == -EPROTO) {
		tp_reply_error(s, &r->caller, error);
		return;
	}
	if (error == 0) {
		s->clears_tails = clears_tails;
		atomic_store(&s->flags, flags);
		atomic_store(&s->handled_init, true);
	}
	tp_reply_data(s, &r->caller, &out, sizeof(out));
	if (error < 0)
		return;
	tp_device_read_ahead(&s->device, READ_AHEAD_KIB);
	if (s->options.ops->ready)
		s->options.ops->ready(s->options.user);
}

uint64_t tp_session_flags(struct tp_session *s)
{
	return atomic_load(&s->flags);
}

/* RELEASEs */

/* Until t has come back with what it may have taken from the queue by now, and shown a RELEASE. */
static void have_shown(struct reader *t)
{
	uint32_t looks = atomic_load(&t->looks);

	if (!atomic_load(&t->reading) || pthread_kill(t->thread, look_signal()) != 0)
		return;
	while (atomic_load(&t->looks) == looks && atomic_load(&t->reading)) {
		/* It may go without having had the signal. */
		struct timespec limit = {.tv_nsec = LOOK_NS};

		(void)syscall(SYS_futex, &t->looks, FUTEX_WAIT_PRIVATE, looks, &limit, NULL, 0);
	}
}

static void wait_until_released(struct tp_session *s, struct reader *t)
{
	/* Either end_release() sees us among the waiters, or we see that it is over. */
	atomic_fetch_add(&s->release_waiters, 1);
	{
		TP_LOCK(&s->release_lock);
		while (atomic_load(&t->releasing))
			(void)pthread_cond_wait(&s->released, &s->release_lock);
	}
	atomic_fetch_sub(&s->release_waiters, 1);
}

bool tp_request_after_releases(struct tp_request *r)
{
	struct reader *me = tp_container(r, struct reader, request);
	struct tp_session *s = r->session;
	unsigned count = atomic_load(&s->readers_count);
	bool waited = false;

	for (unsigned i = 0; i < count; i++) {
		struct reader *t = s->readers[i];

		if (t == me)
			continue;
		have_shown(t);
		if (!atomic_load(&t->releasing))
			continue;
		/* The RELEASE may be in for something longer. */
		tp_request_may_block(r);
		wait_until_released(s, t);
		waited = true;
	}
	return waited;
}

static void end_release(struct reader *t)
{
	struct tp_session *s = t->session;

	atomic_store(&t->releasing, false);
	if (atomic_load(&s->release_waiters) > 0) {
		TP_LOCK(&s->release_lock);
		(void)pthread_cond_broadcast(&s->released);
	}
}

/* The crew */

static void reader_free(struct reader *t)
{
	if (!t)
		return;
	tp_inbox_fini(&t->inbox);
	free(t);
}

static struct reader *reader_new(struct tp_session *s)
{
	struct reader *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->session = s;
	/* All of them together never hold more than a sixteenth (and a quarter of that) of the pool. */
	if (tp_inbox_init(&t->inbox, s->options.pool, 16 * s->threads_max) < 0) {
		reader_free(t);
		return NULL;
	}
	return t;
}

/* One more thread that counts as active already. By crew_lock. When it cannot be had, those that are there do the work. */
static void start_reader(struct tp_session *s)
{
	unsigned at = atomic_load(&s->readers_count);
	struct reader *t = reader_new(s);
	pthread_attr_t attr;
	int r;

	if (!t)
		return;
	if (pthread_attr_init(&attr) != 0) {
		reader_free(t);
		return;
	}
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	t->alive = true;
	s->readers[at] = t;
	atomic_store(&s->readers_count, at + 1);
	atomic_fetch_add(&s->active, 1);
	s->alive++;
	r = pthread_create(&t->thread, &attr, reader_run, t);
	(void)pthread_attr_destroy(&attr);
	if (r) {
		/* Nobody else adds readers while we hold the lock; one that just looks at its `releasing` finds 0 there until the session is freed. */
		t->alive = false;
		t->thread = 0; /* glibc may have put something there all the same */
		s->alive--;
		atomic_fetch_sub(&s->active, 1);
		if (at + 1 < s->threads_max)
			s->threads_max = at + 1;
	}
}

/* One more is wanted. By crew_lock. True: who sleeps is to be woken. */
static bool call_one(struct tp_session *s)
{
	unsigned blocked = atomic_load(&s->blocked), max;

	if (atomic_load(&s->leaving))
		return false;
	if (s->sleeping > s->calls) {
		s->calls++;
		atomic_fetch_add(&s->active, 1);
		return true;
	}
	max = s->threads_max + (blocked < BLOCKED_MAX ? blocked : BLOCKED_MAX);
	if (atomic_load(&s->readers_count) < (max < THREADS_MAX ? max : THREADS_MAX))
		start_reader(s);
	return false;
}

static void call_reader(struct tp_session *s)
{
	bool wake_one;

	{
		TP_LOCK(&s->crew_lock);
		wake_one = call_one(s);
	}
	if (wake_one)
		(void)pthread_cond_signal(&s->called);
}

/* False: it was so already. */
static bool set_blocked(struct reader *t)
{
	struct tp_session *s = t->session;

	if (atomic_exchange(&t->blocked, true))
		return false;
	atomic_fetch_add(&s->blocked, 1);
	atomic_fetch_sub(&s->active, 1);
	return true;
}

/* One that has stood still since the last look, or more, and nobody who reads. By crew_lock. */
static bool is_held_up(struct tp_session *s)
{
	bool stands = false, reads = false;

	for (unsigned i = 0; i < atomic_load(&s->readers_count); i++) {
		struct reader *t = s->readers[i];
		uint64_t turn = atomic_load(&t->turn);

		if (!t->alive || t->asleep)
			continue;
		reads |= atomic_load(&t->reading);
		if (turn == t->turn_seen && !atomic_load(&t->reading)) {
			(void)set_blocked(t);
			stands = true;
		}
		t->turn_seen = turn;
	}
	return stands && !reads;
}

static void *guard_run(void *arg)
{
	struct tp_session *s = arg;

	while (!atomic_load(&s->leaving)) {
		{
			struct timespec until;
			TP_LOCK(&s->crew_lock);

			(void)clock_gettime(CLOCK_MONOTONIC, &until);
			until.tv_sec += GUARD_S;
			if (!atomic_load(&s->leaving))
				(void)pthread_cond_timedwait(&s->guard_ends, &s->crew_lock, &until);
			if (is_held_up(s) && call_one(s))
				(void)pthread_cond_signal(&s->called);
		}
		tp_notifier_guard(&s->notifier);
	}
	return NULL;
}

/* Sleeps until it is called, if there are more active than enough. */
static void rest(struct reader *t, unsigned enough)
{
	struct tp_session *s = t->session;
	unsigned active = atomic_load(&s->active);

	do {
		if (active <= enough)
			return;
	} while (!atomic_compare_exchange_weak(&s->active, &active, active - 1));
	tp_staging_drop(&t->inbox.staging);
	{
		TP_LOCK(&s->crew_lock);
		/* Who called for one just now has not seen us asleep. */
		if (atomic_load(&s->active) < enough) {
			atomic_fetch_add(&s->active, 1);
			return;
		}
		s->sleeping++;
		t->asleep = true;
		while (s->calls == 0 && !atomic_load(&s->leaving))
			(void)pthread_cond_wait(&s->called, &s->crew_lock);
		t->asleep = false;
		s->sleeping--;
		if (s->calls > 0)
			s->calls--;
		else
			atomic_fetch_add(&s->active, 1);
	}
}

void tp_request_may_block(struct tp_request *r)
{
	struct reader *t = tp_container(r, struct reader, request);
	struct tp_session *s = t->session;

	if (set_blocked(t) && atomic_load(&s->active) < atomic_load(&s->wanted))
		call_reader(s);
}

static void leave_all(struct tp_session *s)
{
	TP_LOCK(&s->crew_lock);

	atomic_store(&s->leaving, true);
	(void)pthread_cond_broadcast(&s->called);
	(void)pthread_cond_signal(&s->guard_ends);
}

/* Reading */

/* Reads one request; *ret_len bytes are there. -EAGAIN: none, try again. Else reading is over. */
static int read_frame(struct reader *t, size_t *ret_len)
{
	struct tp_session *s = t->session;
	ssize_t k = readv(s->device.fd, t->inbox.iov, (int)t->inbox.iov_count);

	if (k > 0) {
		TP_ASKED();
		if (atomic_load_explicit(&s->failures, memory_order_relaxed) > 0)
			atomic_store(&s->failures, 0);
		*ret_len = (size_t)k;
		return 0;
	}
	if (k == 0 || errno == ENODEV || errno == ECONNABORTED || errno == ECONNRESET)
		return -ENODEV;
	if (errno == EINTR || errno == EAGAIN)
		return -EAGAIN;
	/* ENOENT: the request was taken back. Others (EIO, EFAULT: the pool's memory could not be had) cost the one request, which the kernel has answered. */
	if (errno != ENOENT && atomic_fetch_add(&s->failures, 1) >= FAILURES_MAX) {
		atomic_store(&s->error, -errno);
		return -errno;
	}
	return -EAGAIN;
}

/* The same, and shows to others that it reads, and a RELEASE. */
static int read_shown(struct reader *t, size_t *ret_len)
{
	int r;

	tp_inbox_header(&t->inbox)->len = 0;
	atomic_store(&t->reading, true);
	r = atomic_load(&t->session->leaving) ? -ENODEV : read_frame(t, ret_len);
	show_release(t);
	atomic_store(&t->reading, false);
	return r;
}

/* How many threads is the client that asks worth? When another counts just now, this one is not missed. */
static void count_client(struct tp_session *s, uint32_t pid)
{
	if (pthread_mutex_trylock(&s->turns_lock) != 0)
		return;
	atomic_store_explicit(
		&s->wanted, tp_turns_note(&s->turns, pid, s->threads_max), memory_order_relaxed);
	(void)pthread_mutex_unlock(&s->turns_lock);
}

/* 0: a request that may be handled; an errno to answer with; -ENODATA: no reply is wanted or possible. */
static int parse(struct reader *t, size_t len)
{
	const struct fuse_in_header *h = tp_inbox_header(&t->inbox);
	struct tp_session *s = t->session;
	struct tp_request *r = &t->request;
	int error;

	r->session = s;
	if (len < sizeof(*h))
		return -ENODATA;
	r->caller = (struct tp_caller){
		.unique = h->unique,
		.node = h->nodeid,
		.opcode = h->opcode,
		.uid = h->uid,
		.gid = h->gid,
		.pid = h->pid,
		.fd = s->device.fd,
		.started_ns = now_ns(),
	};
	if (h->opcode < TP_STATS_OPS_MAX)
		atomic_fetch_add_explicit(&s->options.stats->op_count[h->opcode], 1, memory_order_relaxed);
	error = h->len == len ? tp_inbox_open(&t->inbox, len, r) : -EIO;
	if (error == 0 && (h->opcode == FUSE_INIT) == atomic_load(&s->handled_init))
		error = -EIO;
	if (error == 0 && h->opcode != FUSE_INIT)
		error = tp_frame_check(h->opcode, r->arg, r->arg_len, r->payload_len,
			atomic_load(&s->flags) & FUSE_SETXATTR_EXT);
	if (error < 0 &&
		(h->opcode == FUSE_FORGET || h->opcode == FUSE_BATCH_FORGET || h->opcode == FUSE_INTERRUPT))
		return -ENODATA;
	return error;
}

static void handle(struct reader *t, size_t len)
{
	struct tp_session *s = t->session;
	struct tp_request *r = &t->request;
	int error = parse(t, len);

	if (error == -ENODATA)
		return;
	if (error < 0) {
		tp_reply_error(s, &r->caller, error);
		return;
	}
	switch (r->caller.opcode) {
	case FUSE_INIT:
		answer_init(s, r);
		break;
	case FUSE_DESTROY:
		tp_reply_error(s, &r->caller, 0);
		break;
	case FUSE_INTERRUPT:
		tp_waits_interrupt(&s->waits, ((const struct fuse_interrupt_in *)r->arg)->unique);
		break;
	default:
		tp_hand_show(&t->hand, &r->caller, atomic_load_explicit(&t->turn, memory_order_relaxed));
		s->options.ops->handle(r, s->options.user);
		tp_hand_hide(&t->hand);
	}
}

void tp_request_take_pages(struct tp_request *r, unsigned pages, struct tp_run *ret_runs, unsigned *ret_count)
{
	struct reader *t = tp_container(r, struct reader, request);

	*ret_count = tp_staging_take(&t->inbox.staging, pages, ret_runs);
}

/* One turn. False: reading is over. */
static bool take_turn(struct reader *t)
{
	struct tp_session *s = t->session;
	size_t len = 0;
	int r;

	atomic_store_explicit(
		&t->turn, atomic_load_explicit(&t->turn, memory_order_relaxed) + 1, memory_order_relaxed);
	tp_inbox_prepare(&t->inbox);
	r = read_shown(t, &len);
	if (r == 0) {
		if (len >= sizeof(struct fuse_in_header))
			count_client(s, tp_inbox_header(&t->inbox)->pid);
		if (atomic_load_explicit(&s->active, memory_order_relaxed) <
			atomic_load_explicit(&s->wanted, memory_order_relaxed))
			call_reader(s);
		handle(t, len);
	}
	/* Also one that could not be read whole. */
	if (atomic_load_explicit(&t->releasing, memory_order_relaxed))
		end_release(t);
	if (r < 0 && r != -EAGAIN)
		return false;
	if (atomic_load_explicit(&t->blocked, memory_order_relaxed) && atomic_exchange(&t->blocked, false)) {
		atomic_fetch_sub(&s->blocked, 1);
		atomic_fetch_add(&s->active, 1);
	}
	return true;
}

static void *reader_run(void *arg)
{
	struct reader *t = arg;
	struct tp_session *s = t->session;

	self = t;
	while (!atomic_load(&s->leaving)) {
		if (!take_turn(t))
			break;
		rest(t, atomic_load_explicit(&s->wanted, memory_order_relaxed));
	}
	self = NULL;
	leave_all(s);
	tp_staging_drop(&t->inbox.staging);
	{
		TP_LOCK(&s->crew_lock);
		t->alive = false;
		s->alive--;
		(void)pthread_cond_broadcast(&s->left);
	}
	return NULL;
}

/* The session */

static unsigned threads_default(void)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);

	if (online < 2)
		return 2;
	return online < THREADS_DEFAULT_MAX ? (unsigned)online : THREADS_DEFAULT_MAX;
}

static void session_fini(struct tp_session *s)
{
	for (unsigned i = 0; i < atomic_load(&s->readers_count); i++)
		reader_free(s->readers[i]);
	tp_notifier_fini(&s->notifier);
	tp_waits_close(&s->waits);
	tp_waits_fini(&s->waits);
	(void)pthread_mutex_destroy(&s->stop_lock);
	(void)pthread_cond_destroy(&s->released);
	(void)pthread_mutex_destroy(&s->release_lock);
	(void)pthread_cond_destroy(&s->left);
	(void)pthread_cond_destroy(&s->guard_ends);
	(void)pthread_cond_destroy(&s->called);
	(void)pthread_mutex_destroy(&s->crew_lock);
	(void)pthread_mutex_destroy(&s->turns_lock);
	free(s);
}

/* Everything but the device. -ENOMEM. */
static int session_init(const struct tp_session_options *options, struct tp_session **ret)
{
	struct tp_session *s = calloc(1, sizeof(*s));
	pthread_condattr_t attr;

	if (!s)
		return -ENOMEM;
	s->options = *options;
	s->device.fd = -1;
	s->threads_max = options->threads_max ? options->threads_max : threads_default();
	if (s->threads_max > THREADS_MAX)
		s->threads_max = THREADS_MAX;
	tp_turns_init(&s->turns);
	atomic_store(&s->wanted, 1);
	(void)pthread_mutex_init(&s->turns_lock, NULL);
	(void)pthread_mutex_init(&s->crew_lock, NULL);
	(void)pthread_cond_init(&s->called, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&s->left, &attr);
	(void)pthread_cond_init(&s->guard_ends, &attr);
	(void)pthread_condattr_destroy(&attr);
	(void)pthread_mutex_init(&s->release_lock, NULL);
	(void)pthread_cond_init(&s->released, NULL);
	(void)pthread_mutex_init(&s->stop_lock, NULL);
	tp_waits_init(&s->waits);
	tp_notifier_init(&s->notifier, -1, options->stats);
	/* The first one is tp_session_serve()'s own thread. */
	s->readers[0] = reader_new(s);
	if (!s->readers[0]) {
		session_fini(s);
		return -ENOMEM;
	}
	atomic_store(&s->readers_count, 1);
	*ret = s;
	return 0;
}

int tp_session_new(const struct tp_session_options *options, struct tp_err *err, struct tp_session **ret)
{
	struct tp_device_options mount = {
		.mountpoint = options->mountpoint,
		.fuse_options = options->fuse_options,
		.default_permissions = options->default_permissions,
		.read_only = options->read_only,
	};
	struct tp_session *s;
	int r;

	r = session_init(options, &s);
	if (r < 0)
		return tp_err_set(err, r, "out of memory");
	r = tp_device_mount(&mount, err, &s->device);
	if (r < 0) {
		session_fini(s);
		return r;
	}
	s->notifier.fd = s->device.fd;
	*ret = s;
	return 0;
}

int tp_session_new_fd(const struct tp_session_options *options, int fd, struct tp_session **ret)
{
	struct tp_session *s;
	int r;

	r = session_init(options, &s);
	if (r < 0)
		return r;
	tp_device_wrap(fd, &s->device);
	s->notifier.fd = fd;
	*ret = s;
	return 0;
}

/* All signals stay away from the session's threads, but the two that are for their readers. */
static void mask_signals(sigset_t *ret_old)
{
	struct sigaction to_wake = {.sa_handler = wake};
	struct sigaction to_look = {.sa_handler = look, .sa_flags = TP_LOOK_FLAGS};
	sigset_t set;

	sigemptyset(&to_wake.sa_mask);
	sigemptyset(&to_look.sa_mask);
	(void)sigaction(wake_signal(), &to_wake, NULL);
	(void)sigaction(look_signal(), &to_look, NULL);
	sigfillset(&set);
	sigdelset(&set, wake_signal());
	sigdelset(&set, look_signal());
	/* Faults of our own must show where they happen. */
	sigdelset(&set, SIGSEGV);
	sigdelset(&set, SIGBUS);
	sigdelset(&set, SIGFPE);
	sigdelset(&set, SIGILL);
	sigdelset(&set, SIGABRT);
	(void)pthread_sigmask(SIG_SETMASK, &set, ret_old);
}

/* Signals all who still read, until they have left. */
static void kick_readers(struct tp_session *s)
{
	leave_all(s);
	TP_LOCK(&s->crew_lock);
	while (s->alive > 0) {
		struct timespec until;

		for (unsigned i = 0; i < atomic_load(&s->readers_count); i++) {
			if (s->readers[i]->alive)
				(void)pthread_kill(s->readers[i]->thread, wake_signal());
		}
		(void)clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += KICK_NS;
		if (until.tv_nsec >= (long)TP_NS_PER_S) {
			until.tv_nsec -= (long)TP_NS_PER_S;
			until.tv_sec++;
		}
		(void)pthread_cond_timedwait(&s->left, &s->crew_lock, &until);
	}
}

/* False: it was stopped before it began. */
static bool begin(struct tp_session *s)
{
	struct reader *t = s->readers[0];
	TP_LOCK(&s->crew_lock);

	if (atomic_load(&s->leaving))
		return false;
	t->thread = pthread_self();
	t->alive = true;
	s->alive = 1;
	atomic_store(&s->active, 1);
	return true;
}

int tp_session_serve(struct tp_session *s)
{
	bool guarded = false;
	sigset_t old;
	int r;

	mask_signals(&old);
	r = tp_notifier_start(&s->notifier);
	if (r == 0 && begin(s)) {
		/* Without one there is nobody to look, and all else is the same. */
		guarded = pthread_create(&s->guard, NULL, guard_run, s) == 0;
		(void)reader_run(s->readers[0]);
	}
	kick_readers(s);
	if (guarded)
		(void)pthread_join(s->guard, NULL);
	for (unsigned i = 1; i < atomic_load(&s->readers_count); i++) {
		/* 0: pthread_create() failed, and it was never there. */
		if (s->readers[i]->thread)
			(void)pthread_join(s->readers[i]->thread, NULL);
	}
	tp_waits_close(&s->waits);
	/* Clients that still hold files, and a notifier that the kernel holds up for one of them, are let go. */
	tp_device_abort(&s->device);
	tp_notifier_stop(&s->notifier);
	tp_device_hang_up(&s->device);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r < 0 ? r : atomic_load(&s->error);
}

/* Lets what stands in the queue be read: a RELEASE that nobody has read when the mount goes is lost. */
static void settle(struct tp_session *s)
{
	for (unsigned ms = 0; ms < SETTLE_MS_MAX && !atomic_load(&s->leaving); ms++) {
		struct pollfd p = {.fd = s->device.fd, .events = POLLIN};
		struct timespec nap = {.tv_nsec = (long)TP_NS_PER_MS};

		if (poll(&p, 1, 0) != 1 || p.revents != POLLIN)
			return;
		(void)nanosleep(&nap, NULL);
	}
}

static bool is_serving(struct tp_session *s)
{
	TP_LOCK(&s->crew_lock);

	return s->alive > 0;
}

void tp_session_stop(struct tp_session *s)
{
	TP_LOCK(&s->stop_lock);

	if (is_serving(s)) {
		tp_waits_close(&s->waits);
		settle(s);
		tp_notifier_quiet(&s->notifier);
	}
	(void)tp_device_unmount(&s->device, NULL);
	kick_readers(s);
}

void tp_session_free(struct tp_session *s)
{
	if (!s)
		return;
	{
		/* Who stopped us may not be out of it yet. */
		TP_LOCK(&s->stop_lock);
		(void)tp_device_unmount(&s->device, NULL);
	}
	tp_device_close(&s->device);
	session_fini(s);
}

/* What others do with the parts */

int tp_wait_add(struct tp_session *s, struct tp_wait *w)
{
	return tp_waits_add(&s->waits, w);
}

bool tp_wait_take(struct tp_session *s, struct tp_wait *w)
{
	return tp_waits_take(&s->waits, w);
}

void tp_wait_each(struct tp_session *s, void (*each)(const struct tp_wait *w, void *user), void *user)
{
	tp_waits_each(&s->waits, each, user);
}

void tp_session_each_held(struct tp_session *s, uint64_t at_least_ns,
	void (*each)(const struct tp_held *h, void *user), void *user)
{
	uint64_t now = now_ns();
	unsigned count = atomic_load(&s->readers_count);

	for (unsigned i = 0; i < count; i++) {
		struct tp_held held;

		/* One may have come after we looked at the time. */
		if (tp_hand_see(&s->readers[i]->hand, &held) && held.started_ns <= now &&
			now - held.started_ns >= at_least_ns)
			each(&held, user);
	}
}

struct tp_notifier *tp_session_notifier(struct tp_session *s)
{
	return &s->notifier;
}
