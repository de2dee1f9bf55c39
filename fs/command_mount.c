/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/command.h"
#include "fs/daemon.h"
#include "fs/mount.h"
#include "fs/mounts.h"
#include "fs/options.h"
#include "store/cleanup.h"

extern char **environ;

static void warn(const char *text, void *user)
{
	(void)fprintf(stderr, "tidepool mount: %s\n", text);
}

/* Reads the command line into o. Returns 0, or what to exit with, after an error was said. */
static int parse(int argc, char **argv, struct tp_options *o, bool *ret_foreground)
{
	static const struct option longs[] = {
		{"foreground", no_argument, NULL, TP_COMMAND_LONG}, {NULL, 0, NULL, 0}};
	struct tp_err err = {""};
	int c, r;

	r = tp_options_environment(o, (const char *const *)environ, warn, NULL, &err);
	opterr = 0;
	optind = 1;
	while (r == 0 && (c = getopt_long(argc, argv, ":o:f", longs, NULL)) != -1) {
		if (c == '?' || c == ':')
			return tp_command_bad_option(argv, c);
		if (c == 'o')
			r = tp_options_parse(o, optarg, &err);
		else
			*ret_foreground = true;
	}
	if (r == 0 && argc - optind != 2)
		return tp_command_fail(
			"mount", 2, "it takes two arguments, STATE and MOUNTPOINT, not %d", argc - optind);
	if (r == 0)
		r = tp_options_finish(o, "", &err);
	return r < 0 ? tp_command_fail("mount", 2, "%s", err.text) : 0;
}

int tp_command_mount(int argc, char **argv)
{
	struct tp_options o;
	struct tp_err err = {""};
	bool foreground = false;
	int code;

	if (tp_options_init(&o, &err) < 0)
		code = tp_command_fail("mount", 1, "%s", err.text);
	else
		code = parse(argc, argv, &o, &foreground);
	if (code == 0)
		code = tp_mount_run(argv[optind], argv[optind + 1], &o, foreground);
	tp_options_fini(&o);
	return code;
}

/* Prints what the drain left. Returns what to exit with. */
static int print_last_drain(const char *state)
{
	tp_autofree char *name = NULL, *line = NULL;
	size_t size = 0;
	int code = 0;
	FILE *f;

	if (asprintf(&name, "%s/last-drain", state) < 0) {
		name = NULL;
		return 1;
	}
	f = fopen(name, "re");
	if (!f)
		return 0;
	while (getline(&line, &size, f) > 0) {
		(void)fprintf(stderr, "tidepool umount: %s", line);
		if (strncmp(line, "not drained", strlen("not drained")) == 0)
			code = 1;
	}
	(void)fclose(f);
	return code;
}

/* Is pid a process of this program, as far as can be seen? A number from another pid namespace may be anybody's here. */
static bool is_tidepool(pid_t pid)
{
	char name[64], comm[64] = "";
	FILE *f;

	(void)snprintf(name, sizeof(name), "/proc/%d/comm", (int)pid);
	f = pid > 1 ? fopen(name, "re") : NULL;
	if (!f)
		return false;
	if (fgets(comm, sizeof(comm), f))
		comm[strcspn(comm, "\n")] = 0;
	(void)fclose(f);
	return strcmp(comm, "tidepool") == 0;
}

static int umount_one(const char *path)
{
	struct tp_mounts m, again;
	struct tp_daemon d;
	int r, found, code = 0;

	r = tp_mounts_at(path, &m);
	if (r == -ENOENT)
		return tp_command_fail("umount", 1, "there is no tidepool mount at %s", path);
	if (r < 0)
		return tp_command_fail("umount", 1, "%s: %s", path, strerror(-r));
	found = tp_daemon_find(m.state, &d);
	/* Nothing more is to be expected of it. */
	if (found == 0 && d.phase == TP_DAEMON_DIES)
		found = -ESRCH;
	/* The daemon takes its mount away itself, also from under open files, and names them. One in another place is only seen to go. */
	if (found == 0 && strcmp(d.mountpoint, m.mountpoint) == 0 && is_tidepool(d.pid) &&
		kill(d.pid, SIGTERM) == 0)
		r = 0;
	else
		r = tp_mounts_take_away(m.mountpoint, found == -ESRCH);
	if (r < 0) {
		code = r == -EIO ? 1
				 : tp_command_fail("umount", 1, "%s cannot be unmounted: %s", m.mountpoint,
					   strerror(-r));
	} else if (found == 0) {
		r = tp_daemon_wait(m.state);
		if (r == -ETIMEDOUT)
			code = tp_command_fail("umount", 1,
				"not drained: process %d has ended, but the kernel has not let go of it: the "
				"disk of %s does not answer, or a program keeps a directory of the mount "
				"locked; what the journal has is kept",
				(int)d.pid, m.state);
		else
			code = r < 0 ? tp_command_fail(
					       "umount", 1, "its daemon was not waited for: %s", strerror(-r))
				     : print_last_drain(m.state);
		/* A daemon that did not come so far leaves a dead mount. */
		if ((r == 0 || r == -ETIMEDOUT) && tp_mounts_at(m.mountpoint, &again) == 0) {
			struct stat st;

			if (strcmp(again.state, m.state) == 0 &&
				(r == -ETIMEDOUT || (stat(m.mountpoint, &st) < 0 && errno == ENOTCONN)))
				(void)tp_mounts_take_away(m.mountpoint, true);
			tp_mounts_fini(&again);
		}
	} else if (found == -ESRCH) {
		(void)fprintf(stderr, "tidepool umount: the daemon of %s had died; its mount is cleared\n",
			m.state);
	}
	tp_mounts_fini(&m);
	return code;
}

int tp_command_umount(int argc, char **argv)
{
	int code = 0;

	if (argc > 1 && strcmp(argv[1], "--") == 0) {
		argc--;
		argv++;
	}
	if (argc < 2)
		return tp_command_fail("umount", 2, "a mount point is missing");
	if (argv[1][0] == '-')
		return tp_command_fail("umount", 2, "there is no option '%s'", argv[1]);
	for (int i = 1; i < argc; i++) {
		int c = umount_one(argv[i]);

		code = c > code ? c : code;
	}
	return code;
}
