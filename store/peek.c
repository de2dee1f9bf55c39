/* SPDX-License-Identifier: Apache-2.0 */
#include "store/peek.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <lmdb.h>
#include <string.h>
#include <sys/stat.h>

#include "store/cleanup.h"

static int get(MDB_txn *txn, struct tp_peek *p)
{
	MDB_dbi meta, names;
	MDB_stat st;
	MDB_val k = {.mv_size = 4, .mv_data = (void *)(uintptr_t) "uuid"}, v;

	if (mdb_dbi_open(txn, "meta", 0, &meta) || mdb_get(txn, meta, &k, &v) ||
		v.mv_size != sizeof(p->uuid) || mdb_dbi_open(txn, "names", 0, &names) ||
		mdb_stat(txn, names, &st))
		return -EBADMSG;
	memcpy(p->uuid, v.mv_data, sizeof(p->uuid));
	p->names = st.ms_entries;
	return 0;
}

/* Both files of the journal. */
static uint64_t journal_bytes(const char *state)
{
	DIR *d = opendir(state);
	struct dirent *e;
	struct stat st;
	uint64_t bytes = 0;

	if (!d)
		return 0;
	while ((e = readdir(d)))
		if (strncmp(e->d_name, "journal", 7) == 0 && fstatat(dirfd(d), e->d_name, &st, 0) == 0 &&
			S_ISREG(st.st_mode))
			bytes += (uint64_t)st.st_size;
	(void)closedir(d);
	return bytes;
}

int tp_peek_state(const char *state, struct tp_err *err, struct tp_peek *ret)
{
	char path[PATH_MAX];
	struct tp_peek p = {.journal_bytes = journal_bytes(state)};
	struct stat st;
	MDB_env *env = NULL;
	MDB_txn *txn = NULL;
	int rc;

	(void)snprintf(path, sizeof(path), "%s/ledger/data.mdb", state);
	if (stat(path, &st) < 0)
		return tp_err_set(err, -errno,
			errno == ENOENT ? "%s holds no store" : "%s: its ledger cannot be read", state);
	p.ledger_bytes = (uint64_t)st.st_size;
	(void)snprintf(path, sizeof(path), "%s/ledger", state);
	/* Without LMDB's own lock file, since nothing may be written and nobody else is there. */
	rc = mdb_env_create(&env);
	if (!rc)
		rc = mdb_env_set_maxdbs(env, 8);
	if (!rc)
		rc = mdb_env_open(env, path, MDB_RDONLY | MDB_NOLOCK | MDB_NOTLS, 0);
	if (!rc)
		rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
	if (!rc)
		rc = get(txn, &p);
	if (txn)
		mdb_txn_abort(txn);
	if (env)
		mdb_env_close(env);
	if (rc == EACCES || rc == ENOMEM)
		return tp_err_set(err, -rc, "%s: its ledger cannot be read: %s", state, strerror(rc));
	if (rc)
		return tp_err_set(
			err, -EBADMSG, "%s: its ledger is damaged, or not a ledger of tidepool", state);
	*ret = p;
	return 0;
}
