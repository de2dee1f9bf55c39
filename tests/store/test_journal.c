/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <unistd.h>
#include <sys/syscall.h>
#include <sys/stat.h>

#include "heap.h"
#include "scratch.h"
#include "store/journal.h"

static struct tp_journal_record record_of(const char *key, const char *value)
{
	struct tp_journal_record rec = {0};
	struct tp_journal_entry e = {.op = value ? TP_JOURNAL_PUT : TP_JOURNAL_REMOVE,
		.table = 1,
		.key = key,
		.key_len = strlen(key),
		.value = value,
		.value_len = value ? strlen(value) : 0};

	cr_assert_eq(tp_journal_record_add(&rec, &e), 0);
	return rec;
}

static struct tp_journal *opened(struct scratch *dir)
{
	tp_autoclose int fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct tp_journal *j;
	struct tp_err err;

	cr_assert_geq(fd, 0);
	cr_assert_eq(tp_journal_open(fd, &err, &j), 0);
	return j;
}

/* What a replay met: the sequences in order, and the keys in one line. */
struct met {
	uint64_t first, last;
	unsigned count;
	char keys[4096];
};

static int meet(struct tp_journal_view *v, void *user)
{
	struct met *m = user;
	struct tp_journal_entry e;

	if (!m->count)
		m->first = v->sequence;
	else
		cr_assert_eq(v->sequence, m->last + 1);
	m->last = v->sequence;
	m->count++;
	while (tp_journal_view_next(v, &e))
		if (strlen(m->keys) + e.key_len + 2 < sizeof(m->keys)) {
			(void)strncat(m->keys, e.key, e.key_len);
			(void)strcat(m->keys, " ");
		}
	return 0;
}

struct replay {
	int r;
	struct met met;
	struct tp_err err;
	uint64_t last, dropped_bytes;
};

static struct replay replayed(struct scratch *dir, uint64_t applied)
{
	struct tp_journal *j = opened(dir);
	struct replay p = {0};

	p.r = tp_journal_replay(j, applied, meet, &p.met, &p.err, &p.last, &p.dropped_bytes);
	tp_journal_close(j);
	return p;
}

static void append(struct tp_journal *j, const char *key, const char *value)
{
	struct tp_journal_record rec = record_of(key, value);
	uint64_t sequence, open_bytes;

	cr_assert_eq(tp_journal_append(j, &rec, &sequence, &open_bytes), 0);
	tp_journal_record_fini(&rec);
}

/*
 * A file of records with these sequences, all of one boot. 0 in sequences ends them. ret_ends: where each
 * record ends.
 */
static size_t write_records(const char *path, const uint64_t *sequences, uint64_t boot, size_t *ret_ends)
{
	static char file[65536];
	size_t len = 0;
	char key[32];

	for (size_t i = 0; sequences[i]; i++) {
		struct tp_journal_record rec;
		size_t n;

		(void)snprintf(key, sizeof(key), "k%u", (unsigned)sequences[i]);
		rec = record_of(key, "some value");
		n = tp_journal_record_seal(&rec, sequences[i], boot);
		memcpy(file + len, rec.buf, n);
		tp_journal_record_fini(&rec);
		len += n;
		if (ret_ends)
			ret_ends[i] = len;
	}
	scratch_write(path, file, len);
	return len;
}

#define SEQUENCES(...) ((const uint64_t[]){__VA_ARGS__, 0})

/* This boot's number, as the journal writes it. */
static uint64_t this_boot(struct scratch *dir)
{
	struct tp_journal *j = opened(dir);
	struct tp_journal_view v;
	size_t len;
	char *file;

	cr_assert_eq(tp_journal_start(j, 0), 0);
	append(j, "k", "v");
	file = scratch_read(scratch_path(dir, "journal.0"), &len);
	cr_assert_eq(tp_journal_parse(file, len, &v), 0);
	free(file);
	cr_assert_eq(tp_journal_start(j, 0), 0);
	tp_journal_close(j);
	return v.boot;
}

Test(journal, a_record_gives_back_its_entries)
{
	struct tp_journal_record rec = record_of("one", "1");
	struct tp_journal_entry e = {.op = TP_JOURNAL_REMOVE, .table = 2, .key = "two", .key_len = 3};
	struct tp_journal_view v;
	size_t len;

	cr_assert_eq(tp_journal_record_add(&rec, &e), 0);
	len = tp_journal_record_seal(&rec, 42, 7);
	cr_assert_eq(len % 8, 0);
	cr_assert_eq(tp_journal_parse(rec.buf, len, &v), 0);
	cr_assert_eq(v.sequence, 42);
	cr_assert_eq(v.boot, 7);
	cr_assert_eq(v.len, len);
	cr_assert_eq(tp_journal_view_next(&v, &e), 1);
	cr_assert_eq(e.op, TP_JOURNAL_PUT);
	cr_assert_eq(e.table, 1);
	cr_assert(e.key_len == 3 && memcmp(e.key, "one", 3) == 0);
	cr_assert(e.value_len == 1 && memcmp(e.value, "1", 1) == 0);
	cr_assert_eq(tp_journal_view_next(&v, &e), 1);
	cr_assert_eq(e.op, TP_JOURNAL_REMOVE);
	cr_assert_eq(e.table, 2);
	cr_assert(e.key_len == 3 && memcmp(e.key, "two", 3) == 0);
	cr_assert_eq(e.value_len, 0);
	cr_assert_eq(tp_journal_view_next(&v, &e), 0);
	tp_journal_record_fini(&rec);
}

Test(journal, a_record_has_limits)
{
	static char big[TP_JOURNAL_VALUE_MAX + 1];
	struct tp_journal_record rec = {0};
	struct tp_journal_entry e = {.op = TP_JOURNAL_PUT, .key = big, .key_len = 1, .value = big};
	unsigned n = 0;
	size_t len;
	int r;

	e.key_len = 0;
	cr_assert_eq(tp_journal_record_add(&rec, &e), -EINVAL);
	e.key_len = TP_JOURNAL_KEY_MAX + 1;
	cr_assert_eq(tp_journal_record_add(&rec, &e), -EINVAL);
	e.key_len = TP_JOURNAL_KEY_MAX;
	e.value_len = TP_JOURNAL_VALUE_MAX + 1;
	cr_assert_eq(tp_journal_record_add(&rec, &e), -EINVAL);
	e.value_len = TP_JOURNAL_VALUE_MAX;
	while ((r = tp_journal_record_add(&rec, &e)) == 0)
		n++;
	cr_assert_eq(r, -EMSGSIZE);
	cr_assert_gt(n, 100);
	cr_assert_eq(rec.count, n);
	len = tp_journal_record_seal(&rec, 1, 1);
	cr_assert_leq(len, TP_JOURNAL_RECORD_MAX);
	struct tp_journal_view v;
	cr_assert_eq(tp_journal_parse(rec.buf, len, &v), 0);
	tp_journal_record_fini(&rec);
}

Test(journal, an_exhausted_heap_leaves_a_record_as_it_was)
{
	struct tp_journal_record rec = record_of("one", "1");
	static char big[1000];
	struct tp_journal_entry e = {
		.op = TP_JOURNAL_PUT, .key = "k", .key_len = 1, .value = big, .value_len = sizeof(big)};
	size_t len = rec.len;

	heap_fail_at(1);
	cr_assert_eq(tp_journal_record_add(&rec, &e), -ENOMEM);
	cr_assert(heap_fail_off());
	cr_assert_eq(rec.len, len);
	cr_assert_eq(rec.count, 1);
	tp_journal_record_fini(&rec);
}

Test(journal, a_record_that_was_cut_or_changed_anywhere_is_none)
{
	struct tp_journal_record rec = record_of("a key", "a value");
	size_t len = tp_journal_record_seal(&rec, 3, 9);
	struct tp_journal_view v;

	for (size_t cut = 0; cut < len; cut++) {
		char *copy = malloc(cut + !cut); /* its own block, so that a read past it is seen */

		memcpy(copy, rec.buf, cut);
		cr_assert_eq(tp_journal_parse(copy, cut, &v), -EAGAIN, "%zu bytes", cut);
		free(copy);
	}
	for (size_t bit = 0; bit < len * 8; bit++) {
		rec.buf[bit / 8] ^= (unsigned char)(1 << bit % 8);
		cr_assert_lt(tp_journal_parse(rec.buf, len, &v), 0, "bit %zu", bit);
		rec.buf[bit / 8] ^= (unsigned char)(1 << bit % 8);
	}
	cr_assert_eq(tp_journal_parse(rec.buf, len, &v), 0);
	tp_journal_record_fini(&rec);
}

Test(journal, a_torn_end_is_dropped_wherever_it_was_torn)
{
	SCRATCH(dir);
	uint64_t boot = this_boot(&dir);
	const char *path = scratch_path(&dir, "journal.0");
	size_t ends[5], len = write_records(path, SEQUENCES(1, 2, 3, 4, 5), boot, ends);

	for (size_t cut = len + 1; cut-- > 0;) {
		struct replay p;
		unsigned whole = 0;

		cr_assert_eq(truncate(path, (off_t)cut), 0);
		while (whole < 5 && ends[whole] <= cut)
			whole++;
		p = replayed(&dir, 0);
		cr_assert_eq(p.r, 0);
		cr_assert_eq(p.met.count, whole);
		cr_assert_eq(p.last, whole);
		cr_assert_eq(p.dropped_bytes, cut - (whole ? ends[whole - 1] : 0));
	}
}

Test(journal, a_changed_bit_in_the_middle_is_damage_and_in_the_last_record_a_torn_end)
{
	SCRATCH(dir);
	uint64_t boot = this_boot(&dir);
	const char *path = scratch_path(&dir, "journal.0");
	size_t ends[3], len = write_records(path, SEQUENCES(1, 2, 3), boot, ends), n;
	char *file = scratch_read(path, &n), text[100];

	for (size_t bit = 0; bit < len * 8; bit++) {
		struct replay p;

		file[bit / 8] ^= (char)(1 << bit % 8);
		scratch_write(path, file, len);
		file[bit / 8] ^= (char)(1 << bit % 8);
		p = replayed(&dir, 0);
		if (bit / 8 >= ends[1]) {
			cr_assert_eq(p.r, 0);
			cr_assert_eq(p.met.count, 2);
			cr_assert_eq(p.dropped_bytes, len - ends[1]);
			continue;
		}
		cr_assert_eq(p.r, -EBADMSG, "bit %zu", bit);
		(void)snprintf(text, sizeof(text),
			"journal.0 is damaged: record %d should be at offset %zu, and record",
			bit / 8 < ends[0] ? 1 : 2, bit / 8 < ends[0] ? 0 : ends[0]);
		cr_assert_eq(strncmp(p.err.text, text, strlen(text)), 0, "%s", p.err.text);
	}
	free(file);
}

Test(journal, a_missing_record_is_damage)
{
	SCRATCH(dir);
	uint64_t boot = this_boot(&dir);
	struct replay p;

	write_records(scratch_path(&dir, "journal.0"), SEQUENCES(1, 2, 4), boot, NULL);
	p = replayed(&dir, 0);
	cr_assert_eq(p.r, -EBADMSG);
	write_records(scratch_path(&dir, "journal.0"), SEQUENCES(1, 2), boot, NULL);
	write_records(scratch_path(&dir, "journal.1"), SEQUENCES(4, 5), boot, NULL);
	p = replayed(&dir, 0);
	cr_assert_eq(p.r, -EBADMSG);
	cr_assert_str_eq(p.err.text,
		"journal.1 is damaged: record 3 should be at offset 0, and record 4 is whole at offset 0");
}

Test(journal, what_a_crash_of_the_machine_lost_ends_the_replay_and_its_numbers_are_not_used_again)
{
	SCRATCH(dir);
	uint64_t boot = this_boot(&dir) + 1;
	const char *path = scratch_path(&dir, "journal.0");
	size_t ends[4], len = write_records(path, SEQUENCES(1, 2, 3, 4), boot, ends), n;
	char *file = scratch_read(path, &n);
	struct replay p;

	memset(file + ends[0], 0, ends[1] - ends[0]);
	scratch_write(path, file, len);
	free(file);
	write_records(scratch_path(&dir, "journal.1"), SEQUENCES(5, 6), boot, NULL);
	p = replayed(&dir, 0);
	cr_assert_eq(p.r, 0);
	cr_assert_eq(p.met.count, 1);
	cr_assert_eq(p.last, 6);
	cr_assert_eq(p.dropped_bytes, len - ends[0] + (ends[1] - ends[0]) * 2);
}

Test(journal, the_older_file_comes_first)
{
	SCRATCH(dir);
	uint64_t boot = this_boot(&dir);
	struct replay p;

	write_records(scratch_path(&dir, "journal.0"), SEQUENCES(13, 14), boot, NULL);
	write_records(scratch_path(&dir, "journal.1"), SEQUENCES(10, 11, 12), boot, NULL);
	p = replayed(&dir, 9);
	cr_assert_eq(p.r, 0);
	cr_assert_str_eq(p.met.keys, "k10 k11 k12 k13 k14 ");
	cr_assert_eq(p.last, 14);
}

Test(journal, records_that_are_applied_are_skipped_in_both_files)
{
	SCRATCH(dir);
	uint64_t boot = this_boot(&dir);
	struct replay p;

	write_records(scratch_path(&dir, "journal.0"), SEQUENCES(3, 4), boot, NULL);
	write_records(scratch_path(&dir, "journal.1"), SEQUENCES(1, 2), boot, NULL);
	p = replayed(&dir, 3);
	cr_assert_eq(p.r, 0);
	cr_assert_str_eq(p.met.keys, "k4 ");
	p = replayed(&dir, 9);
	cr_assert_eq(p.r, 0);
	cr_assert_eq(p.met.count, 0);
	cr_assert_eq(p.last, 9);
	cr_assert_eq(p.dropped_bytes, 0);
}

Test(journal, old_bytes_behind_a_shorter_new_record_are_a_torn_end)
{
	SCRATCH(dir);
	uint64_t boot = this_boot(&dir);
	const char *path = scratch_path(&dir, "journal.0");
	size_t ends[3], len = write_records(path, SEQUENCES(7, 8, 9), boot, ends), n;
	struct tp_journal_record rec = record_of("k", NULL);
	char *file = scratch_read(path, &n);
	struct replay p;

	memcpy(file, rec.buf, tp_journal_record_seal(&rec, 10, boot));
	scratch_write(path, file, len);
	free(file);
	tp_journal_record_fini(&rec);
	p = replayed(&dir, 9);
	cr_assert_eq(p.r, 0, "%s", p.err.text);
	cr_assert_str_eq(p.met.keys, "k ");
	cr_assert_eq(p.last, 10);
}

static uint64_t seal(struct tp_journal *j, uint64_t *ret_last)
{
	uint64_t bytes = 1;

	cr_assert_eq(tp_journal_seal(j, 0, ret_last, &bytes), 0);
	return bytes;
}

Test(journal, sealing_alternates_and_loading_gives_the_sealed_records_only)
{
	SCRATCH(dir);
	struct tp_journal *j = opened(&dir);
	struct met m = {0};
	uint64_t last;

	cr_assert_eq(tp_journal_start(j, 0), 0);
	cr_assert_eq(seal(j, &last), 0);
	append(j, "a", "1");
	append(j, "b", "1");
	cr_assert_gt(seal(j, &last), 0);
	cr_assert_eq(last, 2);
	append(j, "c", "1");
	/* A sealed file that is still there stays the sealed one. */
	cr_assert_gt(seal(j, &last), 0);
	cr_assert_eq(last, 2);
	cr_assert_eq(tp_journal_load(j, 0, meet, &m, NULL), 0);
	cr_assert_str_eq(m.keys, "a b ");
	m = (struct met){0};
	cr_assert_eq(tp_journal_load(j, 1, meet, &m, NULL), 0);
	cr_assert_str_eq(m.keys, "b ");
	{
		struct replay p = replayed(&dir, 0);

		cr_assert_eq(p.r, 0);
		cr_assert_str_eq(p.met.keys, "a b c ");
	}
	cr_assert_eq(tp_journal_drop_sealed(j), 0);
	cr_assert_gt(seal(j, &last), 0);
	cr_assert_eq(last, 3);
	m = (struct met){0};
	cr_assert_eq(tp_journal_load(j, 2, meet, &m, NULL), 0);
	cr_assert_str_eq(m.keys, "c ");
	tp_journal_close(j);
}

Test(journal, a_sealed_file_that_somebody_cut_is_an_error)
{
	SCRATCH(dir);
	struct tp_journal *j = opened(&dir);
	struct met m = {0};
	struct tp_err err = {""};
	uint64_t last;

	cr_assert_eq(tp_journal_start(j, 0), 0);
	append(j, "a", "1");
	append(j, "b", "1");
	cr_assert_gt(seal(j, &last), 0);
	cr_assert_eq(truncate(scratch_path(&dir, "journal.0"), 60), 0);
	cr_assert_lt(tp_journal_load(j, 0, meet, &m, &err), 0);
	cr_assert_neq(err.text[0], 0);
	tp_journal_close(j);
}

/* Records of all sizes, so that their borders and those of the reader's window meet in many ways. */
Test(journal, records_longer_than_the_readers_window_are_read)
{
	SCRATCH(dir);
	struct tp_journal *j = opened(&dir);
	static char value[TP_JOURNAL_VALUE_MAX];
	struct met m = {0};
	uint64_t last, sequence, open_bytes, total = 0;
	unsigned count = 0;

	cr_assert_eq(tp_journal_start(j, 0), 0);
	for (unsigned i = 0; i < 60; i++) {
		struct tp_journal_record rec = {0};
		struct tp_journal_entry e = {.op = TP_JOURNAL_PUT, .key = "k", .key_len = 1, .value = value};

		for (unsigned n = 0; n <= i % 7; n++) {
			e.value_len = (i * 7919 + n * 104729) % sizeof(value);
			cr_assert_eq(tp_journal_record_add(&rec, &e), 0);
		}
		cr_assert_eq(tp_journal_append(j, &rec, &sequence, &open_bytes), 0);
		cr_assert_gt(open_bytes, total);
		total = open_bytes;
		tp_journal_record_fini(&rec);
		count++;
	}
	cr_assert_gt(total, 4 << 20);
	cr_assert_eq(seal(j, &last), total);
	cr_assert_eq(tp_journal_load(j, 0, meet, &m, NULL), 0);
	cr_assert_eq(m.count, count);
	tp_journal_close(j);
}

Test(journal, a_full_disk_appends_nothing_and_the_next_record_is_whole)
{
	SCRATCH(dir);
	struct tp_journal *j = opened(&dir);
	struct tp_journal_record rec =
		record_of("long", "a value that is longer than what is left of the file");
	struct rlimit limit, was;
	uint64_t sequence, open_bytes;
	struct replay p;

	(void)signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &was), 0);
	cr_assert_eq(tp_journal_start(j, 0), 0);
	append(j, "a", "1");
	limit = (struct rlimit){.rlim_cur = 128, .rlim_max = was.rlim_max};
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	cr_assert_eq(tp_journal_append(j, &rec, &sequence, &open_bytes), -ENOSPC);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &was), 0);
	p = replayed(&dir, 0);
	cr_assert_str_eq(p.met.keys, "a ");
	cr_assert_eq(p.dropped_bytes, 0);
	cr_assert_eq(tp_journal_append(j, &rec, &sequence, &open_bytes), 0);
	cr_assert_eq(sequence, 2);
	tp_journal_record_fini(&rec);
	p = replayed(&dir, 0);
	cr_assert_str_eq(p.met.keys, "a long ");
	tp_journal_close(j);
}

/* The disk has so much for whoever asks for room at once; what is allocated stays. */
#define PLENTY INT64_MAX
static off_t available = PLENTY;

int fallocate(int fd, int mode, off_t offset, off_t len)
{
	if (len > available) {
		errno = ENOSPC;
		return -1;
	}
	return (int)syscall(SYS_fallocate, fd, mode, offset, len);
}

static uint64_t allocated_bytes(struct scratch *dir, const char *name)
{
	struct stat st;

	cr_assert_eq(stat(scratch_path(dir, name), &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

Test(journal, room_is_allocated_behind_the_end_and_moves_with_the_open_file)
{
	SCRATCH(dir);
	struct tp_journal *j = opened(&dir);
	const uint64_t want = 3 << 20;
	uint64_t last, bytes, room;
	struct stat st;

	cr_assert_eq(tp_journal_start(j, 0), 0);
	cr_assert_gt(tp_journal_room(j), 0);
	cr_assert_eq(tp_journal_reserve(j, want), 0);
	cr_assert_geq(tp_journal_room(j), want);
	cr_assert_geq(allocated_bytes(&dir, "journal.0"), want);
	cr_assert_eq(stat(scratch_path(&dir, "journal.0"), &st), 0);
	cr_assert_eq(st.st_size, 0);
	room = tp_journal_room(j);
	append(j, "a", "1");
	cr_assert_eq(stat(scratch_path(&dir, "journal.0"), &st), 0);
	cr_assert_eq(tp_journal_room(j), room - (uint64_t)st.st_size);
	available = 0;
	cr_assert_eq(tp_journal_reserve(j, tp_journal_room(j)), 0);
	cr_assert_eq(tp_journal_reserve(j, tp_journal_room(j) + 1), -ENOSPC);
	/* The other file has no room for so much: nothing is sealed. */
	cr_assert_eq(tp_journal_seal(j, want, &last, &bytes), -ENOSPC);
	append(j, "b", "1");
	available = PLENTY;
	cr_assert_eq(tp_journal_seal(j, want, &last, &bytes), 0);
	cr_assert_eq(last, 2);
	cr_assert_geq(tp_journal_room(j), want);
	cr_assert_geq(allocated_bytes(&dir, "journal.1"), want);
	cr_assert_eq(tp_journal_drop_sealed(j), 0);
	cr_assert_gt(allocated_bytes(&dir, "journal.0"), 0);
	tp_journal_close(j);
}

Test(journal, the_last_of_a_disk_is_asked_for_without_a_stretch)
{
	SCRATCH(dir);
	struct tp_journal *j = opened(&dir);
	const uint64_t want = 3 << 20;

	cr_assert_eq(tp_journal_start(j, 0), 0);
	available = want - 1;
	cr_assert_eq(tp_journal_reserve(j, want), -ENOSPC);
	available = want;
	cr_assert_eq(tp_journal_reserve(j, want), 0);
	cr_assert_eq(tp_journal_room(j), want);
	tp_journal_close(j);
}

/* The first file is empty and has room, the second is open and has none. */
static void leave_room_in_the_first(struct tp_journal *j, const char *key_of_second)
{
	uint64_t last, bytes;

	available = 0;
	cr_assert_eq(tp_journal_start(j, 0), 0);
	cr_assert_eq(tp_journal_room(j), 0);
	append(j, "sealed", "1");
	cr_assert_eq(tp_journal_seal(j, 0, &last, &bytes), 0);
	if (key_of_second)
		append(j, key_of_second, "1");
	available = PLENTY;
	cr_assert_eq(tp_journal_drop_sealed(j), 0);
	available = 0;
	cr_assert_eq(tp_journal_room(j), 0);
}

Test(journal, of_two_empty_files_the_one_with_room_is_taken_on_a_full_disk)
{
	SCRATCH(dir);
	struct tp_journal *j = opened(&dir);
	struct replay p;

	leave_room_in_the_first(j, NULL);
	cr_assert_eq(tp_journal_reserve(j, 64), 0);
	cr_assert_geq(tp_journal_room(j), 64);
	append(j, "a", "1");
	p = replayed(&dir, 1);
	cr_assert_str_eq(p.met.keys, "a ");
	tp_journal_close(j);
}

Test(journal, a_file_that_has_something_stays_the_open_one)
{
	SCRATCH(dir);
	struct tp_journal *j = opened(&dir);

	leave_room_in_the_first(j, "a");
	cr_assert_eq(tp_journal_reserve(j, 64), -ENOSPC);
	cr_assert_eq(tp_journal_room(j), 0);
	tp_journal_close(j);
}

Test(journal, an_exhausted_heap_fails_open_and_replay_without_a_change)
{
	SCRATCH(dir);
	struct tp_journal *j;
	tp_autoclose int fd = open(dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint64_t last, dropped_bytes;
	struct tp_err err;
	unsigned failures = 0;

	write_records(scratch_path(&dir, "journal.0"), SEQUENCES(1, 2, 3), this_boot(&dir), NULL);
	for (unsigned n = 1;; n++) {
		struct met m = {0};
		int r;

		heap_fail_at(n);
		r = tp_journal_open(fd, &err, &j);
		if (r == 0) {
			r = tp_journal_replay(j, 0, meet, &m, &err, &last, &dropped_bytes);
			tp_journal_close(j);
		}
		if (!heap_fail_off()) {
			cr_assert_eq(r, 0);
			cr_assert_eq(m.count, 3);
			break;
		}
		cr_assert_eq(r, -ENOMEM);
		failures++;
	}
	cr_assert_gt(failures, 2);
}

Test(journal, a_directory_in_the_place_of_a_file_is_refused)
{
	SCRATCH(dir);
	tp_autoclose int fd = open(dir.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct tp_journal *j;
	struct tp_err err = {""};

	cr_assert_eq(mkdir(scratch_path(&dir, "journal.1"), 0700), 0);
	cr_assert_eq(tp_journal_open(fd, &err, &j), -EISDIR);
	cr_assert_str_eq(err.text, "journal.1 cannot be opened: Is a directory");
}
