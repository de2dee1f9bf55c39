/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands of the program: one table, one function each. A command gets its own name as argv[0], prints what it has to say, and
 * returns what the process exits with: 0 done, 1 it did not work (one sentence on stderr says why), 2 it was called wrongly.
 */
#pragma once

struct tp_command {
	const char *name;
	const char *usage;   /* "PATH...", behind the name */
	const char *summary; /* half a line for the list of all commands */
	/* What --help says below the usage, within 80 columns, ends with a newline; may be NULL. */
	const char *text;
	void (*more)(void); /* prints what else --help says; may be NULL */
	int (*run)(int argc, char **argv);
};

/* Ends with an entry whose name is NULL. */
extern const struct tp_command tp_commands[];

/* NULL when there is none of that name. */
const struct tp_command *tp_command_find(const char *name);
/* The whole program: picks the command, answers --help, runs it, and sees whether what it printed was written. */
int tp_command_main(int argc, char **argv);

/* "tidepool NAME: text" as one line on stderr. Returns code, so that `return tp_command_fail(2, ...)` reads well. */
__attribute__((format(printf, 3, 4))) int tp_command_fail(const char *name, int code, const char *fmt, ...);
/* What getopt_long() gives for all long options, so that none is taken for the letter of a short one. */
#define TP_COMMAND_LONG 256
/* Says what getopt_long() did not like, which returned c, ':' or '?'. Returns 2. */
int tp_command_bad_option(char **argv, int c);
/* What --help prints. */
void tp_command_help(const struct tp_command *c);

int tp_command_mount(int argc, char **argv);
int tp_command_umount(int argc, char **argv);
int tp_command_status(int argc, char **argv);
int tp_command_top(int argc, char **argv);
int tp_command_lookup(int argc, char **argv);
int tp_command_get(int argc, char **argv);
int tp_command_set(int argc, char **argv);
int tp_command_explain(int argc, char **argv);
int tp_command_warm(int argc, char **argv);
int tp_command_version(int argc, char **argv);
