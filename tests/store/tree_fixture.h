/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store without a mount, for tests of the tree: what the kernel does between a program and the tree (look up, open, look up again, forget) is done here, what it would be
 * told is written down, time stands still until a test moves it, and other writers are real processes.
 */
#pragma once

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check_tree.h"
#include "heap.h"
#include "scratch.h"
#include "store/evict.h"
#include "store/file.h"
#include "store/tree.h"

#define MIB (UINT64_C(1) << 20)
#define KIB (UINT64_C(1) << 10)
/* The size of the pool in tests that are not about room. */
#define POOL (8 * MIB)

struct fake_clock {
	struct tp_clock clock;
	_Atomic uint64_t wall_ns, mono_ns;
};

struct fixture {
	struct tp_store *store;
	struct tp_tree *tree;
	struct tp_store_info info;
	struct fake_clock clock;
	struct tp_who me; /* root, this process */
	pthread_mutex_t lock;
	char told[1 << 16]; /* lock; names and nodes that the kernel was told of: "PARENT/NAME ", "NODE " */
	size_t told_len;
	/* lock; done() of evictions that the kernel has not heard of yet, when hold is set */
	_Atomic bool hold;
	void (*held[64])(void *arg);
	void *held_arg[64];
	unsigned held_count;
};

/* An open file as a program has it. */
struct file {
	struct tp_opened opened;
	struct tp_who who;
	uint64_t node; /* one reference of it is the file's */
	struct tp_entry entry;
};

/* Nothing may be missing at the end: fixture_close() checks tree and pool. state may be NULL. */
void fixture_open(struct fixture *f, uint64_t pool_bytes, const char *state);
void fixture_open_with(struct fixture *f, const struct tp_store_options *options);
void fixture_close(struct fixture *f);
/* The tree holds together. */
void holds(struct fixture *f);
uint64_t pool_used_bytes(struct fixture *f);
void move_time(struct fixture *f, uint64_t ns);
/* Was the kernel told of it since the last forget_told()? */
bool told_name(struct fixture *f, uint64_t parent, const char *name);
bool told_node(struct fixture *f, uint64_t node);
void forget_told(struct fixture *f);
/* The kernel hears of what was held back. */
void let_kernel_hear(struct fixture *f);

/* A process that waits until it is told to end. */
struct tp_who process_start(void);
/* Ends it: by signal, or by exit(status) when signal is 0. It is a zombie then, as the kernel shows one that closes its files, until process_reap(). */
void process_end(const struct tp_who *who, int signal, int status);
void process_reap(const struct tp_who *who);
/* Both, by SIGKILL. */
void process_kill(const struct tp_who *who);

/* mkdir, without a reference left. */
uint64_t make_dir(struct fixture *f, uint64_t parent, const char *name);
int make(struct fixture *f, const struct tp_who *who, uint64_t parent, const char *name, uint32_t mode);
/* open(2) with flags, as the kernel asks for it. */
int file_open(struct fixture *f, const struct tp_who *who, uint64_t parent, const char *name, int flags,
	struct file *ret);
int file_write(struct fixture *f, struct file *file, uint64_t offset, const void *bytes, size_t len);
int file_puts(struct fixture *f, struct file *file, uint64_t offset, const char *text);
/* close(2), what it returns; the node is forgotten. */
int file_close(struct fixture *f, struct file *file);
/* Writes a whole file. */
int put_as(struct fixture *f, const struct tp_who *who, uint64_t parent, const char *name, const char *text);
void put(struct fixture *f, uint64_t parent, const char *name, const char *text);
/* len bytes that no other seed gives; the caller frees them. */
unsigned char *bytes_of(size_t len, unsigned seed);
/* A file of them. */
int put_bytes(struct fixture *f, uint64_t parent, const char *name, size_t len, unsigned seed);
bool has_text(struct fixture *f, struct file *file, const char *text);
/* Does who read text in it? */
bool reads(struct fixture *f, const struct tp_who *who, uint64_t parent, const char *name, const char *text);
/* stat(2). */
int stat_as(
	struct fixture *f, const struct tp_who *who, uint64_t parent, const char *name, struct tp_entry *ret);
bool sees(struct fixture *f, const struct tp_who *who, uint64_t parent, const char *name);
/* truncate(2), which looks up once more after ESTALE. */
int truncate_as(
	struct fixture *f, const struct tp_who *who, uint64_t parent, const char *name, uint64_t size);
int unlink_as(struct fixture *f, const struct tp_who *who, uint64_t parent, const char *name);
int rename_as(struct fixture *f, const struct tp_who *who, uint64_t from, const char *name, uint64_t to,
	const char *new_name, unsigned flags);
int link_as(struct fixture *f, const struct tp_who *who, uint64_t from, const char *name, uint64_t to,
	const char *new_name);
int rmdir_as(struct fixture *f, const struct tp_who *who, uint64_t parent, const char *name);
/* The names, one behind the other with a blank after each, in order; without dots. */
const char *list_as(struct fixture *f, const struct tp_who *who, uint64_t node);
int set_rule(struct fixture *f, uint64_t node, const char *key, const char *value);
/* The node that who sees, without a reference left; 0: none. */
uint64_t node_of(struct fixture *f, const struct tp_who *who, uint64_t parent, const char *name);
/* Comes back when done(user) says so; fails the test when it does not within a minute. */
void wait_until(bool (*done)(void *user), void *user);
/* The same for the name being gone. */
void wait_gone(struct fixture *f, uint64_t parent, const char *name);
