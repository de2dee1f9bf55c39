/* SPDX-License-Identifier: Apache-2.0 */
#include "tree_fixture.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static uint64_t fake_wall(const struct tp_clock *c)
{
	return tp_container(c, struct fake_clock, clock)->wall_ns;
}

static uint64_t fake_mono(const struct tp_clock *c)
{
	return tp_container(c, struct fake_clock, clock)->mono_ns;
}

static void tell(struct fixture *f, const char *text, size_t len)
{
	TP_LOCK(&f->lock);
	if (f->told_len + len >= sizeof(f->told))
		f->told_len = 0;
	memcpy(f->told + f->told_len, text, len);
	f->told_len += len;
	f->told[f->told_len] = 0;
}

static void name_changed(void *user, uint64_t parent, const char *name, size_t len)
{
	char text[320];
	int n = snprintf(text, sizeof(text), " %" PRIu64 "/%.*s ", parent, (int)len, name);

	tell(user, text, (size_t)n);
}

static void node_changed(void *user, uint64_t node, int64_t off, int64_t len)
{
	char text[64];
	int n = snprintf(text, sizeof(text), " %" PRIu64 " ", node);

	tell(user, text, (size_t)n);
}

static int then(void *user, void (*done)(void *arg), void *arg)
{
	struct fixture *f = user;

	{
		TP_LOCK(&f->lock);
		if (f->hold) {
			cr_assert_lt(f->held_count, 64);
			f->held[f->held_count] = done;
			f->held_arg[f->held_count++] = arg;
			return 0;
		}
	}
	done(arg);
	return 0;
}

void let_kernel_hear(struct fixture *f)
{
	for (;;) {
		void (*done)(void *arg);
		void *arg;

		{
			TP_LOCK(&f->lock);
			if (f->held_count == 0)
				return;
			done = f->held[--f->held_count];
			arg = f->held_arg[f->held_count];
		}
		done(arg);
	}
}

void fixture_open_with(struct fixture *f, const struct tp_store_options *options)
{
	struct tp_tree_hooks hooks = {name_changed, node_changed, then, f};
	struct tp_err err = {""};

	*f = (struct fixture){
		.clock = {.clock = {fake_wall, fake_mono, NULL},
			.wall_ns = 1000 * TP_NS_PER_S,
			.mono_ns = 500 * TP_NS_PER_S},
		.me = {.uid = 0, .gid = 0, .tid = getpid()},
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	struct tp_store_options o = *options;

	o.clock = &f->clock.clock;
	cr_assert_eq(tp_store_open(&o, &err, &f->store, &f->info), 0, "%s", err.text);
	f->tree = f->store->tree;
	tp_tree_set_hooks(f->tree, &hooks);
}

void fixture_open(struct fixture *f, uint64_t pool_bytes, const char *state)
{
	struct tp_store_options o = {
		.state = state,
		.pool = {.size_bytes = pool_bytes, .hugepages = TP_HUGEPAGES_OFF},
		.high_pct = 90,
		.low_pct = 80,
		.journal_interval_ns = 50 * TP_NS_PER_MS,
	};

	fixture_open_with(f, &o);
}

void fixture_close(struct fixture *f)
{
	let_kernel_hear(f);
	holds(f);
	cr_assert_eq(tp_pool_double_frees(f->store->pool), 0);
	cr_assert_eq(tp_store_close(f->store), 0);
	f->store = NULL;
}

void holds(struct fixture *f)
{
	const char *why = check_tree(f->tree);

	cr_assert_null(why, "%s", why);
}

uint64_t pool_used_bytes(struct fixture *f)
{
	struct tp_pool_usage u;

	tp_pool_usage(f->store->pool, &u);
	return u.size_bytes - u.free_bytes;
}

void move_time(struct fixture *f, uint64_t ns)
{
	f->clock.wall_ns += ns;
	f->clock.mono_ns += ns;
	tp_evictor_look(f->store->evictor);
}

bool told_name(struct fixture *f, uint64_t parent, const char *name)
{
	char text[320];
	TP_LOCK(&f->lock);

	(void)snprintf(text, sizeof(text), " %" PRIu64 "/%s ", parent, name);
	return strstr(f->told, text) != NULL;
}

bool told_node(struct fixture *f, uint64_t node)
{
	char text[64];
	TP_LOCK(&f->lock);

	(void)snprintf(text, sizeof(text), " %" PRIu64 " ", node);
	return strstr(f->told, text) != NULL;
}

void forget_told(struct fixture *f)
{
	TP_LOCK(&f->lock);
	f->told_len = 0;
	f->told[0] = 0;
}

/* Processes */

struct tp_who process_start(void)
{
	struct tp_who who = {0};
	sigset_t ends, before;

	/* Blocked in the child from its first moment, so that it cannot come too early. */
	(void)sigemptyset(&ends);
	(void)sigaddset(&ends, SIGUSR1);
	(void)sigprocmask(SIG_BLOCK, &ends, &before);
	who.tid = fork();
	cr_assert_geq(who.tid, 0);
	if (who.tid == 0) {
		siginfo_t info;

		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (sigwaitinfo(&ends, &info) != SIGUSR1)
			;
		_exit(info.si_value.sival_int);
	}
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	return who;
}

void process_end(const struct tp_who *who, int signal, int status)
{
	union sigval value = {.sival_int = status};
	siginfo_t info;

	if (signal)
		cr_assert_eq(kill(who->tid, signal), 0);
	else
		cr_assert_eq(sigqueue(who->tid, SIGUSR1, value), 0);
	cr_assert_eq(waitid(P_PID, (id_t)who->tid, &info, WEXITED | WNOWAIT), 0);
}

void process_reap(const struct tp_who *who)
{
	cr_assert_eq(waitpid(who->tid, NULL, 0), who->tid);
}

void process_kill(const struct tp_who *who)
{
	process_end(who, SIGKILL, 0);
	process_reap(who);
}

/* Programs */

static struct tp_who fresh(const struct tp_who *who)
{
	return (struct tp_who){.uid = who->uid, .gid = who->gid, .tid = who->tid};
}

static int look_up(
	struct fixture *f, const struct tp_who *who, uint64_t parent, const char *name, struct tp_entry *ret)
{
	struct tp_who w = fresh(who);
	int r = tp_tree_lookup(f->tree, &w, parent, name, ret);

	cr_assert_neq(r, -ENOMEM, "a look-up takes no memory");
	return r;
}

int make(struct fixture *f, const struct tp_who *who, uint64_t parent, const char *name, uint32_t mode)
{
	struct tp_who w = fresh(who);
	struct tp_entry e;
	int r = tp_tree_make(f->tree, &w, parent, name, mode, 0, S_ISLNK(mode) ? "target" : NULL, &e);

	if (r == 0)
		tp_tree_forget(f->tree, e.node, 1);
	return r;
}

uint64_t make_dir(struct fixture *f, uint64_t parent, const char *name)
{
	cr_assert_eq(make(f, &f->me, parent, name, S_IFDIR | 0755), 0);
	return node_of(f, &f->me, parent, name);
}

uint64_t node_of(struct fixture *f, const struct tp_who *who, uint64_t parent, const char *name)
{
	struct tp_entry e;

	if (look_up(f, who, parent, name, &e) < 0)
		return 0;
	tp_tree_forget(f->tree, e.node, 1);
	return e.node;
}

/* One try of it. -ESTALE: the kernel would look everything up again. */
static int open_once(struct fixture *f, struct file *ret, uint64_t parent, const char *name, int flags)
{
	int r = look_up(f, &ret->who, parent, name, &ret->entry);

	if (r == -ENOENT && (flags & O_CREAT)) {
		r = tp_tree_create(f->tree, &ret->who, parent, name, 0644, flags, &ret->entry, &ret->opened);
		cr_assert_neq(r, -ESTALE);
		ret->node = r == 0 ? ret->entry.node : 0;
		return r;
	}
	if (r < 0)
		return r;
	ret->node = ret->entry.node;
	if ((flags & O_CREAT) && (flags & O_EXCL)) {
		tp_tree_forget(f->tree, ret->node, 1);
		return -EEXIST;
	}
	r = tp_tree_open(f->tree, &ret->who, ret->node, flags & ~O_CREAT, &ret->opened);
	if (r < 0)
		tp_tree_forget(f->tree, ret->node, 1);
	return r;
}

int file_open(struct fixture *f, const struct tp_who *who, uint64_t parent, const char *name, int flags,
	struct file *ret)
{
	int r;

	*ret = (struct file){.who = fresh(who)};
	r = open_once(f, ret, parent, name, flags);
	if (r != -ESTALE)
		return r;
	r = open_once(f, ret, parent, name, flags);
	cr_assert_neq(r, -ESTALE, "the kernel asks twice, and no more");
	return r;
}

int file_write(struct fixture *f, struct file *file, uint64_t offset, const void *bytes, size_t len)
{
	struct iovec iov = {(void *)bytes, len};
	struct tp_write w = {.offset = offset, .iov = &iov, .iov_count = 1, .len = len, .last_try = true};

	return tp_file_write(f->tree, &file->who, file->opened.gen, &w);
}

int file_puts(struct fixture *f, struct file *file, uint64_t offset, const char *text)
{
	return file_write(f, file, offset, text, strlen(text));
}

int file_close(struct fixture *f, struct file *file)
{
	struct tp_who who = fresh(&file->who);
	int r = tp_file_flush(f->tree, &who, &file->opened);

	tp_file_release(f->tree, &file->opened, tp_mono_ns(&f->clock.clock));
	tp_tree_forget(f->tree, file->node, 1);
	return r;
}

int put_as(struct fixture *f, const struct tp_who *who, uint64_t parent, const char *name, const char *text)
{
	struct file file;
	int r = file_open(f, who, parent, name, O_WRONLY | O_CREAT | O_TRUNC, &file), closed;

	if (r < 0)
		return r;
	r = file_puts(f, &file, 0, text);
	closed = file_close(f, &file);
	return r < 0 ? r : closed;
}

void put(struct fixture *f, uint64_t parent, const char *name, const char *text)
{
	cr_assert_eq(put_as(f, &f->me, parent, name, text), 0);
}

unsigned char *bytes_of(size_t len, unsigned seed)
{
	unsigned char *bytes = malloc(len);

	for (size_t i = 0; i < len; i++)
		bytes[i] = (unsigned char)rand_r(&seed);
	return bytes;
}

int put_bytes(struct fixture *f, uint64_t parent, const char *name, size_t len, unsigned seed)
{
	tp_autofree unsigned char *bytes = bytes_of(len, seed);
	struct file file;
	int r = file_open(f, &f->me, parent, name, O_WRONLY | O_CREAT | O_TRUNC, &file), closed;

	if (r < 0)
		return r;
	r = file_write(f, &file, 0, bytes, len);
	closed = file_close(f, &file);
	return r < 0 ? r : closed;
}

bool has_text(struct fixture *f, struct file *file, const char *text)
{
	char buf[256];
	size_t n = tp_file_copy(f->tree, file->opened.gen, 0, buf, sizeof(buf));

	return n == strlen(text) && memcmp(buf, text, n) == 0;
}

bool reads(struct fixture *f, const struct tp_who *who, uint64_t parent, const char *name, const char *text)
{
	struct file file;
	bool same;

	if (file_open(f, who, parent, name, O_RDONLY, &file) < 0)
		return false;
	same = has_text(f, &file, text);
	cr_assert_eq(file_close(f, &file), 0);
	return same;
}

int stat_as(
	struct fixture *f, const struct tp_who *who, uint64_t parent, const char *name, struct tp_entry *ret)
{
	int r = look_up(f, who, parent, name, ret);

	if (r == 0)
		tp_tree_forget(f->tree, ret->node, 1);
	return r;
}

bool sees(struct fixture *f, const struct tp_who *who, uint64_t parent, const char *name)
{
	return node_of(f, who, parent, name) != 0;
}

int truncate_as(struct fixture *f, const struct tp_who *who, uint64_t parent, const char *name, uint64_t size)
{
	struct tp_setattr set = {.set_size = true, .size = size};
	struct tp_who w = fresh(who);
	struct tp_entry found, e;
	int r = -ESTALE;

	for (unsigned i = 0; i < 2 && r == -ESTALE; i++) {
		r = look_up(f, who, parent, name, &found);
		if (r < 0)
			return r;
		r = tp_tree_setattr(f->tree, &w, found.node, NULL, &set, &e);
		tp_tree_forget(f->tree, found.node, 1);
	}
	return r;
}

int unlink_as(struct fixture *f, const struct tp_who *who, uint64_t parent, const char *name)
{
	struct tp_who w = fresh(who);

	return tp_tree_unlink(f->tree, &w, parent, name);
}

int rename_as(struct fixture *f, const struct tp_who *who, uint64_t from, const char *name, uint64_t to,
	const char *new_name, unsigned flags)
{
	struct tp_who w = fresh(who);

	return tp_tree_rename(f->tree, &w, from, name, to, new_name, flags);
}

int link_as(struct fixture *f, const struct tp_who *who, uint64_t from, const char *name, uint64_t to,
	const char *new_name)
{
	struct tp_who w = fresh(who);
	struct tp_entry e, linked;
	int r = look_up(f, who, from, name, &e);

	if (r < 0)
		return r;
	r = tp_tree_link(f->tree, &w, e.node, to, new_name, &linked);
	if (r == 0)
		tp_tree_forget(f->tree, linked.node, 1);
	tp_tree_forget(f->tree, e.node, 1);
	return r;
}

int rmdir_as(struct fixture *f, const struct tp_who *who, uint64_t parent, const char *name)
{
	struct tp_who w = fresh(who);

	return tp_tree_rmdir(f->tree, &w, parent, name);
}

static bool list_one(
	const char *name, size_t len, uint64_t next_cookie, const struct tp_entry *entry, void *user)
{
	char *text = user;

	if (next_cookie > 2)
		(void)snprintf(text + strlen(text), (1 << 16) - strlen(text), "%.*s ", (int)len, name);
	return true;
}

const char *list_as(struct fixture *f, const struct tp_who *who, uint64_t node)
{
	static char text[1 << 16];
	struct tp_who w = fresh(who);

	text[0] = 0;
	cr_assert_eq(tp_tree_readdir(f->tree, &w, node, 0, false, list_one, text), 0);
	return text;
}

int set_rule(struct fixture *f, uint64_t node, const char *key, const char *value)
{
	struct tp_who w = fresh(&f->me);
	char name[64];

	(void)snprintf(name, sizeof(name), "user.tidepool.%s", key);
	return tp_tree_set_xattr(f->tree, &w, node, name, value, strlen(value), 0);
}

void wait_until(bool (*done)(void *user), void *user)
{
	struct timespec nap = {.tv_nsec = 1000000};

	for (unsigned i = 0; i < 60000; i++) {
		if (done(user))
			return;
		(void)nanosleep(&nap, NULL);
	}
	cr_assert_fail("it did not come in a minute");
}

struct gone {
	struct fixture *f;
	uint64_t parent;
	const char *name;
};

static bool is_gone(void *user)
{
	struct gone *g = user;

	return !sees(g->f, &g->f->me, g->parent, g->name);
}

void wait_gone(struct fixture *f, uint64_t parent, const char *name)
{
	struct gone g = {f, parent, name};

	wait_until(is_gone, &g);
}
