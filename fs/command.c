/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/command.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fs/options.h"

const struct tp_command tp_commands[] = {
	{
		.name = "mount",
		.usage = "STATE MOUNTPOINT [-o OPTION[,OPTION]...] [-f]",
		.summary = "mount the store that lives in the directory STATE",
		.text = "STATE is made when it is missing. Returns when the mount answers. For root or,\n"
			"with fusermount3, for any user. `tidepool STATE MOUNTPOINT -o ...` is the same,\n"
			"for fstab: STATE MOUNTPOINT fuse.tidepool ram=8G,nofail 0 0\n"
			"\n"
			"  -f, --foreground  stay, and log to standard error\n"
			"\n"
			"Options, with their defaults; each may stand in the environment (TIDEPOOL_RAM):\n",
		.more = tp_options_help,
		.run = tp_command_mount,
	},
	{
		.name = "umount",
		.usage = "MOUNTPOINT...",
		.summary = "unmount, and wait until everything is in its place",
		.text = "Returns when the daemon has ended, and says what it had to leave, such as files\n"
			"that are still open. A dead mount is cleared.\n",
		.run = tp_command_umount,
	},
	{
		.name = "status",
		.usage = "[--json] [MOUNTPOINT|STATE]...",
		.summary = "say how a mount is doing, or what a STATE holds",
		.text = "Prints .tidepool/status of the mount, or of the one that was mounted last when\n"
			"none is named. For a STATE that is not mounted it prints what is known from its\n"
			"ledger, and what the last drain had to leave.\n"
			"\n"
			"  --json  one JSON object a line: health, and the numbers of .tidepool/stats\n",
		.run = tp_command_status,
	},
	{
		.name = "top",
		.usage = "[--json] [-d SECONDS] [-n COUNT] [MOUNTPOINT|STATE]",
		.summary = "show what a mount is doing now, again and again",
		.text = "Shows the counters of .tidepool/stats, the fastest first, by the second; while\n"
			"it is not mounted, what `tidepool status STATE` says.\n"
			"\n"
			"  -d SECONDS  how long each look takes (1)\n"
			"  -n COUNT    how many looks; without it, until interrupted\n"
			"  --json      one JSON object a line\n",
		.run = tp_command_top,
	},
	{
		.name = "lookup",
		.usage = "PATH...|-",
		.summary = "say of many names at once whether they are there",
		.text = "Prints a line for each path, \"hit SIZE TIER PATH\" or \"miss PATH\", and at the "
			"end\n"
			"\"leading N\": how many hits there are before the first miss. All paths lie in one\n"
			"mount. With - they are read from standard input, one a line.\n"
			"Exits with 0 when all are there, with 1 otherwise.\n",
		.run = tp_command_lookup,
	},
	{
		.name = "get",
		.usage = "PATH [KEY]...",
		.summary = "print attributes of an object or a directory",
		.text = "KEY is the name of a tidepool attribute, such as pin, or a whole name, such as\n"
			"user.tidepool.pin or user.schema. Without KEY all that PATH has are printed, as\n"
			"KEY=VALUE; with one KEY its value alone. The manual lists the attributes.\n",
		.run = tp_command_get,
	},
	{
		.name = "set",
		.usage = "PATH KEY[=VALUE]...",
		.summary = "set or remove attributes of an object or a directory",
		.text = "KEY as in `tidepool get`. KEY without =VALUE removes the attribute, so that\n"
			"what is inherited or the default holds again. When one value is bad, nothing\n"
			"is changed.\n"
			"\n"
			"  tidepool set /mnt/cache/repo pin=1\n"
			"  tidepool set /mnt/cache/logs commit=live\n",
		.run = tp_command_set,
	},
	{
		.name = "explain",
		.usage = "PATH...",
		.summary = "say where an object is, who holds it, or why it is not there",
		.text = "Of a name that is not there it prints who writes it now, when it was evicted and\n"
			"the last events that name it, and exits with 1.\n",
		.run = tp_command_explain,
	},
	{
		.name = "warm",
		.usage = "PATH...",
		.summary = "read objects, and all below a directory, so that they are hot",
		.text = "What is read is evicted late, and is in the kernel's page cache.\n"
			"Shows its progress on a terminal, and is quiet otherwise.\n",
		.run = tp_command_warm,
	},
	{
		.name = "version",
		.usage = "",
		.summary = "print the version",
		.run = tp_command_version,
	},
	{NULL},
};

const struct tp_command *tp_command_find(const char *name)
{
	for (const struct tp_command *c = tp_commands; c->name; c++)
		if (strcmp(c->name, name) == 0)
			return c;
	return NULL;
}

int tp_command_fail(const char *name, int code, const char *fmt, ...)
{
	va_list ap;

	(void)fprintf(stderr, "tidepool%s%s: ", name ? " " : "", name ? name : "");
	va_start(ap, fmt);
	(void)vfprintf(stderr, fmt, ap);
	va_end(ap);
	(void)fputc('\n', stderr);
	return code;
}

int tp_command_bad_option(char **argv, int c)
{
	if (c == ':')
		return tp_command_fail(argv[0], 2, "-%c needs a value", optopt);
	if (optopt && optopt != TP_COMMAND_LONG)
		return tp_command_fail(argv[0], 2, "there is no option '-%c'", optopt);
	return tp_command_fail(argv[0], 2, "there is no option '%s'", argv[optind - 1]);
}

void tp_command_help(const struct tp_command *c)
{
	(void)printf("usage: tidepool %s%s%s\n", c->name, c->usage[0] ? " " : "", c->usage);
	if (c->text)
		(void)printf("\n%s", c->text);
	if (c->more)
		c->more();
}

static void help_of_all(void)
{
	(void)printf("usage: tidepool COMMAND [ARGUMENTS]\n"
		     "\n"
		     "Cache objects and training samples as files.\n"
		     "\n");
	for (const struct tp_command *c = tp_commands; c->name; c++)
		(void)printf("  %-9s %s\n", c->name, c->summary);
	(void)printf("\n`tidepool COMMAND --help` says more of each.\n");
}

int tp_command_version(int argc, char **argv)
{
	if (argc > 1)
		return tp_command_fail(argv[0], 2, "it takes no arguments");
	(void)printf("tidepool %s\n", TP_VERSION);
	return 0;
}

static int run(int argc, char **argv)
{
	const struct tp_command *c;

	if (argc < 2)
		return tp_command_fail(NULL, 2, "a command is missing: see `tidepool --help`");
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
		help_of_all();
		return 0;
	}
	c = tp_command_find(strcmp(argv[1], "--version") == 0 ? "version" : argv[1]);
	/* As fstab has it: STATE MOUNTPOINT -o OPTIONS. */
	if (!c && strchr(argv[1], '/') && tp_command_find("mount")) {
		argv[0] = (char *)(uintptr_t) "mount";
		return tp_command_find("mount")->run(argc, argv);
	}
	if (!c)
		return tp_command_fail(NULL, 2, "there is no command '%s': see `tidepool --help`", argv[1]);
	for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--help") == 0) {
			tp_command_help(c);
			return 0;
		}
	return c->run(argc - 1, argv + 1);
}

/*
 * Opens what is closed of descriptors 0 to 2, or a file of ours would get the number and with it what is printed. They are opened the wrong way round, so
 * that using them fails as it would have, and for the programs that we start, too. Returns 0 or -errno.
 */
static int hold_standard_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0)
			return -errno;
	return 0;
}

/* What could not be printed is an error, whatever the command thought. Returns what to exit with. */
static int close_output(int code)
{
	bool failed = ferror(stdout);

	errno = 0;
	if (fclose(stdout) == 0 && !failed)
		return code;
	return tp_command_fail(NULL, code ? code : 1, "standard output cannot be written%s%s",
		errno ? ": " : "", errno ? strerror(errno) : "");
}

int tp_command_main(int argc, char **argv)
{
	int r = hold_standard_descriptors();

	if (r < 0)
		return tp_command_fail(NULL, 1, "/dev/null cannot be opened: %s", strerror(-r));
	return close_output(run(argc, argv));
}
