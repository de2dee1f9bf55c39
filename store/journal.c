/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why two files: while the records of one are on their way to stable storage, others arrive, and the front of
 * a file cannot be cut off. A file is only emptied as a whole, after all of it is elsewhere. The order of the
 * two is in the sequences, so there is no state outside the records that a crash could leave behind half
 * changed.
 */
#include "store/journal.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "store/cleanup.h"

#define ALIGNMENT 8
#define HEADER sizeof(struct tp_journal_header)
#define ENTRY sizeof(struct tp_journal_entry_header)
#define WINDOW_BYTES (256 * 1024)
/* Room is allocated by so much more than is asked for. */
#define STRETCH_BYTES (UINT64_C(1) << 20)

static const char *const file_names[2] = {"journal.0", "journal.1"};

struct tp_journal {
	int fd[2];	      /* owned */
	uint64_t bytes[2];    /* whole records in each file */
	uint64_t room[2];     /* bytes behind them that are allocated; of the sealed one its reader's */
	unsigned open;	      /* the file that is appended to; the other one is the sealed one */
	uint64_t sequence;    /* of the record that was appended last */
	uint64_t sealed_last; /* of the sealed file's last record */
	uint64_t boot;	      /* this boot of the machine; 0 when it is not known */
};

static size_t padded(size_t len)
{
	return (len + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
}

int tp_journal_record_reserve(struct tp_journal_record *rec, size_t bytes)
{
	unsigned char *buf;
	size_t size = rec->size ? rec->size : 256, at = rec->len ? rec->len : HEADER, len;

	/* The room for the padding is taken here, so that sealing cannot fail. */
	if (__builtin_add_overflow(at + ALIGNMENT, bytes, &len) || len > TP_JOURNAL_RECORD_MAX)
		return -EMSGSIZE;
	if (len <= rec->size)
		return 0;
	while (size < len)
		size *= 2;
	buf = realloc(rec->buf, size);
	if (!buf)
		return -ENOMEM;
	rec->buf = buf;
	rec->size = size;
	return 0;
}

int tp_journal_record_add(struct tp_journal_record *rec, const struct tp_journal_entry *entry)
{
	struct tp_journal_entry_header h = {.op = entry->op, .table = entry->table};
	size_t at = rec->len ? rec->len : HEADER;
	int r;

	if (!entry->key_len || entry->key_len > TP_JOURNAL_KEY_MAX ||
		entry->value_len > TP_JOURNAL_VALUE_MAX ||
		(entry->op == TP_JOURNAL_REMOVE && entry->value_len))
		return -EINVAL;
	r = tp_journal_record_reserve(rec, ENTRY + entry->key_len + entry->value_len);
	if (r < 0)
		return r;
	h.key_len = htole16((uint16_t)entry->key_len);
	h.value_len = htole32((uint32_t)entry->value_len);
	memcpy(rec->buf + at, &h, ENTRY);
	memcpy(rec->buf + at + ENTRY, entry->key, entry->key_len);
	if (entry->value_len)
		memcpy(rec->buf + at + ENTRY + entry->key_len, entry->value, entry->value_len);
	rec->len = at + ENTRY + entry->key_len + entry->value_len;
	rec->count++;
	return 0;
}

void tp_journal_record_clear(struct tp_journal_record *rec)
{
	rec->len = 0;
	rec->count = 0;
}

void tp_journal_record_fini(struct tp_journal_record *rec)
{
	free(rec->buf);
	*rec = (struct tp_journal_record){0};
}

static uint64_t record_check(const void *header, const void *entries, size_t len)
{
	return XXH3_64bits_withSeed(
		header, offsetof(struct tp_journal_header, check), XXH3_64bits(entries, len));
}

size_t tp_journal_record_seal(struct tp_journal_record *rec, uint64_t sequence, uint64_t boot)
{
	size_t total = padded(rec->len);
	struct tp_journal_header h = {
		.magic = htole32(TP_JOURNAL_MAGIC),
		.version = htole32(TP_JOURNAL_VERSION),
		.sequence = htole64(sequence),
		.boot = htole64(boot),
		.length = htole32((uint32_t)(rec->len - HEADER)),
		.count = htole32(rec->count),
	};

	assert(rec->count && total <= rec->size);
	memset(rec->buf + rec->len, 0, total - rec->len);
	h.check = htole64(record_check(&h, rec->buf + HEADER, total - HEADER));
	memcpy(rec->buf, &h, HEADER);
	return total;
}

static bool entries_are_whole(const struct tp_journal_view *v)
{
	struct tp_journal_entry_header h;
	const unsigned char *at = v->at;
	size_t key_len, value_len;

	for (uint32_t i = 0; i < v->count; i++) {
		if ((size_t)(v->end - at) < ENTRY)
			return false;
		memcpy(&h, at, ENTRY);
		at += ENTRY;
		key_len = le16toh(h.key_len);
		value_len = le32toh(h.value_len);
		if (h.op != TP_JOURNAL_PUT && h.op != TP_JOURNAL_REMOVE)
			return false;
		if (!key_len || key_len > TP_JOURNAL_KEY_MAX || value_len > TP_JOURNAL_VALUE_MAX ||
			(h.op == TP_JOURNAL_REMOVE && value_len))
			return false;
		if ((size_t)(v->end - at) < key_len + value_len)
			return false;
		at += key_len + value_len;
	}
	return at == v->end;
}

int tp_journal_parse(const void *buf, size_t len, struct tp_journal_view *ret)
{
	struct tp_journal_header h;
	struct tp_journal_view v;
	size_t length, total;

	if (len < HEADER)
		return -EAGAIN;
	memcpy(&h, buf, HEADER);
	if (le32toh(h.magic) != TP_JOURNAL_MAGIC || le32toh(h.version) != TP_JOURNAL_VERSION)
		return -EBADMSG;
	length = le32toh(h.length);
	if (length > TP_JOURNAL_RECORD_MAX - HEADER || !h.count)
		return -EBADMSG;
	total = padded(HEADER + length);
	if (total > len)
		return -EAGAIN;
	v = (struct tp_journal_view){
		.sequence = le64toh(h.sequence),
		.boot = le64toh(h.boot),
		.len = total,
		.count = le32toh(h.count),
		.at = (const unsigned char *)buf + HEADER,
		.end = (const unsigned char *)buf + HEADER + length,
	};
	if (record_check(&h, v.at, total - HEADER) != le64toh(h.check) || !entries_are_whole(&v))
		return -EBADMSG;
	*ret = v;
	return 0;
}

int tp_journal_view_next(struct tp_journal_view *v, struct tp_journal_entry *ret)
{
	struct tp_journal_entry_header h;

	if (!v->count)
		return 0;
	memcpy(&h, v->at, ENTRY);
	ret->op = (enum tp_journal_op)h.op;
	ret->table = h.table;
	ret->key_len = le16toh(h.key_len);
	ret->value_len = le32toh(h.value_len);
	ret->key = v->at + ENTRY;
	ret->value = v->at + ENTRY + ret->key_len;
	v->at += ENTRY + ret->key_len + ret->value_len;
	v->count--;
	return 1;
}

/* Which boot this is. A machine without /proc has no answer, and then no damage is forgiven. */
static uint64_t boot_number(void)
{
	char id[36];
	tp_autoclose int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, id, sizeof(id)) != (ssize_t)sizeof(id))
		return 0;
	return XXH3_64bits(id, sizeof(id));
}

int tp_journal_open(int dir_fd, struct tp_err *err, struct tp_journal **ret)
{
	struct tp_journal *j = calloc(1, sizeof(*j));
	struct stat st;

	if (!j)
		return tp_err_set(err, -ENOMEM, "not enough memory");
	j->fd[0] = j->fd[1] = -1;
	for (int i = 0; i < 2; i++) {
		j->fd[i] = openat(dir_fd, file_names[i], O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (j->fd[i] < 0 || fstat(j->fd[i], &st) < 0) {
			int r = -errno;

			tp_journal_close(j);
			return tp_err_set(err, r, "%s cannot be opened: %s", file_names[i], strerror(-r));
		}
		if (!S_ISREG(st.st_mode)) {
			tp_journal_close(j);
			return tp_err_set(err, -EBADMSG, "%s is not a regular file", file_names[i]);
		}
		j->bytes[i] = (uint64_t)st.st_size;
	}
	j->boot = boot_number();
	*ret = j;
	return 0;
}

void tp_journal_close(struct tp_journal *j)
{
	if (!j)
		return;
	(void)tp_close(j->fd[0]);
	(void)tp_close(j->fd[1]);
	free(j);
}

/* A file that is read from front to back through a window. */
struct window {
	int fd;		    /* borrowed */
	uint64_t offset;    /* in the file, of buf[0] */
	uint64_t end;	    /* of what is to be read of the file */
	unsigned char *buf; /* owned */
	size_t len, size;   /* bytes in use, bytes allocated */
};

static void window_fini(struct window *w)
{
	free(w->buf);
}

/* Reads on until the window holds len bytes, or all that is left. */
static int window_fill(struct window *w, uint64_t len)
{
	if (len > w->end - w->offset)
		len = w->end - w->offset;
	if (len > w->size) {
		unsigned char *buf = realloc(w->buf, len);

		if (!buf)
			return -ENOMEM;
		w->buf = buf;
		w->size = len;
	}
	while (w->len < len) {
		ssize_t n = pread(w->fd, w->buf + w->len, len - w->len, (off_t)(w->offset + w->len));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			return -EIO; /* somebody made the file shorter */
		w->len += (size_t)n;
	}
	return 0;
}

/* Goes on by len bytes. */
static void window_advance(struct window *w, size_t len)
{
	memmove(w->buf, w->buf + len, w->len - len);
	w->len -= len;
	w->offset += len;
}

/* What a pass over the files knows. */
struct pass {
	struct tp_journal *j;
	uint64_t next;		/* the sequence that must come now */
	uint64_t last;		/* the highest that was seen */
	uint64_t dropped_bytes; /* left out */
	tp_journal_each each;
	void *user;
	struct tp_err *err;
};

/*
 * Finds the first whole record at or behind byte at of the window, reading the rest of the file. Returns its
 * place in the window, or w->len when there is none.
 */
static int find_record(struct window *w, size_t at, struct tp_journal_view *ret, size_t *ret_at)
{
	int r = window_fill(w, UINT64_MAX);

	if (r < 0)
		return r;
	for (at = padded(at); at + HEADER <= w->len; at += ALIGNMENT)
		if (tp_journal_parse(w->buf + at, w->len - at, ret) == 0)
			break;
	*ret_at = at + HEADER <= w->len ? at : w->len;
	return 0;
}

/*
 * What the window begins with is not the record that must come now. Decides between a torn end, a loss that a
 * crash of the machine explains, and damage.
 */
static int pass_broken(struct pass *p, unsigned file, struct window *w)
{
	struct tp_journal_view v;
	size_t at = 0;
	int r;

	for (;;) {
		r = find_record(w, at, &v, &at);
		if (r < 0)
			return tp_err_set(p->err, r, "%s cannot be read: %s", file_names[file], strerror(-r));
		if (at == w->len)
			break;
		if (v.sequence >= p->next && (v.boot == p->j->boot || !v.boot))
			return tp_err_set(p->err, -EBADMSG,
				"%s is damaged: record %" PRIu64 " should be at offset %" PRIu64
				", and record %" PRIu64 " is whole at offset %" PRIu64,
				file_names[file], p->next, w->offset, v.sequence, w->offset + at);
		if (v.sequence > p->last)
			p->last = v.sequence;
		at += v.len;
	}
	p->dropped_bytes += w->end - w->offset;
	return 0;
}

static int pass_file(struct pass *p, unsigned file, uint64_t end)
{
	__attribute__((cleanup(window_fini))) struct window w = {.fd = p->j->fd[file], .end = end};
	size_t want = WINDOW_BYTES, at = 0;
	struct tp_journal_view v;
	int r;

	r = window_fill(&w, want);
	if (r < 0)
		return tp_err_set(p->err, r, "%s cannot be read: %s", file_names[file], strerror(-r));
	while (w.offset + at < end) {
		r = tp_journal_parse(w.buf + at, w.len - at, &v);
		if (r == -EAGAIN && w.offset + w.len < end) {
			window_advance(&w, at);
			want = at ? WINDOW_BYTES : 2 * want;
			at = 0;
			r = window_fill(&w, want);
			if (r < 0)
				return tp_err_set(
					p->err, r, "%s cannot be read: %s", file_names[file], strerror(-r));
			continue;
		}
		if (r < 0 || v.sequence > p->next) {
			window_advance(&w, at);
			return pass_broken(p, file, &w);
		}
		at += v.len;
		if (v.sequence < p->next)
			continue;
		r = p->each(&v, p->user);
		if (r)
			return r;
		p->last = p->next++;
	}
	return 0;
}

/* The sequence of a file's first whole record, UINT64_MAX when it has none. */
static int first_sequence(struct tp_journal *j, unsigned file, uint64_t *ret)
{
	__attribute__((cleanup(window_fini))) struct window w = {.fd = j->fd[file], .end = j->bytes[file]};
	struct tp_journal_view v;
	size_t at;
	int r;

	r = window_fill(&w, WINDOW_BYTES);
	if (r < 0)
		return r;
	if (tp_journal_parse(w.buf, w.len, &v) < 0) {
		r = find_record(&w, 0, &v, &at);
		if (r < 0)
			return r;
		if (at == w.len)
			v.sequence = UINT64_MAX;
	}
	*ret = v.sequence;
	return 0;
}

int tp_journal_replay(struct tp_journal *j, uint64_t applied, tp_journal_each each, void *user,
	struct tp_err *err, uint64_t *ret_last, uint64_t *ret_dropped_bytes)
{
	struct pass p = {
		.j = j, .next = applied + 1, .last = applied, .each = each, .user = user, .err = err};
	uint64_t first[2];
	unsigned older;
	int r;

	for (unsigned i = 0; i < 2; i++) {
		r = first_sequence(j, i, &first[i]);
		if (r < 0)
			return tp_err_set(err, r, "%s cannot be read: %s", file_names[i], strerror(-r));
	}
	older = first[0] <= first[1] ? 0 : 1;
	r = pass_file(&p, older, j->bytes[older]);
	if (r)
		return r;
	r = pass_file(&p, !older, j->bytes[!older]);
	if (r)
		return r;
	*ret_last = p.last;
	*ret_dropped_bytes = p.dropped_bytes;
	return 0;
}

/* Sees to it that file has room for so many bytes more. */
static int reserve(struct tp_journal *j, unsigned file, uint64_t bytes)
{
	int r;

	if (bytes <= j->room[file])
		return 0;
	/* What is wanted and a stretch, or, when the disk has no more, what is wanted. */
	for (uint64_t more = STRETCH_BYTES;; more = 0) {
		do
			r = fallocate(j->fd[file], FALLOC_FL_KEEP_SIZE, (off_t)j->bytes[file],
				(off_t)(bytes + more));
		while (r < 0 && errno == EINTR);
		if (r == 0 || errno == EOPNOTSUPP || errno == ENOSYS) {
			j->room[file] = bytes + more;
			return 0;
		}
		if (!more)
			return errno == EDQUOT || errno == EFBIG ? -ENOSPC : -errno;
	}
}

/* Empties a file. Blocks behind its end go with it, and are asked for anew. */
static int empty(struct tp_journal *j, unsigned file)
{
	j->room[file] = 0;
	if (ftruncate(j->fd[file], 0) < 0)
		return -errno;
	j->bytes[file] = 0;
	/* Whoever needs it asks again, and hears why not. */
	(void)reserve(j, file, 1);
	return 0;
}

int tp_journal_reserve(struct tp_journal *j, uint64_t bytes)
{
	int r = reserve(j, j->open, bytes);

	/* Of two empty files the one that has the room is as good as the other, and on a full disk there is no other room. */
	if (r < 0 && !j->bytes[0] && !j->bytes[1] && j->room[!j->open] >= bytes) {
		j->open = !j->open;
		r = 0;
	}
	return r;
}

uint64_t tp_journal_room(const struct tp_journal *j)
{
	return j->room[j->open];
}

int tp_journal_start(struct tp_journal *j, uint64_t last)
{
	int r;

	for (unsigned i = 0; i < 2; i++) {
		r = empty(j, i);
		if (r < 0)
			return r;
	}
	j->sequence = j->sealed_last = last;
	return 0;
}

int tp_journal_append(
	struct tp_journal *j, struct tp_journal_record *rec, uint64_t *ret_sequence, uint64_t *ret_open_bytes)
{
	size_t len = tp_journal_record_seal(rec, j->sequence + 1, j->boot), done = 0;
	int fd = j->fd[j->open];
	uint64_t *bytes = &j->bytes[j->open], *room = &j->room[j->open];

	while (done < len) {
		ssize_t n = pwrite(fd, rec->buf + done, len - done, (off_t)(*bytes + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			int r = n < 0 ? -errno : -EIO;

			*room = 0;
			/*
			 * Should this fail, then the next record overwrites what is there, and a reader takes
			 * the rest as torn.
			 */
			(void)!ftruncate(fd, (off_t)*bytes);
			return r == -EDQUOT || r == -EFBIG ? -ENOSPC : r;
		}
		done += (size_t)n;
	}
	*bytes += len;
	*room -= *room < len ? *room : len;
	*ret_sequence = ++j->sequence;
	*ret_open_bytes = *bytes;
	return 0;
}

int tp_journal_seal(struct tp_journal *j, uint64_t room_bytes, uint64_t *ret_last, uint64_t *ret_bytes)
{
	int r;

	if (!j->bytes[!j->open] && j->bytes[j->open]) {
		r = reserve(j, !j->open, room_bytes);
		if (r < 0)
			return r;
		j->open = !j->open;
		j->sealed_last = j->sequence;
	}
	*ret_last = j->sealed_last;
	*ret_bytes = j->bytes[!j->open];
	return 0;
}

int tp_journal_load(
	struct tp_journal *j, uint64_t applied, tp_journal_each each, void *user, struct tp_err *err)
{
	struct pass p = {
		.j = j, .next = applied + 1, .last = applied, .each = each, .user = user, .err = err};
	unsigned sealed = !j->open;
	int r;

	r = pass_file(&p, sealed, j->bytes[sealed]);
	if (r)
		return r;
	if (p.last != j->sealed_last)
		return tp_err_set(err, -EBADMSG,
			"%s is damaged: it ends at record %" PRIu64 " instead of %" PRIu64,
			file_names[sealed], p.last, j->sealed_last);
	return 0;
}

int tp_journal_drop_sealed(struct tp_journal *j)
{
	return empty(j, !j->open);
}
