/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The FUSE protocol, spoken directly: libfuse mounts, and everything after that (INIT, reading requests, replies, notifications, interrupts) is
 * here, since what the design needs (payload that lands in pool pages, O_TMPFILE, parallel directory operations, mmap on direct files, FOPEN_STREAM,
 * a mount that a successor takes over) is not in libfuse 3.14.
 *
 * Reading. While requests come from one client one thread does all, on that client's processor; more join when they come from several in turn. They read side by
 * side, so the order of requests is lost, but for what matters: tp_request_after_releases() waits (microseconds) until the RELEASEs that the
 * kernel sent before a request have been handled. No handler may wait for a request that was not read yet, nor for the notifier: what must wait is
 * parked (struct tp_wait) and answered later from any thread.
 *
 * Payload. A thread reads into a small head and, behind it, its staging: about 1 MiB of pool pages. A WRITE's bytes therefore lie in pages that the
 * handler may keep (tp_request_take_pages()); the staging is filled up again before the next read, from the heap when the pool has no room.
 *
 * Replies are written with one writev(2); a failed one (the caller is gone: ENOENT) is nothing. No lock is held while a reply is written.
 *
 * Invalidations are sent by one thread, in order, and never from a handler, because the kernel takes the directory's lock for them.
 */
#pragma once

#include <linux/fuse.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "store/errtext.h"
#include "store/list.h"
#include "store/pool.h"
#include "store/stats.h"

#define TP_WRITE_BYTES_MAX (1u << 20)
#define TP_PAYLOAD_RUNS_MAX 24
/* Opcodes that the headers of the oldest supported distribution may lack are defined in session.c. */

struct tp_session;
struct tp_notifier;

/* What is needed to answer: small, copied by value into whatever waits. */
struct tp_caller {
	uint64_t unique;
	uint64_t node;
	uint32_t opcode;
	uint32_t uid, gid;
	/* Of the thread that asks, in our pid namespace; 0: not visible, or nobody's (RELEASE, write-back). */
	uint32_t pid;
	int fd;		     /* the /dev/fuse descriptor that it was read from and must be answered on */
	uint64_t started_ns; /* monotonic, for the histograms */
};

struct tp_request {
	struct tp_caller caller;
	struct tp_session *session;
	/* What follows the header, contiguous and NUL-terminated one byte beyond arg_len; for WRITE the struct fuse_write_in alone. */
	const void *arg;
	size_t arg_len;
	/* WRITE only: the bytes. */
	struct iovec payload[TP_PAYLOAD_RUNS_MAX + 1];
	unsigned payload_count;
	size_t payload_len;
	struct tp_run runs[TP_PAYLOAD_RUNS_MAX]; /* pool pages that hold the first bytes of it, in order */
	unsigned runs_count;
};

/* The handler answers by exactly one tp_reply_*() or parks the request; it is called by reading threads. FORGET, BATCH_FORGET: no reply. */
struct tp_session_ops {
	void (*handle)(struct tp_request *r, void *user);
	/* INIT was answered: the mount works from now on. Optional. */
	void (*ready)(void *user);
};

struct tp_session_options {
	const char *mountpoint;
	const char *fuse_options; /* FUSE's own, comma-separated, may be NULL */
	bool default_permissions;
	bool read_only;
	unsigned threads_max;
	struct tp_pool *pool;
	struct tp_stats *stats; /* op_count and op_time are counted here */
	const struct tp_session_ops *ops;
	void *user;
};

/* Mounts (as root directly, else through fusermount3: libfuse's fuse_session_mount). Errors with text. */
int tp_session_new(const struct tp_session_options *options, struct tp_err *err, struct tp_session **ret);
/* For tests and fuzzing: speaks on fd (a socketpair of type SOCK_SEQPACKET) instead of a mount. Takes ownership of fd on success. */
int tp_session_new_fd(const struct tp_session_options *options, int fd, struct tp_session **ret);
/* Reads and handles until the mount is gone or tp_session_stop(). On return all waits have been cancelled and all threads of the session have ended. */
int tp_session_serve(struct tp_session *s);
/*
 * From any thread but a handler's, any number of times. Cancels all waits, lets what is queued be handled, unmounts (lazily when busy), and returns when no thread
 * reads any more. What asks through files that are still open gets ENOTCONN or ECONNABORTED from then on.
 */
void tp_session_stop(struct tp_session *s);
void tp_session_free(struct tp_session *s);
/* The INIT flags that the kernel and we agreed on (FUSE_ASYNC_READ, ...; flags2 in the upper half); 0 before INIT. */
uint64_t tp_session_flags(struct tp_session *s);

/*
 * Waits until every RELEASE that the kernel sent before r has been handled. Cheap while one thread serves all, else two switches: for requests that depend on one. Returns
 * true when one was being handled. Not to be called from the handler of a RELEASE.
 */
bool tp_request_after_releases(struct tp_request *r);
/* A handler that may block for longer than some tens of microseconds (a disk, a peer) says so once, before it does: another thread reads on meanwhile. */
void tp_request_may_block(struct tp_request *r);
/* Takes the first `pages` pages of the payload (all in r->runs) into ret_runs (room for TP_PAYLOAD_RUNS_MAX): the caller owns them now. */
void tp_request_take_pages(
	struct tp_request *r, unsigned pages, struct tp_run *ret_runs, unsigned *ret_count);

/* Each answers a request; error is positive or negative errno, 0 for success without data. */
void tp_reply_error(struct tp_session *s, const struct tp_caller *c, int error);
void tp_reply_data(struct tp_session *s, const struct tp_caller *c, const void *data, size_t len);
/* At most 1,000 entries. iov[0] is left free by the caller for the header. */
void tp_reply_iov(struct tp_session *s, const struct tp_caller *c, struct iovec *iov, unsigned count);

/*
 * Puts bytes into the page cache, which are all that the node of c has: before an answer to c that lets it keep them. iov as for tp_reply_iov(). Unlike what
 * the notifier sends it takes no directory's lock; but where a READ of the node is under way it waits for that. -errno: perhaps some of them are there.
 */
int tp_session_store(struct tp_session *s, const struct tp_caller *c, struct iovec *iov, unsigned count);

/*
 * A request that waits: embedded in the waiter's own heap object. It is in the session's table from tp_wait_add() until exactly one of
 * tp_wait_take() (by who completes it; returns false when it was cancelled) or its cancel callback (the caller was interrupted or the session ends; the callback
 * answers with EINTR and frees). cancel is called with no lock held.
 */
struct tp_wait {
	struct tp_list link; /* by the session's wait lock */
	struct tp_caller caller;
	uint64_t since_ns;
	char what[160]; /* for .tidepool/waits: "write NAME: no room" */
	void (*cancel)(struct tp_wait *w);
	bool ended;   /* it is cancelled because the session ends */
	bool waiting; /* by the session's wait lock */
};

/* -EINTR: the caller's interrupt had come already; nothing was added, the caller answers. what, cancel and caller are set. */
int tp_wait_add(struct tp_session *s, struct tp_wait *w);
bool tp_wait_take(struct tp_session *s, struct tp_wait *w);
/* Calls each for all that wait, oldest first, under the wait lock: copies only. */
void tp_wait_each(struct tp_session *s, void (*each)(const struct tp_wait *w, void *user), void *user);

/* A request that was read and is neither answered nor parked: its handler still runs. */
struct tp_held {
	uint64_t node;
	uint64_t started_ns; /* monotonic: since then */
	uint32_t opcode;
	uint32_t pid; /* as of struct tp_caller */
};

/*
 * Calls each for the requests that handlers have had in hand for at_least_ns or longer; what holds them up is not known. No lock is held. Nor does that need one of those that
 * handlers take: it is for when one is not given back.
 */
void tp_session_each_held(struct tp_session *s, uint64_t at_least_ns,
	void (*each)(const struct tp_held *h, void *user), void *user);

/* Through which the kernel is told what it must forget; fs/notify.h. */
struct tp_notifier *tp_session_notifier(struct tp_session *s);
