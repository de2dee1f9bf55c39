/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "heap.h"
#include "scratch.h"
#include "store/events.h"

static uint64_t fixed_wall_ns(const struct tp_clock *c)
{
	return UINT64_C(1795739432123456789); /* 2026-11-27T00:30:32.123456789Z */
}

static const struct tp_clock fixed_clock = {.wall_ns = fixed_wall_ns, .mono_ns = fixed_wall_ns};

#define TIME "2026-11-27T00:30:32.123456789Z "

static struct tp_events *opened(const char *state, uint64_t size_max_bytes)
{
	struct tp_events *e;
	struct tp_err err;

	cr_assert_eq(tp_events_open(state, &fixed_clock, size_max_bytes, &err, &e), 0);
	return e;
}

static ssize_t read_at(struct tp_events *e, uint64_t offset, char *buf, size_t len)
{
	return tp_events_read(e, &offset, buf, len);
}

/* The whole stream; to be freed. */
static char *stream(struct tp_events *e)
{
	char *text;
	size_t len;

	tp_events_flush(e);
	len = tp_events_size(e);
	text = malloc(len + 1);

	cr_assert_eq(read_at(e, 0, text, len), (ssize_t)len);
	text[len] = 0;
	return text;
}

#define assert_stream(e, expect)                                                                             \
	do {                                                                                                 \
		char *text_ = stream(e);                                                                     \
		cr_assert_str_eq(text_, expect);                                                             \
		free(text_);                                                                                 \
	} while (0)

Test(events, a_line_has_time_kind_and_text)
{
	struct tp_events *e = opened(NULL, 4096);
	char name[64];

	tp_events_say(
		e, "drop", "%s of %d", tp_events_quote("a b\n\\\x7f\xc3\xa9", 8, name, sizeof(name)), 7);
	assert_stream(e, TIME "drop a\\x20b\\x0a\\x5c\\x7f\xc3\xa9 of 7\n");
	tp_events_close(e);
}

Test(events, an_unquoted_line_end_does_not_make_a_second_line)
{
	struct tp_events *e = opened(NULL, 4096);

	tp_events_say(e, "drop", "a\nb");
	assert_stream(e, TIME "drop a?b\n");
	tp_events_close(e);
}

Test(events, a_line_that_is_too_long_is_cut_and_ends)
{
	struct tp_events *e = opened(NULL, UINT64_MAX);
	char *big = malloc(20000), *text;

	memset(big, 'x', 19999);
	big[19999] = 0;
	tp_events_say(e, "drop", "%s", big);
	text = stream(e);
	cr_assert_leq(strlen(text), 8192);
	cr_assert_str_eq(text + strlen(text) - 5, "x...\n");
	free(text);
	free(big);
	tp_events_close(e);
}

Test(events, quoting_stops_at_a_whole_escape_where_the_buffer_ends)
{
	char buf[8];

	cr_assert_str_eq(tp_events_quote("abc d", 5, buf, sizeof(buf)), "abc\\x20");
	buf[7] = 'z';
	cr_assert_str_eq(tp_events_quote("abcd e", 6, buf, sizeof(buf)), "abcd");
	cr_assert_str_eq(tp_events_quote("", 0, buf, 1), "");
}

Test(events, nobody_to_tell_is_allowed)
{
	tp_events_say(NULL, "drop", "nothing");
	tp_events_flush(NULL);
	tp_events_close(NULL);
}

Test(events, lines_are_there_after_opening_again)
{
	SCRATCH(dir);
	struct tp_events *e = opened(dir.path, 4096);

	tp_events_say(e, "one", "1");
	tp_events_close(e);
	e = opened(dir.path, 4096);
	tp_events_say(e, "two", "2");
	assert_stream(e, TIME "one 1\n" TIME "two 2\n");
	tp_events_close(e);
}

Test(events, a_line_that_was_torn_is_ended_at_open)
{
	SCRATCH(dir);
	struct tp_events *e;

	scratch_write(scratch_path(&dir, "events"), "half a li", 9);
	e = opened(dir.path, 4096);
	assert_stream(e, "half a li\n");
	tp_events_say(e, "two", "2");
	assert_stream(e, "half a li\n" TIME "two 2\n");
	tp_events_close(e);
}

/* A line of this is 40 bytes long. */
static void say_number(struct tp_events *e, int i)
{
	tp_events_say(e, "n", "%06d", i);
	tp_events_flush(e);
}

static void check_rotation(const char *state)
{
	struct tp_events *e = opened(state, 100);
	char line[41] = "";
	uint64_t offset = 40;

	for (int i = 0; i < 4; i++)
		say_number(e, i);
	/* Two lines a file. */
	cr_assert_eq(tp_events_size(e), 160);
	cr_assert_eq(tp_events_read(e, &offset, line, 40), 40);
	cr_assert_str_eq(line, TIME "n 000001\n");
	cr_assert_eq(offset, 40);
	say_number(e, 4);
	cr_assert_eq(tp_events_size(e), 200);
	/* What is not kept any more is skipped, whatever is read of it. */
	cr_assert_eq(tp_events_read(e, &offset, line, 40), 40);
	cr_assert_str_eq(line, TIME "n 000002\n");
	cr_assert_eq(offset, 80);
	cr_assert_eq(tp_events_read(e, &(uint64_t){79}, line, 40), 40);
	cr_assert_str_eq(line, TIME "n 000002\n");
	/* What is kept has the offset that it had. */
	cr_assert_eq(read_at(e, 120, line, 40), 40);
	cr_assert_str_eq(line, TIME "n 000003\n");
	/* Over the border of the files. */
	cr_assert_eq(read_at(e, 140, line, 40), 40);
	cr_assert_eq(strncmp(line + 20, TIME, 20), 0);
	/* At the end there is nothing, nor beyond it. */
	cr_assert_eq(read_at(e, 200, line, 40), 0);
	cr_assert_eq(read_at(e, 240, line, 40), 0);
	cr_assert_eq(tp_events_dropped(e), 0);
	tp_events_close(e);
}

Test(events, rotation_drops_the_oldest_file_and_leaves_the_offsets)
{
	SCRATCH(dir);
	struct tp_events *e;

	check_rotation(dir.path);
	e = opened(dir.path, 100);
	assert_stream(e, TIME "n 000002\n" TIME "n 000003\n" TIME "n 000004\n");
	tp_events_close(e);
}

Test(events, memory_rotates_as_files_do)
{
	check_rotation(NULL);
}

Test(events, a_rotation_that_a_crash_stopped_loses_nothing_that_was_said_last)
{
	SCRATCH(dir);
	struct tp_events *e = opened(dir.path, 100);

	say_number(e, 0);
	tp_events_close(e);
	/* The first of its two renames was done. */
	cr_assert_eq(rename(scratch_path(&dir, "events"), scratch_path(&dir, "events.1")), 0);
	scratch_write(scratch_path(&dir, "events.new"), "", 0);
	e = opened(dir.path, 100);
	say_number(e, 1);
	assert_stream(e, TIME "n 000000\n" TIME "n 000001\n");
	for (int i = 2; i < 9; i++)
		say_number(e, i);
	cr_assert_eq(tp_events_dropped(e), 0);
	tp_events_close(e);
}

Test(events, a_full_disk_drops_whole_lines_and_says_so_when_there_is_room)
{
	SCRATCH(dir);
	struct tp_events *e = opened(dir.path, 4096);
	struct rlimit limit, was;

	(void)signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &was), 0);
	say_number(e, 0);
	limit = (struct rlimit){.rlim_cur = 60, .rlim_max = was.rlim_max};
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	say_number(e, 1);
	say_number(e, 2);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &was), 0);
	cr_assert_eq(tp_events_dropped(e), 2);
	assert_stream(e, TIME "n 000000\n");
	say_number(e, 3);
	assert_stream(e, TIME "n 000000\n" TIME "dropped 2 events could not be kept\n" TIME "n 000003\n");
	say_number(e, 4);
	assert_stream(e, TIME "n 000000\n" TIME "dropped 2 events could not be kept\n" TIME "n 000003\n" TIME
			      "n 000004\n");
	tp_events_close(e);
}

Test(events, a_missing_directory_is_an_error_with_text)
{
	struct tp_events *e;
	struct tp_err err = {""};

	cr_assert_eq(tp_events_open("/nowhere/at/all", &fixed_clock, 4096, &err, &e), -ENOENT);
	cr_assert_str_eq(err.text, "/nowhere/at/all cannot be opened: No such file or directory");
}

Test(events, an_exhausted_heap_is_an_error_and_leaves_nothing_open)
{
	SCRATCH(dir);
	struct tp_events *e;
	struct tp_err err;
	unsigned n;

	for (n = 1;; n++) {
		heap_fail_at(n);
		int r = tp_events_open(dir.path, &fixed_clock, 4096, &err, &e);

		if (!heap_fail_off()) {
			cr_assert_eq(r, 0);
			break;
		}
		cr_assert_eq(r, -ENOMEM);
	}
	cr_assert_gt(n, 1);
	tp_events_close(e);
}

static void count(void *user)
{
	(*(int *)user)++;
}

Test(events, saying_writes_nothing_and_a_flush_writes_all)
{
	SCRATCH(dir);
	struct tp_events *e = opened(dir.path, 4096);
	size_t len;
	char *text;

	tp_events_say(e, "one", "1");
	tp_events_say(e, "two", "2");
	free(scratch_read(scratch_path(&dir, "events"), &len));
	cr_assert_eq(len, 0);
	cr_assert_eq(tp_events_size(e), 0);
	tp_events_flush(e);
	text = scratch_read(scratch_path(&dir, "events"), &len);
	cr_assert_str_eq(text, TIME "one 1\n" TIME "two 2\n");
	free(text);
	tp_events_say(e, "three", "3");
	assert_stream(e, TIME "one 1\n" TIME "two 2\n" TIME "three 3\n");
	tp_events_close(e);
}

Test(events, what_was_not_flushed_is_written_at_the_end)
{
	SCRATCH(dir);
	struct tp_events *e = opened(dir.path, 4096);

	tp_events_say(e, "one", "1");
	tp_events_close(e);
	e = opened(dir.path, 4096);
	assert_stream(e, TIME "one 1\n");
	tp_events_close(e);
}

Test(events, a_full_buffer_drops_whole_lines_and_says_so_after_those_it_has)
{
	struct tp_events *e = opened(NULL, UINT64_MAX);
	char text[4001], *all, last[16];
	int lines = 0;

	memset(text, 'x', 4000);
	text[4000] = 0;
	while (tp_events_dropped(e) == 0)
		tp_events_say(e, "long", "%s%d", text, lines++);
	for (int i = 0; i < 3; i++)
		tp_events_say(e, "long", "%s", text);
	cr_assert_eq(tp_events_dropped(e), 4);
	tp_events_flush(e);
	say_number(e, 0);
	all = stream(e);
	(void)snprintf(last, sizeof(last), "x%d\n", lines - 2);
	cr_assert_eq(strncmp(strrchr(all, 'x'), last, strlen(last)), 0);
	cr_assert_str_eq(strrchr(all, 'x') + strlen(last),
		TIME "dropped 4 events could not be kept\n" TIME "n 000000\n");
	free(all);
	cr_assert_eq(tp_events_dropped(e), 4);
	tp_events_close(e);
}

Test(events, the_handler_of_a_crash_writes_what_was_not_flushed)
{
	SCRATCH(dir);
	struct tp_events *e;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		e = opened(dir.path, 4096);
		say_number(e, 0);
		tp_events_say(e, "n", "%06d", 1);
		tp_events_crashed(e);
		_exit(0);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert_eq(status, 0);
	e = opened(dir.path, 4096);
	assert_stream(e, TIME "n 000000\n" TIME "n 000001\n");
	tp_events_close(e);
}

Test(events, the_watcher_is_called_after_each_flush_that_had_something)
{
	struct tp_events *e = opened(NULL, 4096);
	int calls = 0;

	tp_events_watch(e, count, &calls);
	say_number(e, 0);
	say_number(e, 1);
	tp_events_flush(e);
	tp_events_watch(e, NULL, NULL);
	say_number(e, 2);
	cr_assert_eq(calls, 2);
	tp_events_close(e);
}

static void *say_many(void *arg)
{
	for (int i = 0; i < 500; i++)
		say_number(arg, i);
	return NULL;
}

Test(events, lines_of_many_threads_do_not_mix)
{
	SCRATCH(dir);
	struct tp_events *e = opened(dir.path, 1 << 20);
	pthread_t thread[4];
	char *text;

	for (int i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&thread[i], NULL, say_many, e), 0);
	for (int i = 0; i < 4; i++)
		cr_assert_eq(pthread_join(thread[i], NULL), 0);
	text = stream(e);
	cr_assert_eq(strlen(text), 4 * 500 * 40);
	for (size_t at = 0; text[at]; at += 40) {
		cr_assert_eq(strncmp(text + at, TIME "n 000", strlen(TIME) + 5), 0);
		cr_assert_eq(text[at + 39], '\n');
	}
	free(text);
	tp_events_close(e);
}
