/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tp-lmdb write FILE COUNT: commits numbers one by one after what is there, and prints each when its commit was answered.
 * tp-lmdb check FILE LAST: every number up to LAST is there with its value, and the tree can be walked.
 */
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VALUE_BYTES 3000

static int open_env(const char *path, MDB_env **ret)
{
	int r = mdb_env_create(ret);

	if (r == 0)
		r = mdb_env_set_mapsize(*ret, 64u << 20);
	if (r == 0)
		r = mdb_env_open(*ret, path, MDB_NOSUBDIR, 0644);
	if (r != 0)
		(void)fprintf(stderr, "tp-lmdb: %s: %s\n", path, mdb_strerror(r));
	return r;
}

static void value_of(unsigned number, char *value)
{
	memset(value, 'a' + (int)(number % 26), VALUE_BYTES);
	(void)snprintf(value, VALUE_BYTES, "%u", number);
}

static unsigned last_of(MDB_txn *txn, MDB_dbi dbi)
{
	MDB_cursor *cursor;
	MDB_val key, data;
	unsigned last = 0;

	if (mdb_cursor_open(txn, dbi, &cursor) != 0)
		return 0;
	if (mdb_cursor_get(cursor, &key, &data, MDB_LAST) == 0)
		memcpy(&last, key.mv_data, sizeof(last));
	mdb_cursor_close(cursor);
	return last;
}

static int add(MDB_env *env, unsigned *ret_number)
{
	char value[VALUE_BYTES];
	MDB_txn *txn;
	MDB_dbi dbi;
	int r = mdb_txn_begin(env, NULL, 0, &txn);

	if (r != 0)
		return r;
	r = mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, &dbi);
	unsigned number = r == 0 ? last_of(txn, dbi) + 1 : 0;
	MDB_val key = {sizeof(number), &number}, data = {sizeof(value), value};

	value_of(number, value);
	if (r == 0)
		r = mdb_put(txn, dbi, &key, &data, 0);
	if (r != 0) {
		mdb_txn_abort(txn);
		return r;
	}
	*ret_number = number;
	return mdb_txn_commit(txn);
}

static int check(MDB_env *env, unsigned last)
{
	char value[VALUE_BYTES];
	MDB_txn *txn = NULL;
	MDB_dbi dbi;
	int r = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);

	if (r == 0)
		r = mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, &dbi);
	for (unsigned number = 1; r == 0 && number <= last; number++) {
		MDB_val key = {sizeof(number), &number}, data;

		r = mdb_get(txn, dbi, &key, &data);
		value_of(number, value);
		if (r != 0 || data.mv_size != VALUE_BYTES || memcmp(data.mv_data, value, VALUE_BYTES) != 0) {
			(void)fprintf(stderr, "tp-lmdb: %u of %u: %s\n", number, last,
				r ? mdb_strerror(r) : "another value");
			r = r ? r : 1;
		}
	}
	if (txn)
		mdb_txn_abort(txn);
	return r;
}

int main(int argc, char **argv)
{
	MDB_env *env;
	unsigned number = 0;
	int r;

	if (argc != 4) {
		(void)fprintf(stderr, "usage: tp-lmdb write FILE COUNT | check FILE LAST\n");
		return 2;
	}
	r = open_env(argv[2], &env);
	if (r == 0 && strcmp(argv[1], "check") == 0)
		r = check(env, (unsigned)atoi(argv[3]));
	else {
		for (int i = 0; r == 0 && i < atoi(argv[3]); i++) {
			r = add(env, &number);
			if (r == 0)
				(void)printf("%u\n", number);
			(void)fflush(stdout);
		}
	}
	if (r != 0)
		(void)fprintf(stderr, "tp-lmdb: %s: %s\n", argv[2], mdb_strerror(r));
	mdb_env_close(env);
	return r ? 1 : 0;
}
