/* SPDX-License-Identifier: Apache-2.0 */
#include "ledger_fixture.h"

#include <lmdb.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

atomic_int flush_errno;
atomic_bool flush_hangs;

/* LMDB's flushes come here, since a program's own symbols go before those of the C library. */
int fdatasync(int fd)
{
	int e;

	while (atomic_load(&flush_hangs))
		(void)sched_yield();
	e = atomic_load(&flush_errno);
	if (e) {
		errno = e;
		return -1;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

static uint64_t still_ns(const struct tp_clock *c)
{
	return TP_NS_PER_S;
}

const struct tp_clock still = {.wall_ns = still_ns, .mono_ns = still_ns};

struct tp_ledger *opened_with(const char *state, const struct tp_clock *clock, uint64_t interval_ns,
	struct tp_ledger_info *ret_info)
{
	struct tp_ledger *l;
	struct tp_err err = {""};
	int r = tp_ledger_open(state, clock, interval_ns, &err, &l, ret_info);

	cr_assert_eq(r, 0, "%s", err.text);
	return l;
}

struct tp_ledger *opened(const char *state)
{
	struct tp_ledger_info info;

	return opened_with(state, &still, TP_NS_PER_S, &info);
}

void batch_put(struct tp_ledger_batch *b, const char *key, const char *value)
{
	cr_assert_eq(tp_ledger_batch_put(b, TP_LEDGER_NAMES, key, strlen(key), value, strlen(value)), 0);
}

int change(struct tp_ledger *l, const char *key, const char *value)
{
	struct tp_ledger_batch *b = tp_ledger_batch_new();
	int r;

	if (value)
		batch_put(b, key, value);
	else
		cr_assert_eq(tp_ledger_batch_remove(b, TP_LEDGER_NAMES, key, strlen(key)), 0);
	r = tp_ledger_apply(l, b);
	tp_ledger_batch_free(b);
	return r;
}

static int print(const void *key, size_t key_len, const void *value, size_t value_len, void *user)
{
	(void)fprintf(
		user, "%.*s=%.*s ", (int)key_len, (const char *)key, (int)value_len, (const char *)value);
	return 0;
}

char *names(struct tp_ledger *l)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	cr_assert_eq(tp_ledger_scan(l, TP_LEDGER_NAMES, print, out), 0);
	cr_assert_eq(fclose(out), 0);
	return text;
}

void in_killed_child(void (*work)(const char *state), const char *state)
{
	pid_t pid = fork();
	int status;

	cr_assert_geq(pid, 0);
	if (pid == 0) {
		work(state);
		(void)kill(getpid(), SIGKILL);
	}
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

void hold(const char *state)
{
	(void)opened(state);
}

void meddle(const char *state, const char *table, const char *key, const void *value, size_t value_len)
{
	char path[600];
	MDB_val k = {strlen(key), (void *)key}, v = {value_len, (void *)value};
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;

	(void)snprintf(path, sizeof(path), "%s/ledger", state);
	(void)mkdir(path, 0700);
	cr_assert_eq(mdb_env_create(&env), 0);
	cr_assert_eq(mdb_env_set_maxdbs(env, 4), 0);
	cr_assert_eq(mdb_env_open(env, path, 0, 0600), 0);
	cr_assert_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
	cr_assert_eq(mdb_dbi_open(txn, table, MDB_CREATE, &dbi), 0);
	cr_assert_eq(mdb_put(txn, dbi, &k, &v, 0), 0);
	cr_assert_eq(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}
