/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree of names: directories, what is in them, and who sees what.
 *
 * All functions may be called from any thread. None waits for room or for the kernel to be told; only what changes directories, links or their attributes, or needs a number when
 * none are left, may be held up by STATE's disk. Nodes are what the kernel knows by number: each node
 * that a struct tp_entry hands out counts one reference of the kernel's, given back by tp_tree_forget().
 *
 * What changed in directories, links and attributes is put into the ledger's journal before a function returns (tp_tree_record()), in the order of the changes. Room for
 * it is taken before the change begins (TP_TREE_ROOM), so that a function that fails for want of room has changed nothing; only a STATE that fails, or whose file system cannot
 * allocate ahead, gives an error for what is done and stays in memory.
 *
 * Errors are those of the system call that a function is named after. Beyond them: -ESTALE asks the kernel to look the name up again, which it does once per call.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "store/cleanup.h"
#include "store/evict.h"
#include "store/heat.h"
#include "store/object.h"
#include "store/store.h"
#include "store/table.h"

/* Nodes with fixed numbers. The control files of .tidepool have numbers from TP_NODE_CONTROL_FIRST on; everything else is above TP_NODE_DYNAMIC_FIRST. */
#define TP_NODE_ROOT 1
#define TP_NODE_CACHE 2
#define TP_NODE_SAMPLES 3
#define TP_NODE_CONTROL 4
#define TP_NODE_CONTROL_FIRST 16
#define TP_NODE_DYNAMIC_FIRST 1024

/* Who asks. */
struct tp_who {
	uint32_t uid, gid;
	pid_t tid;  /* 0: cannot be seen */
	pid_t tgid; /* 0: cannot be seen, or not asked for yet: tp_who_tgid() */
};

/* The process that asks; looked up at the first call. */
pid_t tp_who_tgid(struct tp_who *who);
/* Is it root, or who runs the daemon? */
bool tp_who_administers(const struct tp_who *who);

struct tp_attr {
	uint64_t ino, size, blocks;
	uint64_t atime_ns, mtime_ns, ctime_ns;
	uint32_t mode, nlink, uid, gid;
	uint64_t rdev;
};

struct tp_entry {
	uint64_t node;
	struct tp_attr attr;
	bool fleeting; /* the name may mean something else for another process or soon: not to be cached */
	bool changing; /* the attributes change without the kernel knowing: not to be cached */
};

struct tp_setattr {
	bool set_mode, set_uid, set_gid, set_size, set_atime, set_mtime, set_ctime;
	bool kill_suid; /* truncate and chown by who is not privileged clear setuid and setgid */
	uint32_t mode, uid, gid;
	uint64_t size, atime_ns, mtime_ns, ctime_ns;
};

/* What an open of a regular file gave. */
struct tp_opened {
	struct tp_gen *gen; /* valid until tp_file_release() */
	pid_t tgid;	    /* who opened it, when it is open for writing */
	bool write;
	bool mappable;	     /* open for reading and writing */
	pid_t flushed_by;    /* the process that closed a descriptor of it last */
	uint64_t flushed_ns; /* when; monotonic */
	bool quiet;	     /* closing it tells nothing of how a draft goes */
	bool direct;	     /* bypass the page cache */
	bool keep_cache;
};

/* How the frontend tells the kernel. Called with the tree's lock held: they queue and return. All optional. */
struct tp_tree_hooks {
	void (*name_changed)(void *user, uint64_t parent_node, const char *name, size_t len);
	void (*node_changed)(void *user, uint64_t node, int64_t off, int64_t len);
	/* done(arg) is called, from another thread, when all that was told before has reached the kernel. -ENOMEM: it is not. */
	int (*then)(void *user, void (*done)(void *arg), void *arg);
	void *user;
};

#define TP_MAP_LOCKS 64
#define TP_NAME_BYTES UINT64_C(512)
#define TP_RETRIES 64

struct tp_tree {
	struct tp_store *store;
	pthread_rwlock_t lock; /* see object.h */
	struct tp_table nodes; /* lock */
	struct tp_table names; /* lock */
	struct tp_object *root, *cache, *samples;
	struct tp_heat *heat;	      /* lock, exclusively */
	struct tp_deadlines expiries; /* generations whose times to live run out, by wall time in ns; lock */
	struct tp_tree_hooks hooks;
	struct tp_list limited; /* directories with a quota; lock */
	struct tp_list
		ruled; /* directories for which other rules hold than what is in them has heard of; lock */
	_Atomic uint64_t quotas;       /* how many they are */
	uint64_t objects;	       /* regular files with a name; lock */
	uint64_t directories, others;  /* lock */
	uint64_t drafts;	       /* lock */
	_Atomic uint64_t names_bytes;  /* see tp_tree_may_name(); changed with lock held exclusively */
	_Atomic bool names_stuck;      /* the evictor found none that may go, and rests */
	_Atomic uint64_t closing;      /* drafts, visible ones too, of which a RELEASE may be on its way */
	uint64_t number;	       /* the last given out where there is no ledger */
	_Atomic uint64_t unknown_ends; /* drafts published though how a writer ended is not known */

	/* Superseded generations that are not open but that the kernel may be about to open, by their heat.link: oldest first. lock */
	struct tp_list old;
	_Atomic uint64_t old_bytes;
	uint64_t idle_bytes; /* lock: of what lies in the order of eviction and is neither open nor busy */
	uint64_t idle_pinned_bytes; /* lock: of them, pinned */
	uint64_t idle_spare;	    /* lock: how many of them are not pinned */
	/* Threads that were told ESTALE once and must be served next time. retries_lock. */
	struct {
		pid_t tid;
		int flags;	   /* of the open */
		uint64_t until_ns; /* monotonic */
		uint64_t found;	   /* the node that its last look-up gave; 0: none yet */
		uint64_t awaited;  /* the node of the draft that waits for it; 0: none */
	} retries[TP_RETRIES];
	_Atomic uint64_t retries_until_ns; /* the last of them is good until then; read without the lock */
	unsigned retries_next;
	pthread_mutex_t retries_lock;

	/* Changes on their way to the ledger, in order: appended under lock, taken out under record_lock, which comes before lock. */
	pthread_mutex_t record_lock;
	struct tp_ledger_batch
		*unwritten; /* record_lock: for which there was no room in the journal; comes first */
	pthread_mutex_t pending_lock;
	struct tp_ledger_batch *pending; /* pending_lock */
	_Atomic bool pending_any;
	struct tp_list writing;	 /* all drafts, by their writing link. lock */
	struct tp_list awaiting; /* drafts, by their awaiting link. lock */
	struct tp_list dirty;	 /* directories whose times changed: recorded within a second. lock */

	pthread_rwlock_t map_locks[TP_MAP_LOCKS];
};

static inline pthread_rwlock_t *tp_tree_map_lock(struct tp_tree *t, const struct tp_gen *g)
{
	return &t->map_locks[g->node.id % TP_MAP_LOCKS];
}

/* Drops the lock of TP_TREE_WRLOCK. */
static inline void tp_tree_drop_lock(struct tp_tree **t)
{
	int r = pthread_rwlock_unlock(&(*t)->lock);

	assert(r == 0);
	(void)r;
	tp_events_flush((*t)->store->events);
}

static inline struct tp_tree *tp_tree_hold_lock(struct tp_tree *t)
{
	(void)tp_rwlock_hold_write(&t->lock);
	return t;
}

/*
 * t->lock, exclusively, for the rest of the block, for what may say an event: it is written when the lock has been dropped. No other lock is held.
 */
#define TP_TREE_WRLOCK(t)                                                                                    \
	__attribute__((cleanup(tp_tree_drop_lock), unused)) struct tp_tree *TP_CAT(tp_held_, __LINE__) =     \
		tp_tree_hold_lock(t)

int tp_tree_new(struct tp_store *s, struct tp_err *err, struct tp_tree **ret);
void tp_tree_free(struct tp_tree *t);
/* Fills the tree from the ledger: directories, links and special files. */
int tp_tree_load(struct tp_tree *t, struct tp_err *err);
/* Set once, before the first operation. */
void tp_tree_set_hooks(struct tp_tree *t, const struct tp_tree_hooks *hooks);

int tp_tree_lookup(
	struct tp_tree *t, struct tp_who *who, uint64_t parent, const char *name, struct tp_entry *ret);
void tp_tree_forget(struct tp_tree *t, uint64_t node, uint64_t lookups);
/* open: the file through which it is asked, or NULL. */
int tp_tree_getattr(
	struct tp_tree *t, struct tp_who *who, uint64_t node, struct tp_gen *open, struct tp_entry *ret);
int tp_tree_setattr(struct tp_tree *t, struct tp_who *who, uint64_t node, struct tp_gen *open,
	const struct tp_setattr *set, struct tp_entry *ret);

/* mkdir, mknod and symlink in one: mode has the type; target: of a symbolic link; rdev: of a device. Regular files made by mknod are complete at once. */
int tp_tree_make(struct tp_tree *t, struct tp_who *who, uint64_t parent, const char *name, uint32_t mode,
	uint64_t rdev, const char *target, struct tp_entry *ret);
/* open with O_CREAT of a name that the kernel did not know. Never -ESTALE. */
int tp_tree_create(struct tp_tree *t, struct tp_who *who, uint64_t parent, const char *name, uint32_t mode,
	int flags, struct tp_entry *ret, struct tp_opened *ret_opened);
int tp_tree_open(struct tp_tree *t, struct tp_who *who, uint64_t node, int flags, struct tp_opened *ret);
/* O_TMPFILE. */
int tp_tree_tmpfile(struct tp_tree *t, struct tp_who *who, uint64_t parent, uint32_t mode, int flags,
	struct tp_entry *ret, struct tp_opened *ret_opened);
int tp_tree_link(struct tp_tree *t, struct tp_who *who, uint64_t node, uint64_t parent, const char *name,
	struct tp_entry *ret);
int tp_tree_unlink(struct tp_tree *t, struct tp_who *who, uint64_t parent, const char *name);
int tp_tree_rmdir(struct tp_tree *t, struct tp_who *who, uint64_t parent, const char *name);
/* flags: RENAME_NOREPLACE, RENAME_EXCHANGE. */
int tp_tree_rename(struct tp_tree *t, struct tp_who *who, uint64_t from_parent, const char *from,
	uint64_t to_parent, const char *to, unsigned flags);
/* The text into buf (PATH_MAX), its length. */
ssize_t tp_tree_readlink(struct tp_tree *t, uint64_t node, char *buf, size_t len);

/* Is it a directory that can be opened? */
int tp_tree_opendir(struct tp_tree *t, uint64_t node);
/*
 * Calls each for the names after cookie (0: from the start), in order, until it returns false. entry->node is 0 and counts nothing when take is false; else it counts a reference when each returned true. "." and ".." come first.
 */
int tp_tree_readdir(struct tp_tree *t, struct tp_who *who, uint64_t node, uint64_t cookie, bool take,
	bool (*each)(
		const char *name, size_t len, uint64_t next_cookie, const struct tp_entry *entry, void *user),
	void *user);
/* All changes of directories so far are on stable storage when it returns: waits for a flush. */
int tp_tree_sync(struct tp_tree *t);

int tp_tree_set_xattr(struct tp_tree *t, struct tp_who *who, uint64_t node, const char *name,
	const void *value, size_t len, int flags);
ssize_t tp_tree_get_xattr(
	struct tp_tree *t, struct tp_who *who, uint64_t node, const char *name, void *buf, size_t len);
ssize_t tp_tree_list_xattr(struct tp_tree *t, struct tp_who *who, uint64_t node, char *buf, size_t len);
int tp_tree_remove_xattr(struct tp_tree *t, struct tp_who *who, uint64_t node, const char *name);

struct tp_tree_counts {
	uint64_t objects, directories, others, drafts;
	uint64_t names;	      /* as tp_tree_may_name() counts them */
	uint64_t names_spare; /* of objects that could be evicted */
};

void tp_tree_count(struct tp_tree *t, struct tp_tree_counts *ret);
/* The path of a node below the mount point, "?" when it has no name. Always terminated; returns buf. */
const char *tp_tree_path(struct tp_tree *t, uint64_t node, char *buf, size_t len);
/*
 * Resolves a path below the mount point. Counts no reference. -ENOENT, -ENOTDIR, -EACCES: who may not search a directory on the way; of a group that is not its first
 * nothing is known.
 */
int tp_tree_resolve(struct tp_tree *t, const struct tp_who *who, const char *path, struct tp_attr *ret,
	uint64_t *ret_node);

/* Does what is asked of node (and of name in it, unless NULL) depend on a file that somebody is closing? Then the RELEASEs that have come must be handled first. */
bool tp_tree_is_closing(struct tp_tree *t, uint64_t node, const char *name);

/*
 * Below: for the parts of the store, with t->lock held (exclusively unless it says shared).
 */
struct tp_node *tp_tree_node(struct tp_tree *t, uint64_t id); /* shared */
struct tp_object *tp_tree_object_of(struct tp_node *n);	      /* shared */
struct tp_name *tp_tree_find(
	struct tp_tree *t, const struct tp_object *parent, const char *name, size_t len); /* shared */
/* Takes name n away and tells the kernel if tell; drops what only the name kept. */
void tp_tree_drop_name(struct tp_tree *t, struct tp_name *n, bool tell);
/* Takes all names of a regular file away and frees its content: eviction, ttl. While drafts of it are being written, it is only hidden. */
void tp_tree_drop_object(struct tp_tree *t, struct tp_object *o);
/* Frees what nothing refers to any more. */
void tp_tree_settle_gen(struct tp_tree *t, struct tp_gen *g);
void tp_tree_settle_object(struct tp_tree *t, struct tp_object *o);
/* Tells the kernel that the object's names, or its attributes, changed. */
void tp_tree_tell_names(struct tp_tree *t, struct tp_object *o);
void tp_tree_tell_node(struct tp_tree *t, uint64_t node);
/* The rules in force. shared. */
enum tp_commit tp_tree_commit_of(struct tp_tree *t, const struct tp_object *parent);
bool tp_tree_pinned(struct tp_tree *t, const struct tp_object *o);
uint64_t tp_tree_ttl_of(struct tp_tree *t, const struct tp_object *o);
/*
 * What is inherited may be another from now on: objects in and below top get what follows from it, when they are due and what counts as available. Where there are many the
 * evictor goes on, by tp_tree_rules_look(). What may be evicted is another at once.
 */
void tp_tree_rules_changed(struct tp_tree *t, struct tp_object *top);
/* So many names hear of it while the lock is held: some milliseconds. */
#define TP_RULES_AT_ONCE 1024
/* Looks at as many more. False: that was all. */
bool tp_tree_rules_look(struct tp_tree *t);
uint16_t tp_tree_depth_of(struct tp_tree *t, const struct tp_object *o);
bool tp_tree_in_samples(struct tp_tree *t, const struct tp_object *o);
bool tp_tree_is_stream(struct tp_tree *t, const struct tp_object *dir);
/* Counts that o's content takes delta bytes more, in all directories above it. shared is enough. */
void tp_tree_charge(struct tp_tree *t, struct tp_object *o, int64_t delta_bytes);
/*
 * Room in the journal for one change, of any kind, taken for the rest of the block; it lasts until what the change noted was recorded. Without the lock. spare: the change
 * must go on while STATE's disk is full.
 *
 * Taking it does not wait for the disk, since most changes are of regular files and need none. Where one does, and only the disk can tell whether there is any, tp_tree_may_note()
 * says -EAGAIN; with the lock dropped tp_tree_wait_for_room() asks the disk, and the change is begun anew. TP_TREE_CHANGE does that.
 */
struct tp_tree_room {
	struct tp_tree *tree;
	int error; /* why there is none; -EAGAIN: not asked for yet */
	bool spare;
	bool noted; /* there is something to record */
};
struct tp_tree_room tp_tree_take_room(struct tp_tree *t, bool spare);
void tp_tree_give_room(struct tp_tree_room *room);
/* True: it waited, and the change is to be tried again. */
bool tp_tree_wait_for_room(struct tp_tree_room *room);
/* Without the lock: brings what the change noted into the journal, if it noted anything. 0 or what the ledger said. */
int tp_tree_record_change(struct tp_tree *t, const struct tp_tree_room *room);
/* What `call` returns, which changes something with `room` and with the lock held exclusively. */
#define TP_TREE_CHANGE(room, call)                                                                           \
	({                                                                                                   \
		int tp_changed;                                                                              \
		do {                                                                                         \
			TP_TREE_WRLOCK((room).tree);                                                         \
			tp_changed = (call);                                                                 \
		} while (tp_changed == -EAGAIN && tp_tree_wait_for_room(&(room)));                           \
		tp_changed;                                                                                  \
	})
#define TP_TREE_ROOM(name, t, spare)                                                                         \
	__attribute__((cleanup(tp_tree_give_room))) struct tp_tree_room name = tp_tree_take_room(t, spare)
/*
 * May a change of something with this mode be noted? Asked last before it begins: 0, and noting it cannot fail; -ENOMEM, -ENOSPC, -EROFS. Regular files are not noted: always
 * 0. The room lasts for two objects and six names.
 */
int tp_tree_may_note(struct tp_tree *t, struct tp_tree_room *room, uint32_t mode);
/* Puts what is recorded of o (and of its name n, when not NULL; removed when gone) on its way to the ledger. */
void tp_tree_note_object(struct tp_tree *t, struct tp_object *o);
void tp_tree_note_name(struct tp_tree *t, struct tp_name *n, bool gone);
void tp_tree_note_gone(struct tp_tree *t, struct tp_object *o);
void tp_tree_note_dirty(struct tp_tree *t, struct tp_object *dir);
void tp_tree_attr(struct tp_tree *t, const struct tp_object *o, const struct tp_gen *g,
	struct tp_attr *ret);							/* shared */
void tp_tree_entry(struct tp_tree *t, struct tp_node *n, struct tp_entry *ret); /* shared */
/* One more reference of the kernel's. shared */
void tp_tree_take(struct tp_node *n);
/* A directory by its node. -ESTALE, -ENOTDIR, -ENOENT: it was removed. shared */
int tp_tree_dir(struct tp_tree *t, uint64_t node, struct tp_object **ret);
/* What who sees of o, or NULL. shared */
struct tp_node *tp_tree_view(struct tp_tree *t, struct tp_who *who, struct tp_object *o);
/* Is o a file that nobody but its writers sees? shared */
bool tp_tree_hidden(const struct tp_object *o);
/* Was who sent to look again, to open for writing? Without the lock. */
bool tp_tree_comes_to_write(struct tp_tree *t, const struct tp_who *who, int *ret_flags);
/* Then its look-up of n, in dir, finds a draft that it can open. */
void tp_tree_expect_writer(
	struct tp_tree *t, struct tp_who *who, struct tp_object *dir, struct tp_name *n, int flags);
/* Its look-up found nothing: what waits for it waits in vain. */
void tp_tree_expect_none(struct tp_tree *t, struct tp_who *who);
/* Counts a hit or a miss in dir. shared */
void tp_tree_count_use(struct tp_tree *t, struct tp_object *dir, bool hit);
/* Is it a temporary name in dir, also by dir's own glob? shared */
bool tp_tree_is_temporary(const struct tp_object *dir, const char *name, size_t len);
/* Does o lie in a stream under temporary names only, so that it is no sample yet? shared */
bool tp_tree_is_leftover(const struct tp_object *o);
/* dir has a quota from now on, or has none. */
void tp_tree_limit(struct tp_tree *t, struct tp_object *dir, bool limited);
/* The directory whose quota o would pass with more_bytes, or NULL. shared */
struct tp_object *tp_tree_over_quota(struct tp_tree *t, const struct tp_object *o, uint64_t more_bytes);
const char *tp_tree_path_locked(struct tp_tree *t, uint64_t node, char *buf, size_t len); /* shared */
/*
 * May there be one more name, or attributes, of so many bytes? A name counts for TP_NAME_BYTES, which is what it and its object take of the daemon's memory and a little
 * more, attributes and the texts of links for their own. -ENOSPC: there are options.names_max, and nothing that could be evicted makes room. shared
 */
int tp_tree_may_name(struct tp_tree *t, uint64_t bytes);
/* Makes a name of o in dir, at the end. -ENOMEM. ret may be NULL. */
int tp_tree_add_name(struct tp_tree *t, struct tp_object *dir, const char *name, size_t len,
	struct tp_object *o, struct tp_name **ret);
/* May a name like this be put into dir? -EPERM, -EINVAL, -ENAMETOOLONG. shared */
int tp_tree_allowed_name(struct tp_tree *t, const struct tp_object *dir, const char *name, uint32_t mode);
/* A new object as who would make it in dir; in no table yet. NULL: no memory or no number. */
struct tp_object *tp_tree_new_object(
	struct tp_tree *t, struct tp_who *who, const struct tp_object *dir, uint32_t mode);
/*
 * -ESTALE, which the kernel forgives once: who->tid is known for it, and for the flags of its open, until its next open or truncation. d, unless NULL, waits for it: it is not published for a
 * moment.
 */
int tp_tree_look_again(struct tp_tree *t, struct tp_who *who, int flags, struct tp_draft *d);
/*
 * Was who->tid sent to look again, and is node what it found? It is no more on its way. *ret_awaited: the draft that waits for it, 0: none; the caller, once it has opened what it
 * opens, says tp_gen_unawait().
 */
bool tp_tree_told_before(struct tp_tree *t, struct tp_who *who, uint64_t node, uint64_t *ret_awaited);
/* A look-up of who found node; UINT64_MAX: nothing. */
void tp_tree_note_found(struct tp_tree *t, struct tp_who *who, uint64_t node);
/* A number that was never used for a node, inode or generation. 0: the ledger gives none. */
uint64_t tp_tree_number(struct tp_tree *t);

/* Without the lock: brings what is on its way into the journal. 0 or what the ledger said. */
int tp_tree_record(struct tp_tree *t);
/* The same, with the directories whose times changed. -ENOMEM, -ENOSPC: some are left for the next time. */
int tp_tree_record_dirty(struct tp_tree *t);
