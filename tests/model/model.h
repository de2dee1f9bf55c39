/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a directory of a tidepool mount should look like, to whom, after each operation: DESIGN.md, section 3, in memory.
 *
 *	entry	a name in a directory
 *	file	its identity: the inode number, the names, the published node, the drafts
 *	node	bytes and attributes that descriptors refer to: a generation (never changes), a live one (changes in place, all see it)
 *		or a draft (its creator sees it)
 *
 * On the step `live` every node is live, and the model is POSIX. Where the text leaves open what a name is, the entry is put in a
 * fog: nothing is done to it and nothing said of it until the descriptors that caused it are gone; what is there then must be
 * one of the candidates, and the model takes it over.
 *
 * An operation is planned (is it worth doing, what may it answer), done by a worker, and committed with what it answered.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "body.h"
#include "op.h"
#include "worker.h"

#define TP_ENTRIES_MAX 24
#define TP_DRAFTS_MAX 8
#define TP_PROCESSES_MAX 2048
#define TP_CANDIDATES_MAX 8

enum tp_step { TP_STEP_LIVE, TP_STEP_CLOSE, TP_STEP_SUCCESS, TP_STEP_RENAME };

enum tp_node_kind { TP_NODE_GENERATION, TP_NODE_LIVE, TP_NODE_DRAFT };

/* What becomes of a draft when the last descriptor is gone. */
enum tp_fate {
	TP_FATE_PUBLISH,
	TP_FATE_NEVER, /* a writer of it ended badly */
	TP_FATE_KEPT,  /* one did, but had called fsync: it is published, with at least what was synced */
	TP_FATE_MAYBE  /* the text does not say */
};

struct tp_attrs {
	mode_t mode;
	int64_t mtime_ns; /* exactly this, or at least this */
	uint32_t value;	  /* of the extended attribute; 0: none */
	bool mode_known, value_known;
	enum { TP_TIME_UNKNOWN, TP_TIME_EXACT, TP_TIME_SINCE } mtime;
};

struct tp_processes {
	uint64_t bits[TP_PROCESSES_MAX / 64];
};

struct tp_file;

struct tp_node {
	struct tp_node *next; /* of all nodes; freed with the model */
	struct tp_file *file;
	enum tp_node_kind kind;
	struct tp_body body;
	struct tp_attrs attrs;
	unsigned opens;	  /* descriptors and mappings */
	unsigned writers; /* of these, the ones that can write */
	/* of a draft */
	unsigned owner; /* number of the process that created it */
	bool dead;	/* unlinked, displaced or dropped with its directory: not in file->drafts */
	bool displaced; /* its close may say EEXIST, the last one of a draft that had no published name must */
	bool displaced_surely;
	bool told;  /* a close of it has said EEXIST already */
	bool clean; /* never changed since it was copied from `base` */
	struct tp_node *base;
	bool bad_end; /* of a live one: a process that could write it ended badly, and it was never closed since */
	bool map_written; /* through a mapping: who did it cannot be told */
	bool shaky;	  /* a process that once had it open for writing, and no more, ended badly */
	bool unknown;	  /* nothing can be said of its content any more */
	enum tp_fate fate;
	struct tp_processes opened, wrote, synced; /* opened: for writing */
	struct tp_body synced_body;		   /* at the last fsync */
	struct tp_body killed_body;		   /* when its writer was killed */
};

struct tp_file {
	struct tp_file *next;
	ino_t ino; /* 0: not seen yet */
	unsigned names;
	bool names_unknown;
	struct tp_node *pub; /* NULL: never published */
	struct tp_node *drafts[TP_DRAFTS_MAX];
	unsigned drafts_count;
};

struct tp_fog {
	bool on;
	bool absent_ok;
	struct tp_node *wait[TP_CANDIDATES_MAX]; /* over when none of them is open */
	unsigned wait_count;
	struct tp_node *must; /* when it has a good end, only its bytes will do */
	struct tp_body candidates[TP_CANDIDATES_MAX];
	unsigned candidates_count;
};

struct tp_dir;

struct tp_entry {
	char name[24];	    /* empty: a free place */
	struct tp_dir *dir; /* or */
	struct tp_file *file;
	struct tp_fog fog;
};

struct tp_dir {
	struct tp_dir *next;
	struct tp_dir *parent; /* NULL: the root, or removed */
	struct tp_entry entries[TP_ENTRIES_MAX];
	unsigned depth;
};

/* A descriptor or a mapping of a worker. */
struct tp_open {
	struct tp_node *node; /* NULL: none */
	int flags;
	uint32_t len; /* of a mapping */
	bool map_writable, map_written;
	bool loose; /* the node was changed under a reader that may hold the old bytes: both are right */
	struct tp_body old;
};

/* What is to be done when an operation has been answered. */
enum tp_action {
	TP_DO_NOTHING,
	TP_DO_OPEN_NODE, /* a descriptor on plan.node */
	TP_DO_OPEN_LIVE, /* a writing one on a live node */
	TP_DO_CREATE_LIVE,
	TP_DO_CREATE_DRAFT,
	TP_DO_DRAFT_OVER, /* a draft over what is published, empty or a copy by O_TRUNC */
	TP_DO_OPERATION	  /* what the kind of the operation says */
};

#define TP_ANSWERS_MAX 4

struct tp_plan {
	int answers[TP_ANSWERS_MAX]; /* 0 stands for any success */
	unsigned answers_count;
	bool any;	       /* whatever it answers is right */
	enum tp_action action; /* on success */
	struct tp_dir *dir, *dir_b;
	struct tp_entry *entry, *entry_b; /* NULL: the name is nobody's */
	struct tp_node *node;
	char name[24], name_b[24];
};

struct tp_model {
	enum tp_step step;
	bool no_values; /* the file system has no attributes of users: those operations are left out */
	struct tp_dir root;
	struct tp_dir *dirs;
	struct tp_node *nodes;
	struct tp_file *files;
	struct tp_open fds[TP_WORKERS][TP_SLOTS];
	struct tp_open maps[TP_WORKERS][TP_SLOTS];
	unsigned process[TP_WORKERS]; /* number of the process that is now in this place */
	unsigned processes;	      /* numbers given */
	/* Looks at a name as somebody who never wrote: -ENOENT, or 0 and its bytes. */
	int (*observe)(const char *path, struct tp_body *ret, void *user);
	void *user;
	char wrong[512]; /* what does not fit; empty: all is well */
};

void tp_model_init(struct tp_model *m, enum tp_step step);
void tp_model_fini(struct tp_model *m);

/* false: it is not to be done now (its effect is open, or it needs what is not there). */
bool tp_model_plan(struct tp_model *m, const struct tp_op *op, struct tp_plan *ret);
/* r: what was answered; started_ns: the wall clock before it began. Fills m->wrong when what is found contradicts the text. */
void tp_model_commit(
	struct tp_model *m, const struct tp_op *op, const struct tp_plan *plan, int r, int64_t started_ns);

/* What a worker sees under a name. worker TP_WORKERS is the driver. */
enum tp_sight { TP_SEES_NOTHING, TP_SEES_DIR, TP_SEES_NODE, TP_SEES_FOG };
enum tp_sight tp_model_see(
	const struct tp_model *m, unsigned worker, const struct tp_entry *entry, struct tp_node **ret);
/*
 * The directory that the last part of path is in, that part, and the entry (NULL when the name is nobody's). -ENOENT, -ENOTDIR as the kernel
 * says it, -EAGAIN: a part on the way is in a fog.
 */
int tp_model_walk(struct tp_model *m, unsigned worker, const char *path, struct tp_dir **ret_dir,
	struct tp_entry **ret_entry, const char **ret_name);
void tp_model_path(const struct tp_model *m, const struct tp_dir *dir, const struct tp_entry *entry,
	char *buf, size_t len);

bool tp_name_is_temporary(const char *name);

/* Kept by the parts of the model among themselves. */
struct tp_entry *tp_dir_find(struct tp_dir *dir, const char *name);
struct tp_entry *tp_dir_add(struct tp_dir *dir, const char *name);
struct tp_dir *tp_dir_new(struct tp_model *m, struct tp_dir *parent);
struct tp_node *tp_node_new(struct tp_model *m, struct tp_file *file, enum tp_node_kind kind);
struct tp_file *tp_file_new(struct tp_model *m);
void tp_entry_clear(struct tp_entry *e);
bool tp_dir_shows_any(const struct tp_model *m, unsigned worker, const struct tp_dir *dir, bool *ret_fog);
void tp_node_kill_draft(struct tp_node *n, bool displaced, bool surely);
void tp_file_kill_drafts(struct tp_file *f, bool displaced, bool surely);
bool tp_file_is_quiet(const struct tp_file *f);
void tp_node_loosen_readers(struct tp_model *m, struct tp_node *n);
void tp_node_written(struct tp_node *n, unsigned process, int64_t now_ns);
void tp_node_drop_open(struct tp_model *m, struct tp_open *o);
void tp_model_settle(struct tp_model *m);
void tp_model_process_ends(struct tp_model *m, unsigned worker, bool killed, int status);
void tp_attrs_new(struct tp_attrs *a, mode_t mode, int64_t now_ns);
void tp_entry_fog(struct tp_entry *e, struct tp_node *node, const struct tp_node *old, bool surely);
/* Has somebody a mapping of n that can be written? */
bool tp_node_is_mapped(const struct tp_model *m, const struct tp_node *n);
static inline bool tp_processes_has(const struct tp_processes *p, unsigned n)
{
	return p->bits[n / 64] >> (n % 64) & 1;
}
static inline void tp_processes_add(struct tp_processes *p, unsigned n)
{
	p->bits[n / 64] |= 1ull << (n % 64);
}
