/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tree is made of: objects, their names, their generations and what is being written of them.
 *
 *	name ---> object ---> gen (current, visible)          a regular file
 *	  |          |------> draft -> gen, draft -> gen ...  what is being written, newest first
 *	  v          '------> dir | target | rdev             all other types
 *	parent object
 *
 * An object is an identity: inode number, mode, owner, times, attributes, locks; it survives overwriting. A generation is the content that the object had
 * at one time; each has a node of its own towards the kernel, since the page cache belongs to the node. Objects that are not regular files are nodes themselves.
 *
 * States of a generation:
 *
 *	RESERVED -> DRAFT -> PUBLISHED <-> LIVE      RESERVED: promised to an opener, no content yet
 *	    |         |          |          |        DRAFT: written, hidden   LIVE: visible and written
 *	    '---------'----------'----------'-> OLD -> GONE
 *
 * OLD: superseded or without a name; keeps its content while it is open, or (superseded only) while the kernel may still be about to open it. GONE: no content, waits for
 * the kernel to forget the node; then it is freed. The current generation of an object is PUBLISHED or LIVE.
 *
 * Locks, in this order:
 *	tree.lock	names, objects, states and counts of generations, drafts, heat
 *	map lock	(one of tp_tree.map_locks, by node) map and size of a generation; written by who has the generation open, so that
 *			reading and writing do not take tree.lock exclusively
 *	the pool's, the ledger's, the events', the evictor's, the tree's for retries and for what is pending, and that of the known processes
 *
 * tree.record_lock comes before all of them.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "store/deadline.h"
#include "store/heat.h"
#include "store/list.h"
#include "store/lock.h"
#include "store/map.h"
#include "store/policy.h"
#include "store/process.h"
#include "store/table.h"

struct tp_tree;
struct tp_object;
struct tp_gen;

enum tp_node_kind { TP_NODE_OBJECT = 1, TP_NODE_GEN = 2 };

/* What the kernel knows by number. */
struct tp_node {
	struct tp_link link; /* in tree.nodes, by id */
	uint64_t id;
	_Atomic uint64_t
		kind_and_lookups; /* kind in the top byte; below it the references that the kernel holds */
};

#define TP_NODE_LOOKUPS_MASK ((UINT64_C(1) << 56) - 1)

static inline enum tp_node_kind tp_node_kind(const struct tp_node *n)
{
	return (enum tp_node_kind)(atomic_load_explicit(&n->kind_and_lookups, memory_order_relaxed) >> 56);
}

static inline uint64_t tp_node_lookups(const struct tp_node *n)
{
	return atomic_load_explicit(&n->kind_and_lookups, memory_order_relaxed) & TP_NODE_LOOKUPS_MASK;
}

struct tp_name {
	struct tp_link link; /* in tree.names, by parent and bytes */
	struct tp_object *parent;
	struct tp_object *object;
	struct tp_name *next_of_object;
	uint64_t cookie : 56; /* place in the directory; grows with each name */
	uint64_t len : 8;
	char bytes[]; /* len of them, no terminator */
};

/* What only directories have. */
struct tp_dir {
	uintptr_t
		*slots; /* names by cookie: a struct tp_name *, or (cookie << 1 | 1) where one was removed */
	uint32_t slots_used, slots_max;
	uint32_t names; /* in slots */
	uint32_t subdirs;
	uint64_t next_cookie;
	_Atomic uint64_t bytes_below;  /* pool bytes of all regular objects below, for quota */
	_Atomic uint64_t hits, misses; /* of everything below; kept for the first directories of cache/ */
	uint32_t hidden;	       /* names of which only their writers know */
	struct tp_list dirty;	       /* in tree.dirty */
	struct tp_list limited;	       /* in tree.limited */
	struct tp_list ruled;	       /* in tree.ruled */
	uint64_t ruled_from; /* and of its names those behind this cookie are still to be looked at */
	struct tp_object *self;
};

/* A user.* attribute. */
struct tp_xattr {
	struct tp_xattr *next;
	uint32_t value_len;
	uint8_t name_len;
	char bytes[]; /* name, then value */
};

/* Bytes that writes failed to write, and that no other has written since. */
struct tp_missing {
	uint64_t from, to; /* from == to: none */
	int error;	   /* of the last write that failed, a negative errno */
};

/* What few objects have. */
struct tp_extra {
	struct tp_xattr *xattrs;
	struct tp_policy policy;
	uint64_t quota_rest_ns; /* monotonic: nothing below it could go, and the evictor looks again then */
	unsigned quota_rests;	/* how often in a row: each rest is longer than the one before */
	struct tp_locks locks;
	struct tp_missing missing; /* under its temporary name, while nobody writes it */
};

/*
 * There are many of these: what only regular files have lies where the others have what they alone need.
 *
 * A regular file is no node, its generations are; but its number is where a node's is, since it is the inode number of all.
 */
struct tp_object {
	union {
		struct tp_node node;
		struct {
			struct tp_gen *gen; /* regular: the current generation, or NULL */
			uint64_t regular_id;
			struct tp_draft *drafts; /* regular: newest first */
		};
	};
	uint16_t mode;
	bool recorded : 1; /* the ledger has it */
	bool sample : 1;   /* lies in a stream: never evicted */
	bool unnamed : 1;  /* from O_TMPFILE, and without a name so far */
	uint32_t uid, gid, nlink;
	_Atomic uint64_t ctime_ns; /* writes move it without tree.lock */
	uint64_t atime_ns;
	struct tp_name *names;	/* the first decides which policy holds */
	struct tp_extra *extra; /* or NULL */
	union {
		struct {
			_Atomic uint64_t
				charged; /* regular: pool bytes that its directories' bytes_below count for it */
			uint32_t gens; /* regular: generations that point here, all states */
		};
		struct {
			union {
				struct tp_dir *dir;
				char *target; /* symbolic link */
				uint64_t rdev;
			};
			uint64_t mtime_ns; /* a regular file's is its generation's */
		};
	};
};

_Static_assert(offsetof(struct tp_object, regular_id) == offsetof(struct tp_object, node.id),
	"the number is in the same place");

enum tp_gen_state { TP_GEN_RESERVED, TP_GEN_DRAFT, TP_GEN_LIVE, TP_GEN_PUBLISHED, TP_GEN_OLD, TP_GEN_GONE };

struct tp_gen {
	struct tp_node node;
	struct tp_object *object;
	struct tp_map map; /* map lock */
	uint64_t size;	   /* map lock */
	uint64_t mtime_ns;
	uint64_t number;	/* the generation's number; 0 until it is published */
	uint32_t opens;		/* handles */
	uint32_t direct_opens;	/* of them, those that bypass the page cache */
	uint32_t busy;		/* somebody looks at the content without a handle: it must stay */
	uint32_t published_s;	/* wall time, rounded up; what times to live count from */
	struct tp_draft *draft; /* what is known of the writers; NULL when nobody writes */
	struct tp_heat_entry heat;
	struct tp_deadline
		expiry; /* in tree.expiries; there may still be one when it is not PUBLISHED any more */
	uint8_t state;	/* enum tp_gen_state */
	bool drop_cache; /* was written past the page cache: cached opens must not keep pages until they are new */
	bool mtime_set;	     /* by utimens, after the last write() */
	bool superseded : 1; /* OLD because a newer one was published, or another file took its name */
	bool idle : 1;	     /* counted in tree.idle_bytes */
	bool pinned : 1;     /* and in tree.idle_pinned_bytes; only while it is idle */
};

/* A process that wrote, or opened for writing. */
struct tp_writer {
	struct tp_process process;
	enum tp_end end; /* as the last FLUSH told; RUNS when none told anything bad */
};

/* A process that sees a draft by path. */
struct tp_viewer {
	pid_t tgid;
	uint32_t opens; /* its handles for writing */
	bool joined;	/* it did not begin the draft: it sees it while it has it open */
};

/* A generation that is being written: who does, and what is known of how it goes. */
struct tp_draft {
	struct tp_draft *next; /* of the object, newest first; only RESERVED and DRAFT ones are there */
	struct tp_gen *gen;
	struct tp_viewer *viewers;
	uint32_t viewers_count;
	uint32_t writers_count;
	struct tp_writer *writers;
	_Atomic pid_t last_tid;	 /* the thread that wrote last: known to be among the writers */
	uint32_t write_opens;	 /* handles open for writing */
	uint32_t opened;	 /* how often it was opened; wraps */
	struct tp_list writing;	 /* in tree.writing: all drafts */
	struct tp_list awaiting; /* in tree.awaiting: an opener may still come */
	uint32_t awaited; /* openers that were sent to this draft and may still come: not published before */
	uint64_t awaited_until_ns; /* monotonic: or until then */
	uint64_t started_ns;	   /* monotonic */
	struct tp_missing missing; /* map lock */
	uint64_t
		uncharged_bytes; /* that it started from and shares with what is published: charged when it ends */
	_Atomic bool synced; /* fsync was answered */
	_Atomic bool mapped; /* pages written by a mapping came in */
	_Atomic bool
		closing; /* flushed after its last write(): a RELEASE may be on its way; counted in tree.closing */
	bool appended;	       /* opened with O_APPEND: visible, whatever its name */
	bool opened_for_write; /* by anybody, ever */
	bool unlinked;	       /* its name was removed: never published */
	bool beaten;	       /* its name was taken by mkdir or rename: close says EEXIST */
	bool unseen_writer;    /* a writer that the daemon cannot see */
	bool to_come;	       /* stands for an opener that cannot be seen, and was sent to look again */
};

/* Objects */
struct tp_object *tp_object_new(uint64_t ino, uint32_t mode, uint32_t uid, uint32_t gid, uint64_t now_ns);
/* Frees it and all that only it has; it has no generations, names or drafts any more. */
void tp_object_free(struct tp_object *o);
/* The extra part, made when missing; NULL when the heap is exhausted. */
struct tp_extra *tp_object_extra(struct tp_object *o);

/* What a write, a truncation or a chown by who is not privileged does to setuid and setgid. */
void tp_object_kill_suid(struct tp_object *o);

/* What o takes of the daemon's memory for its attributes and for a link's text. */
size_t tp_object_extra_bytes(const struct tp_object *o);

/* user.* bytes that one object may have in all, names and values. */
#define TP_XATTR_BYTES_MAX 4096u
/* user.* attributes; name with its prefix. -ENODATA, -EEXIST, -ENOMEM, -ENOSPC beyond 4 KiB in all, -ERANGE as getxattr(2). flags as setxattr(2). */
int tp_object_set_xattr(struct tp_object *o, const char *name, const void *value, size_t len, int flags);
ssize_t tp_object_get_xattr(const struct tp_object *o, const char *name, void *buf, size_t len);
ssize_t tp_object_list_xattr(const struct tp_object *o, char *buf, size_t len);
int tp_object_remove_xattr(struct tp_object *o, const char *name);

/* The directory that it lies in by its first name, or NULL. */
static inline struct tp_object *tp_object_parent(const struct tp_object *o)
{
	return o->names ? o->names->parent : NULL;
}

/* Names in a directory */
/* Makes sure that `more` names can be appended. -ENOMEM. */
int tp_dir_reserve(struct tp_dir *d, uint32_t more);
/* Puts n (its parent and bytes set) at the end of its parent. -ENOMEM: never when there is a place for it. */
int tp_dir_append(struct tp_dir *d, struct tp_name *n);
/* n gets a new cookie behind all others; when the heap is exhausted it keeps its place. */
void tp_dir_move_to_end(struct tp_dir *d, struct tp_name *n);
void tp_dir_remove(struct tp_dir *d, struct tp_name *n);
/* The first name whose cookie is above `after`, or NULL. */
struct tp_name *tp_dir_next(const struct tp_dir *d, uint64_t after);

/* Drafts */
struct tp_draft *tp_draft_new(struct tp_gen *g, uint64_t now_ns);
void tp_draft_free(struct tp_draft *d);
/* tgid 0, whoever cannot be seen, may be anybody: it never is a viewer. */
bool tp_draft_seen_by(const struct tp_draft *d, pid_t tgid);
/* joined: only while it has the draft open. -ENOMEM. */
int tp_draft_add_viewer(struct tp_draft *d, pid_t tgid, bool joined);
/* A viewer's handle for writing was opened, closed, or could not be opened: who had joined and has none sees the draft no more. */
void tp_draft_viewer_opened(struct tp_draft *d, pid_t tgid);
void tp_draft_viewer_closed(struct tp_draft *d, pid_t tgid);
void tp_draft_viewer_failed(struct tp_draft *d, pid_t tgid);
/* Notes that thread tid of process tgid (0: cannot be seen) writes. -ENOMEM. */
int tp_draft_add_writer(struct tp_draft *d, pid_t tid, pid_t tgid);
/* Notes what a FLUSH by tgid showed. */
void tp_draft_note_end(struct tp_draft *d, pid_t tgid, enum tp_end end);

/* A write of [from, to) failed. */
void tp_missing_add(struct tp_missing *m, uint64_t from, uint64_t to, int error);
/* [from, to) was written, or cut off (to = UINT64_MAX). */
void tp_missing_cover(struct tp_missing *m, uint64_t from, uint64_t to);

static inline bool tp_missing_any(const struct tp_missing *m)
{
	return m->from != m->to;
}
