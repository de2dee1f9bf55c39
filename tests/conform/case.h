/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One small case of the conformance suite: how it is declared, what it checks with, and as whom it runs.
 *
 * A case is declared by TP_CASE(area, situation_and_result, who) { ... } and registers itself; tables of cases are
 * added by tp_case_add() from a function declared with TP_CASES(area). The runner gives each case an own process
 * whose working directory is a fresh, empty directory with mode 0755; umask is 022. The first check that fails is
 * recorded with its place and errno and ends the process, so a case is a straight line of checks.
 *
 * Every name that a case makes goes through N(), which puts a dot before each component when the suite runs with
 * --temporary.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

/* Who can run a case; the runner skips it for others. */
enum tp_case_who {
	TP_ANYBODY,
	TP_ROOT, /* needs to become other users, or to make devices */
	TP_USER, /* is about what an ordinary user may not do to its own */
};

struct tp_case;
typedef void (*tp_case_fn)(const struct tp_case *c);

struct tp_case {
	char *name; /* "area/situation_and_result", owned */
	tp_case_fn run;
	enum tp_case_who who;
	long a, b, d;	      /* the parameters of a case that comes from a table */
	struct tp_case *next; /* in order of registration */
};

/* What a case's processes share: the verdict, and words for the case's own use. */
struct tp_verdict {
	enum { TP_PASSED, TP_FAILED, TP_SKIPPED } state;
	const char *file; /* of the check that failed; a literal, so it is valid in the runner as well */
	int line;
	int err; /* errno at that check, 0 when it is about a value */
	char text[320];
	int words[4]; /* free for the case: what one of its processes tells another */
};

/* The first registered case. */
struct tp_case *tp_case_first(void);

/* Registers a case; the name is made from format. For TP_CASES functions only: it never fails, it exits. */
void tp_case_add(enum tp_case_who who, tp_case_fn run, long a, long b, long d, const char *format, ...)
	__attribute__((format(printf, 6, 7)));

/* Where the checks of this process report; set by the runner before the case runs. */
extern struct tp_verdict *tp_verdict;

/* Whether names get a leading dot. */
extern bool tp_case_temporary;

#define TP_CASE(area, title, whom)                                                                           \
	static void case_##area##_##title(const struct tp_case *c);                                          \
	__attribute__((constructor)) static void add_##area##_##title(void)                                  \
	{                                                                                                    \
		tp_case_add(whom, case_##area##_##title, 0, 0, 0, "%s", #area "/" #title);                   \
	}                                                                                                    \
	static void case_##area##_##title(const struct tp_case *c)

#define TP_CASES(title) __attribute__((constructor)) static void add_table_##title(void)

/* ---- checks; each ends the process when it does not hold ---- */

/* The call gives 0 or more. Evaluates to what it gave. */
#define OK(call) tp_check_ok((errno = 0, (long)(call)), #call, __FILE__, __LINE__)
/* The call gives a negative result with this errno. */
#define FAILS(call, err) tp_check_fails((errno = 0, (long)(call)), err, #call, __FILE__, __LINE__)
#define CHECK(cond) tp_check_true((bool)(cond), #cond, __FILE__, __LINE__)
#define EQ(a, b) tp_check_eq((long long)(a), (long long)(b), #a, #b, __FILE__, __LINE__)
/* The file at path is readable and holds exactly these bytes. */
#define HOLDS(path, bytes, size) tp_check_holds(path, bytes, size, __FILE__, __LINE__)
/* The two descriptions are of one file. */
#define SAME_FILE(a, b) CHECK((a).st_ino == (b).st_ino && (a).st_dev == (b).st_dev)

long tp_check_ok(long r, const char *what, const char *file, int line);
void tp_check_fails(long r, int want, const char *what, const char *file, int line);
void tp_check_true(bool ok, const char *what, const char *file, int line);
void tp_check_eq(
	long long a, long long b, const char *what_a, const char *what_b, const char *file, int line);
void tp_check_holds(const char *path, const void *bytes, size_t size, const char *file, int line);

/* Records a failure and ends the process. */
void tp_case_fail(const char *file, int line, int err, const char *format, ...)
	__attribute__((noreturn, format(printf, 4, 5)));

/* Records that the case cannot be run here, and ends the process. */
void tp_case_skip(const char *why) __attribute__((noreturn));

/* ---- names ---- */

/* The name or path as this run spells it; valid until 32 more were asked for. */
const char *N(const char *path);

/* A name of exactly length bytes (at least 1), made of fill; valid as N()'s. */
const char *tp_name_long(size_t length, char fill);

/* ---- processes ---- */

struct tp_ids {
	uid_t uid;
	gid_t gid;
	gid_t group; /* the only supplementary group, none when it is (gid_t)-1 */
};

extern const struct tp_ids tp_alice; /* 65534:65534, no group */
extern const struct tp_ids tp_bob;   /* 12345:12345, no group */

/*
 * AS (&tp_bob) { ... } runs the block in a child with these ids and no capabilities; AS (TP_SAME) { ... } as the same user.
 * The parent waits; a check that fails in the child ends the case.
 */
#define AS(ids) for (bool tp_in = tp_child_enter(ids); tp_in; tp_in = tp_child_leave())
/* For AS: nobody else, just another process. */
#define TP_SAME NULL

bool tp_child_enter(const struct tp_ids *ids);
bool tp_child_leave(void);

/* Two processes that run at once and tell each other when to go on. */
struct tp_side {
	pid_t pid; /* the child; 0 in it */
	int fd;	   /* a socket to the other one */
};

/* Starts the second process with ids, NULL for the same. True in it. */
bool tp_side_start(struct tp_side *s, const struct tp_ids *ids);
void tp_side_tell(struct tp_side *s);
/* Waits until the other one tells; fails the case when it ended instead. */
void tp_side_await(struct tp_side *s);
/* Whether the other one has told already; does not wait. */
bool tp_side_told(struct tp_side *s);
/* Waits until the second process sleeps in the system call with this number; for the first one. */
void tp_side_await_call(struct tp_side *s, long number);
/* In the child: ends it well. In the parent: waits for it, and fails the case when it ended otherwise. */
void tp_side_end(struct tp_side *s);
