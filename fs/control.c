/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A view is a text that is made at open, so that all reads of one open agree. `events` is read where it lies, since it grows. `lookup` is a conversation: what is written is taken as
 * paths, a line each, and answered by the next read.
 */
#include "fs/control.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fs/ops.h"
#include "fs/view.h"
#include "store/cleanup.h"
#include "store/file.h"

/* What may be asked in one go. */
#define QUESTION_BYTES_MAX (16u << 20)
/* What all look-ups may take together, questions, answers, and what is kept for them, with the texts that others than root have open. */
#define TEXT_BYTES_MAX (64u << 20)
/* A line's answer and its place among what is kept take no more than this. */
#define LINE_BYTES 64u

enum { CONFIG, DRAFTS, EVENTS, EVICTED, HEALTH, LOOKUP, RECONCILE, STATS, STATUS, TIERS, WAITS };

static const struct view {
	const char *name;
	void (*print)(struct tp_fs *fs, uint64_t node, FILE *out); /* NULL: not a text */
	bool secret; /* has names that not everybody may see: for root and who runs the daemon */
} views[] = {
	[CONFIG] = {"config", tp_view_config},
	[DRAFTS] = {"drafts", tp_view_drafts, .secret = true},
	[EVENTS] = {"events", NULL, .secret = true},
	[EVICTED] = {"evicted", tp_view_evicted, .secret = true},
	[HEALTH] = {"health", tp_view_health},
	[LOOKUP] = {"lookup", NULL},
	[RECONCILE] = {"reconcile", tp_view_reconcile},
	[STATS] = {"stats", tp_view_stats},
	[STATUS] = {"status", tp_view_status},
	[TIERS] = {"tiers", tp_view_tiers},
	[WAITS] = {"waits", tp_view_waits, .secret = true},
};

#define VIEWS (sizeof(views) / sizeof(views[0]))
#define NODE_EVENTS (TP_NODE_CONTROL_FIRST + EVENTS)
#define NODE_LOOKUP (TP_NODE_CONTROL_FIRST + LOOKUP)

struct tp_control_file {
	uint64_t node;
	struct tp_who who; /* who opened it */
	char *text;	   /* a view's text, or the answer to what was asked */
	size_t len;
	size_t read; /* lookup: how much of the answer was read */
	/* events: the offset behind what was read last, and where that is in the stream */
	uint64_t next, next_event;
	char *question;
	size_t question_len;
	struct tp_gen **held; /* found, and kept until the file is closed */
	size_t held_count, held_max;
	size_t charged;	      /* of controls.text_bytes */
	pthread_mutex_t lock; /* all of it: several may read one descriptor */
};

void tp_controls_init(struct tp_fs *fs)
{
	fs->controls.made_wall_ns = tp_wall_ns(fs->store->clock);
}

const char *tp_control_name(unsigned i, uint64_t *ret_node)
{
	if (i >= VIEWS)
		return NULL;
	*ret_node = TP_NODE_CONTROL_FIRST + i;
	return views[i].name;
}

static bool is_secret(uint64_t node)
{
	return node - TP_NODE_CONTROL_FIRST < VIEWS && views[node - TP_NODE_CONTROL_FIRST].secret;
}

void tp_control_entry(struct tp_fs *fs, uint64_t node, struct tp_entry *ret)
{
	*ret = (struct tp_entry){
		.node = node,
		.attr =
			{
				.ino = node,
				.mode = S_IFREG | (node == NODE_LOOKUP ? 0666 : 0444),
				.nlink = 1,
				.uid = fs->tree->root->uid,
				.gid = fs->tree->root->gid,
				.atime_ns = fs->controls.made_wall_ns,
				.mtime_ns = fs->controls.made_wall_ns,
				.ctime_ns = fs->controls.made_wall_ns,
			},
		.changing = true,
	};
	if (node == NODE_EVENTS) {
		ret->attr.size = tp_events_size(fs->store->events);
		ret->attr.mtime_ns = tp_wall_ns(fs->store->clock);
	}
	if (is_secret(node)) {
		ret->attr.mode = S_IFREG | 0400;
		ret->attr.uid = geteuid();
	}
	/* A stream's comes and goes with it. */
	ret->fleeting = node & TP_NODE_STREAM_BIT;
}

static bool stream_of(struct tp_fs *fs, uint64_t node)
{
	struct tp_object *dir;
	TP_RDLOCK(&fs->tree->lock);

	return tp_tree_dir(fs->tree, node, &dir) == 0 && tp_tree_is_stream(fs->tree, dir);
}

bool tp_control_lookup(struct tp_fs *fs, uint64_t parent, const char *name, struct tp_entry *ret)
{
	uint64_t node;
	const char *known;

	if (parent == TP_NODE_CONTROL) {
		for (unsigned i = 0; (known = tp_control_name(i, &node)); i++) {
			if (strcmp(known, name) == 0) {
				tp_control_entry(fs, node, ret);
				return true;
			}
		}
		return false;
	}
	if (strcmp(name, ".state") != 0 || !stream_of(fs, parent))
		return false;
	tp_control_entry(fs, parent | TP_NODE_STREAM_BIT, ret);
	return true;
}

static int print(struct tp_fs *fs, struct tp_control_file *f)
{
	void (*view)(struct tp_fs * fs, uint64_t node, FILE * out) = tp_view_stream;
	FILE *out;

	if (!(f->node & TP_NODE_STREAM_BIT))
		view = views[f->node - TP_NODE_CONTROL_FIRST].print;
	if (!view)
		return 0;
	out = open_memstream(&f->text, &f->len);
	if (!out)
		return -ENOMEM;
	view(fs, f->node & ~TP_NODE_STREAM_BIT, out);
	return fclose(out) == 0 ? 0 : -ENOMEM;
}

/* -EDQUOT: together with all others it would be too much. */
static int charge(struct tp_fs *fs, struct tp_control_file *f, size_t bytes)
{
	if (atomic_fetch_add(&fs->controls.text_bytes, bytes) + bytes > TEXT_BYTES_MAX) {
		atomic_fetch_sub(&fs->controls.text_bytes, bytes);
		return -EDQUOT;
	}
	f->charged += bytes;
	return 0;
}

static void uncharge_to(struct tp_fs *fs, struct tp_control_file *f, size_t bytes)
{
	atomic_fetch_sub(&fs->controls.text_bytes, f->charged - bytes);
	f->charged = bytes;
}

int tp_control_open(
	struct tp_fs *fs, const struct tp_who *who, uint64_t node, int flags, struct tp_control_file **ret)
{
	struct tp_control_file *f;
	int r;

	if (!(node & TP_NODE_STREAM_BIT) && node - TP_NODE_CONTROL_FIRST >= VIEWS)
		return -ESTALE;
	if ((flags & O_ACCMODE) != O_RDONLY && node != NODE_LOOKUP)
		return -EACCES;
	if (is_secret(node) && !tp_who_administers(who))
		return -EACCES;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->node = node;
	f->who = *who;
	/* Where the kernel checks nothing we do not either. */
	if (!fs->options.default_permissions)
		f->who.uid = 0;
	(void)pthread_mutex_init(&f->lock, NULL);
	r = print(fs, f);
	/* Root looks in whatever others keep open. */
	if (r == 0 && !tp_who_administers(who) && charge(fs, f, f->len) < 0)
		r = -ENFILE;
	if (r < 0) {
		tp_control_close(fs, f);
		return r;
	}
	*ret = f;
	return 0;
}

bool tp_control_is_stream(const struct tp_control_file *f)
{
	return f->node == NODE_LOOKUP;
}

/* The path below the mount point: as it is, or with the mount point before it. */
static const char *below_mount(struct tp_fs *fs, const char *path)
{
	size_t len = strlen(fs->options.mountpoint);

	if (strncmp(path, fs->options.mountpoint, len) == 0 && path[len] == '/')
		path += len;
	return path + strspn(path, "/");
}

/* Finds one object and keeps it. False: it is not there. */
static bool find(struct tp_fs *fs, struct tp_control_file *f, const char *path, uint64_t *ret_size)
{
	struct tp_attr attr;
	struct tp_node *n;
	struct tp_gen *g;
	uint64_t node;

	if (tp_tree_resolve(fs->tree, &f->who, path, &attr, &node) < 0 || !S_ISREG(attr.mode))
		return false;
	if (f->held_count == f->held_max) {
		size_t max = f->held_max ? f->held_max * 2 : 64;
		struct tp_gen **held = realloc(f->held, max * sizeof(struct tp_gen *));

		if (!held)
			return false;
		f->held = held;
		f->held_max = max;
	}
	TP_WRLOCK(&fs->tree->lock);
	n = tp_tree_node(fs->tree, node);
	if (!n || tp_node_kind(n) != TP_NODE_GEN)
		return false;
	g = tp_container(n, struct tp_gen, node);
	if (g->object->gen != g)
		return false;
	tp_gen_hold(fs->tree, g);
	if (tp_heat_holds(&g->heat))
		tp_heat_touch(fs->tree->heat, &g->heat);
	f->held[f->held_count++] = g;
	*ret_size = attr.size;
	return true;
}

static int answer(struct tp_fs *fs, struct tp_control_file *f)
{
	uint64_t leading = 0, size;
	bool all = true;
	char *line = f->question, *end;
	FILE *out;

	if (f->question_len == 0)
		return 0;
	free(f->text);
	f->text = NULL;
	f->len = f->read = 0;
	out = open_memstream(&f->text, &f->len);
	if (!out)
		return -ENOMEM;
	f->question[f->question_len] = 0;
	for (; *line; line = end) {
		end = strchrnul(line, '\n');
		if (*end)
			*end++ = 0;
		if (!*line)
			continue;
		if (find(fs, f, below_mount(fs, line), &size)) {
			(void)fprintf(out, "hit %" PRIu64 " ram\n", size);
			leading += all;
		} else {
			(void)fputs("miss\n", out);
			all = false;
		}
	}
	(void)fprintf(out, "leading %" PRIu64 "\n", leading);
	free(f->question);
	f->question = NULL;
	f->question_len = 0;
	if (fclose(out) != 0)
		return -ENOMEM;
	uncharge_to(fs, f, f->len + f->held_count * 2 * sizeof(struct tp_gen *));
	return 0;
}

static size_t copy_text(const struct tp_control_file *f, uint64_t offset, char *buf, size_t len)
{
	if (offset >= f->len)
		return 0;
	if (len > f->len - offset)
		len = f->len - offset;
	memcpy(buf, f->text + offset, len);
	return len;
}

static ssize_t read_events(
	struct tp_fs *fs, struct tp_control_file *f, uint64_t offset, char *buf, size_t len)
{
	/* Who was taken further on, since lines were not kept any more, goes on from there. */
	uint64_t event = offset == f->next ? f->next_event : offset;
	ssize_t n = tp_events_read(fs->store->events, &event, buf, len);

	if (n >= 0) {
		f->next = offset + (uint64_t)n;
		f->next_event = event + (uint64_t)n;
	}
	return n;
}

ssize_t tp_control_read(struct tp_fs *fs, struct tp_control_file *f, uint64_t offset, char *buf, size_t len)
{
	size_t n;
	int r;
	TP_LOCK(&f->lock);

	if (f->node == NODE_EVENTS)
		return read_events(fs, f, offset, buf, len);
	if (f->node != NODE_LOOKUP)
		return (ssize_t)copy_text(f, offset, buf, len);
	r = answer(fs, f);
	if (r < 0)
		return r;
	n = copy_text(f, f->read, buf, len);
	f->read += n;
	return (ssize_t)n;
}

int tp_control_write(struct tp_fs *fs, struct tp_control_file *f, const char *buf, size_t len)
{
	size_t lines = 1;
	char *longer;
	int r;
	TP_LOCK(&f->lock);

	if (f->node != NODE_LOOKUP)
		return -EACCES;
	if (memchr(buf, 0, len))
		return -EINVAL;
	if (len > QUESTION_BYTES_MAX - f->question_len)
		return -EFBIG;
	for (size_t i = 0; i < len; i++)
		lines += buf[i] == '\n';
	r = charge(fs, f, len + lines * LINE_BYTES);
	if (r < 0)
		return r;
	longer = realloc(f->question, f->question_len + len + 1);
	if (!longer)
		return -ENOMEM;
	f->question = longer;
	memcpy(f->question + f->question_len, buf, len);
	f->question_len += len;
	return 0;
}

void tp_control_close(struct tp_fs *fs, struct tp_control_file *f)
{
	if (f->held_count) {
		TP_WRLOCK(&fs->tree->lock);
		for (size_t i = 0; i < f->held_count; i++)
			tp_gen_let_go(fs->tree, f->held[i]);
	}
	uncharge_to(fs, f, 0);
	(void)pthread_mutex_destroy(&f->lock);
	free(f->held);
	free(f->question);
	free(f->text);
	free(f);
}
