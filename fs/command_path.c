/* SPDX-License-Identifier: Apache-2.0 */
/* The commands about paths inside a mount: lookup, get, set, explain, warm. */
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fs/command.h"
#include "fs/mounts.h"
#include "store/cleanup.h"
#include "store/clock.h"
#include "store/events.h"
#include "store/policy.h"

#define ATTRIBUTE_PREFIX "user.tidepool."
#define WARM_BUFFER_BYTES (1u << 20)
#define WARM_PROGRESS_NS (200 * TP_NS_PER_MS)
#define LOOKUP_BATCH_BYTES 65536
/* What an object has of them at most, and more. */
#define OWN_BYTES_MAX 65536u

/* What `get` asks for when no key is given; what an object does not have is left out. */
static const char *const keys[] = {
	"tier", "generation", "checksum", "state", "commit", "pin", "depth", "ttl", "quota", "temp", NULL};

/* Skips a "--"; an argument that looks like an option is wrong. Returns the index of the first argument, or -1 after an error. */
static int arguments(int argc, char **argv, int least, const char *what)
{
	int first = 1;

	if (argc > 1 && strcmp(argv[1], "--") == 0) {
		first = 2;
	} else if (argc > 1 && argv[1][0] == '-' && argv[1][1]) {
		(void)tp_command_fail(argv[0], 2, "there is no option '%s'", argv[1]);
		return -1;
	}
	if (argc - first < least) {
		(void)tp_command_fail(argv[0], 2, "%s", what);
		return -1;
	}
	return first;
}

/* "pin" is user.tidepool.pin; what begins with user. stays. buf is returned. */
static const char *attribute(const char *key, size_t key_len, char *buf, size_t len)
{
	bool whole = key_len > 5 && strncmp(key, "user.", 5) == 0;

	(void)snprintf(
		buf, len, "%s%.*s", whole ? "" : ATTRIBUTE_PREFIX, (int)(key_len < 256 ? key_len : 256), key);
	return buf;
}

/* The value into a string of its own. NULL: errno says why. */
static char *attribute_value(const char *path, const char *name)
{
	char *value = NULL;

	for (;;) {
		ssize_t n = lgetxattr(path, name, NULL, 0), got;

		if (n < 0)
			break;
		free(value);
		value = malloc((size_t)n + 1);
		if (!value)
			return NULL;
		got = lgetxattr(path, name, value, (size_t)n);
		if (got >= 0) {
			value[got] = 0;
			return value;
		}
		/* It grew in between. */
		if (errno != ERANGE)
			break;
	}
	free(value);
	return NULL;
}

/* Why an attribute could not be had, in words of this program. */
static const char *attribute_error(int error)
{
	switch (error) {
	case ENODATA:
		return "it has no such attribute";
	case EOPNOTSUPP:
		return "it is not in a tidepool mount, or has no such attribute";
	case EINVAL:
		return "the value is not good for it";
	case EPERM:
		return "that cannot be set on it, or only by its owner or root";
	default:
		return strerror(error);
	}
}

/* Is path there, and in a tidepool mount? If not that is said. */
static bool is_inside(const char *command, const char *path, struct stat *ret)
{
	struct tp_mounts m;

	if (lstat(path, ret) < 0) {
		(void)tp_command_fail(command, 1, "%s: %s", path, strerror(errno));
		return false;
	}
	if (tp_mounts_of(path, &m) < 0) {
		(void)tp_command_fail(command, 1, "%s: it is in no tidepool mount", path);
		return false;
	}
	tp_mounts_fini(&m);
	return true;
}

/* The user's own, each on a line whatever is in it. Returns what to exit with. */
static int print_own(const char *path)
{
	char list[OWN_BYTES_MAX], quoted[4 * OWN_BYTES_MAX];
	ssize_t n = llistxattr(path, list, sizeof(list));

	if (n < 0 && errno != EOPNOTSUPP)
		return tp_command_fail("get", 1, "%s: %s", path, strerror(errno));
	for (const char *name = list; name < list + n; name += strlen(name) + 1) {
		tp_autofree char *value = NULL;

		/* Links have attributes of other kinds, which are not ours. */
		if (strncmp(name, "user.", 5) != 0 || !(value = attribute_value(path, name)))
			continue;
		(void)printf("%s=", tp_events_quote(name, strlen(name), quoted, sizeof(quoted)));
		(void)printf("%s\n", tp_events_quote(value, strlen(value), quoted, sizeof(quoted)));
	}
	return 0;
}

int tp_command_get(int argc, char **argv)
{
	int first = arguments(argc, argv, 1, "a path is missing"), code = 0;
	const char *path;
	struct stat st;

	if (first < 0)
		return 2;
	path = argv[first];
	if (!is_inside("get", path, &st))
		return 1;
	if (first + 1 == argc) {
		for (unsigned i = 0; keys[i]; i++) {
			char name[300];
			tp_autofree char *value = attribute_value(
				path, attribute(keys[i], strlen(keys[i]), name, sizeof(name)));

			if (value)
				(void)printf("%s=%s\n", keys[i], value);
			else if (errno == EOPNOTSUPP)
				return tp_command_fail("get", 1, "%s: %s", path, attribute_error(errno));
		}
		return print_own(path);
	}
	for (int i = first + 1; i < argc; i++) {
		char name[300];
		tp_autofree char *value =
			attribute_value(path, attribute(argv[i], strlen(argv[i]), name, sizeof(name)));

		if (!value)
			code = tp_command_fail("get", 1, "%s: %s: %s", path, name, attribute_error(errno));
		else if (argc - first == 2)
			(void)printf("%s\n", value);
		else
			(void)printf("%s=%s\n", argv[i], value);
	}
	return code;
}

/* Does line name the path, which is quoted and so has no blanks, as a whole word? "PATH: why" is one, too. */
static bool is_about(const char *line, const char *path)
{
	size_t n = strlen(path);

	for (const char *at = strstr(line, path); at; at = strstr(at + 1, path))
		if ((at == line || at[-1] == ' ') &&
			(at[n] == ' ' || at[n] == '\n' || (at[n] == ':' && at[n + 1] == ' ')))
			return true;
	return false;
}

/* Prints the last lines of a control file that are about a path, at most max. Returns how many. */
static unsigned print_about(const struct tp_mounts *m, const char *file, const char *quoted, unsigned max)
{
	tp_autofree char *where = NULL, *line = NULL;
	tp_autofree char **last = calloc(max, sizeof(*last));
	size_t size = 0;
	unsigned n = 0;
	FILE *f;

	if (!last || asprintf(&where, "%s/.tidepool/%s", m->mountpoint, file) < 0)
		return 0;
	f = fopen(where, "re");
	if (!f && errno == EACCES)
		return printf("  %s: for root and who runs the daemon\n", file) > 0;
	while (f && getline(&line, &size, f) > 0) {
		if (!is_about(line, quoted))
			continue;
		free(last[n % max]);
		last[n++ % max] = strdup(line);
	}
	if (f)
		(void)fclose(f);
	for (unsigned i = n > max ? n - max : 0; i < n; i++)
		if (last[i % max])
			(void)printf("  %s: %s", file, last[i % max]);
	for (unsigned i = 0; i < max; i++)
		free(last[i]);
	return n;
}

/* What is asked in one go. */
struct lookup {
	struct tp_mounts mount; /* of the first path */
	char *here;		/* the current directory; NULL: it has no path */
	char **paths;		/* as given, owned */
	size_t count, room;
	FILE *questions; /* memory: the lines that are written */
	char *text;
	size_t text_len;
	uint64_t leading; /* hits before the first miss, of all that was answered */
	bool missed;
};

/* What of an absolute path lies below the mount, by its text alone; NULL: that does not tell. */
static const char *below(const struct tp_mounts *mount, const char *whole)
{
	size_t n = mount->mountpoint ? strlen(mount->mountpoint) : 0;

	if (!n || strncmp(whole, mount->mountpoint, n) != 0 || whole[n] != '/')
		return NULL;
	for (const char *up = whole; (up = strstr(up, "/..")); up++)
		if (up[3] == 0 || up[3] == '/')
			return NULL;
	whole += n + strspn(whole + n, "/");
	return *whole ? whole : NULL;
}

/*
 * The path as its mount names it. Its directories need not exist, so what exists of them is resolved and the rest kept. mount is filled by
 * the first path; -EXDEV: this one is in another. -ENOENT: in no tidepool mount; -ENOMEM.
 */
static int resolve(const char *path, struct tp_mounts *mount, char **ret_relative)
{
	tp_autofree char *head = strdup(path), *rest = strdup(""), *whole = NULL;
	struct tp_mounts m;
	size_t n;
	int r;

	if (!head || !rest)
		return -ENOMEM;
	while (!(whole = tp_mounts_resolve(head)) && (errno == ENOENT || errno == ENOTDIR)) {
		char *slash = strrchr(head, '/'), *longer;

		if (!slash || slash == head)
			return -ENOENT;
		if (asprintf(&longer, "%s%s", slash, rest) < 0)
			return -ENOMEM;
		free(rest);
		rest = longer;
		*slash = 0;
	}
	if (!whole)
		return -errno;
	r = tp_mounts_of(whole, &m);
	if (r < 0)
		return r;
	n = strlen(m.mountpoint);
	r = mount->mountpoint && strcmp(m.mountpoint, mount->mountpoint) != 0 ? -EXDEV : 0;
	if (r == 0 && (strncmp(whole, m.mountpoint, n) != 0 || whole[n] != '/'))
		r = -ENOENT;
	if (r == 0 && asprintf(ret_relative, "%s%s", whole + n + 1, rest) < 0)
		r = -ENOMEM;
	if (r == 0 && !mount->mountpoint)
		*mount = m;
	else
		tp_mounts_fini(&m);
	return r;
}

/* What the daemon would say of the value: its own rules, before anything is changed. What is not ours is left to it. */
static int check_value(const char *name, const char *value, bool is_dir, bool is_stream)
{
	const char *key = name + strlen(ATTRIBUTE_PREFIX);
	struct tp_policy scratch;

	if (strncmp(name, ATTRIBUTE_PREFIX, strlen(ATTRIBUTE_PREFIX)) != 0)
		return 0;
	if (strcmp(key, "tier") == 0)
		return tp_policy_check_tier(value, strlen(value));
	tp_policy_init(&scratch);
	return tp_policy_set(&scratch, key, value, strlen(value), is_dir, is_stream);
}

/* Checks or sets KEY[=VALUE]. Returns what to exit with, after an error was said. */
static int set_one(const char *path, const char *arg, bool check, bool is_dir, bool is_stream)
{
	const char *equals = strchrnul(arg, '='), *value = *equals ? equals + 1 : "";
	char name[300];
	int r;

	if (equals == arg)
		return tp_command_fail("set", 2, "'%s' is not KEY=VALUE", arg);
	(void)attribute(arg, (size_t)(equals - arg), name, sizeof(name));
	if (check)
		r = check_value(name, value, is_dir, is_stream);
	else if (*equals)
		r = lsetxattr(path, name, value, strlen(value), 0) < 0 ? -errno : 0;
	else
		r = lremovexattr(path, name) < 0 ? -errno : 0;
	return r < 0 ? tp_command_fail("set", 1, "%s: %s: %s", path, name, attribute_error(-r)) : 0;
}

int tp_command_set(int argc, char **argv)
{
	int first = arguments(argc, argv, 2, "a path and KEY=VALUE are missing"), code = 0;
	tp_autofree char *relative = NULL;
	struct tp_mounts m = {0};
	bool is_dir, is_stream;
	const char *path;
	struct stat st;

	if (first < 0)
		return 2;
	path = argv[first];
	/* Other file systems would take the attributes, too. */
	if (!is_inside("set", path, &st))
		return 1;
	is_dir = S_ISDIR(st.st_mode);
	is_stream = is_dir && resolve(path, &m, &relative) == 0 && strncmp(relative, "samples", 7) == 0 &&
		    (relative[7] == 0 || relative[7] == '/');
	tp_mounts_fini(&m);
	for (int check = 1; check >= 0; check--)
		for (int i = first + 1; i < argc && code == 0; i++)
			code = set_one(path, argv[i], check, is_dir, is_stream);
	return code;
}

/* A name that is not there: what writes it now, and what the events say of it. */
static int explain_missing(const char *path)
{
	struct tp_mounts m = {0};
	tp_autofree char *relative = NULL, *quoted = NULL;
	int r = resolve(path, &m, &relative);
	unsigned n;

	if (r == -ENOENT)
		return tp_command_fail(
			"explain", 1, "%s: there is no such file, and it is in no tidepool mount", path);
	quoted = r == 0 ? malloc(4 * strlen(relative) + 1) : NULL;
	if (!quoted) {
		tp_mounts_fini(&m);
		return tp_command_fail("explain", 1, "%s: %s", path, strerror(r < 0 ? -r : ENOMEM));
	}
	(void)tp_events_quote(relative, strlen(relative), quoted, 4 * strlen(relative) + 1);
	(void)printf("%s: is not there\n", path);
	n = print_about(&m, "drafts", quoted, 5);
	n += print_about(&m, "evicted", quoted, 1);
	n += print_about(&m, "events", quoted, 5);
	if (n == 0)
		(void)printf("  nobody writes it now, and nothing that is kept names it\n");
	tp_mounts_fini(&m);
	return 1;
}

/* What is no regular file and no directory has no attributes, by the kernel's rule. 0, or what to exit with. */
static int explain_other(const char *path)
{
	char target[PATH_MAX];
	struct tp_mounts m;
	struct stat st;
	ssize_t n;

	if (lstat(path, &st) < 0 || S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || tp_mounts_of(path, &m) < 0)
		return tp_command_fail("explain", 1, "%s: %s", path, attribute_error(ENODATA));
	tp_mounts_fini(&m);
	if (S_ISLNK(st.st_mode)) {
		n = readlink(path, target, sizeof(target));
		if (n < 0)
			return tp_command_fail("explain", 1, "%s: %s", path, strerror(errno));
		(void)printf("symbolic link to: %.*s\n", (int)n, target);
	} else {
		(void)printf("%s\n", S_ISFIFO(st.st_mode)   ? "fifo"
				     : S_ISSOCK(st.st_mode) ? "socket"
							    : "device node");
	}
	(void)printf("can be evicted: no, kept in the ledger\n");
	return 0;
}

int tp_command_explain(int argc, char **argv)
{
	int first = arguments(argc, argv, 1, "a path is missing"), code = 0;

	if (first < 0)
		return 2;
	for (int i = first; i < argc; i++) {
		tp_autofree char *text = attribute_value(argv[i], ATTRIBUTE_PREFIX "explain");
		int error = errno;

		if (argc - first > 1 && (text || error == ENODATA))
			(void)printf("%s:\n", argv[i]);
		if (text) {
			size_t n = strlen(text);

			(void)printf("%s%s", text, n && text[n - 1] == '\n' ? "" : "\n");
		} else if (error == ENOENT) {
			code = explain_missing(argv[i]);
		} else if (error == ENODATA) {
			code |= explain_other(argv[i]);
		} else {
			code = tp_command_fail("explain", 1, "%s: %s", argv[i], attribute_error(error));
		}
	}
	return code;
}

/* The same, without a system call for most of many paths. -EINVAL: it cannot stand on a line. */
static int inside(struct lookup *l, const char *path, char **ret_relative)
{
	tp_autofree char *whole = NULL, *resolved = NULL;
	const char *text;
	int r = 0;

	if (strchr(path, '\n'))
		return -EINVAL;
	if (asprintf(&whole, "%s%s%s", *path == '/' || !l->here ? "" : l->here,
		    *path == '/' || !l->here ? "" : "/", path) < 0) {
		whole = NULL;
		return -ENOMEM;
	}
	if (!below(&l->mount, whole))
		r = resolve(path, &l->mount, &resolved);
	if (r < 0)
		return r;
	/* The first path is treated as those that follow. */
	text = below(&l->mount, whole);
	*ret_relative = text ? strdup(text) : tp_steal_ptr(resolved);
	return *ret_relative ? 0 : -ENOMEM;
}

/* 0 or -errno. */
static int write_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t done = write(fd, text, len);

		if (done < 0 && errno != EINTR)
			return -errno;
		if (done > 0) {
			text += done;
			len -= (size_t)done;
		}
	}
	return 0;
}

/* hit: NULL: a miss. */
static void lookup_answer(struct lookup *l, size_t n, const char *hit)
{
	(void)printf("%s %s\n", hit ? hit : "miss", l->paths[n]);
	l->missed |= !hit;
	l->leading += !l->missed;
}

/* "hit SIZE TIER" into buf, as .tidepool/lookup says it. -errno: the kernel's, or -EISDIR: no object. */
static int look_at(const struct lookup *l, int root, char *relative, char *buf, size_t len)
{
	static const struct open_how how = {
		.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV};
	tp_autofree char *path = NULL, *tier = NULL;
	tp_autoclose int fd = -1;
	struct stat st;

	for (size_t n = strlen(relative); n && relative[n - 1] == '/'; n--)
		relative[n - 1] = 0;
	fd = (int)syscall(SYS_openat2, root, relative, &how, sizeof(how));
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EISDIR;
	if (asprintf(&path, "%s/%s", l->mount.mountpoint, relative) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	tier = attribute_value(path, ATTRIBUTE_PREFIX "tier");
	if (!tier)
		return -errno;
	(void)snprintf(buf, len, "hit %jd %.64s", (intmax_t)st.st_size, tier);
	return 0;
}

/* Nobody may write to a mount that is read-only, not even a question: the kernel is asked for each name. Returns what to exit with. */
static int lookup_read_only(struct lookup *l)
{
	static const int misses[] = {ENOENT, ENOTDIR, EISDIR, EACCES, ELOOP, EXDEV, ENAMETOOLONG, ENODATA};
	tp_autoclose int root = open(l->mount.mountpoint, O_PATH | O_DIRECTORY | O_CLOEXEC);
	char *line = l->text, hit[128];

	for (size_t n = 0; n < l->count; n++) {
		char *end = strchr(line, '\n');
		bool miss = false;
		int r;

		*end = 0;
		r = root < 0 ? -errno : look_at(l, root, line, hit, sizeof(hit));
		for (unsigned i = 0; i < sizeof(misses) / sizeof(misses[0]); i++)
			miss |= r == -misses[i];
		if (r < 0 && !miss)
			return tp_command_fail("lookup", 1, "%s: %s", l->paths[n], strerror(-r));
		lookup_answer(l, n, miss ? NULL : hit);
		line = end + 1;
	}
	return 0;
}

/* Asks, and prints an answer for each path. Returns what to exit with. */
static int lookup_run(struct lookup *l)
{
	tp_autofree char *where = NULL, *line = NULL;
	tp_autoclose int fd = -1;
	size_t size = 0, n = 0;
	FILE *answers = NULL;
	int code = 0, r;

	if (asprintf(&where, "%s/.tidepool/lookup", l->mount.mountpoint) < 0)
		where = NULL;
	fd = where ? open(where, O_RDWR | O_CLOEXEC) : -1;
	if (fd < 0 && errno == EROFS)
		return lookup_read_only(l);
	r = fd < 0 ? -errno : write_all(fd, l->text, l->text_len);
	if (r == 0) {
		answers = fdopen(fd, "r");
		r = answers ? 0 : -errno;
	}
	if (r < 0)
		return tp_command_fail(
			"lookup", 1, "%s/.tidepool/lookup: %s", l->mount.mountpoint, strerror(-r));
	(void)tp_steal_fd(&fd);
	for (; n < l->count && getline(&line, &size, answers) > 0; n++) {
		line[strcspn(line, "\n")] = 0;
		lookup_answer(l, n, strncmp(line, "hit ", 4) == 0 ? line : NULL);
	}
	if (n < l->count)
		code = tp_command_fail("lookup", 1, "%zu of %zu paths were answered", n, l->count);
	(void)fclose(answers);
	return code;
}

/* Forgets what has been added. */
static void lookup_clear(struct lookup *l)
{
	if (l->questions)
		(void)fclose(l->questions);
	l->questions = NULL;
	free(l->text);
	l->text = NULL;
	while (l->count)
		free(l->paths[--l->count]);
}

/* Asks what has been added. Returns what to exit with. */
static int lookup_flush(struct lookup *l)
{
	int code = 0;

	if (l->questions && fflush(l->questions) != 0)
		code = tp_command_fail("lookup", 1, "out of memory");
	else if (l->count)
		code = lookup_run(l);
	lookup_clear(l);
	return code;
}

/* Returns 0, or what to exit with, after an error was said. */
static int lookup_add(struct lookup *l, const char *path)
{
	tp_autofree char *relative = NULL;
	int r = inside(l, path, &relative);

	if (r == -ENOENT)
		return tp_command_fail("lookup", 1, "%s: it is in no tidepool mount", path);
	if (r == -EXDEV)
		return tp_command_fail(
			"lookup", 1, "%s: it is not in %s, as the first path is", path, l->mount.mountpoint);
	if (r == 0 && l->count == l->room) {
		size_t room = l->room ? 2 * l->room : 64;
		char **paths = reallocarray(l->paths, room, sizeof(*paths));

		if (paths) {
			l->paths = paths;
			l->room = room;
		} else {
			r = -ENOMEM;
		}
	}
	if (r == 0 && !l->questions) {
		l->questions = open_memstream(&l->text, &l->text_len);
		r = l->questions ? 0 : -ENOMEM;
	}
	if (r == 0) {
		l->paths[l->count] = strdup(path);
		r = l->paths[l->count] && fprintf(l->questions, "%s\n", relative) > 0 ? 0 : -ENOMEM;
		l->count += l->paths[l->count] != NULL;
	}
	if (r < 0)
		return tp_command_fail("lookup", 1, "%s: %s", path, strerror(-r));
	return ftell(l->questions) < LOOKUP_BATCH_BYTES ? 0 : lookup_flush(l);
}

static int lookup_add_stdin(struct lookup *l)
{
	tp_autofree char *line = NULL;
	size_t size = 0;
	ssize_t n;
	int code = 0;

	while (code == 0 && (n = getline(&line, &size, stdin)) > 0) {
		if (line[n - 1] == '\n')
			line[--n] = 0;
		if (n)
			code = lookup_add(l, line);
	}
	if (code == 0 && ferror(stdin))
		code = tp_command_fail("lookup", 1, "standard input cannot be read: %s", strerror(errno));
	return code;
}

int tp_command_lookup(int argc, char **argv)
{
	int first = arguments(argc, argv, 1, "a path, or - for standard input, is missing"), code = 0;
	struct lookup l = {0};

	if (first < 0)
		return 2;
	l.here = getcwd(NULL, 0);
	if (l.here && strcmp(l.here, "/") == 0)
		l.here[0] = 0;
	for (int i = first; i < argc && code == 0; i++)
		code = strcmp(argv[i], "-") == 0 ? lookup_add_stdin(&l) : lookup_add(&l, argv[i]);
	if (code == 0)
		code = lookup_flush(&l);
	/* None was asked for: nothing to say. */
	if (code == 0 && l.mount.mountpoint) {
		(void)printf("leading %" PRIu64 "\n", l.leading);
		code = l.missed;
	}
	lookup_clear(&l);
	free(l.paths);
	free(l.here);
	tp_mounts_fini(&l.mount);
	return code;
}

/* What warm has done so far. */
struct warm {
	char *buffer;
	uint64_t files, bytes, failed, shown_ns;
	bool terminal;
};

static void warm_progress(struct warm *w, bool last)
{
	uint64_t now_ns = tp_mono_ns(tp_clock_system());

	if (!w->terminal || (!last && now_ns - w->shown_ns < WARM_PROGRESS_NS))
		return;
	w->shown_ns = now_ns;
	(void)fprintf(stderr, "\r%" PRIu64 " objects, %" PRIu64 " MiB%s", w->files, w->bytes >> 20,
		last ? "\n" : "");
}

static void warm_file(struct warm *w, const char *path)
{
	tp_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY);
	ssize_t n = fd < 0 ? -1 : 1;

	while (n > 0) {
		n = read(fd, w->buffer, WARM_BUFFER_BYTES);
		if (n > 0) {
			w->bytes += (uint64_t)n;
			warm_progress(w, false);
		}
	}
	/* What was evicted or removed since it was listed is no failure. */
	if (n < 0 && errno != ENOENT) {
		w->failed++;
		(void)tp_command_fail("warm", 1, "%s: %s", path, strerror(errno));
	} else {
		w->files += n == 0;
	}
}

int tp_command_warm(int argc, char **argv)
{
	int first = arguments(argc, argv, 1, "a path is missing");
	struct warm w = {.terminal = isatty(STDERR_FILENO) == 1};
	FTS *walk;
	FTSENT *e;

	if (first < 0)
		return 2;
	for (int i = first; i < argc; i++)
		if (!*argv[i])
			return tp_command_fail("warm", 2, "a path is empty");
	w.buffer = malloc(WARM_BUFFER_BYTES);
	walk = w.buffer ? fts_open(argv + first, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV | FTS_COMFOLLOW, NULL)
			: NULL;
	if (!walk) {
		free(w.buffer);
		return tp_command_fail("warm", 1, "%s", strerror(errno));
	}
	while ((e = fts_read(walk))) {
		struct tp_mounts m;

		if (e->fts_level == 0 && e->fts_info != FTS_DP && e->fts_info != FTS_NS) {
			if (tp_mounts_of(e->fts_path, &m) < 0) {
				w.failed++;
				(void)tp_command_fail(
					"warm", 1, "%s: it is in no tidepool mount", e->fts_path);
				(void)fts_set(walk, e, FTS_SKIP);
				continue;
			}
			tp_mounts_fini(&m);
		}
		if (e->fts_info == FTS_F) {
			warm_file(&w, e->fts_path);
		} else if (e->fts_info == FTS_DNR || e->fts_info == FTS_ERR ||
			   (e->fts_info == FTS_NS && (e->fts_level == 0 || e->fts_errno != ENOENT))) {
			w.failed++;
			(void)tp_command_fail("warm", 1, "%s: %s", e->fts_path, strerror(e->fts_errno));
		}
	}
	(void)fts_close(walk);
	warm_progress(&w, true);
	free(w.buffer);
	return w.failed ? 1 : 0;
}
