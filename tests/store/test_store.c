/* SPDX-License-Identifier: Apache-2.0 */
#include "tree_fixture.h"

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <sys/xattr.h>

/* Opening */

static struct tp_store_options options_of(const char *state)
{
	return (struct tp_store_options){
		.state = state,
		.pool = {.size_bytes = POOL, .hugepages = TP_HUGEPAGES_OFF},
		.high_pct = 90,
		.low_pct = 80,
		.journal_interval_ns = 50 * TP_NS_PER_MS,
	};
}

Test(store, what_cannot_be_opened_is_said_and_leaves_nothing)
{
	SCRATCH(s);
	struct tp_store_options o = options_of(scratch_path(&s, "none/state"));
	struct tp_err err = {""};
	struct tp_store *store;

	cr_assert_eq(tp_store_open(&o, &err, &store, NULL), -ENOENT);
	cr_assert_str_not_empty(err.text);
	scratch_write(scratch_path(&s, "file"), "x", 1);
	o.state = scratch_path(&s, "file");
	err.text[0] = 0;
	cr_assert_eq(tp_store_open(&o, &err, &store, NULL), -EBADMSG);
	cr_assert_str_not_empty(err.text);
	o.state = scratch_path(&s, "state");
	o.pool.size_bytes = 0;
	err.text[0] = 0;
	cr_assert_eq(tp_store_open(&o, &err, &store, NULL), -EINVAL);
	cr_assert_str_not_empty(err.text);
	cr_assert_eq(tp_store_close(NULL), 0);
}

Test(store, a_state_in_use_is_busy)
{
	SCRATCH(s);
	struct tp_store_options o = options_of(scratch_path(&s, "state"));
	struct tp_store *store;
	struct tp_err err;
	struct fixture f;

	fixture_open(&f, POOL, o.state);
	cr_assert(f.info.ledger.created);
	cr_assert_eq(tp_store_open(&o, &err, &store, NULL), -EBUSY);
	fixture_close(&f);
	fixture_open(&f, POOL, o.state);
	cr_assert_not(f.info.ledger.created);
	fixture_close(&f);
}

Test(store, every_allocation_that_fails_while_it_opens_is_enomem, .timeout = 300)
{
	SCRATCH(s);
	struct tp_store_options o = options_of(scratch_path(&s, "state"));
	struct tp_store *store;
	struct tp_err err;
	struct fixture f;
	unsigned n;

	fixture_open(&f, POOL, o.state);
	make_dir(&f, make_dir(&f, TP_NODE_CACHE, "a"), "b");
	cr_assert_eq(make(&f, &f.me, TP_NODE_CACHE, "l", S_IFLNK | 0777), 0);
	fixture_close(&f);
	for (n = 1;; n++) {
		int r;

		err.text[0] = 0;
		heap_fail_at(n);
		r = tp_store_open(&o, &err, &store, NULL);
		if (!heap_fail_off())
			break;
		cr_assert(r == -ENOMEM || r == 0, "%u: %d, %s", n, r, err.text);
		if (r == 0)
			cr_assert_eq(tp_store_close(store), 0);
		else
			cr_assert_str_not_empty(err.text);
	}
	cr_assert_gt(n, 20);
	cr_assert_null(check_tree(store->tree));
	cr_assert_eq(store->tree->directories, 5);
	cr_assert_eq(tp_store_close(store), 0);
}

/* What is kept */

Test(store, directories_links_and_rules_are_there_again_and_files_are_not)
{
	SCRATCH(s);
	const char *state = scratch_path(&s, "state");
	struct fixture f;
	struct tp_setattr set = {.set_mode = true,
		.mode = 0711,
		.set_uid = true,
		.uid = 7,
		.set_mtime = true,
		.mtime_ns = 1234567890123456789};
	struct tp_who who;
	struct tp_entry e;
	uint64_t d, sub, stream, is;
	char buf[PATH_MAX];

	fixture_open(&f, POOL, state);
	who = f.me;
	d = make_dir(&f, TP_NODE_CACHE, "d");
	sub = make_dir(&f, d, "sub\n\xff");
	stream = make_dir(&f, TP_NODE_SAMPLES, "s");
	cr_assert_eq(make(&f, &f.me, d, "link", S_IFLNK | 0777), 0);
	cr_assert_eq(make(&f, &f.me, d, "fifo", S_IFIFO | 0640), 0);
	cr_assert_eq(link_as(&f, &f.me, d, "fifo", sub, "again"), 0);
	cr_assert_eq(make(&f, &f.me, d, "gone", S_IFIFO | 0640), 0);
	cr_assert_eq(unlink_as(&f, &f.me, d, "gone"), 0);
	put(&f, d, "file", "not kept");
	make_dir(&f, d, "was");
	cr_assert_eq(rename_as(&f, &f.me, d, "was", sub, "is", 0), 0);
	make_dir(&f, d, "left");
	cr_assert_eq(rename_as(&f, &f.me, d, "left", sub, "right", 0), 0);
	cr_assert_eq(rename_as(&f, &f.me, sub, "right", sub, "is", RENAME_EXCHANGE), 0);
	make_dir(&f, d, "removed");
	cr_assert_eq(rmdir_as(&f, &f.me, d, "removed"), 0);
	cr_assert_eq(tp_tree_setattr(f.tree, &who, d, NULL, &set, &e), 0);
	cr_assert_eq(tp_tree_set_xattr(f.tree, &who, d, "user.k", "value", 5, 0), 0);
	cr_assert_eq(set_rule(&f, d, "quota", "1M"), 0);
	cr_assert_eq(set_rule(&f, d, "commit", "rename"), 0);
	cr_assert_eq(set_rule(&f, stream, "temp", "*.b"), 0);
	cr_assert_eq(set_rule(&f, TP_NODE_CACHE, "ttl", "77"), 0);
	cr_assert_eq(set_rule(&f, TP_NODE_CACHE, "quota", "2M"), 0);
	is = node_of(&f, &f.me, sub, "is");
	fixture_close(&f);

	fixture_open(&f, POOL, state);
	who = f.me;
	holds(&f);
	cr_assert_eq(f.info.directories, f.tree->directories);
	cr_assert_eq(node_of(&f, &f.me, TP_NODE_CACHE, "d"), d);
	cr_assert_eq(node_of(&f, &f.me, d, "sub\n\xff"), sub);
	cr_assert_eq(node_of(&f, &f.me, sub, "is"), is);
	cr_assert(sees(&f, &f.me, sub, "right"));
	cr_assert_not(sees(&f, &f.me, d, "was"));
	cr_assert_not(sees(&f, &f.me, d, "left"));
	cr_assert_not(sees(&f, &f.me, d, "gone"));
	cr_assert_not(sees(&f, &f.me, d, "file"));
	cr_assert_not(sees(&f, &f.me, d, "removed"));
	cr_assert_eq(stat_as(&f, &f.me, sub, "again", &e), 0);
	cr_assert_eq(e.attr.nlink, 2);
	cr_assert_eq(e.attr.mode, S_IFIFO | 0640);
	cr_assert_eq(stat_as(&f, &f.me, TP_NODE_CACHE, "d", &e), 0);
	cr_assert_eq(e.attr.mode, S_IFDIR | 0711);
	cr_assert_eq(e.attr.uid, 7);
	cr_assert_eq(e.attr.mtime_ns, 1234567890123456789);
	cr_assert_eq(e.attr.nlink, 3);
	cr_assert_eq(tp_tree_readlink(f.tree, node_of(&f, &f.me, d, "link"), buf, sizeof(buf)), 6);
	cr_assert_eq(tp_tree_get_xattr(f.tree, &who, d, "user.k", buf, sizeof(buf)), 5);
	cr_assert_eq(tp_tree_get_xattr(f.tree, &who, d, "user.tidepool.quota", buf, sizeof(buf)), 7);
	cr_assert_eq(
		tp_tree_get_xattr(f.tree, &who, TP_NODE_CACHE, "user.tidepool.ttl", buf, sizeof(buf)), 2);
	cr_assert_eq(put_as(&f, &f.me, d, "x", ""), -EPERM, "commit=rename");
	put(&f, stream, "x.b", "temporary");
	cr_assert_eq(tp_stats_get(&f.store->stats, TP_STAT_SAMPLES_COMMITTED), 0);
	/* Both quotas are in force. */
	cr_assert_eq(put_bytes(&f, d, "x.tmp", 1100 * KIB, 1), -EDQUOT);
	cr_assert_eq(put_bytes(&f, TP_NODE_CACHE, "x", 2100 * KIB, 1), -EDQUOT);
	fixture_close(&f);
}

Test(store, what_was_removed_while_it_is_open_leaves_no_record)
{
	SCRATCH(s);
	const char *state = scratch_path(&s, "state");
	struct tp_setattr set = {.set_mode = true, .mode = 0711};
	struct fixture f;
	struct tp_entry e;
	struct tp_who who;
	uint64_t d;
	size_t nodes;

	fixture_open(&f, POOL, state);
	nodes = f.tree->nodes.count;
	who = f.me;
	d = make_dir(&f, TP_NODE_CACHE, "d");
	cr_assert_eq(tp_tree_lookup(f.tree, &who, TP_NODE_CACHE, "d", &e), 0);
	make_dir(&f, d, "x");
	cr_assert_eq(rmdir_as(&f, &f.me, d, "x"), 0);
	cr_assert_eq(rmdir_as(&f, &f.me, TP_NODE_CACHE, "d"), 0);
	cr_assert_eq(tp_tree_record_dirty(f.tree), 0);
	cr_assert_eq(tp_tree_setattr(f.tree, &who, d, NULL, &set, &e), 0);
	cr_assert_eq(tp_tree_set_xattr(f.tree, &who, d, "user.a", "b", 1, 0), 0);
	tp_tree_forget(f.tree, d, 1);
	fixture_close(&f);
	fixture_open(&f, POOL, state);
	cr_assert_eq(f.tree->nodes.count, nodes);
	fixture_close(&f);
}

Test(store, generations_and_nodes_grow_over_a_reopening)
{
	SCRATCH(s);
	const char *state = scratch_path(&s, "state");
	uint64_t last = 0, number, node;
	struct fixture f;

	for (unsigned i = 0; i < 3; i++) {
		fixture_open(&f, POOL, state);
		put(&f, TP_NODE_CACHE, "x", "x");
		node = node_of(&f, &f.me, TP_NODE_CACHE, "x");
		number = tp_container(tp_tree_node(f.tree, node), struct tp_gen, node)->number;
		cr_assert_gt(number, last);
		cr_assert_gt(node, last);
		last = number > node ? number : node;
		fixture_close(&f);
	}
}

static void limit_files(rlim_t bytes)
{
	struct rlimit limit;

	(void)signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes ? bytes : limit.rlim_max;
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

Test(store, what_a_full_disk_did_not_take_is_written_before_what_comes_after_it)
{
	SCRATCH(s);
	const char *state = scratch_path(&s, "state");
	struct fixture f;
	uint64_t d;

	fixture_open(&f, POOL, state);
	make_dir(&f, TP_NODE_CACHE, "before");
	limit_files(100);
	cr_assert_eq(make(&f, &f.me, TP_NODE_CACHE, "d", S_IFDIR | 0755), -ENOSPC);
	cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, "before", TP_NODE_CACHE, "after", 0), -ENOSPC);
	limit_files(0);
	/* It is there, and what is made in it has a parent when it is loaded. */
	d = node_of(&f, &f.me, TP_NODE_CACHE, "d");
	make_dir(&f, d, "sub");
	fixture_close(&f);
	fixture_open(&f, POOL, state);
	holds(&f);
	cr_assert_eq(node_of(&f, &f.me, TP_NODE_CACHE, "d"), d);
	cr_assert_str_eq(list_as(&f, &f.me, d), "sub ");
	cr_assert(sees(&f, &f.me, TP_NODE_CACHE, "after"));
	cr_assert_not(sees(&f, &f.me, TP_NODE_CACHE, "before"));
	fixture_close(&f);
}

Test(store, what_could_not_be_noted_is_not_there_and_what_could_is_there_again)
{
	SCRATCH(s);
	const char *state = scratch_path(&s, "state");
	struct fixture f;
	unsigned failures = 0;

	fixture_open(&f, POOL, state);
	for (unsigned n = 1; n < 30; n++) {
		char name[16];
		bool failed;
		int r;

		(void)snprintf(name, sizeof(name), "d%u", n);
		heap_fail_at(n);
		r = make(&f, &f.me, TP_NODE_CACHE, name, S_IFDIR | 0755);
		failed = heap_fail_off();
		cr_assert_eq(r, failed ? -ENOMEM : 0, "%u", n);
		cr_assert_eq(sees(&f, &f.me, TP_NODE_CACHE, name), !failed, "%u", n);
		failures += failed;
	}
	cr_assert_geq(failures, 4);
	fixture_close(&f);
	fixture_open(&f, POOL, state);
	for (unsigned n = 1; n < 30; n++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "d%u", n);
		cr_assert_eq(sees(&f, &f.me, TP_NODE_CACHE, name), n > failures, "%u", n);
	}
	fixture_close(&f);
}

/* The events of changes */

static unsigned lines_of(struct scratch *s, const char *text)
{
	size_t len;
	tp_autofree char *all = scratch_read(scratch_path(s, "events"), &len);
	unsigned lines = 0;

	for (const char *at = all; (at = strstr(at, text)); at++)
		lines++;
	return lines;
}

/* Whoever held the lock would be told EDEADLK; the evictor's thread may have it for a moment. */
static void lock_is_free(void *user)
{
	struct fixture *f = user;

	cr_assert_eq(pthread_rwlock_wrlock(&f->tree->lock), 0);
	(void)pthread_rwlock_unlock(&f->tree->lock);
}

Test(store, events_are_written_without_the_trees_lock_and_before_the_change_is_answered, .timeout = 60)
{
	SCRATCH(s);
	struct tp_who other = process_start();
	struct file in_dir, taken, killed;
	struct fixture f;
	uint64_t d;

	fixture_open(&f, POOL, s.path);
	tp_events_watch(f.store->events, lock_is_free, &f);
	d = make_dir(&f, TP_NODE_CACHE, "d");
	cr_assert_eq(file_open(&f, &other, d, "a", O_WRONLY | O_CREAT, &in_dir), 0);
	cr_assert_eq(file_open(&f, &other, TP_NODE_CACHE, "b", O_WRONLY | O_CREAT, &taken), 0);
	cr_assert_eq(file_open(&f, &other, TP_NODE_CACHE, "c", O_WRONLY | O_CREAT, &killed), 0);
	cr_assert_eq(rmdir_as(&f, &f.me, TP_NODE_CACHE, "d"), 0);
	cr_assert_eq(lines_of(&s, "d/a: its directory was removed\n"), 1);
	cr_assert_eq(make(&f, &f.me, TP_NODE_CACHE, "b", S_IFDIR | 0755), 0);
	cr_assert_eq(lines_of(&s, "b: its name was taken by another\n"), 1);
	process_end(&other, SIGKILL, 0);
	(void)file_close(&f, &killed);
	cr_assert_eq(lines_of(&s, "c: its writer was killed\n"), 1);
	put(&f, TP_NODE_CACHE, "same", "bytes");
	put(&f, TP_NODE_CACHE, "same", "bytes");
	cr_assert_eq(lines_of(&s, " dedup cache/same\n"), 1);
	(void)file_close(&f, &in_dir);
	(void)file_close(&f, &taken);
	process_reap(&other);
	tp_events_watch(f.store->events, NULL, NULL);
	fixture_close(&f);
}

/* Killed at any moment: what was reported is there, and all of it holds together. */

static void make_and_report(const char *state, int to)
{
	struct fixture f;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	fixture_open(&f, POOL, state);
	for (unsigned i = 0;; i++) {
		char name[32], moved[32];
		uint64_t d;

		(void)snprintf(name, sizeof(name), "d%u", i);
		(void)snprintf(moved, sizeof(moved), "m%u", i);
		d = make_dir(&f, TP_NODE_CACHE, name);
		make_dir(&f, d, "sub");
		cr_assert_eq(rename_as(&f, &f.me, TP_NODE_CACHE, name, TP_NODE_CACHE, moved, 0), 0);
		if (i % 3 == 0)
			cr_assert_eq(rmdir_as(&f, &f.me, d, "sub"), 0);
		if (write(to, &i, sizeof(i)) != sizeof(i))
			_exit(1);
	}
}

Test(store, what_was_reported_outlives_a_kill_of_the_daemon, .timeout = 120)
{
	SCRATCH(s);
	const char *state = scratch_path(&s, "state");

	for (unsigned round = 0; round < 5; round++) {
		unsigned last = 0, i;
		struct fixture f;
		int report[2];
		pid_t pid;

		cr_assert_eq(pipe(report), 0);
		pid = fork();
		cr_assert_geq(pid, 0);
		if (pid == 0) {
			close(report[0]);
			make_and_report(state, report[1]);
		}
		close(report[1]);
		while (last < 40 * round + 7)
			cr_assert_eq(read(report[0], &last, sizeof(last)), sizeof(last));
		cr_assert_eq(kill(pid, SIGKILL), 0);
		cr_assert_eq(waitpid(pid, NULL, 0), pid);
		/* What it still said before it was killed counts as well. */
		while (read(report[0], &i, sizeof(i)) == sizeof(i))
			last = i;
		close(report[0]);

		fixture_open(&f, POOL, state);
		holds(&f);
		for (i = 0; i <= last; i++) {
			char name[32];
			uint64_t d;

			(void)snprintf(name, sizeof(name), "m%u", i);
			d = node_of(&f, &f.me, TP_NODE_CACHE, name);
			cr_assert_neq(d, 0, "%s of %u", name, last);
			cr_assert_eq(sees(&f, &f.me, d, "sub"), i % 3 != 0);
			(void)rmdir_as(&f, &f.me, d, "sub");
			cr_assert_eq(rmdir_as(&f, &f.me, TP_NODE_CACHE, name), 0);
		}
		/* One more may have begun. */
		for (unsigned k = 0; k < 2; k++) {
			char name[32];
			uint64_t d;

			(void)snprintf(name, sizeof(name), "%c%u", k ? 'm' : 'd', i);
			d = node_of(&f, &f.me, TP_NODE_CACHE, name);
			if (d) {
				(void)rmdir_as(&f, &f.me, d, "sub");
				cr_assert_eq(rmdir_as(&f, &f.me, TP_NODE_CACHE, name), 0);
			}
		}
		cr_assert_str_eq(list_as(&f, &f.me, TP_NODE_CACHE), "");
		fixture_close(&f);
	}
}

/* Threads */

#define THREADS 4
#define NAMES 12
#define FILE_BYTES_MAX (96 * KIB)

struct worker {
	pthread_t thread;
	struct fixture *f;
	struct tp_who who;
	unsigned seed, rounds;
	uint64_t dirs[3]; /* in cache, below that, and a stream */
	uint64_t *bytes;
};

static unsigned pick(struct worker *w, unsigned below)
{
	return (unsigned)rand_r(&w->seed) % below;
}

static const char *any_name(struct worker *w, bool temporary, char *buf)
{
	(void)snprintf(buf, 16, "%s%u", temporary ? "." : "n", pick(w, temporary ? NAMES / 3 : NAMES));
	return buf;
}

/* Every word of a file says how long it is. */
static void write_one(struct worker *w, uint64_t dir, const char *name)
{
	size_t len = 8 * (1 + pick(w, FILE_BYTES_MAX / 8)), n = len / 8;
	uint64_t word = (uint64_t)len << 32 | (unsigned)rand_r(&w->seed);
	struct file file;

	if (file_open(w->f, &w->who, dir, name, O_WRONLY | O_CREAT | O_TRUNC, &file) < 0)
		return;
	for (size_t i = 0; i < n; i++)
		w->bytes[i] = word;
	(void)file_write(w->f, &file, 0, w->bytes, len);
	(void)file_close(w->f, &file);
}

static void read_one(struct worker *w, uint64_t dir, const char *name)
{
	struct file file;
	size_t len;

	if (file_open(w->f, &w->who, dir, name, O_RDONLY, &file) < 0)
		return;
	len = tp_file_copy(w->f->tree, file.opened.gen, 0, w->bytes, FILE_BYTES_MAX);
	/* A temporary name changes while it is read. */
	if (name[0] != '.' && len > 0) {
		cr_assert_eq(len, w->bytes[0] >> 32);
		for (size_t i = 0; i < len / 8; i++)
			cr_assert_eq(w->bytes[i], w->bytes[0]);
	}
	(void)file_close(w->f, &file);
}

struct listing {
	uint64_t nodes[64];
	unsigned count;
};

static bool take_all(
	const char *name, size_t len, uint64_t next_cookie, const struct tp_entry *entry, void *user)
{
	struct listing *l = user;

	if (next_cookie <= 2)
		return true;
	if (l->count == 64)
		return false;
	l->nodes[l->count++] = entry->node;
	return true;
}

static void list_one(struct worker *w, uint64_t dir)
{
	struct tp_who who = w->who;
	struct listing l = {.count = 0};

	cr_assert_eq(tp_tree_readdir(w->f->tree, &who, dir, 0, true, take_all, &l), 0);
	for (unsigned i = 0; i < l.count; i++)
		tp_tree_forget(w->f->tree, l.nodes[i], 1);
}

static void change_one(struct worker *w, uint64_t dir, uint64_t to, const char *name, const char *new_name)
{
	static const unsigned flags[] = {0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
	struct tp_entry e;
	char path[256];

	switch (pick(w, 8)) {
	case 0:
		(void)unlink_as(w->f, &w->who, dir, name);
		break;
	case 1:
		(void)link_as(w->f, &w->who, dir, name, to, new_name);
		break;
	case 2:
		(void)make(w->f, &w->who, dir, name, S_IFDIR | 0755);
		break;
	case 3:
		(void)rmdir_as(w->f, &w->who, dir, name);
		break;
	case 4:
		if (stat_as(w->f, &w->who, dir, name, &e) == 0)
			(void)tp_tree_path(w->f->tree, e.node, path, sizeof(path));
		break;
	default:
		(void)rename_as(w->f, &w->who, dir, name, to, new_name, flags[pick(w, 4)]);
	}
}

static void *work(void *user)
{
	struct worker *w = user;
	char name[16], new_name[16];

	for (unsigned i = 0; i < w->rounds; i++) {
		uint64_t dir = w->dirs[pick(w, 3)];

		/* What is written under a temporary name is written in place by all at once: it keeps such a name. */
		bool temporary = pick(w, 4) == 0;

		(void)any_name(w, temporary, name);
		switch (pick(w, 5)) {
		case 0:
		case 1:
			write_one(w, dir, name);
			break;
		case 2:
			read_one(w, dir, name);
			break;
		case 3:
			change_one(w, dir, w->dirs[pick(w, 3)], name, any_name(w, temporary, new_name));
			break;
		default:
			list_one(w, dir);
		}
	}
	return NULL;
}

static void remove_all(struct fixture *f, uint64_t dir)
{
	struct tp_name *n;
	struct tp_object *o = tp_tree_object_of(tp_tree_node(f->tree, dir));

	while ((n = tp_dir_next(o->dir, 0))) {
		char name[256];

		memcpy(name, n->bytes, n->len);
		name[n->len] = 0;
		if (S_ISDIR(n->object->mode)) {
			remove_all(f, n->object->node.id);
			cr_assert_eq(rmdir_as(f, &f->me, dir, name), 0);
		} else {
			cr_assert_eq(unlink_as(f, &f->me, dir, name), 0);
		}
	}
}

static bool is_quiet(void *user)
{
	struct fixture *f = user;

	let_kernel_hear(f);
	return tp_evictor_pending_bytes(f->store->evictor) == 0 && pool_used_bytes(f) == 0;
}

static void run_threads(const char *state, unsigned rounds)
{
	struct worker workers[THREADS];
	struct tp_who processes[THREADS];
	struct fixture f;
	uint64_t d;

	for (unsigned i = 0; i < THREADS; i++)
		processes[i] = process_start();
	fixture_open(&f, MIB, state);
	f.hold = true;
	d = make_dir(&f, TP_NODE_CACHE, "d");
	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){
			.f = &f,
			.who = processes[i],
			.seed = i + 1,
			.rounds = rounds,
			.dirs = {d, make_dir(&f, d, i ? "x" : "sub"),
				make_dir(&f, TP_NODE_SAMPLES, i ? "y" : "s")},
			.bytes = malloc(FILE_BYTES_MAX),
		};
		if (i) {
			cr_assert_eq(rmdir_as(&f, &f.me, d, "x"), 0);
			cr_assert_eq(rmdir_as(&f, &f.me, TP_NODE_SAMPLES, "y"), 0);
			memcpy(workers[i].dirs, workers[0].dirs, sizeof(workers[i].dirs));
		}
	}
	for (unsigned i = 0; i < THREADS; i++)
		cr_assert_eq(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		while (pthread_tryjoin_np(workers[i].thread, NULL) == EBUSY) {
			let_kernel_hear(&f);
			/* Slowly: a thread may be late for what it was sent to. */
			move_time(&f, TP_NS_PER_MS);
			(void)usleep(500);
		}
		free(workers[i].bytes);
	}
	let_kernel_hear(&f);
	/* Drafts whose opener was sent away and never came. */
	move_time(&f, 5 * TP_NS_PER_S);
	tp_file_tick(f.tree);
	holds(&f);
	remove_all(&f, d);
	remove_all(&f, TP_NODE_SAMPLES);
	move_time(&f, 5 * TP_NS_PER_S);
	tp_file_tick(f.tree);
	wait_until(is_quiet, &f);
	holds(&f);
	cr_assert_eq(f.tree->objects, 0);
	cr_assert_eq(f.tree->drafts, 0);
	cr_assert_eq(rmdir_as(&f, &f.me, TP_NODE_CACHE, "d"), 0);
	cr_assert_eq(f.tree->nodes.count, 4, "everything was forgotten");
	cr_assert_gt(tp_stats_get(&f.store->stats, TP_STAT_PUBLISHED), rounds / 10);
	cr_log_info("published %lu, evicted %lu, sent back %lu, dropped %lu",
		tp_stats_get(&f.store->stats, TP_STAT_PUBLISHED),
		tp_stats_get(&f.store->stats, TP_STAT_EVICTED),
		tp_stats_get(&f.store->stats, TP_STAT_STALE_OPENS),
		tp_stats_get(&f.store->stats, TP_STAT_DROPPED));
	fixture_close(&f);
	for (unsigned i = 0; i < THREADS; i++)
		process_kill(&processes[i]);
}

Test(store, threads_that_change_everything_at_once_leave_a_tree_that_holds_together, .timeout = 300)
{
	run_threads(NULL, 2000);
}

Test(store, threads_that_change_directories_leave_what_is_loaded_again, .timeout = 300)
{
	SCRATCH(s);
	const char *state = scratch_path(&s, "state");
	struct fixture f;

	run_threads(state, 600);
	fixture_open(&f, POOL, state);
	holds(&f);
	cr_assert_str_eq(list_as(&f, &f.me, TP_NODE_CACHE), "");
	cr_assert_eq(f.tree->nodes.count, 4);
	fixture_close(&f);
}
