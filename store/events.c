/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stream is what STATE/events.1 and STATE/events hold, in this order. Without a STATE it is two memory
 * files, and nothing else differs.
 */
#include "store/events.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "store/cleanup.h"

#define LINE_BYTES_MAX 8192
#define FILE_MODE 0600
/* What can be said under one lock: the paths of some thousand drafts that go with their directory. */
#define BUFFER_BYTES (256 * 1024)

/* Lines that were said and not flushed, all whole. */
struct buffer {
	_Atomic size_t len; /* read without a lock by who crashes */
	char text[BUFFER_BYTES];
};

struct tp_events {
	const struct tp_clock *clock;
	uint64_t size_max_bytes; /* of one file */
	int dir_fd;		 /* owned: STATE; -1: memory only */

	/* Lock order: file, lock. */

	/*
	 * For the files. It is held over the write of a line, since the order of the writes is the order of
	 * the lines.
	 */
	pthread_mutex_t file;
	_Atomic int fd;		 /* owned: the file that grows; read without a lock by who crashes */
	int old_fd;		 /* owned: the file before it or -1 */
	uint64_t size, old_size; /* their lengths in bytes */
	uint64_t cut;		 /* bytes that rotation took from the front since open */
	uint64_t dropped;	 /* lines, without those in `missed` */
	uint64_t dropped_told;	 /* of these, how many an event has told of */
	bool torn;		 /* the file ends in a part of a line that could not be taken back */
	void (*said)(void *user);
	void *user;

	pthread_mutex_t lock;		/* for all that follows; nothing is waited for under it */
	struct buffer *_Atomic filling; /* one of the two: takes what is said */
	uint64_t missed;		/* lines for which it had no room */
	_Atomic bool waiting; /* something was said that is not in the file; read without the lock */
	_Atomic bool writing; /* somebody has `file` to write; read without the lock */
	struct buffer buffers[2];
};

/* Has this thread said something that it has not seen written? */
static _Thread_local bool said_any;

static int open_file(struct tp_events *e, const char *name, int flags)
{
	int fd;

	if (e->dir_fd < 0)
		fd = memfd_create("tidepool-events", MFD_CLOEXEC);
	else
		/* Linux appends whatever the offset is, so that two threads never write over each other in a crash. */
		fd = openat(e->dir_fd, name, flags | O_APPEND | O_CLOEXEC | O_NOFOLLOW, FILE_MODE);
	return fd < 0 ? -errno : fd;
}

static int file_size(int fd, uint64_t *ret)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	*ret = (uint64_t)st.st_size;
	return 0;
}

/* Opens what is kept of earlier runs. */
static int open_files(struct tp_events *e)
{
	char last;
	int r;

	if (e->dir_fd >= 0) {
		/* Left by a crash between the two steps of a rotation; it is empty. */
		(void)unlinkat(e->dir_fd, "events.new", 0);
		r = open_file(e, "events.1", O_RDONLY);
		if (r < 0 && r != -ENOENT)
			return r;
		e->old_fd = r < 0 ? -1 : r;
		r = e->old_fd < 0 ? 0 : file_size(e->old_fd, &e->old_size);
		if (r < 0)
			return r;
	}
	e->fd = open_file(e, "events", O_RDWR | O_CREAT);
	if (e->fd < 0)
		return e->fd;
	r = file_size(e->fd, &e->size);
	if (r < 0)
		return r;
	if (e->size && pread(e->fd, &last, 1, (off_t)e->size - 1) == 1 && last != '\n')
		e->torn = true;
	return 0;
}

/* Ends a line that a crash or a full disk left without its end. Locked, or nobody else has e yet. */
static int mend(struct tp_events *e)
{
	ssize_t n;

	if (!e->torn)
		return 0;
	n = pwrite(e->fd, "\n", 1, (off_t)e->size);
	if (n != 1)
		return n < 0 ? -errno : -ENOSPC;
	e->size++;
	e->torn = false;
	return 0;
}

int tp_events_open(const char *state, const struct tp_clock *clock, uint64_t size_max_bytes,
	struct tp_err *err, struct tp_events **ret)
{
	struct tp_events *e = calloc(1, sizeof(*e));
	int r;

	if (!e)
		return tp_err_set(err, -ENOMEM, "not enough memory for the events");
	e->clock = clock;
	e->size_max_bytes = size_max_bytes;
	e->dir_fd = e->old_fd = -1;
	e->fd = -1;
	e->filling = &e->buffers[0];
	(void)pthread_mutex_init(&e->file, NULL);
	(void)pthread_mutex_init(&e->lock, NULL);
	if (state) {
		e->dir_fd = open(state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (e->dir_fd < 0) {
			r = -errno;
			tp_events_close(e);
			return tp_err_set(err, r, "%s cannot be opened: %s", state, strerror(-r));
		}
	}
	r = open_files(e);
	if (r < 0) {
		tp_events_close(e);
		return tp_err_set(err, r, "the events of %s cannot be opened: %s", state ? state : "memory",
			strerror(-r));
	}
	/* A full disk is no reason not to start; the first line tries again. */
	(void)mend(e);
	*ret = e;
	return 0;
}

void tp_events_close(struct tp_events *e)
{
	if (!e)
		return;
	tp_events_flush(e);
	(void)tp_close(e->fd);
	(void)tp_close(e->old_fd);
	(void)tp_close(e->dir_fd);
	(void)pthread_mutex_destroy(&e->file);
	(void)pthread_mutex_destroy(&e->lock);
	free(e);
}

/*
 * Begins a new file and gives up the oldest. Locked. On an error nothing has changed but names that the next
 * open understands.
 */
static int rotate(struct tp_events *e)
{
	int fd, r;

	fd = open_file(e, "events.new", O_RDWR | O_CREAT | O_TRUNC);
	if (fd < 0)
		return fd;
	if (e->dir_fd >= 0 &&
		((renameat(e->dir_fd, "events", e->dir_fd, "events.1") < 0 && errno != ENOENT) ||
			renameat(e->dir_fd, "events.new", e->dir_fd, "events") < 0)) {
		r = -errno;
		(void)tp_close(fd);
		return r;
	}
	(void)tp_close(e->old_fd);
	e->cut += e->old_size;
	e->old_fd = e->fd;
	e->old_size = e->size;
	e->fd = fd;
	e->size = 0;
	return 0;
}

/* Writes one line whole or not at all. Locked. */
static int keep(struct tp_events *e, const char *line, size_t len)
{
	ssize_t n;
	int r;

	r = mend(e);
	if (r < 0)
		return r;
	if (e->size && e->size + len > e->size_max_bytes) {
		r = rotate(e);
		if (r < 0)
			return r;
	}
	do
		n = pwrite(e->fd, line, len, (off_t)e->size);
	while (n < 0 && errno == EINTR);
	if (n == (ssize_t)len) {
		e->size += len;
		return 0;
	}
	r = n < 0 ? -errno : -ENOSPC;
	if (n > 0 && ftruncate(e->fd, (off_t)e->size) < 0) {
		e->size += (size_t)n;
		e->torn = true;
	}
	return r;
}

/* "TIME KIND text\n"; what is too long ends in "...". Returns the length. */
__attribute__((format(printf, 4, 0))) static size_t format_line(
	char *line, uint64_t wall_ns, const char *kind, const char *fmt, va_list ap)
{
	time_t s = (time_t)(wall_ns / TP_NS_PER_S);
	struct tm tm;
	size_t len, room;
	int n;

	(void)gmtime_r(&s, &tm);
	len = strftime(line, 64, "%Y-%m-%dT%H:%M:%S", &tm);
	len += (size_t)snprintf(line + len, 128, ".%09uZ %.64s ", (unsigned)(wall_ns % TP_NS_PER_S), kind);
	room = LINE_BYTES_MAX - len - 1;
	n = vsnprintf(line + len, room, fmt, ap);
	if (n < 0)
		n = 0;
	if ((size_t)n >= room) {
		n = (int)room - 1;
		memcpy(line + len + n - 3, "...", 3);
	}
	/* A name that was not quoted must not look like a second event. */
	for (char *c = line + len; n > 0; n--, c++, len++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = '?';
	line[len++] = '\n';
	return len;
}

__attribute__((format(printf, 4, 5))) static size_t format_one(
	char *line, uint64_t wall_ns, const char *kind, const char *fmt, ...)
{
	va_list ap;
	size_t len;

	va_start(ap, fmt);
	len = format_line(line, wall_ns, kind, fmt, ap);
	va_end(ap);
	return len;
}

void tp_events_say(struct tp_events *e, const char *kind, const char *fmt, ...)
{
	char line[LINE_BYTES_MAX];
	struct buffer *b;
	va_list ap;
	size_t len;

	if (!e)
		return;
	va_start(ap, fmt);
	len = format_line(line, tp_wall_ns(e->clock), kind, fmt, ap);
	va_end(ap);
	said_any = true;
	TP_LOCK(&e->lock);
	b = e->filling;
	if (len > BUFFER_BYTES - b->len) {
		e->missed++;
	} else {
		memcpy(b->text + b->len, line, len);
		b->len += len;
	}
	atomic_store_explicit(&e->waiting, true, memory_order_relaxed);
}

/* Writes one line; before it, how many could not be kept. Locked. */
static void keep_or_drop(struct tp_events *e, const char *line, size_t len)
{
	char told[LINE_BYTES_MAX];

	if (e->dropped > e->dropped_told &&
		keep(e, told,
			format_one(told, tp_wall_ns(e->clock), "dropped",
				"%" PRIu64 " events could not be kept", e->dropped - e->dropped_told)) == 0)
		e->dropped_told = e->dropped;
	if (keep(e, line, len) < 0)
		e->dropped++;
}

/* What is being filled, to be written; the other one, which is empty, is filled from now on. */
static struct buffer *take_filled(struct tp_events *e, uint64_t *ret_missed)
{
	struct buffer *b;
	TP_LOCK(&e->lock);

	b = e->filling;
	e->filling = b == &e->buffers[0] ? &e->buffers[1] : &e->buffers[0];
	*ret_missed = e->missed;
	e->missed = 0;
	return b;
}

void tp_events_flush(struct tp_events *e)
{
	void (*said)(void *user);
	struct buffer *b;
	uint64_t missed;
	void *user;

	if (!e || !atomic_load_explicit(&e->waiting, memory_order_relaxed))
		return;
	/* Who has said nothing does not wait for one who writes. */
	if (!said_any && atomic_load(&e->writing))
		return;
	said_any = false;
	{
		TP_LOCK(&e->file);
		atomic_store(&e->writing, true);
		b = take_filled(e, &missed);
		for (size_t at = 0, len; at < b->len; at += len) {
			len = (size_t)((char *)memchr(b->text + at, '\n', b->len - at) - (b->text + at)) + 1;
			keep_or_drop(e, b->text + at, len);
		}
		said = b->len ? e->said : NULL;
		user = e->user;
		b->len = 0;
		e->dropped += missed;
		/* Not before it is written: who finds that nothing waits relies on it. */
		TP_LOCK(&e->lock);
		atomic_store_explicit(&e->waiting, e->filling->len > 0, memory_order_relaxed);
		atomic_store(&e->writing, false);
	}
	if (said)
		said(user);
}

void tp_events_crashed(struct tp_events *e)
{
	const struct buffer *b = e->filling, *other = &e->buffers[b == &e->buffers[0]];

	/* That is being written, if there is anything in it. */
	if (other->len)
		(void)!write(e->fd, other->text, other->len);
	(void)!write(e->fd, b->text, b->len);
}

uint64_t tp_events_size(struct tp_events *e)
{
	TP_LOCK(&e->file);
	return e->cut + e->old_size + e->size;
}

ssize_t tp_events_read(struct tp_events *e, uint64_t *offset, void *buf, size_t len)
{
	size_t done = 0;
	uint64_t kept;

	TP_LOCK(&e->file);
	if (*offset < e->cut)
		*offset = e->cut;
	kept = *offset - e->cut;
	while (done < len && kept < e->old_size + e->size) {
		bool old = kept < e->old_size;
		uint64_t at = old ? kept : kept - e->old_size;
		uint64_t left = (old ? e->old_size : e->size) - at;
		size_t want = len - done < left ? len - done : (size_t)left;
		ssize_t n = pread(old ? e->old_fd : e->fd, (char *)buf + done, want, (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return done ? (ssize_t)done : -errno;
		if (!n)
			break; /* somebody made the file shorter */
		done += (size_t)n;
		kept += (uint64_t)n;
	}
	return (ssize_t)done;
}

uint64_t tp_events_dropped(struct tp_events *e)
{
	TP_LOCK(&e->file);
	TP_LOCK(&e->lock);
	return e->dropped + e->missed;
}

void tp_events_watch(struct tp_events *e, void (*said)(void *user), void *user)
{
	TP_LOCK(&e->file);
	e->said = said;
	e->user = user;
}

const char *tp_events_quote(const char *name, size_t name_len, char *buf, size_t buf_len)
{
	size_t at = 0;

	for (size_t i = 0; i < name_len; i++) {
		unsigned char c = (unsigned char)name[i];
		bool plain = c > ' ' && c != 0x7f && c != '\\';
		size_t len = plain ? 1 : 4;

		if (at + len >= buf_len)
			break;
		if (plain)
			buf[at] = (char)c;
		else
			(void)snprintf(buf + at, buf_len - at, "\\x%02x", c);
		at += len;
	}
	if (buf_len)
		buf[at] = 0;
	return buf;
}
