/* SPDX-License-Identifier: Apache-2.0 */
/*
 * That a commit does not sync (MDB_NOSYNC) or writes through the map (MDB_WRITEMAP) was left out: both give up the order in which LMDB's pages reach the disk.
 */
#include "store/db.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "store/cleanup.h"

/* Keys of META that are the ledger's own. */
#define KEY_VERSION "version"	    /* SCHEMA_VERSION */
#define KEY_UUID "uuid"		    /* 16 bytes */
#define KEY_GENERATION "generation" /* none above it was given out: what is reserved */
#define KEY_JOURNAL "journal"	    /* the highest sequence of the journal that is in LMDB */

#define SCHEMA_VERSION 1
#define MAP_BYTES_MIN (UINT64_C(64) << 20)
/* Bounds what LMDB holds in memory of one transaction. */
#define TXN_BYTES (UINT64_C(16) << 20)

static const char *const table_names[TP_LEDGER_TABLES] = {
	[TP_LEDGER_META] = "meta",
	[TP_LEDGER_NODES] = "nodes",
	[TP_LEDGER_NAMES] = "names",
};

static bool is_key(const void *key, size_t key_len, const char *name)
{
	return key_len == strlen(name) && memcmp(key, name, key_len) == 0;
}

bool tp_db_is_own_key(enum tp_ledger_table t, const void *key, size_t key_len)
{
	return t == TP_LEDGER_META &&
	       (is_key(key, key_len, KEY_VERSION) || is_key(key, key_len, KEY_UUID) ||
		       is_key(key, key_len, KEY_GENERATION) || is_key(key, key_len, KEY_JOURNAL));
}

/* LMDB's codes, once. A full map is -ENOBUFS and never leaves this file. */
static int from_mdb(int rc)
{
	switch (rc) {
	case MDB_MAP_FULL:
		return -ENOBUFS;
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_INVALID:
	case MDB_VERSION_MISMATCH:
	case MDB_INCOMPATIBLE:
		return -EBADMSG;
	default:
		return rc > 0 ? -rc : rc ? -EIO : 0;
	}
}

/* transactions */

struct commit {
	struct tp_db *db;
	MDB_txn *txn;	   /* NULL: none is open */
	uint64_t bytes;	   /* of the records in it */
	uint64_t sequence; /* of its last record */
	uint64_t records;  /* in it */
	uint64_t committed_records;
};

static int meta_put(struct tp_db *db, MDB_txn *txn, const char *key, const void *value, size_t value_len)
{
	MDB_val k = {strlen(key), (void *)key}, v = {value_len, (void *)value};

	return from_mdb(mdb_put(txn, db->dbi[TP_LEDGER_META], &k, &v, 0));
}

static int meta_put_number(struct tp_db *db, MDB_txn *txn, const char *key, uint64_t number)
{
	uint64_t v = htole64(number);

	return meta_put(db, txn, key, &v, sizeof(v));
}

/* -ENOENT: it is not there. -EBADMSG: it has another length. */
static int meta_get(struct tp_db *db, MDB_txn *txn, const char *key, void *buf, size_t len)
{
	MDB_val k = {strlen(key), (void *)key}, v;
	int rc = mdb_get(txn, db->dbi[TP_LEDGER_META], &k, &v);

	if (rc == MDB_NOTFOUND)
		return -ENOENT;
	if (rc)
		return from_mdb(rc);
	if (v.mv_size != len)
		return -EBADMSG;
	memcpy(buf, v.mv_data, len);
	return 0;
}

static int meta_get_number(struct tp_db *db, MDB_txn *txn, const char *key, uint64_t *ret)
{
	uint64_t v;
	int r = meta_get(db, txn, key, &v, sizeof(v));

	if (r < 0)
		return r;
	*ret = le64toh(v);
	return 0;
}

static int commit_begin(struct commit *c)
{
	return c->txn ? 0 : from_mdb(mdb_txn_begin(c->db->env, NULL, 0, &c->txn));
}

static void commit_abort(struct commit *c)
{
	if (c->txn)
		mdb_txn_abort(tp_steal_ptr(c->txn));
}

/* Commits what is open, if anything is. */
static int commit_end(struct commit *c)
{
	int r;

	if (!c->txn)
		return 0;
	if (c->sequence > c->db->stored) {
		r = meta_put_number(c->db, c->txn, KEY_JOURNAL, c->sequence);
		if (r < 0) {
			commit_abort(c);
			return r;
		}
	}
	r = from_mdb(mdb_txn_commit(tp_steal_ptr(c->txn)));
	if (r < 0)
		return r;
	if (c->sequence > c->db->stored)
		c->db->stored = c->sequence;
	c->committed_records += c->records;
	c->records = c->bytes = 0;
	return 0;
}

/* A tp_journal_each: takes one record into the transaction. */
static int commit_record(struct tp_journal_view *view, void *user)
{
	struct commit *c = user;
	struct tp_journal_entry e;
	int r, rc;

	r = commit_begin(c);
	if (r < 0)
		return r;
	c->sequence = view->sequence;
	c->bytes += view->len;
	c->records++;
	while (tp_journal_view_next(view, &e)) {
		MDB_val k = {e.key_len, (void *)e.key}, v = {e.value_len, (void *)e.value};

		if (e.table >= TP_LEDGER_TABLES)
			return -EBADMSG;
		if (e.op == TP_JOURNAL_PUT)
			rc = mdb_put(c->txn, c->db->dbi[e.table], &k, &v, 0);
		else
			rc = mdb_del(c->txn, c->db->dbi[e.table], &k, NULL);
		if (rc && !(rc == MDB_NOTFOUND && e.op == TP_JOURNAL_REMOVE))
			return from_mdb(rc);
	}
	return c->bytes < TXN_BYTES ? 0 : commit_end(c);
}

/* Doubles LMDB's map. No transaction is open. */
static int grow_map(struct tp_db *db)
{
	MDB_envinfo info;
	size_t size;
	void *p;

	(void)mdb_env_info(db->env, &info);
	if (__builtin_mul_overflow(info.me_mapsize, 2, &size))
		return -ENOMEM;
	/*
	 * LMDB gives the old map up before it asks for the new one, and has none if that fails. So ask first.
	 */
	p = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -ENOMEM;
	(void)munmap(p, size);
	/*
	 * Should it fail in spite of that, then the environment must not be touched any more: not a code that
	 * is tried again.
	 */
	return mdb_env_set_mapsize(db->env, size) ? -EIO : 0;
}

static int commit_once(struct tp_db *db, struct tp_journal *journal, uint64_t reserve)
{
	struct commit c = {.db = db};
	int r = 0;

	if (journal)
		r = tp_journal_load(journal, db->stored, commit_record, &c, NULL);
	if (r == 0 && reserve != db->reserved) {
		r = commit_begin(&c);
		if (r == 0)
			r = meta_put_number(db, c.txn, KEY_GENERATION, reserve);
	}
	if (r == 0)
		r = commit_end(&c);
	if (r < 0)
		commit_abort(&c);
	return r;
}

int tp_db_commit(struct tp_db *db, struct tp_journal *journal, uint64_t reserve)
{
	int r;

	while ((r = commit_once(db, journal, reserve)) == -ENOBUFS) {
		r = grow_map(db);
		if (r < 0)
			return r;
	}
	if (r == 0)
		db->reserved = reserve;
	return r;
}

int tp_db_scan(struct tp_db *db, enum tp_ledger_table t,
	int (*each)(const void *key, size_t key_len, const void *value, size_t value_len, void *user),
	void *user)
{
	MDB_cursor *cursor;
	MDB_txn *txn;
	MDB_val k, v;
	int r, rc;

	r = from_mdb(mdb_txn_begin(db->env, NULL, MDB_RDONLY, &txn));
	if (r < 0)
		return r;
	r = from_mdb(mdb_cursor_open(txn, db->dbi[t], &cursor));
	if (r < 0) {
		mdb_txn_abort(txn);
		return r;
	}
	while (!r) {
		rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
		if (rc == MDB_NOTFOUND)
			break;
		r = rc ? from_mdb(rc) : each(k.mv_data, k.mv_size, v.mv_data, v.mv_size, user);
	}
	mdb_cursor_close(cursor);
	mdb_txn_abort(txn);
	return r;
}

/* opening */

/* -EBADMSG: one is missing. */
static int open_tables(struct tp_db *db, MDB_txn *txn, unsigned flags)
{
	int rc = 0;

	for (size_t t = 0; t < TP_LEDGER_TABLES && !rc; t++)
		rc = mdb_dbi_open(txn, table_names[t], flags, &db->dbi[t]);
	return rc == MDB_NOTFOUND ? -EBADMSG : from_mdb(rc);
}

/* Opens the LMDB environment STATE/name and its tables. With create they are made. */
static int open_env(struct tp_db *db, const char *state, const char *name, bool create)
{
	tp_autofree char *path = NULL;
	struct stat st;
	MDB_txn *txn;
	uint64_t map_bytes = MAP_BYTES_MIN;
	int r, rc;

	if (asprintf(&path, "%s/%s", state, name) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	r = from_mdb(mdb_env_create(&db->env));
	if (r < 0)
		return r;
	if (!create && fstatat(db->state_fd, "ledger/data.mdb", &st, 0) == 0)
		while (map_bytes < 2 * (uint64_t)st.st_size)
			map_bytes *= 2;
	rc = mdb_env_set_maxdbs(db->env, TP_LEDGER_TABLES);
	if (!rc)
		rc = mdb_env_set_mapsize(db->env, map_bytes);
	if (!rc)
		rc = mdb_env_open(db->env, path, MDB_NOTLS, 0600);
	if (!rc)
		rc = mdb_reader_check(db->env, NULL);
	if (!rc)
		rc = mdb_txn_begin(db->env, NULL, 0, &txn);
	if (rc)
		return from_mdb(rc);
	r = open_tables(db, txn, create ? MDB_CREATE : 0);
	if (r < 0) {
		mdb_txn_abort(txn);
		return r;
	}
	return from_mdb(mdb_txn_commit(txn));
}

void tp_db_close(struct tp_db *db)
{
	if (db->env)
		mdb_env_close(tp_steal_ptr(db->env));
}

static int make_meta(struct tp_db *db)
{
	unsigned char uuid[16];
	MDB_txn *txn;
	int r;

	if (getrandom(uuid, sizeof(uuid), 0) != (ssize_t)sizeof(uuid))
		return -EIO;
	r = from_mdb(mdb_txn_begin(db->env, NULL, 0, &txn));
	if (r < 0)
		return r;
	r = meta_put_number(db, txn, KEY_VERSION, SCHEMA_VERSION);
	if (r == 0)
		r = meta_put(db, txn, KEY_UUID, uuid, sizeof(uuid));
	if (r == 0)
		r = meta_put_number(db, txn, KEY_GENERATION, 0);
	if (r == 0)
		r = meta_put_number(db, txn, KEY_JOURNAL, 0);
	if (r < 0) {
		mdb_txn_abort(txn);
		return r;
	}
	return from_mdb(mdb_txn_commit(txn));
}

/* Makes STATE/ledger, complete or not at all. What a crash left of an earlier try is removed. */
static int make_env(struct tp_db *db, const char *state)
{
	int r;

	(void)unlinkat(db->state_fd, "ledger.new/data.mdb", 0);
	(void)unlinkat(db->state_fd, "ledger.new/lock.mdb", 0);
	(void)unlinkat(db->state_fd, "ledger.new", AT_REMOVEDIR);
	if (mkdirat(db->state_fd, "ledger.new", 0700) < 0)
		return -errno;
	r = open_env(db, state, "ledger.new", true);
	if (r == 0)
		r = make_meta(db);
	tp_db_close(db);
	if (r < 0)
		return r;
	/* The file's own name in its directory, then the directory's in STATE. */
	{
		tp_autoclose int fd = openat(db->state_fd, "ledger.new", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (fd < 0 || fsync(fd) < 0)
			return -errno;
	}
	if (renameat(db->state_fd, "ledger.new", db->state_fd, "ledger") < 0 || fsync(db->state_fd) < 0)
		return -errno;
	return 0;
}

static int load_meta(struct tp_db *db, const char *state, struct tp_err *err, struct tp_ledger_info *info)
{
	uint64_t version;
	MDB_txn *txn;
	int r;

	r = from_mdb(mdb_txn_begin(db->env, NULL, MDB_RDONLY, &txn));
	if (r < 0)
		return tp_err_set(err, r, "%s/ledger cannot be read: %s", state, strerror(-r));
	r = meta_get_number(db, txn, KEY_VERSION, &version);
	if (r == 0 && version != SCHEMA_VERSION) {
		mdb_txn_abort(txn);
		return tp_err_set(err, -EBADMSG,
			"%s has a ledger of version %" PRIu64 ", and this tidepool knows version %d only",
			state, version, SCHEMA_VERSION);
	}
	if (r == 0)
		r = meta_get(db, txn, KEY_UUID, info->uuid, sizeof(info->uuid));
	if (r == 0)
		r = meta_get_number(db, txn, KEY_GENERATION, &db->reserved);
	if (r == 0)
		r = meta_get_number(db, txn, KEY_JOURNAL, &db->stored);
	mdb_txn_abort(txn);
	if (r < 0)
		return tp_err_set(
			err, r == -ENOENT ? -EBADMSG : r, "%s/ledger is not a ledger of tidepool", state);
	return 0;
}

static int set_open_error(struct tp_err *err, int r, const char *state)
{
	if (r == -EBADMSG)
		return tp_err_set(err, r, "%s/ledger is damaged, or not a ledger of tidepool", state);
	return tp_err_set(err, r, "%s/ledger cannot be opened: %s", state, strerror(-r));
}

int tp_db_open(
	struct tp_db *db, int state_fd, const char *state, struct tp_err *err, struct tp_ledger_info *info)
{
	struct stat st;
	int r;

	*db = (struct tp_db){.state_fd = state_fd};
	if (fstatat(db->state_fd, "ledger", &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT) {
			r = -errno;
			return tp_err_set(err, r, "%s/ledger cannot be opened: %s", state, strerror(-r));
		}
		r = make_env(db, state);
		if (r < 0)
			return tp_err_set(err, r, "%s/ledger cannot be made: %s", state, strerror(-r));
		info->created = true;
	} else if (!S_ISDIR(st.st_mode)) {
		return tp_err_set(err, -EBADMSG, "%s/ledger is not a directory", state);
	}
	/* LMDB would make what is missing. */
	if (fstatat(db->state_fd, "ledger/data.mdb", &st, 0) < 0) {
		r = errno == ENOENT ? -EBADMSG : -errno;
		return tp_err_set(err, r, "%s/ledger/data.mdb cannot be opened: %s", state, strerror(errno));
	}
	if (!st.st_size)
		return tp_err_set(err, -EBADMSG, "%s/ledger/data.mdb is empty", state);
	r = open_env(db, state, "ledger", false);
	return r < 0 ? set_open_error(err, r, state) : load_meta(db, state, err, info);
}

static int replay_once(struct tp_db *db, struct tp_journal *journal, uint64_t reserve, struct tp_err *err,
	struct tp_ledger_info *info, uint64_t *ret_last)
{
	struct commit c = {.db = db};
	uint64_t last, dropped_bytes;
	int r;

	r = tp_journal_replay(journal, db->stored, commit_record, &c, err, &last, &dropped_bytes);
	if (r == 0)
		r = commit_begin(&c);
	if (r == 0)
		r = meta_put_number(db, c.txn, KEY_GENERATION, reserve);
	if (r == 0) {
		/*
		 * Numbers that were seen and dropped are not used again: the files may still show them after
		 * a crash.
		 */
		c.sequence = last;
		r = commit_end(&c);
	}
	info->replayed += c.committed_records;
	if (r < 0) {
		commit_abort(&c);
		return r;
	}
	db->reserved = reserve;
	info->dropped_bytes = dropped_bytes;
	*ret_last = last;
	return 0;
}

int tp_db_replay(struct tp_db *db, struct tp_journal *journal, uint64_t reserve, struct tp_err *err,
	struct tp_ledger_info *info, uint64_t *ret_last)
{
	int r;

	while ((r = replay_once(db, journal, reserve, err, info, ret_last)) == -ENOBUFS) {
		r = grow_map(db);
		if (r < 0)
			return r;
	}
	return r;
}

/* peeking */

/* Without LMDB's own lock file, since nothing may be written and nobody else is there. */
static int open_to_peek(struct tp_db *db, const char *path, uint64_t *ret_names)
{
	MDB_txn *txn;
	MDB_stat st;
	int rc, r;

	rc = mdb_env_create(&db->env);
	if (!rc)
		rc = mdb_env_set_maxdbs(db->env, TP_LEDGER_TABLES);
	if (!rc)
		rc = mdb_env_open(db->env, path, MDB_RDONLY | MDB_NOLOCK | MDB_NOTLS, 0);
	if (!rc)
		rc = mdb_txn_begin(db->env, NULL, MDB_RDONLY, &txn);
	if (rc)
		return from_mdb(rc);
	r = open_tables(db, txn, 0);
	if (r == 0)
		r = from_mdb(mdb_stat(txn, db->dbi[TP_LEDGER_NAMES], &st));
	if (r < 0) {
		mdb_txn_abort(txn);
		return r;
	}
	*ret_names = st.ms_entries;
	return from_mdb(mdb_txn_commit(txn));
}

int tp_db_peek(const char *state, struct tp_err *err, struct tp_ledger_info *ret_info, uint64_t *ret_names)
{
	tp_autofree char *path = NULL;
	struct tp_db db = {.state_fd = -1};
	int r = -ENOMEM;

	if (asprintf(&path, "%s/ledger", state) < 0)
		path = NULL;
	else
		r = open_to_peek(&db, path, ret_names);
	if (r < 0)
		(void)set_open_error(err, r, state);
	else
		r = load_meta(&db, state, err, ret_info);
	tp_db_close(&db);
	return r;
}
