/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of a mount: what they are called, what they may be, what each is and where that came from.
 *
 *	tp_options_init()	 every option has its default
 *	tp_options_environment() TIDEPOOL_<OPTION>
 *	tp_options_parse()	 what stands behind -o; may be called several times, the last value of an option wins
 *	tp_options_finish()	 what depends on other options or on the machine
 *	tp_options_fini()
 *
 * Errors are -EINVAL with one sentence that names the option and the value; -ENOMEM. A struct that an error came from may only be given to fini.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/errtext.h"
#include "store/pool.h"
#include "store/size.h"

enum tp_option_kind {
	TP_OPTION_SIZE,	  /* uint64_t; K, M, G, T */
	TP_OPTION_NUMBER, /* unsigned; 0 is written "auto" where that is the default */
	TP_OPTION_FLAG,	  /* bool; NAME, noNAME, NAME=on, NAME=off */
	TP_OPTION_CHOICE, /* unsigned: the place in `choices` */
	TP_OPTION_PATHS,  /* struct tp_option_paths; may be repeated */
	TP_OPTION_ABSENT  /* belongs to a part that this version does not have */
};

struct tp_option {
	const char *name;
	enum tp_option_kind kind;
	const char *value; /* what its value looks like in a help text: "SIZE"; NULL: a flag */
	const char *help;  /* in a few words */
	const char *
		initial; /* the default as it would be typed; NULL: worked out in tp_options_finish(), or nothing */
	const char *choices;  /* CHOICE: "try|off|require"; ABSENT: the only value that is taken, or NULL */
	const char *absent;   /* ABSENT: what this version does not have */
	size_t offset;	      /* of the field in struct tp_options */
	uint64_t least, most; /* SIZE, NUMBER */
	bool fuse; /* FLAG: is FUSE's or the kernel's, which get NAME or noNAME when it differs from its default */
};

/* In the order of the manual; ends with an entry whose name is NULL. */
extern const struct tp_option tp_option_table[];
#define TP_OPTIONS_MAX 40

enum tp_option_source { TP_OPTION_DEFAULT, TP_OPTION_ENVIRONMENT, TP_OPTION_COMMAND_LINE };

struct tp_option_paths {
	char **list; /* NULL-terminated, owned; NULL when there is none */
	unsigned count;
};

struct tp_options {
	uint64_t ram_bytes;
	struct tp_option_paths pool;
	bool pool_as_is;    /* each file of it gives the size that it has; ram_bytes is their sum */
	unsigned hugepages; /* enum tp_hugepages */
	bool prefault;
	unsigned high_pct, low_pct;
	unsigned names;	    /* 0: by the memory */
	uint64_t names_max; /* what that comes to */
	unsigned journal_interval_ms;
	unsigned threads; /* 0: by the number of processors */
	unsigned drain_s;
	bool read_only, allow_other, default_permissions;
	bool suid, dev, exec, sync, symfollow;
	struct tp_option_paths labels; /* SELinux's, whole: "context=..." */

	uint8_t source[TP_OPTIONS_MAX]; /* enum tp_option_source of each entry of the table */
	char ram_why[160];		/* what the default of ram was worked out from */
};

int tp_options_init(struct tp_options *o, struct tp_err *err);
/* environment: "NAME=VALUE" strings, NULL-terminated. warn gets a sentence for each unknown name that begins with TIDEPOOL_. */
int tp_options_environment(struct tp_options *o, const char *const *environment,
	void (*warn)(const char *text, void *user), void *user, struct tp_err *err);
/* text: "a,b=c"; a comma or backslash that belongs to a value has a backslash before it. What is mount(8)'s own business is skipped. */
int tp_options_parse(struct tp_options *o, const char *text, struct tp_err *err);
/* root: where /proc and /sys are looked for, as of tp_memory_usable(). */
int tp_options_finish(struct tp_options *o, const char *root, struct tp_err *err);
void tp_options_fini(struct tp_options *o);

/* A line for each option, "NAME=VALUE  # where from": what .tidepool/config shows. The caller frees it. -ENOMEM. */
int tp_options_config(const struct tp_options *o, char **ret_text);
/* What FUSE and the kernel get: "fsname=STATE,subtype=tidepool,allow_other". The caller frees it. -ENOMEM. */
int tp_options_fuse(const struct tp_options *o, const char *state, char **ret_text);
/* Prints the options as a list for a help text, within 80 columns. */
void tp_options_help(void);

/* "8G" from 8589934592, "1000" from 1000. Returns buf. */
const char *tp_size_text(uint64_t bytes, char *buf, size_t len);
