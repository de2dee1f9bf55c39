/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal's parser and replay over any bytes.
 *
 * Byte 0 of an input: bit 0 says that the checks of what look like records are made right, since no mutation
 * would ever guess one. Byte 1: the sequence up to which the ledger has the journal. Byte 2 says how much of
 * the rest is in the first file, in 256ths. What must hold: no read outside the input, records come in the
 * order of their sequences without a gap, entries lie inside their record, and the only error is -EBADMSG,
 * with text.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "store/journal.h"

#define MUST(what)                                                                                           \
	do {                                                                                                 \
		if (!(what)) {                                                                               \
			(void)fprintf(stderr, "not so: %s\n", #what);                                        \
			abort();                                                                             \
		}                                                                                            \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir_path[64];
static int dir_fd = -1;

static void remove_directory(void)
{
	(void)unlinkat(dir_fd, "journal.0", 0);
	(void)unlinkat(dir_fd, "journal.1", 0);
	(void)rmdir(dir_path);
}

static void make_directory(void)
{
	if (dir_fd >= 0)
		return;
	/* In memory where that can be had: a run is a few system calls on small files. */
	(void)snprintf(dir_path, sizeof(dir_path), "%s/tidepool-fuzz-XXXXXX",
		access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	MUST(mkdtemp(dir_path));
	dir_fd = open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	MUST(dir_fd >= 0);
	(void)atexit(remove_directory);
}

static void write_file(const char *name, const uint8_t *data, size_t size)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	MUST(fd >= 0);
	MUST(write(fd, data, size) == (ssize_t)size);
	(void)close(fd);
}

/* Makes the check of each thing that says where it ends right. */
static void make_checks(uint8_t *data, size_t size)
{
	struct tp_journal_header h;
	size_t at = 0, len;

	while (at + sizeof(h) <= size) {
		memcpy(&h, data + at, sizeof(h));
		len = le32toh(h.length);
		if (le32toh(h.magic) != TP_JOURNAL_MAGIC || len > size ||
			at + sizeof(h) + ((len + 7) & ~7ul) > size) {
			at += 8;
			continue;
		}
		len = (len + 7) & ~7ul;
		h.check = htole64(XXH3_64bits_withSeed(&h, offsetof(struct tp_journal_header, check),
			XXH3_64bits(data + at + sizeof(h), len)));
		memcpy(data + at, &h, sizeof(h));
		at += sizeof(h) + len;
	}
}

static unsigned long touch_entries(struct tp_journal_view *v)
{
	struct tp_journal_entry e;
	unsigned long sum = 0;

	while (tp_journal_view_next(v, &e)) {
		MUST(e.key_len && e.key_len <= TP_JOURNAL_KEY_MAX && e.value_len <= TP_JOURNAL_VALUE_MAX);
		for (size_t i = 0; i < e.key_len; i++)
			sum += ((const uint8_t *)e.key)[i];
		for (size_t i = 0; i < e.value_len; i++)
			sum += ((const uint8_t *)e.value)[i];
	}
	return sum;
}

static int each(struct tp_journal_view *v, void *user)
{
	uint64_t *next = user;

	MUST(v->sequence == *next);
	(*next)++;
	(void)touch_entries(v);
	return 0;
}

static void replay(const uint8_t *data, size_t size, uint64_t applied, unsigned share)
{
	uint64_t next = applied + 1, last, dropped_bytes;
	size_t first = size * share / 256;
	struct tp_err err = {""};
	struct tp_journal *j;
	int r;

	make_directory();
	write_file("journal.0", data, first);
	write_file("journal.1", data + first, size - first);
	MUST(tp_journal_open(dir_fd, &err, &j) == 0);
	r = tp_journal_replay(j, applied, each, &next, &err, &last, &dropped_bytes);
	MUST(r == 0 || (r == -EBADMSG && *err.text));
	if (r == 0) {
		MUST(last >= next - 1 && dropped_bytes <= size);
		MUST(tp_journal_start(j, last) == 0);
	}
	tp_journal_close(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tp_journal_view v;
	uint8_t *copy;

	if (size < 3 || size > 1 << 20)
		return 0;
	copy = malloc(size - 3 + (size == 3));
	MUST(copy);
	memcpy(copy, data + 3, size - 3);
	if (data[0] & 1)
		make_checks(copy, size - 3);
	for (size_t at = 0; at < size - 3; at += 8) {
		int r = tp_journal_parse(copy + at, size - 3 - at, &v);

		MUST(r == 0 || r == -EAGAIN || r == -EBADMSG);
		if (r == 0) {
			MUST(v.len <= size - 3 - at);
			(void)touch_entries(&v);
		}
	}
	replay(copy, size - 3, data[1], data[2]);
	free(copy);
	return 0;
}
