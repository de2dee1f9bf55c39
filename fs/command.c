/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/command.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const struct tp_command tp_commands[] = {
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

void tp_command_help(const struct tp_command *c)
{
	(void)printf("usage: tidepool %s%s%s\n", c->name, c->usage[0] ? " " : "", c->usage);
	if (c->text)
		(void)printf("\n%s", c->text);
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

int tp_command_main(int argc, char **argv)
{
	const struct tp_command *c;

	if (argc < 2)
		return tp_command_fail(NULL, 2, "a command is missing: see `tidepool --help`");
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
		help_of_all();
		return 0;
	}
	c = tp_command_find(strcmp(argv[1], "--version") == 0 ? "version" : argv[1]);
	if (!c)
		return tp_command_fail(NULL, 2, "there is no command '%s': see `tidepool --help`", argv[1]);
	for (int i = 2; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--help") == 0) {
			tp_command_help(c);
			return 0;
		}
	return c->run(argc - 1, argv + 1);
}
