/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/view.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "fs/holder.h"
#include "fs/notify.h"
#include "fs/ops.h"
#include "fs/utf8.h"
#include "store/cleanup.h"
#include "store/evict.h"
#include "store/file.h"

/* Handles of one file of which `explain` tells who opened them. */
#define OPENERS_MAX 64
/* A request that was not answered for so long is among those that wait. */
#define HELD_NS TP_NS_PER_S
/* What tells of waits does not itself wait longer for the lock that the path needs. */
#define LOCK_NS (100 * (long)TP_NS_PER_MS)

static const char *const op_names[TP_STATS_OPS_MAX] = {
	[FUSE_LOOKUP] = "LOOKUP",
	[FUSE_FORGET] = "FORGET",
	[FUSE_GETATTR] = "GETATTR",
	[FUSE_SETATTR] = "SETATTR",
	[FUSE_READLINK] = "READLINK",
	[FUSE_SYMLINK] = "SYMLINK",
	[FUSE_MKNOD] = "MKNOD",
	[FUSE_MKDIR] = "MKDIR",
	[FUSE_UNLINK] = "UNLINK",
	[FUSE_RMDIR] = "RMDIR",
	[FUSE_RENAME] = "RENAME",
	[FUSE_LINK] = "LINK",
	[FUSE_OPEN] = "OPEN",
	[FUSE_READ] = "READ",
	[FUSE_WRITE] = "WRITE",
	[FUSE_STATFS] = "STATFS",
	[FUSE_RELEASE] = "RELEASE",
	[FUSE_FSYNC] = "FSYNC",
	[FUSE_SETXATTR] = "SETXATTR",
	[FUSE_GETXATTR] = "GETXATTR",
	[FUSE_LISTXATTR] = "LISTXATTR",
	[FUSE_REMOVEXATTR] = "REMOVEXATTR",
	[FUSE_FLUSH] = "FLUSH",
	[FUSE_INIT] = "INIT",
	[FUSE_OPENDIR] = "OPENDIR",
	[FUSE_READDIR] = "READDIR",
	[FUSE_RELEASEDIR] = "RELEASEDIR",
	[FUSE_FSYNCDIR] = "FSYNCDIR",
	[FUSE_GETLK] = "GETLK",
	[FUSE_SETLK] = "SETLK",
	[FUSE_SETLKW] = "SETLKW",
	[FUSE_ACCESS] = "ACCESS",
	[FUSE_CREATE] = "CREATE",
	[FUSE_INTERRUPT] = "INTERRUPT",
	[FUSE_BMAP] = "BMAP",
	[FUSE_DESTROY] = "DESTROY",
	[FUSE_IOCTL] = "IOCTL",
	[FUSE_POLL] = "POLL",
	[FUSE_BATCH_FORGET] = "BATCH_FORGET",
	[FUSE_FALLOCATE] = "FALLOCATE",
	[FUSE_READDIRPLUS] = "READDIRPLUS",
	[FUSE_RENAME2] = "RENAME2",
	[FUSE_LSEEK] = "LSEEK",
	[FUSE_COPY_FILE_RANGE] = "COPY_FILE_RANGE",
	[FUSE_SYNCFS] = "SYNCFS",
	[FUSE_TMPFILE] = "TMPFILE",
};

void tp_view_config(struct tp_fs *fs, uint64_t node, FILE *out)
{
	if (fs->options.config_text)
		(void)fputs(fs->options.config_text, out);
}

/* What is told of a draft. */
struct draft_seen {
	char *path; /* owned */
	const char *state;
	uint64_t size, started_ns, ino;
	unsigned opens;
	bool unlinked;
	uint32_t writers_count;
	pid_t *writers; /* owned */
};

struct drafts_seen {
	struct draft_seen *list; /* owned */
	size_t count, max;
};

static void drafts_seen_fini(struct drafts_seen *s)
{
	for (size_t i = 0; i < s->count; i++) {
		free(s->list[i].path);
		free(s->list[i].writers);
	}
	free(s->list);
}

static int see_draft(struct tp_fs *fs, const struct tp_draft *d, struct drafts_seen *s)
{
	struct draft_seen *one;
	char path[PATH_MAX];

	if (s->count == s->max) {
		size_t max = s->max ? 2 * s->max : 16;
		struct draft_seen *list = realloc(s->list, max * sizeof(*list));

		if (!list)
			return -ENOMEM;
		s->list = list;
		s->max = max;
	}
	one = &s->list[s->count];
	*one = (struct draft_seen){
		.path = strdup(tp_tree_path_locked(fs->tree, d->gen->node.id, path, sizeof(path))),
		.state = tp_gen_state_name(d->gen),
		.started_ns = d->started_ns,
		.ino = d->gen->object->regular_id,
		.opens = d->gen->opens,
		.unlinked = d->unlinked,
		.writers_count = d->writers_count,
		.writers = calloc(d->writers_count + 1, sizeof(*one->writers)),
	};
	s->count++;
	if (!one->path || !one->writers)
		return -ENOMEM;
	for (uint32_t i = 0; i < d->writers_count; i++)
		one->writers[i] = d->writers[i].process.tgid;
	TP_RDLOCK(tp_tree_map_lock(fs->tree, d->gen));
	one->size = d->gen->size;
	return 0;
}

static int see_drafts(struct tp_fs *fs, struct drafts_seen *ret)
{
	int r = 0;
	TP_RDLOCK(&fs->tree->lock);

	tp_list_each (l, &fs->tree->writing) {
		r = see_draft(fs, tp_container(l, struct tp_draft, writing), ret);
		if (r < 0)
			break;
	}
	return r;
}

/* Is it open though those are gone that are known to have written it? */
static bool is_left_to_others(const struct draft_seen *d)
{
	for (uint32_t i = 0; i < d->writers_count; i++)
		if (tp_process_end_of(d->writers[i]) == TP_END_RUNS)
			return false;
	return d->opens > 0;
}

static void print_holders(const struct tp_holders *h, uint64_t ino, FILE *out)
{
	bool any = false;
	char name[64];

	for (size_t i = 0; i < h->count; i++) {
		if (h->list[i].ino != ino || !h->list[i].writes)
			continue;
		(void)fprintf(out, "%s%d (%s)", any ? ", " : ", held by ", h->list[i].pid,
			tp_process_name(h->list[i].pid, name, sizeof(name)));
		any = true;
	}
	if (!any)
		(void)fputs(", held by a process that is not known", out);
}

static void print_draft(const struct draft_seen *d, uint64_t now_ns, FILE *out)
{
	char quoted[4 * PATH_MAX], name[64];

	(void)fprintf(out, "%s %s %" PRIu64 " bytes, %" PRIu64 " s, open %u",
		tp_events_quote(d->path, strlen(d->path), quoted, sizeof(quoted)), d->state, d->size,
		(now_ns - d->started_ns) / TP_NS_PER_S, d->opens);
	for (uint32_t i = 0; i < d->writers_count; i++)
		(void)fprintf(out, "%s%d (%s)", i ? ", " : ", written by ", d->writers[i],
			tp_process_name(d->writers[i], name, sizeof(name)));
}

/* What /proc says is asked without the lock. */
void tp_view_drafts(struct tp_fs *fs, uint64_t node, FILE *out)
{
	struct drafts_seen drafts = {0};
	struct tp_holders holders = {0};
	int r = see_drafts(fs, &drafts);
	uint64_t now_ns = tp_mono_ns(fs->store->clock);
	bool looked = false;

	for (size_t i = 0; r == 0 && i < drafts.count; i++) {
		const struct draft_seen *d = &drafts.list[i];

		print_draft(d, now_ns, out);
		if (is_left_to_others(d)) {
			if (!looked)
				(void)tp_holders_find(fs->mount_id, &holders);
			looked = true;
			print_holders(&holders, d->ino, out);
		}
		(void)fputs(d->unlinked ? ", unlinked\n" : "\n", out);
	}
	if (r < 0)
		(void)fputs("out of memory: the drafts could not be looked at\n", out);
	tp_holders_fini(&holders);
	drafts_seen_fini(&drafts);
}

void tp_view_evicted(struct tp_fs *fs, uint64_t node, FILE *out)
{
	(void)tp_evictor_print_victims(fs->store->evictor, out);
}

/* One line per trouble; the number of lines. */
static unsigned print_troubles(struct tp_fs *fs, FILE *out)
{
	uint64_t dropped = tp_events_dropped(fs->store->events),
		 unknown = atomic_load(&fs->tree->unknown_ends);
	uint64_t lost = tp_notifier_lost(tp_session_notifier(fs->session));
	unsigned held_up = tp_notifier_held_up(tp_session_notifier(fs->session));
	struct tp_tree_counts counts;
	int trouble = fs->store->ledger ? tp_ledger_trouble(fs->store->ledger) : 0;
	unsigned lines = 0;

	if (!tp_tier_any_durable(fs->store))
		lines += fputs("volatile: objects and samples are in memory only and are lost when the "
			       "daemon ends\n",
				 out) >= 0;
	if (trouble == ENOSPC || trouble == ENOMEM)
		lines +=
			fprintf(out, "ledger: what changed in directories waits to be written to STATE: %s\n",
				strerror(trouble)) > 0;
	else if (trouble)
		lines += fprintf(out, "ledger: directories cannot be changed until the next mount: %s\n",
				 strerror(trouble)) > 0;
	if (unknown)
		lines += fprintf(out,
				 "writers: %" PRIu64
				 " drafts were published though how their writers ended could not be seen; "
				 "writers in another pid namespace do not see their own drafts\n",
				 unknown) > 0;
	if (dropped)
		lines += fprintf(out, "events: %" PRIu64 " lines could not be kept\n", dropped) > 0;
	if (lost)
		lines += fprintf(out, "notices: %" PRIu64 " invalidations could not be sent to the kernel\n",
				 lost) > 0;
	tp_tree_count(fs->tree, &counts);
	if (counts.names >= fs->store->options.names_max &&
		(counts.names_spare == 0 || atomic_load(&fs->tree->names_stuck)))
		lines += fprintf(out,
				 "names: all %" PRIu64 " are taken, and nothing may be evicted for another "
				 "one; see the option names\n",
				 fs->store->options.names_max) > 0;
	if (held_up)
		lines += fprintf(out,
				 "notices: programs keep %u directories locked in the kernel, and names that "
				 "went from there are still shown\n",
				 held_up) > 0;
	return lines;
}

void tp_view_health(struct tp_fs *fs, uint64_t node, FILE *out)
{
	if (print_troubles(fs, out) == 0)
		(void)fputs("ok\n", out);
}

void tp_view_reconcile(struct tp_fs *fs, uint64_t node, FILE *out)
{
	const struct tp_store_info *found = &fs->store->found;

	(void)fprintf(out,
		"%s\ndirectories %" PRIu64 "\nlinks and special files %" PRIu64
		"\njournal records replayed %" PRIu64 "\njournal bytes dropped %" PRIu64 "\n",
		found->ledger.created ? "new store" : "opened store", found->directories, found->others,
		found->ledger.replayed, found->ledger.dropped_bytes);
}

static void gauge(FILE *out, const char *name, const char *help, uint64_t value)
{
	(void)fprintf(out, "# HELP tidepool_%s %s\n# TYPE tidepool_%s gauge\ntidepool_%s %" PRIu64 "\n", name,
		help, name, name, value);
}

static void count_wait(const struct tp_wait *w, void *user)
{
	++*(uint64_t *)user;
}

static void print_label(const struct tp_name *n, FILE *out)
{
	/* Prometheus' own escapes, and what is no UTF-8, or would move a terminal's cursor, as \xNN, as it stands in the events: with the backslash, so that no two names are the same. */
	for (size_t i = 0, len; i < n->len; i += len) {
		len = tp_utf8_len(n->bytes + i, n->len - i);
		if (n->bytes[i] == '\n')
			(void)fputs("\\n", out);
		else if (len == 0 || n->bytes[i] == '\\' || (unsigned char)n->bytes[i] < ' ' ||
			 n->bytes[i] == 0x7f)
			(void)fprintf(out, "\\\\x%02x", (unsigned char)n->bytes[i]);
		else if (n->bytes[i] == '"')
			(void)fputs("\\\"", out);
		else
			(void)fwrite(n->bytes + i, 1, len, out);
		len += len == 0;
	}
}

/* Hits and misses of each first directory of cache/. */
static void print_uses(struct tp_fs *fs, FILE *out)
{
	struct tp_dir *cache = fs->tree->cache->dir;
	TP_RDLOCK(&fs->tree->lock);

	(void)fputs("# HELP tidepool_directory_uses_total opens that found their object, and look-ups that "
		    "found nothing\n"
		    "# TYPE tidepool_directory_uses_total counter\n",
		out);
	for (struct tp_name *n = tp_dir_next(cache, 0); n; n = tp_dir_next(cache, n->cookie)) {
		if (!S_ISDIR(n->object->mode))
			continue;
		(void)fputs("tidepool_directory_uses_total{directory=\"", out);
		print_label(n, out);
		(void)fprintf(out, "\",result=\"hit\"} %" PRIu64 "\n", atomic_load(&n->object->dir->hits));
		(void)fputs("tidepool_directory_uses_total{directory=\"", out);
		print_label(n, out);
		(void)fprintf(out, "\",result=\"miss\"} %" PRIu64 "\n", atomic_load(&n->object->dir->misses));
	}
}

/* A stream's samples. */
struct samples {
	uint64_t ready, ready_bytes, temporary, drafts;
	uint64_t oldest_ns;
};

static void count_samples(struct tp_fs *fs, const struct tp_object *stream, struct samples *s)
{
	for (struct tp_name *n = tp_dir_next(stream->dir, 0); n; n = tp_dir_next(stream->dir, n->cookie)) {
		if (tp_tree_hidden(n->object)) {
			s->drafts++;
		} else if (tp_tree_is_temporary(stream, n->bytes, n->len)) {
			s->temporary++;
		} else {
			s->ready++;
			s->ready_bytes += n->object->gen->size;
			if (s->oldest_ns == 0 || n->object->ctime_ns < s->oldest_ns)
				s->oldest_ns = n->object->ctime_ns;
		}
	}
}

static void count_all_samples(struct tp_fs *fs, struct samples *ret)
{
	struct tp_dir *streams = fs->tree->samples->dir;
	TP_RDLOCK(&fs->tree->lock);

	*ret = (struct samples){0};
	for (struct tp_name *n = tp_dir_next(streams, 0); n; n = tp_dir_next(streams, n->cookie))
		count_samples(fs, n->object, ret);
}

static uint64_t age_s(struct tp_fs *fs, uint64_t wall_ns)
{
	uint64_t now_ns = tp_wall_ns(fs->store->clock);

	return wall_ns && now_ns > wall_ns ? (now_ns - wall_ns) / TP_NS_PER_S : 0;
}

void tp_view_stats(struct tp_fs *fs, uint64_t node, FILE *out)
{
	struct tp_tree_counts counts;
	struct tp_pool_usage u;
	struct samples s;
	uint64_t parked = 0;

	tp_stats_render(&fs->store->stats, op_names, out);
	print_uses(fs, out);
	tp_pool_usage(fs->store->pool, &u);
	tp_tree_count(fs->tree, &counts);
	count_all_samples(fs, &s);
	tp_wait_each(fs->session, count_wait, &parked);
	gauge(out, "pool_size_bytes", "size of the memory pool", u.size_bytes);
	gauge(out, "pool_free_bytes", "free pages of the memory pool", u.free_bytes);
	gauge(out, "pool_slot_bytes", "handed out in slots", u.slot_bytes);
	gauge(out, "pool_prefaulted_bytes", "touched so far", u.prefaulted_bytes);
	gauge(out, "pool_pending_bytes", "evicted, and free once the kernel has been told",
		tp_evictor_pending_bytes(fs->store->evictor));
	gauge(out, "superseded_bytes", "replaced, and kept for openers that may still come",
		atomic_load(&fs->tree->old_bytes));
	gauge(out, "objects", "regular files", counts.objects);
	gauge(out, "directories", "directories", counts.directories);
	gauge(out, "names", "of files, directories and all else, and what attributes count for",
		counts.names);
	gauge(out, "names_max", "how many there may be", fs->store->options.names_max);
	gauge(out, "drafts", "generations that are being written", counts.drafts);
	gauge(out, "times_to_live", "noted", tp_evictor_expiries(fs->store->evictor));
	gauge(out, "open_files", "handles", fs->handles.used);
	gauge(out, "parked_requests", "requests that wait", parked);
	gauge(out, "notices_waiting", "invalidations on their way to the kernel",
		tp_notifier_depth(tp_session_notifier(fs->session)));
	gauge(out, "notices_held_up",
		"directories that programs keep locked, so that what is about them waits",
		tp_notifier_held_up(tp_session_notifier(fs->session)));
	gauge(out, "samples_ready", "samples that wait for a consumer", s.ready);
	gauge(out, "samples_oldest_ready_seconds", "age of the oldest ready sample", age_s(fs, s.oldest_ns));
	gauge(out, "uptime_seconds", "since the mount",
		(tp_mono_ns(fs->store->clock) - fs->started_mono_ns) / TP_NS_PER_S);
}

static const char *size_text(uint64_t bytes, char *buf, size_t len)
{
	static const char units[] = "BKMGT";
	double v = (double)bytes;
	unsigned u = 0;

	for (; v >= 1024 && u < 4; u++)
		v /= 1024;
	(void)snprintf(buf, len, u ? "%.1f%c" : "%.0f%c", v, units[u]);
	return buf;
}

void tp_view_status(struct tp_fs *fs, uint64_t node, FILE *out)
{
	struct tp_stats *st = &fs->store->stats;
	uint64_t hits = tp_stats_get(st, TP_STAT_HITS), misses = tp_stats_get(st, TP_STAT_MISSES);
	const unsigned char *id = fs->store->found.ledger.uuid;
	struct tp_tree_counts counts;
	struct tp_pool_usage u;
	struct samples s;
	char a[32], b[32];

	tp_pool_usage(fs->store->pool, &u);
	tp_tree_count(fs->tree, &counts);
	count_all_samples(fs, &s);
	(void)fprintf(out, "tidepool %s at %s, up %" PRIu64 " s\nstate    %s, store ",
		fs->options.version_text, fs->options.mountpoint,
		(tp_mono_ns(fs->store->clock) - fs->started_mono_ns) / TP_NS_PER_S,
		fs->store->options.state ? fs->store->options.state : "none");
	for (unsigned i = 0; i < 16; i++)
		(void)fprintf(out, "%02x%s", id[i], i == 3 || i == 5 || i == 7 || i == 9 ? "-" : "");
	(void)fprintf(out, "\nmemory   %s of %s used, %" PRIu64 " %% free\n",
		size_text(u.size_bytes - u.free_bytes, a, sizeof(a)), size_text(u.size_bytes, b, sizeof(b)),
		u.size_bytes ? u.free_bytes * 100 / u.size_bytes : 0);
	(void)fprintf(out,
		"objects  %" PRIu64 " in %" PRIu64 " directories, %" PRIu64 " being written, %u open\n",
		counts.objects, counts.directories, counts.drafts, fs->handles.used);
	(void)fprintf(out, "samples  %" PRIu64 " ready (%s), %" PRIu64 " temporary, oldest %" PRIu64 " s\n",
		s.ready, size_text(s.ready_bytes, a, sizeof(a)), s.temporary, age_s(fs, s.oldest_ns));
	(void)fprintf(out,
		"cache    %" PRIu64 " hits, %" PRIu64 " misses, %" PRIu64 " evicted, %" PRIu64 " published\n",
		hits, misses, tp_stats_get(st, TP_STAT_EVICTED), tp_stats_get(st, TP_STAT_PUBLISHED));
	(void)fputs("health   ", out);
	tp_view_health(fs, 0, out);
}

void tp_view_stream(struct tp_fs *fs, uint64_t node, FILE *out)
{
	struct samples s = {0};
	struct tp_object *dir;
	TP_RDLOCK(&fs->tree->lock);

	if (tp_tree_dir(fs->tree, node, &dir) < 0)
		return;
	count_samples(fs, dir, &s);
	(void)fprintf(out,
		"ready %" PRIu64 "\nready_bytes %" PRIu64 "\ntemporary %" PRIu64 "\ndrafts %" PRIu64
		"\nheld_bytes %" PRIu64 "\noldest_ready_seconds %" PRIu64 "\ncommit %s\n",
		s.ready, s.ready_bytes, s.temporary, s.drafts, atomic_load(&dir->dir->bytes_below),
		age_s(fs, s.oldest_ns), tp_commit_name(tp_tree_commit_of(fs->tree, dir)));
}

void tp_view_tiers(struct tp_fs *fs, uint64_t node, FILE *out)
{
	for (unsigned i = 0; i < fs->store->tiers_count; i++) {
		const struct tp_tier *t = &fs->store->tiers[i];
		struct tp_tier_usage u;

		t->ops->usage(t, &u);
		(void)fprintf(out, "%s size=%" PRIu64 " free=%" PRIu64 " %s\n", t->ops->name, u.size_bytes,
			u.free_bytes, u.detail);
	}
}

static void print_wait(const struct tp_wait *w, void *user)
{
	FILE *out = user;
	uint64_t waited_ns = tp_mono_ns(tp_clock_system()) - w->since_ns;

	(void)fprintf(out, "%u %s, for %.3f s\n", w->caller.pid, w->what, (double)waited_ns / TP_NS_PER_S);
}

/* Where what is held up is told to. */
struct held_out {
	struct tp_fs *fs;
	FILE *out;
	bool locked; /* the tree is, so that a path can be found */
};

static void print_held(const struct tp_held *h, void *user)
{
	const struct held_out *o = user;
	const char *op = h->opcode < TP_STATS_OPS_MAX ? op_names[h->opcode] : NULL;
	char path[PATH_MAX] = "?", quoted[4 * PATH_MAX];
	uint64_t held_ns = tp_mono_ns(tp_clock_system()) - h->started_ns;

	(void)fprintf(o->out, "%u ", h->pid);
	if (op)
		(void)fprintf(o->out, "%s ", op);
	else
		(void)fprintf(o->out, "request %u ", h->opcode);
	if (o->locked)
		(void)tp_tree_path_locked(o->fs->tree, h->node, path, sizeof(path));
	if (strcmp(path, "?") != 0)
		(void)fputs(tp_events_quote(path, strlen(path), quoted, sizeof(quoted)), o->out);
	else
		(void)fprintf(o->out, "node %" PRIu64, h->node);
	(void)fprintf(o->out, ": no answer yet, for %.3f s\n", (double)held_ns / TP_NS_PER_S);
}

/* Who is held up may hold the lock. */
static bool lock_tree_soon(struct tp_tree *t)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += LOCK_NS;
	if (until.tv_nsec >= (long)TP_NS_PER_S) {
		until.tv_nsec -= (long)TP_NS_PER_S;
		until.tv_sec++;
	}
	return pthread_rwlock_timedrdlock(&t->lock, &until) == 0;
}

void tp_view_waits(struct tp_fs *fs, uint64_t node, FILE *out)
{
	struct held_out o = {.fs = fs, .out = out, .locked = lock_tree_soon(fs->tree)};

	tp_session_each_held(fs->session, HELD_NS, print_held, &o);
	if (o.locked)
		(void)pthread_rwlock_unlock(&fs->tree->lock);
	tp_wait_each(fs->session, print_wait, out);
}

/* The handles of one inode. */
struct openers {
	struct tp_fs *fs;
	uint64_t ino;
	unsigned handles;
	pid_t tids[OPENERS_MAX];
};

static void note_opener(struct tp_handle *h, void *user)
{
	struct openers *o = user;

	if (h->kind != TP_HANDLE_FILE || tp_ops_ino(o->fs, h->node) != o->ino)
		return;
	if (o->handles < OPENERS_MAX)
		o->tids[o->handles] = h->pid;
	o->handles++;
}

static void print_process(const char *what, pid_t pid, FILE *out)
{
	char name[64];

	(void)fprintf(out, "%s: %d (%s)\n", what, pid, tp_process_name(pid, name, sizeof(name)));
}

void tp_view_holders(struct tp_fs *fs, uint64_t node, FILE *out)
{
	struct openers o = {.fs = fs, .ino = tp_ops_ino(fs, node)};
	struct tp_holders h = {0};
	size_t seen;

	if (o.ino)
		tp_handles_each(&fs->handles, note_opener, &o);
	if (o.handles == 0)
		return;
	(void)tp_holders_find(fs->mount_id, &h);
	seen = h.count;
	for (size_t i = 0; i < seen; i++)
		if (h.list[i].ino == o.ino)
			print_process("held by", h.list[i].pid, out);
	/* One whose descriptors cannot be seen, or that has closed all and has a mapping, or has passed it on. */
	for (unsigned i = 0; i < o.handles && i < OPENERS_MAX; i++) {
		pid_t pid = tp_process_of(o.tids[i]);
		const struct tp_holder *known = tp_holders_get(&h, o.ino, pid);

		if (pid <= 0 || (known && known->pid == pid) || tp_holders_add(&h, o.ino, pid, false) < 0)
			continue;
		print_process("opened by", pid, out);
	}
	if (!tp_holders_get(&h, o.ino, 0))
		(void)fputs("held by: a process that is not known\n", out);
	tp_holders_fini(&h);
}
