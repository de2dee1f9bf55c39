/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several processes that work on one directory at the same time, and somebody who watches that all of them get on.
 *
 * A member is a function that does one round and returns; the party calls it again until the time is over, a number of rounds is
 * done, or one of them has failed. What went wrong first is kept and printed.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TP_MEMBERS_MAX 64

struct tp_party;

struct tp_member {
	struct tp_party *party;
	unsigned number;
	uint64_t random; /* state */
	void *user;	 /* of the process's own; NULL at first */
	const char *role;
};

typedef void (*tp_round)(struct tp_member *m);

struct tp_party {
	volatile bool stop;
	volatile int failed; /* taken by the first who fails */
	char what[1024];
	volatile uint64_t rounds[TP_MEMBERS_MAX];
	volatile uint64_t counters[16];	   /* what the members count, by atomic additions */
	const char *doing[TP_MEMBERS_MAX]; /* a constant string: what a member is about to do */
	/* The rest is written before the members start. */
	unsigned members;
	tp_round round[TP_MEMBERS_MAX];
	const char *role[TP_MEMBERS_MAX];
	unsigned long rounds_max; /* of each; 0: no limit */
	unsigned seconds;	  /* 0: no limit */
	unsigned stall_seconds;	  /* one who stands still as long has failed the test */
	uint64_t seed;
};

/* In memory that the processes share. Aborts when there is none. */
struct tp_party *tp_party_new(void);
void tp_party_add(struct tp_party *p, const char *role, tp_round round);
/* Runs them all to the end. Returns the program's exit status: 0, or 1 after it said on stderr what went wrong. */
int tp_party_run(struct tp_party *p);

/* Ends the party; never returns. */
__attribute__((format(printf, 2, 3), noreturn)) void tp_member_fail(
	struct tp_member *m, const char *format, ...);
/* For the report of who stands still. what is a constant string. */
void tp_member_doing(struct tp_member *m, const char *what);
uint32_t tp_member_random(struct tp_member *m, uint32_t below);
void tp_party_count(struct tp_party *p, unsigned counter, uint64_t n);
