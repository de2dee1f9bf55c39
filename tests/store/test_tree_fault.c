/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each change of the tree without memory and on a full disk: what is refused has changed nothing, for who asked, for
 * others, and in what is loaded when the store is opened again.
 */
#include "tree_fixture.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>

struct workload {
	struct fixture f;
	struct tp_who other;
	struct file draft;     /* other's, of "hidden" */
	struct file in_target; /* other's, in the directory "target" */
	uint64_t dir, sub, target, stream, link, full;
};

static void workload_open(struct workload *w, const char *state)
{
	struct tp_who me;

	fixture_open(&w->f, POOL, state);
	me = w->f.me;
	w->dir = make_dir(&w->f, TP_NODE_CACHE, "dir");
	w->sub = make_dir(&w->f, w->dir, "sub");
	w->target = make_dir(&w->f, TP_NODE_CACHE, "target");
	w->stream = make_dir(&w->f, TP_NODE_SAMPLES, "s");
	w->full = make_dir(&w->f, TP_NODE_CACHE, "full");
	cr_assert_eq(make(&w->f, &w->f.me, TP_NODE_CACHE, "l", S_IFLNK | 0777), 0);
	cr_assert_eq(link_as(&w->f, &w->f.me, TP_NODE_CACHE, "l", w->dir, "l2"), 0);
	cr_assert_eq(make(&w->f, &w->f.me, TP_NODE_CACHE, "p", S_IFIFO | 0600), 0);
	w->link = node_of(&w->f, &w->f.me, TP_NODE_CACHE, "l");
	cr_assert_eq(tp_tree_set_xattr(w->f.tree, &me, w->full, "user.kept", "value", 5, 0), 0);
	cr_assert_eq(set_rule(&w->f, w->full, "quota", "2M"), 0);
	cr_assert_eq(tp_tree_sync(w->f.tree), 0);
	put(&w->f, TP_NODE_CACHE, "a", "a");
	put(&w->f, TP_NODE_CACHE, "b", "b");
	put(&w->f, w->dir, "c", "c");
	put(&w->f, w->stream, ".t", "t");
	cr_assert_eq(file_open(&w->f, &w->other, TP_NODE_CACHE, "hidden", O_WRONLY | O_CREAT, &w->draft), 0);
	cr_assert_eq(file_open(&w->f, &w->other, w->target, "x", O_WRONLY | O_CREAT, &w->in_target), 0);
	/* Full, so that the next name needs more places. */
	put(&w->f, w->dir, "d", "");
	/* What changes a time from now on can be seen. */
	cr_assert_eq(tp_tree_sync(w->f.tree), 0);
	move_time(&w->f, 1);
}

struct dumped {
	char text[400];
	uint64_t ino;
	uint32_t mode;
};

struct dumping {
	struct dumped entries[32];
	unsigned count;
	bool kept; /* only what is there after the store was opened again */
};

static bool dump_one(const char *name, size_t len, uint64_t next_cookie, const struct tp_entry *e, void *user)
{
	struct dumping *d = user;
	struct dumped *one = &d->entries[d->count];

	if (next_cookie <= 2 || (d->kept && (S_ISREG(e->attr.mode) || e->attr.ino == TP_NODE_CONTROL)))
		return true;
	cr_assert_lt(++d->count, 32);
	one->ino = e->attr.ino;
	one->mode = e->attr.mode;
	(void)snprintf(one->text, sizeof(one->text),
		"%.*s:%o:%u:%u:%u:%zu:%" PRIu64 ":%" PRIu64 ":%" PRIu64 " ", (int)len, name, e->attr.mode,
		e->attr.uid, e->attr.nlink, (unsigned)e->attr.ino,
		S_ISDIR(e->attr.mode) ? 0 : (size_t)e->attr.size, e->attr.atime_ns, e->attr.mtime_ns,
		e->attr.ctime_ns);
	return true;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(((const struct dumped *)a)->text, ((const struct dumped *)b)->text);
}

__attribute__((format(printf, 3, 4))) static void add(char *text, size_t size, const char *fmt, ...)
{
	size_t used = strlen(text);
	va_list ap;

	va_start(ap, fmt);
	cr_assert_lt(vsnprintf(text + used, size - used, fmt, ap), (int)(size - used));
	va_end(ap);
}

static void dump_attributes(
	struct fixture *f, const struct tp_who *me, uint64_t node, char *text, size_t size)
{
	static const char *const ours[] = {"user.tidepool.quota", "user.tidepool.ttl"};
	char names[256], value[256];
	struct tp_who who = *me;
	ssize_t len = tp_tree_list_xattr(f->tree, &who, node, names, sizeof(names)), n;

	cr_assert_geq(len, 0);
	for (const char *name = names; name < names + len; name += strlen(name) + 1) {
		n = tp_tree_get_xattr(f->tree, &who, node, name, value, sizeof(value));
		add(text, size, "%s=%.*s ", name, (int)n, value);
	}
	for (unsigned i = 0; i < sizeof(ours) / sizeof(ours[0]); i++) {
		n = tp_tree_get_xattr(f->tree, &who, node, ours[i], value, sizeof(value));
		if (n > 0)
			add(text, size, "%s=%.*s ", ours[i], (int)n, value);
	}
}

/* kept: without what goes when the store is closed, and sorted, since names are loaded in that order. */
static void dump_below(
	struct fixture *f, const struct tp_who *who, uint64_t node, bool kept, char *text, size_t size)
{
	tp_autofree struct dumping *d = calloc(1, sizeof(*d));
	struct tp_who w = *who;

	d->kept = kept;
	cr_assert_eq(tp_tree_readdir(f->tree, &w, node, 0, false, dump_one, d), 0);
	if (kept)
		qsort(d->entries, d->count, sizeof(d->entries[0]), by_text);
	for (unsigned i = 0; i < d->count; i++) {
		add(text, size, "%s", d->entries[i].text);
		if (!S_ISREG(d->entries[i].mode))
			dump_attributes(f, who, d->entries[i].ino, text, size);
	}
	add(text, size, "/ ");
	for (unsigned i = 0; i < d->count; i++)
		if (S_ISDIR(d->entries[i].mode))
			dump_below(f, who, d->entries[i].ino, kept, text, size);
}

static void dump(struct fixture *f, const struct tp_who *who, uint64_t node, char *text, size_t size)
{
	dump_below(f, who, node, false, text, size);
}

static int make_over_hidden(struct workload *w)
{
	return make(&w->f, &w->f.me, TP_NODE_CACHE, "hidden", S_IFDIR | 0755);
}

static int node_over_hidden(struct workload *w)
{
	return make(&w->f, &w->f.me, TP_NODE_CACHE, "hidden", S_IFREG | 0644);
}

static int symlink_over_hidden(struct workload *w)
{
	return make(&w->f, &w->f.me, TP_NODE_CACHE, "hidden", S_IFLNK | 0777);
}

static int link_over_hidden(struct workload *w)
{
	return link_as(&w->f, &w->f.me, TP_NODE_CACHE, "a", TP_NODE_CACHE, "hidden");
}

static int rename_over_hidden(struct workload *w)
{
	return rename_as(&w->f, &w->f.me, w->dir, "c", TP_NODE_CACHE, "hidden", 0);
}

static int rename_over_file(struct workload *w)
{
	return rename_as(&w->f, &w->f.me, TP_NODE_CACHE, "a", w->dir, "c", 0);
}

static int rename_into_full(struct workload *w)
{
	return rename_as(&w->f, &w->f.me, TP_NODE_CACHE, "a", w->dir, "new", 0);
}

static int rename_over_directory(struct workload *w)
{
	return rename_as(&w->f, &w->f.me, TP_NODE_CACHE, "dir", TP_NODE_CACHE, "target", 0);
}

static int exchange(struct workload *w)
{
	return rename_as(&w->f, &w->f.me, TP_NODE_CACHE, "a", w->dir, "sub", RENAME_EXCHANGE);
}

static int commit(struct workload *w)
{
	return rename_as(&w->f, &w->f.me, w->stream, ".t", w->stream, "t", 0);
}

static int open_close(struct workload *w, uint64_t parent, const char *name, int flags)
{
	struct file file;
	int r = file_open(&w->f, &w->f.me, parent, name, flags, &file);

	return r < 0 ? r : file_close(&w->f, &file);
}

static int create(struct workload *w)
{
	return open_close(w, w->dir, "new", O_WRONLY | O_CREAT | O_EXCL);
}

static int create_live(struct workload *w)
{
	return open_close(w, w->dir, ".new", O_RDONLY | O_CREAT);
}

static int join(struct workload *w)
{
	return open_close(w, TP_NODE_CACHE, "hidden", O_WRONLY | O_CREAT);
}

static int overwrite(struct workload *w)
{
	return open_close(w, TP_NODE_CACHE, "a", O_WRONLY);
}

static int overwrite_live(struct workload *w)
{
	return open_close(w, w->stream, ".t", O_RDWR);
}

static int write_whole(struct workload *w)
{
	return put_as(&w->f, &w->f.me, TP_NODE_CACHE, "a", "another text");
}

static int cut(struct workload *w)
{
	return truncate_as(&w->f, &w->f.me, TP_NODE_CACHE, "b", 0);
}

static int without_name(struct workload *w)
{
	struct file file = {.who = w->f.me};
	struct tp_entry e;
	int r = tp_tree_tmpfile(w->f.tree, &file.who, w->dir, 0600, O_RDWR, &e, &file.opened), closed;

	if (r < 0)
		return r;
	file.node = e.node;
	r = tp_tree_link(w->f.tree, &file.who, e.node, w->dir, "new", &e);
	if (r == 0)
		tp_tree_forget(w->f.tree, e.node, 1);
	closed = file_close(&w->f, &file);
	return r < 0 ? r : closed;
}

static int set_user(struct workload *w)
{
	struct tp_who me = w->f.me;

	return tp_tree_set_xattr(w->f.tree, &me, w->dir, "user.a", "b", 1, 0);
}

static int set_quota(struct workload *w)
{
	return set_rule(&w->f, w->dir, "quota", "1M");
}

static int set_ttl(struct workload *w)
{
	return set_rule(&w->f, w->dir, "ttl", "60");
}

static int remove_file(struct workload *w)
{
	return unlink_as(&w->f, &w->f.me, TP_NODE_CACHE, "a");
}

static int remove_directory(struct workload *w)
{
	return rmdir_as(&w->f, &w->f.me, TP_NODE_CACHE, "target");
}

static int make_directory(struct workload *w)
{
	return make(&w->f, &w->f.me, w->full, "new", S_IFDIR | 0755);
}

static int make_symlink(struct workload *w)
{
	return make(&w->f, &w->f.me, w->full, "new", S_IFLNK | 0777);
}

static int make_fifo(struct workload *w)
{
	return make(&w->f, &w->f.me, w->full, "new", S_IFIFO | 0600);
}

static int link_symlink(struct workload *w)
{
	return link_as(&w->f, &w->f.me, TP_NODE_CACHE, "l", w->full, "new");
}

static int rename_directory(struct workload *w)
{
	return rename_as(&w->f, &w->f.me, TP_NODE_CACHE, "full", w->sub, "moved", 0);
}

static int rename_over_symlink(struct workload *w)
{
	return rename_as(&w->f, &w->f.me, TP_NODE_CACHE, "p", TP_NODE_CACHE, "l", 0);
}

static int rename_file_over_fifo(struct workload *w)
{
	return rename_as(&w->f, &w->f.me, TP_NODE_CACHE, "a", TP_NODE_CACHE, "p", 0);
}

static int exchange_directories(struct workload *w)
{
	return rename_as(&w->f, &w->f.me, w->dir, "sub", TP_NODE_CACHE, "full", RENAME_EXCHANGE);
}

static int remove_one_link(struct workload *w)
{
	return unlink_as(&w->f, &w->f.me, TP_NODE_CACHE, "l");
}

static int remove_fifo(struct workload *w)
{
	return unlink_as(&w->f, &w->f.me, TP_NODE_CACHE, "p");
}

static int set_attributes(struct workload *w, uint64_t node)
{
	struct tp_setattr set = {.set_mode = true,
		.mode = 0700,
		.set_uid = true,
		.uid = 7,
		.set_atime = true,
		.atime_ns = 7,
		.set_mtime = true,
		.mtime_ns = 8};
	struct tp_who me = w->f.me;
	struct tp_entry e;

	return tp_tree_setattr(w->f.tree, &me, node, NULL, &set, &e);
}

static int change_directory(struct workload *w)
{
	return set_attributes(w, w->full);
}

static int change_link(struct workload *w)
{
	return set_attributes(w, w->link);
}

static int replace_user(struct workload *w)
{
	struct tp_who me = w->f.me;

	return tp_tree_set_xattr(w->f.tree, &me, w->full, "user.kept", "another", 7, 0);
}

static int remove_user(struct workload *w)
{
	struct tp_who me = w->f.me;

	return tp_tree_remove_xattr(w->f.tree, &me, w->full, "user.kept");
}

static int remove_quota(struct workload *w)
{
	struct tp_who me = w->f.me;

	return tp_tree_remove_xattr(w->f.tree, &me, w->full, "user.tidepool.quota");
}

static const struct {
	const char *name;
	int (*run)(struct workload *w);
	bool noted; /* the ledger is told of it */
} steps[] = {
	{"make directory", make_directory, true},
	{"make symlink", make_symlink, true},
	{"make fifo", make_fifo, true},
	{"link symlink", link_symlink, true},
	{"rename directory", rename_directory, true},
	{"rename over symlink", rename_over_symlink, true},
	{"rename file over fifo", rename_file_over_fifo, true},
	{"exchange directories", exchange_directories, true},
	{"remove one link", remove_one_link, true},
	{"remove fifo", remove_fifo, true},
	{"change directory", change_directory, true},
	{"change link", change_link, true},
	{"replace user", replace_user, true},
	{"remove user", remove_user, true},
	{"remove quota", remove_quota, true},
	{"make over hidden", make_over_hidden, true},
	{"node over hidden", node_over_hidden},
	{"symlink over hidden", symlink_over_hidden, true},
	{"link over hidden", link_over_hidden},
	{"rename over hidden", rename_over_hidden},
	{"rename over file", rename_over_file},
	{"rename into a full directory", rename_into_full},
	{"rename over directory", rename_over_directory, true},
	{"exchange", exchange, true},
	{"commit", commit},
	{"create", create},
	{"create live", create_live},
	{"join", join},
	{"overwrite", overwrite},
	{"overwrite live", overwrite_live},
	{"write whole", write_whole},
	{"cut", cut},
	{"without name", without_name},
	{"set user", set_user, true},
	{"set quota", set_quota, true},
	{"set ttl", set_ttl, true},
	{"remove file", remove_file},
	{"remove directory", remove_directory, true},
};

/* What a user sees of the whole tree, from both sides. */
struct picture {
	char mine[1 << 14], others[1 << 14], kept[1 << 14];
};

static struct picture *picture_of(struct workload *w)
{
	struct picture *p = calloc(1, sizeof(*p));

	dump(&w->f, &w->f.me, TP_NODE_ROOT, p->mine, sizeof(p->mine));
	dump(&w->f, &w->other, TP_NODE_ROOT, p->others, sizeof(p->others));
	dump_below(&w->f, &w->f.me, TP_NODE_ROOT, true, p->kept, sizeof(p->kept));
	return p;
}

static void check_same(const struct picture *after, const struct picture *before, const char *name, int r)
{
	cr_assert_str_eq(after->mine, before->mine, "%s: %d", name, r);
	cr_assert_str_eq(after->others, before->others, "%s: %d", name, r);
}

/* The step failed with r, or worked: what is there now is what was there before, or not. Ends w, and opens state, unless that is NULL, again to see that it is so there as well. */
static void check_step(
	struct workload *w, const char *name, int r, const struct picture *before, const char *state)
{
	tp_autofree struct picture *after = NULL;
	char again[1 << 14] = {0};

	if (check_tree(w->f.tree)) {
		/* Whoever was promised a draft may still come. */
		move_time(&w->f, 3 * TP_NS_PER_S);
		tp_file_tick(w->f.tree);
	}
	holds(&w->f);
	after = picture_of(w);
	if (r < 0)
		check_same(after, before, name, r);
	(void)file_close(&w->f, &w->draft);
	cr_assert_eq(file_close(&w->f, &w->in_target), 0);
	if (r < 0)
		cr_assert(sees(&w->f, &w->f.me, TP_NODE_CACHE, "hidden"));
	fixture_close(&w->f);
	if (!state)
		return;
	fixture_open(&w->f, POOL, state);
	holds(&w->f);
	dump_below(&w->f, &w->f.me, TP_NODE_ROOT, true, again, sizeof(again));
	cr_assert_str_eq(again, after->kept, "%s: %d, after opening again", name, r);
	fixture_close(&w->f);
}

static void every_allocation_fails(bool with_state)
{
	struct tp_who other = process_start();
	unsigned failures = 0;

	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		bool failed = true;

		for (unsigned n = 1; failed; n++) {
			SCRATCH(s);
			const char *state = with_state ? scratch_path(&s, "state") : NULL;
			struct workload w = {.other = other};
			tp_autofree struct picture *before = NULL;
			int r;

			cr_assert_lt(n, 60, "%s", steps[i].name);
			workload_open(&w, state);
			before = picture_of(&w);
			heap_fail_at(n);
			r = steps[i].run(&w);
			failed = heap_fail_off();
			failures += failed;
			/* Some can do without. */
			cr_assert(r == 0 || (failed && r == -ENOMEM), "%s, %u: %d", steps[i].name, n, r);
			check_step(&w, steps[i].name, r, before, state);
		}
	}
	cr_assert_gt(failures, 60, "%u", failures);
	process_kill(&other);
}

Test(tree_fault, every_allocation_that_fails_leaves_a_change_done_or_not_begun, .timeout = 300)
{
	every_allocation_fails(false);
}

Test(tree_fault, every_allocation_that_fails_leaves_no_trace_in_the_ledger, .timeout = 600)
{
	every_allocation_fails(true);
}

/* The disk is full for whoever asks for room; what is allocated stays. */
static atomic_bool full;

int fallocate(int fd, int mode, off_t offset, off_t len)
{
	if (atomic_load(&full)) {
		errno = ENOSPC;
		return -1;
	}
	return (int)syscall(SYS_fallocate, fd, mode, offset, len);
}

/* Takes all the room that the journal has. */
static uint64_t use_up_room(struct tp_ledger *l)
{
	uint64_t taken = 0;

	for (uint64_t bytes = MIB; bytes > 0; bytes /= 2)
		for (; tp_ledger_promise(l, bytes, true) == 0; taken += bytes)
			cr_assert_lt(taken, 64 * MIB);
	return taken;
}

Test(tree_fault, on_a_full_disk_what_must_be_recorded_is_refused_and_the_rest_works, .timeout = 300)
{
	struct tp_who other = process_start();

	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		SCRATCH(s);
		const char *state = scratch_path(&s, "state");
		struct workload w = {.other = other};
		tp_autofree struct picture *before = NULL, *after = NULL;
		uint64_t taken;
		int r;

		workload_open(&w, state);
		before = picture_of(&w);
		atomic_store(&full, true);
		taken = use_up_room(w.f.store->ledger);
		r = steps[i].run(&w);
		cr_assert_eq(r, steps[i].noted ? -ENOSPC : 0, "%s: %d", steps[i].name, r);
		after = picture_of(&w);
		if (r < 0)
			check_same(after, before, steps[i].name, r);
		atomic_store(&full, false);
		tp_ledger_release(w.f.store->ledger, taken);
		if (r < 0)
			cr_assert_eq(steps[i].run(&w), 0, "%s", steps[i].name);
		check_step(&w, steps[i].name, 0, before, state);
	}
	process_kill(&other);
}
