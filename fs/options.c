/* SPDX-License-Identifier: Apache-2.0 */
#include "fs/options.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "fs/memory.h"
#include "store/cleanup.h"

#define FIELD(f) .offset = offsetof(struct tp_options, f)
#define RAM_DEFAULT_MAX_BYTES (UINT64_C(4) << 30)
#define RAM_LEAST_BYTES (UINT64_C(16) << 20)
/* One name for so much of the memory that the pool leaves: all of them together take about half of it. */
#define NAME_MEMORY_BYTES 1024
#define NAMES_LEAST 1000000
/* Pages of the pool are numbered by 32 bits. */
#define RAM_MOST_BYTES (UINT64_C(15) << 40)
#define ENVIRONMENT_PREFIX "TIDEPOOL_"

const struct tp_option tp_option_table[] = {
	{
		.name = "ram",
		.kind = TP_OPTION_SIZE,
		.value = "SIZE",
		.help = "size of the memory pool, of all its files together (a quarter of "
			"the memory that may be used, cgroups counted, at most 4G)",
		FIELD(ram_bytes),
		.least = RAM_LEAST_BYTES,
		.most = RAM_MOST_BYTES,
	},
	{
		.name = "pool",
		.kind = TP_OPTION_PATHS,
		.value = "PATH",
		.help = "a file on tmpfs or hugetlbfs that backs the pool, as large as it is "
			"unless ram says otherwise; may be repeated (anonymous memory)",
		FIELD(pool),
	},
	{
		.name = "hugepages",
		.kind = TP_OPTION_CHOICE,
		.value = "try|off|require",
		.help = "huge pages for the pool",
		.initial = "try",
		.choices = "try|off|require",
		FIELD(hugepages),
	},
	{
		.name = "prefault",
		.kind = TP_OPTION_FLAG,
		.help = "touch the pool's memory in the background after mounting",
		.initial = "on",
		FIELD(prefault),
	},
	{
		.name = "high",
		.kind = TP_OPTION_NUMBER,
		.value = "PERCENT",
		.help = "how full the pool gets before objects are evicted",
		.initial = "90",
		FIELD(high_pct),
		.least = 2,
		.most = 100,
	},
	{
		.name = "low",
		.kind = TP_OPTION_NUMBER,
		.value = "PERCENT",
		.help = "how full it is when eviction stops",
		.initial = "80",
		FIELD(low_pct),
		.least = 1,
		.most = 99,
	},
	{
		.name = "names",
		.kind = TP_OPTION_NUMBER,
		.value = "N",
		.help = "names at most, of files, directories and all else; auto: one for each "
			"KiB of memory that may be used beside the pool, at least a million",
		.initial = "auto",
		FIELD(names),
		.least = 0,
		.most = 4000000000,
	},
	{
		.name = "journal_interval",
		.kind = TP_OPTION_NUMBER,
		.value = "MS",
		.help = "milliseconds that a change of names or attributes may wait for "
			"stable storage",
		.initial = "500",
		FIELD(journal_interval_ms),
		.least = 1,
		.most = 60000,
	},
	{
		.name = "threads",
		.kind = TP_OPTION_NUMBER,
		.value = "N",
		.help = "threads that answer requests at most; auto: by the number of processors",
		.initial = "auto",
		FIELD(threads),
		.least = 0,
		.most = 64,
	},
	{
		.name = "drain",
		.kind = TP_OPTION_NUMBER,
		.value = "SECONDS",
		.help = "how long unmounting may take",
		.initial = "20",
		FIELD(drain_s),
		.least = 1,
		.most = 86400,
	},
	{
		.name = "ssd",
		.kind = TP_OPTION_ABSENT,
		.value = "none",
		.help = "this version has the memory tier only",
		.initial = "none",
		.choices = "none",
		.absent = "SSD tier",
	},
	{.name = "ssd_size", .kind = TP_OPTION_ABSENT, .absent = "SSD tier"},
	{.name = "degraded", .kind = TP_OPTION_ABSENT, .absent = "SSD tier"},
	{.name = "cluster", .kind = TP_OPTION_ABSENT, .absent = "cluster"},
	{.name = "node", .kind = TP_OPTION_ABSENT, .absent = "cluster"},
	{.name = "listen", .kind = TP_OPTION_ABSENT, .absent = "cluster"},
	{.name = "secret", .kind = TP_OPTION_ABSENT, .absent = "cluster"},
	{.name = "metrics", .kind = TP_OPTION_ABSENT, .absent = "metrics endpoint"},
	{
		.name = "ro",
		.kind = TP_OPTION_FLAG,
		.help = "nothing can be changed through this mount",
		.initial = "off",
		FIELD(read_only),
	},
	{
		.name = "allow_other",
		.kind = TP_OPTION_FLAG,
		.help = "other users may use the mount, too",
		.initial = "off",
		FIELD(allow_other),
		.fuse = true,
	},
	{
		.name = "default_permissions",
		.kind = TP_OPTION_FLAG,
		.help = "owners, groups and modes are enforced",
		.initial = "on",
		FIELD(default_permissions),
	},
	{
		.name = "suid",
		.kind = TP_OPTION_FLAG,
		.help = "setuid and setgid bits count (root only)",
		.initial = "off",
		FIELD(suid),
		.fuse = true,
	},
	{
		.name = "dev",
		.kind = TP_OPTION_FLAG,
		.help = "device nodes can be opened (root only)",
		.initial = "off",
		FIELD(dev),
		.fuse = true,
	},
	{
		.name = "exec",
		.kind = TP_OPTION_FLAG,
		.help = "programs can be run from it",
		.initial = "on",
		FIELD(exec),
		.fuse = true,
	},
	{
		.name = "sync",
		.kind = TP_OPTION_FLAG,
		.help = "every write is followed by an fsync",
		.initial = "off",
		FIELD(sync),
		.fuse = true,
	},
	{
		.name = "symfollow",
		.kind = TP_OPTION_FLAG,
		.help = "symbolic links in it are followed (off for root only)",
		.initial = "on",
		FIELD(symfollow),
	},
	{NULL},
};

/* What mount(8) and fstab keep for themselves, or what is so anyway; "x-" and "X-" as prefixes, too. */
static const char *const mount_own[] = {
	"defaults",
	"auto",
	"noauto",
	"nofail",
	"_netdev",
	"user",
	"nouser",
	"users",
	"owner",
	"group",
	"mand",
	"nomand",
	"iversion",
	"noiversion",
	"atime",
	"noatime",
	"diratime",
	"nodiratime",
	"relatime",
	"norelatime",
	"strictatime",
	"nostrictatime",
	"lazytime",
	"nolazytime",
	"silent",
	"loud",
	NULL,
};

/* Options of mount(8) and of libfuse that somebody may expect here, and why they are none. */
static const struct {
	const char *name, *why;
} refused[] = {
	{"remount", "a mount cannot be changed: unmount, and mount again"},
	{"dirsync", "FUSE does not know it: fsync the directory, or see journal_interval"},
	{"fsname", "the source of a mount is its STATE"},
	{"subtype", "the type of a mount is fuse.tidepool"},
	{"allow_root", "allow_other lets root in, too, and modes are enforced"},
	{"auto_unmount", "the next mount, or tidepool umount, clears a dead one"},
	{"max_read", "the kernel reads as much at once as it can"},
	{NULL, NULL},
};

/* SELinux's: go to the kernel as they are, quotes and all, where it is on. mount(8), too, leaves them out elsewhere. */
static const char *const labels[] = {"context=", "fscontext=", "defcontext=", "rootcontext=", NULL};

static void *field(struct tp_options *o, const struct tp_option *t)
{
	return (char *)o + t->offset;
}

static const void *field_const(const struct tp_options *o, const struct tp_option *t)
{
	return (const char *)o + t->offset;
}

const char *tp_size_text(uint64_t bytes, char *buf, size_t len)
{
	static const char *const units[] = {"", "K", "M", "G", "T"};
	unsigned u = 0;

	while (u < 4 && bytes && bytes % 1024 == 0) {
		bytes /= 1024;
		u++;
	}
	(void)snprintf(buf, len, "%" PRIu64 "%s", bytes, units[u]);
	return buf;
}

static void paths_clear(struct tp_option_paths *p)
{
	for (unsigned i = 0; i < p->count; i++)
		free(p->list[i]);
	free(p->list);
	p->list = NULL;
	p->count = 0;
}

static int paths_add(struct tp_option_paths *p, const char *path, size_t len)
{
	char **list = realloc(p->list, (p->count + 2) * sizeof(*list));

	if (!list)
		return -ENOMEM;
	p->list = list;
	list[p->count] = strndup(path, len);
	if (!list[p->count])
		return -ENOMEM;
	list[++p->count] = NULL;
	return 0;
}

static int set_size(struct tp_options *o, const struct tp_option *t, const char *value, struct tp_err *err)
{
	uint64_t bytes;
	char least[32], most[32];

	if (tp_size_parse(value, &bytes) < 0)
		return tp_err_set(err, -EINVAL,
			"the option %s=%.80s is not a size: a number, and K, M, G or T behind it", t->name,
			value);
	if (bytes < t->least || bytes > t->most)
		return tp_err_set(err, -EINVAL, "the option %s=%.80s is not between %s and %s", t->name,
			value, tp_size_text(t->least, least, sizeof(least)),
			tp_size_text(t->most, most, sizeof(most)));
	*(uint64_t *)field(o, t) = bytes;
	return 0;
}

static int set_number(struct tp_options *o, const struct tp_option *t, const char *value, struct tp_err *err)
{
	bool has_auto = t->initial && strcmp(t->initial, "auto") == 0;
	uint64_t n = 0;

	if (has_auto && strcmp(value, "auto") == 0) {
		*(unsigned *)field(o, t) = 0;
		return 0;
	}
	/* What tp_size_parse() takes beyond a number ends in a letter. */
	if (!value[0] || !isdigit((unsigned char)value[strlen(value) - 1]) || tp_size_parse(value, &n) < 0)
		return tp_err_set(err, -EINVAL, "the option %s=%.80s is not a whole number", t->name, value);
	if (n < t->least || n > t->most || (has_auto && n == 0))
		return tp_err_set(err, -EINVAL, "the option %s=%.80s is not between %" PRIu64 " and %" PRIu64,
			t->name, value, has_auto ? UINT64_C(1) : t->least, t->most);
	*(unsigned *)field(o, t) = (unsigned)n;
	return 0;
}

static int set_flag(struct tp_options *o, const struct tp_option *t, const char *value, struct tp_err *err)
{
	static const char *const words[] = {"on", "1", "yes", "true", "off", "0", "no", "false"};

	for (unsigned i = 0; i < 8; i++)
		if (strcasecmp(value, words[i]) == 0) {
			*(bool *)field(o, t) = i < 4;
			return 0;
		}
	return tp_err_set(err, -EINVAL, "the option %s=%.80s is neither on nor off", t->name, value);
}

static int set_choice(struct tp_options *o, const struct tp_option *t, const char *value, struct tp_err *err)
{
	size_t n = strlen(value);
	unsigned place = 0;

	for (const char *p = t->choices; p; p = strchr(p, '|'), p = p ? p + 1 : NULL, place++)
		if (n && strncmp(p, value, n) == 0 && (p[n] == 0 || p[n] == '|')) {
			*(unsigned *)field(o, t) = place;
			return 0;
		}
	return tp_err_set(err, -EINVAL, "the option %s=%.80s is none of %s", t->name, value, t->choices);
}

/* From the environment several paths come in one value, with colons between them. */
static int set_paths(struct tp_options *o, const struct tp_option *t, const char *value,
	enum tp_option_source source, struct tp_err *err)
{
	struct tp_option_paths *p = field(o, t);
	const char *end;
	int r;

	/* A list from elsewhere is replaced, one from the same place grows. */
	if (o->source[t - tp_option_table] != source)
		paths_clear(p);
	for (;; value = end + 1) {
		end = source == TP_OPTION_ENVIRONMENT ? strchrnul(value, ':') : value + strlen(value);
		if (end == value)
			return tp_err_set(err, -EINVAL, "the option %s has an empty path", t->name);
		r = paths_add(p, value, (size_t)(end - value));
		if (r < 0)
			return tp_err_set(err, r, "out of memory");
		if (!*end)
			return 0;
	}
}

/* value NULL: none was given. */
static int set(struct tp_options *o, const struct tp_option *t, const char *value,
	enum tp_option_source source, struct tp_err *err)
{
	int r = 0;

	if (t->kind == TP_OPTION_ABSENT) {
		if (!value || !t->choices || strcmp(value, t->choices) != 0)
			return tp_err_set(err, -EINVAL,
				"the option %s%s%.80s needs the %s, which this version does not have",
				t->name, value ? "=" : "", value ? value : "", t->absent);
	} else if (t->kind == TP_OPTION_FLAG) {
		r = set_flag(o, t, value ? value : "on", err);
	} else if (!value) {
		return tp_err_set(
			err, -EINVAL, "the option %s needs a value: %s=%s", t->name, t->name, t->value);
	} else if (t->kind == TP_OPTION_SIZE) {
		r = set_size(o, t, value, err);
	} else if (t->kind == TP_OPTION_NUMBER) {
		r = set_number(o, t, value, err);
	} else if (t->kind == TP_OPTION_CHOICE) {
		r = set_choice(o, t, value, err);
	} else {
		r = set_paths(o, t, value, source, err);
	}
	if (r == 0)
		o->source[t - tp_option_table] = (uint8_t)source;
	return r;
}

static const struct tp_option *find(const char *name)
{
	for (const struct tp_option *t = tp_option_table; t->name; t++)
		if (strcmp(t->name, name) == 0)
			return t;
	return NULL;
}

int tp_options_init(struct tp_options *o, struct tp_err *err)
{
	int r;

	static_assert(
		sizeof(tp_option_table) / sizeof(tp_option_table[0]) <= TP_OPTIONS_MAX, "a source for each");
	*o = (struct tp_options){0};
	for (const struct tp_option *t = tp_option_table; t->name; t++) {
		if (!t->initial)
			continue;
		r = set(o, t, t->initial, TP_OPTION_DEFAULT, err);
		if (r < 0)
			return r;
	}
	return 0;
}

void tp_options_fini(struct tp_options *o)
{
	paths_clear(&o->labels);
	paths_clear(&o->pool);
}

int tp_options_environment(struct tp_options *o, const char *const *environment,
	void (*warn)(const char *text, void *user), void *user, struct tp_err *err)
{
	for (; *environment; environment++) {
		const char *entry = *environment, *equals = strchr(entry, '=');
		const struct tp_option *t;
		char name[64], text[200];
		size_t n;
		int r;

		if (!equals || strncmp(entry, ENVIRONMENT_PREFIX, strlen(ENVIRONMENT_PREFIX)) != 0)
			continue;
		entry += strlen(ENVIRONMENT_PREFIX);
		n = (size_t)(equals - entry);
		(void)snprintf(
			name, sizeof(name), "%.*s", (int)(n < sizeof(name) ? n : sizeof(name) - 1), entry);
		for (char *c = name; *c; c++)
			*c = (char)tolower((unsigned char)*c);
		t = n < sizeof(name) ? find(name) : NULL;
		if (!t) {
			(void)snprintf(text, sizeof(text),
				"%s%.*s in the environment is not an option, ignoring", ENVIRONMENT_PREFIX,
				(int)(n < 100 ? n : 100), entry);
			warn(text, user);
			continue;
		}
		r = set(o, t, equals + 1, TP_OPTION_ENVIRONMENT, err);
		if (r < 0)
			return tp_err_wrap(err, r, "in the environment");
	}
	return 0;
}

static bool is_mount_own(const char *name)
{
	if (strncasecmp(name, "x-", 2) == 0 || strcmp(name, "comment") == 0)
		return true;
	for (unsigned i = 0; mount_own[i]; i++)
		if (strcmp(mount_own[i], name) == 0)
			return true;
	return false;
}

static bool is_label(const char *text)
{
	for (unsigned i = 0; labels[i]; i++)
		if (strncmp(text, labels[i], strlen(labels[i])) == 0)
			return true;
	return false;
}

static int parse_one(struct tp_options *o, char *text, struct tp_err *err)
{
	char *value = strchr(text, '=');
	const struct tp_option *t;

	if (is_label(text))
		return paths_add(&o->labels, text, strlen(text)) < 0
			       ? tp_err_set(err, -ENOMEM, "out of memory")
			       : 0;
	if (value)
		*value++ = 0;
	t = find(text);
	if (t)
		return set(o, t, value, TP_OPTION_COMMAND_LINE, err);
	if (strcmp(text, "rw") == 0)
		return set(o, find("ro"), "off", TP_OPTION_COMMAND_LINE, err);
	if (strcmp(text, "async") == 0)
		return set(o, find("sync"), "off", TP_OPTION_COMMAND_LINE, err);
	if (is_mount_own(text))
		return 0;
	if (strncmp(text, "no", 2) == 0) {
		t = find(text + 2);
		if (t && t->kind == TP_OPTION_FLAG && !value)
			return set(o, t, "off", TP_OPTION_COMMAND_LINE, err);
	}
	for (unsigned i = 0; refused[i].name; i++)
		if (strcmp(refused[i].name, text) == 0)
			return tp_err_set(err, -EINVAL, "there is no option '%s': %s", text, refused[i].why);
	return tp_err_set(err, -EINVAL, "there is no option '%.100s'", text);
}

int tp_options_parse(struct tp_options *o, const char *text, struct tp_err *err)
{
	tp_autofree char *one = malloc(strlen(text) + 1);

	if (!one)
		return tp_err_set(err, -ENOMEM, "out of memory");
	while (*text) {
		bool label = is_label(text), quoted = false;
		size_t n = 0;
		int r;

		for (; *text && (*text != ',' || quoted); text++) {
			if (*text == '\\' && text[1])
				text++;
			else if (*text == '"' && label)
				quoted = !quoted;
			one[n++] = *text;
		}
		if (*text)
			text++;
		one[n] = 0;
		if (n == 0)
			continue;
		r = parse_one(o, one, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/*
 * How large the pool is by its files; 0: they do not say, being empty. What is no file, or not there, is for the pool to judge, which opens them. A file
 * whose pages are not memory is refused: each byte that is written to the pool would be written to its disk.
 */
static int measure_pool(
	const struct tp_option_paths *pool, bool has_ram, struct tp_err *err, uint64_t *ret_bytes)
{
	unsigned empty = 0, sized = 0;
	uint64_t bytes = 0;
	char least[32];

	for (unsigned i = 0; i < pool->count; i++) {
		uint64_t unit = TP_PAGE_BYTES;
		struct statfs fs;
		struct statx st;

		if (statx(AT_FDCWD, pool->list[i], 0, STATX_TYPE | STATX_SIZE, &st) < 0 ||
			!S_ISREG(st.stx_mode) || statfs(pool->list[i], &fs) < 0)
			continue;
		if (fs.f_type == HUGETLBFS_MAGIC)
			unit = (uint64_t)fs.f_bsize;
		else if (fs.f_type != TMPFS_MAGIC && fs.f_type != RAMFS_MAGIC &&
			 !(st.stx_attributes & STATX_ATTR_DAX))
			return tp_err_set(err, -EINVAL,
				"the option pool=%.200s is a file neither on tmpfs nor on hugetlbfs",
				pool->list[i]);
		bytes += st.stx_size - st.stx_size % unit;
		if (st.stx_size)
			sized++;
		else
			empty++;
	}
	*ret_bytes = 0;
	if (has_ram || !sized)
		return 0;
	if (empty)
		return tp_err_set(err, -EINVAL,
			"of the files of the option pool some are empty: the option ram says how large all "
			"of them are to be");
	if (bytes < RAM_LEAST_BYTES)
		return tp_err_set(err, -EINVAL,
			"the files of the option pool have less than %s: the option ram makes them longer",
			tp_size_text(RAM_LEAST_BYTES, least, sizeof(least)));
	*ret_bytes = bytes;
	return 0;
}

static bool has_selinux(const char *root)
{
	char name[PATH_MAX];

	(void)snprintf(name, sizeof(name), "%.4000s/sys/fs/selinux/enforce", root);
	return access(name, F_OK) == 0;
}

/* usable: the memory that may be used, 0: not known; why: what decided that. */
static int choose_ram(struct tp_options *o, uint64_t usable, const char *why, struct tp_err *err)
{
	char size[32], size_usable[32];
	uint64_t bytes = 0;
	int r = measure_pool(&o->pool, o->ram_bytes != 0, err, &bytes);

	if (r < 0)
		return r;
	if (o->ram_bytes) {
		/* Memory that is not there would be found missing much later, by a kill. */
		if (usable && o->ram_bytes > usable && !o->pool.count)
			return tp_err_set(err, -EINVAL,
				"the option ram=%s is more than this process may use, %s (%s)",
				tp_size_text(o->ram_bytes, size, sizeof(size)),
				tp_size_text(usable & ~(UINT64_C(1048575)), size_usable, sizeof(size_usable)),
				why);
		return 0;
	}
	if (bytes) {
		o->ram_bytes = bytes;
		o->pool_as_is = true;
		(void)snprintf(o->ram_why, sizeof(o->ram_why), "the size of the pool's files");
		return 0;
	}
	o->ram_bytes = usable / 4;
	if (o->ram_bytes > RAM_DEFAULT_MAX_BYTES || !usable)
		o->ram_bytes = RAM_DEFAULT_MAX_BYTES;
	if (o->ram_bytes < RAM_LEAST_BYTES)
		o->ram_bytes = RAM_LEAST_BYTES;
	o->ram_bytes &= ~(UINT64_C(1048576) - 1);
	(void)snprintf(o->ram_why, sizeof(o->ram_why), "a quarter of %.100s, at most 4G", why);
	return 0;
}

int tp_options_finish(struct tp_options *o, const char *root, struct tp_err *err)
{
	char why[256];
	uint64_t usable = tp_memory_usable(root, why, sizeof(why));
	int r;

	if (o->low_pct >= o->high_pct)
		return tp_err_set(
			err, -EINVAL, "the option low=%u is not below high=%u", o->low_pct, o->high_pct);
	if (!has_selinux(root))
		paths_clear(&o->labels);
	r = choose_ram(o, usable, why, err);
	if (r < 0)
		return r;
	o->names_max = o->names;
	if (!o->names && usable > o->ram_bytes)
		o->names_max = (usable - o->ram_bytes) / NAME_MEMORY_BYTES;
	if (!o->names && o->names_max < NAMES_LEAST)
		o->names_max = NAMES_LEAST;
	return 0;
}

static void print_value(FILE *f, const struct tp_options *o, const struct tp_option *t)
{
	const void *v = field_const(o, t);
	const struct tp_option_paths *p = v;
	const char *c = t->choices;
	char size[32];

	switch (t->kind) {
	case TP_OPTION_SIZE:
		(void)fputs(tp_size_text(*(const uint64_t *)v, size, sizeof(size)), f);
		break;
	case TP_OPTION_NUMBER:
		if (*(const unsigned *)v == 0)
			(void)fputs("auto", f);
		else
			(void)fprintf(f, "%u", *(const unsigned *)v);
		break;
	case TP_OPTION_FLAG:
		(void)fputs(*(const bool *)v ? "on" : "off", f);
		break;
	case TP_OPTION_CHOICE:
		for (unsigned i = *(const unsigned *)v; i; i--)
			c = strchr(c, '|') + 1;
		(void)fprintf(f, "%.*s", (int)strcspn(c, "|"), c);
		break;
	case TP_OPTION_PATHS:
		for (unsigned i = 0; i < p->count; i++)
			(void)fprintf(f, "%s%s", i ? ":" : "", p->list[i]);
		break;
	case TP_OPTION_ABSENT:
		(void)fputs(t->initial, f);
		break;
	}
}

int tp_options_config(const struct tp_options *o, char **ret_text)
{
	static const char *const sources[] = {"default", "environment", "command line"};
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return -ENOMEM;
	for (const struct tp_option *t = tp_option_table; t->name; t++) {
		unsigned source = o->source[t - tp_option_table];

		if (t->kind == TP_OPTION_ABSENT && !t->initial)
			continue;
		(void)fprintf(f, "%s=", t->name);
		print_value(f, o, t);
		(void)fprintf(f, "  # %s", sources[source]);
		if (t->kind == TP_OPTION_SIZE && source == TP_OPTION_DEFAULT && o->ram_why[0])
			(void)fprintf(f, ": %s", o->ram_why);
		(void)fputc('\n', f);
	}
	if (fclose(f) != 0) {
		free(text);
		return -ENOMEM;
	}
	*ret_text = text;
	return 0;
}

static void print_escaped(FILE *f, const char *text)
{
	for (; *text; text++) {
		if (*text == ',' || *text == '\\')
			(void)fputc('\\', f);
		(void)fputc(*text, f);
	}
}

int tp_options_fuse(const struct tp_options *o, const char *state, char **ret_text)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return -ENOMEM;
	(void)fputs("fsname=", f);
	print_escaped(f, state);
	(void)fputs(",subtype=tidepool", f);
	for (unsigned i = 0; i < o->labels.count; i++) {
		(void)fputc(',', f);
		print_escaped(f, o->labels.list[i]);
	}
	for (const struct tp_option *t = tp_option_table; t->name; t++) {
		bool on;

		if (!t->fuse)
			continue;
		on = *(const bool *)field_const(o, t);
		if (on != (strcmp(t->initial, "on") == 0))
			(void)fprintf(f, ",%s%s", on ? "" : "no", t->name);
	}
	if (fclose(f) != 0) {
		free(text);
		return -ENOMEM;
	}
	*ret_text = text;
	return 0;
}

/* Prints text in words, wrapped before column 79, from `column` on and below it. */
static void print_wrapped(const char *text, int indent)
{
	int column = indent;

	for (const char *word = text; *word;) {
		int n = (int)strcspn(word, " ");

		if (column > indent && column + 1 + n > 79)
			column = printf("\n%*s", indent, "") - 1;
		else if (column > indent)
			column += printf(" ");
		column += printf("%.*s", n, word);
		word += n + (word[n] == ' ');
	}
	(void)putchar('\n');
}

void tp_options_help(void)
{
	for (const struct tp_option *t = tp_option_table; t->name; t++) {
		char head[64], text[256];

		if (t->kind == TP_OPTION_ABSENT && !t->initial)
			continue;
		(void)snprintf(
			head, sizeof(head), "%s%s%s", t->name, t->value ? "=" : "", t->value ? t->value : "");
		(void)snprintf(text, sizeof(text), "%s%s%s%s", t->help, t->initial ? " (" : "",
			t->initial ? t->initial : "", t->initial ? ")" : "");
		(void)printf("  %-25s ", head);
		print_wrapped(text, 28);
	}
}
