/* SPDX-License-Identifier: Apache-2.0 */
/* The commands that show how a mount is doing: status, top. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "fs/command.h"
#include "fs/daemon.h"
#include "fs/mounts.h"
#include "fs/utf8.h"
#include "store/cleanup.h"
#include "store/clock.h"
#include "store/peek.h"

#define CONTROL_BYTES_MAX (16u << 20)

/* One number of .tidepool/stats. */
struct metric {
	char *name; /* with its labels; inside the text that it was read from */
	double value, before;
};

struct metrics {
	char *text;	     /* owned */
	struct metric *list; /* owned */
	size_t count;
	uint64_t taken_ns;
};

/* JSON is UTF-8: a byte that is none stands as the text \xNN. */
static void print_json_string(const char *s)
{
	size_t left = strlen(s), len;

	(void)putchar('"');
	for (; left; s += len, left -= len) {
		unsigned char c = (unsigned char)*s;

		len = tp_utf8_len(s, left);
		if (len == 0)
			(void)printf("\\\\x%02x", c);
		else if (c == '"' || c == '\\')
			(void)printf("\\%c", c);
		else if (c == '\n')
			(void)fputs("\\n", stdout);
		else if (c < 0x20)
			(void)printf("\\u%04x", c);
		else
			(void)fwrite(s, 1, len, stdout);
		len += len == 0;
	}
	(void)putchar('"');
}

/* A control file of the mount as a whole. -errno. */
static int read_control(const struct tp_mounts *m, const char *file, char **ret_text)
{
	tp_autofree char *where = NULL, *text = NULL;
	size_t n = 0, room = 0, got;
	FILE *f;
	int r = 0;

	if (asprintf(&where, "%s/.tidepool/%s", m->mountpoint, file) < 0) {
		where = NULL;
		return -ENOMEM;
	}
	f = fopen(where, "re");
	if (!f)
		return -errno;
	do {
		if (room - n < 4096) {
			char *longer = realloc(text, room + 65536);

			if (!longer || room > CONTROL_BYTES_MAX) {
				text = longer ? longer : text;
				r = -ENOMEM;
				break;
			}
			text = longer;
			room += 65536;
		}
		got = fread(text + n, 1, room - n - 1, f);
		n += got;
	} while (got);
	if (r == 0 && ferror(f))
		r = -EIO;
	(void)fclose(f);
	if (r == 0) {
		text[n] = 0;
		*ret_text = tp_steal_ptr(text);
	}
	return r;
}

static void metrics_fini(struct metrics *s)
{
	free(s->text);
	free(s->list);
	*s = (struct metrics){0};
}

/* Reads .tidepool/stats: lines "NAME{LABELS} VALUE", and comments. */
static int metrics_read(const struct tp_mounts *m, struct metrics *ret)
{
	struct metrics s = {.taken_ns = tp_mono_ns(tp_clock_system())};
	size_t lines = 1;
	char *save = NULL;
	int r = read_control(m, "stats", &s.text);

	if (r < 0)
		return r;
	for (const char *p = s.text; *p; p++)
		lines += *p == '\n';
	s.list = calloc(lines, sizeof(*s.list));
	if (!s.list) {
		metrics_fini(&s);
		return -ENOMEM;
	}
	for (char *line = strtok_r(s.text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *blank = strrchr(line, ' ');

		if (line[0] == '#' || !blank)
			continue;
		*blank = 0;
		s.list[s.count++] = (struct metric){.name = line, .value = strtod(blank + 1, NULL)};
	}
	*ret = s;
	return 0;
}

static int status_of_mount(const struct tp_mounts *m, bool json)
{
	tp_autofree char *status = NULL, *health = NULL;
	struct metrics s = {0};
	int r = read_control(m, json ? "health" : "status", json ? &health : &status);
	const char *comma = "";

	if (r == 0 && json)
		r = metrics_read(m, &s);
	if (r == -ENOTCONN)
		return tp_command_fail("status", 1,
			"the daemon of the mount at %s is dead: mount again, or umount", m->mountpoint);
	if (r < 0)
		return tp_command_fail(
			"status", 1, "%s/.tidepool cannot be read: %s", m->mountpoint, strerror(-r));
	if (!json) {
		(void)fputs(status, stdout);
		return 0;
	}
	(void)fputs("{\"mounted\":true,\"mountpoint\":", stdout);
	print_json_string(m->mountpoint);
	(void)fputs(",\"state\":", stdout);
	print_json_string(m->state);
	if (health[0] && health[strlen(health) - 1] == '\n')
		health[strlen(health) - 1] = 0;
	(void)fputs(",\"health\":", stdout);
	print_json_string(health);
	(void)fputs(",\"stats\":{", stdout);
	for (size_t i = 0; i < s.count; i++) {
		/* The buckets are for who draws curves, and are twenty times as many. */
		if (strstr(s.list[i].name, "_bucket{"))
			continue;
		(void)fputs(comma, stdout);
		print_json_string(s.list[i].name);
		(void)printf(":%.15g", s.list[i].value);
		comma = ",";
	}
	(void)fputs("}}\n", stdout);
	metrics_fini(&s);
	return 0;
}

static void uuid_text(const unsigned char *u, char *ret)
{
	for (unsigned i = 0; i < 16; i++)
		ret += sprintf(ret, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", u[i]);
}

static void status_json_of_state(
	const char *state, const struct tp_peek *p, const char *uuid, const char *left)
{
	(void)fputs("{\"mounted\":false,\"state\":", stdout);
	print_json_string(state);
	(void)printf(",\"uuid\":\"%s\",\"names\":%" PRIu64 ",\"ledger_bytes\":%" PRIu64
		     ",\"journal_bytes\":%" PRIu64 ",\"last_drain\":",
		uuid, p->names, p->ledger_bytes, p->journal_bytes);
	print_json_string(left);
	(void)fputs("}\n", stdout);
}

/* One that serves STATE, but not where we can see it, or not yet, or not any more. */
static void status_of_daemon(const char *state, const struct tp_daemon *d, bool json)
{
	if (json) {
		(void)fputs("{\"mounted\":false,\"state\":", stdout);
		print_json_string(state);
		(void)printf(",\"process\":%d}\n", (int)d->pid);
	} else {
		(void)printf(
			"state      %s, in use by process %d at %s\n", state, (int)d->pid, d->mountpoint);
	}
}

/* STATE is not mounted where we can see it. watch: it is looked at again, so that a daemon that has it is no error. */
static int status_of_state(const char *command, const char *path, bool json, bool watch)
{
	tp_autofree char *state = realpath(path, NULL), *name = NULL;
	char uuid[40], left[1024] = "";
	struct tp_err err = {""};
	struct tp_daemon d;
	struct tp_peek p;
	FILE *f;
	int r, peeked = 0;

	if (!state)
		return tp_command_fail(command, 1, "%s: %s", path, strerror(errno));
	r = tp_daemon_find(state, &d);
	if (r < 0) {
		peeked = tp_peek_state(state, &err, &p);
		/* It may have come while we looked. */
		if (peeked < 0)
			r = tp_daemon_find(state, &d);
	}
	if (r == 0 && watch) {
		status_of_daemon(state, &d, json);
		return 0;
	}
	if (r == 0)
		return tp_command_fail(command, 1, "%s is in use by process %d, which serves it at %s", state,
			(int)d.pid, d.mountpoint);
	if (peeked == -ENOENT)
		return tp_command_fail(command, 1, "%s is neither in a tidepool mount nor a STATE", state);
	if (peeked < 0)
		return tp_command_fail(command, 1, "%s", err.text);
	uuid_text(p.uuid, uuid);
	if (asprintf(&name, "%s/last-drain", state) < 0)
		name = NULL;
	f = name ? fopen(name, "re") : NULL;
	if (f) {
		left[fread(left, 1, sizeof(left) - 1, f)] = 0;
		(void)fclose(f);
	}
	if (json) {
		status_json_of_state(state, &p, uuid, left);
		return 0;
	}
	(void)printf("state      %s, not mounted\n"
		     "uuid       %s\n"
		     "ledger     %" PRIu64 " names, %" PRIu64 " KiB\n"
		     "journal    %" PRIu64 " bytes that the next mount replays\n",
		state, uuid, p.names, p.ledger_bytes / 1024, p.journal_bytes);
	(void)printf("last drain %s", left[0] ? left : "left nothing\n");
	return 0;
}

/* --json, and for top the interval and the count. Returns 0 or what to exit with. */
static int parse(int argc, char **argv, bool *ret_json, double *ret_interval, unsigned long *ret_count)
{
	static const struct option longs[] = {
		{"json", no_argument, NULL, TP_COMMAND_LONG}, {NULL, 0, NULL, 0}};
	int c;

	opterr = 0;
	optind = 1;
	while ((c = getopt_long(argc, argv, ret_count ? ":d:n:" : "", longs, NULL)) != -1) {
		char *end = NULL;

		if (c == TP_COMMAND_LONG) {
			*ret_json = true;
			continue;
		}
		if (c == '?' || c == ':')
			return tp_command_bad_option(argv, c);
		errno = 0;
		if (c == 'd')
			*ret_interval = strtod(optarg, &end);
		else
			*ret_count = strtoul(optarg, &end, 10);
		/* Written so that it holds for what is not a number, too; strtoul() takes negative ones. */
		if (end == optarg || *end || errno || !(*ret_interval >= 0.01 && *ret_interval <= 3600) ||
			(c == 'n' && (!*ret_count || strchr(optarg, '-'))))
			return tp_command_fail(
				argv[0], 2, "-%c %s is not a number that is good for it", c, optarg);
	}
	return 0;
}

int tp_command_status(int argc, char **argv)
{
	bool json = false;
	int code = parse(argc, argv, &json, NULL, NULL);
	struct tp_mounts m;

	if (code)
		return code;
	if (optind == argc) {
		if (tp_mounts_any(&m) < 0)
			return tp_command_fail(
				"status", 1, "nothing is mounted here; name a mount point or a STATE");
		code = status_of_mount(&m, json);
		tp_mounts_fini(&m);
		return code;
	}
	for (int i = optind; i < argc; i++) {
		tp_autofree char *real = realpath(argv[i], NULL);
		int c;

		/* A dead mount has no real path. */
		if (tp_mounts_of(argv[i], &m) == 0 || (real && tp_mounts_serving(real, &m) == 0)) {
			c = status_of_mount(&m, json);
			tp_mounts_fini(&m);
		} else {
			c = status_of_state("status", argv[i], json, false);
		}
		code = c > code ? c : code;
	}
	return code;
}

static int by_rate(const void *a, const void *b)
{
	const struct metric *x = a, *y = b;
	double dx = x->value - x->before, dy = y->value - y->before;

	if (dx != dy)
		return dx < dy ? 1 : -1;
	return strcmp(x->name, y->name);
}

static bool is_counter(const char *name)
{
	size_t n = strcspn(name, "{");

	return n > 6 && strncmp(name + n - 6, "_total", 6) == 0;
}

/* Takes over what the numbers were, by name: new ones may have come in between. */
static void remember(struct metrics *now, const struct metrics *then)
{
	for (size_t i = 0, j = 0; i < now->count; i++) {
		now->list[i].before = 0;
		for (size_t tries = 0; tries < then->count; tries++, j++) {
			if (j >= then->count)
				j = 0;
			if (strcmp(then->list[j].name, now->list[i].name) == 0) {
				/* One that fell began anew, with another daemon. */
				if (then->list[j].value <= now->list[i].value)
					now->list[i].before = then->list[j].value;
				break;
			}
		}
	}
}

static void top_json(const struct tp_mounts *m, const struct metrics *s, double seconds)
{
	const char *comma = "";

	(void)fputs("{\"mounted\":true,\"mountpoint\":", stdout);
	print_json_string(m->mountpoint);
	(void)printf(",\"seconds\":%.3f,\"per_second\":{", seconds);
	for (size_t i = 0; i < s->count; i++) {
		if (!is_counter(s->list[i].name))
			continue;
		(void)fputs(comma, stdout);
		print_json_string(s->list[i].name);
		(void)printf(":%.6g", (s->list[i].value - s->list[i].before) / seconds);
		comma = ",";
	}
	(void)fputs("}}\n", stdout);
}

static void top_page(const struct tp_mounts *m, const struct metrics *s, double seconds, bool terminal)
{
	tp_autofree char *health = NULL;
	struct winsize size;
	unsigned rows = 40;

	if (terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 6)
		rows = size.ws_row - 5u;
	if (read_control(m, "health", &health) == 0)
		health[strcspn(health, "\n")] = 0;
	(void)printf("%s  %.1f s  health: %.50s\n\n%14s %16s  %s\n", m->mountpoint, seconds,
		health ? health : "?", "per second", "in all", "counter");
	for (size_t i = 0; i < s->count && rows; i++) {
		const char *name = s->list[i].name;

		if (!is_counter(name) || s->list[i].value == 0)
			continue;
		if (strncmp(name, "tidepool_", 9) == 0)
			name += 9;
		(void)printf("%14.1f %16.0f  %.46s\n", (s->list[i].value - s->list[i].before) / seconds,
			s->list[i].value, name);
		rows--;
	}
}

/* What top looks at. */
struct top {
	const char *path; /* as it was named; NULL: whatever is mounted */
	char *state;	  /* what the mount serves that was seen last, or else path; owned; NULL: not known */
	bool json, terminal;
};

/* Finds the mount and reads its numbers. -ENODEV: there is none now; -errno: it does not answer. */
static int top_read(struct top *t, struct tp_mounts *ret_mount, struct metrics *ret)
{
	struct tp_mounts m;
	int r = -ENODEV;

	/* One that was taken away meanwhile is no more to be found. */
	for (unsigned tries = 0; tries < 3 && r < 0; tries++) {
		r = t->path ? tp_mounts_of(t->path, &m) : -ENOENT;
		if (r < 0)
			r = t->state ? tp_mounts_serving(t->state, &m) : tp_mounts_any(&m);
		if (r < 0)
			return -ENODEV;
		free(t->state);
		t->state = strdup(m.state);
		r = t->state ? metrics_read(&m, ret) : -ENOMEM;
		if (r == 0)
			*ret_mount = m;
		else
			tp_mounts_fini(&m);
	}
	return r;
}

/* Shows what now is, and how it differs from then. Returns 0 or what to exit with. */
static int top_show(
	const struct top *t, const struct tp_mounts *m, struct metrics *now, const struct metrics *then)
{
	double seconds = (double)(now->taken_ns - then->taken_ns) / 1e9;

	if (t->terminal && !t->json)
		(void)fputs("\033[H\033[2J", stdout);
	if (!m->mountpoint)
		return status_of_state("top", t->state, t->json, true);
	remember(now, then);
	if (t->json) {
		top_json(m, now, seconds);
	} else {
		qsort(now->list, now->count, sizeof(*now->list), by_rate);
		top_page(m, now, seconds, t->terminal);
	}
	return 0;
}

/* state: NULL: not known. */
static int top_fail(int r, const char *state)
{
	if (r == -ENODEV)
		return tp_command_fail("top", 1, "nothing is mounted here; name a mount point or a STATE");
	if (r == -ENOTCONN && state)
		return tp_command_fail("top", 1, "the daemon of %s is dead: mount again, or umount", state);
	return tp_command_fail("top", 1, "the mount cannot be read: %s", strerror(-r));
}

/* Every interval, count times (0: until nobody can read it). */
static int top_run(struct top *t, double interval, unsigned long count)
{
	struct timespec pause = {(time_t)interval, (long)((interval - (double)(time_t)interval) * 1e9)};
	struct metrics then = {0};
	unsigned long shown = 0;
	int code = 0;

	for (;;) {
		struct metrics now = {.taken_ns = tp_mono_ns(tp_clock_system())};
		struct tp_mounts m = {0};
		int r = top_read(t, &m, &now);

		if (r < 0 && (r != -ENODEV || !t->state)) {
			code = top_fail(r, t->state);
		} else if (!m.mountpoint || then.taken_ns) {
			code = top_show(t, &m, &now, &then);
			(void)fflush(stdout);
			shown++;
		}
		tp_mounts_fini(&m);
		metrics_fini(&then);
		then = now;
		if (code || ferror(stdout) || (count && shown == count))
			break;
		(void)nanosleep(&pause, NULL);
	}
	metrics_fini(&then);
	return code;
}

int tp_command_top(int argc, char **argv)
{
	struct top t = {.terminal = isatty(STDOUT_FILENO) == 1};
	double interval = 1;
	unsigned long count = 0;
	int code = parse(argc, argv, &t.json, &interval, &count);

	if (code)
		return code;
	if (argc - optind > 1)
		return tp_command_fail("top", 2, "it takes one mount point or STATE");
	if (optind < argc) {
		t.path = argv[optind];
		/* A dead mount has no real path; what it serves is known when it was found. */
		t.state = realpath(t.path, NULL);
		if (!t.state)
			t.state = strdup(t.path);
	}
	code = top_run(&t, interval, count);
	free(t.state);
	return code;
}
